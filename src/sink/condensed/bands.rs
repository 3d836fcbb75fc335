//! Tiles that wait for their neighbours. A row of a tile is a short piece of the file, and every write has its price however short it is:
//! so tiles that lie beside each other in a row of tiles are written together.

use std::ops::Range;

use bytemuck::Pod;

use crate::pages::Pages;
use crate::partition::{Grid, Tile};

/// Bytes of a band at most; a tile that has more is one by itself.
const BAND_BYTES: usize = if cfg!(feature = "failpoints") { 1 << 12 } else { 16 << 20 };

/// Tiles of a band at most: more of them, which are small, are not worth looking through.
const MOST_TILES: usize = 64;

/// Bands that wait at most: the last tiles of one may be computed after the first of the next.
const MOST_BANDS: usize = 2;

/// Tiles of a row of tiles that lie beside each other, those that are there.
pub struct Band<S> {
    tile_row: usize,
    tile_cols: Range<usize>,
    is_there: Vec<bool>,
    /// Its rows and columns in the matrix.
    pub rows: Range<usize>,
    cols: Range<usize>,
    /// The distances of all its columns, row by row.
    values: Pages<S>,
}

impl<S: Pod> Band<S> {
    fn holds(&self, tile: Tile) -> bool {
        self.covers(tile) && self.is_there[tile.j - self.tile_cols.start]
    }

    fn covers(&self, tile: Tile) -> bool {
        self.tile_row == tile.i && self.tile_cols.contains(&tile.j)
    }

    fn put(&mut self, tile: Tile, cols: &Range<usize>, values: &[S]) {
        self.is_there[tile.j - self.tile_cols.start] = true;
        let place = cols.start - self.cols.start..cols.end - self.cols.start;
        let lines = self.values.chunks_exact_mut(self.cols.len());
        for (line, values) in lines.zip(values.chunks_exact(cols.len())) {
            line[place.clone()].copy_from_slice(values);
        }
    }

    /// The columns of the tiles that are there, as few ranges as possible.
    pub fn cols(&self, grid: &Grid) -> Vec<Range<usize>> {
        let tiles = self.tile_cols.clone().zip(&self.is_there).filter(|(_, is_there)| **is_there);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for cols in tiles.map(|(j, _)| grid.cols(j)) {
            match ranges.last_mut() {
                Some(last) if last.end == cols.start => last.end = cols.end,
                _ => ranges.push(cols),
            }
        }
        ranges
    }

    /// The distances of a row, in some of its columns.
    pub fn line(&self, row: usize, cols: Range<usize>) -> &[S] {
        let line = &self.values[(row - self.rows.start) * self.cols.len()..][..self.cols.len()];
        &line[cols.start - self.cols.start..cols.end - self.cols.start]
    }
}

/// The bands of a rank.
pub struct Bands<S> {
    grid: Grid,
    /// Those with tiles that are not written, the oldest first.
    waiting: Vec<Band<S>>,
    /// Memory of those that were.
    spare: Vec<Pages<S>>,
}

/// Tiles of a band, whose distances have `size` bytes.
fn across(grid: &Grid, size: usize) -> usize {
    let (height, width) = grid.tile_shape();
    let tile = height.saturating_mul(width).saturating_mul(size).max(1);
    (BAND_BYTES / tile).min(MOST_TILES).clamp(1, grid.tile_cols().max(1))
}

/// Bytes of all bands of a rank, whose distances have `size` bytes; nothing if 64 bits cannot count them.
pub fn band_bytes(grid: &Grid, size: usize) -> Option<u64> {
    let (height, width) = grid.tile_shape();
    let factors = [MOST_BANDS + 1, across(grid, size), height, width, size];
    u64::try_from(factors.into_iter().try_fold(1_usize, usize::checked_mul)?).ok()
}

impl<S: Pod> Bands<S> {
    /// Of a rank that has stored nothing.
    pub fn new(grid: Grid) -> Self {
        Self { grid, waiting: Vec::new(), spare: Vec::new() }
    }

    /// Whether the tile waits to be written.
    pub fn hold(&self, tile: Tile) -> bool {
        self.waiting.iter().any(|band| band.holds(tile))
    }

    /// Takes in a tile, whose distances are `values`, row by row. Returns a band if one is to be written now.
    pub fn add(&mut self, tile: Tile, values: &[S]) -> Option<Band<S>> {
        let found = self.waiting.iter().position(|band| band.covers(tile));
        let at = found.unwrap_or(self.waiting.len());
        if found.is_none() {
            let band = self.begin(tile);
            self.waiting.push(band);
        }
        self.waiting[at].put(tile, &self.grid.cols(tile.j), values);
        if self.waiting[at].is_there.iter().all(|is_there| *is_there) {
            Some(self.waiting.remove(at))
        } else if self.waiting.len() > MOST_BANDS {
            self.take()
        } else {
            None
        }
    }

    /// The band that waits longest, if any does.
    pub fn take(&mut self) -> Option<Band<S>> {
        (!self.waiting.is_empty()).then(|| self.waiting.remove(0))
    }

    /// Takes back the memory of a band that is written.
    pub fn give_back(&mut self, band: Band<S>) {
        self.spare.push(band.values);
    }

    /// The band of a tile, of which nothing is there.
    fn begin(&mut self, tile: Tile) -> Band<S> {
        let across = across(&self.grid, size_of::<S>());
        let first = tile.j / across * across;
        // left of the diagonal there are no tiles
        let tile_cols = first.max(tile.i)..(first + across).min(self.grid.tile_cols());
        let rows = self.grid.rows(tile.i);
        let cols = self.grid.cols(tile_cols.start).start..self.grid.cols(tile_cols.end - 1).end;
        let mut values = self.spare.pop().unwrap_or_else(|| Pages::zeroed(0));
        values.resize(rows.len() * cols.len());
        Band { tile_row: tile.i, is_there: vec![false; tile_cols.len()], tile_cols, rows, cols, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { n: 1000, m: 1000, edge: 100, symmetric: true };

    fn band(tile_cols: Range<usize>, is_there: &[bool]) -> Band<f32> {
        let cols = GRID.cols(tile_cols.start).start..GRID.cols(tile_cols.end - 1).end;
        let values = Pages::zeroed(100 * cols.len());
        Band { tile_row: 1, tile_cols, is_there: is_there.to_vec(), rows: 100..200, cols, values }
    }

    #[test]
    fn tiles_side_by_side_are_one_range_of_columns() {
        let ends = |is_there: &[bool]| -> Vec<_> {
            band(3..7, is_there).cols(&GRID).iter().map(|cols| (cols.start, cols.end)).collect()
        };
        assert_eq!(ends(&[true; 4]), [(300, 700)]);
        assert_eq!(ends(&[true, false, true, true]), [(300, 400), (500, 700)]);
        assert_eq!(ends(&[false; 4]), []);
    }

    #[test]
    fn a_band_gives_back_what_was_put_into_it() {
        let mut band = band(3..7, &[false; 4]);
        let tile = Tile { i: 1, j: 5 };
        let values: Vec<f32> = (0_u16..10_000).map(f32::from).collect();
        assert!(band.covers(tile) && !band.holds(tile));
        band.put(tile, &GRID.cols(5), &values);
        assert!(band.holds(tile));
        for (row, expected) in (100..200).zip(values.chunks(100)) {
            assert_eq!(band.line(row, 500..600), expected);
        }
    }

    #[test]
    fn every_tile_is_handed_out_once_whatever_the_order() {
        let tiles = || (0..10).flat_map(|i| (i..10).map(move |j| Tile { i, j }));
        let by_columns = || (0..10).flat_map(|j| (0..=j).map(move |i| Tile { i, j }));
        let orders: [Vec<Tile>; 3] =
            [tiles().collect(), by_columns().collect(), tiles().step_by(2).collect()];
        for order in orders {
            let (mut bands, values) = (Bands::<f32>::new(GRID), vec![0.0; 10_000]);
            let mut written = Vec::new();
            let mut write = |band: Band<f32>| {
                written
                    .extend((0..10).map(|j| Tile { i: band.tile_row, j }).filter(|tile| band.holds(*tile)));
                band
            };
            for tile in &order {
                if let Some(band) = bands.add(*tile, &values) {
                    bands.give_back(write(band));
                }
                assert!(bands.waiting.len() <= MOST_BANDS);
            }
            while let Some(band) = bands.take() {
                assert!(order.iter().any(|tile| bands.hold(*tile) || band.holds(*tile)));
                bands.give_back(write(band));
            }
            let mut expected = order.clone();
            written.sort();
            expected.sort();
            assert_eq!(written, expected);
        }
    }
}
