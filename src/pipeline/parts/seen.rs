//! What is known of a sample of which parts of the features were seen, one after the other.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::window::Piece;
use crate::kernel::ExtrasSum;
use crate::metric::{Measure, PowerOfTwo, Preparing};
use crate::number::Number;
use crate::pipeline::load::examine;
use crate::pipeline::survey::Survey;
use crate::source::Mark;

/// What is known of a sample.
pub(crate) struct Seen {
    row: u64,
    survey: Survey,
    /// A hash of all features in their order, for the digest of the input, when they are read for the first time.
    hash: Option<Xxh3>,
    /// The sum of the hashes of all parts. It does not depend on which rank reads which part, so it shows whether the values are the same when they are read again.
    check: u64,
    preparing: Preparing,
    extras: ExtrasSum,
    /// What the last part adds to the extras, block by block.
    blocks: Vec<u64>,
}

impl Seen {
    /// Nothing, of a sample in this row of its file, which has `d` features.
    pub(crate) fn nothing(row: usize, d: usize, measure: &Measure, extras: ExtrasSum) -> Self {
        let hash = Some(Xxh3::with_seed(row as u64));
        Self { hash, ..Self::again(row, measure.preparing(d), extras) }
    }

    /// Adds the next features that lie in a box to the survey.
    pub(super) fn survey<T: Number>(&mut self, piece: &mut Piece<'_, T>, marks: &[Mark], measure: &Measure) {
        let mut part = Survey::default();
        examine(&mut part, (0, piece.values.len()), piece.values, piece.of_file, marks, Some(measure));
        self.survey.merge_at(&part, piece.first);
    }

    /// Adds the next features, from `first` on, to the digest.
    pub(super) fn digest_next<T: Number>(&mut self, values: &[T], first: usize) {
        let bytes = bytemuck::cast_slice(values);
        let seed = self.row ^ (first as u64).rotate_left(32);
        self.check = self.check.wrapping_add(xxh3_64_with_seed(bytes, seed));
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
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
        Self {
            row: row as u64,
            survey: Survey::default(),
            hash: None,
            check: 0,
            preparing: known,
            extras,
            blocks: Vec::new(),
        }
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
        self.blocks = self.extras.blocks(values);
    }

    /// What the features that were prepared last add to what the sample carries beside them, block by block.
    pub(crate) fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// Adds what the next features give, block by block.
    pub(crate) fn add_blocks(&mut self, blocks: &[u64]) {
        self.extras.add_blocks(blocks);
    }

    /// Adds what the features that were prepared last give, of a sample that nobody else reads.
    pub(crate) fn add_own(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        self.extras.add_blocks(&blocks);
    }

    /// What is known for its preparation.
    pub(crate) fn prepared(&self) -> Preparing {
        self.preparing
    }

    /// What it carries beside its features.
    pub(crate) fn extras(&self) -> u64 {
        self.extras.total()
    }

    /// What must be found again when the features are read again.
    pub(crate) fn check(&self) -> u64 {
        self.check
    }

    /// The survey of the sample, which has `d` features of so many bytes each, in this row of its file.
    pub(crate) fn surveyed(&self, row: usize, d: usize, size: usize) -> Survey {
        let digest = self.hash.as_ref().expect("it is read first").digest();
        self.survey.of_sample(row, d, size, digest)
    }
}
