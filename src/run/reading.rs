//! What the inputs are like: which datasets they are, what a pass over their samples finds, and whether to go on.

use std::collections::{BTreeSet, HashSet};

use super::inputs::Inputs;
use crate::cli::ComputeArgs;
use crate::comm::Comm;
use crate::element::{Content, Dtype, Element};
use crate::error::{Error, Result};
use crate::fail;
use crate::metric::{Metric, Parameter, Preparation};
use crate::number::Number;
use crate::partition::range_of;
use crate::pipeline::{Found, Sort, Survey, Workers, survey_of};
use crate::problem::InputId;
use crate::report::InputRecord;
use crate::source::{Input, Samples};
use crate::text::listed;

/// What passes over all samples have told.
pub(super) struct Known {
    /// Of each file of X, and of Y if there is one.
    pub(super) surveys: Vec<Survey>,
    /// The whole number that was taken off every value.
    pub(super) subtracted: i128,
    /// How often all samples were read.
    passes: u64,
}

impl Known {
    pub(super) fn digests(&self) -> Vec<u64> {
        self.surveys.iter().map(|survey| survey.digest).collect()
    }

    /// The same, if all samples were read so many times in each pass.
    #[must_use]
    pub(super) fn read_times(self, times: usize) -> Self {
        Self { passes: self.passes * times as u64, ..self }
    }

    /// Largest magnitude of a finite value in the type that is computed in.
    pub(super) fn largest(&self) -> f64 {
        self.surveys.iter().map(Survey::largest).fold(0.0, f64::max)
    }

    /// Bytes that all ranks have read, in the type that is computed in.
    pub(super) fn bytes(&self) -> u64 {
        self.passes * self.surveys.iter().map(|survey| survey.bytes).sum::<u64>()
    }

    /// For the run record.
    pub(super) fn record(&self, inputs: &Inputs) -> Vec<InputRecord> {
        let ids = inputs.ids(&self.digests(), self.subtracted).into_iter().zip(&self.surveys);
        let record = |(id, survey): (InputId, &Survey)| {
            let count = |sort: Sort| survey.found(sort).values;
            InputRecord {
                path: id.path,
                dataset: id.dataset,
                shape: id.shape,
                digest: id.digest,
                view: Some(id.view).filter(|view| !view.is_empty()),
                subtracted: (self.subtracted != 0).then(|| self.subtracted.to_string()),
                missing_chunks: survey.chunks.0,
                smallest: survey.smallest,
                largest: survey.greatest,
                nan: count(Sort::Nan),
                infinite: count(Sort::Infinite) + count(Sort::TooLarge),
                marked_missing: count(Sort::Marked),
                rounded: count(Sort::Inexact),
            }
        };
        ids.map(record).collect()
    }
}

/// Has `pass` read all samples, less a whole number, and again with another one if that keeps digits that 64-bit integers
/// lose. Collective; `pass` gives what this rank's samples are like, and fails on all ranks or none.
pub(super) fn read(
    comm: &Comm,
    inputs: &Inputs,
    metric: Metric,
    dtype: Dtype,
    mut pass: impl FnMut(i128) -> Result<Vec<Survey>>,
) -> Result<Known> {
    let mut all = |subtracted| -> Result<Vec<Survey>> {
        let mut surveys: Vec<_> = pass(subtracted)?.iter().map(|survey| survey.of_all(comm)).collect();
        for (survey, chunks) in surveys.iter_mut().zip(&inputs.chunks) {
            survey.chunks = *chunks;
        }
        Ok(surveys)
    };
    let surveys = all(0)?;
    match centre(&surveys, metric, dtype) {
        None => Ok(Known { surveys, subtracted: 0, passes: 1 }),
        Some(subtracted) => Ok(Known { surveys: all(subtracted)?, subtracted, passes: 2 }),
    }
}

/// Surveys the inputs, each rank reading its share. Collective.
pub(super) fn survey<T: Number>(
    comm: &Comm,
    workers: &Workers,
    inputs: &Inputs,
    metric: Metric,
) -> Result<Known> {
    read(comm, inputs, metric, T::DTYPE, |subtracted| {
        let of = |input: &Input| {
            let share = range_of(input.rows(), comm.size(), comm.rank());
            survey_of::<T>(workers, &input.less(subtracted), share, None)
        };
        comm.agree(inputs.all().map(of).collect::<Result<Vec<_>>>().map(|surveys| surveys.concat()))
    })
}

/// The whole number that makes all samples exact, if some are not and it can be taken off.
fn centre(surveys: &[Survey], metric: Metric, dtype: Dtype) -> Option<i128> {
    // distances of these do not change if all samples move together
    if !metric.ignores_shifts() {
        return None;
    }
    if surveys.iter().all(|survey| survey.found(Sort::Inexact).values == 0) {
        return None;
    }
    let whole: Vec<_> = surveys.iter().map(|survey| survey.whole).collect::<Option<_>>()?;
    let low = whole.iter().map(|whole| whole.0).min()?;
    let high = whole.iter().map(|whole| whole.1).max()?;
    let centre = low + (high - low) / 2;
    let most = match dtype {
        Dtype::F32 => f32::WHOLE,
        Dtype::F64 => f64::WHOLE,
    };
    (high - centre <= most && centre - low <= most).then_some(centre)
}

/// Says what was found, and refuses samples that have no distances. Reads the file for messages; on one rank.
pub(super) fn judge(inputs: &Inputs, known: &Known, args: &ComputeArgs, dtype: Dtype) -> Result<()> {
    let (metric, skip_missing) = (args.problem.metric, args.problem.skip_missing);
    let infinite = |survey: &Survey| [Sort::Infinite, Sort::TooLarge].map(|sort| survey.found(sort).values);
    let are_infinite = known.surveys.iter().any(|survey| infinite(survey) != [0, 0]);
    let takes = |parameter| metric.takes().contains(&parameter);
    let nan = if skip_missing {
        Nan::Skipped
    } else if takes(Parameter::InverseCovariance) && args.problem.inverse_covariance.is_none() {
        Nan::RefusedWithout("--inverse-covariance")
    } else if takes(Parameter::Variance) && args.problem.variance.is_none() {
        Nan::RefusedWithout("--variance")
    } else if args.problem.could_skip_missing() && !are_infinite {
        Nan::CouldBeSkipped
    } else {
        Nan::Refused
    };
    let files = || inputs.files().zip(&known.surveys);
    let could_skip = args.problem.could_skip_missing();
    warn_each(files().map(|(samples, survey)| of_marks(samples, survey, could_skip)))?;
    warn_each(files().map(|(samples, survey)| of_inexact(samples, survey, metric, dtype)))?;
    warn_each(files().map(|(samples, survey)| of_small(samples, survey)))?;
    if skip_missing {
        warn_each(files().map(|(samples, survey)| Ok(of_empty(samples, survey))))?;
    }
    for (samples, survey) in files() {
        check_truth(samples, survey, metric)?;
        if !args.allow_nonfinite {
            refuse(samples, survey, nan)?;
        }
    }
    if known.subtracted != 0 {
        log::info!(
            "{} is taken off every value before it is rounded to {dtype}, which does not hold all of these whole numbers; no distance changes by that",
            known.subtracted
        );
    }
    Ok(())
}

/// What becomes of NaN among the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nan {
    Refused,
    /// They are refused, and make numbers that this option gives unknown, even if they are allowed.
    RefusedWithout(&'static str),
    /// They are refused, and `--skip-missing` would skip them.
    CouldBeSkipped,
    Skipped,
}

/// Warnings of the same kind that are told, of so many files at most.
const TOLD_FILES: usize = 8;

/// Logs the warnings, one for each file; if there are many, only the first few and how many more there are.
fn warn_each(warnings: impl Iterator<Item = Result<Option<String>>>) -> Result<()> {
    let warnings: Vec<_> = warnings.filter_map(Result::transpose).collect::<Result<_>>()?;
    warnings.iter().take(TOLD_FILES).for_each(|warning| log::warn!("{warning}"));
    if warnings.len() > TOLD_FILES {
        log::warn!("the same is true of {} more files", warnings.len() - TOLD_FILES);
    }
    Ok(())
}

/// Warns of samples that have no distance to any other.
fn of_empty(samples: &Samples, survey: &Survey) -> Option<String> {
    let empty = survey.found(Sort::Empty);
    let (row, _) = empty.first(samples.features)?;
    Some(format!(
        "{}: all values of {} of {} samples are NaN, first in row {row} (from 0); all distances of these samples are NaN",
        samples.describe(),
        empty.samples,
        survey.samples
    ))
}

/// The first value of a sort, and where it is: `NaN in row 4, column 2`.
fn first_of(samples: &Samples, found: &Found) -> Result<String> {
    let Some((row, column)) = found.first(samples.features) else {
        return Err(Error::Failed(format!("internal error: values of {} have no place", samples.describe())));
    };
    Ok(format!("{} in row {row}, column {column} (from 0)", samples.show(row, column)?))
}

/// `3 values in 2 of 100 samples`.
fn how_many(found: &Found, survey: &Survey) -> String {
    let s = if found.values == 1 { "" } else { "s" };
    format!("{} value{s} in {} of {} samples", found.values, found.samples, survey.samples)
}

/// The verb for so many values: the first if it is one.
fn verb(found: &Found, [one, many]: [&'static str; 2]) -> &'static str {
    if found.values == 1 { one } else { many }
}

fn refuse(samples: &Samples, survey: &Survey, nan_is: Nan) -> Result<()> {
    let what = samples.describe();
    let [mut nan, infinite, too_large] =
        [Sort::Nan, Sort::Infinite, Sort::TooLarge].map(|sort| *survey.found(sort));
    if nan_is == Nan::Skipped {
        nan = Found::default();
    }
    let [nan, infinite, too_large] = [&nan, &infinite, &too_large];
    if too_large.values > 0 && nan.values + infinite.values == 0 {
        fail!(
            "{what}: {} {} too large for f32, the first is {}; use --dtype f64",
            how_many(too_large, survey),
            verb(too_large, ["is", "are"]),
            first_of(samples, too_large)?
        );
    }
    let mut parts = Vec::new();
    for (found, name) in [(nan, "NaN"), (infinite, "infinite")] {
        if found.values > 0 {
            parts.push(format!(
                "{} {} {name}, the first is {}",
                how_many(found, survey),
                verb(found, ["is", "are"]),
                first_of(samples, found)?
            ));
        }
    }
    if parts.is_empty() {
        return Ok(());
    }
    let way_out = match nan_is {
        Nan::RefusedWithout(option) => {
            &*format!("clean the samples, or compute with them by --allow-nonfinite together with {option}")
        }
        Nan::Refused => "clean the samples, or compute with them by --allow-nonfinite",
        Nan::CouldBeSkipped => {
            "clean the samples, skip NaN as missing values with --skip-missing, or compute with them by --allow-nonfinite"
        }
        Nan::Skipped => "clean the samples, or write NaN in place of such values, which --skip-missing skips",
    };
    fail!("{what}: {}; {way_out}", parts.join(", and "))
}

/// Refuses bits behind the last feature, and numbers where the metric takes truth values alone.
fn check_truth(samples: &Samples, survey: &Survey, metric: Metric) -> Result<()> {
    let what = samples.describe();
    let padding = survey.found(Sort::Padding);
    if let Some((row, _)) = padding.first(samples.features) {
        fail!(
            "{what}: bits behind the last of {} features are set in {} of {} samples, first in row {row} (from 0); give the number of features with --features, or clear these bits",
            samples.features,
            padding.samples,
            survey.samples
        );
    }
    if samples.storage.content == Content::Truth && survey.greatest > 1.0 {
        fail!("{what} holds booleans other than 0 and 1, up to {}; write it anew", survey.greatest);
    }
    let refused = [
        (
            Sort::Vanished,
            "too small for f32 and would be false",
            "use --dtype f64, or write (x != 0)".to_owned(),
        ),
        (
            Sort::NoTruth,
            "other than 0 and 1",
            format!("{metric} is for truth values alone: write (x != 0) in place of such numbers"),
        ),
    ];
    for (sort, why, way_out) in refused {
        let found = survey.found(sort);
        if found.values > 0 {
            fail!(
                "{what}: {} {} {why}, the first is {}; {way_out}",
                how_many(found, survey),
                verb(found, ["is", "are"]),
                first_of(samples, found)?
            );
        }
    }
    Ok(())
}

/// Refuses samples that all become 0 in f32 though they are not, and warns of those of which few digits are left.
fn of_small(samples: &Samples, survey: &Survey) -> Result<Option<String>> {
    let what = samples.describe();
    let stored = survey.stored;
    if stored > 0.0 && survey.largest() == 0.0 && survey.found(Sort::TooLarge).values == 0 {
        fail!(
            "{what}: all values are too small for f32 and would be 0, the largest of them {stored:e}; use --dtype f64"
        );
    }
    let is_small = stored > 0.0 && stored < f32::SMALLEST_NORMAL;
    Ok(is_small.then(|| {
        format!("{what}: all values lose digits in f32, the largest of them is {stored:e}; use --dtype f64")
    }))
}

fn of_marks(samples: &Samples, survey: &Survey, can_skip: bool) -> Result<Option<String>> {
    let marked = survey.found(Sort::Marked);
    if marked.values == 0 {
        return Ok(None);
    }
    let skipped = if can_skip { ", which --skip-missing skips" } else { "" };
    Ok(Some(format!(
        "{}: its fill value or attribute _FillValue or missing_value calls {} missing, the first is {}; pairdist uses these values unchanged: leave those samples or features out, write other values in their place, or use --decode-netcdf to make them NaN{skipped}",
        samples.describe(),
        how_many(marked, survey),
        first_of(samples, marked)?
    )))
}

fn of_inexact(samples: &Samples, survey: &Survey, metric: Metric, dtype: Dtype) -> Result<Option<String>> {
    let inexact = survey.found(Sort::Inexact);
    // of truth values it matters only whether they are 0
    if inexact.values == 0 || metric.form().preparation == Preparation::Truth {
        return Ok(None);
    }
    let way_out = match (dtype, metric.ignores_shifts()) {
        (Dtype::F32, true) => "use --dtype f64, or subtract a common number before writing the samples",
        (Dtype::F32, false) => "use --dtype f64",
        (Dtype::F64, true) => "subtract a common number before writing the samples",
        (Dtype::F64, false) => "the distances are those of the rounded values",
    };
    Ok(Some(format!(
        "{}: {} {} rounded, the first is {}: more digits than {dtype} holds; {way_out}",
        samples.describe(),
        how_many(inexact, survey),
        verb(inexact, ["is", "are"]),
        first_of(samples, inexact)?
    )))
}

impl Inputs {
    /// Says which datasets are used, which were passed over, and what their attributes say.
    pub(super) fn tell(&self) {
        for input in self.all() {
            let view = Some(input.files[0].view.words()).filter(|words| !words.is_empty());
            let view = view.map_or(String::new(), |words| format!(" ({words})"));
            log::info!("samples are {}, {} x {}{view}", input.describe(), input.rows(), input.features);
            let again = again(input);
            if !again.is_empty() {
                log::warn!(
                    "given more than once, so that their samples count more than once: {}",
                    listed(again.into_iter(), ", ")
                );
            }
            let passed_over = input.files.iter().map(|samples| Ok(passed_over(samples)));
            let notes = input
                .files
                .iter()
                .map(|samples| Ok(Some(samples.notes().join("; ")).filter(|notes| !notes.is_empty())));
            // these cannot fail
            let _ = warn_each(passed_over).and_then(|()| warn_each(notes));
        }
    }

    /// Counts the chunks that were never written: on rank 0, since it is the file's index that tells. Collective.
    ///
    /// # Errors
    /// If there are some and they are not allowed.
    pub(super) fn count_chunks(&mut self, comm: &Comm, is_allowed: bool) -> Result<()> {
        let mut chunks = Vec::new();
        comm.on_root(|| {
            for samples in self.files() {
                let counted = samples.missing_chunks();
                check_chunks(samples, counted, is_allowed)?;
                chunks.extend([counted.0, counted.1]);
            }
            Ok(())
        })?;
        chunks.resize(2 * self.files().count(), 0);
        let chunks = comm.all_reduce(&chunks, crate::comm::Reduce::Sum);
        self.chunks = chunks.chunks_exact(2).map(|counted| (counted[0], counted[1])).collect();
        Ok(())
    }
}

fn check_chunks(samples: &Samples, (missing, all): (u64, u64), is_allowed: bool) -> Result<()> {
    if missing == 0 {
        return Ok(());
    }
    let what = format!("{}: {missing} of its {all} chunks were never written", samples.describe());
    let Some(fill) = samples.fill_value() else {
        fail!("{what}, and it defines no value to read in their place; write them first");
    };
    if !is_allowed {
        fail!(
            "{what} and read as its fill value {fill}; if that is meant, use --allow-missing-chunks, else write them first"
        );
    }
    log::warn!("{what} and are read as its fill value {fill} (--allow-missing-chunks)");
    Ok(())
}

/// What else in the file looked like samples.
fn passed_over(samples: &Samples) -> Option<String> {
    if samples.passed_over.is_empty() {
        return None;
    }
    let others = samples.passed_over.iter().map(|other| format!("\"{}\": {}", other.name, other.why));
    Some(format!(
        "{}: passed over {}; choose a dataset with --dataset if another is meant",
        samples.path.display(),
        listed(others, "; ")
    ))
}

/// Files that an input has more than once.
fn again(input: &Input) -> Vec<String> {
    let mut seen = HashSet::new();
    let place =
        |samples: &Samples| std::fs::canonicalize(&samples.path).unwrap_or_else(|_| samples.path.clone());
    let twice = input.files.iter().filter(|samples| !seen.insert(place(samples)));
    twice.map(|samples| samples.path.display().to_string()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(whole: Option<(i128, i128)>, inexact: bool) -> Survey {
        let mut survey = Survey::default();
        survey.whole = whole;
        if inexact {
            survey.note(Sort::Inexact, 1, Some(0));
        }
        survey
    }

    #[test]
    fn a_number_is_taken_off_only_where_that_makes_all_samples_exact() {
        let (big, metric) = (1_600_000_000_000_000_000, Metric::Cityblock);
        let near = survey(Some((big, big + 300)), true);
        assert_eq!(centre(std::slice::from_ref(&near), metric, Dtype::F64), Some(big + 150));
        let other = survey(Some((big - 100, big)), false);
        assert_eq!(centre(&[near.clone(), other], metric, Dtype::F64), Some(big + 100));
        let widest = survey(Some((i64::MIN.into(), i128::from(i64::MIN) + (1 << 54))), true);
        assert_eq!(centre(&[widest], metric, Dtype::F64), Some(i128::from(i64::MIN) + (1 << 53)));
        for spread in [
            vec![survey(Some((0, big)), true)],
            vec![near.clone(), survey(Some((0, 1)), false)],
            vec![near.clone(), survey(None, false)],
            vec![survey(Some((big, big + 1)), false)],
        ] {
            assert_eq!(centre(&spread, metric, Dtype::F64), None, "{spread:?}");
        }
        assert_eq!(centre(&[survey(Some((big, big + (1 << 26))), true)], metric, Dtype::F32), None);
    }
}
