//! The Jensen-Shannon divergence of one feature of two distributions, to almost all digits however near they are.
//!
//! With the sum s = p + q, of which m = s/2 is the mean, and t = |p − q| / s,
//!
//! ```text
//! p ln(p/m) + q ln(q/m) = s/2 · h(t),   h(t) = (1 + t) ln(1 + t) + (1 − t) ln(1 − t) = t² + t⁴/6 + t⁶/15 + …
//! ```
//!
//! Logarithms of the quotients would cancel where p is near q: of t up to ½ the series is summed.

use super::arithmetic::Arithmetic;
use super::power::{ln, polynomial};
use crate::element::Dtype;

/// Where the series ends.
const NEAR: f64 = 0.5;

/// Terms of the series of h(t) / t² in t², and of that of (1 + t) ln(1 + t) in t − ¾, by type: what is cut off is less than half a unit.
const fn terms(dtype: Dtype) -> (usize, usize) {
    match dtype {
        Dtype::F32 => (10, 9),
        Dtype::F64 => (24, 19),
    }
}

/// More than any sum of two shares of 1, and less than the largest number.
const ABOVE_ALL_SUMS: f64 = (1_u128 << 100) as f64;

/// A quarter of h(t) / t²: 1 / (4 (k + 1) (2k + 1)), where k counts from 0.
const NEAR_SERIES: [f64; 24] = {
    let mut coefficients = [0.0; 24];
    let mut k = 0;
    while k < coefficients.len() {
        coefficients[k] = 1.0 / (4 * (k + 1) * (2 * k + 1)) as f64;
        k += 1;
    }
    coefficients
};

/// Of w ln w / 4 around c = 7/4: c ln c, 1 + ln c, and (−1)^k / (k (k − 1) c^(k − 1)), where k counts from 2.
const FAR_SERIES: [f64; 19] = {
    const LN_CENTRE: f64 = 0.559_615_787_935_422_7;
    let mut coefficients = [1.75 * LN_CENTRE / 4.0; 19];
    coefficients[1] = (1.0 + LN_CENTRE) / 4.0;
    let (mut k, mut power) = (2, 4.0);
    while k < coefficients.len() {
        power *= -1.75;
        coefficients[k] = -1.0 / ((k * (k - 1)) as f64 * power);
        k += 1;
    }
    coefficients
};

/// Roundings of the largest error of a [`divergence`], relative to it: most where q is as small as a rounding of p, and 1 − t has few digits.
pub const fn divergence_roundings(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 52,
        Dtype::F64 => 96,
    }
}

/// ½ (p ln(p/m) + q ln(q/m)) of p = x and q = y, both 0 or more: ∞ where one is ∞.
#[inline(always)]
pub fn divergence<A: Arithmetic>(a: A, x: A::Value, neg_y: A::Value) -> A::Value {
    let (zero, one) = (a.constant(0.0), a.constant(1.0));
    let smallest = a.constant(A::DTYPE.smallest_normal());
    let sum = a.sub(x, neg_y);
    // 0 where both are
    let t = a.div(a.abs(a.add(x, neg_y)), a.max(smallest, sum));
    let square = a.mul(t, t);
    let (near_terms, far_terms) = terms(A::DTYPE);
    let near = a.mul(square, polynomial(a, &NEAR_SERIES[..near_terms], square));
    let far = polynomial(a, &FAR_SERIES[..far_terms], a.sub(t, a.constant(0.75)));
    let rest = a.sub(one, t);
    let of_rest = a.mul(a.mul(rest, a.constant(0.25)), ln(a, rest));
    let far = a.add(far, a.where_unequal(rest, zero, of_rest));
    let limit = a.constant(NEAR);
    // near by, or more by what is lacking of it
    let h = a.add(near, a.where_unequal(a.max(limit, t), limit, a.sub(far, near)));
    let infinity = a.constant(f64::INFINITY);
    // infinite numbers have an infinite sum, and no t
    let infinite = a.max(zero, a.sub(sum, a.constant(ABOVE_ALL_SUMS)));
    a.add(a.where_unequal(sum, infinity, a.mul(sum, h)), infinite)
}
