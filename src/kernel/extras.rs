//! What is carried with the features of a sample, where these come in parts: it is summed over the parts as over the whole sample.

use crate::element::Element;
use crate::metric::{BLOCK_FEATURES, CompensatedSum, squared_norm_of_block};

/// What a sample carries beside its features, of the parts of them that were added.
///
/// Parts follow each other and, but for the last, are a multiple of [`BLOCK_FEATURES`] long: norms are sums of the sums over such blocks.
#[derive(Clone, Copy, Debug)]
pub enum ExtrasSum {
    /// Nothing.
    None,
    /// |x|²
    SquaredNorm(CompensatedSum),
    /// |x|² of whole numbers, exactly.
    WholeSquaredNorm(u64),
    /// How many features are not 0.
    Ones(u64),
}

impl ExtrasSum {
    /// Adds the values of the next features, as they are packed: prepared and scaled.
    pub fn add<T: Element>(&mut self, values: &[T]) {
        match self {
            Self::None => {}
            Self::SquaredNorm(sum) => {
                for block in values.chunks(BLOCK_FEATURES) {
                    *sum = sum.plus(squared_norm_of_block(block));
                }
            }
            Self::WholeSquaredNorm(sum) => *sum += whole_squared_norm(values),
            Self::Ones(sum) => *sum += values.iter().filter(|value| **value != T::default()).count() as u64,
        }
    }

    /// The total as a word, for [`super::Kernel::finish_folds`]: a norm as the bits of an f64, whole numbers as they are.
    pub fn total(self) -> u64 {
        match self {
            Self::None => 0,
            Self::SquaredNorm(sum) => sum.total().to_bits(),
            Self::WholeSquaredNorm(sum) | Self::Ones(sum) => sum,
        }
    }
}

/// |x|² of whole numbers of 8 bits, which is a whole number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as said")]
pub(super) fn whole_squared_norm<T: Element>(sample: &[T]) -> u64 {
    sample.iter().map(|value| (value.to_f64() * value.to_f64()) as u64).sum()
}
