//! Input samples: a numeric dataset, one sample per row, per column or per leading index.
//!
//! - `find` — which dataset of a file it is
//! - `inventory` — all that a file holds, by one walk through its groups
//! - `entry` — one object of it, as people read of it
//! - `conventions` — what other programs make of groups and tables
//! - `recipes` — lines of Python that make samples of the rest
//! - `filters` — what unpacks compressed samples
//! - `input` — the samples of several files, one after the other
//! - `netcdf` — what the attributes of netCDF say about the values
//! - `shelf` — files that are open, a few at a time
//! - `storage` — how samples lie in a file, and which are best read together
//! - `stored` — values as they are stored, and their rounding to the type that is computed in
//! - `view` — how a dataset is looked at as samples

mod conventions;
mod entry;
mod filters;
mod find;
mod input;
mod inventory;
mod netcdf;
mod recipes;
mod shelf;
mod storage;
mod stored;
mod view;

use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5::plist::dataset_create::{FillTime, FillValue, Layout};
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, H5Type};

use crate::element::{Content, Dtype};
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::io::{SIEVE_BYTES, Stored, missing_chunks, open, read_part};
use find::Finder;
use netcdf::Packing;
use shelf::Open;
pub use shelf::Shelf;

pub(crate) use entry::Entry;
pub(crate) use find::{Listing, PassedOver, look_at};
pub use input::Input;
#[cfg(test)]
pub(crate) use storage::Chunk;
pub(crate) use storage::{Axes, Storage};
pub(crate) use stored::{Mark, StoredType, Values, count, marked};
use view::BITS;
pub use view::View;

/// Bytes of compressed samples that are read together, if a chunk has not more: chunks may have a single value.
const PART_BYTES: usize = 16 << 20;

/// Bytes that may be unpacked to look at a few values.
const LOOK_BYTES: usize = 32 << 20;

/// Bytes of a packed chunk that are looked at.
const PACKED_BYTES: usize = 64 << 10;

/// A dataset of samples, to be read.
#[derive(Clone)]
pub struct Samples {
    /// Where it is open, if it is, and its number there.
    shelf: Arc<Shelf>,
    number: usize,
    /// Its dimensions.
    dimensions: Vec<usize>,
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Full name of the dataset in the file.
    pub name: String,
    /// How it is looked at.
    pub view: View,
    /// Samples.
    pub rows: usize,
    /// Features.
    pub features: usize,
    /// How they lie in the file.
    pub storage: Storage,
    /// What real values are computed from those that are stored.
    packing: Option<Packing>,
    /// Type to compute in that loses nothing: f32 for floats and integers of up to 16 and f32's own
    /// 32 bits, else f64.
    pub dtype: Dtype,
    /// Values that attributes call missing, and reading leaves as they are.
    pub marks: Vec<Mark>,
    /// What else in the file could have been the samples, if no name was given.
    pub passed_over: Vec<PassedOver>,
    /// A whole number that reading takes off every value, before it is rounded.
    pub subtracted: i128,
}

/// Samples in the type that is computed in, or still as they are stored.
pub enum Slice<T> {
    /// Nothing to convert.
    Ready(Vec<T>),
    /// To be converted.
    Stored(StoredSamples),
}

/// Neighbouring samples as they are stored.
pub struct StoredSamples {
    values: Values,
    samples: usize,
    /// Feature by feature, as the file has them.
    is_turned: bool,
    packing: Option<Packing>,
    /// Where values are bits: which features these are of.
    bits: Option<Range<usize>>,
}

impl StoredSamples {
    /// Whether they lie in memory feature by feature.
    pub fn are_turned(&self) -> bool {
        self.is_turned
    }

    /// How many whole numbers of one sample have more digits than the f64 that their real values are computed in, and the place of the first.
    pub fn rounded(&self, row: usize) -> (u64, Option<usize>) {
        let (values, at) = self.row_major(row..row + 1);
        let features = self.features();
        values.inexact::<f64>(at * features..(at + 1) * features, 0)
    }

    /// Whether there may be any.
    pub fn may_be_rounded(&self) -> bool {
        self.packing.is_some() && matches!(self.values, Values::I64(_) | Values::U64(_))
    }

    /// Some samples, row-major and with their real values; and which of the samples given is the first of these.
    pub fn rows(&self, rows: Range<usize>) -> (Cow<'_, Values>, usize) {
        let (count, (values, at)) = (rows.len(), self.row_major(rows));
        if let Some(features) = &self.bits {
            let bytes = features.end.div_ceil(BITS) - features.start / BITS;
            let values = values.bits(at * bytes..(at + count) * bytes, bytes, features.clone());
            return (Cow::Owned(values), 0);
        }
        let Some(packing) = &self.packing else { return (values, at) };
        let some = match values {
            Cow::Owned(turned) => turned,
            Cow::Borrowed(all) => all.rows(self.samples, at..at + count),
        };
        (Cow::Owned(packing.unpacked(&some)), 0)
    }

    /// Whether bits behind the last feature of a sample are set, where all its features were read.
    pub fn has_padding(&self, row: usize) -> bool {
        let used = self.bits.as_ref().map_or(0, |features| features.end % BITS);
        let last_byte = (row + 1) * self.features() - 1;
        used > 0 && matches!(&self.values, Values::U8(bytes) if bytes[last_byte] << used != 0)
    }

    /// Some samples, row-major and as they are stored; likewise.
    fn row_major(&self, rows: Range<usize>) -> (Cow<'_, Values>, usize) {
        if self.is_turned {
            (Cow::Owned(self.values.turned(self.samples, rows)), 0)
        } else {
            (Cow::Borrowed(&self.values), rows.start)
        }
    }

    /// Values of a sample as they are stored.
    fn features(&self) -> usize {
        self.values.len() / self.samples
    }
}

/// Samples that were read together.
pub struct Picked<T> {
    rows: Vec<usize>,
    values: Vec<T>,
    features: usize,
}

impl<T> Picked<T> {
    /// All values, sample by sample.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The sample of a row.
    ///
    /// # Panics
    /// If it was not read.
    pub fn sample(&self, row: usize) -> &[T] {
        let at = self.rows.binary_search(&row).expect("the sample was read");
        &self.values[at * self.features..][..self.features]
    }
}

impl Samples {
    /// Opens `dataset` of the file, or the only two-dimensional numeric one, to be looked at as `view` says.
    ///
    /// # Errors
    /// A sentence for anything that is not a matrix of real numbers stored in this very file.
    pub fn open(path: &Path, dataset: Option<&str>, view: View) -> Result<Self> {
        Self::open_on(&Arc::default(), path, dataset, view)
    }

    /// Likewise, beside others that may be open.
    pub fn open_on(shelf: &Arc<Shelf>, path: &Path, dataset: Option<&str>, view: View) -> Result<Self> {
        let file = open(path)?;
        let finder = Finder::new(&file, path, view);
        let (name, passed_over) = match dataset {
            Some(name) => (name.trim_start_matches('/').to_owned(), Vec::new()),
            None => finder.only()?,
        };
        let what = format!("dataset \"{name}\" in {}", path.display());
        let dataset = finder.named(&name)?;
        let ((rows, features), stored) = check(&dataset, view, &what)?;
        if view.decodes {
            netcdf::check(&dataset, &what)?;
        }
        let packing = view.decodes.then(|| Packing::of(&dataset, stored)).flatten();
        let content = match () {
            () if packing.is_some() => Content::Any,
            () if view.bits.is_some() || is_boolean(&dataset) => Content::Truth,
            () => stored.content(),
        };
        let storage = Storage {
            features,
            stored,
            axes: view.axes,
            decoded: packing.is_some() || view.bits.is_some(),
            content,
            per_value: if view.bits.is_some() { BITS } else { 1 },
            chunk: storage::chunk(&dataset, view.axes),
        };
        let samples = Self {
            marks: if packing.is_some() || view.bits.is_some() {
                Vec::new()
            } else {
                netcdf::marks(&dataset)
            },
            dtype: packing.as_ref().map_or(stored.dtype(), Packing::dtype),
            dimensions: dataset.shape(),
            number: shelf.add(Open { dataset, _file: file }),
            shelf: Arc::clone(shelf),
            path: path.to_owned(),
            name: format!("/{name}"),
            view,
            rows,
            features,
            storage,
            packing,
            passed_over,
            subtracted: 0,
        };
        // a filter may be known by name and not do: the first value tells, if that does not take long
        if samples.storage.unpacked_bytes() <= LOOK_BYTES {
            samples.stored((0..1, 0..1)).map_err(|error| {
                Error::Failed(format!(
                    "{what} cannot be read: {error}; is the file whole and its filter installed?"
                ))
            })?;
        }
        Ok(samples)
    }

    /// The dataset, open; it is opened again if others have taken its place.
    fn dataset(&self) -> hdf5::Result<Dataset> {
        self.shelf.dataset(self.number, || {
            let file = open(&self.path).map_err(|error| error.to_string())?;
            let found = Finder::new(&file, &self.path, self.view).named(&self.name[1..]);
            let dataset = found.map_err(|error| error.to_string())?;
            let stored = dataset.dtype().map(|dtype| StoredType::of(&dtype))?;
            if dataset.shape() != self.dimensions || stored != Ok(self.storage.stored) {
                return Err("it has another shape or type than when the run began".into());
            }
            Ok(Open { dataset, _file: file })
        })
    }

    /// The same samples, less a whole number.
    #[must_use]
    pub fn less(&self, subtracted: i128) -> Self {
        Self { subtracted, ..self.clone() }
    }

    /// What it is, for messages: `dataset "/x" in a.h5`.
    pub fn describe(&self) -> String {
        format!("dataset \"{}\" in {}", self.name, self.path.display())
    }

    /// Samples of which these values can be read without unpacking more than a few MiB; nothing if a single value takes more.
    pub fn cheap(&self, values: usize) -> Option<usize> {
        let across = self.storage.chunk.map_or(values, |chunk| values.div_ceil(chunk.features.max(1)));
        let is_scattered = self.storage.chunk.is_none() && self.view.axes == Axes::Columns;
        let each = if is_scattered { SIEVE_BYTES } else { self.storage.unpacked_bytes() };
        Some(LOOK_BYTES / each.saturating_mul(across)).filter(|&samples| samples > 0)
    }

    /// What the first and the last chunk look like in the file, packed.
    pub fn packed(&self) -> Result<Vec<u8>> {
        let dataset = self.dataset().context(|| format!("{} cannot be read", self.describe()))?;
        let last = dataset.num_chunks().unwrap_or(0).saturating_sub(1);
        let read = || {
            let file = fs::File::open(&self.path)?;
            let mut all = Vec::new();
            for chunk in [0, last].into_iter().filter_map(|number| dataset.chunk_info(number)) {
                let len = usize::try_from(chunk.size).unwrap_or(PACKED_BYTES).min(PACKED_BYTES);
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, chunk.addr)?;
                all.extend(chunk.size.to_le_bytes());
                all.extend(bytes);
            }
            Ok::<_, std::io::Error>(all)
        };
        read().context(|| format!("{} cannot be read", self.describe()))
    }

    /// Neighbouring samples.
    pub fn slice<T: Stored>(&self, rows: Range<usize>) -> Result<Slice<T>> {
        self.part((rows, 0..self.features))
    }

    /// Neighbouring samples, row-major, each value rounded once to `T`.
    pub fn read<T: Stored>(&self, rows: Range<usize>) -> Result<Vec<T>> {
        Ok(self.converted(self.slice(rows)?))
    }

    /// Samples from anywhere, each value rounded once to `T`. A compressed chunk of the storage is unpacked once for all of them; so
    /// memory is that of the samples, and a few times that of a chunk, or of 16 MiB of chunks; where samples have several dimensions, of all chunks that
    /// have values of one.
    pub fn pick<T: Stored>(&self, rows: impl Iterator<Item = usize>) -> Result<Picked<T>> {
        let mut rows: Vec<usize> = rows.collect();
        rows.sort_unstable();
        rows.dedup();
        let mut values = vec![T::default(); rows.len() * self.features];
        let compressed = self.storage.chunk.filter(|chunk| chunk.is_filtered);
        // neighbours by columns lie in one piece of the file
        let near = if self.view.axes == Axes::Columns { SIEVE_BYTES / self.storage.stored.size() } else { 1 };
        let [chunk_rows, width] = compressed.map_or(
            [near, if near > 1 { PART_BYTES / SIEVE_BYTES } else { self.features }],
            |chunk| {
                let bytes = chunk.rows.saturating_mul(chunk.features);
                let read = size_of::<T>().saturating_mul(self.storage.per_value);
                let bytes = bytes.saturating_mul(self.storage.stored.size().max(read));
                // other dimensions cannot be cut at any feature
                let is_cut =
                    matches!(self.view.axes, Axes::Rows | Axes::Columns) || self.dimensions.len() == 2;
                let features = chunk.features.saturating_mul(self.storage.per_value);
                let width = features.saturating_mul((PART_BYTES / bytes).max(1));
                [chunk.rows, if is_cut { width } else { self.features }]
            },
        );
        let mut rest = &mut values[..];
        for near in rows.chunk_by(|one, next| one / chunk_rows == next / chunk_rows) {
            let (picked, others) = rest.split_at_mut(near.len() * self.features);
            rest = others;
            let (first, end) = (near[0], near[near.len() - 1] + 1);
            for start in (0..self.features).step_by(width) {
                let columns = start..self.features.min(start.saturating_add(width));
                let part = self.converted(self.part((first..end, columns.clone()))?);
                for (row, sample) in near.iter().zip(picked.chunks_exact_mut(self.features)) {
                    let from = (row - first) * columns.len();
                    sample[columns.clone()].copy_from_slice(&part[from..][..columns.len()]);
                }
            }
        }
        Ok(Picked { rows, values, features: self.features })
    }

    /// Some features of neighbouring samples, in parts that lie in a box of the dataset.
    pub fn boxes<T: Stored>(
        &self,
        rows: &Range<usize>,
        features: Range<usize>,
    ) -> Result<Vec<(Range<usize>, Slice<T>)>> {
        let boxes = self.view.boxes(features, &self.dimensions).into_iter();
        boxes.map(|features| Ok((features.clone(), self.part((rows.clone(), features))?))).collect()
    }

    fn part<T: Stored>(&self, part: (Range<usize>, Range<usize>)) -> Result<Slice<T>> {
        let (start, end) = (part.0.start, part.0.end);
        let failed = || format!("rows {start} to {end} of {} cannot be read", self.describe());
        if self.storage.is_ready(T::DTYPE) {
            return self.values(part).map(Slice::Ready).context(failed);
        }
        self.stored(part).map(Slice::Stored).context(failed)
    }

    fn converted<T: Stored>(&self, slice: Slice<T>) -> Vec<T> {
        match slice {
            Slice::Ready(values) => values,
            Slice::Stored(stored) => {
                let (all, _) = stored.rows(0..stored.samples);
                let mut values = vec![T::default(); all.len()];
                all.convert(0..all.len(), self.subtracted, &mut values);
                values
            }
        }
    }

    /// One value as it is stored, for messages, and what it stands for if that is another.
    pub fn show(&self, row: usize, column: usize) -> Result<String> {
        let read = self.stored((row..row + 1, column..column + 1));
        let stored = read.context(|| format!("row {row} of {} cannot be read", self.describe()))?;
        let shown = stored.values.show(0);
        Ok(match &stored.packing {
            Some(_) => format!("{} (stored as {shown})", stored.rows(0..1).0.show(0)),
            None if stored.bits.is_some() => stored.rows(0..1).0.show(0),
            None => shown,
        })
    }

    fn stored(&self, part: (Range<usize>, Range<usize>)) -> hdf5::Result<StoredSamples> {
        let (samples, bits) = (part.0.len(), self.view.bits.map(|_| part.1.clone()));
        let values = match self.storage.stored {
            StoredType::I8 => self.values(part).map(Values::I8),
            StoredType::I16 => self.values(part).map(Values::I16),
            StoredType::I32 => self.values(part).map(Values::I32),
            StoredType::I64 => self.values(part).map(Values::I64),
            StoredType::U8 => self.values(part).map(Values::U8),
            StoredType::U16 => self.values(part).map(Values::U16),
            StoredType::U32 => self.values(part).map(Values::U32),
            StoredType::U64 => self.values(part).map(Values::U64),
            StoredType::F32 => self.values(part).map(Values::F32),
            StoredType::F64 => self.values(part).map(Values::F64),
        };
        let is_turned = self.view.axes == Axes::Columns;
        Ok(StoredSamples { values: values?, samples, is_turned, packing: self.packing.clone(), bits })
    }

    /// Reads in the type `S`. HDF5 swaps bytes, and widens what is smaller.
    fn values<S: H5Type>(&self, (rows, features): (Range<usize>, Range<usize>)) -> hdf5::Result<Vec<S>> {
        read_part(&self.dataset()?, &self.view.part(rows, features, &self.dimensions))
    }

    /// Storage chunks that were never written, and all chunks; none where samples are not stored in chunks.
    pub fn missing_chunks(&self) -> (u64, u64) {
        self.dataset().ok().and_then(|dataset| missing_chunks(&dataset)).unwrap_or_default()
    }

    /// What reading gives where nothing was written; nothing if that is not defined.
    pub fn fill_value(&self) -> Option<String> {
        let plist = self.dataset().ok()?.dcpl().ok()?;
        // HDF5 leaves memory as it is then
        if plist.fill_time() == FillTime::Never || plist.fill_value_defined() == FillValue::Undefined {
            return None;
        }
        plist.get_fill_value_as::<f64>().ok().flatten().map(|value| value.to_string())
    }

    /// What its type and attributes say about its values that reading does not follow, or the user should know.
    pub fn notes(&self) -> Vec<String> {
        let what = self.describe();
        let mut notes = Vec::new();
        let Ok(dataset) = self.dataset() else { return notes };
        if dataset.dtype().is_ok_and(|dtype| stored::is_long(&dtype)) {
            notes.push(format!("{what} holds floats of more than 64 bits; they are rounded to 64"));
        }
        if self.packing.is_none() && self.view.bits.is_none() {
            notes.extend(netcdf::notes(&dataset, &what));
            if self.view.decodes {
                notes.push(format!(
                    "{what} has no attribute that --decode-netcdf follows; its values are read as they are"
                ));
            }
        }
        let is_by_columns =
            !matches!(self.view.axes, Axes::Columns | Axes::Whole) && self.view.bits.is_none();
        if dataset.attr("MATLAB_class").is_ok() && is_by_columns {
            notes.push(format!(
                "{what} was written by MATLAB, which stores matrices by columns: its {} samples here are the columns of the matrix in MATLAB; if the samples are the rows in MATLAB, use --transpose",
                self.rows
            ));
        }
        notes
    }
}

/// How many samples a dataset has, how many features, and of which type, if it can be read as samples.
fn check(dataset: &Dataset, view: View, what: &str) -> Result<((usize, usize), StoredType)> {
    // before its shape is asked for: that of a virtual one depends on other files
    check_place(dataset, what)?;
    let stored = dataset.dtype().map_err(|_| "a type that HDF5 here cannot read");
    let stored = stored.and_then(|dtype| StoredType::of(&dtype));
    if view.bits.is_some() && (stored != Ok(StoredType::U8) || is_boolean(dataset)) {
        fail!(
            "{what} does not hold bytes without a sign (uint8), which --packed needs; pack truth values by numpy.packbits(x, axis=1), or leave --packed and --features out"
        );
    }
    let samples = view.samples_of(&dataset.shape(), what)?;
    let stored = match stored {
        Ok(stored) => stored,
        Err(holds) => fail!("{what} holds {holds}; convert it to floats or integers"),
    };
    filters::check(dataset, what)?;
    if dataset.storage_size() == 0 {
        fail!("{what} has no values stored (only its shape); write the samples first");
    }
    Ok((samples, stored))
}

/// Whether values are true or false, as h5py stores them: an enumeration of 0 and 1.
fn is_boolean(dataset: &Dataset) -> bool {
    dataset
        .dtype()
        .and_then(|dtype| dtype.to_descriptor())
        .is_ok_and(|dtype| dtype == TypeDescriptor::Boolean)
}

/// Refuses values that lie in other files.
fn check_place(dataset: &Dataset, what: &str) -> Result<()> {
    let plist = dataset.dcpl().context(|| format!("{what}: its layout cannot be read"))?;
    if plist.layout() == Layout::Virtual {
        fail!("{what} is virtual, a view of other files; copy it into one dataset first");
    }
    if !plist.external().is_empty() {
        fail!("{what} keeps its values in another file (external storage); copy it into one file first");
    }
    Ok(())
}
