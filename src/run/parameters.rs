//! What the metric is given beside the samples: read from files, and checked.

use std::path::{Path, PathBuf};

use crate::cli::ProblemArgs;
use crate::comm::Comm;
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::fail;
use crate::io::vector::read_vector;
use crate::metric::{Metric, Parameter};
use crate::problem::{Parameters, Problem, VectorId, weights_of};
use crate::text::listed;

/// A number for each feature, and where it is from.
#[derive(Clone)]
pub(super) struct Vector {
    pub(super) values: Vec<f64>,
    from: String,
}

impl Vector {
    /// What a result says of it.
    fn id(&self) -> VectorId {
        VectorId { from: self.from.clone(), digest: VectorId::digest_of(&self.values) }
    }
}

/// What the metric is given beside the samples.
#[derive(Clone, Default)]
pub(super) struct Given {
    pub(super) weights: Option<Vector>,
    /// Nothing where it is that of the samples and not known yet.
    pub(super) variance: Option<Vector>,
    /// Whether it is to be that of the samples.
    needs_variance: bool,
}

/// The options of an array with a number for each feature.
const OPTIONS: [(Parameter, &str); 2] =
    [(Parameter::Weights, "--weights"), (Parameter::Variance, "--variance")];

impl Given {
    /// Refuses those that the metric does not take.
    pub(super) fn check(args: &ProblemArgs) -> Result<()> {
        let metric = args.metric;
        for ((parameter, option), given) in OPTIONS.into_iter().zip([&args.weights, &args.variance]) {
            if given.is_some() && !metric.takes().contains(&parameter) {
                let that_do = Metric::ALL.iter().filter(|metric| metric.takes().contains(&parameter));
                let names: Vec<_> = that_do.map(|metric| metric.name()).collect();
                let what = if parameter == Parameter::Weights { "weights" } else { "variances" };
                return Err(Error::Usage(format!(
                    "{option}: {metric} takes no {what}; leave the option out, or use one of the metrics that do: {}",
                    names.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Reads what the command line names, a number for each of `d` features.
    pub(super) fn read(args: &ProblemArgs, d: usize) -> Result<Self> {
        Self::check(args)?;
        let weights = args.weights.as_deref().map(|path| read(path, d)).transpose()?;
        let variance = args.variance.as_deref().map(|path| read(path, d)).transpose()?;
        if let Some(Vector { values, from }) = &weights {
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
        if let Some(vector) = &variance {
            vector.check_variance("leave such features out, or give them a variance")?;
        }
        let takes_variance = args.metric.takes().contains(&Parameter::Variance);
        Ok(Self { weights, needs_variance: takes_variance && variance.is_none(), variance })
    }

    /// The same on all ranks, read by rank 0. Collective.
    pub(super) fn agreed(comm: &Comm, args: &ProblemArgs, d: usize) -> Result<Self> {
        let mut read = None;
        comm.on_root(|| {
            let given = Self::read(args, d)?;
            for (name, id) in given.ids().named().filter(|(_, id)| !id.digest.is_empty()) {
                log::info!("{name}: {}", id.from);
            }
            read = Some(given);
            Ok(())
        })?;
        let Self { weights, variance, needs_variance } = read.unwrap_or_default();
        let everywhere = |vector: Option<Vector>, is_given: bool| {
            let vector = vector.unwrap_or(Vector { values: Vec::new(), from: String::new() });
            let (mut from, mut bytes) =
                (vector.from.into_bytes(), bytemuck::cast_slice(&vector.values).to_vec());
            comm.broadcast(0, &mut from);
            comm.broadcast(0, &mut bytes);
            let values = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect();
            is_given.then(|| Vector { values, from: String::from_utf8_lossy(&from).into_owned() })
        };
        let takes_variance = args.metric.takes().contains(&Parameter::Variance);
        Ok(Self {
            weights: everywhere(weights, args.weights.is_some()),
            variance: everywhere(variance, args.variance.is_some()),
            needs_variance: needs_variance || takes_variance && args.variance.is_none(),
        })
    }

    /// Refuses weights, or inverses of variances, that the type that is computed in cannot hold side by side.
    pub(super) fn check_range(&self, problem: &Problem) -> Result<()> {
        let measure = problem.measure(self.weights(problem.d).as_deref());
        if let (Some(largest), Some(Vector { from, .. })) = (measure.weight_too_far(), &self.weights) {
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
        if let Some(Vector { values, from }) = &self.weights {
            let largest = values.iter().copied().fold(0.0, f64::max);
            fail!(
                "--weights: {from} has {:e} for feature {feature} (from 0) and {largest:e} for another, which {dtype} cannot hold side by side; {wider}give the feature a weight of 0",
                values[feature]
            );
        }
        if let Some(Vector { values, from }) = &self.variance {
            let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
            fail!(
                "{from} is {:e} for feature {feature} (from 0) and {smallest:e} for another, and {dtype} cannot hold the inverse of both; {wider}leave one of them out",
                values[feature]
            );
        }
        Ok(())
    }

    /// Whether the variance of the samples is needed.
    pub(super) fn need_variance(&self) -> bool {
        self.needs_variance
    }

    /// With the variances of the samples, which are called `samples`.
    ///
    /// # Errors
    /// If one of them is 0, or no number.
    pub(super) fn with_variance_of(&self, values: Vec<f64>, samples: &str) -> Result<Self> {
        let variance = Vector { values, from: format!("the variance of {samples}") };
        variance.check_variance("where all samples have one value, leave the feature out; where squares leave the range of f64, scale the samples; or give variances with --variance")?;
        Ok(Self { variance: Some(variance), needs_variance: false, weights: self.weights.clone() })
    }

    /// The weights of the features, if they have any: of a variance, its inverse. Ones where the variance is not known yet.
    pub(super) fn weights(&self, d: usize) -> Option<Vec<f64>> {
        let of_variance = self.variance.as_ref().map(|variance| weights_of(&variance.values));
        let unknown = self.needs_variance.then(|| vec![1.0; d]);
        self.weights.as_ref().map(|weights| weights.values.clone()).or(of_variance).or(unknown)
    }

    /// What a result says of them; nothing of the digest of what is not known yet.
    pub(super) fn ids(&self) -> Parameters {
        let unknown = || VectorId { from: "the variance of the samples".into(), digest: String::new() };
        let variance = self.variance.as_ref().map(Vector::id);
        Parameters {
            weights: self.weights.as_ref().map(Vector::id),
            variance: variance.or_else(|| self.needs_variance.then(unknown)),
        }
    }

    /// What is stored in a result, by name.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&'static str, &[f64])> {
        let named = [(Parameters::WEIGHTS, &self.weights), (Parameters::VARIANCE, &self.variance)];
        named.into_iter().filter_map(|(name, vector)| Some((name, vector.as_ref()?.values.as_slice())))
    }

    /// Files that are read.
    pub(super) fn files(args: &ProblemArgs) -> impl Iterator<Item = PathBuf> {
        [&args.weights, &args.variance].into_iter().flatten().map(|given| split(given).0)
    }
}

impl Vector {
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
}

/// File, and name of a dataset in it, of `FILE` or `FILE:NAME`; a path that exists is a file.
fn split(given: &Path) -> (PathBuf, Option<String>) {
    let whole = || (given.to_owned(), None);
    let Some(text) = given.to_str().filter(|_| !given.exists()) else { return whole() };
    let colons = text.rmatch_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let mut named = colons.filter(|(file, name)| !name.is_empty() && Path::new(file).exists());
    named.next().map_or_else(whole, |(file, name)| (file.into(), Some(name.into())))
}

fn read(given: &Path, d: usize) -> Result<Vector> {
    let (path, name) = split(given);
    let (name, values) = read_vector(&path, name.as_deref(), d)?;
    let name = name.trim_start_matches('/');
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(Vector { values, from: format!("{}:/{name}", path.display()) })
}
