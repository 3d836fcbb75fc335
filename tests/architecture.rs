//! Invariants of the source: each external crate has one home, nothing is unsafe, and rooms use each other as the map says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Crates that no module but their home may name. A home is a file, or a folder.
const HOMES: [(&str, &[&str]); 13] = [
    ("mpi", &["comm.rs"]),
    ("hdf5", &["io/", "source/"]),
    ("ndarray", &["io/"]),
    ("rayon", &["pipeline/"]),
    ("crossbeam_channel", &["pipeline/"]),
    ("pulp", &["kernel/"]),
    ("clap", &["cli.rs"]),
    ("indicatif", &["report/"]),
    ("memmap2", &["pages.rs"]),
    ("half", &["sink/"]),
    ("nix", &["host/", "stop.rs", "failpoint.rs"]),
    ("signal_hook", &["stop.rs"]),
    ("shell_words", &["host/"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file: its path in src, and its lines without comments.
fn sources() -> Vec<(String, Vec<String>)> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&src).expect("it lies in src").display().to_string();
                let text = fs::read_to_string(path).expect("a source file");
                sources.push((name, text.lines().map(|line| code(line).to_owned()).collect()));
            }
        }
    }
    sources
}

/// The line up to its comment. Strings count as code: they may name no crate by its paths.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// What stands before and after each occurrence of a name as a whole word.
fn occurrences<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    let around = line.match_indices(name).map(|(at, found)| (&line[..at], &line[at + found.len()..]));
    around.filter(move |(before, after)| !before.ends_with(is_inside) && !after.starts_with(is_inside))
}

/// Whether the line names the crate: in a path that begins with it, or in an import.
fn names_crate(line: &str, name: &str) -> bool {
    occurrences(line, name).any(|(before, after)| {
        let begins = !before.ends_with("::") && !before.ends_with('.');
        let imported = before.ends_with("use ") || before.ends_with("extern crate ");
        begins && (imported || after.starts_with("::") || after.starts_with(" as "))
    })
}

/// Files with a line for which `is_wanted` holds.
fn files_with(is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let has = |lines: &[String]| lines.iter().any(|line| is_wanted(line));
    sources().into_iter().filter(|(_, lines)| has(lines)).map(|(file, _)| file).collect()
}

#[test]
fn each_external_crate_is_named_in_its_home_and_nowhere_else() {
    for (name, homes) in HOMES {
        let is_home =
            |home: &&str, file: &str| file == *home || (home.ends_with('/') && file.starts_with(home));
        let naming = files_with(|line| names_crate(line, name));
        let strangers: Vec<_> =
            naming.iter().filter(|file| !homes.iter().any(|home| is_home(home, file))).collect();
        assert!(strangers.is_empty(), "{name} belongs to {homes:?}, and is named in {strangers:?}");
        assert!(!naming.is_empty(), "{name} is named nowhere");
    }
}

/// Rooms that all others may use, and that the map does not list.
const USED_BY_ALL: [&str; 2] = ["error", "failpoint"];

/// The room that a source file belongs to.
fn room(file: &str) -> &str {
    let (first, _) = file.split_once('/').unwrap_or((file, ""));
    first.trim_end_matches(".rs")
}

/// Rooms that a line names, by their paths from the crate's root.
fn rooms_of(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").filter_map(|(at, found)| {
        line[at + found.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

/// What each room uses, by its imports and paths. Tests may use what they like.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources();
    let rooms: BTreeSet<String> = sources.iter().map(|(file, _)| room(file).to_owned()).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, lines) in &sources {
        let own = room(file);
        if ["lib", "main"].contains(&own) || USED_BY_ALL.contains(&own) {
            continue;
        }
        let code = lines.iter().take_while(|line| *line != "mod tests {");
        let named = code.flat_map(|line| rooms_of(line)).filter(|name| *name != own && rooms.contains(*name));
        let named = named.filter(|name| !USED_BY_ALL.contains(name)).map(str::to_owned);
        uses.entry(own.to_owned()).or_default().extend(named);
    }
    uses
}

/// The map in docs/ARCHITECTURE.md: each room, from top to bottom, and those that it uses.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the document");
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (names(cells[1]).remove(0), names(cells[3]).into_iter().collect())
    })
    .collect()
}

#[test]
fn every_arrow_of_the_map_is_in_the_imports_and_every_import_on_the_map() {
    assert_eq!(map().into_iter().collect::<BTreeMap<_, _>>(), uses());
}

#[test]
fn rooms_are_imported_one_by_one() {
    // as the map is compared with paths that begin with `crate::`
    let files = files_with(|line| line.contains("crate::{"));
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn every_arrow_of_the_map_leads_down() {
    let map = map();
    let place = |name: &String| map.iter().position(|(room, _)| room == name);
    for (room, used) in &map {
        let above: Vec<_> = used.iter().filter(|other| place(other) <= place(room)).collect();
        assert!(above.is_empty(), "{room} uses {above:?}, which are above it");
    }
}

#[test]
fn no_source_file_says_unsafe() {
    let files = files_with(|line| occurrences(line, "unsafe").next().is_some());
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn the_manifest_forbids_unsafe_code() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    assert!(manifest.lines().any(|line| line == "unsafe_code = \"forbid\""));
}

#[test]
fn there_is_one_mpi_sys() {
    // two of them could not be linked, or would be two different MPI libraries
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    assert_eq!(lock.lines().filter(|line| *line == "name = \"mpi-sys\"").count(), 1);
}

#[test]
fn paths_and_imports_name_a_crate_but_comments_and_fields_do_not() {
    for line in ["use mpi::topology;", "let x = mpi::time();", "use mpi as m;", "#[derive(mpi::Equivalence)]"]
    {
        assert!(names_crate(code(line), "mpi"), "{line}");
    }
    for line in
        ["// mpi::x", "    mpi: crate::mpi::version(), // mpi::x", "self.mpi", "mpi_sys::x()", "mpio::x()"]
    {
        assert!(!names_crate(code(line), "mpi"), "{line}");
    }
}
