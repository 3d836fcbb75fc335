//! The upper triangle of the matrix of one input, row by row, as `scipy.spatial.distance.pdist` gives it: `/condensed`; with a checksum of each
//! tile on or above the diagonal in `/condensed_checksums`.
//!
//! The distance of samples i < j stands at i·n − i(i + 1)/2 + j − i − 1. A tile is a segment in each of its rows. Of a tile below the
//! diagonal the mirror image is stored; of one on the diagonal what is above it, which has a checksum of its own: that of the
//! tile with zeros elsewhere.

mod bands;
mod places;
mod reader;

use std::any::Any;

use self::bands::{Band, Bands, band_bytes};
use self::places::{above, len, place_of};
pub use self::reader::CondensedReader;
use super::images::{Images, held_len};
use super::storable::{Storable, with_store};
use super::sums::TileSums;
use super::{End, Finished, Kind, Part, Place, Rounded, Sink, Strip};
use crate::element::StoreType;
use crate::error::{Context, Result};
use crate::failpoint;
use crate::io::Attempt;
use crate::io::array::{Array, Line};
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::kernel::Checksum;
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::problem::Asked;
use crate::schedule::Share;
use crate::store::journal::Done;
use crate::text::bytes;

/// The names of its arrays.
const DISTANCES: &str = "condensed";
const CHECKSUMS: &str = "condensed_checksums";

/// The upper triangle of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condensed {
    /// Type that distances are stored in; nothing where it is the type that is computed in.
    store: Option<StoreType>,
}

impl Condensed {
    pub(super) fn wanted(asked: Asked) -> Option<Self> {
        asked.condensed.then_some(Self { store: asked.store })
    }

    pub(super) fn check(file: &ResultReader) -> Result<()> {
        CondensedReader::of(file).map(drop)
    }

    pub(super) fn stored_sum(file: &ResultReader) -> Result<u64> {
        CondensedReader::of(file)?.stored_sum()
    }

    pub(super) fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
        let problem = file.header.identity.problem;
        let (store, len) = (file.asked().stored_as(problem.dtype), len(problem.n));
        let size = bytes((len as u64).saturating_mul(store.size() as u64));
        vec![("condensed", format!("{len} distances of {} samples, {}, {size}", problem.n, store.name()))]
    }

    fn store<T: Number>(self) -> StoreType {
        self.store.unwrap_or(T::DTYPE.into())
    }
}

/// Whether the tile lies below the diagonal.
fn is_below(place: &Place) -> bool {
    place.mirrored && place.rows.start > place.cols.start
}

impl<T: Number> Kind<T> for Condensed {
    fn keeps_tiles(&self) -> bool {
        self.store.is_none()
    }

    fn part_len(&self, grid: &Grid, strip_len: usize) -> usize {
        let (is_rounded, (_, width)) = (self.store.is_some(), grid.tile_shape());
        let held = held_len(grid, is_rounded) * self.store::<T>().size();
        // two strips in the wide type, and weights of the checksums
        let beside = 2 * (strip_len * size_of::<T>().max(size_of::<f32>()) + 2 * width * size_of::<u64>());
        (held + beside).div_ceil(size_of::<T>())
    }

    fn kept_bytes(&self, share: &Share) -> Option<u64> {
        TileSums::bytes(share.tiles)?.checked_add(band_bytes(&share.grid, self.store::<T>().size())?)
    }

    fn file_bytes(&self, grid: &Grid) -> Option<u64> {
        (len(grid.n) as u64).checked_mul(self.store::<T>().size() as u64)
    }

    fn create(&self, file: &NewFile, grid: &Grid) -> Attempt<()> {
        with_store!(self.store::<T>(), S => file.line::<S>(DISTANCES, len(grid.n)))?;
        file.array::<u64>(CHECKSUMS, (grid.tile_rows(), grid.tile_cols()), None)
    }

    fn arrays(&self) -> &'static [&'static str] {
        &[DISTANCES, CHECKSUMS]
    }

    fn sink(&self, share: &Share) -> Box<dyn Sink<T>> {
        let (grid, is_rounded) = (share.grid, self.store.is_some());
        let (open, sums) = (None, TileSums::of(share.tiles));
        with_store!(self.store::<T>(), S => {
            Box::new(CondensedSink::<S> { open, grid, is_rounded, sums, overflows: false, bands: Bands::new(grid) })
        })
    }
}

/// A tile as it is stored, and the checksum of what is above the diagonal.
struct Triangle<S: Storable> {
    images: Images<S>,
    checksum: Checksum,
    room: Vec<S::Wide>,
    wide: Vec<S::Wide>,
    /// Of the strips of a tile on the diagonal so far.
    upper: Option<u64>,
}

impl<S: Storable> Triangle<S> {
    fn new(grid: &Grid, is_rounded: bool) -> Self {
        let images = Images::new(grid, is_rounded, is_below);
        Self { images, checksum: Checksum::default(), room: Vec::new(), wide: Vec::new(), upper: None }
    }
}

impl<T: Number, S: Storable> Part<T> for Triangle<S> {
    fn collect(&mut self, strip: &Strip<'_, T>) {
        let stored = self.images.collect(strip);
        let cols = &strip.place.cols;
        if strip.first == 0 {
            self.upper = (strip.place.rows == *cols).then_some(0);
        }
        let Some(upper) = &mut self.upper else { return };
        self.wide.clear();
        self.wide.extend_from_slice(S::widened(stored, &mut self.room));
        for (row, values) in strip.rows().zip(self.wide.chunks_exact_mut(cols.len())) {
            values[..above(row, cols).start - cols.start].fill(S::Wide::default());
        }
        let sum = self.checksum.of(strip.place.level, &self.wide, strip.rows(), cols.clone());
        *upper = upper.wrapping_add(sum);
    }

    fn held(&self) -> &[u8] {
        self.images.held()
    }

    fn rounded(&self) -> Option<Rounded> {
        self.images.rounded()
    }

    fn upper(&self) -> Option<u64> {
        self.upper
    }
}

/// The arrays in a file that all ranks have open.
struct Open {
    distances: Line,
    checksums: Array,
    shown: String,
}

impl Open {
    fn write<S: Storable>(&self, grid: &Grid, band: &Band<S>) -> Result<u64> {
        failpoint::hit("write")?;
        let mut written = 0;
        for cols in band.cols(grid) {
            for row in band.rows.clone() {
                let above = above(row, &cols);
                if above.is_empty() {
                    continue;
                }
                let first = place_of(grid.n, row, above.start);
                let values = band.line(row, above);
                let done = self.distances.write(first, values);
                done.context(|| format!("distances of row {row} cannot be written to {}", self.shown))?;
                written += size_of_val(values) as u64;
            }
        }
        Ok(written)
    }
}

/// What a rank has of the upper triangle.
struct CondensedSink<S: Storable> {
    /// Nothing where no file is written.
    open: Option<Open>,
    grid: Grid,
    /// Whether distances are rounded to be stored.
    is_rounded: bool,
    /// Of the tiles that this rank has stored, and of those that it has taken in.
    sums: TileSums,
    /// Whether distances of any of these that are finite are stored as infinities.
    overflows: bool,
    /// Tiles that are not written yet.
    bands: Bands<S>,
}

impl<S: Storable> CondensedSink<S> {
    fn write(&mut self, band: Option<Band<S>>) -> Result<u64> {
        let (Some(open), Some(band)) = (&self.open, band) else { return Ok(0) };
        let written = open.write(&self.grid, &band)?;
        self.bands.give_back(band);
        Ok(written)
    }

    fn keep(&mut self, done: &Done) {
        let Done { tile, stored, upper, overflows, .. } = *done;
        self.overflows |= overflows;
        if tile.i == tile.j {
            self.sums.keep(tile, upper);
        } else {
            self.sums.keep(upward(tile), stored);
        }
    }
}

/// The tile, or its mirror image if it is below the diagonal.
fn upward(tile: Tile) -> Tile {
    if tile.i > tile.j { tile.transposed() } else { tile }
}

impl<T: Number, S: Storable> Sink<T> for CondensedSink<S> {
    fn part(&self) -> Box<dyn Part<T>> {
        Box::new(Triangle::<S>::new(&self.grid, self.is_rounded))
    }

    fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()> {
        let (distances, checksums) = (file.line(DISTANCES)?, file.array(CHECKSUMS)?);
        self.open = Some(Open { distances, checksums, shown: file.shown() });
        Ok(())
    }

    fn store(&mut self, done: &Done, values: &[T], part: &dyn Part<T>) -> Result<u64> {
        if self.open.is_none() {
            return Ok(0);
        }
        let part: &dyn Any = part;
        let Triangle { images, .. } =
            part.downcast_ref::<Triangle<S>>().expect("the part that this kind has made");
        let upward = upward(done.tile);
        let image = if upward == done.tile { images.tile(values) } else { images.mirror() };
        let band = self.bands.add(upward, image);
        self.keep(done);
        self.write(band)
    }

    fn holds(&self, tile: Tile) -> bool {
        self.bands.hold(upward(tile))
    }

    fn flush(&mut self) -> Result<u64> {
        let mut written = 0;
        while let Some(band) = self.bands.take() {
            written += self.write(Some(band))?;
        }
        Ok(written)
    }

    fn restore(&mut self, done: &Done) {
        self.keep(done);
    }

    fn finish(self: Box<Self>) -> Result<End> {
        let Some(open) = &self.open else { return Ok(End::Done(Finished::default())) };
        let checksums = self.sums.write(&open.checksums, &open.shown)?;
        Ok(End::Done(Finished { checksums, overflows: self.overflows, ..Finished::default() }))
    }
}
