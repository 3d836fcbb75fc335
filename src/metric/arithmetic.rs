//! The operations that folds and finishes are written in: once for vectors of any type and level, and for single values.

use crate::element::Dtype;

/// On one value, or on a vector of them (lane by lane).
pub trait Arithmetic: Copy {
    /// The type of a value.
    const DTYPE: Dtype;
    /// One value per lane.
    type Value: Copy;
    /// x − y, correctly rounded, from x and −y.
    ///
    /// Neither the sum x + (−y) nor the product-sum x·1 + (−y) rounds more than once: which of them it is, is a
    /// matter of the processor's units.
    fn difference(self, x: Self::Value, neg_y: Self::Value) -> Self::Value;
    /// a + b
    fn add(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a − b
    fn sub(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a·b
    fn mul(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a / b
    fn div(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// a·b + c with one rounding.
    fn mul_add(self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// |a|
    fn abs(self, a: Self::Value) -> Self::Value;
    /// `b` where b > a, else `a`: as in SciPy, a NaN among the features is passed over.
    fn max(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `value` where a ≠ b, as where either is NaN, else 0.
    fn where_unequal(self, a: Self::Value, b: Self::Value, value: Self::Value) -> Self::Value;
    /// `value` where a is a number or an infinity, `other` where it is NaN.
    fn where_number(self, a: Self::Value, value: Self::Value, other: Self::Value) -> Self::Value;
    /// A number, rounded to the type, or an infinity.
    fn constant(self, value: f64) -> Self::Value;
    /// √a, correctly rounded.
    fn sqrt(self, a: Self::Value) -> Self::Value;
    /// The one NaN where a is any, else `a`: of which NaN an operation gives, processors differ.
    fn one_nan(self, a: Self::Value) -> Self::Value;
    /// A positive normal number as 2^e·m with m between √½ and √2, up to a millionth: e and m. Other values give any.
    fn split(self, a: Self::Value) -> (Self::Value, Self::Value);
    /// 2^a of a whole number, where that is a normal number.
    fn power_of_two(self, a: Self::Value) -> Self::Value;
}

/// Where the exponent of a number is, for operations on words of 32 bits: all bits of an f32, the upper half of an f64.
#[derive(Clone, Copy, Debug)]
pub struct ExponentBits {
    /// What makes the exponent one larger where the mantissa is √2 or more.
    pub round: u32,
    /// The word of 1.
    pub one: u32,
    /// The bits of sign and exponent.
    pub mask: u32,
    /// The place of the exponent's last bit.
    pub shift: u32,
    /// The word of a number whose unit in the last place of the word is 1, and that number plus the exponent of 1 as it is stored.
    pub unit: u32,
    /// See `unit`.
    pub unit_value: f64,
    /// The same with room for a sign.
    pub middle: f64,
}

impl ExponentBits {
    /// Of f32.
    pub const F32: Self = Self::new(23, 127, 0x3f35_04f3);
    /// Of f64.
    pub const F64: Self = Self::new(20, 1023, 0x3fe6_a09e);

    /// With an exponent at `shift`, that of 1 stored as `bias`, and the word of √½.
    const fn new(shift: u32, bias: u32, root: u32) -> Self {
        let (one, unit) = (bias << shift, (1_u32 << shift) as f64);
        Self {
            round: one - root,
            one,
            mask: u32::MAX << shift,
            shift,
            unit: (bias + shift) << shift,
            unit_value: unit + bias as f64,
            middle: 1.5 * unit + bias as f64,
        }
    }
}

/// The operations on single f64 values.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Arithmetic for Scalar {
    const DTYPE: Dtype = Dtype::F64;
    type Value = f64;
    #[inline(always)]
    fn difference(self, x: f64, neg_y: f64) -> f64 {
        x + neg_y
    }
    #[inline(always)]
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f64, b: f64) -> f64 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f64, b: f64) -> f64 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn abs(self, a: f64) -> f64 {
        a.abs()
    }
    #[inline(always)]
    fn max(self, a: f64, b: f64) -> f64 {
        if b > a { b } else { a }
    }
    #[allow(clippy::float_cmp, reason = "equal or not is what is asked")]
    #[inline(always)]
    fn where_unequal(self, a: f64, b: f64, value: f64) -> f64 {
        if a == b { 0.0 } else { value }
    }
    #[inline(always)]
    fn where_number(self, a: f64, value: f64, other: f64) -> f64 {
        if a.is_nan() { other } else { value }
    }
    #[inline(always)]
    fn constant(self, value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn sqrt(self, a: f64) -> f64 {
        a.sqrt()
    }
    #[inline(always)]
    fn one_nan(self, a: f64) -> f64 {
        if a.is_nan() { std::hint::black_box(f64::NAN) } else { a }
    }
    #[inline(always)]
    fn split(self, a: f64) -> (f64, f64) {
        let ExponentBits { round, one, mask, shift, unit, unit_value, .. } = ExponentBits::F64;
        let upper = |word: u32| u64::from(word) << 32;
        let rounded = a.to_bits().wrapping_add(upper(round));
        let exponent = f64::from_bits(rounded >> shift & upper(mask >> shift) | upper(unit)) - unit_value;
        let mantissa = a.to_bits().wrapping_add(upper(one)).wrapping_sub(rounded & upper(mask));
        (exponent, f64::from_bits(mantissa))
    }
    #[inline(always)]
    fn power_of_two(self, a: f64) -> f64 {
        let ExponentBits { shift, middle, .. } = ExponentBits::F64;
        f64::from_bits((a + middle).to_bits() << shift)
    }
}
