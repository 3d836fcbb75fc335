//! Runs that read their samples band by band. If such a run is killed, it can be resumed with another memory limit and another number of
//! ranks. If the samples change during the run, it ends with an error. `tests/oracle/test_bands.py` checks that results and digests are the
//! same as with all samples in memory.

#![cfg(feature = "failpoints")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use common::launch::{ALONE, Done};
use common::samples::{random, stored, write};
use common::{Work, for_all};

/// 15 × 15 tiles of 40 samples.
const COMPUTE: &str = "compute x.h5 -o out.h5 --tile 40 --checkpoint-interval 0";

/// Bytes of a packed tile of samples.
const TILE_BYTES: u64 = 40 * 4000 * 8;

/// What runs are asked for; about half of all pairs lie within the radius.
const RESULTS: [&str; 3] =
    ["", " --matrix --condensed --neighbors 4 --radius 25.8", " --neighbors 300 --store f16"];

/// A folder with 600 samples that take 38 MB when they are packed twice.
fn work() -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(600, 4000, 1));
    work
}

/// Bytes that the program says a rank needs at least.
fn least(work: &Work, ranks: usize, results: &str) -> u64 {
    work.run(ranks, &format!("{COMPUTE}{results} --memory-per-rank 1kB"), 1).least_memory()
}

#[test]
fn a_killed_run_goes_on_with_another_limit_and_other_ranks() {
    let cases = [(ALONE, 2), (2, 3), (3, ALONE)].into_iter();
    let cases: Vec<_> = cases.flat_map(|ranks| RESULTS.map(|results| (ranks, results))).collect();
    for_all(&cases, |&((first, second), results)| {
        let work = work();
        work.run(ALONE, &format!("{COMPUTE}{results}"), 0);
        let whole = stored(work.path("out.h5"));
        fs::remove_file(work.path("out.h5")).unwrap();
        for (number, (ranks, tiles)) in [(first, 4), (second, 10), (first, 2)].into_iter().enumerate() {
            let limit = least(&work, ranks, results) + tiles * TILE_BYTES;
            let resume = if number > 0 { " --resume" } else { "" };
            let arguments = format!("{COMPUTE}{results} --memory-per-rank {limit}{resume}");
            let point = format!("compute:0:{}:kill", 8 + 4 * number);
            let done = work.program(ranks).env("PAIRDIST_FAIL_AT", &point).run(&arguments);
            assert_ne!(done.code, 0, "{done}");
            assert!(work.path("out.h5.partial").exists() && !work.path("out.h5").exists(), "{done}");
        }
        let limit = least(&work, second, results) + 6 * TILE_BYTES;
        let last = format!("{COMPUTE}{results} --memory-per-rank {limit} --resume --json run.json");
        work.run(second, &last, 0);
        assert!(work.record()["resumed_pairs"].as_u64() > Some(0));
        assert!(stored(work.path("out.h5")) == whole, "other bytes");
        work.run(2, "verify out.h5 --all", 0);
    });
}

/// Samples with so many features that they are read part by part of these, in 3 × 3 tiles. Seven ranks share the features.
#[test]
fn a_killed_run_by_parts_of_the_features_goes_on_with_another_limit_and_other_ranks() {
    const COMPUTE: &str = "compute x.h5 -o out.h5 --tile 8 --checkpoint-interval 0 --metric cosine";
    let cases = [(ALONE, 7), (7, 2), (2, ALONE)].into_iter();
    let cases: Vec<_> =
        cases.flat_map(|ranks| ["", " --matrix --neighbors 3"].map(|results| (ranks, results))).collect();
    for_all(&cases, |&((first, second), results)| {
        let work = Work::new();
        write(work.path("x.h5"), &random::<f32>(20, 70_000, 3));
        work.run(ALONE, &format!("{COMPUTE}{results}"), 0);
        let whole = stored(work.path("out.h5"));
        fs::remove_file(work.path("out.h5")).unwrap();
        let limited = |ranks| {
            // where some of them have no tile, they share the features without being asked to keep within a limit
            if ranks == 7 {
                return format!("{COMPUTE}{results}");
            }
            let told = work.run(ranks, &format!("{COMPUTE}{results} --memory-per-rank 1kB"), 1);
            format!("{COMPUTE}{results} --memory-per-rank {}", told.least_memory() + (1 << 20))
        };
        let done = work.program(first).env("PAIRDIST_FAIL_AT", "journalled:0:1:kill").run(&limited(first));
        assert_ne!(done.code, 0, "{done}");
        assert!(work.path("out.h5.partial").exists() && !work.path("out.h5").exists(), "{done}");
        work.run(second, &format!("{} --resume --json run.json", limited(second)), 0);
        let record = work.record();
        assert!(record["resumed_pairs"].as_u64() > Some(0));
        assert_eq!(record["bands"]["shared_features"].as_bool(), (second == 7).then_some(true), "{record}");
        assert!(record["bands"]["features"].as_u64() < Some(70_000), "{record}");
        assert!(stored(work.path("out.h5")) == whole, "other bytes");
        work.run(2, "verify out.h5 --all", 0);
    });
}

/// A run in bands whose file of samples changes while its tiles are computed.
fn changed(work: &Work, ranks: usize) -> (Done, u64, [u8; 8]) {
    let limit = least(work, ranks, "") + 3 * TILE_BYTES;
    let program = work.program(ranks).env("PAIRDIST_FAIL_AT", "compute:0:1:slow");
    let mut job = program.start(&format!("{COMPUTE} --memory-per-rank {limit}"));
    while fs::metadata(work.path("out.h5.partial/journal.0")).map_or(0, |meta| meta.len()) < 200 {
        assert!(job.is_running(), "it ended before its samples could change: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (place, value) = change_last_value(work);
    (job.wait(), place, value)
}

/// Changes the last value of the file, which is one of the last sample; its place, and what it was.
fn change_last_value(work: &Work) -> (u64, [u8; 8]) {
    let file = OpenOptions::new().read(true).write(true).open(work.path("x.h5")).unwrap();
    let (mut value, place) = ([0; 8], file.metadata().unwrap().len() - 8);
    file.read_exact_at(&mut value, place).unwrap();
    file.write_all_at(&(f64::from_le_bytes(value) + 1.0).to_le_bytes(), place).unwrap();
    (place, value)
}

/// One rank, and ranks that share the features.
#[test]
fn samples_that_change_while_they_are_read_part_by_part_end_the_run_with_nothing_stored() {
    const COMPUTE: &str = "compute x.h5 -o out.h5 --tile 8 --checkpoint-interval 0";
    for_all(&[ALONE, 7], |&ranks| {
        let work = Work::new();
        write(work.path("x.h5"), &random::<f64>(20, 200_000, 3));
        let limit = match ranks {
            ALONE => {
                let told = work.run(ranks, &format!("{COMPUTE} --memory-per-rank 1kB"), 1);
                format!(" --memory-per-rank {}", told.least_memory() + (16 << 20))
            }
            _ => String::new(),
        };
        let slow = if ranks == ALONE { "read:0:14:slow" } else { "read:0:1:slow" };
        let mut job = work.program(ranks).env("PAIRDIST_FAIL_AT", slow).start(&format!("{COMPUTE}{limit}"));
        // the survey is over when the folder is there
        while !work.path("out.h5.partial/journal.0").exists() {
            assert!(job.is_running(), "it ended before its samples could change: {}", job.wait());
            std::thread::sleep(Duration::from_millis(2));
        }
        let (place, value) = change_last_value(&work);
        let done = job.wait();
        assert_eq!(done.code, 1, "{done}");
        let told: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
        let words = ["have changed while they were read again", "x.h5", "--resume", "--force"];
        assert!(told.len() == 1 && words.iter().all(|word| told[0].contains(word)), "{done}");
        let file = OpenOptions::new().write(true).open(work.path("x.h5")).unwrap();
        file.write_all_at(&value, place).unwrap();
        work.run(ranks, &format!("{COMPUTE}{limit} --resume --json run.json"), 0);
        let record = work.record();
        assert_eq!(record["resumed_pairs"].as_u64().unwrap_or(0), 0, "{record}");
        assert_eq!(record["bands"]["shared_features"].as_bool(), (ranks == 7).then_some(true), "{record}");
        work.run(2, "verify out.h5 --all", 0);
    });
}

#[test]
fn samples_that_change_while_they_are_read_again_end_the_run_which_goes_on_once_they_are_back() {
    for_all(&[ALONE, 2], |&ranks| {
        let work = work();
        let (done, place, value) = changed(&work, ranks);
        assert_eq!(done.code, 1, "{done}");
        let told: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
        let words = ["have changed while they were read again", "x.h5", "--resume", "--force"];
        assert!(told.len() == 1 && words.iter().all(|word| told[0].contains(word)), "{done}");
        // changed as they are, they are not those of the run
        let refused = work.run(ranks, &format!("{COMPUTE} --resume"), 1);
        assert!(refused.stderr.contains("the digest of"), "{refused}");
        let file = OpenOptions::new().write(true).open(work.path("x.h5")).unwrap();
        file.write_all_at(&value, place).unwrap();
        work.run(ranks, &format!("{COMPUTE} --resume"), 0);
        work.run(2, "verify out.h5 --all", 0);
    });
}
