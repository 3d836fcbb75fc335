//! What a run computes, reads, exchanges and writes, from its schedule.

use serde::Serialize;

use super::{counted, product};
use crate::error::Result;
use crate::kernel::{Kernel, WORD_BYTES};
use crate::number::Number;
use crate::pipeline::SummedTiles;
use crate::schedule::{Bands, Schedule, parts_of};
use crate::sink::Results;
use crate::source::Storage;

/// Tiles, and how evenly ranks share them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Balance {
    /// Tiles that are computed.
    pub tiles: usize,
    /// Those of the busiest rank.
    pub tiles_of_busiest_rank: usize,
    /// Tiles of the busiest rank over the mean.
    pub imbalance: f64,
    /// Ranks without a tile.
    pub idle_ranks: usize,
}

impl Balance {
    /// Of a schedule.
    pub fn of(schedule: &Schedule) -> Self {
        let counts = (0..schedule.ranks).map(|rank| schedule.tile_count(rank));
        let (tiles, busiest, idle_ranks) = counts.fold((0, 0, 0), |(sum, most, idle), count| {
            (sum + count, count.max(most), idle + usize::from(count == 0))
        });
        if schedule.bands.shared_features {
            // whoever owns them
            return Self { tiles, tiles_of_busiest_rank: busiest, imbalance: 1.0, idle_ranks: 0 };
        }
        let imbalance = busiest as f64 * schedule.ranks as f64 / tiles as f64;
        Self { tiles, tiles_of_busiest_rank: busiest, imbalance, idle_ranks }
    }
}

/// Bytes of all ranks, as in the run record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_field_names, reason = "the record's names")]
pub struct Traffic {
    /// Samples read, all times together.
    pub bytes_read: u64,
    /// Packed samples sent from rank to rank.
    pub bytes_exchanged: u64,
    /// Results written.
    pub bytes_written: u64,
}

impl Traffic {
    /// Of a schedule, and the results that are made.
    ///
    /// # Errors
    /// If 64 bits cannot count them.
    pub fn of<T: Number>(schedule: &Schedule, kernel: &Kernel<T>, results: &Results) -> Result<Self> {
        let grid = schedule.grid;
        let sample = kernel.row_panels().features * size_of::<T>();
        let first_readings = kernel.measure().first_readings();
        let read = || product(&[samples_read(schedule, schedule.ranks, first_readings)?, sample]);
        let exchanged = || {
            if let Some(width) = schedule.bands.features.filter(|_| schedule.bands.shared_features) {
                return sums_exchanged(schedule, kernel, width);
            }
            // on the first way that a band of columns goes with one input, half the ring is enough
            let of_band = |cols: usize| {
                let tiles = (0..schedule.ranks).map(|rank| schedule.band_cols(rank, cols).len()).sum();
                let (ways, ranks) = (schedule.ways_of(cols), schedule.ranks);
                let half = usize::from(grid.symmetric);
                let times = half * (ranks / 2) + (ways - half) * (ranks - 1);
                block_bytes(schedule, kernel, tiles)?.checked_mul(times as u64)
            };
            let mut bands = (0..schedule.col_bands()).map(of_band);
            bands.try_fold(0_u64, |sum, bytes| sum.checked_add(bytes?))
        };
        Ok(Self {
            bytes_read: counted("what is read", read())?,
            bytes_exchanged: counted("what all ranks send to each other", exchanged())?,
            bytes_written: counted("what is written", results.file_bytes::<T>(&grid))?,
        })
    }
}

/// What the busiest rank has to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Volume {
    /// Worker threads.
    pub threads: usize,
    /// Ranks of its node.
    pub ranks_per_node: usize,
    /// Tiles of the busiest worker.
    pub waves: usize,
    /// Pair-features of a tile.
    pub tile: f64,
    /// Rounds.
    pub rounds: usize,
    /// Bytes of samples it reads, in the type that is computed in.
    pub read: u64,
    /// Products that it adds up to whiten its samples, where they are whitened.
    pub whitening: f64,
    /// Bytes that all ranks read, as they are stored.
    pub read_by_all: u64,
    /// Bytes of the block it sends after each round but the last.
    pub block: u64,
    /// Bytes of tiles it writes.
    pub written: u64,
    /// Times that it writes.
    pub writes: u64,
    /// Tiles of the matrix.
    pub chunks: u64,
    /// Bytes that all ranks write.
    pub written_by_all: u64,
}

impl Volume {
    /// Of a schedule, on ranks of so many threads.
    ///
    /// # Errors
    /// If 64 bits cannot count the bytes.
    pub fn of<T: Number>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        layouts: &[Vec<(Storage, usize)>; 2],
        results: &Results,
        threads: usize,
        ranks_per_node: usize,
    ) -> Result<Self> {
        let (balance, traffic) = (Balance::of(schedule), Traffic::of(schedule, kernel, results)?);
        let grid = schedule.grid;
        let features = kernel.row_panels().features;
        let cols = schedule.band_cols(0, 0).len();
        let first_readings = kernel.measure().first_readings();
        let of_a_rank = || product(&[samples_read(schedule, 1, first_readings)?, features, size_of::<T>()]);
        let row_bytes =
            |layouts: &Vec<(Storage, usize)>| layouts.iter().map(|(storage, _)| storage.row_bytes()).max();
        let [x, y] = [&layouts[0], &layouts[1]].map(|layouts| row_bytes(layouts).unwrap_or_default());
        // all samples, and as often as they are read
        let of_both = || {
            let once = product(&[grid.n, x])?.checked_add(if grid.symmetric {
                0
            } else {
                product(&[grid.m, y])?
            })?;
            let samples = grid.n + if grid.symmetric { 0 } else { grid.m };
            let times = samples_read(schedule, schedule.ranks, first_readings)? as f64 / samples as f64;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            Some((once as f64 * times) as u64)
        };
        let busiest = balance.tiles_of_busiest_rank;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of bytes"
        )]
        let written = (traffic.bytes_written as f64 * busiest as f64 / balance.tiles as f64) as u64;
        let (height, width) = grid.tile_shape();
        let whitening = if kernel.measure().form().is_whitened() {
            let d = features as f64;
            let samples =
                |of: usize| if grid.symmetric { grid.n } else { grid.n + grid.m }.div_ceil(of) as f64;
            // halves of a covariance that all ranks share, its factor, and what becomes of a rank's own samples
            samples(1) / schedule.ranks as f64 * d * d / 2.0
                + d.powi(3) / 6.0
                + samples(schedule.ranks) * d * d / 2.0
        } else {
            0.0
        };
        let tile = height as f64 * width as f64 * features as f64;
        let Bands { features: part, shared_features, .. } = schedule.bands;
        let (waves, tile) = if part.is_some() {
            // threads, or also ranks, share each tile
            let twice = if kernel.folds_twice() { 2.0 } else { 1.0 };
            let (tiles, ranks) = if shared_features { (balance.tiles, schedule.ranks) } else { (busiest, 1) };
            (tiles, tile * twice / (threads as f64 * ranks as f64))
        } else {
            (busiest.div_ceil(threads), tile)
        };
        Ok(Self {
            threads,
            ranks_per_node,
            waves,
            tile,
            rounds: schedule.round_count(),
            read: counted("what a rank reads", of_a_rank())?,
            whitening,
            read_by_all: counted("what all ranks read", of_both())?,
            block: counted("what a rank sends", block_bytes(schedule, kernel, cols))?,
            written,
            writes: busiest as u64 * results.writes::<T>(&grid) as u64,
            chunks: grid.tile_rows() as u64 * grid.tile_cols() as u64,
            written_by_all: traffic.bytes_written,
        })
    }
}

/// Samples that so many ranks read, the first of them: each once where all are in memory; else once before anything is made, and again with each
/// band. By parts, what comes first takes so many readings. Nothing if they cannot be counted.
fn samples_read(schedule: &Schedule, ranks: usize, first_readings: usize) -> Option<usize> {
    let grid = schedule.grid;
    let each = |of: &dyn Fn(usize) -> usize| (0..ranks).map(of).try_fold(0_usize, usize::checked_add);
    let rows = each(&|rank| schedule.surveyed_rows(rank).len())?;
    let cols = each(&|rank| schedule.surveyed_cols(rank).len())?;
    let once = if grid.symmetric { rows } else { rows.checked_add(cols)? };
    if schedule.bands == Bands::NONE {
        return Some(once);
    }
    let once = if schedule.bands.features.is_some() { once.checked_mul(first_readings)? } else { once };
    if schedule.bands.shared_features {
        let all = if grid.symmetric { grid.n } else { grid.n.checked_add(grid.m)? };
        return once.checked_add(all.checked_mul(ranks)?.div_ceil(schedule.ranks));
    }
    let of_cols = |cols: usize| {
        let samples = each(&|rank| schedule.cols_of(schedule.band_cols(rank, cols)).len())?;
        samples.checked_mul(schedule.ways_of(cols))
    };
    let cols = total((0..schedule.col_bands()).map(of_cols))?;
    if schedule.bands.features.is_none() {
        return once.checked_add(rows)?.checked_add(cols);
    }
    // part by part, rows come with each band of columns, unless they are the same samples
    let of_rows = |band: usize| {
        let samples = each(&|rank| schedule.rows_of(schedule.band_rows(rank, band)).len())?;
        let ways = if grid.symmetric {
            schedule.col_bands() - band * schedule.bands.cols
        } else {
            schedule.col_bands()
        };
        let is_same = grid.symmetric && schedule.bands.cols == 1;
        samples.checked_mul(ways - usize::from(is_same))
    };
    let rows = total((0..schedule.bands.rows).map(of_rows))?;
    once.checked_add(rows)?.checked_add(cols)
}

/// Bytes of the sums that ranks send to the owners of tiles, if each part of the features has so many.
fn sums_exchanged<T: Number>(schedule: &Schedule, kernel: &Kernel<T>, width: usize) -> Option<u64> {
    let (grid, d) = (schedule.grid, kernel.row_panels().features);
    let ring = schedule.rings().next()?;
    let tiles = (0..schedule.ranks).flat_map(|rank| ring.all_tiles(rank).map(move |tile| (rank, tile)));
    let tiles = SummedTiles::new(kernel, grid, tiles.collect());
    let mut bytes = 0_u64;
    for (number, part) in parts_of(d, width).enumerate() {
        for (at, &(owner, _)) in tiles.tiles.iter().enumerate() {
            if owner != number % schedule.ranks {
                bytes = bytes.checked_add(product(&[tiles.words(at, &part), WORD_BYTES])?)?;
            }
        }
    }
    Some(bytes)
}

fn total(mut counts: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    counts.try_fold(0_usize, |sum, count| sum.checked_add(count?))
}

/// Bytes of so many columns of tiles, packed; nothing if 64 bits cannot count them.
fn block_bytes<T: Number>(schedule: &Schedule, kernel: &Kernel<T>, tiles: usize) -> Option<u64> {
    let panels = kernel.col_panels();
    let (_, width) = schedule.grid.tile_shape();
    product(&[tiles, panels.count(width), panels.words()?, WORD_BYTES])
}
