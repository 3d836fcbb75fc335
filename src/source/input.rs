//! The samples of an input: those of one file after those of another, in the order in which the files are given.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Picked, Samples, Storage, View};
use crate::element::{Content, Dtype};
use crate::error::Result;
use crate::fail;
use crate::io::Stored;

/// The samples of one or more files.
#[derive(Clone)]
pub struct Input {
    /// Those of each file.
    pub files: Vec<Samples>,
    /// The row of each file's first sample, and the number of all rows.
    starts: Vec<usize>,
    /// Features of a sample.
    pub features: usize,
}

impl Input {
    /// Opens a dataset of each file: the one of this name, or the only two-dimensional numeric one.
    ///
    /// # Errors
    /// A sentence about the first file that does not hold samples of real numbers with as many features as those of the files before it, under
    /// the same name.
    pub fn open(paths: &[PathBuf], dataset: Option<&str>, view: View) -> Result<Self> {
        let shelf = Arc::default();
        let open = |path: &PathBuf| Samples::open_on(&shelf, path, dataset, view);
        let mut files: Vec<Samples> = Vec::with_capacity(paths.len());
        for path in paths {
            let samples = open(path)?;
            if let Some(first) = files.first() {
                check_like(first, &samples)?;
            }
            files.push(samples);
        }
        Self::of(files)
    }

    /// Of files that are open, one at least.
    ///
    /// # Errors
    /// If the samples cannot be counted.
    pub fn of(files: Vec<Samples>) -> Result<Self> {
        let mut starts = vec![0_usize];
        for samples in &files {
            let Some(end) = starts[starts.len() - 1].checked_add(samples.rows) else {
                fail!("{} and the files before it claim more samples than 64 bits count", samples.describe());
            };
            starts.push(end);
        }
        let features = files[0].features;
        Ok(Self { files, starts, features })
    }

    /// Samples of all files.
    pub fn rows(&self) -> usize {
        self.starts[self.files.len()]
    }

    /// The row of the first sample of a file.
    pub fn start(&self, file: usize) -> usize {
        self.starts[file]
    }

    /// The same samples, less a whole number.
    #[must_use]
    pub fn less(&self, subtracted: i128) -> Self {
        let files = self.files.iter().map(|samples| samples.less(subtracted)).collect();
        Self { files, ..self.clone() }
    }

    /// Type to compute in that loses nothing.
    pub fn dtype(&self) -> Dtype {
        self.files.iter().map(|samples| samples.dtype).fold(Dtype::F32, Dtype::wider)
    }

    /// What all values are.
    pub fn content(&self) -> Content {
        let contents = self.files.iter().map(|samples| samples.storage.content);
        contents.reduce(Content::and).unwrap_or(Content::Any)
    }

    /// How samples lie in the files, each way once, with the most rows of a file that has it.
    pub fn layouts(&self) -> Vec<(Storage, usize)> {
        let mut layouts: Vec<(Storage, usize)> = Vec::new();
        for Samples { storage, rows, .. } in &self.files {
            match layouts.iter_mut().find(|(other, _)| other == storage) {
                Some((_, most)) => *most = (*most).max(*rows),
                None => layouts.push((*storage, *rows)),
            }
        }
        layouts
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self.files.as_slice() {
            [only] => only.describe(),
            [first, .., last] => format!(
                "dataset \"{}\" in {} files, from {} to {}",
                first.name,
                self.files.len(),
                first.path.display(),
                last.path.display()
            ),
            [] => "no file".into(),
        }
    }

    /// Some rows, file by file: the number of the file, and which of its own rows they are.
    pub fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<'_> {
        let first = self.file_of(rows.start);
        (first..self.files.len()).map_while(move |file| {
            let (start, end) = (self.starts[file], self.starts[file + 1]);
            let own = rows.start.max(start)..rows.end.min(end);
            (!own.is_empty()).then(|| (file, own.start - start..own.end - start))
        })
    }

    /// The file of a row.
    fn file_of(&self, row: usize) -> usize {
        self.starts.partition_point(|&start| start <= row) - 1
    }

    /// Neighbouring samples, row-major, each value rounded once to `T`.
    pub fn read<T: Stored>(&self, rows: Range<usize>) -> Result<Vec<T>> {
        let mut values = Vec::new();
        for (file, own) in self.pieces(rows) {
            let some = self.files[file].read(own)?;
            // of one file they are not copied
            if values.is_empty() {
                values = some;
            } else {
                values.extend(some);
            }
        }
        Ok(values)
    }

    /// Some features of neighbouring samples, row-major, each value rounded once to `T`.
    pub fn read_features<T: Stored>(&self, rows: Range<usize>, features: Range<usize>) -> Result<Vec<T>> {
        let mut values = vec![T::default(); rows.len() * features.len()];
        let mut before = 0;
        for (file, own) in self.pieces(rows) {
            for (part, slice) in self.files[file].boxes::<T>(&own, features.clone())? {
                let some = self.files[file].converted(slice);
                for (sample, from) in values[before * features.len()..]
                    .chunks_exact_mut(features.len())
                    .zip(some.chunks_exact(part.len()))
                {
                    sample[part.start - features.start..part.end - features.start].copy_from_slice(from);
                }
            }
            before += own.len();
        }
        Ok(values)
    }

    /// Samples from anywhere, each value rounded once to `T`.
    pub fn pick<T: Stored>(&self, rows: impl Iterator<Item = usize>) -> Result<Picked<T>> {
        let mut rows: Vec<usize> = rows.collect();
        rows.sort_unstable();
        rows.dedup();
        let mut values = Vec::new();
        for near in rows.chunk_by(|&one, &next| self.file_of(one) == self.file_of(next)) {
            let file = self.file_of(near[0]);
            let own = near.iter().map(|row| row - self.starts[file]);
            let picked = self.files[file].pick(own)?;
            if values.is_empty() {
                values = picked.values;
            } else {
                values.extend(picked.values);
            }
        }
        Ok(Picked { rows, values, features: self.features })
    }
}

/// Refuses samples of a file that do not go with those of the first.
fn check_like(first: &Samples, samples: &Samples) -> Result<()> {
    if samples.features != first.features {
        fail!(
            "{} has {} features and {} has {}; all files of an input need the same number",
            samples.describe(),
            samples.features,
            first.describe(),
            first.features
        );
    }
    if samples.name != first.name {
        fail!(
            "the samples are {} and {}; all files of an input need them under the same name: choose it with --dataset, or rename one",
            first.describe(),
            samples.describe()
        );
    }
    Ok(())
}
