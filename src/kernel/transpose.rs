//! The mirror image of a tile.
//!
//! Squares of one vector's length are transposed in registers where the machine has AVX2; elsewhere element by element.

use super::{Level, SimdElement};

/// Bytes of a cache line: squares of such an edge are transposed.
pub(super) const LINE_BYTES: usize = 64;

/// Transposes the m × n matrix `from`, row-major, to n rows of m elements, `ld` elements apart in `to`.
///
/// # Panics
/// If a slice is shorter than that.
pub fn transpose<T: SimdElement>(level: Level, from: &[T], m: usize, n: usize, to: &mut [T], ld: usize) {
    assert!(from.len() >= m * n && (n == 0 || to.len() >= (n - 1) * ld + m), "{m} x {n}, rows {ld} apart");
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = avx2(level) {
        return pulp::Simd::vectorize(simd, Avx2 { simd, from, m, n, to, ld });
    }
    let _ = level;
    transpose_plain(from, m, n, to, ld);
}

/// Likewise, of any elements, without vectors.
pub fn transpose_plain<T: Copy>(from: &[T], m: usize, n: usize, to: &mut [T], ld: usize) {
    let square = LINE_BYTES / size_of::<T>();
    for i in (0..m).step_by(square) {
        for j in (0..n).step_by(square) {
            scalar(from, i..m.min(i + square), j..n.min(j + square), n, to, ld);
        }
    }
}

/// Element by element, a part of the matrix.
#[inline(always)]
fn scalar<T: Copy>(
    from: &[T],
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    n: usize,
    to: &mut [T],
    ld: usize,
) {
    for j in cols {
        for i in rows.clone() {
            to[j * ld + i] = from[i * n + j];
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
    from: &'a [T],
    m: usize,
    n: usize,
    to: &'a mut [T],
    ld: usize,
}

#[cfg(target_arch = "x86_64")]
impl<T: SimdElement> pulp::WithSimd for Avx2<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { simd, from, m, n, to, ld } = self;
        let square = LINE_BYTES / size_of::<T>();
        let lanes = square / 2;
        let (whole_m, whole_n) = (m / lanes * lanes, n / square * square);
        for j in (0..whole_n).step_by(square) {
            for i in (0..whole_m).step_by(lanes) {
                // two squares of one vector's length
                for c in [0, lanes] {
                    let (at, into) = (i * n + j + c, (j + c) * ld + i);
                    T::transpose_square(simd, &from[at..], n, &mut to[into..], ld);
                }
            }
        }
        scalar(from, whole_m..m, 0..n, n, to, ld);
        scalar(from, 0..whole_m, whole_n..n, n, to, ld);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: SimdElement>() {
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            for (m, n) in [(1, 1), (3, 40), (17, 16), (16, 16), (33, 35), (64, 48)] {
                let from: Vec<T> = (0..m * n).map(|value| T::from_f64(value as f64)).collect();
                let ld = m + 3;
                let mut to = vec![T::default(); ld * n];
                transpose(level, &from, m, n, &mut to, ld);
                assert!(
                    (0..m * n).all(|at| to[at / m * ld + at % m] == from[at % m * n + at / m]),
                    "{m} x {n}"
                );
            }
        }
    }

    #[test]
    fn transposing_moves_every_element() {
        check::<f32>();
        check::<f64>();
    }
}
