//! Fewer tiles than ranks: every rank reads features of its own, of all samples, and sums up these features for every tile. The rank that owns a tile puts the sums
//! together in the order of the features, so no bit depends on who has computed them.

use std::iter::once;
use std::ops::Range;
use std::time::Instant;

use super::{Carried, Parts, Samples, parts};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::PowerOfTwo;
use crate::number::Number;
use crate::partition::TileSet;
use crate::pipeline::{FoldedTiles, Seen, SummedTiles, Tally, Window};
use crate::report::Phase;
use crate::run::compute::Rings;
use crate::run::filed::Filed;
use crate::schedule::Ring;

/// Some features of the samples of both sides.
struct Part<'a, T> {
    features: Range<usize>,
    sides: Vec<Window<'a, T>>,
}

/// All samples, of which this rank reads some features.
pub(super) struct Shared<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    tiles: SummedTiles<'a, T>,
    /// Rows, and columns where these are others.
    sides: Vec<Samples<'a>>,
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
        let sides = match y {
            Some(y) => vec![side(x, of_rows), side(y, of_cols)],
            None => vec![side(x, of_cols)],
        };
        let seen = sides.iter().map(|side| side.unseen(kernel)).collect();
        Self { parts, kernel, tiles: SummedTiles::new(kernel, schedule.grid, tiles), sides, seen }
    }

    fn read(sides: &[Samples<'a>], features: &Range<usize>) -> Result<Part<'a, T>> {
        let windows = sides.iter().map(|side| Window::read(side.input, side.rows.clone(), features.clone()));
        Ok(Part { features: features.clone(), sides: windows.collect::<Result<_>>()? })
    }

    /// Room for the panels of so many features of all samples.
    fn blocks(&self, features: usize) -> [Block; 2] {
        let grid = self.parts.filed.schedule.grid;
        let (height, width) = grid.tile_shape();
        let (of_rows, of_cols) = self.kernel.part_panels(features);
        [Block::new(0..grid.tile_rows(), height, of_rows), Block::new(0..grid.tile_cols(), width, of_cols)]
    }

    /// Folds all features into the tiles of this rank, as many parts at a time as there are ranks, each of which reads the next part while it sums up one. False if it
    /// was time to stop before the end.
    pub(super) fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        folded: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Parts { filed: Filed { rank, schedule, .. }, width, features, ref team, .. } = *self.parts;
        let all: Vec<Range<usize>> = parts(features, width).collect();
        let mut ahead = all.chunks(schedule.ranks).map(|parts| parts.get(rank));
        let mut read_next = |sides: &[Samples<'a>]| {
            ahead.next().flatten().map(|features| Self::read(sides, features)).transpose()
        };
        let (mut blocks, mut values): (Option<[Block; 2]>, _) = (None, Vec::new());
        let mut current = read_next(&self.sides)?;
        for together in all.chunks(schedule.ranks) {
            // all ranks stop together
            if rings.comm.all_reduce(&[u64::from(rings.stop.is_due())], Reduce::Max)[0] > 0 {
                return Ok(false);
            }
            let mut sums = Vec::new();
            if let Some(part) = current.take() {
                let samples: usize = self.sides.iter().map(|side| side.rows.len()).sum();
                tally.totals.bytes_read += (samples * part.features.len() * size_of::<T>()) as u64;
                let shape = self.kernel.part_panels(part.features.len()).0;
                let last = blocks.take().filter(|[rows, _]| rows.shape() == shape);
                let mut panels = last.unwrap_or_else(|| self.blocks(part.features.len()));
                let began = Instant::now();
                let (seen, tiles, sides) = (&mut self.seen, &self.tiles, &self.sides);
                let compute = || {
                    self.parts.pack(&part.sides, seen, &mut panels, &mut values);
                    sums = tiles.sums(&part.features, (&panels[0], &panels[1]));
                    began.elapsed()
                };
                let read = || (read_next(sides), began.elapsed());
                let (computing, (next, reading)) = team.meanwhile(compute, read);
                current = next?;
                blocks = Some(panels);
                tally.clock.lap(if reading > computing { Phase::Read } else { Phase::Compute });
            }
            self.put_together(rings.comm, together, &sums, folded, tally);
            self.add_blocks(rings.comm, together);
            tally.clock.lap(Phase::Exchange);
        }
        Ok(true)
    }

    /// Has the sums of all parts added to the tiles of their owners, in the order of the parts. Collective.
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
        let mut checks = &comm.all_reduce(&mine, Reduce::Sum)[..];
        for side in &self.sides {
            let (of_side, rest) = checks.split_at(side.rows.len());
            checks = rest;
            if comm.is_root() {
                side.compare(of_side)?;
            }
        }
        Ok(())
    }

    /// What rows and columns carry beside their features.
    pub(super) fn carried(&self) -> Carried {
        let of = |seen: &Vec<Seen>| seen.iter().map(Seen::extras).collect::<Vec<_>>();
        let [rows, cols] =
            [self.seen.first(), self.seen.last()].map(|seen| of(seen.expect("there is a side")));
        let places = once((0..self.parts.filed.schedule.grid.tile_cols(), 0, 0)).collect();
        Carried { rows, first_row: 0, cols, places }
    }
}

impl Parts {
    /// Packs windows of rows, and of columns if these are others.
    fn pack<T: Number>(
        &self,
        sides: &[Window<'_, T>],
        seen: &mut [Vec<Seen>],
        [rows, cols]: &mut [Block; 2],
        values: &mut Vec<T>,
    ) {
        let scale = (self.scaling != 0).then(|| PowerOfTwo::<T>::new(self.scaling));
        match (sides, seen) {
            ([both], [seen]) => both.pack(seen, &self.measure, scale, (Some(rows), Some(cols)), values),
            ([of_rows, of_cols], [row_seen, col_seen]) => {
                of_rows.pack(row_seen, &self.measure, scale, (Some(rows), None), values);
                of_cols.pack(col_seen, &self.measure, scale, (None, Some(cols)), values);
            }
            _ => unreachable!("there are one or two sides"),
        }
    }
}
