//! One tile: from two blocks of packed samples to distances, their mirror image and checksums.

use std::ops::{Neg, Range};

use crate::kernel::{Checksum, Kernel, PanelShape, Scratch, SimdElement, Summary, transpose};
use crate::partition::{Grid, Tile};

/// Packed samples of contiguous rows of tiles (or columns, of a moving block), one slot for each.
#[derive(Clone, Debug)]
pub struct Block<T> {
    /// Which rows (or columns) of tiles.
    pub tiles: Range<usize>,
    shape: PanelShape,
    edge: usize,
    values: Vec<T>,
}

impl<T: SimdElement + Neg<Output = T>> Block<T> {
    /// Room for the samples of these tiles, `edge` to a tile, in panels of this shape.
    pub fn new(tiles: Range<usize>, edge: usize, shape: PanelShape) -> Self {
        let values = vec![T::default(); tiles.len() * shape.count(edge) * shape.len()];
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
        let len = self.tiles.len() * self.slot_len();
        self.values.resize(len, T::default());
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

/// Room for a tile, and for its mirror image where that is written; moves between workers and writer, never reallocated.
#[derive(Debug)]
pub struct TileBuffer<T> {
    values: Vec<T>,
    mirror: Vec<T>,
}

impl<T: SimdElement> TileBuffer<T> {
    /// Room for tiles of the grid, and for their mirror images if those are `mirrored`. Memory is touched by the first worker
    /// that fills it.
    pub fn new(grid: &Grid, mirrored: bool) -> Self {
        let len = grid.edge.min(grid.n) * grid.edge.min(grid.m);
        let mirror = vec![T::default(); if mirrored { len } else { 0 }];
        Self { values: vec![T::default(); len], mirror }
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

impl<T> TileResult<T> {
    /// The distances, row-major.
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

impl<'a, T: SimdElement + Neg<Output = T>> TileWorker<'a, T> {
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
        let values = &mut buffer.values[..m * n];
        let (row_panels, col_panels) = (rows.slot(tile.i), cols.slot(tile.j));
        let level = self.kernel.level();
        let strip = self.kernel.strip_rows(n).min(m);
        let (mut recomputed, mut checksum, mut summary) = (0, 0_u64, Summary::default());
        // strip by strip, so that what is computed is summed up and mirrored from a near cache
        for (number, values) in values.chunks_mut(strip * n).enumerate() {
            let (first, height) = (number * strip, values.len() / n);
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

    #[test]
    fn panels_of_a_block_hold_every_row_once() {
        let shape = PanelShape { width: 4, features: 3, norms: false };
        for edge in [1, 3, 4, 10] {
            let grid = Grid { n: 35, m: 35, edge };
            let tiles = 1..grid.tile_rows();
            let mut block = Block::<f32>::new(tiles, edge, shape);
            let rows: Vec<usize> = block.panels_mut(edge..35).flat_map(|(rows, _)| rows).collect();
            assert_eq!(rows, (edge..35).collect::<Vec<_>>());
        }
    }
}
