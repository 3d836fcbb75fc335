//! Logarithms and powers with real exponents, written once in abstract [`Arithmetic`]: the same bits on every level and processor, which the C
//! library's `log` and `pow` do not have.
//!
//! The logarithm of 2^e·m, where m is within a factor √2 of 1, is e + log₂ m. With t = (m − 1)/(m + 1), ln m = 2 artanh t = 2t + 2t³/3 + 2t⁵/5 + …,
//! where t² < 0.0295. Its first term and the sum are kept as pairs of numbers whose sum has twice the digits (T. J. Dekker, "A floating-point technique for
//! extending the available precision", Numerische Mathematik 18, 1971), since a power multiplies their error with the exponent. 2^y is 2^n·2^r, with n the
//! whole number next to y, and the Taylor series of 2^r. `docs/ACCURACY.md` has the proof of the bounds.

use std::f64::consts::{LN_2, LOG2_E};

use super::arithmetic::Arithmetic;
use crate::element::Dtype;

/// A number and what it lacks: their sum has twice the digits.
#[derive(Clone, Copy, Debug)]
struct Pair<V> {
    high: V,
    low: V,
}

/// Terms of artanh t / t after the first, and of 2^r after the 1, by type: what is cut off is less than a tenth of a unit of it.
const fn terms(dtype: Dtype) -> (usize, usize) {
    match dtype {
        Dtype::F32 => (5, 7),
        Dtype::F64 => (11, 13),
    }
}

/// Of the series of log₂ m in t², divided by t: 2 log₂e / (2k + 3), where k counts from 0.
const ARTANH: [f64; 11] = {
    let mut coefficients = [0.0; 11];
    let mut k = 0;
    while k < coefficients.len() {
        coefficients[k] = 2.0 * LOG2_E / (2 * k + 3) as f64;
        k += 1;
    }
    coefficients
};

/// Of the series of 2^r: (ln 2)^k / k!, where k counts from 1.
const EXPONENTIAL: [f64; 13] = {
    let mut coefficients = [LN_2; 13];
    let mut k = 1;
    while k < coefficients.len() {
        coefficients[k] = coefficients[k - 1] * LN_2 / (k + 1) as f64;
        k += 1;
    }
    coefficients
};

/// 2 log₂e less its nearest f64.
const TWO_LOG2_E_LOW: f64 = 4.071_054_748_186_206e-17;

/// What is beyond is 0 or infinite, and 2 to the half of it a normal number.
const fn largest_exponent(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 250.0,
        Dtype::F64 => 2000.0,
    }
}

/// Roundings of the largest error of a [`power`] of numbers of a type that is one itself, relative to it.
pub const fn power_roundings(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 17,
        Dtype::F64 => 94,
    }
}

/// A constant as a pair of numbers of a type.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "what is lost is the lower part")]
fn pair<A: Arithmetic>(a: A, high: f64, low: f64) -> Pair<A::Value> {
    match A::DTYPE {
        Dtype::F32 => {
            let rounded = f64::from(high as f32);
            Pair { high: a.constant(rounded), low: a.constant((high - rounded) + low) }
        }
        Dtype::F64 => Pair { high: a.constant(high), low: a.constant(low) },
    }
}

/// The sum of two numbers, of which the first has no smaller exponent, or is 0, as a pair.
#[inline(always)]
fn pair_of_sum<A: Arithmetic>(a: A, larger: A::Value, smaller: A::Value) -> Pair<A::Value> {
    let high = a.add(larger, smaller);
    Pair { high, low: a.sub(smaller, a.sub(high, larger)) }
}

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
pub(super) fn polynomial<A: Arithmetic>(a: A, coefficients: &[f64], x: A::Value) -> A::Value {
    let (last, others) = coefficients.split_last().expect("there are some");
    let mut sum = a.constant(*last);
    for coefficient in others.iter().rev() {
        sum = a.mul_add(sum, x, a.constant(*coefficient));
    }
    sum
}

/// A positive number as 2^e·m with m between √½ and √2, up to a millionth: e and m. Smaller numbers than the smallest normal one count as
/// well.
#[inline(always)]
fn parts<A: Arithmetic>(a: A, x: A::Value) -> (A::Value, A::Value) {
    const SHIFT: f64 = (1_u128 << 64) as f64;
    let smallest = a.constant(A::DTYPE.smallest_normal());
    let is_subnormal = a.where_unequal(x, a.max(smallest, x), a.constant(1.0));
    // 2⁶⁴ or 1
    let factor = a.mul_add(is_subnormal, a.constant(SHIFT), a.sub(a.constant(1.0), is_subnormal));
    let (exponent, mantissa) = a.split(a.mul(x, factor));
    (a.mul_add(is_subnormal, a.constant(-64.0), exponent), mantissa)
}

/// log₂ x of a positive number.
#[inline(always)]
fn log2<A: Arithmetic>(a: A, x: A::Value) -> Pair<A::Value> {
    let (exponent, m) = parts(a, x);
    let one = a.constant(1.0);
    let above = a.sub(m, one);
    let sum = pair_of_sum(a, one, m);
    let t = a.div(above, sum.high);
    // what t lacks, times the divisor
    let zero = a.constant(0.0);
    let rest = a.mul_add(a.sub(zero, t), sum.high, above);
    let rest = a.mul_add(a.sub(zero, t), sum.low, rest);
    // 1 / (m + 1) to within 0.04 %, by a step of Newton's method: of the rest few digits count
    let guess = a.mul_add(sum.high, a.constant(-0.24264), a.constant(0.99259));
    let inverse = a.mul(guess, a.sub(a.constant(2.0), a.mul(sum.high, guess)));
    let low = a.mul(rest, inverse);
    let factor = pair(a, 2.0 * LOG2_E, TWO_LOG2_E_LOW);
    let first = a.mul(t, factor.high);
    let lost = a.mul_add(t, factor.high, a.sub(zero, first));
    let lost = a.mul_add(t, factor.low, lost);
    let lost = a.mul_add(low, factor.high, lost);
    let square = a.mul(t, t);
    let series = polynomial(a, &ARTANH[..terms(A::DTYPE).0], square);
    let others = a.mul_add(a.mul(t, square), series, lost);
    let whole = pair_of_sum(a, exponent, first);
    pair_of_sum(a, whole.high, a.add(whole.low, others))
}

/// The natural logarithm of a normal number up to ½, to within 6 roundings of it.
#[inline(always)]
pub(super) fn ln<A: Arithmetic>(a: A, x: A::Value) -> A::Value {
    let (exponent, m) = a.split(x);
    let one = a.constant(1.0);
    let t = a.div(a.sub(m, one), a.add(m, one));
    let square = a.mul(t, t);
    let series = polynomial(a, &ARTANH[..terms(A::DTYPE).0], square);
    let of_mantissa = a.mul_add(square, series, a.constant(2.0 * LOG2_E));
    a.mul(a.mul_add(t, of_mantissa, exponent), a.constant(LN_2))
}

/// 2^(`high` + `low`), where `low` is small beside a unit of it.
#[inline(always)]
fn exp2<A: Arithmetic>(a: A, exponent: Pair<A::Value>) -> A::Value {
    let largest = largest_exponent(A::DTYPE);
    let high = a.max(a.constant(-largest), exponent.high);
    let high = a.sub(a.constant(0.0), a.max(a.constant(-largest), a.sub(a.constant(0.0), high)));
    let whole = round(a, high);
    let rest = a.add(a.sub(high, whole), exponent.low);
    let series = polynomial(a, &EXPONENTIAL[..terms(A::DTYPE).1], rest);
    let fraction = a.mul_add(series, rest, a.constant(1.0));
    let half = round(a, a.mul(whole, a.constant(0.5)));
    let (one, other) = (a.power_of_two(half), a.power_of_two(a.sub(whole, half)));
    a.mul(a.mul(fraction, one), other)
}

/// The nearest whole number, of a magnitude below 2²².
#[inline(always)]
fn round<A: Arithmetic>(a: A, value: A::Value) -> A::Value {
    // where units are 1
    let middle = a.constant(match A::DTYPE {
        Dtype::F32 => 1.5 * (1_u64 << 23) as f64,
        Dtype::F64 => 1.5 * (1_u64 << 52) as f64,
    });
    a.sub(a.add(value, middle), middle)
}

/// A real exponent, as a pair of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RealExponent {
    high: f64,
    low: f64,
}

impl RealExponent {
    /// p, between 2⁻¹⁰ and 2¹⁰.
    pub fn new(p: f64) -> Self {
        Self { high: p, low: 0.0 }
    }

    /// 1/p
    pub fn inverse(p: f64) -> Self {
        let high = 1.0 / p;
        Self { high, low: f64::mul_add(-high, p, 1.0) / p }
    }
}

/// x^p of a number that is not negative: 0 of 0, ∞ of ∞, NaN of NaN.
///
/// It errs by at most [`power_roundings`] units, and by the smallest number where it is subnormal.
#[inline(always)]
pub fn power<A: Arithmetic>(a: A, x: A::Value, p: RealExponent) -> A::Value {
    let (logarithm, p) = (log2(a, x), pair(a, p.high, p.low));
    let high = a.mul(p.high, logarithm.high);
    let low = a.mul_add(p.high, logarithm.high, a.sub(a.constant(0.0), high));
    let low = a.mul_add(p.high, logarithm.low, low);
    let low = a.mul_add(p.low, logarithm.high, low);
    let power = a.where_unequal(x, a.constant(0.0), exp2(a, Pair { high, low }));
    // ∞ and NaN add themselves
    let infinite = a.max(a.constant(0.0), a.sub(x, a.constant(A::DTYPE.largest())));
    a.add(power, a.add(infinite, a.where_unequal(x, x, x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::arithmetic::Scalar;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Exponents of all sizes.
    fn exponents(rng: &mut Xoshiro256PlusPlus) -> impl Iterator<Item = f64> {
        let some: Vec<f64> = (0..40).map(|_| (rng.random_range(-7.0..4.2_f64)).exp()).collect();
        [1.0, 3.0, 0.001, 64.0, 3.2, 1.0 / 3.0].into_iter().chain(some)
    }

    #[test]
    fn powers_of_numbers_of_every_exponent_are_within_their_bound() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let exponents: Vec<f64> = exponents(&mut rng).collect();
        let (mut worst, unit) = (0.0_f64, f64::EPSILON / 2.0);
        for p in exponents {
            for biased in 0..2047_u64 {
                let x = f64::from_bits(biased << 52 | rng.random::<u64>() >> 12);
                // less than a unit off, by the C library
                let expected = x.powf(p);
                let got = power(Scalar, x, RealExponent::new(p));
                let error = (got - expected).abs();
                assert!(
                    error <= (power_roundings(Dtype::F64) as f64 + 1.0) * unit * expected + f64::from_bits(1)
                        || got.to_bits() == expected.to_bits(),
                    "{x:e}^{p}: {got:e}, {expected:e}"
                );
                if expected.is_normal() {
                    // the bound in the size of the logarithm
                    let allowed = 4.0 + (p * x.log2()).abs() / 12.0 + 1.0;
                    worst = worst.max(error / (unit * expected) / allowed);
                }
            }
        }
        assert!(worst < 1.0, "{worst}");
        assert!(worst > 0.1, "the bound is far from any error: {worst}");
    }

    #[test]
    fn powers_near_one_and_of_powers_of_two_have_all_their_digits() {
        for step in -1000..=1000 {
            let x = 1.0 + f64::from(step) * f64::EPSILON / 2.0;
            for p in [0.001, 0.7, 3.2, 64.0] {
                let (got, expected) = (power(Scalar, x, RealExponent::new(p)), x.powf(p));
                assert!((got - expected).abs() <= 2.0 * f64::EPSILON * expected, "{x:e}^{p}");
            }
        }
        for exponent in -300..300 {
            let x = crate::metric::PowerOfTwo::<f64>::new(exponent).times(1.0);
            let cube = crate::metric::PowerOfTwo::<f64>::new(3 * exponent).times(1.0);
            assert_eq!(power(Scalar, x, RealExponent::new(3.0)).to_bits(), cube.to_bits(), "2^{exponent}");
            assert_eq!(
                power(Scalar, cube, RealExponent::inverse(3.0)).to_bits(),
                x.to_bits(),
                "2^{exponent}"
            );
        }
    }

    #[test]
    fn zero_infinity_and_nan_are_their_own_powers() {
        for p in [0.001, 0.3, 1.0, 64.0] {
            for p in [RealExponent::new(p), RealExponent::inverse(p)] {
                assert_eq!(power(Scalar, 0.0, p).to_bits(), 0);
                assert_eq!(power(Scalar, f64::INFINITY, p).to_bits(), f64::INFINITY.to_bits());
                assert!(power(Scalar, f64::NAN, p).is_nan());
            }
        }
    }
}
