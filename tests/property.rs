//! The program on problems that nobody chose: every distance by the definition of its metric, and the same digest on other
//! ranks, threads, tiles and vectors.
//!
//! `PAIRDIST_CASES` says how many [default: 200], `PAIRDIST_SEED` which [default: others in every run]. Case k of seed s is the
//! first case of seed s + k: to repeat one that failed, set the seed that it shows and `PAIRDIST_CASES=1`.

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

use common::launch::{ALONE, Done};
use common::samples::{Given, assert_within_tolerance, create, definition, distances, stored, with_gaps};
use common::{Work, for_all};
use hdf5::H5Type;
use ndarray::Array2;
use pairdist::element::Content;
use pairdist::io::Stored;
use pairdist::kernel::{Level, Method};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

type Rng = Xoshiro256PlusPlus;

/// Pairs times features at most: what the definition computes in a fraction of a second.
const LARGEST: usize = 30_000_000;

/// Tiles of a run at most: each is a write, and an entry of the journal.
const MOST_TILES: usize = 1000;

/// Sizes at which something begins or ends in the program: panels, tiles, blocks of a sum, the Gram trick.
const EDGES: [usize; 26] =
    [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 511, 512, 513];

/// Features of samples that are larger than what is read at once.
const LONG_ROWS: [usize; 3] = [65_537, 131_072, 140_001];

/// One of [`EDGES`], or any other size up to `largest`, small ones as often as large ones.
fn size(rng: &mut Rng, largest: usize) -> usize {
    if rng.random_range(0..3) == 0 {
        return EDGES[rng.random_range(0..EDGES.len())].min(largest);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and `largest`")]
    let any = (largest as f64).powf(rng.random::<f64>()) as usize;
    any.max(1)
}

/// Samples of X, and of Y if there is one, and features.
fn sizes(rng: &mut Rng) -> (usize, Option<usize>, usize) {
    loop {
        let (n, m, features) = match rng.random_range(0..20) {
            0 => (size(rng, 1000), rng.random::<bool>().then(|| size(rng, 1000)), one_of(rng, &LONG_ROWS)),
            // many slabs, of fewer samples than a tile
            1..7 => {
                let (many, few) = (rng.random_range(50..600), size(rng, 8));
                let (n, m) = if rng.random() { (many, few) } else { (few, many) };
                (n, Some(m), rng.random_range(500..=5000))
            }
            _ => (size(rng, 1000), rng.random::<bool>().then(|| size(rng, 1000)), size(rng, 5000)),
        };
        let y = m.unwrap_or(n);
        // nor files of hundreds of megabytes
        if n * y * features <= LARGEST && n.max(y) * features <= LARGEST / 10 {
            return (n, m, features);
        }
    }
}

fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

/// How samples lie in their file.
#[derive(Clone, Copy, Debug)]
enum Storage {
    Contiguous,
    Chunked(usize, usize),
    Compressed(usize, usize),
}

/// Which dimension of the dataset is that of the samples, as the command line says.
#[derive(Clone, Copy, Debug)]
enum Axes {
    Rows,
    Columns,
    /// So many values in the second dimension, the rest in a third.
    Leading(usize),
}

/// Samples in a file.
#[derive(Clone, Copy, Debug)]
struct Input {
    rows: usize,
    axes: Axes,
    stored: &'static str,
    storage: Storage,
    /// The largest value, where it is not a whole number.
    scale: f64,
    /// Distance from the origin, in units of the scale: the larger, the more pairs are too close for the Gram trick.
    offset: f64,
    /// So many different rows; the others repeat them.
    different: usize,
}

/// Where and how a run works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    ranks: usize,
    threads: Option<usize>,
    tile: Option<usize>,
    simd: Level,
}

/// Samples, what is computed of them, and two ways to do it.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    features: usize,
    x: Input,
    y: Option<Input>,
    given: Given,
    kernel: &'static str,
    dtype: Option<&'static str>,
    /// Neighbours of each sample, and whether it comes first among them; 0 where there are no others.
    neighbors: (usize, bool),
    ways: [Way; 2],
}

/// A type that samples are stored in.
trait Kept: H5Type + Copy + 'static {
    /// Whether the type computed in is f32 if nothing else is asked for.
    const SHORT: bool;
    /// A value of the scale, or from -1 to 1 the like of the type's range.
    fn keep(value: f64, scale: f64) -> Self;
    /// The value in the type computed in, less a whole number, which is 0 but for whole numbers.
    fn compute<T: Stored>(self, subtracted: i128) -> T;
}

/// Samples in the type computed in, less a whole number.
type Less<T> = Box<dyn Fn(i128) -> Array2<T>>;

macro_rules! real {
    ($value:expr, $subtracted:expr) => {{
        assert_eq!($subtracted, 0, "nothing is taken off numbers that are not whole");
        T::from_f64(f64::from($value))
    }};
}

macro_rules! whole {
    ($value:expr, $subtracted:expr) => {
        T::from_i128(i128::from($value) - $subtracted)
    };
}

macro_rules! kept {
    ($($kept:ident $sort:ident, $short:literal, $value:ident $scale:ident => $number:expr;)*) => {
        $(
            #[allow(
                clippy::cast_lossless,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "one text for all types: what does not fit is rounded, as the program has to"
            )]
            impl Kept for $kept {
                const SHORT: bool = $short;
                fn keep($value: f64, $scale: f64) -> Self {
                    ($number) as Self
                }
                fn compute<T: Stored>(self, subtracted: i128) -> T {
                    $sort!(self, subtracted)
                }
            }
        )*

        /// The types, by name.
        const STORED: &[&str] = &[$(stringify!($kept)),*];

        /// Writes the samples, and returns what gives them in the type computed in, less a whole number.
        fn store<T: Stored>(work: &Work, name: &str, input: &Input, values: &Array2<f64>) -> Less<T> {
            match input.stored {
                $(stringify!($kept) => store_as::<$kept, T>(work, name, input, values),)*
                other => unreachable!("{other}"),
            }
        }

        /// Whether samples of the named type are computed with in f32.
        fn is_short(stored: &str) -> bool {
            match stored {
                $(stringify!($kept) => <$kept as Kept>::SHORT,)*
                other => unreachable!("{other}"),
            }
        }
    };
}

kept! {
    f32 real, true, value scale => value * scale;
    f64 real, false, value scale => value * scale;
    i8 whole, true, value _scale => 127.0 * value;
    u8 whole, true, value _scale => 255.0 * value.abs();
    i16 whole, true, value _scale => 32_767.0 * value;
    u16 whole, true, value _scale => 65_535.0 * value.abs();
    i32 whole, false, value _scale => 2e9 * value;
    u32 whole, false, value _scale => 4e9 * value.abs();
    i64 whole, false, value _scale => 9e18 * value;
    u64 whole, false, value _scale => 1.8e19 * value.abs();
}

fn store_as<S: Kept, T: Stored>(work: &Work, name: &str, input: &Input, values: &Array2<f64>) -> Less<T> {
    let kept = values.mapv(|value| S::keep(value, input.scale));
    let (rows, features) = kept.dim();
    let placed = match input.axes {
        Axes::Rows => kept.clone().into_dyn(),
        Axes::Columns => kept.t().as_standard_layout().into_owned().into_dyn(),
        Axes::Leading(second) => {
            let shape = vec![rows, second, features / second];
            kept.clone().into_shape_with_order(shape).expect("all values")
        }
    };
    let chunk = |rows: usize, features: usize| match input.axes {
        Axes::Rows => vec![rows, features],
        Axes::Columns => vec![features, rows],
        Axes::Leading(second) => vec![rows, second.div_ceil(2), features.min(placed.shape()[2])],
    };
    create(work.path(name), |file| {
        let builder = file.new_dataset_builder();
        let builder = match input.storage {
            Storage::Contiguous => builder,
            Storage::Chunked(rows, features) => builder.chunk(chunk(rows, features)),
            Storage::Compressed(rows, features) => builder.chunk(chunk(rows, features)).shuffle().deflate(1),
        };
        builder.with_data(&placed).create("samples").map(drop)
    });
    Box::new(move |subtracted| kept.mapv(|value| value.compute(subtracted)))
}

impl Input {
    fn random(rng: &mut Rng, rows: usize, features: usize, axes: Axes) -> Self {
        // chunks that fit nothing, of which there are no more than a few hundred
        let chunk = [rows, features].map(|total| rng.random_range(total.div_ceil(20)..=total));
        let storage = match rng.random_range(0..4) {
            0 => Storage::Chunked(chunk[0], chunk[1]),
            1 => Storage::Compressed(chunk[0], chunk[1]),
            _ => Storage::Contiguous,
        };
        // half of them the floats that most samples are
        let stored = if rng.random() { one_of(rng, &STORED[..2]) } else { one_of(rng, STORED) };
        let scale = one_of(rng, &[1.0, 1.0, 1e-3, 1e3, 1e-30, 1e25]);
        let offset = one_of(rng, &[0.0, 0.0, 1.0, 100.0, 1e4]);
        let different = if rng.random_range(0..4) == 0 { rng.random_range(1..=rows) } else { rows };
        Self { rows, axes, stored, storage, scale, offset, different }
    }

    /// Values between -1 and 1.
    fn values(&self, rng: &mut Rng, features: usize) -> Array2<f64> {
        let mut one = || (2.0 * rng.random::<f64>() - 1.0 + self.offset) / (1.0 + self.offset);
        let rows = Array2::from_shape_simple_fn((self.different, features), &mut one);
        Array2::from_shape_fn((self.rows, features), |(row, column)| rows[(row % self.different, column)])
    }
}

impl Way {
    /// Alone, but for one of `launched`, since the launcher takes longer than the run.
    fn random(rng: &mut Rng, n: usize, m: usize, launched: usize) -> Self {
        let ranks = if rng.random_range(0..launched) == 0 { rng.random_range(1..=5) } else { ALONE };
        let threads = (rng.random_range(0..3) > 0).then(|| rng.random_range(1..=4));
        let near = |rng: &mut Rng, rows: usize| (rows + rng.random_range(0..3)).saturating_sub(1).max(1);
        let tile = loop {
            let tile = match rng.random_range(0..8) {
                0 => break None,
                1 => near(rng, n),
                2 => near(rng, m),
                3 => size(rng, 600),
                _ => rng.random_range(2..200),
            };
            if n.div_ceil(tile) * m.div_ceil(tile) <= MOST_TILES {
                break Some(tile);
            }
        };
        let levels: Vec<Level> = Level::ALL.iter().copied().filter(|level| level.is_available()).collect();
        let simd = if rng.random() { levels[0] } else { one_of(rng, &levels) };
        Self { ranks, threads, tile, simd }
    }

    fn options(self) -> String {
        let mut text = String::new();
        for (option, value) in [("threads", self.threads), ("tile", self.tile)] {
            if let Some(value) = value {
                write!(text, " --{option} {value}").expect("a string takes any text");
            }
        }
        text
    }
}

impl Case {
    fn random(seed: u64) -> Self {
        let rng = &mut Rng::seed_from_u64(seed);
        let (n, m, features) = sizes(rng);
        let divisors: Vec<usize> = (1..=features).filter(|&edge| features.is_multiple_of(edge)).collect();
        let axes = match rng.random_range(0..6) {
            0 => Axes::Columns,
            1 => Axes::Leading(one_of(rng, &divisors)),
            _ => Axes::Rows,
        };
        let x = Input::random(rng, n, features, axes);
        let y = m.map(|m| Input::random(rng, m, features, axes));
        // some of these problems have constant features or one sample, and so no variance or covariance, and most have other numbers than 0 and 1
        let takes_all = |given: &Given| !given.takes_samples() && !given.metric.takes_truth_alone();
        let all: Vec<Given> = Given::all().into_iter().chain(Given::skipping()).filter(takes_all).collect();
        // each metric as often, whatever it may be given
        let metric = one_of(rng, &all.iter().map(|given| given.metric).collect::<Vec<_>>());
        let given = one_of(rng, &all.into_iter().filter(|given| given.metric == metric).collect::<Vec<_>>());
        let kernels: &[_] =
            if given.measure(1).has_gram() { &["auto", "gemm", "direct"] } else { &["auto", "direct"] };
        let kernel = one_of(rng, kernels);
        let dtype = one_of(rng, &[None, None, Some("f32"), Some("f64")]);
        let mut ways = [12, 5].map(|launched| Way::random(rng, n, m.unwrap_or(n), launched));
        if ways[0] == ways[1] {
            ways[1].threads = Some(ways[0].threads.unwrap_or(1) + 1);
        }
        let include_self = y.is_none() && rng.random();
        let most = m.unwrap_or(n) - usize::from(y.is_none() && !include_self);
        let neighbors = (if most > 0 { size(rng, most) } else { 0 }, include_self);
        Self { seed, features, x, y, given, kernel, dtype, neighbors, ways }
    }

    /// What to compute in, by the rule of docs/FORMAT.md.
    fn is_f32(&self) -> bool {
        let short = is_short(self.x.stored) && self.y.is_none_or(|y| is_short(y.stored));
        self.dtype.map_or(short, |dtype| dtype == "f32")
    }

    fn run(&self, work: &Work, way: Way, name: &str, output: &str) -> serde_json::Value {
        let done = self.try_run(work, way, name, output);
        assert_eq!(done.code, 0, "{done}");
        let text = std::fs::read_to_string(work.path(name)).expect("a run record");
        serde_json::from_str(&text).expect("a JSON object")
    }

    fn try_run(&self, work: &Work, way: Way, name: &str, output: &str) -> Done {
        let Self { given: Given { metric, p, weighted, skips_missing }, kernel, .. } = self;
        let mut arguments =
            format!("compute x.h5 --metric {metric} --kernel {kernel} {output} --json {name}");
        if let Some(p) = p {
            write!(arguments, " --p {p}").expect("a string takes any text");
        }
        if *weighted {
            arguments += " --weights w.h5";
        }
        if *skips_missing {
            arguments += " --skip-missing";
        }
        if self.y.is_some() {
            arguments += " --against y.h5";
        }
        arguments += match self.x.axes {
            Axes::Rows => "",
            Axes::Columns => " --transpose",
            Axes::Leading(_) => " --flatten",
        };
        if let Some(dtype) = self.dtype {
            arguments = arguments + " --dtype " + dtype;
        }
        let mut program = work.program(way.ranks).env("PAIRDIST_SIMD", way.simd.name());
        if way.ranks == ALONE {
            // without the daemon that could start other ranks: Open MPI takes longer for it than the run
            program = program.env("OMPI_MCA_ess_singleton_isolated", "1");
        }
        program.run(&(arguments + &way.options()))
    }

    fn check_in<T: Stored>(&self) {
        let work = Work::new();
        let rng = &mut Rng::seed_from_u64(self.seed);
        // whole numbers have no NaN: they get zeros in their place
        let values = |input: &Input, rng: &mut Rng| {
            let values = input.values(rng, self.features);
            if self.given.skips_missing { with_gaps(values, rng.random()) } else { values }
        };
        let x = store::<T>(&work, "x.h5", &self.x, &values(&self.x, rng));
        let y = self.y.map(|y| store::<T>(&work, "y.h5", &y, &values(&y, rng)));
        if self.given.weighted {
            let weights = Given::weights(self.features);
            create(work.path("w.h5"), |file| {
                file.new_dataset_builder().with_data(&weights).create("w").map(drop)
            });
        }
        let [one, other] = self.ways;
        let record = self.run(&work, one, "run.json", "--no-sync -o out.h5");
        let got = distances::<T>(work.path("out.h5"));
        let method = Method::from_name(self.kernel).unwrap_or_else(|| {
            Method::fastest(&self.given.measure(self.features), self.features, Content::Any)
        });
        // what makes whole numbers exact that the type does not hold
        let subtracted =
            record["inputs"][0]["subtracted"].as_str().map_or(0, |text| text.parse().expect("a number"));
        let (x, y) = (x(subtracted), y.map(|y| y(subtracted)));
        let expected = definition(self.given, &x, y.as_ref().unwrap_or(&x));
        let scaling = record["scaling_exponent"].as_i64().and_then(|exponent| i32::try_from(exponent).ok());
        let way = (self.given, method, self.features, scaling.expect("an exponent"));
        assert_within_tolerance("a case", way, &got, &expected);
        let (count, include_self) = self.neighbors;
        let itself = if include_self { "--include-self" } else { "" };
        let output = match count {
            0 => "--no-output".to_owned(),
            _ => format!("--no-sync -o n.h5 --neighbors {count} {itself}"),
        };
        // some have little more memory than they need, and read their samples band by band, or part by part of the features
        let limit = if rng.random() {
            let refused =
                self.try_run(&work, other, "again.json", &format!("{output} --memory-per-rank 1kB"));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
            let limit = (refused.least_memory() as f64 * rng.random_range(1.0..1.3)) as u64 + 100_000;
            format!(" --memory-per-rank {limit}")
        } else {
            String::new()
        };
        let again = self.run(&work, other, "again.json", &(output + &limit));
        assert_eq!(again["digest"], record["digest"], "another way gives another digest");
        if count > 0 {
            let expected = self.nearest(&got);
            assert!(stored(work.path("n.h5")) == expected, "neighbours are not those of the matrix");
        }
    }

    /// Indices of the neighbours of all rows by brute force, and their distances, as bits of f64.
    fn nearest<T: Stored>(&self, distances: &Array2<T>) -> Vec<u64> {
        let (count, include_self) = self.neighbors;
        let (mut indices, mut nearest) = (Vec::new(), Vec::new());
        for (i, row) in distances.rows().into_iter().enumerate() {
            let mut all: Vec<(f64, usize)> = row.iter().map(|value| value.to_f64()).zip(0..).collect();
            let itself = (self.y.is_none()).then(|| all.remove(i));
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let first = itself.filter(|_| include_self);
            let numbers = first.into_iter().chain(all).filter(|(distance, _)| !distance.is_nan());
            let numbers = numbers.map(|(distance, index)| (distance, index as f64));
            for (distance, index) in numbers.chain(std::iter::repeat((f64::INFINITY, -1.0))).take(count) {
                indices.push(index.to_bits());
                nearest.push(distance.to_bits());
            }
        }
        [indices, nearest].concat()
    }

    fn check(&self) {
        if self.is_f32() { self.check_in::<f32>() } else { self.check_in::<f64>() }
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

#[test]
fn any_problem_gives_the_distances_of_the_definition_and_one_digest_on_any_ranks_threads_and_tiles() {
    let cases = number("PAIRDIST_CASES").unwrap_or(200);
    let new_seed = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        now.as_secs() % 1_000_000 * 1_000_000
    };
    let seed = number("PAIRDIST_SEED").unwrap_or_else(new_seed);
    // not by a macro, whose words are shown only if the test fails
    writeln!(std::io::stderr(), "{cases} cases from PAIRDIST_SEED={seed}").expect("standard error is open");
    let cases: Vec<Case> = (seed..seed + cases).map(Case::random).collect();
    for_all(&cases, Case::check);
}
