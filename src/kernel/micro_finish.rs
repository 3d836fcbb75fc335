//! The finish of a micro-tile, in registers: from what is folded over all features to distances in a tile.

use pulp::Simd;

use super::guard_tau;
use super::micro::MicroTile;
use super::simd::{Lanes, NV, SimdElement};
use crate::metric::Finish;

/// Shape of a tile of distances.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileShape {
    pub(super) m: usize,
    pub(super) n: usize,
    /// Elements from one row of distances to the next.
    pub(super) ld: usize,
}

impl TileShape {
    /// Rows and columns inside the tile, of so many from this place on.
    #[inline(always)]
    pub(super) fn inside(
        self,
        (row, col): (usize, usize),
        (height, width): (usize, usize),
    ) -> (usize, usize) {
        (height.min(self.m - row), width.min(self.n - col))
    }
}

/// The squared norms of the samples of a micro-tile: of its rows, and of its columns.
pub(super) type Norms<'a, T, V, const MR: usize> = (&'a [T; MR], &'a [V; NV]);

/// Distances from folded values, as far as they are finished in registers; what is left to do is done strip by strip.
#[inline(always)]
pub(super) fn finish<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    finish: Finish,
    block: &mut MicroTile<T::Vector<S>, MR>,
) {
    match finish {
        Finish::Root => finish_as(lanes, Finish::Root, block),
        Finish::HalfSquare => finish_as(lanes, Finish::HalfSquare, block),
        Finish::Plain | Finish::RootOf(_) | Finish::Share | Finish::Quotient | Finish::Truth(_) => {
            finish_as(lanes, Finish::Plain, block);
        }
    }
}

/// The same with a finish that is known to the compiler, so that it is chosen once.
#[inline(always)]
fn finish_as<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    finish: Finish,
    block: &mut MicroTile<T::Vector<S>, MR>,
) {
    for row in block {
        for value in row {
            *value = finish.of(lanes, *value);
        }
    }
}

/// From −x·y to D² = |x|² + |y|² − 2x·y. Returns whether the guard keeps all: D² > τ(|x|² + |y|²), which fails where D² is not
/// finite, and D² is not so small that products may underflow.
#[inline(always)]
pub(super) fn squares<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    block: &mut MicroTile<T::Vector<S>, MR>,
    (row_norms, col_norms): Norms<'_, T, T::Vector<S>, MR>,
) -> bool {
    let simd = lanes.simd;
    let two = T::splat(simd, T::from_f64(2.0));
    let mut kept = T::equal(simd, two, two);
    for r in 0..MR {
        for v in 0..NV {
            let norms = T::add(simd, T::splat(simd, row_norms[r]), col_norms[v]);
            block[r][v] = T::mul_add(simd, two, block[r][v], norms);
            kept = T::and(simd, kept, T::greater(simd, block[r][v], floor(lanes, norms)));
        }
    }
    T::all(simd, kept)
}

/// What a Gram value must exceed to be kept.
#[inline(always)]
fn floor<S: Simd, T: SimdElement>(lanes: Lanes<S, T>, norms: T::Vector<S>) -> T::Vector<S> {
    let simd = lanes.simd;
    let tau = T::splat(simd, T::from_f64(guard_tau(T::DTYPE)));
    T::mul_add(simd, tau, norms, T::splat(simd, T::from_f64(T::GUARD_FLOOR)))
}

/// Direct values where the guard does not keep those of the block. Returns how many of the rows and columns inside the tile were replaced.
#[inline(always)]
pub(super) fn replace<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    block: &mut MicroTile<T::Vector<S>, MR>,
    direct: &MicroTile<T::Vector<S>, MR>,
    (row_norms, col_norms): Norms<'_, T, T::Vector<S>, MR>,
    (height, width): (usize, usize),
) -> u64 {
    let simd = lanes.simd;
    let (zero, one) = (T::splat(simd, T::default()), T::splat(simd, T::from_f64(1.0)));
    let mut count = [zero; NV];
    for r in 0..MR {
        for v in 0..NV {
            let norms = T::add(simd, T::splat(simd, row_norms[r]), col_norms[v]);
            let keep = T::greater(simd, block[r][v], floor(lanes, norms));
            block[r][v] = T::select(simd, keep, block[r][v], direct[r][v]);
            if r < height {
                count[v] = T::add(simd, count[v], T::select(simd, keep, zero, one));
            }
        }
    }
    let lanes: &[T] = bytemuck::cast_slice(&count);
    let mut replaced = 0.0;
    for lane in &lanes[..width] {
        replaced += lane.to_f64();
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    let replaced = replaced as u64;
    replaced
}

/// Writes what lies inside the tile of the micro-tile (row panel i, column panel j).
#[inline(always)]
pub(super) fn store<S: Simd, T: SimdElement, const MR: usize>(
    _: Lanes<S, T>,
    shape: TileShape,
    (i, j): (usize, usize),
    block: &MicroTile<T::Vector<S>, MR>,
    out: &mut [T],
) {
    let nr = NV * size_of::<T::Vector<S>>() / size_of::<T>();
    let ((row, col), ld) = ((i * MR, j * nr), shape.ld);
    let (height, width) = shape.inside((row, col), (MR, nr));
    if height == MR && width == nr {
        for r in 0..MR {
            let line = &mut out[(row + r) * ld + col..][..nr];
            *T::vectors_mut::<S>(line).0.first_chunk_mut().expect("a whole line") = block[r];
        }
        return;
    }
    // a copy, so that the whole block can stay in registers above
    let block = *block;
    for (r, values) in block.iter().enumerate().take(height) {
        let line = &mut out[(row + r) * ld + col..][..width];
        line.copy_from_slice(&bytemuck::cast_slice(values)[..width]);
    }
}
