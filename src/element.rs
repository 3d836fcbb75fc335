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

    /// The smallest normal number.
    pub const fn smallest_normal(self) -> f64 {
        match self {
            Self::F32 => f32::SMALLEST_NORMAL,
            Self::F64 => f64::SMALLEST_NORMAL,
        }
    }

    /// The largest number.
    pub const fn largest(self) -> f64 {
        match self {
            Self::F32 => f32::LARGEST,
            Self::F64 => f64::LARGEST,
        }
    }

    /// The one of two that holds the values of both.
    #[must_use]
    pub fn wider(self, other: Self) -> Self {
        if self == Self::F32 { other } else { self }
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

impl Dtype {
    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F64].into_iter().find(|dtype| dtype.to_string() == name)
    }
}

/// What all values of some samples are, where that is less than numbers of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// True or false, as 1 or 0.
    Truth,
    /// Whole numbers of 8 bits, without a sign.
    U8,
    /// Whole numbers of 8 bits, with a sign.
    I8,
    /// Numbers.
    Any,
}

impl Content {
    /// Of two inputs together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            // 0 and 1 are numbers of either kind
            (Self::Truth, other @ (Self::U8 | Self::I8)) | (other @ (Self::U8 | Self::I8), Self::Truth) => {
                other
            }
            _ => Self::Any,
        }
    }
}

/// Type that distances are stored in, by the name it has on the command line and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreType {
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl StoreType {
    const ALL: [Self; 3] = [Self::F16, Self::F32, Self::F64];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.name() == name)
    }

    /// Unit roundoff u, and the smallest positive number η.
    const fn roundoff(self) -> (f64, f64) {
        match self {
            Self::F16 => (1.0 / (1 << 11) as f64, 1.0 / (1 << 24) as f64),
            Self::F32 => (f32::UNIT_ROUNDOFF, f32::SMALLEST),
            Self::F64 => (f64::UNIT_ROUNDOFF, f64::SMALLEST),
        }
    }

    /// The smallest normal number: what is smaller has fewer digits.
    pub const fn smallest_normal(self) -> f64 {
        let (u, smallest) = self.roundoff();
        smallest / (2.0 * u)
    }

    /// Bound on |stored − distance| of a distance up to `largest` that is stored as a number: half a unit in its last place, which is u
    /// times the power of two at or below it, or η/2.
    pub fn rounding(self, largest: f64) -> f64 {
        let (u, smallest) = self.roundoff();
        let power = f64::from_bits(largest.min(self.overflow()).to_bits() & f64::INFINITY.to_bits());
        (u * power).max(smallest / 2.0)
    }

    /// The smallest distance that is stored as an infinity: half way from the largest number to the power of two above it.
    pub fn overflow(self) -> f64 {
        let (u, _) = self.roundoff();
        match self {
            Self::F16 => 65_536.0 * (1.0 - u / 2.0),
            // 2^128 is no number of the type, and 2^1024 none at all
            Self::F32 => f32::LARGEST * (1.0 + u / (2.0 - 2.0 * u)),
            Self::F64 => f64::INFINITY,
        }
    }
}

impl From<Dtype> for StoreType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
        }
    }
}

/// A floating-point type that samples and distances can have: [`f32`] or [`f64`].
pub trait Element:
    bytemuck::Pod
    + PartialOrd
    + Default
    + std::ops::Neg<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
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
    fn from_i32(value: i32) -> Self;
    /// Likewise.
    fn from_i64(value: i64) -> Self;
    /// Likewise.
    fn from_u64(value: u64) -> Self;
    /// Likewise.
    fn from_i128(value: i128) -> Self;
    /// The value as a whole number, of as many bits as the type has: those of numbers are in the order of the numbers, and ±0 have
    /// one. A NaN has some other.
    fn to_ordered(self) -> u64;
    /// The value that a whole number stands for.
    fn from_ordered(ordered: u64) -> Self;
    /// Neither an infinity nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// The smallest and the largest value, and whether all are finite. If not all are, the other two mean nothing.
    fn extremes(values: &[Self]) -> (Self, Self, bool);
}

macro_rules! element {
    ($type:ident, $bits:ident, $dtype:ident, $smallest_bits:expr) => {
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
            #[inline(always)]
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "rounding is the purpose")]
            fn from_i32(value: i32) -> Self {
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
            #[inline(always)]
            #[allow(clippy::useless_conversion, reason = "one body for both types")]
            fn to_ordered(self) -> u64 {
                // −0 + 0 is 0
                let bits = (self + 0.0).to_bits();
                u64::from(if bits & (1 << (<$bits>::BITS - 1)) == 0 {
                    bits | (1 << (<$bits>::BITS - 1))
                } else {
                    !bits
                })
            }
            #[inline(always)]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_lossless,
                reason = "one body for both types"
            )]
            fn from_ordered(ordered: u64) -> Self {
                let ordered = ordered as $bits;
                $type::from_bits(if ordered & (1 << (<$bits>::BITS - 1)) == 0 {
                    !ordered
                } else {
                    ordered & !(1 << (<$bits>::BITS - 1))
                })
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
element!(f32, u32, F32, 1);
element!(f64, u64, F64, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_values_are_in_their_order() {
        let values =
            [f64::NEG_INFINITY, -2.5, -1e-310, 0.0, 1e-310, 1.0, 1.0 + f64::EPSILON, 1e300, f64::INFINITY];
        assert!(values.windows(2).all(|pair| pair[0].to_ordered() < pair[1].to_ordered()));
        assert!(
            values.iter().all(|value| f64::from_ordered(value.to_ordered()).to_bits() == value.to_bits())
        );
        assert_eq!((-0.0_f64).to_ordered(), 0.0_f64.to_ordered());
        let values =
            [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 1.0, 1.0 + f32::EPSILON, 1e30, f32::INFINITY];
        assert!(values.windows(2).all(|pair| pair[0].to_ordered() < pair[1].to_ordered()));
        assert!(
            values.iter().all(|value| f32::from_ordered(value.to_ordered()).to_bits() == value.to_bits())
        );
        assert!(f32::INFINITY.to_ordered() < 1 << 32);
    }

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
