use super::{Arithmetic, Formula, Reduction, Summation};

/// d(x, y) = max |xₗ − yₗ|
#[derive(Clone, Copy, Debug)]
pub struct Chebyshev;

impl Formula for Chebyshev {
    const REDUCTION: Reduction = Reduction::Max;
    // A maximum does not round: its order is free.
    const SUMMATION_F32: Summation = Summation::InOrder;
    const SUMMATION_F64: Summation = Summation::InOrder;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        a.max(acc, a.abs(a.difference(x, neg_y)))
    }
}
