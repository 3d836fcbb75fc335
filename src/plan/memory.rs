//! Resident memory of a rank, from the sizes of what it keeps.

use serde::Serialize;

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
    /// Two slabs of samples: one is read while the other is packed.
    pub slabs: u64,
    /// The program, MPI and HDF5.
    pub base: u64,
}

/// Stack and caches of a thread that has computed a tile.
const THREAD_BYTES: u64 = 256 << 10;

impl Memory {
    /// Memory of the rank with the most samples, which are stored in chunks of so many rows (1 for none), with tiles
    /// written or only counted; the program alone takes `base`. Reading is over before tiles are computed.
    pub fn of<T: SimdElement + std::ops::Neg<Output = T>>(
        schedule: &Schedule,
        kernel: &Kernel<T>,
        chunk_rows: usize,
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
        let images = if written { 1 + usize::from(schedule.symmetric) } else { 0 };
        let tiles = schedule.tile_count(0);
        let checksums = images * tiles * size_of::<(Tile, u64)>();
        let scratch = threads * kernel.scratch_len(edge.min(n), edge.min(m));
        let features = rows.features;
        let slab = slab_rows(features.saturating_mul(size), [rows, cols], edge, chunk_rows).saturating_mul(2);
        let slabs = slab.min(tile_rows * edge).min(n);
        Self {
            rows: block(tile_rows, n, rows),
            cols: block(tile_cols, m, cols).saturating_mul(schedule.rounds().min(3) as u64),
            buffers: bytes(
                buffers(threads).min(tiles) * TileBuffer::len_for(&schedule.grid, kernel, images) + scratch,
            ) + threads as u64 * THREAD_BYTES
                + checksums as u64,
            slabs: bytes(slabs.saturating_mul(features)),
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

/// The smallest number of nodes, up to `most`, for which `fits` holds, where what fits on some nodes fits on more.
pub fn fewest_nodes(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    if !fits(most) {
        return None;
    }
    let (mut too_few, mut enough) = (0, most);
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if fits(middle) { enough = middle } else { too_few = middle }
    }
    Some(enough)
}
