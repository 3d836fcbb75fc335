//! The journal of a rank: the tiles that are stored for certain.
//!
//! Blocks of 64 bytes, little-endian: a header, then an entry for each tile, appended when its distances are in the file (and on
//! the disk, if the run syncs). Every block carries a check value that is seeded with the run's number, so that an entry that
//! was torn, has changed or belongs to another run is not believed: its tile is computed again. `docs/FORMAT.md` has
//! the layout.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Context, Result};
use crate::fail;
use crate::kernel::Summary;
use crate::partition::{Grid, Tile, TileSet};

/// Bytes of a header or entry.
const ENTRY_BYTES: usize = 64;

/// Of these, those before the check value.
const CHECKED: usize = ENTRY_BYTES - size_of::<u64>();

const MAGIC: &[u8; 16] = b"pairdist journal";

/// What is known of a computed tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Which tile.
    pub tile: Tile,
    /// Its checksum, and that of its mirror image.
    pub checksum: u64,
    /// The same of its distances as they are stored, which is another if that rounds them.
    pub stored: u64,
    /// The same of those above the diagonal, if the tile lies on it and they are stored alone; else 0.
    pub upper: u64,
    /// Whether distances of it that are finite are stored as infinities.
    pub overflows: bool,
    /// Sum and extremes of its distances.
    pub summary: Summary,
    /// Its distances that the kernel has noted: those that failed the Gram guard, or whose samples share no feature.
    pub noted: u64,
}

/// What is done for certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// A tile, in the journal of the rank that has computed it: what that rank makes of it is stored.
    Forward(Done),
    /// A tile, in the journal of the rank that has the rows of its mirror image: what was mailed to that rank is stored.
    Mirror(Tile),
}

/// Marks the first word of a mirror image's entry.
const MIRROR: u64 = 1 << 63;

/// Marks the first word of a block that has the checksum of a tile as it is stored; its entry is the next block.
const STORED: u64 = 1 << 62;

/// Marks the first word of that entry.
const HAS_STORED: u64 = 1 << 61;

/// Bits of a tile's column in the second word; the generation is above them.
const COLUMN_BITS: u32 = 32;

impl Entry {
    /// The words of a block; before it, those of the one with another checksum of its tile, if it has one.
    fn to_words(self, generation: usize) -> impl Iterator<Item = [u64; 7]> {
        let second = |tile: Tile| (generation as u64) << COLUMN_BITS | tile.j as u64;
        let (before, words) = match self {
            Self::Forward(Done { tile, checksum, stored, upper, overflows, summary, noted }) => {
                let [sum, min, max] = [summary.sum, summary.min, summary.max].map(f64::to_bits);
                let (i, second) = (tile.i as u64, second(tile));
                let before = (stored != checksum || upper != 0).then_some([
                    i | STORED,
                    second,
                    stored,
                    overflows.into(),
                    upper,
                    0,
                    0,
                ]);
                let i = if before.is_some() { i | HAS_STORED } else { i };
                (before, [i, second, checksum, sum, min, max, noted])
            }
            Self::Mirror(tile) => (None, [tile.i as u64 | MIRROR, second(tile), 0, 0, 0, 0, 0]),
        };
        before.into_iter().chain([words])
    }

    /// The entry and its generation, of a block and the one before it if that has a checksum; nothing, if it cannot be of this grid.
    fn from_words(words: [u64; 7], before: Option<[u64; 7]>, grid: &Grid) -> Option<(usize, Self)> {
        let [i, second, checksum, sum, min, max, noted] = words;
        let generation = usize::try_from(second >> COLUMN_BITS).ok()?;
        let j = second & ((1 << COLUMN_BITS) - 1);
        let tile = Tile { i: usize::try_from(i & !MIRROR & !HAS_STORED).ok()?, j: usize::try_from(j).ok()? };
        if tile.i >= grid.tile_rows() || tile.j >= grid.tile_cols() {
            return None;
        }
        if i & MIRROR != 0 {
            return grid.is_mirrored(tile).then_some((generation, Self::Mirror(tile)));
        }
        let (stored, overflows, upper) = if i & HAS_STORED == 0 {
            (checksum, false, 0)
        } else {
            let [of, place, stored, overflows, upper, ..] = before?;
            (of ^ STORED == i ^ HAS_STORED && place == second).then_some((stored, overflows != 0, upper))?
        };
        let [sum, min, max] = [sum, min, max].map(f64::from_bits);
        let summary = Summary { sum, min, max };
        let done = Done { tile, checksum, stored, upper, overflows, summary, noted };
        Some((generation, Self::Forward(done)))
    }
}

/// What journals say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Journalled {
    /// Each tile that has a forward entry, once: a tile that was computed again has two.
    pub tiles: Vec<Done>,
    /// Of each generation, the tiles with a forward entry, and those with one of their mirror image.
    pub generations: Vec<[TileSet; 2]>,
    forward: TileSet,
}

impl Journalled {
    /// Nothing yet.
    pub fn nothing(grid: &Grid) -> Self {
        Self { tiles: Vec::new(), generations: Vec::new(), forward: TileSet::empty(grid) }
    }

    /// Makes room for so many generations.
    pub fn extend(&mut self, grid: &Grid, generations: usize) {
        let missing = generations.saturating_sub(self.generations.len());
        self.generations.extend((0..missing).map(|_| [TileSet::empty(grid), TileSet::empty(grid)]));
    }

    /// Takes in the entries of a journal.
    pub fn add(&mut self, grid: &Grid, entries: &[(usize, Entry)]) {
        for (generation, entry) in entries {
            self.extend(grid, generation + 1);
            let [forward, mirror] = &mut self.generations[*generation];
            match entry {
                Entry::Forward(done) => {
                    forward.insert(done.tile);
                    if !self.forward.contains(done.tile) {
                        self.forward.insert(done.tile);
                        self.tiles.push(*done);
                    }
                }
                Entry::Mirror(tile) => mirror.insert(*tile),
            }
        }
    }

    /// Tiles that are done: those with a forward entry. Where mirror images are mailed, a tile that has one needs an entry of it too, of the
    /// same generation: when a run is resumed, what was found in half a tile is left out of the lists, but its entry stays.
    pub fn done(&self, grid: &Grid, are_mailed: bool) -> TileSet {
        let mut done = TileSet::empty(grid);
        for [forward, mirror] in &self.generations {
            let mut complete = forward.clone();
            if are_mailed {
                complete.retain(|tile| !grid.is_mirrored(tile) || mirror.contains(tile));
            }
            done.unite(&complete);
        }
        done
    }
}

fn sealed(words: [u64; 7], run: u64) -> [u8; ENTRY_BYTES] {
    let mut block = [0; ENTRY_BYTES];
    let bytes = words.map(u64::to_le_bytes);
    block[..CHECKED].copy_from_slice(bytes.as_flattened());
    let check = xxh3_64_with_seed(&block[..CHECKED], run);
    block[CHECKED..].copy_from_slice(&check.to_le_bytes());
    block
}

/// The words of a block, if it is whole and of this run.
fn opened(block: &[u8; ENTRY_BYTES], run: u64) -> Option<[u64; 7]> {
    let (words, _) = block[..CHECKED].as_chunks::<8>();
    let words: [u64; 7] = std::array::from_fn(|at| u64::from_le_bytes(words[at]));
    (sealed(words, run) == *block).then_some(words)
}

fn header(run: u64) -> [u8; ENTRY_BYTES] {
    let (halves, _) = MAGIC.as_chunks::<8>();
    let [a, b] = [halves[0], halves[1]].map(u64::from_le_bytes);
    sealed([a, b, run, 0, 0, 0, 0], run)
}

/// What a journal says.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    /// The entries, in their order, each with its generation.
    pub entries: Vec<(usize, Entry)>,
    /// Blocks that are no entries of this run.
    pub damaged: usize,
}

/// Reads a journal. What was torn off at its end is passed over.
///
/// # Errors
/// If it cannot be read, a rank is still at work on it, or nothing in it belongs to this run.
pub fn read(path: &Path, run: u64, grid: &Grid) -> Result<Contents> {
    let shown = path.display();
    let file = File::open(path).context(|| format!("{shown} cannot be opened"))?;
    let whole_blocks =
        file.metadata().context(|| format!("{shown} cannot be read"))?.len() / ENTRY_BYTES as u64;
    let mut file = BufReader::new(file);
    let mut contents = Contents::default();
    let mut block = [0; ENTRY_BYTES];
    let (mut has_header, mut before) = (false, None);
    for number in 0..whole_blocks {
        match file.read_exact(&mut block) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            result => result.context(|| format!("{shown} cannot be read"))?,
        }
        if number == 0 && block == header(run) {
            has_header = true;
            continue;
        }
        let words = opened(&block, run);
        if let Some(words) = words.filter(|words| words[0] & STORED != 0) {
            before = Some(words);
            continue;
        }
        let before = before.take();
        match words.and_then(|words| Entry::from_words(words, before, grid)) {
            Some(entry) => contents.entries.push(entry),
            None => contents.damaged += 1,
        }
    }
    if whole_blocks > 0 && !has_header && contents.entries.is_empty() {
        fail!("{shown} does not belong to this run; start over with --force");
    }
    Ok(contents)
}

/// Refuses a journal that a rank is still at work on: of a run whose other ranks, and lock, have gone.
pub fn check_free(path: &Path) -> Result<()> {
    // NFS gives an exclusive lock only to who may write
    let file = File::options().read(true).write(true).open(path);
    lock(&file.context(|| format!("{} cannot be opened", path.display()))?, path)
}

/// Takes the lock that its writer holds.
fn lock(file: &File, path: &Path) -> Result<()> {
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        fail!("{} is in use: a rank of an earlier run is still at work; end it first", path.display());
    }
    // not every file system has locks
    Ok(())
}

/// A journal, open to be continued.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    run: u64,
    generation: usize,
}

impl Journal {
    /// Opens the journal, or begins it, after its last whole entry, and locks it as long as it is open. What is appended belongs to this
    /// generation. With `sync`, its name is forced to the disk.
    pub fn open(path: &Path, run: u64, generation: usize, sync: bool) -> Result<Self> {
        let context = || format!("{} cannot be opened", path.display());
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).context(context)?;
        lock(&file, path)?;
        let whole = whole_len(&mut file, run).context(context)?;
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).context(context)?;
        let mut journal = Self { file, path: path.to_owned(), run, generation };
        if whole == 0 {
            journal.write(&header(run))?;
            if sync && let Some(folder) = path.parent() {
                let synced = File::open(folder).and_then(|folder| folder.sync_all());
                synced.context(|| format!("{} cannot be forced to the disk", path.display()))?;
            }
        }
        Ok(journal)
    }

    /// Fails if the journal was removed: the working folder is gone then, and the result could never be published.
    pub fn check_name(&self) -> Result<()> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => fail!(
                "{} was removed while the run wrote to it, such as by a clean-up of the file system; start again, elsewhere",
                self.path.display()
            ),
            // any other may pass, as a network file system's may
            _ => Ok(()),
        }
    }

    /// Appends entries, and forces them to the disk if `sync`.
    pub fn append(&mut self, entries: &[Entry], sync: bool) -> Result<()> {
        let words = entries.iter().flat_map(|entry| entry.to_words(self.generation));
        let blocks: Vec<_> = words.map(|words| sealed(words, self.run)).collect();
        self.write(blocks.as_flattened())?;
        if sync {
            let synced = self.file.sync_data();
            synced.context(|| format!("{} cannot be forced to the disk", self.path.display()))?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context(|| format!("{} cannot be written", self.path.display()))
    }
}

/// Length up to the last block that is whole and of this run.
fn whole_len(file: &mut File, run: u64) -> std::io::Result<u64> {
    let block_len = ENTRY_BYTES as u64;
    let mut end = file.metadata()?.len() / block_len * block_len;
    let mut block = [0; ENTRY_BYTES];
    while end > 0 {
        file.seek(SeekFrom::Start(end - block_len))?;
        file.read_exact(&mut block)?;
        if opened(&block, run).is_some() {
            break;
        }
        end -= block_len;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use std::fs;

    const RUN: u64 = 42;
    const GRID: Grid = Grid { n: 100, m: 100, edge: 10, symmetric: true };

    fn entry(number: usize) -> Entry {
        let tile = Tile { i: number / 10 % 10, j: number % 10 };
        let summary = Summary { sum: number as f64, min: 0.5, max: f64::INFINITY };
        let checksum = number as u64 * 77;
        Entry::Forward(Done {
            tile,
            checksum,
            stored: checksum,
            upper: 0,
            overflows: false,
            summary,
            noted: 3,
        })
    }

    /// A journal of so many entries, in a folder that goes with it.
    fn journal(entries: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.0");
        let all: Vec<_> = (0..entries).map(entry).collect();
        Journal::open(&path, RUN, 0, false).unwrap().append(&all, true).unwrap();
        (folder, path)
    }

    fn numbers(path: &Path) -> Vec<f64> {
        let contents = read(path, RUN, &GRID).unwrap();
        let sum = |entry: &Entry| match entry {
            Entry::Forward(done) => done.summary.sum,
            Entry::Mirror(_) => f64::NAN,
        };
        contents.entries.iter().map(|(_, entry)| sum(entry)).collect()
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let (_folder, path) = journal(20);
        let mirrors = [(0, 9), (3, 4)].map(|(i, j)| Entry::Mirror(Tile { i, j }));
        Journal::open(&path, RUN, 0, false).unwrap().append(&mirrors, false).unwrap();
        let contents = read(&path, RUN, &GRID).unwrap();
        let entries = (0..20).map(entry).chain(mirrors).map(|entry| (0, entry)).collect();
        assert_eq!(contents, Contents { entries, damaged: 0 });
        // of one tile there is no mirror image, and with two inputs of none
        let diagonal = Entry::Mirror(Tile { i: 4, j: 4 });
        Journal::open(&path, RUN, 0, false).unwrap().append(&[diagonal], false).unwrap();
        assert_eq!(read(&path, RUN, &GRID).unwrap().damaged, 1);
        assert_eq!(read(&path, RUN, &Grid { symmetric: false, ..GRID }).unwrap().damaged, 3);
    }

    #[test]
    fn a_tile_whose_mirror_image_is_mailed_is_done_with_both_entries() {
        let forward = |i, j| {
            let summary = Summary::default();
            let tile = Tile { i, j };
            Entry::Forward(Done {
                tile,
                checksum: 1,
                stored: 1,
                upper: 0,
                overflows: false,
                summary,
                noted: 0,
            })
        };
        let mirror = |i, j| Entry::Mirror(Tile { i, j });
        let mut journalled = Journalled::nothing(&GRID);
        // of several ranks, in any order; one tile was computed again
        for entries in
            [[forward(1, 2), forward(2, 2), mirror(5, 6)], [mirror(1, 2), forward(1, 2), forward(3, 4)]]
        {
            journalled.add(&GRID, &entries.map(|entry| (1, entry)));
        }
        assert_eq!(journalled.tiles.len(), 3);
        let done = |journalled: &Journalled, are_mailed| {
            let done = journalled.done(&GRID, are_mailed);
            [(1, 2), (2, 2), (3, 4), (5, 6)].map(|(i, j)| done.contains(Tile { i, j }))
        };
        assert_eq!(done(&journalled, true), [true, true, false, false]);
        assert_eq!(done(&journalled, false), [true, true, true, false]);
        // halves of different generations do not make a tile
        journalled.add(&GRID, &[(2, mirror(3, 4)), (0, forward(5, 6))]);
        assert_eq!(done(&journalled, true), [true, true, false, false]);
        journalled.add(&GRID, &[(2, forward(3, 4))]);
        assert_eq!(done(&journalled, true), [true, true, true, false]);
        assert_eq!(journalled.tiles.len(), 4);
    }

    #[test]
    fn a_tile_that_is_stored_otherwise_is_done_with_both_of_its_checksums() {
        let (_folder, path) = journal(1);
        let rounded = |number: usize| match entry(number) {
            Entry::Forward(done) => Entry::Forward(Done { stored: 5, overflows: number == 7, ..done }),
            Entry::Mirror(_) => unreachable!("it is none"),
        };
        let append = |entries: &[Entry]| {
            Journal::open(&path, RUN, 3, false).unwrap().append(entries, false).unwrap();
        };
        append(&[rounded(2), Entry::Mirror(Tile { i: 3, j: 4 }), rounded(7)]);
        let all = [
            (0, entry(0)),
            (3, rounded(2)),
            (3, Entry::Mirror(Tile { i: 3, j: 4 })),
            (3, rounded(7)),
            (3, entry(9)),
        ];
        let whole = fs::read(&path).unwrap();
        assert_eq!(read(&path, RUN, &GRID).unwrap(), Contents { entries: all[..4].to_vec(), damaged: 0 });
        // without the block before it, an entry is none; alone, that block is none
        for (block, missing) in [(2, 1), (3, 1), (5, 3), (6, 3)] {
            let mut bytes = whole.clone();
            bytes[block * ENTRY_BYTES] ^= 1;
            fs::write(&path, bytes).unwrap();
            let mut entries = all[..4].to_vec();
            entries.remove(missing);
            assert_eq!(read(&path, RUN, &GRID).unwrap().entries, entries, "without block {block}");
        }
        // torn between the two
        fs::write(&path, &whole[..6 * ENTRY_BYTES + 9]).unwrap();
        append(&[entry(9)]);
        let entries = [&all[..3], &all[4..]].concat();
        assert_eq!(read(&path, RUN, &GRID).unwrap(), Contents { entries, damaged: 0 });
    }

    #[test]
    fn entries_keep_their_generation() {
        let (_folder, path) = journal(3);
        Journal::open(&path, RUN, 7, false).unwrap().append(&[entry(9)], false).unwrap();
        let entries = read(&path, RUN, &GRID).unwrap().entries;
        assert_eq!(entries, [(0, entry(0)), (0, entry(1)), (0, entry(2)), (7, entry(9))]);
    }

    #[test]
    fn a_torn_tail_is_dropped_and_written_over() {
        let (_folder, path) = journal(5);
        let whole = fs::read(&path).unwrap();
        for torn in 0..=whole.len() {
            fs::write(&path, &whole[..torn]).unwrap();
            let left = (torn / ENTRY_BYTES).saturating_sub(1);
            assert_eq!(numbers(&path), (0..left).map(|n| n as f64).collect::<Vec<_>>());
            Journal::open(&path, RUN, 0, false).unwrap().append(&[entry(9)], false).unwrap();
            assert_eq!(numbers(&path), (0..left).map(|n| n as f64).chain([9.0]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_flipped_bit_costs_its_entry_only() {
        let (_folder, path) = journal(5);
        let whole = fs::read(&path).unwrap();
        for bit in 0..8 * ENTRY_BYTES {
            let mut bytes = whole.clone();
            bytes[3 * ENTRY_BYTES + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let contents = read(&path, RUN, &GRID).unwrap();
            assert_eq!(contents.damaged, 1);
            assert_eq!(contents.entries, [0, 1, 3, 4].map(|number| (0, entry(number))));
        }
    }

    #[test]
    fn a_journal_of_another_run_is_refused() {
        let (_folder, path) = journal(5);
        assert!(read(&path, RUN + 1, &GRID).unwrap_err().to_string().contains("does not belong"));
    }

    #[test]
    fn random_bytes_are_never_believed() {
        let (_folder, path) = journal(30);
        let whole = fs::read(&path).unwrap();
        let written: Vec<_> = (0..30).map(|number| (0, entry(number))).collect();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.random_range(1..20) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..4) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, rng.random()),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            fs::write(&path, bytes).unwrap();
            // refused, or a part of what was written
            if let Ok(contents) = read(&path, RUN, &GRID) {
                assert!(contents.entries.iter().all(|entry| written.contains(entry)));
            }
        }
    }
}
