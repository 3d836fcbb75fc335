//! Preparation: what a finish needs of one sample alone. It is carried with the sample's features.

use super::fold::BLOCK_FEATURES;
use crate::element::Element;

/// What is carried with the features of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    /// Nothing.
    None,
    /// |x|², for the Gram trick.
    SquaredNorm,
}

impl Extras {
    /// Values of a sample.
    pub const fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::SquaredNorm => 1,
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
