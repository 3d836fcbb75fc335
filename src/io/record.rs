//! Run records and plans as JSON files, for other programs to read.
//!
//! A record replaces an earlier one, and nothing else. It is written beside it first, so that one that was there stays whole
//! until the new one is.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// No record is longer, in bytes.
const RECORD_LEN: u64 = 1 << 28;

/// What every record says.
#[derive(Deserialize)]
#[allow(dead_code, reason = "that it is there is what counts")]
struct Known {
    problem: KnownProblem,
    ranks: u64,
    threads_per_rank: u64,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "that it is there is what counts")]
struct KnownProblem {
    n: u64,
    m: u64,
    d: u64,
    metric: String,
}

/// Refuses a record that could not be written, or would replace anything but an older record. `others` are files that it must not be.
pub fn check(record: &Path, others: &[&Path]) -> Result<()> {
    let shown = record.display();
    let parent = record.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() || record.is_dir() {
        return Err(Error::Usage(format!("--json {shown}: it must be a file in a folder that exists")));
    }
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    if others.iter().any(|other| absolute(other) == absolute(record)) {
        return Err(Error::Usage(format!(
            "--json {shown}: it is an input or the result of this run; choose another name"
        )));
    }
    if record.is_file() && !may_be_replaced(record) {
        return Err(Error::Usage(format!(
            "--json {shown}: it exists and is no run record; choose another name"
        )));
    }
    let cannot =
        |error| Error::Usage(format!("--json {shown}: it cannot be written: {error}; choose another name"));
    // a folder may be there and yet take nothing
    match draft_of(record).map_err(cannot)? {
        Some(draft) => File::create_new(&draft).and_then(|_| fs::remove_file(&draft)).map_err(cannot),
        None => File::options().append(true).open(record).map(drop).map_err(cannot),
    }
}

/// Whether a file is a record, or empty.
fn may_be_replaced(path: &Path) -> bool {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(RECORD_LEN).read_to_end(&mut text));
    read.is_ok() && (text.is_empty() || serde_json::from_slice::<Known>(&text).is_ok())
}

/// Where a record is written before it gets its name: beside it, or beside what it is a link to. Nothing for a pipe or a terminal.
fn draft_of(record: &Path) -> std::io::Result<Option<PathBuf>> {
    let place = match record.metadata() {
        Ok(meta) if !meta.is_file() => return Ok(None),
        Ok(_) => record.canonicalize()?,
        Err(error) if error.kind() == ErrorKind::NotFound && !record.is_symlink() => record.to_owned(),
        Err(error) => return Err(error),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    Ok(Some(place.with_file_name(name)))
}

/// Writes a record, as one JSON object.
pub fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    let text = serde_json::to_string_pretty(record).context(cannot)? + "\n";
    let Some(draft) = draft_of(path).context(cannot)? else {
        let written =
            File::options().append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        return written.context(cannot);
    };
    let exists = path.exists();
    if exists && !may_be_replaced(path) {
        crate::fail!("{} is no run record any more; the record is not written", path.display());
    }
    let place = if exists { path.canonicalize().context(cannot)? } else { path.to_owned() };
    let replace = || fs::write(&draft, text).and_then(|()| fs::rename(&draft, place));
    replace().inspect_err(|_| drop(fs::remove_file(&draft))).context(cannot)
}
