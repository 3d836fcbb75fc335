use super::{Arithmetic, Formula, Reduction, Summation};

/// d(x, y) = Σ |xₗ − yₗ|
#[derive(Clone, Copy, Debug)]
pub struct Cityblock;

impl Formula for Cityblock {
    const REDUCTION: Reduction = Reduction::Sum;
    // SciPy's cdist adds the features one after the other; so do we, to return its bits.
    const SUMMATION_F64: Summation = Summation::InOrder;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        a.add(acc, a.abs(a.difference(x, neg_y)))
    }
}
