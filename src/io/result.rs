//! The file of a result: what tells where it comes from, and the arrays that are in it.
//!
//! One rank creates it, closes it, and all ranks open it with MPI-IO. From then on they
//! only write raw data, whole blocks, independently: nothing that HDF5 keeps in memory could be lost or torn.
//! Arrays are allocated early and never filled, in a file format that needs no chunk index where a block is a chunk.
//! See `docs/FORMAT.md` for the layout.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::file::LibraryVersion;
use hdf5::plist::dataset_create::{AllocTime, FillTime};
use hdf5::types::VarLenUnicode;
use hdf5::{File, H5Type};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use ndarray::ArrayView2;

use super::array::{Array, Line};
use super::labels::{self, Labels};
use super::{
    Attempt, MAX_WRITE_BYTES, close_on_all_ranks, create_in_folder, open, open_on_all_ranks, own_dataset,
};
use crate::comm::Comm;
use crate::element::{Dtype, StoreType};
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::kernel::Method;
use crate::metric::{Metric, Order};
use crate::partition::Grid;
use crate::problem::{
    Asked, CONDENSED, FORMAT_VERSION, Identity, InputId, LABELS, MATRIX, NEIGHBORS, Nearest, NumbersId,
    Parameters, Problem, Provenance, RADIUS, Radius, Within, first_arithmetic, unknown, weights_of,
};

/// The attribute with the order of the metric.
const P: &str = "p";

/// The attribute that says that missing values were skipped, which is there only if they were.
const SKIP_MISSING: &str = "skip_missing";

/// The attribute with the number of files of X, where an input has several.
const FILES_OF_X: &str = "files_of_x";

/// The attribute that tells whether others have changed.
const HEADER_CHECKSUM: &str = "header_checksum";

/// Everything the result's attributes say.
#[derive(Clone, Debug)]
pub struct Header {
    /// What was computed.
    pub identity: Identity,
    /// How.
    pub provenance: Provenance,
    /// Exponent k of the factor 2^k that the samples were scaled by; the distances are those of the samples as they were.
    pub scaling_exponent: i32,
}

impl Header {
    /// The matrix and its tiles.
    pub fn grid(&self) -> Grid {
        self.identity.grid()
    }
}

/// Makes sure that a file may be replaced without harm: there is none, it is empty, or it is a result of this program, of any
/// version.
pub fn check_replaceable(path: &Path) -> Result<()> {
    let shown = path.display();
    let way_out = "remove it, or choose another name";
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_file() && meta.len() == 0 => return Ok(()),
        _ => {}
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => {
            fail!(
                "{shown} exists, and does not show that it is a result of pairdist, which is all that --force overwrites ({error}); {way_out}"
            )
        }
    };
    if ["format_version", "pairdist_version"].iter().any(|name| file.attr(name).is_err()) {
        fail!(
            "{shown} exists and is not a result of pairdist, which is all that --force overwrites; {way_out}"
        );
    }
    Ok(())
}

/// A result that is being made.
pub struct NewFile {
    file: File,
}

impl NewFile {
    /// Copies labels of the samples of one file after another; there may be none.
    pub fn labels(&self, name: &str, labels: &[Labels]) -> Attempt<()> {
        labels::copy(labels, &self.file, name)
    }

    /// Stores some numbers, of features or of pairs of `d` of them.
    pub fn values(&self, name: &str, values: &[f64], d: usize) -> Attempt<()> {
        let builder = self.file.new_dataset_builder();
        let created = if Parameters::is_matrix(name) {
            let matrix = ArrayView2::from_shape((d, d), values).map_err(|error| error.to_string())?;
            builder.with_data(matrix).create(name)
        } else {
            builder.with_data(values).create(name)
        };
        created.map(drop)
    }

    /// Makes an array of this shape, in chunks or contiguous: room on the disk, which is filled later.
    pub fn array<T: H5Type>(
        &self,
        name: &str,
        shape: (usize, usize),
        chunk: Option<(usize, usize)>,
    ) -> Attempt<()> {
        let builder = self.file.new_dataset::<T>().shape(shape);
        let builder = match chunk {
            Some(chunk) => builder.chunk(chunk),
            None => builder,
        };
        builder.alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never).create(name).map(drop)
    }

    /// Makes a group that says what it holds, and of which shape, as `AnnData` does.
    pub fn group(&self, name: &str, encoding: [&str; 2], shape: (usize, usize)) -> Attempt<()> {
        let group = self.file.create_group(name)?;
        for (name, value) in ["encoding-type", "encoding-version"].into_iter().zip(encoding) {
            let text: VarLenUnicode = value.parse().map_err(|error| format!("{name}: {error}"))?;
            group.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text)?;
        }
        let shape = [shape.0, shape.1].map(|len| i64::try_from(len).expect("a length is below 2^63"));
        group.new_attr::<i64>().shape(shape.len()).create("shape")?.write(&shape)
    }

    /// Makes a contiguous array of one dimension, likewise.
    pub fn line<T: H5Type>(&self, name: &str, len: usize) -> Attempt<()> {
        let builder = self.file.new_dataset::<T>().shape(len);
        builder.alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never).create(name).map(drop)
    }
}

/// Creates the file with attributes, `complete = 0`, and what `make` makes in it, and closes it.
pub fn create(path: &Path, header: &Header, make: impl FnOnce(&NewFile) -> Attempt<()>) -> Result<()> {
    let build = |name: &OsStr| -> hdf5::Result<()> {
        let file = File::with_options()
            .with_fapl(|plist| {
                // the working folder has a lock of its own, and some file systems have none
                plist.libver_bounds(LibraryVersion::V110, LibraryVersion::V110).file_locking(false)
            })
            .create_excl(name)?;
        let file = NewFile { file };
        make(&file)?;
        let file = file.file;
        write_attributes(&file, header)?;
        file.flush()?;
        file.close()
    };
    create_in_folder(path, build)
}

/// The value of an attribute.
#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Byte(u8),
    Signed(i32),
    Version(u32),
    Number(u64),
    Real(f64),
    Text(String),
}

/// The attributes that say how a result was made, by name.
type Attributes = BTreeMap<&'static str, Value>;

impl Header {
    fn attributes(&self) -> Attributes {
        let Self { identity, provenance, scaling_exponent } = self;
        let Identity { format_version, arithmetic, problem, results, symmetric, inputs, labels, parameters } =
            identity;
        let files_of_x = if identity.has_several_files() { Some(identity.files().0.len()) } else { None };
        let inputs = serde_json::to_string(inputs).expect("numbers and texts can be written");
        // HDF5 ends a text with the first 0
        let text = |text: &str| Value::Text(text.replace('\0', " "));
        let mut attributes = Attributes::from([
            ("format_version", Value::Version(*format_version)),
            // no bool, which is an enumeration in HDF5: netCDF passes over those
            ("symmetric", Value::Byte((*symmetric).into())),
            ("scaling_exponent", Value::Signed(*scaling_exponent)),
            ("arithmetic", Value::Version(*arithmetic)),
            ("tile", Value::Number(problem.tile as u64)),
            ("ranks", Value::Number(provenance.ranks as u64)),
            ("threads", Value::Number(provenance.threads as u64)),
            ("pairdist_version", text(&provenance.pairdist_version)),
            ("pairdist_commit", text(&provenance.pairdist_commit)),
            ("metric", text(problem.metric.name())),
            ("kernel", text(problem.method.name())),
            ("input", text(&inputs)),
            ("created", text(&provenance.created)),
            ("command_line", text(&provenance.command_line)),
            ("mpi_version", text(&provenance.mpi_version)),
            ("hdf5_version", text(&provenance.hdf5_version)),
        ]);
        if *format_version > 1 {
            attributes.insert("results", text(&results.names().join(" ")));
            attributes.insert("dtype", text(&problem.dtype.to_string()));
            attributes.insert("store", text(results.stored_as(problem.dtype).name()));
        }
        if let Some(files) = files_of_x {
            attributes.insert(FILES_OF_X, Value::Number(files as u64));
        }
        for (name, id) in parameters.named() {
            attributes.insert(name, text(&serde_json::to_string(id).expect("texts can be written")));
        }
        if let Some(p) = problem.p {
            attributes.insert(P, Value::Real(p.get()));
        }
        if problem.skip_missing {
            attributes.insert(SKIP_MISSING, Value::Byte(1));
        }
        for (name, labels) in LABELS.into_iter().zip(labels) {
            if let Some(source) = labels {
                attributes.insert(name, text(source));
            }
        }
        if let Some(Nearest { count, include_self }) = results.neighbors {
            attributes.insert("neighbors", Value::Number(count as u64));
            attributes.insert("include_self", Value::Byte(include_self.into()));
        }
        if let Some(Within { radius, include_self }) = results.within {
            attributes.insert("radius", Value::Real(radius.get()));
            attributes.insert("include_self", Value::Byte(include_self.into()));
        }
        attributes
    }

    /// What is stored beside the attributes, and tells if one of them was changed.
    fn checksum(&self) -> u64 {
        xxh3_64(&serde_json::to_vec(&self.attributes()).expect("numbers and texts can be written"))
    }
}

fn write_attributes(file: &File, header: &Header) -> hdf5::Result<()> {
    scalar(file, "complete", &0_u8)?;
    scalar(file, HEADER_CHECKSUM, &header.checksum())?;
    header.attributes().into_iter().try_for_each(|(name, value)| match value {
        Value::Byte(value) => scalar(file, name, &value),
        Value::Signed(value) => scalar(file, name, &value),
        Value::Version(value) => scalar(file, name, &value),
        Value::Number(value) => scalar(file, name, &value),
        Value::Real(value) => scalar(file, name, &value),
        Value::Text(text) => {
            let text: VarLenUnicode = text.parse().map_err(|error| format!("{name}: {error}"))?;
            scalar(file, name, &text)
        }
    })
}

fn scalar<V: H5Type>(file: &File, name: &str, value: &V) -> hdf5::Result<()> {
    file.new_attr::<V>().create(name)?.write_scalar(value)
}

/// A created result, open on all ranks to be filled.
pub struct ResultWriter {
    file: File,
    path: PathBuf,
}

/// A result that all ranks have open, to find its arrays.
pub struct OpenFile<'a> {
    file: &'a File,
    path: &'a Path,
}

impl OpenFile<'_> {
    /// One of the arrays that it was created with.
    pub fn array(&self, name: &str) -> Attempt<Array> {
        Ok(Array::of(self.file.dataset(name)?))
    }

    /// Likewise, one that is written past HDF5.
    pub fn line(&self, name: &str) -> Attempt<Line> {
        Ok(Line::of(&self.file.dataset(name)?, self.path))
    }

    /// The file's name, for messages.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

impl ResultWriter {
    /// Opens a file that [`create`] made, and what `find` finds in it. Collective.
    pub fn open<R>(
        path: &Path,
        comm: &Comm,
        find: impl FnOnce(&OpenFile<'_>) -> Attempt<R>,
    ) -> Result<(Self, R)> {
        let (file, found) = open_on_all_ranks(path, comm, |file| find(&OpenFile { file, path }))?;
        Ok((Self { file, path: path.to_owned() }, found))
    }

    /// Its arrays, to be found.
    pub fn arrays(&self) -> OpenFile<'_> {
        OpenFile { file: &self.file, path: &self.path }
    }

    /// Forces the data to the disk. Collective.
    pub fn sync(&self) -> Result<()> {
        self.file.flush().context(|| format!("{} cannot be forced to the disk", self.path.display()))
    }

    /// Declares the result complete. Collective.
    pub fn declare_complete(&self) -> Result<()> {
        let complete = self.file.attr("complete").and_then(|attribute| attribute.write_scalar(&1_u8));
        complete.context(|| format!("{} cannot be declared complete", self.path.display()))
    }

    /// Closes the file, whose arrays must be closed, has one rank do something before it makes more arrays there, and opens it again.
    /// Collective.
    pub fn extend(
        self,
        comm: &Comm,
        before: impl FnOnce(&Path) -> Result<()>,
        make: impl FnOnce(&NewFile) -> Attempt<()>,
    ) -> Result<Self> {
        let Self { file, path } = self;
        comm.agree(close_on_all_ranks(file, &path))?;
        comm.on_root(|| {
            before(&path)?;
            let extend = || {
                let file = File::with_options()
                    .with_fapl(|plist| {
                        plist.libver_bounds(LibraryVersion::V110, LibraryVersion::V110).file_locking(false)
                    })
                    .open_rw(&path)?;
                let file = NewFile { file };
                make(&file)?;
                file.file.flush()?;
                file.file.close()
            };
            extend().context(|| format!("{} cannot be given its last arrays", path.display()))
        })?;
        Self::open(&path, comm, |_| Ok(())).map(|(file, ())| file)
    }

    /// Closes the file, whose arrays must be closed: HDF5 keeps it open as long as any of them is. Collective, as is dropping it: a
    /// rank that fails while others write must end the job first.
    pub fn close(self) -> Result<()> {
        close_on_all_ranks(self.file, &self.path)
    }
}

/// Where the values of these arrays lie in a file, and those of labels and parameters.
///
/// # Errors
/// If it cannot be opened, or one of the arrays is not there, or does not lie in one piece.
pub fn places(path: &Path, names: &[&str]) -> Result<Vec<Range<u64>>> {
    let file = open(path)?;
    let place = |name: &&str| -> Attempt<Option<Range<u64>>> {
        let dataset = own_dataset(&file, name)?;
        let (start, len) = match dataset.num_chunks().filter(|_| dataset.chunk().is_some()) {
            None => (dataset.offset(), dataset.storage_size()),
            Some(0) => return Ok(None),
            Some(chunks) => {
                let [first, last] = [0, chunks - 1].map(|number| dataset.chunk_info(number));
                let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
                if last.addr != first.addr + (chunks as u64 - 1) * first.size {
                    return Err(format!("{name} does not lie in one piece").into());
                }
                (Some(first.addr), chunks as u64 * first.size)
            }
        };
        Ok(start.map(|start| start..start + len))
    };
    let others = LABELS.iter().chain(&Parameters::NAMES).filter(|name| file.link_exists(name));
    let found: Attempt<Vec<_>> = names.iter().chain(others).map(place).collect();
    Ok(found.context(|| format!("{} cannot be read", path.display()))?.into_iter().flatten().collect())
}

/// Whether an HDF5 file says that it is a result, whole or not.
///
/// # Errors
/// If it cannot be opened.
pub fn is_result(path: &Path) -> Result<bool> {
    let file = open(path)?;
    let has_version = file.attr("format_version").is_ok_and(|version| version.read_scalar::<u32>().is_ok());
    Ok(has_version && file.attr("pairdist_version").is_ok())
}

/// A result, open to read.
pub struct ResultReader {
    file: File,
    shown: String,
    /// What its attributes say.
    pub header: Header,
    /// Whether the run that wrote it came to its end.
    pub complete: bool,
}

impl ResultReader {
    /// Opens a result of this program, complete or not.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let shown = path.display().to_string();
        let Ok(version) = file.attr("format_version").and_then(|attribute| attribute.read_scalar::<u32>())
        else {
            fail!("{shown} is no result of pairdist: it has no attribute \"format_version\"");
        };
        if !(1..=FORMAT_VERSION).contains(&version) {
            fail!("{shown} has format version {version}; this program reads versions up to {FORMAT_VERSION}");
        }
        let complete = file.attr("complete").and_then(|complete| complete.read_scalar::<u8>());
        let complete = complete.map_err(|error| damaged(&shown, &unread(&file, "complete", &error)))? == 1;
        let header = read_header(&file, version).map_err(|text| damaged(&shown, &text))?;
        Ok(Self { file, shown, header, complete })
    }

    /// The file's name, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it has a group of that name.
    pub fn has(&self, group: &str) -> bool {
        self.file.link_exists(group)
    }

    /// Compares what a group says of itself with what [`NewFile::group`] has made it say.
    ///
    /// # Errors
    /// If it says something else, or nothing.
    pub fn check_group(&self, name: &str, encoding: [&str; 2], shape: (usize, usize)) -> Result<()> {
        let broken = |text: String| damaged(&self.shown, &text);
        let group = self.file.group(name).map_err(|error| broken(error.to_string()))?;
        let text = |attribute: &str| {
            group
                .attr(attribute)
                .and_then(|value| value.read_scalar::<VarLenUnicode>())
                .map(|text| text.to_string())
        };
        for (attribute, expected) in ["encoding-type", "encoding-version"].into_iter().zip(encoding) {
            if text(attribute).ok().as_deref() != Some(expected) {
                return Err(broken(format!("attribute \"{attribute}\" of {name} is not {expected}")));
            }
        }
        let found = group.attr("shape").and_then(|shape| shape.read_raw::<i64>()).unwrap_or_default();
        if found.iter().map(|len| usize::try_from(*len).ok()).ne([Some(shape.0), Some(shape.1)]) {
            return Err(broken(format!("attribute \"shape\" of {name} is not {} x {}", shape.0, shape.1)));
        }
        Ok(())
    }

    /// The weights of the features, if they have any: of a variance, its inverse.
    ///
    /// # Errors
    /// If they are not as they were stored.
    pub fn weights(&self) -> Result<Option<Vec<f64>>> {
        let weights = self.numbers(Parameters::WEIGHTS)?;
        let variance = self.numbers(Parameters::VARIANCE)?;
        Ok(weights.or(variance.map(|variance| weights_of(&variance))))
    }

    /// What the metric was given, or what was made of the samples for it, by its name.
    ///
    /// # Errors
    /// If it is not as it was stored.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>> {
        let Identity { parameters, problem, .. } = &self.header.identity;
        let Some((_, id)) = parameters.named().find(|(other, _)| *other == name) else { return Ok(None) };
        let dataset = own_dataset(&self.file, name).map_err(|error| damaged(&self.shown, &error))?;
        let is_whole = dataset.size() == Parameters::len(name, problem.d);
        let read = || dataset.read_raw::<f64>().map_err(|error| damaged(&self.shown, &error));
        let values = if is_whole { read()? } else { Vec::new() };
        if !is_whole || NumbersId::digest_of(&values) != id.digest {
            return Err(damaged(&self.shown, &format!("its {name} has changed since it was stored")));
        }
        Ok(Some(values))
    }

    /// The results that are in it.
    pub fn asked(&self) -> Asked {
        self.header.identity.results
    }

    /// One of its arrays.
    ///
    /// # Errors
    /// If it is not there, or not stored in this very file.
    pub fn array(&self, name: &str) -> Result<Array> {
        own_dataset(&self.file, name).map(Array::of).map_err(|error| damaged(&self.shown, &error))
    }
}

fn damaged(shown: &str, why: &impl Display) -> Error {
    Error::Failed(format!("{shown} is damaged: {why}"))
}

/// Why an attribute cannot be read.
fn unread(file: &File, name: &str, error: &hdf5::Error) -> String {
    match file.attr_names() {
        Ok(names) if !names.iter().any(|other| other == name) => format!("it has no attribute \"{name}\""),
        _ => format!("attribute \"{name}\": {error}"),
    }
}

fn read_header(file: &File, version: u32) -> std::result::Result<Header, String> {
    let missing = |name: &str, error: hdf5::Error| unread(file, name, &error);
    let text = |name: &str| -> std::result::Result<String, String> {
        let read = file.attr(name).and_then(|attribute| attribute.read_scalar::<VarLenUnicode>());
        read.map(|text| text.to_string()).map_err(|error| missing(name, error))
    };
    let number = |name: &str| -> std::result::Result<usize, String> {
        let read = file.attr(name).and_then(|attribute| attribute.read_scalar::<u64>());
        let value = read.map_err(|error| missing(name, error))?;
        usize::try_from(value).map_err(|error| format!("attribute \"{name}\": {error}"))
    };
    // results did not always have it, and were not scaled then
    let scaling_exponent = match file.attr("scaling_exponent") {
        Ok(attribute) => {
            attribute.read_scalar::<i32>().map_err(|error| missing("scaling_exponent", error))?
        }
        Err(_) => 0,
    };
    let arithmetic = match file.attr("arithmetic") {
        Ok(attribute) => attribute.read_scalar::<u32>().map_err(|error| missing("arithmetic", error))?,
        Err(_) => first_arithmetic(),
    };
    // an enumeration in older results
    let symmetric = file.attr("symmetric").and_then(|attribute| {
        attribute.read_scalar::<u8>().map(|value| value == 1).or_else(|_| attribute.read_scalar::<bool>())
    });
    let inputs: Vec<InputId> =
        serde_json::from_str(&text("input")?).map_err(|error| format!("attribute \"input\": {error}"))?;
    // without it, an input is a file
    let files_of_x = if file.attr(FILES_OF_X).is_ok() { number(FILES_OF_X)? } else { 1 };
    let (Some((of_x, of_y)), Some(first)) = (inputs.split_at_checked(files_of_x), inputs.first()) else {
        return Err("attribute \"input\" has too few files".into());
    };
    let rows = |files: &[InputId]| files.iter().fold(0_usize, |rows, file| rows.saturating_add(file.shape.0));
    let (mut n, mut m, d) = (rows(of_x), rows(if of_y.is_empty() { of_x } else { of_y }), first.shape.1);
    let (dtype, results) = if version == 1 {
        // the matrix alone, which says by its type what was computed in
        let distances = own_dataset(file, "distances").map_err(|error| error.to_string())?;
        let &[rows, columns] = distances.shape().as_slice() else {
            return Err("its distances are no matrix".into());
        };
        (n, m) = (rows, columns);
        let dtype = distances.dtype().map_err(|error| error.to_string())?;
        (if dtype.size() == 4 { Dtype::F32 } else { Dtype::F64 }, Asked::MATRIX)
    } else {
        let named = |name: &str| text(name).map(|value| (format!("attribute \"{name}\" is {value}"), value));
        let (unknown, dtype) = named("dtype")?;
        let dtype = Dtype::from_name(&dtype).ok_or(unknown)?;
        let (unknown, store) = named("store")?;
        let store = StoreType::from_name(&store).ok_or(unknown)?;
        (dtype, read_results(file, &text("results")?, store, dtype)?)
    };
    let edge = number("tile")?;
    check_sizes((n, m), edge, results.matrix)?;
    let parameters = read_parameters(file)?;
    let metric = text("metric")?;
    let method = text("kernel")?;
    let problem = Problem {
        n,
        m,
        d,
        metric: Metric::from_name(&metric).ok_or_else(|| format!("metric \"{metric}\" is unknown"))?,
        p: read_order(file)?,
        weighted: parameters.weights.is_some() || parameters.variance.is_some(),
        skip_missing: read_skip_missing(file)?,
        method: Method::from_name(&method).ok_or_else(|| format!("kernel \"{method}\" is unknown"))?,
        dtype,
        tile: edge,
    };
    let symmetric = symmetric.map_err(|error| missing("symmetric", error))?;
    let labels = LABELS.map(|name| text(name).ok());
    let identity = Identity {
        format_version: version,
        arithmetic,
        problem,
        results,
        symmetric,
        inputs,
        labels,
        parameters,
    };
    let provenance = Provenance {
        created: text("created")?,
        command_line: text("command_line")?,
        pairdist_version: text("pairdist_version")?,
        // results did not always have it
        pairdist_commit: text("pairdist_commit").unwrap_or_else(|_| unknown()),
        ranks: number("ranks")?,
        threads: number("threads")?,
        mpi_version: text("mpi_version")?,
        hdf5_version: text("hdf5_version")?,
    };
    if let Some(contradiction) = identity.contradiction() {
        return Err(contradiction);
    }
    let header = Header { identity, provenance, scaling_exponent };
    // results did not always have it
    if let Ok(attribute) = file.attr(HEADER_CHECKSUM) {
        let stored: u64 = attribute.read_scalar().map_err(|error| missing(HEADER_CHECKSUM, error))?;
        let computed = header.checksum();
        if computed != stored {
            return Err(format!(
                "its attributes have checksum {computed:016x}, but {stored:016x} was stored with them: one of them has changed since"
            ));
        }
    }
    Ok(header)
}

/// Refuses distances that no file holds.
fn check_sizes((n, m): (usize, usize), edge: usize, has_matrix: bool) -> std::result::Result<(), String> {
    if edge == 0 {
        return Err("attribute \"tile\" is 0".into());
    }
    let tile_bytes = edge.min(n).saturating_mul(edge.min(m)).saturating_mul(size_of::<f32>());
    let bytes = if has_matrix { size_of::<f64>() } else { 1 };
    if n.checked_mul(m).and_then(|pairs| pairs.checked_mul(bytes)).is_none() || tile_bytes > MAX_WRITE_BYTES {
        return Err(format!("its sizes are impossible: {n} x {m} in tiles of {edge}"));
    }
    Ok(())
}

/// What the metric was given.
fn read_parameters(file: &File) -> std::result::Result<Parameters, String> {
    let numbers = |name: &str| {
        let Ok(attribute) = file.attr(name) else { return Ok(None) };
        let told = attribute.read_scalar::<VarLenUnicode>().map_err(|error| unread(file, name, &error))?;
        serde_json::from_str(&told).map(Some).map_err(|error| format!("attribute \"{name}\": {error}"))
    };
    Parameters::from_names(numbers)
}

/// The order of the metric, if it has one.
fn read_order(file: &File) -> std::result::Result<Option<Order>, String> {
    let Ok(attribute) = file.attr(P) else { return Ok(None) };
    Order::new(attribute.read_scalar().map_err(|error| unread(file, P, &error))?).map(Some)
}

/// Whether missing values were skipped.
fn read_skip_missing(file: &File) -> std::result::Result<bool, String> {
    let Ok(attribute) = file.attr(SKIP_MISSING) else { return Ok(false) };
    attribute.read_scalar::<u8>().map(|value| value == 1).map_err(|error| unread(file, SKIP_MISSING, &error))
}

/// The results that a file says it holds, stored in a type other than the one computed in if `store` is another.
fn read_results(
    file: &File,
    names: &str,
    store: StoreType,
    dtype: Dtype,
) -> std::result::Result<Asked, String> {
    let mut results = Asked { store: (store != dtype.into()).then_some(store), ..Asked::NOTHING };
    let include_self = || {
        let include_self = file.attr("include_self").and_then(|value| value.read_scalar::<u8>());
        include_self.map(|value| value == 1).map_err(|error| unread(file, "include_self", &error))
    };
    for name in names.split(' ') {
        match name {
            MATRIX => results.matrix = true,
            CONDENSED => results.condensed = true,
            NEIGHBORS => {
                let count = file.attr(NEIGHBORS).and_then(|count| count.read_scalar::<u64>());
                let count = count.map_err(|error| unread(file, NEIGHBORS, &error))?;
                let count = usize::try_from(count).map_err(|error| error.to_string())?;
                results.neighbors = Some(Nearest { count, include_self: include_self()? });
            }
            RADIUS => {
                let radius = file.attr(RADIUS).and_then(|radius| radius.read_scalar::<f64>());
                let radius = radius.map_err(|error| unread(file, RADIUS, &error))?;
                let radius = Radius::new(radius).ok_or_else(|| format!("{radius} is no radius"))?;
                results.within = Some(Within { radius, include_self: include_self()? });
            }
            _ => return Err(format!("result \"{name}\" is unknown")),
        }
    }
    Ok(results)
}
