//! How fast this machine computes tiles: measured, for `plan`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::worker::{Computed, Order, Queue, ThreadWorker};
use super::{Workers, parcels};
use crate::block::Block;
use crate::host;
use crate::kernel::{Kernel, Packing};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::schedule::{Schedule, Share};
use crate::sink::{Results, Sinks};

/// How long tiles are computed.
const DURATION: Duration = Duration::from_millis(200);

/// More bytes than caches hold.
pub const PAGE_CACHE_BYTES: usize = 64 << 20;

/// Tiles that each worker computes at least.
const LEAST: usize = 3;

/// Stands for the file that results are written to.
struct PageCache {
    bytes: Vec<u8>,
    end: usize,
}

impl PageCache {
    fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], end: 0 }
    }

    fn write(&mut self, images: &[u8]) {
        for part in images.chunks(self.bytes.len()) {
            let start = if self.end + part.len() > self.bytes.len() { 0 } else { self.end };
            self.end = start + part.len();
            self.bytes[start..self.end].copy_from_slice(part);
        }
    }
}

/// Blocks of the rows and columns of the grid.
fn random_blocks<T: Number>(kernel: &Kernel<T>, grid: &Grid) -> (Block, Block) {
    let features = kernel.row_panels().features;
    let (height, width) = grid.tile_shape();
    let mut rows = Block::new(0..grid.tile_rows(), height, kernel.row_panels());
    let mut cols = Block::new(0..grid.tile_cols(), width, kernel.col_panels());
    // independent samples: none so close that the Gram guard would fail, and few of them at the same distance
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut value = || match kernel.row_panels().packing {
        Packing::Values(_) => T::from_f64(rng.random()),
        Packing::Bits => T::from_i32(rng.random_range(0..2)),
        // with a sign or without
        Packing::Planes | Packing::U8 | Packing::I8 | Packing::I16 => T::from_i32(rng.random_range(0..128)),
    };
    let mut samples = |count: usize| (0..count * features).map(|_| value()).collect::<Vec<_>>();
    let slots = rows.receive(0..grid.tile_rows());
    let len = slots.len() / grid.tile_rows();
    slots.chunks_exact_mut(len).for_each(|slot| kernel.pack_rows(&samples(height), slot));
    let slots = cols.receive(0..grid.tile_cols());
    let len = slots.len() / grid.tile_cols();
    slots.chunks_exact_mut(len).for_each(|slot| kernel.pack_cols(&samples(width), slot));
    (rows, cols)
}

/// What a rank has that computes the tiles of such a grid. Where there are more columns than rows, mirror images belong to rows beyond.
pub fn share_of(grid: Grid) -> Share {
    let rows = 0..if grid.symmetric { grid.n.max(grid.m) } else { grid.n };
    Share { rows, ..Schedule::new(grid, 1).share(0) }
}

/// Pair-features that a worker computes per second while all of them do, on whole tiles of such a grid, of which `results` are made.
/// Counted are the features of the tile alone, with one input as if every tile had a mirror image.
pub fn kernel_rate<T: Number>(workers: &Workers, kernel: &Kernel<T>, grid: Grid, results: &Results) -> f64 {
    let features = kernel.row_panels().features;
    let (height, width) = grid.tile_shape();
    let (rows, cols) = random_blocks(kernel, &grid);
    let cols = Arc::new(cols);
    let sinks = Sinks::<T>::new(results.clone(), &share_of(grid), kernel.strip_len(width));
    // as in a run, tiles of a row are ordered one after the other, and a parcel is ordered again when its tile is done
    let tiles = (0..grid.tile_rows()).flat_map(|i| (0..grid.tile_cols()).map(move |j| Tile { i, j }));
    let mut tiles = tiles.cycle();
    let mut order = |parcel| {
        let tile = tiles.next().expect("a grid that begins anew has no end");
        Order { tile, mirrored: grid.symmetric, cols: Arc::clone(&cols), parcel }
    };
    // a main thread with a core of its own writes meanwhile: workers share caches and memory with it
    let writes = results.writes::<T>(&grid) > 0 && host::usable_cores() > workers.count();
    let mut file = writes.then(|| PageCache::new(PAGE_CACHE_BYTES));
    let ready = parcels(workers.count());
    workers.serve(
        ready,
        || ThreadWorker::new(kernel, grid, &rows),
        |queue: Queue<T>| {
            for _ in 0..ready {
                queue.order(order(sinks.parcel()));
            }
            let mut turn = || {
                let Computed { parcel, .. } = queue.wait(Duration::MAX).expect("workers are at work");
                // as much as does not hold the workers up
                if let Some(file) = &mut file
                    && queue.is_idle()
                {
                    parcel.held(height * width).for_each(|image| file.write(image));
                }
                queue.order(order(parcel));
            };
            // the first tiles touch the memory
            (0..ready).for_each(|_| turn());
            let (start, mut count) = (Instant::now(), 0);
            while count < LEAST * workers.count() || start.elapsed() < DURATION {
                turn();
                count += 1;
            }
            let per_worker = count as f64 / workers.count() as f64;
            per_worker * (height * width * features) as f64 / start.elapsed().as_secs_f64()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_larger_than_the_page_cache_are_written_in_parts() {
        let mut file = PageCache::new(10);
        for len in [0, 7, 10, 25, 4] {
            file.write(&vec![1; len]);
        }
        assert!(file.bytes.iter().all(|byte| *byte == 1));
    }
}
