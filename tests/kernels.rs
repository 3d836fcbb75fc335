//! The kernels against the definition of each metric, on every SIMD level that this machine has.

mod common;

/// Calls a check that is generic over the element type for both of them.
macro_rules! for_both_types {
    ($check:ident) => {
        $check::<f32>();
        $check::<f64>();
    };
}

#[path = "kernels/parts.rs"]
mod parts;

use std::ops::Range;

use common::samples::{Given, assert_within_tolerance, definition, random, scaling, with_gaps};
use common::tiles::{Way, kernels, levels, tile_of, tile_scaled, tile_with, ways, ways_of};
use ndarray::{Array2, Axis, Slice, concatenate};
use pairdist::element::{Content, Dtype};
use pairdist::kernel::{Kernel, Level, Method, Scratch};
use pairdist::metric::{Exponent, Finish, Measure, Metric, PowerOfTwo, Preparation};
use pairdist::number::Number;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Around the vectors, around the blocks of a sum, and beyond the features that stay in cache.
const FEATURES: [usize; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 255, 256, 257, 300, 1000, 5000];

/// Tiles with whole and ragged panels.
const SHAPES: [(usize, usize); 5] = [(1, 1), (1, 40), (7, 5), (33, 17), (64, 64)];

/// Rows of the samples that tiles are taken from.
const ROWS: usize = 64;

fn kernels_of(given: impl Into<Given>) -> impl Iterator<Item = (Way, Level)> {
    ways_of(given.into(), Content::Any).flat_map(|way| levels().map(move |level| (way, level)))
}

fn tile<T: Number>(kernel: (Way, Level), x: &Array2<T>, y: &Array2<T>) -> Array2<T> {
    tile_with(&mut Scratch::new(), kernel, x, y).0
}

/// The bits of every entry, in f64, which holds them all.
fn bits<T: Number>(tile: &Array2<T>) -> Array2<u64> {
    tile.mapv(|value| value.to_f64().to_bits())
}

fn rows<T: Number>(samples: &Array2<T>, range: Range<usize>) -> Array2<T> {
    samples.slice_axis(Axis(0), Slice::from(range)).to_owned()
}

/// Two sets of samples; some of the second are close to one of the first, and some are equal to one.
fn two_sets<T: Number>(features: usize) -> [Array2<T>; 2] {
    let x = random::<T>(ROWS, features, 1);
    let mut y = random::<T>(ROWS, features, 2);
    for row in (0..ROWS).step_by(5) {
        y.row_mut(row).assign(&x.row(row).mapv(|value| T::from_f64(value.to_f64() * 1.001)));
        y.row_mut((row + 2) % ROWS).assign(&x.row(row));
    }
    [x, y]
}

fn check_bounds<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for metric in Given::all() {
            let expected = definition(metric, &x, &y);
            for (way, level) in kernels_of(metric) {
                let got = tile((way, level), &x, &y);
                assert_within_tolerance(level.name(), (metric, way.1, features, 0), &got, &expected);
            }
        }
    }
}

fn check_zeros_at_the_end<T: Number>() {
    for features in [1, 7, 33, 255, 256, 257, 1031] {
        let samples = two_sets::<T>(features);
        for zeros in [1, 5, 300] {
            let zeros = Array2::from_elem((ROWS, zeros), T::default());
            let [x, y] = samples
                .each_ref()
                .map(|samples| concatenate![Axis(1), *samples, zeros].as_standard_layout().to_owned());
            let keeps = |given: &Given| {
                let form = given.metric.form();
                let counts_all =
                    [Metric::Rogerstanimoto, Metric::Russellrao, Metric::Yule].contains(&given.metric);
                let keeps = form.finish != Finish::Share && form.preparation != Preparation::Deviation;
                !given.weighted && keeps && !counts_all
            };
            for kernel in kernels().filter(|(way, _)| way.1 == Method::Direct && keeps(&way.0)) {
                let [got, expected] = [tile(kernel, &x, &y), tile(kernel, &samples[0], &samples[1])];
                assert!(
                    bits(&got) == bits(&expected),
                    "{kernel:?}: {features} features and {}",
                    zeros.ncols()
                );
            }
        }
    }
}

#[test]
fn zeros_after_the_last_feature_change_no_direct_distance() {
    for_both_types!(check_zeros_at_the_end);
}

#[test]
fn every_distance_is_within_its_bound() {
    for_both_types!(check_bounds);
}

fn check_levels<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for way in ways() {
            let expected = bits(&tile((way, Level::Portable), &x, &y));
            for kernel in kernels().filter(|kernel| kernel.0 == way) {
                let got = bits(&tile(kernel, &x, &y));
                assert!(got == expected, "{kernel:?}, {}, {features} features", T::DTYPE);
            }
        }
    }
}

fn check_narrow_panels<T: Number>() {
    let scratch = &mut Scratch::new();
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for (way, level) in kernels() {
            let kernel = Kernel::<T>::new(way.0.measure(features), way.1, features, level);
            // one side is as narrow as its samples, or both are
            for (m, n) in [(1, 1), (2, 2), (3, 2), (2, 40), (40, 3), (9, 7)] {
                let (x, y) = (rows(&x, 0..m), rows(&y, 0..n));
                let narrow = kernel.clone().for_tiles(m, n);
                assert_eq!(narrow.row_panels().width, kernel.row_panels().width.min(m));
                assert_eq!(narrow.col_panels().width, kernel.col_panels().width.min(n));
                let [got, expected] = [narrow, kernel.clone()].map(|kernel| tile_of(scratch, kernel, &x, &y));
                assert_eq!(
                    (bits(&got.0), got.1),
                    (bits(&expected.0), expected.1),
                    "{way:?}, {level:?}, {}, {features} features, {m} x {n}",
                    T::DTYPE
                );
            }
        }
    }
}

#[test]
fn panels_as_narrow_as_their_tile_give_the_same_bits() {
    for_both_types!(check_narrow_panels);
}

#[test]
fn a_level_uses_its_own_vectors() {
    for (way, level) in kernels() {
        let bytes = match level.name() {
            "avx512" => 64,
            "avx2" => 32,
            _ => 16,
        };
        // a micro-tile is two vectors wide, of values or of words
        let kernel = Kernel::<f32>::new(way.0.measure(3), way.1, 3, level);
        let size = if way.1.is_whole() { size_of::<u64>() } else { size_of::<f32>() };
        assert_eq!(kernel.col_panels().width, 2 * bytes / size, "{level:?}");
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    for_both_types!(check_levels);
}

fn check_places<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for kernel in kernels() {
            let whole = bits(&tile(kernel, &x, &y));
            let ((given, method), level) = kernel;
            // powers of most orders have other bits where samples are scaled, as they are by the largest of all
            let exponent = scaling(given, &x, &y);
            for (m, n) in SHAPES {
                let (i, j) = (11.min(ROWS - m), ROWS - n);
                let (x, y) = (rows(&x, i..i + m), rows(&y, j..j + n));
                let kernel = Kernel::new(given.measure(features), method, features, level).for_tiles(m, n);
                let part = bits(&tile_scaled(&mut Scratch::new(), kernel, exponent, &x, &y).0);
                let same = part.indexed_iter().all(|((r, c), value)| *value == whole[(i + r, j + c)]);
                assert!(same, "{given:?}, {method}, {level:?}, {}, {features} features, {m} x {n}", T::DTYPE);
            }
        }
    }
}

#[test]
fn a_pair_has_the_same_bits_wherever_it_stands_in_a_tile() {
    for_both_types!(check_places);
}

fn check_symmetry<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for kernel in kernels() {
            let there = bits(&tile(kernel, &x, &y));
            let back = bits(&tile(kernel, &y, &x));
            assert!(there == back.t(), "{kernel:?}, {}, {features} features", T::DTYPE);
        }
    }
}

#[test]
fn a_distance_and_its_reverse_have_the_same_bits() {
    for_both_types!(check_symmetry);
}

fn check_scratch<T: Number>() {
    let [x, y] = two_sets::<T>(5000);
    for kernel in kernels() {
        let mut scratch = Scratch::new();
        for (m, n) in SHAPES.into_iter().rev() {
            let (x, y) = (&rows(&x, 0..m), &rows(&y, 0..n));
            let used = tile_with(&mut scratch, kernel, x, y).0;
            assert!(bits(&used) == bits(&tile(kernel, x, y)), "{kernel:?}, {}, {m} x {n}", T::DTYPE);
        }
    }
}

#[test]
fn what_a_worker_keeps_between_tiles_changes_nothing() {
    for_both_types!(check_scratch);
}

/// A kind of samples: its name, and a value made of a number between -1 and 1.
type Kind = (&'static str, fn(f64) -> f64);

/// Samples on which |x|² + |y|² − 2x·y cancels, or whose squares come near an end of the range of numbers.
const HOSTILE: [Kind; 8] = [
    ("1000 + 1e-4 u", |u| 1000.0 + 1e-4 * u),
    ("1 or 1 + 1e-4", |u| if u > 0.0 { 1.0 } else { 1.0 + 1e-4 }),
    ("0 or 1", |u| if u > 0.0 { 1.0 } else { 0.0 }),
    ("5e5 + u", |u| 5e5 + u),
    ("1e15 u", |u| 1e15 * u),
    ("1e-20 u, with squares below the normal numbers of f32", |u| 1e-20 * u),
    ("1e-41 u, below the normal numbers of f32", |u| 1e-41 * u),
    ("10 to the power of 18 u", |u| 10_f64.powf(18.0 * u)),
];

const HOSTILE_FEATURES: [usize; 4] = [1, 16, 300, 5000];

/// Hostile samples, the first of them twice.
fn hostile<T: Number>(features: usize, value: fn(f64) -> f64) -> Array2<T> {
    let mut samples = random::<f64>(20, features, 3).mapv(|u| T::from_f64(value(u)));
    let first = rows(&samples, 0..7);
    samples.append(Axis(0), first.view()).expect("they have as many features");
    samples
}

fn check_hostile<T: Number>() {
    for ((name, value), features) in HOSTILE.iter().flat_map(|kind| HOSTILE_FEATURES.map(|d| (kind, d))) {
        let samples = hostile::<T>(features, *value);
        for metric in Given::all() {
            let expected = definition(metric, &samples, &samples);
            for (way, level) in kernels_of(metric) {
                let got = tile((way, level), &samples, &samples);
                let what = format!("{name}, {}", level.name());
                let case = (metric, way.1, features, scaling(metric, &samples, &samples));
                assert_within_tolerance(&what, case, &got, &expected);
            }
        }
    }
}

#[test]
fn hostile_samples_stay_within_the_bound() {
    for_both_types!(check_hostile);
}

/// Samples that nobody would think of: rows of any magnitude around any common offset, some of them copies.
#[derive(Clone, Debug)]
struct Arbitrary {
    seed: u64,
    features: usize,
    /// Powers of two: of the offset, and of the rows' smallest and largest values.
    offset: i32,
    magnitudes: (i32, i32),
}

impl Arbitrary {
    fn any(exponents: Range<i32>) -> impl Strategy<Value = Self> {
        let exponent = || exponents.clone();
        let parts = (any::<u64>(), 1..600_usize, exponent(), exponent(), exponent());
        parts.prop_map(|(seed, features, offset, a, b)| {
            let magnitudes = (a.min(b), a.max(b));
            Self { seed, features, offset, magnitudes }
        })
    }

    fn samples<T: Number>(&self) -> Array2<T> {
        let mut samples = random::<f64>(12, self.features, self.seed);
        let (low, high) = self.magnitudes;
        let exponents = random::<f64>(12, 1, !self.seed);
        for (mut row, at) in samples.rows_mut().into_iter().zip(&exponents) {
            let exponent = f64::from(low) + f64::from(high - low) * (0.5 + 0.5 * at);
            row.mapv_inplace(|u| f64::from(self.offset).exp2() + exponent.exp2() * u);
        }
        let copies = rows(&samples, 0..3);
        samples.append(Axis(0), copies.view()).expect("they have as many features");
        samples.mapv(|value| T::from_f64(value.clamp(-T::LARGEST, T::LARGEST)))
    }

    fn check<T: Number>(&self) {
        let samples = self.samples::<T>();
        for metric in Given::all() {
            let expected = definition(metric, &samples, &samples);
            for (way, level) in kernels_of(metric) {
                let got = tile((way, level), &samples, &samples);
                let case = (metric, way.1, self.features, scaling(metric, &samples, &samples));
                assert_within_tolerance(level.name(), case, &got, &expected);
                let bits = bits(&got);
                assert!(bits == bits.t(), "{way:?} is not symmetric");
                let is_zero = |place| bits[place] == 0 || !expected[place].distance.is_finite();
                assert!((0..3).all(|row| is_zero((row, row + 12))), "{way:?}: copies are not at 0");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_samples_stay_within_the_bound(samples in Arbitrary::any(-70..70)) {
        samples.check::<f32>();
        samples.check::<f64>();
    }

    #[test]
    fn samples_of_any_magnitude_in_f32_stay_within_the_bound(samples in Arbitrary::any(-152..128)) {
        samples.check::<f32>();
    }

    #[test]
    fn samples_of_any_magnitude_in_f64_stay_within_the_bound(samples in Arbitrary::any(-1078..1024)) {
        samples.check::<f64>();
    }
}

/// Whether the distance of a sample to itself is 0, if it is a number.
fn equal_are_at_zero(metric: Metric) -> bool {
    metric != Metric::Russellrao
}

fn check_zeros<T: Number>() {
    for ((name, value), features) in HOSTILE.iter().flat_map(|kind| HOSTILE_FEATURES.map(|d| (kind, d))) {
        let samples = hostile::<T>(features, *value);
        for kernel in kernels().filter(|(way, _)| equal_are_at_zero(way.0.metric)) {
            let got = bits(&tile(kernel, &samples, &samples));
            let equal = |(i, j): (usize, usize)| i == j || i.abs_diff(j) == 20;
            let expected = definition(kernel.0.0, &samples, &samples);
            let is_zero =
                |(place, bits): ((usize, usize), &u64)| *bits == 0 || !expected[place].distance.is_finite();
            let zero = got.indexed_iter().filter(|(place, _)| equal(*place)).all(is_zero);
            assert!(zero, "{name}, {kernel:?}, {}, {features} features", T::DTYPE);
        }
    }
}

#[test]
fn equal_samples_are_at_exactly_zero() {
    for_both_types!(check_zeros);
}

/// Magnitudes whose squares the type cannot hold, or not to all digits.
fn extremes<T: Number>() -> &'static [f64] {
    match T::DTYPE {
        Dtype::F32 => &[1e-44, 1e-41, 1e-38, 1e-29, 1e-16, 5e18, 1e20, 1e25, 3.4e38],
        Dtype::F64 => &[1e-322, 1e-310, 1e-307, 1e-200, 1e-146, 5e153, 1e200, 1.79e308],
    }
}

/// Rows of a magnitude, and others that are so many times smaller; the first seven are copied to the end.
fn extreme<T: Number>(features: usize, magnitude: f64, smaller: f64) -> Array2<T> {
    let mut samples = random::<f64>(20, features, 5);
    for (number, mut row) in samples.rows_mut().into_iter().enumerate() {
        let factor = if number % 3 == 1 { smaller } else { 1.0 };
        row.mapv_inplace(|u| u * magnitude * factor);
    }
    let first = rows(&samples, 0..7);
    samples.append(Axis(0), first.view()).expect("they have as many features");
    samples.mapv(T::from_f64)
}

fn extreme_samples<T: Number>() -> impl Iterator<Item = (String, Array2<T>)> {
    [1, 37, 300].into_iter().flat_map(|features| {
        extremes::<T>().iter().flat_map(move |&magnitude| {
            [1.0, 1e-6, 1e-17].map(|smaller| {
                let what = format!("{features} features of {magnitude:e}, some {smaller:e} of it");
                (what, extreme(features, magnitude, smaller))
            })
        })
    })
}

fn check_extremes<T: Number>() {
    for (what, samples) in extreme_samples::<T>() {
        let expected = Given::all().into_iter().map(|given| (given, definition(given, &samples, &samples)));
        for (metric, expected) in expected {
            for (way, level) in kernels_of(metric) {
                let got = tile((way, level), &samples, &samples);
                let case = (metric, way.1, samples.ncols(), scaling(metric, &samples, &samples));
                assert_within_tolerance(&format!("{what}, {}", level.name()), case, &got, &expected);
                let bits = bits(&got);
                assert!(bits == bits.t(), "{what}: {way:?} is not symmetric");
                let is_zero = |place| bits[place] == 0 || !expected[place].distance.is_finite();
                let are_at_zero =
                    !equal_are_at_zero(way.0.metric) || (0..7).all(|row| is_zero((row, row + 20)));
                assert!(are_at_zero, "{what}: {way:?}: copies are not at 0");
            }
        }
    }
}

#[test]
fn samples_whose_squares_overflow_or_vanish_stay_within_the_bound() {
    for_both_types!(check_extremes);
}

fn check_levels_of_extremes<T: Number>() {
    for (what, samples) in extreme_samples::<T>() {
        for way in ways().filter(|way| way.0.measure(1).power() != Exponent::ONE) {
            let expected = bits(&tile((way, Level::Portable), &samples, &samples));
            for kernel in kernels().filter(|kernel| kernel.0 == way) {
                assert!(bits(&tile(kernel, &samples, &samples)) == expected, "{what}, {kernel:?}");
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits_where_samples_are_scaled() {
    for_both_types!(check_levels_of_extremes);
}

fn check_relative<T: Number>() {
    for &magnitude in extremes::<T>() {
        // a distance must not be too large itself
        let samples = extreme::<T>(37, magnitude.min(T::LARGEST / 16.0), 1.0);
        let expected = definition(Metric::Euclidean, &samples, &samples);
        for kernel in kernels_of(Metric::Euclidean) {
            let got = tile(kernel, &samples, &samples);
            for ((place, got), reference) in got.indexed_iter().zip(&expected) {
                let expected = reference.distance;
                // to the last digits of the result, which are few where it is subnormal
                let allowed = 64.0 * T::UNIT_ROUNDOFF * expected + T::SMALLEST;
                let error = (got.to_f64() - expected).abs();
                assert!(error <= allowed, "{kernel:?}, {magnitude:e}, {place:?}: {got}, {expected:e}");
            }
        }
    }
}

#[test]
fn euclidean_distances_have_all_their_digits_however_large_or_small_the_samples_are() {
    for_both_types!(check_relative);
}

fn check_overflow<T: Number>() {
    let magnitude = if T::DTYPE == Dtype::F32 { 1e25 } else { 1e200 };
    for features in HOSTILE_FEATURES {
        let samples = random::<f64>(20, features, 5).mapv(|u| T::from_f64(magnitude * u));
        for kernel in kernels_of(Metric::Sqeuclidean) {
            let got = tile(kernel, &samples, &samples);
            for ((i, j), value) in got.indexed_iter() {
                let expected = if i == j { 0.0 } else { f64::INFINITY };
                let value = value.to_f64();
                assert!(value.to_bits() == expected.to_bits(), "{kernel:?}, {features}, ({i}, {j}): {value}");
            }
        }
    }
}

#[test]
fn a_squared_distance_that_is_too_large_is_infinite() {
    for_both_types!(check_overflow);
}

#[test]
fn the_definition_is_right_for_numbers_of_every_magnitude() {
    for exponent in -1074..=1021 {
        let scale = PowerOfTwo::<f64>::new(exponent);
        let [x, y] = [[3.0, -1.0], [0.0, 3.0]].map(|sample| sample.map(|value| scale.times(value)));
        let expected = [(Metric::Euclidean, scale.times(5.0)), (Metric::Chebyshev, scale.times(4.0))];
        for (metric, expected) in expected {
            assert_eq!(
                Measure::from(metric).distance(&x, &y).to_bits(),
                expected.to_bits(),
                "{metric} at 2^{exponent}"
            );
        }
        let squared = PowerOfTwo::<f64>::new(2 * exponent).times(25.0);
        assert_eq!(
            Measure::from(Metric::Sqeuclidean).distance(&x, &y).to_bits(),
            squared.to_bits(),
            "2^{exponent}"
        );
    }
    // differences that are too large for the type, and small ones beside equal large values
    let largest = f64::MAX / 2.0;
    let euclidean = Measure::from(Metric::Euclidean);
    assert!(euclidean.distance(&[f64::MAX], &[-f64::MAX]).is_infinite());
    assert_eq!(euclidean.distance(&[largest], &[-largest]).to_bits(), f64::MAX.to_bits());
    assert_eq!(euclidean.distance(&[1e300, 3e-200], &[1e300, 0.0]).to_bits(), 3e-200_f64.to_bits());
}

/// Samples with NaN in rows 1 and 9, ∞ in 4, 5 and 9, −∞ in 7.
fn nonfinite<T: Number>(features: usize) -> Array2<T> {
    let mut samples = random::<T>(12, features, 4);
    let [nan, positive, negative] = [T::NAN, T::from_f64(f64::INFINITY), T::from_f64(f64::NEG_INFINITY)];
    for (row, value) in [(1, nan), (4, positive), (5, positive), (7, negative), (9, nan)] {
        samples[(row, row * 7 % features)] = value;
    }
    samples[(9, 0)] = positive;
    samples
}

fn check_nonfinite<T: Number>() {
    for features in [1, 9, 300, 5000] {
        let samples = nonfinite::<T>(features);
        for kernel in kernels() {
            let got = tile(kernel, &samples, &samples);
            let expected = definition(kernel.0.0, &samples, &samples);
            for ((place, got), expected) in
                got.indexed_iter().zip(expected.mapv(|reference| T::from_f64(reference.distance)))
            {
                let expected = if expected.is_nan() { T::NAN } else { expected };
                let same = got.to_f64().to_bits() == expected.to_f64().to_bits();
                let both_finite = got.is_finite() && expected.is_finite();
                assert!(same || both_finite, "{kernel:?}, {features}, {place:?}: {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_come_out_as_the_definition_says_and_every_nan_with_the_same_bits() {
    for_both_types!(check_nonfinite);
}

fn check_count<T: Number>() {
    let [x, y] = two_sets::<T>(9);
    for kernel in kernels() {
        let count = |x: &_, y: &_| tile_with(&mut Scratch::new(), kernel, x, y).1;
        let of_pair = |i: usize, j: usize| count(&rows(&x, i..i + 1), &rows(&y, j..j + 1));
        let of_row = |i: usize| (0..ROWS).map(|j| of_pair(i, j)).sum::<u64>();
        let one_by_one: u64 = (0..ROWS).map(of_row).sum();
        assert_eq!(count(&x, &y), one_by_one, "{kernel:?}, {}", T::DTYPE);
        assert_eq!(one_by_one > 0, kernel.0.1 == Method::Gemm, "{kernel:?}: some samples are close");
    }
}

#[test]
fn as_many_entries_fail_the_guard_in_a_tile_as_one_by_one() {
    for_both_types!(check_count);
}

fn check_missing<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        let [x, y] = [with_gaps(x, 1), with_gaps(y, 2)];
        for given in Given::skipping() {
            let (expected, mut first) = (definition(given, &x, &y), None);
            let without = expected.iter().filter(|reference| reference.distance.is_nan()).count();
            assert!(without > 0, "{features} features: some pairs share none");
            for (way, level) in kernels_of(given) {
                let (got, noted) = tile_with(&mut Scratch::new(), (way, level), &x, &y);
                assert_within_tolerance(level.name(), (given, way.1, features, 0), &got, &expected);
                assert_eq!(noted, without as u64, "{given:?}, {level:?}, {features} features");
                let back = tile_with(&mut Scratch::new(), (way, level), &y, &x).0;
                let first = first.get_or_insert_with(|| bits(&got));
                assert!(
                    *first == bits(&got) && *first == bits(&back).t(),
                    "{given:?}, {level:?}, {features}"
                );
            }
        }
    }
}

#[test]
fn missing_values_are_skipped_and_pairs_that_share_no_feature_counted() {
    for_both_types!(check_missing);
}

fn check_shared_alone<T: Number>() {
    for features in [2, 40, 600, 5000] {
        let [x, y] = two_sets::<T>(features);
        // the second half of the features is missing from the second set
        let mut gaps = y.clone();
        let half = features / 2;
        gaps.slice_axis_mut(Axis(1), Slice::from(half..)).fill(T::NAN);
        let [x_shared, y_shared] = [&x, &y]
            .map(|samples| samples.slice_axis(Axis(1), Slice::from(..half)).as_standard_layout().to_owned());
        for given in Given::skipping().into_iter().filter(|given| !given.weighted) {
            let plain = Given { skips_missing: false, ..given };
            let measure = given.measure(features);
            let factor = measure.scaled_to_all(features).map_or(1.0, |total| total / half as f64);
            let factor = match measure.form().finish {
                Finish::Root => factor.sqrt(),
                Finish::RootOf(order) => factor.powf(1.0 / order.get()),
                _ => factor,
            };
            let expected = definition(plain, &x_shared, &y_shared);
            for kernel in kernels_of(given) {
                for (got, expected) in tile(kernel, &x, &gaps).iter().zip(&expected) {
                    let expected = factor * expected.distance;
                    let error = (got.to_f64() - expected).abs();
                    let allowed = 1e3 * T::UNIT_ROUNDOFF * expected;
                    assert!(error <= allowed, "{kernel:?}, {features} features: {got}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn a_distance_is_that_of_the_shared_features_scaled_to_all() {
    for_both_types!(check_shared_alone);
}

fn check_no_gaps<T: Number>() {
    for features in FEATURES {
        let [x, y] = two_sets::<T>(features);
        for given in Given::skipping().into_iter().filter(|given| !given.weighted) {
            let plain = Given { skips_missing: false, ..given };
            for level in levels() {
                let [got, expected] =
                    [given, plain].map(|given| bits(&tile(((given, Method::Direct), level), &x, &y)));
                assert!(got == expected, "{given:?}, {level:?}, {}, {features} features", T::DTYPE);
            }
        }
    }
}

#[test]
fn samples_without_gaps_have_the_same_distances_to_the_bit() {
    for_both_types!(check_no_gaps);
}

fn check_extreme_gaps<T: Number>() {
    for (what, samples) in extreme_samples::<T>() {
        let samples = with_gaps(samples, 3);
        for given in Given::skipping() {
            let expected = definition(given, &samples, &samples);
            for (way, level) in kernels_of(given) {
                let got = tile((way, level), &samples, &samples);
                let case = (given, way.1, samples.ncols(), scaling(given, &samples, &samples));
                assert_within_tolerance(&format!("{what}, {}", level.name()), case, &got, &expected);
            }
        }
    }
}

#[test]
fn missing_values_among_samples_of_any_magnitude_are_skipped() {
    for_both_types!(check_extreme_gaps);
}

/// Random bits: numbers of all magnitudes, infinities and every NaN, and many of the same exponent.
fn random_bits<T: Number>(count: usize, features: usize) -> Array2<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(features as u64);
    let words = (0..count * features).map(|at| {
        let (word, near): (u64, u64) = (rng.random(), rng.random());
        // every other sample of magnitudes near 1
        if (at / features).is_multiple_of(2) { word } else { 1.5_f64.to_bits() | near >> 12 }
    });
    let value = |word: u64| match T::DTYPE {
        Dtype::F64 => bytemuck::cast_slice::<u64, T>(&[word])[0],
        Dtype::F32 => bytemuck::cast_slice::<u32, T>(&[u32::try_from(word >> 32).expect("half of it")])[0],
    };
    Array2::from_shape_vec((count, features), words.map(value).collect()).expect("a value for each place")
}

fn check_random_bits<T: Number>() {
    for features in [1, 3, 16, 255, 257, 700] {
        let samples = random_bits::<T>(30, features);
        let (x, y) = (rows(&samples, 0..13), rows(&samples, 13..30));
        for (way, level) in kernels() {
            let [there, back] = [(&x, &y), (&y, &x)].map(|(x, y)| bits(&tile((way, level), x, y)));
            assert!(there == back.t(), "{way:?} on {}, {features} features", level.name());
        }
    }
}

#[test]
fn distances_of_random_bits_are_the_same_bits_whichever_sample_is_the_row() {
    for_both_types!(check_random_bits);
}

/// Samples of whole numbers, at the extremes too.
fn whole_samples<T: Number>(content: Content, rows: usize, features: usize, seed: u64) -> Array2<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (low, high) = match content {
        Content::Truth => (0, 1),
        Content::U8 => (0, 255),
        _ => (-128, 127),
    };
    let kinds: Vec<u32> = (0..rows).map(|_| rng.random_range(0..5)).collect();
    Array2::from_shape_fn((rows, features), |(row, _)| {
        T::from_i32(match kinds[row] {
            0 => low,
            1 => high,
            2 => [low, high][rng.random_range(0..2)],
            _ => rng.random_range(low..=high),
        })
    })
}

fn check_whole<T: Number>() {
    let mut scratch = Scratch::new();
    for content in [Content::Truth, Content::U8, Content::I8] {
        for features in [1, 7, 8, 9, 63, 64, 65, 1000, 8200, 33_026, 70_001] {
            let rows = if features < 1000 { 37 } else { 11 };
            let [x, y] =
                [1, 2].map(|seed| whole_samples::<T>(content, rows, features, seed + features as u64));
            for given in Given::all().into_iter().filter(|given| !given.weighted) {
                let ways = ways_of(given, content).filter(|(_, method)| method.is_whole());
                let mut expected = None;
                for (way, level) in ways.flat_map(|way| levels().map(move |level| (way, level))) {
                    let definition = expected.get_or_insert_with(|| definition(given, &x, &y));
                    let (got, _) = tile_with(&mut scratch, (way, level), &x, &y);
                    // exact in f64, or rounded once, and all its whole numbers are below 2^24
                    for (place, got) in got.indexed_iter() {
                        let expected = T::from_f64(definition[place].distance);
                        let same = got.to_f64().to_bits() == expected.to_f64().to_bits()
                            || got.is_nan() && expected.is_nan();
                        assert!(
                            same,
                            "{content:?}, {way:?}, {level:?}, {features} features: {got:?} at {place:?}, not {expected:?}"
                        );
                    }
                    let (of_x, _) = tile_with(&mut scratch, (way, level), &x, &x);
                    assert!(bits(&of_x) == bits(&of_x).t(), "{way:?}, {level:?} is not symmetric");
                }
            }
        }
    }
}

#[test]
fn distances_of_whole_numbers_are_exact_and_rounded_once() {
    for_both_types!(check_whole);
}
