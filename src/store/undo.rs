//! The way back from the last arrays of a result, whose length is known only at the end.
//!
//! Before HDF5 is told of them, all bytes of the file that are no values of arrays are saved in the working folder. A run that is killed
//! later, whatever it has left of the file, is resumed after they were put back. `docs/FORMAT.md` has the layout.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Context, Result};
use crate::fail;

const MAGIC: &[u8; 16] = b"pairdist undo   ";

/// Saves the bytes of `file` that are in none of the ranges `raw`, in a file of the name `saved` by way of `draft`. With `sync`, it is forced to
/// the disk.
pub fn save(file: &Path, raw: &[Range<u64>], [saved, draft]: [&Path; 2], run: u64, sync: bool) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let source = File::open(file)?;
        let len = source.metadata()?.len();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(len.to_le_bytes());
        for part in between(raw, len) {
            let first = bytes.len() + 16;
            bytes.extend(part.start.to_le_bytes());
            bytes.extend((part.end - part.start).to_le_bytes());
            let part_len = usize::try_from(part.end - part.start).map_err(std::io::Error::other)?;
            bytes.resize(first + part_len, 0);
            source.read_exact_at(&mut bytes[first..], part.start)?;
        }
        bytes.extend(xxh3_64_with_seed(&bytes, run).to_le_bytes());
        let mut draft_file = File::create(draft)?;
        draft_file.write_all(&bytes)?;
        if sync {
            draft_file.sync_all()?;
        }
        fs::rename(draft, saved)?;
        if sync && let Some(folder) = saved.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().context(|| format!("{} cannot be written; make room, and go on with --resume", saved.display()))
}

/// What lies between some ranges, of a file of so many bytes.
fn between(raw: &[Range<u64>], len: u64) -> Vec<Range<u64>> {
    let mut raw: Vec<_> = raw.iter().filter(|part| !part.is_empty()).cloned().collect();
    raw.sort_unstable_by_key(|part| part.start);
    let starts = std::iter::once(0).chain(raw.iter().map(|part| part.end));
    let ends = raw.iter().map(|part| part.start).chain([len]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|part| !part.is_empty()).collect()
}

/// Puts back what was saved, if anything was. Returns whether there was.
///
/// # Errors
/// If it cannot be read or written, or is damaged.
pub fn restore(file: &Path, saved: &Path, run: u64) -> Result<bool> {
    let mut bytes = Vec::new();
    match File::open(saved) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => {
            let read = opened.and_then(|mut saved| saved.read_to_end(&mut bytes));
            read.context(|| format!("{} cannot be read", saved.display()))?
        }
    };
    let Some((len, parts)) = opened(&bytes, run) else {
        fail!("{} is damaged; start over with --force", saved.display());
    };
    let write = || -> std::io::Result<()> {
        let target = File::options().write(true).open(file)?;
        for (start, part) in parts {
            target.write_all_at(part, start)?;
        }
        target.set_len(len)?;
        target.sync_all()
    };
    write().context(|| format!("{} cannot be written", file.display()))?;
    Ok(true)
}

/// Where a part begins, and its bytes.
type Part<'a> = (u64, &'a [u8]);

/// The length of the file, and the parts that were saved.
fn opened(bytes: &[u8], run: u64) -> Option<(u64, Vec<Part<'_>>)> {
    let (checked, check) = bytes.split_last_chunk::<8>()?;
    if xxh3_64_with_seed(checked, run).to_le_bytes() != *check {
        return None;
    }
    let rest = checked.strip_prefix(MAGIC)?;
    let (len, mut rest) = rest.split_first_chunk::<8>()?;
    let mut parts = Vec::new();
    while let Some((start, after)) = rest.split_first_chunk::<8>() {
        let (part_len, after) = after.split_first_chunk::<8>()?;
        let (part, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*part_len)).ok()?)?;
        parts.push((u64::from_le_bytes(*start), part));
        rest = after;
    }
    Some((u64::from_le_bytes(*len), parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_values_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let [file, saved, draft] = ["file", "saved", "draft"].map(|name| folder.path().join(name));
        let before: Vec<u8> = (0..200).collect();
        fs::write(&file, &before).unwrap();
        assert!(!restore(&file, &saved, 1).unwrap());
        save(&file, &[150..180, 20..100, 100..100, 0..7], [&saved, &draft], 1, true).unwrap();
        // values that come later stay
        let mut after = vec![255; 300];
        fs::write(&file, &after).unwrap();
        assert!(restore(&file, &saved, 1).unwrap());
        after.truncate(200);
        for kept in [7..20, 100..150, 180..200] {
            after[kept.clone()].copy_from_slice(&before[kept]);
        }
        assert_eq!(fs::read(&file).unwrap(), after);
        assert!(restore(&file, &saved, 2).unwrap_err().to_string().contains("--force"));
    }
}
