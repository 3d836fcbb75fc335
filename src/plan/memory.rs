//! Resident memory of a rank, from the sizes of what it keeps.

use serde::Serialize;

use crate::element::Dtype;
use crate::io::samples::Samples;
use crate::kernel::{Kernel, SimdElement};
use crate::partition::Tile;
use crate::pipeline::{buffers, slab_rows};
use crate::schedule::Schedule;
use crate::tile::TileBuffer;

/// Resident memory of a rank, in bytes, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The stationary block: own samples, packed as rows.
    pub rows: u64,
    /// The moving blocks: samples packed as columns.
    pub cols: u64,
    /// Tile buffers, what workers keep between tiles, and the list of checksums.
    pub buffers: u64,
    /// Slabs of samples: one is read while the one before is converted and packed.
    pub slabs: u64,
    /// The program, MPI and HDF5.
    pub base: u64,
}

/// How samples are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Rows of a storage chunk at most; 1 if there are none.
    chunk_rows: usize,
    /// Bytes of a value that is converted after it is read, in a run in f32 and one in f64; 0 if none is.
    converted: [usize; 2],
}

impl Source {
    /// How the samples of a run are stored.
    pub fn of<'a>(inputs: impl Iterator<Item = &'a Samples>) -> Self {
        let mut source = Self { chunk_rows: 1, converted: [0, 0] };
        for samples in inputs {
            source.chunk_rows = source.chunk_rows.max(samples.chunk_rows());
            for dtype in [Dtype::F32, Dtype::F64] {
                let bytes = if samples.kind.is(dtype) { 0 } else { samples.kind.size() };
                let converted = &mut source.converted[dtype as usize];
                *converted = bytes.max(*converted);
            }
        }
        source
    }

    fn converted(&self, dtype: Dtype) -> usize {
        self.converted[dtype as usize]
    }
}

/// Stack and caches of a thread that has computed a tile.
const THREAD_BYTES: u64 = 256 << 10;

impl Memory {
    /// Memory of the rank with the most samples, read from such a source, with tiles
    /// written or only counted; the program alone takes `base`. Reading is over before tiles are computed.
    pub fn of<T: SimdElement>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        source: Source,
        threads: usize,
        written: bool,
        base: u64,
    ) -> Self {
        let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
        let edge = schedule.grid.edge;
        let size = size_of::<T>();
        let bytes = |count: usize| (count as u64).saturating_mul(size as u64);
        let block = |tiles: usize, samples: usize, shape: crate::kernel::PanelShape| {
            bytes((tiles * shape.count(edge)).min(shape.count(samples) + tiles).saturating_mul(shape.len()))
        };
        let (tile_rows, tile_cols) = (schedule.tile_rows(0).len(), schedule.tile_cols(0).len());
        let (n, m) = (schedule.grid.n, schedule.grid.m);
        let product =
            |factors: &[u64]| factors.iter().fold(1, |all, &factor| u64::saturating_mul(all, factor));
        let images = schedule.images(written);
        let tiles = schedule.tile_count(0);
        let checksums = product(&[images as u64, tiles as u64, size_of::<(Tile, u64)>() as u64]);
        let buffer = TileBuffer::len_for(&schedule.grid, kernel, images);
        let values = buffers(threads).min(tiles).saturating_mul(buffer);
        let scratch = threads.saturating_mul(kernel.scratch_len(edge.min(n), edge.min(m)));
        let features = rows.features;
        let stored = source.converted(T::DTYPE);
        let row_bytes = features.saturating_mul(size.max(stored));
        let slab = slab_rows(row_bytes, [rows, cols], edge, source.chunk_rows);
        // each input is read in turn
        let most = (tile_rows * edge).min(n).max((tile_cols * edge).min(m));
        let slabs = |count: usize| {
            let rows = slab.saturating_mul(count).min(most);
            (rows as u64).saturating_mul(features as u64)
        };
        let slabs = if stored == 0 {
            slabs(2).saturating_mul(size as u64)
        } else {
            // two as they are stored, and one that is converted
            slabs(2).saturating_mul(stored as u64).saturating_add(slabs(1).saturating_mul(size as u64))
        };
        Self {
            rows: block(tile_rows, n, rows),
            cols: block(tile_cols, m, cols).saturating_mul(schedule.rounds().min(3) as u64),
            buffers: [bytes(values), bytes(scratch), product(&[threads as u64, THREAD_BYTES]), checksums]
                .into_iter()
                .fold(0, u64::saturating_add),
            slabs,
            base,
        }
    }

    /// Largest resident memory of the rank.
    pub fn total(&self) -> u64 {
        [self.base, self.rows, self.cols, self.buffers.max(self.slabs)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Level, Method, PanelShape};
    use crate::metric::Metric;
    use crate::partition::{Grid, choose_edge};

    #[test]
    fn the_plan_counts_the_slabs_of_both_inputs() {
        let kernel = Kernel::<f32>::new(Metric::Cityblock, Method::Direct, 5000, Level::Portable);
        let slabs = |n, m, symmetric| {
            let schedule = Schedule { grid: Grid { n, m, edge: 64 }, ranks: 1, symmetric };
            let source = Source { chunk_rows: 1, converted: [0, 0] };
            Memory::of(&schedule, &kernel, source, 1, true, 0).slabs
        };
        let row = 5000 * size_of::<f32>() as u64;
        let read = 2 * slab_rows(5000 * size_of::<f32>(), [kernel.row_panels(), kernel.col_panels()], 64, 1);
        assert_eq!(slabs(1000, 1000, true), read as u64 * row);
        assert_eq!(slabs(1000, 1, false), read as u64 * row);
        assert_eq!(slabs(1, 1000, false), read as u64 * row);
        assert_eq!(slabs(1, 2, false), 2 * row);
    }

    #[test]
    fn the_plan_holds_for_every_rank_up_to_10_000_ranks_and_10_million_samples() {
        let kernel = Kernel::<f32>::new(Metric::Cityblock, Method::Direct, 128, Level::Portable);
        let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
        for ranks in [1, 7, 64, 1000, 10_000] {
            for n in [100_003, 1_000_000, 10_000_000] {
                let grid = Grid { n, m: n, edge: choose_edge(n, n, ranks, 2 * ranks, size_of::<f32>()) };
                let schedule = Schedule { grid, ranks, symmetric: true };
                let plan =
                    Memory::of(&schedule, &kernel, Source { chunk_rows: 1, converted: [0, 0] }, 16, true, 0);
                let bytes = |tiles: std::ops::Range<usize>, shape: PanelShape| {
                    let panels: usize = tiles.map(|tile| shape.count(grid.rows(tile).len())).sum();
                    (panels * shape.len() * size_of::<f32>()) as u64
                };
                for rank in 0..ranks {
                    assert!(
                        bytes(schedule.tile_rows(rank), rows) <= plan.rows,
                        "rank {rank} of {schedule:?}"
                    );
                    let moving = bytes(schedule.tile_cols(rank), cols) * schedule.rounds().min(3) as u64;
                    assert!(moving <= plan.cols, "rank {rank} of {schedule:?}");
                }
                // each rank has its share of the samples, and a tile more at most
                let share = (n.div_ceil(ranks) + grid.edge) * 128 * size_of::<f32>();
                assert!(plan.rows as f64 <= 1.05 * share as f64, "{plan:?} of {schedule:?}");
            }
        }
    }
}
