//! The rounds: in each, the next column block arrives while workers compute the tiles of the ones at hand and the main
//! thread writes those that are done.
//!
//! An order is a tile, the column block it needs, and a buffer from a bounded pool. The main thread hands out an order for
//! every free buffer, so that no worker waits while there is one; waits for full buffers, writes them, and hands them
//! out again. Tiles of the next round follow as soon as its block is here: no worker waits for the last tile of a round.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Number, Workers};
use crate::comm::Comm;
use crate::error::Result;
use crate::failpoint;
use crate::io::matrix::MatrixWriter;
use crate::kernel::{Kernel, Summary};
use crate::partition::{Grid, Tile, TileSet};
use crate::report::{Clock, Phase, Progress};
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::store::Checkpoints;
use crate::store::journal::Entry;
use crate::tile::{Block, TileBuffer, TileResult, TileWorker};

/// How long the main thread waits for a tile before it looks after the messages.
const POLL: Duration = Duration::from_micros(200);

/// Column blocks in memory at most: one to compute with, one still in use, one arriving.
const COLUMN_BLOCKS: usize = 3;

/// Tile buffers of a rank: one for each worker, and as many again to be written, at least two.
pub fn buffers(threads: usize) -> usize {
    threads.saturating_add(threads.max(2))
}

/// What the rounds need.
pub struct Work<'a, T> {
    /// The ranks.
    pub comm: &'a Comm,
    /// Who computes what.
    pub schedule: &'a Schedule,
    /// How.
    pub kernel: &'a Kernel<T>,
    /// This rank's packed rows.
    pub rows: Block<T>,
    /// The packed columns this rank brings to the ring.
    pub cols: Block<T>,
    /// Tiles that are in the matrix already.
    pub done: &'a TileSet,
    /// When to stop early.
    pub stop: &'a Stop,
    /// Where tiles go, unless they are only counted.
    pub output: Option<&'a mut Output>,
}

/// Where tiles go.
pub struct Output {
    /// The matrix.
    pub writer: MatrixWriter,
    /// What makes them last.
    pub checkpoints: Checkpoints,
}

/// What a rank has computed.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sum and extremes of all entries.
    pub summary: Summary,
    /// Checksums of the tiles written by this rank.
    pub checksums: Vec<(Tile, u64)>,
    /// Wrapping sum of all checksums: the ranks' sums add up to the digest of the matrix.
    pub digest: u64,
    /// Entries computed, each of a mirrored pair counted.
    pub pairs: u64,
    /// Entries that failed the Gram guard, counted likewise.
    pub recomputed: u64,
    /// Bytes of tiles written.
    pub bytes_written: u64,
    /// Bytes sent to other ranks.
    pub bytes_sent: u64,
}

impl Totals {
    /// Counts a tile of the grid, and its mirror image if it is `mirrored`.
    pub fn count(&mut self, entry: &Entry, grid: &Grid, mirrored: bool) {
        let Entry { tile, checksum, summary, recomputed } = entry;
        let times = 1 + u32::from(mirrored);
        self.pairs += u64::from(times) * (grid.rows(tile.i).len() * grid.cols(tile.j).len()) as u64;
        self.recomputed += u64::from(times) * recomputed;
        self.digest = self.digest.wrapping_add(u64::from(times).wrapping_mul(*checksum));
        self.summary.add(summary, times);
    }

    /// Adds what an earlier run has computed.
    pub fn add(&mut self, before: Self) {
        self.pairs += before.pairs;
        self.recomputed += before.recomputed;
        self.digest = self.digest.wrapping_add(before.digest);
        self.summary.add(&before.summary, 1);
        self.checksums.extend(before.checksums);
    }

    /// Keeps the checksum of a written tile, and that of its mirror image if it is `mirrored`.
    pub fn keep_checksum(&mut self, entry: &Entry, mirrored: bool) {
        let mirror = mirrored.then(|| entry.tile.transposed());
        self.checksums
            .extend([Some(entry.tile), mirror].into_iter().flatten().map(|tile| (tile, entry.checksum)));
    }
}

/// A tile to compute, the column block it needs, and where it goes.
struct Order<T> {
    tile: Tile,
    cols: Arc<Block<T>>,
    buffer: TileBuffer<T>,
}

/// The tiles of a round that are not ordered yet, and its column block.
struct Ahead<'a, T> {
    tiles: Box<dyn Iterator<Item = Tile> + 'a>,
    cols: Arc<Block<T>>,
}

/// The main thread's end of the queues.
struct Desk<'a, T> {
    work: &'a Work<'a, T>,
    output: Option<&'a mut Output>,
    orders: Sender<Order<T>>,
    done: Receiver<TileResult<T>>,
    free: Vec<TileBuffer<T>>,
    ahead: VecDeque<Ahead<'a, T>>,
    /// Tiles ordered and not yet written.
    open: usize,
    /// Tiles computed.
    computed: usize,
    totals: Totals,
    progress: &'a mut Progress,
    clock: &'a mut Clock,
}

/// Computes and writes this rank's tiles.
///
/// # Errors
/// If a tile cannot be written. The other ranks know nothing of it: the caller must end the job.
pub fn rounds<T: Number>(
    workers: &Workers,
    mut work: Work<'_, T>,
    progress: &mut Progress,
    clock: &mut Clock,
) -> Result<Totals> {
    let (_, width) = work.schedule.grid.tile_shape();
    let empty = Block::new(0..0, width, work.kernel.col_panels());
    let mine = Arc::new(std::mem::replace(&mut work.cols, empty));
    let output = work.output.take();
    let work = &work;
    // workers see samples and queues, never MPI or HDF5
    let (schedule, kernel, rows) = (work.schedule, work.kernel, &work.rows);
    let images = schedule.images(output.is_some());
    let tiles = schedule.tile_count(work.comm.rank());
    // a rank without tiles passes the blocks of others on, and has a buffer to notice that there is nothing to order
    let free = buffers(workers.count()).min(tiles.max(1));
    let free: Vec<_> = (0..free).map(|_| TileBuffer::new(&schedule.grid, kernel, images)).collect();
    // room for all that can be on the way: nobody waits to send
    let (orders, ordered) = bounded(free.len());
    let (finished, done) = bounded(free.len());
    workers.pool.in_place_scope(|scope| {
        for _ in 0..workers.count() {
            let (ordered, finished) = (ordered.clone(), finished.clone());
            scope.spawn(move |_| compute_tiles(schedule, kernel, rows, &ordered, &finished));
        }
        let checksums = Vec::with_capacity(images * tiles);
        let (ahead, totals) = (VecDeque::new(), Totals { checksums, ..Totals::default() });
        Desk { work, output, orders, done, free, ahead, open: 0, computed: 0, totals, progress, clock }
            .serve(mine)
    })
}

/// A worker: until no more tiles are ordered, takes one and computes it.
fn compute_tiles<T: Number>(
    schedule: &Schedule,
    kernel: &Kernel<T>,
    rows: &Block<T>,
    ordered: &Receiver<Order<T>>,
    finished: &Sender<TileResult<T>>,
) {
    let mut worker = TileWorker::new(kernel, schedule.grid);
    for Order { tile, cols, buffer } in ordered {
        failpoint::hit("compute").expect("a worker can panic, not fail");
        let result = worker.compute(tile, schedule.grid.is_mirrored(tile), rows, &cols, buffer);
        // the block is free for the next arrival before the result is looked at
        drop(cols);
        if finished.send(result).is_err() {
            return;
        }
    }
}

impl<T: Number> Desk<'_, T> {
    /// All rounds; returns when every tile is written, or when it is time to stop and the other ranks need this
    /// one's blocks no more.
    fn serve(mut self, mine: Arc<Block<T>>) -> Result<Totals> {
        let (rank, rounds) = (self.work.comm.rank(), self.work.schedule.rounds());
        let mut blocks = vec![mine];
        for round in 0..rounds {
            let current = Arc::clone(&blocks[blocks.len() - 1]);
            let Work { schedule, done, .. } = *self.work;
            let tiles = schedule.tiles(rank, round).filter(|tile| !done.contains(*tile));
            self.ahead.push_back(Ahead { tiles: Box::new(tiles), cols: Arc::clone(&current) });
            self.order();
            if round + 1 < rounds {
                let spare = self.spare(&mut blocks)?;
                let next = self.exchange(&current, spare, self.work.schedule.source(rank, round + 1));
                blocks.push(Arc::new(next));
            }
        }
        while self.open > 0 {
            self.take(Phase::Compute)?;
        }
        Ok(self.totals)
    }

    /// Orders a tile for every free buffer, as long as there are tiles and time.
    fn order(&mut self) {
        if self.work.stop.is_due() {
            self.ahead.clear();
        }
        while let Some(next) = self.ahead.front_mut() {
            if self.free.is_empty() {
                return;
            }
            let Some(tile) = next.tiles.next() else {
                self.ahead.pop_front();
                continue;
            };
            let (cols, buffer) = (Arc::clone(&next.cols), self.free.pop().expect("one is free"));
            self.orders.send(Order { tile, cols, buffer }).expect("workers are there");
            self.open += 1;
        }
    }

    /// Room for the next column block: a block no worker needs any more, or a new one.
    fn spare(&mut self, blocks: &mut Vec<Arc<Block<T>>>) -> Result<Block<T>> {
        loop {
            let current = blocks.len() - 1;
            if let Some(unused) = (0..current).find(|&at| Arc::strong_count(&blocks[at]) == 1)
                && let Ok(block) = Arc::try_unwrap(blocks.remove(unused))
            {
                return Ok(block);
            }
            if blocks.len() < COLUMN_BLOCKS {
                let (_, width) = self.work.schedule.grid.tile_shape();
                return Ok(Block::new(0..0, width, self.work.kernel.col_panels()));
            }
            self.take(Phase::Compute)?;
        }
    }

    /// Sends the current block on and receives the next, while tiles are written.
    fn exchange(&mut self, current: &Block<T>, mut spare: Block<T>, source: usize) -> Block<T> {
        let (comm, schedule, rank) = (self.work.comm, self.work.schedule, self.work.comm.rank());
        let (to, from) = (schedule.send_to(rank), schedule.receive_from(rank));
        self.totals.bytes_sent += size_of_val(current.values()) as u64;
        let incoming = spare.receive(schedule.tile_cols(source));
        // an error must not wait for the messages
        let meanwhile = || comm.or_abort(self.take(Phase::Exchange));
        comm.exchange((current.values(), to), (incoming, from), meanwhile);
        self.clock.lap(Phase::Exchange);
        spare
    }

    /// Waits a moment for a computed tile, and writes it. Waiting without any tile to come counts as `idle`.
    fn take(&mut self, idle: Phase) -> Result<()> {
        if let Some(output) = self.output.as_deref_mut() {
            output.checkpoints.tick()?;
        }
        if self.open == 0 {
            // nothing to do: let the other ranks of a crowded node have the core
            std::thread::yield_now();
            self.clock.lap(idle);
            return Ok(());
        }
        let waited = self.done.recv_timeout(POLL);
        self.clock.lap(Phase::Compute);
        match waited {
            Ok(result) => self.write(result),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => unreachable!("workers stay until all tiles are done"),
        }
    }

    fn write(&mut self, result: TileResult<T>) -> Result<()> {
        let TileResult { tile, checksum, summary, recomputed, mirrored, .. } = result;
        let entry = Entry { tile, checksum, summary, recomputed };
        if let Some(Output { writer, checkpoints }) = self.output.as_deref_mut() {
            let mirror = result.mirror().map(|values| (tile.transposed(), values));
            for (tile, values) in std::iter::once((tile, result.values())).chain(mirror) {
                failpoint::hit("write")?;
                writer.write_tile(tile, values)?;
                self.totals.bytes_written += size_of_val(values) as u64;
            }
            checkpoints.add(entry)?;
            self.totals.keep_checksum(&entry, mirrored);
            self.clock.lap(Phase::Write);
        }
        self.totals.count(&entry, &self.work.schedule.grid, mirrored);
        self.computed += 1;
        self.progress.advance(self.computed, self.totals.pairs);
        self.open -= 1;
        self.free.push(result.buffer);
        self.order();
        self.clock.lap(Phase::Compute);
        Ok(())
    }
}
