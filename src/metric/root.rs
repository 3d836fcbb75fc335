//! Roots, by operations that round alike on all processors: the C library's `pow` does not.

use super::arithmetic::Scalar;
use super::fold::Exponent;
use super::power::{RealExponent, power, power_roundings};
use crate::element::Dtype;

/// The smallest numbers are multiplied by 2^(this · q) before their q-th root is taken, and so become normal.
const SHIFT: i32 = 64;

/// Roundings of the largest error of [`root`], in units of f64: see there.
pub fn root_roundings(order: Exponent) -> usize {
    if order.halves().is_some() { 9 } else { power_roundings(Dtype::F64) }
}

/// value^(1/p), of a value that is not negative, and p an exponent above 0.
pub fn root(value: f64, order: Exponent) -> f64 {
    let [root] = roots([value], order);
    root
}

/// The same of several values side by side, for the compiler to use vectors.
///
/// Of a real order it is a [`power`]. Else square roots are taken first; what is left of the order is odd, and taken by Newton's method from the exponent of
/// the value. The last step of that errs by 2u at most, and by what the method leaves, which is less than u/8; a square doubles the
/// error, a square root halves it.
#[inline(always)]
pub fn roots<const N: usize>(mut values: [f64; N], order: Exponent) -> [f64; N] {
    let Some(halves) = order.halves() else {
        let inverse = RealExponent::inverse(order.get());
        // not by `map`, whose closure was compiled without the vectors of the function around it
        for value in &mut values {
            *value = power(Scalar, *value, inverse);
        }
        return values;
    };
    // value^(2/halves)
    if halves % 2 == 1 {
        return odd_roots(values, halves).map(|root| root * root);
    }
    let mut degree = halves / 2;
    while degree.is_multiple_of(2) {
        values = values.map(f64::sqrt);
        degree /= 2;
    }
    odd_roots(values, degree)
}

/// value^(1/q) for an odd q up to 15.
#[inline(always)]
fn odd_roots<const N: usize>(values: [f64; N], q: u32) -> [f64; N] {
    if q == 1 {
        return values;
    }
    let degree = f64::from(q);
    // the difference that it is multiplied with is small beside the root at last
    let inverse = 1.0 / degree;
    let is_subnormal = |value: f64| value < f64::MIN_POSITIVE;
    let (up, down) = (power_of_two(SHIFT * q.cast_signed()), power_of_two(-SHIFT));
    let normal = values.map(|value| if is_subnormal(value) { value * up } else { value });
    let mut roots = normal.map(|value| guess(value, degree));
    let steps = if q == 3 { 5 } else { 7 };
    for _ in 0..steps {
        let mut powers = roots;
        for _ in 2..q {
            for (power, root) in powers.iter_mut().zip(&roots) {
                *power *= root;
            }
        }
        for ((root, power), value) in roots.iter_mut().zip(&powers).zip(&normal) {
            *root += (value / power - *root) * inverse;
        }
    }
    for (root, value) in roots.iter_mut().zip(values) {
        let scaled = if is_subnormal(value) { *root * down } else { *root };
        // 0, infinity and NaN are their own roots
        *root = if value > 0.0 && value < f64::INFINITY { scaled } else { value };
    }
    roots
}

fn power_of_two(exponent: i32) -> f64 {
    super::scaling::normal_power(exponent)
}

/// The q-th root to within a tenth: the exponent and the first bits of the value, read as one number, are nearly its logarithm.
#[inline(always)]
fn guess(value: f64, q: f64) -> f64 {
    // a number below 2³² as the last bits of one between 2⁵² and 2⁵³
    const INTEGER: f64 = (1_u64 << 52) as f64;
    const ONE: f64 = (1023_u64 << 20) as f64;
    let upper = f64::from_bits(INTEGER.to_bits() | value.to_bits() >> 32) - INTEGER;
    let root = (upper - ONE) / q + ONE;
    f64::from_bits((root + INTEGER).to_bits() << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// The exponents that `--p` takes and that are no other metric.
    fn orders() -> impl Iterator<Item = Exponent> {
        (1..=16)
            .filter(|halves| ![2, 4].contains(halves))
            .map(|halves| Exponent::new(f64::from(halves) / 2.0))
    }

    #[test]
    fn a_power_of_two_to_the_order_has_an_exact_root() {
        for order in orders() {
            let halves = order.halves().expect("a multiple of a half").cast_signed();
            for exponent in (-1000 / halves..1000 / halves).filter(|exponent| exponent % 2 == 0) {
                let got = root(power_of_two(exponent / 2 * halves), order);
                let expected = power_of_two(exponent);
                assert!((got - expected).abs() <= 4.0 * f64::EPSILON * expected, "2^{exponent}, {order:?}");
            }
        }
    }

    #[test]
    fn the_error_is_within_its_bound() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        for order in orders() {
            let p = order.get();
            for _ in 0..20_000 {
                // roots that are numbers, of values of all magnitudes
                let most = if p < 1.0 { 500 } else { 1020 };
                let value = power_of_two(rng.random_range(-most..most)) * (1.0 + rng.random::<f64>());
                let (got, expected) = (root(value, order), value.powf(1.0 / p));
                let error = (got - expected).abs() / expected / (f64::EPSILON / 2.0);
                // the reference errs too: 1 / p is rounded, which counts as often as the logarithm is large
                let reference = 1.0 + value.ln().abs() / p;
                assert!(
                    error <= root_roundings(order) as f64 + reference,
                    "{value:e}, {order:?}: {error} units"
                );
            }
        }
    }

    #[test]
    fn zero_infinity_and_nan_are_their_own_roots_and_subnormal_numbers_have_some() {
        for order in orders() {
            assert_eq!(root(0.0, order).to_bits(), 0);
            assert_eq!(root(f64::INFINITY, order).to_bits(), f64::INFINITY.to_bits());
            assert!(root(f64::NAN, order).is_nan());
        }
        let cube = Exponent::new(3.0);
        for units in [1.0_f64, 8.0, 1e3, 1e12] {
            let value = units * f64::from_bits(1);
            // 2^-1074 is the cube of 2^-358
            let expected = units.cbrt() * power_of_two(-358);
            assert!((root(value, cube) - expected).abs() < 4e-15 * expected, "{units}");
        }
    }
}
