//! The neighbours in a result, open to read.

use std::ops::Range;

use super::super::index_bytes;
use super::super::storable::{read_widened, with_store};
use super::super::sums::check_row;
use super::checksum::RowsChecksum;
use super::{BAND_BYTES, CHECKSUMS, DISTANCES, INDICES};
use crate::error::{Context, Result};
use crate::fail;
use crate::io::array::Array;
use crate::io::result::ResultReader;
use crate::partition::Grid;
use crate::problem::Nearest;

/// The neighbours in a result, to be read.
pub struct NeighborsReader<'a> {
    file: &'a ResultReader,
    /// Which neighbours they are.
    pub nearest: Nearest,
    grid: Grid,
    indices: Array,
    distances: Array,
    pub(super) checksums: Array,
}

impl<'a> NeighborsReader<'a> {
    /// Of a result that has them, complete or not.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let Some(nearest) = file.asked().neighbors else {
            fail!("{} holds no neighbours", file.shown());
        };
        let [indices, distances, checksums] = [INDICES, DISTANCES, CHECKSUMS].map(|name| file.array(name));
        let (indices, distances, checksums) = (indices?, distances?, checksums?);
        let grid = file.header.identity.grid();
        let shape = [grid.n, nearest.count];
        for (array, shape) in [(&indices, shape), (&distances, shape), (&checksums, [grid.tile_rows(), 1])] {
            if array.shape() != shape {
                fail!(
                    "{} is damaged: its neighbours are {:?} and not {shape:?}",
                    file.shown(),
                    array.shape()
                );
            }
        }
        let store = file.asked().stored_as(file.header.identity.problem.dtype);
        let are_indices = if index_bytes(grid.m) == size_of::<i32>() {
            indices.holds::<i32>()
        } else {
            indices.holds::<i64>()
        };
        if !are_indices || !with_store!(store, S => distances.holds::<S>()) || !checksums.holds::<u64>() {
            fail!("{} is damaged: its neighbours are of other types than its attributes say", file.shown());
        }
        Ok(Self { file, nearest, grid, indices, distances, checksums })
    }

    /// Bytes of the neighbours of a row, as they are read and looked up.
    pub fn row_bytes(&self) -> usize {
        2 * self.nearest.count * (size_of::<i64>() + size_of::<f64>())
    }

    /// Whether distances are stored as they were computed.
    pub fn are_as_computed(&self) -> bool {
        self.file.asked().store.is_none()
    }

    /// Indices and distances of the neighbours of some rows.
    pub fn rows(&self, rows: Range<usize>) -> Result<(Vec<i64>, Vec<f64>)> {
        let cannot =
            || format!("the neighbours of rows from {} of {} cannot be read", rows.start, self.file.shown());
        let cols = 0..self.nearest.count;
        let indices = self.indices.read::<i64>(rows.clone(), cols.clone()).context(cannot)?;
        let store = self.file.asked().stored_as(self.file.header.identity.problem.dtype);
        let distances = read_widened(&self.distances, store, rows.clone(), cols).context(cannot)?;
        Ok((indices, distances))
    }

    /// Compares the neighbours in a row of tiles with their checksum.
    pub fn check_checksum(&self, tile_row: usize) -> Result<()> {
        let (rows, mut checksum) = (self.grid.rows(tile_row), RowsChecksum::default());
        let most = (BAND_BYTES / self.row_bytes()).max(1);
        for first in rows.clone().step_by(most) {
            let (indices, distances) = self.rows(first..rows.end.min(first + most))?;
            checksum.add(&indices, distances.into_iter());
        }
        check_row(&self.checksums, (tile_row, rows), checksum.of_row(tile_row), "neighbours", self.file)
    }
}
