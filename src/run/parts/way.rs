//! The parts of a band of rows and a band of columns: each rank reads its own samples, and the columns go round the ring for each part.

use std::ops::Range;

use super::sides::{Samples, Sides, extras, panels};
use super::{Carried, Parts, Sample, read_meanwhile};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::number::Number;
use crate::partition::Tile;
use crate::pipeline::{FoldedTiles, Seen, Tally};
use crate::report::Phase;
use crate::run::compute::Rings;
use crate::run::filed::Filed;
use crate::schedule::Ring;

/// The rows and columns of this rank on one way round the ring.
pub(super) struct Way<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    ring: Ring,
    sides: Sides<'a>,
    /// What is known of each of their samples.
    seen: Vec<Vec<Seen>>,
}

impl<'a, T: Number> Way<'a, T> {
    pub(super) fn new(parts: &'a Parts, kernel: &'a Kernel<T>, ring: Ring) -> Self {
        let Parts { filed: Filed { schedule, rank, x, y }, samples, .. } = parts;
        let (tile_rows, tile_cols) = (ring.tile_rows(*rank), ring.tile_cols(*rank));
        let own = |samples: &'a [Sample], rows: &Range<usize>, first: usize| {
            &samples[rows.start - first..rows.end - first]
        };
        let (rows, first_row) =
            (schedule.rows_of(tile_rows.clone()), schedule.rows_of(schedule.tile_rows(*rank)).start);
        // of one input, the columns that a rank brings are the rows that it owns
        let of_x = if y.is_some() { &samples[0] } else { &samples[1] };
        let rows = Samples { input: x, known: own(of_x, &rows, first_row), rows };
        let is_same = y.is_none() && tile_rows == tile_cols;
        let of_cols = || {
            let cols = schedule.cols_of(tile_cols.clone());
            let first_col = schedule.cols_of(schedule.tile_cols(*rank)).start;
            Samples { input: parts.filed.columns(), known: own(&samples[1], &cols, first_col), rows: cols }
        };
        let sides = Sides(std::iter::once(rows).chain((!is_same).then(of_cols)).collect());
        Self { parts, kernel, ring, seen: sides.unseen(kernel), sides }
    }

    /// Folds all features of some tiles, part by part, each read while the one before is packed: the blocks of columns go round the ring for each. False if it was time
    /// to stop before the end.
    pub(super) fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        tiles: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Self { parts: Parts { filed: Filed { rank, schedule, .. }, team, .. }, ring, .. } = *self;
        let is_alone = ring.round_count() == 1;
        let (mut ahead, mut last, mut values) = (self.parts.ranges(), None, Vec::new());
        let mut read_next =
            |sides: &Sides<'a>| ahead.next().map(|features| sides.read::<T>(features)).transpose();
        let mut current = read_next(&self.sides)?;
        while let Some(part) = current.take() {
            if rings.all_stop(tally) {
                return Ok(false);
            }
            tally.totals.bytes_read += part.bytes;
            let of_tiles = [ring.tile_rows(*rank), ring.tile_cols(*rank)];
            let mut panels = panels(self.kernel, schedule.grid, of_tiles, part.features.len(), last.take());
            let fold = |round: usize, [rows, cols]: &[Block; 2]| {
                let of_round: Vec<Tile> = ring.tiles(*rank, round).collect();
                tiles.fold(&of_round, &part.features, (rows, cols));
            };
            let (parts, seen) = (self.parts, &mut self.seen);
            let compute = || {
                part.pack(parts, seen, &mut panels, &mut values);
                seen.iter_mut().flatten().for_each(Seen::add_own);
                if is_alone {
                    fold(0, &panels);
                }
            };
            current = read_meanwhile(team, tally.clock, compute, || read_next(&self.sides))?;
            if !is_alone {
                self.fold_round_the_ring(rings.comm, fold, &mut panels, tally);
            }
            last = Some(panels);
        }
        Ok(true)
    }

    /// Folds a part while the block of columns goes from rank to rank.
    fn fold_round_the_ring(
        &self,
        comm: &Comm,
        fold: impl Fn(usize, &[Block; 2]) + Sync,
        panels: &mut [Block; 2],
        tally: &mut Tally<'_>,
    ) {
        let (ring, rank, team) = (self.ring, self.parts.filed.rank, &self.parts.team);
        for round in 0..ring.round_count() {
            if round + 1 == ring.round_count() {
                team.install(|| fold(round, panels));
            } else {
                let mut spare = panels[1].empty();
                let exchange = || {
                    let incoming = spare.receive(ring.tile_cols(ring.source(rank, round + 1)));
                    let (to, from) = (ring.send_to(rank), ring.receive_from(rank));
                    comm.exchange((panels[1].words(), to), (incoming, from), std::thread::yield_now);
                };
                team.meanwhile(|| fold(round, panels), exchange);
                tally.totals.bytes_sent += size_of_val(panels[1].words()) as u64;
                panels[1] = spare;
            }
            tally.clock.lap(Phase::Compute);
        }
    }

    /// Makes sure that samples are those that were read at first.
    pub(super) fn check(&self) -> Result<()> {
        self.sides.compare(self.seen.iter().flatten().map(Seen::check))
    }

    /// What these rows, and the columns of all ranks, carry beside their features. Collective.
    pub(super) fn carried(&self, comm: &Comm) -> Carried {
        let Filed { schedule, rank, .. } = self.parts.filed;
        let [rows, own] = extras(&self.seen);
        let mut places = Vec::new();
        let (mut start, mut first) = (0, 0);
        for other in 0..schedule.ranks {
            let tiles = self.ring.tile_cols(other);
            let cols = schedule.cols_of(tiles.clone());
            if other == rank {
                first = start;
            }
            places.push((tiles, start, cols.start));
            start += cols.len();
        }
        let mut all = vec![0; start];
        all[first..].iter_mut().zip(own).for_each(|(to, word)| *to = word);
        let cols = comm.all_reduce(&all, Reduce::Or);
        Carried { rows, first_row: self.sides.0[0].rows.start, cols, places }
    }
}
