//! The distances of a matrix against the definition of its metric, and its tiles against their checksums.

use super::fault::{Fault, Worst, Wrong};
use super::{Case, SAMPLES_BYTES, parts, random_place};
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::fail;
use crate::kernel::{Checksum, Level};
use crate::number::Number;
use crate::partition::{Grid, Tile, range_of};
use crate::pipeline::Workers;
use crate::sink::matrix::MatrixReader;

/// Row and column of one of `count` random pairs: anywhere in its own part of the matrix, which is cut into `count` equal parts in the
/// order of its rows. So all differ, and any of them is known without the others.
fn pair(grid: Grid, count: usize, number: usize, seed: u64) -> (usize, usize) {
    let place = random_place(grid.n * grid.m, count, number, seed);
    (place / grid.m, place % grid.m)
}

/// The matrix of a result that is checked.
pub(super) struct MatrixCheck<'a> {
    case: &'a Case,
    reader: MatrixReader<'a>,
}

impl<'a> MatrixCheck<'a> {
    /// Of the case's result.
    pub(super) fn of(case: &'a Case) -> Result<Self> {
        Ok(Self { case, reader: MatrixReader::of(&case.file)? })
    }

    /// Compares an entry with the definition.
    fn compare<T: Number>(&self, (row, col): (usize, usize), value: f64, x: &[T], y: &[T]) -> Worst {
        let definition = self.case.problem().metric.distance(x, y);
        let wrong = |value| Wrong { row, col, fault: Fault::Distance, value, definition };
        self.case.compare::<T>(value, definition, wrong)
    }

    /// This rank's share of `count` different random pairs, or of all; the same pairs for any number of ranks.
    pub(super) fn pairs<T: Number>(
        &self,
        comm: &Comm,
        workers: &Workers,
        count: usize,
        seed: u64,
    ) -> Result<Worst> {
        let grid = self.reader.grid;
        let count = count.min(grid.n * grid.m);
        // what is kept of a pair: two samples, places and value, and what comparing them gave
        let beside = 64 + size_of::<Worst>();
        let pair_bytes = (2 * self.case.problem().d).saturating_mul(size_of::<T>()).saturating_add(beside);
        let mut worst = Worst::default();
        for numbers in
            parts(range_of(count, comm.size(), comm.rank()), (2 * SAMPLES_BYTES / pair_bytes).max(1))
        {
            let mut places: Vec<_> = numbers.map(|number| pair(grid, count, number, seed)).collect();
            // tile by tile, as they lie in the file
            places.sort_unstable_by_key(|&(row, col)| (row / grid.edge, col / grid.edge, row, col));
            let rows = places.iter().map(|&(row, _)| row);
            let cols = places.iter().map(|&(_, col)| col);
            let (x, y) = match &self.case.y {
                Some(y) => (self.case.x.pick::<T>(rows)?, Some(y.pick::<T>(cols)?)),
                None => (self.case.x.pick::<T>(rows.chain(cols))?, None),
            };
            let y = y.as_ref().unwrap_or(&x);
            let entry = |&(row, col): &(usize, usize)| self.reader.entry(row, col);
            let values = places.iter().map(entry).collect::<Result<Vec<_>>>()?;
            let compare = |at: usize| {
                let (row, col) = places[at];
                self.compare((row, col), values[at], x.sample(row), y.sample(col))
            };
            workers.map(places.len(), compare).iter().for_each(|entry| worst.add(entry));
        }
        Ok(worst)
    }

    /// This rank's share of all tiles. Samples of several tiles are read together, as compressed chunks of the storage may hold
    /// some of each.
    pub(super) fn all<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<Worst> {
        let level = Level::detect().map_err(Error::Failed)?;
        let (grid, d) = (self.reader.grid, self.case.problem().d);
        let tile_bytes = grid.edge.saturating_mul(d).saturating_mul(size_of::<T>());
        let together = (SAMPLES_BYTES / tile_bytes.max(1)).max(1);
        let mut checksum = Checksum::default();
        let mut worst = Worst::default();
        for tile_rows in parts(range_of(grid.tile_rows(), comm.size(), comm.rank()), together) {
            let first_row = grid.rows(tile_rows.start).start;
            let x = self.case.x.read::<T>(first_row..grid.rows(tile_rows.end - 1).end)?;
            for tile_cols in parts(0..grid.tile_cols(), together) {
                let first_col = grid.cols(tile_cols.start).start;
                let y = self.case.y().read::<T>(first_col..grid.cols(tile_cols.end - 1).end)?;
                for tile in tile_rows.clone().flat_map(|i| tile_cols.clone().map(move |j| Tile { i, j })) {
                    let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
                    let (values, computed) = self.reader.tile(tile, level, &mut checksum)?;
                    self.check_checksum(tile, computed)?;
                    let (x, y) = (&x[(rows.start - first_row) * d..], &y[(cols.start - first_col) * d..]);
                    let of_row = |r: usize| {
                        let mut worst = Worst::default();
                        let line = values[r * cols.len()..].iter().zip(y.chunks_exact(d)).take(cols.len());
                        for (c, (&value, y)) in line.enumerate() {
                            let place = (rows.start + r, cols.start + c);
                            worst.add(&self.compare(place, value, &x[r * d..][..d], y));
                        }
                        worst
                    };
                    workers.map(rows.len(), of_row).iter().for_each(|row| worst.add(row));
                }
            }
        }
        Ok(worst)
    }

    fn check_checksum(&self, tile: Tile, computed: u64) -> Result<()> {
        let stored = self.reader.checksum(tile)?;
        if computed != stored {
            let grid = self.reader.grid;
            let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
            fail!(
                "{}: tile ({}, {}), rows {} to {} and columns {} to {}, has checksum {computed:016x}, but {stored:016x} was stored when it was computed; the file has changed since",
                self.case.file.shown(),
                tile.i,
                tile.j,
                rows.start,
                rows.end,
                cols.start,
                cols.end
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_pairs_differ_and_as_many_as_there_are_are_all_of_them() {
        for (n, m) in [(1, 1), (5, 3), (20, 31)] {
            let grid = Grid { n, m, edge: 4, symmetric: false };
            for count in [1, n, n * m / 2 + 1, n * m] {
                for seed in [0, 1, u64::MAX] {
                    let pairs: HashSet<_> =
                        (0..count).map(|number| pair(grid, count, number, seed)).collect();
                    assert!(pairs.iter().all(|&(row, col)| row < n && col < m), "{pairs:?}");
                    assert_eq!(pairs.len(), count);
                }
            }
        }
    }

    #[test]
    fn random_pairs_lie_everywhere_in_a_matrix_too_large_for_any_disk() {
        let grid = Grid { n: 1 << 30, m: 1 << 30, edge: 4, symmetric: false };
        let pairs: Vec<_> = (0..1000).map(|number| pair(grid, 1000, number, 0)).collect();
        for part in 0..10 {
            let range = range_of(1 << 30, 10, part);
            for place in [|pair: &(usize, usize)| pair.0, |pair: &(usize, usize)| pair.1] {
                let within = pairs.iter().filter(|pair| range.contains(&place(pair))).count();
                assert!((60..150).contains(&within), "{within} of 1000 in a tenth");
            }
        }
    }
}
