//! Samples written in parallel: created by one rank, filled by all.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::plist::dataset_create::{AllocTime, FillTime};
use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, File};
use ndarray::ArrayView2;

use super::{Stored, close_on_all_ranks, create_in_folder, open_on_all_ranks};
use crate::comm::Comm;
use crate::error::{Context, Result};

/// Name of the dataset that `generate` writes.
const SAMPLES: &str = "samples";

/// Creates a file with an empty matrix of samples, and closes it. `origin` says how it was made.
pub fn create<T: Stored>(path: &Path, shape: (usize, usize), origin: &str) -> Result<()> {
    let build = |name: &OsStr| -> hdf5::Result<()> {
        // the working folder has a lock of its own, and some file systems have none
        let file = File::with_options().with_fapl(|plist| plist.file_locking(false)).create_excl(name)?;
        let builder = file.new_dataset::<T>().shape(shape).alloc_time(Some(AllocTime::Early));
        builder.fill_time(FillTime::Never).create(SAMPLES)?;
        let origin: VarLenUnicode = origin.replace('\0', " ").parse().map_err(|_| "the origin is no text")?;
        file.new_attr::<VarLenUnicode>().create("generated_by")?.write_scalar(&origin)?;
        file.flush()?;
        file.close()
    };
    create_in_folder(path, build)
}

/// A created file of samples, open on all ranks to be filled.
pub struct SamplesWriter {
    file: File,
    samples: Dataset,
    path: PathBuf,
}

impl SamplesWriter {
    /// Opens a file that [`create`] made. Collective.
    pub fn open(path: &Path, comm: &Comm) -> Result<Self> {
        let (file, samples) = open_on_all_ranks(path, comm, |file| file.dataset(SAMPLES))?;
        Ok(Self { file, samples, path: path.to_owned() })
    }

    /// Writes these features of these samples, row-major. HDF5 1.10 and MPI-IO transfer less than 2 GiB at once.
    ///
    /// # Panics
    /// If the values are not as many.
    pub fn write<T: Stored>(&self, rows: Range<usize>, features: Range<usize>, values: &[T]) -> Result<()> {
        let view =
            ArrayView2::from_shape((rows.len(), features.len()), values).expect("a value for each place");
        let first = rows.start;
        let written = self.samples.write_slice(view, (rows, features));
        written.context(|| {
            let shown = self.path.display();
            format!("rows from {first} cannot be written to {shown}; check free space, quota and ulimit -f")
        })
    }

    /// Forces the data to the disk. Collective.
    pub fn sync(&self) -> Result<()> {
        self.file.flush().context(|| format!("{} cannot be forced to the disk", self.path.display()))
    }

    /// Closes the file. Collective.
    pub fn close(self) -> Result<()> {
        let Self { file, samples, path } = self;
        // HDF5 keeps a file open as long as any of its datasets is
        drop(samples);
        close_on_all_ranks(file, &path)
    }
}
