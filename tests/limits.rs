//! Limits of memory and threads that a shell or a batch system sets for each process.

mod common;

use std::time::Duration;

use common::launch::{ALONE, Done, launcher_is_hydra};
use common::samples::{random, write};
use common::{PRELOAD, Work, for_all, preloaded};

fn work_with(samples: usize) -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(samples, 3, 1));
    work
}

fn sentences(done: &Done) -> Vec<&str> {
    done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect()
}

fn limited(work: &Work, ranks: usize, limit: &str, backtrace: &str, arguments: &str) -> Done {
    let script = format!("ulimit {limit}; exec \"$@\"");
    let program = work.program(ranks).through(&script).env("RUST_BACKTRACE", backtrace);
    program.within(Duration::from_secs(40)).run(arguments)
}

/// A tile has 72 MB. The tile buffers of a rank take more than 1.3 GB.
const LARGE: &str = "compute x.h5 -o out.h5 --tile 3000 --threads 8";

#[test]
fn a_run_that_does_not_fit_the_limit_of_its_process_is_refused_in_one_sentence() {
    let limits = [("-v 1000000", "ulimit -v"), ("-d 700000", "ulimit -d")];
    let cases: Vec<_> = limits.into_iter().flat_map(|limit| [(limit, ALONE), (limit, 3)]).collect();
    for_all(&cases, |&((limit, words), ranks)| {
        for backtrace in ["0", "1"] {
            let work = work_with(20_000);
            let done = limited(&work, ranks, limit, backtrace, LARGE);
            assert_eq!(done.code, 1, "{done}");
            let told = sentences(&done);
            assert!(
                told.len() == 1 && told[0].contains(words) && told[0].contains("raise the limit"),
                "{done}"
            );
            assert_eq!(work.list(), ["x.h5"], "{done}");
        }
    });
}

#[test]
fn under_any_limit_of_addresses_a_run_succeeds_or_ends_with_a_reason() {
    // KiB: Open MPI 4.1.4 alone takes 112,000; what it says where it has less is its own
    let limits = [60_000, 90_000, 120_000, 130_000, 150_000, 200_000, 250_000, 300_000, 450_000];
    // in the least of them, the libraries that MPICH comes with cannot be loaded
    for_all(&limits[usize::from(launcher_is_hydra())..], |&limit| {
        for (ranks, backtrace) in [(ALONE, "0"), (ALONE, "1"), (3, "1")] {
            let work = work_with(600);
            let limit = format!("-v {limit}");
            let done = limited(&work, ranks, &limit, backtrace, "compute x.h5 -o out.h5 --threads 2");
            assert!(!done.stderr.contains("internal error"), "{done}");
            assert_eq!(work.path("out.h5").exists(), done.code == 0, "{done}");
        }
    });
}

#[test]
fn small_runs_fit_small_limits_of_addresses() {
    // with threads whose allocators reserve 64 MiB each, Open MPI crashed or ran out of addresses, at one limit and not at the next
    let limits: &[u32] =
        if launcher_is_hydra() { &[1_000_000] } else { &[200_000, 250_000, 300_000, 450_000] };
    for_all(limits, |limit| {
        for ranks in [ALONE, 3] {
            let work = work_with(600);
            let done =
                limited(&work, ranks, &format!("-v {limit}"), "1", "compute x.h5 -o out.h5 --threads 2");
            assert_eq!(done.code, 0, "{done}");
            let done =
                limited(&work, ranks, &format!("-v {limit}"), "1", "generate y.h5 --samples 9 --features 2");
            assert_eq!(done.code, 0, "{done}");
        }
    });
}

#[test]
fn a_plan_whose_measurement_does_not_fit_is_refused_in_one_sentence() {
    for_all(&["0", "1"], |backtrace| {
        let done = limited(&work_with(600), ALONE, "-v 80000", backtrace, "plan x.h5");
        assert_eq!(done.code, 1, "{done}");
        let told = sentences(&done);
        assert!(told.len() == 1 && told[0].contains("ulimit -v"), "{done}");
        assert!(!done.stderr.contains("memory allocation"), "{done}");
    });
}

/// Lets the program itself start so many threads: those of libraries are not counted.
fn so_many_threads(most: u32) -> String {
    format!(
        r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
static int started = 0;
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {{
    int (*original)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    Dl_info home;
    if (dladdr((void *)start, &home) && strstr(home.dli_fname, "pairdist") && ++started > {most}) return EAGAIN;
    return original(thread, attributes, start, argument);
}}
"#
    )
}

#[test]
fn a_thread_that_cannot_be_started_is_told_in_one_sentence() {
    // in the order in which they are started
    let threads = [
        (0, "the thread that waits for signals cannot be started"),
        (1, "2 threads cannot be started"),
        (2, "2 threads cannot be started"),
        (3, "the thread for checkpoints cannot be started"),
    ];
    let cases: Vec<_> = threads.into_iter().flat_map(|thread| [(thread, ALONE), (thread, 3)]).collect();
    for_all(&cases, |&((most, words), ranks)| {
        let work = work_with(60);
        preloaded(&work, &so_many_threads(most));
        let done = work.program(ranks).through(PRELOAD).run("compute x.h5 -o out.h5 --threads 2");
        assert_eq!(done.code, 1, "{done}");
        let told = sentences(&done);
        assert!(told.len() == 1 && told[0].contains(words) && told[0].contains("ulimit -u"), "{done}");
        assert!(!work.path("out.h5").exists(), "{done}");
    });
}
