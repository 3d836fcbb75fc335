//! All samples within a radius of every sample, as a sparse matrix in compressed rows: `/radius/indptr`, `/radius/indices` and `/radius/data`, as
//! SciPy has them and `AnnData` stores them; with a checksum for each row of tiles in `/radius/checksums`.
//!
//! Each image of a tile gives a piece of the matrix. Those of rows that this rank owns wait in its spool, in the working folder; those of
//! the mirror image, if another rank owns its rows, are mailed there. How many entries there are is known at the end. Then the arrays are
//! made, and every rank puts the pieces of its rows together, in the order of tiles: no sort, and no more of them in memory than fit a
//! buffer.
//!
//! - `hits` — what lies within the radius in a tile
//! - `together` — puts the pieces of a rank's rows together
//! - `checksum` — of what is stored
//! - `reader` — what is read back

mod checksum;
mod hits;
mod reader;
mod together;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;

use super::storable::Storable;
use super::sums::sum_of;
use super::{End, Kind, LETTER_LEN, Mailed, Part, Sink, Spooled, index_bytes};
use crate::element::StoreType;
use crate::error::Result;
use crate::fail;
use crate::io::Attempt;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::problem::{Asked, Within};
use crate::schedule::Share;
use crate::store::journal::Done;
use crate::store::spool::{self, Label, Piece, Reader, Spool, Stored};
use crate::text::bytes;
use hits::Hits;

pub use reader::{RadiusReader, Rows};

/// The names of its arrays.
const GROUP: &str = "radius";
const INDPTR: &str = "radius/indptr";
const INDICES: &str = "radius/indices";
const DATA: &str = "radius/data";
const CHECKSUMS: &str = "radius/checksums";

/// How `AnnData` names what the group holds, and the version of that.
const ENCODING: [&str; 2] = ["csr_matrix", "0.1.0"];

/// Entries that are put together at once: they take 40 bytes each at most. Few in builds for tests, so that these see several batches.
const BATCH: usize = if cfg!(feature = "failpoints") { 1 << 6 } else { 1 << 19 };

/// Bytes of an entry then: as it is read, and as it is written.
const BATCH_ENTRY: usize = 40;

/// Bytes of pieces for other ranks that wait before no more tiles are ordered; those of tiles that were ordered come to them. Few in
/// builds for tests.
const WAITING_BYTES: usize = if cfg!(feature = "failpoints") { 4 << 10 } else { 32 << 20 };

/// Bytes of a spool after which the disk is looked at again.
const LOOK_BYTES: u64 = 256 << 20;

/// All samples within a radius of every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Radius {
    within: Within,
    /// Type that distances are stored in; nothing where it is the type that is computed in.
    store: Option<StoreType>,
}

/// An expression with the type of the values: SciPy has no sparse matrices of 16 bits.
macro_rules! with_values {
    ($store:expr, $type:ident => $body:expr) => {
        if $store == $crate::element::StoreType::F64 {
            type $type = f64;
            $body
        } else {
            type $type = f32;
            $body
        }
    };
}

use with_values;

impl Radius {
    pub(in crate::sink) fn wanted(asked: Asked) -> Option<Self> {
        asked.within.map(|within| Self { within, store: asked.store })
    }

    pub(in crate::sink) fn check(file: &ResultReader) -> Result<()> {
        if file.complete {
            return RadiusReader::of(file).map(drop);
        }
        // its arrays are made at the end
        if file.has(GROUP) {
            fail!(
                "{} has arrays that a run has not filled, and what was saved before they were made (undo) is gone; start over with --force",
                file.shown()
            );
        }
        Ok(())
    }

    pub(in crate::sink) fn stored_sum(file: &ResultReader) -> Result<u64> {
        sum_of(&RadiusReader::of(file)?.checksums, |_| 0, file)
    }

    pub(in crate::sink) fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
        let (problem, Some(Within { radius, include_self })) =
            (file.header.identity.problem, file.asked().within)
        else {
            return Vec::new();
        };
        let with = if include_self { ", with itself" } else { "" };
        let mut text = format!("all within {radius} of each of {} samples{with}", problem.n);
        if let Ok(RadiusReader { len, store, grid, .. }) = RadiusReader::of(file) {
            let percent = 100.0 * len as f64 / problem.pairs() as f64;
            let size = bytes((len as u64).saturating_mul((index_bytes(grid.m) + store.size()) as u64));
            text = format!("{text}: {len}, {percent:.3} % of all, {}, {size}", store.name());
        }
        vec![("radius", text)]
    }

    /// Type of the values.
    fn store<T: Number>(self) -> StoreType {
        values_of(self.store.unwrap_or(T::DTYPE.into()))
    }
}

/// Type of values where distances are stored so.
fn values_of(store: StoreType) -> StoreType {
    if store == StoreType::F64 { StoreType::F64 } else { StoreType::F32 }
}

/// Bytes of what a tile gives at most.
fn piece_bytes(store: StoreType, rows: usize, len: usize) -> usize {
    with_values!(store, S => Piece::<S>::bytes(rows, len))
}

/// Copies of a letter that a rank has at once.
const LETTERS: usize = 3;

/// Bytes of the table of so many pieces: entries, and a byte for each place, of which an eighth stays free and there is a power of two.
fn table_bytes(pieces: usize) -> Option<usize> {
    let places = pieces.checked_mul(8)?.div_ceil(7).checked_next_power_of_two()?;
    places.checked_mul(size_of::<(Tile, Stored)>() + 1)
}

impl<T: Number> Kind<T> for Radius {
    fn part_len(&self, grid: &Grid, strip_len: usize) -> usize {
        let ((height, width), store) = (grid.tile_shape(), self.store::<T>());
        // a radius may let every distance in; a mirror image may wait to be mailed, while the next one is found
        let images = if grid.symmetric { 3 } else { 1 };
        let pieces = images * piece_bytes(store, height.max(width), height * width);
        let beside =
            strip_len * (size_of::<u32>() + size_of::<T>() + store.size()) + width * size_of::<u32>();
        height + (pieces + beside).div_ceil(size_of::<T>())
    }

    fn kept_bytes(&self, share: &Share) -> Option<u64> {
        let Share { grid, rows, foreign_rows, .. } = share;
        let (height, width) = grid.tile_shape();
        let pieces = table_bytes(rows.len().div_ceil(grid.edge).checked_mul(grid.tile_cols())?)?;
        // of a row of tiles: the numbers of entries in each row of each piece, and what reads them
        let numbers =
            height.max(width).checked_mul(size_of::<[u32; 2]>())?.checked_add(size_of::<Reader>())?;
        let beside = if *foreign_rows > 0 {
            // a letter as it is written, sent, and received: it ends with a piece
            let piece = piece_bytes(self.store::<T>(), height.max(width), height.checked_mul(width)?);
            WAITING_BYTES
                .checked_add(LETTERS.checked_mul(piece.checked_add(LETTER_LEN * size_of::<u64>())?)?)?
        } else {
            0
        };
        let together = numbers.checked_mul(grid.tile_cols())?.checked_add(BATCH * BATCH_ENTRY)?;
        // letters are gone before pieces are put together
        u64::try_from(pieces.checked_add(beside.max(together))?).ok()
    }

    fn file_bytes(&self, grid: &Grid) -> Option<u64> {
        // without any entries
        Some(size_of::<i64>() as u64 * (grid.n as u64 + 1))
    }

    fn bytes_of_entry(&self, grid: &Grid) -> Option<usize> {
        Some(index_bytes(grid.m) + self.store::<T>().size())
    }

    fn spool_bytes(&self, grid: &Grid, share: f64) -> f64 {
        let (height, width) = grid.tile_shape();
        let images = grid.tile_rows() as f64 * grid.tile_cols() as f64;
        // rows that have entries, if these lie anywhere
        let rows = height as f64 * -(width as f64 * (-share).ln_1p()).exp_m1();
        let entries = share * height as f64 * width as f64;
        let entry = (size_of::<u32>() + self.store::<T>().size()) as f64;
        images * (Label::BYTES as f64 + rows * size_of::<[u32; 2]>() as f64 + entries * entry)
    }

    fn is_mailed(&self) -> bool {
        true
    }

    fn create(&self, _: &NewFile, _: &Grid) -> Attempt<()> {
        Ok(())
    }

    fn create_last(&self, file: &NewFile, grid: &Grid, len: usize) -> Attempt<()> {
        file.group(GROUP, ENCODING, (grid.n, grid.m))?;
        file.line::<i64>(INDPTR, grid.n + 1)?;
        if index_bytes(grid.m) == size_of::<i32>() {
            file.line::<i32>(INDICES, len)?;
        } else {
            file.line::<i64>(INDICES, len)?;
        }
        with_values!(self.store::<T>(), S => file.line::<S>(DATA, len))?;
        file.array::<u64>(CHECKSUMS, (grid.tile_rows(), 1), None)
    }

    fn sink(&self, share: &Share) -> Box<dyn Sink<T>> {
        with_values!(self.store::<T>(), S => Box::new(RadiusSink::<S>::new(*self, share)))
    }
}

/// What a rank has of the samples within the radius.
struct RadiusSink<S> {
    kind: Radius,
    grid: Grid,
    /// Rows that this rank owns.
    rows: Range<usize>,
    /// Nothing where no file is written.
    spool: Option<Spool>,
    /// The pieces of its rows.
    pieces: HashMap<Tile, Stored>,
    /// Pieces for other ranks, as words, each with its first row.
    waiting: VecDeque<(usize, Vec<u64>)>,
    waiting_bytes: usize,
    /// Bytes of the spool when the disk was looked at.
    looked: u64,
    is_told: bool,
    values: std::marker::PhantomData<S>,
}

impl<S: Storable> RadiusSink<S> {
    fn new(kind: Radius, share: &Share) -> Self {
        let Share { grid, rows, .. } = share.clone();
        let most = rows.len().div_ceil(grid.edge) * grid.tile_cols();
        let (pieces, waiting) = (HashMap::with_capacity(most), VecDeque::new());
        Self {
            kind,
            grid,
            rows,
            spool: None,
            pieces,
            waiting,
            waiting_bytes: 0,
            looked: 0,
            is_told: false,
            values: std::marker::PhantomData,
        }
    }

    /// Enters a piece that was appended to the spool.
    fn enter(&mut self, label: Label, start: u64) {
        let spool = self.spool.as_ref().expect("it was appended there");
        self.pieces.insert(label.tile, Stored::at(label, spool, start));
    }

    /// Warns, once, where the disk has less room than the pieces of this rank will take in the file.
    fn look_at_disk(&mut self) {
        let Some(spool) = &self.spool else { return };
        if self.rows.start > 0 || self.is_told || spool.bytes() < self.looked + LOOK_BYTES {
            return;
        }
        self.looked = spool.bytes();
        let own = self.pieces.values().map(|piece| piece.label.len as u64).sum::<u64>();
        let own = own * (index_bytes(self.grid.m) + size_of::<S>()) as u64;
        // other ranks have about as many in each row
        let needed = own.saturating_mul(self.grid.n.div_ceil(self.rows.len()) as u64);
        if let Some(free) = spool.free_space()
            && free < needed
        {
            self.is_told = true;
            log::warn!(
                "the pairs found within the radius so far will take about another {} on the disk when the result is written at the end, and {} are free in {}: make room before then, or the run stops there and has to be resumed with --resume",
                bytes(needed),
                bytes(free),
                spool.folder().display()
            );
        }
    }
}

impl<T: Number, S: Storable> Sink<T> for RadiusSink<S> {
    fn part(&self) -> Box<dyn Part<T>> {
        Box::new(Hits::<T, S>::new(self.kind.within, &self.grid))
    }

    fn open(&mut self, _: &OpenFile<'_>) -> Attempt<()> {
        Ok(())
    }

    fn store(&mut self, done: &Done, _: &[T], part: &dyn Part<T>) -> Result<u64> {
        let Some(spool) = &mut self.spool else { return Ok(0) };
        let part: &dyn Any = part;
        let hits: &Hits<T, S> = part.downcast_ref().expect("the part that this kind has made");
        let [label, mirror] = hits.labels.expect("all strips of the tile were collected");
        let before = spool.bytes();
        let start = spool.append(&hits.piece, &label)?;
        self.enter(label, start);
        if self.grid.is_mirrored(done.tile) {
            let first = self.grid.cols(done.tile.j).start;
            if self.rows.contains(&first) {
                let spool = self.spool.as_mut().expect("it is there");
                let start = spool.append(&hits.mirror, &mirror)?;
                self.enter(mirror, start);
            } else {
                self.waiting_bytes += mirror.bytes();
                self.waiting.push_back((first, hits.mirror.to_words(&mirror)));
            }
        }
        self.look_at_disk();
        Ok(self.spool.as_ref().map_or(0, |spool| spool.bytes() - before))
    }

    fn restore(&mut self, _: &Done) {}

    fn mailed(&mut self) -> Option<&mut dyn Mailed> {
        Some(self)
    }

    fn spooled(&mut self) -> Option<&mut dyn Spooled> {
        Some(self)
    }

    fn finish(self: Box<Self>) -> Result<End> {
        Ok(End::Later(self))
    }
}

impl<S: Storable> Mailed for RadiusSink<S> {
    fn enter(&mut self, _: Range<usize>) {}

    fn leave(&mut self, _: &Range<usize>) {}

    fn bounds(&self, _: &Range<usize>) -> Vec<u64> {
        Vec::new()
    }

    fn tighten(&mut self, _: &Range<usize>, _: &[u64]) {}

    /// The next piece.
    fn take(&mut self, rows: &Range<usize>, _: usize, out: &mut Vec<u64>) -> bool {
        let Some(at) = self.waiting.iter().position(|(row, _)| rows.contains(row)) else { return false };
        let (_, words) = self.waiting.remove(at).expect("it was found");
        self.waiting_bytes -= size_of_val(&words[..]);
        out.extend_from_slice(&words);
        true
    }

    fn is_full(&self) -> bool {
        self.waiting_bytes >= WAITING_BYTES
    }

    fn deliver(&mut self, mut mail: &[u64]) -> Result<()> {
        while !mail.is_empty() {
            let (label, piece, others) = spool::first_of(mail);
            let spool = self.spool.as_mut().expect("what is mailed is stored");
            let start = spool.append_words(piece)?;
            self.enter(label, start);
            mail = others;
        }
        self.look_at_disk();
        Ok(())
    }
}

impl<S: Storable> Spooled for RadiusSink<S> {
    fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    fn take_in(&mut self, pieces: Vec<Stored>) {
        let edge = self.grid.edge;
        let own = pieces.into_iter().filter(|piece| {
            self.rows.contains(&(piece.label.tile.i * edge)) && piece.label.value_bytes == size_of::<S>()
        });
        self.pieces.extend(own.map(|piece| (piece.label.tile, piece)));
    }

    fn retain(&mut self, is_done: &dyn Fn(Tile) -> bool) -> bool {
        self.pieces.retain(|tile, _| is_done(*tile));
        let mut tile_rows = self.rows.clone().step_by(self.grid.edge).map(|row| row / self.grid.edge);
        tile_rows.all(|i| {
            let mut tiles = (0..self.grid.tile_cols()).map(|j| Tile { i, j });
            tiles.all(|tile| !is_done(tile) || self.pieces.contains_key(&tile))
        })
    }

    fn uses(&self, spool: &Path) -> bool {
        self.pieces.values().any(|piece| piece.spool() == spool)
    }

    fn append_to(&mut self, spool: Spool) {
        self.spool = Some(spool);
    }
}
