//! The samples of rows and of columns, as they are read again part by part of their features.

use std::ops::Range;

use super::{Parts, Sample, places};
use crate::block::Block;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::PowerOfTwo;
use crate::number::Number;
use crate::partition::Grid;
use crate::pipeline::{Seen, Window};
use crate::run::reread;
use crate::source::Input;

/// Samples that are read again.
pub(super) struct Samples<'a> {
    pub(super) input: &'a Input,
    pub(super) rows: Range<usize>,
    /// What was found of them at first.
    pub(super) known: &'a [Sample],
}

/// The samples of rows, and those of columns where these are others.
pub(super) struct Sides<'a>(pub(super) Vec<Samples<'a>>);

/// Some features of them.
pub(super) struct Part<'a, T> {
    pub(super) features: Range<usize>,
    windows: Vec<Window<'a, T>>,
    /// Bytes of the samples, in the type that is computed in.
    pub(super) bytes: u64,
}

impl<'a> Sides<'a> {
    /// What is known of samples none of whose features were read again.
    pub(super) fn unseen<T: Number>(&self, kernel: &Kernel<T>) -> Vec<Vec<Seen>> {
        let again = |((_, row), known): (&(usize, usize), &Sample)| {
            Seen::again(*row, known.preparing, kernel.extras_sum())
        };
        let of_side = |Samples { input, rows, known }: &Samples<'_>| {
            places(input, rows.clone()).iter().zip(*known).map(again).collect()
        };
        self.0.iter().map(of_side).collect()
    }

    /// Reads some features.
    pub(super) fn read<T: Number>(&self, features: Range<usize>) -> Result<Part<'a, T>> {
        let window = |side: &Samples<'a>| Window::read(side.input, side.rows.clone(), features.clone());
        let windows = self.0.iter().map(window).collect::<Result<_>>()?;
        let samples: usize = self.0.iter().map(|side| side.rows.len()).sum();
        Ok(Part { bytes: (samples * features.len() * size_of::<T>()) as u64, features, windows })
    }

    /// Makes sure that samples are those that were read at first, from the hash that was found of each now.
    pub(super) fn compare(&self, found: impl IntoIterator<Item = u64>) -> Result<()> {
        let samples =
            self.0.iter().flat_map(|side| side.rows.clone().zip(side.known).map(|one| (side.input, one)));
        for ((input, (row, known)), found) in samples.zip(found) {
            reread::check(input, row..row + 1, found, known.check)?;
        }
        Ok(())
    }
}

impl<T: Number> Part<'_, T> {
    /// Packs them into the panels of rows and of columns. On the workers.
    pub(super) fn pack(
        &self,
        Parts { measure, scaling, .. }: &Parts,
        seen: &mut [Vec<Seen>],
        [rows, cols]: &mut [Block; 2],
        values: &mut Vec<T>,
    ) {
        let scale = (*scaling != 0).then(|| PowerOfTwo::<T>::new(*scaling));
        match (&self.windows[..], seen) {
            ([both], [seen]) => both.pack(seen, measure, scale, (Some(rows), Some(cols)), values),
            ([of_rows, of_cols], [row_seen, col_seen]) => {
                of_rows.pack(row_seen, measure, scale, (Some(rows), None), values);
                of_cols.pack(col_seen, measure, scale, (None, Some(cols)), values);
            }
            _ => unreachable!("there are one or two sides"),
        }
    }
}

/// Room for the panels of so many features of the rows and columns of some tiles: of parts of the same length, the memory is used again.
pub(super) fn panels<T: Number>(
    kernel: &Kernel<T>,
    grid: Grid,
    [tile_rows, tile_cols]: [Range<usize>; 2],
    features: usize,
    last: Option<[Block; 2]>,
) -> [Block; 2] {
    let (of_rows, of_cols) = kernel.part_panels(features);
    let (height, width) = grid.tile_shape();
    let new = || [Block::new(tile_rows, height, of_rows), Block::new(tile_cols.clone(), width, of_cols)];
    let mut panels = last.filter(|[rows, _]| rows.shape() == of_rows).unwrap_or_else(new);
    // it may have been another rank's
    panels[1].receive(tile_cols);
    panels
}

/// What rows and columns carry beside their features.
pub(super) fn extras(seen: &[Vec<Seen>]) -> [Vec<u64>; 2] {
    let of = |seen: &Vec<Seen>| seen.iter().map(Seen::extras).collect::<Vec<_>>();
    [seen.first(), seen.last()].map(|seen| of(seen.expect("there is a side")))
}
