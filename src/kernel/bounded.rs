//! Which of some values are at most their bounds.

use pulp::{Simd, WithSimd};

use super::{Level, SimdElement, simd::vectorize};

/// What values must not exceed.
#[derive(Clone, Copy, Debug)]
pub enum Bounds<'a, T> {
    /// One bound of all.
    One(T),
    /// A bound of each.
    Each(&'a [T]),
}

/// Vectors that are looked at together.
const TOGETHER: usize = 4;

/// The places of the values that are at most their bounds, in order, in place of what `found` held. A NaN is at most nothing.
///
/// # Panics
/// If there are fewer bounds than values.
pub fn at_most<T: SimdElement>(level: Level, values: &[T], bounds: Bounds<'_, T>, found: &mut Vec<u32>) {
    found.clear();
    match bounds {
        Bounds::One(bound) => vectorize(level, AtMost::<T, false> { values, bound, bounds: &[], found }),
        Bounds::Each(bounds) => {
            let bounds = &bounds[..values.len()];
            vectorize(level, AtMost::<T, true> { values, bound: T::default(), bounds, found });
        }
    }
}

struct AtMost<'a, T, const EACH: bool> {
    values: &'a [T],
    bound: T,
    bounds: &'a [T],
    found: &'a mut Vec<u32>,
}

impl<T: SimdElement, const EACH: bool> AtMost<'_, T, EACH> {
    /// Looks at some values one by one.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "tiles have fewer columns")]
    fn look(&mut self, places: std::ops::Range<usize>) {
        for place in places {
            let bound = if EACH { self.bounds[place] } else { self.bound };
            if self.values[place] <= bound {
                self.found.push(place as u32);
            }
        }
    }
}

impl<T: SimdElement, const EACH: bool> WithSimd for AtMost<'_, T, EACH> {
    type Output = ();

    /// Most groups of vectors have no such value, and are passed over.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        let (values, bounds) = (T::vectors::<S>(self.values).0, T::vectors::<S>(self.bounds).0);
        let one = T::splat(simd, self.bound);
        let exceeds = |place: usize| T::greater(simd, values[place], if EACH { bounds[place] } else { one });
        let whole = values.len() / TOGETHER * TOGETHER;
        for first in (0..whole).step_by(TOGETHER) {
            let [a, b, c, d] = std::array::from_fn(|v| exceeds(first + v));
            if T::all(simd, T::and(simd, T::and(simd, a, b), T::and(simd, c, d))) {
                continue;
            }
            for (v, exceed) in [a, b, c, d].into_iter().enumerate() {
                if !T::all(simd, exceed) {
                    let start = (first + v) * lanes;
                    self.look(start..start + lanes);
                }
            }
        }
        self.look(whole * lanes..self.values.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(len: usize, is_one: impl Fn(usize) -> bool) -> Vec<u32> {
        (0..len).filter(|&i| is_one(i)).map(|i| u32::try_from(i).unwrap()).collect()
    }

    #[test]
    fn the_places_are_those_of_a_plain_comparison_on_every_level() {
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            for len in [0, 1, 7, 64, 65, 200, 1000] {
                let values: Vec<f32> = (0..len)
                    .map(|i| if i % 13 == 5 { f32::NAN } else { ((i * 7919) % 101) as f32 })
                    .collect();
                let bounds: Vec<f32> = (0..len).map(|i| ((i * 31) % 17) as f32 - 1.0).collect();
                let mut found = vec![99];
                for bound in [-1.0, 0.0, 3.0, 200.0, f32::INFINITY] {
                    at_most(level, &values, Bounds::One(bound), &mut found);
                    let expected = places(len, |i| values[i] <= bound);
                    assert_eq!(found, expected, "{len} values, bound {bound}");
                }
                at_most(level, &values, Bounds::Each(&bounds), &mut found);
                let expected = places(len, |i| values[i] <= bounds[i]);
                assert_eq!(found, expected, "{len} values");
            }
        }
    }
}
