//! Into how many bands samples are cut where not all of them fit the memory of a rank.

use super::fit::{Fit, Layout, SMALLEST_TILE, halves};
use super::setup;
use crate::cli::ProblemArgs;
use crate::number::Number;
use crate::plan::Memory;
use crate::problem::Problem;
use crate::schedule::{Bands, Schedule};

/// Bytes that are read in a second, and pair-features that a thread computes: guesses, to weigh reading more often against smaller tiles.
const READ_RATE: f64 = 1e9;
const THREAD_RATE: f64 = 2e10;

/// Of a tile with such an edge, handing it over takes as long as computing it.
const SLOW_EDGE: f64 = 16.0;

/// A run whose ranks keep within a limit of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Banded {
    pub(super) problem: Problem,
    pub(super) schedule: Schedule,
    pub(super) memory: Memory,
}

impl Banded {
    /// Bytes of samples that all ranks read while tiles are computed, of samples of so many bytes: each band of rows once, and for each of
    /// them the bands of columns that pass it.
    pub(super) fn read_bytes([x, y]: [f64; 2], schedule: &Schedule) -> f64 {
        let bands = schedule.bands.rows as f64;
        if schedule.grid.symmetric { x + x * (bands + 1.0) / 2.0 } else { x + y * bands }
    }

    /// About how long it takes: reading, and computing with threads that wait for the last tile on each way round the ring.
    fn cost(&self, samples: [f64; 2], layout: Layout) -> f64 {
        let Schedule { grid, .. } = self.schedule;
        let pairs = grid.n as f64 * grid.m as f64 / if grid.symmetric { 2.0 } else { 1.0 };
        let threads = layout.ranks().saturating_mul(layout.threads) as f64;
        let tiles = self.schedule.band_rows(0, 0).len() * self.schedule.band_cols(0, 0).len();
        let idle = 1.0 + layout.threads as f64 / (2.0 * tiles as f64);
        let small = 1.0 + SLOW_EDGE / grid.edge as f64;
        Self::read_bytes(samples, &self.schedule) / READ_RATE
            + pairs * self.problem.d as f64 / (threads * THREAD_RATE) * idle * small
    }
}

impl Fit<'_> {
    /// The run with tiles of this edge, in these bands.
    pub(super) fn banded<T: Number>(
        &self,
        layout: Layout,
        edge: usize,
        bands: Option<Bands>,
    ) -> Option<Banded> {
        let args = ProblemArgs { tile: Some(edge), ..self.args.clone() };
        let ranks = layout.ranks();
        let threads = ranks.saturating_mul(layout.threads);
        let problem = setup::problem(&args, self.shape, ranks, threads).ok()?;
        let schedule = setup::schedule(&problem, ranks, self.symmetric);
        // without any: the smallest, of a tile
        let smallest = || {
            let rows = schedule.tile_rows(0).len();
            let cols = if self.symmetric { 1 } else { schedule.tile_cols(0).len() };
            Bands { rows, cols }
        };
        let schedule = Schedule { bands: bands.unwrap_or_else(smallest), ..schedule };
        let memory = self.memory::<T>(&problem, &schedule, layout.threads).ok()?;
        Some(Banded { problem, schedule, memory })
    }

    /// The edges of tiles that may be tried: the one chosen, and halves of it unless it is fixed.
    fn edges(tile: usize, is_fixed: bool) -> impl Iterator<Item = usize> {
        halves(tile).enumerate().map_while(move |(number, edge)| {
            (number == 0 || !is_fixed && edge >= SMALLEST_TILE / 2).then_some(edge)
        })
    }

    /// The run in bands whose ranks have `limit` bytes at most, and that takes least time; tiles have an edge of `tile` if that is
    /// fixed, else that or smaller. If there is none, the memory that is needed at least, if that can be counted.
    pub(super) fn in_bands<T: Number>(
        &self,
        layout: Layout,
        (tile, is_fixed): (usize, bool),
        limit: u64,
    ) -> Result<Banded, Option<Memory>> {
        let bytes = |layouts: &[(crate::source::Storage, usize)], rows: usize| {
            let row = layouts.iter().map(|(storage, _)| storage.row_bytes()).max().unwrap_or(0);
            row as f64 * rows as f64
        };
        let samples =
            [bytes(&self.shape.layouts[0], self.shape.n), bytes(&self.shape.layouts[1], self.shape.m)];
        let found =
            Self::edges(tile, is_fixed).filter_map(|edge| self.fewest_bands::<T>(layout, edge, limit));
        let cost = |banded: &Banded| banded.cost(samples, layout);
        found.min_by(|one, other| cost(one).total_cmp(&cost(other))).ok_or_else(|| {
            let least = Self::edges(tile, is_fixed).filter_map(|edge| self.banded::<T>(layout, edge, None));
            least.map(|banded| banded.memory).min_by_key(Memory::total)
        })
    }

    /// The fewest bands of rows that fit, with as few bands of columns as fit beside them.
    fn fewest_bands<T: Number>(&self, layout: Layout, edge: usize, limit: u64) -> Option<Banded> {
        let fits = |bands: Bands| {
            self.banded::<T>(layout, edge, Some(bands)).filter(|banded| banded.memory.total() <= limit)
        };
        let Bands { rows: most, cols: most_cols } = self.banded::<T>(layout, edge, None)?.schedule.bands;
        // columns of a tile each
        let narrow = |rows: usize| {
            let cols = if self.symmetric { most.div_ceil(rows) } else { most_cols };
            Bands { rows, cols }
        };
        fits(narrow(most))?;
        let (mut too_few, mut enough) = (0, most);
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            if fits(narrow(middle)).is_some() {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        // from a quarter of the rows on: larger blocks of columns take memory, and spare little
        let widest = if self.symmetric { most.div_ceil(enough) } else { most_cols };
        let mut wide =
            halves(widest.div_ceil(4)).map(|tiles| Bands { rows: enough, cols: widest.div_ceil(tiles) });
        wide.find_map(fits)
    }
}
