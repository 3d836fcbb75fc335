//! What is known of all samples of one input before anything is computed: one pass finds it, on the way to the blocks.

use crate::comm::{Comm, Reduce};
use crate::element::{Dtype, Element};
use crate::kernel::extremes;
use crate::metric::{Measure, Preparation};
use crate::source::{Mark, Values, count, marked};

/// A place that no value has. Places are below 2⁶³, as is all that ranks compare.
const NOWHERE: u64 = i64::MAX as u64;

/// Sorts of values that somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Not a number.
    Nan,
    /// An infinity, as it is stored.
    Infinite,
    /// Finite as it is stored, and an infinity in the type that is computed in.
    TooLarge,
    /// A value that an attribute calls missing.
    Marked,
    /// A whole number that the type that is computed in does not hold.
    Inexact,
    /// A bit that is set behind the last feature.
    Padding,
    /// A number other than 0 and 1, where the metric takes no others.
    NoTruth,
    /// A number that is not 0 as it is stored, and 0 in the type that is computed in, where that decides what is true.
    Vanished,
    /// A sample whose values are all NaN.
    Empty,
}

const SORTS: usize = 9;

/// Values of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many.
    pub values: u64,
    /// Samples that have any.
    pub samples: u64,
    /// Place of the first: row · features + column.
    first: u64,
}

impl Default for Found {
    fn default() -> Self {
        Self { values: 0, samples: 0, first: NOWHERE }
    }
}

impl Found {
    /// Row and column of the first.
    pub fn first(&self, features: usize) -> Option<(usize, usize)> {
        let place = usize::try_from(self.first).ok().filter(|_| self.first != NOWHERE)?;
        Some((place / features, place % features))
    }

    fn add(&mut self, values: u64, first: Option<usize>) {
        self.values += values;
        self.samples += u64::from(values > 0);
        self.first = self.first.min(first.map_or(NOWHERE, |place| place as u64));
    }
}

/// What is known of samples: of a slab, of those of a rank, or of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Samples that were looked at.
    pub samples: u64,
    /// Wrapping sum of a hash of each sample and its row: the input's digest.
    pub digest: u64,
    /// Bytes of the samples in the type that is computed in.
    pub bytes: u64,
    /// Storage chunks that were never written, and all chunks.
    pub chunks: (u64, u64),
    /// Smallest finite value in the type that is computed in, or ∞.
    pub smallest: f64,
    /// Largest finite value in that type, or −∞.
    pub greatest: f64,
    /// Smallest and largest of whole numbers, as they are stored.
    pub whole: Option<(i128, i128)>,
    /// Largest magnitude of a wider float, as it is stored; 0 where samples are not stored in a wider type than is computed in.
    pub stored: f64,
    found: [Found; SORTS],
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            samples: 0,
            digest: 0,
            bytes: 0,
            chunks: (0, 0),
            smallest: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            whole: None,
            stored: 0.0,
            found: [Found::default(); SORTS],
        }
    }
}

/// Samples as they are stored, which values of the type that is computed in were made from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// Row-major.
    pub(super) values: &'a Values,
    /// Which of these samples is the first.
    pub(super) at: usize,
    /// Taken off each.
    pub(super) subtracted: i128,
}

impl Survey {
    /// Values of a sort.
    pub fn found(&self, sort: Sort) -> &Found {
        &self.found[sort as usize]
    }

    /// Largest magnitude of a finite value in the type that is computed in; 0 if there is none.
    pub fn largest(&self) -> f64 {
        (-self.smallest).max(self.greatest).max(0.0)
    }

    /// Adds what another part of the samples has. The order of parts does not matter.
    pub fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.digest = self.digest.wrapping_add(other.digest);
        self.bytes += other.bytes;
        self.chunks = (self.chunks.0 + other.chunks.0, self.chunks.1 + other.chunks.1);
        self.smallest = self.smallest.min(other.smallest);
        self.greatest = self.greatest.max(other.greatest);
        self.whole = united(self.whole, other.whole);
        self.stored = self.stored.max(other.stored);
        for (mine, other) in self.found.iter_mut().zip(&other.found) {
            mine.values += other.values;
            mine.samples += other.samples;
            mine.first = mine.first.min(other.first);
        }
    }

    /// Adds what other features of a sample have, from `first` on; this is a survey of features of one sample.
    pub(super) fn merge_at(&mut self, part: &Self, first: usize) {
        self.smallest = self.smallest.min(part.smallest);
        self.greatest = self.greatest.max(part.greatest);
        self.whole = united(self.whole, part.whole);
        self.stored = self.stored.max(part.stored);
        for (mine, found) in self.found.iter_mut().zip(&part.found) {
            mine.values += found.values;
            let place = if found.first == NOWHERE { NOWHERE } else { found.first + first as u64 };
            mine.first = mine.first.min(place);
        }
    }

    /// The survey of a sample of `d` features of so many bytes each, in this row, of which this is one of all features.
    pub(super) fn of_sample(&self, row: usize, d: usize, size: usize, digest: u64) -> Self {
        let mut survey = Self { samples: 1, digest, bytes: (d * size) as u64, ..self.clone() };
        for (at, found) in survey.found.iter_mut().enumerate() {
            let Found { values, first, .. } = self.found[at];
            *found = Found::default();
            if at != Sort::Empty as usize {
                found.add(
                    values,
                    usize::try_from(first).ok().filter(|_| first != NOWHERE).map(|place| row * d + place),
                );
            }
        }
        if self.found(Sort::Nan).values == d as u64 {
            survey.note(Sort::Empty, 1, Some(row * d));
        }
        survey
    }

    /// Adds what a metric of truth values cannot take: numbers that are lost in the type that is computed in, and for some metrics all others
    /// than 0 and 1.
    pub(super) fn add_truth<T: Element>(
        &mut self,
        row: usize,
        features: usize,
        samples: &[T],
        source: Option<Source<'_>>,
        measure: &Measure,
    ) {
        if measure.form().preparation != Preparation::Truth {
            return;
        }
        for (k, sample) in samples.chunks_exact(features).enumerate() {
            let place = |place: usize| (row + k) * features + place;
            if let Some(Source { values: Values::F64(values), at, .. }) = source {
                let stored = values[(at + k) * features..].iter().zip(sample);
                let (values, first) =
                    count(stored, |(stored, value)| **stored != 0.0 && **value == T::default());
                self.note(Sort::Vanished, values, first.map(place));
            }
            if measure.metric().takes_truth_alone() {
                let is_other = |value: &&T| **value != T::default() && **value != T::from_i32(1);
                let (values, first) = count(sample, is_other);
                self.note(Sort::NoTruth, values, first.map(place));
            }
        }
    }

    /// Adds samples from `row` on, and makes all their NaN the same.
    pub(super) fn add<T: Element>(
        &mut self,
        row: usize,
        features: usize,
        samples: &mut [T],
        source: Option<Source<'_>>,
        marks: &[Mark],
    ) {
        let at = source.map_or(0, |source| source.at);
        let places = at * features..at * features + samples.len();
        self.samples += (samples.len() / features) as u64;
        self.bytes += size_of_val(samples) as u64;
        // where each sample and its values lie: row, number in the source, place here
        let each =
            || (0..samples.len() / features).map(|k| (row + k, at + k, k * features..(k + 1) * features));
        if !marks.is_empty() {
            for (row, at, here) in each() {
                let (values, place) = match source {
                    Some(source) => source.values.marked(at * features..(at + 1) * features, marks),
                    None => marked(&samples[here], marks),
                };
                self.note(Sort::Marked, values, place.map(|place| row * features + place));
            }
        }
        if let Some(Source { values, subtracted, .. }) = source
            && let Some((low, high)) = values.whole(places.clone())
        {
            self.whole = united(self.whole, Some((low, high)));
            if low - subtracted < -T::WHOLE || high - subtracted > T::WHOLE {
                for (row, at, _) in each() {
                    let (values, place) = values.inexact::<T>(at * features..(at + 1) * features, subtracted);
                    self.note(Sort::Inexact, values, place.map(|place| row * features + place));
                }
            }
        }
        if T::DTYPE == Dtype::F32
            && let Some(Source { values: Values::F64(values), .. }) = source
        {
            let (low, high, all_finite) = extremes(&values[places]);
            self.stored = if all_finite { self.stored.max(-low).max(high) } else { self.stored };
        }
        let (low, high, all_finite) = extremes(samples);
        if all_finite {
            self.extend(low, high);
            return;
        }
        for (k, sample) in samples.chunks_exact_mut(features).enumerate() {
            self.add_unfit((row + k) * features, at + k, sample, source);
        }
    }

    /// A sample, if not all its values or those beside it are finite.
    fn add_unfit<T: Element>(
        &mut self,
        first: usize,
        at: usize,
        sample: &mut [T],
        source: Option<Source<'_>>,
    ) {
        let mut found = [Found::default(); SORTS];
        let features = sample.len();
        for (column, value) in sample.iter_mut().enumerate() {
            let sort = if value.is_nan() {
                *value = T::NAN;
                Sort::Nan
            } else if value.is_finite() {
                self.extend(*value, *value);
                continue;
            } else if source.is_some_and(|source| source.values.is_finite(at * features + column)) {
                Sort::TooLarge
            } else {
                Sort::Infinite
            };
            found[sort as usize].add(1, Some(first + column));
        }
        for sort in [Sort::Nan, Sort::Infinite, Sort::TooLarge] {
            let Found { values, first, .. } = found[sort as usize];
            self.note(sort, values, usize::try_from(first).ok());
        }
        if found[Sort::Nan as usize].values == features as u64 {
            self.note(Sort::Empty, 1, Some(first));
        }
    }

    /// Adds values of a sort, of one sample.
    pub fn note(&mut self, sort: Sort, values: u64, first: Option<usize>) {
        self.found[sort as usize].add(values, first);
    }

    fn extend<T: Element>(&mut self, low: T, high: T) {
        // 0 has two signs, and which of them is the smaller one is left open
        self.smallest = self.smallest.min(low.to_f64() + 0.0);
        self.greatest = self.greatest.max(high.to_f64() + 0.0);
    }

    /// What all ranks have together. Collective.
    #[must_use]
    pub fn of_all(&self, comm: &Comm) -> Self {
        let mut all = self.clone();
        let mut sums = vec![self.samples, self.digest, self.bytes, self.chunks.0, self.chunks.1];
        sums.extend(self.found.iter().flat_map(|found| [found.values, found.samples]));
        let sums = comm.all_reduce(&sums, Reduce::Sum);
        [all.samples, all.digest, all.bytes, all.chunks.0, all.chunks.1] = [0, 1, 2, 3, 4].map(|at| sums[at]);
        let firsts = comm.all_reduce(&self.found.map(|found| found.first), Reduce::Min);
        for (at, found) in all.found.iter_mut().enumerate() {
            *found = Found { values: sums[5 + 2 * at], samples: sums[6 + 2 * at], first: firsts[at] };
        }
        let extremes = comm.all_reduce(&[self.smallest, -self.greatest, -self.stored], Reduce::Min);
        (all.smallest, all.greatest, all.stored) = (extremes[0], -extremes[1], -extremes[2]);
        all.whole = whole_of_all(self.whole, comm);
        all
    }
}

fn united(one: Option<(i128, i128)>, other: Option<(i128, i128)>) -> Option<(i128, i128)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

/// Reduces whole numbers of up to 65 bits in two halves, which MPI can compare. Collective.
fn whole_of_all(mine: Option<(i128, i128)>, comm: &Comm) -> Option<(i128, i128)> {
    const HALF: i128 = 1 << 32;
    // the largest is the smallest of the negatives; halves are within a few units of 2³², which f64 holds
    let numbers = mine.map(|(low, high)| [low, -high]);
    let halves =
        numbers.map(|numbers| numbers.map(|number| (number.div_euclid(HALF), number.rem_euclid(HALF))));
    let upper = halves.map_or([f64::INFINITY; 2], |halves| halves.map(|(upper, _)| upper as f64));
    let least = comm.all_reduce(&upper, Reduce::Min);
    let lower = |at: usize| match halves {
        Some(halves) if upper[at] <= least[at] => halves[at].1 as f64,
        _ => f64::INFINITY,
    };
    let lower = comm.all_reduce(&[lower(0), lower(1)], Reduce::Min);
    if least[0] == f64::INFINITY {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "they are whole numbers")]
    let number = |at: usize| least[at] as i128 * HALF + lower[at] as i128;
    Some((number(0), -number(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    const FEATURES: usize = 5;

    /// A survey of some rows of these values.
    fn survey_of(values: &[f64], rows: std::ops::Range<usize>) -> Survey {
        let stored = Values::F64(values[rows.start * FEATURES..rows.end * FEATURES].to_vec());
        let source = Source { values: &stored, at: 0, subtracted: 0 };
        let mut survey = Survey::default();
        for (at, row) in rows.enumerate() {
            let mut sample = [0_f32; FEATURES];
            stored.convert(at * FEATURES..(at + 1) * FEATURES, 0, &mut sample);
            let source = Source { at, ..source };
            survey.add(row, FEATURES, &mut sample, Some(source), &[Mark::Real(-99.0)]);
        }
        survey
    }

    #[test]
    fn parts_of_a_survey_add_up_in_any_order() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -99.0, 0.0, -0.0, 1e-310];
        let value = |rng: &mut Xoshiro256PlusPlus| {
            if rng.random_range(0..6) == 0 {
                odd[rng.random_range(0..odd.len())]
            } else {
                rng.random::<f64>() - 0.5
            }
        };
        let values: Vec<f64> = (0..60 * FEATURES).map(|_| value(&mut rng)).collect();
        let whole = survey_of(&values, 0..60);
        for _ in 0..200 {
            let mut cuts: Vec<usize> =
                (0..rng.random_range(0..8)).map(|_| rng.random_range(0..=60)).collect();
            cuts.extend([0, 60]);
            cuts.sort_unstable();
            let mut parts: Vec<_> = cuts.windows(2).map(|cut| survey_of(&values, cut[0]..cut[1])).collect();
            let mut merged = Survey::default();
            while !parts.is_empty() {
                merged.merge(&parts.swap_remove(rng.random_range(0..parts.len())));
            }
            assert_eq!(merged, whole);
            assert_eq!(merged.smallest.to_bits(), whole.smallest.to_bits());
        }
        let count =
            |is_meant: &dyn Fn(f64) -> bool| values.iter().filter(|&&value| is_meant(value)).count() as u64;
        assert_eq!(whole.found(Sort::Nan).values, count(&f64::is_nan));
        assert_eq!(whole.found(Sort::Infinite).values, count(&f64::is_infinite));
        assert_eq!(whole.found(Sort::TooLarge).values, count(&|value| value > 1e299 && value.is_finite()));
        assert_eq!(whole.found(Sort::Marked).values, count(&|value| value < -98.0 && value.is_finite()));
        assert_eq!(whole.largest().to_bits(), 99.0_f64.to_bits());
        let first = values.iter().position(|value| value.is_nan()).unwrap();
        assert_eq!(whole.found(Sort::Nan).first(FEATURES), Some((first / FEATURES, first % FEATURES)));
    }

    #[test]
    fn samples_without_any_value_are_counted() {
        let (some, none) = ([f64::NAN, 1.0, f64::NAN, 2.0, f64::NAN], [f64::NAN; FEATURES]);
        let survey = survey_of([some, none, none, some].as_flattened(), 0..4);
        let Found { values, samples, .. } = *survey.found(Sort::Empty);
        assert_eq!((values, samples, survey.found(Sort::Empty).first(FEATURES)), (2, 2, Some((1, 0))));
        assert_eq!(survey.found(Sort::Nan).values, 16);
    }

    #[test]
    fn a_survey_of_parts_of_a_sample_is_that_of_the_sample() {
        let odd = [f64::NAN, f64::INFINITY, 1e300, -99.0, 0.0, 1e-310, 3.5];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        for row in 0..100 {
            let value = |_| if row % 5 == 0 { f64::NAN } else { odd[rng.random_range(0..odd.len())] };
            let values: Vec<f64> = (0..FEATURES).map(value).collect();
            let add = |survey: &mut Survey, row: usize, values: &[f64]| {
                let stored = Values::F64(values.to_vec());
                let mut sample = vec![0_f32; values.len()];
                stored.convert(0..values.len(), 0, &mut sample);
                let source = Source { values: &stored, at: 0, subtracted: 0 };
                survey.add(row, values.len(), &mut sample, Some(source), &[Mark::Real(-99.0)]);
            };
            let mut whole = Survey { digest: 7, ..Survey::default() };
            add(&mut whole, row, &values);
            let (mut parts, cut) = (Survey::default(), rng.random_range(1..FEATURES));
            for (first, part) in [(0, &values[..cut]), (cut, &values[cut..])] {
                let mut survey = Survey::default();
                add(&mut survey, 0, part);
                parts.merge_at(&survey, first);
            }
            // it counts where all values are finite
            (parts.stored, whole.stored) = (0.0, 0.0);
            assert_eq!(parts.of_sample(row, FEATURES, size_of::<f32>(), 7), whole, "{values:?}");
        }
    }

    #[test]
    fn whole_numbers_that_a_type_does_not_hold_are_found() {
        let values = [1_i64 << 53, (1 << 53) + 1, -(1 << 53) - 1, (1 << 53) + 2, i64::MAX];
        let stored = Values::I64(values.to_vec());
        let survey = |subtracted| {
            let (mut survey, mut sample) = (Survey::default(), [0_f64; FEATURES]);
            stored.convert(0..FEATURES, subtracted, &mut sample);
            let source = Source { values: &stored, at: 0, subtracted };
            survey.add(0, FEATURES, &mut sample, Some(source), &[]);
            survey
        };
        let plain = survey(0);
        assert_eq!(plain.whole, Some((-(1 << 53) - 1, i64::MAX.into())));
        assert_eq!(
            (plain.found(Sort::Inexact).values, plain.found(Sort::Inexact).first(FEATURES)),
            (3, Some((0, 1)))
        );
        assert_eq!(survey(1).found(Sort::Inexact).values, 2);
    }
}
