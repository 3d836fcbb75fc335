//! Some features of some samples, as they are read.

use std::ops::Range;

use rayon::prelude::*;

use super::seen::Seen;
use crate::block::Block;
use crate::error::Result;
use crate::failpoint;
use crate::kernel::PanelShape;
use crate::metric::{BLOCK_FEATURES, Measure, PowerOfTwo};
use crate::number::Number;
use crate::pipeline::load::OfFile;
use crate::pipeline::survey::Source;
use crate::source::{Axes, Input, Slice};

/// Samples that lie feature by feature are turned so many at a time.
const TURNED_TOGETHER: usize = 16;

/// Samples that a worker converts together.
pub(crate) fn converted_together(axes: Axes) -> usize {
    if axes == Axes::Columns { TURNED_TOGETHER } else { 1 }
}

/// Features that a worker packs at a time, if a sample has more: a multiple of all that are packed together.
const PACKED_FEATURES: usize = 16 * BLOCK_FEATURES;

/// Some features of some samples of an input.
pub(crate) struct Window<'a, T> {
    input: &'a Input,
    /// Rows of the input.
    rows: Range<usize>,
    features: Range<usize>,
    boxes: Vec<Box<T>>,
}

/// What lies in a box of a dataset.
struct Box<T> {
    file: usize,
    /// The first row of it in the input, and the rows in the file.
    start: usize,
    own: Range<usize>,
    features: Range<usize>,
    slice: Slice<T>,
}

/// Some features of one sample.
pub(super) struct Piece<'a, T> {
    /// The first of them.
    pub(super) first: usize,
    pub(super) values: &'a mut [T],
    /// The same as they are stored, if that is another type.
    pub(super) of_file: Option<OfFile<'a>>,
}

impl<'a, T: Number> Window<'a, T> {
    /// Reads them.
    pub(crate) fn read(input: &'a Input, rows: Range<usize>, features: Range<usize>) -> Result<Self> {
        let mut boxes = Vec::new();
        for (file, own) in input.pieces(rows.clone()) {
            failpoint::hit("read")?;
            let start = input.start(file) + own.start;
            for (features, slice) in input.files[file].boxes::<T>(&own, features.clone())? {
                boxes.push(Box { file, start, own: own.clone(), features, slice });
            }
        }
        Ok(Self { input, rows, features, boxes })
    }

    /// Surveys them: `seen` has each sample. On the workers.
    pub(crate) fn survey(&self, seen: &mut [Seen], measure: &Measure) {
        let in_box = |seen: &mut Seen, file: usize, piece: &mut Piece<'_, T>| {
            seen.survey(piece, &self.input.files[file].marks, measure);
        };
        self.visit(seen, in_box, |seen, values| {
            seen.digest_next(values, self.features.start);
            seen.look_first(values, self.features.start, measure);
        });
    }

    /// Looks at them once more. On the workers.
    pub(crate) fn look(&self, seen: &mut [Seen], measure: &Measure) {
        self.visit(seen, |_, _, _| {}, |seen, values| seen.look(values, self.features.start, measure));
    }

    /// Prepares and scales them, and packs them into blocks: of rows, and of columns, whose values are negated. They are converted in `values`, which is used again
    /// and again. On the workers.
    pub(crate) fn pack(
        &self,
        seen: &mut [Seen],
        measure: &Measure,
        scale: Option<PowerOfTwo<T>>,
        (rows, cols): (Option<&mut Block>, Option<&mut Block>),
        values: &mut Vec<T>,
    ) {
        let (width, together) = (self.features.len(), self.together());
        values.resize(self.rows.len() * width, T::default());
        let groups = values.par_chunks_mut(together * width).zip(seen.par_chunks_mut(together));
        groups.enumerate().for_each(|(group, (values, seen))| {
            self.convert(group * together, seen, values, |_, _, _| {});
            for (values, seen) in values.chunks_exact_mut(width).zip(seen) {
                seen.digest_next(values, self.features.start);
                seen.prepare(values, self.features.start, measure, scale);
            }
        });
        self.pack_into((rows, cols), values);
    }

    /// Packs converted samples, some features of a panel at a time: of few samples, there are few panels.
    fn pack_into(&self, (rows, cols): (Option<&mut Block>, Option<&mut Block>), values: &[T]) {
        let width = self.features.len();
        let mut pieces = Vec::new();
        for (block, negate) in [(rows, false), (cols, true)] {
            let Some(block) = block.filter(|_| !self.rows.is_empty()) else { continue };
            let shape = block.shape();
            for (rows, before, mut panel) in block.panels_mut(self.rows.clone()) {
                assert_eq!(before, 0, "a panel holds samples of one window");
                for first in (0..width).step_by(PACKED_FEATURES) {
                    let shape = PanelShape { features: PACKED_FEATURES.min(width - first), ..shape };
                    let (piece, rest) = std::mem::take(&mut panel).split_at_mut(shape.len());
                    panel = rest;
                    let start = (rows.start - self.rows.start) * width + first;
                    pieces.push((first, shape, (start, rows.len()), negate, piece));
                }
            }
        }
        // the same features one after the other, while they are in a cache
        pieces.sort_by_key(|(first, ..)| *first);
        pieces.into_par_iter().for_each(|(_, shape, (start, rows), negate, piece)| {
            shape.pack_panel((&values[start..], width), rows, negate, piece);
        });
    }

    fn together(&self) -> usize {
        converted_together(self.input.files[0].storage.axes)
    }

    /// Converts them, and shows what comes from each box to `in_box`, with what is known of its sample and the number of its file, and then all of a sample to
    /// `in_row`.
    fn visit(
        &self,
        seen: &mut [Seen],
        in_box: impl Fn(&mut Seen, usize, &mut Piece<'_, T>) + Sync,
        in_row: impl Fn(&mut Seen, &[T]) + Sync,
    ) {
        let (width, together) = (self.features.len(), self.together());
        seen.par_chunks_mut(together).enumerate().for_each_init(Vec::new, |values, (group, seen)| {
            values.resize(seen.len() * width, T::default());
            self.convert(group * together, seen, values, &in_box);
            values.chunks_exact(width).zip(seen).for_each(|(values, seen)| in_row(seen, values));
        });
    }

    /// Converts those of some samples, from `first` of all on, to the type that is computed in, row-major. Shows what comes from each box to `in_box`.
    fn convert(
        &self,
        first: usize,
        seen: &mut [Seen],
        values: &mut [T],
        in_box: impl Fn(&mut Seen, usize, &mut Piece<'_, T>),
    ) {
        let width = self.features.len();
        let rows = self.rows.start + first..self.rows.start + first + seen.len();
        for Box { file, start, own, features, slice } in &self.boxes {
            let samples = &self.input.files[*file];
            let common = rows.start.max(*start)..rows.end.min(start + own.len());
            if common.is_empty() {
                continue;
            }
            let within = common.start - start..common.end - start;
            let place = features.start - self.features.start..features.end - self.features.start;
            let converted = match slice {
                Slice::Ready(_) => None,
                Slice::Stored(stored) => Some((stored, stored.rows(within.clone()))),
            };
            for (at, row) in common.clone().enumerate() {
                let here = row - rows.start;
                let values = &mut values[here * width..][..width][place.clone()];
                let of_file = match (slice, &converted) {
                    (Slice::Ready(ready), _) => {
                        let from = (within.start + at) * features.len();
                        values.copy_from_slice(&ready[from..][..features.len()]);
                        None
                    }
                    (_, Some((stored, (all, first)))) => {
                        let from = (first + at) * features.len();
                        all.convert(from..from + features.len(), samples.subtracted, values);
                        let source = Source { values: all, at: first + at, subtracted: samples.subtracted };
                        Some(OfFile { source, stored, row: within.start + at })
                    }
                    (Slice::Stored(_), None) => unreachable!("it was converted"),
                };
                let mut piece = Piece { first: features.start, values, of_file };
                in_box(&mut seen[here], *file, &mut piece);
            }
        }
        for value in values {
            // all NaN get the same bits; without a branch, the compiler can use vectors
            *value = if value.is_nan() { T::NAN } else { *value };
        }
    }
}
