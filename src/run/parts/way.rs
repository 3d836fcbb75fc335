//! The parts of a band of rows and a band of columns: each rank reads its own samples, and the columns go round the ring for each part.

use std::ops::Range;
use std::time::Instant;

use super::{Carried, Parts, Sample, Samples, parts};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::PowerOfTwo;
use crate::number::Number;
use crate::partition::Tile;
use crate::pipeline::{FoldedTiles, Seen, Tally, Window};
use crate::report::Phase;
use crate::run::compute::Rings;
use crate::run::filed::Filed;
use crate::schedule::Ring;

/// A part of the features of both sides.
struct Part<'a, T> {
    features: Range<usize>,
    rows: Window<'a, T>,
    cols: Option<Window<'a, T>>,
}

/// The panels of a part.
struct Panels {
    rows: Block,
    cols: Block,
}

/// The rows and columns of this rank on one way round the ring.
pub(super) struct Way<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    ring: Ring,
    rows: Samples<'a>,
    /// Where they are not the rows.
    cols: Option<Samples<'a>>,
    /// What is known of each of these rows, and of these columns.
    seen: [Vec<Seen>; 2],
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
        let cols = (!is_same).then(of_cols);
        let seen = [rows.unseen(kernel), cols.as_ref().map_or(Vec::new(), |cols| cols.unseen(kernel))];
        Self { parts, kernel, ring, rows, cols, seen }
    }

    /// Reads a part of the features.
    fn read(rows: &Samples<'a>, cols: Option<&Samples<'a>>, features: Range<usize>) -> Result<Part<'a, T>> {
        let of = |side: &Samples<'a>| Window::read(side.input, side.rows.clone(), features.clone());
        Ok(Part { rows: of(rows)?, cols: cols.map(of).transpose()?, features })
    }

    /// Room for the panels of so many features: of parts of the same length, the memory is used again.
    fn panels(&self, features: usize, last: Option<Panels>) -> Panels {
        let Filed { schedule, rank, .. } = self.parts.filed;
        let (height, edge) = schedule.grid.tile_shape();
        let (of_rows, of_cols) = self.kernel.part_panels(features);
        let (tile_rows, tile_cols) = (self.ring.tile_rows(rank), self.ring.tile_cols(rank));
        let new = || Panels {
            rows: Block::new(tile_rows, height, of_rows),
            cols: Block::new(tile_cols.clone(), edge, of_cols),
        };
        let mut panels = last.filter(|last| last.rows.shape() == of_rows).unwrap_or_else(new);
        // it may have been another rank's
        panels.cols.receive(tile_cols);
        panels
    }

    /// Folds all features of some tiles, part by part, each read while the one before is packed: the blocks of columns go round the ring for each. False if it was time
    /// to stop before the end.
    pub(super) fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        tiles: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Parts { filed: Filed { rank, .. }, width, features, ref measure, scaling, .. } = *self.parts;
        let scale = (scaling != 0).then(|| PowerOfTwo::<T>::new(scaling));
        let samples = self.rows.rows.len() + self.cols.as_ref().map_or(0, |cols| cols.rows.len());
        let is_alone = self.ring.round_count() == 1;
        let (mut ahead, mut last, mut values) = (parts(features, width), None, Vec::new());
        let mut read_next = |rows: &Samples<'a>, cols: Option<&Samples<'a>>| {
            ahead.next().map(|features| Self::read(rows, cols, features)).transpose()
        };
        let mut current = read_next(&self.rows, self.cols.as_ref())?;
        while let Some(Part { features, rows, cols }) = current.take() {
            // all ranks stop together
            if rings.comm.all_reduce(&[u64::from(rings.stop.is_due())], Reduce::Max)[0] > 0 {
                return Ok(false);
            }
            tally.totals.bytes_read += (samples * features.len() * size_of::<T>()) as u64;
            let mut panels = self.panels(features.len(), last.take());
            let ring = self.ring;
            let fold = |round: usize, panels: &Panels| {
                let of_round: Vec<Tile> = ring.tiles(rank, round).collect();
                tiles.fold(&of_round, &features, (&panels.rows, &panels.cols));
            };
            let began = Instant::now();
            let [row_seen, col_seen] = &mut self.seen;
            let pack = || {
                let both = if cols.is_none() { Some(&mut panels.cols) } else { None };
                rows.pack(row_seen, measure, scale, (Some(&mut panels.rows), both), &mut values);
                if let Some(cols) = cols {
                    cols.pack(col_seen, measure, scale, (None, Some(&mut panels.cols)), &mut values);
                }
                row_seen.iter_mut().chain(col_seen).for_each(Seen::add_own);
                if is_alone {
                    fold(0, &panels);
                }
                began.elapsed()
            };
            let read = || (read_next(&self.rows, self.cols.as_ref()), began.elapsed());
            let (computing, (next, reading)) = self.parts.team.meanwhile(pack, read);
            current = next?;
            tally.clock.lap(if reading > computing { Phase::Read } else { Phase::Compute });
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
        fold: impl Fn(usize, &Panels) + Sync,
        panels: &mut Panels,
        tally: &mut Tally<'_>,
    ) {
        let (ring, rank, team) = (self.ring, self.parts.filed.rank, &self.parts.team);
        for round in 0..ring.round_count() {
            if round + 1 == ring.round_count() {
                team.install(|| fold(round, panels));
            } else {
                let mut spare = panels.cols.empty();
                let exchange = || {
                    let incoming = spare.receive(ring.tile_cols(ring.source(rank, round + 1)));
                    let (to, from) = (ring.send_to(rank), ring.receive_from(rank));
                    comm.exchange((panels.cols.words(), to), (incoming, from), std::thread::yield_now);
                };
                team.meanwhile(|| fold(round, panels), exchange);
                tally.totals.bytes_sent += size_of_val(panels.cols.words()) as u64;
                panels.cols = spare;
            }
            tally.clock.lap(Phase::Compute);
        }
    }

    /// Makes sure that samples are those that were read at first.
    pub(super) fn check(&self) -> Result<()> {
        let sides = std::iter::once(&self.rows).chain(&self.cols);
        sides.zip(&self.seen).try_for_each(|(side, seen)| side.check(seen))
    }

    /// What these rows, and the columns of all ranks, carry beside their features. Collective.
    pub(super) fn carried(&self, comm: &Comm) -> Carried {
        let Filed { schedule, rank, .. } = self.parts.filed;
        let of = |seen: &Vec<Seen>| seen.iter().map(Seen::extras).collect::<Vec<_>>();
        let [rows, cols] = &self.seen;
        let own = of(if self.cols.is_some() { cols } else { rows });
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
        Carried { rows: of(rows), first_row: self.rows.rows.start, cols, places }
    }
}
