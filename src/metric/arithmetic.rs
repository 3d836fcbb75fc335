//! The operations that folds and finishes are written in: once for vectors of any type and level, and for single values.

/// On one value, or on a vector of them (lane by lane).
pub trait Arithmetic: Copy {
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
    /// A number that both types have, or an infinity.
    fn constant(self, value: f64) -> Self::Value;
    /// √a, correctly rounded.
    fn sqrt(self, a: Self::Value) -> Self::Value;
    /// The one NaN where a is any, else `a`: of which NaN an operation gives, processors differ.
    fn one_nan(self, a: Self::Value) -> Self::Value;
}

/// The operations on single f64 values.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Arithmetic for Scalar {
    type Value = f64;
    fn difference(self, x: f64, neg_y: f64) -> f64 {
        x + neg_y
    }
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }
    fn mul(self, a: f64, b: f64) -> f64 {
        a * b
    }
    fn div(self, a: f64, b: f64) -> f64 {
        a / b
    }
    fn mul_add(self, a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    fn abs(self, a: f64) -> f64 {
        a.abs()
    }
    fn max(self, a: f64, b: f64) -> f64 {
        if b > a { b } else { a }
    }
    #[allow(clippy::float_cmp, reason = "equal or not is what is asked")]
    fn where_unequal(self, a: f64, b: f64, value: f64) -> f64 {
        if a == b { 0.0 } else { value }
    }
    fn constant(self, value: f64) -> f64 {
        value
    }
    fn sqrt(self, a: f64) -> f64 {
        a.sqrt()
    }
    fn one_nan(self, a: f64) -> f64 {
        if a.is_nan() { std::hint::black_box(f64::NAN) } else { a }
    }
}
