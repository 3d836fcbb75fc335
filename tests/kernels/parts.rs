//! Tiles by parts of the features, against tiles of whole samples: the same bits, on every SIMD level that this machine has.

use std::ops::Range;

use crate::common::samples::{Given, with_gaps};
use crate::common::tiles::{Way, levels, tile_scaled, ways, ways_of};
use ndarray::Array2;
use pairdist::element::{Content, Dtype};
use pairdist::kernel::{ExtrasSum, Folds, Kernel, Level, Method, PanelShape, Scratch, Sums};
use pairdist::metric::{BLOCK_FEATURES, Measure, Metric, PowerOfTwo, Preparing};
use pairdist::number::Number;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{bits, rows, two_sets};

/// One feature, around a block of a sum, some blocks, and beyond the features that stay in cache.
const FEATURES: [usize; 6] = [1, 255, 256, 257, 700, 5000];

/// Tiles of one pair, of narrow panels, and of several panels.
const SHAPES: [(usize, usize); 6] = [(1, 1), (2, 3), (1, 33), (23, 2), (13, 17), (21, 37)];

/// All that is computed by parts: a metric, with its parameters.
fn all() -> impl Iterator<Item = Given> {
    let given = Given::all().into_iter().filter(|given| given.metric != Metric::Mahalanobis);
    given.chain(Given::skipping())
}

/// Cuts some features into ranges, at multiples of [`BLOCK_FEATURES`] behind the first.
fn cut(features: Range<usize>, rng: &mut impl Rng) -> Vec<Range<usize>> {
    let most = [1, 2, 5, 40][rng.random_range(0..4)];
    let mut ranges = Vec::new();
    let mut start = features.start;
    while start < features.end {
        let end = features.end.min(start + rng.random_range(1..=most) * BLOCK_FEATURES);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// Samples as a run has them that reads parts of their features.
struct Samples<'a, T> {
    values: &'a Array2<T>,
    measure: &'a Measure,
    factor: Option<PowerOfTwo<T>>,
    preparing: Vec<Preparing>,
    extras: Vec<ExtrasSum>,
}

impl<'a, T: Number> Samples<'a, T> {
    fn new(kernel: &'a Kernel<T>, exponent: i32, samples: &'a Array2<T>, rng: &mut impl Rng) -> Self {
        let (measure, d) = (kernel.measure(), samples.ncols());
        let mut preparing = vec![measure.preparing(d); samples.nrows()];
        for _ in 0..measure.passes() {
            for features in cut(0..d, rng) {
                for (state, row) in preparing.iter_mut().zip(samples.rows()) {
                    let values = &row.to_slice().expect("samples are row-major")[features.clone()];
                    measure.look(state, values, features.start);
                }
            }
            preparing.iter_mut().for_each(Preparing::end_pass);
        }
        // what another process found
        let preparing = preparing.iter().map(|found| measure.preparing(d).found(&found.words())).collect();
        let factor = (exponent != 0).then(|| PowerOfTwo::new(exponent));
        Self {
            values: samples,
            measure,
            factor,
            preparing,
            extras: vec![kernel.extras_sum(); samples.nrows()],
        }
    }

    /// Packs the next features, and adds to what is carried with them.
    fn pack(&mut self, features: Range<usize>, negate: bool, shape: PanelShape) -> Vec<u64> {
        let mut part = Vec::with_capacity(self.values.nrows() * features.len());
        for (row, (state, extras)) in self.preparing.iter().zip(&mut self.extras).enumerate() {
            let start = part.len();
            part.extend(self.values.row(row).iter().skip(features.start).take(features.len()));
            let values = &mut part[start..];
            self.measure.prepare_part(state, values, features.start);
            if let Some(factor) = self.factor {
                for value in &mut *values {
                    *value = factor.times(*value);
                }
            }
            let blocks = extras.blocks(values);
            assert_eq!(blocks.len(), extras.blocks_len(values.len()));
            extras.add_blocks(&blocks);
        }
        let mut panels = vec![0; shape.count(self.values.nrows()) * shape.len()];
        shape.pack(&part, negate, &mut panels);
        panels
    }

    fn extras(&self) -> Vec<u64> {
        self.extras.iter().map(|sum| sum.total()).collect()
    }
}

/// A tile of its own among those that a tile is cut into.
struct Piece<T> {
    rows: Range<usize>,
    cols: Range<usize>,
    folds: Folds<T>,
}

/// How tiles are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// Into parts of the features alone.
    Parts,
    /// Parts whose features are shared.
    Shared,
    /// Into tiles of their own.
    Pieces,
}

/// Cuts samples into ranges that begin at panels.
fn cut_at_panels(samples: usize, width: usize, rng: &mut impl Rng) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < samples {
        let end = samples.min(start + rng.random_range(1..3) * width);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// The tile by parts, and how many of its entries are noted.
fn tile_by_parts<T: Number>(
    kernel: &Kernel<T>,
    exponent: i32,
    [x, y]: [&Array2<T>; 2],
    how: Cut,
    rng: &mut impl Rng,
) -> (Array2<T>, u64) {
    let (m, n, d) = (x.nrows(), y.nrows(), x.ncols());
    let mut scratch = Scratch::new();
    let (mut x, mut y) = (Samples::new(kernel, exponent, x, rng), Samples::new(kernel, exponent, y, rng));
    let (height, width) = (kernel.row_panels().width, kernel.col_panels().width);
    let mut cut_side = |samples: usize, width: usize| match how {
        Cut::Pieces => cut_at_panels(samples, width, rng),
        Cut::Parts | Cut::Shared => std::iter::once(0..samples).collect(),
    };
    let cuts = (cut_side(m, height), cut_side(n, width));
    let pieces = cuts.0.iter().flat_map(|rows| cuts.1.iter().map(move |cols| (rows.clone(), cols.clone())));
    let mut pieces: Vec<Piece<T>> = pieces
        .map(|(rows, cols)| {
            let folds = kernel.folds(rows.len(), cols.len());
            Piece { rows, cols, folds }
        })
        .collect();
    for part in cut(0..d, rng) {
        let (of_rows, of_cols) = kernel.part_panels(part.len());
        let (rows, cols) = (x.pack(part.clone(), false, of_rows), y.pack(part.clone(), true, of_cols));
        for piece in &mut pieces {
            let rows = (&rows[piece.rows.start / height * of_rows.len()..], piece.rows.len());
            let cols = (&cols[piece.cols.start / width * of_cols.len()..], piece.cols.len());
            if how == Cut::Shared && rng.random_range(0..4) > 0 {
                let mut features = cut(part.clone(), rng);
                features.shuffle(rng);
                let sums = features.into_iter().map(|features| {
                    let sums = kernel.block_sums(part.clone(), features.clone(), rows, cols, &mut scratch);
                    (features.start, sums)
                });
                let mut sums: Vec<(usize, Sums<T>)> = sums.collect();
                sums.sort_by_key(|(first, _)| *first);
                for (first, sums) in &sums {
                    // some come from another process
                    let mut words = vec![*first as u64];
                    sums.append_to(&mut words);
                    let features = sums.features();
                    assert_eq!(words.len() - 1, kernel.sums_words(&features, rows.1, cols.1));
                    let sums = &kernel.sums_of(features, (rows.1, cols.1), &words[1..]);
                    kernel.add_sums(&mut piece.folds, sums);
                }
            } else {
                kernel.fold_part(&mut piece.folds, part.clone(), rows, cols, &mut scratch);
            }
        }
    }
    let (mut tile, mut noted) = (Array2::from_elem((m, n), T::NAN), 0);
    let out = tile.as_slice_mut().expect("a tile is row-major");
    let (row_extras, col_extras) = (x.extras(), y.extras());
    for Piece { rows, cols, folds } in &pieces {
        for strip in cut_at_panels(rows.len(), height, rng) {
            let first = rows.start + strip.start;
            let extras = (&row_extras[first..][..strip.len()], &col_extras[cols.clone()]);
            let out = &mut out[first * n + cols.start..];
            noted += kernel.finish_folds(folds, strip, extras, (out, n), &mut scratch);
        }
    }
    (tile, noted)
}

/// Demands that tiles by parts are those of whole samples, with the same entries noted. Returns how many are.
fn check_tile<T: Number>(
    (way, level): (Way, Level),
    x: &Array2<T>,
    y: &Array2<T>,
    rng: &mut impl Rng,
) -> u64 {
    let (given, method) = way;
    let (m, n, d) = (x.nrows(), y.nrows(), x.ncols());
    let values = x.iter().chain(y).filter(|value| value.is_finite());
    let largest = values.fold(0.0, |largest: f64, value| largest.max(value.to_f64().abs()));
    let kernel = Kernel::<T>::new(given.measure(d), method, d, level);
    let exponent = if method.is_whole() { 0 } else { kernel.measure().scaling_exponent::<T>(d, largest) };
    let kernel = kernel.of_scaled(exponent);
    let kernel = if rng.random() { kernel.for_tiles(m, n) } else { kernel };
    let (expected, expected_noted) = tile_scaled(&mut Scratch::new(), kernel.clone(), exponent, x, y);
    for how in [Cut::Parts, Cut::Shared, Cut::Pieces] {
        if how == Cut::Shared && !kernel.has_block_sums() {
            assert!(kernel.measure().metric() == Metric::Cityblock || given.p.is_some(), "{given:?}");
            continue;
        }
        let (got, noted) = tile_by_parts(&kernel, exponent, [x, y], how, rng);
        let what = format!("{given:?}, {method}, {level:?}, {}, {m} x {n}, {d} features, {how:?}", T::DTYPE);
        assert!(bits(&got) == bits(&expected), "{what}: other bits");
        assert_eq!(noted, expected_noted, "{what}: other entries are noted");
    }
    expected_noted
}

fn check_values<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(11);
    let mut guarded = 0;
    for features in FEATURES {
        let samples = two_sets::<T>(features);
        let with_gaps = [(0, 1), (1, 2)].map(|(at, seed)| with_gaps(samples[at].clone(), seed));
        for given in all() {
            let [x, y] = if given.skips_missing { &with_gaps } else { &samples };
            for (way, level) in
                ways_of(given, Content::Any).flat_map(|way| levels().map(move |level| (way, level)))
            {
                let is_long = features > 1000;
                if is_long && rng.random() {
                    continue;
                }
                let (m, n) = SHAPES[rng.random_range(0..if is_long { 3 } else { SHAPES.len() })];
                let noted = check_tile((way, level), &rows(x, 0..m), &rows(y, 0..n), rng);
                guarded += if way.1 == Method::Gemm { noted } else { 0 };
            }
        }
    }
    assert!(guarded > 100, "{guarded} entries failed the guard");
}

#[test]
fn tiles_by_parts_of_the_features_have_the_bits_of_whole_samples() {
    for_both_types!(check_values);
}

fn check_many<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(12);
    let best = levels().next().expect("there is a level");
    let [x, y] = two_sets::<T>(40_000);
    let gaps = [with_gaps(rows(&x, 0..7), 1), with_gaps(rows(&y, 0..7), 2)];
    for way in ways().filter(|way| way.0.metric != Metric::Mahalanobis).step_by(3) {
        let (x, y) = if way.0.skips_missing { (&gaps[0], &gaps[1]) } else { (&x, &y) };
        let (m, n) = [(1, 3), (7, 2)][rng.random_range(0..2)];
        check_tile((way, best), &rows(x, 0..m), &rows(y, 0..n), rng);
    }
}

#[test]
fn tiles_by_parts_of_many_features_have_the_bits_of_whole_samples() {
    for_both_types!(check_many);
}

fn check_scaled<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(13);
    let magnitudes: [f64; 4] = match T::DTYPE {
        Dtype::F32 => [1e-41, 1e-29, 5e18, 3e38],
        Dtype::F64 => [1e-310, 1e-200, 5e153, 1e308],
    };
    for magnitude in magnitudes {
        let sets = two_sets::<f64>(700);
        let [x, y] = sets.map(|samples| samples.mapv(|value| T::from_f64(value * magnitude)));
        let gaps = [with_gaps(x.clone(), 1), with_gaps(y.clone(), 2)];
        for way in ways().filter(|way| way.0.metric != Metric::Mahalanobis) {
            let (x, y) = if way.0.skips_missing { (&gaps[0], &gaps[1]) } else { (&x, &y) };
            for level in levels() {
                check_tile((way, level), &rows(x, 0..13), &rows(y, 0..7), rng);
            }
        }
    }
}

#[test]
fn tiles_by_parts_of_scaled_samples_have_the_bits_of_whole_samples() {
    for_both_types!(check_scaled);
}

fn check_hostile<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(14);
    for features in [1, 200, 1100] {
        let mut samples = two_sets::<T>(features)[1].clone();
        let infinity = T::from_f64(f64::INFINITY);
        for (row, value) in [(1, T::NAN), (4, infinity), (5, -infinity), (7, T::NAN)] {
            samples[(row, row * 131 % features)] = value;
        }
        // of no direction, of one value, and of no size
        samples.row_mut(8).fill(T::default());
        samples.row_mut(9).fill(T::from_f64(0.1));
        samples.row_mut(10).mapv_inplace(|value| T::from_f64(value.to_f64().abs()));
        samples.row_mut(11).mapv_inplace(|value| T::from_f64(value.to_f64().abs() * 1e-30));
        samples.row_mut(12).mapv_inplace(|_| T::from_f64(-0.0));
        let samples = rows(&samples, 0..14);
        for way in ways().filter(|way| way.0.metric != Metric::Mahalanobis) {
            for level in levels() {
                check_tile((way, level), &samples, &samples, rng);
            }
        }
    }
}

#[test]
fn tiles_by_parts_of_samples_that_are_not_finite_have_the_bits_of_whole_samples() {
    for_both_types!(check_hostile);
}

fn check_whole_numbers<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(15);
    for (content, low, high) in [(Content::Truth, 0, 1), (Content::U8, 0, 255), (Content::I8, -128, 127)] {
        for features in [1, 63, 256, 257, 1000, 40_001] {
            let mut whole = |rows| {
                Array2::from_shape_simple_fn((rows, features), || T::from_i32(rng.random_range(low..=high)))
            };
            let (x, y) = (whole(23), whole(33));
            for given in all().filter(|given| !given.weighted && !given.skips_missing) {
                for way in ways_of(given, content).filter(|(_, method)| method.is_whole()) {
                    for level in levels() {
                        let (m, n) = if features > 1000 { (9, 5) } else { SHAPES[rng.random_range(0..5)] };
                        check_tile((way, level), &rows(&x, 0..m), &rows(&y, 0..n), rng);
                    }
                }
            }
        }
    }
}

#[test]
fn tiles_by_parts_of_whole_numbers_have_the_bits_of_whole_samples() {
    for_both_types!(check_whole_numbers);
}

fn check_preparation<T: Number>() {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(17);
    for features in FEATURES {
        let mut samples = two_sets::<T>(features)[0].clone();
        samples[(1, features / 2)] = T::NAN;
        samples[(2, features - 1)] = T::from_f64(f64::INFINITY);
        samples.row_mut(3).fill(T::default());
        samples.row_mut(4).fill(T::from_f64(0.1));
        for (row, magnitude) in [(5, 1e-30), (6, 1e30), (7, T::SMALLEST), (8, T::LARGEST)] {
            samples.row_mut(row).mapv_inplace(|value| T::from_f64(value.to_f64().abs() * magnitude));
        }
        for given in all() {
            let measure = given.measure(features);
            for sample in samples.rows() {
                let sample = sample.to_vec();
                let (mut whole, mut parts) = (sample.clone(), sample.clone());
                measure.prepare(&mut whole);
                let mut preparing = measure.preparing(features);
                for _ in 0..measure.passes() {
                    for part in cut(0..features, rng) {
                        measure.look(&mut preparing, &sample[part.clone()], part.start);
                    }
                    preparing.end_pass();
                }
                for part in cut(0..features, rng) {
                    measure.prepare_part(&preparing, &mut parts[part.clone()], part.start);
                }
                let bits_of =
                    |values: &[T]| values.iter().map(|value| value.to_f64().to_bits()).collect::<Vec<_>>();
                assert_eq!(bits_of(&parts), bits_of(&whole), "{given:?}, {}, {features} features", T::DTYPE);
            }
        }
    }
}

#[test]
fn samples_prepared_by_parts_have_the_bits_of_whole_samples() {
    for_both_types!(check_preparation);
}

#[test]
fn memory_of_folds_and_sums_is_told() {
    // 3 x 5 pairs are a micro-tile of 4 x 4 and another beside it, of values and errors
    let kernel = |metric: Metric, method| Kernel::<f64>::new(metric, method, 1000, Level::Portable);
    let bytes = |metric, method| kernel(metric, method).folds_bytes(3, 5);
    assert_eq!(bytes(Metric::Cityblock, Method::Direct), 2 * 4 * 8 * 8);
    assert_eq!(bytes(Metric::Euclidean, Method::Gemm), 2 * 2 * 4 * 8 * 8);
    assert_eq!(bytes(Metric::Jaccard, Method::Direct), 4 * 2 * 4 * 8 * 8);
    assert_eq!(bytes(Metric::Jaccard, Method::Bits), 4 * 8 * 8);
    let sums = |metric, method| {
        let kernel = kernel(metric, method);
        (kernel.sums_words(&(0..600), 3, 5) * 8, kernel.block_sums_scratch(3, 5))
    };
    assert_eq!(sums(Metric::Euclidean, Method::Direct), (3 * 4 * 8 * 8, 2 * 4 * 8 * 8));
    assert_eq!(sums(Metric::Chebyshev, Method::Direct), (4 * 8 * 8, 2 * 4 * 8 * 8));
    assert_eq!(sums(Metric::Jaccard, Method::Bits), (4 * 8 * 8, 0));
    assert!(!kernel(Metric::Cityblock, Method::Direct).has_block_sums());
}

#[test]
#[should_panic(expected = "mahalanobis takes all features of a sample at once")]
fn mahalanobis_distances_are_not_computed_by_parts() {
    let kernel = Kernel::<f64>::new(Metric::Mahalanobis, Method::Direct, 10, Level::Portable);
    assert!(!kernel.measure().can_be_in_parts());
    kernel.folds(1, 1);
}

#[test]
#[should_panic(expected = "the first feature of the part")]
fn a_part_that_was_left_out_is_noticed() {
    let kernel = Kernel::<f64>::new(Metric::Euclidean, Method::Direct, 1000, Level::Portable);
    let (rows, cols) = kernel.part_panels(256);
    let (rows, cols) = (vec![0; rows.len()], vec![0; cols.len()]);
    kernel.fold_part(&mut kernel.folds(1, 1), 256..512, (&rows, 1), (&cols, 1), &mut Scratch::new());
}
