//! Which rank computes which tiles, and when.
//!
//! Every rank owns contiguous rows of tiles. Column blocks move round the ring ([`Ring`]). Where the samples of a rank do not fit its
//! memory, it works in *bands*: some of its rows of tiles at a time, and of its columns some travel at a time. For each band of rows the
//! bands of columns come one after the other, and each pair of bands is a way round the ring of its own. With one input, a band of columns
//! is part of a band of rows, and only bands from that of the rows on come: each unordered pair of tiles is computed once.
//!
//! Integer arithmetic only.
//!
//! - `ring` — one way of the column blocks round the ring

mod ring;

pub use ring::Ring;

use std::ops::Range;

use serde::Serialize;

use crate::partition::{Grid, range_of};

/// The distribution of a grid of tiles over ranks and rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The tiles.
    pub grid: Grid,
    /// Number of ranks.
    pub ranks: usize,
    /// How much of its samples a rank has in memory.
    pub bands: Bands,
}

/// Into how many bands the tiles of each rank are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Bands {
    /// Bands of rows.
    pub rows: usize,
    /// Bands of columns; with one input, of each band of rows.
    pub cols: usize,
    /// Features of a sample that are in memory at a time, where these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<usize>,
    /// Whether each rank has other features in memory, of all samples, and not all features of its own samples in turn.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared_features: bool,
}

impl Bands {
    /// All samples are in memory.
    pub const NONE: Self = Self::of_rows(1, 1);

    /// So many bands of rows and of columns, with all features of a sample.
    pub const fn of_rows(rows: usize, cols: usize) -> Self {
        Self { rows, cols, features: None, shared_features: false }
    }
}

/// The parts of the features, each of `width` but for the last.
pub fn parts_of(features: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..features).step_by(width).map(move |first| first..features.min(first + width))
}

/// What a rank has to do with a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The tiles.
    pub grid: Grid,
    /// Rows of the matrix that it owns.
    pub rows: Range<usize>,
    /// Rows that another rank owns, and of which it may find mirror images in one round; at most.
    pub foreign_rows: usize,
    /// Tiles that it computes.
    pub tiles: usize,
}

impl Schedule {
    /// Of samples that are all in memory.
    pub fn new(grid: Grid, ranks: usize) -> Self {
        Self { grid, ranks, bands: Bands::NONE }
    }

    /// The ways round the ring, in their order.
    pub fn rings(&self) -> impl Iterator<Item = Ring> + use<> {
        let schedule = *self;
        (0..self.bands.rows).flat_map(move |rows| {
            let first = if schedule.grid.symmetric { rows * schedule.bands.cols } else { 0 };
            (first..schedule.col_bands()).map(move |cols| Ring { schedule, rows, cols })
        })
    }

    /// Bands of columns.
    pub fn col_bands(&self) -> usize {
        if self.grid.symmetric { self.bands.rows * self.bands.cols } else { self.bands.cols }
    }

    /// The share of `rank`.
    pub fn share(&self, rank: usize) -> Share {
        let Self { grid, ranks, .. } = *self;
        let foreign = if grid.symmetric && ranks > 1 { self.cols_of(self.band_cols(0, 0)).len() } else { 0 };
        Share {
            grid,
            rows: self.rows_of(self.tile_rows(rank)),
            foreign_rows: foreign,
            tiles: self.tile_count(rank),
        }
    }

    /// The share of a rank with the most rows and the most tiles.
    pub fn most_share(&self) -> Share {
        Share { tiles: self.most_tiles(), ..self.share(0) }
    }

    /// Rows of the matrix in these rows of tiles.
    pub fn rows_of(&self, tiles: Range<usize>) -> Range<usize> {
        let Grid { n, edge, .. } = self.grid;
        n.min(tiles.start * edge)..n.min(tiles.end * edge)
    }

    /// Columns of the matrix in these columns of tiles.
    pub fn cols_of(&self, tiles: Range<usize>) -> Range<usize> {
        let Grid { m, edge, .. } = self.grid;
        m.min(tiles.start * edge)..m.min(tiles.end * edge)
    }

    /// Rows of the matrix whose samples `rank` reads before anything is made: those that it owns, or as many as every rank.
    pub fn surveyed_rows(&self, rank: usize) -> Range<usize> {
        let Self { grid, ranks, bands } = self;
        if bands.shared_features {
            range_of(grid.n, *ranks, rank)
        } else {
            self.rows_of(self.tile_rows(rank))
        }
    }

    /// Likewise, of columns.
    pub fn surveyed_cols(&self, rank: usize) -> Range<usize> {
        let Self { grid, ranks, bands } = self;
        if bands.shared_features {
            range_of(grid.m, *ranks, rank)
        } else {
            self.cols_of(self.tile_cols(rank))
        }
    }

    /// Rows of tiles that `rank` owns.
    pub fn tile_rows(&self, rank: usize) -> Range<usize> {
        range_of(self.grid.tile_rows(), self.ranks, rank)
    }

    /// Columns of tiles that `rank` brings to the ring.
    pub fn tile_cols(&self, rank: usize) -> Range<usize> {
        range_of(self.grid.tile_cols(), self.ranks, rank)
    }

    /// Of the rows of tiles of `rank`, those of a band.
    pub fn band_rows(&self, rank: usize, band: usize) -> Range<usize> {
        part_of(self.tile_rows(rank), self.bands.rows, band)
    }

    /// Of the columns of tiles of `rank`, those of a band.
    pub fn band_cols(&self, rank: usize, band: usize) -> Range<usize> {
        let cols = self.bands.cols;
        if self.grid.symmetric {
            part_of(self.band_rows(rank, band / cols), cols, band % cols)
        } else {
            part_of(self.tile_cols(rank), cols, band)
        }
    }

    /// Ways round the ring that a band of columns goes: past its own band of rows and those before, or past all.
    pub fn ways_of(&self, cols: usize) -> usize {
        if self.grid.symmetric { cols / self.bands.cols + 1 } else { self.bands.rows }
    }

    /// Rounds of all ways round the ring, the same for all ranks.
    pub fn round_count(&self) -> usize {
        let all: usize = (0..self.col_bands()).map(|cols| self.ways_of(cols)).sum();
        let half = if self.grid.symmetric { self.col_bands() } else { 0 };
        half * (self.ranks / 2 + 1) + (all - half) * self.ranks
    }

    /// Ways among which are those with the most rounds and the most tiles of rank 0: those past its first band of rows.
    fn longest(&self) -> impl Iterator<Item = Ring> {
        (0..self.col_bands().min(self.bands.cols + 1)).map(|cols| Ring { schedule: *self, rows: 0, cols })
    }

    /// Rounds of the longest way.
    pub fn most_rounds(&self) -> usize {
        self.longest().map(|ring| ring.round_count()).max().unwrap_or(0)
    }

    /// Tiles that a rank computes at most on a way round the ring.
    pub fn most_tiles_on_a_way(&self) -> usize {
        let of_way = |ring: Ring| self.busiest().map(move |rank| ring.tile_count(rank));
        self.longest().flat_map(of_way).max().unwrap_or(0)
    }

    /// Ranks of which one has the most tiles; see [`Self::most_tiles`].
    fn busiest(&self) -> impl Iterator<Item = usize> + use<> {
        let ranks = self.ranks;
        [0, 1, ranks / 2].into_iter().filter(move |&rank| rank < ranks)
    }

    /// Tiles that `rank` computes.
    pub fn tile_count(&self, rank: usize) -> usize {
        if !self.grid.symmetric {
            return self.tile_rows(rank).len() * self.grid.tile_cols();
        }
        // in how many bands the columns of a band of rows pass makes no difference
        let coarse = Self { bands: Bands { cols: 1, ..self.bands }, ..*self };
        let mut after = 0;
        let of_band = |rows: usize| {
            let ring = Ring { schedule: coarse, rows, cols: rows };
            let count = ring.tile_count(rank) + coarse.band_rows(rank, rows).len() * after;
            after += ring.passing(0, self.ranks);
            count
        };
        (0..self.bands.rows).rev().map(of_band).sum()
    }

    /// Tiles that the busiest rank computes.
    ///
    /// Rank 0 has the most rows, and the most columns pass it in whole rounds. Only where two ranks share tiles can another rank
    /// have one more, because an odd number of them was shared: rank 1, or the one that rank 0 shares with. In bands that can happen once for
    /// each band.
    pub fn most_tiles(&self) -> usize {
        self.busiest().map(|rank| self.tile_count(rank)).max().unwrap_or(0)
    }
}

/// Part `part` of a range that is cut into so many.
fn part_of(range: Range<usize>, parts: usize, part: usize) -> Range<usize> {
    let within = range_of(range.len(), parts, part);
    range.start + within.start..range.start + within.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Tile, choose_edge};
    use std::collections::HashMap;

    /// Of samples that are in memory, and in bands: of few tiles, of one, and of none.
    fn schedules(ranks: usize) -> impl Iterator<Item = Schedule> {
        let grids = [(1, 1), (5, 5), (ranks, ranks), (ranks + 1, 2 * ranks + 3), (131, 67)];
        let bands = [(1, 1), (1, 3), (2, 1), (3, 2), (7, 5)];
        grids.into_iter().flat_map(move |(n, m)| {
            [true, false].into_iter().flat_map(move |symmetric| {
                let m = if symmetric { n } else { m };
                let schedule = Schedule::new(Grid { n, m, edge: 1, symmetric }, ranks);
                bands.map(|(rows, cols)| Schedule { bands: Bands::of_rows(rows, cols), ..schedule })
            })
        })
    }

    fn rings(ranks: usize) -> impl Iterator<Item = Ring> {
        schedules(ranks).flat_map(|schedule| schedule.rings())
    }

    /// All ways round the ring, with each rank and round.
    fn rounds(ranks: usize) -> impl Iterator<Item = (Ring, usize, usize)> {
        rings(ranks).flat_map(move |ring| {
            (0..ranks).flat_map(move |rank| (0..ring.round_count()).map(move |round| (ring, rank, round)))
        })
    }

    #[test]
    fn the_rows_of_what_is_above_the_diagonal_come_one_after_the_other() {
        for (ring, rank, round) in (1..=9).flat_map(rounds) {
            if !ring.schedule.grid.symmetric {
                continue;
            }
            let upward = |tile: Tile| if tile.i > tile.j { tile.transposed() } else { tile };
            assert!(ring.tiles(rank, round).map(upward).is_sorted(), "{rank} in {round} of {ring:?}");
        }
    }

    #[test]
    fn every_tile_comes_exactly_once_on_1_to_64_ranks() {
        for schedule in (1..=64).flat_map(schedules) {
            let mut written = HashMap::new();
            for rank in 0..schedule.ranks {
                for tile in schedule.rings().flat_map(|ring| ring.all_tiles(rank)) {
                    *written.entry(tile).or_insert(0) += 1;
                    if schedule.grid.is_mirrored(tile) {
                        *written.entry(tile.transposed()).or_insert(0) += 1;
                    }
                }
            }
            assert_eq!(written.len(), schedule.grid.tile_rows() * schedule.grid.tile_cols(), "{schedule:?}");
            assert!(written.values().all(|&times| times == 1), "{schedule:?}");
        }
    }

    #[test]
    fn outward_come_the_same_tiles_those_near_the_diagonal_first() {
        for (ring, rank, round) in (1..=16).flat_map(rounds) {
            let grid = ring.schedule.grid;
            let (height, width) = (grid.tile_rows(), grid.tile_cols());
            let outward: Vec<Tile> = ring.tiles_outward(rank, round).collect();
            let distances: Vec<usize> =
                outward.iter().map(|tile| tile.j.abs_diff(tile.i * width / height)).collect();
            assert!(distances.is_sorted(), "{ring:?}");
            let (mut sorted, mut all) = (outward, ring.tiles(rank, round).collect::<Vec<_>>());
            sorted.sort_unstable();
            all.sort_unstable();
            assert_eq!(sorted, all, "{ring:?}");
        }
    }

    #[test]
    fn tiles_are_counted_without_listing_them() {
        for ring in (1..=64).flat_map(rings) {
            for rank in 0..ring.ranks() {
                assert_eq!(ring.tile_count(rank), ring.all_tiles(rank).count(), "rank {rank}, {ring:?}");
            }
        }
    }

    #[test]
    fn what_all_ways_have_together_is_known_without_listing_them() {
        for schedule in (1..=64).flat_map(schedules) {
            let rings = || schedule.rings();
            assert_eq!(
                schedule.round_count(),
                rings().map(|ring| ring.round_count()).sum::<usize>(),
                "{schedule:?}"
            );
            assert_eq!(
                Some(schedule.most_rounds()),
                rings().map(|ring| ring.round_count()).max(),
                "{schedule:?}"
            );
            for rank in 0..schedule.ranks {
                let listed = rings().map(|ring| ring.tile_count(rank)).sum::<usize>();
                assert_eq!(schedule.tile_count(rank), listed, "rank {rank}, {schedule:?}");
            }
            let of_way = |ring: Ring| (0..schedule.ranks).map(move |rank| ring.tile_count(rank));
            let most = rings().flat_map(of_way).max().unwrap();
            assert!(most <= schedule.most_tiles_on_a_way(), "{schedule:?}");
            for cols in 0..schedule.col_bands() {
                assert_eq!(schedule.ways_of(cols), rings().filter(|ring| ring.cols == cols).count());
            }
        }
    }

    #[test]
    fn no_rank_has_more_tiles_than_the_busiest() {
        for ranks in 1..=64 {
            for edges in 1..=4 * ranks + 1 {
                for symmetric in [true, false] {
                    let grid = Grid { n: edges, m: edges, edge: 1, symmetric };
                    let schedule = Schedule::new(grid, ranks);
                    let most = (0..ranks).map(|rank| schedule.tile_count(rank)).max();
                    assert_eq!(Some(schedule.most_tiles()), most, "{schedule:?}");
                }
            }
        }
    }

    #[test]
    fn in_bands_no_rank_has_many_more_tiles_than_the_busiest() {
        for schedule in (1..=64).flat_map(schedules) {
            let most = (0..schedule.ranks).map(|rank| schedule.tile_count(rank)).max().unwrap();
            assert!(most <= schedule.most_tiles() + schedule.col_bands(), "{schedule:?}");
        }
    }

    #[test]
    fn rank_0_has_the_largest_bands() {
        for schedule in (1..=16).flat_map(schedules) {
            let most = (schedule.band_rows(0, 0).len(), schedule.band_cols(0, 0).len());
            for ring in schedule.rings() {
                for rank in 0..schedule.ranks {
                    let (rows, cols) = (ring.tile_rows(rank).len(), ring.tile_cols(rank).len());
                    assert!(rows <= most.0 && cols <= most.1, "{ring:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_rank_holds_is_what_its_neighbour_held() {
        for (ring, rank, round) in (1..=64).flat_map(rounds) {
            assert_eq!(ring.receive_from(ring.send_to(rank)), rank);
            assert_eq!(ring.source(rank, 0), rank);
            if round > 0 {
                let (neighbour, owner) = (ring.receive_from(rank), ring.source(rank, round));
                assert_eq!((ring.round_of(rank, owner), ring.holder(owner, round)), (round, rank));
                assert_eq!(ring.source(rank, round), ring.source(neighbour, round - 1));
            }
        }
    }

    #[test]
    fn tiles_lie_in_the_own_rows_and_the_moving_columns() {
        for (ring, rank, round) in (1..=16).flat_map(rounds) {
            let cols = ring.tile_cols(ring.source(rank, round));
            for tile in ring.tiles(rank, round) {
                assert!(ring.tile_rows(rank).contains(&tile.i) && cols.contains(&tile.j));
            }
        }
    }

    #[test]
    fn work_is_balanced_up_to_10_000_ranks_and_10_million_samples() {
        for ranks in [1, 2, 3, 7, 16, 63, 100, 512, 999, 1000, 4096, 10_000] {
            for n in [10_000, 30_011, 100_000, 1_000_000, 9_999_991, 10_000_000] {
                let cases = [(true, 4), (true, 8), (false, 4), (false, 8)].into_iter();
                for ((symmetric, bytes), threads) in
                    cases.flat_map(|case| [1, 16].map(|threads| (case, threads)))
                {
                    let edge = choose_edge(n, n, ranks, ranks * threads, bytes);
                    let grid = Grid { n, m: n, edge, symmetric };
                    let schedule = Schedule::new(grid, ranks);
                    let counts: Vec<_> = (0..ranks).map(|rank| schedule.tile_count(rank)).collect();
                    let (most, mean) =
                        (*counts.iter().max().unwrap(), counts.iter().sum::<usize>() as f64 / ranks as f64);
                    let ratio = most as f64 / mean;
                    // with fewer samples a rank, one more is much
                    let is_small = mean < 100.0 || n < 100 * ranks;
                    assert!(is_small || ratio < 1.05, "{ranks} ranks, {n} samples, {grid:?}: {ratio}");
                }
            }
        }
    }

    #[test]
    fn work_is_balanced_where_rows_divide() {
        for ranks in 1..=64 {
            let grid = Grid { n: 8 * ranks, m: 8 * ranks, edge: 1, symmetric: true };
            let schedule = Schedule::new(grid, ranks);
            let counts: Vec<_> = (0..ranks).map(|rank| schedule.tile_count(rank)).collect();
            assert_eq!(counts.iter().min(), counts.iter().max());
        }
    }
}
