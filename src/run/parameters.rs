//! What the metric is given beside the samples: read from files, and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::ProblemArgs;
use crate::comm::{Comm, Reduce};
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::fail;
use crate::io::numbers::{Per, read_numbers};
use crate::metric::{Metric, Parameter};
use crate::problem::{NumbersId, Parameters, Problem, weights_of};
use crate::text::listed;

/// A number for each feature, or each pair of them, and where they are from.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) values: Arc<[f64]>,
    pub(super) from: String,
}

impl Numbers {
    /// What a result says of them.
    fn id(&self) -> NumbersId {
        NumbersId { from: self.from.clone(), digest: NumbersId::digest_of(&self.values) }
    }
}

/// What the metric is given beside the samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) weights: Option<Numbers>,
    /// Nothing where it is that of the samples and not known yet.
    pub(super) variance: Option<Numbers>,
    pub(super) inverse_covariance: Option<Numbers>,
    /// Covariance of the samples, and a point amid them, once they are known; no covariance where its inverse is given.
    pub(super) covariance: Option<Numbers>,
    pub(super) origin: Option<Numbers>,
    /// What is to be that of the samples.
    pub(super) needed: Option<Needed>,
}

/// What is made of the samples before there are distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Their variances.
    Variance,
    /// A point amid them, and their covariance unless its inverse is given.
    Covariance,
}

/// The options that name numbers, what they are for, and what they are called.
const OPTIONS: [(Parameter, &str, &str); 3] = [
    (Parameter::Weights, "--weights", "weights"),
    (Parameter::Variance, "--variance", "variances"),
    (Parameter::InverseCovariance, "--inverse-covariance", "covariance"),
];

/// What the command line names for each of them.
fn named(args: &ProblemArgs) -> [Option<&Path>; OPTIONS.len()] {
    [&args.weights, &args.variance, &args.inverse_covariance].map(|path| path.as_deref())
}

impl Given {
    /// Refuses numbers that the metric does not take.
    pub(super) fn check(args: &ProblemArgs) -> Result<()> {
        let metric = args.metric;
        for ((parameter, option, what), given) in OPTIONS.into_iter().zip(named(args)) {
            if given.is_some() && !metric.takes().contains(&parameter) {
                let that_do = Metric::ALL.iter().filter(|metric| metric.takes().contains(&parameter));
                let names: Vec<_> = that_do.map(|metric| metric.name()).collect();
                let way_out = match names.as_slice() {
                    [name] => format!("use --metric {name}"),
                    names => format!("use one of the metrics that do: {}", names.join(", ")),
                };
                return Err(Error::Usage(format!(
                    "{option}: {metric} takes no {what}; leave the option out, or {way_out}"
                )));
            }
        }
        Ok(())
    }

    /// Reads what the command line names, for `d` features.
    pub(super) fn read(args: &ProblemArgs, d: usize) -> Result<Self> {
        Self::check(args)?;
        let [weights, variance, inverse_covariance] = named(args);
        let of_features = |path| read(path, Per::Feature(d));
        let given = Self {
            weights: weights.map(of_features).transpose()?,
            variance: variance.map(of_features).transpose()?,
            inverse_covariance: inverse_covariance.map(|path| read(path, Per::Pair(d))).transpose()?,
            needed: needed(args),
            ..Self::default()
        };
        if let Some(Numbers { values, from }) = &given.weights {
            let is_weight = |value: f64| value >= 0.0 && value.is_finite();
            if let Some(bad) = values.iter().position(|value| !is_weight(*value)) {
                fail!(
                    "--weights: {from} has {} for feature {bad} (from 0); a weight is a number, 0 or more",
                    values[bad]
                );
            }
            if values.iter().all(|value| *value == 0.0) {
                fail!("--weights: all weights in {from} are 0; give some features a weight above 0");
            }
        }
        if let Some(variance) = &given.variance {
            variance.check_variance("leave such features out, or give them a variance")?;
        }
        if let Some(inverse) = &given.inverse_covariance {
            inverse.check_symmetry(d)?;
        }
        Ok(given)
    }

    /// The same on all ranks, read by rank 0. Collective.
    pub(super) fn agreed(comm: &Comm, args: &ProblemArgs, d: usize) -> Result<Self> {
        let mut read = None;
        comm.on_root(|| {
            let given = Self::read(args, d)?;
            for (name, id) in given.ids().named().filter(|(_, id)| !id.digest.is_empty()) {
                log::info!("{}: {}", name.replace('_', " "), id.from);
            }
            read = Some(given);
            Ok(())
        })?;
        let given = read.unwrap_or_default();
        Ok(Self {
            weights: everywhere(comm, given.weights),
            variance: everywhere(comm, given.variance),
            inverse_covariance: everywhere(comm, given.inverse_covariance),
            needed: needed(args),
            ..Self::default()
        })
    }

    /// Refuses weights, or inverses of variances, that the type that is computed in cannot hold side by side.
    pub(super) fn check_range(&self, problem: &Problem) -> Result<()> {
        let measure = problem.measure(self.weights(problem.d).as_deref());
        if let (Some(largest), Some(Numbers { from, .. })) = (measure.weight_too_far(), &self.weights) {
            fail!(
                "--weights: the largest of {from} is {largest:e}; with a --p that is no multiple of 0.5 up to 8 it must lie between 1e-18 and 1e18, so multiply all of them by one number"
            );
        }
        let too_small = match problem.dtype {
            Dtype::F32 => measure.weight_too_small::<f32>(),
            Dtype::F64 => measure.weight_too_small::<f64>(),
        };
        let Some(feature) = too_small else { return Ok(()) };
        let dtype = problem.dtype;
        let f64_is_enough = dtype == Dtype::F32 && measure.weight_too_small::<f64>().is_none();
        let wider = if f64_is_enough { "compute in f64 (--dtype f64), or " } else { "" };
        if let Some(Numbers { values, from }) = &self.weights {
            let largest = values.iter().copied().fold(0.0, f64::max);
            fail!(
                "--weights: {from} has {:e} for feature {feature} (from 0) and {largest:e} for another, which {dtype} cannot hold side by side; {wider}give the feature a weight of 0",
                values[feature]
            );
        }
        if let Some(Numbers { values, from }) = &self.variance {
            let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
            fail!(
                "{from} is {:e} for feature {feature} (from 0) and {smallest:e} for another, and {dtype} cannot hold the inverse of both; {wider}leave one of them out",
                values[feature]
            );
        }
        Ok(())
    }

    /// With the variances of the samples, which are called `samples`.
    ///
    /// # Errors
    /// If one of them is 0, or no number.
    pub(super) fn with_variance_of(&self, values: Vec<f64>, samples: &str) -> Result<Self> {
        let variance = Numbers { values: values.into(), from: format!("the variance of {samples}") };
        variance.check_variance("where all samples have one value, leave the feature out; where squares leave the range of f64, scale the samples; or give variances with --variance")?;
        Ok(Self { variance: Some(variance), needed: None, ..self.clone() })
    }

    /// With a point amid the samples, which are called `samples`, and their covariance if it was computed.
    pub(super) fn with_moments_of(
        &self,
        origin: Vec<f64>,
        covariance: Option<Vec<f64>>,
        samples: &str,
    ) -> Self {
        let numbers = |name: &str, values: Vec<f64>| Numbers {
            values: values.into(),
            from: format!("the {name} of {samples}"),
        };
        let covariance = covariance.map(|values| numbers(Parameters::COVARIANCE, values));
        let origin = Some(numbers(Parameters::ORIGIN, origin));
        Self { origin, covariance, needed: None, ..self.clone() }
    }

    /// The weights of the features, if they have any: of a variance, its inverse. Ones where the variance is not known yet.
    pub(super) fn weights(&self, d: usize) -> Option<Vec<f64>> {
        let of_variance = self.variance.as_ref().map(|variance| weights_of(&variance.values));
        let unknown = (self.needed == Some(Needed::Variance)).then(|| vec![1.0; d]);
        self.weights.as_ref().map(|weights| weights.values.to_vec()).or(of_variance).or(unknown)
    }

    /// What a result says of them; nothing of the digest of what is not known yet.
    pub(super) fn ids(&self) -> Parameters {
        let unknown = |is_needed: bool, name: &str| {
            let from = format!("the {name} of the samples");
            is_needed.then(|| NumbersId { from, digest: String::new() })
        };
        let id = |numbers: &Option<Numbers>| numbers.as_ref().map(Numbers::id);
        let of_samples = self.needed == Some(Needed::Covariance);
        let has_inverse = self.inverse_covariance.is_some();
        let unknown_variance = || unknown(self.needed == Some(Needed::Variance), Parameters::VARIANCE);
        let unknown_covariance = || unknown(of_samples && !has_inverse, Parameters::COVARIANCE);
        Parameters {
            weights: id(&self.weights),
            variance: id(&self.variance).or_else(unknown_variance),
            inverse_covariance: id(&self.inverse_covariance),
            covariance: id(&self.covariance).or_else(unknown_covariance),
            origin: id(&self.origin).or_else(|| unknown(of_samples, Parameters::ORIGIN)),
        }
    }

    /// What is stored in a result, by name.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&'static str, &[f64])> {
        let all = [&self.weights, &self.variance, &self.inverse_covariance, &self.covariance, &self.origin];
        let named = Parameters::NAMES.into_iter().zip(all);
        named.filter_map(|(name, numbers)| Some((name, &*numbers.as_ref()?.values)))
    }

    /// Files that are read.
    pub(super) fn files(args: &ProblemArgs) -> impl Iterator<Item = PathBuf> {
        named(args).into_iter().flatten().map(|given| split(given).0)
    }
}

/// What of the samples is needed.
fn needed(args: &ProblemArgs) -> Option<Needed> {
    let takes = |parameter| args.metric.takes().contains(&parameter);
    if takes(Parameter::InverseCovariance) {
        Some(Needed::Covariance)
    } else if takes(Parameter::Variance) && args.variance.is_none() {
        Some(Needed::Variance)
    } else {
        None
    }
}

/// The numbers of rank 0, on all ranks. Collective.
fn everywhere(comm: &Comm, numbers: Option<Numbers>) -> Option<Numbers> {
    let len = numbers.as_ref().map_or(0, |numbers| numbers.values.len() as u64);
    // none are empty
    let len = usize::try_from(comm.all_reduce(&[len], Reduce::Max)[0]).expect("it fits on rank 0");
    if len == 0 {
        return None;
    }
    let Numbers { values, from } =
        numbers.unwrap_or_else(|| Numbers { values: vec![0.0; len].into(), from: String::new() });
    let (mut values, mut from) = (values, from.into_bytes());
    comm.broadcast(0, &mut from);
    comm.broadcast_values(0, Arc::make_mut(&mut values));
    Some(Numbers { values, from: String::from_utf8_lossy(&from).into_owned() })
}

/// Entries of an inverse covariance and their mirror images may differ by so much, relatively: NumPy's inverse of a matrix that is nearly singular does.
const MOST_ASYMMETRY: f64 = 1e-5;

impl Numbers {
    fn check_variance(&self, way_out: &str) -> Result<()> {
        let is_unfit =
            |value: f64| value.is_nan() || value <= 0.0 || !(1.0 / value).is_finite() || 1.0 / value == 0.0;
        let unfit: Vec<usize> = (0..self.values.len()).filter(|at| is_unfit(self.values[*at])).collect();
        let Some(first) = unfit.first() else { return Ok(()) };
        let others = listed(unfit[1..].iter().map(usize::to_string), ", ");
        let others = if others.is_empty() { others } else { format!("; so are those of {others}") };
        fail!(
            "{} is {:?} for feature {first} (from 0), which is no variance to divide by{others}; {way_out}",
            self.from,
            self.values[*first]
        );
    }

    /// Refuses a matrix that is no inverse of a covariance, as far as single entries tell.
    fn check_symmetry(&self, d: usize) -> Result<()> {
        let Self { values, from } = self;
        let entry = |i: usize, j: usize| values[i * d + j];
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (i, j) = (at / d, at % d);
            fail!(
                "--inverse-covariance: {from} has {} at ({i}, {j}) (from 0); write numbers only",
                values[at]
            );
        }
        if let Some(i) = (0..d).find(|&i| entry(i, i) < 0.0) {
            fail!(
                "--inverse-covariance: {from} has {:e} at ({i}, {i}) (from 0), by which samples that differ in that feature alone would have a negative squared distance; give the inverse of a covariance",
                entry(i, i)
            );
        }
        let Asymmetry { most, at: (i, j), .. } = self.asymmetry(d);
        if most > MOST_ASYMMETRY {
            fail!(
                "--inverse-covariance: {from} is not symmetric: it has {:e} at ({i}, {j}) and {:e} at ({j}, {i}) (from 0); write (VI + VI.T) / 2, which gives the same distances",
                entry(i, j),
                entry(j, i)
            );
        }
        Ok(())
    }

    /// By how much entries differ from their mirror images.
    pub(super) fn asymmetry(&self, d: usize) -> Asymmetry {
        let mut asymmetry = Asymmetry { most: 0.0, at: (0, 0), norm: 0.0 };
        for (i, j) in (0..d).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let (one, other) = (self.values[i * d + j], self.values[j * d + i]);
            let size = self.values[i * d + i].sqrt() * self.values[j * d + j].sqrt();
            let difference = (one - other).abs();
            // where the diagonal is 0 too it is as large as can be
            let error = if difference > 0.0 { difference / size } else { 0.0 };
            if error > asymmetry.most {
                (asymmetry.most, asymmetry.at) = (error, (i, j));
            }
            // twice the square of half the difference
            asymmetry.norm += error * error / 2.0;
        }
        asymmetry.norm = asymmetry.norm.sqrt();
        asymmetry
    }
}

/// By how much a matrix differs from the mean of it and its mirror image, with its diagonal brought to 1.
pub(super) struct Asymmetry {
    /// The largest difference of two entries, and where it is.
    most: f64,
    at: (usize, usize),
    /// Frobenius norm of the error of all.
    pub(super) norm: f64,
}

/// File, and name of a dataset in it, of `FILE` or `FILE:NAME`; a path that exists is a file.
fn split(given: &Path) -> (PathBuf, Option<String>) {
    let whole = || (given.to_owned(), None);
    let Some(text) = given.to_str().filter(|_| !given.exists()) else { return whole() };
    let colons = text.rmatch_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let mut named = colons.filter(|(file, name)| !name.is_empty() && Path::new(file).exists());
    named.next().map_or_else(whole, |(file, name)| (file.into(), Some(name.into())))
}

fn read(given: &Path, of: Per) -> Result<Numbers> {
    let (path, name) = split(given);
    let (name, values) = read_numbers(&path, name.as_deref(), of)?;
    let name = name.trim_start_matches('/');
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(Numbers { values: values.into(), from: format!("{}:/{name}", path.display()) })
}
