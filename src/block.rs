//! Blocks of packed samples: what a rank keeps, and what goes round the ring.

use std::ops::Range;

use crate::kernel::PanelShape;
use crate::pages::Pages;

/// Packed samples of contiguous rows of tiles (or columns, of a moving block), one slot for each.
#[derive(Debug)]
pub struct Block {
    /// Which rows (or columns) of tiles.
    pub tiles: Range<usize>,
    shape: PanelShape,
    edge: usize,
    words: Pages<u64>,
}

impl Block {
    /// Room for the samples of these tiles, `edge` to a tile at most, in panels of this shape.
    pub fn new(tiles: Range<usize>, edge: usize, shape: PanelShape) -> Self {
        let words = Pages::zeroed(tiles.len() * shape.count(edge) * shape.len());
        Self { tiles, shape, edge, words }
    }

    /// Room for another block of the same kind, which holds nothing yet.
    #[must_use]
    pub fn empty(&self) -> Self {
        Self::new(0..0, self.edge, self.shape)
    }

    /// Shape of the panels.
    pub fn shape(&self) -> PanelShape {
        self.shape
    }

    /// Words of a slot.
    fn slot_len(&self) -> usize {
        self.shape.count(self.edge) * self.shape.len()
    }

    /// The panels of a tile.
    ///
    /// # Panics
    /// If the block does not hold the tile.
    pub fn slot(&self, tile: usize) -> &[u64] {
        assert!(self.tiles.contains(&tile), "tile {tile} is not in {:?}", self.tiles);
        &self.words[(tile - self.tiles.start) * self.slot_len()..][..self.slot_len()]
    }

    /// The packed samples: what is sent to other ranks.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Likewise.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Room for the samples of another rank's block, which holds these tiles.
    pub fn receive(&mut self, tiles: Range<usize>) -> &mut [u64] {
        self.tiles = tiles;
        self.words.resize(self.tiles.len() * self.slot_len());
        &mut self.words
    }

    /// The panels for samples of matrix rows `rows`, cut at the panels: each with the rows it takes of them, and how many samples it
    /// has before these.
    pub fn panels_mut(
        &mut self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, usize, &mut [u64])> {
        let (width, panel_len, edge) = (self.shape.width, self.shape.len(), self.edge);
        let per_slot = self.shape.count(edge);
        let place = |row: usize| {
            let within = row % edge;
            (row / edge - self.tiles.start) * per_slot + within / width
        };
        let panels = place(rows.start)..place(rows.end - 1) + 1;
        let first_tile = self.tiles.start;
        self.words[panels.start * panel_len..panels.end * panel_len]
            .chunks_exact_mut(panel_len)
            .zip(panels)
            .filter_map(move |(panel, number)| {
                let tile_start = (first_tile + number / per_slot) * edge;
                let first = tile_start + number % per_slot * width;
                let (start, end) =
                    (first.max(rows.start), (first + width).min(tile_start + edge).min(rows.end));
                (start < end).then_some((start..end, start - first, panel))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Dtype;
    use crate::kernel::{Level, Packing};
    use crate::metric::Extras;
    use crate::partition::Grid;

    #[test]
    fn panels_of_a_block_hold_every_row_once() {
        let (packing, extras, level) = (Packing::Values(Dtype::F32), Extras::None, Level::Portable);
        let shape = PanelShape { width: 4, features: 3, packing, extras, level };
        for edge in [1, 3, 4, 10] {
            let grid = Grid { n: 35, m: 35, edge, symmetric: false };
            let tiles = 1..grid.tile_rows();
            let mut block = Block::new(tiles, edge, shape);
            for start in edge..35 {
                let panels: Vec<_> =
                    block.panels_mut(start..35).map(|(rows, before, _)| (rows, before)).collect();
                let rows: Vec<usize> = panels.iter().flat_map(|(rows, _)| rows.clone()).collect();
                assert_eq!(rows, (start..35).collect::<Vec<_>>());
                assert!(panels.iter().all(|(rows, before)| rows.start % edge % 4 == *before), "{panels:?}");
            }
        }
    }
}
