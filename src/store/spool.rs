//! Spools: pieces of results whose length is known only at the end wait in files of the working folder.
//!
//! A *piece* is what one image of a tile has of a sparse matrix: rows that have entries, each with their number; then the columns of all
//! entries, and then their values. A rank appends those of the rows that it owns to a file of its own, of which there is a new one in each
//! *generation*: nothing is appended to what a killed run has left. The journals say which tiles are done; of a piece that is there more
//! than once, the last counts, as no tile that is done is computed again. `docs/FORMAT.md` has the layout.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::error::{Context, Result};
use crate::fail;
use crate::failpoint;
use crate::host;
use crate::partition::Tile;

const MAGIC: &[u8; 16] = b"pairdist spool  ";

/// Words of a header, of the file as of a piece.
const HEADER: usize = 8;

/// Bytes of it.
const HEADER_BYTES: usize = HEADER * size_of::<u64>();

/// What is known of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The image of a tile that it is of.
    pub tile: Tile,
    /// Rows that have entries.
    pub rows: usize,
    /// Entries.
    pub len: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Whether finite values of it were rounded to infinities.
    pub overflows: bool,
    /// Check value of all that follows.
    check: u64,
}

impl Label {
    fn words(&self) -> [u64; HEADER] {
        let Self { tile, rows, len, value_bytes, overflows, check } = *self;
        let words = [tile.i, tile.j, rows, len, value_bytes, overflows.into()].map(|word: usize| word as u64);
        let mut all = [0; HEADER];
        all[..6].copy_from_slice(&words);
        all[6] = check;
        all[7] = seal(&all[..7]);
        all
    }

    /// Of a header, if it is one.
    fn opened(words: &[u64; HEADER]) -> Option<Self> {
        let [i, j, rows, len, value_bytes, overflows, check, sealed] = *words;
        let number = |word: u64| usize::try_from(word).ok();
        let label = Self {
            tile: Tile { i: number(i)?, j: number(j)? },
            rows: number(rows)?,
            len: number(len)?,
            value_bytes: number(value_bytes)?,
            overflows: overflows != 0,
            check,
        };
        (sealed == seal(&words[..7])).then_some(label)
    }

    /// Bytes of what is known of a piece, in front of it.
    pub const BYTES: usize = HEADER_BYTES;

    /// Bytes of rows, columns and values.
    fn parts(&self) -> [usize; 3] {
        [self.rows * size_of::<[u32; 2]>(), self.len * size_of::<u32>(), self.len * self.value_bytes]
    }

    /// Bytes of the piece, which ends with a whole word.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.parts().iter().sum::<usize>().next_multiple_of(size_of::<u64>())
    }
}

fn seal(words: &[u64]) -> u64 {
    xxh3_64_with_seed(bytemuck::cast_slice(words), 0)
}

/// A piece in memory, with values of type `S`.
#[derive(Debug, Default, PartialEq)]
pub struct Piece<S> {
    /// The rows of the tile that have entries, in order, and how many.
    pub rows: Vec<[u32; 2]>,
    /// The columns in the tile of all entries, in order in each row.
    pub cols: Vec<u32>,
    /// Their values.
    pub values: Vec<S>,
}

impl<S: Pod> Piece<S> {
    /// Of no entries, with room for so many rows and entries.
    pub fn of(rows: usize, len: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            cols: Vec::with_capacity(len),
            values: Vec::with_capacity(len),
        }
    }

    /// Bytes of so many rows and entries.
    pub const fn bytes(rows: usize, len: usize) -> usize {
        rows * size_of::<[u32; 2]>() + len * (size_of::<u32>() + size_of::<S>())
    }

    /// Leaves it without entries.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.cols.clear();
        self.values.clear();
    }

    fn parts(&self) -> [&[u8]; 3] {
        [
            bytemuck::cast_slice(&self.rows),
            bytemuck::cast_slice(&self.cols),
            bytemuck::cast_slice(&self.values),
        ]
    }

    /// What is known of it.
    pub fn label(&self, tile: Tile, overflows: bool) -> Label {
        let (rows, len, value_bytes) = (self.rows.len(), self.cols.len(), size_of::<S>());
        let check = seal(&self.parts().map(xxh3_64));
        Label { tile, rows, len, value_bytes, overflows, check }
    }

    /// The piece as words, to be sent.
    pub fn to_words(&self, label: &Label) -> Vec<u64> {
        let mut words = vec![0_u64; label.bytes() / size_of::<u64>()];
        words[..HEADER].copy_from_slice(&label.words());
        let mut at = HEADER_BYTES;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        for part in self.parts() {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        words
    }
}

/// The first of some pieces as words, and the others.
///
/// # Panics
/// If it is not whole.
pub fn first_of(words: &[u64]) -> (Label, &[u64], &[u64]) {
    let header = words.first_chunk().and_then(Label::opened);
    let label = header.expect("a piece arrives as it was sent");
    let (piece, others) = words.split_at(label.bytes() / size_of::<u64>());
    (label, piece, others)
}

/// A spool that is being written.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    path: Arc<Path>,
    len: u64,
}

impl Spool {
    /// Begins the spool of a run for these rows of the matrix. With `sync`, its name is forced to the disk.
    pub fn begin(path: &Path, run: u64, rows: &Range<usize>, sync: bool) -> Result<Self> {
        let context = || {
            format!(
                "{} cannot be made; make room, or raise the quota, then run the same command with --resume",
                path.display()
            )
        };
        let begin = || -> std::io::Result<File> {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all(bytemuck::cast_slice(&header(run, rows)))?;
            if sync && let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(file)
        };
        let file = Arc::new(begin().context(context)?);
        Ok(Self { file, path: path.into(), len: HEADER_BYTES as u64 })
    }

    /// The file, to be synced, and to be read.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Bytes that are free where it is, if the system tells.
    pub fn free_space(&self) -> Option<u64> {
        host::free_space(self.folder())
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Appends a piece. Returns where it begins.
    pub fn append<S: Pod>(&mut self, piece: &Piece<S>, label: &Label) -> Result<u64> {
        let parts = piece.parts();
        let padding = [0; size_of::<u64>()];
        let len: usize = HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let words = label.words();
        let [rows, cols, values] = parts;
        self.write(&[bytemuck::cast_slice(&words), rows, cols, values, &padding[..label.bytes() - len]])
    }

    /// Appends a piece that was sent. Returns where it begins.
    pub fn append_words(&mut self, words: &[u64]) -> Result<u64> {
        self.write(&[bytemuck::cast_slice(words)])
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<u64> {
        failpoint::hit("spool")?;
        let start = self.len;
        for part in parts {
            let written = self.file.write_all_at(part, self.len);
            written.context(|| {
                format!(
                    "{} cannot be written; make room, or raise the quota or the limit of file sizes (ulimit -f), then run the same command with --resume",
                    self.path.display()
                )
            })?;
            self.len += part.len() as u64;
        }
        Ok(start)
    }
}

fn header(run: u64, rows: &Range<usize>) -> [u64; HEADER] {
    let (magic, _) = MAGIC.as_chunks::<8>();
    let [a, b] = [magic[0], magic[1]].map(u64::from_le_bytes);
    let mut words = [a, b, run, rows.start as u64, rows.len() as u64, 0, 0, 0];
    words[7] = seal(&words[..7]);
    words
}

/// A piece in a spool.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is known of it.
    pub label: Label,
    /// The spool, which may be one of very many: it is opened to be read.
    spool: Arc<Path>,
    /// Where it begins there.
    start: u64,
}

impl Stored {
    /// The spool that it is in.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// A piece that was appended there.
    pub fn at(label: Label, spool: &Spool, start: u64) -> Self {
        Self { label, spool: Arc::clone(&spool.path), start }
    }
}

/// Spools that are open to be read.
#[derive(Debug, Default)]
pub struct Opened(HashMap<Arc<Path>, Arc<File>>);

impl Opened {
    fn file(&mut self, spool: &Arc<Path>) -> Result<Arc<File>> {
        if let Some(file) = self.0.get(spool) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(spool).context(|| format!("{} cannot be opened", spool.display()))?);
        self.0.insert(Arc::clone(spool), Arc::clone(&file));
        Ok(file)
    }
}

/// The pieces in a spool, if its rows of the matrix are among `wanted`, up to the first that is torn.
///
/// # Errors
/// If it cannot be read, or is of another run.
pub fn scan(path: &Path, run: u64, wanted: &Range<usize>) -> Result<Vec<Stored>> {
    let shown = path.display();
    let spool: Arc<Path> = path.into();
    let file = File::open(path).context(|| format!("{shown} cannot be opened"))?;
    let len = file.metadata().context(|| format!("{shown} cannot be read"))?.len();
    let words = |start: u64| -> Option<[u64; HEADER]> {
        let mut words = [0; HEADER];
        file.read_exact_at(bytemuck::cast_slice_mut(&mut words), start).ok()?;
        Some(words)
    };
    // a run that was killed may not have come to its header
    let Some(first) = words(0) else { return Ok(Vec::new()) };
    let number = |word: u64| usize::try_from(word).unwrap_or(0);
    let rows = number(first[3])..number(first[3].saturating_add(first[4]));
    if first != header(run, &rows) {
        fail!("{shown} is damaged, or does not belong to this run; start over with --force");
    }
    let (mut pieces, mut start) = (Vec::new(), HEADER_BYTES as u64);
    if rows.start.max(wanted.start) >= rows.end.min(wanted.end) {
        return Ok(pieces);
    }
    while let Some(label) = words(start).as_ref().and_then(Label::opened) {
        let end = start + label.bytes() as u64;
        if end > len {
            break;
        }
        pieces.push(Stored { label, spool: Arc::clone(&spool), start });
        start = end;
    }
    Ok(pieces)
}

/// Reads a piece from its beginning to its end.
pub struct Reader {
    stored: Stored,
    file: Arc<File>,
    /// Columns of the tile.
    width: usize,
    /// Rows that have entries, and how many, of those that were not read yet.
    rows: std::vec::IntoIter<[u32; 2]>,
    /// Entries that were read.
    read: usize,
    checks: [Xxh3; 3],
}

impl Reader {
    /// Reads the numbers of its rows, of a tile of this shape.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn open(stored: Stored, (height, width): (usize, usize), opened: &mut Opened) -> Result<Self> {
        let file = opened.file(&stored.spool)?;
        let checks = [0; 3].map(|_| Xxh3::new());
        let mut reader = Self { stored, file, width, rows: Vec::new().into_iter(), read: 0, checks };
        let rows = reader.part::<[u32; 2]>(0, 0, reader.stored.label.rows)?;
        let in_order = rows.is_sorted_by(|[row, _], [next, _]| row < next);
        if !in_order || rows.last().is_some_and(|[row, _]| *row as usize >= height) {
            return reader.damaged();
        }
        reader.rows = rows.into_iter();
        Ok(reader)
    }

    /// The next rows, and how many entries they have.
    pub fn rows(&self) -> &[[u32; 2]] {
        self.rows.as_slice()
    }

    /// What it has of the next rows that have entries, so many.
    pub fn take<S: Pod>(&mut self, rows: usize) -> Result<Piece<S>> {
        let rows: Vec<_> = self.rows.by_ref().take(rows).collect();
        let len = rows.iter().map(|[_, len]| *len as usize).sum::<usize>();
        if self.read + len > self.stored.label.len {
            return self.damaged();
        }
        let (cols, values) = (self.part(1, self.read, len)?, self.part(2, self.read, len)?);
        self.read += len;
        if cols.iter().any(|col| *col as usize >= self.width) {
            return self.damaged();
        }
        Ok(Piece { rows, cols, values })
    }

    fn part<V: Pod>(&mut self, part: usize, first: usize, len: usize) -> Result<Vec<V>> {
        let mut values = vec![V::zeroed(); len];
        if len == 0 {
            return Ok(values);
        }
        let Stored { label, start, .. } = &self.stored;
        let before: usize = label.parts()[..part].iter().sum();
        let at = start + (HEADER_BYTES + before + first * size_of::<V>()) as u64;
        let bytes = bytemuck::cast_slice_mut(&mut values);
        self.file
            .read_exact_at(bytes, at)
            .context(|| "a piece of the result in the working folder (spool.*) cannot be read".into())?;
        self.checks[part].update(bytes);
        Ok(values)
    }

    /// Makes sure that what was read, which is all, is what was written.
    pub fn check(&self) -> Result<()> {
        let check = seal(&self.checks.each_ref().map(Xxh3::digest));
        if check == self.stored.label.check { Ok(()) } else { self.damaged() }
    }

    fn damaged<R>(&self) -> Result<R> {
        let Tile { i, j } = self.stored.label.tile;
        fail!(
            "the piece of tile ({i}, {j}) in the working folder (spool.*) is damaged: the disk has changed it; start over with --force"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 7;

    fn piece() -> Piece<f32> {
        Piece { rows: vec![[0, 2], [5, 1]], cols: vec![1, 9, 4], values: vec![0.5, 1.5, 2.5] }
    }

    #[test]
    fn pieces_come_back_as_they_were_and_a_torn_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.0.0");
        let mut spool = Spool::begin(&path, RUN, &(10..20), false).unwrap();
        let label = piece().label(Tile { i: 3, j: 1 }, true);
        spool.append(&piece(), &label).unwrap();
        spool.append_words(&piece().to_words(&piece().label(Tile { i: 3, j: 2 }, false))).unwrap();
        let empty = Piece::<f32>::default();
        spool.append(&empty, &empty.label(Tile { i: 4, j: 0 }, false)).unwrap();
        spool.file().set_len(spool.bytes() + 70).unwrap();
        assert_eq!(scan(&path, RUN, &(20..30)).unwrap().len(), 0);
        let found = scan(&path, RUN, &(19..30)).unwrap();
        let tiles: Vec<_> = found.iter().map(|piece| (piece.label.tile.i, piece.label.tile.j)).collect();
        assert_eq!(tiles, [(3, 1), (3, 2), (4, 0)]);
        assert!(found[0].label.overflows && !found[1].label.overflows);
        for stored in &found[..2] {
            let mut reader = Reader::open(stored.clone(), (6, 10), &mut Opened::default()).unwrap();
            assert_eq!(reader.rows(), piece().rows);
            let first = Piece { rows: vec![[0, 2]], cols: vec![1, 9], values: vec![0.5, 1.5] };
            assert_eq!(reader.take::<f32>(1).unwrap(), first);
            let last = Piece { rows: vec![[5, 1]], cols: vec![4], values: vec![2.5] };
            assert_eq!(reader.take::<f32>(9).unwrap(), last);
            reader.check().unwrap();
        }
        assert!(scan(&path, 8, &(0..100)).unwrap_err().to_string().contains("does not belong to this run"));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.0.0");
        let mut spool = Spool::begin(&path, RUN, &(0..20), false).unwrap();
        let start = spool.append(&piece(), &piece().label(Tile { i: 0, j: 0 }, false)).unwrap();
        for at in 0..40 {
            let mut byte = [0];
            spool.file().read_exact_at(&mut byte, start + 64 + at).unwrap();
            spool.file().write_all_at(&[byte[0] ^ 16], start + 64 + at).unwrap();
            let read = || {
                let mut reader =
                    Reader::open(scan(&path, RUN, &(0..1))?.remove(0), (6, 10), &mut Opened::default())?;
                reader.take::<f32>(2)?;
                reader.check()
            };
            // numbers of entries that are too large cannot even be read
            assert!(read().is_err(), "byte {at}");
            spool.file().write_all_at(&byte, start + 64 + at).unwrap();
        }
    }

    #[test]
    fn pieces_that_are_sent_together_come_apart() {
        let labels = [1, 2].map(|j| piece().label(Tile { i: 0, j }, false));
        let words: Vec<u64> = labels.iter().flat_map(|label| piece().to_words(label)).collect();
        let (label, first, others) = first_of(&words);
        assert_eq!((label, first), (labels[0], &piece().to_words(&labels[0])[..]));
        assert_eq!(first_of(others).0, labels[1]);
        assert!(first_of(others).2.is_empty());
    }
}
