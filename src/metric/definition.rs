//! The metrics on single f64 values: the definition that results are checked against.

use super::Measure;
use super::arithmetic::{Arithmetic, Scalar};
use super::fold::{BLOCK_FEATURES, Exponent, Fold, Reduction, Visitor};
use super::prepare::compensated_sum;
use super::scaling::{PowerOfTwo, exponent_of, smallest_safe_power};

/// A distance from the definition, which others are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// The distance.
    pub distance: f64,
    /// Of a quotient, the divisor Σ wₗ |xₗ + yₗ| times 2^-`exponent`: it may have left the range of numbers. Where missing values are skipped, the sum
    /// of the weights of the features that both samples have.
    pub divisor: f64,
    /// See `divisor`.
    pub exponent: i32,
}

/// One pair of prepared samples, see [`Measure::reference`].
pub(super) struct Definition<'a> {
    pub(super) x: &'a [f64],
    pub(super) y: &'a [f64],
    pub(super) measure: &'a Measure,
}

impl Definition<'_> {
    pub(super) fn reference(&self) -> Reference {
        let folded = self.measure.visit(Folded { pair: self, change: |x, y| (x, y) });
        let power = self.measure.power();
        let is_safe = [Exponent::ZERO, Exponent::ONE].contains(&power)
            || (smallest_safe_power::<f64>()..=f64::MAX).contains(&folded);
        // with weights, and of quotients, parts may overflow where the distance does not
        let (is_weighted, is_quotient) =
            (self.measure.has_weighted_terms(), self.measure.form().is_quotient());
        let is_safe = is_safe && (!is_weighted && !is_quotient || folded.is_finite());
        let limit = f64::MAX / (2 * self.x.len()) as f64;
        let is_small = || self.x.iter().chain(self.y).all(|value| value.abs() <= limit);
        // what a product with a weight may lose is a part of the divisor
        let is_safe = is_safe && (!is_quotient || !is_weighted && is_small());
        let as_it_is = is_safe.then(|| self.finished(folded, |x, y| (x, y)));
        // a sum over few features may overflow where it is scaled up to all
        let overflows =
            |reference: &Reference| self.measure.skips_missing() && reference.distance.is_infinite();
        let as_it_is = as_it_is.filter(|reference| !overflows(reference));
        let (reference, exponent) = as_it_is.map_or_else(|| self.scaled(folded), |reference| (reference, 0));
        // one rounding where the distance is subnormal
        let undo = PowerOfTwo::new(self.measure.undo_exponent(0) + exponent);
        Reference { distance: undo.times(reference.distance), ..reference }
    }

    fn finished(&self, folded: f64, change: impl Fn(f64, f64) -> (f64, f64) + Copy) -> Reference {
        let finish = self.measure.form().finish;
        let mut others = [self.measure.total(self.x.len()), 0.0, 0.0];
        let folds = self.measure.visit_others(|| Folded { pair: self, change });
        others.iter_mut().zip(folds).for_each(|(other, folded)| *other = folded);
        let distance = if self.measure.skips_missing() {
            finish.of_shared(folded, others[0], self.measure.scaled_to_all(self.x.len()))
        } else {
            finish.rest(finish.of(Scalar, folded), others)
        };
        Reference { distance, divisor: others[0], exponent: 0 }
    }

    /// The same where powers have left the range of numbers, or may have, with the folded value: the pair is scaled by the
    /// power of two that brings its largest difference to 1, or its largest value where a quotient is folded. Returns the distance and the
    /// exponent of the factor that it lacks.
    fn scaled(&self, folded: f64) -> (Reference, i32) {
        let values = || self.x.iter().chain(self.y).copied();
        let is_quotient = self.measure.form().is_quotient();
        let largest = if is_quotient {
            values().fold(0.0, |largest, value| value.abs().max(largest))
        } else {
            self.x.iter().zip(self.y).fold(0.0, |largest, (x, y)| (x - y).abs().max(largest))
        };
        let skips_missing = self.measure.skips_missing();
        let is_unfit = |value: f64| !(value.is_finite() || skips_missing && value.is_nan());
        if values().any(is_unfit) || largest == 0.0 {
            return (self.finished(folded, |x, y| (x, y)), 0);
        }
        let exponent = exponent_of(largest);
        let scale = PowerOfTwo::<f64>::new(-exponent);
        let reference = if exponent > 0 || is_quotient {
            // values first: differences may be too large
            let change = |x: f64, y: f64| (scale.times(x), scale.times(y));
            self.finished(self.measure.visit(Folded { pair: self, change }), change)
        } else {
            // differences first: they lose nothing, values might
            let change = |x: f64, y: f64| (scale.times(x - y), 0.0);
            self.finished(self.measure.visit(Folded { pair: self, change }), change)
        };
        (Reference { exponent, ..reference }, self.measure.degree() * exponent)
    }
}

/// The terms folded over all features, of values that `change` has made of a feature's values.
struct Folded<'a, C> {
    pair: &'a Definition<'a>,
    change: C,
}

impl<C: Fn(f64, f64) -> (f64, f64)> Visitor for Folded<'_, C> {
    type Output = f64;

    fn visit<F: Fold>(self, fold: F) -> f64 {
        let Definition { x, y, measure } = self.pair;
        let weights = measure.weights_of_terms();
        let of_block = |number: usize| {
            let first = number * BLOCK_FEATURES;
            let features = first..x.len().min(first + BLOCK_FEATURES);
            features.fold(0.0, |acc, l| {
                let (x, y) = (self.change)(x[l], y[l]);
                fold.step(Scalar, acc, x, -y, weights.get(l).copied().unwrap_or(1.0))
            })
        };
        let blocks = (0..x.len().div_ceil(BLOCK_FEATURES)).map(of_block);
        match F::REDUCTION {
            Reduction::Max => blocks.fold(0.0, |a, b| Scalar.max(a, b)),
            Reduction::Sum => compensated_sum(blocks),
        }
    }
}
