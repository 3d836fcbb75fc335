//! Results whose paths MPI-IO, HDF5 or a shell would trip over: every command works with them.

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use common::launch::{ALONE, Done, launcher_is_hydra};
use common::samples::{random, write};
use common::{Work, for_all};

/// Folder and name of the result.
fn paths() -> Vec<(OsString, OsString)> {
    let long = "f".repeat(200);
    let text = |folder: &str, name: &str| (folder.into(), name.into());
    vec![
        text(&format!("{long}/{long}/{long}"), &format!("{}.h5", "n".repeat(240))),
        text("2026-11-27T12:00:00", "out:12:00.h5"),
        text("with spaces", "my result.h5"),
        text("with\nnewline", "new\nline.h5"),
        text("'quoted\"", "$HOME `ls` *.h5"),
        (OsStr::from_bytes(b"no\xffunicode").into(), OsStr::from_bytes(b"out\xfe.h5").into()),
    ]
}

/// The MPI-IO implementations that the launcher's MPI has.
fn implementations() -> Vec<&'static str> {
    if launcher_is_hydra() { vec![""] } else { vec!["ompio", "romio321"] }
}

#[test]
fn every_command_takes_any_path() {
    let cases: Vec<_> = paths()
        .into_iter()
        .flat_map(|path| implementations().into_iter().map(move |io| (path.clone(), io)))
        .collect();
    for_all(&cases, |((folder, name), io)| {
        let work = Work::new();
        fs::create_dir_all(work.path(folder)).expect("folders");
        write(work.path("x.h5"), &random::<f64>(40, 3, 1));
        let place = OsString::from_vec([folder.as_bytes(), b"/", name.as_bytes()].concat());
        let run = |ranks: usize, words: &[&str], code: i32| -> Done {
            let words: Vec<_> =
                words.iter().map(|word| if *word == "OUT" { place.clone() } else { word.into() }).collect();
            let done = work.program(ranks).env("OMPI_MCA_io", io).start_with(&words).wait();
            assert_eq!(done.code, code, "{done}");
            done
        };
        let entries = || {
            let names = work.path(folder).read_dir().expect("a folder");
            names.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>()
        };
        let compute = ["compute", "x.h5", "-o", "OUT", "--tile", "10"];
        run(2, &[&compute[..], &["--time-limit", "00:00:00"]].concat(), 75);
        run(3, &[&compute[..], &["--resume"]].concat(), 0);
        assert_eq!(entries(), std::slice::from_ref(name));
        run(2, &["verify", "OUT", "--all"], 0);
        run(ALONE, &["info", "OUT"], 0);
        assert_eq!(run(2, &compute, 1).stderr.matches("pairdist: ").count(), 1);
        run(2, &[&compute[..], &["--force"]].concat(), 0);
        fs::remove_file(work.path(&place)).expect("a result");
        run(2, &["generate", "OUT", "--samples", "20", "--features", "3"], 0);
        run(2, &["compute", "OUT", "--no-output"], 0);
        assert_eq!(entries(), std::slice::from_ref(name));
    });
}

#[test]
fn the_program_starts_through_the_dynamic_linker_and_by_a_link() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(40, 3, 1));
    let linker = "exec $(ldd \"$1\" | sed -n 's/^[[:space:]]*\\(\\/[^ ]*\\/ld[^ ]*\\) .*/\\1/p') \"$@\"";
    for script in [linker, "ln -sf \"$1\" short; shift; exec ./short \"$@\""] {
        let done = work.program(2).through(script).run("compute x.h5 -o out.h5 --force");
        assert_eq!(done.code, 0, "{script}: {done}");
    }
}
