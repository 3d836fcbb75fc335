//! Where the distances above the diagonal of a matrix stand, row by row: that of samples i < j at i·n − i(i + 1)/2 + j − i − 1.

use std::ops::Range;

/// Distances of so many samples.
pub fn len(n: usize) -> usize {
    n * n.saturating_sub(1) / 2
}

/// Where the distances of a row begin.
fn first_of(n: usize, row: usize) -> usize {
    row * n - row * (row + 1) / 2
}

/// Where the distance of two samples stands.
///
/// # Panics
/// Unless `row < col`.
pub fn place_of(n: usize, row: usize, col: usize) -> usize {
    assert!(row < col, "({row}, {col}) is not above the diagonal");
    first_of(n, row) + col - row - 1
}

/// The two samples whose distance stands there.
pub fn pair_at(n: usize, place: usize) -> (usize, usize) {
    // the last row that begins there or before
    let (mut row, mut end) = (0, n - 1);
    while end - row > 1 {
        let middle = row.midpoint(end);
        if first_of(n, middle) <= place { row = middle } else { end = middle }
    }
    (row, place - first_of(n, row) + row + 1)
}

/// The columns above the diagonal that a row has in a tile.
pub fn above(row: usize, cols: &Range<usize>) -> Range<usize> {
    cols.start.max(row + 1).min(cols.end)..cols.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_row_by_row() {
        for n in 2..30 {
            let pairs = (0..n).flat_map(|row| (row + 1..n).map(move |col| (row, col)));
            for (place, (row, col)) in pairs.enumerate() {
                assert_eq!(place_of(n, row, col), place);
                assert_eq!(pair_at(n, place), (row, col));
            }
            assert_eq!(len(n), place_of(n, n - 2, n - 1) + 1);
        }
        assert_eq!([0, 1].map(len), [0, 0]);
        let n = 1 << 31;
        assert_eq!(pair_at(n, len(n) - 1), (n - 2, n - 1));
    }

    #[test]
    fn rows_of_a_tile_begin_after_the_diagonal() {
        assert_eq!(above(3, &(8..12)), 8..12);
        assert_eq!(above(9, &(8..12)), 10..12);
        assert!(above(11, &(8..12)).is_empty() && above(20, &(8..12)).is_empty());
    }
}
