//! Runs on samples whose squares are too large or too small for their type.

mod common;

use common::launch::ALONE;
use common::samples::{assert_within_tolerance, definition, distances, random, scaling, write};
use common::{Work, for_all};
use ndarray::{Array2, Axis};
use pairdist::io::Stored;
use pairdist::kernel::{Level, Method};
use pairdist::metric::Metric;

/// Samples of a magnitude, the first of them twice.
fn samples<T: Stored>(rows: usize, magnitude: f64, seed: u64) -> Array2<T> {
    let mut samples = random::<f64>(rows, 40, seed).mapv(|u| T::from_f64(magnitude * u));
    let first = samples.row(0).insert_axis(Axis(0)).to_owned();
    samples.append(Axis(0), first.view()).expect("it has as many features");
    samples
}

/// Runs samples of x.h5, and of y.h5 if there are two inputs, on 1, 2 and 3 ranks with other tiles, demands one digest and checks
/// the result.
fn check<T: Stored>(magnitude: f64, against: bool, kernel: &str, metric: Metric) {
    let work = Work::new();
    // the magnitude of all of X and Y counts, wherever the largest value is
    let (x, other) = (samples::<T>(28, magnitude, 1), samples::<T>(20, magnitude / 1024.0, 2));
    let y = if against { &other } else { &x };
    write(work.path("x.h5"), &x);
    write(work.path("y.h5"), &other);
    let arguments = format!("compute x.h5 --metric {metric} --kernel {kernel} --json run.json");
    let arguments = arguments + if against { " --against y.h5" } else { "" };
    let mut digests = Vec::new();
    for (ranks, tile) in [(1, 29), (2, 7), (3, 5)] {
        let done = work.run(ranks, &format!("{arguments} --tile {tile} -o out.h5 --force"), 0);
        digests.push(work.record()["digest"].clone());
        let exponent = scaling(metric, &x, y);
        assert_ne!(exponent, 0, "{magnitude:e}");
        assert_eq!(work.record()["scaling_exponent"], exponent, "{done}");
        assert!(done.stdout.contains(&format!("samples were scaled by 2^{exponent} ")), "{done}");
        let got = distances::<T>(work.path("out.h5"));
        let method = Method::from_name(kernel).expect("a method");
        let expected = definition(metric, &x, y);
        assert_within_tolerance("a run", (metric, method, 40, exponent), &got, &expected);
        assert_eq!(got[(0, 28 % got.ncols())] == T::default(), !against, "equal rows are at 0");
        work.run(ranks, "verify out.h5 --all", 0);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn samples_whose_squares_overflow_or_vanish_give_right_distances_and_one_digest_on_1_to_3_ranks() {
    let mut cases = Vec::new();
    for (magnitude, dtype) in
        [(1e-29, "f32"), (1e-42, "f32"), (1e20, "f32"), (1e-200, "f64"), (1e-310, "f64"), (1e200, "f64")]
    {
        for (against, kernel, metric) in [
            (false, "gemm", Metric::Euclidean),
            (true, "gemm", Metric::Euclidean),
            (false, "direct", Metric::Sqeuclidean),
            (true, "direct", Metric::Euclidean),
        ] {
            cases.push((magnitude, dtype, against, kernel, metric));
        }
    }
    for_all(&cases, |&(magnitude, dtype, against, kernel, metric)| match dtype {
        "f32" => check::<f32>(magnitude, against, kernel, metric),
        _ => check::<f64>(magnitude, against, kernel, metric),
    });
}

#[test]
fn every_simd_level_gives_one_digest_of_scaled_samples() {
    let work = Work::new();
    write(work.path("x.h5"), &samples::<f32>(30, 1e-30, 3));
    let mut digests = Vec::new();
    for level in Level::ALL.iter().filter(|level| level.is_available()) {
        let program = work.program(2).env("PAIRDIST_SIMD", level.name());
        let done = program.run("compute x.h5 --no-output --json run.json");
        assert_eq!(done.code, 0, "{done}");
        digests.push(work.record()["digest"].clone());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn a_result_without_the_attribute_was_not_scaled() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f32>(9, 4, 1));
    work.run(2, "compute x.h5 -o out.h5", 0);
    assert!(!work.run(ALONE, "info out.h5", 0).stdout.contains("scaled"));
    common::samples::edit(work.path("out.h5"), |file| file.delete_attr("scaling_exponent"));
    work.run(ALONE, "verify out.h5 --all", 0);
    write(work.path("x.h5"), &samples::<f32>(9, 1e20, 1));
    let done = work.run(2, "compute x.h5 -o out.h5 --force", 0);
    assert!(done.stderr.contains("scaled by 2^-"), "{done}");
    assert!(work.run(ALONE, "info out.h5", 0).stdout.contains("by 2^-"));
}

#[test]
fn metrics_without_squares_are_not_scaled() {
    let work = Work::new();
    write(work.path("x.h5"), &samples::<f32>(9, 1e-30, 1));
    for metric in [Metric::Cityblock, Metric::Chebyshev] {
        work.run(2, &format!("compute x.h5 --no-output --metric {metric} --json run.json"), 0);
        assert_eq!(work.record()["scaling_exponent"], 0);
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_killed_run_of_scaled_samples_is_resumed_to_the_same_digest() {
    let work = Work::new();
    write(work.path("x.h5"), &samples::<f32>(59, 1e20, 4));
    let arguments = "compute x.h5 --tile 5 --checkpoint-interval 0 --json run.json";
    work.run(2, &format!("{arguments} --no-output"), 0);
    let expected = work.record()["digest"].clone();
    let program = work.program(2).env("PAIRDIST_FAIL_AT", "write:0:30:kill");
    let done = program.run(&format!("{arguments} -o out.h5"));
    assert_ne!(done.code, 0, "{done}");
    work.run(3, &format!("{arguments} -o out.h5 --resume"), 0);
    let record = work.record();
    assert!(record["resumed_pairs"].as_u64() > Some(0), "{record}");
    assert_eq!(record["digest"], expected);
    assert!(record["scaling_exponent"].as_i64() < Some(0), "{record}");
    work.run(2, "verify out.h5 --all", 0);
}
