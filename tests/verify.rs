//! `verify`: which pairs it draws, how it reads them, where it looks for the samples, and what tells that a header has changed.

mod common;

use std::fs;

use common::launch::{ALONE, Done, hold_starts};
use common::samples::{create, edit, random, write};
use common::{Work, for_all};
use hdf5::File;
use hdf5::types::{IntSize, TypeDescriptor, VarLenUnicode};
use ndarray::Array2;
use pairdist::element::Element;
use pairdist::source::{Samples, View};
use xxhash_rust::xxh3::xxh3_64;

/// Samples and a result of them, in tiles of 7.
fn computed(rows: usize) -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(rows, 4, 1));
    work.run(ALONE, "compute x.h5 -o out.h5 --tile 7", 0);
    work
}

fn message(done: &Done) -> &str {
    done.stderr.lines().find(|line| line.starts_with("pairdist: ")).unwrap_or_else(|| panic!("{done}"))
}

#[test]
fn a_seed_draws_its_own_pairs_and_any_number_of_ranks_the_same() {
    let work = computed(40);
    // where every distance is wrong, the message names the first pair that was drawn
    edit(work.path("out.h5"), |file| file.dataset("distances")?.write(&Array2::from_elem((40, 40), 1e9)));
    let told = |ranks, options: &str| {
        let done = work.run(ranks, &format!("verify out.h5 --pairs 10 {options}"), 1);
        message(&done).to_owned()
    };
    let drawn = ["", "--seed 1", "--seed 18446744073709551615"].map(|seed| {
        let alone = told(ALONE, seed);
        assert!(alone.contains("10 of 10 distances are beyond their bound"), "{alone}");
        for ranks in [2, 3] {
            assert_eq!(told(ranks, seed), alone);
        }
        alone
    });
    assert_eq!(told(ALONE, "--seed 0"), drawn[0]);
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2], "{drawn:?}");
}

#[test]
fn the_summary_tells_the_seed() {
    let work = computed(20);
    for (options, words) in [("", "(random pairs, seed 0)"), ("--seed 5", "(random pairs, seed 5)")] {
        let done = work.run(2, &format!("verify out.h5 {options}"), 0);
        assert!(done.stdout.contains("400 distances") && done.stdout.contains(words), "{done}");
    }
}

/// Writes samples in compressed chunks.
fn compress(work: &Work, samples: &Array2<f64>, chunk: (usize, usize)) {
    create(work.path("x.h5"), |file| {
        let builder = file.new_dataset_builder().chunk(chunk).deflate(1);
        builder.with_data(samples).create("samples").map(drop)
    });
}

#[test]
fn picked_samples_are_those_of_their_rows_in_every_layout() {
    let samples = random::<f64>(50, 9, 1);
    let check = |work: &Work| {
        let _no_start = hold_starts();
        let file = Samples::open(&work.path("x.h5"), None, View::default()).expect("samples");
        for rows in [vec![], vec![49], vec![7, 0, 8, 7, 31, 49, 30], (0..50).collect()] {
            let picked = file.pick::<f32>(rows.iter().copied()).expect("they can be read");
            for row in rows {
                let expected: Vec<f32> = samples.row(row).iter().map(|&value| f32::from_f64(value)).collect();
                assert_eq!(picked.sample(row), expected);
            }
        }
    };
    let work = Work::new();
    write(work.path("x.h5"), &samples);
    check(&work);
    for chunk in [(50, 1), (1, 9), (7, 4), (1, 1), (50, 9), (8, 2)] {
        compress(&work, &samples, chunk);
        check(&work);
    }
}

/// Bytes that a run of verify reads.
fn bytes_read(work: &Work, ranks: usize, options: &str) -> u64 {
    let done =
        work.program(ranks).through("\"$@\"; cat /proc/$$/io").run(&format!("verify out.h5 {options}"));
    assert!(done.stdout.contains("verified"), "{done}");
    let counts = done.stdout.lines().filter_map(|line| line.strip_prefix("rchar: "));
    let counts: Vec<u64> = counts.map(|count| count.parse().expect("a number")).collect();
    assert_eq!(counts.len(), ranks.max(1), "{done}");
    counts.iter().sum()
}

#[test]
fn a_compressed_chunk_is_read_once_however_many_of_its_samples_are_compared() {
    let work = Work::new();
    // more than HDF5 keeps of a dataset; every chunk has a value of every sample
    compress(&work, &random::<f64>(4000, 100, 1), (4000, 4));
    work.run(ALONE, "compute x.h5 -o out.h5", 0);
    let size = fs::metadata(work.path("x.h5")).expect("samples").len();
    for ranks in [1, 2] {
        let more =
            bytes_read(&work, ranks, "--pairs 100").saturating_sub(bytes_read(&work, ranks, "--pairs 2"));
        assert!(more < size, "{more} bytes more on {ranks} ranks, the samples have {size}");
    }
}

const RANKS: [usize; 2] = [ALONE, 3];

#[test]
fn samples_that_moved_with_their_result_are_found() {
    for_all(&["", "in/", "in/more/"], |below| {
        let work = Work::new();
        fs::create_dir_all(work.path(format!("old/{below}"))).expect("a folder");
        for (name, seed) in [("x.h5", 1), ("y.h5", 2)] {
            write(work.path(format!("old/{below}{name}")), &random::<f64>(30, 4, seed));
        }
        let compute = format!("compute old/{below}x.h5 --against old/{below}y.h5 -o old/out.h5");
        work.run(2, &compute, 0);
        fs::rename(work.path("old"), work.path("new")).expect("another name");
        for (ranks, options) in [(ALONE, ""), (3, ""), (3, "--all")] {
            work.run(ranks, &format!("verify new/out.h5 {options}"), 0);
        }
        // found, and known not to be those of that time
        write(work.path(format!("new/{below}y.h5")), &random::<f64>(30, 4, 3));
        for ranks in RANKS {
            let done = work.run(ranks, "verify new/out.h5", 1);
            for words in ["y.h5 holds other samples than new/out.h5 was computed from", "digest", "--against"]
            {
                assert!(message(&done).contains(words), "no {words}: {done}");
            }
        }
    });
}

#[test]
fn samples_that_have_moved_elsewhere_are_named() {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(30, 4, 1));
    write(work.path("y.h5"), &random::<f64>(20, 4, 2));
    work.run(2, "compute x.h5 --against y.h5 -o out.h5", 0);
    fs::create_dir(work.path("in")).expect("a folder");
    for (name, to) in [("x.h5", "in/a.h5"), ("y.h5", "in/b.h5")] {
        fs::rename(work.path(name), work.path(to)).expect("another name");
    }
    edit(work.path("in/b.h5"), |file| file.relink("samples", "other"));
    for ranks in RANKS {
        for (options, words) in [
            ("", ["x.h5, which out.h5 was computed from, is not there", "name the file with --samples"]),
            ("--samples in/a.h5", ["y.h5, which out.h5", "name the file with --against"]),
            ("--samples in/a.h5 --against in/b.h5", ["no dataset \"samples\"", "--against-dataset"]),
            (
                "--samples in/b.h5 --dataset other --against in/b.h5 --against-dataset other",
                ["20 x 4 values, but had 30 x 4", "--samples"],
            ),
        ] {
            let done = work.run(ranks, &format!("verify out.h5 {options}"), 1);
            for words in words {
                assert!(message(&done).contains(words), "no {words}: {done}");
            }
        }
        for options in ["", "--all", "--pairs 7 --seed 3"] {
            let named = "--samples in/a.h5 --against in/b.h5 --against-dataset other";
            work.run(ranks, &format!("verify out.h5 {named} {options}"), 0);
        }
    }
}

#[test]
fn samples_that_are_named_must_have_the_digest_that_was_stored() {
    let work = computed(30);
    write(work.path("other.h5"), &random::<f64>(30, 4, 2));
    for ranks in RANKS {
        let done = work.run(ranks, "verify out.h5 --samples other.h5 --pairs 1", 1);
        for words in ["other.h5 holds other samples than out.h5 was computed from", "digest is ", "and was "]
        {
            assert!(message(&done).contains(words), "no {words}: {done}");
        }
    }
}

/// The checksum that docs/FORMAT.md gives for the attributes of a result.
fn checksum(file: &File) -> hdf5::Result<u64> {
    let mut values = serde_json::Map::new();
    for name in file.attr_names()? {
        let attribute = file.attr(&name)?;
        if ["complete", "header_checksum"].contains(&name.as_str()) {
            continue;
        }
        let value = match attribute.dtype()?.to_descriptor()? {
            TypeDescriptor::Unsigned(IntSize::U1) => attribute.read_scalar::<u8>()?.into(),
            TypeDescriptor::Unsigned(IntSize::U4) => attribute.read_scalar::<u32>()?.into(),
            TypeDescriptor::Unsigned(IntSize::U8) => attribute.read_scalar::<u64>()?.into(),
            TypeDescriptor::Integer(IntSize::U4) => attribute.read_scalar::<i32>()?.into(),
            TypeDescriptor::VarLenUnicode => attribute.read_scalar::<VarLenUnicode>()?.as_str().into(),
            other => panic!("{name} has an unexpected type: {other}"),
        };
        values.insert(name, value);
    }
    values.sort_keys();
    Ok(xxh3_64(serde_json::Value::from(values).to_string().as_bytes()))
}

#[test]
fn the_checksum_of_the_attributes_follows_its_formula() {
    let work = computed(20);
    work.run(2, "compute x.h5 --against x.h5 -o ä.h5 --tile 7 --metric cityblock", 0);
    let _no_start = hold_starts();
    for name in ["out.h5", "ä.h5"] {
        let file = File::open(work.path(name)).expect("a result");
        let stored = file.attr("header_checksum").and_then(|attribute| attribute.read_scalar::<u64>());
        assert_eq!(stored.expect("a checksum"), checksum(&file).expect("attributes"), "{name}");
    }
}
