//! Broken inputs and command lines: refused by all ranks at once, with one sentence from rank 0 and nothing left behind.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::launch::ALONE;
use common::samples::{Given, assert_within_tolerance, create, definition, distances, edit, random, write};
use common::{PRELOAD, Work, for_all, preloaded};
use hdf5::types::{CompoundField, CompoundType, EnumMember, EnumType, FloatSize, IntSize, TypeDescriptor};
use hdf5::{Group, H5Type};
use ndarray::{Array2, arr2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pairdist::element::Content;
use pairdist::kernel::Method;
use pairdist::metric::Metric;

const RANKS: [usize; 2] = [ALONE, 3];

/// A case: its name, what makes its files, the arguments, and words that the message must have.
type Case = (&'static str, fn(&Work), &'static str, &'static [&'static str]);

/// Runs a case on every number of ranks, and demands the exit code, one message with the words, and no traces.
fn check((name, make, arguments, words): &Case, environment: &[(&str, &str)], code: i32) {
    let work = Work::new();
    make(&work);
    let before = work.list();
    for ranks in RANKS {
        let program =
            environment.iter().fold(work.program(ranks), |program, (name, value)| program.env(name, value));
        let done = program.run(arguments);
        assert_eq!(done.code, code, "{name}: {done}");
        let messages: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("pairdist: ")).collect();
        assert_eq!(messages.len(), 1, "{name}: {done}");
        for word in *words {
            assert!(messages[0].contains(word), "{name}: no \"{word}\" in: {}", messages[0]);
        }
        let noise = ["panicked", "HDF5-DIAG"].iter().find(|noise| done.stderr.contains(**noise));
        assert_eq!(noise, None, "{name}: {done}");
        assert_eq!(work.list(), before, "{name}: files");
    }
}

const COMPUTE: &str = "compute x.h5 -o out.h5";

fn nothing(_: &Work) {}

fn good(work: &Work) {
    write(work.path("x.h5"), &random::<f64>(6, 4, 1));
}

/// A file with one dataset of some type and shape, its values never written.
fn unwritten(work: &Work, of: &TypeDescriptor, shape: &[usize]) {
    let shape = shape.to_vec();
    create(work.path("x.h5"), |file| {
        file.new_dataset_builder().empty_as(of).shape(shape).create("samples").map(drop)
    });
}

const F64: TypeDescriptor = TypeDescriptor::Float(FloatSize::U8);

/// A file with one dataset that holds these values.
fn written<T: H5Type>(work: &Work, values: &[T], shape: &[usize]) {
    let array = ndarray::ArrayViewD::from_shape(shape, values).expect("as many values as the shape has");
    create(work.path("x.h5"), |file| file.new_dataset_builder().with_data(array).create("samples").map(drop));
}

fn truncated(work: &Work, kept: impl Fn(u64) -> u64) {
    good(work);
    let file = fs::OpenOptions::new().write(true).open(work.path("x.h5")).expect("the input");
    let len = file.metadata().expect("its length").len();
    file.set_len(kept(len)).expect("a shorter input");
}

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
}

fn add(group: &Group, name: &str) -> hdf5::Result<()> {
    group.new_dataset_builder().with_data(&random::<f32>(6, 4, 2)).create(name).map(drop)
}

/// A compressed dataset, with the filter's number in the file changed to one that nobody has registered.
fn missing_filter(work: &Work) {
    let path = work.path("x.h5");
    let samples = random::<f64>(6, 4, 1);
    create(&path, |file| {
        let builder = file.new_dataset_builder().with_data(&samples).chunk((6, 4));
        builder.deflate(1).create("samples").map(drop)
    });
    let mut bytes = fs::read(&path).expect("the input");
    // in its message: number of the filter, length of its name, flags, number of parameters (2 bytes each), name
    let name = bytes.windows(8).position(|window| window == b"deflate\0").expect("the filter's name");
    assert_eq!(bytes[name - 8..name - 6], [1, 0], "the number of deflate");
    bytes[name - 8..name - 6].copy_from_slice(&[0x39, 0x30]);
    fs::write(path, bytes).expect("the input");
}

fn external_storage(work: &Work) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<f64>().shape((6, 4));
        let builder = builder.with_dcpl(|plist| plist.external("values.bin", 0, 6 * 4 * 8));
        builder.create("samples").map(drop)
    });
    fs::write(work.path("values.bin"), [0; 6 * 4 * 8]).expect("the values");
}

fn virtual_dataset(work: &Work) {
    write(work.path("source.h5"), &random::<f64>(6, 4, 1));
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<f64>().shape((6, 4));
        let shape = (6, 4);
        let builder =
            builder.with_dcpl(|plist| plist.virtual_map("source.h5", "samples", shape, .., shape, ..));
        builder.create("samples").map(drop)
    });
}

/// A link into another file, which must not even be opened: opening a FIFO would wait for ever.
fn external_link(work: &Work) {
    fifo(&work.path("other.h5"));
    create(work.path("x.h5"), |file| file.link_external("other.h5", "/samples", "samples"));
}

/// A link to a link into another file, which must not be opened either.
fn external_link_behind_a_soft_one(work: &Work) {
    fifo(&work.path("other.h5"));
    create(work.path("x.h5"), |file| {
        file.link_external("other.h5", "/samples", "outside")?;
        file.link_soft("/outside", "samples")
    });
}

/// Soft links by which the way to `group/samples` leads through a link into another file: to its group, one after the other, and
/// from a place in the group itself.
fn external_link_on_the_way(work: &Work) {
    fifo(&work.path("other.h5"));
    create(work.path("x.h5"), |file| {
        let inner = file.create_group("a")?.create_group("b")?;
        inner.link_external("other.h5", "/", "outside")?;
        file.link_soft("a/b/outside", "group")?;
        file.link_soft("/group", "again")?;
        inner.link_soft("outside/samples", "relative")
    });
}

/// Soft links that lead to each other.
fn soft_circle(work: &Work) {
    create(work.path("x.h5"), |file| {
        file.link_soft("/second", "samples")?;
        file.link_soft("/samples", "second")
    });
}

/// Far more samples than fit any memory, a single chunk of which is stored.
fn one_stored_chunk(work: &Work) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<f64>().chunk((1, 1024)).shape((1 << 20, 1 << 20));
        builder.create("samples")?.write_slice(&arr2(&[[1.0]]), (0..1, 0..1))
    });
}

/// Rows × columns that 64 bits cannot count, a single chunk of which is stored.
fn beyond_64_bits(work: &Work) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<f64>().chunk((1, 1024)).shape((1 << 31, 1 << 31));
        builder.create("samples")?.write_slice(&arr2(&[[1.0]]), (0..1, 0..1))
    });
}

/// So many samples that their distances fit no disk, a single chunk of which is stored.
fn ten_million_samples(work: &Work) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<u8>().chunk((1000, 1)).shape((10_000_000, 1));
        builder.create("samples")?.write_slice(&arr2(&[[1_u8]]), (0..1, 0..1))
    });
}

/// Samples with a value in row 4, column 2, and another further on.
fn with_value(work: &Work, value: f64) {
    let mut samples = random::<f64>(6, 4, 1);
    samples[(4, 2)] = value;
    samples[(5, 0)] = value;
    write(work.path("x.h5"), &samples);
}

fn compound() -> TypeDescriptor {
    let fields = vec![CompoundField::typed::<f64>("re", 0, 0), CompoundField::typed::<f64>("im", 8, 1)];
    TypeDescriptor::Compound(CompoundType { fields, size: 16 })
}

const NOT_HDF5: &[&str] = &["x.h5", "is not an HDF5 file"];
const TRUNCATED: &[&str] = &["x.h5", "is truncated"];
const NO_MATRIX: &[&str] = &["x.h5", "no two-dimensional numeric dataset"];
const NAMED: &str = "compute x.h5 --dataset samples -o out.h5";

const FILES: &[Case] = &[
    ("missing", nothing, COMPUTE, &["x.h5", "cannot be opened", "No such file"]),
    ("a folder", |w| fs::create_dir(w.path("x.h5")).expect("a folder"), COMPUTE, &["x.h5", "is a folder"]),
    ("a FIFO", |w| fifo(&w.path("x.h5")), COMPUTE, &["x.h5", "not a regular file"]),
    ("empty", |w| fs::write(w.path("x.h5"), "").expect("a file"), COMPUTE, NOT_HDF5),
    ("text", |w| fs::write(w.path("x.h5"), "1.0, 2.0\n").expect("a file"), COMPUTE, NOT_HDF5),
    ("half of it", |w| truncated(w, |len| len / 2), COMPUTE, TRUNCATED),
    ("one byte short", |w| truncated(w, |len| len - 1), COMPUTE, TRUNCATED),
    ("Y missing", good, "compute x.h5 --against y.h5 -o out.h5", &["y.h5", "cannot be opened"]),
];

#[test]
fn what_is_no_whole_hdf5_file_is_refused() {
    for_all(FILES, |case| check(case, &[], 1));
}

const DATASETS: &[Case] = &[
    (
        "none of that name",
        good,
        "compute x.h5 --dataset missing -o out.h5",
        &["x.h5", "\"missing\"", "samples"],
    ),
    (
        "a group",
        |w| create(w.path("x.h5"), |file| add(&file.create_group("group")?, "inside")),
        "compute x.h5 --dataset group -o out.h5",
        &["x.h5", "\"group\"", "is a group", "group/inside"],
    ),
    (
        "two candidates",
        |w| {
            create(w.path("x.h5"), |file| {
                add(file, "first").and_then(|()| add(&file.create_group("group")?, "second"))
            });
        },
        COMPUTE,
        &["x.h5", "--dataset", "first, group/second"],
    ),
    (
        "one dimension",
        |w| written(w, &[1.0; 6], &[6]),
        NAMED,
        &["x.h5", "\"samples\"", "has 1 dimension; expected 2"],
    ),
    (
        "three dimensions",
        |w| written(w, &[1.0; 8], &[2, 2, 2]),
        NAMED,
        &["x.h5", "\"samples\"", "3 dimensions"],
    ),
    ("a scalar", |w| unwritten(w, &F64, &[]), NAMED, &["x.h5", "\"samples\"", "0 dimensions"]),
    ("one dimension, unnamed", |w| written(w, &[1.0; 6], &[6]), COMPUTE, NO_MATRIX),
    ("no samples", |w| unwritten(w, &F64, &[0, 5]), COMPUTE, &["x.h5", "is empty", "0 x 5"]),
    ("no features", |w| unwritten(w, &F64, &[5, 0]), COMPUTE, &["x.h5", "is empty", "5 x 0"]),
    (
        "a dangling soft link",
        |w| create(w.path("x.h5"), |file| file.link_soft("/nowhere", "samples")),
        NAMED,
        &["x.h5", "\"samples\"", "leads nowhere"],
    ),
    ("an external link", external_link, NAMED, &["x.h5", "\"samples\"", "link into another file"]),
    (
        "an external link behind a soft one",
        external_link_behind_a_soft_one,
        NAMED,
        &["x.h5", "\"samples\"", "link into another file"],
    ),
    ("an external link, unnamed", external_link, COMPUTE, NO_MATRIX),
    (
        "an external link, unnamed, behind a soft one",
        external_link_behind_a_soft_one,
        COMPUTE,
        &["x.h5", "no two-dimensional numeric dataset", "\"samples\"", "leads nowhere in this file"],
    ),
    (
        "an external link to a group behind a soft one",
        external_link_on_the_way,
        "compute x.h5 --dataset group/samples -o out.h5",
        &["x.h5", "\"group/samples\"", "link into another file"],
    ),
    (
        "an external link behind two soft ones",
        external_link_on_the_way,
        "compute x.h5 --dataset again/samples -o out.h5",
        &["x.h5", "\"again/samples\"", "link into another file"],
    ),
    (
        "an external link behind a relative soft one",
        external_link_on_the_way,
        "compute x.h5 --dataset /a/b/relative -o out.h5",
        &["x.h5", "\"a/b/relative\"", "link into another file"],
    ),
    ("soft links in a circle", soft_circle, NAMED, &["x.h5", "\"samples\"", "leads nowhere"]),
    (
        "more candidates than anybody reads",
        |w| create(w.path("x.h5"), |file| (0..14).try_for_each(|number| add(file, &format!("m{number:02}")))),
        COMPUTE,
        &["14 two-dimensional numeric datasets", "m09, and 4 more"],
    ),
];

/// A file with something called X that cannot be read, beside a plain matrix.
fn beside_umap(work: &Work, make: impl FnOnce(&hdf5::File) -> hdf5::Result<()>) {
    create(work.path("x.h5"), |file| add(file, "umap").and_then(|()| make(file)));
}

fn sparse_group(file: &hdf5::File, name: &str) -> hdf5::Result<()> {
    let group = file.create_group(name)?;
    group.new_dataset_builder().with_data(&[1.0, 2.0]).create("data")?;
    for part in ["indices", "indptr"] {
        group.new_dataset_builder().with_data(&[0_i32, 1]).create(part)?;
    }
    Ok(())
}

const MEANT: &[Case] = &[
    (
        "booleans",
        |w| {
            beside_umap(w, |file| {
                file.new_dataset_builder().with_data(&arr2(&[[true; 4]; 6])).create("X").map(drop)
            });
        },
        COMPUTE,
        &["x.h5", "\"X\" seems to hold the samples", "booleans", "--dataset: umap"],
    ),
    (
        "complex numbers in a group",
        |w| {
            beside_umap(w, |file| {
                let group = file.create_group("entry")?;
                group.new_dataset_builder().empty_as(compound()).shape((6, 4)).create("data").map(drop)
            });
        },
        COMPUTE,
        &["x.h5", "\"entry/data\" seems to hold the samples", "compound", "--dataset: umap"],
    ),
    (
        "a sparse matrix",
        |w| beside_umap(w, |file| sparse_group(file, "X")),
        COMPUTE,
        &["x.h5", "\"X\" seems to hold the samples", "sparse matrix", "--dataset: umap"],
    ),
    (
        "three dimensions",
        |w| {
            let images = ndarray::Array3::<f32>::zeros((6, 2, 2));
            beside_umap(w, |file| file.new_dataset_builder().with_data(&images).create("data").map(drop));
        },
        COMPUTE,
        &["x.h5", "\"data\" seems to hold the samples", "3 dimensions", "--dataset: umap"],
    ),
    (
        "a link into another file",
        |w| {
            fifo(&w.path("other.h5"));
            beside_umap(w, |file| file.link_external("other.h5", "/X", "X"));
        },
        COMPUTE,
        &["x.h5", "\"X\" seems to hold the samples", "link into another file", "--dataset: umap"],
    ),
    (
        "a sparse matrix that keeps its extent in another file",
        |w| {
            fifo(&w.path("other.bin"));
            beside_umap(w, |file| {
                sparse_group(file, "X")?;
                let extent = file.new_dataset::<i64>().shape(2);
                extent.with_dcpl(|plist| plist.external("other.bin", 0, 16)).create("X/shape").map(drop)
            });
        },
        COMPUTE,
        &["x.h5", "\"X\" seems to hold the samples", "sparse matrix (data, indices, indptr); choose"],
    ),
    (
        "a sparse matrix, by name",
        |w| beside_umap(w, |file| sparse_group(file, "X")),
        "compute x.h5 --dataset X -o out.h5",
        &["x.h5", "\"X\"", "a sparse matrix", "dense", "umap"],
    ),
];

#[test]
fn no_other_dataset_is_taken_for_samples_that_cannot_be_read() {
    for_all(MEANT, |case| check(case, &[], 1));
}

#[test]
fn the_dataset_that_is_used_and_those_passed_over_are_named() {
    let work = Work::new();
    create(work.path("x.h5"), |file| {
        add(file, "X")?;
        file.new_dataset_builder().with_data(&arr2(&[[true; 4]; 6])).create("mask")?;
        sparse_group(file, "raw").and_then(|()| file.link_hard("raw", "layers"))
    });
    for ranks in RANKS {
        let done = work.run(ranks, "compute x.h5 --no-output --json run.json", 0);
        for words in [
            "samples are dataset \"/X\" in x.h5, 6 x 4",
            "passed over",
            "\"mask\": it holds booleans",
            "\"layers\": it is a sparse matrix",
        ] {
            assert_eq!(done.stderr.matches(words).count(), 1, "{words}: {done}");
        }
        assert!(done.stdout.contains("x.h5:/X, 6 x 4"), "{done}");
        assert_eq!(work.record()["inputs"][0]["dataset"], "/X");
    }
    let done = work.run(ALONE, "plan x.h5", 0);
    assert!(done.stderr.contains("samples are dataset \"/X\"") && done.stderr.contains("\"mask\""), "{done}");
}

/// A file with something of each kind, and more candidates than a message names.
fn a_bit_of_everything(work: &Work) {
    create(work.path("x.h5"), |file| {
        (0..11).try_for_each(|number| add(file, &format!("m{number:02}")))?;
        let chunked = file.new_dataset::<f64>().chunk((2, 3)).shuffle().deflate(1).shape((6, 4));
        chunked.create("chunked")?;
        file.new_dataset_builder().with_data(&arr2(&[[true; 4]; 6])).create("mask")?;
        file.new_dataset_builder().empty_as(&TypeDescriptor::VarLenUnicode).shape((6, 4)).create("words")?;
        file.new_dataset::<i16>().shape((6, 2, 2)).create("images")?;
        file.new_dataset::<u8>().shape(6).create("vector")?;
        let row = CompoundType { fields: vec![CompoundField::typed::<i32>("id", 0, 0)], size: 4 };
        file.new_dataset_builder().empty_as(TypeDescriptor::Compound(row)).shape(6).create("table")?;
        let outside = file.new_dataset::<f64>().shape((6, 4));
        outside.with_dcpl(|plist| plist.external("values.bin", 0, 6 * 4 * 8)).create("outside")?;
        let view = file.new_dataset::<f64>().shape((6, 4));
        let shape = (6, 4);
        view.with_dcpl(|plist| plist.virtual_map(".", "m00", shape, .., shape, ..)).create("view")?;
        sparse_group(file, "sparse")
    });
}

#[test]
fn info_lists_what_a_file_holds() {
    let work = Work::new();
    a_bit_of_everything(&work);
    let done = work.run(ALONE, "info x.h5", 0);
    assert!(
        done.stdout.starts_with("x.h5 has 13 two-dimensional numeric datasets; choose one with --dataset: ")
    );
    assert!(done.stdout.contains(", and 3 more\n"), "{done}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    let columns = |name: &str| -> Vec<&str> {
        let line = lines.iter().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {done}"));
        line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
    };
    for (name, rest) in [
        ("m00", &["6 x 4", "float32", "contiguous", "can be read"][..]),
        ("chunked", &["6 x 4", "float64", "chunks of 2 x 3", "shuffle, gzip", "it has no values stored"]),
        ("mask", &["6 x 4", "bool", "contiguous", "can be read"]),
        ("words", &["6 x 4", "text", "contiguous", "it holds text"]),
        ("images", &["6 x 2 x 2", "int16", "contiguous", "it has 3 dimensions: use --flatten"]),
        ("table", &["6", "compound", "contiguous", "it is a table"]),
        ("outside", &["6 x 4", "float64", "external", "it keeps its values in another file"]),
        ("view", &["float64", "virtual", "it is virtual"]),
        ("sparse", &["sparse", "it is a sparse matrix"]),
    ] {
        let columns = columns(name);
        assert_eq!(columns.len(), rest.len() + 1, "{columns:?}");
        assert!(columns[1..].iter().zip(rest).all(|(got, begins)| got.starts_with(begins)), "{columns:?}");
    }
    assert!(!done.stdout.contains("vector"), "{done}");
    // columns begin at the same place in each line
    let of = |line: &&str| line.find("contiguous");
    let places: Vec<_> = lines[2..].iter().filter_map(of).collect();
    assert!(places.len() > 10 && places.iter().all(|place| *place == places[0]), "{done}");

    let done = work.run(ALONE, "info x.h5 --dataset m03", 0);
    assert!(done.stdout.starts_with("dataset \"/m03\" in x.h5: 6 samples of 4 features\n"), "{done}");
    let read = |line: &&str| line.ends_with("  read");
    assert_eq!(done.stdout.lines().filter(read).count(), 1, "{done}");
    assert!(done.stdout.lines().find(read).is_some_and(|line| line.starts_with("m03 ")), "{done}");
    for (name, reason) in [("images", "3 dimensions"), ("words", "text"), ("outside", "external storage")] {
        let done = work.run(ALONE, &format!("info x.h5 --dataset {name}"), 1);
        assert!(done.stdout.is_empty() && done.stderr.contains(reason), "{done}");
    }
}

#[test]
fn info_lists_a_thousand_datasets_and_counts_the_rest() {
    let work = Work::new();
    create(work.path("x.h5"), |file| {
        (0..1013).try_for_each(|number| {
            file.new_dataset::<f32>().shape((6, 4)).create(format!("m{number:04}").as_str()).map(drop)
        })
    });
    let done = work.run(ALONE, "info x.h5", 0);
    assert!(done.stdout.contains("\nm0999  ") && !done.stdout.contains("m1000"), "{done}");
    assert!(done.stdout.ends_with("\nand 13 more\n"), "{done}");
    for arguments in [COMPUTE, "compute x.h5 --dataset no -o out.h5"] {
        let done = work.run(ALONE, arguments, 1);
        assert!(done.stderr.contains("m0009, and 1003 more") && done.stderr.len() < 1000, "{done}");
    }
}

#[test]
fn groups_by_the_ten_thousand_are_gone_through_in_linear_time() {
    let work = Work::new();
    create(work.path("x.h5"), |file| {
        add(file, "samples")?;
        (0..40_000).try_for_each(|number| file.create_group(&format!("g{number}")).map(drop))
    });
    // in quadratic time it took ten seconds and more
    let begin = std::time::Instant::now();
    let done = work.run(ALONE, "info x.h5", 0);
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
    assert!(done.stdout.contains("6 samples of 4 features"), "{done}");
}

/// A file system without locks, with the error that it gives.
fn no_locks(work: &Work, error: i32) {
    preloaded(
        work,
        &format!("#include <errno.h>\nint flock(int file, int operation) {{ errno = {error}; return -1; }}"),
    );
}

#[test]
fn files_are_read_and_written_where_there_are_no_locks() {
    // ENOLCK, ENOSYS, EOPNOTSUPP, ENOTSUPP of the kernel, EROFS
    for_all(&[37, 38, 95, 524, 30], |&error| {
        let work = Work::new();
        good(&work);
        no_locks(&work, error);
        for ranks in RANKS {
            let done = work.program(ranks).through(PRELOAD).run("compute x.h5 -o out.h5");
            assert_eq!(done.code, 0, "{done}");
            // 38 is ENOSYS, the system has no locks: HDF5 opens the file all the same, so this program has nothing to warn of
            let warnings = if error == 38 { 0 } else { ranks.max(1) };
            assert_eq!(done.stderr.matches("x.h5 is read without a lock").count(), warnings, "{done}");
            let done = work.program(ranks).through(PRELOAD).run("verify out.h5");
            assert_eq!(done.code, 0, "{done}");
            fs::remove_file(work.path("out.h5")).expect("a result");
        }
        let done = work.program(ALONE).through(PRELOAD).run("info x.h5");
        assert_eq!(done.code, 0, "{done}");
        let done = work.program(ALONE).through(PRELOAD).run("generate y.h5 --samples 3 --features 2");
        assert_eq!(done.code, 0, "{done}");
        let program = work.program(ALONE).env("HDF5_USE_FILE_LOCKING", "FALSE").through(PRELOAD);
        let done = program.run("info x.h5");
        assert!(done.code == 0 && !done.stderr.contains("without a lock"), "{done}");
    });
}

#[test]
fn a_file_that_another_program_writes_is_refused() {
    let work = Work::new();
    good(&work);
    let held = fs::File::open(work.path("x.h5")).expect("the input");
    held.lock().expect("a lock, as HDF5 has it on a file that it writes");
    for (arguments, ranks) in [(COMPUTE, ALONE), (COMPUTE, 3), ("plan x.h5", ALONE), ("info x.h5", ALONE)] {
        let done = work.run(ranks, arguments, 1);
        let words = "pairdist: x.h5 is open for writing in another program; close it there";
        assert_eq!(done.stderr.matches(words).count(), 1, "{done}");
        assert!(!done.stderr.contains("h5dump"), "{done}");
    }
    drop(held);
    work.run(ALONE, COMPUTE, 0);
}

#[test]
fn a_soft_link_of_a_usual_name_may_lead_to_a_group() {
    let work = Work::new();
    create(work.path("x.h5"), |file| {
        add(&file.create_group("entry")?, "matrix")?;
        file.link_soft("entry", "data")
    });
    let done = work.run(ALONE, "compute x.h5 --no-output", 0);
    assert!(!done.stderr.contains("passed over"), "{done}");
    // unless the group is a sparse matrix
    edit(work.path("x.h5"), |file| sparse_group(file, "csr").and_then(|()| file.link_soft("csr", "X")));
    let done = work.run(ALONE, "compute x.h5 --no-output", 1);
    assert!(done.stderr.contains("\"X\" seems to hold the samples, but it is a sparse matrix"), "{done}");
}

#[test]
fn soft_links_lead_to_samples_also_where_other_links_leave_the_file() {
    let work = Work::new();
    fifo(&work.path("other.h5"));
    create(work.path("x.h5"), |file| {
        let group = file.create_group("entry")?.create_group("inner")?;
        add(&group, "matrix")?;
        group.link_soft("matrix", "relative")?;
        group.link_soft("/entry/inner/relative", "twice")?;
        file.link_soft("entry/inner", "short")?;
        file.link_external("other.h5", "/samples", "outside")
    });
    work.run(ALONE, "compute x.h5 --dataset entry/inner/matrix --no-output --json run.json", 0);
    let digest = work.record()["inputs"][0]["digest"].clone();
    for (name, ranks) in [("short/matrix", ALONE), ("short/twice", 2), ("/entry/inner/relative", ALONE)] {
        work.run(ranks, &format!("compute x.h5 --dataset {name} --no-output --json run.json"), 0);
        assert_eq!(work.record()["inputs"][0]["digest"], digest, "{name}");
    }
}

#[test]
fn what_is_no_single_matrix_is_refused() {
    for_all(DATASETS, |case| check(case, &[], 1));
}

/// An enumeration of other things than true and false.
fn colours() -> TypeDescriptor {
    let members = [("RED", 0), ("GREEN", 1)].map(|(name, value)| EnumMember { name: name.into(), value });
    TypeDescriptor::Enum(EnumType { size: IntSize::U1, signed: true, members: members.into() })
}

const TYPES: &[Case] = &[
    (
        "text",
        |w| unwritten(w, &TypeDescriptor::VarLenUnicode, &[6, 4]),
        NAMED,
        &["x.h5", "\"samples\"", "holds text"],
    ),
    ("compound", |w| unwritten(w, &compound(), &[6, 4]), NAMED, &["x.h5", "\"samples\"", "compound"]),
    ("colours", |w| unwritten(w, &colours(), &[6, 4]), NAMED, &["x.h5", "\"samples\"", "enumeration"]),
    ("colours, unnamed", |w| unwritten(w, &colours(), &[6, 4]), COMPUTE, NO_MATRIX),
];

#[test]
fn values_that_are_no_real_numbers_are_refused() {
    for_all(TYPES, |case| check(case, &[], 1));
}

/// Six chunks, of which one is written.
fn chunks_missing(
    work: &Work,
    change: impl FnOnce(hdf5::DatasetBuilderEmptyShape) -> hdf5::DatasetBuilderEmptyShape,
) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset::<f64>().chunk((2, 3)).shape((6, 4));
        change(builder).create("samples")?.write_slice(&arr2(&[[1.5]]), (2..3, 0..1))
    });
}

#[test]
fn missing_chunks_are_read_as_the_fill_value_where_that_is_allowed() {
    for_all(&[(0.0, ALONE), (-2.0, 3)], |&(fill, ranks)| {
        let work = Work::new();
        chunks_missing(&work, |builder| if fill == 0.0 { builder } else { builder.fill_value(fill) });
        let done = work.run(ranks, "compute x.h5 -o out.h5 --allow-missing-chunks --json run.json", 0);
        let words = format!("5 of its 6 chunks were never written and are read as its fill value {fill}");
        assert!(done.stderr.contains(&words), "{done}");
        assert_eq!(work.record()["inputs"][0]["missing_chunks"], 5);
        let mut samples = Array2::from_elem((6, 4), fill);
        samples[(2, 0)] = 1.5;
        let expected = definition(Metric::Euclidean, &samples, &samples);
        let way = (Metric::Euclidean, Method::fastest(&Metric::Euclidean.into(), 4, Content::Any), 4, 0);
        assert_within_tolerance("filled", way, &distances::<f64>(work.path("out.h5")), &expected);
        work.run(ALONE, "verify out.h5 --all", 0);
    });
}

fn small(number: usize) -> i32 {
    number.try_into().expect("it is small")
}

/// A file of integers with attributes.
fn with_attributes(work: &Work, attributes: &[(&str, f64)]) {
    create(work.path("x.h5"), |file| {
        let samples = Array2::from_shape_fn((6, 4), |(row, column)| small(4 * row + column));
        let dataset = file.new_dataset_builder().with_data(&samples).create("samples")?;
        attributes
            .iter()
            .try_for_each(|&(name, value)| dataset.new_attr::<f64>().create(name)?.write_scalar(&value))
    });
}

#[test]
fn what_attributes_say_of_the_values_is_told() {
    type Told<'a> = (&'a [(&'a str, f64)], &'a [&'a str]);
    let cases: [Told; 5] = [
        (
            &[("_FillValue", 17.0)],
            &[
                "_FillValue or missing_value calls 1 value in 1 of 6 samples missing, the first is 17 in row 4, column 1",
            ],
        ),
        (
            &[("missing_value", 23.0), ("_FillValue", 0.0)],
            &["calls 2 values in 2 of 6 samples missing, the first is 0 in row 0"],
        ),
        (&[("_FillValue", 17.5), ("missing_value", -1.0)], &[]),
        (&[("scale_factor", 0.5), ("add_offset", 3.0)], &["value * 0.5 + 3", "as they are stored"]),
        (&[("MATLAB_class", 1.0)], &["MATLAB", "by columns", "its 6 samples here", "--transpose"]),
    ];
    for_all(&cases, |(attributes, words)| {
        let work = Work::new();
        with_attributes(&work, attributes);
        for ranks in RANKS {
            let done = work.run(ranks, "compute x.h5 --no-output", 0);
            let is_warning = |line: &&str| line.contains(" WARN ") && line.contains("dataset \"/samples\"");
            let warnings = done.stderr.lines().filter(is_warning).count();
            assert_eq!(warnings, usize::from(!words.is_empty()), "{done}");
            for word in *words {
                assert!(done.stderr.contains(word), "no \"{word}\": {done}");
            }
        }
    });
}

/// Whole numbers of 64 bits, as columns of a file each.
fn whole_numbers(work: &Work, name: &str, first: u64) {
    let values = Array2::from_shape_fn((30, 2), |(row, column)| first + 100 * row as u64 + column as u64);
    write_as(work, name, &values);
}

fn write_as<T: H5Type>(work: &Work, name: &str, values: &Array2<T>) {
    create(work.path(name), |file| file.new_dataset_builder().with_data(values).create("samples").map(drop));
}

const BIG: u64 = 1_600_000_000_000_000_001;

#[test]
fn whole_numbers_beyond_53_bits_keep_their_digits_where_a_common_number_can_be_taken_off() {
    let work = Work::new();
    whole_numbers(&work, "x.h5", BIG);
    whole_numbers(&work, "y.h5", BIG + 7);
    let moves = |metric: &&Metric| metric.ignores_shifts() && !Given::from(**metric).takes_samples();
    for metric in Metric::ALL.iter().filter(moves) {
        let command = format!(
            "compute x.h5 --against y.h5 -o out.h5 --force --tile 8 --metric {metric} --json run.json"
        );
        let done = work.run(3, &command, 0);
        assert!(done.stderr.contains("1600000000000001455 is taken off every value"), "{done}");
        assert!(done.stdout.contains("less 1600000000000001455"), "{done}");
        for input in work.record()["inputs"].as_array().expect("two inputs") {
            assert_eq!((&input["subtracted"], &input["rounded"]), (&"1600000000000001455".into(), &0.into()));
        }
        let less = |first: u64| {
            Array2::from_shape_fn((30, 2), |(row, column)| (first + 100 * row as u64 + column as u64) as f64)
        };
        let expected = definition(*metric, &less(0), &less(7));
        let way = (*metric, Method::fastest(&(*metric).into(), 2, Content::Any), 2, 0);
        assert_within_tolerance("whole numbers", way, &distances::<f64>(work.path("out.h5")), &expected);
        work.run(2, "verify out.h5 --all", 0);
        work.run(ALONE, "verify out.h5", 0);
    }
}

#[test]
fn a_result_with_a_number_taken_off_is_known_again_and_differs_from_one_without() {
    let work = Work::new();
    whole_numbers(&work, "x.h5", BIG);
    work.run(2, "compute x.h5 -o out.h5 --tile 8", 0);
    let done = work.run(3, "compute x.h5 -o out.h5 --tile 8 --resume", 0);
    assert!(done.stderr.contains("complete already"), "{done}");
    // the same numbers from 0 on have the same distances, and the digest of others
    whole_numbers(&work, "x.h5", 0);
    let done = work.run(ALONE, "compute x.h5 -o out.h5 --tile 8 --resume", 1);
    assert!(done.stderr.contains("what is taken off"), "{done}");
}

#[test]
fn whole_numbers_that_are_rounded_are_told_with_the_first() {
    for_all(&[("", ALONE), ("", 3), ("--dtype f32", 2)], |&(option, ranks)| {
        let work = Work::new();
        let mut values = Array2::from_shape_fn((30, 2), |(row, _)| i64::from(small(row)));
        values[(20, 1)] = i64::MIN + 1;
        values[(25, 0)] = i64::MAX;
        write_as(&work, "x.h5", &values);
        let done = work.run(ranks, &format!("compute x.h5 --no-output --tile 8 {option}"), 0);
        let words = "2 values in 2 of 30 samples are rounded";
        assert!(done.stderr.contains(words), "{done}");
        assert!(done.stderr.contains("the first is -9223372036854775807 in row 20, column 1"), "{done}");
        assert!(!done.stderr.contains("taken off"), "{done}");
    });
}

const STORAGE: &[Case] = &[
    ("external storage", external_storage, COMPUTE, &["x.h5", "\"samples\"", "external storage"]),
    ("a virtual dataset", virtual_dataset, COMPUTE, &["x.h5", "\"samples\"", "virtual"]),
    (
        "a missing filter",
        missing_filter,
        COMPUTE,
        &["x.h5", "\"samples\"", "filter 12345", "no part of HDF5", "HDF5_PLUGIN_PATH"],
    ),
    (
        "chunks that were never written",
        |w| chunks_missing(w, |builder| builder),
        COMPUTE,
        &[
            "x.h5",
            "\"/samples\"",
            "5 of its 6 chunks were never written",
            "fill value 0",
            "--allow-missing-chunks",
        ],
    ),
    (
        "chunks that were never written, and no fill value",
        |w| chunks_missing(w, |builder| builder.fill_time(hdf5::plist::dataset_create::FillTime::Never)),
        "compute x.h5 -o out.h5 --allow-missing-chunks",
        &["x.h5", "5 of its 6 chunks were never written", "no value"],
    ),
    ("nothing stored", |w| unwritten(w, &F64, &[1 << 20, 1 << 20]), COMPUTE, &["x.h5", "no values stored"]),
];

#[test]
fn values_that_are_not_stored_in_the_file_are_refused() {
    for_all(STORAGE, |case| check(case, &[], 1));
}

const VALUES: &[Case] = &[
    (
        "NaN",
        |w| with_value(w, f64::NAN),
        COMPUTE,
        &[
            "x.h5",
            "2 values in 2 of 6 samples are NaN",
            "the first is NaN in row 4, column 2",
            "--allow-nonfinite",
        ],
    ),
    (
        "infinity",
        |w| with_value(w, f64::NEG_INFINITY),
        COMPUTE,
        &["x.h5", "2 values in 2 of 6 samples are infinite, the first is -inf in row 4, column 2"],
    ),
    (
        "NaN and infinities on several ranks",
        |w| {
            let mut samples = random::<f32>(60, 4, 1);
            samples.row_mut(7).fill(f32::NAN);
            samples[(50, 3)] = f32::NAN;
            samples[(59, 0)] = f32::INFINITY;
            write(w.path("x.h5"), &samples);
        },
        "compute x.h5 -o out.h5 --tile 10",
        &[
            "5 values in 2 of 60 samples are NaN, the first is NaN in row 7, column 0",
            "1 value in 1 of 60 samples is infinite, the first is inf in row 59, column 0",
        ],
    ),
    (
        "too large for f32",
        |w| with_value(w, 1e300),
        "compute x.h5 -o out.h5 --dtype f32",
        &[
            "x.h5",
            "2 values in 2 of 6 samples are too large for f32, the first is 1e300 in row 4, column 2",
            "--dtype f64",
        ],
    ),
    (
        "too small for f32",
        |w| write(w.path("x.h5"), &(random::<f64>(6, 4, 1) * 1e-50)),
        "compute x.h5 -o out.h5 --dtype f32",
        &["x.h5", "all values are too small for f32 and would be 0", "--dtype f64"],
    ),
    (
        "X and Y differ",
        |w| {
            good(w);
            write(w.path("y.h5"), &random::<f64>(6, 3, 1));
        },
        "compute x.h5 --against y.h5 -o out.h5",
        &["x.h5", "4 features", "y.h5", "has 3"],
    ),
];

#[test]
fn values_that_have_no_distance_are_refused() {
    for_all(VALUES, |case| check(case, &[], 1));
}

const OUTPUTS: &[Case] = &[
    ("the input", good, "compute x.h5 -o x.h5 --force", &["x.h5", "is an input"]),
    (
        "the second input",
        |w| {
            good(w);
            fs::copy(w.path("x.h5"), w.path("y.h5")).expect("a copy");
        },
        "compute x.h5 --against y.h5 -o y.h5 --force",
        &["y.h5", "is an input"],
    ),
    (
        "another name of the input",
        |w| {
            good(w);
            fs::hard_link(w.path("x.h5"), w.path("out.h5")).expect("a hard link");
        },
        "compute x.h5 -o out.h5 --force",
        &["out.h5", "is an input"],
    ),
    (
        "a symbolic link",
        |w| {
            good(w);
            symlink("elsewhere.h5", w.path("out.h5")).expect("a symbolic link");
        },
        "compute x.h5 -o out.h5 --force",
        &["out.h5", "symbolic link"],
    ),
    (
        "a folder",
        |w| {
            good(w);
            fs::create_dir(w.path("out.h5")).expect("a folder");
        },
        "compute x.h5 -o out.h5 --force",
        &["out.h5", "not a regular file"],
    ),
    ("a folder that is missing", good, "compute x.h5 -o missing/out.h5", &["missing", "is not a folder"]),
    ("below a file", good, "compute x.h5 -o x.h5/out.h5", &["x.h5", "is not a folder"]),
    // the one place where not even root can make a file
    ("a folder that nobody can write to", good, "compute x.h5 -o /proc/out.h5", &["/proc"]),
    ("generated over a file", good, "generate x.h5 --samples 5 --features 2", &["x.h5 exists"]),
    (
        "an input in the working folder",
        |w| {
            fs::create_dir(w.path("out.h5.partial")).expect("a folder");
            write(w.path("out.h5.partial/x.h5"), &random::<f64>(6, 4, 1));
        },
        "compute out.h5.partial/x.h5 -o out.h5 --force",
        &["out.h5.partial/x.h5", "lies in", "would empty"],
    ),
    (
        "a working folder with other things in it",
        |w| {
            good(w);
            fs::create_dir(w.path("out.h5.partial")).expect("a folder");
            fs::write(w.path("out.h5.partial/thesis.tex"), "precious").expect("a file");
        },
        "compute x.h5 -o out.h5 --force",
        &["out.h5.partial", "thesis.tex", "move it away"],
    ),
];

#[test]
fn results_that_cannot_be_written_without_harm_are_refused() {
    for_all(OUTPUTS, |case| check(case, &[], 1));
}

const LIMITS: &[Case] = &[
    (
        "more samples than any disk",
        nothing,
        "generate out.h5 --samples 1000000000 --features 1000000",
        &["8000.00 TB", "free", "make room"],
    ),
    (
        "more values than 64 bits can count",
        beyond_64_bits,
        COMPUTE,
        &["x.h5", "\"samples\"", "more than any memory"],
    ),
    (
        "more distances than any disk",
        ten_million_samples,
        "compute x.h5 -o out.h5 --allow-missing-chunks",
        &["400.00 TB", "free", "make room"],
    ),
    (
        "more neighbours than any memory",
        one_stored_chunk,
        "compute x.h5 -o out.h5 --allow-missing-chunks --neighbors 100000",
        &["memory", "are free", "lists of neighbours take"],
    ),
];

#[test]
fn what_fits_no_disk_or_memory_is_refused_before_anything_is_written() {
    for_all(LIMITS, |case| check(case, &[], 1));
    // tile buffers of 60 GB for each core
    let threads = 16 * std::thread::available_parallelism().expect("a number of cores").get();
    let arguments = format!("compute x.h5 -o out.h5 --tile 11000 --threads {threads}").leak();
    let samples = |w: &Work| write(w.path("x.h5"), &random::<f64>(300_000, 1, 1));
    check(&("more tiles than any memory", samples, arguments, &["memory", "are free", "--tile"]), &[], 1);
    // the layout that is named fits: only the size of the file is refused then
    let work = Work::new();
    samples(&work);
    let refused = work.run(ALONE, arguments, 1);
    let (_, options) = refused.stderr.trim().rsplit_once("; use --").unwrap_or_else(|| panic!("{refused}"));
    let given = if options.contains("--threads") { "" } else { &format!("--threads {threads}") };
    let program = work.program(ALONE).through("ulimit -f 1000000; exec \"$@\"");
    let done = program.run(&format!("compute x.h5 -o out.h5 {given} --{options}"));
    assert!(done.code == 1 && done.stderr.contains("the result takes 720.00 GB"), "{done}");
}

const RESULTS: &[Case] = &[
    ("verify samples", good, "verify x.h5", &["x.h5", "no result of pairdist"]),
    ("verify text", |w| fs::write(w.path("x.h5"), "text").expect("a file"), "verify x.h5", NOT_HDF5),
    ("info of nothing", nothing, "info x.h5", &["x.h5", "cannot be opened"]),
    (
        "verify without the samples",
        |w| {
            good(w);
            w.run(ALONE, COMPUTE, 0);
            fs::remove_file(w.path("x.h5")).expect("the input");
        },
        "verify out.h5",
        &["x.h5, which out.h5 was computed from, is not there", "name the file with --samples"],
    ),
    (
        "a result whose distances are a link into another file",
        |w| {
            good(w);
            w.run(ALONE, COMPUTE, 0);
            fifo(&w.path("other.h5"));
            edit(w.path("out.h5"), |file| {
                file.unlink("distances")?;
                file.link_external("other.h5", "/distances", "distances")
            });
        },
        "verify out.h5",
        &["out.h5 is damaged", "\"distances\" is a link"],
    ),
    (
        "a result of more distances than 64 bits can count",
        |w| {
            good(w);
            w.run(ALONE, COMPUTE, 0);
            edit(w.path("out.h5"), |file| {
                file.unlink("distances")?;
                let builder = file.new_dataset::<f64>().chunk((6, 6)).shape((1 << 33, 1 << 33));
                builder.create("distances").map(drop)
            });
        },
        "verify out.h5",
        &["out.h5 is damaged", "its sizes are impossible: 8589934592 x 8589934592"],
    ),
    (
        "verify with other samples",
        |w| {
            good(w);
            w.run(ALONE, COMPUTE, 0);
            write(w.path("x.h5"), &random::<f64>(6, 4, 2));
        },
        "verify out.h5 --all",
        &["x.h5 holds other samples than out.h5 was computed from", "digest", "--samples"],
    ),
    (
        "verify some pairs with other samples",
        |w| {
            good(w);
            w.run(ALONE, COMPUTE, 0);
            write(w.path("x.h5"), &random::<f64>(6, 4, 2));
        },
        "verify out.h5",
        &["x.h5 holds other samples than out.h5 was computed from", "digest", "--samples"],
    ),
];

#[test]
fn what_is_no_result_is_refused() {
    for_all(RESULTS, |case| check(case, &[], 1));
}

/// Usage that only shows once the problem is known, with the environment it needs.
type Usage = (Case, &'static [(&'static str, &'static str)]);

const USAGE: &[Usage] = &[
    (
        (
            "a tile over 1 GiB",
            |w| write(w.path("x.h5"), &random::<f64>(11_600, 1, 1)),
            "compute x.h5 -o out.h5 --tile 11600",
            &["--tile 11600", "1076480000", "1073741824"],
        ),
        &[],
    ),
    (
        (
            "no Gram form",
            good,
            "compute x.h5 -o out.h5 --kernel gemm --metric cityblock",
            &["--kernel gemm", "cityblock"],
        ),
        &[],
    ),
    (
        (
            "no Gram form where missing values are skipped",
            good,
            "compute x.h5 -o out.h5 --kernel gemm --skip-missing",
            &["--kernel gemm", "euclidean with --skip-missing"],
        ),
        &[],
    ),
    (
        (
            "a metric that does not skip missing values",
            good,
            "compute x.h5 -o out.h5 --skip-missing --metric braycurtis",
            &[
                "--skip-missing",
                "braycurtis",
                "sqeuclidean, euclidean, cityblock, chebyshev, minkowski, canberra, hamming",
            ],
        ),
        &[],
    ),
    (
        (
            "threads beyond any node",
            good,
            "compute x.h5 -o out.h5 --threads 20000",
            &["--threads 20000", "at most"],
        ),
        &[],
    ),
    (
        (
            "the record over the input",
            good,
            "compute x.h5 -o out.h5 --json x.h5",
            &["--json x.h5", "an input"],
        ),
        &[],
    ),
    (
        (
            "the record over the result",
            good,
            "compute x.h5 -o out.h5 --json ./out.h5",
            &["--json ./out.h5", "result"],
        ),
        &[],
    ),
    (
        (
            "the record over a file of another kind",
            |w| {
                good(w);
                write(w.path("other.h5"), &random::<f64>(5, 3, 1));
            },
            "compute x.h5 -o out.h5 --json other.h5",
            &["--json other.h5", "no run record"],
        ),
        &[],
    ),
    (
        (
            "the record over a JSON file of somebody else",
            |w| {
                good(w);
                let package = "{\"name\": \"app\", \"problem\": {\"n\": 3}, \"ranks\": 2}";
                fs::write(w.path("package.json"), package).expect("a file");
            },
            "compute x.h5 -o out.h5 --json package.json",
            &["--json package.json", "no run record"],
        ),
        &[],
    ),
    (
        ("a number of cores that is none", good, COMPUTE, &["SLURM_CPUS_PER_TASK=banana", "number of cores"]),
        &[("SLURM_CPUS_PER_TASK", "banana")],
    ),
    (
        ("more cores than any node has", good, COMPUTE, &["SLURM_CPUS_PER_TASK 20000", "at most"]),
        &[("SLURM_CPUS_PER_TASK", "20000")],
    ),
    (
        (
            "the record in no folder",
            good,
            "compute x.h5 -o out.h5 --json no/r.json",
            &["--json no/r.json", "folder"],
        ),
        &[],
    ),
    (
        (
            "a second input of a result that has one",
            |w| {
                good(w);
                w.run(ALONE, COMPUTE, 0);
            },
            "verify out.h5 --against x.h5",
            &["--against: out.h5 was computed from one input", "leave the option out"],
        ),
        &[],
    ),
    (
        ("an unknown SIMD level", good, COMPUTE, &["PAIRDIST_SIMD=nonsense", "portable"]),
        &[("PAIRDIST_SIMD", "nonsense")],
    ),
];

#[test]
fn usage_that_does_not_fit_the_problem_is_refused_with_code_2() {
    for_all(USAGE, |(case, environment)| check(case, environment, 2));
}

/// Arguments that the parser refuses, and words that its message must have.
const PARSED: [(&str, &[&str]); 15] = [
    ("compute x.h5 -o out.h5 --tile 0", &["--tile", "at least 1"]),
    ("compute x.h5 -o out.h5 --tile -1", &["-1"]),
    ("compute x.h5 -o out.h5 --threads 0", &["--threads", "at least 1"]),
    (
        "compute x.h5 -o out.h5 --metric kulczynski1",
        &[
            "--metric",
            "kulczynski1",
            "the metrics are sqeuclidean, euclidean, cityblock, chebyshev, minkowski,",
        ],
    ),
    ("compute x.h5 -o out.h5 --metric minkowski --p 0", &["--p", "larger than 0"]),
    ("compute x.h5 -o out.h5 --p 3", &["--p", "euclidean has no order"]),
    ("compute x.h5 -o out.h5 --dtype f16", &["--dtype", "f16", "f32"]),
    ("compute x.h5 -o out.h5 --kernel fast", &["--kernel", "fast", "gemm"]),
    ("compute x.h5", &["--output"]),
    ("compute x.h5 -o out.h5 --no-output", &["--no-output"]),
    ("compute x.h5 -o out.h5 --against-dataset y", &["--against"]),
    ("generate out.h5 --samples 0 --features 5", &["--samples", "at least 1"]),
    ("verify out.h5 --all --pairs 5", &["--all", "--pairs"]),
    ("verify out.h5 --all --seed 5", &["--all", "--seed"]),
    ("calculate x.h5", &["calculate"]),
];

#[test]
fn a_wrong_command_line_is_refused_with_code_2_and_its_word_named() {
    for_all(&PARSED, |(arguments, words)| {
        let work = Work::new();
        good(&work);
        for ranks in RANKS {
            let done = work.run(ranks, arguments, 2);
            let missing: Vec<_> = words.iter().filter(|word| !done.stderr.contains(**word)).collect();
            assert!(missing.is_empty(), "no {missing:?}: {done}");
            assert_eq!(work.list(), ["x.h5"]);
        }
    });
}

/// A file that stands where the result is to be, and is no result: its name, and what makes it.
type Precious = (&'static str, fn(&Work));

const PRECIOUS: [Precious; 3] = [
    ("samples", |w| write(w.path("out.h5"), &random::<f64>(5, 3, 1))),
    ("text", |w| fs::write(w.path("out.h5"), "precious").expect("a file")),
    ("generated samples", |w| {
        w.run(ALONE, "generate out.h5 --samples 5 --features 3", 0);
    }),
];

#[test]
fn force_overwrites_results_only() {
    for_all(&PRECIOUS, |(what, make)| {
        let work = Work::new();
        good(&work);
        make(&work);
        let before = fs::read(work.path("out.h5")).expect("the file");
        for ranks in RANKS {
            let done = work.run(ranks, "compute x.h5 -o out.h5 --force", 1);
            assert!(done.stderr.contains("which is all that --force overwrites"), "{what}: {done}");
            assert!(fs::read(work.path("out.h5")).expect("the file") == before, "{what}");
            assert_eq!(work.list(), ["out.h5", "x.h5"], "{what}");
        }
        // the way out
        fs::remove_file(work.path("out.h5")).expect("it is there");
        work.run(ALONE, "compute x.h5 -o out.h5 --force", 0);
        work.run(ALONE, "compute x.h5 -o out.h5 --force --metric cityblock", 0);
    });
}

#[test]
fn a_result_that_another_program_has_open_is_not_called_foreign() {
    let work = Work::new();
    good(&work);
    work.run(ALONE, COMPUTE, 0);
    let mut done = None;
    // HDF5 locks it as long as it is open to be written
    edit(work.path("out.h5"), |_| {
        done = Some(
            std::process::Command::new(common::launch::BINARY)
                .args(["compute", "x.h5", "-o", "out.h5", "--force"])
                .current_dir(work.path("."))
                .output()
                .expect("the program"),
        );
        Ok(())
    });
    let done = done.expect("it has run");
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("does not show that it is a result of pairdist"), "{told}");
    work.run(ALONE, "compute x.h5 -o out.h5 --force", 0);
}

#[test]
fn digits_that_samples_lose_in_f32_are_told() {
    let work = Work::new();
    write(work.path("x.h5"), &(random::<f64>(6, 4, 1) * 1e-41));
    let done = work.run(2, "compute x.h5 -o out.h5 --dtype f32", 0);
    assert!(done.stderr.contains("all values lose digits in f32"), "{done}");
    write(work.path("x.h5"), &(random::<f64>(6, 4, 1) * 1e-30));
    let done = work.run(2, "compute x.h5 -o out.h5 --dtype f32 --force", 0);
    assert!(!done.stderr.contains("lose digits"), "{done}");
}

#[test]
fn a_record_is_no_named_pipe_and_not_in_the_working_folder() {
    let work = Work::new();
    good(&work);
    fifo(&work.path("pipe"));
    for (command, words) in [
        ("compute x.h5 -o out.h5 --json pipe", "--json pipe: it is a named pipe"),
        ("plan x.h5 --json pipe", "--json pipe: it is a named pipe"),
        (
            "compute x.h5 -o out.h5 --json out.h5.partial",
            "--json out.h5.partial: it is an input or the result",
        ),
    ] {
        let done = work.run(ALONE, command, 2);
        assert!(done.stderr.contains(words), "{done}");
        assert_eq!(work.list(), ["pipe", "x.h5"]);
    }
    // pipes of a shell have a reader
    let done = work.program(ALONE).run("compute x.h5 -o out.h5 --json /dev/stdout");
    assert!(done.code == 0 && done.stdout.contains("\"digest\""), "{done}");
}

#[test]
fn samples_with_a_format_version_of_their_own_are_samples() {
    let work = Work::new();
    good(&work);
    edit(work.path("x.h5"), |file| file.new_attr::<u32>().create("format_version")?.write_scalar(&1_u32));
    let done = work.run(ALONE, "info x.h5", 0);
    assert!(done.stdout.contains("6 samples of 4 features"), "{done}");
    work.run(ALONE, COMPUTE, 0);
}

#[test]
fn a_plan_does_not_replace_the_record_of_a_run_nor_the_other_way_round() {
    let work = Work::new();
    good(&work);
    work.run(ALONE, "compute x.h5 -o out.h5 --json run.json", 0);
    work.run(ALONE, "plan x.h5 --json plan.json", 0);
    let done = work.run(ALONE, "plan x.h5 --json run.json", 2);
    assert!(done.stderr.contains("--json run.json: it exists and is no plan"), "{done}");
    let done = work.run(ALONE, "compute x.h5 -o out.h5 --force --json plan.json", 2);
    assert!(done.stderr.contains("--json plan.json: it exists and is no run record"), "{done}");
    work.run(ALONE, "plan x.h5 --json plan.json", 0);
}

#[test]
fn pipes_in_a_working_folder_are_not_opened() {
    for_all(&["journal.0", "plan.json", "lock"], |name| {
        let work = Work::new();
        good(&work);
        work.run(ALONE, "compute x.h5 -o out.h5 --time-limit 00:00:00", 75);
        fs::remove_file(work.path("out.h5.partial").join(name)).expect("a file of the run");
        fifo(&work.path("out.h5.partial").join(name));
        for command in ["compute x.h5 -o out.h5 --resume", "compute x.h5 -o out.h5 --force", "info out.h5"] {
            let done = work.run(ALONE, command, 1);
            assert!(done.stderr.contains(&format!("out.h5.partial holds {name}")), "{done}");
        }
    });
}

#[test]
fn every_way_out_of_a_name_that_is_taken_works() {
    let work = Work::new();
    good(&work);
    // generate can neither replace nor resume
    let done = work.run(ALONE, "generate x.h5 --samples 3 --features 2", 1);
    assert!(done.stderr.contains("x.h5 exists; remove it, or choose another name"), "{done}");
    // what is somebody else's, nobody is told to remove
    fs::create_dir(work.path("out.h5.partial")).expect("a folder");
    fs::write(work.path("out.h5.partial/thesis.txt"), "mine").expect("a file");
    let done = work.run(ALONE, COMPUTE, 1);
    assert!(
        done.stderr.contains("out.h5.partial holds thesis.txt") && done.stderr.contains("move it away"),
        "{done}"
    );
    fs::write(work.path("other.h5.partial"), "mine").expect("a file");
    let done = work.run(ALONE, "compute x.h5 -o other.h5 --force", 1);
    assert!(done.stderr.contains("other.h5.partial is in the way"), "{done}");
    for name in ["new/", ".", "/"] {
        let done = work.run(ALONE, &format!("compute x.h5 -o {name}"), 1);
        assert!(
            done.stderr.contains("names no file") || done.stderr.contains("not a regular file"),
            "{done}"
        );
    }
    let done = work.run(ALONE, &format!("compute x.h5 -o {}", "n".repeat(252)), 1);
    assert!(done.stderr.contains("has 252 bytes; it may have 247"), "{done}");
    work.run(ALONE, &format!("compute x.h5 -o {}", "n".repeat(247)), 0);
}

#[test]
fn a_record_that_is_not_written_is_told() {
    let work = Work::new();
    good(&work);
    work.run(2, COMPUTE, 0);
    let done = work.run(2, "compute x.h5 -o out.h5 --resume --json run.json", 0);
    assert!(done.stderr.contains("no run record is written"), "{done}");
    assert_eq!(work.list(), ["out.h5", "x.h5"]);
}

#[test]
fn an_empty_file_may_be_overwritten() {
    let work = Work::new();
    good(&work);
    for name in ["out.h5", "run.json"] {
        fs::write(work.path(name), "").expect("a file");
    }
    work.run(2, "compute x.h5 -o out.h5 --force --json run.json", 0);
    assert_eq!(work.record()["ranks"], 2);
    // and a record by a later one
    work.run(3, "compute x.h5 -o out.h5 --force --json run.json", 0);
    assert_eq!(work.record()["ranks"], 3);
    assert_eq!(work.list(), ["out.h5", "run.json", "x.h5"]);
}

#[test]
fn a_folder_of_somebody_else_is_not_emptied() {
    for_all(&["matrix.h5", "plan.json", "journal.0", "notes.txt"], |name| {
        let work = Work::new();
        good(&work);
        fs::create_dir(work.path("out.h5.partial")).expect("a folder");
        fs::write(work.path("out.h5.partial").join(name), "precious").expect("a file");
        for options in ["--force", "--resume"] {
            let done = work.run(2, &format!("compute x.h5 -o out.h5 {options}"), 1);
            assert!(done.stderr.contains("out.h5.partial holds "), "{done}");
            let entries = work.path("out.h5.partial").read_dir().expect("a folder").count();
            assert_eq!(entries, 1, "{name}: {done}");
            assert_eq!(fs::read(work.path("out.h5.partial").join(name)).expect("a file"), b"precious");
        }
    });
}

#[test]
fn a_symbolic_link_leaves_what_it_points_to_untouched() {
    let work = Work::new();
    good(&work);
    fs::write(work.path("target"), "precious").expect("a file");
    symlink("target", work.path("out.h5")).expect("a symbolic link");
    work.run(ALONE, "compute x.h5 -o out.h5 --force", 1);
    assert_eq!(fs::read(work.path("target")).expect("the file"), b"precious");
}

/// What a reader that has seen enough does to the program that writes.
const CLOSED_PIPE: &str = "{ sleep 0.2; \"$@\"; echo \"code $?\" >&2; } | true";

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let work = Work::new();
    good(&work);
    work.run(ALONE, COMPUTE, 0);
    for_all(&["info out.h5", "plan x.h5", "verify out.h5"], |arguments| {
        let done = work.program(ALONE).through(CLOSED_PIPE).run(arguments);
        assert!(done.stderr.ends_with("code 0\n"), "{done}");
        assert!(!done.stderr.contains("pairdist: "), "{done}");
    });
}

#[test]
fn a_summary_that_cannot_be_printed_is_a_warning() {
    for_all(&["exec \"$@\" > /dev/full", "exec \"$@\" >&-"], |script| {
        let work = Work::new();
        good(&work);
        let done = work.program(ALONE).through(script).run("compute x.h5 -o out.h5 --json run.json");
        assert_eq!(done.code, 0, "{done}");
        assert!(script.ends_with("&-") || done.stderr.contains("the summary is lost"), "{done}");
        assert_eq!(work.record()["pairs"], 36);
        assert_eq!(work.list(), ["out.h5", "run.json", "x.h5"]);
    });
}

#[test]
fn plans_beyond_64_bits_are_refused_and_others_told() {
    let huge = [
        ("plan --samples 1000000 --features 50 --ranks 1000000", 0, ""),
        ("plan --samples 1000 --features 50 --ranks 18446744073709551615", 2, "MPI has at most"),
        (
            "plan --samples 18446744073709551615 --features 1",
            1,
            "distances have more bytes than 64 bits can count",
        ),
        (
            "plan --samples 2 --features 2305843009213693952",
            1,
            "2 samples of 2305843009213693952 features have",
        ),
        ("plan --samples 1000000 --features 18446744073709551615", 1, "1000000 samples of"),
        ("plan --samples 2 --features 1152921504606846975", 1, "the memory of a rank would be"),
        (
            "plan --samples 1000000 --features 1000000000000 --ranks 7",
            1,
            "what all ranks send to each other would be",
        ),
        ("plan --samples 9 --features 3 --threads 18446744073709551615", 1, "the memory of a rank would be"),
    ];
    for_all(&huge, |&(arguments, code, words)| {
        let done = Work::new().run(ALONE, &format!("{arguments} --json plan.json"), code);
        assert!(done.stderr.contains(words) && !done.stderr.contains("panicked"), "{done}");
        let beyond = "more bytes than 64 bits can count; use fewer";
        assert!(code != 1 || done.stderr.contains(beyond) && done.stdout.is_empty(), "{done}");
    });
}

#[test]
fn squared_distances_that_are_too_large_or_too_small_are_told_and_verified() {
    let work = Work::new();
    for (value, told) in
        [(1e20_f32, "some distances are infinite"), (1e-29, "all distances have lost digits, or are 0")]
    {
        write(work.path("x.h5"), &arr2(&[[value, 0.0], [-value, 0.0], [value / 2.0, value]]));
        let squared = "compute x.h5 -o out.h5 --force --metric sqeuclidean";
        for kernel in ["gemm", "direct"] {
            let done = work.run(2, &format!("{squared} --kernel {kernel}"), 0);
            assert!(done.stderr.contains(told), "{done}");
            assert!(done.stderr.contains("--metric euclidean, or use --dtype f64"), "{done}");
            work.run(ALONE, "verify out.h5 --all", 0);
        }
        for way_out in ["--metric sqeuclidean --dtype f64", "--metric euclidean"] {
            let done = work.run(2, &format!("compute x.h5 -o out.h5 --force {way_out}"), 0);
            assert!(!done.stderr.contains("WARN"), "{done}");
            let wrong = |distance: &f64| !distance.is_finite() || *distance < 1e-60;
            let got = distances::<f64>(work.path("out.h5"));
            assert_eq!(
                got.iter().filter(|distance| wrong(distance)).count(),
                3,
                "all but the diagonal: {got}"
            );
            work.run(ALONE, "verify out.h5 --all", 0);
        }
    }
}

#[test]
fn only_entries_of_the_matrix_count_as_recomputed() {
    let work = Work::new();
    write(work.path("x.h5"), &Array2::from_elem((1, 8), f64::NAN));
    work.run(ALONE, "compute x.h5 -o out.h5 --kernel gemm --allow-nonfinite --json run.json", 0);
    assert_eq!(work.record()["recomputed_pairs"], 1);
}

#[test]
fn allowed_nan_and_infinity_come_out_as_the_definition_says() {
    for_all(&[(f64::NAN, 3), (f64::INFINITY, ALONE)], |&(value, ranks)| {
        let work = Work::new();
        with_value(&work, value);
        work.run(ranks, "compute x.h5 -o out.h5 --allow-nonfinite", 0);
        let mut samples: Array2<f64> = random(6, 4, 1);
        samples[(4, 2)] = value;
        samples[(5, 0)] = value;
        let got = distances::<f64>(work.path("out.h5"));
        let expected = definition(Metric::Euclidean, &samples, &samples);
        let way = (Metric::Euclidean, Method::fastest(&Metric::Euclidean.into(), 4, Content::Any), 4, 0);
        assert_within_tolerance("allowed", way, &got, &expected);
        assert_eq!(
            got.iter().filter(|value| !value.is_finite()).count(),
            expected.iter().filter(|reference| !reference.distance.is_finite()).count()
        );
    });
}
