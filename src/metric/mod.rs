//! The metrics: what is summed for each feature, and what is done with the sum.
//!
//! A metric is one file with one [`Formula`], and one line in the table below. Names are SciPy's.
//! Formulas are written once in abstract [`Arithmetic`]; `kernel` evaluates them on vectors of any
//! element type and SIMD level, [`Metric::distance`] on scalars as the definition results are checked against.

mod chebyshev;
mod cityblock;
mod euclidean;
mod scalar;
mod scaling;
mod sqeuclidean;

pub use chebyshev::Chebyshev;
pub use cityblock::Cityblock;
pub use euclidean::Euclidean;
pub use scalar::{CompensatedSum, squared_norm, squared_norm_of_block};
pub use scaling::PowerOfTwo;
pub use sqeuclidean::Sqeuclidean;

use std::fmt;

use crate::element::{Dtype, Element};

/// The operations a formula may use, on one value or on a vector of them (lane by lane).
pub trait Arithmetic: Copy {
    /// One value per lane.
    type Value: Copy;
    /// x − y, correctly rounded, from x and −y.
    ///
    /// Neither the sum x + (−y) nor the product-sum x·1 + (−y) rounds more than once: which of them it is, is a
    /// matter of the processor's units.
    fn difference(self, x: Self::Value, neg_y: Self::Value) -> Self::Value;
    /// a + b
    fn add(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a·b + c with one rounding.
    fn mul_add(self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// |a|
    fn abs(self, a: Self::Value) -> Self::Value;
    /// `b` where b > a, else `a`: as in SciPy, a NaN among the features is passed over.
    fn max(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// √a, correctly rounded.
    fn sqrt(self, a: Self::Value) -> Self::Value;
}

/// How a formula folds the features of a pair of samples into one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Terms are added.
    Sum,
    /// The largest term is kept.
    Max,
}

/// In which order the terms of a sum are added. It depends on metric and element type alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summation {
    /// Feature after feature. The error bound grows with the number of features.
    InOrder,
    /// In order within blocks of [`BLOCK`] features, whose sums are added with compensation
    /// (Knuth's TwoSum), so that the error does not grow with the number of blocks.
    Blocked,
}

/// Features that are summed in order before a compensated addition, see [`Summation::Blocked`].
pub const BLOCK: usize = 256;

/// A metric: its step from one feature to the next, and its finish.
pub trait Formula: Copy + Send + Sync + 'static {
    /// How features are folded.
    const REDUCTION: Reduction;
    /// Order of summation in f32.
    const SUMMATION_F32: Summation = Summation::Blocked;
    /// Order of summation in f64.
    const SUMMATION_F64: Summation = Summation::Blocked;
    /// Whether the folded value is |x|² + |y|² − 2x·y, which a matrix product gives.
    const GRAM: bool = false;
    /// Whether the terms are squares. They leave the range of numbers long before the samples do, which are scaled then.
    const SQUARES: bool = false;
    /// Whether the finish takes a square root.
    const ROOT: bool = false;

    /// The folded value after one more feature with values x and y; starts from 0.
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value;

    /// The distance, from the value folded over all features.
    #[inline(always)]
    fn finish<A: Arithmetic>(_: A, total: A::Value) -> A::Value {
        total
    }
}

/// Order of summation of formula `F` in elements of type `T`.
pub const fn summation<F: Formula, T: Element>() -> Summation {
    match T::DTYPE {
        Dtype::F32 => F::SUMMATION_F32,
        Dtype::F64 => F::SUMMATION_F64,
    }
}

/// Work to be done with a formula that is known only at run time, see [`Metric::visit`].
pub trait Visitor {
    /// What the work returns.
    type Output;
    /// Does the work for formula `F`.
    fn visit<F: Formula>(self) -> Self::Output;
}

macro_rules! metrics {
    ($($formula:ident = $name:literal, aliases $aliases:expr, $text:literal;)*) => {
        /// A metric by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $(#[doc = $text] $formula,)* }

        impl Metric {
            /// Every metric, in the order help and tests show them.
            pub const ALL: &[Self] = &[$(Self::$formula,)*];

            /// SciPy's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$formula => $name,)* }
            }

            /// Other accepted names.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$formula => &$aliases,)* }
            }

            /// The definition in one line.
            pub const fn formula(self) -> &'static str {
                match self { $(Self::$formula => $text,)* }
            }

            /// Calls the visitor with the metric's formula as a type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Self::$formula => visitor.visit::<$formula>(),)* }
            }
        }
    };
}

metrics! {
    Sqeuclidean = "sqeuclidean", aliases ["sqe", "sqeuclid"], "sum over features of (x - y)^2";
    Euclidean = "euclidean", aliases ["euclid", "eu", "e", "l2"], "square root of the sum over features of (x - y)^2";
    Cityblock = "cityblock", aliases ["cblock", "cb", "c", "l1", "manhattan"], "sum over features of |x - y|";
    Chebyshev = "chebyshev", aliases ["chebychev", "cheby", "cheb", "ch"], "largest |x - y| of all features";
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no metric is named {name}")))
    }
}

impl Metric {
    /// The metric with this name or alias, in upper or lower case, as in SciPy.
    pub fn from_name(name: &str) -> Option<Self> {
        let is_named = |metric: &Self| {
            [metric.name()].iter().chain(metric.aliases()).any(|known| known.eq_ignore_ascii_case(name))
        };
        Self::ALL.iter().copied().find(is_named)
    }

    /// Whether the Gram trick serves this metric.
    pub fn has_gram(self) -> bool {
        struct Gram;
        impl Visitor for Gram {
            type Output = bool;
            fn visit<F: Formula>(self) -> bool {
                F::GRAM
            }
        }
        self.visit(Gram)
    }

    /// The distance of two samples in f64, from the definition.
    ///
    /// Every term is computed directly and rounded; sums are [`Summation::Blocked`]. Squares that are too large or too small
    /// for f64 are computed of the pair scaled by a power of two.
    ///
    /// # Panics
    /// If the samples differ in their number of features.
    pub fn distance<T: Element>(self, x: &[T], y: &[T]) -> f64 {
        assert_eq!(x.len(), y.len(), "samples have different numbers of features");
        self.visit(scalar::Definition { x, y })
    }

    /// Bound on |computed − definition|, see [`direct_relative_error`]; `gram_tau` is the guard's
    /// threshold τ if the Gram trick may have given the value, and k = `scaling` the exponent of the factor 2^k that the samples
    /// were scaled by.
    ///
    /// With u and η of the element type and ρ the relative error of the folded value D, an entry
    /// errs by at most ρD + 2dη (each of the d terms may underflow, to within η); a square root maps a
    /// relative error ρ to at most ρ(1 + ρ)/2 and adds one rounding; and the definition, itself
    /// computed in f64, adds its own bound. A definition that is not finite allows no error.
    ///
    /// All that holds for scaled samples. Scaled down (k < 0), a feature may underflow, to within η/2, and a difference to within η:
    /// that moves D′ = 2^k D by √d η at most, and D′² by 2√d ηD′ + dη² ≤ uD′² + dη²(1 + 1/u), of which the last part stays below dη.
    /// The factor 2^-k is exact, but where the result is subnormal: η for the distance and its definition.
    pub fn tolerance<T: Element>(self, d: usize, gram_tau: Option<f64>, scaling: i32, reference: f64) -> f64 {
        if !reference.is_finite() {
            return 0.0;
        }
        let (mut relative, root) = self.folded_error::<T>(d, gram_tau);
        let mut underflow = 2.0 * d as f64 * T::SMALLEST;
        if scaling < 0 {
            relative += 2.0 * T::UNIT_ROUNDOFF;
            underflow *= 2.0;
        }
        let undo = -self.degree() * scaling;
        let scaled = PowerOfTwo::<f64>::new(-undo).times(reference);
        let error = if root {
            // |√a − √b| ≤ √|a − b|, and ≤ |a − b| / √b
            scaled * (relative * (1.0 + relative) / 2.0 + 2.0 * T::UNIT_ROUNDOFF)
                + underflow.sqrt().min(underflow / scaled)
        } else {
            scaled * relative + underflow
        };
        PowerOfTwo::<f64>::new(undo).times(error) + if scaling == 0 { 0.0 } else { T::SMALLEST }
    }

    /// |computed − definition|; 0 where they are the same to the element type, as it has one value only for all
    /// that is too large, and for NaN. Where a distance is too large for the type within its error, it may be infinite.
    pub fn error<T: Element>(self, d: usize, gram_tau: Option<f64>, computed: T, definition: f64) -> f64 {
        let (got, nearest) = (computed.to_f64(), T::from_f64(definition).to_f64());
        let (relative, _) = self.folded_error::<T>(d, gram_tau);
        let overflows = got == f64::INFINITY && definition * (1.0 + relative) > T::LARGEST;
        let same = got.to_bits() == nearest.to_bits() || (got.is_nan() && definition.is_nan());
        if same || overflows { 0.0 } else { (got - definition).abs() }
    }

    /// Relative error of the folded value and of its definition together, and whether a root is taken of it.
    fn folded_error<T: Element>(self, d: usize, gram_tau: Option<f64>) -> (f64, bool) {
        struct Folded<T>(usize, Option<f64>, std::marker::PhantomData<T>);
        impl<T: Element> Visitor for Folded<T> {
            type Output = (f64, bool);
            fn visit<F: Formula>(self) -> (f64, bool) {
                let Self(d, gram_tau, _) = self;
                let direct = direct_relative_error::<F, T>(d);
                let computed = match gram_tau {
                    Some(tau) if F::GRAM => direct.max(gram_relative_error::<F, T>(d, tau)),
                    _ => direct,
                };
                (computed + direct_relative_error::<F, f64>(d), F::ROOT)
            }
        }
        self.visit(Folded::<T>(d, gram_tau, std::marker::PhantomData))
    }
}

/// γ(k) = ku / (1 − ku): k successive roundings err by at most this, relatively.
/// (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., lemma 3.1.)
pub fn gamma(k: usize, unit_roundoff: f64) -> f64 {
    let ku = k as f64 * unit_roundoff;
    if ku < 1.0 { ku / (1.0 - ku) } else { f64::INFINITY }
}

/// Largest error of a sum over d terms, relative to the sum of their magnitudes, where each term brings `roundings` of
/// its own: γ(d + roundings) in order.
///
/// In B = ⌈d/256⌉ blocks, block sums err by γ(256 + roundings), and their compensated sum by u + γ(B − 1)² of them (T. Ogita,
/// S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005, proposition 4.5: the errors of
/// the additions, each at most u of the sum, are themselves added with rounding). A maximum does not round.
pub fn summation_error<F: Formula, T: Element>(d: usize, roundings: usize) -> f64 {
    let u = T::UNIT_ROUNDOFF;
    match (F::REDUCTION, summation::<F, T>()) {
        (Reduction::Max, _) => gamma(roundings, u),
        (Reduction::Sum, Summation::Blocked) if d > BLOCK => {
            let (of_block, of_blocks) = (gamma(BLOCK + roundings, u), u + second_order_error::<T>(d));
            of_block + of_blocks + of_block * of_blocks
        }
        (Reduction::Sum, _) => gamma(d + roundings, u),
    }
}

/// γ(B − 1)² of B = ⌈d/256⌉ blocks: what the compensated sum of so many may err by beside its final rounding.
pub fn second_order_error<T: Element>(d: usize) -> f64 {
    gamma(d.div_ceil(BLOCK) - 1, T::UNIT_ROUNDOFF).powi(2)
}

/// Relative error of the folded value of direct differences, see [`summation_error`]; a term (x − y)² counts the
/// rounding of its difference twice. For a maximum: u.
pub fn direct_relative_error<F: Formula, T: Element>(d: usize) -> f64 {
    let roundings = if F::REDUCTION == Reduction::Max { 1 } else { 2 };
    summation_error::<F, T>(d, roundings)
}

/// Relative error of D² = |x|² + |y|² − 2x·y where D² > τ(|x|² + |y|²): 2σ(3)/τ, with σ the [`summation_error`].
///
/// Norms and product err by at most σ(1)|x|², σ(1)|y|² and σ(1) Σ|xₗyₗ|; with 2 Σ|xₗyₗ| ≤ |x|² + |y|² and
/// the two last additions the sum errs by at most 2σ(3)(|x|² + |y|²) < 2σ(3)D²/τ.
pub fn gram_relative_error<F: Formula, T: Element>(d: usize, tau: f64) -> f64 {
    2.0 * summation_error::<F, T>(d, 3) / tau
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_order_term_of_66_million_features_in_f32_is_2_4e_4() {
        let d = 66_000_000;
        assert!((second_order_error::<f32>(d) - 2.4e-4).abs() < 0.05e-4);
        for error in
            [direct_relative_error::<Sqeuclidean, f32>(d), direct_relative_error::<Cityblock, f32>(d)]
        {
            assert!((error - 2.4e-4 - gamma(BLOCK + 3, f32::UNIT_ROUNDOFF)).abs() < 0.05e-4, "{error:e}");
        }
        assert!(gram_relative_error::<Sqeuclidean, f32>(d, 0.0625) > 32.0 * 2.4e-4);
        assert!(direct_relative_error::<Sqeuclidean, f64>(d) < gamma(BLOCK + 4, f64::UNIT_ROUNDOFF));
        assert!(direct_relative_error::<Sqeuclidean, f32>((1 << 32) + 1).is_infinite());
    }

    #[test]
    fn up_to_a_block_and_in_order_a_sum_errs_by_one_rounding_a_term() {
        for d in [1, 255, 256] {
            let u = f32::UNIT_ROUNDOFF;
            assert_eq!(direct_relative_error::<Sqeuclidean, f32>(d).to_bits(), gamma(d + 2, u).to_bits());
        }
        let in_order = direct_relative_error::<Cityblock, f64>(5000);
        assert_eq!(in_order.to_bits(), gamma(5002, f64::UNIT_ROUNDOFF).to_bits());
    }
}
