//! A rank that fails, panics or dies: the whole job ends, nothing gets the result's name, and the next run resumes the work.
//!
//! `scripts/test-faults` runs more of the same: every failure at every place, and a hundred kills.

#![cfg(feature = "failpoints")]

mod common;

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use common::launch::{ALONE, Done, Job, is_alive};
use common::samples::{random, stored, write};
use common::{RESULTS, Work, for_all, with_results};
use nix::sys::signal::{Signal, kill};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A job must be over so soon after one of its ranks has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every tile is a checkpoint of its own.
const COMPUTE: &str = "compute x.h5 -o out.h5 --tile 10 --checkpoint-interval 0";

/// A failure: at which step, how, on which rank of how many.
#[derive(Clone, Copy, Debug)]
struct Failure {
    step: &'static str,
    action: &'static str,
    rank: usize,
    ranks: usize,
    /// What the run is asked for.
    results: &'static str,
}

/// The steps of a run in their order, the time at which to fail there, and whether rank 0 alone takes them.
const STEPS: [(&str, u32, bool); 19] = [
    ("read", 1, false),
    ("create", 1, true),
    ("plan", 1, true),
    ("open", 1, false),
    ("compute", 4, false),
    ("write", 5, false),
    ("spool", 5, false),
    ("sync", 3, false),
    ("snapshot", 3, false),
    ("journal", 3, false),
    ("journalled", 3, false),
    ("checksums", 1, false),
    ("last", 1, true),
    ("extend", 1, true),
    ("extended", 1, false),
    ("entries", 1, false),
    ("complete", 1, false),
    ("close", 1, false),
    ("rename", 1, true),
];

/// First and last rank of 1, 2 and 3.
const PLACES: [(usize, usize); 5] = [(0, ALONE), (0, 2), (1, 2), (0, 3), (2, 3)];

/// A step at each of its places.
fn at_places(
    step: &'static str,
    root_only: bool,
    action: &'static str,
    results: &'static str,
) -> Vec<Failure> {
    let places = PLACES.into_iter().filter(|(rank, _)| *rank == 0 || !root_only);
    places.map(|(rank, ranks)| Failure { step, action, rank, ranks, results }).collect()
}

/// The steps of a run with these results: only neighbours need snapshots, and only a radius has a spool and arrays that are made last.
fn steps(results: &str) -> impl Iterator<Item = (&'static str, u32, bool)> {
    let (has_snapshots, has_spool) = (results.contains("neighbors"), results.contains("radius"));
    STEPS.into_iter().filter(move |(step, ..)| match *step {
        "snapshot" => has_snapshots,
        "spool" | "last" | "extend" | "extended" | "entries" => has_spool,
        _ => true,
    })
}

/// Kills at every step and place; errors and panics too, if `PAIRDIST_FAULTS` is set, else at one place of each step, in turn.
/// Workers compute, and have no errors to return.
fn failures() -> Vec<Failure> {
    let is_long = std::env::var_os("PAIRDIST_FAULTS").is_some();
    let mut failures = Vec::new();
    for results in RESULTS {
        for (number, (step, _, root_only)) in steps(results).enumerate() {
            failures.extend(at_places(step, root_only, "kill", results));
            for action in ["error", "panic"] {
                let places = at_places(step, root_only, action, results);
                let chosen = if is_long { &places[..] } else { &places[number % places.len()..][..1] };
                failures.extend(chosen.iter().filter(|_| (step, action) != ("compute", "error")));
            }
        }
    }
    failures
}

/// Samples whose 10 × 10 tiles give every one of 3 ranks some to write.
fn work_with_input() -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(100, 5, 1));
    work
}

/// What an uninterrupted run stores.
fn expected(results: &'static str) -> &'static [u64] {
    static EXPECTED: [OnceLock<Vec<u64>>; RESULTS.len()] = [const { OnceLock::new() }; RESULTS.len()];
    let at = RESULTS.iter().position(|other| *other == results).expect("one of the results");
    EXPECTED[at].get_or_init(|| {
        let work = work_with_input();
        work.run(ALONE, &format!("{COMPUTE}{results}"), 0);
        bits(&work)
    })
}

fn bits(work: &Work) -> Vec<u64> {
    stored(work.path("out.h5"))
}

fn run_with(work: &Work, Failure { step, action, rank, ranks, results }: Failure, arguments: &str) -> Done {
    let count = STEPS.iter().find(|(name, ..)| *name == step).map_or(1, |(_, count, _)| *count);
    // checkpoints that write snapshots take in all tiles that have come meanwhile: there may be few
    let is_checkpoint = ["sync", "snapshot", "journal", "journalled"].contains(&step);
    let count = if is_checkpoint && results.contains("neighbors") { 1 } else { count };
    let point = format!("{step}:{rank}:{count}:{action}");
    work.program(ranks).env("PAIRDIST_FAIL_AT", &point).within(PATIENCE).run(&format!("{arguments}{results}"))
}

#[test]
fn a_run_that_failed_at_any_step_is_taken_up_with_other_ranks_and_gives_the_same_bytes() {
    for_all(&failures(), |&failure| {
        let work = work_with_input();
        let done = run_with(&work, failure, COMPUTE);
        match failure.action {
            "kill" => assert_ne!(done.code, 0, "{done}"),
            _ => assert_eq!(done.code, 1, "{done}"),
        }
        assert!(!work.path("out.h5").exists(), "{done}");
        let ranks = failure.ranks % 3 + 1;
        work.run(ranks, &format!("{COMPUTE}{} --resume --json run.json", failure.results), 0);
        assert_eq!(work.list(), ["out.h5", "run.json", "x.h5"]);
        assert!(bits(&work) == expected(failure.results), "other bytes");
        // what was done before is not done again
        let late = ["checksums", "last", "extend", "extended", "entries", "complete", "close", "rename"];
        let is_late = late.contains(&failure.step);
        let resumed = work.record()["resumed_pairs"].as_u64().expect("a number");
        let is_early = ["read", "create", "plan", "open"].contains(&failure.step);
        assert!(!is_late || resumed == 10_000, "{resumed} pairs resumed");
        assert!(!is_early || resumed == 0, "{resumed} pairs resumed");
    });
}

#[test]
fn a_plan_that_gets_no_memory_ends_in_one_sentence() {
    let work = Work::new();
    for (action, words) in [("error", "pairdist: told to fail at map\n"), ("panic", "please report it\n")] {
        let point = format!("map:0:1:{action}");
        let program = work.program(ALONE).env("PAIRDIST_FAIL_AT", &point);
        let done = program.within(PATIENCE).run("plan --samples 1000 --features 5");
        assert_eq!(done.code, 1, "{done}");
        assert!(done.stderr.ends_with(words) && done.stderr.lines().count() == 1, "{done}");
    }
}

#[test]
fn a_run_that_died_after_the_rename_is_complete() {
    for_all(&with_results(&[ALONE, 3]), |&(ranks, results)| {
        let work = work_with_input();
        let failure = Failure { step: "renamed", action: "kill", rank: 0, ranks, results };
        assert_ne!(run_with(&work, failure, COMPUTE).code, 0);
        assert_eq!(work.list(), ["out.h5", "out.h5.partial", "x.h5"]);
        let done = work.run(ranks, &format!("{COMPUTE}{results} --resume"), 0);
        assert!(done.stderr.contains("complete already"), "{done}");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
        assert!(bits(&work) == expected(results), "other bytes");
    });
}

/// Kills that a test asks for at least: `PAIRDIST_KILLS`, or a few.
fn kills() -> u32 {
    std::env::var("PAIRDIST_KILLS").map_or(4, |text| text.parse().expect("PAIRDIST_KILLS is a number"))
}

#[test]
fn runs_killed_at_random_end_with_the_same_bytes() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let x = random::<f64>(1200, 20, 1);
    let expected = RESULTS.map(|results| {
        let reference = Work::new();
        write(reference.path("x.h5"), &x);
        reference.run(ALONE, &format!("compute x.h5 -o out.h5{results}"), 0);
        bits(&reference)
    });
    let (mut killed, mut longest) = (0, Duration::ZERO);
    for run in 0.. {
        if killed >= kills() {
            break;
        }
        let (results, expected) = (RESULTS[run % RESULTS.len()], &expected[run % RESULTS.len()]);
        let work = Work::new();
        write(work.path("x.h5"), &x);
        loop {
            let started = SystemTime::now();
            let mut job = work.program(rng.random_range(1..=4)).start(&format!(
                "compute x.h5 -o out.h5 --tile 5 --checkpoint-interval 0.05 --resume{results}"
            ));
            // when this run has last written to a journal: what came after that is lost
            let checkpoint = || {
                let written =
                    fs::metadata(work.path("out.h5.partial/journal.0")).and_then(|meta| meta.modified());
                written.ok().filter(|time| *time > started).and_then(|time| time.elapsed().ok())
            };
            // at any time, or while it computes
            let anywhere = rng.random_range(0..3) == 0;
            while !anywhere && checkpoint().is_none() && job.is_running() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..if anywhere { 700 } else { 150 })));
            let lost = checkpoint();
            let ranks = job.ranks();
            if !ranks.is_empty() {
                // it may have ended meanwhile
                let _ = kill(ranks[rng.random_range(0..ranks.len())], Signal::SIGKILL);
            }
            let done = job.end_of_ranks();
            let is_killed = done.as_ref().is_none_or(|done| done.code != 0);
            if is_killed {
                killed += 1;
                longest = longest.max(lost.unwrap_or_default());
            }
            if work.path("out.h5").exists() {
                break;
            }
            assert!(is_killed, "{done:?}");
        }
        // a kill between the rename and the end leaves the folder, with the plan or without
        if work.path("out.h5.partial").exists() {
            let done = work.program(ALONE).run(&format!("compute x.h5 -o out.h5 --resume{results}"));
            assert!(done.code == 0 || done.stderr.contains("out.h5 exists"), "{done}");
        }
        assert!(bits(&work) == *expected, "other bytes");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
        // and the checksums of what was stored by any of the runs
        work.run(ALONE, "verify out.h5 --all", 0);
        work.run(2, &format!("compute x.h5 -o out.h5 --force --no-sync{results}"), 0);
        work.run(ALONE, "verify out.h5 --all", 0);
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    }
    println!("{killed} kills; the last checkpoint of rank 0, every 50 ms, was at most {longest:?} ago");
}

/// Errors or panics on the last of three ranks; who is killed says nothing.
fn speaking(action: &'static str) -> Vec<Failure> {
    let results = RESULTS[1];
    let steps = steps(results).filter(|(_, _, root_only)| !root_only);
    let steps = steps.filter(|(step, ..)| (*step, action) != ("compute", "error"));
    steps.map(|(step, ..)| Failure { step, action, rank: 2, ranks: 3, results }).collect()
}

#[test]
fn an_error_is_told_in_one_sentence_that_names_the_rank() {
    for_all(&speaking("error"), |&failure| {
        let done = run_with(&work_with_input(), failure, COMPUTE);
        let messages: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
        assert_eq!(messages.len(), 1, "{done}");
        let told = format!("told to fail at {}", failure.step);
        assert!(messages[0].contains("rank 2") && messages[0].ends_with(&told), "{done}");
    });
}

#[test]
fn a_panic_is_told_with_its_reason() {
    for_all(&speaking("panic"), |&failure| {
        let done = run_with(&work_with_input(), failure, COMPUTE);
        let told = format!("told to panic at {}", failure.step);
        let messages: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
        assert!(messages.iter().any(|line| line.contains("rank 2 on ") && line.contains(&told)), "{done}");
    });
}

#[test]
fn a_failure_while_reading_leaves_nothing_that_stands_in_the_way() {
    for_all(&["panic", "error", "kill"], |&action| {
        let work = work_with_input();
        let failure = Failure { step: "read", action, rank: 1, ranks: 2, results: "" };
        assert_ne!(run_with(&work, failure, COMPUTE).code, 0);
        // an error is orderly; who dies leaves the claim, and nothing else
        assert!(action != "error" || work.list() == ["x.h5"], "{:?}", work.list());
        let left = fs::read_dir(work.path("out.h5.partial")).into_iter().flatten();
        let mut left = left.map(|entry| entry.expect("an entry").file_name());
        assert!(left.all(|name| name == "lock" || name == "token"), "{action}");
        work.run(2, COMPUTE, 0);
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

#[test]
fn an_older_result_stays_until_the_new_one_is_complete() {
    for_all(&with_results(&["write", "complete"]), |&(step, results)| {
        let work = work_with_input();
        work.run(2, COMPUTE, 0);
        let older = fs::read(work.path("out.h5")).expect("a result");
        let failure = Failure { step, action: "kill", rank: 0, ranks: 2, results };
        assert_ne!(run_with(&work, failure, &format!("{COMPUTE} --force --metric cityblock")).code, 0);
        assert!(fs::read(work.path("out.h5")).expect("the older result") == older);
    });
}

#[test]
fn a_rank_that_finds_no_datasets_in_the_file_keeps_nobody_waiting() {
    let commands = ["compute x.h5 -o out.h5", "generate out.h5 --samples 20 --features 3"];
    let cases: Vec<_> = commands.into_iter().flat_map(|command| [(command, 0), (command, 2)]).collect();
    for_all(&cases, |&(arguments, rank)| {
        let work = work_with_input();
        let point = format!("opened:{rank}:1:error");
        let done = work.program(3).env("PAIRDIST_FAIL_AT", &point).within(PATIENCE).run(arguments);
        assert_eq!(done.code, 1, "{done}");
        assert!(done.stderr.contains("told to fail at opened"), "{done}");
        assert!(!work.path("out.h5").exists());
        // an unfinished run can be resumed, unfinished samples cannot
        assert_eq!(work.path("out.h5.partial").exists(), arguments.starts_with("compute"), "{done}");
    });
}

#[test]
fn a_failure_in_a_later_round_ends_the_job_too() {
    let work = work_with_input();
    let program = work.program(3).env("PAIRDIST_FAIL_AT", "write:1:20:error").within(PATIENCE);
    let done = program.run(COMPUTE);
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stderr.contains("told to fail at write"), "{done}");
}

/// A result of 32 MB, of which a rank with such a limit can write the first part only; the unit is 512 or 1024 bytes.
const LIMIT_OF_LAST_RANK: &str = "trap '' XFSZ
[ ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} = 0 ] || ulimit -f 20000
exec \"$@\"";

#[test]
fn a_tile_that_cannot_be_written_is_named_with_its_file() {
    for_all(&[2, 3], |&ranks| {
        let work = Work::new();
        write(work.path("x.h5"), &random::<f64>(2000, 2, 1));
        let program = work.program(ranks).through(LIMIT_OF_LAST_RANK).within(PATIENCE);
        let done = program.run("compute x.h5 -o out.h5 --tile 100");
        assert_eq!(done.code, 1, "{done}");
        let words = ["pairdist: rank ", "tile (", "cannot be written", "out.h5.partial/matrix.h5"];
        let is_told = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(done.stderr.lines().any(is_told), "{done}");
        assert!(!work.path("out.h5").exists());
    });
}

/// A result of 32 MB, to which HDF5 adds so much that the file cannot be made.
const LIMIT: &str = "exec prlimit --fsize=32000000 \"$@\"";

/// A result of 32 MB that is known not to fit.
const SMALL_LIMIT: &str = "exec prlimit --fsize=20000000 \"$@\"";

#[test]
fn a_file_that_cannot_be_made_ends_the_job_in_order() {
    let (early, late) = ((SMALL_LIMIT, "ulimit -f"), (LIMIT, "matrix.h5 cannot be created"));
    for_all(&[(early, ALONE), (early, 2), (late, ALONE), (late, 2)], |&((script, words), ranks)| {
        let work = Work::new();
        write(work.path("x.h5"), &random::<f64>(2000, 4, 1));
        let done =
            work.program(ranks).through(script).within(PATIENCE).run("compute x.h5 -o out.h5 --tile 100");
        assert_eq!(done.code, 1, "{done}");
        let is_told = |line: &str| line.starts_with("pairdist: ") && line.contains(words);
        assert!(done.stderr.lines().any(is_told), "{done}");
        let crash = ["SIGSEGV", "Segmentation", "panicked"].iter().find(|word| done.stderr.contains(**word));
        assert_eq!(crash, None, "{done}");
        assert!(!work.path("out.h5").exists(), "{done}");
    });
}

#[test]
fn a_second_run_on_the_same_name_is_refused() {
    let work = Work::new();
    let first = start_long_run(&work, 2);
    for (arguments, words) in [
        ("compute x.h5 -o out.h5", "another run is writing it"),
        ("compute x.h5 -o out.h5 --force", "is in use: another run is writing this result (process "),
        ("compute x.h5 -o out.h5 --resume", "is in use: another run is writing this result (process "),
    ] {
        let done = work.run(2, arguments, 1);
        assert!(done.stderr.contains(words), "{done}");
        assert!(work.path("out.h5.partial/matrix.h5").exists(), "{done}");
    }
    drop(first);
}

/// Waits until the ranks of a job write tiles, which they do for many seconds more: a million of them.
fn start_long_run(work: &Work, ranks: usize) -> Job {
    write(work.path("x.h5"), &random::<f64>(2000, 2, 1));
    let arguments = "compute x.h5 -o out.h5 --tile 2 --no-sync --checkpoint-interval 0.01";
    let mut job = work.program(ranks).start(arguments);
    let journalled = || fs::metadata(work.path("out.h5.partial/journal.0")).map_or(0, |meta| meta.len());
    while journalled() < 1000 {
        assert!(job.is_running(), "it ended before it could be killed: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    job
}

#[test]
fn a_rank_killed_from_outside_ends_the_job() {
    for_all(&[(0, ALONE), (0, 2), (2, 3)], |&(which, ranks)| {
        let work = Work::new();
        let job = start_long_run(&work, ranks);
        let processes = job.ranks();
        assert_eq!(processes.len(), ranks.max(1));
        kill(processes[which], Signal::SIGKILL).expect("the rank is running");
        let done = job.wait();
        assert_ne!(done.code, 0, "{done}");
        assert_eq!(work.list(), ["out.h5.partial", "x.h5"]);
    });
}

/// The launcher of these tests is itself under test: without it, a hang would not fail but hang.
#[test]
fn a_run_over_its_time_is_killed_with_all_its_ranks() {
    let work = Work::new();
    let deaf = "trap '' TERM; echo $$ > $$.pid; sleep 60";
    let outcome = work.program(2).through(deaf).within(Duration::from_secs(2)).start("").outcome();
    let text = outcome.expect_err("it is killed");
    assert!(text.starts_with("killed after 2s"), "{text}");
    let ranks = work.list();
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    for name in ranks {
        let id = name.trim_end_matches(".pid").parse().expect("a process number");
        assert!(!is_alive(id), "{name}");
    }
}
