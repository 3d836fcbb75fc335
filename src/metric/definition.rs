//! The metrics on single f64 values: the definition that results are checked against.

use super::Finish;
use super::arithmetic::{Arithmetic, Scalar};
use super::fold::{BLOCK_FEATURES, Fold, Reduction, Visitor};
use super::prepare::compensated_sum;
use super::scaling::{PowerOfTwo, exponent_of, smallest_safe_square};
use crate::element::Element;

/// One pair of samples, see [`super::Metric::distance`].
pub(super) struct Definition<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) finish: Finish,
}

impl<T: Element> Visitor for Definition<'_, T> {
    type Output = f64;

    fn visit<F: Fold>(self) -> f64 {
        let total = self.fold::<F>(|x, y| (x, y));
        let is_safe = !F::SQUARES || (smallest_safe_square::<f64>()..=f64::MAX).contains(&total);
        if is_safe { self.finish.of(Scalar, total) } else { self.visit_scaled::<F>(total) }
    }
}

impl<T: Element> Definition<'_, T> {
    /// The terms folded over all features, of values that `change` has made of a feature's values.
    fn fold<F: Fold>(&self, change: impl Fn(f64, f64) -> (f64, f64)) -> f64 {
        let fold = |(x, y): (&[T], &[T])| {
            x.iter().zip(y).fold(0.0, |acc, (x, y)| {
                let (x, y) = change(x.to_f64(), y.to_f64());
                F::step(Scalar, acc, x, -y)
            })
        };
        let blocks = self.x.chunks(BLOCK_FEATURES).zip(self.y.chunks(BLOCK_FEATURES)).map(fold);
        match F::REDUCTION {
            Reduction::Max => blocks.fold(0.0, |a, b| Scalar.max(a, b)),
            Reduction::Sum => compensated_sum(blocks),
        }
    }

    /// The same where squares have left the range of numbers, or may have, with their `total`: the pair is scaled by the
    /// power of two that brings its largest difference to 1.
    fn visit_scaled<F: Fold>(&self, total: f64) -> f64 {
        let differences = || self.x.iter().zip(self.y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs());
        let is_finite = self.x.iter().chain(self.y).all(|value| value.is_finite());
        let largest = differences().fold(0.0, f64::max);
        if !is_finite || largest == 0.0 {
            return self.finish.of(Scalar, total);
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
        let degree = if self.finish == Finish::Root { 1 } else { 2 };
        PowerOfTwo::new(degree * exponent).times(self.finish.of(Scalar, total))
    }
}
