//! The two floating-point types distances are computed in.

use std::fmt;

/// Type of the samples and distances, by the name it has on the command line and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// A floating-point type that samples and distances can have: [`f32`] or [`f64`].
pub trait Element:
    bytemuck::Pod
    + PartialOrd
    + Default
    + std::ops::Neg<Output = Self>
    + std::ops::Mul<Output = Self>
    + fmt::Display
    + fmt::Debug
    + Send
    + Sync
{
    /// The type's name as data.
    const DTYPE: Dtype;
    /// Unit roundoff u: a correctly rounded operation has relative error at most u.
    const UNIT_ROUNDOFF: f64;
    /// Smallest positive (subnormal) number η: an operation that underflows errs by at most η.
    const SMALLEST: f64;
    /// Smallest positive normal number.
    const SMALLEST_NORMAL: f64;
    /// Largest finite number.
    const LARGEST: f64;
    /// Whole numbers up to this magnitude are all values of this type.
    const WHOLE: i128;
    /// The quiet NaN that stands for every NaN in samples, so that results do not depend on payloads.
    const NAN: Self;

    /// The value in f64, exactly.
    fn to_f64(self) -> f64;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The value of this type that is nearest to a whole number, rounded once.
    fn from_i64(value: i64) -> Self;
    /// Likewise.
    fn from_u64(value: u64) -> Self;
    /// Likewise.
    fn from_i128(value: i128) -> Self;
    /// Neither an infinity nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// The smallest and the largest value, and whether all are finite. If not all are, the other two mean nothing.
    fn extremes(values: &[Self]) -> (Self, Self, bool);
}

macro_rules! element {
    ($type:ident, $dtype:ident, $smallest_bits:expr) => {
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const UNIT_ROUNDOFF: f64 = $type::EPSILON as f64 / 2.0;
            const SMALLEST: f64 = $type::from_bits($smallest_bits) as f64;
            const SMALLEST_NORMAL: f64 = $type::MIN_POSITIVE as f64;
            const LARGEST: f64 = $type::MAX as f64;
            const WHOLE: i128 = 1 << $type::MANTISSA_DIGITS;
            const NAN: Self = $type::NAN;

            #[allow(clippy::cast_lossless, reason = "one body for both types")]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[allow(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            #[allow(clippy::cast_precision_loss, reason = "rounding is the purpose")]
            fn from_i64(value: i64) -> Self {
                value as $type
            }
            #[allow(clippy::cast_precision_loss, reason = "rounding is the purpose")]
            fn from_u64(value: u64) -> Self {
                value as $type
            }
            #[allow(clippy::cast_precision_loss, reason = "rounding is the purpose")]
            fn from_i128(value: i128) -> Self {
                value as $type
            }
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
            #[inline(always)]
            fn extremes(values: &[Self]) -> (Self, Self, bool) {
                // lanes of their own, so that the compiler can use vectors; two or four registers of them, since one would wait for itself
                const LANES: usize = 128 / size_of::<$type>();
                let (mut low, mut high) = ([$type::INFINITY; LANES], [$type::NEG_INFINITY; LANES]);
                // 0 · value is 0, or NaN for an infinity or a NaN, and stays NaN once it is
                let mut zero = [0.0 as $type; LANES];
                let (blocks, rest) = values.as_chunks::<LANES>();
                for block in blocks {
                    for l in 0..LANES {
                        let value = block[l];
                        low[l] = if value < low[l] { value } else { low[l] };
                        high[l] = if value > high[l] { value } else { high[l] };
                        zero[l] += 0.0 * value;
                    }
                }
                let (mut smallest, mut largest, mut finite) = ($type::INFINITY, $type::NEG_INFINITY, true);
                for &value in rest {
                    smallest = if value < smallest { value } else { smallest };
                    largest = if value > largest { value } else { largest };
                    finite &= value.is_finite();
                }
                if !blocks.is_empty() {
                    let less = |least, value| if value < least { value } else { least };
                    let more = |most, value| if value > most { value } else { most };
                    smallest = low.into_iter().fold(smallest, less);
                    largest = high.into_iter().fold(largest, more);
                    finite &= zero.into_iter().all(|zero| zero == 0.0);
                }
                (smallest, largest, finite)
            }
        }
    };
}
element!(f32, F32, 1);
element!(f64, F64, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_those_of_all_values_and_one_that_is_not_finite_is_seen_anywhere() {
        for len in 1..70 {
            let values: Vec<f32> = (0..len).map(|at| ((at * 37) % 101) as f32 - 50.0).collect();
            let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(f32::extremes(&values), (smallest, largest, true), "{len}");
            let wide: Vec<f64> = values.iter().copied().map(f64::from).collect();
            assert_eq!(f64::extremes(&wide), (smallest.into(), largest.into(), true), "{len}");
            for (at, bad) in
                (0..len).flat_map(|at| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|bad| (at, bad)))
            {
                let mut values = values.clone();
                values[at] = bad;
                assert!(!f32::extremes(&values).2, "{bad} at {at} of {len}");
                let wide: Vec<f64> = values.iter().copied().map(f64::from).collect();
                assert!(!f64::extremes(&wide).2, "{bad} at {at} of {len}");
            }
        }
    }
}
