//! Which rank computes which tiles in which round.
//!
//! Every rank owns contiguous rows of tiles, its stationary block. The column blocks move round the ring: in
//! round s, rank p holds the block of rank p + s, received from rank p + 1 and sent on to rank p − 1. With
//! two inputs all blocks pass every rank. With one input the matrix is symmetric and half the ring is walked: each
//! unordered pair of tiles is computed once, and with an even number of ranks the two that meet in the
//! last round share their tiles like the colours of a chessboard.
//!
//! Integer arithmetic only.

use std::ops::Range;

use crate::partition::{Grid, Tile, range_of};

/// The distribution of a grid of tiles over ranks and rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The tiles.
    pub grid: Grid,
    /// Number of ranks.
    pub ranks: usize,
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
    /// The share of `rank`.
    pub fn share(&self, rank: usize) -> Share {
        let Self { grid, ranks } = *self;
        let foreign = if grid.symmetric && ranks > 1 { self.rows_of(self.tile_rows(0)).len() } else { 0 };
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

    /// Rows of tiles that `rank` owns.
    pub fn tile_rows(&self, rank: usize) -> Range<usize> {
        range_of(self.grid.tile_rows(), self.ranks, rank)
    }

    /// Columns of tiles in the block that `rank` brings to the ring.
    pub fn tile_cols(&self, rank: usize) -> Range<usize> {
        range_of(self.grid.tile_cols(), self.ranks, rank)
    }

    /// Rounds, the same for all ranks.
    pub fn round_count(&self) -> usize {
        if self.grid.symmetric { self.ranks / 2 + 1 } else { self.ranks }
    }

    /// Whose column block `rank` holds in a round.
    pub fn source(&self, rank: usize, round: usize) -> usize {
        (rank + round) % self.ranks
    }

    /// The round in which `rank` holds the column block of `owner`.
    pub fn round_of(&self, rank: usize, owner: usize) -> usize {
        (owner + self.ranks - rank) % self.ranks
    }

    /// The rank that holds the block of `rank` in a round.
    pub fn holder(&self, rank: usize, round: usize) -> usize {
        (rank + self.ranks - round) % self.ranks
    }

    /// The rank that gets this rank's block for the next round.
    pub fn send_to(&self, rank: usize) -> usize {
        (rank + self.ranks - 1) % self.ranks
    }

    /// The rank whose block this rank gets for the next round.
    pub fn receive_from(&self, rank: usize) -> usize {
        (rank + 1) % self.ranks
    }

    /// Tiles that `rank` computes in `round`, row by row; below the diagonal of a symmetric matrix column by column, which are the rows of
    /// their mirror images.
    pub fn tiles(&self, rank: usize, round: usize) -> impl Iterator<Item = Tile> + use<> {
        let source = self.source(rank, round);
        let (rows, cols) = (self.tile_rows(rank), self.tile_cols(source));
        let is_below = self.grid.symmetric && source < rank;
        let (outer, inner) = if is_below { (cols, rows) } else { (rows, cols) };
        let tiles = outer.flat_map(move |a| {
            inner.clone().map(move |b| if is_below { Tile { i: b, j: a } } else { Tile { i: a, j: b } })
        });
        tiles.filter(self.is_of(rank, round))
    }

    /// Tiles that `rank` computes in `round`, from the diagonal of the matrix outward: neighbours of samples in the order of time, or
    /// sorted, lie near it.
    pub fn tiles_outward(&self, rank: usize, round: usize) -> impl Iterator<Item = Tile> + use<> {
        let (rows, cols) = (self.tile_rows(rank), self.tile_cols(self.source(rank, round)));
        let (height, width) = (self.grid.tile_rows(), self.grid.tile_cols());
        let middle = move |i: usize| i * width / height;
        // how far right of the diagonal, or left of it
        let right = 0..(cols.end + 1).saturating_sub(middle(rows.start));
        let left = 0..(middle(rows.end) + 1).saturating_sub(cols.start);
        let tiles = (0..right.end.max(left.end)).flat_map(move |distance| {
            let (rows, cols) = (rows.clone(), cols.clone());
            rows.flat_map(move |i| {
                let before = (distance > 0).then(|| middle(i).checked_sub(distance)).flatten();
                [before, Some(middle(i) + distance)].into_iter().flatten().map(move |j| Tile { i, j })
            })
            .filter(move |tile| cols.contains(&tile.j))
        });
        tiles.filter(self.is_of(rank, round))
    }

    /// Of the tiles of a rank's rows and of the columns that it has in a round, those that it computes.
    fn is_of(&self, rank: usize, round: usize) -> impl Fn(&Tile) -> bool + use<> {
        let source = self.source(rank, round);
        let own = self.grid.symmetric && round == 0;
        let shared = self.grid.symmetric && round > 0 && 2 * round == self.ranks;
        let parity = usize::from(rank > source);
        move |tile| (!own || tile.i <= tile.j) && (!shared || (tile.i + tile.j) % 2 == parity)
    }

    /// Tiles that `rank` computes in all rounds.
    pub fn tile_count(&self, rank: usize) -> usize {
        let (rows, total) = (self.tile_rows(rank), self.grid.tile_cols());
        if !self.grid.symmetric {
            return rows.len() * total;
        }
        let own = rows.len() * (rows.len() + 1) / 2;
        // where the columns of a rank begin, going round the ring a second time
        let start = |rank: usize| match rank.checked_sub(self.ranks) {
            None => self.tile_cols(rank).start,
            Some(again) => total + range_of(total, self.ranks, again).start,
        };
        let whole_rounds = (self.ranks - 1) / 2;
        let whole = rows.len() * (start(rank + 1 + whole_rounds) - start(rank + 1));
        let last = self.ranks / 2;
        let shared = if last > whole_rounds { self.shared_count(rank, last) } else { 0 };
        own + whole + shared
    }

    /// Tiles that the busiest rank computes.
    ///
    /// Rank 0 has the most rows, and the most columns pass it in whole rounds. Only where two ranks share tiles can another rank
    /// have one more, because an odd number of them was shared: rank 1, or the one that rank 0 shares with.
    pub fn most_tiles(&self) -> usize {
        let candidates = [0, 1, self.ranks / 2].into_iter().filter(|&rank| rank < self.ranks);
        candidates.map(|rank| self.tile_count(rank)).max().unwrap_or(0)
    }

    /// Tiles of the chessboard that `rank` computes in the round in which two ranks share theirs.
    fn shared_count(&self, rank: usize, round: usize) -> usize {
        let source = self.source(rank, round);
        let even = |range: &Range<usize>| range.end.div_ceil(2) - range.start.div_ceil(2);
        let (rows, cols) = (self.tile_rows(rank), self.tile_cols(source));
        let equal = even(&rows) * even(&cols) + (rows.len() - even(&rows)) * (cols.len() - even(&cols));
        if rank > source { rows.len() * cols.len() - equal } else { equal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::choose_edge;
    use std::collections::HashMap;

    fn schedules(ranks: usize) -> impl Iterator<Item = Schedule> {
        let grids = [(1, 1), (5, 5), (ranks, ranks), (ranks + 1, 2 * ranks + 3), (131, 67)];
        grids.into_iter().flat_map(move |(n, m)| {
            [true, false].map(|symmetric| {
                let m = if symmetric { n } else { m };
                Schedule { grid: Grid { n, m, edge: 1, symmetric }, ranks }
            })
        })
    }

    #[test]
    fn the_rows_of_what_is_above_the_diagonal_come_one_after_the_other() {
        for schedule in (1..=9).flat_map(schedules).filter(|schedule| schedule.grid.symmetric) {
            for (rank, round) in (0..schedule.ranks)
                .flat_map(|rank| (0..schedule.round_count()).map(move |round| (rank, round)))
            {
                let upward = |tile: Tile| if tile.i > tile.j { tile.transposed() } else { tile };
                assert!(
                    schedule.tiles(rank, round).map(upward).is_sorted(),
                    "{rank} in {round} of {schedule:?}"
                );
            }
        }
    }

    #[test]
    fn every_tile_comes_exactly_once_on_1_to_64_ranks() {
        for schedule in (1..=64).flat_map(schedules) {
            let mut written = HashMap::new();
            for rank in 0..schedule.ranks {
                for tile in (0..schedule.round_count()).flat_map(|round| schedule.tiles(rank, round)) {
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
        for schedule in (1..=16).flat_map(schedules) {
            let (height, width) = (schedule.grid.tile_rows(), schedule.grid.tile_cols());
            for (rank, round) in (0..schedule.ranks)
                .flat_map(|rank| (0..schedule.round_count()).map(move |round| (rank, round)))
            {
                let outward: Vec<Tile> = schedule.tiles_outward(rank, round).collect();
                let distances: Vec<usize> =
                    outward.iter().map(|tile| tile.j.abs_diff(tile.i * width / height)).collect();
                assert!(distances.is_sorted(), "{schedule:?}");
                let (mut sorted, mut all) = (outward, schedule.tiles(rank, round).collect::<Vec<_>>());
                sorted.sort_unstable();
                all.sort_unstable();
                assert_eq!(sorted, all, "{schedule:?}");
            }
        }
    }

    #[test]
    fn tiles_are_counted_without_listing_them() {
        for schedule in (1..=64).flat_map(schedules) {
            for rank in 0..schedule.ranks {
                let listed: usize =
                    (0..schedule.round_count()).map(|round| schedule.tiles(rank, round).count()).sum();
                assert_eq!(schedule.tile_count(rank), listed, "rank {rank}, {schedule:?}");
            }
        }
    }

    #[test]
    fn no_rank_has_more_tiles_than_the_busiest() {
        for ranks in 1..=64 {
            for edges in 1..=4 * ranks + 1 {
                for symmetric in [true, false] {
                    let grid = Grid { n: edges, m: edges, edge: 1, symmetric };
                    let schedule = Schedule { grid, ranks };
                    let most = (0..ranks).map(|rank| schedule.tile_count(rank)).max();
                    assert_eq!(Some(schedule.most_tiles()), most, "{schedule:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_rank_holds_is_what_its_neighbour_held() {
        for schedule in (1..=64).flat_map(schedules) {
            for rank in 0..schedule.ranks {
                assert_eq!(schedule.receive_from(schedule.send_to(rank)), rank);
                assert_eq!(schedule.source(rank, 0), rank);
                for round in 1..schedule.round_count() {
                    let (neighbour, owner) = (schedule.receive_from(rank), schedule.source(rank, round));
                    assert_eq!(
                        (schedule.round_of(rank, owner), schedule.holder(owner, round)),
                        (round, rank)
                    );
                    assert_eq!(schedule.source(rank, round), schedule.source(neighbour, round - 1));
                }
            }
        }
    }

    #[test]
    fn tiles_lie_in_the_own_rows_and_the_moving_columns() {
        for schedule in (1..=16).flat_map(schedules) {
            for rank in 0..schedule.ranks {
                for round in 0..schedule.round_count() {
                    let cols = schedule.tile_cols(schedule.source(rank, round));
                    for tile in schedule.tiles(rank, round) {
                        assert!(schedule.tile_rows(rank).contains(&tile.i) && cols.contains(&tile.j));
                    }
                }
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
                    let schedule = Schedule { grid, ranks };
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
            let schedule = Schedule { grid, ranks };
            let counts: Vec<_> = (0..ranks).map(|rank| schedule.tile_count(rank)).collect();
            assert_eq!(counts.iter().min(), counts.iter().max());
        }
    }
}
