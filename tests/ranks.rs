//! Ranks that do not see the same: other files under the same name, other options, another build. All are refused by all ranks.
//!
//! Nodes with disks of their own are imitated by ranks that work in folders of their own.

mod common;

use std::fs;
use std::path::Path;

use common::launch::{ALONE, BINARY, Done};
use common::samples::{random, write};
use common::{Work, for_all};

/// On each rank, in the folder `node0`, `node1`, ... of its rank.
const ON_NODES: &str = "cd node${OMPI_COMM_WORLD_RANK:-$PMI_RANK} && exec \"$@\"";

/// Samples that all nodes see, and folders for two nodes.
fn two_nodes() -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(100, 5, 1));
    for node in ["node0", "node1"] {
        fs::create_dir(work.path(node)).expect("a folder");
    }
    work
}

fn refused(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{done}");
    let messages: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
    assert_eq!(messages.len(), 1, "{done}");
    for word in words {
        assert!(messages[0].contains(word), "no \"{word}\" in: {}", messages[0]);
    }
}

/// All files below a folder, with their contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

/// Leaves a run that was stopped in a node's folder.
fn stopped_run(work: &Work, node: &str) {
    let on_node = format!("cd {node} && exec \"$@\"");
    let done =
        work.program(ALONE).through(&on_node).run("compute ../x.h5 -o d.h5 --tile 10 --time-limit 00:00:00");
    assert_eq!(done.code, 75, "{done}");
}

const ELSEWHERE: &[&str] =
    &["rank 1: d.h5.partial on ", "write the result to a file system that all nodes share"];

#[test]
fn a_result_on_disks_of_each_nodes_own_is_refused() {
    for_all(&["compute ../x.h5 -o d.h5", "generate d.h5 --samples 30 --features 2"], |&arguments| {
        for has_leftover in [false, true] {
            let work = two_nodes();
            if has_leftover {
                stopped_run(&work, "node1");
            }
            let before = contents(&work.path("."));
            refused(&work.program(2).through(ON_NODES).run(arguments), 1, ELSEWHERE);
            assert!(contents(&work.path(".")) == before, "files have changed");
        }
    });
}

#[test]
fn copies_of_an_unfinished_run_are_not_resumed_as_one() {
    let work = two_nodes();
    stopped_run(&work, "node1");
    fs::create_dir(work.path("node0/d.h5.partial")).expect("a folder");
    for entry in work.path("node1/d.h5.partial").read_dir().expect("a working folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), work.path("node0/d.h5.partial").join(entry.file_name())).expect("a copy");
    }
    refused(&work.program(2).through(ON_NODES).run("compute ../x.h5 -o d.h5 --resume"), 1, ELSEWHERE);
    // either can be resumed by itself
    for node in ["node0", "node1"] {
        let on_node = format!("cd {node} && exec \"$@\"");
        let done = work.program(2).through(&on_node).run("compute ../x.h5 -o d.h5 --resume");
        assert_eq!(done.code, 0, "{done}");
    }
    assert!(
        contents(&work.path("node0"))
            .iter()
            .map(|(_, bytes)| bytes.len())
            .eq(contents(&work.path("node1")).iter().map(|(_, bytes)| bytes.len()))
    );
}

#[test]
fn samples_that_differ_between_nodes_are_refused() {
    // one value of a narrow sample, all values, another shape, samples too long to be compared as a whole
    let narrow = |seed| random::<f64>(100, 5, seed);
    let mut one_value = narrow(1);
    one_value[(0, 3)] = 0.25;
    let cases = [
        ("a value", narrow(1), one_value),
        ("all values", narrow(1), narrow(2)),
        ("another shape", narrow(1), random(99, 5, 1)),
        ("long samples", random(3, 20_000, 1), random(3, 20_000, 2)),
    ];
    for_all(&cases, |(what, one, other)| {
        let work = two_nodes();
        write(work.path("node0/y.h5"), one);
        write(work.path("node1/y.h5"), other);
        let program = |ranks| work.program(ranks).through(ON_NODES);
        let words = ["rank 1: dataset \"/samples\" in y.h5 holds other samples on ", "that all nodes share"];
        refused(&program(2).run("compute y.h5 -o ../out.h5"), 1, &words);
        write(work.path("x.h5"), &random::<f64>(10, one.ncols(), 3));
        refused(&program(2).run("compute ../x.h5 --against y.h5 -o ../out.h5"), 1, &words);
        assert!(!work.list().iter().any(|name| name.starts_with("out.h5")), "{what}");
    });
}

#[test]
fn results_that_differ_between_nodes_are_not_verified_as_one() {
    let cases = ["--metric cityblock", "--against ../x.h5", "--dtype f32", "--tile 7"];
    for_all(&cases, |options| {
        let work = two_nodes();
        for (node, options) in [("node0", ""), ("node1", options)] {
            let on_node = format!("cd {node} && exec \"$@\"");
            let done =
                work.program(ALONE).through(&on_node).run(&format!("compute ../x.h5 -o d.h5 {options}"));
            assert_eq!(done.code, 0, "{done}");
        }
        for how in ["--all", ""] {
            let done = work.program(2).through(ON_NODES).run(&format!("verify d.h5 {how}"));
            refused(
                &done,
                2,
                &["rank 1: the header of d.h5 is ", "put the result on a file system that all nodes share"],
            );
        }
    });
}

#[test]
fn samples_that_nodes_find_in_different_places_are_refused() {
    let work = two_nodes();
    for (node, folder) in [("node0", "."), ("node1", "in")] {
        fs::create_dir_all(work.path(node).join(folder)).expect("a folder");
        fs::copy(work.path("x.h5"), work.path(node).join(folder).join("x.h5")).expect("a copy");
    }
    fs::create_dir(work.path("in")).expect("a folder");
    fs::rename(work.path("x.h5"), work.path("in/x.h5")).expect("another name");
    work.run(ALONE, "compute in/x.h5 -o d.h5", 0);
    fs::remove_dir_all(work.path("in")).expect("a folder");
    for node in ["node0", "node1"] {
        fs::copy(work.path("d.h5"), work.path(node).join("d.h5")).expect("a copy");
    }
    let verify = |options: &str| work.program(2).through(ON_NODES).run(&format!("verify d.h5 {options}"));
    refused(&verify(""), 2, &["rank 1: the place of ", "in/x.h5 on ", "name the samples with --samples"]);
    let done = verify("--samples ../node0/x.h5");
    assert_eq!(done.code, 0, "{done}");
}

/// Options that rank 1 has on top of the others', and what is said.
const OPTIONS: [(&str, &str); 6] = [
    ("--metric chebyshev", "--metric is chebyshev on "),
    ("--tile 7", "--tile is 7 on "),
    ("--threads 1", "--threads is 1 on "),
    ("--no-sync", "--no-sync is true on "),
    ("--against x.h5", "--against is x.h5 on "),
    ("--resume", "--resume is true on "),
];

#[test]
fn options_of_one_rank_are_refused_by_name() {
    for_all(&OPTIONS, |(options, words)| {
        let work = two_nodes();
        let script =
            format!("[ ${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}} = 1 ] && exec \"$@\" {options}; exec \"$@\"");
        let done = work.program(2).through(&script).run("compute x.h5 -o out.h5");
        refused(&done, 2, &["rank 1: ", words, "on rank 0; start all ranks"]);
        assert_eq!(work.list(), ["node0", "node1", "x.h5"]);
    });
}

#[test]
fn another_subcommand_on_one_rank_is_refused() {
    let work = two_nodes();
    let script = "[ ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} = 1 ] && exec \"$1\" verify x.h5; exec \"$@\"";
    let done = work.program(3).through(script).run("compute x.h5 -o out.h5");
    refused(&done, 2, &["rank 1: the subcommand is verify on ", "and compute on rank 0"]);
}

#[test]
fn another_build_on_one_rank_is_refused() {
    let work = two_nodes();
    let mut program = fs::read(BINARY).expect("the program");
    let version = pairdist::VERSION.as_bytes();
    let places: Vec<_> =
        (0..program.len() - version.len()).filter(|at| program[*at..].starts_with(version)).collect();
    assert!(!places.is_empty(), "the program names its version");
    for at in places {
        program[at] = b'?';
    }
    let other = work.path("other-build");
    fs::copy(BINARY, &other).expect("a copy with its permissions");
    fs::write(&other, program).expect("another build");
    let script =
        "r=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; p=$1; shift; [ $r = 1 ] && p=./other-build; exec $p \"$@\"";
    let done = work.program(2).through(script).run("compute x.h5 -o out.h5");
    refused(&done, 2, &["rank 1: the build is ?", "start all ranks from one build"]);
}

#[test]
fn a_matrix_that_was_replaced_during_the_run_is_not_published() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(600, 2, 1));
    let mut job =
        work.program(2).start("compute x.h5 -o out.h5 --tile 2 --no-sync --checkpoint-interval 0.01");
    let journalled = || fs::metadata(work.path("out.h5.partial/journal.0")).map_or(0, |meta| meta.len());
    while journalled() < 1000 {
        assert!(job.is_running(), "it ended before its matrix could be replaced");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (matrix, moved) = (work.path("out.h5.partial/matrix.h5"), work.path("moved.h5"));
    fs::rename(&matrix, &moved).expect("a matrix");
    fs::copy(&moved, &matrix).expect("another one");
    let done = job.wait();
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stderr.contains("the file was replaced during the run"), "{done}");
    assert!(!work.path("out.h5").exists());
}
