//! Preparation: what is done with a sample before its distances are computed, and what a finish needs of it alone, which is carried with its
//! features.

use super::fold::BLOCK_FEATURES;
use super::preparing::Preparing;
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
        if self == Self::None {
            return;
        }
        let mut preparing = Preparing::new(self, total);
        for _ in 0..self.passes() {
            preparing.look(sample, 0, weights);
            preparing.end_pass();
        }
        preparing.apply(sample, 0, weights);
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
