//! The metrics: what is folded over the features, and what is done with it.
//!
//! A metric is one line in the table below: its names, which are SciPy's, what is done with each sample first, the terms that are
//! folded over the features, and the [`Finish`]. Folds and finishes are written once in abstract [`Arithmetic`]; `kernel` evaluates them
//! on vectors of any element type and SIMD level, [`Measure::distance`] on scalars as the definition results are checked against.
//!
//! - `measure` — a metric with its parameters
//! - `prepare` — what is done with one sample alone
//! - `preparing` — the same of a sample whose features come in parts
//! - `fold` — what is accumulated over features
//! - `finish` — from the folded value to the distance
//! - `divergence` — how far two shares are apart
//! - `power` — logarithms and powers with real exponents
//! - `root` — roots, by Newton's method or as powers
//! - `truth` — distances of truth values
//! - `scaling` — powers of two that keep powers in the range of numbers
//! - `bound` — how far a distance may be from its definition

mod arithmetic;
pub mod bound;
mod definition;
mod divergence;
mod finish;
mod fold;
mod measure;
mod power;
mod prepare;
mod preparing;
mod root;
mod scaling;
mod truth;

pub use arithmetic::{Arithmetic, ExponentBits};
pub use definition::Reference;
pub use finish::Finish;
pub use fold::{
    BLOCK_FEATURES, Exponent, Fold, Magnitudes, Product, Reduction, Summation, Visitor, summation,
};
pub use measure::{Form, Measure, Order, Terms};
pub use power::{RealExponent, power, power_roundings};
pub use prepare::{CompensatedSum, Extras, Preparation, squared_norm, squared_norm_of_block};
pub use preparing::Preparing;
pub use root::roots;
pub use scaling::{PowerOfTwo, exponent_of};
pub use truth::{Table, Truth, quotient_to_odd};

use std::fmt;

/// What a metric may be given beside the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// The order p.
    Order,
    /// A weight for each feature.
    Weights,
    /// A variance for each feature.
    Variance,
    /// The inverse of a covariance.
    InverseCovariance,
    /// NaN among the samples for missing values, which are skipped.
    Missing,
}

macro_rules! metrics {
    ($($metric:ident = $name:literal, aliases $aliases:expr, takes $takes:expr, $preparation:ident, $terms:ident, $finish:ident $(($truth:ident))?, $text:literal;)*) => {
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

            /// What it may be given beside the samples.
            pub const fn takes(self) -> &'static [Parameter] {
                match self { $(Self::$metric => &$takes,)* }
            }

            /// What it is made of; of an order other than 2 see [`Measure::new`].
            pub const fn form(self) -> Form {
                match self {
                    $(Self::$metric => Form {
                        preparation: Preparation::$preparation,
                        terms: Terms::$terms,
                        finish: Finish::$finish $((Truth::$truth))?,
                    },)*
                }
            }
        }
    };
}

use Parameter::{InverseCovariance as I, Missing as M, Order as P, Variance as V, Weights as W};

metrics! {
    Sqeuclidean = "sqeuclidean", aliases ["sqe", "sqeuclid"], takes [W, M],
        None, Squares, Plain, "sum over features of (x - y)^2";
    Euclidean = "euclidean", aliases ["euclid", "eu", "e", "l2"], takes [W, M],
        None, Squares, Root, "square root of the sum over features of (x - y)^2";
    Cityblock = "cityblock", aliases ["cblock", "cb", "c", "l1", "manhattan"], takes [W, M],
        None, Magnitudes, Plain, "sum over features of |x - y|";
    Chebyshev = "chebyshev", aliases ["chebychev", "cheby", "cheb", "ch"], takes [W, M],
        None, Largest, Plain, "largest |x - y| of all features";
    Minkowski = "minkowski", aliases ["mi", "m", "pnorm"], takes [P, W, M],
        None, Powers, Plain, "p-th root of the sum over features of |x - y|^p";
    Seuclidean = "seuclidean", aliases ["se", "s"], takes [V],
        None, Squares, Root, "square root of the sum over features of (x - y)^2 / variance";
    Mahalanobis = "mahalanobis", aliases ["mahal", "mah"], takes [I],
        Whitened, Squares, Root, "square root of (x - y)' VI (x - y), where VI is the inverse of the covariance of the features";
    Cosine = "cosine", aliases ["cos"], takes [W],
        Direction, Squares, HalfSquare, "1 - x.y / (|x| |y|)";
    Correlation = "correlation", aliases ["co"], takes [W],
        Deviation, Squares, HalfSquare, "1 - correlation of the features of x and y";
    Canberra = "canberra", aliases [], takes [W, M],
        None, Ratios, Plain, "sum over features of |x - y| / (|x| + |y|), where 0 / 0 is 0";
    Braycurtis = "braycurtis", aliases [], takes [W],
        None, Magnitudes, Quotient, "sum over features of |x - y|, divided by that of |x + y|";
    Jensenshannon = "jensenshannon", aliases ["js"], takes [],
        Distribution, Divergences, Root, "square root of half the sum over features of p log(p/m) + q log(q/m), of shares p and q and their mean m";
    Hamming = "hamming", aliases ["matching", "hamm", "ha", "h"], takes [W, M],
        None, Unequal, Share, "share of the features in which x and y differ";
    Jaccard = "jaccard", aliases ["jacc", "ja", "j"], takes [W],
        Truth, Table, Truth(Jaccard), "of the features that are true in x or y, the share of those in which they differ";
    Dice = "dice", aliases [], takes [W],
        Truth, Table, Truth(Dice), "u / (2 b + u) of u features in which x and y differ and b that are true in both";
    Rogerstanimoto = "rogerstanimoto", aliases [], takes [W],
        Truth, Table, Truth(RogersTanimoto), "2 u / (d + u) of u of d features in which x and y differ";
    Russellrao = "russellrao", aliases [], takes [W],
        Truth, Table, Truth(RussellRao), "share of the features that are not true in both x and y";
    Sokalsneath = "sokalsneath", aliases [], takes [W],
        Truth, Table, Truth(SokalSneath), "2 u / (b + 2 u) of u features in which x and y differ and b that are true in both";
    Yule = "yule", aliases [], takes [W],
        Truth, Table, Truth(Yule), "2 p q / (b n + p q) of p and q features true in x or y alone, b in both, n in neither";
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

    /// Whether it takes no numbers other than 0 and 1, for which SciPy computes something else.
    pub fn takes_truth_alone(self) -> bool {
        self.form().finish == Finish::Truth(Truth::Dice)
    }

    /// Whether missing values may be skipped.
    pub fn can_skip_missing(self) -> bool {
        self.takes().contains(&Parameter::Missing)
    }

    /// Whether results of the first version of the format can be of it.
    pub const fn is_of_format_1(self) -> bool {
        matches!(self, Self::Sqeuclidean | Self::Euclidean | Self::Cityblock | Self::Chebyshev)
    }

    /// Whether distances stay what they are if the same number is taken off all values.
    pub fn ignores_shifts(self) -> bool {
        let form = self.form();
        let is_shifted = matches!(
            form.preparation,
            Preparation::Direction | Preparation::Distribution | Preparation::Truth
        );
        !is_shifted && form.terms != Terms::Ratios && !form.is_quotient()
    }
}
