//! `generate`: what is left when it is stopped, killed or runs out of space, and samples that are larger than one write may be.

mod common;

use std::fs;
use std::time::Duration;

use common::launch::{ALONE, Done, Job};
use common::samples::{create, random, write};
use common::{PRELOAD, Work, for_all, preloaded};
use hdf5::File;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Samples of 2 GB.
const LONG: &str = "generate x.h5 --samples 5000000 --features 100 --dtype f32 --distribution normal";

/// Samples of 160 MB: ten writes.
const TEN_WRITES: &str = "generate x.h5 --samples 400000 --features 100 --dtype f32";

/// Samples of 32 MB.
const MEDIUM: &str = "generate x.h5 --samples 4000 --features 1000";

/// Samples of a few bytes.
const SHORT: &str = "generate x.h5 --samples 20 --features 3";

/// Makes every write of a run take longer, so that it does not end before it is stopped, on any machine.
const SLOWLY: (&str, &str) = ("PAIRDIST_FAIL_AT", "write:0:1:slow");

/// A long run that writes its samples.
fn started(work: &Work, ranks: usize) -> Job {
    let mut job = work.program(ranks).env(SLOWLY.0, SLOWLY.1).start(LONG);
    // the ranks have met, and rank 0 has made the file
    while !work.path("x.h5.partial/token").exists() {
        assert!(job.is_running(), "it ended before it could be stopped: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    job
}

/// A folder with what a killed run leaves.
fn killed(ranks: usize) -> Work {
    let work = Work::new();
    let job = started(&work, ranks);
    job.ranks().into_iter().for_each(|rank| kill(rank, Signal::SIGKILL).expect("the rank is running"));
    assert_ne!(job.wait().code, 0);
    assert_eq!(work.list(), ["x.h5.partial"]);
    work
}

fn sentences(done: &Done) -> Vec<&str> {
    done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect()
}

#[test]
fn a_signal_leaves_nothing_and_the_same_command_then_succeeds() {
    let cases =
        [(Signal::SIGTERM, ALONE), (Signal::SIGINT, ALONE), (Signal::SIGUSR1, 2), (Signal::SIGTERM, 3)];
    for_all(&cases, |&(signal, ranks)| {
        let work = Work::new();
        let job = started(&work, ranks);
        job.ranks().into_iter().for_each(|rank| kill(rank, signal).expect("the rank is running"));
        let done = job.wait();
        assert_eq!(done.code, 75, "{done}");
        let told = sentences(&done);
        assert!(
            told.len() == 1 && told[0].contains("stopped by a signal before x.h5 was complete"),
            "{done}"
        );
        assert!(work.list().is_empty(), "{:?} is left: {done}", work.list());
        work.run(ranks, SHORT, 0);
    });
}

#[test]
fn a_signal_to_one_rank_stops_all() {
    let work = Work::new();
    let job = started(&work, 3);
    kill(job.ranks()[1], Signal::SIGTERM).expect("the rank is running");
    let done = job.wait();
    assert_eq!((done.code, sentences(&done).len()), (75, 1), "{done}");
    assert!(work.list().is_empty(), "{:?} is left: {done}", work.list());
}

#[test]
fn after_an_interrupt_of_the_launcher_the_same_command_succeeds() {
    let work = Work::new();
    let job = started(&work, 3);
    kill(job.leader(), Signal::SIGINT).expect("the launcher is running");
    let done = job.wait();
    assert_ne!(done.code, 0, "{done}");
    // the launcher kills ranks that take long to tidy up
    assert!(!work.path("x.h5").exists(), "{done}");
    work.run(3, SHORT, 0);
    assert_eq!(work.list(), ["x.h5"]);
}

#[test]
fn what_a_killed_run_leaves_is_no_obstacle_to_the_next() {
    for_all(&[(ALONE, 3), (3, ALONE)], |&(ranks, next)| {
        let work = killed(ranks);
        work.run(next, SHORT, 0);
        assert_eq!(work.list(), ["x.h5"]);
    });
}

#[test]
fn a_run_that_is_at_work_is_left_alone() {
    let work = Work::new();
    let job = started(&work, 2);
    // it must not end meanwhile
    job.ranks().into_iter().for_each(|rank| kill(rank, Signal::SIGSTOP).expect("the rank is running"));
    for ranks in [ALONE, 3] {
        let done = work.run(ranks, SHORT, 1);
        assert!(done.stderr.contains("is in use: another run is writing this result (process "), "{done}");
        assert!(work.path("x.h5.partial/samples.h5").exists(), "{done}");
    }
    drop(job);
}

#[test]
fn an_unfinished_run_of_compute_is_left_alone_and_the_way_out_works() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = Work::new();
        write(work.path("in.h5"), &random::<f64>(60, 3, 1));
        work.run(2, "compute in.h5 -o x.h5 --tile 5 --time-limit 00:00:00", 75);
        let before = fs::read(work.path("x.h5.partial/plan.json")).expect("a plan");
        let done = work.run(ranks, SHORT, 1);
        let told = "x.h5.partial belongs to a run of compute that has not finished; choose another name";
        assert!(done.stderr.contains(told), "{done}");
        assert!(fs::read(work.path("x.h5.partial/plan.json")).expect("the plan") == before);
        work.run(ranks, &SHORT.replace("x.h5", "other.h5"), 0);
        work.run(ranks, "compute in.h5 -o x.h5 --tile 5 --resume", 0);
    });
}

/// A file system without locks, such as Lustre without `flock`.
const NO_LOCKS: &str = r"
#include <errno.h>
int flock(int file, int operation) {
    errno = ENOSYS;
    return -1;
}
";

#[test]
fn where_locks_cannot_tell_whether_another_run_is_at_work_its_folder_is_left_alone() {
    let work = killed(ALONE);
    preloaded(&work, NO_LOCKS);
    let done = work.program(2).through(PRELOAD).run(SHORT);
    assert_eq!(done.code, 1, "{done}");
    assert!(
        done.stderr.contains("cannot be locked") && done.stderr.contains("remove it if none is"),
        "{done}"
    );
    assert!(work.path("x.h5.partial/samples.h5").exists());
    fs::remove_dir_all(work.path("x.h5.partial")).expect("the folder");
    let done = work.program(2).through(PRELOAD).run(SHORT);
    assert_eq!(done.code, 0, "{done}");
}

/// Bytes that a process has written, once it is there.
fn written(process: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let bytes = text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
    bytes.unwrap_or(0)
}

/// A file system whose locks are seen on one node only, as with Lustre's localflock.
const LOCKS_OF_A_NODE: &str = r"
int flock(int file, int operation) { return 0; }
";

#[test]
fn a_run_whose_folder_another_node_took_over_publishes_nothing() {
    let work = Work::new();
    preloaded(&work, LOCKS_OF_A_NODE);
    let mut job = work.program(ALONE).env(SLOWLY.0, SLOWLY.1).through(PRELOAD).start(TEN_WRITES);
    // MPI may crash where a folder vanishes while it opens a file there
    while job.ranks().into_iter().all(|rank| written(rank) < 16_000_000) {
        assert!(job.is_running(), "it ended before it could be stopped: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    let ranks = job.ranks();
    for rank in &ranks {
        kill(*rank, Signal::SIGSTOP).expect("the rank is running");
    }
    let other = work.program(ALONE).through(PRELOAD).run(SHORT);
    assert_eq!(other.code, 0, "{other}");
    let before = fs::read(work.path("x.h5")).expect("the samples of the other run");
    for rank in &ranks {
        kill(*rank, Signal::SIGCONT).expect("the rank is there");
    }
    let done = job.wait();
    assert_eq!(done.code, 1, "{done}");
    assert!(fs::read(work.path("x.h5")).expect("the samples") == before, "{done}");
}

#[test]
fn a_limit_of_file_sizes_is_named_and_nothing_is_left() {
    // samples that do not fit, and some that fit without the bytes that HDF5 adds
    for_all(
        &[("20000000", "ulimit -f"), ("32000000", "x.h5.partial/samples.h5 cannot be created")],
        |&(limit, words)| {
            for ranks in [ALONE, 3] {
                let work = Work::new();
                let script = format!("exec prlimit --fsize={limit} \"$@\"");
                let done = work.program(ranks).through(&script).run(MEDIUM);
                assert_eq!(done.code, 1, "{done}");
                assert!(sentences(&done).len() == 1 && sentences(&done)[0].contains(words), "{done}");
                assert!(work.list().is_empty(), "{:?} is left: {done}", work.list());
            }
        },
    );
}

/// A file system whose quota is used up: space can neither be reserved nor written.
const NO_QUOTA: &str = r"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/types.h>
int fallocate(int file, int mode, off_t offset, off_t len) {
    errno = EDQUOT;
    return -1;
}
int fallocate64(int file, int mode, off64_t offset, off64_t len) { return fallocate(file, mode, offset, len); }
";

#[test]
fn space_that_cannot_be_reserved_is_told_with_its_cause_and_nothing_is_left() {
    for command in [MEDIUM, "compute in.h5 -o x.h5"] {
        for_all(&[ALONE, 3], |&ranks| {
            let work = Work::new();
            write(work.path("in.h5"), &random::<f64>(60, 3, 1));
            preloaded(&work, NO_QUOTA);
            let done = work.program(ranks).through(PRELOAD).run(command);
            assert_eq!(done.code, 1, "{done}");
            let told = sentences(&done);
            let words = ["disk space cannot be reserved", "make room", "quota exceeded"];
            assert!(told.len() == 1 && words.iter().all(|word| told[0].contains(word)), "{done}");
            assert_eq!(work.list(), ["in.h5", "preloaded.c", "preloaded.so"], "{done}");
        });
    }
}

#[test]
fn the_space_of_the_samples_is_reserved_before_any_is_written() {
    use std::os::unix::fs::MetadataExt;
    let work = Work::new();
    let job = started(&work, ALONE);
    let reserved = 512 * fs::metadata(work.path("x.h5.partial/samples.h5")).expect("the file").blocks();
    assert!(reserved >= 2_000_000_000, "{reserved}");
    drop(job);
}

#[test]
fn a_sample_larger_than_2_gib_is_written_within_little_memory() {
    let work = Work::new();
    // values that are known, from samples of which they are the beginning
    work.run(ALONE, "generate small.h5 --samples 1 --features 100 --seed 5", 0);
    let (features, address_space) = (270_000_000, "ulimit -v 1500000; exec \"$@\"");
    let program = work.program(2).through(address_space).within(Duration::from_secs(300));
    let done = program.run(&format!("generate x.h5 --samples 1 --features {features} --seed 5"));
    assert_eq!(done.code, 0, "{done}");
    let values = |name: &str, range: std::ops::Range<usize>| {
        let file = File::open(work.path(name)).expect("samples");
        let samples = file.dataset("samples").expect("a dataset");
        samples.read_slice_2d::<f64, _>((.., range)).expect("values").into_raw_vec_and_offset().0
    };
    assert_eq!(values("x.h5", 0..100), values("small.h5", 0..100));
    let last = values("x.h5", features - 100..features);
    assert!(last.iter().all(|value| *value > 0.0 && *value < 1.0), "{last:?}");
}

#[test]
fn a_file_that_is_in_the_way_is_kept() {
    let work = Work::new();
    create(work.path("x.h5"), |_| Ok(()));
    let before = fs::read(work.path("x.h5")).expect("a file");
    let done = work.run(2, SHORT, 1);
    assert!(done.stderr.contains("x.h5 exists; remove it, or choose another name"), "{done}");
    assert!(fs::read(work.path("x.h5")).expect("a file") == before);
}
