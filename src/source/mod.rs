//! Input samples: any two-dimensional numeric dataset, one sample per row.
//!
//! - `find` — which dataset of a file it is
//! - `stored` — values as they are stored, and their rounding to the type that is computed in

mod find;
mod stored;

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::plist::dataset_create::{FillTime, FillValue, Layout};
use hdf5::types::{FixedAscii, IntSize, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, H5Type};

use crate::element::Dtype;
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::io::{Stored, open};
use crate::text::counted;
use find::Finder;

pub(crate) use find::PassedOver;
pub(crate) use stored::{Mark, StoredType, Values, marked};

/// Bytes of compressed samples that are read together, if a chunk has not more: chunks may have a single value.
const PART_BYTES: usize = 16 << 20;

/// A dataset of samples, open to read.
#[derive(Clone)]
pub struct Samples {
    dataset: Dataset,
    // kept open as long as the dataset
    _file: File,
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Full name of the dataset in the file.
    pub name: String,
    /// Samples.
    pub rows: usize,
    /// Features.
    pub features: usize,
    /// The type that the values are read in.
    pub stored_type: StoredType,
    /// Type to compute in that loses nothing: f32 for floats and integers of up to 16 and f32's own
    /// 32 bits, else f64.
    pub dtype: Dtype,
    /// Values that attributes call missing.
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
    Stored(Values),
}

/// Samples that were read together.
pub struct Picked<T> {
    rows: Vec<usize>,
    values: Vec<T>,
    features: usize,
}

impl<T> Picked<T> {
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
    /// Opens `dataset` of the file, or the only two-dimensional numeric one.
    ///
    /// # Errors
    /// A sentence for anything that is not a matrix of real numbers stored in this very file.
    pub fn open(path: &Path, dataset: Option<&str>) -> Result<Self> {
        let file = open(path)?;
        let finder = Finder::new(&file, path);
        let (name, passed_over) = match dataset {
            Some(name) => (name.trim_start_matches('/').to_owned(), Vec::new()),
            None => finder.only()?,
        };
        let what = format!("dataset \"{name}\" in {}", path.display());
        let dataset = finder.named(&name)?;
        // before its shape is asked for: that of a virtual one depends on other files
        check_place(&dataset, &what)?;
        let (rows, features) = shape(&dataset, &what)?;
        let stored_type = dataset.dtype().map_err(|_| "a type that HDF5 here cannot read");
        let stored_type = match stored_type.and_then(|dtype| StoredType::of(&dtype)) {
            Ok(stored_type) => stored_type,
            Err(holds) => fail!("{what} holds {holds}; convert it to floats or integers"),
        };
        check_storage(&dataset, &what)?;
        let samples = Self {
            marks: marks(&dataset),
            dataset,
            _file: file,
            path: path.to_owned(),
            name: format!("/{name}"),
            rows,
            features,
            stored_type,
            dtype: stored_type.dtype(),
            passed_over,
            subtracted: 0,
        };
        // a filter may be known by name and yet not load: the first value tells
        samples.values((0..1, 0..1)).map_err(|error| {
            Error::Failed(format!(
                "{what} cannot be read: {error}; is the file whole and its filter installed?"
            ))
        })?;
        Ok(samples)
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

    /// Rows that are best read together: those of a storage chunk, or 1.
    pub fn chunk_rows(&self) -> usize {
        self.dataset.chunk().map_or(1, |chunk| chunk[0])
    }

    /// Bytes that HDF5 reads and unpacks for so many neighbouring values of a sample.
    pub fn unpacked_bytes(&self, values: usize) -> usize {
        let chunk = self.dataset.chunk().map_or([1, 1], |chunk| [chunk[0], chunk[1]]);
        let chunks = values.div_ceil(chunk[1].max(1));
        chunks.saturating_mul(chunk[0]).saturating_mul(chunk[1]).saturating_mul(self.stored_type.size())
    }

    /// Neighbouring samples, row-major.
    pub fn slice<T: Stored>(&self, rows: Range<usize>) -> Result<Slice<T>> {
        self.part((rows, 0..self.features))
    }

    /// Neighbouring samples, row-major, each value rounded once to `T`.
    pub fn read<T: Stored>(&self, rows: Range<usize>) -> Result<Vec<T>> {
        Ok(self.converted(self.slice(rows)?))
    }

    /// Samples from anywhere, each value rounded once to `T`. A compressed chunk of the storage is unpacked once for all of them; so
    /// memory is that of the samples, and a few times that of a chunk, or of 16 MiB of chunks.
    pub fn pick<T: Stored>(&self, rows: impl Iterator<Item = usize>) -> Result<Picked<T>> {
        let mut rows: Vec<usize> = rows.collect();
        rows.sort_unstable();
        rows.dedup();
        let mut values = vec![T::default(); rows.len() * self.features];
        let compressed = self.dataset.chunk().filter(|_| !self.dataset.filters().is_empty());
        let [chunk_rows, width] = compressed.map_or([1, self.features], |chunk| {
            let bytes =
                chunk[0].saturating_mul(chunk[1]).saturating_mul(self.stored_type.size().max(size_of::<T>()));
            [chunk[0], chunk[1].saturating_mul((PART_BYTES / bytes).max(1))]
        });
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

    fn part<T: Stored>(&self, part: (Range<usize>, Range<usize>)) -> Result<Slice<T>> {
        let (start, end) = (part.0.start, part.0.end);
        let failed = || format!("rows {start} to {end} of {} cannot be read", self.describe());
        if self.stored_type.is(T::DTYPE) {
            return read(&self.dataset, part).map(Slice::Ready).context(failed);
        }
        self.values(part).map(Slice::Stored).context(failed)
    }

    fn converted<T: Stored>(&self, slice: Slice<T>) -> Vec<T> {
        match slice {
            Slice::Ready(values) => values,
            Slice::Stored(stored) => {
                let mut values = vec![T::default(); stored.len()];
                stored.convert(0..stored.len(), self.subtracted, &mut values);
                values
            }
        }
    }

    /// One value as it is stored, for messages.
    pub fn show(&self, row: usize, column: usize) -> Result<String> {
        let read = self.values((row..row + 1, column..column + 1));
        Ok(read.context(|| format!("row {row} of {} cannot be read", self.describe()))?.show(0))
    }

    fn values(&self, part: (Range<usize>, Range<usize>)) -> hdf5::Result<Values> {
        let dataset = &self.dataset;
        match self.stored_type {
            StoredType::I8 => read(dataset, part).map(Values::I8),
            StoredType::I16 => read(dataset, part).map(Values::I16),
            StoredType::I32 => read(dataset, part).map(Values::I32),
            StoredType::I64 => read(dataset, part).map(Values::I64),
            StoredType::U8 => read(dataset, part).map(Values::U8),
            StoredType::U16 => read(dataset, part).map(Values::U16),
            StoredType::U32 => read(dataset, part).map(Values::U32),
            StoredType::U64 => read(dataset, part).map(Values::U64),
            StoredType::F32 => read(dataset, part).map(Values::F32),
            StoredType::F64 => read(dataset, part).map(Values::F64),
        }
    }

    /// Storage chunks that were never written, and all chunks; none where samples are not stored in chunks.
    pub fn missing_chunks(&self) -> (u64, u64) {
        let (Some(chunk), Some(stored)) = (self.dataset.chunk(), self.dataset.num_chunks()) else {
            return (0, 0);
        };
        let [rows, features] = [(self.rows, chunk[0]), (self.features, chunk[1])]
            .map(|(values, edge)| values.div_ceil(edge.max(1)) as u64);
        let all = rows.saturating_mul(features);
        (all.saturating_sub(stored as u64), all)
    }

    /// What reading gives where nothing was written; nothing if that is not defined.
    pub fn fill_value(&self) -> Option<String> {
        let plist = self.dataset.dcpl().ok()?;
        // HDF5 leaves memory as it is then
        if plist.fill_time() == FillTime::Never || plist.fill_value_defined() == FillValue::Undefined {
            return None;
        }
        plist.get_fill_value_as::<f64>().ok().flatten().map(|value| value.to_string())
    }

    /// What its attributes say about its values that reading does not follow.
    pub fn notes(&self) -> Vec<String> {
        let what = self.describe();
        let number = |name: &str| first::<f64>(&self.dataset, name);
        let mut notes = Vec::new();
        let (scale, offset) = (number("scale_factor"), number("add_offset"));
        if scale.is_some_and(|scale| (scale - 1.0).abs() > 0.0)
            || offset.is_some_and(|offset| offset.abs() > 0.0)
        {
            notes.push(format!(
                "{what} holds packed values: its attributes say value * {} + {}, and the distances are those of the values as they are stored; to have those of the real values, write a dataset of value * scale_factor + add_offset and compute from that",
                scale.unwrap_or(1.0),
                offset.unwrap_or(0.0)
            ));
        }
        if is_true(&self.dataset, "_Unsigned") {
            notes.push(format!(
                "{what} holds numbers with a sign, which its attribute _Unsigned says are meant without one; the distances are those of the values as they are stored; to have those of the real values, write a dataset of the unsigned type and compute from that"
            ));
        }
        if self.dataset.attr("MATLAB_class").is_ok() {
            notes.push(format!(
                "{what} was written by MATLAB, which stores matrices by columns: its {} rows here are the columns of the matrix in MATLAB; if the samples are the rows in MATLAB, write the transposed matrix and compute from that: Y = X.'; save('transposed.mat', 'Y', '-v7.3')",
                self.rows
            ));
        }
        notes
    }
}

/// Reads in the type `S`. HDF5 swaps bytes, and widens what is smaller.
fn read<S: H5Type>(dataset: &Dataset, part: (Range<usize>, Range<usize>)) -> hdf5::Result<Vec<S>> {
    Ok(dataset.read_slice_2d::<S, _>(part)?.into_raw_vec_and_offset().0)
}

/// The values that the conventions of netCDF call missing.
fn marks(dataset: &Dataset) -> Vec<Mark> {
    let of = |name: &str| -> Vec<Mark> {
        let Ok(attribute) = dataset.attr(name) else { return Vec::new() };
        let numbers =
            attribute.dtype().and_then(|dtype| dtype.to_descriptor()).map(|descriptor| match descriptor {
                TypeDescriptor::Integer(_) => attribute
                    .read_raw::<i64>()
                    .map(|all| all.iter().map(|&value| Mark::Whole(value.into())).collect()),
                TypeDescriptor::Unsigned(_) => attribute
                    .read_raw::<u64>()
                    .map(|all| all.iter().map(|&value| Mark::Whole(value.into())).collect()),
                TypeDescriptor::Float(_) => attribute
                    .read_raw::<f64>()
                    .map(|all| all.iter().map(|&value| Mark::Real(value)).collect()),
                _ => Ok(Vec::new()),
            });
        numbers.and_then(|marks| marks).unwrap_or_default()
    };
    let attributes = ["_FillValue", "missing_value"].into_iter().flat_map(of);
    attributes.chain(own_fill_value(dataset)).collect()
}

/// The fill value that a dataset was given, as netCDF does for what is never written; 0 is what HDF5 itself takes, and bytes have no
/// value to spare.
fn own_fill_value(dataset: &Dataset) -> Option<Mark> {
    let plist = dataset.dcpl().ok()?;
    if plist.fill_value_defined() != FillValue::UserDefined {
        return None;
    }
    let mark = match dataset.dtype().ok()?.to_descriptor().ok()? {
        TypeDescriptor::Float(_) => Mark::Real(plist.get_fill_value_as::<f64>().ok()??),
        TypeDescriptor::Integer(size) if size != IntSize::U1 => {
            Mark::Whole(plist.get_fill_value_as::<i64>().ok()??.into())
        }
        TypeDescriptor::Unsigned(size) if size != IntSize::U1 => {
            Mark::Whole(plist.get_fill_value_as::<u64>().ok()??.into())
        }
        _ => return None,
    };
    (!matches!(mark, Mark::Whole(0)) && !matches!(mark, Mark::Real(value) if value == 0.0)).then_some(mark)
}

/// Whether an attribute says "true", in any of the types that text is stored in.
fn is_true(dataset: &Dataset, name: &str) -> bool {
    let Ok(attribute) = dataset.attr(name) else { return false };
    let unicode = attribute.read_scalar::<VarLenUnicode>().map(|text| text.as_str().to_owned());
    let ascii = || attribute.read_scalar::<VarLenAscii>().map(|text| text.as_str().to_owned());
    let fixed = || attribute.read_scalar::<FixedAscii<8>>().map(|text| text.as_str().to_owned());
    unicode.or_else(|_| ascii()).or_else(|_| fixed()).is_ok_and(|text| text.eq_ignore_ascii_case("true"))
}

/// The first number of an attribute, if there is one.
fn first<S: H5Type + Copy>(dataset: &Dataset, name: &str) -> Option<S> {
    dataset.attr(name).and_then(|attribute| attribute.read_raw::<S>()).ok()?.first().copied()
}

fn shape(dataset: &Dataset, what: &str) -> Result<(usize, usize)> {
    let shape = dataset.shape();
    let &[rows, features] = shape.as_slice() else {
        fail!("{what} has {}; expected 2 (samples x features)", counted(shape.len(), "dimension"));
    };
    if rows == 0 || features == 0 {
        fail!("{what} is empty ({rows} x {features}); it needs at least one sample and one feature");
    }
    if rows.checked_mul(features).and_then(|values| values.checked_mul(8)).is_none() {
        fail!("{what} claims {rows} x {features} values, more than any memory; check the file");
    }
    Ok((rows, features))
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

/// Refuses values that are not there, or cannot be unpacked.
fn check_storage(dataset: &Dataset, what: &str) -> Result<()> {
    let plist = dataset.dcpl().context(|| format!("{what}: its layout cannot be read"))?;
    if !plist.all_filters_avail() {
        fail!(
            "{what} needs a filter that is not installed ({:?}); install its plugin and set HDF5_PLUGIN_PATH, or write it again with gzip",
            plist.filters()
        );
    }
    if dataset.storage_size() == 0 {
        fail!("{what} has no values stored (only its shape); write the samples first");
    }
    Ok(())
}
