//! Snapshots: at every checkpoint a rank saves the results that it has gathered and not written to the result file yet.
//!
//! A snapshot holds rows of equal length. The rank writes it under another name and renames it over the previous one, so that a snapshot is never
//! half written. A resumed run may have another number of ranks. Each rank reads its rows from all existing snapshots and writes a snapshot of its own in the next
//! *generation*. When all ranks have done so, the snapshots of older generations are removed. At any time, the snapshots in the folder together are complete.
//! `docs/FORMAT.md` has the layout.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Context, Result};
use crate::fail;
use crate::partition::Tile;

/// What a sink has gathered of rows. Called by the checkpoint thread, while workers add to it.
pub trait State: Send {
    /// The rows of the matrix that this rank has.
    fn rows(&self) -> Range<usize>;

    /// Bytes of a row.
    fn row_bytes(&self) -> usize;

    /// Appends what it has of these rows.
    fn save(&self, rows: Range<usize>, out: &mut Vec<u8>);

    /// Takes in what was saved of a row. What is there stays.
    fn load(&self, row: usize, saved: &[u8]);

    /// Leaves out what comes from tiles that are not done.
    fn retain(&self, is_done: &dyn Fn(Tile) -> bool);
}

/// A snapshot's place among all, or a spool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// 0 in the first run, and one more each time the run is resumed.
    pub generation: usize,
    /// The rank that writes it.
    pub rank: usize,
}

const MAGIC: &[u8; 16] = b"pairdist rows   ";

/// Bytes of a header: the magic, the run, first row, rows and bytes of a row, and the check value of these.
const HEADER_BYTES: usize = 56;

/// Rows with a check value of their own.
pub const BAND: usize = 1024;

fn header(run: u64, rows: &Range<usize>, row_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..16].copy_from_slice(MAGIC);
    let words = [run, rows.start as u64, rows.len() as u64, row_bytes as u64];
    header[16..48].copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
    let check = xxh3_64_with_seed(&header[..48], run);
    header[48..].copy_from_slice(&check.to_le_bytes());
    header
}

/// The rows, if it is a header of this run for rows of so many bytes.
fn opened(header_bytes: &[u8; HEADER_BYTES], run: u64, row_bytes: usize) -> Option<Range<usize>> {
    let (words, _) = header_bytes[16..48].as_chunks::<8>();
    let [start, len] = [1, 2].map(|at| usize::try_from(u64::from_le_bytes(words[at])));
    let (start, len) = (start.ok()?, len.ok()?);
    let rows = start..start.checked_add(len)?;
    (header(run, &rows, row_bytes) == *header_bytes).then_some(rows)
}

fn bands(rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = rows.end;
    rows.clone().step_by(BAND).map(move |first| first..end.min(first + BAND))
}

/// Writes the snapshots of a rank.
pub struct Snapshots {
    path: PathBuf,
    draft: PathBuf,
    run: u64,
    sync: bool,
    state: Box<dyn State>,
}

impl Snapshots {
    /// Of this state, in a file of this name, by way of another. With `sync`, they are forced to the disk.
    pub fn new([path, draft]: [PathBuf; 2], run: u64, sync: bool, state: Box<dyn State>) -> Self {
        Self { path, draft, run, sync, state }
    }

    /// Replaces the snapshot by one of what there is now.
    pub fn write(&self) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let (rows, row_bytes) = (self.state.rows(), self.state.row_bytes());
            let mut file = BufWriter::new(File::create(&self.draft)?);
            file.write_all(&header(self.run, &rows, row_bytes))?;
            let mut bytes = Vec::with_capacity(row_bytes * rows.len().min(BAND));
            for band in bands(&rows) {
                bytes.clear();
                self.state.save(band.clone(), &mut bytes);
                file.write_all(&bytes)?;
                file.write_all(&check(&bytes, self.run, band.start).to_le_bytes())?;
            }
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            if self.sync {
                file.sync_all()?;
            }
            fs::rename(&self.draft, &self.path)?;
            if self.sync
                && let Some(folder) = self.path.parent()
            {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        write().context(|| format!("{} cannot be written; check free space and quota", self.path.display()))
    }
}

fn check(bytes: &[u8], run: u64, first: usize) -> u64 {
    xxh3_64_with_seed(bytes, run ^ (first as u64).rotate_left(32))
}

/// Has `state` take in what a snapshot holds of its rows. Returns which of them are whole in it; bands that are not are passed over.
///
/// # Errors
/// If it cannot be read, or is of another run.
pub fn read(path: &Path, run: u64, state: &dyn State) -> Result<Vec<Range<usize>>> {
    let shown = path.display();
    let mut file = BufReader::new(File::open(path).context(|| format!("{shown} cannot be opened"))?);
    let mut header_bytes = [0; HEADER_BYTES];
    let row_bytes = state.row_bytes();
    let header = file.read_exact(&mut header_bytes).ok().and_then(|()| opened(&header_bytes, run, row_bytes));
    let Some(rows) = header else {
        fail!("{shown} is damaged, or does not belong to this run; start over with --force");
    };
    let (mut whole, mut bytes, mine) = (Vec::new(), Vec::new(), state.rows());
    for band in bands(&rows) {
        let len = band.len() * row_bytes;
        let wanted = band.start.max(mine.start)..band.end.min(mine.end);
        if wanted.is_empty() {
            let skipped = i64::try_from(len + size_of::<u64>()).expect("a band is in memory at once");
            file.seek_relative(skipped).context(|| format!("{shown} cannot be read"))?;
            continue;
        }
        bytes.resize(len + size_of::<u64>(), 0);
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            result => result.context(|| format!("{shown} cannot be read"))?,
        }
        let (saved, stored) = bytes.split_at(len);
        if check(saved, run, band.start).to_le_bytes() != stored {
            continue;
        }
        for row in wanted.clone() {
            state.load(row, &saved[(row - band.start) * row_bytes..][..row_bytes]);
        }
        whole.push(wanted);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const ROW_BYTES: usize = 5;

    /// Some rows of bytes.
    #[derive(Clone)]
    struct Rows(Range<usize>, Arc<Mutex<Vec<[u8; ROW_BYTES]>>>);

    impl Rows {
        fn of(rows: Range<usize>, value: impl Fn(usize) -> u8) -> Self {
            let values = rows.clone().map(|row| [value(row); ROW_BYTES]).collect();
            Self(rows, Arc::new(Mutex::new(values)))
        }
    }

    impl State for Rows {
        fn rows(&self) -> Range<usize> {
            self.0.clone()
        }

        fn row_bytes(&self) -> usize {
            ROW_BYTES
        }

        fn save(&self, rows: Range<usize>, out: &mut Vec<u8>) {
            let values = self.1.lock().unwrap();
            rows.for_each(|row| out.extend(values[row - self.0.start]));
        }

        fn load(&self, row: usize, saved: &[u8]) {
            self.1.lock().unwrap()[row - self.0.start].copy_from_slice(saved);
        }

        fn retain(&self, _: &dyn Fn(Tile) -> bool) {}
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "any byte does")]
    fn other_ranks_read_their_rows_from_several_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let paths = |name: &str| [folder.path().join(name), folder.path().join("draft")];
        for (name, rows) in [("a", 0..3000), ("b", 3000..4500)] {
            Snapshots::new(paths(name), 7, true, Box::new(Rows::of(rows, |row| row as u8))).write().unwrap();
        }
        assert!(!folder.path().join("draft").exists());
        let mine = Rows::of(2900..4000, |_| 0);
        let mut whole = read(&folder.path().join("a"), 7, &mine).unwrap();
        whole.extend(read(&folder.path().join("b"), 7, &mine).unwrap());
        assert_eq!(whole.iter().map(Range::len).sum::<usize>(), 1100);
        assert!(mine.0.zip(&*mine.1.lock().unwrap()).all(|(row, value)| *value == [row as u8; ROW_BYTES]));
        let other = read(&folder.path().join("a"), 8, &Rows::of(0..1, |_| 0));
        assert!(other.unwrap_err().to_string().contains("does not belong to this run"));
    }

    #[test]
    fn a_flipped_bit_costs_its_band_and_a_torn_end_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let rows = Rows::of(0..3000, |_| 1);
        Snapshots::new([path.clone(), folder.path().join("draft")], 7, false, Box::new(rows.clone()))
            .write()
            .unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 100] ^= 4;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path, 7, &rows).unwrap(), [1024..2048, 2048..3000]);
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(&path, 7, &rows).unwrap(), (1..2).map(|band| 1024 * band..2048).collect::<Vec<_>>());
        fs::write(&path, &bytes[..20]).unwrap();
        assert!(read(&path, 7, &rows).unwrap_err().to_string().contains("--force"));
    }
}
