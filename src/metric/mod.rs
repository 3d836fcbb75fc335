//! The metrics: what is folded over the features, and what is done with it.
//!
//! A metric is one line in the table below: its names, which are SciPy's, its [`Fold`] and its [`Finish`].
//! These are written once in abstract [`Arithmetic`]; `kernel` evaluates them on vectors of any
//! element type and SIMD level, [`Metric::distance`] on scalars as the definition results are checked against.
//!
//! - `fold` — what is accumulated over features
//! - `finish` — from the folded value to the distance
//! - `prepare` — what is needed of one sample alone
//! - `scaling` — powers of two that keep squares in the range of numbers
//! - `bound` — how far a distance may be from its definition

mod arithmetic;
pub mod bound;
mod definition;
mod finish;
mod fold;
mod prepare;
mod scaling;

pub use arithmetic::Arithmetic;
pub use finish::Finish;
pub use fold::{BLOCK_FEATURES, Fold, Magnitudes, Product, Reduction, Summation, Visitor, summation};
pub use prepare::{CompensatedSum, Extras, squared_norm, squared_norm_of_block};
pub use scaling::PowerOfTwo;

use std::fmt;

use crate::element::Element;

macro_rules! metrics {
    ($($metric:ident = $name:literal, aliases $aliases:expr, $fold:ident, $finish:ident, $text:literal;)*) => {
        /// A metric by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $(#[doc = $text] $metric,)* }

        impl Metric {
            /// Every metric, in the order help and tests show them.
            pub const ALL: &[Self] = &[$(Self::$metric,)*];

            /// SciPy's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$metric => $name,)* }
            }

            /// Other accepted names.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$metric => &$aliases,)* }
            }

            /// The definition in one line.
            pub const fn formula(self) -> &'static str {
                match self { $(Self::$metric => $text,)* }
            }

            /// Calls the visitor with the metric's fold as a type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Self::$metric => visitor.visit::<fold::$fold>(),)* }
            }

            /// What is done with the folded value.
            pub const fn finish(self) -> Finish {
                match self { $(Self::$metric => Finish::$finish,)* }
            }
        }
    };
}

metrics! {
    Sqeuclidean = "sqeuclidean", aliases ["sqe", "sqeuclid"], Squares, Plain, "sum over features of (x - y)^2";
    Euclidean = "euclidean", aliases ["euclid", "eu", "e", "l2"], Squares, Root, "square root of the sum over features of (x - y)^2";
    Cityblock = "cityblock", aliases ["cblock", "cb", "c", "l1", "manhattan"], Magnitudes, Plain, "sum over features of |x - y|";
    Chebyshev = "chebyshev", aliases ["chebychev", "cheby", "cheb", "ch"], Largest, Plain, "largest |x - y| of all features";
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
            fn visit<F: Fold>(self) -> bool {
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
        self.visit(definition::Definition { x, y, finish: self.finish() })
    }
}
