//! The variance of every feature, of samples that are packed in the blocks of all ranks: the same bits however they are distributed.
//!
//! Sums are exact: every term is a whole number of units of 2⁻⁹⁴ of the largest possible one, so that neither the order of the samples nor the
//! ranks that hold them matter. What a term loses by that is 2⁻⁹⁴ of the square of the feature's range.

use std::ops::Range;

use super::Workers;
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::metric::PowerOfTwo;
use crate::number::Number;

/// Bits of a term.
const TERM_BITS: i32 = 94;

/// Bits of a limb: of so few, ranks' sums stay below 2⁶⁴.
const LIMB_BITS: u32 = 44;
const LIMBS: usize = 3;

/// Features that a worker sums together.
const FEATURES: usize = 64;

/// Some samples in the packed panels of a block.
struct Packed<'a, T> {
    /// Samples before those meant, how many these are, and the panel.
    panels: Vec<(usize, usize, &'a [T])>,
    width: usize,
    /// −1 where panels hold negated values.
    sign: f64,
}

impl<'a, T: Number> Packed<'a, T> {
    fn of(block: &'a mut Block, rows: Range<usize>, sign: f64) -> Self {
        let (shape, width) = (block.shape(), block.shape().width);
        let panels = if rows.is_empty() {
            Vec::new()
        } else {
            block
                .panels_mut(rows)
                .map(|(rows, before, panel)| (before, rows.len(), shape.values_of(panel)))
                .collect()
        };
        Self { panels, width, sign }
    }

    /// Folds the values of a feature.
    fn fold<A>(&self, feature: usize, start: A, mut step: impl FnMut(A, f64) -> A) -> A {
        let mut folded = start;
        for &(before, count, panel) in &self.panels {
            let line = &panel[feature * self.width..][..self.width];
            for value in &line[before..before + count] {
                folded = step(folded, self.sign * value.to_f64());
            }
        }
        folded
    }
}

/// `of` each of `d` features, shared by the workers.
fn over_features<R: Send>(workers: &Workers, d: usize, of: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let part = |part: usize| (part * FEATURES..d.min((part + 1) * FEATURES)).map(&of).collect::<Vec<_>>();
    workers.map(d.div_ceil(FEATURES), part).into_iter().flatten().collect()
}

/// Unbiased variances of the features of all ranks' samples, `total` of them: rows in `x`, and in `y`, whose panels hold negated values, if there
/// is one. NaN where a feature has a value that is no number, and for a single sample. Collective.
pub fn variances<T: Number>(
    comm: &Comm,
    workers: &Workers,
    (x, rows): (&mut Block, Range<usize>),
    y: Option<(&mut Block, Range<usize>)>,
    total: usize,
) -> Vec<f64> {
    let d = x.shape().features;
    let mut all = vec![Packed::<T>::of(x, rows, 1.0)];
    all.extend(y.map(|(block, rows)| Packed::of(block, rows, -1.0)));
    let ends = over_features(workers, d, |feature| {
        // the smallest, and the negative of the largest, of which a NaN is neither
        let none = ([f64::INFINITY; 2], true);
        let (ends, is_finite) = all.iter().fold(none, |ends, packed| {
            packed.fold(feature, ends, |([low, high], finite), value| {
                ([low.min(value), high.min(-value)], finite && value.is_finite())
            })
        });
        if is_finite { ends } else { [f64::NEG_INFINITY; 2] }
    });
    let ends = comm.all_reduce(ends.as_flattened(), Reduce::Min);
    let spreads: Vec<Spread> = ends.chunks_exact(2).map(|ends| Spread::of(ends[0], -ends[1])).collect();
    let sums = over_features(workers, d, |feature| {
        let spread = spreads[feature];
        all.iter().fold(0_i128, |sum, packed| {
            packed.fold(feature, sum, |sum, value| sum + spread.whole(value, spread.middle, |by| by))
        })
    });
    let unit = PowerOfTwo::<f64>::new(-TERM_BITS);
    let mean = |(sum, spread): (i128, &Spread)| {
        spread.middle + spread.scale.times(unit.times(sum as f64) / total as f64)
    };
    let means: Vec<f64> = total_of(comm, &sums).into_iter().zip(&spreads).map(mean).collect();
    // of the deviations too: the mean is rounded
    let deviations = over_features(workers, d, |feature| {
        let (spread, mean) = (spreads[feature], means[feature]);
        all.iter().fold([0_i128; 2], |sums, packed| {
            packed.fold(feature, sums, |[sum, squares], value| {
                let of_square = spread.whole(value, mean, |by| by * by);
                [sum + spread.whole(value, mean, |by| by), squares + of_square]
            })
        })
    });
    let deviations = total_of(comm, deviations.as_flattened());
    let variance = |(sums, spread): (&[i128], &Spread)| {
        if !spread.is_finite || total < 2 {
            return f64::NAN;
        }
        let [sum, squares] = [sums[0], sums[1]].map(|sum| unit.times(sum as f64));
        let squares = squares - sum * sum / total as f64;
        spread.scale.times(spread.scale.times(squares / (total - 1) as f64))
    };
    deviations.chunks_exact(2).zip(&spreads).map(variance).collect()
}

/// Where the values of a feature lie.
#[derive(Clone, Copy)]
struct Spread {
    middle: f64,
    /// Half of their range, or more: up to twice that.
    scale: PowerOfTwo<f64>,
    inverse: PowerOfTwo<f64>,
    is_finite: bool,
}

impl Spread {
    fn of(low: f64, high: f64) -> Self {
        let is_finite = low.is_finite() && high.is_finite();
        let half = high / 2.0 - low / 2.0;
        let exponent = if is_finite && half > 0.0 { crate::metric::exponent_of(half) + 1 } else { 0 };
        Self {
            middle: low / 2.0 + high / 2.0,
            scale: PowerOfTwo::new(exponent),
            inverse: PowerOfTwo::new(-exponent),
            is_finite,
        }
    }

    /// `term` of the difference of two values, in units.
    #[allow(clippy::cast_possible_truncation, reason = "the term has so few bits")]
    fn whole(&self, value: f64, from: f64, term: impl Fn(f64) -> f64) -> i128 {
        // differences are within ±2 then, and their squares below 4
        let difference = self.inverse.times(value - from);
        PowerOfTwo::<f64>::new(TERM_BITS).times(term(difference)) as i128
    }
}

/// Sums of all ranks' numbers. Collective.
fn total_of(comm: &Comm, sums: &[i128]) -> Vec<i128> {
    const MASK: u128 = (1 << LIMB_BITS) - 1;
    let limb = |sum: i128, limb: usize| {
        let bits = sum.cast_unsigned() >> (LIMB_BITS as usize * limb) & MASK;
        u64::try_from(bits).expect("a limb has fewer bits")
    };
    let limbs: Vec<u64> = sums.iter().flat_map(|sum| (0..LIMBS).map(move |at| limb(*sum, at))).collect();
    let all = comm.all_reduce(&limbs, Reduce::Sum);
    let joined = |limbs: &[u64]| {
        let parts = limbs.iter().enumerate();
        let shifted = parts.map(|(at, limb)| u128::from(*limb) << (LIMB_BITS as usize * at));
        shifted.fold(0_u128, u128::wrapping_add).cast_signed()
    };
    all.chunks_exact(LIMBS).map(joined).collect()
}
