//! What a kind of result is made of: how it is asked for, what collects it from a tile, what stores it, and what is read back.

use std::any::Any;
use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::io::Attempt;
use crate::io::result::{NewFile, OpenFile};
use crate::kernel::{Checksum, Level};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::schedule::Share;
use crate::store::journal::Done;
use crate::store::snapshot::State;
use crate::store::spool::{Spool, Stored};

/// A result as it is asked for, of distances of type `T`. What a kind leaves out it has no need of.
pub trait Kind<T: Number> {
    /// Whether it needs the distances of a tile together, where the strips of others are forgotten.
    fn keeps_tiles(&self) -> bool {
        false
    }

    /// Elements that it needs for each tile on its way beside them, which comes in strips of so many elements.
    fn part_len(&self, _: &Grid, _strip_len: usize) -> usize {
        0
    }

    /// Bytes that a rank with such a share keeps for it until the end; nothing if 64 bits cannot count them.
    fn kept_bytes(&self, _: &Share) -> Option<u64> {
        Some(0)
    }

    /// Times that it writes for a tile by way of HDF5.
    fn writes(&self, _: &Grid) -> usize {
        0
    }

    /// Bytes that it takes in the file; nothing if 64 bits cannot count them.
    fn file_bytes(&self, _: &Grid) -> Option<u64> {
        Some(0)
    }

    /// Bytes that it takes in the working folder beside the file, likewise.
    fn folder_bytes(&self, _: &Grid) -> Option<u64> {
        Some(0)
    }

    /// Bytes of an entry in the file, if what it takes depends on how many there are.
    fn bytes_of_entry(&self, _: &Grid) -> Option<usize> {
        None
    }

    /// Bytes that it takes in the working folder until the end, if such a share of all pairs are entries.
    fn spool_bytes(&self, _: &Grid, _share: f64) -> f64 {
        0.0
    }

    /// Whether what belongs to the rows of a mirror image is mailed to the rank that has these rows: it has an entry in the journal of
    /// that rank then.
    fn is_mailed(&self) -> bool {
        false
    }

    /// Whether it takes less where the tiles of a round go from the diagonal outward.
    fn goes_outward(&self) -> bool {
        false
    }

    /// Makes its arrays in a new file.
    fn create(&self, _: &NewFile, _: &Grid) -> Attempt<()>;

    /// The names of the arrays that it has made.
    fn arrays(&self) -> &'static [&'static str] {
        &[]
    }

    /// Makes the arrays whose length is known only at the end: that of so many entries.
    fn create_last(&self, _: &NewFile, _: &Grid, _len: usize) -> Attempt<()> {
        Ok(())
    }

    /// What a rank with such a share gathers it in.
    fn sink(&self, _: &Share) -> Box<dyn Sink<T>>;
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

impl<T> Strip<'_, T> {
    /// Its rows in the matrix.
    pub fn rows(&self) -> Range<usize> {
        let first = self.place.rows.start + self.first;
        first..first + self.values.len() / self.place.cols.len()
    }
}

/// What collects a result from the strips of a tile. On a worker thread.
pub trait Part<T>: Any + Send {
    /// Takes in a strip as it is, and as its mirror image if the tile has one.
    fn collect(&mut self, strip: &Strip<'_, T>);

    /// What it holds of the tile that is to be written.
    fn held(&self) -> &[u8] {
        &[]
    }

    /// The distances of the tile as they are stored, if they are rounded for that.
    fn rounded(&self) -> Option<Rounded> {
        None
    }

    /// The checksum of those above the diagonal, if the tile lies on it and they are stored alone.
    fn upper(&self) -> Option<u64> {
        None
    }
}

/// What is known of a tile whose distances were rounded to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounded {
    /// Checksum of what is stored.
    pub checksum: u64,
    /// Whether distances that are finite became infinities.
    pub overflows: bool,
}

/// What a sink has stored at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// Wrapping sum of the checksums that this rank has stored.
    pub checksums: u64,
    /// Bytes of results that it wrote at the end.
    pub bytes: u64,
    /// Whether distances that are finite were stored as infinities.
    pub overflows: bool,
    /// Rows that have fewer neighbours than were asked for.
    pub short_rows: u64,
    /// Entries of a sparse matrix.
    pub entries: u64,
}

impl Finished {
    /// Takes in what another sink has stored.
    pub fn add(&mut self, other: &Self) {
        self.checksums = self.checksums.wrapping_add(other.checksums);
        self.bytes += other.bytes;
        self.overflows |= other.overflows;
        self.short_rows += other.short_rows;
        self.entries += other.entries;
    }
}

/// How a sink ends.
pub enum End {
    /// All is stored.
    Done(Finished),
    /// The rest is stored when its arrays are there.
    Later(Box<dyn Tail>),
}

/// What a rank has to store in arrays that are made last.
pub trait Tail {
    /// Its entries.
    fn entries(&self) -> usize;

    /// Stores them, in a file that all ranks have open and that has the arrays now, after `first` entries of others. Nothing, if it is time
    /// to stop before all is stored.
    fn finish(
        self: Box<Self>,
        file: &OpenFile<'_>,
        first: usize,
        is_due: &dyn Fn() -> bool,
    ) -> Result<Option<Finished>>;
}

/// Pieces of a result in spools.
pub trait Spooled {
    /// Rows of the matrix that this rank owns.
    fn rows(&self) -> Range<usize>;

    /// Takes in pieces of a spool, those of its rows; they count instead of earlier ones.
    fn take_in(&mut self, pieces: Vec<Stored>);

    /// Leaves out those of tiles that are not done. False if one of a tile that is done is missing.
    fn retain(&mut self, is_done: &dyn Fn(Tile) -> bool) -> bool;

    /// Whether it has any pieces of this spool.
    fn uses(&self, spool: &Path) -> bool;

    /// From now on, pieces are appended there.
    fn append_to(&mut self, spool: Spool);
}

/// What gathers and stores a result. On the main thread.
pub trait Sink<T> {
    /// What collects it from a tile.
    fn part(&self) -> Box<dyn Part<T>>;

    /// Finds its arrays in a file that all ranks have open.
    fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()>;

    /// Stores what was made of a tile, whose distances are `values` if its kind keeps them, or has it wait. Returns how many bytes it wrote.
    fn store(&mut self, done: &Done, values: &[T], part: &dyn Part<T>) -> Result<u64>;

    /// Whether the tile waits to be written.
    fn holds(&self, _: Tile) -> bool {
        false
    }

    /// Writes what waits. Returns how many bytes that was.
    fn flush(&mut self) -> Result<u64> {
        Ok(0)
    }

    /// Takes in a tile that an earlier run has stored.
    fn restore(&mut self, done: &Done);

    /// What it has for rows that other ranks own, if its kind is mailed.
    fn mailed(&mut self) -> Option<&mut dyn Mailed> {
        None
    }

    /// Its pieces, if it has any.
    fn spooled(&mut self) -> Option<&mut dyn Spooled> {
        None
    }

    /// What it has gathered and not written yet, if it gathers anything.
    fn state(&self) -> Option<Box<dyn State>> {
        None
    }

    /// Writes what remains when all tiles are stored, and closes its arrays.
    fn finish(self: Box<Self>) -> Result<End>;
}

/// What a sink finds in mirror images for rows of other ranks. It goes there as words, which only sinks of this kind understand.
pub trait Mailed {
    /// From now on, tiles may have mirror images in these rows, which another rank owns.
    fn enter(&mut self, rows: Range<usize>);

    /// From now on, none has; all was taken.
    fn leave(&mut self, rows: &Range<usize>);

    /// What ranks must know that find something for these rows, which are this rank's.
    fn bounds(&self, rows: &Range<usize>) -> Vec<u64>;

    /// Takes in what the owner of these rows says.
    fn tighten(&mut self, rows: &Range<usize>, bounds: &[u64]);

    /// Takes part `part` of what it has for these rows; false if there is no such part.
    fn take(&mut self, rows: &Range<usize>, part: usize, out: &mut Vec<u64>) -> bool;

    /// Whether so much waits to be taken that no more tiles should be computed before.
    fn is_full(&self) -> bool {
        false
    }

    /// Takes in what others have found for this rank's rows.
    fn deliver(&mut self, mail: &[u64]) -> Result<()>;
}

/// Distances of a result, open to read: all of the matrix, or those above its diagonal.
pub trait Distances: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Row and column of one of them, by its place row by row.
    fn pair(&self, place: usize) -> (usize, usize);

    /// The tiles of a row of tiles that there are.
    fn tiles(&self, tile_row: usize) -> Range<usize>;

    /// Those of some columns that there are of a row.
    fn columns(&self, row: usize, cols: Range<usize>) -> Range<usize>;

    /// One distance.
    fn entry(&self, row: usize, column: usize) -> Result<f64>;

    /// The distances of a tile, row-major, with zeros where there is none; and their checksum.
    fn tile(&self, tile: Tile, level: Level, checksum: &mut Checksum) -> Result<(Vec<f64>, u64)>;

    /// The stored checksum of a tile.
    fn checksum(&self, tile: Tile) -> Result<u64>;
}
