//! The upper triangle of a result, read back.

use std::ops::Range;

use bytemuck::Zeroable;

use super::super::Distances;
use super::super::storable::{Storable, widened_tile, with_store};
use super::super::sums::{stored_sums, sum_of};
use super::places::{above, len, pair_at, place_of};
use super::{CHECKSUMS, DISTANCES};
use crate::element::{Element, StoreType};
use crate::error::{Context, Result};
use crate::fail;
use crate::io::array::Array;
use crate::io::result::ResultReader;
use crate::kernel::{Checksum, Level};
use crate::partition::{Grid, Tile};

/// The upper triangle of a result, open to read.
pub struct CondensedReader<'a> {
    file: &'a ResultReader,
    grid: Grid,
    distances: Array,
    checksums: Array,
    store: StoreType,
}

impl<'a> CondensedReader<'a> {
    /// Of a result that has it, complete or not.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
        let grid = file.header.identity.grid();
        let store = file.asked().stored_as(file.header.identity.problem.dtype);
        if distances.shape() != [len(grid.n)] || !with_store!(store, S => distances.holds::<S>()) {
            fail!(
                "{} is damaged: its condensed distances are {:?}, and not {} of type {}",
                file.shown(),
                distances.shape(),
                len(grid.n),
                store.name()
            );
        }
        if checksums.shape() != [grid.tile_rows(), grid.tile_cols()] || !checksums.holds::<u64>() {
            fail!(
                "{} is damaged: the checksums of its condensed distances are {:?}, and not one u64 for each tile",
                file.shown(),
                checksums.shape()
            );
        }
        Ok(Self { file, grid, distances, checksums, store })
    }

    /// Wrapping sum of the stored checksums.
    pub fn stored_sum(&self) -> Result<u64> {
        sum_of(&self.checksums, |row| row, self.file)
    }

    /// Distances of a row, from columns above the diagonal.
    fn row<S: Storable>(&self, row: usize, cols: Range<usize>) -> Result<Vec<S>> {
        if cols.is_empty() {
            return Ok(Vec::new());
        }
        let first = place_of(self.grid.n, row, cols.start);
        let read = self.distances.read_line(first..first + cols.len());
        read.context(|| format!("row {row} of {} cannot be read", self.file.shown()))
    }
}

impl Distances for CondensedReader<'_> {
    fn count(&self) -> usize {
        len(self.grid.n)
    }

    fn pair(&self, place: usize) -> (usize, usize) {
        pair_at(self.grid.n, place)
    }

    fn tiles(&self, tile_row: usize) -> Range<usize> {
        tile_row..self.grid.tile_cols()
    }

    fn columns(&self, row: usize, cols: Range<usize>) -> Range<usize> {
        above(row, &cols)
    }

    fn entry(&self, row: usize, column: usize) -> Result<f64> {
        with_store!(self.store, S => {
            let stored = self.row::<S>(row, column..column + 1)?;
            Ok(S::widened(&stored, &mut Vec::new())[0].to_f64())
        })
    }

    fn tile(&self, tile: Tile, level: Level, checksum: &mut Checksum) -> Result<(Vec<f64>, u64)> {
        let (rows, cols) = (self.grid.rows(tile.i), self.grid.cols(tile.j));
        with_store!(self.store, S => {
            let mut stored = vec![<S as Zeroable>::zeroed(); rows.len() * cols.len()];
            for (row, values) in rows.clone().zip(stored.chunks_exact_mut(cols.len())) {
                let above = above(row, &cols);
                values[above.start - cols.start..].copy_from_slice(&self.row::<S>(row, above)?);
            }
            Ok(widened_tile(&stored, (rows, cols), level, checksum))
        })
    }

    fn checksum(&self, tile: Tile) -> Result<u64> {
        Ok(stored_sums(&self.checksums, tile.i, tile.j..tile.j + 1, self.file)?[0])
    }
}
