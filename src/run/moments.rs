//! What is made of all samples before there are distances: their variances, or their covariance, by which they are whitened.

use std::ops::Range;

use super::job::Job;
use super::parameters::{Given, Needed, Numbers};
use crate::comm::Comm;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::fail;
use crate::io::result::ResultReader;
use crate::kernel::Level;
use crate::number::Number;
use crate::pipeline::{Centre, Held, Unfit, Whitening, Workers, covariance, origin, variances};
use crate::problem::Parameters;
use crate::source::Input;
use crate::text::counted;

/// What the metric is given, with what is made of the samples for it. Collective.
pub(super) fn complete<'a, T: Number>(
    comm: &Comm,
    job: &Job<'_>,
    workers: &Workers,
    held: impl FnOnce() -> Held<'a, T>,
) -> Result<Given> {
    let Job { inputs, given, problem, .. } = job;
    let names = inputs.describe();
    match given.needed {
        None => Ok(given.clone()),
        Some(Needed::Variance) => {
            comm.on_root(|| {
                if inputs.all().map(Input::rows).sum::<usize>() < 2 {
                    fail!("one sample has no variance; give the features one with --variance, or use --metric euclidean");
                }
                Ok(())
            })?;
            let found = variances(comm, workers, &held())?;
            let with_variance = given.with_variance_of(found, &names).and_then(|given| {
                given.check_range(problem)?;
                Ok(given)
            });
            comm.agree(with_variance)
        }
        Some(Needed::Covariance) => {
            let what = if given.inverse_covariance.is_some() {
                "multiplying the samples by a root of the inverse covariance".into()
            } else {
                format!(
                    "computing the covariance of {}, and whitening the samples by it",
                    counted(problem.d, "feature")
                )
            };
            log::info!("{what}");
            with_covariance::<T>(comm, job, workers, &held(), &names)
        }
    }
}

/// With a point amid the samples, and their covariance unless its inverse is given. Collective.
fn with_covariance<T: Number>(
    comm: &Comm,
    job: &Job<'_>,
    workers: &Workers,
    held: &Held<'_, T>,
    names: &str,
) -> Result<Given> {
    let Job { inputs, given, problem, schedule, .. } = job;
    let d = problem.d;
    let is_given = given.inverse_covariance.is_some();
    let own = schedule.rows_of(schedule.tile_rows(comm.rank()));
    let origin = origin(comm, held, &own, problem.n)?;
    let of_samples = || {
        let centre = Centre::of(comm, workers, held)?;
        let x = (0..comm.size()).map(|rank| schedule.rows_of(schedule.tile_rows(rank))).collect();
        let below = |samples: Range<usize>| problem.n + samples.start..problem.n + samples.end;
        let y = |rank: usize| below(schedule.cols_of(schedule.tile_cols(rank)));
        let y = inputs.y.as_ref().map(|_| (0..comm.size()).map(y).collect());
        let owners: Vec<Vec<Range<usize>>> = std::iter::once(x).chain(y).collect();
        covariance(comm, workers, job.level, held, &centre, &owners)
    };
    let covariance = if is_given { None } else { Some(of_samples()?) };
    if let Some(covariance) = &covariance {
        let checked = check_diagonal(covariance, d, names);
        comm.agree(checked)?;
    }
    if let Some(inverse) = &given.inverse_covariance {
        let variances = variances(comm, workers, held)?;
        if comm.is_root() {
            inverse.warn_of_digits(&variances);
        }
    }
    Ok(given.with_moments_of(origin, covariance, names))
}

/// Times the variance of its feature, a value on the diagonal of an inverse covariance is 1 or more: by so much, the inverse of the covariance loses digits.
const MOST_INFLATION: f64 = 1e10;

impl Numbers {
    /// Says so if this inverse of a covariance has few digits, of samples whose features have these variances.
    fn warn_of_digits(&self, variances: &[f64]) {
        let d = variances.len();
        let inflations = variances.iter().enumerate().map(|(i, variance)| self.values[i * d + i] * variance);
        let largest = inflations.enumerate().filter(|(_, inflation)| !inflation.is_nan());
        if let Some((feature, inflation)) = largest.max_by(|one, other| one.1.total_cmp(&other.1))
            && inflation > MOST_INFLATION
        {
            log::warn!(
                "--inverse-covariance: {} has {:e} for feature {feature} (from 0), {inflation:.0e} times the inverse of its variance, as if a nearly singular covariance had been inverted: distances have few digits, or none; use numpy.linalg.pinv, or leave out features that are combinations of others",
                self.from,
                self.values[feature * d + feature]
            );
        }
    }
}

/// Refuses a covariance in which a feature does not vary, or so much that it leaves the range of numbers.
fn check_diagonal(covariance: &[f64], d: usize, names: &str) -> Result<()> {
    for (feature, variance) in covariance.iter().step_by(d + 1).enumerate() {
        let (what, way_out) = if variance.is_nan() {
            ("a value that is NaN or infinite", "clean the samples")
        } else if *variance == 0.0 {
            (
                "a variance of 0, so the covariance is singular",
                "leave the feature out if it has one value, or scale the samples if they are tiny",
            )
        } else if !variance.is_finite() || *variance < f64::SMALLEST_NORMAL {
            ("a variance that leaves the range of f64", "scale the samples")
        } else {
            continue;
        };
        fail!(
            "{names}: feature {feature} (from 0) has {what}; {way_out}, or give an inverse covariance with --inverse-covariance"
        );
    }
    Ok(())
}

impl Given {
    /// What samples are whitened by.
    ///
    /// # Errors
    /// If the covariance is singular, or its inverse is none of one.
    pub(super) fn whitening(&self, workers: &Workers, level: Level) -> Result<Whitening> {
        let origin = &self.origin.as_ref().expect("the origin is known").values;
        let d = origin.len();
        let (whitening, from) = match (&self.inverse_covariance, &self.covariance) {
            (Some(inverse), _) => {
                let error = inverse.asymmetry(d).norm;
                let whitening = Whitening::of_inverse(workers, level, &inverse.values, origin, error);
                (whitening.map_err(|_| negative(inverse))?, &inverse.from)
            }
            (None, Some(covariance)) => {
                let whitening = Whitening::of_covariance(workers, level, &covariance.values, origin);
                (whitening.map_err(|unfit| singular(unfit, covariance))?, &covariance.from)
            }
            (None, None) => unreachable!("there is a covariance, or its inverse"),
        };
        if whitening.is_nearly_singular() && self.inverse_covariance.is_none() {
            log::warn!(
                "{from} is nearly singular: distances have few digits, as some features are almost combinations of others; leave such features out"
            );
        }
        Ok(whitening)
    }

    /// What a result holds of them.
    pub(super) fn of_result(file: &ResultReader) -> Result<Self> {
        let numbers = |name: &str| -> Result<Option<Numbers>> {
            let values = file.numbers(name)?;
            Ok(values
                .map(|values| Numbers { values: values.into(), from: format!("{name} of {}", file.shown()) }))
        };
        Ok(Self {
            inverse_covariance: numbers(Parameters::INVERSE_COVARIANCE)?,
            covariance: numbers(Parameters::COVARIANCE)?,
            origin: numbers(Parameters::ORIGIN)?,
            ..Self::default()
        })
    }
}

fn negative(inverse: &Numbers) -> Error {
    Error::Failed(format!(
        "--inverse-covariance: {} is not positive semi-definite: some samples would have a negative squared distance; give the inverse of a covariance",
        inverse.from
    ))
}

fn singular(unfit: Unfit, covariance: &Numbers) -> Error {
    let Unfit::Singular { feature, count } = unfit else { unreachable!("a covariance is a sum of squares") };
    let many = if count > 1 { format!("; {} are", counted(count, "feature")) } else { String::new() };
    Error::Failed(format!(
        "{} is singular: feature {feature} (from 0) is a combination of others, up to rounding{many}; leave it out, or give an inverse covariance with --inverse-covariance (numpy.linalg.pinv has one)",
        covariance.from
    ))
}
