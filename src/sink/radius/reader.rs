//! What lies within the radius in a result, open to read.

use std::ops::Range;

use super::super::index_bytes;
use super::super::sums::check_row;
use super::checksum::RowsChecksum;
use super::{BATCH, CHECKSUMS, DATA, ENCODING, GROUP, INDICES, INDPTR, values_of, with_values};
use crate::element::{Element, StoreType};
use crate::error::{Context, Result};
use crate::fail;
use crate::io::array::Array;
use crate::io::result::ResultReader;
use crate::partition::Grid;
use crate::problem::Within;

/// What lies within the radius in a result, to be read.
pub struct RadiusReader<'a> {
    file: &'a ResultReader,
    /// Which samples they are.
    pub within: Within,
    /// How many they are of all samples together.
    pub len: usize,
    pub(super) grid: Grid,
    /// Type of the distances.
    pub store: StoreType,
    indptr: Array,
    indices: Array,
    data: Array,
    pub(super) checksums: Array,
}

/// The samples within the radius of some.
pub struct Rows {
    /// Their indices, row by row.
    pub indices: Vec<i64>,
    /// Their distances.
    pub distances: Vec<f64>,
}

impl<'a> RadiusReader<'a> {
    /// Of a complete result that has them.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let Some(within) = file.asked().within else {
            fail!("{} holds no samples within a radius", file.shown());
        };
        let [indptr, indices, data, checksums] =
            [INDPTR, INDICES, DATA, CHECKSUMS].map(|name| file.array(name));
        let (indptr, indices, data, checksums) = (indptr?, indices?, data?, checksums?);
        let identity = &file.header.identity;
        let (grid, store) = (identity.grid(), values_of(file.asked().stored_as(identity.problem.dtype)));
        let len = indices.shape().iter().product();
        let shapes = [(&indptr, vec![grid.n + 1]), (&indices, vec![len]), (&data, vec![len])];
        for (array, shape) in shapes.into_iter().chain([(&checksums, vec![grid.tile_rows(), 1])]) {
            if array.shape() != shape {
                fail!(
                    "{} is damaged: an array of the pairs within the radius is {:?} and not {shape:?}",
                    file.shown(),
                    array.shape()
                );
            }
        }
        file.check_group(GROUP, ENCODING, (grid.n, grid.m))?;
        let has_narrow = index_bytes(grid.m) == size_of::<i32>();
        let are_indices = if has_narrow { indices.holds::<i32>() } else { indices.holds::<i64>() };
        let are_values = with_values!(store, S => data.holds::<S>());
        if !are_indices || !are_values || !indptr.holds::<i64>() || !checksums.holds::<u64>() {
            fail!(
                "{} is damaged: the pairs within the radius are of other types than its attributes say",
                file.shown()
            );
        }
        Ok(Self { file, within, len, grid, store, indptr, indices, data, checksums })
    }

    /// Bytes of the longest row, as it is read and looked up.
    ///
    /// # Errors
    /// If the numbers of entries cannot be read, or cannot be.
    pub fn row_bytes(&self) -> Result<usize> {
        let (mut longest, mut before) = (0, 0);
        for first in (0..self.grid.n).step_by(BATCH) {
            let ends = self.ends(first..self.grid.n.min(first + BATCH))?;
            longest = ends.windows(2).map(|pair| pair[1] - pair[0]).fold(longest, usize::max);
            if ends[0] != before {
                return self.misplaced(first);
            }
            before = ends[ends.len() - 1];
        }
        if before != self.len {
            return self.misplaced(self.grid.n);
        }
        Ok(size_of::<Rows>() + 2 * longest * (size_of::<i64>() + size_of::<f64>()))
    }

    fn misplaced<R>(&self, row: usize) -> Result<R> {
        fail!(
            "{} is damaged: the entries of rows from {row} (radius/indptr) are not where they can be",
            self.file.shown()
        )
    }

    /// Where the entries of some rows begin, and where the last ends.
    fn ends(&self, rows: Range<usize>) -> Result<Vec<usize>> {
        let read = self.indptr.read_line::<i64>(rows.start..rows.end + 1);
        let ends = read.context(|| self.failed(rows.start))?;
        let ends: Vec<usize> =
            ends.into_iter().map(|end| usize::try_from(end).unwrap_or(usize::MAX)).collect();
        if !ends.is_sorted() || ends.iter().any(|end| *end > self.len) {
            return self.misplaced(rows.start);
        }
        Ok(ends)
    }

    fn failed(&self, row: usize) -> String {
        format!("the pairs within the radius of rows from {row} of {} cannot be read", self.file.shown())
    }

    /// The entries of some rows.
    pub fn rows(&self, rows: Range<usize>) -> Result<Rows> {
        let ends = self.ends(rows.clone())?;
        let all = ends[0]..ends[rows.len()];
        let indices = self.indices.read_line::<i64>(all.clone()).context(|| self.failed(rows.start))?;
        let distances = with_values!(self.store, S => {
            let stored = self.data.read_line::<S>(all).context(|| self.failed(rows.start))?;
            stored.into_iter().map(Element::to_f64).collect()
        });
        Ok(Rows { indices, distances })
    }

    /// Compares the entries in a row of tiles with their checksum.
    pub fn check_checksum(&self, tile_row: usize) -> Result<()> {
        let (rows, mut checksum) = (self.grid.rows(tile_row), RowsChecksum::default());
        let ends = self.ends(rows.clone())?;
        checksum.add_counts(ends.windows(2).map(|pair| (pair[1] - pair[0]) as u64));
        let mut start = rows.start;
        while start < rows.end {
            let first = ends[start - rows.start];
            // as many rows as fit, and one at least
            let more = ends[start - rows.start + 1..].partition_point(|end| end - first <= BATCH);
            let batch = start..start + more.max(1);
            let Rows { indices, distances, .. } = self.rows(batch.clone())?;
            checksum.add(indices.into_iter(), distances.into_iter());
            start = batch.end;
        }
        check_row(
            &self.checksums,
            (tile_row, rows),
            checksum.of_row(tile_row),
            "pairs within the radius",
            self.file,
        )
    }
}
