//! Input samples: any two-dimensional numeric dataset, one sample per row.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::plist::dataset_create::Layout;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, File, Group};

use super::{Stored, open};
use crate::element::Dtype;
use crate::error::{Context, Error, Result};
use crate::fail;

/// A dataset of samples, open to read.
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
    /// Type to compute in that loses nothing: f32 for floats and integers of up to 16 and f32's own
    /// 32 bits, else f64.
    pub dtype: Dtype,
}

impl Samples {
    /// Opens `dataset` of the file, or the only two-dimensional numeric one.
    ///
    /// # Errors
    /// A sentence for anything that is not a matrix of real numbers stored in this very file.
    pub fn open(path: &Path, dataset: Option<&str>) -> Result<Self> {
        let file = open(path)?;
        let name = match dataset {
            Some(name) => name.trim_start_matches('/').to_owned(),
            None => only_matrix(&file, path)?,
        };
        let what = format!("dataset \"{name}\" in {}", path.display());
        let dataset = find(&file, path, &name)?;
        let (rows, features) = shape(&dataset, &what)?;
        let dtype = real_type(&dataset, &what)?;
        check_storage(&dataset, &what)?;
        let samples = Self {
            dataset,
            _file: file,
            path: path.to_owned(),
            name: format!("/{name}"),
            rows,
            features,
            dtype,
        };
        // a filter may be known by name and yet not load: the first row tells
        samples.dataset.read_slice_2d::<f64, _>((0..1, 0..1)).map_err(|error| {
            Error::Failed(format!(
                "{what} cannot be read: {error}; is the file whole and its filter installed?"
            ))
        })?;
        Ok(samples)
    }

    /// What it is, for messages: `dataset "/x" in a.h5`.
    pub fn describe(&self) -> String {
        format!("dataset \"{}\" in {}", self.name, self.path.display())
    }

    /// Rows that are best read together: those of a storage chunk, or 1.
    pub fn chunk_rows(&self) -> usize {
        self.dataset.chunk().map_or(1, |chunk| chunk[0])
    }

    /// Some of the samples, row-major, converted to `T` as HDF5 does.
    pub fn read<T: Stored>(&self, rows: Range<usize>) -> Result<Vec<T>> {
        let read = self.dataset.read_slice_2d::<T, _>((rows.clone(), ..)).context(|| {
            format!("rows {} to {} of {} cannot be read", rows.start, rows.end, self.describe())
        })?;
        Ok(read.into_raw_vec_and_offset().0)
    }

    /// One value as it is stored, in f64.
    pub fn value(&self, row: usize, column: usize) -> Result<f64> {
        let read = self.dataset.read_slice_2d::<f64, _>((row..=row, column..=column));
        Ok(read.context(|| format!("row {row} of {} cannot be read", self.describe()))?[[0, 0]])
    }
}

fn find(file: &File, path: &Path, name: &str) -> Result<Dataset> {
    let shown = path.display();
    // each part of the path by its link, so that a link into another file is never followed
    let mut group: Group = (**file).clone();
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let Some((last, parents)) = parts.split_last() else {
        fail!("\"{name}\" in {shown} is no dataset; {}", candidates(file));
    };
    for (depth, part) in parts.iter().enumerate() {
        let external =
            links(&group).any(|(link, info)| link == *part && info.link_type == hdf5::LinkType::External);
        if external {
            fail!("\"{name}\" in {shown} is a link into another file; name that file instead");
        }
        if depth < parents.len() {
            group = match group.group(part) {
                Ok(next) => next,
                Err(_) => fail!("{shown} has no dataset \"{name}\"; {}", candidates(file)),
            };
        }
    }
    if let Ok(dataset) = group.dataset(last) {
        // a soft link may lead to a link into another file
        if dataset.filename() != file.filename() {
            fail!("\"{name}\" in {shown} is a link into another file; name that file instead");
        }
        return Ok(dataset);
    }
    if group.group(last).is_ok() {
        fail!("\"{name}\" in {shown} is a group, not a dataset; {}", candidates(file));
    }
    fail!("{shown} has no dataset \"{name}\", or it is a link that leads nowhere; {}", candidates(file))
}

fn only_matrix(file: &File, path: &Path) -> Result<String> {
    let mut found = matrices(file);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => fail!(
            "{} has no two-dimensional numeric dataset; write the samples as one, a sample per row (--dataset NAME tells what is wrong with one)",
            path.display()
        ),
        _ => fail!(
            "{} has {} two-dimensional numeric datasets; choose one with --dataset: {}",
            path.display(),
            found.len(),
            found.join(", ")
        ),
    }
}

fn candidates(file: &File) -> String {
    let found = matrices(file);
    if found.is_empty() {
        "it has no two-dimensional numeric dataset".into()
    } else {
        format!("its two-dimensional numeric datasets: {}", found.join(", "))
    }
}

/// Full names of the matrices in a file, links into other places not followed.
fn matrices(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    let mut groups: Vec<(String, Group)> = vec![(String::new(), (**file).clone())];
    while let Some((prefix, group)) = groups.pop() {
        for (link, info) in links(&group) {
            if info.link_type != hdf5::LinkType::Hard {
                continue;
            }
            let name = format!("{prefix}{link}");
            if let Ok(dataset) = group.dataset(&link) {
                if dataset.ndim() == 2 && real_type(&dataset, "").is_ok() {
                    found.push(name);
                }
            } else if let Ok(child) = group.group(&link) {
                // hard links can make a circle
                let token = child.loc_info().ok().map(|info| format!("{:?}", info.token));
                if !seen.contains(&token) {
                    seen.push(token);
                    groups.push((format!("{name}/"), child));
                }
            }
        }
    }
    found.sort();
    found
}

fn shape(dataset: &Dataset, what: &str) -> Result<(usize, usize)> {
    let shape = dataset.shape();
    let &[rows, features] = shape.as_slice() else {
        fail!("{what} has {} dimensions; expected 2 (samples x features)", shape.len());
    };
    if rows == 0 || features == 0 {
        fail!("{what} is empty ({rows} x {features}); it needs at least one sample and one feature");
    }
    if rows.checked_mul(features).and_then(|values| values.checked_mul(8)).is_none() {
        fail!("{what} claims {rows} x {features} values, more than any memory; check the file");
    }
    Ok((rows, features))
}

fn real_type(dataset: &Dataset, what: &str) -> Result<Dtype> {
    let descriptor = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
    let kind = match descriptor {
        Ok(TypeDescriptor::Float(FloatSize::U8)) => return Ok(Dtype::F64),
        Ok(TypeDescriptor::Float(_)) => return Ok(Dtype::F32),
        Ok(TypeDescriptor::Integer(size) | TypeDescriptor::Unsigned(size)) => {
            return Ok(if matches!(size, IntSize::U1 | IntSize::U2) { Dtype::F32 } else { Dtype::F64 });
        }
        Ok(TypeDescriptor::Boolean | TypeDescriptor::Enum(_)) => "an enumeration (booleans are one)",
        Ok(TypeDescriptor::Compound(_)) => "a compound type",
        Ok(
            TypeDescriptor::FixedAscii(_)
            | TypeDescriptor::FixedUnicode(_)
            | TypeDescriptor::VarLenAscii
            | TypeDescriptor::VarLenUnicode,
        ) => "text",
        _ => "a type that is no real number",
    };
    fail!("{what} holds {kind}; convert it to floats or integers")
}

fn check_storage(dataset: &Dataset, what: &str) -> Result<()> {
    let plist = dataset.dcpl().context(|| format!("{what}: its layout cannot be read"))?;
    if plist.layout() == Layout::Virtual {
        fail!("{what} is virtual, a view of other files; copy it into one dataset first");
    }
    if !plist.external().is_empty() {
        fail!("{what} keeps its values in another file (external storage); copy it into one file first");
    }
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

fn links(group: &Group) -> impl Iterator<Item = (String, hdf5::LinkInfo)> {
    group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native).into_iter().flatten()
}
