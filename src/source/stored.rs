//! Values as a file stores them, and their one rounding to the type that is computed in.
//!
//! HDF5 swaps bytes and widens small floats, which loses nothing. Everything that can round is done here: the soft float
//! conversion of HDF5 1.10 halves some values that follow a subnormal one.

use std::ops::Range;

use hdf5::datatype::ByteOrder;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Datatype, H5Type};

use super::view::BITS;
use crate::element::{Content, Dtype, Element};

/// A number that an attribute says stands for a missing value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// From an attribute of integers.
    Whole(i128),
    /// From an attribute of floats.
    Real(f64),
}

impl<N: Into<i128>> From<N> for Mark {
    fn from(value: N) -> Self {
        Self::Whole(value.into())
    }
}

impl Mark {
    /// The same bits of a number of so many as one without a sign.
    pub(super) fn unsigned(self, bits: u32) -> Self {
        match self {
            Self::Whole(value) => Self::Whole(value.rem_euclid(1 << bits)),
            Self::Real(value) => Self::Real(value),
        }
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

/// A type that samples can be stored in.
pub(super) trait Value: H5Type + Copy + PartialOrd + Send + Sync {
    /// The nearest value of another type, rounded once.
    fn to<T: Element>(self) -> T;
    /// As a whole number, where the type has no others.
    fn whole(self) -> Option<i128>;
    /// Neither an infinity nor NaN.
    fn is_finite(self) -> bool;
    /// The mark in this type, if it has such a value.
    fn of(mark: Mark) -> Option<Self>;
    /// For messages.
    fn show(self) -> String;
}

macro_rules! whole_value {
    ($($type:ident $from:ident),*) => {$(
        impl Value for $type {
            fn to<T: Element>(self) -> T {
                T::$from(self.into())
            }
            fn whole(self) -> Option<i128> {
                Some(self.into())
            }
            fn is_finite(self) -> bool {
                true
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::float_cmp,
                reason = "a value that does not come back as it was is dropped"
            )]
            fn of(mark: Mark) -> Option<Self> {
                match mark {
                    Mark::Whole(value) => value.try_into().ok(),
                    Mark::Real(value) => {
                        (value as i128 as f64 == value).then(|| (value as i128).try_into().ok()).flatten()
                    }
                }
            }
            fn show(self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_value!(i8 from_i64, i16 from_i64, i32 from_i64, i64 from_i64);
whole_value!(u8 from_u64, u16 from_u64, u32 from_u64, u64 from_u64);

macro_rules! real_value {
    ($($type:ident),*) => {$(
        impl Value for $type {
            fn to<T: Element>(self) -> T {
                T::from_f64(self.into())
            }
            fn whole(self) -> Option<i128> {
                None
            }
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
            fn of(mark: Mark) -> Option<Self> {
                Some(match mark {
                    Mark::Whole(value) => <$type as Element>::from_i128(value),
                    Mark::Real(value) => <$type as Element>::from_f64(value),
                })
            }
            fn show(self) -> String {
                if $type::is_finite(self) { format!("{self:e}") } else { self.to_string() }
            }
        }
    )*};
}
real_value!(f32, f64);

/// The type that samples are read in: the one they are stored in, except that floats of 16 bits are read as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StoredType {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
}

impl StoredType {
    /// The type of values in a file.
    ///
    /// # Errors
    /// What it is, if it is no type of real numbers.
    pub(super) fn of(dtype: &Datatype) -> Result<Self, &'static str> {
        match dtype.to_descriptor() {
            Ok(TypeDescriptor::Float(FloatSize::U8)) => Ok(Self::F64),
            // the other byte order is swapped; a float of 32 bits that is laid out in another way is widened
            Ok(TypeDescriptor::Float(FloatSize::U4)) if !dtype.is::<f32>() && !is_swapped(dtype) => {
                Ok(Self::F64)
            }
            Ok(TypeDescriptor::Float(_)) => Ok(Self::F32),
            Ok(TypeDescriptor::Integer(size)) => Ok(match size {
                IntSize::U1 => Self::I8,
                IntSize::U2 => Self::I16,
                IntSize::U4 => Self::I32,
                IntSize::U8 => Self::I64,
            }),
            Ok(TypeDescriptor::Unsigned(size)) => Ok(match size {
                IntSize::U1 => Self::U8,
                IntSize::U2 => Self::U16,
                IntSize::U4 => Self::U32,
                IntSize::U8 => Self::U64,
            }),
            // an enumeration of 0 and 1
            Ok(TypeDescriptor::Boolean) => Ok(Self::U8),
            Ok(TypeDescriptor::Enum(_)) => Err("an enumeration"),
            Ok(TypeDescriptor::Compound(_)) => Err("a compound type (complex numbers are one)"),
            Ok(
                TypeDescriptor::FixedAscii(_)
                | TypeDescriptor::FixedUnicode(_)
                | TypeDescriptor::VarLenAscii
                | TypeDescriptor::VarLenUnicode,
            ) => Err("text"),
            Ok(TypeDescriptor::Reference(_)) => Err("references"),
            _ if is_long(dtype) => Ok(Self::F64),
            _ if is_of_class(dtype, "H5T_BITFIELD") => Err("bit fields, as PyTables writes booleans"),
            _ => Err("a type that is no real number"),
        }
    }

    /// Type to compute in that loses nothing: f32 for floats up to 32 bits and integers up to 16, else f64.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::I8 | Self::I16 | Self::U8 | Self::U16 | Self::F32 => Dtype::F32,
            Self::I32 | Self::U32 | Self::I64 | Self::U64 | Self::F64 => Dtype::F64,
        }
    }

    /// What all values of the type are.
    pub(super) fn content(self) -> Content {
        match self {
            Self::U8 => Content::U8,
            Self::I8 => Content::I8,
            _ => Content::Any,
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether values are in the type that is computed in as soon as they are read.
    pub fn is(self, dtype: Dtype) -> bool {
        matches!((self, dtype), (Self::F32, Dtype::F32) | (Self::F64, Dtype::F64))
    }
}

/// Whether a type is that of floats of more than 64 bits, such as the long double of C.
pub(super) fn is_long(dtype: &Datatype) -> bool {
    is_of_class(dtype, "H5T_FLOAT") && dtype.conv_to::<f64>().is_some()
}

/// Whether a type is one that the HDF5 crate cannot describe, and of this class, which only its text names.
fn is_of_class(dtype: &Datatype, class: &str) -> bool {
    dtype.to_descriptor().is_err() && dtype.to_string().contains(class)
}

fn is_swapped(dtype: &Datatype) -> bool {
    let other = if cfg!(target_endian = "little") { ByteOrder::BigEndian } else { ByteOrder::LittleEndian };
    dtype.byte_order() == other
}

/// Values as they are stored, row-major.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Values {
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An expression that is the same for values of every type.
macro_rules! each {
    ($values:expr, $name:ident => $body:expr) => {
        match $values {
            Values::I8($name) => $body,
            Values::I16($name) => $body,
            Values::I32($name) => $body,
            Values::I64($name) => $body,
            Values::U8($name) => $body,
            Values::U16($name) => $body,
            Values::U32($name) => $body,
            Values::U64($name) => $body,
            Values::F32($name) => $body,
            Values::F64($name) => $body,
        }
    };
}

/// Likewise, of an expression for a vector of the same type.
macro_rules! map {
    ($values:expr, $name:ident => $body:expr) => {
        match $values {
            Values::I8($name) => Values::I8($body),
            Values::I16($name) => Values::I16($body),
            Values::I32($name) => Values::I32($body),
            Values::I64($name) => Values::I64($body),
            Values::U8($name) => Values::U8($body),
            Values::U16($name) => Values::U16($body),
            Values::U32($name) => Values::U32($body),
            Values::U64($name) => Values::U64($body),
            Values::F32($name) => Values::F32($body),
            Values::F64($name) => Values::F64($body),
        }
    };
}

impl Values {
    /// Some samples of so many.
    pub(super) fn rows(&self, samples: usize, rows: Range<usize>) -> Self {
        let features = self.len() / samples;
        let place = rows.start * features..rows.end * features;
        map!(self, values => values[place].to_vec())
    }

    /// Some samples of so many that lie there feature by feature: row-major.
    pub(super) fn turned(&self, samples: usize, rows: Range<usize>) -> Self {
        fn all<V: Copy + Default>(values: &[V], samples: usize, rows: Range<usize>) -> Vec<V> {
            /// So many features of these samples fit the innermost cache: they are written while the lines that were read are still there.
            const TOGETHER: usize = 16;
            let features = values.len() / samples;
            let mut turned = vec![V::default(); rows.len() * features];
            for first in (0..features).step_by(TOGETHER) {
                let some = first..features.min(first + TOGETHER);
                for (row, sample) in rows.clone().zip(turned.chunks_exact_mut(features)) {
                    for feature in some.clone() {
                        sample[feature] = values[feature * samples + row];
                    }
                }
            }
            turned
        }
        map!(self, values => all(values, samples, rows))
    }

    /// The same bits as numbers without a sign, if they have one; and how many bits a number has.
    pub(super) fn unsigned(&self) -> Option<(Self, u32)> {
        Some(match self {
            Self::I8(values) => (Self::U8(values.iter().map(|value| value.cast_unsigned()).collect()), 8),
            Self::I16(values) => (Self::U16(values.iter().map(|value| value.cast_unsigned()).collect()), 16),
            Self::I32(values) => (Self::U32(values.iter().map(|value| value.cast_unsigned()).collect()), 32),
            Self::I64(values) => (Self::U64(values.iter().map(|value| value.cast_unsigned()).collect()), 64),
            _ => return None,
        })
    }

    /// What a function makes of them, and NaN of those that stand for missing ones.
    pub(super) fn mapped(&self, missing: &[Mark], function: impl Fn(f64) -> f64) -> Self {
        fn all<S: Value>(values: &[S], missing: &[Mark], function: impl Fn(f64) -> f64) -> Vec<f64> {
            let missing: Vec<S> = missing.iter().copied().filter_map(S::of).collect();
            let map = |&value: &S| if missing.contains(&value) { f64::NAN } else { function(value.to()) };
            values.iter().map(map).collect()
        }
        Self::F64(each!(self, values => all(values, missing, function)))
    }

    /// The bits of some bytes, of which a sample has so many; of each sample those of some features, the highest bit of a byte first. Numbers
    /// of more than a byte have none.
    pub(super) fn bits(&self, place: Range<usize>, bytes: usize, features: Range<usize>) -> Self {
        let Self::U8(all) = self else { return Self::U8(Vec::new()) };
        let samples = all[place].chunks_exact(bytes);
        let before = features.start % BITS;
        let mut bits = Vec::with_capacity(samples.len() * features.len());
        for sample in samples {
            let first = bits.len();
            let of_byte = |byte: &u8| -> [u8; BITS] { std::array::from_fn(|at| byte >> (BITS - 1 - at) & 1) };
            if before > 0 {
                bits.extend_from_slice(&of_byte(&sample[0])[before..]);
            }
            for byte in &sample[usize::from(before > 0)..] {
                bits.extend_from_slice(&of_byte(byte));
            }
            bits.truncate(first + features.len());
        }
        Self::U8(bits)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "nobody reads no rows")]
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Some of them in another type, each rounded once; of whole numbers, after one has been subtracted.
    pub fn convert<T: Element>(&self, range: Range<usize>, subtracted: i128, out: &mut [T]) {
        fn all<S: Value, T: Element>(values: &[S], subtracted: i128, out: &mut [T]) {
            for (to, &from) in out.iter_mut().zip(values) {
                *to = if subtracted == 0 { from.to() } else { shifted(from, subtracted) };
            }
        }
        each!(self, values => all(&values[range], subtracted, out));
    }

    /// The smallest and the largest of some whole numbers.
    pub fn whole(&self, range: Range<usize>) -> Option<(i128, i128)> {
        fn all<S: Value>(values: &[S]) -> Option<(i128, i128)> {
            let first = *values.first()?;
            first.whole()?;
            let extremes = values.iter().fold((first, first), |(low, high), &value| {
                (if value < low { value } else { low }, if value > high { value } else { high })
            });
            Some((extremes.0.whole()?, extremes.1.whole()?))
        }
        each!(self, values => all(&values[range]))
    }

    /// How many whole numbers another type does not hold, and the place of the first.
    pub fn inexact<T: Element>(&self, range: Range<usize>, subtracted: i128) -> (u64, Option<usize>) {
        #[allow(clippy::cast_possible_truncation, reason = "it is a whole number")]
        fn is_inexact<S: Value, T: Element>(value: S, subtracted: i128) -> bool {
            value.whole().is_some_and(|whole| {
                let exact = whole - subtracted;
                exact.unsigned_abs() > T::WHOLE.unsigned_abs()
                    && T::from_i128(exact).to_f64() as i128 != exact
            })
        }
        each!(self, values => count(&values[range], |value| is_inexact::<_, T>(**value, subtracted)))
    }

    /// How many values stand for missing ones, and the place of the first.
    pub fn marked(&self, range: Range<usize>, marks: &[Mark]) -> (u64, Option<usize>) {
        fn all<S: Value>(values: &[S], marks: &[Mark]) -> (u64, Option<usize>) {
            let marks: Vec<S> = marks.iter().copied().filter_map(S::of).collect();
            count(values, |value| marks.contains(value))
        }
        each!(self, values => all(&values[range], marks))
    }

    /// Whether a value is neither an infinity nor NaN.
    pub fn is_finite(&self, at: usize) -> bool {
        each!(self, values => values[at].is_finite())
    }

    /// A value, for messages.
    pub fn show(&self, at: usize) -> String {
        each!(self, values => values[at].show())
    }
}

/// How many of the values stand for missing ones, and the place of the first.
pub fn marked<T: Element>(values: &[T], marks: &[Mark]) -> (u64, Option<usize>) {
    let marks = marks.iter().map(|mark| match *mark {
        Mark::Whole(value) => T::from_i128(value),
        Mark::Real(value) => T::from_f64(value),
    });
    let marks: Vec<T> = marks.collect();
    count(values, |value| marks.contains(value))
}

/// How many values are meant, and the place of the first.
pub fn count<V>(values: impl IntoIterator<Item = V>, is_meant: impl Fn(&V) -> bool) -> (u64, Option<usize>) {
    let places = values.into_iter().enumerate().filter(|(_, value)| is_meant(value));
    places.fold((0, None), |(values, first), (at, _)| (values + 1, first.or(Some(at))))
}

fn shifted<S: Value, T: Element>(value: S, subtracted: i128) -> T {
    value.whole().map_or_else(|| value.to(), |whole| T::from_i128(whole - subtracted))
}
