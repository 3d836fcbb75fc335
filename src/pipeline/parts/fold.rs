//! Tiles whose folds rest in memory between parts of the features.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::block::Block;
use crate::kernel::{Folds, Kernel, Scratch};
use crate::number::Number;
use crate::partition::{Grid, Tile};

/// Features whose sums threads share, of which those of 64 blocks wait to be put together.
pub(crate) const SHARED_FEATURES: usize = 64 * 256;

/// Panels, and how many samples they hold.
type Panels<'a> = (&'a [u64], usize);

/// The folds of some tiles.
pub(crate) struct FoldedTiles<'a, T> {
    kernel: &'a Kernel<T>,
    grid: Grid,
    folds: HashMap<Tile, Mutex<Folds<T>>>,
}

impl<'a, T: Number> FoldedTiles<'a, T> {
    /// Of these tiles of a grid, before the first part.
    pub(crate) fn new(kernel: &'a Kernel<T>, grid: Grid, tiles: impl Iterator<Item = Tile>) -> Self {
        let of = |tile: Tile| kernel.folds(grid.rows(tile.i).len(), grid.cols(tile.j).len());
        Self { kernel, grid, folds: tiles.map(|tile| (tile, Mutex::new(of(tile)))).collect() }
    }

    pub(super) fn kernel(&self) -> &'a Kernel<T> {
        self.kernel
    }

    pub(super) fn grid(&self) -> Grid {
        self.grid
    }

    /// Calls `with` with the folds of a tile.
    pub(super) fn with<R>(&self, tile: Tile, with: impl FnOnce(&mut Folds<T>) -> R) -> R {
        let folds = self.folds.get(&tile).expect("the tile is one of these");
        with(&mut folds.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Folds the next part of the features, of which the panels of rows and of columns hold `features`, for some of the tiles. On the workers.
    pub(crate) fn fold(&self, tiles: &[Tile], features: &Range<usize>, (rows, cols): (&Block, &Block)) {
        let tiles: Vec<Tile> = tiles.iter().copied().filter(|tile| self.folds.contains_key(tile)).collect();
        if tiles.len() >= 2 * rayon::current_num_threads() || !self.kernel.has_block_sums() {
            let fold = |scratch: &mut Scratch<T>, tile: Tile| {
                let panels = self.panels(tile, rows, cols);
                self.with(tile, |folds| {
                    self.kernel.fold_part(folds, features.clone(), panels.0, panels.1, scratch);
                });
            };
            tiles.into_par_iter().for_each_init(Scratch::new, fold);
        } else {
            for tile in tiles {
                self.share(tile, features, (rows, cols));
            }
        }
    }

    /// Shares the features of a tile between all threads: sums over blocks of features are computed anywhere, and put together in order.
    fn share(&self, tile: Tile, features: &Range<usize>, (rows, cols): (&Block, &Block)) {
        let panels = self.panels(tile, rows, cols);
        let threads = rayon::current_num_threads();
        for first in features.clone().step_by(SHARED_FEATURES) {
            let some = first..features.end.min(first + SHARED_FEATURES);
            let each = some.len().div_ceil(threads).next_multiple_of(256);
            let parts: Vec<_> = some.clone().step_by(each).map(|at| at..some.end.min(at + each)).collect();
            let sum = |scratch: &mut Scratch<T>, part: Range<usize>| {
                self.kernel.block_sums(features.clone(), part, panels.0, panels.1, scratch)
            };
            let sums: Vec<_> = parts.into_par_iter().map_init(Scratch::new, sum).collect();
            self.with(tile, |folds| sums.iter().for_each(|sums| self.kernel.add_sums(folds, sums)));
        }
    }

    /// The panels of the rows and of the columns of a tile, and how many samples these are.
    fn panels<'b>(&self, tile: Tile, rows: &'b Block, cols: &'b Block) -> (Panels<'b>, Panels<'b>) {
        let (m, n) = (self.grid.rows(tile.i).len(), self.grid.cols(tile.j).len());
        ((rows.slot(tile.i), m), (cols.slot(tile.j), n))
    }
}
