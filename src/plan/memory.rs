//! Resident memory of a rank, from the sizes of what it keeps.

use serde::Serialize;

use super::{counted, product};
use crate::element::Dtype;
use crate::error::Result;
use crate::kernel::{Kernel, PanelShape};
use crate::number::Number;
use crate::pipeline::{COLUMN_BLOCKS, parcels, slab_rows};
use crate::schedule::Schedule;
use crate::sink::{Parcel, Results};
use crate::source::Samples;

/// Resident memory of a rank, in bytes, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The stationary block: own samples, packed as rows.
    pub rows: u64,
    /// The moving blocks: samples packed as columns.
    pub cols: u64,
    /// Parcels of computed tiles, what workers keep between tiles, and what results keep until the end.
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
                let bytes = if samples.stored_type.is(dtype) { 0 } else { samples.stored_type.size() };
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
const THREAD_BYTES: usize = 256 << 10;

impl Memory {
    /// Memory of a rank with the most samples and the most tiles, read from such a source, of which `results` are made;
    /// the program alone takes `base`. Reading is over before tiles are computed.
    ///
    /// # Errors
    /// If 64 bits cannot count the bytes.
    pub fn of<T: Number>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        source: Source,
        threads: usize,
        results: &Results,
        base: u64,
    ) -> Result<Self> {
        // nothing if 64 bits cannot count the bytes of one of the parts
        let parts = || {
            let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
            let grid = schedule.grid;
            let (height, width) = grid.tile_shape();
            let size = size_of::<T>();
            let block = |tiles: usize, edge: usize, samples: usize, shape: PanelShape| {
                let panels = (tiles * shape.count(edge)).min(shape.count(samples) + tiles);
                product(&[panels, shape.width, shape.lines()?, size])
            };
            let (tile_rows, tile_cols) = (schedule.tile_rows(0).len(), schedule.tile_cols(0).len());
            let tiles = schedule.most_tiles();
            let features = rows.features;
            let stored = source.converted(T::DTYPE);
            // each input is read in turn, packed into the panels it is needed in
            let slabs = |tiles: usize, total: usize, panels: &[PanelShape]| {
                let row_bytes = features.checked_mul(size.max(stored))?;
                let slab = slab_rows(row_bytes, panels, grid.edge, source.chunk_rows);
                let most = tiles.saturating_mul(grid.edge).min(total);
                let samples = |count: usize| slab.saturating_mul(count).min(most);
                if stored == 0 {
                    return product(&[samples(2), features, size]);
                }
                // two as they are stored, and one that is converted
                product(&[samples(2), features, stored])?.checked_add(product(&[samples(1), features, size])?)
            };
            let slabs = if grid.symmetric {
                slabs(tile_rows, grid.n, &[rows, cols])?
            } else {
                slabs(tile_rows, grid.n, &[rows])?.max(slabs(tile_cols, grid.m, &[cols])?)
            };
            let parcel = Parcel::<T>::len_for(results, &grid, kernel.strip_len(width));
            let kept = [
                product(&[parcels(threads).min(tiles), parcel, size])?,
                product(&[threads, kernel.scratch_len(height, width), size])?,
                product(&[threads, THREAD_BYTES])?,
                results.kept_bytes::<T>(&grid, tiles)?,
            ];
            Some(Self {
                rows: block(tile_rows, height, grid.n, rows)?,
                cols: block(tile_cols, width, grid.m, cols)?
                    .checked_mul(schedule.round_count().min(COLUMN_BLOCKS) as u64)?,
                buffers: kept.into_iter().try_fold(0, u64::checked_add)?,
                slabs,
                base,
            })
        };
        let memory = parts();
        counted("the memory of a rank", memory.and_then(|memory| memory.sum()))?;
        Ok(memory.expect("there was a sum of it"))
    }

    fn sum(&self) -> Option<u64> {
        [self.base, self.rows, self.cols, self.buffers.max(self.slabs)]
            .into_iter()
            .try_fold(0, u64::checked_add)
    }

    /// Largest resident memory of the rank.
    pub fn total(&self) -> u64 {
        self.sum().expect("it was checked that 64 bits count it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Level, Method};
    use crate::metric::Metric;
    use crate::partition::{Grid, choose_edge};
    use crate::sink::Asked;

    fn matrix() -> Results {
        Results::of(Asked { output: true })
    }

    #[test]
    fn the_plan_counts_the_slabs_of_both_inputs() {
        let kernel = Kernel::<f32>::new(Metric::Cityblock, Method::Direct, 5000, Level::Portable);
        let slabs = |n, m, symmetric| {
            let schedule = Schedule { grid: Grid { n, m, edge: 64, symmetric }, ranks: 1 };
            let source = Source { chunk_rows: 1, converted: [0, 0] };
            Memory::of(&schedule, &kernel, source, 1, &matrix(), 0).unwrap().slabs
        };
        let row = 5000 * size_of::<f32>() as u64;
        let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
        let read = |panels: &[PanelShape]| 2 * slab_rows(5000 * size_of::<f32>(), panels, 64, 1) as u64;
        assert_eq!(slabs(1000, 1000, true), read(&[rows, cols]) * row);
        assert_eq!(slabs(1000, 1, false), read(&[rows]) * row);
        assert_eq!(slabs(1, 1000, false), read(&[cols]) * row);
        assert_eq!(slabs(1, 2, false), 2 * row);
    }

    #[test]
    fn the_plan_has_room_for_the_tiles_of_the_busiest_rank() {
        let kernel = Kernel::<f64>::new(Metric::Cityblock, Method::Direct, 16, Level::Portable);
        let grid = Grid { n: 6000, m: 6000, edge: 3000, symmetric: true };
        let schedule = Schedule { grid, ranks: 2 };
        assert_eq!([0, 1].map(|rank| schedule.tile_count(rank)), [1, 2]);
        let source = Source { chunk_rows: 1, converted: [0, 0] };
        let plan = Memory::of(&schedule, &kernel, source, 1, &matrix(), 0).unwrap();
        let tile = 2 * 3000 * 3000 * size_of::<f64>();
        assert!(plan.buffers >= 2 * tile as u64, "{plan:?}");
    }

    #[test]
    fn the_plan_holds_for_every_rank_up_to_10_000_ranks_and_10_million_samples() {
        let kernel = Kernel::<f32>::new(Metric::Cityblock, Method::Direct, 128, Level::Portable);
        let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
        for ranks in [1, 7, 64, 1000, 10_000] {
            for n in [100_003, 1_000_000, 10_000_000] {
                let edge = choose_edge(n, n, ranks, 2 * ranks, size_of::<f32>());
                let grid = Grid { n, m: n, edge, symmetric: true };
                let schedule = Schedule { grid, ranks };
                let source = Source { chunk_rows: 1, converted: [0, 0] };
                let plan = Memory::of(&schedule, &kernel, source, 16, &matrix(), 0).unwrap();
                let bytes = |tiles: std::ops::Range<usize>, shape: PanelShape| {
                    let panels: usize = tiles.map(|tile| shape.count(grid.rows(tile).len())).sum();
                    (panels * shape.len() * size_of::<f32>()) as u64
                };
                for rank in 0..ranks {
                    assert!(
                        bytes(schedule.tile_rows(rank), rows) <= plan.rows,
                        "rank {rank} of {schedule:?}"
                    );
                    let moving = bytes(schedule.tile_cols(rank), cols)
                        * schedule.round_count().min(COLUMN_BLOCKS) as u64;
                    assert!(moving <= plan.cols, "rank {rank} of {schedule:?}");
                }
                // each rank has its share of the samples, and a tile more at most
                let share = (n.div_ceil(ranks) + grid.edge) * 128 * size_of::<f32>();
                assert!(plan.rows as f64 <= 1.05 * share as f64, "{plan:?} of {schedule:?}");
            }
        }
    }
}
