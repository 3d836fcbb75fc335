//! Files of samples that are open: a few at a time, however many there are. A process may have a thousand files open, and each costs memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hdf5::{Dataset, File};

use crate::host;

/// Files that are open at once, at most: as many as are worth it where a part of each is read in turn. Opening one takes a millisecond.
const OPEN_FILES: usize = 64;

/// Of the files that a process may have open, the share for samples: MPI has many.
const SHARE: usize = 8;

/// An open dataset.
pub(super) struct Open {
    pub(super) dataset: Dataset,
    /// Open as long as the dataset.
    pub(super) _file: File,
}

/// Open datasets by their numbers, the one used last at the end.
#[derive(Default)]
pub struct Shelf {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    open: VecDeque<(usize, Open)>,
    /// Datasets that were ever open.
    count: usize,
}

impl Places {
    fn put(&mut self, number: usize, open: Open) {
        let most = (host::most_open_files() / SHARE).clamp(1, OPEN_FILES);
        while self.open.len() >= most {
            self.open.pop_front();
        }
        self.open.push_back((number, open));
    }
}

impl Shelf {
    /// Takes an open dataset, and gives it a number.
    pub(super) fn add(&self, open: Open) -> usize {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.count += 1;
        let number = places.count;
        places.put(number, open);
        number
    }

    /// The dataset of a number, which `again` opens if it is open no more.
    pub(super) fn dataset(
        &self,
        number: usize,
        again: impl FnOnce() -> hdf5::Result<Open>,
    ) -> hdf5::Result<Dataset> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let at = places.open.iter().position(|(other, _)| *other == number);
        let open = match at.and_then(|at| places.open.remove(at)) {
            Some((_, open)) => open,
            None => again()?,
        };
        let dataset = open.dataset.clone();
        places.put(number, open);
        Ok(dataset)
    }
}
