//! The mirror image of a tile.
//!
//! Squares of one vector's length are transposed in registers where the machine has AVX2; elsewhere element by element.

use std::ops::Range;

use super::{Level, SimdElement};

/// Bytes of a cache line: squares of such an edge are transposed.
pub(super) const LINE_BYTES: usize = 64;

/// Transposes an m × n matrix, whose rows are so many elements apart, to n rows of m elements, which are as many apart as is given
/// with them.
///
/// # Panics
/// If a slice is shorter than that.
pub fn transpose<T: SimdElement>(
    level: Level,
    (m, n): (usize, usize),
    from: (&[T], usize),
    to: (&mut [T], usize),
) {
    let needed = |rows: usize, len: usize, ld: usize| if rows == 0 { 0 } else { (rows - 1) * ld + len };
    let is_whole = from.0.len() >= needed(m, n, from.1) && to.0.len() >= needed(n, m, to.1);
    assert!(is_whole, "{m} x {n}, rows {} and {} apart", from.1, to.1);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = avx2(level) {
        return pulp::Simd::vectorize(simd, Avx2 { simd, m, n, from, to });
    }
    let _ = level;
    transpose_plain((m, n), from, to);
}

/// Likewise, of any elements, without vectors.
pub fn transpose_plain<T: Copy>(
    (m, n): (usize, usize),
    (from, from_ld): (&[T], usize),
    (to, to_ld): (&mut [T], usize),
) {
    let square = LINE_BYTES / size_of::<T>();
    for i in (0..m).step_by(square) {
        for j in (0..n).step_by(square) {
            scalar(i..m.min(i + square), j..n.min(j + square), (from, from_ld), (&mut *to, to_ld));
        }
    }
}

/// Element by element, a part of the matrix.
#[inline(always)]
fn scalar<T: Copy>(
    rows: Range<usize>,
    cols: Range<usize>,
    (from, from_ld): (&[T], usize),
    (to, to_ld): (&mut [T], usize),
) {
    for j in cols {
        for i in rows.clone() {
            to[j * to_ld + i] = from[i * from_ld + j];
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn avx2(level: Level) -> Option<pulp::x86::V3> {
    matches!(level, Level::Avx2 | Level::Avx512).then(pulp::x86::V3::try_new).flatten()
}

#[cfg(target_arch = "x86_64")]
struct Avx2<'a, T> {
    simd: pulp::x86::V3,
    m: usize,
    n: usize,
    from: (&'a [T], usize),
    to: (&'a mut [T], usize),
}

#[cfg(target_arch = "x86_64")]
impl<T: SimdElement> pulp::WithSimd for Avx2<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { simd, m, n, from: (from, from_ld), to: (to, to_ld) } = self;
        let square = LINE_BYTES / size_of::<T>();
        let lanes = square / 2;
        let (whole_m, whole_n) = (m / lanes * lanes, n / square * square);
        for j in (0..whole_n).step_by(square) {
            for i in (0..whole_m).step_by(lanes) {
                // two squares of one vector's length
                for c in [0, lanes] {
                    let (at, into) = (i * from_ld + j + c, (j + c) * to_ld + i);
                    T::transpose_square(simd, &from[at..], from_ld, &mut to[into..], to_ld);
                }
            }
            // while the lines that were written are still in a cache
            scalar(whole_m..m, j..j + square, (from, from_ld), (&mut *to, to_ld));
        }
        scalar(0..m, whole_n..n, (from, from_ld), (to, to_ld));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: SimdElement>() {
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            for (m, n) in [(1, 1), (3, 40), (17, 16), (16, 16), (33, 35), (64, 48)] {
                let [from_ld, to_ld] = [n + 2, m + 3];
                let from: Vec<T> = (0..m * from_ld).map(|value| T::from_f64(value as f64)).collect();
                let mut to = vec![T::default(); to_ld * n];
                transpose(level, (m, n), (&from, from_ld), (&mut to, to_ld));
                let is_there = |at: usize| {
                    let (i, j) = (at / n, at % n);
                    to[j * to_ld + i] == from[i * from_ld + j]
                };
                assert!((0..m * n).all(is_there), "{m} x {n}");
                // nothing else is written
                assert!(to.chunks(to_ld).all(|row| row[m..] == [T::default(); 3]), "{m} x {n}");
            }
        }
    }

    #[test]
    fn transposing_moves_every_element() {
        check::<f32>();
        check::<f64>();
    }
}
