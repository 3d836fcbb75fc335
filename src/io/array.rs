//! Matrices of numbers in a file, by blocks of rows and columns.

use std::ops::Range;

use hdf5::{Dataset, H5Type};
use ndarray::ArrayView2;

use super::Attempt;

/// A dataset of two dimensions.
pub struct Array {
    dataset: Dataset,
}

impl Array {
    pub(super) fn of(dataset: Dataset) -> Self {
        Self { dataset }
    }

    /// Its length in each dimension.
    pub fn shape(&self) -> Vec<usize> {
        self.dataset.shape()
    }

    /// Whether its values are of this type.
    pub fn holds<T: H5Type>(&self) -> bool {
        self.dataset.dtype().is_ok_and(|dtype| dtype.is::<T>())
    }

    /// Writes a block, row-major.
    ///
    /// # Panics
    /// If the values are not as many as the block has.
    pub fn write<T: H5Type>(&self, rows: Range<usize>, cols: Range<usize>, values: &[T]) -> Attempt<()> {
        let view = ArrayView2::from_shape((rows.len(), cols.len()), values).expect("a value for each place");
        self.dataset.write_slice(view, (rows, cols))
    }

    /// Reads a block, row-major.
    pub fn read<T: H5Type>(&self, rows: Range<usize>, cols: Range<usize>) -> Attempt<Vec<T>> {
        Ok(self.dataset.read_slice_2d::<T, _>((rows, cols))?.into_raw_vec_and_offset().0)
    }
}
