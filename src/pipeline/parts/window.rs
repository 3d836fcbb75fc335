//! Some features of some samples, as they are read.

use std::ops::Range;

use rayon::prelude::*;

use super::seen::Seen;
use crate::block::Block;
use crate::error::Result;
use crate::failpoint;
use crate::metric::{Measure, PowerOfTwo};
use crate::number::Number;
use crate::pipeline::Workers;
use crate::pipeline::load::{Converted, OfFile};
use crate::pipeline::survey::Source;
use crate::source::{Input, Slice};

/// Samples that are converted together: those that lie feature by feature are turned so many at a time.
const TOGETHER: usize = 16;

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

    /// Surveys them: `seen` has each sample.
    pub(crate) fn survey(&self, workers: &Workers, seen: &mut [Seen], measure: &Measure) {
        let in_box = |seen: &mut Seen, file: usize, piece: &mut Piece<'_, T>| {
            seen.survey(piece, &self.input.files[file].marks, measure);
        };
        self.convert(workers, (seen, &mut Vec::new()), in_box, |seen, values| {
            seen.digest_next(values);
            seen.look_first(values, self.features.start, measure);
        });
    }

    /// Looks at them once more.
    pub(crate) fn look(&self, workers: &Workers, seen: &mut [Seen], measure: &Measure) {
        self.convert(
            workers,
            (seen, &mut Vec::new()),
            |_, _, _| {},
            |seen, values| seen.look(values, self.features.start, measure),
        );
    }

    /// Prepares and scales them, and packs them into blocks: of rows, and of columns, whose values are negated. They are converted in `values`, which is used again
    /// and again.
    pub(crate) fn pack(
        &self,
        workers: &Workers,
        seen: &mut [Seen],
        measure: &Measure,
        scale: Option<PowerOfTwo<T>>,
        (rows, cols): (Option<&mut Block>, Option<&mut Block>),
        values: &mut Vec<T>,
    ) {
        let prepare = |seen: &mut Seen, values: &mut [T]| {
            seen.digest_next(values);
            seen.prepare(values, self.features.start, measure, scale);
        };
        self.convert(workers, (seen, values), |_, _, _| {}, prepare);
        let converted = Converted { rows: self.rows.clone(), features: self.features.len(), values };
        workers.install(|| {
            for (block, negate) in [(rows, false), (cols, true)] {
                if let Some(block) = block.filter(|_| !self.rows.is_empty()) {
                    converted.pack(block, negate);
                }
            }
        });
    }

    /// Converts them to the type that is computed in, row-major. Shows what comes from each box to `in_box`, with what is known of its sample and the number
    /// of its file, and then all of a sample to `in_row`.
    fn convert(
        &self,
        workers: &Workers,
        (seen, all): (&mut [Seen], &mut Vec<T>),
        in_box: impl Fn(&mut Seen, usize, &mut Piece<'_, T>) + Sync,
        in_row: impl Fn(&mut Seen, &mut [T]) + Sync,
    ) {
        let (width, first_row) = (self.features.len(), self.rows.start);
        all.resize(self.rows.len() * width, T::default());
        let group = |(number, (values, seen)): (usize, (&mut [T], &mut [Seen]))| {
            let rows = first_row + number * TOGETHER..first_row + number * TOGETHER + seen.len();
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
                            let source =
                                Source { values: all, at: first + at, subtracted: samples.subtracted };
                            Some(OfFile { source, stored, row: within.start + at })
                        }
                        (Slice::Stored(_), None) => unreachable!("it was converted"),
                    };
                    let mut piece = Piece { first: features.start, values, of_file };
                    in_box(&mut seen[here], *file, &mut piece);
                }
            }
            for (values, seen) in values.chunks_exact_mut(width).zip(seen) {
                for value in values.iter_mut().filter(|value| value.is_nan()) {
                    *value = T::NAN;
                }
                in_row(seen, values);
            }
        };
        workers.install(|| {
            let groups = all.par_chunks_mut(TOGETHER * width).zip(seen.par_chunks_mut(TOGETHER));
            groups.enumerate().for_each(group);
        });
    }
}
