//! `compute`, by the real program on 1 to 5 ranks, against the definition of each metric.

mod common;

use std::time::Duration;

use common::launch::ALONE;
use common::samples::{assert_within_tolerance, create, definition, distances, random, write};
use common::{Work, for_all};
use ndarray::{Array2, Axis, concatenate};
use pairdist::element::Content;
use pairdist::io::Stored;
use pairdist::kernel::{Level, Method};
use pairdist::metric::Metric;

const RANKS: [usize; 5] = [1, 2, 3, 4, 5];

/// Rows of X, rows of Y or one input, features, tile.
type Shape = (usize, Option<usize>, usize, usize);

const SHAPES: [Shape; 9] = [
    (1, None, 1, 1),
    (1, None, 7, 64),
    (2, None, 5, 1),
    (3, Some(1), 1, 2),
    (1, Some(9), 4, 3),
    (13, None, 11, 5),
    (101, None, 1, 17),
    (97, Some(53), 19, 16),
    (53, Some(131), 300, 31),
];

/// How distances are computed; cases take turns.
const WAYS: [(Metric, &str, &str); 7] = [
    (Metric::Cityblock, "auto", "f64"),
    (Metric::Euclidean, "gemm", "f32"),
    (Metric::Chebyshev, "auto", "f32"),
    (Metric::Sqeuclidean, "auto", "f64"),
    (Metric::Euclidean, "direct", "f64"),
    (Metric::Cityblock, "direct", "f32"),
    (Metric::Sqeuclidean, "gemm", "f32"),
];

#[derive(Debug)]
struct Case {
    ranks: usize,
    shape: Shape,
    way: (Metric, &'static str, &'static str),
}

/// Every shape on every number of ranks; as the 9 shapes of a number are no multiple of the 7 ways, each shape comes with
/// five of them.
fn cases() -> Vec<Case> {
    let places = RANKS.into_iter().flat_map(|ranks| SHAPES.map(|shape| (ranks, shape)));
    let case = |(number, (ranks, shape)): (usize, _)| Case { ranks, shape, way: WAYS[number % WAYS.len()] };
    places.enumerate().map(case).collect()
}

/// Writes the inputs of a shape and returns them, with the arguments that name them.
fn inputs<T: Stored>(work: &Work, (n, m, d, tile): Shape) -> (Array2<T>, Array2<T>, String) {
    let x = random(n, d, 1);
    write(work.path("x.h5"), &x);
    let arguments = format!("compute x.h5 --tile {tile}");
    let Some(m) = m else { return (x.clone(), x, arguments) };
    let y = random(m, d, 2);
    write(work.path("y.h5"), &y);
    (x, y, arguments + " --against y.h5")
}

fn check_distances<T: Stored>(case: &Case) {
    let (work, (metric, kernel, _)) = (Work::new(), case.way);
    let (x, y, arguments) = inputs::<T>(&work, case.shape);
    work.run(case.ranks, &format!("{arguments} -o out.h5 --metric {metric} --kernel {kernel}"), 0);
    let features = case.shape.2;
    let method =
        Method::from_name(kernel).unwrap_or_else(|| Method::fastest(&metric.into(), features, Content::Any));
    let (got, expected) = (distances::<T>(work.path("out.h5")), definition(metric, &x, &y));
    assert_within_tolerance("a run", (metric, method, features, 0), &got, &expected);
}

#[test]
fn every_distance_is_within_its_bound_for_every_shape_on_1_to_5_ranks() {
    for_all(&cases(), |case| match case.way.2 {
        "f32" => check_distances::<f32>(case),
        _ => check_distances::<f64>(case),
    });
}

#[test]
fn one_input_gives_an_exactly_symmetric_matrix_with_zeros_for_equal_rows() {
    for_all(&RANKS.map(|ranks| (ranks, WAYS[ranks])), |&(ranks, (metric, kernel, dtype))| {
        let work = Work::new();
        let rows = random::<f64>(23, 10, 3);
        write(work.path("x.h5"), &concatenate![Axis(0), rows, rows]);
        let way = format!("--metric {metric} --kernel {kernel} --dtype {dtype}");
        work.run(ranks, &format!("compute x.h5 -o out.h5 --tile 7 {way}"), 0);
        let matrix = distances::<f64>(work.path("out.h5"));
        for ((i, j), value) in matrix.indexed_iter() {
            assert_eq!(value.to_bits(), matrix[(j, i)].to_bits(), "({i}, {j})");
            assert_eq!(*value == 0.0, i % 23 == j % 23, "({i}, {j}): {value}");
        }
    });
}

#[test]
fn the_digest_is_the_same_with_and_without_output_on_1_to_5_ranks() {
    for shape in [(61, None, 9, 8), (61, Some(37), 9, 8)] {
        let work = Work::new();
        let (_, _, arguments) = inputs::<f32>(&work, shape);
        work.run(2, &format!("{arguments} -o out.h5 --json run.json"), 0);
        let written = work.record()["digest"].clone();
        for ranks in RANKS {
            std::fs::remove_file(work.path("run.json")).expect("the last record");
            work.run(ranks, &format!("{arguments} --no-output --json run.json"), 0);
            assert_eq!(work.record()["digest"], written, "{shape:?} on {ranks} ranks");
        }
    }
}

#[test]
fn every_simd_level_can_be_forced_and_gives_the_same_digest() {
    let work = Work::new();
    let (_, _, arguments) = inputs::<f32>(&work, (61, Some(37), 40, 8));
    let mut digests = Vec::new();
    for level in Level::ALL.iter().filter(|level| level.is_available()) {
        let program = work.program(2).env("PAIRDIST_SIMD", level.name());
        let done = program.run(&format!("{arguments} --no-output --json run.json"));
        assert_eq!(done.code, 0, "{done}");
        assert_eq!(work.record()["versions"]["simd"], level.name(), "{done}");
        digests.push(work.record()["digest"].clone());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

/// Bits of whitened samples: the same on every processor.
#[test]
fn mahalanobis_distances_have_the_same_bits_on_every_simd_level_and_machine() {
    let work = Work::new();
    work.run(1, "generate x.h5 --samples 700 --features 150 --seed 3", 0);
    for level in Level::ALL.iter().filter(|level| level.is_available()) {
        let program = work.program(2).env("PAIRDIST_SIMD", level.name());
        let done = program.run("compute x.h5 --metric mahalanobis --no-output --json run.json");
        assert_eq!(done.code, 0, "{done}");
        assert_eq!(work.record()["digest"], "cf5a29387f58d7e2", "on {}", level.name());
    }
}

#[test]
fn a_million_features_are_within_the_bound() {
    let work = Work::new();
    let (x, _, arguments) = inputs::<f32>(&work, (5, None, 1_000_000, 2));
    for metric in [Metric::Euclidean, Metric::Cityblock] {
        work.run(2, &format!("{arguments} -o out.h5 --force --metric {metric}"), 0);
        let (got, expected) = (distances::<f32>(work.path("out.h5")), definition(metric, &x, &x));
        assert_within_tolerance(
            "a million features",
            (metric, Method::fastest(&metric.into(), 1_000_000, Content::Any), 1_000_000, 0),
            &got,
            &expected,
        );
    }
}

/// Peak and planned memory of a rank, in bytes.
fn memory(ranks: usize, n: usize, options: &str) -> (f64, f64) {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f32>(n, 16, 1));
    work.run(ranks, &format!("compute x.h5 --threads 1 --tile 512 --json run.json {options}"), 0);
    let bytes = |field: &str| work.record()[field].as_f64().expect("a number");
    (bytes("peak_rss_bytes"), bytes("planned_bytes"))
}

#[test]
fn memory_is_as_planned_and_grows_with_the_row_blocks_only() {
    let mut peaks = Vec::new();
    for (n, options) in [(8192, "-o out.h5 --no-sync"), (8192, "--no-output"), (32_768, "--no-output")] {
        let (peak, planned) = memory(2, n, options);
        assert!(
            (peak / planned - 1.0).abs() < 0.1,
            "{n} samples, {options}: {peak} bytes, planned {planned}"
        );
        peaks.push((peak, planned));
    }
    // of twice 24,576 more samples of 64 bytes, as rows and in three column blocks
    let [_, (small, small_plan), (large, large_plan)] = peaks[..] else { unreachable!("three runs") };
    let blocks = 24_576.0 / 2.0 * 64.0 * 4.0;
    assert!(large - small < 1.1 * blocks + 2e6, "{small} and {large} bytes");
    assert!(large_plan - small_plan < 1.1 * blocks, "{small_plan} and {large_plan} bytes planned");
}

/// Chunks of samples if there are any, whether they are compressed, and the option that says how they lie.
type Layout = (Option<(usize, usize)>, bool, &'static str);

/// How 4000 × 2500 samples are stored.
const STORED: [Layout; 6] = [
    (Some((4000, 2500)), true, ""),
    (Some((4000, 1)), true, ""),
    (Some((50, 2500)), true, ""),
    (Some((4000, 1)), false, ""),
    (None, false, "--transpose"),
    (Some((2500, 1000)), true, "--transpose"),
];

#[test]
fn reading_takes_the_memory_that_was_planned_however_samples_are_stored() {
    // few digits, which are compressed soon
    let samples = random::<f64>(4000, 2500, 1).mapv(|value| (value * 256.0).round());
    let mut digests = Vec::new();
    for (chunk, is_compressed, option) in STORED {
        let work = Work::new();
        create(work.path("x.h5"), |file| {
            let builder = file.new_dataset_builder();
            let builder = if let Some(chunk) = chunk { builder.chunk(chunk) } else { builder };
            let builder = if is_compressed { builder.deflate(1) } else { builder };
            let turned = samples.t().as_standard_layout().into_owned();
            let placed = if option.is_empty() { &samples } else { &turned };
            builder.with_data(placed).create("samples").map(drop)
        });
        let options = "--dtype f64 --threads 1 --metric sqeuclidean --no-output --json run.json";
        work.run(ALONE, &format!("compute x.h5 {option} {options}"), 0);
        let record = work.record();
        let [peak, planned] =
            ["peak_rss_bytes", "planned_bytes"].map(|field| record[field].as_f64().expect("a number"));
        digests.push(record["digest"].clone());
        // of bands that are not of one length, the plan takes the worst
        let more = if option.is_empty() { 0.9 } else { 0.8 };
        assert!(
            peak < 1.1 * planned && peak > more * planned,
            "chunks {chunk:?}, {option}: {peak} bytes, planned {planned}"
        );
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn few_samples_of_many_features_take_three_times_their_memory() {
    const FEATURES: usize = 3_000_000;
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(2, FEATURES, 1));
    for metric in ["euclidean", "cityblock"] {
        let mut digests = Vec::new();
        for ranks in [1, 3] {
            let options = format!("--metric {metric} --threads 1 --no-output --json run.json");
            work.run(ranks, &format!("compute x.h5 {options}"), 0);
            let record = work.record();
            let [peak, planned] =
                ["peak_rss_bytes", "planned_bytes"].map(|field| record[field].as_f64().expect("a number"));
            digests.push(record["digest"].clone());
            if ranks == 1 {
                assert!((peak / planned - 1.0).abs() < 0.1, "{metric}: {peak} bytes, planned {planned}");
                // as rows, as columns, and as they are read, beside the program
                let samples = (2 * FEATURES * size_of::<f64>()) as f64;
                assert!(planned < 3.1 * samples + 50e6, "{metric}: {planned} bytes for {samples}");
            }
        }
        assert_eq!(digests[0], digests[1], "{metric}");
    }
}

#[test]
fn a_run_that_recomputes_most_pairs_says_so() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f32>(50, 40, 1).mapv(|value| 1000.0 + 1e-3 * value));
    let done = work.run(2, "compute x.h5 --no-output --kernel gemm --json run.json", 0);
    assert!(done.stderr.contains("2500 of 2500 pairs") && done.stderr.contains("--kernel direct"), "{done}");
    assert_eq!(work.record()["recomputed_pairs"], 2500);
}

#[test]
fn another_matrix_has_another_digest() {
    let digests = ["euclidean", "sqeuclidean"].map(|metric| {
        let work = Work::new();
        let (_, _, arguments) = inputs::<f64>(&work, (30, None, 6, 8));
        work.run(ALONE, &format!("{arguments} --no-output --json run.json --metric {metric}"), 0);
        work.record()["digest"].clone()
    });
    assert_ne!(digests[0], digests[1]);
}

#[test]
fn a_finished_run_leaves_its_result_and_nothing_else() {
    for_all(&[ALONE, 1, 3], |&ranks| {
        let work = Work::new();
        let (_, _, arguments) = inputs::<f64>(&work, (20, Some(7), 3, 4));
        work.run(ranks, &format!("{arguments} -o out.h5"), 0);
        assert_eq!(work.list(), ["out.h5", "x.h5", "y.h5"]);
    });
}

#[test]
fn a_run_without_output_leaves_nothing() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = Work::new();
        let (_, _, arguments) = inputs::<f64>(&work, (20, None, 3, 4));
        work.run(ranks, &format!("{arguments} --no-output"), 0);
        assert_eq!(work.list(), ["x.h5"]);
    });
}

#[test]
fn an_existing_result_is_refused_and_stays_as_it_is() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = Work::new();
        inputs::<f64>(&work, (20, None, 3, 4));
        std::fs::write(work.path("out.h5"), "precious").expect("a file");
        let done = work.run(ranks, "compute x.h5 -o out.h5", 1);
        assert!(done.stderr.contains("out.h5 exists") && done.stderr.contains("--force"), "{done}");
        assert_eq!(std::fs::read(work.path("out.h5")).expect("the file"), b"precious");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

#[test]
fn an_existing_result_is_replaced_by_force() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = Work::new();
        inputs::<f64>(&work, (10, None, 3, 4));
        work.run(ranks, "compute x.h5 -o out.h5", 0);
        inputs::<f64>(&work, (20, None, 3, 4));
        work.run(ranks, "compute x.h5 -o out.h5 --force", 0);
        assert_eq!(distances::<f64>(work.path("out.h5")).dim(), (20, 20));
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

#[test]
fn an_unfinished_run_is_refused_and_started_over_by_force() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = Work::new();
        inputs::<f64>(&work, (20, None, 3, 4));
        work.run(ranks, "compute x.h5 -o out.h5 --time-limit 00:00:00", 75);
        std::fs::write(work.path("out.h5.partial/matrix.h5"), "half").expect("a file");
        let done = work.run(ranks, "compute x.h5 -o out.h5", 1);
        assert!(done.stderr.contains("out.h5.partial") && done.stderr.contains("--force"), "{done}");
        assert_eq!(work.list(), ["out.h5.partial", "x.h5"]);
        work.run(ranks, "compute x.h5 -o out.h5 --force", 0);
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

#[test]
fn a_file_that_takes_the_name_during_the_run_is_not_overwritten() {
    let work = Work::new();
    // so many tiles that they take a while to write
    inputs::<f64>(&work, (500, None, 1, 2));
    let mut job = work.program(2).start("compute x.h5 -o out.h5 --tile 2 --no-sync");
    while job.is_running() && !work.path("out.h5.partial").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(work.path("out.h5"), "precious").expect("a file");
    let done = job.wait();
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stderr.contains("out.h5 appeared during the run"), "{done}");
    assert_eq!(std::fs::read(work.path("out.h5")).expect("the file"), b"precious");
}
