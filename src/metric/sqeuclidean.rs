use super::{Arithmetic, Formula, Reduction};

/// d(x, y) = Σ (xₗ − yₗ)²
#[derive(Clone, Copy, Debug)]
pub struct Sqeuclidean;

impl Formula for Sqeuclidean {
    const REDUCTION: Reduction = Reduction::Sum;
    const GRAM: bool = true;
    const SQUARES: bool = true;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        // an addition: the multipliers have the square
        let difference = a.add(x, neg_y);
        a.mul_add(difference, difference, acc)
    }
}
