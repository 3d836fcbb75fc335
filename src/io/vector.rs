//! A number for each feature, in a file of its own or beside samples.

use std::path::Path;

use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, File, Group, LinkType};

use super::{Attempt, open, own_dataset};
use crate::error::{Context, Result};
use crate::fail;
use crate::text::listed;

/// Groups inside each other that are looked into.
const DEPTH: usize = 16;

/// Reads `len` numbers: the dataset of that name, or the only one of that shape. Returns its name too.
///
/// # Errors
/// If there is no such dataset in this very file, or more than one where none is named, or it holds something else.
pub fn read_vector(path: &Path, name: Option<&str>, len: usize) -> Result<(String, Vec<f64>)> {
    let (file, shown) = (open(path)?, path.display());
    let (name, dataset) = match name {
        Some(name) => {
            let dataset =
                own_dataset(&file, name).context(|| format!("\"{name}\" in {shown} cannot be read"))?;
            (name.to_owned(), dataset)
        }
        None => only(&file, path, len)?,
    };
    let shape = dataset.shape();
    if shape != [len] {
        fail!(
            "\"{name}\" in {shown} has shape {shape:?}; there must be one number for each of {len} features"
        );
    }
    if !is_numeric(&dataset) {
        fail!("\"{name}\" in {shown} does not hold numbers; write them as integers or floats");
    }
    let read = dataset.read_raw::<f64>();
    Ok((name.clone(), read.context(|| format!("\"{name}\" in {shown} cannot be read"))?))
}

fn is_numeric(dataset: &Dataset) -> bool {
    let kind = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
    matches!(kind, Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_)))
}

/// The only dataset of `len` numbers in a file.
fn only(file: &File, path: &Path, len: usize) -> Result<(String, Dataset)> {
    let mut found = Vec::new();
    let looked = file.group("/").and_then(|root| collect(&root, "", DEPTH, len, &mut found));
    looked.context(|| format!("{} cannot be read", path.display()))?;
    if found.len() > 1 {
        let names = listed(found.iter().map(|(name, _)| name.clone()), ", ");
        fail!(
            "{} has {} datasets of {len} numbers: {names}; name one of them after the file, as in FILE:NAME",
            path.display(),
            found.len()
        );
    }
    let Some(only) = found.pop() else {
        fail!(
            "{} has no dataset with one number for each of {len} features; write one, or name a dataset after the file, as in FILE:NAME",
            path.display()
        );
    };
    Ok(only)
}

fn collect(
    group: &Group,
    place: &str,
    depth: usize,
    len: usize,
    found: &mut Vec<(String, Dataset)>,
) -> Attempt<()> {
    for (link, info) in group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native)? {
        let name = format!("{place}/{link}");
        if info.link_type != LinkType::Hard {
            continue;
        }
        if let Ok(dataset) = group.dataset(&link) {
            if dataset.shape() == [len] && is_numeric(&dataset) {
                found.push((name, dataset));
            }
        } else if let Ok(inner) = group.group(&link)
            && depth > 0
        {
            collect(&inner, &name, depth - 1, len, found)?;
        }
    }
    Ok(())
}
