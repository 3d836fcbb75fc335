//! Scales packed samples by a power of two, in place: the factor is known only when all samples of all ranks are read.

use std::ops::Range;

use rayon::prelude::*;

use super::Workers;
use crate::block::Block;
use crate::metric::PowerOfTwo;
use crate::number::Number;

/// Multiplies the samples of a block, which are those of matrix rows (or columns) `samples`, by 2^`exponent`.
pub fn scale<T: Number>(workers: &Workers, block: &mut Block, samples: Range<usize>, exponent: i32) {
    if samples.is_empty() {
        return;
    }
    let (shape, factor) = (block.shape(), PowerOfTwo::<T>::new(exponent));
    let panels: Vec<_> = block.panels_mut(samples).collect();
    let work = || panels.into_par_iter().for_each(|(held, _, panel)| shape.scale(panel, held.len(), factor));
    workers.install(work);
}
