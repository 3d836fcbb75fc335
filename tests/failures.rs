//! A rank that fails, panics or dies: the whole job ends, nothing gets the result's name, and the next run succeeds.

#![cfg(feature = "failpoints")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use common::launch::{ALONE, Done, Job, is_alive};
use common::samples::{random, write};
use common::{Work, for_all};
use nix::sys::signal::{Signal, kill};

/// A job must be over so soon after one of its ranks has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const COMPUTE: &str = "compute x.h5 -o out.h5 --tile 10";

/// A failure: at which step, how, on which rank of how many.
#[derive(Clone, Copy, Debug)]
struct Failure {
    step: &'static str,
    action: &'static str,
    rank: usize,
    ranks: usize,
}

/// Workers compute, and have no errors to return: there, only panics and deaths.
const FAILURES: [(&str, &str); 11] = [
    ("read", "panic"),
    ("read", "error"),
    ("read", "kill"),
    ("compute", "panic"),
    ("compute", "kill"),
    ("write", "panic"),
    ("write", "error"),
    ("write", "kill"),
    ("complete", "panic"),
    ("complete", "error"),
    ("complete", "kill"),
];

/// First and last rank of 1, 2 and 3.
const PLACES: [(usize, usize); 5] = [(0, ALONE), (0, 2), (1, 2), (0, 3), (2, 3)];

/// Every failure at two of the places; as 5 and 11 have no common factor, each step and action meet different ones.
fn failures() -> Vec<Failure> {
    let failure = |number: usize| {
        let ((step, action), (rank, ranks)) =
            (FAILURES[number % FAILURES.len()], PLACES[number % PLACES.len()]);
        Failure { step, action, rank, ranks }
    };
    (0..2 * FAILURES.len()).map(failure).collect()
}

/// Samples whose 10 × 10 tiles give every one of 3 ranks some to write.
fn work_with_input() -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(100, 5, 1));
    work
}

fn run_with(work: &Work, Failure { step, action, rank, ranks }: Failure, arguments: &str) -> Done {
    let point = format!("{step}:{rank}:1:{action}");
    work.program(ranks).env("PAIRDIST_FAIL_AT", &point).within(PATIENCE).run(arguments)
}

#[test]
fn a_failing_rank_ends_the_job_without_a_result_and_the_next_run_succeeds() {
    for_all(&failures(), |&failure| {
        let work = work_with_input();
        let done = run_with(&work, failure, COMPUTE);
        match failure.action {
            "kill" => assert_ne!(done.code, 0, "{done}"),
            _ => assert_eq!(done.code, 1, "{done}"),
        }
        assert!(!work.path("out.h5").exists(), "{done}");
        work.run(failure.ranks, &format!("{COMPUTE} --force"), 0);
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

/// Errors and panics; who is killed says nothing.
fn speaking(action: &str) -> Vec<Failure> {
    let steps = FAILURES.iter().filter(|failure| failure.1 == action);
    let failure = |&(step, action)| Failure { step, action, rank: 2, ranks: 3 };
    steps.map(failure).collect()
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
        assert!(done.stderr.contains(&format!("told to panic at {}", failure.step)), "{done}");
    });
}

#[test]
fn a_failure_while_reading_leaves_no_working_folder() {
    for_all(&["panic", "error", "kill"], |&action| {
        let work = work_with_input();
        let failure = Failure { step: "read", action, rank: 1, ranks: 2 };
        assert_ne!(run_with(&work, failure, COMPUTE).code, 0);
        assert_eq!(work.list(), ["x.h5"]);
    });
}

#[test]
fn an_older_result_stays_until_the_new_one_is_complete() {
    for_all(&["write", "complete"], |&step| {
        let work = work_with_input();
        work.run(2, COMPUTE, 0);
        let older = fs::read(work.path("out.h5")).expect("a result");
        let failure = Failure { step, action: "kill", rank: 0, ranks: 2 };
        assert_ne!(run_with(&work, failure, &format!("{COMPUTE} --force --metric cityblock")).code, 0);
        assert!(fs::read(work.path("out.h5")).expect("the older result") == older);
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

/// A result of 32 MB, of which not even the file can be made.
const LIMIT: &str = "trap '' XFSZ; ulimit -f 20000; exec \"$@\"";

#[test]
fn a_file_that_cannot_be_made_ends_the_job_in_order() {
    for_all(&[ALONE, 2], |&ranks| {
        let work = Work::new();
        write(work.path("x.h5"), &random::<f64>(2000, 4, 1));
        let done =
            work.program(ranks).through(LIMIT).within(PATIENCE).run("compute x.h5 -o out.h5 --tile 100");
        assert_eq!(done.code, 1, "{done}");
        assert!(done.stderr.lines().any(|line| line.starts_with("pairdist: ")), "{done}");
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
        ("compute x.h5 -o out.h5 --force", "is in use: another run is writing this result"),
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
    let mut job = work.program(ranks).start("compute x.h5 -o out.h5 --tile 2 --no-sync");
    let written = || fs::metadata(work.path("out.h5.partial/matrix.h5")).map_or(0, |meta| meta.blocks());
    while written() < 64 {
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
