//! Opening a file that somebody else has written.

use std::io::{ErrorKind, Read as _};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Once;

use hdf5::file::FileAccessBuilder;
use hdf5::{Error, File, MinorErrorCode};

use super::library_version;
use crate::error::Result;
use crate::fail;
use crate::host::command;

/// What HDF5 puts into the first file of a family.
const FAMILY: &[u8] = b"NCSAfami";

/// Bytes at the beginning of a file that say whether it belongs to a family.
const HEAD: u64 = 4096;

/// Bytes that HDF5 reads around a value that lies alone in a file: a page, not its own 64 KiB.
pub(crate) const SIEVE_BYTES: usize = 4096;

/// Opens an existing file to read, or says in a sentence why not.
pub(crate) fn open(path: &Path) -> Result<File> {
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
    let readable = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) => fail!("{shown} cannot be read: {error}; check its permissions"),
    };
    // the HDF5 crate takes names in UTF-8 only; the open file has another name, which is
    let name = match path.to_str() {
        Some(name) => name.to_owned(),
        None => format!("/proc/self/fd/{}", readable.as_raw_fd()),
    };
    let open = |takes_locks: bool| {
        let access = |plist: &mut FileAccessBuilder| {
            plist.sieve_buf_size(SIEVE_BYTES);
            if !takes_locks {
                plist.file_locking(false);
            }
        };
        File::with_options()
            .with_fapl(|plist| {
                access(plist);
                plist
            })
            .open(&name)
    };
    let opened = match open(true) {
        Err(error) if lock_error(&error).is_some_and(|code| !is_held(code)) => {
            warn_of_locks(path, lock_error(&error).unwrap_or_default());
            open(false)
        }
        opened => opened,
    };
    match opened {
        Ok(file) => Ok(file),
        Err(error) => fail!("{shown} {}", why_closed(path, &error)),
    }
}

/// Why HDF5 does not open a file, and what to do: the sentence after its name.
fn why_closed(path: &Path, error: &Error) -> String {
    let shown = path.display().to_string();
    if let Some(code) = lock_error(error) {
        return if is_held(code) {
            "is open for writing in another program; close it there, for example with file.close() in a notebook".into()
        } else {
            format!("cannot be locked: {}; unset HDF5_USE_FILE_LOCKING", system_error(code))
        };
    }
    if says(error, "already open for") {
        return format!(
            "is marked as open for writing: close it in the program that writes it, or, if that has died, remove the mark with: {}",
            command(&["h5clear", "-s", &shown])
        );
    }
    if let Some(family) = family_of(path) {
        return format!(
            "is one file of a family, which HDF5 has written as several files; merge them with: {}",
            command(&["h5repart", "-family_to_sec2", &family.display().to_string(), "merged.h5"])
        );
    }
    if error.contains_minor(MinorErrorCode::Truncated) {
        return "is truncated: it is shorter than its own header says; copy or write it again".into();
    }
    if error.contains_minor(MinorErrorCode::NotHdf5) {
        return format!("is not an HDF5 file{}", way_to_hdf5(path));
    }
    if is_of_newer_hdf5(error) {
        return format!(
            "cannot be read: the program that wrote it has not finished, it is damaged, or it was written by a newer HDF5 than {}; write it again, for that in the older format, in h5py with h5py.File(name, \"w\", libver=(\"earliest\", \"v110\"))",
            library_version()
        );
    }
    format!("cannot be opened as HDF5: {error}; check it with h5dump -H")
}

/// How a file of another format becomes one of HDF5.
fn way_to_hdf5(path: &Path) -> String {
    let mut head = Vec::new();
    // a file that cannot be read has no format
    let _ = std::fs::File::open(path).map(|file| file.take(16).read_to_end(&mut head));
    let shown = path.display().to_string();
    if [b"CDF\x01", b"CDF\x02", b"CDF\x05"].iter().any(|magic| head.starts_with(*magic)) {
        let convert = command(&["nccopy", "-k", "nc4", &shown, "converted.nc"]);
        return format!(", but one of netCDF's older formats; convert it with: {convert}");
    }
    if head.starts_with(b"MATLAB 5.0 MAT") {
        return ", but an older MATLAB file; save it in MATLAB with save(name, \"-v7.3\")".into();
    }
    "; convert it first, for example with h5py".into()
}

/// Whether HDF5 found something that only later versions of it can read.
pub(crate) fn is_of_newer_hdf5(error: &Error) -> bool {
    error.contains_minor(MinorErrorCode::Version) || says(error, "version")
}

/// Whether one of the sentences that HDF5 says of an error has these words.
fn says(error: &Error, words: &str) -> bool {
    error.stack().is_some_and(|stack| stack.iter().any(|frame| frame.desc().contains(words)))
}

/// The number of the system's error, if HDF5 could not lock a file.
fn lock_error(error: &Error) -> Option<i32> {
    let stack = error.stack()?;
    let told = stack.iter().find_map(|frame| frame.desc().strip_prefix("unable to lock file, errno = "))?;
    told.split(',').next()?.parse().ok()
}

/// Whether a lock failed because another program holds one; else the file system has no locks.
fn is_held(code: i32) -> bool {
    std::io::Error::from_raw_os_error(code).kind() == ErrorKind::WouldBlock
}

fn system_error(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code)
}

fn warn_of_locks(path: &Path, code: i32) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        log::warn!(
            "{} is read without a lock, because its file system has none ({}); make sure that no program writes it meanwhile",
            path.display(),
            system_error(code)
        );
    });
}

/// The pattern of a family's names, as `printf` has it, if the file belongs to one.
fn family_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let is_digit = |c: char| c.is_ascii_digit();
    // every run of digits may be the number of the file
    let mut start = 0;
    while let Some(at) = name[start..].find(is_digit).map(|at| start + at) {
        let end = name[at..].find(|c| !is_digit(c)).map_or(name.len(), |len| at + len);
        let width = end - at;
        let (before, after) = (&name[..at], &name[end..]);
        for (zero, pattern) in [("0".to_owned(), "%d".to_owned()), ("0".repeat(width), format!("%0{width}d"))]
        {
            if begins_family(&path.with_file_name(format!("{before}{zero}{after}"))) {
                return Some(path.with_file_name(format!("{before}{pattern}{after}")));
            }
        }
        start = end;
    }
    None
}

fn begins_family(path: &Path) -> bool {
    let mut head = Vec::new();
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    let mut read = || std::fs::File::open(path)?.take(HEAD).read_to_end(&mut head);
    is_file && read().is_ok() && head.windows(FAMILY.len()).any(|window| window == FAMILY)
}
