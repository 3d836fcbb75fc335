//! Tiles whose folds rest in memory between parts of the features.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::block::Block;
use crate::kernel::{Folds, Kernel, Scratch, Sums};
use crate::metric::BLOCK_FEATURES;
use crate::number::Number;
use crate::partition::{Grid, Tile, range_of};

/// Features whose sums threads share, of which those of 64 blocks wait to be put together.
const SHARED_FEATURES: usize = 64 * BLOCK_FEATURES;

/// Pieces of these features that each thread is given: some threads are slower than others.
const PIECES_OF_A_THREAD: usize = 4;

/// Features of such a piece where ranks share them.
const PIECE: usize = 16 * BLOCK_FEATURES;

/// Panels, and how many samples they hold.
type Panels<'a> = (&'a [u64], usize);

/// Some rows of a tile, which begin with a panel, and their folds.
struct Strip<T> {
    rows: Range<usize>,
    folds: Mutex<Folds<T>>,
}

/// The folds of some tiles.
pub(crate) struct FoldedTiles<'a, T> {
    kernel: &'a Kernel<T>,
    grid: Grid,
    tiles: HashMap<Tile, Vec<Strip<T>>>,
    /// Whether threads share the features of a tile.
    shares_features: bool,
}

impl<'a, T: Number> FoldedTiles<'a, T> {
    /// Of these tiles of a grid, before the first part, of which so many are folded at once, by so many threads.
    ///
    /// Where there are too few tiles for the threads, they share strips of them; where there are too few panels for that, features, if sums over these can be put
    /// together.
    pub(crate) fn new(
        kernel: &'a Kernel<T>,
        grid: Grid,
        tiles: impl Iterator<Item = Tile>,
        (at_once, threads): (usize, usize),
    ) -> Self {
        let (panel, _) = kernel.part_panels(1);
        let panels = panel.count(grid.tile_shape().0);
        let shares_features = panels * at_once < threads && kernel.has_block_sums();
        let is_cut = threads > 1 && at_once < 2 * threads && !shares_features;
        // two of each tile at least, so that no thread waits for the last tile
        let strips = if is_cut { threads.div_ceil(at_once.max(1)).max(2) } else { 1 };
        let of_tile = |tile: Tile| {
            let (m, n) = (grid.rows(tile.i).len(), grid.cols(tile.j).len());
            let (panels, strips) = (panel.count(m), strips.min(panel.count(m)));
            let ranges = (0..strips).map(|strip| range_of(panels, strips, strip));
            let strip = |panels: Range<usize>| {
                let rows = panels.start * panel.width..m.min(panels.end * panel.width);
                Strip { folds: Mutex::new(kernel.folds(rows.len(), n)), rows }
            };
            (tile, ranges.map(strip).collect())
        };
        Self { kernel, grid, tiles: tiles.map(of_tile).collect(), shares_features }
    }

    pub(super) fn kernel(&self) -> &'a Kernel<T> {
        self.kernel
    }

    pub(super) fn grid(&self) -> Grid {
        self.grid
    }

    fn strips(&self, tile: Tile) -> &[Strip<T>] {
        self.tiles.get(&tile).expect("the tile is one of these")
    }

    /// Calls `with` with the folds of some rows of a tile, strip by strip: which rows of the tile, and which of the strip these are.
    pub(super) fn with_rows(
        &self,
        tile: Tile,
        rows: Range<usize>,
        mut with: impl FnMut(Range<usize>, Range<usize>, &Folds<T>),
    ) {
        for strip in self.strips(tile) {
            let common = rows.start.max(strip.rows.start)..rows.end.min(strip.rows.end);
            if !common.is_empty() {
                let within = common.start - strip.rows.start..common.end - strip.rows.start;
                with(common, within, &strip.folds());
            }
        }
    }

    /// Folds the next part of the features, of which the panels of rows and of columns hold `features`, for some of the tiles. On the workers.
    pub(crate) fn fold(&self, tiles: &[Tile], features: &Range<usize>, (rows, cols): (&Block, &Block)) {
        let tiles = tiles.iter().filter_map(|tile| Some((*tile, self.tiles.get(tile)?)));
        let strips = tiles.flat_map(|(tile, strips)| strips.iter().map(move |strip| (tile, strip)));
        let strips: Vec<(Tile, &Strip<T>)> = strips.collect();
        if self.shares_features {
            for (tile, strip) in strips {
                self.share(strip, features, self.panels(tile, strip, rows, cols));
            }
        } else {
            let fold = |scratch: &mut Scratch<T>, (tile, strip): (Tile, &Strip<T>)| {
                let panels = self.panels(tile, strip, rows, cols);
                self.kernel.fold_part(&mut strip.folds(), features.clone(), panels.0, panels.1, scratch);
            };
            strips.into_par_iter().for_each_init(Scratch::new, fold);
        }
    }

    /// Shares features between all threads: sums over blocks of features are computed anywhere, and put together in order.
    fn share(&self, strip: &Strip<T>, features: &Range<usize>, panels: (Panels<'_>, Panels<'_>)) {
        let threads = rayon::current_num_threads();
        for first in features.clone().step_by(SHARED_FEATURES) {
            let some = first..features.end.min(first + SHARED_FEATURES);
            let parts: Vec<_> = shared_pieces(&some, threads).collect();
            let sum = |scratch: &mut Scratch<T>, part: Range<usize>| {
                self.kernel.block_sums(features.clone(), part, panels.0, panels.1, scratch)
            };
            let sums: Vec<_> = parts.into_par_iter().map_init(Scratch::new, sum).collect();
            let mut folds = strip.folds();
            for sums in &sums {
                self.kernel.add_sums(&mut folds, sums);
            }
        }
    }

    /// The panels of the rows of a strip and of the columns of its tile, and how many samples these are.
    fn panels<'b>(
        &self,
        tile: Tile,
        strip: &Strip<T>,
        rows: &'b Block,
        cols: &'b Block,
    ) -> (Panels<'b>, Panels<'b>) {
        let shape = rows.shape();
        let panels = &rows.slot(tile.i)[strip.rows.start / shape.width * shape.len()..];
        ((panels, strip.rows.len()), (cols.slot(tile.j), self.grid.cols(tile.j).len()))
    }
}

/// What a worker sums up at a time where threads share features.
fn shared_pieces(some: &Range<usize>, threads: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = some.end;
    let each = some.len().div_ceil(PIECES_OF_A_THREAD * threads).next_multiple_of(BLOCK_FEATURES);
    some.clone().step_by(each).map(move |first| first..end.min(first + each))
}

/// Words of the sums that wait where threads share features of an m × n tile.
pub(crate) fn words_of_shared_sums<T: Number>(
    kernel: &Kernel<T>,
    part: &Range<usize>,
    threads: usize,
    (m, n): (usize, usize),
) -> usize {
    let some = part.start..part.end.min(part.start + SHARED_FEATURES);
    shared_pieces(&some, threads).map(|piece| kernel.sums_words(&piece, m, n)).sum()
}

/// What a worker sums up at a time where ranks share features: the same on all ranks, whatever number of workers they have.
fn pieces(part: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = part.end;
    part.clone().step_by(PIECE).map(move |first| first..end.min(first + PIECE))
}

/// Words of the sums of a part of the features that ranks share, of an m × n tile.
pub(crate) fn words_of_sums<T: Number>(
    kernel: &Kernel<T>,
    part: &Range<usize>,
    (m, n): (usize, usize),
) -> usize {
    pieces(part).map(|piece| kernel.sums_words(&piece, m, n)).sum()
}

/// The tiles of which every rank sums up features of its own.
pub(crate) struct SummedTiles<'a, T> {
    kernel: &'a Kernel<T>,
    grid: Grid,
    /// The rank that puts the sums of a tile together, and the tile.
    pub(crate) tiles: Vec<(usize, Tile)>,
}

impl<'a, T: Number> SummedTiles<'a, T> {
    /// Of these tiles of a grid.
    pub(crate) fn new(kernel: &'a Kernel<T>, grid: Grid, tiles: Vec<(usize, Tile)>) -> Self {
        Self { kernel, grid, tiles }
    }

    /// The shape of a tile.
    fn shape(&self, tile: Tile) -> (usize, usize) {
        (self.grid.rows(tile.i).len(), self.grid.cols(tile.j).len())
    }

    /// Words of the sums of a part of the features, of one of the tiles.
    pub(crate) fn words(&self, number: usize, part: &Range<usize>) -> usize {
        words_of_sums(self.kernel, part, self.shape(self.tiles[number].1))
    }

    /// The sums of a part of the features, as words, of each of the tiles: the panels of rows and of columns are those of all samples. On the workers.
    pub(crate) fn sums(&self, part: &Range<usize>, (rows, cols): (&Block, &Block)) -> Vec<Vec<u64>> {
        let sums_of = |scratch: &mut Scratch<T>, (tile, piece): (Tile, Range<usize>)| {
            let (m, n) = self.shape(tile);
            let panels = ((rows.slot(tile.i), m), (cols.slot(tile.j), n));
            self.kernel.block_sums(part.clone(), piece, panels.0, panels.1, scratch)
        };
        let each = self.tiles.iter().flat_map(|(_, tile)| pieces(part).map(|piece| (*tile, piece)));
        let each: Vec<_> = each.collect();
        let sums: Vec<_> = each.into_par_iter().map_init(Scratch::new, sums_of).collect();
        let count = pieces(part).count();
        let of_tile = |sums: &[Sums<T>]| {
            let mut words = Vec::new();
            for sums in sums {
                sums.append_to(&mut words);
            }
            words
        };
        sums.chunks(count).map(of_tile).collect()
    }

    /// Adds the sums of the next features to the folds of one of the tiles.
    pub(crate) fn add(
        &self,
        number: usize,
        part: &Range<usize>,
        mut words: &[u64],
        folded: &FoldedTiles<'_, T>,
    ) {
        let (_, tile) = self.tiles[number];
        let (m, n) = self.shape(tile);
        let [strip] = folded.strips(tile) else { unreachable!("the tile is whole") };
        for piece in pieces(part) {
            let (of_piece, rest) = words.split_at(self.kernel.sums_words(&piece, m, n));
            self.kernel.add_sums(&mut strip.folds(), &self.kernel.sums_of(piece, (m, n), of_piece));
            words = rest;
        }
    }
}

impl<T> Strip<T> {
    fn folds(&self) -> MutexGuard<'_, Folds<T>> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
