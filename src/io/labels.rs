//! Labels of samples: text or numbers, one for each, copied into a result as they are.

use std::mem::discriminant;
use std::path::{Path, PathBuf};

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, H5Type};

use super::{Attempt, open, own_dataset};
use crate::error::{Context, Result};
use crate::fail;

/// Bytes of labels that are copied at once, as they are in memory.
const PART_BYTES: usize = 4 << 20;

/// Longest text of a fixed length, in bytes.
const MOST_BYTES: usize = 4096;

/// Labels in a file of samples, which is opened when they are copied: there may be more files than can be open.
pub struct Labels {
    path: PathBuf,
    name: String,
    samples: usize,
    kind: TypeDescriptor,
    /// What they are, for messages.
    shown: String,
}

impl Labels {
    /// Looks at the labels of so many samples, which lie in the same file.
    ///
    /// # Errors
    /// If there is no such dataset in this very file, or it does not hold a text or a number for each sample.
    pub fn open(path: &Path, name: &str, samples: usize) -> Result<Self> {
        let (file, shown) = (open(path)?, path.display());
        let dataset = own_dataset(&file, name)
            .context(|| format!("the labels \"{name}\" of {shown} cannot be read"))?;
        let shape = dataset.shape();
        if shape != [samples] {
            fail!(
                "the labels \"{name}\" of {shown} have shape {shape:?}; there must be one for each of {samples} samples"
            );
        }
        let kind = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        match kind {
            Ok(
                kind @ (TypeDescriptor::Integer(_)
                | TypeDescriptor::Unsigned(_)
                | TypeDescriptor::Float(_)
                | TypeDescriptor::Boolean
                | TypeDescriptor::VarLenAscii
                | TypeDescriptor::VarLenUnicode
                | TypeDescriptor::FixedAscii(..=MOST_BYTES)
                | TypeDescriptor::FixedUnicode(..=MOST_BYTES)),
            ) => {
                let shown = format!("the labels \"{name}\" of {shown}");
                Ok(Self { path: path.to_owned(), name: name.into(), samples, kind, shown })
            }
            _ => fail!(
                "the labels \"{name}\" of {shown} are neither text (of {MOST_BYTES} bytes at most, where the length is fixed) nor numbers; write them as such"
            ),
        }
    }

    fn dataset(&self) -> Attempt<Dataset> {
        let file = open(&self.path).map_err(|error| hdf5::Error::from(error.to_string()))?;
        own_dataset(&file, &self.name)
    }

    /// Bytes of a label, or of what stands for it.
    fn size(&self) -> usize {
        self.kind.size()
    }

    /// Copies them behind others.
    fn copy_to(&self, copied: &Dataset, first: usize) -> Attempt<()> {
        match self.kind {
            TypeDescriptor::Integer(_) => self.copy::<i64>(copied, first),
            TypeDescriptor::Unsigned(_) => self.copy::<u64>(copied, first),
            TypeDescriptor::Float(_) => self.copy::<f64>(copied, first),
            TypeDescriptor::Boolean => self.copy::<bool>(copied, first),
            TypeDescriptor::VarLenAscii => self.copy::<VarLenAscii>(copied, first),
            TypeDescriptor::VarLenUnicode => self.copy::<VarLenUnicode>(copied, first),
            TypeDescriptor::FixedAscii(bytes) => match bytes {
                0..=16 => self.copy::<FixedAscii<16>>(copied, first),
                17..=128 => self.copy::<FixedAscii<128>>(copied, first),
                _ => self.copy::<FixedAscii<MOST_BYTES>>(copied, first),
            },
            TypeDescriptor::FixedUnicode(bytes) => match bytes {
                0..=16 => self.copy::<FixedUnicode<16>>(copied, first),
                17..=128 => self.copy::<FixedUnicode<128>>(copied, first),
                _ => self.copy::<FixedUnicode<MOST_BYTES>>(copied, first),
            },
            _ => Err("labels of this type were refused".into()),
        }
    }

    /// By way of values of type `S` in memory, which holds every value of the type in the file.
    fn copy<S: H5Type>(&self, copied: &Dataset, start: usize) -> Attempt<()> {
        let (dataset, len) = (self.dataset()?, self.samples);
        let most = PART_BYTES / size_of::<S>();
        for first in (0..len).step_by(most) {
            let part = first..len.min(first + most);
            let values = dataset.read_slice_1d::<S, _>(part.clone())?;
            copied.write_slice(&values, start + part.start..start + part.end)?;
        }
        Ok(())
    }
}

/// Refuses labels of several files that are not all text, in the same way, or all numbers of a sort: they would have no type in common.
///
/// # Errors
/// A sentence about the first that differs.
pub fn check_alike(labels: &[Labels]) -> Result<()> {
    let differs = |other: &&Labels| discriminant(&other.kind) != discriminant(&labels[0].kind);
    if let Some(other) = labels.iter().find(differs) {
        fail!(
            "{} are of another type ({}) than {} ({}); write all in the same type",
            other.shown,
            other.kind,
            labels[0].shown,
            labels[0].kind
        );
    }
    Ok(())
}

/// Writes labels, one file's after another's, to a new dataset of their type, which is the largest that one of them has.
pub(super) fn copy(labels: &[Labels], file: &File, name: &str) -> Attempt<()> {
    let Some(largest) = labels.iter().max_by_key(|labels| labels.size()) else { return Ok(()) };
    let len = labels.iter().map(|labels| labels.samples).sum::<usize>();
    let copied = file.new_dataset_builder().empty_as(&largest.dataset()?.dtype()?).shape(len).create(name)?;
    let mut first = 0;
    for labels in labels {
        labels.copy_to(&copied, first)?;
        first += labels.samples;
    }
    Ok(())
}
