//! How fast this machine computes tiles: measured, for `plan`.

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Workers, buffers};
use crate::host;
use crate::kernel::{Kernel, SimdElement};
use crate::partition::{Grid, Tile};
use crate::tile::{Block, TileBuffer, TileWorker};

/// How long tiles are computed.
const DURATION: Duration = Duration::from_millis(200);

/// More bytes than caches hold.
pub const PAGE_CACHE_BYTES: usize = 64 << 20;

/// Stands for the file that tiles are written to.
struct PageCache<T> {
    values: Vec<T>,
    end: usize,
}

impl<T: SimdElement> PageCache<T> {
    fn new(tile_len: usize) -> Self {
        Self { values: vec![T::default(); tile_len.max(PAGE_CACHE_BYTES / size_of::<T>())], end: 0 }
    }

    fn write(&mut self, image: &[T]) {
        let start = if self.end + image.len() > self.values.len() { 0 } else { self.end };
        self.end = start + image.len();
        self.values[start..self.end].copy_from_slice(image);
    }
}

/// Tiles that each worker computes at least.
const LEAST: usize = 3;

/// Pair-features that a worker computes per second while all of them do, on whole tiles of such a grid, of which so many
/// `images` are made: none but the checksum, the tile, or the tile and its mirror image. Counted are the features of the tile alone.
pub fn kernel_rate<T: SimdElement>(workers: &Workers, kernel: &Kernel<T>, grid: Grid, images: usize) -> f64 {
    let features = kernel.row_panels().features;
    let (height, width) = grid.tile_shape();
    let mut rows = Block::new(0..grid.tile_rows(), height, kernel.row_panels());
    let mut cols = Block::new(0..grid.tile_cols(), width, kernel.col_panels());
    // independent samples: none so close that the Gram guard would fail
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut samples =
        |count: usize| (0..count * features).map(|_| T::from_f64(rng.random())).collect::<Vec<_>>();
    let slots = rows.receive(0..grid.tile_rows());
    let len = slots.len() / grid.tile_rows();
    slots.chunks_exact_mut(len).for_each(|slot| kernel.pack_rows(&samples(height), slot));
    let slots = cols.receive(0..grid.tile_cols());
    let len = slots.len() / grid.tile_cols();
    slots.chunks_exact_mut(len).for_each(|slot| kernel.pack_cols(&samples(width), slot));
    // as in a run, tiles of a row are ordered one after the other, and a buffer is ordered again when its tile is done
    let tiles = (0..grid.tile_rows()).flat_map(|i| (0..grid.tile_cols()).map(move |j| Tile { i, j }));
    let mut tiles = tiles.cycle();
    let mut next = || tiles.next().expect("a grid that begins anew has no end");
    workers.pool.in_place_scope(|scope| {
        let (orders, ordered) = unbounded();
        let (finished, done) = unbounded();
        for _ in 0..workers.count() {
            let (ordered, finished, rows, cols) = (ordered.clone(), finished.clone(), &rows, &cols);
            scope.spawn(move |_| {
                let mut worker = TileWorker::new(kernel, grid);
                for (tile, buffer) in ordered {
                    let result = worker.compute(tile, images == 2, rows, cols, buffer);
                    if finished.send(result).is_err() {
                        return; // enough
                    }
                }
            });
        }
        drop(finished); // without workers nobody waits
        let ready = buffers(workers.count());
        for _ in 0..ready {
            orders.send((next(), TileBuffer::new(&grid, kernel, images))).expect("workers are there");
        }
        // a main thread with a core of its own writes meanwhile: workers share caches and memory with it
        let has_core = host::usable_cores() > workers.count();
        let mut file = (images > 0 && has_core).then(|| PageCache::new(height * width));
        let mut turn = || {
            let result = done.recv().expect("workers are there");
            // as much as does not hold the workers up
            if let Some(file) = &mut file
                && done.is_empty()
            {
                std::iter::once(result.values()).chain(result.mirror()).for_each(|image| file.write(image));
            }
            orders.send((next(), result.buffer)).expect("workers are there");
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
    })
}
