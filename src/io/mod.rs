//! Files. These are the only modules that read or write HDF5.
//!
//! - `samples` — input matrices, and the checks that refuse unfit ones
//! - `generated` — samples written in parallel
//! - `matrix` — the result: created by one rank, written by all, read back
//! - `runplan`, `journal` — what a run that is taken up again must agree with, and what is done
//! - `workdir` — the folder of an unfinished run, and the rename that publishes its result
//!
//! Only the main thread calls these.

pub mod generated;
pub mod journal;
pub mod matrix;
pub mod runplan;
pub mod samples;
pub mod workdir;

use std::path::Path;

use hdf5::plist::dataset_create::Layout;
use hdf5::{Dataset, File, LinkType};

use crate::element::Element;
use crate::error::Result;
use crate::fail;

/// An element type that HDF5 can store.
pub trait Stored: Element + hdf5::H5Type {}
impl<T: Element + hdf5::H5Type> Stored for T {}

/// Version of the HDF5 library in use.
pub fn library_version() -> String {
    let (major, minor, release) = hdf5::library_version();
    format!("{major}.{minor}.{release}")
}

/// Whether this rank sees a file that rank 0 has created.
fn see(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let shown = path.display();
            fail!(
                "{shown}, which rank 0 has created, cannot be seen: {error}; write to a file system that all nodes share"
            )
        }
    }
}

/// Opens a dataset in the root group that is stored in this very file: HDF5 would follow a link to any other, and wait for ever
/// if that is a FIFO.
fn own_dataset(file: &File, name: &str) -> hdf5::Result<Dataset> {
    let links = file.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native)?;
    if !links.iter().any(|(link, info)| link == name && info.link_type == LinkType::Hard) {
        return Err(format!("it has no dataset \"{name}\" of its own").into());
    }
    let dataset = file.dataset(name)?;
    if dataset.layout() == Layout::Virtual {
        return Err(format!("\"{name}\" is virtual, a view of other files").into());
    }
    Ok(dataset)
}

/// Opens an existing file to read, or says in a sentence why not.
fn open(path: &Path) -> Result<File> {
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => fail!("{shown} cannot be opened: {error}; check the path"),
    };
    if meta.is_dir() {
        fail!("{shown} is a folder; name an HDF5 file");
    }
    if !meta.is_file() {
        fail!("{shown} is not a regular file; name an HDF5 file");
    }
    if let Err(error) = std::fs::File::open(path) {
        fail!("{shown} cannot be read: {error}; check its permissions");
    }
    match File::open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.contains_minor(hdf5::MinorErrorCode::Truncated) => {
            fail!("{shown} is truncated: it is shorter than its own header says; copy or write it again")
        }
        Err(error) if error.contains_minor(hdf5::MinorErrorCode::NotHdf5) => {
            fail!("{shown} is not an HDF5 file; convert it first, for example with h5py")
        }
        Err(error) => fail!("{shown} cannot be opened as HDF5: {error}; check it with h5dump -H"),
    }
}
