//! Few tiles for the ranks: every rank reads features of its own, of all samples, and sums up these features for every tile. The rank that owns a tile puts the sums
//! together in the order of the features, so no bit depends on who has computed them.

use std::iter::once;
use std::ops::Range;

use super::sides::{Samples, Sides, extras, panels};
use super::{Carried, Parts, read_meanwhile};
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::number::Number;
use crate::partition::TileSet;
use crate::pipeline::{FoldedTiles, Seen, SummedTiles, Tally};
use crate::report::Phase;
use crate::run::compute::Rings;
use crate::run::filed::Filed;
use crate::schedule::Ring;

/// All samples, of which this rank reads some features.
pub(super) struct Shared<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    tiles: SummedTiles<'a, T>,
    sides: Sides<'a>,
    /// What is known of each of their samples.
    seen: Vec<Vec<Seen>>,
}

impl<'a, T: Number> Shared<'a, T> {
    /// For the tiles of a way round the ring that are not done.
    pub(super) fn new(parts: &'a Parts, kernel: &'a Kernel<T>, ring: Ring, done: &TileSet) -> Self {
        let Parts { filed: Filed { schedule, x, y, .. }, samples, .. } = parts;
        let of_rank =
            |rank| ring.all_tiles(rank).filter(|tile| !done.contains(*tile)).map(move |tile| (rank, tile));
        let tiles = (0..schedule.ranks).flat_map(of_rank).collect();
        let [of_rows, of_cols] = samples;
        let side = |input, known: &'a Vec<_>| Samples { input, rows: 0..known.len(), known };
        let sides = Sides(match y {
            Some(y) => vec![side(x, of_rows), side(y, of_cols)],
            None => vec![side(x, of_cols)],
        });
        let tiles = SummedTiles::new(kernel, schedule.grid, tiles);
        Self { parts, kernel, tiles, seen: sides.unseen(kernel), sides }
    }

    /// Folds all features into the tiles of this rank, as many parts at a time as there are ranks, each of which reads the next part while it sums up one. False if it
    /// was time to stop before the end.
    pub(super) fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        folded: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Parts { filed: Filed { rank, schedule, .. }, team, .. } = self.parts;
        let all: Vec<Range<usize>> = self.parts.ranges().collect();
        let mut ahead = all.chunks(schedule.ranks).map(|parts| parts.get(*rank));
        let mut read_next = |sides: &Sides<'a>| {
            ahead.next().flatten().map(|features| sides.read::<T>(features.clone())).transpose()
        };
        let (mut last, mut values) = (None, Vec::new());
        let mut current = read_next(&self.sides)?;
        for together in all.chunks(schedule.ranks) {
            if rings.all_stop(tally) {
                return Ok(false);
            }
            let mut sums = Vec::new();
            if let Some(part) = current.take() {
                tally.totals.bytes_read += part.bytes;
                let (grid, features) = (schedule.grid, part.features.len());
                let of_tiles = [0..grid.tile_rows(), 0..grid.tile_cols()];
                let mut panels = panels(self.kernel, grid, of_tiles, features, last.take());
                let (parts, seen, tiles) = (self.parts, &mut self.seen, &self.tiles);
                let compute = || {
                    part.pack(parts, seen, &mut panels, &mut values);
                    sums = tiles.sums(&part.features, (&panels[0], &panels[1]));
                };
                current = read_meanwhile(team, tally.clock, compute, || read_next(&self.sides))?;
                last = Some(panels);
            }
            self.put_together(rings.comm, together, &sums, folded, tally);
            self.add_blocks(rings.comm, together);
            tally.clock.lap(Phase::Exchange);
        }
        Ok(true)
    }

    /// Sends the sums of this rank's part to the owners of the tiles, which add those of all parts in their order. Collective.
    fn put_together(
        &self,
        comm: &Comm,
        together: &[Range<usize>],
        sums: &[Vec<u64>],
        folded: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) {
        let rank = self.parts.filed.rank;
        let mut received = Vec::new();
        for (number, &(owner, _)) in self.tiles.tiles.iter().enumerate() {
            for (from, part) in together.iter().enumerate() {
                if owner == rank {
                    let words = if from == rank {
                        &sums[number]
                    } else {
                        received.resize(self.tiles.words(number, part), 0);
                        comm.exchange((&[], rank), (&mut received[..], from), std::thread::yield_now);
                        &received
                    };
                    self.tiles.add(number, part, words, folded);
                } else if from == rank {
                    let none: &mut [u64] = &mut [];
                    comm.exchange((&sums[number], owner), (none, rank), std::thread::yield_now);
                    tally.totals.bytes_sent += size_of_val(&sums[number][..]) as u64;
                }
            }
        }
    }

    /// Adds what samples carry beside their features, in the order of the parts. Collective.
    fn add_blocks(&mut self, comm: &Comm, together: &[Range<usize>]) {
        for (from, part) in together.iter().enumerate() {
            let each = self.kernel.extras_sum().blocks_len(part.len());
            if each == 0 {
                return;
            }
            let all = || self.seen.iter().flatten();
            let mut words = if from == self.parts.filed.rank {
                all().flat_map(|seen| seen.blocks().iter().copied()).collect()
            } else {
                vec![0; all().count() * each]
            };
            comm.broadcast_values(from, &mut words);
            for (seen, blocks) in self.seen.iter_mut().flatten().zip(words.chunks_exact(each)) {
                seen.add_blocks(blocks);
            }
        }
    }

    /// Makes sure that the samples are those that were read at first. Collective; if they are not, rank 0 says so.
    pub(super) fn check(&self, comm: &Comm) -> Result<()> {
        let mine: Vec<u64> = self.seen.iter().flatten().map(Seen::check).collect();
        let found = comm.all_reduce(&mine, Reduce::Sum);
        let same = self.sides.compare(found);
        if same.is_err() && !comm.is_root() {
            // store nothing more: rank 0 ends the job
            comm.barrier();
        }
        same
    }

    /// What rows and columns carry beside their features.
    pub(super) fn carried(&self) -> Carried {
        let [rows, cols] = extras(&self.seen);
        let places = once((0..self.parts.filed.schedule.grid.tile_cols(), 0, 0)).collect();
        Carried { rows, first_row: 0, cols, places }
    }
}
