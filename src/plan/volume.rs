//! What a run computes, reads, exchanges and writes, from its schedule.

use serde::Serialize;

use crate::kernel::{Kernel, SimdElement};
use crate::schedule::Schedule;

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
        let imbalance = busiest as f64 * schedule.ranks as f64 / tiles as f64;
        Self { tiles, tiles_of_busiest_rank: busiest, imbalance, idle_ranks }
    }
}

/// Bytes of all ranks, as in the run record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Samples read.
    pub bytes_read: u64,
    /// Packed samples sent from rank to rank.
    pub bytes_exchanged: u64,
    /// Distances written.
    pub bytes_written: u64,
}

impl Traffic {
    /// Of a schedule, with distances written or not.
    pub fn of<T: SimdElement>(schedule: &Schedule, kernel: &Kernel<T>, written: bool) -> Self {
        let grid = schedule.grid;
        let samples = if schedule.symmetric { grid.n } else { grid.n.saturating_add(grid.m) };
        let block = block_bytes(kernel, grid.edge, grid.tile_cols());
        Self {
            bytes_read: bytes::<T>(&[samples, kernel.row_panels().features]),
            bytes_exchanged: block.saturating_mul((schedule.rounds() - 1) as u64),
            bytes_written: if written { bytes::<T>(&[grid.n, grid.m]) } else { 0 },
        }
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
    /// Bytes of samples it reads.
    pub read: u64,
    /// Bytes of the block it sends after each round but the last.
    pub block: u64,
    /// Bytes of tiles it writes.
    pub written: u64,
    /// Bytes that all ranks write.
    pub written_by_all: u64,
}

impl Volume {
    /// Of a schedule, on ranks of so many threads.
    pub fn of<T: SimdElement>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        balance: &Balance,
        traffic: &Traffic,
        threads: usize,
        ranks_per_node: usize,
    ) -> Self {
        let grid = schedule.grid;
        let features = kernel.row_panels().features;
        let own = |tiles: usize, samples: usize| tiles.saturating_mul(grid.edge).min(samples);
        let (rows, cols) = (schedule.tile_rows(0).len(), schedule.tile_cols(0).len());
        let samples = own(rows, grid.n) + if schedule.symmetric { 0 } else { own(cols, grid.m) };
        let busiest = balance.tiles_of_busiest_rank;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of bytes"
        )]
        let written = (traffic.bytes_written as f64 * busiest as f64 / balance.tiles as f64) as u64;
        Self {
            threads,
            ranks_per_node,
            waves: busiest.div_ceil(threads),
            tile: grid.edge.min(grid.n) as f64 * grid.edge.min(grid.m) as f64 * features as f64,
            rounds: schedule.rounds(),
            read: bytes::<T>(&[samples, features]),
            block: block_bytes(kernel, grid.edge, cols),
            written,
            written_by_all: traffic.bytes_written,
        }
    }
}

/// Bytes of so many columns of tiles, packed.
fn block_bytes<T: SimdElement>(kernel: &Kernel<T>, edge: usize, tiles: usize) -> u64 {
    let panels = kernel.col_panels();
    bytes::<T>(&[tiles, panels.count(edge), panels.len()])
}

/// Bytes of so many values as the factors' product.
fn bytes<T>(factors: &[usize]) -> u64 {
    factors.iter().fold(size_of::<T>() as u64, |all, &factor| all.saturating_mul(factor as u64))
}
