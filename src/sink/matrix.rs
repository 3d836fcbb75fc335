//! The n × m matrix: `/distances`, with a checksum of each tile in `/tile_checksums`.
//!
//! A tile is one chunk, and its mirror image another: each is written whole, where it belongs. Distances that are stored in another type
//! than they are computed in are rounded by the workers, strip by strip.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;

use super::images::{Images, held_len};
use super::storable::{Storable, read_widened, widened_tile, with_store};
use super::sums::{TileSums, stored_sums, sum_of};
use super::{Distances, End, Finished, Kind, Part, Rounded, Sink, Strip};
use crate::element::StoreType;
use crate::error::{Context, Result};
use crate::fail;
use crate::failpoint;
use crate::io::Attempt;
use crate::io::array::Array;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::kernel::{Checksum, Level};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::problem::Asked;
use crate::schedule::Share;
use crate::store::journal::Done;
use crate::text::bytes;

/// The names of its arrays.
const DISTANCES: &str = "distances";
const CHECKSUMS: &str = "tile_checksums";

/// The matrix of all distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Type that distances are stored in; nothing where it is the type that is computed in.
    store: Option<StoreType>,
}

impl Matrix {
    pub(super) fn wanted(asked: Asked) -> Option<Self> {
        asked.matrix.then_some(Self { store: asked.store })
    }

    pub(super) fn check(file: &ResultReader) -> Result<()> {
        arrays(file).map(drop)
    }

    pub(super) fn stored_sum(file: &ResultReader) -> Result<u64> {
        let (_, checksums) = arrays(file)?;
        sum_of(&checksums, |_| 0, file)
    }

    pub(super) fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
        let problem = file.header.identity.problem;
        let store = file.asked().stored_as(problem.dtype);
        let size = bytes(problem.pairs().saturating_mul(store.size() as u64));
        vec![("distances", format!("{} x {}, {}, {size}", problem.n, problem.m, store.name()))]
    }

    fn store<T: Number>(self) -> StoreType {
        self.store.unwrap_or(T::DTYPE.into())
    }
}

/// The arrays of a result, as its header says.
fn arrays(file: &ResultReader) -> Result<(Array, Array)> {
    let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
    let grid = file.header.identity.grid();
    let tiles = [grid.tile_rows(), grid.tile_cols()];
    if distances.shape() != [grid.n, grid.m] {
        fail!(
            "{} is damaged: its distances are {:?}, its samples {} x {}",
            file.shown(),
            distances.shape(),
            grid.n,
            grid.m
        );
    }
    if checksums.shape() != tiles {
        fail!("{} is damaged: its checksums are {:?}, its tiles {tiles:?}", file.shown(), checksums.shape());
    }
    let store = file.asked().stored_as(file.header.identity.problem.dtype);
    if !with_store!(store, S => distances.holds::<S>()) || !checksums.holds::<u64>() {
        fail!(
            "{} is damaged: its distances are not {}, or its checksums not u64",
            file.shown(),
            store.name()
        );
    }
    Ok((distances, checksums))
}

/// Tiles that one tile stands for: itself, and its mirror image.
fn images(grid: &Grid) -> usize {
    1 + usize::from(grid.symmetric)
}

impl<T: Number> Kind<T> for Matrix {
    fn keeps_tiles(&self) -> bool {
        self.store.is_none()
    }

    fn part_len(&self, grid: &Grid, strip_len: usize) -> usize {
        let (is_rounded, (_, width)) = (self.store.is_some(), grid.tile_shape());
        let held = held_len(grid, is_rounded) * self.store::<T>().size();
        // a strip in the wide type, and weights of the checksum
        let beside = if is_rounded { strip_len * size_of::<f32>() + width * size_of::<u64>() } else { 0 };
        (held + beside).div_ceil(size_of::<T>())
    }

    fn kept_bytes(&self, share: &Share) -> Option<u64> {
        TileSums::bytes(images(&share.grid).checked_mul(share.tiles)?)
    }

    fn writes(&self, grid: &Grid) -> usize {
        images(grid)
    }

    fn file_bytes(&self, grid: &Grid) -> Option<u64> {
        (grid.n as u64).checked_mul(grid.m as u64)?.checked_mul(self.store::<T>().size() as u64)
    }

    fn create(&self, file: &NewFile, grid: &Grid) -> Attempt<()> {
        let shape = (grid.n, grid.m);
        with_store!(self.store::<T>(), S => file.array::<S>(DISTANCES, shape, Some(grid.tile_shape())))?;
        file.array::<u64>(CHECKSUMS, (grid.tile_rows(), grid.tile_cols()), None)
    }

    fn arrays(&self) -> &'static [&'static str] {
        &[DISTANCES, CHECKSUMS]
    }

    fn sink(&self, share: &Share) -> Box<dyn Sink<T>> {
        let (grid, is_rounded) = (share.grid, self.store.is_some());
        let sums = TileSums::of(images(&grid) * share.tiles);
        with_store!(self.store::<T>(), S => {
            Box::new(MatrixSink::<S> { open: None, grid, is_rounded, sums, overflows: false, of_store: PhantomData })
        })
    }
}

impl<T: Number, S: Storable> Part<T> for Images<S> {
    fn collect(&mut self, strip: &Strip<'_, T>) {
        Self::collect(self, strip);
    }

    fn held(&self) -> &[u8] {
        Self::held(self)
    }

    fn rounded(&self) -> Option<Rounded> {
        Self::rounded(self)
    }
}

/// The arrays of the matrix in a file that all ranks have open.
struct Open {
    distances: Array,
    checksums: Array,
    shown: String,
}

impl Open {
    fn write<S: Storable>(&self, grid: &Grid, tile: Tile, values: &[S]) -> Result<u64> {
        failpoint::hit("write")?;
        let written = self.distances.write(grid.rows(tile.i), grid.cols(tile.j), values);
        written.context(|| format!("tile ({}, {}) cannot be written to {}", tile.i, tile.j, self.shown))?;
        Ok(size_of_val(values) as u64)
    }
}

/// What a rank has of the matrix.
struct MatrixSink<S> {
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

impl<S: Storable> MatrixSink<S> {
    /// Keeps the checksum of a tile, and that of its mirror image.
    fn keep(&mut self, done: &Done) {
        self.overflows |= done.overflows;
        let mirror = self.grid.is_mirrored(done.tile).then(|| done.tile.transposed());
        let tiles = [Some(done.tile), mirror].into_iter().flatten();
        tiles.for_each(|tile| self.sums.keep(tile, done.stored));
    }
}

impl<T: Number, S: Storable> Sink<T> for MatrixSink<S> {
    fn part(&self) -> Box<dyn Part<T>> {
        Box::new(Images::<S>::new(&self.grid, self.is_rounded, |place| place.mirrored))
    }

    fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()> {
        let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
        self.open = Some(Open { distances, checksums, shown: file.shown() });
        Ok(())
    }

    fn store(&mut self, done: &Done, values: &[T], part: &dyn Part<T>) -> Result<u64> {
        let Some(open) = &self.open else { return Ok(0) };
        let part: &dyn Any = part;
        let images: &Images<S> = part.downcast_ref().expect("the part that this kind has made");
        let mut written = open.write(&self.grid, done.tile, images.tile(values))?;
        if self.grid.is_mirrored(done.tile) {
            written += open.write(&self.grid, done.tile.transposed(), images.mirror())?;
        }
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

/// The matrix of a result, open to read.
pub struct MatrixReader<'a> {
    file: &'a ResultReader,
    grid: Grid,
    distances: Array,
    checksums: Array,
    store: StoreType,
}

impl<'a> MatrixReader<'a> {
    /// Of a result, complete or not.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let (distances, checksums) = arrays(file)?;
        let store = file.asked().stored_as(file.header.identity.problem.dtype);
        Ok(Self { grid: file.header.identity.grid(), file, distances, checksums, store })
    }
}

impl Distances for MatrixReader<'_> {
    fn count(&self) -> usize {
        self.grid.n * self.grid.m
    }

    fn pair(&self, place: usize) -> (usize, usize) {
        (place / self.grid.m, place % self.grid.m)
    }

    fn tiles(&self, _: usize) -> Range<usize> {
        0..self.grid.tile_cols()
    }

    fn columns(&self, _: usize, cols: Range<usize>) -> Range<usize> {
        cols
    }

    fn entry(&self, row: usize, column: usize) -> Result<f64> {
        let values = read_widened(&self.distances, self.store, row..row + 1, column..column + 1);
        Ok(values.context(|| format!("entry ({row}, {column}) of {} cannot be read", self.file.shown()))?[0])
    }

    fn tile(&self, tile: Tile, level: Level, checksum: &mut Checksum) -> Result<(Vec<f64>, u64)> {
        let (rows, cols) = (self.grid.rows(tile.i), self.grid.cols(tile.j));
        let cannot = || format!("rows from {} of {} cannot be read", rows.start, self.file.shown());
        with_store!(self.store, S => {
            let stored = self.distances.read::<S>(rows.clone(), cols.clone()).context(cannot)?;
            Ok(widened_tile(&stored, (rows, cols), level, checksum))
        })
    }

    fn checksum(&self, tile: Tile) -> Result<u64> {
        Ok(stored_sums(&self.checksums, tile.i, tile.j..tile.j + 1, self.file)?[0])
    }
}
