//! The n × m matrix: `/distances`, with a checksum of each tile in `/tile_checksums`.
//!
//! A tile is one chunk, and its mirror image another: each is written whole, where it belongs.

use std::any::Any;
use std::ops::Range;


use super::{Finished, Kind, Part, Sink, Strip};
use crate::number::Number;
use crate::error::{Context, Result};
use crate::fail;
use crate::failpoint;
use crate::io::array::Array;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::io::{Attempt, Stored};
use crate::kernel::{SimdElement, transpose};
use crate::pages::Pages;
use crate::partition::{Grid, Tile};
use crate::problem::Asked;
use crate::schedule::Share;
use crate::text::bytes;
use crate::store::journal::Done;

/// The names of its arrays.
const DISTANCES: &str = "distances";
const CHECKSUMS: &str = "tile_checksums";

/// The matrix of all distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix;

impl Matrix {
    pub(super) fn wanted(asked: Asked) -> Option<Self> {
        asked.matrix.then_some(Self)
    }

    pub(super) fn check(file: &ResultReader) -> Result<()> {
        arrays(file).map(drop)
    }

    pub(super) fn stored_sum(file: &ResultReader) -> Result<u64> {
        let (_, checksums) = arrays(file)?;
        sum_of(&checksums, file)
    }

    pub(super) fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
        let problem = file.header.identity.problem;
        let size = bytes(problem.result_bytes());
        vec![("distances", format!("{} x {}, {}, {size}", problem.n, problem.m, problem.dtype))]
    }
}

/// The arrays of a result, as its header says.
fn arrays(file: &ResultReader) -> Result<(Array, Array)> {
    let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
    let grid = file.header.identity.grid();
    let tiles = [grid.tile_rows(), grid.tile_cols()];
    if distances.shape() != [grid.n, grid.m] {
        fail!("{} is damaged: its distances are {:?}, its samples {} x {}", file.shown(), distances.shape(), grid.n, grid.m);
    }
    if checksums.shape() != tiles {
        fail!("{} is damaged: its checksums are {:?}, its tiles {tiles:?}", file.shown(), checksums.shape());
    }
    Ok((distances, checksums))
}

/// Tiles that one tile stands for: itself, and its mirror image.
fn images(grid: &Grid) -> usize {
    1 + usize::from(grid.symmetric)
}

impl<T: Number> Kind<T> for Matrix {
    fn keeps_tiles(&self) -> bool {
        true
    }

    fn part_len(&self, grid: &Grid) -> usize {
        let (height, width) = grid.tile_shape();
        if grid.symmetric { height * width } else { 0 }
    }

    fn kept_bytes(&self, share: &Share) -> Option<u64> {
        let checksums = images(&share.grid).checked_mul(share.tiles)?.checked_mul(size_of::<(Tile, u64)>())?;
        u64::try_from(checksums).ok()
    }

    fn writes(&self, grid: &Grid) -> usize {
        images(grid)
    }

    fn file_bytes(&self, grid: &Grid) -> Option<u64> {
        (grid.n as u64).checked_mul(grid.m as u64)?.checked_mul(size_of::<T>() as u64)
    }

    fn create(&self, file: &NewFile, grid: &Grid) -> Attempt<()> {
        file.array::<T>(DISTANCES, (grid.n, grid.m), Some(grid.tile_shape()))?;
        file.array::<u64>(CHECKSUMS, (grid.tile_rows(), grid.tile_cols()), None)
    }

    fn sink(&self, share: &Share) -> Box<dyn Sink<T>> {
        let computed = Vec::with_capacity(images(&share.grid) * share.tiles);
        Box::new(MatrixSink { open: None, grid: share.grid, computed })
    }
}

/// The mirror image of a tile.
struct Mirror<T> {
    values: Pages<T>,
    /// Elements of the tile; 0 of one that has no mirror image.
    len: usize,
}

impl<T: SimdElement> Part<T> for Mirror<T> {
    fn collect(&mut self, strip: &Strip<'_, T>) {
        let (height, width) = strip.place.shape();
        self.len = if strip.place.mirrored { height * width } else { 0 };
        if strip.place.mirrored {
            let rows = strip.values.len() / width;
            let target = &mut self.values[strip.first..self.len];
            transpose(strip.place.level, strip.values, rows, width, target, height);
        }
    }

    fn held(&self) -> &[T] {
        &self.values[..self.len]
    }
}

/// The arrays of the matrix in a file that all ranks have open.
struct Open {
    distances: Array,
    checksums: Array,
    shown: String,
}

impl Open {
    fn write<T: Stored>(&self, grid: &Grid, tile: Tile, values: &[T]) -> Result<u64> {
        failpoint::hit("write")?;
        let written = self.distances.write(grid.rows(tile.i), grid.cols(tile.j), values);
        written.context(|| format!("tile ({}, {}) cannot be written to {}", tile.i, tile.j, self.shown))?;
        Ok(size_of_val(values) as u64)
    }
}

/// What a rank has of the matrix.
struct MatrixSink {
    /// Nothing where no file is written.
    open: Option<Open>,
    grid: Grid,
    /// Checksums of the tiles that this rank has stored, and of those that it has taken in.
    computed: Vec<(Tile, u64)>,
}

impl MatrixSink {

    /// Keeps the checksum of a tile, and that of its mirror image.
    fn keep(&mut self, done: &Done) {
        let mirror = self.grid.is_mirrored(done.tile).then(|| done.tile.transposed());
        let tiles = [Some(done.tile), mirror].into_iter().flatten();
        self.computed.extend(tiles.map(|tile| (tile, done.checksum)));
    }
}

impl<T: Number> Sink<T> for MatrixSink {
    fn part(&self) -> Box<dyn Part<T>> {
        let len = Kind::<T>::part_len(&Matrix, &self.grid);
        Box::new(Mirror { values: Pages::<T>::zeroed(len), len: 0 })
    }

    fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()> {
        let (distances, checksums) = (file.array(DISTANCES)?, file.array(CHECKSUMS)?);
        self.open = Some(Open { distances, checksums, shown: file.shown() });
        Ok(())
    }

    fn store(&mut self, done: &Done, values: &[T], part: &dyn Part<T>) -> Result<u64> {
        let Some(open) = &self.open else { return Ok(0) };
        let mut written = open.write(&self.grid, done.tile, values)?;
        if self.grid.is_mirrored(done.tile) {
            let part: &dyn Any = part;
            let mirror: &Mirror<T> = part.downcast_ref().expect("the part that this kind has made");
            written += open.write(&self.grid, done.tile.transposed(), mirror.held())?;
        }
        self.keep(done);
        Ok(written)
    }

    fn restore(&mut self, done: &Done) {
        self.keep(done);
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        let Some(open) = self.open else { return Ok(Finished::default()) };
        self.computed.sort_unstable_by_key(|&(tile, _)| tile);
        for neighbours in self.computed.chunk_by(|(a, _), (b, _)| a.i == b.i && a.j + 1 == b.j) {
            let values: Vec<u64> = neighbours.iter().map(|&(_, checksum)| checksum).collect();
            let first = neighbours[0].0;
            let cols = first.j..first.j + values.len();
            open.checksums.write(first.i..first.i + 1, cols, &values).context(|| {
                format!("the checksums of row {} of tiles cannot be written to {}", first.i, open.shown)
            })?;
        }
        let checksums = self.computed.iter().fold(0_u64, |sum, &(_, checksum)| sum.wrapping_add(checksum));
        Ok(Finished { checksums, bytes: 0 })
    }
}

/// The matrix of a result, open to read.
pub struct MatrixReader<'a> {
    file: &'a ResultReader,
    /// Its tiles.
    pub grid: Grid,
    distances: Array,
    checksums: Array,
}

impl<'a> MatrixReader<'a> {
    /// Of a result, complete or not.
    pub fn of(file: &'a ResultReader) -> Result<Self> {
        let (distances, checksums) = arrays(file)?;
        Ok(Self { grid: file.header.identity.grid(), file, distances, checksums })
    }

    /// One distance.
    pub fn entry<T: Stored>(&self, row: usize, column: usize) -> Result<T> {
        let read = self.distances.read::<T>(row..row + 1, column..column + 1);
        Ok(read.context(|| format!("entry ({row}, {column}) of {} cannot be read", self.file.shown()))?[0])
    }

    /// A block of distances, row-major.
    pub fn block<T: Stored>(&self, rows: Range<usize>, cols: Range<usize>) -> Result<Vec<T>> {
        let read = self.distances.read::<T>(rows.clone(), cols);
        read.context(|| format!("rows from {} of {} cannot be read", rows.start, self.file.shown()))
    }

    /// The stored checksum of a tile.
    pub fn checksum(&self, tile: Tile) -> Result<u64> {
        Ok(stored(&self.checksums, tile.i..tile.i + 1, tile.j..tile.j + 1, self.file)?[0])
    }
}

/// Wrapping sum of all checksums in an array, read row by row.
fn sum_of(checksums: &Array, file: &ResultReader) -> Result<u64> {
    let shape = checksums.shape();
    let mut sum = 0_u64;
    for row in 0..shape[0] {
        let stored = stored(checksums, row..row + 1, 0..shape[1], file)?;
        sum = stored.iter().fold(sum, |sum, checksum| sum.wrapping_add(*checksum));
    }
    Ok(sum)
}

fn stored(checksums: &Array, rows: Range<usize>, cols: Range<usize>, file: &ResultReader) -> Result<Vec<u64>> {
    let read = checksums.read::<u64>(rows, cols);
    read.context(|| format!("the checksums of {} cannot be read", file.shown()))
}
