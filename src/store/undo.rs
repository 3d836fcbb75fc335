//! The way back from the last arrays of a result, whose length is known only at the end.
//!
//! Before HDF5 is told of them, all bytes of the file that are no values of arrays are saved in the working folder. A run that is killed
//! later, whatever it has left of the file, is resumed after they were put back. `docs/FORMAT.md` has the layout.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Context, Result};
use crate::fail;

const MAGIC: &[u8; 16] = b"pairdist undo   ";

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Saves the bytes of `file` that are in none of the ranges `raw`, in a file of the name `saved` by way of `draft`. With `sync`, it is forced to
/// the disk.
pub fn save(file: &Path, raw: &[Range<u64>], [saved, draft]: [&Path; 2], run: u64, sync: bool) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let source = File::open(file)?;
        let len = source.metadata()?.len();
        let mut check = Xxh3::with_seed(run);
        let mut target = BufWriter::new(File::create(draft)?);
        let mut put = |bytes: &[u8]| {
            check.update(bytes);
            target.write_all(bytes)
        };
        put(MAGIC)?;
        put(&len.to_le_bytes())?;
        let mut bytes = vec![0; COPY_BYTES];
        for part in between(raw, len) {
            put(&part.start.to_le_bytes())?;
            put(&(part.end - part.start).to_le_bytes())?;
            for (start, len) in steps(&part) {
                source.read_exact_at(&mut bytes[..len], start)?;
                put(&bytes[..len])?;
            }
        }
        let check = check.digest();
        target.write_all(&check.to_le_bytes())?;
        let target = target.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        if sync {
            target.sync_all()?;
        }
        fs::rename(draft, saved)?;
        if sync && let Some(folder) = saved.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().context(|| {
        format!("{} cannot be written; make room, then run the same command with --resume", saved.display())
    })
}

/// What lies between some ranges, of a file of so many bytes.
fn between(raw: &[Range<u64>], len: u64) -> Vec<Range<u64>> {
    let mut raw: Vec<_> = raw.iter().filter(|part| !part.is_empty()).cloned().collect();
    raw.sort_unstable_by_key(|part| part.start);
    let starts = std::iter::once(0).chain(raw.iter().map(|part| part.end));
    let ends = raw.iter().map(|part| part.start).chain([len]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|part| !part.is_empty()).collect()
}

/// A range in steps: where each begins, and its length.
fn steps(part: &Range<u64>) -> impl Iterator<Item = (u64, usize)> + use<> {
    let end = part.end;
    let len = move |start: u64| usize::try_from(end - start).map_or(COPY_BYTES, |len| len.min(COPY_BYTES));
    part.clone().step_by(COPY_BYTES).map(move |start| (start, len(start)))
}

/// Puts back what was saved, if anything was.
///
/// # Errors
/// If it cannot be read or written, or is damaged; or if the file is shorter than it was, or another.
pub fn restore(file: &Path, saved: &Path, run: u64) -> Result<()> {
    let shown = file.display();
    let source = match File::open(saved) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.context(|| format!("{} cannot be opened", saved.display()))?,
    };
    let target = File::options().read(true).write(true).open(file);
    let target = target.context(|| format!("{shown} cannot be opened"))?;
    let (mut bytes, mut all, mut same) = (vec![0; COPY_BYTES], 0, 0);
    let checked = walk(&source, run, |start, part| {
        // what the file has no more is not the same
        let there = target.read_exact_at(&mut bytes[..part.len()], start).is_ok();
        all += part.len();
        same += part.iter().zip(&bytes).filter(|(saved, found)| there && saved == found).count();
        Ok(())
    });
    let Some(len) = checked.context(|| format!("{} cannot be read", saved.display()))? else {
        fail!("{} is damaged; start over with --force", saved.display());
    };
    // HDF5 may have changed the superblock and the root group, and no more
    if target.metadata().map_or(0, |meta| meta.len()) < len || 2 * same < all {
        fail!("{shown} is not the matrix of its plan, or not whole any more; start over with --force");
    }
    let restored = walk(&source, run, |start, part| target.write_all_at(part, start));
    let restored = restored.and_then(|_| target.set_len(len)).and_then(|()| target.sync_all());
    restored.context(|| format!("{shown} cannot be written"))
}

/// Reads what was saved, part by part. Returns the length of the file that it is of; nothing if it is damaged.
fn walk(
    saved: &File,
    run: u64,
    mut visit: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<Option<u64>> {
    let end = saved.metadata()?.len();
    let mut check = Xxh3::with_seed(run);
    let (mut at, mut bytes) = (0, vec![0; COPY_BYTES]);
    let word = |at: u64, check: &mut Xxh3| {
        let mut word = [0; 8];
        saved.read_exact_at(&mut word, at)?;
        check.update(&word);
        Ok::<_, std::io::Error>(u64::from_le_bytes(word))
    };
    // the magic and the length, and the check value
    if end < 32 {
        return Ok(None);
    }
    for half in MAGIC.as_chunks::<8>().0 {
        if word(at, &mut check)? != u64::from_le_bytes(*half) {
            return Ok(None);
        }
        at += 8;
    }
    let len = word(at, &mut check)?;
    at += 8;
    while at + 24 <= end {
        let (start, part_len) = (word(at, &mut check)?, word(at + 8, &mut check)?);
        at += 16;
        let Some(part) = start.checked_add(part_len).filter(|_| part_len <= end - at - 8) else {
            return Ok(None);
        };
        for (start, len) in steps(&(start..part)) {
            saved.read_exact_at(&mut bytes[..len], at)?;
            check.update(&bytes[..len]);
            visit(start, &bytes[..len])?;
            at += len as u64;
        }
    }
    let computed = check.digest();
    let is_whole = at + 8 == end && word(at, &mut check)? == computed;
    Ok(is_whole.then_some(len))
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
        // nothing was saved
        restore(&file, &saved, 1).unwrap();
        save(&file, &[150..180, 20..100, 100..100, 0..7], [&saved, &draft], 1, true).unwrap();
        // values that come later stay
        let mut after = [&before[..], &[255; 100]].concat();
        after[20..100].fill(254);
        after[100..130].fill(253);
        fs::write(&file, &after).unwrap();
        restore(&file, &saved, 1).unwrap();
        after.truncate(200);
        after[100..130].copy_from_slice(&before[100..130]);
        assert_eq!(fs::read(&file).unwrap(), after);
        assert!(restore(&file, &saved, 2).unwrap_err().to_string().contains("is damaged"));
        // a shorter file, and another one
        for other in [&after[..199], &[9; 200]] {
            fs::write(&file, other).unwrap();
            assert!(restore(&file, &saved, 1).unwrap_err().to_string().contains("start over with --force"));
            assert_eq!(fs::read(&file).unwrap(), other);
        }
        for at in 0..fs::metadata(&saved).unwrap().len() {
            let mut bytes = fs::read(&saved).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 4;
            fs::write(&draft, bytes).unwrap();
            fs::write(&file, &after).unwrap();
            assert!(restore(&file, &draft, 1).is_err(), "byte {at}");
        }
    }
}
