//! One way of the column blocks round the ring.
//!
//! Every rank has a stationary block, rows of tiles. The column blocks move round the ring: in
//! round s, rank p holds the block of rank p + s, received from rank p + 1 and sent on to rank p − 1. With
//! two inputs, and where rows and columns are different bands of one, all blocks pass every rank. Else the matrix is symmetric and half the
//! ring is walked: each unordered pair of tiles is computed once, and with an even number of ranks the two that meet in the
//! last round share their tiles like the colours of a chessboard.

use std::ops::Range;

use super::Schedule;
use crate::partition::Tile;

/// One band of rows, and one of columns that passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// What it is a part of.
    pub schedule: Schedule,
    /// Which band of rows.
    pub rows: usize,
    /// Which band of columns.
    pub cols: usize,
}

impl Ring {
    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.schedule.ranks
    }

    /// Whether the columns are among the rows, so that half the ring is enough.
    pub fn is_half(&self) -> bool {
        self.schedule.grid.symmetric && self.cols / self.schedule.bands.cols == self.rows
    }

    /// Rows of tiles in the stationary block of `rank`.
    pub fn tile_rows(&self, rank: usize) -> Range<usize> {
        self.schedule.band_rows(rank, self.rows)
    }

    /// Columns of tiles in the block that `rank` brings to the ring.
    pub fn tile_cols(&self, rank: usize) -> Range<usize> {
        self.schedule.band_cols(rank, self.cols)
    }

    /// Rounds, the same for all ranks.
    pub fn round_count(&self) -> usize {
        if self.is_half() { self.ranks() / 2 + 1 } else { self.ranks() }
    }

    /// Whose column block `rank` holds in a round.
    pub fn source(&self, rank: usize, round: usize) -> usize {
        (rank + round) % self.ranks()
    }

    /// The round in which `rank` holds the column block of `owner`.
    pub fn round_of(&self, rank: usize, owner: usize) -> usize {
        (owner + self.ranks() - rank) % self.ranks()
    }

    /// The rank that holds the block of `rank` in a round.
    pub fn holder(&self, rank: usize, round: usize) -> usize {
        (rank + self.ranks() - round) % self.ranks()
    }

    /// The rank that gets this rank's block for the next round.
    pub fn send_to(&self, rank: usize) -> usize {
        (rank + self.ranks() - 1) % self.ranks()
    }

    /// The rank whose block this rank gets for the next round.
    pub fn receive_from(&self, rank: usize) -> usize {
        (rank + 1) % self.ranks()
    }

    /// All tiles that `rank` computes, round by round.
    pub fn all_tiles(&self, rank: usize) -> impl Iterator<Item = Tile> + use<> {
        let ring = *self;
        (0..self.round_count()).flat_map(move |round| ring.tiles(rank, round))
    }

    /// Tiles that `rank` computes in `round`, row by row; below the diagonal of a symmetric matrix column by column, which are the rows of
    /// their mirror images.
    pub fn tiles(&self, rank: usize, round: usize) -> impl Iterator<Item = Tile> + use<> {
        let source = self.source(rank, round);
        let (rows, cols) = (self.tile_rows(rank), self.tile_cols(source));
        let is_below = self.schedule.grid.symmetric && source < rank;
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
        let grid = self.schedule.grid;
        let (height, width) = (grid.tile_rows(), grid.tile_cols());
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
        let own = self.is_half() && round == 0;
        let shared = self.is_half() && round > 0 && 2 * round == self.ranks();
        let parity = usize::from(rank > source);
        move |tile| (!own || tile.i <= tile.j) && (!shared || (tile.i + tile.j) % 2 == parity)
    }

    /// Tiles that `rank` computes in all rounds.
    pub fn tile_count(&self, rank: usize) -> usize {
        let rows = self.tile_rows(rank);
        if !self.is_half() {
            return rows.len() * self.passing(0, self.ranks());
        }
        // of each column, from the first row to the diagonal
        let cols = self.tile_cols(rank);
        let before = |end: usize| (end - rows.start) * (end - rows.start + 1) / 2;
        let own = if cols.is_empty() { 0 } else { before(cols.end) - before(cols.start) };
        let whole_rounds = (self.ranks() - 1) / 2;
        let whole = rows.len() * self.passing(rank + 1, whole_rounds);
        let last = self.ranks() / 2;
        let shared = if last > whole_rounds { self.shared_count(rank, last) } else { 0 };
        own + whole + shared
    }

    /// Columns of tiles that so many ranks bring, from `first` on, going round the ring a second time. Ranks have a tile more or not, the
    /// first of them one more: so two lengths are all that there are.
    pub(super) fn passing(&self, first: usize, count: usize) -> usize {
        let ranks = self.ranks();
        let longer = self.schedule.grid.tile_cols() % ranks;
        let below = |end: usize| end / ranks * longer + (end % ranks).min(longer);
        let long = below(first + count) - below(first);
        long * self.tile_cols(0).len() + (count - long) * self.tile_cols(ranks - 1).len()
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
