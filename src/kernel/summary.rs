//! Sum, extremes and checksum of a finished tile, in one pass.
//!
//! The checksum is a multilinear hash modulo 2⁶⁴ over the matrix's 32-bit words: Σ wᵢ · wⱼ · word(i, j), with an odd
//! 32-bit weight w for each sample; the upper words of 64-bit values count [`UPPER`] times. It depends on values and
//! places alone, so that the checksums of all tiles add up to a digest of the matrix that is the same for every
//! tile size; and a tile and its transpose at the mirrored place have the same, which spares a second pass. One changed word
//! always changes it, as the weights are odd and the change is less than 2³²; `docs/FORMAT.md` has the probability for several.
//! (D. Lemire, O. Kaser, "Strongly universal string hashing is fast", Computer Journal 57, 2014.)

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Level, SimdElement, simd::vectorize};

/// Weight of the upper words of 64-bit values: odd, so that no change of them gets lost, and with all bits mixed, so that
/// the signs of two values do not cancel.
const UPPER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Values that are summed side by side, for the compiler to make vectors of.
const LANES: usize = 16;

/// Sum and extremes of distances. A NaN makes the sum NaN and is passed over by the extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Sum, added up in f64.
    pub sum: f64,
    /// Smallest value, +∞ of none.
    pub min: f64,
    /// Largest value, −∞ of none.
    pub max: f64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Summary {
    /// Takes in another summary, `times` times.
    pub fn add(&mut self, other: &Self, times: u32) {
        self.sum += other.sum * f64::from(times);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// The lower word of a 64-bit lane.
const LOWER: u64 = 0xffff_ffff;

/// Computes summaries and checksums of tiles; keeps room for the weights of columns.
#[derive(Clone, Debug, Default)]
pub struct Checksum {
    /// Columns and words of the last tile, and the weights of its words.
    cols: (Range<usize>, usize),
    weights: Vec<u32>,
}

impl Checksum {
    /// Checksum of the tile with these rows and columns of the matrix, row-major in `values`; and what it sums up to.
    pub fn with_summary<T: SimdElement>(
        &mut self,
        level: Level,
        values: &[T],
        rows: Range<usize>,
        cols: Range<usize>,
    ) -> (u64, Summary) {
        let weights = self.weights_of::<T>(cols);
        vectorize(level, Pass::<T, true> { values, rows, weights })
    }

    /// Checksum of the tile with these rows and columns of the matrix, row-major in `values`.
    pub fn of<T: SimdElement>(
        &mut self,
        level: Level,
        values: &[T],
        rows: Range<usize>,
        cols: Range<usize>,
    ) -> u64 {
        let weights = self.weights_of::<T>(cols);
        vectorize(level, Pass::<T, false> { values, rows, weights }).0
    }

    fn weights_of<T>(&mut self, cols: Range<usize>) -> &[u32] {
        let words = size_of::<T>() / size_of::<u32>();
        if self.cols != (cols.clone(), words) {
            self.weights.clear();
            self.weights.extend(cols.clone().flat_map(|col| std::iter::repeat_n(weight(col), words)));
            self.cols = (cols, words);
        }
        &self.weights
    }
}

/// Weight of a row or column of the matrix.
#[allow(clippy::cast_possible_truncation, reason = "half of a mixed number is as good")]
fn weight(sample: usize) -> u32 {
    mix(sample as u64) as u32 | 1
}

/// Spreads the bits of a small number (the finish of D. Stafford's variant 13, as in SplitMix64).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Pass<'a, T, const SUMMARY: bool> {
    values: &'a [T],
    rows: Range<usize>,
    weights: &'a [u32],
}

impl<T: SimdElement, const SUMMARY: bool> WithSimd for Pass<'_, T, SUMMARY> {
    type Output = (u64, Summary);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let n = size_of_val(self.weights) / size_of::<T>();
        let upper = if size_of::<T>() == 8 { UPPER } else { 1 };
        let mut running = Running::<S, T>::new(simd);
        let mut checksum = 0_u64;
        for (row, values) in self.rows.zip(self.values.chunks_exact(n)) {
            let sum = dot(bytemuck::cast_slice(values), self.weights, upper);
            checksum = checksum.wrapping_add(sum.wrapping_mul(u64::from(weight(row))));
            if SUMMARY {
                running.add(values);
            }
        }
        (checksum, running.summary())
    }
}

/// A summary in lanes.
struct Running<S: Simd, T: SimdElement> {
    simd: S,
    /// Two of each, as the next one need not wait for the last.
    min: [T::Vector<S>; 2],
    max: [T::Vector<S>; 2],
    /// The sum, and the extremes of values that fill no vector.
    rest: Summary,
}

impl<S: Simd, T: SimdElement> Running<S, T> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let none = Summary::default();
        let [min, max] = [none.min, none.max].map(|value| [T::splat(simd, T::from_f64(value)); 2]);
        Self { simd, min, max, rest: none }
    }

    #[inline(always)]
    fn add(&mut self, values: &[T]) {
        let (vectors, left) = T::vectors::<S>(values);
        let (pairs, odd) = vectors.as_chunks::<2>();
        for pair in pairs {
            for v in 0..2 {
                self.min[v] = T::min_or_second(self.simd, pair[v], self.min[v]);
                self.max[v] = T::max_or_second(self.simd, pair[v], self.max[v]);
            }
        }
        for value in bytemuck::cast_slice(odd).iter().chain(left) {
            let value: &T = value;
            self.rest.min = self.rest.min.min(value.to_f64());
            self.rest.max = self.rest.max.max(value.to_f64());
        }
        let (chunks, left) = values.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for chunk in chunks {
            for l in 0..LANES {
                sums[l] += chunk[l].to_f64();
            }
        }
        for sum in sums {
            self.rest.sum += sum;
        }
        for value in left {
            self.rest.sum += value.to_f64();
        }
    }

    #[inline(always)]
    fn summary(self) -> Summary {
        let mut summary = self.rest;
        for min in bytemuck::cast_slice::<_, T>(&self.min) {
            summary.min = summary.min.min(min.to_f64());
        }
        for max in bytemuck::cast_slice::<_, T>(&self.max) {
            summary.max = summary.max.max(max.to_f64());
        }
        summary
    }
}

/// Σ wⱼ · word(j), every other word `upper` times.
///
/// Words are multiplied where they are, two to a 64-bit lane, for which processors have an instruction; a plain loop over
/// lanes, as the compiler gathers single words when it is given groups of them.
#[inline(always)]
fn dot(words: &[u32], weights: &[u32], upper: u64) -> u64 {
    let (words, words_left) = words.as_chunks::<2>();
    let (weights, weights_left) = weights.as_chunks::<2>();
    let (mut even, mut odd) = (0_u64, 0_u64);
    for (&words, &weights) in words.iter().zip(weights) {
        let (words, weights) =
            (bytemuck::cast::<_, u64>(words).to_le(), bytemuck::cast::<_, u64>(weights).to_le());
        even = even.wrapping_add((words & LOWER) * (weights & LOWER));
        odd = odd.wrapping_add((words >> 32) * (weights >> 32));
    }
    if let (&[word], &[weight]) = (words_left, weights_left) {
        even = even.wrapping_add(u64::from(word) * u64::from(weight));
    }
    even.wrapping_add(odd.wrapping_mul(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 0.37).sin()).collect()
    }

    #[test]
    fn checksums_of_parts_add_up_on_every_level() {
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            let all = values(7 * 40);
            let whole = Checksum::default().of(level, &all, 3..10, 5..45);
            let mut parts = 0_u64;
            for (row, line) in (3..10).zip(all.chunks(40)) {
                for (cols, piece) in [(5..22, &line[..17]), (22..45, &line[17..])] {
                    parts = parts.wrapping_add(Checksum::default().of(level, piece, row..row + 1, cols));
                }
            }
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn a_mirror_image_has_the_same_checksum() {
        let tile = values(7 * 40);
        let mirror: Vec<f64> = (0..7 * 40).map(|at| tile[at % 7 * 40 + at / 7]).collect();
        let sum = |values: &[f64], rows, cols| Checksum::default().of(Level::Portable, values, rows, cols);
        assert_eq!(sum(&tile, 3..10, 50..90), sum(&mirror, 50..90, 3..10));
    }

    #[test]
    fn one_flipped_bit_or_two_swapped_values_change_the_checksum() {
        let good = values(6 * 9);
        let sum = |values: &[f64]| Checksum::default().of(Level::Portable, values, 0..6, 0..9);
        for bit in 0..64 {
            let mut bad = good.clone();
            bad[13] = f64::from_bits(bad[13].to_bits() ^ 1 << bit);
            assert_ne!(sum(&bad), sum(&good));
        }
        let mut swapped = good.clone();
        swapped.swap(3, 40);
        assert_ne!(sum(&swapped), sum(&good));
        let signs: Vec<f64> = good.iter().enumerate().map(|(i, v)| if i < 2 { -v } else { *v }).collect();
        assert_ne!(sum(&signs), sum(&good));
    }

    #[test]
    fn a_summary_has_sum_and_extremes() {
        let (_, summary) = Checksum::default().with_summary(Level::Portable, &values(100), 0..1, 0..100);
        let (min, max) = values(100).iter().fold((1.0_f64, -1.0_f64), |(a, b), v| (a.min(*v), b.max(*v)));
        assert_eq!((summary.min, summary.max), (min, max));
        assert!((summary.sum - values(100).iter().sum::<f64>()).abs() < 1e-12);
    }
}
