//! The micro-kernel: folds the features of MR rows and NV vectors of columns in registers.

use pulp::Simd;

use super::simd::{Lanes, NV, SimdElement};
use crate::metric::{BLOCK_FEATURES, Fold, Reduction, Summation, summation};

/// One value for each pair of a micro-tile: MR rows by NV vectors of columns.
pub(super) type MicroTile<V, const MR: usize> = [[V; NV]; MR];

// Closures are not compiled for the SIMD level of the function around them unless they happen to be inlined:
// in this file, in `micro_finish` and in `sweep`, vectors are handled in plain loops.

/// A fold over features that can be interrupted: of the sum, its rounded value and what rounding lost.
#[derive(Clone, Copy)]
pub(super) struct Partial<V, const MR: usize> {
    pub(super) value: MicroTile<V, MR>,
    pub(super) error: MicroTile<V, MR>,
}

/// The fold that rests in these values and errors.
#[inline(always)]
pub(super) fn load<S: Simd, T: SimdElement, const MR: usize>(stored: &[T]) -> Partial<T::Vector<S>, MR> {
    let (value, error) = T::vectors::<S>(stored).0.split_at(MR * NV);
    let mut partial = Partial { value: [[value[0]; NV]; MR], error: [[error[0]; NV]; MR] };
    partial.value.as_flattened_mut().copy_from_slice(value);
    partial.error.as_flattened_mut().copy_from_slice(error);
    partial
}

/// Lets the fold rest in as many values, and as many errors behind them.
#[inline(always)]
pub(super) fn save<S: Simd, T: SimdElement, const MR: usize>(
    partial: &Partial<T::Vector<S>, MR>,
    stored: &mut [T],
) {
    let (value, error) = T::vectors_mut::<S>(stored).0.split_at_mut(MR * NV);
    value.copy_from_slice(partial.value.as_flattened());
    error.copy_from_slice(partial.error.as_flattened());
}

/// The value over no features.
#[inline(always)]
pub(super) fn zeros<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
) -> MicroTile<T::Vector<S>, MR> {
    [[T::splat(lanes.simd, T::default()); NV]; MR]
}

/// Folds the features of two panels from `start`, the value over no features.
///
/// `rows` holds MR values a feature, `cols` NV vectors a feature, as many features as the shorter; `weights`, where terms have them, one.
#[inline(always)]
pub(super) fn fold<S: Simd, T: SimdElement, F: Fold, const MR: usize>(
    (lanes, step): (Lanes<S, T>, F),
    (rows, cols, weights): (&[T], &[T::Vector<S>], &[T]),
    mut acc: MicroTile<T::Vector<S>, MR>,
) -> MicroTile<T::Vector<S>, MR> {
    let (rows, _) = rows.as_chunks::<MR>();
    let (cols, _) = cols.as_chunks::<NV>();
    let weights = if F::WEIGHTED { &weights[..rows.len()] } else { weights };
    for (l, (x, neg_y)) in rows.iter().zip(cols).enumerate() {
        let weight = T::splat(lanes.simd, if F::WEIGHTED { weights[l] } else { T::default() });
        for i in 0..MR {
            let x = T::splat(lanes.simd, x[i]);
            acc[i][0] = step.step(lanes, acc[i][0], x, neg_y[0], weight);
            acc[i][1] = step.step(lanes.fused(), acc[i][1], x, neg_y[1], weight);
        }
    }
    acc
}

/// `partial` after the features of the two panels, which continue where the last call ended;
/// every call but the last covers a multiple of [`BLOCK_FEATURES`] features.
#[inline(always)]
pub(super) fn fold_blocks<S: Simd, T: SimdElement, F: Fold, const MR: usize>(
    (lanes, step): (Lanes<S, T>, F),
    (rows, cols, weights): (&[T], &[T::Vector<S>], &[T]),
    partial: Option<Partial<T::Vector<S>, MR>>,
) -> Partial<T::Vector<S>, MR> {
    let zeros = zeros(lanes);
    let (mut partial, mut is_first) = match partial {
        Some(partial) => (partial, false),
        None => (Partial { value: zeros, error: zeros }, true),
    };
    if matches!(F::REDUCTION, Reduction::Max) || matches!(const { summation::<F, T>() }, Summation::InOrder) {
        partial.value = fold::<S, T, F, MR>((lanes, step), (rows, cols, weights), partial.value);
        return partial;
    }
    let blocks = rows.chunks(BLOCK_FEATURES * MR).zip(cols.chunks(BLOCK_FEATURES * NV));
    for (number, (rows, cols)) in blocks.enumerate() {
        let weights = if F::WEIGHTED { &weights[number * BLOCK_FEATURES..] } else { weights };
        let block = fold::<S, T, F, MR>((lanes, step), (rows, cols, weights), zeros);
        if is_first {
            partial.value = block;
            is_first = false;
        } else {
            add_compensated(lanes, &mut partial, &block);
        }
    }
    partial
}

/// Adds a block sum, and its rounding error to the errors.
#[inline(always)]
fn add_compensated<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    partial: &mut Partial<T::Vector<S>, MR>,
    block: &MicroTile<T::Vector<S>, MR>,
) {
    for i in 0..MR {
        for v in 0..NV {
            add_term(lanes, &mut partial.value[i][v], &mut partial.error[i][v], block[i][v]);
        }
    }
}

/// Adds a term to a sum, and the rounding error of that to the errors (TwoSum: Knuth, TAOCP 2, 4.2.2).
#[inline(always)]
pub(super) fn add_term<S: Simd, T: SimdElement>(
    lanes: Lanes<S, T>,
    value: &mut T::Vector<S>,
    error: &mut T::Vector<S>,
    term: T::Vector<S>,
) {
    let (simd, sum) = (lanes.simd, *value);
    let next = T::add(simd, sum, term);
    let part = T::sub(simd, next, sum);
    let lost = T::add(simd, T::sub(simd, sum, T::sub(simd, next, part)), T::sub(simd, term, part));
    *error = T::add(simd, *error, lost);
    *value = next;
}

/// The folded values with the lost parts added back.
#[inline(always)]
pub(super) fn total<S: Simd, T: SimdElement, const MR: usize>(
    lanes: Lanes<S, T>,
    partial: &Partial<T::Vector<S>, MR>,
) -> MicroTile<T::Vector<S>, MR> {
    let simd = lanes.simd;
    let mut total = partial.value;
    for i in 0..MR {
        for v in 0..NV {
            let error = partial.error[i][v];
            let sum = T::add(simd, total[i][v], error);
            // beyond the largest number the error is NaN and the value says it all
            total[i][v] = T::select(simd, T::equal(simd, error, error), sum, total[i][v]);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Magnitudes;
    use crate::metric::bound::direct_relative_error;

    /// Block sums whose compensated sum loses most: the first is 1; of each later one nothing reaches the sum, so that all of
    /// it is an error of the addition, and almost half a unit in the last place of the errors' own sum gets lost.
    fn worst_block(errors: f32) -> f32 {
        const LARGEST: f32 = f32::EPSILON / 2.0;
        let unit = errors.max(LARGEST).next_up() - errors.max(LARGEST);
        ((LARGEST / unit).floor() - 1.0) * unit + unit / 2.0 * (1.0 - 2.0 * f32::EPSILON)
    }

    #[test]
    fn a_compensated_sum_of_many_blocks_stays_within_its_bound() {
        let lanes = Lanes::<_, f32>::new(pulp::Scalar128b);
        let splat = |value: f32| [[f32::splat(lanes.simd, value); NV]; 1];
        let blocks = 66_000_000_usize.div_ceil(BLOCK_FEATURES);
        let mut partial = Partial { value: splat(1.0), error: splat(0.0) };
        // multiples of 2^-49 below 2: exact in f64
        let mut exact = 1.0;
        for _ in 1..blocks {
            let errors: &[f32] = bytemuck::cast_slice(&partial.error[0]);
            let block = worst_block(errors[0]);
            exact += f64::from(block);
            add_compensated(lanes, &mut partial, &splat(block));
        }
        let total = total(lanes, &partial);
        let got: &[f32] = bytemuck::cast_slice(&total[0]);
        let error = (f64::from(got[0]) - exact).abs() / exact;
        assert!(error > 5e-5, "the blocks are not as bad as they were meant to be: {error:e}");
        let bound = direct_relative_error::<Magnitudes, f32>(Magnitudes, blocks * BLOCK_FEATURES);
        assert!(error <= bound, "{error:e}, bound {bound:e}");
    }
}
