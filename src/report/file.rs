//! Run records and plans as JSON files, for other programs to read.
//!
//! A record replaces an earlier one, and nothing else. It is written beside it first, so that one that was there stays whole
//! until the new one is.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// No record is longer, in bytes.
const RECORD_LEN: u64 = 1 << 28;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A run.
    Run,
    /// A plan.
    Plan,
}

impl RecordKind {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run record",
            Self::Plan => "plan",
        }
    }
}

/// What a record says by which it is known.
#[derive(Deserialize)]
struct Known {
    #[allow(dead_code, reason = "that it is there is what counts")]
    problem: KnownProblem,
    digest: Option<String>,
    node_hours: Option<f64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "that it is there is what counts")]
struct KnownProblem {
    n: u64,
    m: u64,
    d: u64,
    metric: String,
}

/// Refuses a record that could not be written, or would replace anything but an older one of its kind. `others` are files and folders
/// that it must neither be nor lie in.
pub fn check(record: &Path, kind: RecordKind, others: &[&Path]) -> Result<()> {
    let shown = record.display();
    if is_stream(record) {
        return Ok(());
    }
    let parent = record.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() || record.is_dir() {
        return Err(Error::Usage(format!("--json {shown}: it must be a file in a folder that exists")));
    }
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let lies_in = |other: &Path| {
        absolute(other).zip(absolute(record)).is_some_and(|(other, record)| record.starts_with(other))
    };
    if others.iter().any(|other| lies_in(other)) {
        return Err(Error::Usage(format!(
            "--json {shown}: it is an input or the result of this run; choose another name"
        )));
    }
    if record.is_file() && !may_be_replaced(record, kind) {
        return Err(Error::Usage(format!(
            "--json {shown}: it exists and is no {}; choose another name",
            kind.name()
        )));
    }
    // a terminal or the pipe of a shell has somebody at its other end; a named pipe may wait for ever
    if record.symlink_metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
        return Err(Error::Usage(format!("--json {shown}: it is a named pipe; name a file, or /dev/stdout")));
    }
    let cannot =
        |error| Error::Usage(format!("--json {shown}: it cannot be written: {error}; choose another name"));
    // a folder may be there and yet take nothing
    match draft_of(record).map_err(cannot)? {
        Some(draft) => File::create_new(&draft).and_then(|_| fs::remove_file(&draft)).map_err(cannot),
        None => Ok(()),
    }
}

/// Whether a path is a way to what the shell has opened, such as /dev/stdout, whatever that is.
fn is_stream(path: &Path) -> bool {
    let is_there = path.metadata().is_ok_and(|meta| !meta.is_dir());
    is_there && (path.starts_with("/dev") || path.starts_with("/proc"))
}

/// Whether a file is a record of this kind, or empty.
fn may_be_replaced(path: &Path, kind: RecordKind) -> bool {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(RECORD_LEN).read_to_end(&mut text));
    let is_known = |known: Known| match kind {
        RecordKind::Run => known.digest.is_some(),
        RecordKind::Plan => known.node_hours.is_some(),
    };
    read.is_ok() && (text.is_empty() || serde_json::from_slice(&text).is_ok_and(is_known))
}

/// Where a record is written before it gets its name: beside it, or beside what it is a link to. Nothing for a pipe or a terminal.
fn draft_of(record: &Path) -> std::io::Result<Option<PathBuf>> {
    if is_stream(record) {
        return Ok(None);
    }
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
pub fn write(path: &Path, kind: RecordKind, record: &impl Serialize) -> Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    let text = serde_json::to_string_pretty(record).context(cannot)? + "\n";
    let Some(draft) = draft_of(path).context(cannot)? else {
        let written =
            File::options().append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        return written.context(cannot);
    };
    let exists = path.exists();
    if exists && !may_be_replaced(path, kind) {
        crate::fail!("{} is no {} any more, so it is left as it is", path.display(), kind.name());
    }
    let place = if exists { path.canonicalize().context(cannot)? } else { path.to_owned() };
    let replace = || fs::write(&draft, text).and_then(|()| fs::rename(&draft, place));
    replace().inspect_err(|_| drop(fs::remove_file(&draft))).context(cannot)
}
