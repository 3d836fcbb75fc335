//! The distances of a matrix, or those above its diagonal, against the definition of its metric, and its tiles against their checksums.

use super::fault::{Fault, Worst, Wrong};
use super::{Case, SAMPLES_BYTES, parts, random_place};
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::fail;
use crate::kernel::{Checksum, Level};
use crate::number::Number;
use crate::partition::{Tile, range_of};
use crate::pipeline::Workers;
use crate::sink::Distances;
use crate::sink::condensed::CondensedReader;
use crate::sink::matrix::MatrixReader;
use crate::source::Input;

/// The distances of a result that are checked.
pub(super) struct MatrixCheck<'a> {
    case: &'a Case,
    reader: Box<dyn Distances + 'a>,
}

impl<'a> MatrixCheck<'a> {
    /// Of the whole matrix.
    pub(super) fn whole(case: &'a Case) -> Result<Self> {
        Ok(Self { case, reader: Box::new(MatrixReader::of(&case.file)?) })
    }

    /// Of what is above its diagonal.
    pub(super) fn condensed(case: &'a Case) -> Result<Self> {
        Ok(Self { case, reader: Box::new(CondensedReader::of(&case.file)?) })
    }

    /// Compares an entry with the definition.
    fn compare<T: Number>(&self, (row, col): (usize, usize), value: f64, x: &[T], y: &[T]) -> Worst {
        let definition = self.case.measure.reference(x, y);
        let wrong =
            |value| Wrong { row, col, fault: Fault::Distance, value, definition: definition.distance };
        self.case.compare::<T>(value, definition, wrong)
    }

    /// This rank's share of `count` different random pairs, or of all; the same pairs for any number of ranks. Each lies anywhere in its own
    /// part of the distances, which are cut into `count` equal parts in the order of their rows.
    pub(super) fn pairs<T: Number>(
        &self,
        comm: &Comm,
        workers: &Workers,
        count: usize,
        seed: u64,
    ) -> Result<Worst> {
        let (grid, places) = (self.case.grid, self.reader.count());
        let count = count.min(places);
        // what is kept of a pair: two samples, places and value, and what comparing them gave
        let beside = 64 + size_of::<Worst>();
        let pair_bytes = (2 * self.case.problem().d).saturating_mul(size_of::<T>()).saturating_add(beside);
        let mut worst = Worst::default();
        for numbers in
            parts(range_of(count, comm.size(), comm.rank()), (2 * SAMPLES_BYTES / pair_bytes).max(1))
        {
            let mut places: Vec<_> =
                numbers.map(|number| self.reader.pair(random_place(places, count, number, seed))).collect();
            // tile by tile, as they lie in the file
            places.sort_unstable_by_key(|&(row, col)| (row / grid.edge, col / grid.edge, row, col));
            let rows = places.iter().map(|&(row, _)| row);
            let cols = places.iter().map(|&(_, col)| col);
            let pick = |samples: &Input, rows: Box<dyn Iterator<Item = usize> + '_>| {
                self.case.pick::<T>(workers, samples, rows)
            };
            let (x, y) = match &self.case.y {
                Some(y) => (pick(&self.case.x, Box::new(rows))?, Some(pick(y, Box::new(cols))?)),
                None => (pick(&self.case.x, Box::new(rows.chain(cols)))?, None),
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
        let (grid, d) = (self.case.grid, self.case.problem().d);
        let tile_bytes = grid.edge.saturating_mul(d).saturating_mul(size_of::<T>());
        let together = (SAMPLES_BYTES / tile_bytes.max(1)).max(1);
        let mut checksum = Checksum::default();
        let mut worst = Worst::default();
        for tile_rows in parts(range_of(grid.tile_rows(), comm.size(), comm.rank()), together) {
            let first_row = grid.rows(tile_rows.start).start;
            let x =
                self.case.read::<T>(workers, &self.case.x, first_row..grid.rows(tile_rows.end - 1).end)?;
            for tile_cols in parts(0..grid.tile_cols(), together) {
                let first_col = grid.cols(tile_cols.start).start;
                let y = self.case.read::<T>(
                    workers,
                    self.case.y(),
                    first_col..grid.cols(tile_cols.end - 1).end,
                )?;
                let tiles = tile_rows.clone().flat_map(|i| tile_cols.clone().map(move |j| Tile { i, j }));
                for tile in tiles.filter(|tile| self.reader.tiles(tile.i).contains(&tile.j)) {
                    let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
                    let (values, computed) = self.reader.tile(tile, level, &mut checksum)?;
                    self.check_checksum(tile, computed)?;
                    let (x, y) = (&x[(rows.start - first_row) * d..], &y[(cols.start - first_col) * d..]);
                    let of_row = |r: usize| {
                        let mut worst = Worst::default();
                        let row = rows.start + r;
                        for col in self.reader.columns(row, cols.clone()) {
                            let c = col - cols.start;
                            let (value, y) = (values[r * cols.len() + c], &y[c * d..][..d]);
                            worst.add(&self.compare((row, col), value, &x[r * d..][..d], y));
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
            let grid = self.case.grid;
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
