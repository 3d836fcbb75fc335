//! Finishes: from what was folded over all features to the distance.

use super::arithmetic::Arithmetic;

/// What is done with the folded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is the distance.
    Plain,
    /// Its square root is.
    Root,
}

impl Finish {
    /// The distance of a folded value. Whatever NaN that is, the distance is the one NaN.
    #[inline(always)]
    pub fn of<A: Arithmetic>(self, a: A, folded: A::Value) -> A::Value {
        a.one_nan(match self {
            Self::Plain => folded,
            Self::Root => a.sqrt(folded),
        })
    }
}
