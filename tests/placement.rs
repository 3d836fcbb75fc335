//! How many threads a rank starts by itself, and what it says about its cores.

mod common;

use std::fs;

use common::Work;
use common::launch::ALONE;
use common::samples::{random, write};

/// Cores that this test may use, the kernel's list cut at its commas and dashes: the first of them is one.
fn first_core() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells about processes");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list of cores");
    list.trim().chars().take_while(char::is_ascii_digit).collect()
}

fn run(work: &Work, ranks: usize, script: &str, options: &str) -> (u64, String) {
    let arguments = format!("compute x.h5 --no-output --json run.json {options}");
    let done = work.program(ranks).env("SLURM_CPUS_PER_TASK", "").through(script).run(&arguments);
    assert_eq!(done.code, 0, "{done}");
    (work.record()["threads_per_rank"].as_u64().expect("a number of threads"), done.stderr)
}

#[test]
fn ranks_that_share_cores_share_them_out() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(50, 3, 1));
    let core = first_core();
    let bound = format!(r#"exec taskset --cpu-list {core} "$@""#);
    let (threads, told) = run(&work, 2, &bound, "");
    assert_eq!(threads, 1);
    assert!(told.contains(&format!("2 ranks x 1 thread on cores {core}")), "{told}");
    assert!(told.contains("2 ranks x 1 thread share 1 of the node's"), "{told}");
    let (threads, told) = run(&work, 1, &bound, "");
    assert_eq!(threads, 1);
    assert!(!told.contains("they will take turns"), "{told}");
    let (threads, told) = run(&work, 1, &bound, "--threads 2");
    assert_eq!(threads, 2);
    assert!(told.contains("1 rank x 2 threads share 1 of the node's"), "{told}");
}

#[test]
fn threads_come_from_the_command_line_then_from_slurm() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(50, 3, 1));
    let slurm = r#"SLURM_CPUS_PER_TASK=3 exec "$@""#;
    assert_eq!(run(&work, 2, slurm, "").0, 3);
    assert_eq!(run(&work, 2, slurm, "--threads 2").0, 2);
}

#[test]
fn a_rank_alone_that_was_started_as_one_of_many_is_warned() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(50, 3, 1));
    for (tasks, is_warned) in [("3", true), ("1", false), ("many", false)] {
        let program = work.program(ALONE).env("SLURM_STEP_NUM_TASKS", tasks);
        let done = program.run("compute x.h5 --no-output");
        assert_eq!(done.code, 0, "{done}");
        let words = "SLURM_STEP_NUM_TASKS=3, and MPI knows 1 rank: each process does all the work";
        assert_eq!(done.stderr.contains(words), is_warned, "{done}");
    }
    // not of ranks that know each other
    let (_, told) = run(&work, 2, r#"SLURM_STEP_NUM_TASKS=3 exec "$@""#, "");
    assert!(!told.contains("MPI knows"), "{told}");
}
