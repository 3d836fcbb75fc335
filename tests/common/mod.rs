//! What the integration tests share.
//!
//! - `launch` — starts the program, alone or under the MPI launcher, and kills what outlives its time
//! - `samples` — inputs to write, results to read, and the definition to compare them with
//! - `tiles` — tiles computed by the kernels alone

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod launch;
pub(crate) mod samples;
pub(crate) mod tiles;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use launch::{Done, Program};

/// A folder for one test, removed at its end. The program runs in it, so that arguments are bare file names.
pub(crate) struct Work {
    folder: TempDir,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("the system has a folder for temporary files") }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of everything in the folder, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries = self.folder.path().read_dir().expect("the folder is there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The run record `run.json`.
    pub(crate) fn record(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.path("run.json")).expect("a run record");
        serde_json::from_str(&text).expect("a JSON object")
    }

    /// The program on so many ranks, or [`launch::ALONE`], to be started in this folder.
    pub(crate) fn program(&self, ranks: usize) -> Program<'_> {
        Program::new(self.folder.path(), ranks)
    }

    /// Runs the program with arguments separated by spaces, and demands an exit code.
    pub(crate) fn run(&self, ranks: usize, arguments: &str, code: i32) -> Done {
        let done = self.program(ranks).run(arguments);
        assert_eq!(done.code, code, "{done}");
        done
    }
}

/// What runs are asked for to make, in tests of what all results have in common.
pub(crate) const RESULTS: [&str; 3] =
    ["", " --matrix --condensed --neighbors 4 --radius 0.6", " --condensed --store f16"];

/// Each case with each of the [`RESULTS`].
pub(crate) fn with_results<C: Copy>(cases: &[C]) -> Vec<(C, &'static str)> {
    cases.iter().flat_map(|&case| RESULTS.map(|results| (case, results))).collect()
}

/// Cases that [`for_all`] checks at a time: a launcher that has seen a rank fail waits more than it works.
const AT_A_TIME: usize = 6;

/// Checks every case, and fails with the list of those that failed.
pub(crate) fn for_all<C: Debug + Sync>(cases: &[C], check: impl Fn(&C) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(AssertUnwindSafe(|| check(case))).is_err() {
                eprintln!("... that was {case:?}");
                failed.lock().expect("no thread panics with the lock").push(format!("{case:?}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("no thread panics with the lock");
    assert!(!cases.is_empty(), "no cases");
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// Makes a library of C code in the folder, for [`PRELOAD`].
pub(crate) fn preloaded(work: &Work, code: &str) {
    std::fs::write(work.path("preloaded.c"), code).expect("a file");
    let mut compiler = std::process::Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-pthread", "-o", "preloaded.so", "preloaded.c", "-ldl"])
        .current_dir(work.path("."));
    assert!(launch::output_of(&mut compiler).status.success(), "a C compiler");
}

/// A script that starts the program with the library of [`preloaded`].
pub(crate) const PRELOAD: &str = "LD_PRELOAD=./preloaded.so exec \"$@\"";
