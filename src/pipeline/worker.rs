//! What computes tiles, and the queues between it and the main thread.
//!
//! There is one queue of orders for all workers: who is free takes the next. All compute the same bits, so nobody needs to know who
//! did what.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Workers;
use crate::block::Block;
use crate::failpoint;
use crate::kernel::{Checksum, Kernel, Level, PanelShape, Scratch, Summary, transpose};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::sink::{Parcel, Place, Rounded};
use crate::store::journal::Done;

use std::time::Duration;

/// Bytes of a tile of which a worker keeps what is below the diagonal itself. Larger ones are few beside all others.
const BELOW_BYTES: usize = 2 << 20;

/// Values, or words of features, from which on half of a tile on the diagonal is not computed: with fewer, its mirror image takes as long.
const HALVED_LINES: usize = 256;

/// Whether tiles on the diagonal of a grid, of samples in such panels, are symmetric, and worth to be halved.
fn has_halves(grid: &Grid, panel: PanelShape) -> bool {
    grid.symmetric && panel.feature_lines() >= HALVED_LINES
}

/// Elements that a worker keeps of a tile on the diagonal, if tiles are not kept whole: none where these tiles are computed whole.
pub fn below_len<T>(grid: &Grid, panel: PanelShape) -> usize {
    let (height, width) = grid.tile_shape();
    let is_small = height.saturating_mul(width) <= BELOW_BYTES / size_of::<T>();
    if has_halves(grid, panel) && is_small { height * width } else { 0 }
}

/// A tile to compute.
pub struct Order<T> {
    /// Which tile.
    pub tile: Tile,
    /// Whether it stands for a mirror image too.
    pub mirrored: bool,
    /// The block that holds its columns.
    pub cols: Arc<Block>,
    /// What is made of it goes in here.
    pub parcel: Parcel<T>,
}

/// A computed tile.
pub struct Computed<T> {
    /// What is known of it.
    pub done: Done,
    /// What was made of it.
    pub parcel: Parcel<T>,
}

/// Computes tiles as they are ordered, until no more are.
pub trait Worker<T> {
    /// Takes orders, several at a time if it likes, and hands back each when it is through. It must not wait for more orders while it
    /// has one: the next may come only when that is done.
    fn serve(self, orders: &Receiver<Order<T>>, computed: &Sender<Computed<T>>);
}

/// A worker that computes on a thread of its own.
pub struct ThreadWorker<'a, T> {
    kernel: &'a Kernel<T>,
    grid: Grid,
    rows: &'a Block,
    scratch: Scratch<T>,
    /// What is below the diagonal of a tile that lies on it, if the tile is not kept.
    below: Vec<T>,
    checksum: Checksum,
}

impl<'a, T: Number> ThreadWorker<'a, T> {
    /// For tiles of the grid, whose rows lie in this block.
    pub fn new(kernel: &'a Kernel<T>, grid: Grid, rows: &'a Block) -> Self {
        Self { kernel, grid, rows, scratch: Scratch::new(), below: Vec::new(), checksum: Checksum::default() }
    }

    /// Computes a tile.
    pub fn compute(&mut self, order: Order<T>) -> Computed<T> {
        let (tile, cols) = (order.tile, Arc::clone(&order.cols));
        let (m, n) = (self.grid.rows(tile.i).len(), self.grid.cols(tile.j).len());
        let (row_panels, col_panels) = (self.rows.slot(tile.i), cols.slot(tile.j));
        let (kernel, panel) = (self.kernel, self.rows.shape());
        // below the diagonal are the mirror images of what is above it
        let is_halved = tile.i == tile.j
            && has_halves(&self.grid, panel)
            && (order.parcel.is_kept((m, n)) || below_len::<T>(&self.grid, panel) > 0);
        let strip = if is_halved { kernel.diagonal_strip_rows(n) } else { kernel.strip_rows(n) };
        let (grid, mut checksum) = (self.grid, std::mem::take(&mut self.checksum));
        let computed = in_strips(order, grid, kernel.level(), strip, &mut checksum, |first, values, rest| {
            let panels = &row_panels[panel.count(first) * panel.len()..];
            if is_halved {
                self.compute_diagonal((panels, first), (col_panels, n), values, rest)
            } else {
                kernel.compute(panels, values.len() / n, col_panels, n, values, &mut self.scratch)
            }
        });
        self.checksum = checksum;
        computed
    }
}

/// Has `compute` compute an ordered tile in strips of so many rows, so that what is computed is summed up and collected from a near cache: it gets the first row,
/// room for the strip, and the rows after it, if the tile is kept; and returns how many entries it has noted.
pub(super) fn in_strips<T: Number>(
    order: Order<T>,
    grid: Grid,
    level: Level,
    strip: usize,
    checksums: &mut Checksum,
    mut compute: impl FnMut(usize, &mut [T], Option<&mut [T]>) -> u64,
) -> Computed<T> {
    let Order { tile, mirrored, mut parcel, .. } = order;
    let (row_range, col_range) = (grid.rows(tile.i), grid.cols(tile.j));
    let (m, n) = (row_range.len(), col_range.len());
    let place = Place { rows: row_range.clone(), cols: col_range.clone(), level, mirrored };
    let strip = strip.min(m);
    let (mut noted, mut checksum, mut summary) = (0, 0_u64, Summary::default());
    for first in (0..m).step_by(strip) {
        let height = strip.min(m - first);
        let (values, rest) = parcel.strip(first, height, (m, n));
        noted += compute(first, values, rest);
        let rows = row_range.start + first..row_range.start + first + height;
        let (sum, part) = checksums.with_summary(level, values, rows, col_range.clone());
        checksum = checksum.wrapping_add(sum);
        summary.add(&part, 1);
        parcel.collect(first, height, &place);
    }
    let Rounded { checksum: stored, overflows } =
        parcel.rounded().unwrap_or(Rounded { checksum, overflows: false });
    let upper = parcel.upper();
    Computed { done: Done { tile, checksum, stored, upper, overflows, summary, noted }, parcel }
}

impl<T: Number> ThreadWorker<'_, T> {
    /// A strip of a tile on the diagonal, from its row `first` on: what lies below the diagonal comes from the strips before. `rest` are
    /// the rows after it, if the tile is kept.
    fn compute_diagonal(
        &mut self,
        (rows, first): (&[u64], usize),
        (cols, n): (&[u64], usize),
        values: &mut [T],
        rest: Option<&mut [T]>,
    ) -> u64 {
        let height = values.len() / n;
        let last = first + height;
        let mut compute = |wanted: Range<usize>| {
            self.kernel.compute_cols((rows, height), (cols, n), wanted, values, &mut self.scratch)
        };
        let on_diagonal = compute(first..last);
        let noted = if last < n { on_diagonal + 2 * compute(last..n) } else { on_diagonal };
        let rest = rest.unwrap_or_else(|| {
            self.below.resize(n * n, T::default());
            for (row, below) in values.chunks_exact_mut(n).zip(self.below[first * n..].chunks_exact(n)) {
                row[..first].copy_from_slice(&below[..first]);
            }
            &mut self.below[last * n..]
        });
        if last < n {
            let shape = (height, n - last);
            transpose(self.kernel.level(), shape, (&values[last..], n), (&mut rest[first..], n));
        }
        noted
    }
}

impl<T: Number> Worker<T> for ThreadWorker<'_, T> {
    fn serve(mut self, orders: &Receiver<Order<T>>, computed: &Sender<Computed<T>>) {
        for order in orders {
            failpoint::hit("compute").expect("a worker can panic, not fail");
            // it lets go of the block before the tile is looked at, so that the next one can arrive there
            if computed.send(self.compute(order)).is_err() {
                return; // enough
            }
        }
    }
}

/// The main thread's end of the queues.
pub struct Queue<T> {
    orders: Sender<Order<T>>,
    computed: Receiver<Computed<T>>,
}

impl<T> Queue<T> {
    /// Orders a tile.
    pub fn order(&self, order: Order<T>) {
        self.orders.send(order).expect("workers stay until the queue is gone");
    }

    /// Waits so long for a computed tile.
    pub fn wait(&self, time: Duration) -> Option<Computed<T>> {
        match self.computed.recv_timeout(time) {
            Ok(computed) => Some(computed),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("workers stay until the queue is gone"),
        }
    }

    /// Whether no computed tile waits to be looked at.
    pub fn is_idle(&self) -> bool {
        self.computed.is_empty()
    }
}

impl Workers {
    /// Has every thread serve a queue with a worker of its own, while `work` orders tiles, of which there are never more than `most` on
    /// the way. Workers see samples and queues, never MPI or HDF5.
    pub fn serve<T: Number, W: Worker<T>, R>(
        &self,
        most: usize,
        make: impl Fn() -> W + Sync,
        work: impl FnOnce(Queue<T>) -> R,
    ) -> R {
        // room for all that can be on the way: nobody waits to send
        let (orders, ordered) = bounded(most);
        let (finished, computed) = bounded(most);
        self.pool.in_place_scope(|scope| {
            for _ in 0..self.count() {
                let (ordered, finished, make) = (ordered.clone(), finished.clone(), &make);
                scope.spawn(move |_| make().serve(&ordered, &finished));
            }
            // without workers nobody waits
            drop((ordered, finished));
            work(Queue { orders, computed })
        })
    }
}
