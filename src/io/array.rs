//! Matrices of numbers in a file, by blocks of rows and columns.

use std::cell::OnceCell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use hdf5::{Dataset, H5Type};
use ndarray::ArrayView2;

use super::Attempt;

/// A contiguous dataset of one dimension, written past HDF5: that takes six times as long for a few kB (18 µs against 3).
pub struct Line {
    path: PathBuf,
    /// Opened when it is first written to: HDF5 opens files from inside their folder, where their path leads elsewhere.
    file: OnceCell<File>,
    /// Where it begins in the file; nothing if it has no elements.
    start: Option<u64>,
}

impl Line {
    pub(super) fn of(dataset: &Dataset, path: &Path) -> Self {
        Self { path: path.to_owned(), file: OnceCell::new(), start: dataset.offset() }
    }

    /// Writes elements from `first` on.
    ///
    /// # Errors
    /// If the system cannot write them, or the dataset has none.
    pub fn write<T: Pod>(&self, first: usize, values: &[T]) -> std::io::Result<()> {
        let start = self.start.ok_or(std::io::ErrorKind::InvalidInput)?;
        let file = if let Some(file) = self.file.get() {
            file
        } else {
            let file = File::options().write(true).open(&self.path)?;
            self.file.get_or_init(|| file)
        };
        let bytes = first as u64 * size_of::<T>() as u64;
        file.write_all_at(bytemuck::cast_slice(values), start + bytes)
    }
}

/// A dataset of two dimensions, or of one.
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

    /// Reads a part of a dataset of one dimension.
    pub fn read_line<T: H5Type>(&self, part: Range<usize>) -> Attempt<Vec<T>> {
        Ok(self.dataset.read_slice_1d::<T, _>(part)?.into_raw_vec_and_offset().0)
    }

    /// Reads a block, row-major.
    pub fn read<T: H5Type>(&self, rows: Range<usize>, cols: Range<usize>) -> Attempt<Vec<T>> {
        Ok(self.dataset.read_slice_2d::<T, _>((rows, cols))?.into_raw_vec_and_offset().0)
    }
}
