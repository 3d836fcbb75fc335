//! How samples are cut where not all of them fit the memory of a rank: into bands of rows, or also into parts of their features.

use std::iter::{once, successors};

use super::fit::{Fit, SMALLEST_TILE, halves, kernel};
use super::setup;
use crate::cli::ProblemArgs;
use crate::kernel::Kernel;
use crate::metric::BLOCK_FEATURES;
use crate::number::Number;
use crate::partition::from_word;
use crate::plan::{Balance, Memory};
use crate::problem::Problem;
use crate::schedule::{Bands, Schedule};
use crate::source::Storage;

/// Bytes that are read in a second, and pair-features that a thread computes: guesses, to weigh reading more often against smaller tiles.
const READ_RATE: f64 = 1e9;
const THREAD_RATE: f64 = 2e10;

/// Pair-features whose sums over blocks a rank receives and puts together in a second.
const ADD_RATE: f64 = 6e10;

/// Of a tile with such an edge, handing it over takes as long as computing it.
const SLOW_EDGE: f64 = 16.0;

/// Features of a part, if a sample has more: blocks that sums are made of, as many as wait to be put together, and pieces of a file that are worth a request.
const LEAST_FEATURES: usize = 1 << 14;
const MOST_FEATURES: usize = 1 << 18;

/// The smallest tiles by parts of the features.
const LEAST_EDGE: usize = 1;

/// Bands of rows at most.
const MOST_BANDS: usize = 4096;

/// How many ranks there are, and threads of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) ranks: usize,
    pub(super) threads: usize,
}

/// A run whose ranks keep within a limit of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Banded {
    pub(super) problem: Problem,
    pub(super) schedule: Schedule,
    pub(super) memory: Memory,
}

impl Banded {
    /// What other ranks must know to lay out the same run; [`Fit::of_words`] reads it.
    pub(super) fn words(&self) -> [u64; 6] {
        let Bands { rows, cols, features, shared_features } = self.schedule.bands;
        let numbers = [1, self.problem.tile, rows, cols, features.unwrap_or(0), usize::from(shared_features)];
        numbers.map(|number| number as u64)
    }

    /// Bytes of samples that all ranks read while tiles are computed, of samples of so many bytes: each band of rows once, and for each of
    /// them the bands of columns that pass it.
    fn read_bytes([x, y]: [f64; 2], schedule: &Schedule) -> f64 {
        let bands = schedule.bands.rows as f64;
        if schedule.bands.features.is_some() {
            // rows and columns of each pair of bands
            let cols = schedule.col_bands() as f64;
            return if schedule.grid.symmetric { x * bands } else { x * cols + y * bands };
        }
        if schedule.grid.symmetric { x + x * (bands + 1.0) / 2.0 } else { x + y * bands }
    }

    /// How much longer threads take that wait for the last tile on each way round the ring than if they had the same work.
    fn waiting<T: Number>(&self, threads: usize, kernel: &Kernel<T>) -> f64 {
        let tiles = self.schedule.most_tiles_on_a_way().max(1);
        let panels = tiles.saturating_mul(kernel.row_panels().count(self.schedule.grid.tile_shape().0));
        // by parts, they share tiles or features
        if self.schedule.bands.features.is_some() && (kernel.has_block_sums() || panels >= threads) {
            return 1.0;
        }
        let of_tiles = threads as f64 / tiles as f64;
        (1.0 + of_tiles / 2.0).max(of_tiles)
    }

    /// About how long it takes, in seconds: reading, and computing, both as long as it takes the busiest rank.
    fn cost<T: Number>(&self, samples: [f64; 2], size: Size, kernel: &Kernel<T>) -> f64 {
        let Schedule { grid, bands, ranks } = self.schedule;
        let Balance { tiles, imbalance, .. } = Balance::of(&self.schedule);
        let once = samples[0] + if grid.symmetric { 0.0 } else { samples[1] };
        let first = if bands.features.is_some() { kernel.measure().first_readings() as f64 } else { 1.0 };
        let read =
            once * first + if bands == Bands::NONE { 0.0 } else { Self::read_bytes(samples, &self.schedule) };
        let rows = self.schedule.surveyed_rows(0).len() as f64 * ranks as f64 / grid.n as f64;
        let (height, width) = grid.tile_shape();
        let mut folded = tiles as f64 * kernel.folded_pairs(height, width) as f64 * self.problem.d as f64;
        if bands.features.is_none() {
            // by parts, computing a tile takes far longer than handing it over to the main thread
            folded *= 1.0 + SLOW_EDGE / grid.edge as f64;
        } else if kernel.folds_twice() {
            folded *= 2.0;
        }
        let threads = size.ranks.saturating_mul(size.threads) as f64;
        let computing = folded / (threads * THREAD_RATE) * imbalance * self.waiting(size.threads, kernel);
        // by the ranks that own tiles, one thread of each
        let owners = tiles.min(ranks).min(grid.tile_rows()) as f64;
        let adding = if bands.shared_features { folded / (owners * ADD_RATE) } else { 0.0 };
        read * rows / READ_RATE + computing + adding
    }
}

/// The smallest number up to `most` for which `is_enough` holds, if it holds for `most`, and for all numbers above one for which it holds.
fn fewest(most: usize, is_enough: impl Fn(usize) -> bool) -> Option<usize> {
    if !is_enough(most) {
        return None;
    }
    let (mut too_few, mut enough) = (0, most);
    while enough - too_few > 1 {
        let middle = usize::midpoint(too_few, enough);
        if is_enough(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough)
}

impl Fit<'_> {
    /// The run that another rank has chosen, if it has found one.
    pub(super) fn of_words<T: Number>(&self, size: Size, words: [u64; 6]) -> Option<Banded> {
        let [found, tile, rows, cols, features, shared] = words.map(from_word);
        let features = Some(features).filter(|features| *features > 0);
        let bands = Bands { features, shared_features: shared > 0, ..Bands::of_rows(rows, cols) };
        if found > 0 { self.banded::<T>(size, tile, Some(bands)) } else { None }
    }

    /// The run with tiles of this edge, in these bands.
    pub(super) fn banded<T: Number>(&self, size: Size, edge: usize, bands: Option<Bands>) -> Option<Banded> {
        let args = ProblemArgs { tile: Some(edge), ..self.args.clone() };
        let ranks = size.ranks;
        let threads = ranks.saturating_mul(size.threads);
        let problem = setup::problem(&args, self.shape, ranks, threads).ok()?;
        let schedule = setup::schedule(&problem, ranks, self.symmetric);
        // without any: the smallest, of a tile
        let smallest = || {
            let rows = schedule.tile_rows(0).len().min(MOST_BANDS);
            let cols = if self.symmetric { 1 } else { schedule.tile_cols(0).len().min(MOST_BANDS) };
            Bands::of_rows(rows, cols)
        };
        let schedule = Schedule { bands: bands.unwrap_or_else(smallest), ..schedule };
        let memory = self.memory::<T>(&problem, &schedule, size.threads).ok()?;
        Some(Banded { problem, schedule, memory })
    }

    /// The edges of tiles that may be tried: the one chosen, and unless it is fixed smaller powers of two that are not below `least`.
    fn edges(tile: usize, is_fixed: bool, least: usize) -> impl Iterator<Item = usize> {
        let smaller = halves(tile.next_power_of_two() / 2);
        once(tile).chain(smaller.take_while(move |&edge| !is_fixed && edge >= least))
    }

    /// The run whose ranks have `limit` bytes at most, and that takes least time, of samples in memory, in bands, or by parts of their features; tiles have an edge
    /// of `tile` if that is fixed, else that or smaller. If there is none, the memory that is needed at least, if that can be counted.
    pub(super) fn within<T: Number>(
        &self,
        size: Size,
        (tile, is_fixed): (usize, bool),
        limit: u64,
    ) -> Result<Banded, Option<Memory>> {
        let bytes = |layouts: &[(Storage, usize)], rows: usize| {
            let row = layouts.iter().map(|(storage, _)| storage.row_bytes()).max().unwrap_or(0);
            row as f64 * rows as f64
        };
        let samples =
            [bytes(&self.shape.layouts[0], self.shape.n), bytes(&self.shape.layouts[1], self.shape.m)];
        let cost = |banded: &Banded| {
            let kernel: Kernel<T> = kernel(&banded.problem, &banded.schedule, self.level);
            banded.cost(samples, size, &kernel)
        };
        let fits = |banded: &Banded| banded.memory.total() <= limit;
        let mut whole = Self::edges(tile, is_fixed, SMALLEST_TILE)
            .filter_map(|edge| self.banded::<T>(size, edge, Some(Bands::NONE)).filter(fits));
        if let Some(whole) = whole.next() {
            // threads and ranks without a tile could have features
            let Balance { tiles_of_busiest_rank, idle_ranks, .. } = Balance::of(&whole.schedule);
            let is_idle = tiles_of_busiest_rank < size.threads || idle_ranks > 0;
            let parts = is_idle.then(|| self.in_parts::<T>(size, (tile, is_fixed), limit, cost)).flatten();
            return Ok(parts.filter(|parts| cost(parts) < cost(&whole)).unwrap_or(whole));
        }
        let bands = Self::edges(tile, is_fixed, SMALLEST_TILE / 2)
            .filter_map(|edge| self.fewest_bands::<T>(size, edge, limit));
        let parts = self.in_parts::<T>(size, (tile, is_fixed), limit, cost);
        let found = bands.chain(parts);
        found.min_by(|one, other| cost(one).total_cmp(&cost(other))).ok_or_else(|| {
            let of_edge = |edge| {
                let bands = self.banded::<T>(size, edge, None);
                bands.into_iter().chain(self.least_parts::<T>(size, edge))
            };
            let least = Self::edges(tile, is_fixed, SMALLEST_TILE / 2).flat_map(of_edge);
            least.map(|banded| banded.memory).min_by_key(Memory::total)
        })
    }

    /// The run by parts of the features that fits, and takes least time.
    fn in_parts<T: Number>(
        &self,
        size: Size,
        (tile, is_fixed): (usize, bool),
        limit: u64,
        cost: impl Fn(&Banded) -> f64,
    ) -> Option<Banded> {
        let of_edge = |edge| {
            let shared = self.shared_parts::<T>(size, edge, limit);
            self.fewest_parts::<T>(size, edge, limit).into_iter().chain(shared)
        };
        let found = Self::edges(tile, is_fixed, LEAST_EDGE).flat_map(of_edge);
        found.min_by(|one, other| cost(one).total_cmp(&cost(other)))
    }

    /// The least memory by parts of the features, with tiles of an edge; nothing if that cannot be, or parts would be all.
    pub(super) fn least_parts<T: Number>(&self, size: Size, edge: usize) -> Option<Banded> {
        let bands = self.banded::<T>(size, edge, None)?.schedule.bands;
        self.parted::<T>(size, edge, bands, LEAST_FEATURES)
    }

    /// The run in these bands, with so many features in memory, or all that there are.
    fn parted<T: Number>(&self, size: Size, edge: usize, bands: Bands, features: usize) -> Option<Banded> {
        let d = self.shape.d;
        if d <= LEAST_FEATURES || !setup::measure(self.args).can_be_in_parts() {
            return None;
        }
        self.banded::<T>(size, edge, Some(Bands { features: Some(features.min(d)), ..bands }))
    }

    /// The fewest bands that fit by parts of the features, and the longest parts that fit then.
    fn fewest_parts<T: Number>(&self, size: Size, edge: usize, limit: u64) -> Option<Banded> {
        let fits = |bands: Bands, features: usize| {
            let parted = self.parted::<T>(size, edge, bands, features)?;
            Some(parted).filter(|parted| parted.memory.total() <= limit)
        };
        let Bands { rows: most, cols: most_cols, .. } = self.banded::<T>(size, edge, None)?.schedule.bands;
        let last = if self.symmetric { most } else { most.max(most_cols) };
        let square = |rows: usize| {
            let cols = if self.symmetric { 1 } else { rows.min(most_cols) };
            Bands::of_rows(rows.min(most), cols)
        };
        let enough = fewest(last, |rows| fits(square(rows), LEAST_FEATURES).is_some())?;
        let mut lengths = halves(MOST_FEATURES).take_while(|features| *features >= LEAST_FEATURES);
        lengths.find_map(|features| fits(square(enough), features))
    }

    /// The longest parts of the features that fit where each rank has others, of all samples.
    fn shared_parts<T: Number>(&self, size: Size, edge: usize, limit: u64) -> Option<Banded> {
        let ranks = size.ranks;
        if ranks == 1 {
            return None;
        }
        let fits = |features: usize| {
            let bands = Bands { shared_features: true, ..Bands::NONE };
            let shared = self.parted::<T>(size, edge, bands, features)?;
            let kernel: Kernel<T> = kernel(&shared.problem, &shared.schedule, self.level);
            Some(shared).filter(|shared| shared.memory.total() <= limit && kernel.has_block_sums())
        };
        // as many parts for each rank as for the others, but where they would be too short
        let counts = successors(Some(ranks), |parts| parts.checked_mul(2));
        let lengths = counts.map(|parts| self.shape.d.div_ceil(parts).next_multiple_of(BLOCK_FEATURES));
        let long = lengths.skip_while(|length| *length > MOST_FEATURES);
        long.take_while(|length| *length > LEAST_FEATURES).chain(once(LEAST_FEATURES)).find_map(fits)
    }

    /// The fewest bands of rows that fit, with as few bands of columns as fit beside them.
    fn fewest_bands<T: Number>(&self, size: Size, edge: usize, limit: u64) -> Option<Banded> {
        let fits = |bands: Bands| {
            self.banded::<T>(size, edge, Some(bands)).filter(|banded| banded.memory.total() <= limit)
        };
        let smallest = self.banded::<T>(size, edge, None)?.schedule;
        let (Bands { rows: most, cols: most_cols, .. }, tiles) =
            (smallest.bands, smallest.tile_rows(0).len());
        // columns of a tile each
        let narrow = |rows: usize| {
            let cols = if self.symmetric { tiles.div_ceil(rows) } else { most_cols };
            Bands::of_rows(rows, cols)
        };
        let enough = fewest(most, |rows| fits(narrow(rows)).is_some())?;
        // from a quarter of the rows on: larger blocks of columns take memory, and spare little
        let widest = if self.symmetric { tiles.div_ceil(enough) } else { most_cols };
        let mut wide = halves(widest.div_ceil(4)).map(|tiles| Bands::of_rows(enough, widest.div_ceil(tiles)));
        wide.find_map(fits)
    }
}
