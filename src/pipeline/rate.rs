//! How fast this machine computes tiles: measured, for `plan`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Workers, buffers};
use crate::kernel::{Kernel, SimdElement};
use crate::partition::{Grid, Tile};
use crate::tile::{Block, TileBuffer, TileWorker};

/// How long every worker computes.
const DURATION: Duration = Duration::from_millis(200);

/// Tiles that are computed at least.
const LEAST: usize = 3;

/// Pair-features that a worker computes per second while all of them do, on a row of `columns` tiles of `edge`, of which so many
/// `images` are made: none but the checksum, the tile, or the tile and its mirror image. Counted are the features of the tile alone.
pub fn kernel_rate<T: SimdElement>(
    workers: &Workers,
    kernel: &Kernel<T>,
    edge: usize,
    columns: usize,
    images: usize,
) -> f64 {
    let features = kernel.row_panels().features;
    let grid = Grid { n: edge, m: columns * edge, edge };
    let mut rows = Block::new(0..1, edge, kernel.row_panels());
    let mut cols = Block::new(0..columns, edge, kernel.col_panels());
    // independent samples: none so close that the Gram guard would fail
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut samples = || (0..edge * features).map(|_| T::from_f64(rng.random())).collect::<Vec<_>>();
    kernel.pack_rows(&samples(), rows.receive(0..1));
    let slots = cols.receive(0..columns);
    let len = slots.len() / columns;
    for slot in slots.chunks_exact_mut(len) {
        kernel.pack_cols(&samples(), slot);
    }
    let seconds = workers.map(workers.count(), |first| {
        let mut worker = TileWorker::new(kernel, grid);
        // as in a run, workers take the tiles of a row in turn, and a worker's next buffer is not its last
        let mut row = (first..).step_by(workers.count()).map(|j| Tile { i: 0, j: j % columns });
        let mut free: VecDeque<_> = (0..buffers(1)).map(|_| TileBuffer::new(&grid, kernel, images)).collect();
        let mut next = || {
            let (tile, buffer) =
                row.next().zip(free.pop_front()).expect("a row has no end, and buffers come back");
            free.push_back(worker.compute(tile, images == 2, &rows, &cols, buffer).buffer);
        };
        // the first tiles touch the memory
        (0..buffers(1)).for_each(|_| next());
        let (start, mut tiles) = (Instant::now(), 0);
        while tiles < LEAST || start.elapsed() < DURATION {
            next();
            tiles += 1;
        }
        start.elapsed().as_secs_f64() / tiles as f64
    });
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    (edge * edge * features) as f64 / mean
}
