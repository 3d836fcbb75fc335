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
    /// The quiet NaN that stands for every NaN in samples, so that results do not depend on payloads.
    const NAN: Self;

    /// The value in f64, exactly.
    fn to_f64(self) -> f64;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The absolute value.
    #[must_use]
    fn magnitude(self) -> Self;
    /// Neither an infinity nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
}

macro_rules! element {
    ($type:ident, $dtype:ident, $smallest_bits:expr) => {
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const UNIT_ROUNDOFF: f64 = $type::EPSILON as f64 / 2.0;
            const SMALLEST: f64 = $type::from_bits($smallest_bits) as f64;
            const SMALLEST_NORMAL: f64 = $type::MIN_POSITIVE as f64;
            const LARGEST: f64 = $type::MAX as f64;
            const NAN: Self = $type::NAN;

            #[allow(clippy::cast_lossless, reason = "one body for both types")]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[allow(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            fn magnitude(self) -> Self {
                self.abs()
            }
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
        }
    };
}
element!(f32, F32, 1);
element!(f64, F64, 1);
