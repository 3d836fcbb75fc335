//! Resident memory of a rank, from the sizes of what it keeps.

use serde::Serialize;

use super::{Balance, counted, product};
use crate::error::Result;
use crate::kernel::{Kernel, PanelShape, WORD_BYTES};
use crate::metric::{BLOCK_FEATURES, Parameter};
use crate::number::Number;
use crate::pipeline::{
    COLUMN_BLOCKS, Seen, WhiteningBytes, below_len, converted_together, converting_bytes, parcels,
    reading_bytes, words_of_shared_sums, words_of_sums,
};
use crate::schedule::{Bands, Schedule};
use crate::sink::{Parcel, Results};
use crate::source::Storage;

/// Resident memory of a rank, in bytes, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The stationary block: own samples, packed as rows.
    pub rows: u64,
    /// The moving blocks: samples packed as columns.
    pub cols: u64,
    /// Parcels of computed tiles, and what workers keep between tiles.
    pub buffers: u64,
    /// What results keep until the end: lists of neighbours, checksums.
    pub results: u64,
    /// Most that reading takes: samples as they are read, what HDF5 unpacks, and what is packed by then. Tiles are computed after it.
    pub reading: u64,
    /// The program, MPI and HDF5.
    pub base: u64,
}

/// What is kept of a sample that is read part by part: its digest, and what its preparation needs.
const KNOWN_BYTES: usize = 128;

/// Memory that the C library keeps at most when it is freed.
const KEPT_BYTES: u64 = 64 << 20;

/// What variances of the samples take for a moment, for each feature: sums, exact, and where its values lie, twice while ranks add them up.
const MOMENT_BYTES: usize = 256;

/// Bytes that variances take while they are computed, if the metric has any.
fn moment_bytes<T: Number>(kernel: &Kernel<T>) -> Option<u64> {
    let has_variances = kernel.measure().metric().takes().contains(&Parameter::Variance);
    if has_variances { product(&[kernel.row_panels().features, MOMENT_BYTES]) } else { Some(0) }
}

/// Blocks of columns in memory at most, beside one that is read.
fn column_blocks(schedule: &Schedule) -> usize {
    schedule.most_rounds().min(COLUMN_BLOCKS)
}

/// Stack and caches of a thread that has computed a tile.
const THREAD_BYTES: usize = 256 << 10;

impl Memory {
    /// Memory of a rank with the most samples and the most tiles, of X and Y that lie in files in these ways, each with the most rows of one, of which `results` are made;
    /// the program alone takes `base`. Reading is over before tiles are computed.
    ///
    /// # Errors
    /// If 64 bits cannot count the bytes.
    pub fn of<T: Number>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        layouts: &[Vec<(Storage, usize)>; 2],
        threads: usize,
        results: &Results,
        base: u64,
    ) -> Result<Self> {
        if let Some(features) = schedule.bands.features {
            let memory = Self::in_parts(schedule, kernel, layouts, (threads, features), results, base);
            counted("the memory of a rank", memory.and_then(|memory| memory.sum()))?;
            return Ok(memory.expect("there was a sum of it"));
        }
        // nothing if 64 bits cannot count the bytes of one of the parts
        let parts = || {
            let (rows, cols) = (kernel.row_panels(), kernel.col_panels());
            let grid = schedule.grid;
            let (height, width) = grid.tile_shape();
            let size = size_of::<T>();
            let block = |tiles: usize, edge: usize, samples: usize, shape: PanelShape| {
                let panels = (tiles * shape.count(edge)).min(shape.count(samples) + tiles);
                product(&[panels, shape.words()?, WORD_BYTES])
            };
            // of those of a rank, all or those of a band
            let (tile_rows, tile_cols) = (schedule.band_rows(0, 0).len(), schedule.band_cols(0, 0).len());
            let is_in_bands = schedule.bands != Bands::NONE;
            let tiles = schedule.most_tiles();
            let own = block(tile_rows, height, grid.n, rows)?;
            let moving = block(tile_cols, width, grid.m, cols)?;
            // each input is read in turn, packed into the panels it is needed in
            let read = |layouts: &[(Storage, usize)], tiles: usize, panels: &[PanelShape], packed| {
                let of = |(storage, total): &(Storage, usize)| {
                    let all = tiles.saturating_mul(grid.edge);
                    let samples = (all.min(*total), *total);
                    reading_bytes::<T>(storage, panels, grid.edge, samples, packed, all > *total)
                };
                layouts.iter().map(of).try_fold(0, |most: u64, bytes| Some(most.max(bytes?)))
            };
            let [x, y] = layouts;
            let reading = if is_in_bands {
                // a survey, which packs nothing; and with a band of rows in memory
                let y = read(y, tile_cols, &[cols], moving)?.checked_add(own)?;
                read(x, tile_rows, &[rows], own)?.max(y)
            } else if grid.symmetric {
                read(x, tile_rows, &[rows, cols], own.checked_add(moving)?)?
            } else {
                let y = read(y, tile_cols, &[cols], moving)?.checked_add(own)?;
                read(x, tile_rows, &[rows], own)?.max(y)
            };
            let is_whitened = kernel.measure().form().is_whitened();
            let whitening = if is_whitened {
                WhiteningBytes::of(rows.features, threads)?
            } else {
                WhiteningBytes::default()
            };
            let moments = moment_bytes(kernel)?.max(whitening.most);
            let reading = reading.max(own.checked_add(moving)?.checked_add(moments)?);
            let parcel = Parcel::<T>::len_for(results, &grid, kernel.strip_len(width));
            let kept = [
                product(&[parcels(threads).min(tiles), parcel, size])?,
                product(&[threads, kernel.scratch_len(height, width), size])?,
                // what is below the diagonal of a tile, if its own place is not kept
                if results.keep_tiles::<T>() {
                    0
                } else {
                    product(&[threads, below_len::<T>(&grid, rows), size])?
                },
                product(&[threads, THREAD_BYTES])?,
                product(&[kernel.feature_bytes(), rows.features])?,
                whitening.kept,
                // columns that are read while tiles are computed
                if is_in_bands { read(y, tile_cols, &[cols], 0)? } else { 0 },
            ];
            Some(Self {
                rows: own,
                cols: moving.checked_mul((column_blocks(schedule) + usize::from(is_in_bands)) as u64)?,
                buffers: kept.into_iter().try_fold(0, u64::checked_add)?,
                results: results.kept_bytes::<T>(&schedule.most_share())?,
                reading,
                base,
            })
        };
        let memory = parts();
        counted("the memory of a rank", memory.and_then(|memory| memory.sum()))?;
        Ok(memory.expect("there was a sum of it"))
    }

    /// Of a rank that has so many features of its samples in memory at a time. Nothing if 64 bits cannot count the bytes.
    fn in_parts<T: Number>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        layouts: &[Vec<(Storage, usize)>; 2],
        (threads, features): (usize, usize),
        results: &Results,
        base: u64,
    ) -> Option<Self> {
        let (grid, size) = (schedule.grid, size_of::<T>());
        let (height, width) = grid.tile_shape();
        let (row_panels, col_panels) = kernel.part_panels(features);
        let is_shared = schedule.bands.shared_features;
        // where ranks share features, each has all samples
        let (tile_rows, tile_cols, rounds) = if is_shared {
            (grid.tile_rows(), grid.tile_cols(), 1)
        } else {
            (schedule.band_rows(0, 0).len(), schedule.band_cols(0, 0).len(), schedule.most_rounds())
        };
        // with one input, rows and columns of a square band are the same samples
        let rows = tile_rows.saturating_mul(grid.edge).min(grid.n);
        let cols = tile_cols.saturating_mul(grid.edge).min(grid.m);
        let beside = if grid.symmetric && schedule.col_bands() == 1 { 0 } else { cols };
        // as they are read: what is stored, and what HDF5 unpacks
        let stored = |layouts: &[(Storage, usize)], rows: usize| {
            let of = |(storage, _): &(Storage, usize)| {
                let values = features.div_ceil(storage.per_value).checked_mul(storage.stored.size())?;
                product(&[rows, values])?.checked_add(storage.unpacking_bytes() as u64)
            };
            layouts.iter().map(of).try_fold(0, |most: u64, bytes| Some(most.max(bytes?)))
        };
        let [x, y] = layouts;
        let read = stored(x, rows)?.checked_add(stored(y, beside)?)?;
        let values = product(&[rows.max(beside), features, size])?;
        let most = if is_shared {
            schedule.surveyed_rows(0).len().max(schedule.surveyed_cols(0).len())
        } else {
            rows.max(if grid.symmetric { 0 } else { cols })
        };
        let surveyed = stored(x, most)?.max(stored(y, most)?);
        let seen = product(&[rows + beside, size_of::<Seen>()])?;
        // what each worker turns or decodes samples with, beside the values themselves
        let with = |(storage, _): &(Storage, usize)| {
            let samples = threads.saturating_mul(converted_together(storage.axes)).min(most);
            (samples, converting_bytes(storage))
        };
        let converted = layouts.iter().flatten().map(with);
        let mut converting = converted.map(|(samples, bytes)| product(&[samples, features, bytes]));
        let converting = converting.try_fold(0, |most: u64, bytes| Some(most.max(bytes?)))?;
        // one part is surveyed while the next is read
        let together = layouts.iter().flatten().map(|(storage, _)| converted_together(storage.axes)).max()?;
        let survey = [
            surveyed.checked_mul(2)?.checked_add(surveyed.min(KEPT_BYTES))?,
            product(&[threads.saturating_mul(together).min(most), features, size])?,
            product(&[most, size_of::<Seen>()])?,
            converting,
        ];
        let known = if is_shared {
            grid.n + grid.m
        } else {
            schedule.rows_of(schedule.tile_rows(0)).len() + schedule.cols_of(schedule.tile_cols(0)).len()
        };
        let tiles = schedule.most_tiles_on_a_way().max(1);
        let sum_scratch = kernel.block_sums_scratch(height, width);
        let words = if is_shared {
            // those of all tiles, as sums and as what is sent, and of a tile as what is received and as sums
            let words = words_of_sums(kernel, &(0..features), (height, width));
            words.checked_mul(2 * Balance::of(schedule).tiles + 2)?
        } else {
            words_of_shared_sums(kernel, &(0..features), threads, (height, width))
        };
        let parcel = Parcel::<T>::len_for(results, &grid, kernel.strip_len(width));
        let buffers = [
            product(&[tiles, kernel.folds_bytes(height, width)])?,
            product(&[words, WORD_BYTES])?,
            product(&[threads, sum_scratch])?,
            product(&[threads, kernel.part_scratch_len(height, width), size])?,
            product(&[parcels(threads).min(tiles), parcel, size])?,
            // those that fold, and those that finish
            product(&[2 * threads, THREAD_BYTES])?,
            product(&[kernel.feature_bytes(), kernel.row_panels().features])?,
            product(&[known, KNOWN_BYTES])?,
            converting,
            // what a part adds to the extras, of this rank and of another
            product(&[2 * (rows + beside), features.div_ceil(BLOCK_FEATURES), WORD_BYTES])?,
            // one part is packed while the next is read, and the C library keeps some of what is freed between parts
            read.checked_mul(2)?.checked_add(read.min(KEPT_BYTES))?,
            values,
            seen,
        ];
        Some(Self {
            rows: product(&[tile_rows, row_panels.count(height), row_panels.words()?, WORD_BYTES])?,
            cols: product(&[
                rounds.min(2),
                tile_cols,
                col_panels.count(width),
                col_panels.words()?,
                WORD_BYTES,
            ])?,
            buffers: buffers.into_iter().try_fold(0, u64::checked_add)?,
            results: results.kept_bytes::<T>(&schedule.most_share())?,
            reading: survey.into_iter().try_fold(moment_bytes(kernel)?, u64::checked_add)?,
            base,
        })
    }

    fn sum(&self) -> Option<u64> {
        let parts = [self.rows, self.cols, self.buffers, self.results];
        let computing = parts.into_iter().try_fold(0, u64::checked_add)?;
        computing.max(self.reading).checked_add(self.base)
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
    use crate::problem::Asked;
    use crate::source::{Chunk, StoredType};

    fn matrix() -> Results {
        Results::of(Asked::MATRIX)
    }

    fn plain(features: usize, stored: StoredType, [n, m]: [usize; 2]) -> [Vec<(Storage, usize)>; 2] {
        [n, m].map(|rows| vec![(Storage::plain(features, stored), rows)])
    }

    #[test]
    fn the_plan_counts_what_is_read_of_both_inputs() {
        let kernel = Kernel::<f32>::new(Metric::Cityblock, Method::Direct, 5000, Level::Portable);
        let plan = |n, m, symmetric| {
            let schedule = Schedule::new(Grid { n, m, edge: 64, symmetric }, 1);
            Memory::of(&schedule, &kernel, &plain(5000, StoredType::F32, [n, m]), 1, &matrix(), 0).unwrap()
        };
        // beside what is packed, slabs of at least a panel of both shapes
        for (n, m, symmetric) in [(1000, 1000, true), (1000, 1, false), (1, 1000, false)] {
            let Memory { rows, cols, reading, .. } = plan(n, m, symmetric);
            let slabs = (reading - rows - cols) / (5000 * size_of::<f32>() as u64);
            assert!((1..=96).contains(&slabs), "{slabs} samples");
        }
    }

    #[test]
    fn a_chunk_that_holds_all_samples_is_unpacked_before_any_is_packed() {
        const D: usize = 10_000;
        let kernel = Kernel::<f64>::new(Metric::Cityblock, Method::Direct, D, Level::Portable);
        let schedule = Schedule::new(Grid { n: 9600, m: 9600, edge: 480, symmetric: true }, 1);
        let samples = 9600 * D * size_of::<f64>();
        let plan = |chunk_rows, packed| {
            let chunk =
                Chunk { rows: chunk_rows, features: D, across: 1, is_filtered: true, copies: 1, packed };
            let storage = Storage { chunk: Some(chunk), ..Storage::plain(D, StoredType::F64) };
            let memory =
                Memory::of(&schedule, &kernel, &[0, 1].map(|_| vec![(storage, 9600)]), 1, &matrix(), 0)
                    .unwrap();
            (memory.reading - memory.rows - memory.cols, memory.rows + memory.cols)
        };
        let (beside, packed) = plan(9600, 10);
        assert_eq!(beside, samples as u64);
        assert!(packed >= 2 * samples as u64);
        // a band beside all that is packed in the end, and a chunk as it is unpacked
        let (beside, _) = plan(2400, 1000);
        assert_eq!(beside, (samples / 4 + samples / 4 + 1000) as u64);
    }

    #[test]
    fn the_plan_has_room_for_the_tiles_of_the_busiest_rank() {
        let kernel = Kernel::<f64>::new(Metric::Cityblock, Method::Direct, 16, Level::Portable);
        let grid = Grid { n: 6000, m: 6000, edge: 3000, symmetric: true };
        let schedule = Schedule::new(grid, 2);
        assert_eq!([0, 1].map(|rank| schedule.tile_count(rank)), [1, 2]);
        let plan =
            Memory::of(&schedule, &kernel, &plain(16, StoredType::F64, [6000; 2]), 1, &matrix(), 0).unwrap();
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
                let schedule = Schedule::new(grid, ranks);
                let plan =
                    Memory::of(&schedule, &kernel, &plain(128, StoredType::F32, [n; 2]), 16, &matrix(), 0)
                        .unwrap();
                let bytes = |tiles: std::ops::Range<usize>, shape: PanelShape| {
                    let panels: usize = tiles.map(|tile| shape.count(grid.rows(tile).len())).sum();
                    (panels * shape.len() * WORD_BYTES) as u64
                };
                for rank in 0..ranks {
                    assert!(
                        bytes(schedule.tile_rows(rank), rows) <= plan.rows,
                        "rank {rank} of {schedule:?}"
                    );
                    let moving = bytes(schedule.tile_cols(rank), cols) * column_blocks(&schedule) as u64;
                    assert!(moving <= plan.cols, "rank {rank} of {schedule:?}");
                }
                // each rank has its share of the samples, and a tile more at most
                let share = (n.div_ceil(ranks) + grid.edge) * 128 * size_of::<f32>();
                assert!(plan.rows as f64 <= 1.05 * share as f64, "{plan:?} of {schedule:?}");
            }
        }
    }
}
