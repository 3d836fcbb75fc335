//! The upper triangle of the matrix of one input, row by row, as `scipy.spatial.distance.pdist` gives it: `/condensed`; with a checksum of each
//! tile on or above the diagonal in `/condensed_checksums`.
//!
//! The distance of samples i < j stands at i·n − i(i + 1)/2 + j − i − 1. A tile is a segment in each of its rows. Of a tile below the
//! diagonal the mirror image is stored; of one on the diagonal what is above it, which has a checksum of its own: that of the
//! tile with zeros elsewhere.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Zeroable;

use super::images::{Images, held_len};
use super::storable::{Storable, with_store};
use super::sums::{TileSums, stored_sums, sum_of};
use super::{Distances, End, Finished, Kind, Part, Place, Rounded, Sink, Strip};
use crate::element::{Element, StoreType};
use crate::error::{Context, Result};
use crate::fail;
use crate::failpoint;
use crate::io::Attempt;
use crate::io::array::{Array, Line};
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::kernel::{Checksum, Level};
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
        sum_of(&CondensedReader::of(file)?.checksums, |row| row, file)
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

/// Distances of so many samples.
fn len(n: usize) -> usize {
    n * n.saturating_sub(1) / 2
}

/// Where the distances of a row begin.
fn first_of(n: usize, row: usize) -> usize {
    row * n - row * (row + 1) / 2
}

/// Where the distance of two samples stands.
///
/// # Panics
/// Unless `row < col`.
fn place_of(n: usize, row: usize, col: usize) -> usize {
    assert!(row < col, "({row}, {col}) is not above the diagonal");
    first_of(n, row) + col - row - 1
}

/// The two samples whose distance stands there.
fn pair_at(n: usize, place: usize) -> (usize, usize) {
    // the last row that begins there or before
    let (mut row, mut end) = (0, n - 1);
    while end - row > 1 {
        let middle = row.midpoint(end);
        if first_of(n, middle) <= place { row = middle } else { end = middle }
    }
    (row, place - first_of(n, row) + row + 1)
}

/// The columns above the diagonal that a row has in a tile.
fn above(row: usize, cols: &Range<usize>) -> Range<usize> {
    cols.start.max(row + 1).min(cols.end)..cols.end
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
        TileSums::bytes(share.tiles)
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
            Box::new(CondensedSink::<S> { open, grid, is_rounded, sums, overflows: false, of_store: PhantomData })
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
    fn write<S: Storable>(&self, grid: &Grid, tile: Tile, values: &[S]) -> Result<u64> {
        failpoint::hit("write")?;
        let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
        let mut written = 0;
        for (row, values) in rows.zip(values.chunks_exact(cols.len())) {
            let above = above(row, &cols);
            if above.is_empty() {
                continue;
            }
            let values = &values[above.start - cols.start..];
            let done = self.distances.write(place_of(grid.n, row, above.start), values);
            done.context(|| format!("tile ({}, {}) cannot be written to {}", tile.i, tile.j, self.shown))?;
            written += size_of_val(values) as u64;
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
    of_store: PhantomData<S>,
}

impl<S: Storable> CondensedSink<S> {
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
        let Some(open) = &self.open else { return Ok(0) };
        let part: &dyn Any = part;
        let Triangle { images, .. } =
            part.downcast_ref::<Triangle<S>>().expect("the part that this kind has made");
        let upward = upward(done.tile);
        let image = if upward == done.tile { images.tile(values) } else { images.mirror() };
        let written = open.write(&self.grid, upward, image)?;
        self.keep(done);
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

/// The upper triangle of a result, open to read.
pub struct CondensedReader<'a> {
    file: &'a ResultReader,
    grid: Grid,
    distances: Array,
    checksums: Array,
    store: StoreType,
}

impl<'a> CondensedReader<'a> {
    /// Of a result that has it, complete or not.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
        let grid = file.header.identity.grid();
        let store = file.asked().stored_as(file.header.identity.problem.dtype);
        if distances.shape() != [len(grid.n)] || !with_store!(store, S => distances.holds::<S>()) {
            fail!(
                "{} is damaged: its condensed distances are {:?}, and not {} of type {}",
                file.shown(),
                distances.shape(),
                len(grid.n),
                store.name()
            );
        }
        if checksums.shape() != [grid.tile_rows(), grid.tile_cols()] || !checksums.holds::<u64>() {
            fail!(
                "{} is damaged: the checksums of its condensed distances are {:?}, and not one u64 for each tile",
                file.shown(),
                checksums.shape()
            );
        }
        Ok(Self { file, grid, distances, checksums, store })
    }

    /// Distances of a row, from columns above the diagonal.
    fn row<S: Storable>(&self, row: usize, cols: Range<usize>) -> Result<Vec<S>> {
        if cols.is_empty() {
            return Ok(Vec::new());
        }
        let first = place_of(self.grid.n, row, cols.start);
        let read = self.distances.read_line(first..first + cols.len());
        read.context(|| format!("row {row} of {} cannot be read", self.file.shown()))
    }
}

impl Distances for CondensedReader<'_> {
    fn count(&self) -> usize {
        len(self.grid.n)
    }

    fn pair(&self, place: usize) -> (usize, usize) {
        pair_at(self.grid.n, place)
    }

    fn tiles(&self, tile_row: usize) -> Range<usize> {
        tile_row..self.grid.tile_cols()
    }

    fn columns(&self, row: usize, cols: Range<usize>) -> Range<usize> {
        above(row, &cols)
    }

    fn entry(&self, row: usize, column: usize) -> Result<f64> {
        with_store!(self.store, S => {
            let stored = self.row::<S>(row, column..column + 1)?;
            Ok(S::widened(&stored, &mut Vec::new())[0].to_f64())
        })
    }

    fn tile(&self, tile: Tile, level: Level, checksum: &mut Checksum) -> Result<(Vec<f64>, u64)> {
        let (rows, cols) = (self.grid.rows(tile.i), self.grid.cols(tile.j));
        with_store!(self.store, S => {
            let mut stored = vec![<S as Zeroable>::zeroed(); rows.len() * cols.len()];
            for (row, values) in rows.clone().zip(stored.chunks_exact_mut(cols.len())) {
                let above = above(row, &cols);
                values[above.start - cols.start..].copy_from_slice(&self.row::<S>(row, above)?);
            }
            let mut room = Vec::new();
            let wide = S::widened(&stored, &mut room);
            let sum = checksum.of(level, wide, rows, cols);
            Ok((wide.iter().map(|value| value.to_f64()).collect(), sum))
        })
    }

    fn checksum(&self, tile: Tile) -> Result<u64> {
        Ok(stored_sums(&self.checksums, tile.i, tile.j..tile.j + 1, self.file)?[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_row_by_row() {
        for n in 2..30 {
            let pairs = (0..n).flat_map(|row| (row + 1..n).map(move |col| (row, col)));
            for (place, (row, col)) in pairs.enumerate() {
                assert_eq!(place_of(n, row, col), place);
                assert_eq!(pair_at(n, place), (row, col));
            }
            assert_eq!(len(n), place_of(n, n - 2, n - 1) + 1);
        }
        assert_eq!([0, 1].map(len), [0, 0]);
        let n = 1 << 31;
        assert_eq!(pair_at(n, len(n) - 1), (n - 2, n - 1));
    }

    #[test]
    fn rows_of_a_tile_begin_after_the_diagonal() {
        assert_eq!(above(3, &(8..12)), 8..12);
        assert_eq!(above(9, &(8..12)), 10..12);
        assert!(above(11, &(8..12)).is_empty() && above(20, &(8..12)).is_empty());
    }
}
