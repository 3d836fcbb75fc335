//! Folds: what is accumulated over the features of a pair of samples.
//!
//! A fold is bitwise symmetric in x and y, since which of the two is a row depends on the ranks.

use super::arithmetic::Arithmetic;
use super::divergence::{divergence, divergence_roundings};
use super::power::{RealExponent, power, power_roundings};
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

/// Exponent of the terms of a fold: 0 or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exponent(f64);

/// It is no NaN.
impl Eq for Exponent {}

impl Exponent {
    /// Halves of the largest exponent whose powers are products.
    const MOST_HALVES: f64 = 16.0;

    /// Of what does not grow with differences.
    pub const ZERO: Self = Self(0.0);
    /// Of magnitudes.
    pub const ONE: Self = Self(1.0);
    /// Of squares.
    pub const TWO: Self = Self(2.0);

    /// Of this value.
    pub const fn new(p: f64) -> Self {
        Self(p)
    }

    /// Its value.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Whether it is a real one, of which powers take a logarithm: all are but multiples of a half up to 8.
    pub fn is_real(self) -> bool {
        self.halves().is_none()
    }

    /// How many halves it is, if it is not [real](Self::is_real): powers are products of numbers and square roots then.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    pub fn halves(self) -> Option<u32> {
        let halves = 2.0 * self.0;
        (halves.fract() == 0.0 && halves <= Self::MOST_HALVES).then_some(halves as u32)
    }
}

/// A fold: its step from one feature to the next.
pub trait Fold: Copy + Send + Sync + 'static {
    /// How features are put together.
    const REDUCTION: Reduction = Reduction::Sum;
    /// Order of summation in f32.
    const SUMMATION_F32: Summation = Summation::Blocked;
    /// Order of summation in f64.
    const SUMMATION_F64: Summation = Summation::Blocked;
    /// Whether the folded value is |x|² + |y|² − 2x·y, which a matrix product gives.
    const GRAM: bool = false;
    /// Whether every term has a weight: 1 where no weights are given.
    const WEIGHTED: bool = false;

    /// The fold, whose terms have this exponent if it takes one.
    fn of(exponent: Exponent) -> Self;

    /// Roundings to a type that a term goes through, relative to the term: that of its weight among them.
    fn roundings(self, dtype: Dtype) -> usize;

    /// The folded value after one more feature with values x and y; starts from 0.
    fn step<A: Arithmetic>(
        self,
        a: A,
        acc: A::Value,
        x: A::Value,
        neg_y: A::Value,
        weight: A::Value,
    ) -> A::Value;
}

/// Order of summation of a fold in elements of type `T`.
pub const fn summation<F: Fold, T: Element>() -> Summation {
    match T::DTYPE {
        Dtype::F32 => F::SUMMATION_F32,
        Dtype::F64 => F::SUMMATION_F64,
    }
}

/// Work to be done with a fold that is known only at run time, see [`super::Measure::visit`].
pub trait Visitor {
    /// What the work returns.
    type Output;
    /// Does the work with fold `F`.
    fn visit<F: Fold>(self, fold: F) -> Self::Output;
}

/// The folds: what each has beside its constants, the roundings of a term, and the step.
macro_rules! folds {
    ($dtype:ident, $($(#[$doc:meta])* $name:ident { $($constant:ident: $type:ty = $value:expr;)* }
        roundings $roundings:expr,
        |$a:ident, $acc:ident, $x:pat_param, $neg_y:pat_param, $weight:pat_param| $step:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Fold for $name {
            $(const $constant: $type = $value;)*

            fn of(_: Exponent) -> Self {
                Self
            }

            #[allow(unused_variables, reason = "most have as many for either type")]
            fn roundings(self, $dtype: Dtype) -> usize {
                $roundings
            }

            #[inline(always)]
            fn step<A: Arithmetic>(
                self,
                $a: A,
                $acc: A::Value,
                $x: A::Value,
                $neg_y: A::Value,
                $weight: A::Value,
            ) -> A::Value {
                $step
            }
        }
    )*};
}

folds! {
    dtype,

    /// Σ (xₗ − yₗ)²
    Squares { GRAM: bool = true; } roundings 2, |a, acc, x, neg_y, _| {
        // an addition: the multipliers have the square
        let difference = a.add(x, neg_y);
        a.mul_add(difference, difference, acc)
    };

    /// Σ wₗ (xₗ − yₗ)²
    WeightedSquares { WEIGHTED: bool = true; } roundings 4, |a, acc, x, neg_y, weight| {
        let difference = a.add(x, neg_y);
        a.mul_add(a.mul(weight, difference), difference, acc)
    };

    /// Σ |xₗ − yₗ|
    Magnitudes {
        // SciPy's cityblock adds the features one after the other; so do we, to return its bits.
        SUMMATION_F64: Summation = Summation::InOrder;
    } roundings 2, |a, acc, x, neg_y, _| a.add(acc, a.abs(a.difference(x, neg_y)));

    /// Σ |xₗ − yₗ|, in blocks for either type: of a quotient
    BlockedMagnitudes {} roundings 2, |a, acc, x, neg_y, _| a.add(acc, a.abs(a.difference(x, neg_y)));

    /// Σ wₗ |xₗ − yₗ|
    WeightedMagnitudes { WEIGHTED: bool = true; } roundings 2, |a, acc, x, neg_y, weight| {
        a.mul_add(weight, a.abs(a.difference(x, neg_y)), acc)
    };

    /// max |xₗ − yₗ|
    Largest {
        REDUCTION: Reduction = Reduction::Max;
        // A maximum does not round: its order is free.
        SUMMATION_F32: Summation = Summation::InOrder;
        SUMMATION_F64: Summation = Summation::InOrder;
    } roundings 1, |a, acc, x, neg_y, _| a.max(acc, a.abs(a.difference(x, neg_y)));

    /// Σ wₗ |xₗ − yₗ| / (|xₗ| + |yₗ|), where 0/0 is 0
    Ratios { WEIGHTED: bool = true; } roundings 4, |a, acc, x, neg_y, weight| {
        // of a large y the quotient of halves, which is the same: |x| + |y| could be too large. What y alone decides is done once for
        // all rows
        let (of_y, half) = (a.abs(neg_y), a.constant(0.5));
        let is_small = a.max(of_y, a.constant(1.0));
        let scale = a.add(half, a.where_unequal(is_small, of_y, half));
        let neg_y = a.mul(neg_y, scale);
        let both = a.mul_add(a.abs(x), scale, a.abs(neg_y));
        let ratio = a.div(a.abs(a.mul_add(x, scale, neg_y)), both);
        a.mul_add(weight, a.where_unequal(both, a.constant(0.0), ratio), acc)
    };

    /// ½ Σ (xₗ ln(xₗ/mₗ) + yₗ ln(yₗ/mₗ)) of numbers that are not negative, and mₗ = (xₗ + yₗ)/2
    Divergences {} roundings divergence_roundings(dtype), |a, acc, x, neg_y, _| a.add(acc, divergence(a, x, neg_y));

    /// Σ |xₗ + yₗ|
    Totals {} roundings 2, |a, acc, x, neg_y, _| a.add(acc, a.abs(a.sub(x, neg_y)));

    /// Σ wₗ |xₗ + yₗ|
    WeightedTotals { WEIGHTED: bool = true; } roundings 2, |a, acc, x, neg_y, weight| {
        a.mul_add(weight, a.abs(a.sub(x, neg_y)), acc)
    };

    /// Σ wₗ of the features in which x and y differ
    Unequal { WEIGHTED: bool = true; } roundings 1, |a, acc, x, neg_y, weight| {
        a.add(acc, a.where_unequal(x, a.sub(a.constant(0.0), neg_y), weight))
    };

    /// Σ wₗ of the features that are true in both, where true is 1 and false 0
    Both { WEIGHTED: bool = true; } roundings 1, |a, acc, x, neg_y, weight| {
        a.add(acc, a.where_unequal(x, a.constant(0.0), a.where_unequal(neg_y, a.constant(0.0), weight)))
    };

    /// Σ wₗ of the features that are true in x alone
    OfX { WEIGHTED: bool = true; } roundings 1, |a, acc, x, neg_y, weight| {
        a.add(acc, a.where_unequal(x, a.constant(0.0), a.where_unequal(neg_y, a.constant(-1.0), weight)))
    };

    /// Σ wₗ of the features that are true in y alone
    OfY { WEIGHTED: bool = true; } roundings 1, |a, acc, x, neg_y, weight| {
        a.add(acc, a.where_unequal(x, a.constant(1.0), a.where_unequal(neg_y, a.constant(0.0), weight)))
    };

    /// Σ wₗ of the features that are true in neither
    Neither { WEIGHTED: bool = true; } roundings 1, |a, acc, x, neg_y, weight| {
        a.add(acc, a.where_unequal(x, a.constant(1.0), a.where_unequal(neg_y, a.constant(-1.0), weight)))
    };

    /// Σ wₗ
    Every { WEIGHTED: bool = true; } roundings 1, |a, acc, _, _, weight| a.add(acc, weight);

    /// −Σ xₗ·yₗ: of the Gram trick.
    Product {} roundings 1, |a, acc, x, neg_y, _| a.mul_add(x, neg_y, acc);
}

/// Another fold over the features that x and y share: those in which neither is NaN. Over no features it is 0.
///
/// The difference tells: of two finite numbers it is never NaN, also where it is too large for the type.
#[derive(Clone, Copy, Debug)]
pub struct Shared<F>(F);

impl<F: Fold> Fold for Shared<F> {
    const REDUCTION: Reduction = F::REDUCTION;
    const SUMMATION_F32: Summation = F::SUMMATION_F32;
    const SUMMATION_F64: Summation = F::SUMMATION_F64;
    const WEIGHTED: bool = F::WEIGHTED;

    fn of(exponent: Exponent) -> Self {
        Self(F::of(exponent))
    }

    fn roundings(self, dtype: Dtype) -> usize {
        self.0.roundings(dtype)
    }

    #[inline(always)]
    fn step<A: Arithmetic>(
        self,
        a: A,
        acc: A::Value,
        x: A::Value,
        neg_y: A::Value,
        weight: A::Value,
    ) -> A::Value {
        a.where_number(a.add(x, neg_y), self.0.step(a, acc, x, neg_y, weight), acc)
    }
}

/// Σ wₗ |xₗ − yₗ|^p, where p is a multiple of a half: `whole`, and a half more if `has_half`
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    whole: u32,
    has_half: bool,
}

impl Fold for Powers {
    const WEIGHTED: bool = true;

    fn of(exponent: Exponent) -> Self {
        let halves = exponent.halves().unwrap_or(0);
        Self { whole: halves / 2, has_half: halves % 2 == 1 }
    }

    // p of the difference, one of the weight, the root, and as many products as factors
    fn roundings(self, _: Dtype) -> usize {
        let factors = self.whole as usize + usize::from(self.has_half);
        factors + 2 + factors
    }

    #[inline(always)]
    fn step<A: Arithmetic>(
        self,
        a: A,
        acc: A::Value,
        x: A::Value,
        neg_y: A::Value,
        weight: A::Value,
    ) -> A::Value {
        let Self { whole, has_half } = self;
        let difference = a.abs(a.add(x, neg_y));
        let mut term = weight;
        if has_half {
            let root = a.sqrt(difference);
            if whole == 0 {
                return a.mul_add(term, root, acc);
            }
            term = a.mul(term, root);
        }
        for _ in 1..whole {
            term = a.mul(term, difference);
        }
        a.mul_add(term, difference, acc)
    }
}

/// Σ wₗ |xₗ − yₗ|^p of a real p
#[derive(Clone, Copy, Debug)]
pub struct RealPowers {
    p: f64,
    exponent: RealExponent,
}

impl Fold for RealPowers {
    const WEIGHTED: bool = true;

    fn of(exponent: Exponent) -> Self {
        Self { p: exponent.get(), exponent: RealExponent::new(exponent.get()) }
    }

    // p of the difference, and one of the weight
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    fn roundings(self, dtype: Dtype) -> usize {
        self.p.ceil() as usize + 1 + power_roundings(dtype)
    }

    #[inline(always)]
    fn step<A: Arithmetic>(
        self,
        a: A,
        acc: A::Value,
        x: A::Value,
        neg_y: A::Value,
        weight: A::Value,
    ) -> A::Value {
        a.mul_add(weight, power(a, a.abs(a.add(x, neg_y)), self.exponent), acc)
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
            let weight = rng.random::<f64>();
            let p = if rng.random() {
                0.5 * f64::from(rng.random_range(1..17))
            } else {
                rng.random_range(0.01..20.0)
            };
            let fold = F::of(Exponent::new(p));
            let [one, other] = [(x, y), (y, x)].map(|(x, y)| fold.step(Scalar, acc, x, -y, weight));
            for finish in [Finish::Plain, Finish::Root] {
                let bits = [one, other].map(|total| finish.of(Scalar, total).to_bits());
                assert_eq!(bits[0], bits[1], "{x:e} and {y:e} after {acc:e}, {finish:?}, p = {p}");
                assert!(!f64::from_bits(bits[0]).is_nan() || bits[0] == f64::NAN.to_bits());
            }
        }
    }

    #[test]
    fn what_is_true_in_x_alone_is_true_in_y_alone_the_other_way_round() {
        for (x, y) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let of_x = OfX.step(Scalar, 0.1, x, -y, 0.7);
            assert_eq!(of_x.to_bits(), OfY.step(Scalar, 0.1, y, -x, 0.7).to_bits());
            let parts = [Both.step(Scalar, 0.0, x, -y, 1.0), OfX.step(Scalar, 0.0, x, -y, 1.0)];
            let others = [OfY.step(Scalar, 0.0, x, -y, 1.0), Neither.step(Scalar, 0.0, x, -y, 1.0)];
            assert_eq!([parts, others].as_flattened().iter().sum::<f64>().to_bits(), 1.0_f64.to_bits());
        }
    }

    #[test]
    fn folds_and_finishes_are_symmetric_in_every_bit() {
        check_symmetry::<Squares>();
        check_symmetry::<Magnitudes>();
        check_symmetry::<Largest>();
        check_symmetry::<Product>();
        check_symmetry::<WeightedSquares>();
        check_symmetry::<BlockedMagnitudes>();
        check_symmetry::<WeightedMagnitudes>();
        check_symmetry::<Ratios>();
        check_symmetry::<Totals>();
        check_symmetry::<WeightedTotals>();
        check_symmetry::<Unequal>();
        check_symmetry::<Both>();
        check_symmetry::<Neither>();
        check_symmetry::<Powers>();
        check_symmetry::<RealPowers>();
        check_symmetry::<Divergences>();
        check_symmetry::<Shared<Squares>>();
        check_symmetry::<Shared<Magnitudes>>();
        check_symmetry::<Shared<Largest>>();
        check_symmetry::<Shared<WeightedSquares>>();
        check_symmetry::<Shared<WeightedMagnitudes>>();
        check_symmetry::<Shared<Ratios>>();
        check_symmetry::<Shared<Unequal>>();
        check_symmetry::<Shared<Powers>>();
        check_symmetry::<Shared<RealPowers>>();
        check_symmetry::<Shared<Every>>();
    }

    #[test]
    fn features_that_are_nan_are_passed_over_and_differences_too_large_for_the_type_are_not() {
        let (largest, nan) = (f64::MAX, f64::NAN);
        for (x, y, expected) in [
            (1.0, 4.0, 5.0),
            (nan, 4.0, 2.0),
            (1.0, nan, 2.0),
            (nan, nan, 2.0),
            (largest, -largest, f64::INFINITY),
        ] {
            let folded = Shared::<Magnitudes>::of(Exponent::ONE).step(Scalar, 2.0, x, -y, 1.0);
            assert_eq!(folded.to_bits(), expected.to_bits(), "{x:e} and {y:e}");
            let weight = Shared::<Every>::of(Exponent::ZERO).step(Scalar, 2.0, x, -y, 0.5);
            let is_shared = !x.is_nan() && !y.is_nan();
            assert_eq!(weight.to_bits(), if is_shared { 2.5_f64 } else { 2.0 }.to_bits(), "{x:e} and {y:e}");
        }
    }
}
