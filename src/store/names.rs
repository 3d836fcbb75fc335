//! The names of the files in a working folder.

use std::ffi::OsStr;

use super::snapshot::SnapshotId;

/// The files a run keeps in its folder.
pub(super) const MATRIX: &str = "matrix.h5";
pub(super) const SAMPLES: &str = "samples.h5";
pub(super) const LOCK: &str = "lock";
pub(super) const PLAN: &str = "plan.json";
pub(super) const PLAN_DRAFT: &str = "plan.json.new";
pub(super) const JOURNAL: &str = "journal.";
pub(super) const LISTS: &str = "lists.";
pub(super) const LISTS_DRAFT: &str = "lists.new.";
pub(super) const SPOOL: &str = "spool.";
pub(super) const UNDO: &str = "undo";
pub(super) const UNDO_DRAFT: &str = "undo.new";
pub(super) const TOKEN: &str = "token";

/// Whether a file of the folder has been put there by this program, or by its MPI.
pub(super) fn is_ours(name: &OsStr) -> bool {
    [MATRIX, SAMPLES, LOCK, PLAN, PLAN_DRAFT, UNDO, UNDO_DRAFT, TOKEN].iter().any(|ours| name == *ours)
        || journal_rank(name).is_some()
        || [LISTS, SPOOL].iter().any(|kind| version(name, kind).is_some())
        || number(name, LISTS_DRAFT).is_some()
        || [MATRIX, SAMPLES].iter().any(|file| is_lock_of_mpi(name, file))
}

/// Whether a file is what Open MPI makes beside one that it opens, and leaves there if it is killed: for a moment
/// `matrix.h5.locktest.<rank>`, and `matrix.h5-<job>-<process>.lock` while ranks of several nodes have it open.
pub(super) fn is_lock_of_mpi(name: &OsStr, file: &str) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(file)) else { return false };
    let numbers = rest.strip_prefix(".locktest.").or_else(|| rest.strip_prefix('-')?.strip_suffix(".lock"));
    numbers.is_some_and(|numbers| numbers.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()))
}

/// The rank whose journal has this name.
pub(super) fn journal_rank(name: &OsStr) -> Option<usize> {
    number(name, JOURNAL)
}

/// What the name of a snapshot or a spool says.
pub(super) fn version(name: &OsStr, kind: &str) -> Option<SnapshotId> {
    let (generation, rank) = name.to_str()?.strip_prefix(kind)?.split_once('.')?;
    Some(SnapshotId { generation: plain(generation)?, rank: plain(rank)? })
}

/// The number after the beginning of a name.
fn number(name: &OsStr, beginning: &str) -> Option<usize> {
    plain(name.to_str()?.strip_prefix(beginning)?)
}

/// A number as this program writes it.
fn plain(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}
