//! Scaling by powers of two: samples whose squares would leave the range of numbers are multiplied by one.

use super::fold::Exponent;
use super::root::root;
use super::{Finish, Measure, Terms};
use crate::element::{Dtype, Element};

/// The factor 2^e for any exponent e: a product has one rounding, also where the factor or the product is no normal number.
///
/// Three factors stand for one that no normal number of the type is. Each of them is then so far from 1 that a product which
/// loses digits before the last step, as it is subnormal there, ends as 0, and would also with a single rounding.
#[derive(Clone, Copy, Debug)]
pub struct PowerOfTwo<T> {
    factors: [T; 3],
}

impl<T: Element> PowerOfTwo<T> {
    /// The factor 2^`exponent`.
    pub fn new(exponent: i32) -> Self {
        let limit = match T::DTYPE {
            Dtype::F32 => f32::MAX_EXP - 2,
            Dtype::F64 => f64::MAX_EXP - 2,
        };
        // beyond three times the limit every number becomes 0 or infinite
        let exponent = exponent.clamp(-3 * limit, 3 * limit);
        let exponents = if exponent.abs() <= limit {
            [exponent, 0, 0]
        } else {
            [exponent / 3, exponent / 3, exponent - 2 * (exponent / 3)]
        };
        Self { factors: exponents.map(|exponent| T::from_f64(normal_power(exponent))) }
    }

    /// The value times the factor, correctly rounded.
    #[inline]
    pub fn times(self, value: T) -> T {
        self.factors.iter().fold(value, |value, factor| value * *factor)
    }
}

/// 2^`exponent`, a normal number. Of an exponent beyond those, the panic says so.
pub(super) fn normal_power(exponent: i32) -> f64 {
    let biased = u64::try_from(exponent + f64::MAX_EXP - 1).expect("a normal number");
    f64::from_bits(biased << (f64::MANTISSA_DIGITS - 1))
}

/// The whole number e with 2^e ≤ `value` < 2^(e + 1), of a positive number; 1024 of infinity.
pub fn exponent_of(value: f64) -> i32 {
    let (value, shift) = if value < f64::MIN_POSITIVE { (value * normal_power(64), 64) } else { (value, 0) };
    let biased = i32::try_from(value.to_bits() >> (f64::MANTISSA_DIGITS - 1)).expect("a positive number");
    biased - (f64::MAX_EXP - 1) - shift
}

/// Below this, powers lose digits as they come near the smallest normal number.
pub(super) fn smallest_safe_power<T: Element>() -> f64 {
    T::SMALLEST_NORMAL / T::UNIT_ROUNDOFF
}

impl Measure {
    /// The exponent k of the factor 2^k that samples of `d` features are scaled by before their distances are computed in
    /// type `T`; `largest` is the largest magnitude M of all finite values of X and Y.
    ///
    /// Of terms of power p, it is 0 unless D = d(2M)^p, which bounds every folded value, could exceed the largest number, or M^p lies below
    /// the smallest normal number divided by u, where p is not 1: multiples lose no more digits than the samples have lost. Then 2^k M is
    /// as large as is safe, for rows that are tiny beside others to keep as much as they can: D is at most a quarter of the
    /// largest number. Where p is above 2, it always is: values a little below the largest have powers far below its own. Distances have the
    /// same bits for any k, but where powers underflow, and those of real exponents.
    /// With weights, the sum of them stands for d, and M^p is multiplied by the largest. Distances of terms of power 1 grow with the
    /// samples and may be infinite, unless they are quotients, or have weights; those are scaled where their parts are too large, and quotients of
    /// weighted sums where they are too small.
    pub fn scaling_exponent<T: Element>(&self, d: usize, largest: f64) -> i32 {
        let power = self.power();
        let is_quotient = self.form().is_quotient();
        let weighted = self.has_weighted_terms();
        let p = power.get();
        let never = power == Exponent::ZERO || power == Exponent::ONE && !is_quotient && !weighted;
        if self.form().prepares() || largest == 0.0 || never {
            return 0;
        }
        let of_power = |value: f64| if power == Exponent::TWO { value.sqrt() } else { root(value, power) };
        // a power of a real exponent is computed alone, not as a product that begins with the weight
        let is_alone = power.is_real();
        let total = if weighted && (p < 2.0 || is_alone) { self.total(d).max(1.0) } else { self.total(d) };
        // of small ones, the root of the total could leave the range of numbers alone
        let (share, divisor) = if is_alone { (total, 1.0) } else { (1.0, of_power(total)) };
        // differences must not overflow either, whatever they are multiplied by
        let limit = |value: f64| of_power(value / share).min(value);
        // half of the largest number: rounding may make a sum larger than it is
        let too_large = 2.0 * divisor * largest > limit(T::LARGEST / 2.0);
        let can_be_small = power != Exponent::ONE || weighted && is_quotient;
        let weight = if is_alone { self.largest_weight().min(1.0) } else { self.largest_weight() };
        let too_small = can_be_small && largest < of_power(smallest_safe_power::<T>() / weight);
        if !too_large && !too_small && p <= 2.0 {
            return 0;
        }
        let exponent = exponent_of(largest);
        let mantissa = PowerOfTwo::<f64>::new(-exponent).times(largest);
        let largest_safe = exponent_of(limit(T::LARGEST / 4.0) / (2.0 * divisor * mantissa)) - exponent;
        // the root of an even power is a power, and all distances keep their bits
        if power.halves().is_some_and(|halves| halves % 2 == 1) { largest_safe & !1 } else { largest_safe }
    }

    /// Exponent of the factor that undoes the scaling of samples by 2^`scaling` and that of the weights, in their distances.
    pub fn undo_exponent(&self, scaling: i32) -> i32 {
        -scaling * self.degree() + self.weights_exponent()
    }

    /// The power of a common factor of all samples that their distances grow by.
    pub fn degree(&self) -> i32 {
        match self.form().finish {
            _ if self.form().prepares() => 0,
            Finish::Root | Finish::RootOf(_) => 1,
            Finish::Plain if self.form().terms == Terms::Squares => 2,
            Finish::Plain if self.power() == Exponent::ONE => 1,
            // quotients, and what does not grow with differences
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "the conversion rounds once, as the product must")]
    fn a_product_with_a_power_of_two_rounds_once() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for _ in 0..1_000_000 {
            let value = f32::from_bits(rng.random());
            let exponent = rng.random_range(-460..460);
            // exact in f64, whose exponents reach further
            let expected = PowerOfTwo::<f64>::new(exponent).times(f64::from(value)) as f32;
            let got = PowerOfTwo::<f32>::new(exponent).times(value);
            assert!(
                got.to_bits() == expected.to_bits() || value.is_nan(),
                "{value:e} by 2^{exponent}: {got:e}"
            );
        }
    }

    #[test]
    fn a_product_in_f64_rounds_once_where_it_is_subnormal() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        for _ in 0..1_000_000 {
            let value = f64::from_bits(rng.random::<u64>() >> 1);
            if !value.is_finite() || value == 0.0 {
                continue;
            }
            // to the place of every kind of subnormal result
            let exponent = -1076 - exponent_of(value) + rng.random_range(0..60);
            let got = PowerOfTwo::<f64>::new(exponent).times(value);
            let mantissa = PowerOfTwo::<f64>::new(-exponent_of(value)).times(value);
            // in units of the smallest number, rounded to a whole one with ties to even
            let units = (mantissa * normal_power(exponent + exponent_of(value) + 1074)).round_ties_even();
            let got = got * normal_power(1000) * normal_power(74);
            assert_eq!(got.to_bits(), units.to_bits(), "{value:e} by 2^{exponent}");
        }
    }

    #[test]
    fn exponents_are_those_of_the_numbers() {
        for exponent in -1074..=1023 {
            let value = PowerOfTwo::<f64>::new(exponent).times(1.0);
            assert_eq!(exponent_of(value), exponent);
            if exponent >= -1022 {
                assert_eq!(exponent_of(value * 1.99), exponent);
            }
        }
        assert_eq!(exponent_of(f64::INFINITY), 1024);
    }

    fn check_scaling<T: Element>() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let (low, high) = (exponent_of(T::SMALLEST), exponent_of(T::LARGEST));
        for _ in 0..100_000 {
            let exponent = rng.random_range(low..=high);
            let largest = PowerOfTwo::<f64>::new(exponent).times(1.0 + rng.random::<f64>());
            let largest = T::from_f64(largest.min(T::LARGEST)).to_f64();
            let d = 1 << rng.random_range(0..30) | rng.random_range(0..2);
            for metric in [Metric::Cityblock, Metric::Chebyshev] {
                assert_eq!(Measure::from(metric).scaling_exponent::<T>(d, largest), 0);
            }
            let k = Measure::from(Metric::Euclidean).scaling_exponent::<T>(d, largest);
            assert_eq!(Measure::from(Metric::Sqeuclidean).scaling_exponent::<T>(d, largest), k);
            // logarithms of d(2M)² and M², which have no limits
            let square = 2.0 * largest.log2();
            let (bound, close) = ((d as f64).log2() + 2.0 + square, 1e-9);
            let limits = (T::LARGEST.log2() - 1.0, smallest_safe_power::<T>().log2());
            if bound < limits.0 - close && square > limits.1 + close {
                assert_eq!(k, 0, "{largest:e}, {d} features");
            }
            if bound > limits.0 + close || square < limits.1 - close {
                let scaled = bound + 2.0 * f64::from(k) - T::LARGEST.log2();
                assert!(-4.0 - close < scaled && scaled < -2.0 + close, "{largest:e}, {d} features: 2^{k}");
            }
        }
    }

    #[test]
    fn samples_are_scaled_only_where_squares_leave_the_range_and_then_to_just_below_its_end() {
        check_scaling::<f32>();
        check_scaling::<f64>();
        assert_eq!(Measure::from(Metric::Euclidean).scaling_exponent::<f32>(5, 0.0), 0);
        assert_eq!(Measure::from(Metric::Euclidean).scaling_exponent::<f32>(5, 1.0), 0);
        assert!(Measure::from(Metric::Euclidean).scaling_exponent::<f32>(5, 1e-29) > 0);
        assert!(Measure::from(Metric::Euclidean).scaling_exponent::<f32>(5, 1e20) < 0);
        assert!(Measure::from(Metric::Euclidean).scaling_exponent::<f64>(5, f64::MAX) < 0);
    }
}
