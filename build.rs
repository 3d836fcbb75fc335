//! Tells the program which commit it is from, for the provenance of its results.

use std::path::Path;
use std::process::Command;

/// What the program is made from: a commit that changes nothing here makes no other program.
const SOURCES: [&str; 4] = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];

/// What git says, if there is git. It must not lock the repository: somebody may commit meanwhile.
fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// What git says of the sources.
fn of_sources(arguments: &[&str]) -> Option<String> {
    git(&[arguments, &["--"], &SOURCES].concat())
}

/// The last commit that changed the program, and whether it has been changed since. An archive of the sources has none, nor has one
/// that was unpacked in a repository of somebody else.
fn commit() -> Option<String> {
    git(&["rev-parse", "--show-prefix"]).filter(String::is_empty)?;
    let commit =
        of_sources(&["log", "-1", "--format=%h", "--abbrev=10"]).filter(|commit| !commit.is_empty())?;
    let changes = of_sources(&["status", "--porcelain"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn main() {
    println!("cargo::rustc-env=PAIRDIST_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    // a commit of what was changed before
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
}
