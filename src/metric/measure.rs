//! A metric with its parameters: all that decides the distance of two samples.

use std::fmt;
use std::sync::Arc;

use super::definition::{Definition, Reference};
use super::fold::{
    BlockedMagnitudes, Both, Divergences, Every, Exponent, Fold, Largest, Magnitudes, Neither, OfX, OfY,
    Powers, Ratios, RealPowers, Shared, Squares, Totals, Unequal, Visitor, WeightedMagnitudes,
    WeightedSquares, WeightedTotals,
};
use super::prepare::Preparation;
use super::preparing::Preparing;
use super::scaling::{PowerOfTwo, exponent_of};
use super::{Finish, Metric};
use crate::element::{Dtype, Element};

/// What is folded over the features of two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// (xₗ − yₗ)²
    Squares,
    /// |xₗ − yₗ|
    Magnitudes,
    /// |xₗ − yₗ|, of which the largest is kept
    Largest,
    /// |xₗ − yₗ|^p
    Powers,
    /// |xₗ − yₗ| / (|xₗ| + |yₗ|)
    Ratios,
    /// (p ln(p/m) + q ln(q/m)) / 2 of shares p and q with mean m
    Divergences,
    /// 1 where xₗ ≠ yₗ
    Unequal,
    /// Which of xₗ and yₗ are true: four sums, see [`super::Table`]
    Table,
}

/// What a metric is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What is done with each sample first.
    pub preparation: Preparation,
    /// What is folded over the features.
    pub terms: Terms,
    /// What is done with the folded value.
    pub finish: Finish,
}

impl Form {
    /// Whether samples are other numbers after their preparation, of no size that depends on theirs.
    pub fn prepares(&self) -> bool {
        matches!(
            self.preparation,
            Preparation::Direction | Preparation::Deviation | Preparation::Distribution
        )
    }

    /// Whether all samples are whitened before: multiplied by the root of an inverse covariance.
    pub fn is_whitened(&self) -> bool {
        self.preparation == Preparation::Whitened
    }

    /// Whether the distance is the quotient of two folded values.
    pub fn is_quotient(&self) -> bool {
        self.finish == Finish::Quotient
    }
}

/// The order p of a Minkowski distance.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Order(f64);

/// It is no NaN.
impl Eq for Order {}

impl Order {
    /// Euclid's.
    pub const TWO: Self = Self(2.0);
    /// Of a larger one, powers would leave the range of f64 where a difference is one of the last digits of the largest value; and the distance is near
    /// that of infinity.
    const LARGEST: f64 = 32.0;
    /// Of a smaller one, the root would multiply errors by more than a thousand.
    const SMALLEST: f64 = 0.001;
    /// The largest of f32, likewise.
    const LARGEST_IN_F32: f64 = 8.0;

    /// Of this value.
    ///
    /// # Errors
    /// If it is none; the text says what it could be.
    pub fn new(p: f64) -> Result<Self, String> {
        if p.is_nan() || p <= 0.0 {
            return Err(format!("p must be larger than 0, and is {p}"));
        }
        if p.is_finite() && !(Self::SMALLEST..=Self::LARGEST).contains(&p) {
            let (smallest, largest) = (Self::SMALLEST, Self::LARGEST);
            return Err(format!("p can be {smallest} to {largest}, or inf, and is {p}"));
        }
        Ok(Self(p))
    }

    /// Its value.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Whether powers keep in the range of a type.
    pub fn fits(self, dtype: Dtype) -> bool {
        dtype == Dtype::F64 || self.0.is_infinite() || self.0 <= Self::LARGEST_IN_F32
    }
}

// JSON has no infinity, so there it is a text.
impl From<Order> for String {
    fn from(order: Order) -> Self {
        order.to_string()
    }
}

impl TryFrom<String> for Order {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text.parse().map_err(|error| format!("p \"{text}\": {error}"))?)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Weights of the features, divided by a power of two where they are very large or small.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    values: Arc<[f64]>,
    /// Their sum, and the largest.
    total: f64,
    largest: f64,
    /// What distances are multiplied by for it, as a power of two.
    exponent: i32,
}

/// A metric with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    metric: Metric,
    form: Form,
    exponent: Exponent,
    weights: Option<Weights>,
    /// Whether NaN stands for a missing value, which is skipped.
    skips_missing: bool,
}

impl From<Metric> for Measure {
    fn from(metric: Metric) -> Self {
        Self::new(metric, None, None)
    }
}

impl Measure {
    /// Of a metric, the order of which is 2 unless it is given, and a weight for each feature, all of which are 1 unless they are given.
    ///
    /// # Panics
    /// If no weight is positive, or any is negative or no number.
    pub fn new(metric: Metric, order: Option<Order>, weights: Option<&[f64]>) -> Self {
        let (mut form, mut exponent) = (metric.form(), Exponent::default());
        if form.terms == Terms::Powers {
            let order = order.unwrap_or(Order::TWO);
            let plain = |terms, finish| Form { terms, finish, ..form };
            form = match order.get() {
                1.0 => plain(Terms::Magnitudes, Finish::Plain),
                2.0 => plain(Terms::Squares, Finish::Root),
                f64::INFINITY => plain(Terms::Largest, Finish::Plain),
                _ => {
                    exponent = Exponent::new(order.get());
                    plain(Terms::Powers, Finish::RootOf(exponent))
                }
            };
        }
        if form.terms == Terms::Largest && weights.is_some() {
            form.preparation = Preparation::Selected;
        }
        let weights = weights.map(|weights| Weights::new(weights, form));
        Self { metric, form, exponent, weights, skips_missing: false }
    }

    /// The same, where NaN stands for a missing value if `skips_missing`: of two samples, only the features count that both have.
    ///
    /// # Panics
    /// If the metric cannot skip missing values.
    #[must_use]
    pub fn skipping_missing(self, skips_missing: bool) -> Self {
        let Self { metric, mut form, .. } = self;
        assert!(!skips_missing || metric.can_skip_missing(), "{metric} does not skip missing values");
        if skips_missing && form.preparation == Preparation::Selected {
            form.preparation = Preparation::Masked;
        }
        Self { form, skips_missing, ..self }
    }

    /// The same where weights are not known yet, or do not matter: tiles are computed in the same way.
    pub fn of_any_weights(metric: Metric, order: Option<Order>, weighted: bool) -> Self {
        Self::new(metric, order, weighted.then_some(&[1.0]))
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// What it is made of.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether NaN stands for a missing value, which is skipped.
    pub fn skips_missing(&self) -> bool {
        self.skips_missing
    }

    /// Where missing values are skipped, the sum of all weights (the number of features `d` where there are none), if the folded value grows with the
    /// weights of the features that two samples share, and so is multiplied by the quotient of the two.
    pub fn scaled_to_all(&self, d: usize) -> Option<f64> {
        let grows = self.form.terms != Terms::Largest && self.form.finish != Finish::Share;
        (self.skips_missing && grows).then(|| self.total(d))
    }

    /// The exponent of the terms that have one.
    pub fn exponent(&self) -> Exponent {
        self.exponent
    }

    /// The power of the terms in the differences; 0 where they do not grow with them.
    pub fn power(&self) -> Exponent {
        match self.form.terms {
            Terms::Squares => Exponent::TWO,
            Terms::Magnitudes | Terms::Largest => Exponent::ONE,
            Terms::Powers => self.exponent,
            Terms::Ratios | Terms::Divergences | Terms::Unequal | Terms::Table => Exponent::ZERO,
        }
    }

    /// The weights, as they are taken; none where there are none.
    pub fn weights(&self) -> &[f64] {
        self.weights.as_ref().map_or(&[], |weights| &weights.values)
    }

    /// The sum of these weights: the number of features `d` where there are none.
    pub fn total(&self, d: usize) -> f64 {
        self.weights.as_ref().map_or(d as f64, |weights| weights.total)
    }

    /// The largest of these weights.
    pub(super) fn largest_weight(&self) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights.largest)
    }

    pub(super) fn weights_exponent(&self) -> i32 {
        self.weights.as_ref().map_or(0, |weights| weights.exponent)
    }

    /// The first weight that is not 0, but so small beside the largest that `T` does not hold it with all its digits, or that what a
    /// sample is divided by could lose digits.
    pub fn weight_too_small<T: Element>(&self) -> Option<usize> {
        let smallest = match self.form.preparation {
            // sums are divided by one of them
            Preparation::None if self.skips_missing => T::SMALLEST_NORMAL.max(SMALLEST_DIVIDING_WEIGHT),
            Preparation::None | Preparation::Whitened => T::SMALLEST_NORMAL,
            Preparation::Truth => T::SMALLEST_NORMAL.max(SMALLEST_DIVIDING_WEIGHT),
            // they only select
            Preparation::Selected | Preparation::Masked => return None,
            Preparation::Direction | Preparation::Deviation | Preparation::Distribution => {
                SMALLEST_PREPARED_WEIGHT
            }
        };
        self.weights().iter().position(|weight| *weight > 0.0 && *weight < smallest)
    }

    /// The largest weight, if no power of two can be taken off the weights, since a real order has no exact root of it, and they are so large or
    /// small that powers could leave the range of numbers for it.
    pub fn weight_too_far(&self) -> Option<f64> {
        let Finish::RootOf(order) = self.form.finish else { return None };
        let is_far = |weights: &Weights| exponent_of(weights.largest).abs() > MIDDLE;
        let weights = self.weights.as_ref().filter(|weights| order.is_real() && is_far(weights))?;
        Some(weights.largest)
    }

    /// Whether weights are part of the terms: they are none where samples are prepared with them.
    pub fn has_weighted_terms(&self) -> bool {
        self.weights.is_some() && matches!(self.form.preparation, Preparation::None | Preparation::Truth)
    }

    /// Whether the Gram trick serves it.
    pub fn has_gram(&self) -> bool {
        self.form.terms == Terms::Squares && !self.has_weighted_terms() && !self.skips_missing
    }

    /// The weights that are part of the terms; none where none are.
    pub fn weights_of_terms(&self) -> &[f64] {
        if self.has_weighted_terms() { self.weights() } else { &[] }
    }

    /// Prepares a sample for its distances.
    pub fn prepare<T: Element>(&self, sample: &mut [T]) {
        self.form.preparation.apply(sample, self.weights(), self.total(sample.len()));
    }

    /// Whether samples can be prepared, and their distances folded, a part of their features after the other: all can but whitened ones, each
    /// value of which is made of all features.
    pub fn can_be_in_parts(&self) -> bool {
        !self.form.is_whitened()
    }

    /// Passes over the features of a sample before the first part of them can be prepared.
    pub fn passes(&self) -> usize {
        self.form.preparation.passes()
    }

    /// Times that samples are read by parts before the first of them can be prepared: for a survey, which is also the first pass.
    pub fn first_readings(&self) -> usize {
        self.passes().max(1)
    }

    /// What is known of a sample of `d` features before the first pass; [`Preparing`] says what follows.
    pub fn preparing(&self, d: usize) -> Preparing {
        Preparing::new(self.form.preparation, self.total(d))
    }

    /// Looks at the features of a sample from `first_feature` on, a multiple of [`BLOCK_FEATURES`](super::BLOCK_FEATURES): in order, in each pass.
    ///
    /// # Panics
    /// If it is no multiple, or there is no pass left.
    pub fn look<T: Element>(&self, preparing: &mut Preparing, values: &[T], first_feature: usize) {
        preparing.look(values, first_feature, self.weights());
    }

    /// Prepares the features of a sample from `first_feature` on, after all passes: to the bits that [`Self::prepare`] gives.
    ///
    /// # Panics
    /// If a pass is left, or the measure [cannot be in parts](Self::can_be_in_parts).
    pub fn prepare_part<T: Element>(&self, preparing: &Preparing, values: &mut [T], first_feature: usize) {
        assert!(self.can_be_in_parts(), "{} takes all features of a sample at once", self.metric);
        preparing.apply(values, first_feature, self.weights());
    }

    /// Calls the visitor with the fold.
    pub fn visit<V: Visitor>(&self, visitor: V) -> V::Output {
        if self.skips_missing {
            return self.visit_shared(visitor);
        }
        match (self.form.terms, self.has_weighted_terms()) {
            (Terms::Squares, false) => visitor.visit(Squares),
            (Terms::Squares, true) => visitor.visit(WeightedSquares),
            // both parts of a quotient are added in the same order: where they have the same terms it is 1
            (Terms::Magnitudes, false) if self.form.is_quotient() => visitor.visit(BlockedMagnitudes),
            (Terms::Magnitudes, false) => visitor.visit(Magnitudes),
            (Terms::Magnitudes, true) => visitor.visit(WeightedMagnitudes),
            (Terms::Largest, _) => visitor.visit(Largest),
            (Terms::Powers, _) if self.exponent.is_real() => visitor.visit(RealPowers::of(self.exponent)),
            (Terms::Powers, _) => visitor.visit(Powers::of(self.exponent)),
            (Terms::Ratios, _) => visitor.visit(Ratios),
            (Terms::Divergences, _) => visitor.visit(Divergences),
            (Terms::Unequal, _) => visitor.visit(Unequal),
            (Terms::Table, _) => visitor.visit(Both),
        }
    }

    /// The same where missing values are skipped: with a list of its own, as every fold that is named here is compiled for all types and levels.
    fn visit_shared<V: Visitor>(&self, visitor: V) -> V::Output {
        fn visit<F: Fold, V: Visitor>(visitor: V, exponent: Exponent) -> V::Output {
            visitor.visit(Shared::<F>::of(exponent))
        }
        let exponent = self.exponent;
        match (self.form.terms, self.has_weighted_terms()) {
            (Terms::Squares, false) => visit::<Squares, V>(visitor, exponent),
            (Terms::Squares, true) => visit::<WeightedSquares, V>(visitor, exponent),
            (Terms::Magnitudes, false) => visit::<Magnitudes, V>(visitor, exponent),
            (Terms::Magnitudes, true) => visit::<WeightedMagnitudes, V>(visitor, exponent),
            (Terms::Largest, _) => visit::<Largest, V>(visitor, exponent),
            (Terms::Powers, _) if exponent.is_real() => visit::<RealPowers, V>(visitor, exponent),
            (Terms::Powers, _) => visit::<Powers, V>(visitor, exponent),
            (Terms::Ratios, _) => visit::<Ratios, V>(visitor, exponent),
            (Terms::Unequal, _) => visit::<Unequal, V>(visitor, exponent),
            (Terms::Divergences | Terms::Table, _) => {
                unreachable!("{} does not skip missing values", self.metric)
            }
        }
    }

    /// Calls a visitor with each fold that the distance needs beside that one: where missing values are skipped, the weights of the features that two
    /// samples share; of a quotient its divisor; of truth values the rest of their [`super::Table`].
    pub fn visit_others<V: Visitor>(&self, visitor: impl Fn() -> V) -> Vec<V::Output> {
        if self.skips_missing {
            return vec![visitor().visit(Shared::<Every>::of(self.exponent))];
        }
        match (self.form.finish, self.has_weighted_terms()) {
            (Finish::Quotient, false) => vec![visitor().visit(Totals)],
            (Finish::Quotient, true) => vec![visitor().visit(WeightedTotals)],
            (Finish::Truth(_), _) => {
                vec![visitor().visit(OfX), visitor().visit(OfY), visitor().visit(Neither)]
            }
            _ => Vec::new(),
        }
    }

    /// The distance of two samples in f64, from the definition: see [`Self::reference`].
    ///
    /// # Panics
    /// If the samples differ in their number of features.
    pub fn distance<T: Element>(&self, x: &[T], y: &[T]) -> f64 {
        self.reference(x, y).distance
    }

    /// The distance of two samples in f64, from the definition, and what its error depends on.
    ///
    /// Every term is computed directly and rounded; sums are [`super::Summation::Blocked`]. Powers that are too large or too small
    /// for f64 are computed of the pair scaled by a power of two.
    ///
    /// # Panics
    /// If the samples differ in their number of features.
    pub fn reference<T: Element>(&self, x: &[T], y: &[T]) -> Reference {
        assert_eq!(x.len(), y.len(), "samples have different numbers of features");
        let wide = |sample: &[T]| {
            let mut sample: Vec<f64> = sample.iter().map(|value| value.to_f64()).collect();
            self.prepare(&mut sample);
            sample
        };
        Definition { x: &wide(x), y: &wide(y), measure: self }.reference()
    }
}

/// 2⁻⁸⁶⁰, in f64: of values brought to [1, 2), the square of a deviation from their mean is 2⁻¹⁰⁸ or more where it is the largest, and with
/// such a weight still so far above the smallest normal number that a sum of such terms keeps its digits.
const SMALLEST_PREPARED_WEIGHT: f64 = f64::from_bits((1023 - 860) << 52);

/// 2⁻⁴⁰⁰: with weights that are no smaller, and below 2⁶¹, products and quotients of two sums of them are normal numbers in f64.
const SMALLEST_DIVIDING_WEIGHT: f64 = f64::from_bits((1023 - 400) << 52);

/// Weights are taken as they are if the exponent of the largest is no larger.
const MIDDLE: i32 = 60;

impl Weights {
    fn new(weights: &[f64], form: Form) -> Self {
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let is_weight = |weight: &f64| *weight >= 0.0 && weight.is_finite();
        assert!(
            largest > 0.0 && weights.iter().all(is_weight),
            "some weights are positive, and none negative"
        );
        // of the exponent of the weights, the distances' must be a whole part
        let (whole, halves) = match form.finish {
            // they are no part of a largest term
            Finish::Plain if form.terms == Terms::Largest => (1, 0),
            Finish::Plain => (1, 2),
            Finish::Root => (2, 4),
            // of a real order there is none
            Finish::RootOf(order) => {
                let halves = order.halves().map_or(0, u32::cast_signed);
                (halves, halves)
            }
            Finish::HalfSquare | Finish::Share | Finish::Quotient | Finish::Truth(_) => (1, 0),
        };
        let exponent = exponent_of(largest);
        // of a quotient, samples and weights are kept away from the smallest numbers
        let is_kept = exponent.abs() <= MIDDLE && !form.is_quotient() || whole == 0;
        let exponent = if is_kept { 0 } else { exponent.div_euclid(whole) * whole };
        let factor = PowerOfTwo::<f64>::new(-exponent);
        let values: Arc<[f64]> = weights.iter().map(|weight| factor.times(*weight)).collect();
        let total = super::prepare::compensated_sum(values.iter().copied());
        Self {
            values,
            total,
            largest: factor.times(largest),
            exponent: if halves == 0 { 0 } else { 2 * exponent / halves },
        }
    }
}
