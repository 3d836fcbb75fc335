//! Cuts the matrix into square tiles, and the tiles into a contiguous part for each rank.
//!
//! Integer arithmetic only: no MPI, no HDF5, no floats but in the choice of the tile.

use std::ops::Range;

/// Part `part` of `0..total` cut into `parts` contiguous ranges whose lengths differ by at most one,
/// longer ones first.
///
/// # Panics
/// If `part` is not below `parts`.
pub fn range_of(total: usize, parts: usize, part: usize) -> Range<usize> {
    assert!(part < parts, "part {part} of {parts}");
    let (quotient, remainder) = (total / parts, total % parts);
    let start = part * quotient + part.min(remainder);
    start..start + quotient + usize::from(part < remainder)
}

/// A number that was sent or stored as a word.
///
/// # Panics
/// If a `usize` has fewer bits.
pub fn from_word(word: u64) -> usize {
    usize::try_from(word).expect("it was a usize")
}

/// Least common multiple.
pub fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// The n × m matrix as a grid of square tiles; the last tile of a row or column may be shorter. Of a symmetric matrix a tile stands for
/// its mirror image too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows of the matrix: samples of X.
    pub n: usize,
    /// Columns of the matrix: samples of Y.
    pub m: usize,
    /// Edge of a tile.
    pub edge: usize,
    /// One input: X and Y are the same samples.
    pub symmetric: bool,
}

/// A tile of the grid, by its row and column there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Row in the grid.
    pub i: usize,
    /// Column in the grid.
    pub j: usize,
}

impl Tile {
    /// The tile across the diagonal.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { i: self.j, j: self.i }
    }
}

impl Grid {
    /// Rows of tiles.
    pub fn tile_rows(&self) -> usize {
        self.n.div_ceil(self.edge)
    }

    /// Columns of tiles.
    pub fn tile_cols(&self) -> usize {
        self.m.div_ceil(self.edge)
    }

    /// Rows and columns of the largest tile.
    pub fn tile_shape(&self) -> (usize, usize) {
        (self.edge.min(self.n), self.edge.min(self.m))
    }

    /// Distances of a tile.
    pub fn pairs(&self, tile: Tile) -> usize {
        self.rows(tile.i).len() * self.cols(tile.j).len()
    }

    /// Whether a tile stands for a mirror image that is another tile.
    pub fn is_mirrored(&self, tile: Tile) -> bool {
        self.symmetric && tile.i != tile.j
    }

    /// Matrix rows in row `i` of tiles.
    pub fn rows(&self, i: usize) -> Range<usize> {
        i * self.edge..self.n.min((i + 1) * self.edge)
    }

    /// Matrix columns in column `j` of tiles.
    pub fn cols(&self, j: usize) -> Range<usize> {
        j * self.edge..self.m.min((j + 1) * self.edge)
    }
}

/// Some of the tiles of a grid; of a symmetric matrix, a tile and its mirror image are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileSet {
    cols: usize,
    symmetric: bool,
    words: Vec<u64>,
}

impl TileSet {
    /// No tiles of this grid.
    pub fn empty(grid: &Grid) -> Self {
        Self { cols: grid.tile_cols(), symmetric: grid.symmetric, words: Vec::new() }
    }

    fn place(&self, tile: Tile) -> (usize, u64) {
        let tile = if self.symmetric && tile.i > tile.j { tile.transposed() } else { tile };
        let place = tile.i * self.cols + tile.j;
        (place / 64, 1 << (place % 64))
    }

    /// Whether the tile is one of them.
    pub fn contains(&self, tile: Tile) -> bool {
        let (word, bit) = self.place(tile);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds a tile.
    pub fn insert(&mut self, tile: Tile) {
        let (word, bit) = self.place(tile);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Adds the tiles of another set.
    pub fn unite(&mut self, other: &Self) {
        self.words.resize(self.words.len().max(other.words.len()), 0);
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Leaves out the tiles for which `is_kept` is false.
    pub fn retain(&mut self, is_kept: impl Fn(Tile) -> bool) {
        let cols = self.cols;
        for (number, word) in self.words.iter_mut().enumerate() {
            for bit in 0..64 {
                let place = 64 * number + bit;
                if *word & 1 << bit != 0 && !is_kept(Tile { i: place / cols, j: place % cols }) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        self.words.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tiles as bits, up to `len` words: to be united with those of other ranks.
    pub fn bits(&mut self, len: usize) -> &mut Vec<u64> {
        self.words.resize(len, 0);
        &mut self.words
    }

    /// Words that hold all tiles of a grid.
    pub fn words(grid: &Grid) -> usize {
        (grid.tile_rows() * grid.tile_cols()).div_ceil(64)
    }
}

/// Smallest and largest size of a tile, in bytes, that [`choose_edge`] aims at.
const TILE_BYTES: Range<f64> = 1_048_576.0..16_777_216.0;

/// Tiles that [`choose_edge`] aims at, so that ranks get equal work.
const TILES: f64 = 4096.0;

/// Tiles for each thread. With one input only half of them are computed; with those 8, threads that get one more than others keep
/// these waiting for a ninth of the time at most.
const TILES_PER_THREAD: f64 = 16.0;

/// No tile is made smaller than this for the sake of more tiles.
const EDGE_MIN: usize = 16;

/// An edge for the tiles of an n × m matrix on so many ranks, which have so many threads together.
///
/// It lies near the one that gives `TILES` tiles, or `TILES_PER_THREAD`, of `TILE_BYTES`, small enough that each rank has a row of tiles.
/// Among the edges near that, the one that leaves the least: ranks with more rows than others, a short last tile (which
/// is written row by row), edges that are no multiple of 16 elements (a cache line and more).
pub fn choose_edge(n: usize, m: usize, ranks: usize, threads: usize, element_bytes: usize) -> usize {
    let edge_of = |bytes: f64| (bytes / element_bytes as f64).sqrt();
    let tiles = TILES.max(TILES_PER_THREAD * threads as f64);
    let wanted =
        (n as f64 * m as f64 / tiles).sqrt().clamp(edge_of(TILE_BYTES.start), edge_of(TILE_BYTES.end));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 4096")]
    let wanted = (wanted as usize).min(n.div_ceil(ranks).max(EDGE_MIN)).min(n.max(m));
    let cost = |edge: usize| {
        let grid = Grid { n, m, edge, symmetric: false };
        let rows_of_first = (grid.tile_rows().div_ceil(ranks) * edge).min(n);
        let imbalance = (rows_of_first * ranks) as f64 / n as f64 - 1.0;
        let ragged = usize::from(!n.is_multiple_of(edge)) + usize::from(!m.is_multiple_of(edge));
        let unaligned = usize::from(!edge.is_multiple_of(16));
        let distance = edge.abs_diff(wanted) as f64 / wanted as f64;
        // twice, as rows more come with columns more where the matrix is symmetric
        2.0 * imbalance + 0.01 * ragged as f64 + 0.01 * unaligned as f64 + 0.1 * distance
    };
    // down to the half, where some edge gives every rank the same rows
    let near = (wanted / 2).max(EDGE_MIN.min(wanted)).max(1)..=(wanted * 5 / 4).min(n.max(m));
    near.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_contiguous_and_differ_by_one_at_most() {
        for total in 0..70 {
            for parts in 1..20 {
                let ranges: Vec<_> = (0..parts).map(|part| range_of(total, parts, part)).collect();
                assert_eq!(ranges[0].start, 0);
                assert_eq!(ranges[parts - 1].end, total);
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                let lengths = ranges.iter().map(Range::len);
                assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn the_last_tile_is_shorter() {
        let grid = Grid { n: 10, m: 4, edge: 4, symmetric: false };
        assert_eq!((grid.tile_rows(), grid.tile_cols()), (3, 1));
        assert_eq!((grid.rows(2), grid.cols(0)), (8..10, 0..4));
    }

    #[test]
    fn a_set_of_tiles_knows_mirror_images() {
        for symmetric in [false, true] {
            let mut set = TileSet::empty(&Grid { n: 100, m: 100, edge: 10, symmetric });
            set.insert(Tile { i: 7, j: 2 });
            set.insert(Tile { i: 9, j: 9 });
            assert!(set.contains(Tile { i: 7, j: 2 }) && set.contains(Tile { i: 9, j: 9 }));
            assert_eq!(set.contains(Tile { i: 2, j: 7 }), symmetric);
            assert_eq!(set.len(), 2);
        }
    }

    #[test]
    fn a_chosen_edge_gives_every_rank_rows_and_divides_where_it_can() {
        assert_eq!(12_000 % choose_edge(12_000, 12_000, 2, 2, 8), 0);
        assert_eq!(16_384 % choose_edge(16_384, 16_384, 4, 8, 4), 0);
        for (n, m, ranks) in [(1, 1, 1), (5, 5, 8), (997, 1013, 3), (1797, 1797, 2), (1_000_000, 10, 64)] {
            let edge = choose_edge(n, m, ranks, 2 * ranks, 4);
            assert!(edge >= 1 && edge <= n.max(m), "{edge} for {n} x {m} on {ranks}");
        }
        let grid = Grid {
            n: 100_000,
            m: 100_000,
            edge: choose_edge(100_000, 100_000, 100, 100, 4),
            symmetric: false,
        };
        assert_eq!(grid.tile_rows() % 100, 0, "{grid:?}");
    }

    #[test]
    fn threads_get_tiles_enough_to_be_busy_together() {
        // 8 nodes of 8 ranks of 16 threads; tiles of a rank with one input
        let tiles = |threads| {
            let edge = choose_edge(48_000, 48_000, 64, threads, 8);
            let rows = 48_000_usize.div_ceil(edge);
            rows * rows / 2 / 64
        };
        assert!(tiles(64) < 4 * 16 && tiles(64 * 16) >= 8 * 16, "{} and {}", tiles(64), tiles(64 * 16));
        // no tile is smaller for it than others are
        let edge = choose_edge(12_000, 12_000, 64, 64 * 1000, 8);
        assert!(edge * edge * 8 >= 250_000, "{edge}");
    }
}
