use super::{Arithmetic, Formula, Reduction, Sqeuclidean};

/// d(x, y) = √ Σ (xₗ − yₗ)²
#[derive(Clone, Copy, Debug)]
pub struct Euclidean;

impl Formula for Euclidean {
    const REDUCTION: Reduction = Reduction::Sum;
    const GRAM: bool = true;
    const SQUARES: bool = true;
    const ROOT: bool = true;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        Sqeuclidean::step(a, acc, x, neg_y)
    }

    #[inline(always)]
    fn finish<A: Arithmetic>(a: A, total: A::Value) -> A::Value {
        a.sqrt(total)
    }
}
