//! How fast this machine computes tiles: measured, for `plan`.

use std::ops::Neg;
use std::time::{Duration, Instant};

use super::Workers;
use crate::kernel::{Kernel, SimdElement};
use crate::partition::{Grid, Tile};
use crate::tile::{Block, TileBuffer, TileWorker};

/// How long every worker computes.
const DURATION: Duration = Duration::from_millis(200);

/// Tiles that are computed at least.
const LEAST: usize = 3;

/// Pair-features that a worker computes per second while all of them do, on tiles of `edge`, of which so many `images` are made:
/// none but the checksum, the tile, or the tile and its mirror image. Counted are the features of the tile alone.
pub fn kernel_rate<T: SimdElement + Neg<Output = T>>(
    workers: &Workers,
    kernel: &Kernel<T>,
    edge: usize,
    images: usize,
) -> f64 {
    let features = kernel.row_panels().features;
    let grid = Grid { n: 2 * edge, m: 2 * edge, edge };
    let tile = Tile { i: 0, j: 1 };
    let mut rows = Block::new(0..1, edge, kernel.row_panels());
    let mut cols = Block::new(1..2, edge, kernel.col_panels());
    // the golden ratio spreads its multiples evenly between 0 and 1
    let value = |at: usize| T::from_f64((at as f64 * 0.618_033_988_749_895).fract());
    let samples = |first: usize| (first..first + edge * features).map(value).collect::<Vec<_>>();
    kernel.pack_rows(&samples(0), rows.receive(0..1));
    kernel.pack_cols(&samples(edge * features), cols.receive(1..2));
    let seconds = workers.map(workers.count(), |_| {
        let mut worker = TileWorker::new(kernel, grid);
        let mut buffer = TileBuffer::new(&grid, kernel, images);
        // the first tile touches the memory
        buffer = worker.compute(tile, images == 2, &rows, &cols, buffer).buffer;
        let (start, mut tiles) = (Instant::now(), 0);
        while tiles < LEAST || start.elapsed() < DURATION {
            buffer = worker.compute(tile, images == 2, &rows, &cols, buffer).buffer;
            tiles += 1;
        }
        start.elapsed().as_secs_f64() / tiles as f64
    });
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    (edge * edge * features) as f64 / mean
}
