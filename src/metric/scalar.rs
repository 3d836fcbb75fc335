//! The formulas on single f64 values: the definition that results are checked against.

use super::{Arithmetic, BLOCK, Formula, Reduction, Visitor};
use crate::element::Element;

#[derive(Clone, Copy)]
struct Scalar;

impl Arithmetic for Scalar {
    type Value = f64;
    fn difference(self, x: f64, neg_y: f64) -> f64 {
        x + neg_y
    }
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }
    fn mul_add(self, a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    fn abs(self, a: f64) -> f64 {
        a.abs()
    }
    fn max(self, a: f64, b: f64) -> f64 {
        if b > a { b } else { a }
    }
    fn sqrt(self, a: f64) -> f64 {
        a.sqrt()
    }
}

/// One pair of samples, see [`super::Metric::distance`].
pub(super) struct Definition<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
}

impl<T: Element> Visitor for Definition<'_, T> {
    type Output = f64;

    fn visit<F: Formula>(self) -> f64 {
        let fold = |(x, y): (&[T], &[T])| {
            x.iter().zip(y).fold(0.0, |acc, (x, y)| F::step(Scalar, acc, x.to_f64(), -y.to_f64()))
        };
        let blocks = self.x.chunks(BLOCK).zip(self.y.chunks(BLOCK)).map(fold);
        let total = match F::REDUCTION {
            Reduction::Max => blocks.fold(0.0, |a, b| Scalar.max(a, b)),
            Reduction::Sum => compensated_sum(blocks),
        };
        F::finish(Scalar, total)
    }
}

/// Terms of a norm that are summed side by side, for the compiler to use vectors.
const LANES: usize = 8;

/// |x|² in f64: no term goes through more additions than features of a block and blocks.
pub fn squared_norm<T: Element>(x: &[T]) -> f64 {
    let fold = |block: &[T]| {
        let (groups, left) = block.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for group in groups {
            for (sum, x) in sums.iter_mut().zip(group) {
                *sum += x.to_f64() * x.to_f64();
            }
        }
        sums.iter().sum::<f64>() + left.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>()
    };
    compensated_sum(x.chunks(BLOCK).map(fold))
}

/// The sum of the blocks with the rounding error of each addition kept (Knuth, TAOCP 2, 4.2.2).
fn compensated_sum(blocks: impl Iterator<Item = f64>) -> f64 {
    let (sum, error) = blocks.fold((0.0, 0.0), |(sum, error), block| {
        let next = sum + block;
        let part = next - sum;
        (next, error + ((sum - (next - part)) + (block - part)))
    });
    // beyond the largest number the error term is NaN and the sum says it all
    if f64::is_nan(error) { sum } else { sum + error }
}
