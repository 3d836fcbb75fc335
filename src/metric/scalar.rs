//! The formulas on single f64 values: the definition that results are checked against.

use super::scaling::{PowerOfTwo, exponent_of, smallest_safe_square};
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
        let total = self.fold::<F>(|x, y| (x, y));
        let is_safe = !F::SQUARES || (smallest_safe_square::<f64>()..=f64::MAX).contains(&total);
        if is_safe { F::finish(Scalar, total) } else { self.visit_scaled::<F>(total) }
    }
}

impl<T: Element> Definition<'_, T> {
    /// The terms folded over all features, of values that `change` has made of a feature's values.
    fn fold<F: Formula>(&self, change: impl Fn(f64, f64) -> (f64, f64)) -> f64 {
        let fold = |(x, y): (&[T], &[T])| {
            x.iter().zip(y).fold(0.0, |acc, (x, y)| {
                let (x, y) = change(x.to_f64(), y.to_f64());
                F::step(Scalar, acc, x, -y)
            })
        };
        let blocks = self.x.chunks(BLOCK).zip(self.y.chunks(BLOCK)).map(fold);
        match F::REDUCTION {
            Reduction::Max => blocks.fold(0.0, |a, b| Scalar.max(a, b)),
            Reduction::Sum => compensated_sum(blocks),
        }
    }

    /// The same where squares have left the range of numbers, or may have, with their `total`: the pair is scaled by the
    /// power of two that brings its largest difference to 1.
    fn visit_scaled<F: Formula>(&self, total: f64) -> f64 {
        let differences = || self.x.iter().zip(self.y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs());
        let is_finite = self.x.iter().chain(self.y).all(|value| value.is_finite());
        let largest = differences().fold(0.0, f64::max);
        if !is_finite || largest == 0.0 {
            return F::finish(Scalar, total);
        }
        let exponent = exponent_of(largest);
        let scale = PowerOfTwo::new(-exponent);
        let total = if exponent > 0 {
            // values first: differences may be too large
            self.fold::<F>(|x, y| (scale.times(x), scale.times(y)))
        } else {
            // differences first: they lose nothing, values might
            self.fold::<F>(|x, y| (scale.times(x - y), 0.0))
        };
        let degree = if F::ROOT { 1 } else { 2 };
        PowerOfTwo::new(degree * exponent).times(F::finish(Scalar, total))
    }
}

/// Terms of a norm that are summed side by side, for the compiler to use vectors.
const LANES: usize = 8;

/// |x|² in f64: no term goes through more additions than features of a block and blocks.
pub fn squared_norm<T: Element>(x: &[T]) -> f64 {
    compensated_sum(x.chunks(BLOCK).map(squared_norm_of_block))
}

/// |x|² of [`BLOCK`] features at most; a [`CompensatedSum`] of them is the [`squared_norm`].
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

fn compensated_sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(CompensatedSum::default(), CompensatedSum::plus).total()
}
