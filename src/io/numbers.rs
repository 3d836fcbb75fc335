//! A number for each feature, or for each pair of features, in a file of its own or beside samples.

use std::path::Path;

use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, File, Group, LinkType};

use super::{Attempt, missing_chunks, open, own_dataset};
use crate::error::{Context, Result};
use crate::fail;
use crate::text::listed;

/// Groups inside each other that are looked into.
const DEPTH: usize = 16;

/// What there is a number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each of so many features.
    Feature(usize),
    /// Each pair of so many features.
    Pair(usize),
}

impl Per {
    /// Whether an array of this shape holds them.
    fn is_shape(self, shape: &[usize]) -> bool {
        match self {
            Self::Feature(len) => {
                let is_line = shape.iter().filter(|&&edge| edge != 1).count() <= 1;
                !shape.is_empty() && is_line && shape.iter().product::<usize>() == len
            }
            Self::Pair(d) => shape == [d, d],
        }
    }

    /// How many they are.
    fn count(self) -> String {
        match self {
            Self::Feature(len) => format!("one number for each of {len} features"),
            Self::Pair(d) => format!("{d} x {d} numbers, one for each pair of features"),
        }
    }

    /// How they are to be written.
    fn shape(self) -> String {
        match self {
            Self::Feature(_) => format!("{}, as an array of one dimension", self.count()),
            Self::Pair(_) => self.count(),
        }
    }
}

/// Reads numbers: the dataset of that name, or the only one of their shape. Returns its name too.
///
/// # Errors
/// If there is no such dataset in this very file, or more than one where none is named, or it holds something else, or less.
pub fn read_numbers(path: &Path, name: Option<&str>, of: Per) -> Result<(String, Vec<f64>)> {
    let (file, shown) = (open(path)?, path.display());
    let (name, dataset) = match name {
        Some(name) => {
            let dataset =
                own_dataset(&file, name).context(|| format!("\"{name}\" in {shown} cannot be read"))?;
            (name.to_owned(), dataset)
        }
        None => only(&file, path, of)?,
    };
    let what = format!("\"{name}\" in {shown}");
    let shape = dataset.shape();
    if !of.is_shape(&shape) {
        fail!("{what} has shape {shape:?}; write {}", of.shape());
    }
    let Some(kind) = Kind::of(&dataset) else {
        fail!("{what} does not hold numbers of up to 64 bits; write them as integers or floats");
    };
    if is_partly_written(&dataset) {
        fail!("{what} was never written, or not all of it; write all its numbers");
    }
    if let Some(packing) = ["scale_factor", "add_offset"].iter().find(|name| dataset.attr(name).is_ok()) {
        fail!("{what} has an attribute {packing}, which is not followed here; write the numbers themselves");
    }
    let read = || match kind {
        Kind::Number => dataset.read_raw::<f64>(),
        Kind::Truth => Ok(dataset.read_raw::<bool>()?.into_iter().map(f64::from).collect()),
    };
    let values = read().context(|| format!("{what} cannot be read"))?;
    Ok((name, values))
}

/// What values are stored as.
enum Kind {
    Number,
    /// Booleans of h5py.
    Truth,
}

impl Kind {
    fn of(dataset: &Dataset) -> Option<Self> {
        match dataset.dtype().and_then(|dtype| dtype.to_descriptor()).ok()? {
            TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_) => {
                Some(Self::Number)
            }
            TypeDescriptor::Boolean => Some(Self::Truth),
            _ => None,
        }
    }
}

/// Whether some of it would be read as the fill value.
fn is_partly_written(dataset: &Dataset) -> bool {
    missing_chunks(dataset).map_or_else(|| dataset.storage_size() == 0, |(missing, _)| missing > 0)
}

/// The only dataset of such numbers in a file.
fn only(file: &File, path: &Path, of: Per) -> Result<(String, Dataset)> {
    let mut all = Vec::new();
    let looked = file.group("/").and_then(|root| collect(&root, "", DEPTH, &mut all));
    looked.context(|| format!("{} cannot be read", path.display()))?;
    let shown = path.display();
    let is_fit = |dataset: &Dataset| of.is_shape(&dataset.shape()) && Kind::of(dataset).is_some();
    let fit: Vec<_> = all.iter().filter(|(_, dataset)| is_fit(dataset)).collect();
    match fit.as_slice() {
        [(name, dataset)] => Ok((name.clone(), dataset.clone())),
        [] => {
            let shape = |dataset: &Dataset| {
                let shape: Vec<_> = dataset.shape().iter().map(usize::to_string).collect();
                let numbers = if Kind::of(dataset).is_some() { "" } else { ", not numbers of up to 64 bits" };
                format!(
                    "{}{numbers}",
                    if shape.is_empty() { "a single value".into() } else { shape.join(" x ") }
                )
            };
            let found =
                listed(all.iter().map(|(name, dataset)| format!("{name} ({})", shape(dataset))), ", ");
            let found = if found.is_empty() { "no dataset".to_owned() } else { found };
            fail!("{shown} has no dataset with {}, but {found}; write one", of.count());
        }
        _ => {
            let names = listed(fit.iter().map(|(name, _)| name.clone()), ", ");
            fail!(
                "{shown} has {} datasets with {}: {names}; name one of them after the file, as in FILE:NAME",
                fit.len(),
                of.count()
            );
        }
    }
}

/// The datasets of a group and those inside it.
fn collect(group: &Group, place: &str, depth: usize, found: &mut Vec<(String, Dataset)>) -> Attempt<()> {
    for (link, info) in group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native)? {
        let name = format!("{place}/{link}");
        if info.link_type != LinkType::Hard {
            continue;
        }
        if let Ok(dataset) = group.dataset(&link) {
            found.push((name, dataset));
        } else if let Ok(inner) = group.group(&link)
            && depth > 0
        {
            collect(&inner, &name, depth - 1, found)?;
        }
    }
    Ok(())
}
