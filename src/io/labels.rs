//! Labels of samples: text or numbers, one for each, copied into a result as they are.

use std::path::Path;

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, H5Type};

use super::{Attempt, open, own_dataset};
use crate::error::{Context, Result};
use crate::fail;

/// Bytes of labels that are copied at once, as they are in memory.
const PART_BYTES: usize = 4 << 20;

/// Longest text of a fixed length, in bytes.
const MOST_BYTES: usize = 4096;

/// Labels in a file of samples.
pub struct Labels {
    dataset: Dataset,
    kind: TypeDescriptor,
}

impl Labels {
    /// Opens the labels of so many samples, which lie in the same file.
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
            ) => Ok(Self { dataset, kind }),
            _ => fail!(
                "the labels \"{name}\" of {shown} are neither text (of {MOST_BYTES} bytes at most, where the length is fixed) nor numbers; write them as such"
            ),
        }
    }

    /// Writes them to a new dataset of the same type.
    pub(super) fn copy_to(&self, file: &File, name: &str) -> Attempt<()> {
        match self.kind {
            TypeDescriptor::Integer(_) => self.copy::<i64>(file, name),
            TypeDescriptor::Unsigned(_) => self.copy::<u64>(file, name),
            TypeDescriptor::Float(_) => self.copy::<f64>(file, name),
            TypeDescriptor::Boolean => self.copy::<bool>(file, name),
            TypeDescriptor::VarLenAscii => self.copy::<VarLenAscii>(file, name),
            TypeDescriptor::VarLenUnicode => self.copy::<VarLenUnicode>(file, name),
            TypeDescriptor::FixedAscii(bytes) => match bytes {
                0..=16 => self.copy::<FixedAscii<16>>(file, name),
                17..=128 => self.copy::<FixedAscii<128>>(file, name),
                _ => self.copy::<FixedAscii<MOST_BYTES>>(file, name),
            },
            TypeDescriptor::FixedUnicode(bytes) => match bytes {
                0..=16 => self.copy::<FixedUnicode<16>>(file, name),
                17..=128 => self.copy::<FixedUnicode<128>>(file, name),
                _ => self.copy::<FixedUnicode<MOST_BYTES>>(file, name),
            },
            _ => Err("labels of this type were refused".into()),
        }
    }

    /// By way of values of type `S` in memory, which holds every value of the type in the file.
    fn copy<S: H5Type>(&self, file: &File, name: &str) -> Attempt<()> {
        let len = self.dataset.size();
        let copied = file.new_dataset_builder().empty_as(&self.dataset.dtype()?).shape(len).create(name)?;
        let most = PART_BYTES / size_of::<S>();
        for first in (0..len).step_by(most) {
            let part = first..len.min(first + most);
            let values = self.dataset.read_slice_1d::<S, _>(part.clone())?;
            copied.write_slice(&values, part)?;
        }
        Ok(())
    }
}
