//! What messages tell people to do works: each way out is taken, and the command after it does what the first one would not.

mod common;

use std::fs;
use std::process::Command;

use hdf5::types::VarLenUnicode;
use ndarray::{Array2, array};

use common::launch::{ALONE, BINARY, hold_starts, output_of};
use common::samples::{create, edit, random, write};
use common::{Work, for_all};

/// A message, what it says to do, and that this helps.
struct WayOut {
    make: fn(&Work),
    /// A command, and its exit code: with 0 it warns.
    first: (&'static str, i32),
    /// What it says to do.
    says: &'static str,
    ways: &'static [Way],
}

/// A way to do it: what is done by other means than a command, and a command that then succeeds and says none of it any more.
type Way = (fn(&Work), &'static str);

const COMPUTE: &str = "compute x.h5 -o out.h5";

fn nothing(_: &Work) {}

fn good(work: &Work) {
    write(work.path("x.h5"), &random::<f64>(6, 4, 1));
}

fn value(work: &Work, value: f64) {
    let mut samples = random::<f64>(6, 4, 1);
    samples[(4, 2)] = value;
    write(work.path("x.h5"), &samples);
}

fn several(work: &Work) {
    create(work.path("x.h5"), |file| {
        for name in ["a", "b"] {
            file.new_dataset_builder().with_data(&random::<f64>(6, 4, 1)).create(name)?;
        }
        Ok(())
    });
}

fn done(work: &Work) {
    good(work);
    work.run(ALONE, COMPUTE, 0);
}

/// A run that has begun, and stopped.
fn begun(work: &Work) {
    good(work);
    work.run(ALONE, &format!("{COMPUTE} --time-limit 00:00:00"), 75);
}

fn remove_result(work: &Work) {
    fs::remove_file(work.path("out.h5")).expect("it is there");
}

fn put(work: &Work, name: &str, text: &str) {
    fs::write(work.path(name), text).expect("a file");
}

fn not_complete(work: &Work) {
    done(work);
    edit(work.path("out.h5"), |file| file.attr("complete")?.write_scalar(&0_u8));
}

fn both(work: &Work) {
    done(work);
    fs::rename(work.path("out.h5"), work.path("kept.h5")).expect("it is there");
    // a run is known by the second in which it began
    std::thread::sleep(std::time::Duration::from_millis(1100));
    work.run(ALONE, &format!("{COMPUTE} --time-limit 00:00:00"), 75);
    fs::rename(work.path("kept.h5"), work.path("out.h5")).expect("it is there");
}

fn one_chunk_of_two(work: &Work) {
    create(work.path("x.h5"), |file| {
        let samples = file.new_dataset::<f64>().chunk((3, 4)).shape((6, 4)).create("samples")?;
        samples.write_slice(&random::<f64>(3, 4, 1), (0..3, ..))
    });
}

fn beside_umap(work: &Work) {
    create(work.path("x.h5"), |file| {
        let words: Vec<VarLenUnicode> =
            ["a", "b"].iter().map(|word| word.parse().expect("it is text")).collect();
        let words = Array2::from_shape_fn((2, 2), |(_, column)| words[column].clone());
        file.new_dataset_builder().with_data(&words).create("X")?;
        file.new_dataset_builder().with_data(&random::<f64>(6, 2, 1)).create("umap").map(drop)
    });
}

fn beside_a_video(work: &Work) {
    create(work.path("x.h5"), |file| {
        file.new_dataset::<f64>().shape((2, 3, 4)).create("video")?;
        file.new_dataset_builder().with_data(&random::<f64>(6, 2, 1)).create("positions").map(drop)
    });
}

fn linked(work: &Work) {
    write(work.path("y.h5"), &random::<f64>(6, 4, 1));
    create(work.path("x.h5"), |file| file.link_external("y.h5", "/samples", "samples"));
}

/// What is there of a file after the program that wrote it has died.
fn half_written(work: &Work) {
    let _no_start = hold_starts();
    let mut options = hdf5::File::with_options();
    let file = options.with_fapl(|plist| plist.libver_v110()).create(work.path("open.h5")).expect("a file");
    file.new_dataset_builder().with_data(&random::<f64>(6, 4, 1)).create("samples").expect("samples");
    file.start_swmr().expect("a file that others may read");
    fs::copy(work.path("open.h5"), work.path("x.h5")).expect("a copy");
}

fn far_and_close(work: &Work) {
    let samples =
        Array2::from_shape_fn((20, 3), |(row, _)| 1e6 + 1e-6 * f64::from(u8::try_from(row).expect("small")));
    write(work.path("x.h5"), &samples);
}

const TAKEN: &str = "out.h5 exists; remove it, choose another name, or overwrite it with --force";
const BEGUN: &str = "continue that run with --resume, or start over with --force";

const WAYS: &[WayOut] = &[
    // names
    WayOut {
        make: done,
        first: (COMPUTE, 1),
        says: TAKEN,
        ways: &[
            (remove_result, COMPUTE),
            (nothing, "compute x.h5 -o other.h5"),
            (nothing, "compute x.h5 -o out.h5 --force"),
        ],
    },
    WayOut {
        make: good,
        first: ("compute x.h5 -o no/out.h5", 1),
        says: "no is not a folder; make it first, or write the result elsewhere",
        ways: &[(|w| fs::create_dir(w.path("no")).expect("a folder"), "compute x.h5 -o no/out.h5")],
    },
    WayOut {
        make: |w| {
            good(w);
            std::os::unix::fs::symlink("other.h5", w.path("out.h5")).expect("a link");
        },
        first: (COMPUTE, 1),
        says: "out.h5 is a symbolic link; name the file itself, or remove the link",
        ways: &[(nothing, "compute x.h5 -o other.h5"), (remove_result, COMPUTE)],
    },
    WayOut {
        make: |w| {
            good(w);
            put(w, "out.h5", "mine");
        },
        first: ("compute x.h5 -o out.h5 --force", 1),
        says: "which is all that --force overwrites",
        ways: &[(remove_result, "compute x.h5 -o out.h5 --force")],
    },
    WayOut {
        make: |w| {
            good(w);
            put(w, "out.h5.partial", "mine");
        },
        first: (COMPUTE, 1),
        says: "out.h5.partial is in the way of the working folder; move it away, or choose another name",
        ways: &[(|w| fs::rename(w.path("out.h5.partial"), w.path("moved")).expect("it is there"), COMPUTE)],
    },
    WayOut {
        make: good,
        first: ("generate x.h5 --samples 3 --features 2", 1),
        says: "x.h5 exists; remove it, or choose another name",
        ways: &[(
            |w| fs::remove_file(w.path("x.h5")).expect("it is there"),
            "generate x.h5 --samples 3 --features 2",
        )],
    },
    WayOut {
        make: good,
        first: ("compute x.h5 -o out.h5 --json x.h5", 2),
        says: "--json x.h5: it is an input or the result of this run; choose another name",
        ways: &[(nothing, "compute x.h5 -o out.h5 --json run.json")],
    },
    // runs that have begun
    WayOut {
        make: begun,
        first: (COMPUTE, 1),
        says: BEGUN,
        ways: &[(nothing, "compute x.h5 -o out.h5 --resume"), (nothing, "compute x.h5 -o out.h5 --force")],
    },
    WayOut {
        make: begun,
        first: ("compute x.h5 -o out.h5 --resume --metric cityblock", 1),
        says: "go on as it was begun, or start over with --force",
        ways: &[
            (nothing, "compute x.h5 -o out.h5 --resume"),
            (nothing, "compute x.h5 -o out.h5 --force --metric cityblock"),
        ],
    },
    WayOut {
        make: done,
        first: ("compute x.h5 -o out.h5 --resume --metric cityblock", 1),
        says: "choose another name, or use --force",
        ways: &[(nothing, "compute x.h5 -o out.h5 --force --metric cityblock")],
    },
    WayOut {
        make: not_complete,
        first: ("compute x.h5 -o out.h5 --resume", 1),
        says: "out.h5 is not complete; remove it, or start over with --force",
        ways: &[
            (nothing, "compute x.h5 -o out.h5 --force"),
            (remove_result, "compute x.h5 -o out.h5 --resume"),
        ],
    },
    WayOut {
        make: both,
        first: ("compute x.h5 -o out.h5 --resume", 1),
        says: "has a run that has not finished; move one of them away",
        ways: &[(
            |w| fs::rename(w.path("out.h5"), w.path("moved.h5")).expect("it is there"),
            "compute x.h5 -o out.h5 --resume",
        )],
    },
    WayOut {
        make: |w| {
            begun(w);
            let plan = w.path("out.h5.partial/plan.json");
            let text = fs::read_to_string(&plan).expect("a plan").replace("\"euclidean\"", "\"nonsense\"");
            fs::write(plan, text).expect("a plan");
        },
        first: ("compute x.h5 -o out.h5 --resume", 1),
        says: "start over with --force",
        ways: &[(nothing, "compute x.h5 -o out.h5 --force")],
    },
    WayOut {
        make: |w| {
            begun(w);
            put(w, "out.h5.partial/matrix.h5", "no matrix");
        },
        first: ("compute x.h5 -o out.h5 --resume", 1),
        says: "start over with --force",
        ways: &[(nothing, "compute x.h5 -o out.h5 --force")],
    },
    WayOut {
        make: |w| {
            begun(w);
            put(w, "out.h5.partial/journal.0", &"another run ".repeat(20));
        },
        first: ("compute x.h5 -o out.h5 --resume", 1),
        says: "does not belong to this run; start over with --force",
        ways: &[(nothing, "compute x.h5 -o out.h5 --force")],
    },
    WayOut {
        make: |w| {
            done(w);
            edit(w.path("out.h5"), |file| {
                file.dataset("distances")?.write_slice(&array![[9.0]], (1..2, 2..3))
            });
        },
        first: ("verify out.h5 --pairs 36", 1),
        says: "compute it again",
        ways: &[(
            |w| {
                w.run(ALONE, "compute x.h5 -o out.h5 --force", 0);
            },
            "verify out.h5 --pairs 36",
        )],
    },
    // samples
    WayOut {
        make: several,
        first: (COMPUTE, 1),
        says: "choose one with --dataset: a, b",
        ways: &[(nothing, "compute x.h5 --dataset a -o out.h5")],
    },
    WayOut {
        make: several,
        first: ("plan x.h5", 1),
        says: "choose one with --dataset: a, b",
        ways: &[(nothing, "plan x.h5 --dataset b")],
    },
    WayOut {
        make: half_written,
        first: (COMPUTE, 1),
        says: "x.h5 is marked as open for writing: close it in the program that writes it, or, if that has died, remove the mark with: h5clear -s x.h5",
        ways: &[
            (
                |w| {
                    let mut clear = Command::new("h5clear");
                    let cleared = output_of(clear.args(["-s", "x.h5"]).current_dir(w.path(".")));
                    assert!(cleared.status.success());
                },
                COMPUTE,
            ),
            (good, COMPUTE),
        ],
    },
    WayOut {
        make: several,
        first: ("compute x.h5 --dataset c -o out.h5", 1),
        says: "its two-dimensional numeric datasets: a, b",
        ways: &[(nothing, "compute x.h5 --dataset b -o out.h5")],
    },
    WayOut {
        make: beside_umap,
        first: (COMPUTE, 1),
        says: "\"X\" seems to hold the samples, but it holds text; convert it, or choose another dataset with --dataset: umap",
        ways: &[(nothing, "compute x.h5 --dataset umap -o out.h5")],
    },
    WayOut {
        make: beside_a_video,
        first: (COMPUTE, 0),
        says: "choose a dataset with --dataset if another is meant",
        ways: &[(remove_result, "compute x.h5 --dataset positions -o out.h5")],
    },
    WayOut {
        make: linked,
        first: (COMPUTE, 1),
        says: "(to see why a dataset cannot be used, name it with --dataset)",
        ways: &[(
            |w| {
                let done = w.run(ALONE, "info x.h5 --dataset samples", 1);
                assert!(
                    done.stderr.contains("is a link into another file; name that file and dataset instead"),
                    "{done}"
                );
            },
            "compute y.h5 --dataset samples -o out.h5",
        )],
    },
    WayOut {
        make: one_chunk_of_two,
        first: (COMPUTE, 1),
        says: "if that is meant, use --allow-missing-chunks",
        ways: &[(nothing, "compute x.h5 -o out.h5 --allow-missing-chunks")],
    },
    // values
    WayOut {
        make: |w| value(w, f64::NAN),
        first: (COMPUTE, 1),
        says: "clean the samples, skip NaN as missing values with --skip-missing, or compute with them by --allow-nonfinite",
        ways: &[
            (nothing, "compute x.h5 -o out.h5 --skip-missing"),
            (nothing, "compute x.h5 -o out.h5 --allow-nonfinite"),
            (good, COMPUTE),
        ],
    },
    WayOut {
        make: |w| value(w, f64::NAN),
        first: ("compute x.h5 -o out.h5 --metric cosine", 1),
        says: "clean the samples, or compute with them by --allow-nonfinite",
        ways: &[(nothing, "compute x.h5 -o out.h5 --metric cosine --allow-nonfinite"), (good, COMPUTE)],
    },
    WayOut {
        make: |w| value(w, f64::INFINITY),
        first: ("compute x.h5 -o out.h5 --skip-missing", 1),
        says: "clean the samples, or write NaN in place of such values, which --skip-missing skips",
        ways: &[(|w| value(w, f64::NAN), "compute x.h5 -o out.h5 --skip-missing"), (good, COMPUTE)],
    },
    WayOut {
        make: good,
        first: ("compute x.h5 -o out.h5 --skip-missing --metric cosine", 2),
        says: "leave the option out, or use one of the metrics that can",
        ways: &[
            (nothing, "compute x.h5 -o out.h5 --metric cosine"),
            (nothing, "compute x.h5 -o out.h5 --skip-missing --metric canberra"),
        ],
    },
    WayOut {
        make: good,
        first: ("compute x.h5 -o out.h5 --skip-missing --kernel gemm", 2),
        says: "euclidean with --skip-missing has no form as a matrix product; use auto or direct",
        ways: &[
            (nothing, "compute x.h5 -o out.h5 --skip-missing"),
            (nothing, "compute x.h5 -o out.h5 --skip-missing --kernel direct"),
        ],
    },
    WayOut {
        make: |w| value(w, 1e300),
        first: ("compute x.h5 -o out.h5 --dtype f32", 1),
        says: "too large for f32",
        ways: &[(nothing, "compute x.h5 -o out.h5 --dtype f64")],
    },
    WayOut {
        make: |w| write(w.path("x.h5"), &(random::<f64>(6, 4, 1) * 1e-60)),
        first: ("compute x.h5 -o out.h5 --dtype f32", 1),
        says: "all values are too small for f32 and would be 0",
        ways: &[(nothing, "compute x.h5 -o out.h5 --dtype f64")],
    },
    WayOut {
        make: |w| write(w.path("x.h5"), &(random::<f64>(6, 4, 1) * 1e-41)),
        first: ("compute x.h5 -o out.h5 --dtype f32", 0),
        says: "all values lose digits in f32",
        ways: &[(remove_result, "compute x.h5 -o out.h5 --dtype f64")],
    },
    WayOut {
        make: |w| {
            create(w.path("x.h5"), |file| {
                let samples = array![[16_777_217_i64, 1], [2, 3], [40_000_001, -5]];
                file.new_dataset_builder().with_data(&samples).create("samples").map(drop)
            });
        },
        first: ("compute x.h5 -o out.h5 --dtype f32", 0),
        says: "more digits than f32 holds; use --dtype f64",
        ways: &[(remove_result, "compute x.h5 -o out.h5 --dtype f64")],
    },
    // choices
    WayOut {
        make: good,
        first: ("compute x.h5 -o out.h5 --metric cityblock --kernel gemm", 2),
        says: "use auto or direct",
        ways: &[(
            |w| {
                w.run(ALONE, "compute x.h5 -o out.h5 --metric cityblock --kernel auto", 0);
            },
            "compute x.h5 -o out.h5 --metric cityblock --kernel direct --force",
        )],
    },
    WayOut {
        make: |w| write(w.path("x.h5"), &random::<f64>(11_600, 1, 1)),
        first: ("compute x.h5 --no-output --tile 11600", 2),
        says: "the limit is 1073741824; choose a smaller one",
        ways: &[(nothing, "compute x.h5 --no-output --tile 500")],
    },
    WayOut {
        make: far_and_close,
        first: ("compute x.h5 --no-output --kernel gemm", 0),
        says: "--kernel direct spares the attempt",
        ways: &[(nothing, "compute x.h5 --no-output --kernel direct")],
    },
];

#[test]
fn every_way_out_that_a_message_names_works() {
    // of each message, each way
    let places = |number: usize| (0..WAYS[number].ways.len()).map(move |way| (number, way));
    let cases: Vec<_> = (0..WAYS.len()).flat_map(places).collect();
    for_all(&cases, |&(number, way)| {
        let WayOut { make, first: (first, code), says, ways } = &WAYS[number];
        let (mend, then) = ways[way];
        let work = Work::new();
        make(&work);
        for ranks in if *code == 0 { &[ALONE] as &[usize] } else { &[ALONE, 3] } {
            let told = work.run(*ranks, first, *code);
            assert!(told.stderr.contains(says), "no \"{says}\": {told}");
        }
        mend(&work);
        let then = work.run(ALONE, then, 0);
        assert!(!then.stderr.contains(says), "{then}");
    });
}

#[test]
fn the_command_that_a_stopped_run_names_goes_on_with_it() {
    for_all(&["x.h5", "-x.h5", "it's an x.h5"], |name| {
        let work = Work::new();
        write(work.path(name), &random::<f64>(60, 4, 1));
        let arguments = ["compute", "-o", "out put.h5", "--tile", "4", "--force", "--", name];
        let stopped =
            work.program(ALONE).env("PAIRDIST_FAIL_AT", "write:0:30:kill").start_with(&arguments).wait();
        assert_ne!(stopped.code, 0, "{stopped}");
        let told = work.program(ALONE).start_with(&["info", "out put.h5"]).wait();
        let command = told.stdout.lines().find_map(|line| line.strip_prefix("resume with  "));
        let mut shell = Command::new("sh");
        shell.args(["-c", command.expect("a command")]).current_dir(work.path("."));
        let gone_on = output_of(&mut shell);
        assert!(gone_on.status.success(), "{told}: {}", String::from_utf8_lossy(&gone_on.stderr));
        assert!(work.path("out put.h5").exists(), "{told}");
    });
}

#[test]
fn a_run_that_is_stopped_names_the_command_too() {
    let work = Work::new();
    write(work.path("-x.h5"), &random::<f64>(60, 4, 1));
    let done = work.run(ALONE, "compute -o out.h5 --time-limit 00:00:00 -- -x.h5", 75);
    assert!(done.stderr.contains("compute -o out.h5 --time-limit 00:00:00 --resume -- -x.h5\n"), "{done}");
}

#[test]
fn a_program_without_a_launcher_starts_where_there_is_no_ssh() {
    let work = Work::new();
    good(&work);
    for command in [COMPUTE, "verify out.h5"] {
        let mut program = Command::new(BINARY);
        program.args(command.split(' ')).current_dir(work.path(".")).env("PATH", "/no");
        let done = output_of(&mut program);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
