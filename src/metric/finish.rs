//! Finishes: from what was folded over all features to the distance.

use super::arithmetic::Arithmetic;
use super::fold::Exponent;
use super::root::root;
use super::truth::{Table, Truth};

/// What is done with the folded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is the distance.
    Plain,
    /// Its square root is.
    Root,
    /// Its root of this order is.
    RootOf(Exponent),
    /// Half of it is, and 2 at most: of samples of length 1, whose squared distance is folded.
    HalfSquare,
    /// Its share of the sum of all weights is, of features if there are none, and 1 at most.
    Share,
    /// Its quotient with Σ wₗ |xₗ + yₗ| is.
    Quotient,
    /// The distance of truth values is, of a table of them: the folded value is the first of four, see [`Table`].
    Truth(Truth),
}

impl Finish {
    /// What is done while the value is in a register. Whatever NaN that is, it is the one NaN then.
    #[inline(always)]
    pub fn of<A: Arithmetic>(self, a: A, folded: A::Value) -> A::Value {
        a.one_nan(match self {
            Self::Root => a.sqrt(folded),
            Self::HalfSquare => {
                let half = a.mul(folded, a.constant(0.5));
                // less what it has above 2, which is exact; NaN stays
                a.sub(half, a.max(a.constant(0.0), a.sub(half, a.constant(2.0))))
            }
            Self::Plain | Self::RootOf(_) | Self::Share | Self::Quotient | Self::Truth(_) => folded,
        })
    }

    /// Whether nothing is left to do after [`Self::of`].
    pub const fn ends_in_registers(self) -> bool {
        matches!(self, Self::Plain | Self::Root | Self::HalfSquare)
    }

    /// The distance from what was folded over the features that two samples share, whose weights have the sum `shared`: NaN where that is 0. Sums
    /// are multiplied by `total` / `shared` first, where `total` is the sum of all weights, unless there is none.
    #[inline(always)]
    pub fn of_shared(self, folded: f64, shared: f64, total: Option<f64>) -> f64 {
        let folded = self.scaled_to_all(folded, shared, total);
        match self {
            Self::Root => folded.sqrt(),
            _ => self.rest(folded, [shared, 0.0, 0.0]),
        }
    }

    /// The folded value of [`Self::of_shared`] before its root is taken.
    #[inline(always)]
    pub fn scaled_to_all(self, folded: f64, shared: f64, total: Option<f64>) -> f64 {
        match total {
            _ if shared == 0.0 => f64::NAN,
            Some(total) => folded * (total / shared),
            None => folded,
        }
    }

    /// What is left to do: the distance, where `others` are what else was folded, or the sum of all weights.
    #[inline(always)]
    pub fn rest(self, folded: f64, others: [f64; 3]) -> f64 {
        let [divisor, of_y, neither] = others;
        match self {
            Self::Plain | Self::Root | Self::HalfSquare => folded,
            Self::RootOf(order) => root(folded, order),
            Self::Share => {
                let share = folded / divisor;
                // NaN stays
                if share > 1.0 { 1.0 } else { share }
            }
            Self::Quotient => folded / divisor,
            Self::Truth(truth) => {
                let table = Table { both: folded, of_x: divisor, of_y, neither };
                let (numerator, denominator) = truth.ratio(table);
                let is_zero = numerator == 0.0 && truth.is_zero_of_nothing();
                if is_zero { 0.0 } else { numerator / denominator }
            }
        }
    }
}
