//! What is known of a sample of which parts of the features were seen, one after the other.

use xxhash_rust::xxh3::Xxh3;

use super::window::Piece;
use crate::kernel::ExtrasSum;
use crate::metric::{Measure, PowerOfTwo, Preparing};
use crate::number::Number;
use crate::pipeline::load::examine;
use crate::pipeline::survey::Survey;
use crate::source::Mark;

/// What is known of a sample.
pub(crate) struct Seen {
    survey: Survey,
    hash: Xxh3,
    preparing: Preparing,
    extras: ExtrasSum,
}

impl Seen {
    /// Nothing, of a sample in this row of its file, which has `d` features.
    pub(crate) fn nothing(row: usize, d: usize, measure: &Measure, extras: ExtrasSum) -> Self {
        let hash = Xxh3::with_seed(row as u64);
        Self { survey: Survey::default(), hash, preparing: measure.preparing(d), extras }
    }

    /// Adds the next features that lie in a box to the survey.
    pub(super) fn survey<T: Number>(&mut self, piece: &mut Piece<'_, T>, marks: &[Mark], measure: &Measure) {
        let mut part = Survey::default();
        examine(&mut part, (0, piece.values.len()), piece.values, piece.of_file, marks, Some(measure));
        self.survey.merge_at(&part, piece.first);
    }

    /// Adds the next features to the digest.
    pub(super) fn digest_next<T: Number>(&mut self, values: &[T]) {
        self.hash.update(bytemuck::cast_slice(values));
    }

    /// Looks at the next features, from `first` on, for the first pass of preparing, if there is any.
    pub(super) fn look_first<T: Number>(&mut self, values: &[T], first: usize, measure: &Measure) {
        if measure.passes() > 0 {
            self.look(values, first, measure);
        }
    }

    /// Looks at the next features for a pass of preparing.
    pub(super) fn look<T: Number>(&mut self, values: &[T], first: usize, measure: &Measure) {
        measure.look(&mut self.preparing, values, first);
    }

    /// The features have all been looked at once more.
    pub(crate) fn end_pass(&mut self) {
        self.preparing.end_pass();
    }

    /// Begins to read a sample again, of which `known` was found out before.
    pub(crate) fn again(row: usize, known: Preparing, extras: ExtrasSum) -> Self {
        Self { survey: Survey::default(), hash: Xxh3::with_seed(row as u64), preparing: known, extras }
    }

    /// Makes of the next features what is packed.
    pub(super) fn prepare<T: Number>(
        &mut self,
        values: &mut [T],
        first: usize,
        measure: &Measure,
        scale: Option<PowerOfTwo<T>>,
    ) {
        measure.prepare_part(&self.preparing, values, first);
        if let Some(scale) = scale {
            for value in &mut *values {
                *value = scale.times(*value);
            }
        }
        self.extras.add(values);
    }

    /// What is known for its preparation.
    pub(crate) fn prepared(&self) -> Preparing {
        self.preparing
    }

    /// What it carries beside its features.
    pub(crate) fn extras(&self) -> u64 {
        self.extras.total()
    }

    /// The digest of the sample and its row.
    pub(crate) fn digest(&self) -> u64 {
        self.hash.digest()
    }

    /// The survey of the sample, which has `d` features of so many bytes each, in this row of its file.
    pub(crate) fn surveyed(&self, row: usize, d: usize, size: usize) -> Survey {
        self.survey.of_sample(row, d, size, self.digest())
    }
}
