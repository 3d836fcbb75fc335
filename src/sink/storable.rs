//! Types that distances are stored in. Each distance is rounded once, to nearest, ties to even.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::element::{Element, StoreType};
use crate::io::array::Array;
use crate::io::{Attempt, FileType};
use crate::kernel::{Checksum, Level, SimdElement, transpose, transpose_plain};

/// An expression with the type that a [`StoreType`] names.
macro_rules! with_store {
    ($store:expr, $type:ident => $body:expr) => {
        match $store {
            $crate::element::StoreType::F16 => {
                type $type = half::f16;
                $body
            }
            $crate::element::StoreType::F32 => {
                type $type = f32;
                $body
            }
            $crate::element::StoreType::F64 => {
                type $type = f64;
                $body
            }
        }
    };
}
pub(super) use with_store;

/// A type that distances are stored in.
pub trait Storable: FileType + bytemuck::Pod + Send + Sync {
    /// A type that has all its values, of which their checksum is.
    type Wide: SimdElement;

    /// Rounds values of another type.
    fn round<T: Element>(values: &[T], out: &mut [Self]);

    /// The same values in the wide type; `room` is for those that are not.
    fn widened<'a>(values: &'a [Self], room: &'a mut Vec<Self::Wide>) -> &'a [Self::Wide];

    /// Transposes an m × n matrix; with each slice goes how many elements its rows are apart.
    fn transpose(level: Level, shape: (usize, usize), from: (&[Self], usize), to: (&mut [Self], usize));
}

macro_rules! storable {
    ($type:ident) => {
        impl Storable for $type {
            type Wide = $type;

            fn round<T: Element>(values: &[T], out: &mut [Self]) {
                for (to, from) in out.iter_mut().zip(values) {
                    *to = <$type as Element>::from_f64(from.to_f64());
                }
            }

            fn widened<'a>(values: &'a [Self], _: &'a mut Vec<Self>) -> &'a [Self] {
                values
            }

            fn transpose(
                level: Level,
                shape: (usize, usize),
                from: (&[Self], usize),
                to: (&mut [Self], usize),
            ) {
                transpose(level, shape, from, to);
            }
        }
    };
}
storable!(f32);
storable!(f64);

impl Storable for f16 {
    type Wide = f32;

    fn round<T: Element>(values: &[T], out: &mut [Self]) {
        const TOGETHER: usize = 256;
        let mut narrow = [0.0; TOGETHER];
        for (out, values) in out.chunks_mut(TOGETHER).zip(values.chunks(TOGETHER)) {
            for (to, from) in narrow.iter_mut().zip(values) {
                *to = to_odd(from.to_f64());
            }
            out.convert_from_f32_slice(&narrow[..values.len()]);
        }
    }

    fn widened<'a>(values: &'a [Self], room: &'a mut Vec<f32>) -> &'a [f32] {
        room.resize(values.len(), 0.0);
        values.convert_to_f32_slice(room);
        room
    }

    fn transpose(_: Level, shape: (usize, usize), from: (&[Self], usize), to: (&mut [Self], usize)) {
        transpose_plain(shape, from, to);
    }
}

/// Reads a block of distances.
pub fn read_widened(
    array: &Array,
    store: StoreType,
    rows: Range<usize>,
    cols: Range<usize>,
) -> Attempt<Vec<f64>> {
    // HDF5 1.10 converts some numbers of 16 bits wrongly
    with_store!(store, S => {
        let stored = array.read::<S>(rows, cols)?;
        Ok(S::widened(&stored, &mut Vec::new()).iter().map(|value| value.to_f64()).collect())
    })
}

/// The distances of a tile in f64, row-major as they are stored, and their checksum.
pub fn widened_tile<S: Storable>(
    stored: &[S],
    (rows, cols): (Range<usize>, Range<usize>),
    level: Level,
    checksum: &mut Checksum,
) -> (Vec<f64>, u64) {
    let mut room = Vec::new();
    let wide = S::widened(stored, &mut room);
    let sum = checksum.of(level, wide, rows, cols);
    (wide.iter().map(|value| value.to_f64()).collect(), sum)
}

/// Whether values that are finite became infinities when they were rounded.
pub fn overflows<T: Element, W: Element>(values: &[T], stored: &[W]) -> bool {
    // there are none as a rule, which is soon seen
    let (_, _, are_finite) = W::extremes(stored);
    !are_finite && values.iter().zip(stored).any(|(value, stored)| value.is_finite() && !stored.is_finite())
}

/// The value in f32 if that has it, else the neighbour with an odd last bit: to round it once more, to a type that has two bits less
/// or fewer, gives what rounding the value once would. (S. Boldo, G. Melquiond, "When double rounding is odd", IMACS 2005.)
#[allow(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "what rounding changes is the question"
)]
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() {
        return nearest;
    }
    // of the neighbours the one nearer to zero, and then the odd one
    f32::from_bits((nearest.to_bits() - u32::from(back.abs() > value.abs())) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All numbers of 16 bits from 0 on, in order, in f64; and the first that is too large.
    fn numbers() -> Vec<f64> {
        let numbers = (0..0x7c00).map(|bits| f16::from_bits(bits).to_f64());
        numbers.chain([65_536.0]).collect()
    }

    fn rounded<T: Element>(value: T) -> u16 {
        let mut out = [f16::ZERO];
        f16::round(&[value], &mut out);
        out[0].to_bits()
    }

    #[test]
    fn distances_are_rounded_to_16_bits_once() {
        let numbers = numbers();
        for (bits, pair) in (0_u16..).zip(numbers.windows(2)) {
            let [low, high] = [pair[0], pair[1]];
            let middle = low + (high - low) / 2.0;
            let even = bits + bits % 2;
            assert_eq!([low, middle].map(rounded), [bits, even], "{low:e}");
            // as near to the middle as f64 has them, where f32 has the middle alone
            let [below, above] = [middle.next_down(), middle.next_up()].map(rounded);
            assert_eq!([below, above], [bits, bits + 1], "{middle:e}");
        }
        assert_eq!([f64::INFINITY, f64::MAX, 65_520.0].map(rounded), [0x7c00; 3]);
        assert_eq!(rounded(65_519.99_f32), 0x7bff);
        assert_eq!([f64::NAN].map(rounded), [0x7e00]);
        assert_eq!([f32::NAN].map(rounded), [0x7e00]);
    }

    #[test]
    fn what_rounding_may_change_is_bounded() {
        for value in [0.0, 1e-9, 3e-8, 6e-5, 0.1, 1.000_488, 65_519.9] {
            let stored = f16::from_bits(rounded(value)).to_f64();
            let bound = StoreType::F16.rounding(value);
            assert!((stored - value).abs() <= bound, "{value:e}");
            // the numbers beside it are farther away
            let numbers = numbers();
            let at =
                numbers.iter().position(|number| number.to_bits() == stored.to_bits()).expect("a number");
            for other in [at.checked_sub(1), Some(at + 1)].into_iter().flatten() {
                assert!((numbers[other] - value).abs() > bound, "{value:e} to {:e}", numbers[other]);
            }
        }
        for store in [StoreType::F16, StoreType::F32] {
            let overflow = store.overflow();
            let infinite = |value: f64| match store {
                StoreType::F16 => rounded(value) == 0x7c00,
                _ => f32::from_f64(value).is_infinite(),
            };
            assert_eq!([overflow.next_down(), overflow].map(infinite), [false, true], "{store:?}");
        }
    }

    #[test]
    fn many_are_rounded_as_one_is() {
        let values: Vec<f32> = (0..1000_u16).map(|at| f32::from(at).sqrt()).collect();
        let mut out = vec![f16::ZERO; values.len()];
        f16::round(&values, &mut out);
        assert!(values.iter().zip(&out).all(|(value, out)| rounded(*value) == out.to_bits()));
        assert!(
            f16::widened(&out, &mut Vec::new())
                .iter()
                .zip(&out)
                .all(|(wide, out)| wide.to_bits() == out.to_f32().to_bits())
        );
    }
}
