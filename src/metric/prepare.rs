//! Preparation: what is done with a sample before its distances are computed, and what a finish needs of it alone, which is carried with its
//! features.

use super::fold::BLOCK_FEATURES;
use super::scaling::{PowerOfTwo, exponent_of};
use crate::element::Element;

/// What is done with a sample before its distances are computed, feature by feature in f64, rounded once to the type computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Nothing.
    None,
    /// Features whose weight is 0 become 0.
    Selected,
    /// Features whose weight is 0 become NaN: they are missing.
    Masked,
    /// √wₗ xₗ, divided by the length of all together: NaN where that is 0.
    Direction,
    /// The same of what is left after the mean Σ wₗ xₗ / Σ wₗ is taken off: NaN where all are equal.
    Deviation,
    /// Shares of the sum of all: infinite ones where that is 0 or a value is negative, since a divergence is then.
    Distribution,
    /// 1 where a value is not 0, whatever it is.
    Truth,
    /// Samples are multiplied by a root of an inverse covariance: all together, when they are all known.
    Whitened,
}

impl Preparation {
    /// Prepares a sample; `weights` is empty where there are none, and `total` the sum of them, or the number of features.
    pub fn apply<T: Element>(self, sample: &mut [T], weights: &[f64], total: f64) {
        match self {
            Self::None | Self::Whitened => {}
            Self::Selected => replace_unweighted(sample, weights, T::default()),
            Self::Masked => replace_unweighted(sample, weights, T::NAN),
            Self::Truth => {
                for value in sample {
                    *value = T::from_i32((*value != T::default()).into());
                }
            }
            Self::Direction => normalise(sample, weights, None),
            Self::Deviation => normalise(sample, weights, Some(total)),
            Self::Distribution => to_shares(sample),
        }
    }
}

/// Writes `other` in place of features whose weight is 0.
fn replace_unweighted<T: Element>(sample: &mut [T], weights: &[f64], other: T) {
    for (value, weight) in sample.iter_mut().zip(weights) {
        if *weight <= 0.0 {
            *value = other;
        }
    }
}

/// Σ wₗ · `term` of each value whose weight is not 0, and Σ `term` without weights.
fn weighted_sum<T: Element>(sample: &[T], weights: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let of_block = |(number, block): (usize, &[T])| {
        let mut sum = 0.0;
        for (place, value) in block.iter().enumerate() {
            let term = term(value.to_f64());
            sum += weights.get(number * BLOCK_FEATURES + place).map_or(term, |weight| product(*weight, term));
        }
        sum
    };
    compensated_sum(sample.chunks(BLOCK_FEATURES).enumerate().map(of_block))
}

/// 0 where the weight is: the value may be so large that it is infinite once it is scaled.
fn product(weight: f64, value: f64) -> f64 {
    if weight > 0.0 { weight * value } else { 0.0 }
}

/// Divides a sample by its length, after its mean is taken off if there is a sum of weights for that.
fn normalise<T: Element>(sample: &mut [T], weights: &[f64], total: Option<f64>) {
    let (mut low, mut high, mut finite) = (f64::INFINITY, f64::NEG_INFINITY, true);
    for (place, value) in sample.iter().enumerate() {
        let value = value.to_f64();
        // as in SciPy, whatever its weight
        finite = finite && value.is_finite();
        if weights.get(place).is_none_or(|weight| *weight > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    #[allow(clippy::float_cmp, reason = "only of equal values nothing is left")]
    let has_direction = if total.is_some() { low != high } else { low != 0.0 || high != 0.0 };
    if !finite || !has_direction {
        sample.fill(T::NAN);
        return;
    }
    // exact, and their squares are numbers then
    let scale = PowerOfTwo::<f64>::new(-exponent_of(low.abs().max(high.abs())));
    let mean = total.map_or(0.0, |total| weighted_sum(sample, weights, |value| scale.times(value)) / total);
    // the rounding of the mean, which the deviations still have in common
    let rest =
        total.map_or(0.0, |total| weighted_sum(sample, weights, |value| scale.times(value) - mean) / total);
    let deviation = |value: f64| (scale.times(value) - mean) - rest;
    let length = weighted_sum(sample, weights, |value| deviation(value) * deviation(value)).sqrt();
    for (place, value) in sample.iter_mut().enumerate() {
        let deviation = deviation(value.to_f64());
        let weighted = weights.get(place).map_or(deviation, |weight| product(weight.sqrt(), deviation));
        *value = T::from_f64(weighted / length);
    }
}

/// Divides a sample by the sum of its values.
fn to_shares<T: Element>(sample: &mut [T]) {
    let (mut largest, mut smallest, mut finite) = (0.0_f64, 0.0_f64, true);
    for value in sample.iter() {
        let value = value.to_f64();
        finite = finite && value.is_finite();
        (largest, smallest) = (largest.max(value), smallest.min(value));
    }
    if !finite || smallest < 0.0 || largest == 0.0 {
        sample.fill(T::from_f64(if finite { f64::INFINITY } else { f64::NAN }));
        return;
    }
    // exact, and the sum is a number then
    let scale = PowerOfTwo::<f64>::new(-exponent_of(largest));
    let total = weighted_sum(sample, &[], |value| scale.times(value));
    for value in sample {
        *value = T::from_f64(scale.times(value.to_f64()) / total);
    }
}

/// What is carried with the features of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    /// Nothing.
    None,
    /// |x|², for the Gram trick.
    SquaredNorm,
    /// How many features are true.
    Ones,
}

impl Extras {
    /// Values of a sample.
    pub const fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::SquaredNorm | Self::Ones => 1,
        }
    }
}

/// Terms of a norm that are summed side by side, for the compiler to use vectors.
const LANES: usize = 8;

/// |x|² in f64: no term goes through more additions than features of a block and blocks.
pub fn squared_norm<T: Element>(x: &[T]) -> f64 {
    compensated_sum(x.chunks(BLOCK_FEATURES).map(squared_norm_of_block))
}

/// |x|² of [`BLOCK_FEATURES`] at most; a [`CompensatedSum`] of them is the [`squared_norm`].
pub fn squared_norm_of_block<T: Element>(block: &[T]) -> f64 {
    let (groups, left) = block.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for group in groups {
        for (sum, x) in sums.iter_mut().zip(group) {
            *sum += x.to_f64() * x.to_f64();
        }
    }
    sums.iter().sum::<f64>() + left.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>()
}

/// A sum with the rounding error of each addition kept (Knuth, TAOCP 2, 4.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct CompensatedSum {
    sum: f64,
    error: f64,
}

impl CompensatedSum {
    /// With one more term.
    #[must_use]
    pub fn plus(self, term: f64) -> Self {
        let Self { sum, error } = self;
        let next = sum + term;
        let part = next - sum;
        Self { sum: next, error: error + ((sum - (next - part)) + (term - part)) }
    }

    /// The sum of the terms.
    pub fn total(self) -> f64 {
        // beyond the largest number the error term is NaN and the sum says it all
        if f64::is_nan(self.error) { self.sum } else { self.sum + self.error }
    }
}

pub(super) fn compensated_sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(CompensatedSum::default(), CompensatedSum::plus).total()
}
