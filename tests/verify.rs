//! `verify`: what tells that a header has changed.

mod common;

use common::launch::{ALONE, hold_starts};
use common::samples::{random, write};
use common::Work;
use hdf5::File;
use hdf5::types::{IntSize, TypeDescriptor, VarLenUnicode};
use xxhash_rust::xxh3::xxh3_64;

/// Samples and a result of them, in tiles of 7.
fn computed(rows: usize) -> Work {
    let work = Work::new();
    write(work.path("x.h5"), &random::<f64>(rows, 4, 1));
    work.run(ALONE, "compute x.h5 -o out.h5 --tile 7", 0);
    work
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
