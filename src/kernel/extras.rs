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
    /// What the values of the next features, as they are packed (prepared and scaled), add to it, block by block; see [`Self::add_blocks`].
    pub fn blocks<T: Element>(&self, values: &[T]) -> Vec<u64> {
        match self {
            Self::None => Vec::new(),
            Self::SquaredNorm(_) => {
                values.chunks(BLOCK_FEATURES).map(|block| squared_norm_of_block(block).to_bits()).collect()
            }
            Self::WholeSquaredNorm(_) => vec![whole_squared_norm(values)],
            Self::Ones(_) => vec![values.iter().filter(|value| **value != T::default()).count() as u64],
        }
    }

    /// How many words [`Self::blocks`] gives of so many features.
    pub fn blocks_len(&self, features: usize) -> usize {
        match self {
            Self::None => 0,
            Self::SquaredNorm(_) => features.div_ceil(BLOCK_FEATURES),
            Self::WholeSquaredNorm(_) | Self::Ones(_) => 1,
        }
    }

    /// Adds what the next features give. The order counts: norms are compensated sums over blocks.
    pub fn add_blocks(&mut self, blocks: &[u64]) {
        for &block in blocks {
            match self {
                Self::None => {}
                Self::SquaredNorm(sum) => *sum = sum.plus(f64::from_bits(block)),
                Self::WholeSquaredNorm(sum) | Self::Ones(sum) => *sum += block,
            }
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
