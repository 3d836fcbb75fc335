//! Stopping on purpose, and taking up what was left.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::launch::{ALONE, Job, launcher_is_hydra};
use common::samples::{random, stored, write};
use common::{PRELOAD, Work, for_all, preloaded, with_results};
use nix::sys::signal::{Signal, kill};

/// So many tiles that they take seconds.
const LONG: &str = "compute x.h5 -o out.h5 --tile 2 --checkpoint-interval 0.01 --no-sync";

/// 12 × 12 tiles, one after the other in the journals.
const SHORT: &str = "compute x.h5 -o out.h5 --tile 5 --checkpoint-interval 0";

/// A blank folder with samples.
fn work_with(samples: usize) -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(samples, 3, 1));
    work
}

/// A folder with a run that was stopped before its first tile.
fn stopped(ranks: usize) -> Work {
    stopped_with(ranks, "")
}

/// Likewise, of a run that was asked for these results.
fn stopped_with(ranks: usize, results: &str) -> Work {
    let work = work_with(60);
    work.run(ranks, &format!("{SHORT}{results} --time-limit 00:00:00"), 75);
    work
}

fn bits(work: &Work) -> Vec<u64> {
    stored(work.path("out.h5"))
}

/// What an uninterrupted run of so many samples stores.
fn uninterrupted(samples: usize, results: &str) -> Vec<u64> {
    let work = work_with(samples);
    work.run(ALONE, &format!("compute x.h5 -o out.h5{results}"), 0);
    bits(&work)
}

/// A long run that has journalled some of its tiles.
fn start_long_run(work: &Work, ranks: usize, results: &str) -> Job {
    wait_for_journal(work, work.program(ranks).start(&format!("{LONG}{results}")))
}

fn wait_for_journal(work: &Work, mut job: Job) -> Job {
    while fs::metadata(work.path("out.h5.partial/journal.0")).map_or(0, |meta| meta.len()) < 1000 {
        assert!(job.is_running(), "it ended before it could be stopped: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    job
}

#[test]
fn a_signal_stops_the_run_and_resume_goes_on_with_other_ranks() {
    let cases =
        [(Signal::SIGTERM, ALONE), (Signal::SIGINT, ALONE), (Signal::SIGUSR1, 2), (Signal::SIGTERM, 3)];
    for_all(&with_results(&cases), |&((signal, ranks), results)| {
        let work = work_with(700);
        let job = start_long_run(&work, ranks, results);
        for rank in job.ranks() {
            kill(rank, signal).expect("the rank is running");
        }
        let done = job.wait();
        assert_eq!(done.code, 75, "{done}");
        assert!(done.stderr.contains("stopped by a signal") && done.stderr.contains("--resume"), "{done}");
        assert_eq!(work.list(), ["out.h5.partial", "x.h5"]);
        work.run(ranks % 3 + 1, &format!("{LONG}{results} --resume --json run.json"), 0);
        assert!(work.record()["resumed_pairs"].as_u64() > Some(0));
        assert!(bits(&work) == uninterrupted(700, results), "other bytes");
        assert_eq!(work.list(), ["out.h5", "run.json", "x.h5"]);
    });
}

#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let work = Work::new();
    // one tile, of a second and more
    write(work.path("x.h5"), &random::<f64>(3000, 2400, 1));
    let mut job =
        work.program(ALONE).start("compute x.h5 -o out.h5 --tile 3000 --threads 1 --metric cityblock");
    while !work.path("out.h5.partial/journal.0").exists() {
        assert!(job.is_running(), "it ended before it could be stopped: {}", job.wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    // it is through with its journal, and computes, which it does not begin when it has been told to stop
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..2 {
        kill(job.leader(), Signal::SIGINT).expect("it is running");
        std::thread::sleep(Duration::from_millis(100));
    }
    let done = job.wait();
    assert_eq!(done.code, 130, "{done}");
}

/// A library that installs signal handlers which end the process, as LLVM does; OpenCL drivers load LLVM.
const HANDLERS: &str = r"
#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(number == SIGUSR1 ? 0 : 3); }
__attribute__((constructor)) static void install(void) {
    int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
    for (int i = 0; i < 4; ++i) signal(numbers[i], end);
}
";

/// A library with a thread of its own, which is there before the program begins.
const THREAD: &str = r"
#include <pthread.h>
#include <unistd.h>
static void *sleep_on(void *unused) { for (;;) pause(); return unused; }
__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, 0, sleep_on, 0);
}
";

#[test]
fn signals_stop_the_run_whatever_a_library_has_installed() {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1];
    let cases: Vec<_> =
        signals.into_iter().flat_map(|signal| [(signal, HANDLERS), (signal, THREAD)]).collect();
    for_all(&cases, |&(signal, code)| {
        let work = work_with(700);
        preloaded(&work, code);
        let program = work.program(2).through(PRELOAD);
        let job = wait_for_journal(&work, program.start(LONG));
        job.ranks().into_iter().for_each(|rank| kill(rank, signal).expect("the rank is running"));
        let done = job.wait();
        assert_eq!(done.code, 75, "{done}");
        assert!(done.stderr.contains("stopped by a signal"), "{done}");
    });
}

#[test]
fn hwloc_is_told_to_leave_the_drivers_of_devices_alone() {
    // beside what the user has told it
    for_all(&[("", "-opencl"), ("-pci", "-pci,-opencl"), ("-opencl", "-opencl,-cuda")], |&(given, told)| {
        let work = work_with(700);
        let job = wait_for_journal(&work, work.program(ALONE).env("HWLOC_COMPONENTS", given).start(LONG));
        let environment = fs::read(format!("/proc/{}/environ", job.ranks()[0])).expect("a running rank");
        let expected = format!("HWLOC_COMPONENTS={told}");
        let mut entries = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        assert!(entries.any(|entry| entry.starts_with(&expected)), "{expected}");
    });
}

#[test]
fn an_interrupt_after_another_signal_leaves_the_orderly_end_alone() {
    let work = work_with(700);
    let job = start_long_run(&work, ALONE, "");
    // both are there when it goes on
    for signal in [Signal::SIGSTOP, Signal::SIGUSR1, Signal::SIGINT, Signal::SIGCONT] {
        kill(job.leader(), signal).expect("it is there");
    }
    let done = job.wait();
    assert_eq!(done.code, 75, "{done}");
}

#[test]
fn a_signal_to_the_launcher_stops_the_run_too() {
    let work = work_with(700);
    let job = start_long_run(&work, 2, "");
    kill(job.leader(), Signal::SIGUSR1).expect("the launcher is running");
    let done = job.wait();
    // MPICH's launcher may lose the ranks' exit codes when it has passed on a signal
    assert!(done.code == 75 || (done.code == 0 && launcher_is_hydra()), "{done}");
    assert!(done.stderr.contains("stopped by a signal"), "{done}");
    assert_eq!(work.list(), ["out.h5.partial", "x.h5"]);
}

#[test]
fn a_run_that_was_killed_between_the_two_steps_of_a_renaming_is_complete() {
    for_all(&with_results(&[ALONE, 3]), |&(ranks, results)| {
        let work = stopped_with(2, results);
        // where files cannot be renamed exclusively, the result is a link, and then the old name is removed
        let run = format!("{SHORT}{results} --resume");
        let matrix = work.path("out.h5.partial/matrix.h5");
        let saved = work.path("saved");
        fs::create_dir(&saved).expect("a folder");
        for name in ["plan.json", "lock", "journal.0", "journal.1"] {
            fs::copy(work.path("out.h5.partial").join(name), saved.join(name)).expect("a copy");
        }
        work.run(ranks, &run, 0);
        fs::rename(&saved, work.path("out.h5.partial")).expect("the folder again");
        fs::hard_link(work.path("out.h5"), &matrix).expect("a link");
        let before = bits(&work);
        let done = work.run(ranks, &run, 0);
        assert!(done.stderr.contains("complete already"), "{done}");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
        assert!(bits(&work) == before && before == uninterrupted(60, results), "other bytes");
    });
}

#[test]
fn a_run_whose_matrix_or_plan_is_gone_starts_over() {
    for_all(
        &[(ALONE, "matrix.h5"), (3, "matrix.h5"), (ALONE, "plan.json"), (3, "plan.json")],
        |&(ranks, file)| {
            let work = stopped(2);
            fs::remove_file(work.path("out.h5.partial").join(file)).expect("the file");
            let done = work.run(ranks, &format!("{SHORT} --resume"), 0);
            assert!(done.stderr.contains("something has removed it"), "{done}");
            assert_eq!(work.list(), ["out.h5", "x.h5"]);
            assert!(bits(&work) == uninterrupted(60, ""), "other bytes");
        },
    );
}

#[test]
fn a_run_whose_folder_is_removed_ends_at_its_next_checkpoint() {
    for_all(&[ALONE, 2], |&ranks| {
        let work = work_with(2000);
        let job = start_long_run(&work, ranks, "");
        // some file systems keep other names for open files, and so the folder
        let _ = fs::remove_dir_all(work.path("out.h5.partial"));
        let done = job.wait();
        assert_eq!(done.code, 1, "{done}");
        assert!(done.stderr.contains("was removed while the run wrote to it"), "{done}");
        assert!(!work.path("out.h5").exists());
    });
}

#[test]
fn a_slurm_job_that_has_ended_long_ago_limits_nothing() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = work_with(60);
        let done = work.program(ranks).env("SLURM_JOB_END_TIME", "1000").run(SHORT);
        assert_eq!(done.code, 0, "{done}");
        assert_eq!(done.stderr.matches("SLURM_JOB_END_TIME=1000 has passed").count(), 1, "{done}");
    });
}

#[test]
fn a_name_where_nothing_was_begun_is_told() {
    let work = stopped(2);
    let done = work.run(2, "compute x.h5 -o mistyped.h5 --resume", 0);
    assert!(done.stderr.contains("nothing to resume at mistyped.h5"), "{done}");
    let done = work.run(2, &format!("{SHORT} --resume"), 0);
    assert!(!done.stderr.contains("nothing to resume"), "{done}");
}

#[test]
fn the_time_limit_and_the_end_of_a_slurm_job_stop_the_run() {
    for_all(&with_results(&[ALONE, 1, 3]), |&(ranks, results)| {
        let work = stopped_with(ranks, results);
        work.run(2, &format!("{SHORT}{results} --resume"), 0);
        assert!(bits(&work) == uninterrupted(60, results), "other bytes");
        work.run(ALONE, "verify out.h5 --all", 0);
        // with a margin of a fifth of the seconds that are left; half a million tiles take more
        let work = work_with(2000);
        // the end is told when the program starts: a run may have waited long for its turn, and for its launcher
        let told = r#"SLURM_JOB_END_TIME=$(($(date +%s) + 15)) exec "$@""#;
        let done = work.program(ranks).through(told).run(LONG);
        assert_eq!(done.code, 75, "{done}");
        assert!(done.stderr.contains("at the time limit (SLURM_JOB_END_TIME)"), "{done}");
        let done = work.run(ranks, "compute x.h5 --no-output --time-limit 00:00:00", 75);
        assert!(done.stderr.contains("nothing is kept"), "{done}");
    });
}

#[test]
fn resume_starts_where_nothing_was_begun() {
    let work = work_with(60);
    work.run(2, &format!("{SHORT} --resume"), 0);
    assert!(bits(&work) == uninterrupted(60, ""), "other bytes");
    let before = fs::read(work.path("out.h5")).expect("a result");
    let done = work.run(3, "compute x.h5 -o out.h5 --resume", 0);
    assert!(done.stderr.contains("out.h5 is complete already"), "{done}");
    let done = work.run(2, "compute x.h5 -o out.h5 --resume --metric cityblock", 1);
    assert!(done.stderr.contains("another result: metric was euclidean and is cityblock"), "{done}");
    write(work.path("x.h5"), &random::<f64>(60, 3, 2));
    let done = work.run(2, "compute x.h5 -o out.h5 --resume", 1);
    assert!(done.stderr.contains("another result: the digest of"), "{done}");
    assert!(fs::read(work.path("out.h5")).expect("a result") == before);
}

#[test]
fn samples_may_have_moved() {
    let work = stopped(2);
    fs::rename(work.path("x.h5"), work.path("moved.h5")).expect("another name");
    work.run(1, "compute moved.h5 -o out.h5 --resume", 0);
    assert!(bits(&work) == uninterrupted(60, ""), "other bytes");
}

/// What is done to a stopped run, the options it is resumed with, and words of the refusal.
type Refusal = (&'static str, fn(&Work), &'static str, &'static [&'static str]);

fn nothing(_: &Work) {}

fn edit(work: &Work, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = work.path("out.h5.partial").join(file);
    let mut bytes = fs::read(&path).expect("a file of the run");
    change(&mut bytes);
    fs::write(path, bytes).expect("the changed file");
}

fn edit_plan(work: &Work, change: impl FnOnce(&mut serde_json::Value)) {
    edit(work, "plan.json", |bytes| {
        let mut plan = serde_json::from_slice(bytes).expect("a plan");
        change(&mut plan);
        *bytes = plan.to_string().into_bytes();
    });
}

const REFUSALS: &[Refusal] = &[
    ("another metric", nothing, "--metric cityblock", &["metric was euclidean and is cityblock"]),
    ("another kernel", nothing, "--kernel gemm", &["kernel was direct and is gemm"]),
    ("another type", nothing, "--dtype f32", &["dtype was f64 and is f32"]),
    ("another tile", nothing, "--tile 6", &["tile was 5 and is 6"]),
    ("two inputs", nothing, "--against x.h5", &["the number of inputs was 1 and is 2"]),
    (
        "another arithmetic",
        |work| edit_plan(work, |plan| plan["arithmetic"] = 77.into()),
        "",
        &["the version of the arithmetic was 77 and is "],
    ),
    (
        "a plan that does not say its arithmetic",
        |work| edit_plan(work, |plan| drop(plan.as_object_mut().expect("an object").remove("arithmetic"))),
        "",
        &["the version of the arithmetic was 1 and is "],
    ),
    (
        "more samples",
        |work| write(work.path("x.h5"), &random::<f64>(61, 3, 1)),
        "",
        &["the number of samples of X was 60 and is 61"],
    ),
    (
        "other samples",
        |work| write(work.path("x.h5"), &random::<f64>(60, 3, 2)),
        "",
        &["the digest of ", "x.h5 was ", " and is "],
    ),
    (
        "a damaged plan",
        |work| edit(work, "plan.json", |bytes| bytes.truncate(100)),
        "",
        &["plan", "is damaged"],
    ),
    (
        "a changed plan",
        |work| edit(work, "plan.json", |bytes| bytes.push(b' ')),
        "",
        &["journal.0 does not belong to this run"],
    ),
    (
        "a truncated matrix",
        |work| edit(work, "matrix.h5", |bytes| bytes.truncate(bytes.len() - 1)),
        "",
        &["matrix.h5", "is truncated"],
    ),
    (
        "another matrix",
        |work| {
            work.run(ALONE, "compute x.h5 -o other.h5 --tile 5 --metric chebyshev", 0);
            fs::rename(work.path("other.h5"), work.path("out.h5.partial/matrix.h5")).expect("a matrix");
        },
        "",
        &["matrix.h5 is not the matrix of its plan"],
    ),
    (
        "a matrix without its checksums",
        |work| {
            common::samples::edit(work.path("out.h5.partial/matrix.h5"), |file| {
                file.unlink("tile_checksums")
            });
        },
        "",
        &["matrix.h5 is not the matrix of its plan", "tile_checksums"],
    ),
];

#[test]
fn what_does_not_fit_is_not_resumed() {
    for_all(REFUSALS, |(name, change, options, words)| {
        let work = stopped(2);
        change(&work);
        let before = work.list();
        for ranks in [ALONE, 3] {
            let done = work.run(ranks, &format!("compute x.h5 -o out.h5 --resume {options}"), 1);
            let messages: Vec<_> =
                done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
            assert_eq!(messages.len(), 1, "{name}: {done}");
            assert!(words.iter().all(|word| messages[0].contains(word)), "{name}: {done}");
            assert_eq!(work.list(), before, "{name}");
        }
        work.run(2, &format!("compute x.h5 -o out.h5 --force {options}"), 0);
    });
}

/// Bytes of a block in a journal.
#[cfg(feature = "failpoints")]
const BLOCK: usize = 64;

/// A run that was killed with every tile in its journals.
#[cfg(feature = "failpoints")]
fn journalled(ranks: usize, results: &str) -> Work {
    let work = work_with(60);
    let program = work.program(ranks).env("PAIRDIST_FAIL_AT", "checksums:0:1:kill");
    let done = program.run(&format!("{SHORT}{results}"));
    assert_ne!(done.code, 0, "{done}");
    work
}

#[cfg(feature = "failpoints")]
#[test]
fn what_open_mpi_leaves_of_a_killed_run_goes_with_it() {
    for_all(&["--resume", "--force"], |how| {
        let work = journalled(2, "");
        for name in ["matrix.h5-1573073591-2016.lock", "matrix.h5.locktest.1"] {
            std::fs::write(work.path("out.h5.partial").join(name), "").expect("a file");
        }
        let done = work.run(2, &format!("{SHORT} {how}"), 0);
        assert!(!work.path("out.h5.partial").exists(), "{done}");
    });
}

/// What is done to a journal, and the tiles that are lost.
#[cfg(feature = "failpoints")]
type Damage = (&'static str, fn(&mut Vec<u8>), u64);

#[cfg(feature = "failpoints")]
#[test]
fn damaged_entries_of_a_journal_cost_their_tiles_only() {
    // entries of 25 distances, or twice as many with their mirror images; of the 78 tiles, each rank has more than two
    let cases: [Damage; 4] = [
        ("nothing", |_| {}, 0),
        ("a flipped bit", |bytes| bytes[2 * BLOCK + 9] ^= 4, 1),
        ("a torn tail", |bytes| bytes.truncate(bytes.len() - 3), 1),
        ("two blocks exchanged with noise", |bytes| bytes[BLOCK..3 * BLOCK].fill(0xa5), 2),
    ];
    for_all(&with_results(&cases), |&((name, change, lost), results)| {
        let work = journalled(3, results);
        edit(&work, "journal.1", change);
        let info = work.run(ALONE, "info out.h5", 0);
        assert!(info.stdout.contains("not finished") && info.stdout.contains("journals     3"), "{info}");
        work.run(2, &format!("{SHORT}{results} --resume --json run.json"), 0);
        let redone = 3600 - work.record()["resumed_pairs"].as_u64().expect("a number");
        // a tile and its mirror image may have an entry each
        let least = if results.is_empty() { lost } else { lost.min(1) };
        assert!((25 * least..=50 * lost).contains(&redone), "{name}: {redone} pairs were computed again");
        assert!(bits(&work) == uninterrupted(60, results), "{name}: other bytes");
    });
}

/// Resumes a run with two ranks, of which one is killed at a step.
#[cfg(feature = "failpoints")]
fn resume_and_kill(work: &Work, point: &str, run: &str) {
    let done = work.program(2).env("PAIRDIST_FAIL_AT", point).run(&format!("{run} --resume"));
    assert_ne!(done.code, 0, "{done}");
}

#[cfg(feature = "failpoints")]
#[test]
fn halves_of_a_tile_from_before_and_after_a_resume_do_not_make_it_complete() {
    let results = " --neighbors 4";
    let run = format!("{SHORT}{results}");
    let partial = |work: &Work, name: &str| work.path("out.h5.partial").join(name);
    // killed before any mirror image was journalled
    let work = journalled(2, results);
    for journal in ["journal.0", "journal.1"] {
        edit(&work, journal, |bytes| {
            let kept = bytes.chunks(BLOCK).enumerate().filter(|(at, block)| *at == 0 || block[7] < 0x80);
            *bytes = kept.flat_map(|(_, block)| block.to_vec()).collect();
        });
    }
    // resumed: what rank 1 has on the disk before it finishes its first tile
    let copy = work_with(60);
    fs::create_dir(copy.path("out.h5.partial")).expect("a folder");
    for entry in fs::read_dir(work.path("out.h5.partial")).expect("the folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path("out.h5.partial").join(entry.file_name())).expect("a copy");
    }
    resume_and_kill(&copy, "compute:1:1:kill", &run);
    // killed when rank 0 has journalled everything, and rank 1 nothing since the resume
    resume_and_kill(&work, "checksums:0:1:kill", &run);
    for name in ["journal.1", "lists.1.1"] {
        fs::copy(partial(&copy, name), partial(&work, name)).expect("a copy");
    }
    work.run(3, &format!("{run} --resume --json run.json"), 0);
    let resumed = work.record()["resumed_pairs"].as_u64().expect("a number");
    assert!(resumed > 0 && resumed < 3600, "{resumed} pairs resumed");
    assert!(bits(&work) == uninterrupted(60, results), "other bytes");
}

/// What is done to a file of a run.
#[cfg(feature = "failpoints")]
type Harm = (&'static str, fn(&mut Vec<u8>));

#[cfg(feature = "failpoints")]
#[test]
fn lists_and_pieces_that_are_damaged_or_gone_are_not_believed() {
    let cases: [Harm; 4] = [
        ("a flipped bit", |bytes| bytes[200] ^= 1),
        ("a torn end", |bytes| bytes.truncate(bytes.len() - 9)),
        ("a torn header", |bytes| bytes.truncate(20)),
        ("nothing in it", Vec::clear),
    ];
    let kinds = [("lists.0.1", " --neighbors 4"), ("spool.0.1", " --radius 0.6")];
    let cases: Vec<_> = cases.into_iter().flat_map(|harm| kinds.map(|kind| (harm, kind))).collect();
    for_all(&cases, |&((name, damage), (file, results))| {
        let run = format!("{SHORT}{results}");
        let work = journalled(2, results);
        edit(&work, file, damage);
        for ranks in [ALONE, 3] {
            let done = work.run(ranks, &format!("{run} --resume"), 1);
            let told = done.stderr.lines().filter(|line| line.contains("start over with --force")).count();
            assert_eq!(told, 1, "{name}: {done}");
        }
        work.run(2, &format!("{run} --force"), 0);
        assert!(bits(&work) == uninterrupted(60, results), "{name}: other bytes");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

/// A run that was killed when the arrays of a radius were there, and nothing in them.
#[cfg(feature = "failpoints")]
fn killed_at_the_end() -> Work {
    let work = work_with(60);
    let point = work.program(2).env("PAIRDIST_FAIL_AT", "extended:0:1:kill");
    let done = point.run(&format!("{SHORT} --matrix --radius 0.6"));
    assert_ne!(done.code, 0, "{done}");
    work
}

/// What is done to a run, and what it is told.
#[cfg(feature = "failpoints")]
type Broken = (&'static str, fn(&Work), &'static str);

#[cfg(feature = "failpoints")]
#[test]
fn a_matrix_that_changed_when_its_last_arrays_were_made_is_refused() {
    let cases: [Broken; 5] = [
        ("truncated", |work| edit(work, "matrix.h5", |bytes| bytes.truncate(30_000)), "not whole any more"),
        ("another", |work| edit(work, "matrix.h5", |bytes| bytes.fill(7)), "is not the matrix of its plan"),
        ("damaged", |work| edit(work, "undo", |bytes| bytes[100] ^= 1), "undo is damaged"),
        ("torn", |work| edit(work, "undo", |bytes| bytes.truncate(90)), "undo is damaged"),
        (
            "none",
            |work| fs::remove_file(work.path("out.h5.partial/undo")).expect("it is there"),
            "(undo) is gone",
        ),
    ];
    for_all(&cases, |&(name, change, words)| {
        let work = killed_at_the_end();
        change(&work);
        for ranks in [ALONE, 3] {
            let done = work.run(ranks, &format!("{SHORT} --matrix --radius 0.6 --resume"), 1);
            assert!(done.stderr.contains(words) && done.stderr.contains("--force"), "{name}: {done}");
        }
    });
    let work = killed_at_the_end();
    work.run(3, &format!("{SHORT} --matrix --radius 0.6 --resume"), 0);
    assert!(bits(&work) == uninterrupted(60, " --matrix --radius 0.6"), "other bytes");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_that_puts_its_pieces_together_can_be_stopped() {
    for_all(&[ALONE, 3], |&ranks| {
        let work = work_with(60);
        let run = format!("{SHORT} --radius 0.6");
        let mut job = work.program(ranks).env("PAIRDIST_FAIL_AT", "entries:0:1:slow").start(&run);
        while !work.path("out.h5.partial/undo").exists() {
            assert!(job.is_running(), "it ended before it could be stopped: {}", job.wait());
            std::thread::sleep(Duration::from_millis(1));
        }
        for rank in job.ranks() {
            kill(rank, Signal::SIGTERM).expect("a rank");
        }
        let done = job.wait();
        assert_eq!(done.code, 75, "{done}");
        assert!(done.stderr.contains("stopped by a signal, with 100.0 % done"), "{done}");
        work.run(2, &format!("{run} --resume"), 0);
        assert!(bits(&work) == uninterrupted(60, " --radius 0.6"), "other bytes");
        assert_eq!(work.list(), ["out.h5", "x.h5"]);
    });
}

#[cfg(feature = "failpoints")]
#[test]
fn a_tile_that_is_journalled_twice_counts_once() {
    for_all(&with_results(&[1, 3]), |&(ranks, results)| {
        let work = journalled(2, results);
        edit(&work, "journal.0", |bytes| bytes.extend_from_within(BLOCK..2 * BLOCK));
        let journal = work.path("out.h5.partial/journal.1");
        fs::copy(journal, work.path("out.h5.partial/journal.7")).expect("a copy");
        let told = work.run(ALONE, "info out.h5", 0);
        assert!(told.stdout.contains("not finished: 100.0 % of the distances are there"), "{told}");
        work.run(ranks, &format!("{SHORT}{results} --resume --json run.json"), 0);
        assert_eq!(work.record()["resumed_pairs"], 3600);
        assert!(bits(&work) == uninterrupted(60, results), "other bytes");
        assert_eq!(work.list(), ["out.h5", "run.json", "x.h5"]);
    });
}

#[test]
fn a_rank_that_has_outlived_its_run_keeps_its_journal() {
    let work = stopped(2);
    let journal = fs::File::open(work.path("out.h5.partial/journal.1")).expect("a journal");
    journal.try_lock().expect("nobody has it");
    for option in ["--resume", "--force"] {
        let done = work.run(3, &format!("{SHORT} {option}"), 1);
        assert!(done.stderr.contains("journal.1 is in use"), "{done}");
        assert_eq!(work.list(), ["out.h5.partial", "x.h5"]);
    }
    drop(journal);
    work.run(3, &format!("{SHORT} --resume"), 0);
}

/// File locks as NFS has them: exclusive ones only for who may write.
const LOCKS_OF_NFS: &str = r"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
int flock(int file, int operation) {
    if ((operation & LOCK_EX) && (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return syscall(SYS_flock, file, operation);
}
";

#[test]
fn a_journal_in_use_is_known_on_nfs_too() {
    let work = stopped(2);
    preloaded(&work, LOCKS_OF_NFS);
    let journal = fs::File::open(work.path("out.h5.partial/journal.1")).expect("a journal");
    journal.try_lock().expect("nobody has it");
    let done = work.program(3).through(PRELOAD).run(&format!("{SHORT} --resume"));
    assert!(done.code == 1 && done.stderr.contains("journal.1 is in use"), "{done}");
    drop(journal);
    let done = work.program(3).through(PRELOAD).run(&format!("{SHORT} --resume"));
    assert_eq!(done.code, 0, "{done}");
}

#[test]
fn a_run_that_replaces_a_result_is_taken_up() {
    let work = work_with(60);
    work.run(2, &format!("{SHORT} --metric cityblock"), 0);
    let older = bits(&work);
    work.run(2, &format!("{SHORT} --force --time-limit 00:00:00"), 75);
    assert!(bits(&work) == older, "the older result has changed");
    for (name, metric) in [("out.h5", "cityblock"), ("out.h5.partial", "euclidean")] {
        let told = work.run(ALONE, &format!("info {name}"), 0);
        assert!(told.stdout.contains(metric), "{told}");
    }
    work.run(2, &format!("{SHORT} --resume"), 0);
    assert!(bits(&work) == uninterrupted(60, ""), "other bytes");
}

#[test]
fn info_tells_how_far_an_unfinished_run_is() {
    let work = stopped(2);
    for name in ["out.h5", "out.h5.partial", "out.h5.partial/"] {
        let done = work.run(ALONE, &format!("info {name}"), 0);
        for words in ["0.0 %", "journals     2", "60 x 60", "euclidean", "resume with  ", "--resume"] {
            assert!(done.stdout.contains(words), "no {words}: {done}");
        }
    }
}

#[test]
fn a_result_has_the_permissions_that_the_umask_leaves() {
    for_all(&[("077", 0o600), ("022", 0o644)], |&(umask, mode)| {
        let work = work_with(60);
        let script = format!("umask {umask}; exec \"$@\"");
        let done = work.program(2).through(&script).run(SHORT);
        assert_eq!(done.code, 0, "{done}");
        let permissions = fs::metadata(work.path("out.h5")).expect("a result").permissions();
        assert_eq!(permissions.mode() & 0o777, mode);
    });
}
