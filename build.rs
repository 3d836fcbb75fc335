//! Tells the program which commit it is from, for the provenance of its results.

use std::process::Command;

/// What the program is made from: a commit that changes nothing here makes no other program.
const SOURCES: [&str; 4] = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];

/// What git says, if there is git, and a repository: sources may come from an archive.
fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).args(["--"]).args(SOURCES).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn main() {
    let commit = git(&["log", "-1", "--format=%h", "--abbrev=10"]).filter(|commit| !commit.is_empty());
    let is_changed = || git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let commit = match commit {
        // no repository, or that of somebody who unpacked an archive in theirs
        None => "unknown".into(),
        Some(commit) if is_changed() => format!("{commit}-dirty"),
        Some(commit) => commit,
    };
    println!("cargo::rustc-env=PAIRDIST_COMMIT={commit}");
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    // a commit of what was changed before
    if let Ok(done) = Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]).output()
        && done.status.success()
    {
        println!("cargo::rerun-if-changed={}", String::from_utf8_lossy(&done.stdout).trim());
    }
}
