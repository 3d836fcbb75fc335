//! HDF5 files.
//!
//! - `open` — files of others, to read
//! - `generated` — samples written in parallel
//! - `result` — the file of a result: created by one rank, filled by all, read back
//! - `array` — the matrices in it
//! - `numbers` — numbers for the features
//! - `labels` — names of samples, copied into it
//!
//! Only the main thread calls these.

pub(crate) mod array;
pub(crate) mod generated;
pub(crate) mod labels;
pub(crate) mod numbers;
mod open;
pub(crate) mod result;

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use hdf5::file::LibraryVersion;
use hdf5::plist::dataset_create::Layout;
use hdf5::{Dataset, File, Group, Hyperslab, LinkType, SliceOrIndex};

use crate::comm::Comm;
use crate::element::Element;
use crate::error::{Context, Result};
use crate::failpoint;
use crate::host::Visit;

pub(crate) use open::{SIEVE_BYTES, is_of_newer_hdf5, open};

/// An element type that HDF5 can store.
pub trait Stored: Element + hdf5::H5Type {}
impl<T: Element + hdf5::H5Type> Stored for T {}

/// A type that HDF5 knows.
pub trait FileType: hdf5::H5Type {}
impl<T: hdf5::H5Type> FileType for T {}

/// Version of the HDF5 library in use.
pub fn library_version() -> String {
    let (major, minor, release) = hdf5::library_version();
    format!("{major}.{minor}.{release}")
}

/// Creates a file from inside its folder, where its name is short and plain.
fn create_in_folder(path: &Path, create: impl FnOnce(&OsStr) -> hdf5::Result<()>) -> Result<()> {
    let visit = go_to_folder_of(path)?;
    let created = create(path.file_name().unwrap_or_default());
    created.context(|| format!("{} cannot be created", path.display()))?;
    visit.end().context(cannot_return)
}

fn cannot_return() -> String {
    "the folder that the run was started in cannot be entered again".into()
}

/// What the HDF5 library made of a call.
pub type Attempt<T> = hdf5::Result<T>;

/// Largest block in bytes that is written at once: HDF5 and MPI-IO transfer at most 2 GiB, some of them less.
pub const MAX_WRITE_BYTES: usize = 1 << 30;

/// Opens a file that rank 0 has created on all ranks, to be written with MPI-IO, and what `find` finds in it. Collective.
///
/// It is named from inside its folder: Open MPI has no room for a path of 227 bytes, and ROMIO takes what stands before a colon
/// for the name of a file system.
fn open_on_all_ranks<R>(
    path: &Path,
    comm: &Comm,
    find: impl FnOnce(&File) -> Attempt<R>,
) -> Result<(File, R)> {
    let shown = path.display();
    let visit = comm.agree(go_to_folder_of(path))?;
    let name = path.file_name().unwrap_or_default();
    // a rank that does not see the file would leave the others waiting in the collective open
    comm.agree(std::fs::metadata(name).map(drop).context(|| {
        format!("{shown}, which rank 0 has created, cannot be seen on {}", crate::host::name())
    }))?;
    let opened = File::with_options()
        .with_fapl(|plist| {
            plist.libver_bounds(LibraryVersion::V110, LibraryVersion::V110).mpio(comm.raw(), None)
        })
        .open_rw(name);
    let cannot = || format!("{shown} cannot be opened by all ranks (MPI-IO)");
    // closing is collective: no rank may close the file before all know that they have it
    let file = comm.all_or_end(opened.context(cannot))?;
    let found = failpoint::hit("opened").and_then(|()| find(&file).context(cannot));
    let returned = visit.end().context(cannot_return);
    match comm.agree(found.and_then(|found| returned.map(|()| found))) {
        Ok(found) => Ok((file, found)),
        Err(error) => {
            // the first error is the one to tell
            let _ = comm.agree(close_on_all_ranks(file, path));
            Err(error)
        }
    }
}

/// Closes a file that [`open_on_all_ranks`] has opened, by the name that it was opened with. Its datasets must be closed. Collective.
fn close_on_all_ranks(file: File, path: &Path) -> Result<()> {
    let visit = go_to_folder_of(path);
    let closed = file.close();
    closed.context(|| format!("{} cannot be closed", path.display()))?;
    visit?.end().context(cannot_return)
}

fn go_to_folder_of(path: &Path) -> Result<Visit> {
    let folder = path.parent().unwrap_or(Path::new("."));
    Visit::to(folder).context(|| format!("{} cannot be entered on {}", folder.display(), crate::host::name()))
}

/// Storage chunks of a dataset that were never written, and all chunks; nothing where it is not stored in chunks.
pub fn missing_chunks(dataset: &Dataset) -> Option<(u64, u64)> {
    let (chunk, stored) = (dataset.chunk()?, dataset.num_chunks()?);
    let along =
        dataset.shape().into_iter().zip(chunk).map(|(values, edge)| values.div_ceil(edge.max(1)) as u64);
    let all = along.fold(1, u64::saturating_mul);
    Some((all.saturating_sub(stored as u64), all))
}

/// Opens a dataset that is stored in this very file: HDF5 would follow a link to any other, and wait for ever if that is a FIFO.
fn own_dataset(file: &File, name: &str) -> hdf5::Result<Dataset> {
    let none = || hdf5::Error::from(format!("it has no dataset \"{name}\" of its own"));
    let check = |group: &Group, part: &str| {
        let links = group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native)?;
        match links.iter().find(|(link, _)| link == part).map(|(_, info)| info.link_type) {
            Some(LinkType::Hard) => Ok(()),
            Some(_) => Err(hdf5::Error::from(format!(
                "\"{part}\" is a link, and links are not followed here; name what it leads to"
            ))),
            None => Err(none()),
        }
    };
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let (last, groups) = parts.split_last().ok_or_else(none)?;
    let mut group = file.group("/")?;
    for part in groups {
        check(&group, part)?;
        group = group.group(part).map_err(|_| none())?;
    }
    check(&group, last)?;
    if let Ok(inner) = group.group(last) {
        let members = inner.member_names()?;
        // as AnnData and pandas write labels of which there are few
        let is_categorical =
            ["categories", "codes"].iter().all(|part| members.iter().any(|name| name == part));
        let hint = if is_categorical { format!("; its numbers are \"{name}/codes\"") } else { String::new() };
        return Err(format!("\"{name}\" is a group, not a dataset{hint}").into());
    }
    let dataset = group.dataset(last).map_err(|_| none())?;
    if dataset.layout() == Layout::Virtual {
        return Err(format!("\"{name}\" is virtual, a view of other files").into());
    }
    Ok(dataset)
}

/// Reads a part of a dataset: a range of each of its dimensions, row-major.
pub(crate) fn read_part<S: hdf5::H5Type>(dataset: &Dataset, part: &[Range<usize>]) -> Attempt<Vec<S>> {
    let part: Vec<SliceOrIndex> = part.iter().cloned().map(SliceOrIndex::from).collect();
    let read = dataset.read_slice::<S, _, ndarray::IxDyn>(Hyperslab::from(part))?;
    Ok(read.into_raw_vec_and_offset().0)
}
