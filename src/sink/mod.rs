//! Results: what is made of the distances.
//!
//! A [`Kind`] is a result as it is asked for: it knows what it will take, and how it comes into being. Workers compute a tile in
//! strips, which stay in a near cache; of each strip a [`Part`] collects what its kind needs. What the parts of a tile have
//! collected travels to the main thread in a [`Parcel`], where a [`Sink`] of each kind stores it. A sink knows files and rows, not
//! ranks.
//!
//! A kind is one file, and one line of the table below.

use std::any::Any;
use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::io::Attempt;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::kernel::Level;
use crate::number::Number;
use crate::pages::Pages;
use crate::partition::Grid;
use crate::schedule::Share;
use crate::store::Checkpoints;
use crate::store::journal::{Done, Entry};

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whether there is a file to write to.
    pub output: bool,
}

macro_rules! kinds {
    ($($module:ident::$kind:ident, $text:literal;)*) => {
        $(pub(crate) mod $module;)*

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
                Self(wanted.into_iter().flatten().collect())
            }
        }

        /// Opens a result of this program, complete or not, and makes sure that the arrays of its kinds are as its header says.
        pub fn open(path: &Path) -> Result<ResultReader> {
            let file = ResultReader::open(path)?;
            $($module::$kind::check(&file)?;)*
            Ok(file)
        }

        /// What `info` says of the results in a file: a name and a text for each.
        pub fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
            [$($module::$kind::shown(file),)*].concat()
        }
    };
}

kinds! {
    matrix::Matrix, "The n × m matrix.";
    counted::Counted, "Nothing but its digest, sum and extremes.";
}

/// A result as it is asked for, of distances of type `T`. What a kind leaves out it has no need of.
pub trait Kind<T: Number> {
    /// Whether it needs the distances of a tile together, where the strips of others are forgotten.
    fn keeps_tiles(&self) -> bool {
        false
    }

    /// Elements that it needs for each tile on its way beside them.
    fn part_len(&self, _: &Grid) -> usize {
        0
    }

    /// Bytes that a rank with such a share keeps for it until the end; nothing if 64 bits cannot count them.
    fn kept_bytes(&self, _: &Share) -> Option<u64> {
        Some(0)
    }

    /// Times that it writes for a tile.
    fn writes(&self, _: &Grid) -> usize {
        0
    }

    /// Bytes that it takes in the file; nothing if 64 bits cannot count them.
    fn file_bytes(&self, _: &Grid) -> Option<u64> {
        Some(0)
    }

    /// Whether what belongs to the rows of a mirror image is mailed to the rank that has these rows: it has an entry in the journal of
    /// that rank then.
    fn is_mailed(&self) -> bool {
        false
    }

    /// Makes its arrays in a new file.
    fn create(&self, _: &NewFile, _: &Grid) -> Attempt<()> {
        Ok(())
    }

    /// What a rank with such a share gathers it in.
    fn sink(&self, _: &Share) -> Box<dyn Sink<T>> {
        Box::new(Nothing)
    }
}

/// Where a tile lies, and how it is computed.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its rows in the matrix.
    pub rows: Range<usize>,
    /// Its columns in the matrix.
    pub cols: Range<usize>,
    /// The best SIMD level.
    pub level: Level,
    /// Whether it stands for a mirror image too.
    pub mirrored: bool,
}

impl Place {
    /// Rows and columns of the tile.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.cols.len())
    }
}

/// Some rows of a tile, while they are in a cache.
#[derive(Clone, Copy, Debug)]
pub struct Strip<'a, T> {
    /// The distances, row-major.
    pub values: &'a [T],
    /// Their first row in the tile.
    pub first: usize,
    /// The tile.
    pub place: &'a Place,
}

/// Which rows of the matrix a strip is looked at as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// As it is.
    Forward,
    /// As the mirror image: its columns are rows.
    Mirror,
}

/// What collects a result from the strips of a tile. On a worker thread.
pub trait Part<T>: Any + Send {
    /// Takes in a strip: as it is, and once more as its mirror image if the tile has one.
    fn collect(&mut self, strip: &Strip<'_, T>, image: Image);

    /// Distances that it holds, beside those of the tile.
    fn held(&self) -> &[T] {
        &[]
    }
}

/// What gathers and stores a result. On the main thread.
pub trait Sink<T> {
    /// What collects it from a tile.
    fn part(&self) -> Box<dyn Part<T>>;

    /// Finds its arrays in a file that all ranks have open.
    fn open(&mut self, _: &OpenFile<'_>) -> Attempt<()> {
        Ok(())
    }

    /// Stores what was made of a tile, whose distances are `values` if its kind keeps them. Returns how many bytes it wrote.
    fn store(&mut self, done: &Done, values: &[T], part: &dyn Part<T>) -> Result<u64>;

    /// Takes in a tile that an earlier run has stored.
    fn restore(&mut self, done: &Done);

    /// Writes what remains when all tiles are stored, and closes its arrays.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The part and the sink of a kind that has no need of any.
struct Nothing;

impl<T> Part<T> for Nothing {
    fn collect(&mut self, _: &Strip<'_, T>, _: Image) {}
}

impl<T> Sink<T> for Nothing {
    fn part(&self) -> Box<dyn Part<T>> {
        Box::new(Nothing)
    }

    fn store(&mut self, _: &Done, _: &[T], _: &dyn Part<T>) -> Result<u64> {
        Ok(0)
    }

    fn restore(&mut self, _: &Done) {}

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The results that a run is to make, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results(Vec<Wanted>);

impl Results {
    fn kinds<T: Number>(&self) -> impl Iterator<Item = &dyn Kind<T>> {
        self.0.iter().map(Wanted::kind)
    }

    /// Bytes that they take in the file; nothing if 64 bits cannot count them.
    pub fn file_bytes<T: Number>(&self, grid: &Grid) -> Option<u64> {
        self.kinds::<T>().try_fold(0_u64, |sum, kind| sum.checked_add(kind.file_bytes(grid)?))
    }

    /// Bytes that a rank with such a share keeps for them, likewise.
    pub fn kept_bytes<T: Number>(&self, share: &Share) -> Option<u64> {
        self.kinds::<T>().try_fold(0_u64, |sum, kind| sum.checked_add(kind.kept_bytes(share)?))
    }

    /// Whether any of them mails what belongs to mirror images.
    pub fn are_mailed<T: Number>(&self) -> bool {
        self.kinds::<T>().any(Kind::is_mailed)
    }

    /// Times that they write for a tile.
    pub fn writes<T: Number>(&self, grid: &Grid) -> usize {
        self.kinds::<T>().map(|kind| kind.writes(grid)).sum()
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
        let parts: usize = results.kinds::<T>().map(|kind| kind.part_len(grid)).sum();
        Self::values_len(results, grid, strip_len) + parts
    }

    fn values_len(results: &Results, grid: &Grid, strip_len: usize) -> usize {
        let (height, width) = grid.tile_shape();
        let is_kept = results.kinds::<T>().any(Kind::keeps_tiles);
        if is_kept { height * width } else { strip_len.min(height * width) }
    }

    /// Room for `rows` rows from `first` of a tile of this shape.
    pub fn strip(&mut self, first: usize, rows: usize, shape: (usize, usize)) -> &mut [T] {
        let (place, len) = self.place(first, rows, shape);
        &mut self.values[place..place + len]
    }

    /// Has the parts collect these rows of the tile.
    pub fn collect(&mut self, first: usize, rows: usize, place: &Place) {
        let (start, len) = self.place(first, rows, place.shape());
        let strip = Strip { values: &self.values[start..start + len], first, place };
        for part in &mut self.parts {
            part.collect(&strip, Image::Forward);
            if place.mirrored {
                part.collect(&strip, Image::Mirror);
            }
        }
    }

    /// Where the rows lie, and how many elements they have.
    fn place(&self, first: usize, rows: usize, (height, width): (usize, usize)) -> (usize, usize) {
        let is_kept = self.values.len() >= height * width;
        (if is_kept { first * width } else { 0 }, rows * width)
    }

    /// All distances that it holds of a tile of so many.
    pub fn held(&self, len: usize) -> impl Iterator<Item = &[T]> {
        let values = &self.values[..len.min(self.values.len())];
        std::iter::once(values).chain(self.parts.iter().map(|part| part.held()))
    }
}

/// The results of a run: where tiles go, and what makes them last.
pub struct Sinks<T> {
    results: Results,
    grid: Grid,
    /// Elements of a strip at most.
    strip_len: usize,
    all: Vec<Box<dyn Sink<T>>>,
    /// Nothing where no file is written.
    checkpoints: Option<Checkpoints>,
}

impl<T: Number> Sinks<T> {
    /// Of the results of a rank with such a share, whose tiles come in strips of up to so many elements.
    pub fn new(results: Results, share: &Share, strip_len: usize) -> Self {
        let all = results.kinds().map(|kind| kind.sink(share)).collect();
        Self { results, grid: share.grid, strip_len, all, checkpoints: None }
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
        let values = Pages::zeroed(Parcel::<T>::values_len(&self.results, &self.grid, self.strip_len));
        Parcel { values, parts: self.all.iter().map(|sink| sink.part()).collect() }
    }

    /// Stores what was made of a tile. Returns how many bytes were written.
    pub fn store(&mut self, done: &Done, parcel: &Parcel<T>) -> Result<u64> {
        let len = self.grid.pairs(done.tile).min(parcel.values.len());
        let values = &parcel.values[..len];
        let mut written = 0;
        for (sink, part) in self.all.iter_mut().zip(&parcel.parts) {
            written += sink.store(done, values, &**part)?;
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.add(Entry::Forward(*done))?;
        }
        Ok(written)
    }

    /// Takes in tiles that an earlier run has stored.
    pub fn restore(&mut self, done: &[Done]) {
        self.all.iter_mut().for_each(|sink| done.iter().for_each(|done| sink.restore(done)));
    }

    /// Makes a checkpoint if it is time.
    ///
    /// # Errors
    /// If an earlier one could not be brought to the disk.
    pub fn tick(&mut self) -> Result<()> {
        self.checkpoints.as_mut().map_or(Ok(()), Checkpoints::tick)
    }

    /// Makes the last checkpoint.
    pub fn settle(&mut self) -> Result<()> {
        self.checkpoints.take().map_or(Ok(()), Checkpoints::finish)
    }

    /// Writes what remains when all tiles are stored, and closes all arrays.
    pub fn finish(self) -> Result<()> {
        self.all.into_iter().try_for_each(Sink::finish)
    }
}
