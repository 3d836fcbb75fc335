//! Distances from folds over all features.

use crossbeam_channel::{Receiver, Sender};

use super::fold::FoldedTiles;
use crate::failpoint;
use crate::kernel::{Checksum, Scratch};
use crate::number::Number;
use crate::partition::Tile;
use crate::pipeline::worker::{Computed, Order, Worker, in_strips};

/// Makes the distances of tiles whose features are all folded.
pub(crate) struct FinishWorker<'a, T, E> {
    tiles: &'a FoldedTiles<'a, T>,
    /// What the samples of a tile's rows, and of its columns, carry beside their features.
    extras: &'a E,
    scratch: Scratch<T>,
    checksum: Checksum,
}

impl<'a, T: Number, E: Fn(Tile) -> (&'a [u64], &'a [u64])> FinishWorker<'a, T, E> {
    /// For these tiles.
    pub(crate) fn new(tiles: &'a FoldedTiles<'a, T>, extras: &'a E) -> Self {
        Self { tiles, extras, scratch: Scratch::new(), checksum: Checksum::default() }
    }

    fn compute(&mut self, order: Order<T>) -> Computed<T> {
        let (kernel, grid) = (self.tiles.kernel(), self.tiles.grid());
        let (tile, n) = (order.tile, grid.cols(order.tile.j).len());
        let (row_extras, col_extras) = (self.extras)(tile);
        let strip = kernel.strip_rows(n);
        in_strips(order, grid, kernel.level(), strip, &mut self.checksum, |first, values, _| {
            let mut noted = 0;
            let rows = first..first + values.len() / n;
            self.tiles.with_rows(tile, rows, |rows, of_strip, folds| {
                let values = &mut values[(rows.start - first) * n..(rows.end - first) * n];
                // where samples carry nothing there is nothing
                let row_extras = row_extras.get(rows).unwrap_or(&[]);
                let extras = (row_extras, col_extras);
                noted += kernel.finish_folds(folds, of_strip, extras, (values, n), &mut self.scratch);
            });
            noted
        })
    }
}

impl<'a, T: Number, E: Fn(Tile) -> (&'a [u64], &'a [u64])> Worker<T> for FinishWorker<'a, T, E> {
    fn serve(mut self, orders: &Receiver<Order<T>>, computed: &Sender<Computed<T>>) {
        for order in orders {
            failpoint::hit("compute").expect("a worker can panic, not fail");
            if computed.send(self.compute(order)).is_err() {
                return; // enough
            }
        }
    }
}
