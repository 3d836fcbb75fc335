//! Preparation by parts: what must be known of all features of a sample before the first of them can be prepared is gathered in passes over its
//! features, a part of them at a time.

use super::fold::BLOCK_FEATURES;
use super::prepare::{CompensatedSum, Preparation};
use super::scaling::{PowerOfTwo, exponent_of};
use crate::element::Element;

/// What is known of one sample that is prepared.
///
/// In each of [`Preparation::passes`] passes, all its features are given to [`Self::look`], in order and in parts that begin at multiples of
/// [`BLOCK_FEATURES`], and [`Self::end_pass`] ends the pass. [`Self::apply`] prepares a part then: to the same bits for any parts.
#[derive(Clone, Copy, Debug)]
pub struct Preparing {
    preparation: Preparation,
    /// The sum of the weights, or the number of features.
    total: f64,
    pass: Pass,
    /// The smallest and the largest value, of those that count, and whether all values are finite.
    low: f64,
    high: f64,
    finite: bool,
    /// The sum of the pass.
    sum: CompensatedSum,
    /// Brings the largest magnitude to [1, 2). It is exact, and sums of squares are numbers then.
    scale: PowerOfTwo<f64>,
    /// The mean, and the rounding of the mean, which deviations from it still have in common.
    mean: f64,
    rest: f64,
    /// What the sample is divided by.
    divisor: f64,
}

/// What the features are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Extremes,
    Mean,
    Rest,
    Divisor,
    /// Nothing more: all is known.
    Over,
}

impl Preparation {
    /// Passes over the features of a sample before the first of them can be prepared.
    pub const fn passes(self) -> usize {
        match self {
            Self::None | Self::Selected | Self::Masked | Self::Truth | Self::Whitened => 0,
            Self::Direction | Self::Distribution => 2,
            Self::Deviation => 4,
        }
    }
}

impl Preparing {
    /// Of a sample of which nothing is known; `total` is the sum of the weights, or the number of features.
    pub fn new(preparation: Preparation, total: f64) -> Self {
        Self {
            preparation,
            total,
            pass: if preparation.passes() == 0 { Pass::Over } else { Pass::Extremes },
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            finite: true,
            sum: CompensatedSum::default(),
            scale: PowerOfTwo::new(0),
            mean: 0.0,
            rest: 0.0,
            divisor: 1.0,
        }
    }

    /// Words that hold what was found of a sample.
    pub const WORDS: usize = 6;

    /// What was found after all passes.
    pub fn words(&self) -> [u64; Self::WORDS] {
        let Self { low, high, mean, rest, divisor, .. } = *self;
        let [low, high, mean, rest, divisor] = [low, high, mean, rest, divisor].map(f64::to_bits);
        [low, high, mean, rest, divisor, u64::from(self.finite)]
    }

    /// With what was found elsewhere, as [`Self::words`] gives it.
    ///
    /// # Panics
    /// If these are not so many.
    #[must_use]
    pub fn found(mut self, words: &[u64]) -> Self {
        let &[low, high, mean, rest, divisor, finite] = words else { panic!("{} words", words.len()) };
        [self.low, self.high, self.mean, self.rest, self.divisor] =
            [low, high, mean, rest, divisor].map(f64::from_bits);
        (self.finite, self.pass) = (finite != 0, Pass::Over);
        if self.preparation.passes() > 0 {
            self.choose_scale();
        }
        self
    }

    /// The scale that fits the extremes.
    fn choose_scale(&mut self) {
        if !self.is_undefined() {
            self.scale = PowerOfTwo::new(-exponent_of(self.low.abs().max(self.high.abs())));
        }
    }

    /// Looks at features from `first_feature` on; `weights` are those of all features, and empty where there are none.
    ///
    /// # Panics
    /// If the features begin within a block, or there is no pass left.
    pub fn look<T: Element>(&mut self, values: &[T], first_feature: usize, weights: &[f64]) {
        assert!(first_feature.is_multiple_of(BLOCK_FEATURES), "features from {first_feature} on");
        let weights = self.weights_of(first_feature, weights);
        let Self { scale, mean, rest, .. } = *self;
        match self.pass {
            Pass::Extremes => self.look_for_extremes(values, weights),
            Pass::Mean => self.sum = weighted_sum(self.sum, values, weights, |value| scale.times(value)),
            Pass::Rest => {
                self.sum = weighted_sum(self.sum, values, weights, |value| scale.times(value) - mean);
            }
            Pass::Divisor if self.preparation == Preparation::Distribution => {
                self.sum = weighted_sum(self.sum, values, weights, |value| scale.times(value));
            }
            Pass::Divisor => {
                let deviation = |value: f64| (scale.times(value) - mean) - rest;
                let square = |value: f64| deviation(value) * deviation(value);
                self.sum = weighted_sum(self.sum, values, weights, square);
            }
            Pass::Over => panic!("{:?} takes {} passes", self.preparation, self.preparation.passes()),
        }
    }

    /// Ends a pass in which all features were looked at.
    ///
    /// # Panics
    /// If there is no pass left.
    pub fn end_pass(&mut self) {
        let sum = std::mem::take(&mut self.sum).total();
        self.pass = match self.pass {
            Pass::Extremes => {
                self.choose_scale();
                if self.preparation == Preparation::Deviation { Pass::Mean } else { Pass::Divisor }
            }
            Pass::Mean => {
                self.mean = sum / self.total;
                Pass::Rest
            }
            Pass::Rest => {
                self.rest = sum / self.total;
                Pass::Divisor
            }
            Pass::Divisor => {
                self.divisor = if self.preparation == Preparation::Distribution { sum } else { sum.sqrt() };
                Pass::Over
            }
            Pass::Over => panic!("{:?} takes {} passes", self.preparation, self.preparation.passes()),
        };
    }

    /// Prepares features from `first_feature` on; `weights` as in [`Self::look`].
    ///
    /// # Panics
    /// If a pass is left.
    pub fn apply<T: Element>(&self, values: &mut [T], first_feature: usize, weights: &[f64]) {
        assert_eq!(
            self.pass,
            Pass::Over,
            "{:?} takes {} passes",
            self.preparation,
            self.preparation.passes()
        );
        let weights = self.weights_of(first_feature, weights);
        match self.preparation {
            Preparation::None | Preparation::Whitened => {}
            Preparation::Selected => replace_unweighted(values, weights, T::default()),
            Preparation::Masked => replace_unweighted(values, weights, T::NAN),
            Preparation::Truth => {
                for value in values {
                    *value = T::from_i32((*value != T::default()).into());
                }
            }
            Preparation::Direction | Preparation::Deviation if self.is_undefined() => values.fill(T::NAN),
            Preparation::Distribution if self.is_undefined() => {
                values.fill(T::from_f64(if self.finite { f64::INFINITY } else { f64::NAN }));
            }
            Preparation::Direction | Preparation::Deviation => self.normalise(values, weights),
            Preparation::Distribution => {
                for value in values {
                    *value = T::from_f64(self.scale.times(value.to_f64()) / self.divisor);
                }
            }
        }
    }

    /// The weights from this feature on, where the preparation has any.
    fn weights_of<'a>(&self, first_feature: usize, weights: &'a [f64]) -> &'a [f64] {
        if self.preparation == Preparation::Distribution {
            return &[];
        }
        weights.get(first_feature..).unwrap_or(&[])
    }

    fn look_for_extremes<T: Element>(&mut self, values: &[T], weights: &[f64]) {
        let Self { mut low, mut high, mut finite, .. } = *self;
        for (place, value) in values.iter().enumerate() {
            let value = value.to_f64();
            // as in SciPy, whatever its weight
            finite = finite && value.is_finite();
            if weights.get(place).is_none_or(|weight| *weight > 0.0) {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        (self.low, self.high, self.finite) = (low, high, finite);
    }

    /// Whether the sample has no direction, or no shares.
    #[allow(clippy::float_cmp, reason = "only of equal values nothing is left")]
    fn is_undefined(&self) -> bool {
        let Self { low, high, finite, .. } = *self;
        let is_nothing = match self.preparation {
            Preparation::Deviation => low == high,
            Preparation::Distribution => low < 0.0 || high <= 0.0,
            _ => low == 0.0 && high == 0.0,
        };
        !finite || is_nothing
    }

    /// Divides by the length what is left after the mean is taken off.
    fn normalise<T: Element>(&self, values: &mut [T], weights: &[f64]) {
        let Self { scale, mean, rest, divisor: length, .. } = *self;
        for (place, value) in values.iter_mut().enumerate() {
            let deviation = (scale.times(value.to_f64()) - mean) - rest;
            let weighted = weights.get(place).map_or(deviation, |weight| product(weight.sqrt(), deviation));
            *value = T::from_f64(weighted / length);
        }
    }
}

/// Writes `other` in place of features whose weight is 0.
fn replace_unweighted<T: Element>(values: &mut [T], weights: &[f64], other: T) {
    for (value, weight) in values.iter_mut().zip(weights) {
        if *weight <= 0.0 {
            *value = other;
        }
    }
}

/// `sum` and Σ wₗ · `term` of each value whose weight is not 0, or Σ `term` without weights.
fn weighted_sum<T: Element>(
    mut sum: CompensatedSum,
    values: &[T],
    weights: &[f64],
    term: impl Fn(f64) -> f64,
) -> CompensatedSum {
    for (number, block) in values.chunks(BLOCK_FEATURES).enumerate() {
        let mut of_block = 0.0;
        for (place, value) in block.iter().enumerate() {
            let term = term(value.to_f64());
            of_block +=
                weights.get(number * BLOCK_FEATURES + place).map_or(term, |weight| product(*weight, term));
        }
        sum = sum.plus(of_block);
    }
    sum
}

/// 0 where the weight is: the value may be so large that it is infinite once it is scaled.
fn product(weight: f64, value: f64) -> f64 {
    if weight > 0.0 { weight * value } else { 0.0 }
}
