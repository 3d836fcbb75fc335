//! Folds: what is accumulated over the features of a pair of samples.
//!
//! A fold is bitwise symmetric in x and y, since which of the two is a row depends on the ranks.

use super::arithmetic::Arithmetic;
use crate::element::{Dtype, Element};

/// How a fold puts the features of a pair of samples together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Terms are added.
    Sum,
    /// The largest term is kept.
    Max,
}

/// In which order the terms of a sum are added. It depends on fold and element type alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summation {
    /// Feature after feature. The error bound grows with the number of features.
    InOrder,
    /// In order within blocks of [`BLOCK_FEATURES`], whose sums are added with compensation
    /// (Knuth's TwoSum), so that the error does not grow with the number of blocks.
    Blocked,
}

/// Features that are summed in order before a compensated addition, see [`Summation::Blocked`].
pub const BLOCK_FEATURES: usize = 256;

/// A fold: its step from one feature to the next.
pub trait Fold: Copy + Send + Sync + 'static {
    /// How features are put together.
    const REDUCTION: Reduction;
    /// Order of summation in f32.
    const SUMMATION_F32: Summation = Summation::Blocked;
    /// Order of summation in f64.
    const SUMMATION_F64: Summation = Summation::Blocked;
    /// Whether the folded value is |x|² + |y|² − 2x·y, which a matrix product gives.
    const GRAM: bool = false;
    /// Whether the terms are squares. They leave the range of numbers long before the samples do, which are scaled then.
    const SQUARES: bool = false;

    /// The folded value after one more feature with values x and y; starts from 0.
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value;
}

/// Order of summation of a fold in elements of type `T`.
pub const fn summation<F: Fold, T: Element>() -> Summation {
    match T::DTYPE {
        Dtype::F32 => F::SUMMATION_F32,
        Dtype::F64 => F::SUMMATION_F64,
    }
}

/// Work to be done with a fold that is known only at run time, see [`super::Metric::visit`].
pub trait Visitor {
    /// What the work returns.
    type Output;
    /// Does the work for fold `F`.
    fn visit<F: Fold>(self) -> Self::Output;
}

/// Σ (xₗ − yₗ)²
#[derive(Clone, Copy, Debug)]
pub(super) struct Squares;

impl Fold for Squares {
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

/// Σ |xₗ − yₗ|
#[derive(Clone, Copy, Debug)]
pub struct Magnitudes;

impl Fold for Magnitudes {
    const REDUCTION: Reduction = Reduction::Sum;
    // SciPy's cityblock adds the features one after the other; so do we, to return its bits.
    const SUMMATION_F64: Summation = Summation::InOrder;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        a.add(acc, a.abs(a.difference(x, neg_y)))
    }
}

/// max |xₗ − yₗ|
#[derive(Clone, Copy, Debug)]
pub(super) struct Largest;

impl Fold for Largest {
    const REDUCTION: Reduction = Reduction::Max;
    // A maximum does not round: its order is free.
    const SUMMATION_F32: Summation = Summation::InOrder;
    const SUMMATION_F64: Summation = Summation::InOrder;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        a.max(acc, a.abs(a.difference(x, neg_y)))
    }
}

/// −Σ xₗ·yₗ: of the Gram trick.
#[derive(Clone, Copy, Debug)]
pub struct Product;

impl Fold for Product {
    const REDUCTION: Reduction = Reduction::Sum;

    #[inline(always)]
    fn step<A: Arithmetic>(a: A, acc: A::Value, x: A::Value, neg_y: A::Value) -> A::Value {
        a.mul_add(x, neg_y, acc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Finish;
    use crate::metric::arithmetic::Scalar;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn check_symmetry<F: Fold>() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        for _ in 0..300_000 {
            // of all kinds: infinite, NaN and subnormal ones too, where bits are drawn from few
            let mask = if rng.random() { u64::MAX } else { 0x8ff0_0000_0000_0001 };
            let [x, y, acc] = [0; 3].map(|_| f64::from_bits(rng.random::<u64>() & mask));
            let [one, other] = [(x, y), (y, x)].map(|(x, y)| F::step(Scalar, acc, x, -y));
            for finish in [Finish::Plain, Finish::Root] {
                let bits = [one, other].map(|total| finish.of(Scalar, total).to_bits());
                assert_eq!(bits[0], bits[1], "{x:e} and {y:e} after {acc:e}, {finish:?}");
                assert!(!f64::from_bits(bits[0]).is_nan() || bits[0] == f64::NAN.to_bits());
            }
        }
    }

    #[test]
    fn folds_and_finishes_are_symmetric_in_every_bit() {
        check_symmetry::<Squares>();
        check_symmetry::<Magnitudes>();
        check_symmetry::<Largest>();
        check_symmetry::<Product>();
    }
}
