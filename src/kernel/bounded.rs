//! Which of some distances are within their limits, and a limit for those that have none.

use bytemuck::NoUninit;
use pulp::{Simd, WithSimd};

use super::{Level, SimdElement, simd::vectorize};

/// Vectors that are looked at together: they have 64 lanes at most.
const TOGETHER: usize = 4;

/// Groups for each of the smallest values that are asked for: about a fifth more than so many values are within the limit then.
const GROUPS: usize = 4;

/// A limit that at least `count` of the values are within, and not many more: the `count`-th smallest of the smallest values of groups. +∞ if
/// there is none. `smallest` is room.
pub fn limit_of<T: SimdElement>(level: Level, values: &[T], count: usize, smallest: &mut Vec<T>) -> T {
    let infinity = T::from_f64(f64::INFINITY);
    smallest.clear();
    if count == 0 || count.saturating_mul(2 * GROUPS) > values.len() {
        smallest.extend_from_slice(values);
    } else {
        smallest.resize(count * GROUPS, infinity);
        vectorize(level, Smallest { values, smallest });
    }
    if count == 0 || count > smallest.len() {
        return infinity;
    }
    // a NaN counts as larger than all numbers
    let order = |a: &T, b: &T| a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    let (_, limit, _) = smallest.select_nth_unstable_by(count - 1, order);
    if limit.is_nan() { infinity } else { *limit }
}

/// The smallest value of each of so many groups, and more groups where that fills no vector.
struct Smallest<'a, T> {
    values: &'a [T],
    smallest: &'a mut Vec<T>,
}

impl<T: SimdElement> WithSimd for Smallest<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, smallest } = self;
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        smallest.resize(smallest.len().next_multiple_of(lanes), T::from_f64(f64::INFINITY));
        let (groups, _) = T::vectors_mut::<S>(smallest);
        let (vectors, rest) = T::vectors::<S>(values);
        for some in vectors.chunks(groups.len()) {
            for (smallest, value) in groups.iter_mut().zip(some) {
                *smallest = T::min_or_second(simd, *value, *smallest);
            }
        }
        for (smallest, value) in smallest.iter_mut().zip(rest) {
            *smallest = if *value < *smallest { *value } else { *smallest };
        }
    }
}

/// The places in a row-major matrix of so many columns whose values are within the limit of their row, or of their column if
/// columns have any; in order, in place of what `found` held. A NaN is within none.
///
/// # Panics
/// If there are fewer limits than rows, or than columns where these have any.
pub fn within<T: SimdElement>(
    level: Level,
    values: &[T],
    width: usize,
    (rows, columns): (&[T], Option<&[T]>),
    found: &mut Vec<u32>,
) {
    found.clear();
    match columns {
        Some(columns) => {
            let columns = &columns[..width];
            vectorize(level, Within::<T, true> { values, width, rows, columns, found });
        }
        None => vectorize(level, Within::<T, false> { values, width, rows, columns: &[], found }),
    }
}

/// The lanes of a mask that are true, a bit for each: a mask has a bit for each itself, or some bytes.
#[inline(always)]
fn lanes_of(mask: &impl NoUninit, lanes: usize) -> u64 {
    let bytes = bytemuck::bytes_of(mask);
    match bytes.len() {
        // whole numbers, as the compiler would make vectors of single bytes
        1 if lanes > 1 => u64::from(bytes[0]),
        2 if lanes > 2 => u64::from(bytemuck::pod_read_unaligned::<u16>(bytes)),
        len => {
            let of_lanes = bytes.iter().step_by(len / lanes).enumerate();
            of_lanes.fold(0, |bits, (lane, byte)| bits | u64::from(*byte != 0) << lane)
        }
    }
}

struct Within<'a, T, const COLUMNS: bool> {
    values: &'a [T],
    width: usize,
    rows: &'a [T],
    columns: &'a [T],
    found: &'a mut Vec<u32>,
}

impl<T: SimdElement, const COLUMNS: bool> WithSimd for Within<'_, T, COLUMNS> {
    type Output = ();

    /// Most groups of vectors have no such value, and are passed over.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a strip has fewer places")]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, width, rows, columns, found } = self;
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        for (row, (line, &of_row)) in values.chunks_exact(width).zip(rows).enumerate() {
            let (vectors, _) = T::vectors::<S>(line);
            // without limits of columns, something of the same length
            let of_columns = if COLUMNS { T::vectors::<S>(columns).0 } else { vectors };
            let (limit, start) = (T::splat(simd, of_row), row * width);
            let (groups, _) = vectors.as_chunks::<TOGETHER>();
            for (group, (values, of_columns)) in groups.iter().zip(of_columns.as_chunks().0).enumerate() {
                let of_columns: &[T::Vector<S>; TOGETHER] = of_columns;
                let masks: [T::Mask<S>; TOGETHER] = std::array::from_fn(|v| {
                    let limit = if COLUMNS { T::max_or_second(simd, of_columns[v], limit) } else { limit };
                    T::at_most(simd, values[v], limit)
                });
                let any = T::or(simd, T::or(simd, masks[0], masks[1]), T::or(simd, masks[2], masks[3]));
                if lanes_of(&any, lanes) == 0 {
                    continue;
                }
                let bits = |v: usize| lanes_of(&masks[v], lanes) << (v * lanes);
                let mut left = bits(0) | bits(1) | bits(2) | bits(3);
                while left != 0 {
                    let lane = left.trailing_zeros() as usize;
                    found.push((start + group * TOGETHER * lanes + lane) as u32);
                    left &= left - 1;
                }
            }
            let whole = groups.len() * TOGETHER;
            for column in whole * lanes..width {
                if line[column] <= of_row || COLUMNS && line[column] <= columns[column] {
                    found.push((row * width + column) as u32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn a_limit_lets_through_as_many_as_asked_for_and_few_more<T: SimdElement>(level: Level) {
        for len in [1, 5, 63, 64, 200, 2048, 2049] {
            for missing in [0, len / 16, len / 3, len] {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(len as u64);
                let mut value = |i: usize| if i < missing { f64::NAN } else { rng.random() };
                let values: Vec<T> = (0..len).map(|i| T::from_f64(value(i))).collect();
                for count in [0, 1, 16, 17, 64, 200, 3000] {
                    let limit = limit_of(level, &values, count, &mut vec![T::default()]);
                    let within = values.iter().filter(|value| **value <= limit).count();
                    let numbers = len - missing;
                    let most = if limit.is_finite() { 2 * count + 8 } else { numbers };
                    assert!((count.min(numbers)..=most).contains(&within), "{count} of {len}: {within}");
                    let is_needed = count > 0 && (count + missing <= len / 8 || missing == 0 && count <= len);
                    assert!(limit.is_finite() || !is_needed, "{count} of {len}, {missing} missing");
                }
            }
        }
    }

    #[test]
    fn a_limit_lets_through_as_many_as_asked_for_and_few_more_on_every_level() {
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            a_limit_lets_through_as_many_as_asked_for_and_few_more::<f32>(level);
            a_limit_lets_through_as_many_as_asked_for_and_few_more::<f64>(level);
        }
    }

    #[test]
    fn the_places_are_those_of_a_plain_comparison_on_every_level() {
        const ROWS: usize = 7;
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            for width in [1, 7, 64, 65, 200, 1000] {
                let value = |i: usize| if i % 13 == 5 { f32::NAN } else { ((i * 7919) % 101) as f32 };
                let values: Vec<f32> = (0..ROWS * width).map(value).collect();
                let columns: Vec<f32> = (0..width).map(|i| ((i * 31) % 17) as f32 - 1.0).collect();
                let rows = [3.0, f32::NEG_INFINITY, 0.0, f32::INFINITY, 100.0, -1.0, 50.0];
                for columns in [None, Some(&columns[..])] {
                    let mut found = vec![99];
                    within(level, &values, width, (&rows, columns), &mut found);
                    let is_within = |place: &usize| {
                        let value = values[*place];
                        value <= rows[place / width]
                            || columns.is_some_and(|columns| value <= columns[place % width])
                    };
                    assert!(
                        (0..ROWS * width).filter(is_within).eq(found.iter().map(|place| *place as usize))
                    );
                }
            }
        }
    }
}
