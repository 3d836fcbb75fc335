//! One tile: from two blocks of packed samples to distances, their mirror image and checksums.

use std::ops::Range;

use crate::element::Element;
use crate::kernel::{Checksum, Kernel, PanelShape, Scratch, SimdElement, Summary, transpose};
use crate::pages::Pages;
use crate::partition::{Grid, Tile};

/// Packed samples of contiguous rows of tiles (or columns, of a moving block), one slot for each.
#[derive(Debug)]
pub struct Block<T> {
    /// Which rows (or columns) of tiles.
    pub tiles: Range<usize>,
    shape: PanelShape,
    edge: usize,
    values: Pages<T>,
}

impl<T: SimdElement> Block<T> {
    /// Room for the samples of these tiles, `edge` to a tile at most, in panels of this shape.
    pub fn new(tiles: Range<usize>, edge: usize, shape: PanelShape) -> Self {
        let values = Pages::zeroed(tiles.len() * shape.count(edge) * shape.len());
        Self { tiles, shape, edge, values }
    }

    /// Shape of the panels.
    pub fn shape(&self) -> PanelShape {
        self.shape
    }

    /// Elements of a slot.
    fn slot_len(&self) -> usize {
        self.shape.count(self.edge) * self.shape.len()
    }

    /// The panels of a tile.
    ///
    /// # Panics
    /// If the block does not hold the tile.
    pub fn slot(&self, tile: usize) -> &[T] {
        assert!(self.tiles.contains(&tile), "tile {tile} is not in {:?}", self.tiles);
        &self.values[(tile - self.tiles.start) * self.slot_len()..][..self.slot_len()]
    }

    /// The packed values: what is sent to other ranks.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Room for the values of another rank's block, which holds these tiles.
    pub fn receive(&mut self, tiles: Range<usize>) -> &mut [T] {
        self.tiles = tiles;
        self.values.resize(self.tiles.len() * self.slot_len());
        &mut self.values
    }

    /// The panels for samples of matrix rows `rows`, cut at the panels: each with the samples it holds.
    ///
    /// # Panics
    /// If `rows` does not begin with a panel.
    pub fn panels_mut(&mut self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, &mut [T])> {
        let (width, panel_len, edge) = (self.shape.width, self.shape.len(), self.edge);
        let per_slot = self.shape.count(edge);
        let place = |row: usize| {
            let within = row % edge;
            (row / edge - self.tiles.start) * per_slot + within / width
        };
        assert_eq!(rows.start % edge % width, 0, "rows begin with a panel");
        let panels = place(rows.start)..place(rows.end - 1) + 1;
        let first_tile = self.tiles.start;
        self.values[panels.start * panel_len..panels.end * panel_len]
            .chunks_exact_mut(panel_len)
            .zip(panels)
            .filter_map(move |(panel, number)| {
                let tile_start = (first_tile + number / per_slot) * edge;
                let start = tile_start + number % per_slot * width;
                let end = (start + width).min(tile_start + edge).min(rows.end);
                (start < end).then_some((start..end, panel))
            })
    }
}

/// Room for a tile, and for its mirror image where that is written; moves between workers and writer, never reallocated. Where
/// tiles are only counted there is room for a strip, which stays in a cache.
#[derive(Debug)]
pub struct TileBuffer<T> {
    values: Pages<T>,
    mirror: Pages<T>,
}

impl<T: SimdElement> TileBuffer<T> {
    /// Room for the images of a tile that are written: none, the tile, or the tile and its mirror image. Memory is touched by
    /// the first worker that fills it.
    pub fn new(grid: &Grid, kernel: &Kernel<T>, images: usize) -> Self {
        let (value, mirror) = Self::lens(grid, kernel, images);
        Self { values: Pages::zeroed(value), mirror: Pages::zeroed(mirror) }
    }

    /// Elements of a buffer.
    pub fn len_for(grid: &Grid, kernel: &Kernel<T>, images: usize) -> usize {
        let (value, mirror) = Self::lens(grid, kernel, images);
        value + mirror
    }

    fn lens(grid: &Grid, kernel: &Kernel<T>, images: usize) -> (usize, usize) {
        let (height, width) = grid.tile_shape();
        let tile = height * width;
        let value = if images == 0 { tile.min(kernel.strip_len(width)) } else { tile };
        (value, if images == 2 { tile } else { 0 })
    }
}

/// A computed tile, in its buffer.
#[derive(Debug)]
pub struct TileResult<T> {
    /// Which tile.
    pub tile: Tile,
    /// Sum and extremes of the tile.
    pub summary: Summary,
    /// Checksum of the tile, and of its mirror image.
    pub checksum: u64,
    /// Whether the tile stands for its mirror image too.
    pub mirrored: bool,
    /// Entries that failed the Gram guard.
    pub recomputed: u64,
    /// Rows and columns.
    shape: (usize, usize),
    /// Where the values are.
    pub buffer: TileBuffer<T>,
}

impl<T: Element> TileResult<T> {
    /// The distances, row-major.
    ///
    /// # Panics
    /// If the buffer had no room for them.
    pub fn values(&self) -> &[T] {
        &self.buffer.values[..self.shape.0 * self.shape.1]
    }

    /// The transposed distances, row-major, if the tile is mirrored and the buffer has room for it.
    pub fn mirror(&self) -> Option<&[T]> {
        let has_room = self.mirrored && !self.buffer.mirror.is_empty();
        has_room.then(|| &self.buffer.mirror[..self.shape.0 * self.shape.1])
    }
}

/// What computes tiles on one thread.
pub struct TileWorker<'a, T> {
    kernel: &'a Kernel<T>,
    grid: Grid,
    scratch: Scratch<T>,
    checksum: Checksum,
}

impl<'a, T: SimdElement> TileWorker<'a, T> {
    /// A worker for tiles of the grid.
    pub fn new(kernel: &'a Kernel<T>, grid: Grid) -> Self {
        Self { kernel, grid, scratch: Scratch::new(), checksum: Checksum::default() }
    }

    /// Computes a tile from the blocks that hold its rows and columns; with its mirror image if it is `mirrored` and the
    /// buffer has room for that.
    pub fn compute(
        &mut self,
        tile: Tile,
        mirrored: bool,
        rows: &Block<T>,
        cols: &Block<T>,
        mut buffer: TileBuffer<T>,
    ) -> TileResult<T> {
        let (row_range, col_range) = (self.grid.rows(tile.i), self.grid.cols(tile.j));
        let (m, n) = (row_range.len(), col_range.len());
        let (row_panels, col_panels) = (rows.slot(tile.i), cols.slot(tile.j));
        let level = self.kernel.level();
        let strip = self.kernel.strip_rows(n).min(m);
        let (mut recomputed, mut checksum, mut summary) = (0, 0_u64, Summary::default());
        let is_kept = buffer.values.len() >= m * n;
        // strip by strip, so that what is computed is summed up and mirrored from a near cache
        for first in (0..m).step_by(strip) {
            let height = strip.min(m - first);
            let place = if is_kept { first * n } else { 0 };
            let values = &mut buffer.values[place..place + height * n];
            let panels = &row_panels[rows.shape().count(first) * rows.shape().len()..];
            recomputed += self.kernel.compute(panels, height, col_panels, n, values, &mut self.scratch);
            let places = row_range.start + first..row_range.start + first + height;
            let (sum, part) = self.checksum.with_summary(level, values, places, col_range.clone());
            checksum = checksum.wrapping_add(sum);
            summary.add(&part, 1);
            if mirrored && !buffer.mirror.is_empty() {
                transpose(level, values, height, n, &mut buffer.mirror[first..m * n], m);
            }
        }
        TileResult { tile, summary, checksum, mirrored, recomputed, shape: (m, n), buffer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Level;

    #[test]
    fn panels_of_a_block_hold_every_row_once() {
        let shape = PanelShape { width: 4, features: 3, norms: false, level: Level::Portable };
        for edge in [1, 3, 4, 10] {
            let grid = Grid { n: 35, m: 35, edge, symmetric: false };
            let tiles = 1..grid.tile_rows();
            let mut block = Block::<f32>::new(tiles, edge, shape);
            let rows: Vec<usize> = block.panels_mut(edge..35).flat_map(|(rows, _)| rows).collect();
            assert_eq!(rows, (edge..35).collect::<Vec<_>>());
        }
    }
}
