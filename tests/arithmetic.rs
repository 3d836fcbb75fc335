//! The bits of distances, held against the version of the arithmetic.
//!
//! `tests/arithmetic/N.txt` is the table of version N: for each kind of reference data, metric, type, kernel and number of features, a
//! digest of a tile.

mod common;

use std::fs;
use std::path::Path;

use common::samples::Given;
use common::tiles::{levels, tile_with, ways_of};
use ndarray::Array2;
use pairdist::element::{Content, Dtype};
use pairdist::kernel::{ARITHMETIC, Scratch};
use pairdist::metric::{Metric, Order, PowerOfTwo};
use pairdist::number::Number;
use xxhash_rust::xxh3::xxh3_64;

/// Around the vectors and the blocks of a sum, and beyond the features that stay in cache.
const FEATURES: [usize; 10] = [1, 7, 33, 255, 256, 257, 512, 513, 1031, 2600];

/// A kind of reference data, and the power of two it is multiplied by in f32 and in f64. All but the ordinary are scaled, for most
/// numbers of features, before squares are summed.
const KINDS: [(&str, [i32; 2], Content); 8] = [
    ("ordinary", [0, 0], Content::Any),
    ("small", [-60, -520], Content::Any),
    ("subnormal", [-130, -1060], Content::Any),
    ("large", [62, 510], Content::Any),
    ("largest", [127, 1023], Content::Any),
    ("truth", [0, 0], Content::Truth),
    ("u8", [0, 0], Content::U8),
    ("i8", [0, 0], Content::I8),
];

/// Numbers between -1 and 1, by arithmetic that no library can change (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// 21 and 19 samples of a kind: some of the second are close to those of the first, one is equal, and some are small.
fn reference<T: Number>(features: usize, exponent: i32, content: Content) -> [Array2<T>; 2] {
    let mut numbers = Numbers(features as u64);
    let x = Array2::from_shape_simple_fn((21, features), || numbers.next());
    let mut y = Array2::from_shape_simple_fn((19, features), || numbers.next());
    for row in 0..5 {
        y.row_mut(row).assign(&x.row(row).mapv(|value| value * (1.0 + row as f64 / 512.0)));
        y.row_mut(row + 5).mapv_inplace(|value| value / 1024.0);
    }
    let scale = PowerOfTwo::<f64>::new(exponent);
    let of_content = |value: f64| match content {
        Content::Truth => (value > 0.25).into(),
        Content::U8 => (128.0 * (value + 1.0)).floor().clamp(0.0, 255.0),
        Content::I8 => (128.0 * value).floor().clamp(-128.0, 127.0),
        Content::Any => scale.times(value),
    };
    [x, y].map(|samples| samples.mapv(|value| T::from_f64(of_content(value))))
}

/// The samples with NaN in place of every seventh value.
fn gaps<T: Number>(samples: &Array2<T>) -> Array2<T> {
    let mut samples = samples.clone();
    samples.iter_mut().step_by(7).for_each(|value| *value = T::NAN);
    samples
}

fn digest<T: Number>(tile: &Array2<T>) -> u64 {
    let bytes: Vec<u8> = tile.iter().flat_map(|value| value.to_f64().to_bits().to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// Every metric, orders of each kind, and metrics that skip missing values.
fn kinds_of_distance() -> impl Iterator<Item = Given> {
    let order = |p| Given { p: Order::new(p).ok(), ..Metric::Minkowski.into() };
    // of samples that are whitened, distances are Euclid's
    let is_other = |metric: &&Metric| **metric != Metric::Minkowski && !metric.form().is_whitened();
    let others = Metric::ALL.iter().filter(is_other);
    let orders = [2.5, 3.0, 3.2].map(order);
    let skipping =
        Metric::ALL.iter().filter(|metric| metric.can_skip_missing()).map(|metric| Given::from(*metric));
    let skipping = skipping.filter(|given| given.metric != Metric::Minkowski).chain(orders);
    let skipping = skipping.map(|given| Given { skips_missing: true, ..given });
    others.map(|metric| Given::from(*metric)).chain(orders).chain(skipping)
}

/// Lines of the table, for both inputs together and the first alone; the same on every level.
fn lines<T: Number>(kind: &str, exponents: [i32; 2], content: Content) -> Vec<String> {
    let exponent = if T::DTYPE == Dtype::F32 { exponents[0] } else { exponents[1] };
    let mut lines: Vec<String> = Vec::new();
    for features in FEATURES {
        let [x, y] = reference::<T>(features, exponent, content);
        // whole numbers have no NaN
        for given in kinds_of_distance().filter(|given| content == Content::Any || !given.skips_missing) {
            let ways = ways_of(given, content);
            let gaps =
                |samples: &Array2<T>| if given.skips_missing { gaps(samples) } else { samples.clone() };
            let [x, y] = [gaps(&x), gaps(&y)];
            for kernel in ways.flat_map(|way| levels().map(move |level| (way, level))) {
                let digests =
                    [&y, &x].map(|other| digest(&tile_with(&mut Scratch::new(), kernel, &x, other).0));
                let p = given.p.map_or(String::new(), |p| format!("-{p}"));
                let skips = if given.skips_missing { "-skip-missing" } else { "" };
                let what =
                    format!("{kind} {}{p}{skips} {} {} {features}", given.metric, T::DTYPE, kernel.0.1);
                let line = format!("{what} {:016x} {:016x}", digests[0], digests[1]);
                match lines.iter().find(|line| line.starts_with(&format!("{what} "))) {
                    Some(first) => assert_eq!(*first, line, "{} has other bits", kernel.1.name()),
                    None => lines.push(line),
                }
            }
        }
    }
    lines
}

fn table_of(version: u32) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/arithmetic/{version}.txt"));
    fs::read_to_string(&path).unwrap_or_else(|error| format!("no table {}: {error}", path.display()))
}

#[test]
fn distances_have_the_bits_of_their_version_of_the_arithmetic() {
    let kinds = KINDS.into_iter();
    let lines = kinds.flat_map(|(kind, exponents, content)| {
        [lines::<f32>(kind, exponents, content), lines::<f64>(kind, exponents, content)]
    });
    let now = lines.flatten().map(|line| line + "\n").collect::<String>();
    let recorded = table_of(ARITHMETIC);
    if now != recorded {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arithmetic.txt");
        fs::write(&new, &now).expect("the table can be written");
        let changed = now.lines().filter(|line| !recorded.lines().any(|other| other == *line)).count();
        let next = ARITHMETIC + 1;
        panic!(
            "{changed} of {} digests are not those of version {ARITHMETIC} of the arithmetic. If distances are meant to change, raise kernel::ARITHMETIC to {next}, copy {} to tests/arithmetic/{next}.txt, and say in CHANGELOG.md what changes",
            now.lines().count(),
            new.display()
        );
    }
}

#[test]
fn ordinary_distances_have_had_the_same_bits_since_the_first_version() {
    let (first, now) = (table_of(1), table_of(ARITHMETIC));
    assert!(first.lines().count() > 100, "{first}");
    for line in first.lines() {
        assert!(now.lines().any(|other| other == line), "{line}");
    }
}
