//! The nearest neighbours of every sample: `/neighbors/indices` and `/neighbors/distances`, nearest first, ties by index; with a checksum
//! for each row of tiles in `/neighbors/checksums`.
//!
//! Every distance is a candidate for the row that it is in, and with one input its mirror image for another row, which may be a row of
//! another rank: then it is mailed there, unless it is beyond what that rank has already.
//!
//! - `lists` — the nearest candidates of many rows
//! - `collect` — candidates from the strips of a tile
//! - `checksum` — of what is stored
//! - `reader` — what is read back

mod checksum;
mod collect;
mod lists;
mod reader;

use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock};

use super::storable::{Storable, overflows, with_store};
use super::sums::sum_of;
use super::{End, FOREIGN_LISTS, Finished, Kind, Mailed, Part, Sink, index_bytes};
use crate::element::{Element, StoreType};
use crate::error::{Context, Result};
use crate::failpoint;
use crate::io::Attempt;
use crate::io::array::Array;
use crate::io::result::{NewFile, OpenFile, ResultReader};
use crate::number::Number;
use crate::partition::{Grid, Tile, from_word};
use crate::problem::{Asked, Nearest};
use crate::schedule::Share;
use crate::store::journal::Done;
use crate::store::snapshot::{BAND, State};
use crate::text::bytes;
use checksum::RowsChecksum;
use collect::{Collector, Found};
use lists::{Candidate, GROUP, Lists, list_bytes};

pub use reader::NeighborsReader;

/// The names of its arrays.
const INDICES: &str = "neighbors/indices";
const DISTANCES: &str = "neighbors/distances";
const CHECKSUMS: &str = "neighbors/checksums";

/// What stands for a neighbour where there is none.
pub const NO_INDEX: i64 = -1;

/// Bytes of neighbours that are written or read at once.
const BAND_BYTES: usize = 4 << 20;

/// Candidates for a group of rows that wait at most: with those of a whole tile the group is locked once, and where there are more, limits
/// must not wait for them.
const MOST_WAITING: usize = 256;

/// The nearest neighbours of every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbors {
    nearest: Nearest,
    /// Type that distances are stored in; nothing where it is the type that is computed in.
    store: Option<StoreType>,
}

impl Neighbors {
    pub(in crate::sink) fn wanted(asked: Asked) -> Option<Self> {
        asked.neighbors.map(|nearest| Self { nearest, store: asked.store })
    }

    pub(in crate::sink) fn check(file: &ResultReader) -> Result<()> {
        NeighborsReader::of(file).map(drop)
    }

    pub(in crate::sink) fn stored_sum(file: &ResultReader) -> Result<u64> {
        sum_of(&NeighborsReader::of(file)?.checksums, |_| 0, file)
    }

    pub(in crate::sink) fn shown(file: &ResultReader) -> Vec<(&'static str, String)> {
        let (problem, Some(nearest)) = (file.header.identity.problem, file.asked().neighbors) else {
            return Vec::new();
        };
        let Nearest { count, include_self } = nearest;
        let dtype = file.asked().stored_as(problem.dtype);
        let entry_bytes = index_bytes(problem.m) + dtype.size();
        let size = bytes((problem.n as u64).saturating_mul((count * entry_bytes) as u64));
        let first = if include_self { ", itself first" } else { "" };
        vec![(
            "neighbors",
            format!("{count} of each of {} samples{first}, {}, {size}", problem.n, dtype.name()),
        )]
    }

    /// Candidates that a row keeps: as many as neighbours, as a sample may have no distance to itself; there may be fewer other samples.
    fn kept(self, grid: &Grid) -> usize {
        self.nearest.count.min(grid.m - usize::from(grid.symmetric))
    }

    /// Those that a foreign row keeps: there are no more samples here.
    fn foreign(self, share: &Share) -> usize {
        self.kept(&share.grid).min(share.rows.len())
    }

    fn bytes_of<T: Number, C: Candidate>(self, share: &Share) -> Option<u64> {
        let Share { grid, rows, foreign_rows, .. } = share;
        let own = list_bytes::<C>(rows.len(), self.kept(grid))?;
        let foreign =
            list_bytes::<C>(*foreign_rows, self.foreign(share))?.checked_mul(FOREIGN_LISTS as u64)?;
        let selves = if self.nearest.include_self { size_of::<T>() * rows.len() } else { 0 };
        // bounds: as they are found, as words, and as they are sent; and of foreign rows those that have come, early or not
        let own_bounds = if *foreign_rows > 0 { 3 * rows.len() } else { 0 };
        let bounds = (own_bounds + 2 * FOREIGN_LISTS * *foreign_rows) * size_of::<C>();
        // rows that a snapshot writes together; after the last one those that are written to the file, when no parcels are left
        let band = u64::try_from(self.row_bytes::<C>(grid).checked_mul(rows.len().min(BAND))?).ok()?;
        own.checked_add(foreign)?
            .checked_add((selves + bounds) as u64)?
            .checked_add(band.max(BAND_BYTES as u64))
    }

    /// Bytes of a row in a snapshot: a place for the sample itself, if it counts, and one for each candidate that is kept.
    fn row_bytes<C>(self, grid: &Grid) -> usize {
        (self.kept(grid) + usize::from(self.nearest.include_self)).saturating_mul(size_of::<C>())
    }

    fn store<T: Number>(self) -> StoreType {
        self.store.unwrap_or(T::DTYPE.into())
    }

    /// Bytes of an index and a distance in the file.
    fn entry_bytes<T: Number>(self, grid: &Grid) -> usize {
        index_bytes(grid.m) + self.store::<T>().size()
    }
}

/// Whether a distance and an index fit one 64-bit number.
fn are_narrow<T: Number>(m: usize) -> bool {
    size_of::<T>() == size_of::<u32>() && u32::try_from(m).is_ok()
}

impl<T: Number> Kind<T> for Neighbors {
    fn part_len(&self, grid: &Grid, strip_len: usize) -> usize {
        let (height, width) = grid.tile_shape();
        // limits of rows and columns, and what a limit is found from; candidates that wait, of the rows of a strip and of each group of columns
        let waiting = (width / GROUP + 3) * MOST_WAITING * size_of::<(usize, u128)>();
        // any place of a strip may be within its limit
        let places = strip_len * size_of::<u32>();
        3 * width.max(height) + (waiting + places).div_ceil(size_of::<T>())
    }

    fn kept_bytes(&self, share: &Share) -> Option<u64> {
        if are_narrow::<T>(share.grid.m) {
            self.bytes_of::<T, u64>(share)
        } else {
            self.bytes_of::<T, u128>(share)
        }
    }

    fn file_bytes(&self, grid: &Grid) -> Option<u64> {
        let entry = self.entry_bytes::<T>(grid);
        u64::try_from(grid.n.checked_mul(self.nearest.count)?.checked_mul(entry)?).ok()
    }

    fn folder_bytes(&self, grid: &Grid) -> Option<u64> {
        let row =
            if are_narrow::<T>(grid.m) { self.row_bytes::<u64>(grid) } else { self.row_bytes::<u128>(grid) };
        // a snapshot, and the next one while it is written
        u64::try_from(row.checked_mul(grid.n)?.checked_mul(2)?).ok()
    }

    fn is_mailed(&self) -> bool {
        true
    }

    fn goes_outward(&self) -> bool {
        true
    }

    fn create(&self, file: &NewFile, grid: &Grid) -> Attempt<()> {
        let shape = (grid.n, self.nearest.count);
        if index_bytes(grid.m) == size_of::<i32>() {
            file.array::<i32>(INDICES, shape, None)?;
        } else {
            file.array::<i64>(INDICES, shape, None)?;
        }
        with_store!(self.store::<T>(), S => file.array::<S>(DISTANCES, shape, None))?;
        file.array::<u64>(CHECKSUMS, (grid.tile_rows(), 1), None)
    }

    fn arrays(&self) -> &'static [&'static str] {
        &[INDICES, DISTANCES, CHECKSUMS]
    }

    fn sink(&self, share: &Share) -> Box<dyn Sink<T>> {
        if are_narrow::<T>(share.grid.m) {
            Box::new(NeighborsSink::<T, u64>::new(*self, share))
        } else {
            Box::new(NeighborsSink::<T, u128>::new(*self, share))
        }
    }
}

/// The arrays of the neighbours.
struct Arrays {
    indices: Array,
    distances: Array,
    checksums: Array,
    shown: String,
}

/// What a rank has of the neighbours.
struct NeighborsSink<T, C> {
    kind: Neighbors,
    grid: Grid,
    /// Candidates of a foreign row.
    foreign: usize,
    found: Arc<Found<T, C>>,
    arrays: Option<Arrays>,
}

impl<T: Number, C: Candidate> NeighborsSink<T, C> {
    fn new(kind: Neighbors, share: &Share) -> Self {
        let Share { grid, rows, .. } = share.clone();
        let foreign = kind.foreign(share);
        let found = Found {
            selves: kind.nearest.include_self.then(|| Mutex::new(vec![T::NAN; rows.len()])),
            own: Lists::new(rows, kind.kept(&grid)),
            foreign: RwLock::default(),
        };
        Self { kind, grid, foreign, found: Arc::new(found), arrays: None }
    }

    /// Writes a row of tiles, and returns its checksum.
    fn write<S: Storable>(&self, arrays: &Arrays, tile_row: usize, finished: &mut Finished) -> Result<u64> {
        let Nearest { count, .. } = self.kind.nearest;
        let (rows, mut checksum) = (self.grid.rows(tile_row), RowsChecksum::default());
        let most = (BAND_BYTES / (count * (size_of::<i64>() + size_of::<T>()))).max(1);
        for first in rows.clone().step_by(most) {
            let band = first..rows.end.min(first + most);
            let (indices, distances) = self.sorted(band.clone());
            failpoint::hit("write")?;
            let cannot =
                || format!("the neighbours of rows from {first} cannot be written to {}", arrays.shown);
            if index_bytes(self.grid.m) == size_of::<i32>() {
                let indices: Vec<i32> =
                    indices.iter().map(|&index| i32::try_from(index).expect("it was checked")).collect();
                arrays.indices.write(band.clone(), 0..count, &indices).context(cannot)?;
            } else {
                arrays.indices.write(band.clone(), 0..count, &indices).context(cannot)?;
            }
            let mut stored = vec![S::zeroed(); distances.len()];
            S::round(&distances, &mut stored);
            arrays.distances.write(band, 0..count, &stored).context(cannot)?;
            let mut room = Vec::new();
            let stored = S::widened(&stored, &mut room);
            finished.overflows |= overflows(&distances, stored);
            let lasts = indices.iter().skip(count - 1).step_by(count);
            finished.short_rows += lasts.filter(|index| **index == NO_INDEX).count() as u64;
            finished.bytes += (indices.len() * self.kind.entry_bytes::<T>(&self.grid)) as u64;
            checksum.add(&indices, stored.iter().map(|distance| distance.to_f64()));
        }
        Ok(checksum.of_row(tile_row))
    }

    /// Indices and distances of the neighbours of some rows.
    fn sorted(&self, rows: Range<usize>) -> (Vec<i64>, Vec<T>) {
        let Nearest { count, include_self } = self.kind.nearest;
        let len = rows.len() * count;
        let (mut indices, mut distances) = (Vec::with_capacity(len), Vec::with_capacity(len));
        let first = rows.start;
        let selves = self.found.selves.as_ref().map(|selves| selves.lock().expect("no thread is left"));
        self.found.own.look(rows, |candidates| {
            let mut candidates = candidates.to_vec();
            candidates.sort_unstable();
            let row = first + indices.len() / count;
            let end = indices.len() + count;
            if include_self
                && let Some(selves) = &selves
                && let distance = selves[row - self.found.own.rows.start]
                && !distance.is_nan()
            {
                indices.push(index_of(row));
                distances.push(distance);
            }
            let candidates = &candidates[..candidates.len().min(end - indices.len())];
            indices.extend(candidates.iter().map(|candidate| index_of(candidate.index())));
            distances.extend(candidates.iter().map(|candidate| candidate.distance::<T>()));
            indices.resize(end, NO_INDEX);
            distances.resize(end, T::from_f64(f64::INFINITY));
        });
        (indices, distances)
    }
}

fn index_of(index: usize) -> i64 {
    i64::try_from(index).expect("an index is below 2^63")
}

impl<T: Number, C: Candidate> Sink<T> for NeighborsSink<T, C> {
    fn part(&self) -> Box<dyn Part<T>> {
        Box::new(Collector::new(Arc::clone(&self.found), self.grid.symmetric))
    }

    fn open(&mut self, file: &OpenFile<'_>) -> Attempt<()> {
        let (indices, distances) = (file.array(INDICES)?, file.array(DISTANCES)?);
        self.arrays =
            Some(Arrays { indices, distances, checksums: file.array(CHECKSUMS)?, shown: file.shown() });
        Ok(())
    }

    fn store(&mut self, _: &Done, _: &[T], _: &dyn Part<T>) -> Result<u64> {
        Ok(0)
    }

    fn restore(&mut self, _: &Done) {}

    fn mailed(&mut self) -> Option<&mut dyn Mailed> {
        Some(self)
    }

    fn state(&self) -> Option<Box<dyn State>> {
        Some(Box::new(Saved { kind: self.kind, grid: self.grid, found: Arc::clone(&self.found) }))
    }

    fn finish(self: Box<Self>) -> Result<End> {
        let Some(arrays) = &self.arrays else { return Ok(End::Done(Finished::default())) };
        let rows = &self.found.own.rows;
        if rows.is_empty() {
            return Ok(End::Done(Finished::default()));
        }
        let tiles = rows.start / self.grid.edge..(rows.end - 1) / self.grid.edge + 1;
        let mut finished = Finished::default();
        let write = |tile_row| with_store!(self.kind.store::<T>(), S => self.write::<S>(arrays, tile_row, &mut finished));
        let checksums = tiles.clone().map(write).collect::<Result<Vec<_>>>()?;
        arrays
            .checksums
            .write(tiles, 0..1, &checksums)
            .context(|| format!("the checksums of the neighbours cannot be written to {}", arrays.shown))?;
        finished.checksums = checksums.iter().fold(0_u64, |sum, checksum| sum.wrapping_add(*checksum));
        Ok(End::Done(finished))
    }
}

/// Words of a candidate.
fn words<C>() -> usize {
    size_of::<C>() / size_of::<u64>()
}

fn to_words<C: Candidate>(candidates: &[C], out: &mut Vec<u64>) {
    out.extend(candidates.iter().flat_map(|candidate| {
        bytemuck::bytes_of(candidate).as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word))
    }));
}

fn from_words<C: Candidate>(of: &[u64]) -> Vec<C> {
    of.chunks_exact(words::<C>())
        .map(|candidate| bytemuck::pod_read_unaligned(bytemuck::cast_slice(candidate)))
        .collect()
}

impl<T: Number, C: Candidate> Mailed for NeighborsSink<T, C> {
    fn enter(&mut self, rows: Range<usize>) {
        let lists = Arc::new(Lists::new(rows, self.foreign));
        self.found.foreign.write().expect("a thread that panics ends the run").push(lists);
    }

    fn leave(&mut self, rows: &Range<usize>) {
        self.found
            .foreign
            .write()
            .expect("a thread that panics ends the run")
            .retain(|lists| lists.rows != *rows);
    }

    fn bounds(&self, rows: &Range<usize>) -> Vec<u64> {
        let mut out = Vec::new();
        to_words(&self.found.own.bounds(rows), &mut out);
        out
    }

    fn tighten(&mut self, rows: &Range<usize>, bounds: &[u64]) {
        if let Some(lists) = self.found.of(rows) {
            lists.tighten(&from_words(bounds));
        }
    }

    /// Each row, how many candidates it has, and these.
    fn take(&mut self, rows: &Range<usize>, group: usize, out: &mut Vec<u64>) -> bool {
        let Some(lists) = self.found.of(rows).filter(|lists| group < lists.group_count()) else {
            return false;
        };
        lists.take(group, |row, candidates| {
            out.extend([row as u64, candidates.len() as u64]);
            to_words(candidates, out);
        });
        true
    }

    fn deliver(&mut self, mut mail: &[u64]) -> Result<()> {
        while let [row, count, rest @ ..] = mail {
            let (row, len) = (from_word(*row), from_word(*count) * words::<C>());
            let (candidates, rest) = rest.split_at(len);
            self.found.own.add(from_words::<C>(candidates).into_iter().map(|candidate| (row, candidate)));
            mail = rest;
        }
        Ok(())
    }
}

/// What outlives the process.
struct Saved<T, C> {
    kind: Neighbors,
    grid: Grid,
    found: Arc<Found<T, C>>,
}

impl<T: Number, C: Candidate> State for Saved<T, C> {
    fn rows(&self) -> Range<usize> {
        self.found.own.rows.clone()
    }

    fn row_bytes(&self) -> usize {
        self.kind.row_bytes::<C>(&self.grid)
    }

    fn save(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let first = rows.start - self.found.own.rows.start;
        let selves: Option<Vec<T>> = self.found.selves.as_ref().map(|selves| {
            let selves = selves.lock().expect("a thread that panics ends the run");
            selves[first..first + rows.len()].to_vec()
        });
        let mut row = rows.start;
        self.found.own.look(rows.clone(), |candidates| {
            let end = out.len() + self.row_bytes();
            if let Some(selves) = &selves {
                let distance = selves[row - rows.start];
                let candidate = if distance.is_nan() { C::NONE } else { C::new(distance, row) };
                out.extend_from_slice(bytemuck::bytes_of(&candidate));
            }
            out.extend_from_slice(bytemuck::cast_slice(candidates));
            // of a candidate that stands for none, all bits are ones
            out.resize(end, u8::MAX);
            row += 1;
        });
    }

    fn load(&self, row: usize, saved: &[u8]) {
        let candidates = saved.chunks_exact(size_of::<C>()).map(bytemuck::pod_read_unaligned);
        let mut candidates: Vec<C> = candidates.collect();
        if let Some(selves) = &self.found.selves {
            let own = candidates.remove(0);
            if own != C::NONE {
                let mut selves = selves.lock().expect("a thread that panics ends the run");
                selves[row - self.found.own.rows.start] = own.distance();
            }
        }
        candidates.retain(|candidate| *candidate != C::NONE);
        self.found.own.merge(row, &candidates);
    }

    fn retain(&self, is_done: &dyn Fn(Tile) -> bool) {
        let edge = self.grid.edge;
        self.found.own.retain(|row, index| is_done(Tile { i: row / edge, j: index / edge }));
        if let Some(selves) = &self.found.selves {
            let mut selves = selves.lock().expect("a thread that panics ends the run");
            for (row, distance) in self.rows().zip(selves.iter_mut()) {
                if !is_done(Tile { i: row / edge, j: row / edge }) {
                    *distance = T::NAN;
                }
            }
        }
    }
}
