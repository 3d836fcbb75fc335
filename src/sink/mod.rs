//! Results: what is made of the distances.
//!
//! A [`Kind`] is a result as it is asked for: it knows what it will take, and how it comes into being. Workers compute a tile in
//! strips, which stay in a near cache; of each strip a [`Part`] collects what its kind needs. What the parts of a tile have
//! collected travels to the main thread in a [`Parcel`], where a [`Sink`] of each kind stores it. A sink knows files and rows, not
//! ranks.
//!
//! A kind is one file or folder, and one line of the table below; `contract` says what it is made of. (The macro does not declare the files itself: `rustfmt` would not find them.)

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::io::Attempt;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::number::Number;
use crate::pages::Pages;
use crate::partition::{Grid, Tile, from_word};
use crate::problem::Asked;
use crate::schedule::Share;
use crate::store::Checkpoints;
use crate::store::journal::{Done, Entry, Journal};
use crate::store::snapshot::State;

pub(crate) mod condensed;
mod contract;
mod images;
pub(crate) mod matrix;
pub(crate) mod neighbors;
pub(crate) mod radius;
mod storable;
mod sums;

pub use contract::{
    Distances, End, Finished, Kind, Mailed, Part, Place, Rounded, Sink, Spooled, Strip, Tail,
};

macro_rules! kinds {
    ($($module:ident::$kind:ident, $text:literal;)*) => {
        /// A result that a run makes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Wanted { $(#[doc = $text] $kind($module::$kind),)* }

        impl Wanted {
            fn kind<T: Number>(&self) -> &dyn Kind<T> {
                match self { $(Self::$kind(kind) => kind,)* }
            }
        }

        impl Results {
            /// The results that are asked for.
            pub fn of(asked: Asked) -> Self {
                let wanted = [$($module::$kind::wanted(asked).map(Wanted::$kind),)*];
                Self { asked, wanted: wanted.into_iter().flatten().collect() }
            }
        }

        /// Opens a result of this program, complete or not, and makes sure that the arrays of its kinds are as its header says.
        pub fn open(path: &Path) -> Result<ResultReader> {
            let file = ResultReader::open(path)?;
            $(if $module::$kind::wanted(file.asked()).is_some() {
                $module::$kind::check(&file)?;
            })*
            Ok(file)
        }

        /// What `info` says of the results in a file: a name and a text for each.
        pub fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
            let mut lines = Vec::new();
            $(if $module::$kind::wanted(file.asked()).is_some() {
                lines.extend($module::$kind::shown(file));
            })*
            lines
        }

        /// Wrapping sum of all checksums in a file.
        pub fn stored_sum(file: &ResultReader) -> Result<u64> {
            let mut sum = 0_u64;
            $(if $module::$kind::wanted(file.asked()).is_some() {
                sum = sum.wrapping_add($module::$kind::stored_sum(file)?);
            })*
            Ok(sum)
        }
    };
}

kinds! {
    matrix::Matrix, "The n × m matrix.";
    condensed::Condensed, "The upper triangle of the matrix.";
    neighbors::Neighbors, "The nearest neighbours of every sample.";
    radius::Radius, "All samples within a radius of every sample.";
}

/// Bytes of an index among so many samples.
fn index_bytes(m: usize) -> usize {
    if i32::try_from(m).is_ok() { size_of::<i32>() } else { size_of::<i64>() }
}

/// Rounds of which a rank has lists of foreign rows in memory at most: the current one, and the previous one until they are mailed.
pub const FOREIGN_LISTS: usize = 2;

/// How far the mail for some rows is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    kind: usize,
    part: usize,
}

/// The results that a run is to make, in the order of the table. Without any, distances are counted, summed up, and forgotten strip
/// by strip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// What was asked for.
    pub asked: Asked,
    wanted: Vec<Wanted>,
}

impl Results {
    fn kinds<T: Number>(&self) -> impl Iterator<Item = &dyn Kind<T>> {
        self.wanted.iter().map(Wanted::kind)
    }

    /// Bytes that they take in the file; nothing if 64 bits cannot count them.
    pub fn file_bytes<T: Number>(&self, grid: &Grid) -> Option<u64> {
        self.kinds::<T>().try_fold(0_u64, |sum, kind| sum.checked_add(kind.file_bytes(grid)?))
    }

    /// Disk space that a run needs for them, likewise.
    pub fn disk_bytes<T: Number>(&self, grid: &Grid) -> Option<u64> {
        let folder = self.kinds::<T>().map(|kind| kind.folder_bytes(grid));
        folder.fold(self.file_bytes::<T>(grid), |sum, bytes| sum?.checked_add(bytes?))
    }

    /// Bytes that a rank with such a share keeps for them, likewise.
    pub fn kept_bytes<T: Number>(&self, share: &Share) -> Option<u64> {
        self.kinds::<T>().try_fold(0_u64, |sum, kind| sum.checked_add(kind.kept_bytes(share)?))
    }

    /// Whether any of them keeps tiles whole until they are stored.
    pub fn keep_tiles<T: Number>(&self) -> bool {
        self.kinds::<T>().any(Kind::keeps_tiles)
    }

    /// Whether any of them mails what belongs to mirror images.
    pub fn are_mailed(&self) -> bool {
        self.kinds::<f64>().any(Kind::is_mailed)
    }

    /// Whether any of them takes less where the tiles of a round go from the diagonal outward.
    pub fn go_outward(&self) -> bool {
        self.kinds::<f64>().any(Kind::goes_outward)
    }

    /// Times that they write for a tile.
    pub fn writes<T: Number>(&self, grid: &Grid) -> usize {
        self.kinds::<T>().map(|kind| kind.writes(grid)).sum()
    }

    /// The names of these arrays.
    pub fn arrays<T: Number>(&self) -> Vec<&'static str> {
        self.kinds::<T>().flat_map(Kind::arrays).copied().collect()
    }

    /// Makes the arrays whose length is known only at the end.
    pub fn create_last<T: Number>(&self, file: &NewFile, grid: &Grid, len: usize) -> Attempt<()> {
        self.kinds::<T>().try_for_each(|kind| kind.create_last(file, grid, len))
    }

    /// Bytes of an entry in the file, of a result that has as many entries as it finds.
    pub fn bytes_of_entry<T: Number>(&self, grid: &Grid) -> Option<usize> {
        self.kinds::<T>().find_map(|kind| kind.bytes_of_entry(grid))
    }

    /// Bytes in the working folder until the end, if such a share of all pairs are entries.
    pub fn spool_bytes<T: Number>(&self, grid: &Grid, share: f64) -> f64 {
        self.kinds::<T>().map(|kind| kind.spool_bytes(grid, share)).sum()
    }

    /// Makes their arrays in a new file.
    pub fn create<T: Number>(&self, file: &NewFile, grid: &Grid) -> Attempt<()> {
        self.kinds::<T>().try_for_each(|kind| kind.create(file, grid))
    }
}

/// What a worker makes of a tile: it travels between worker and main thread, and is never reallocated.
pub struct Parcel<T> {
    /// The distances of the tile if a kind keeps them, else those of a strip, which stay in a cache.
    values: Pages<T>,
    parts: Vec<Box<dyn Part<T>>>,
}

impl<T: Number> Parcel<T> {
    /// Elements of a parcel.
    pub fn len_for(results: &Results, grid: &Grid, strip_len: usize) -> usize {
        let parts: usize = results.kinds::<T>().map(|kind| kind.part_len(grid, strip_len)).sum();
        Self::values_len(results, grid, strip_len) + parts
    }

    fn values_len(results: &Results, grid: &Grid, strip_len: usize) -> usize {
        let (height, width) = grid.tile_shape();
        if results.keep_tiles::<T>() { height * width } else { strip_len.min(height * width) }
    }

    /// Room for `rows` rows from `first` of a tile of this shape, and for the rows after them if the tile is kept.
    pub fn strip(
        &mut self,
        first: usize,
        rows: usize,
        shape: (usize, usize),
    ) -> (&mut [T], Option<&mut [T]>) {
        let is_kept = self.is_kept(shape);
        let (place, len) = self.place(first, rows, shape);
        let (strip, rest) = self.values[place..].split_at_mut(len);
        (strip, is_kept.then_some(rest))
    }

    /// Has the parts collect these rows of the tile.
    pub fn collect(&mut self, first: usize, rows: usize, place: &Place) {
        let (start, len) = self.place(first, rows, place.shape());
        let strip = Strip { values: &self.values[start..start + len], first, place };
        self.parts.iter_mut().for_each(|part| part.collect(&strip));
    }

    /// Where the rows lie, and how many elements they have.
    fn place(&self, first: usize, rows: usize, shape: (usize, usize)) -> (usize, usize) {
        let (_, width) = shape;
        (if self.is_kept(shape) { first * width } else { 0 }, rows * width)
    }

    /// Whether a tile of this shape is kept whole.
    pub fn is_kept(&self, (height, width): (usize, usize)) -> bool {
        self.values.len() >= height * width
    }

    /// All that it holds of a tile of so many distances and that is to be written.
    pub fn held(&self, len: usize) -> impl Iterator<Item = &[u8]> {
        // without a kind that keeps tiles, a strip
        let values = self.values.get(..len).unwrap_or_default();
        std::iter::once(bytemuck::cast_slice(values)).chain(self.parts.iter().map(|part| part.held()))
    }

    /// The distances of the tile as they are stored, if they are rounded for that.
    pub fn rounded(&self) -> Option<Rounded> {
        self.parts.iter().find_map(|part| part.rounded())
    }

    /// The checksum of those above the diagonal, if they are stored alone; else 0.
    pub fn upper(&self) -> u64 {
        self.parts.iter().find_map(|part| part.upper()).unwrap_or(0)
    }
}

/// Words of a letter; it may have a little more.
const LETTER_LEN: usize = 1 << 17;

/// How long a tile waits to be written together with others at most.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The results of a run: where tiles go, and what makes them last.
pub struct Sinks<T> {
    results: Results,
    share: Share,
    /// Elements of a strip at most.
    strip_len: usize,
    all: Vec<Box<dyn Sink<T>>>,
    /// Nothing where no file is written.
    checkpoints: Option<Checkpoints>,
    /// Tiles of which something waits to be written, and since when the first of them does.
    waiting: Vec<Done>,
    since: Instant,
}

impl<T: Number> Sinks<T> {
    /// Of the results of a rank with such a share, whose tiles come in strips of up to so many elements.
    pub fn new(results: Results, share: &Share, strip_len: usize) -> Self {
        let all = results.kinds().map(|kind| kind.sink(share)).collect();
        Self {
            results,
            share: share.clone(),
            strip_len,
            all,
            checkpoints: None,
            waiting: Vec::new(),
            since: Instant::now(),
        }
    }

    /// Finds their arrays in a file that all ranks have open.
    pub fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()> {
        self.all.iter_mut().try_for_each(|sink| sink.open(file))
    }

    /// Has what is stored from now on entered in a journal.
    pub fn keep(&mut self, checkpoints: Checkpoints) {
        self.checkpoints = Some(checkpoints);
    }

    /// What a worker fills. Its memory is touched by the first that does.
    pub fn parcel(&self) -> Parcel<T> {
        let values = Pages::zeroed(Parcel::<T>::values_len(&self.results, &self.share.grid, self.strip_len));
        Parcel { values, parts: self.all.iter().map(|sink| sink.part()).collect() }
    }

    /// Stores what was made of a tile. Returns how many bytes were written.
    pub fn store(&mut self, done: &Done, parcel: &Parcel<T>) -> Result<u64> {
        let grid = &self.share.grid;
        let len = grid.pairs(done.tile).min(parcel.values.len());
        let values = &parcel.values[..len];
        let mut written = 0;
        for (sink, part) in self.all.iter_mut().zip(&parcel.parts) {
            written += sink.store(done, values, &**part)?;
        }
        if written > 0 && !self.waiting.is_empty() {
            self.enter_written()?;
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            if self.all.iter().any(|sink| sink.holds(done.tile)) {
                if self.waiting.is_empty() {
                    self.since = Instant::now();
                }
                self.waiting.push(*done);
            } else {
                checkpoints.add(Entry::Forward(*done))?;
            }
        }
        let grid = &self.share.grid;
        if grid.is_mirrored(done.tile) && self.share.rows.contains(&grid.cols(done.tile.j).start) {
            self.has_mirror(done.tile)?;
        }
        Ok(written)
    }

    /// Enters the tiles of which nothing waits in the journal.
    fn enter_written(&mut self) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let is_written = |done: &mut Done| !self.all.iter().any(|sink| sink.holds(done.tile));
        for done in self.waiting.extract_if(.., is_written) {
            checkpoints.add(Entry::Forward(done))?;
        }
        Ok(())
    }

    /// Writes what waits. Returns how many bytes that was.
    pub fn flush(&mut self) -> Result<u64> {
        let mut written = 0;
        for sink in &mut self.all {
            written += sink.flush()?;
        }
        self.enter_written()?;
        Ok(written)
    }

    /// All that belongs to the mirror image of a tile, whose rows are this rank's, is there.
    pub fn has_mirror(&mut self, tile: Tile) -> Result<()> {
        match &mut self.checkpoints {
            Some(checkpoints) if self.results.are_mailed() => checkpoints.add(Entry::Mirror(tile)),
            _ => Ok(()),
        }
    }

    /// Whether this rank finds something for rows that others own.
    pub fn are_mailed(&self) -> bool {
        self.share.foreign_rows > 0 && self.results.are_mailed()
    }

    /// Whether tiles are to go from the diagonal outward.
    pub fn go_outward(&self) -> bool {
        self.results.go_outward()
    }

    fn mailed(&mut self) -> impl Iterator<Item = (usize, &mut dyn Mailed)> {
        self.all.iter_mut().enumerate().filter_map(|(kind, sink)| Some((kind, sink.mailed()?)))
    }

    /// From now on, tiles may have mirror images in these rows, which another rank owns.
    pub fn enter(&mut self, rows: &Range<usize>) {
        self.mailed().for_each(|(_, mailed)| mailed.enter(rows.clone()));
    }

    /// From now on, none has; all was taken.
    pub fn leave(&mut self, rows: &Range<usize>) {
        self.mailed().for_each(|(_, mailed)| mailed.leave(rows));
    }

    /// What ranks must know that find something for these rows, which are this rank's.
    pub fn bounds(&mut self, rows: &Range<usize>) -> Vec<u64> {
        let mut all = Vec::new();
        for (_, mailed) in self.mailed() {
            let bounds = mailed.bounds(rows);
            all.push(bounds.len() as u64);
            all.extend(bounds);
        }
        all
    }

    /// Takes in what the owner of these rows says.
    pub fn tighten(&mut self, rows: &Range<usize>, mut bounds: &[u64]) {
        for (_, mailed) in self.mailed() {
            let Some((len, rest)) = bounds.split_first() else { return };
            let (own, rest) = rest.split_at(from_word(*len));
            mailed.tighten(rows, own);
            bounds = rest;
        }
    }

    /// The next letter with what there is for these rows, and nothing after the last.
    pub fn letter(&mut self, rows: &Range<usize>, cursor: &mut Cursor) -> Option<Vec<u64>> {
        let first = cursor.kind;
        for (kind, mailed) in self.mailed().skip_while(|(kind, _)| *kind < first) {
            if kind > cursor.kind {
                *cursor = Cursor { kind, part: 0 };
            }
            let mut letter = vec![kind as u64];
            while letter.len() < LETTER_LEN && mailed.take(rows, cursor.part, &mut letter) {
                cursor.part += 1;
            }
            if letter.len() > 1 {
                return Some(letter);
            }
        }
        None
    }

    /// Takes in a letter.
    pub fn deliver(&mut self, letter: &[u64]) -> Result<()> {
        let Some((kind, mail)) = letter.split_first() else { return Ok(()) };
        let mailed = self.mailed().find(|(number, _)| *number as u64 == *kind);
        mailed.map_or(Ok(()), |(_, mailed)| mailed.deliver(mail))
    }

    /// Whether so much waits to be mailed that no more tiles should be computed before.
    pub fn are_full(&mut self) -> bool {
        self.mailed().any(|(_, mailed)| mailed.is_full())
    }

    /// The pieces of a result, if one has any.
    pub fn spooled(&mut self) -> Option<&mut dyn Spooled> {
        self.all.iter_mut().find_map(|sink| sink.spooled())
    }

    /// What was gathered and not written yet, if anything is gathered.
    pub fn state(&self) -> Option<Box<dyn State>> {
        let mut states = self.all.iter().filter_map(|sink| sink.state());
        let state = states.next();
        assert!(states.next().is_none(), "a snapshot holds the rows of one kind");
        state
    }

    /// Takes in tiles that an earlier run has stored.
    pub fn restore(&mut self, done: &[Done]) {
        self.all.iter_mut().for_each(|sink| done.iter().for_each(|done| sink.restore(done)));
    }

    /// Writes what waits, and makes a checkpoint, if it is time. Returns how many bytes were written.
    ///
    /// # Errors
    /// If something cannot be written, or an earlier checkpoint could not be brought to the disk.
    pub fn tick(&mut self) -> Result<u64> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(0) };
        checkpoints.tick()?;
        let longest = LONGEST_WAIT.min(checkpoints.interval());
        if self.waiting.is_empty() || self.since.elapsed() < longest { Ok(0) } else { self.flush() }
    }

    /// Makes the last checkpoint. Returns the journal, if there is one: its lock tells that this rank is at work.
    pub fn settle(&mut self) -> Result<Option<Journal>> {
        self.checkpoints.take().map(Checkpoints::finish).transpose()
    }

    /// Writes what remains when all tiles are stored, and closes all arrays. What is to be stored in arrays that are made last is left.
    pub fn finish(self) -> Result<(Finished, Option<Box<dyn Tail>>)> {
        let (mut finished, mut tail) = (Finished::default(), None);
        for sink in self.all {
            match sink.finish()? {
                End::Done(done) => finished.add(&done),
                End::Later(later) => tail = Some(later),
            }
        }
        Ok((finished, tail))
    }
}
