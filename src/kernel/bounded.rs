//! Which of some distances are within their limits.

use pulp::{Simd, WithSimd};

use super::{Level, SimdElement, simd::vectorize};

/// Vectors that are looked at together.
const TOGETHER: usize = 4;

/// No vector has more lanes.
const MOST_LANES: usize = 64;

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
        let of_columns = T::vectors::<S>(columns).0;
        for (row, (line, &of_row)) in values.chunks_exact(width).zip(rows).enumerate() {
            let (vectors, _) = T::vectors::<S>(line);
            let limit = T::splat(simd, of_row);
            let are_within = |v: usize| {
                let limit = if COLUMNS { T::max_or_second(simd, of_columns[v], limit) } else { limit };
                T::at_most(simd, vectors[v], limit)
            };
            let whole = vectors.len() / TOGETHER * TOGETHER;
            for first in (0..whole).step_by(TOGETHER) {
                let masks: [T::Mask<S>; TOGETHER] = std::array::from_fn(|v| are_within(first + v));
                let any = T::or(simd, T::or(simd, masks[0], masks[1]), T::or(simd, masks[2], masks[3]));
                if !T::any(simd, any) {
                    continue;
                }
                for (v, mask) in masks.into_iter().enumerate() {
                    if !T::any(simd, mask) {
                        continue;
                    }
                    // without branches: which lane it is cannot be foreseen
                    let start = (first + v) * lanes;
                    let (mut places, mut count) = ([0; MOST_LANES], 0);
                    let line = &line[start..start + lanes];
                    let columns = if COLUMNS { &columns[start..start + lanes] } else { line };
                    for (lane, (value, of_column)) in line.iter().zip(columns).enumerate() {
                        let limit = if COLUMNS && *of_column > of_row { *of_column } else { of_row };
                        places[count % MOST_LANES] = (row * width + start + lane) as u32;
                        count += usize::from(*value <= limit);
                    }
                    found.extend_from_slice(&places[..count]);
                }
            }
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
