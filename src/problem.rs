//! What is computed, and where a result came from.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::element::{Dtype, StoreType};
use crate::kernel::{ARITHMETIC, Method};
use crate::metric::{Measure, Metric, Order, Parameter};
use crate::partition::Grid;

/// Latest version of the layout that `docs/FORMAT.md` describes.
pub const FORMAT_VERSION: u32 = 2;

/// The sizes and choices that decide every distance, and the tiles they are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Samples of X: rows of the matrix.
    pub n: usize,
    /// Samples of Y: columns of the matrix.
    pub m: usize,
    /// Features.
    pub d: usize,
    /// The metric.
    pub metric: Metric,
    /// Its order, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<Order>,
    /// Whether features have weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weighted: bool,
    /// Whether NaN stands for a missing value, which is skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_missing: bool,
    /// How it is computed.
    #[serde(rename = "kernel")]
    pub method: Method,
    /// Type of the distances.
    pub dtype: Dtype,
    /// Edge of a tile.
    pub tile: usize,
}

impl Problem {
    /// Distances of the matrix.
    pub fn pairs(&self) -> u64 {
        self.n as u64 * self.m as u64
    }

    /// Bytes of the result.
    pub fn result_bytes(&self) -> u64 {
        self.pairs() * self.dtype.size() as u64
    }

    /// The metric, with its order, if it has one, and whether missing values are skipped: `minkowski (p = 3)`.
    pub fn shown_metric(&self) -> String {
        let order = self.p.map(|p| format!("p = {p}"));
        let skips = self.skip_missing.then(|| "missing values skipped".to_owned());
        let parameters: Vec<_> = order.into_iter().chain(skips).collect();
        if parameters.is_empty() {
            self.metric.to_string()
        } else {
            format!("{} ({})", self.metric, parameters.join(", "))
        }
    }

    /// The metric with its parameters, where features have these weights, if they have any.
    pub fn measure(&self, weights: Option<&[f64]>) -> Measure {
        Measure::new(self.metric, self.p, weights).skipping_missing(self.skip_missing)
    }

    /// See [`Measure::of_any_weights`].
    pub fn measure_of_any_weights(&self) -> Measure {
        Measure::of_any_weights(self.metric, self.p, self.weighted).skipping_missing(self.skip_missing)
    }

    /// Bytes of what the metric was given or what was made of the samples for it, in a result; nothing if 64 bits cannot count them.
    pub fn parameter_bytes(&self) -> Option<u64> {
        let d = self.d as u64;
        let numbers = if self.metric.form().is_whitened() {
            d.checked_mul(d)?.checked_add(d)?
        } else if self.weighted {
            d
        } else {
            0
        };
        numbers.checked_mul(size_of::<f64>() as u64)
    }

    /// The matrix in tiles, of one input or two.
    pub fn grid(&self, symmetric: bool) -> Grid {
        Grid { n: self.n, m: self.m, edge: self.tile, symmetric }
    }
}

/// The nearest neighbours of every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearest {
    /// How many of them.
    pub count: usize,
    /// Whether each sample comes first among its own.
    pub include_self: bool,
}

/// A distance that others are compared with: a number, 0 or more, or infinity. JSON has no infinity, so there it is a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Radius(f64);

/// It is no NaN.
impl Eq for Radius {}

impl Radius {
    /// Of this length, if it is one.
    pub fn new(radius: f64) -> Option<Self> {
        // no −0
        (radius >= 0.0).then_some(Self(radius + 0.0))
    }

    /// Its length.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Display for Radius {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // digits that tell it from all others, as a power of ten where there would be many
        if self.0 == 0.0 || (1e-4..1e15).contains(&self.0) || self.0.is_infinite() {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:e}", self.0)
        }
    }
}

impl From<Radius> for String {
    fn from(radius: Radius) -> Self {
        radius.to_string()
    }
}

impl TryFrom<String> for Radius {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let radius = text.parse().ok().and_then(Self::new);
        radius.ok_or_else(|| format!("\"{text}\" is no radius"))
    }
}

/// All samples within a radius of every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The largest distance, in the type that is computed in.
    pub radius: Radius,
    /// Whether each sample is among its own.
    pub include_self: bool,
}

/// The results that are made of the distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The n × m matrix.
    pub matrix: bool,
    /// Its upper triangle, row by row.
    #[serde(default)]
    pub condensed: bool,
    /// The nearest neighbours of every sample.
    pub neighbors: Option<Nearest>,
    /// All samples within a radius of every sample.
    #[serde(default)]
    pub within: Option<Within>,
    /// Type that distances are stored in; nothing where it is the type that was computed in.
    pub store: Option<StoreType>,
}

impl Asked {
    /// Nothing but the digest.
    pub const NOTHING: Self =
        Self { matrix: false, condensed: false, neighbors: None, within: None, store: None };

    /// The matrix, as it is computed.
    pub const MATRIX: Self = Self { matrix: true, ..Self::NOTHING };

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        let names = [
            (self.matrix, MATRIX),
            (self.condensed, CONDENSED),
            (self.neighbors.is_some(), NEIGHBORS),
            (self.within.is_some(), RADIUS),
        ];
        names.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, name)| name).collect()
    }

    /// Type that distances are stored in.
    pub fn stored_as(&self, dtype: Dtype) -> StoreType {
        self.store.unwrap_or_else(|| dtype.into())
    }
}

/// Name of the matrix where results are listed.
pub const MATRIX: &str = "matrix";
/// Name of its upper triangle.
pub const CONDENSED: &str = "condensed";
/// Name of the neighbours.
pub const NEIGHBORS: &str = "neighbors";
/// Name of the samples within a radius.
pub const RADIUS: &str = "radius";

impl Default for Asked {
    /// What plans ask for that do not say it.
    fn default() -> Self {
        Self::MATRIX
    }
}

/// Numbers for the features, or for pairs of them, and where they came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumbersId {
    /// File and dataset, or what they were computed from.
    pub from: String,
    /// Digest of the numbers. Empty as long as it is not known.
    pub digest: String,
}

impl NumbersId {
    /// Digest of some numbers.
    pub fn digest_of(values: &[f64]) -> String {
        format!("{:016x}", xxh3_64(bytemuck::cast_slice(values)))
    }
}

/// The weights that variances stand for.
pub fn weights_of(variances: &[f64]) -> Vec<f64> {
    variances.iter().map(|variance| 1.0 / variance).collect()
}

/// What the metric was given beside the samples and its order, and what was made of the samples for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// The weights of the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<NumbersId>,
    /// Their variances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variance: Option<NumbersId>,
    /// The inverse of a covariance of the features, d × d numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse_covariance: Option<NumbersId>,
    /// The covariance of the features, where no inverse was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covariance: Option<NumbersId>,
    /// What is taken off every sample, with either of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<NumbersId>,
}

impl Parameters {
    /// Name of the weights in a result.
    pub const WEIGHTS: &str = "weights";
    /// Name of the variances in a result.
    pub const VARIANCE: &str = "variance";
    /// Name of the inverse of a covariance in a result.
    pub const INVERSE_COVARIANCE: &str = "inverse_covariance";
    /// Name of the covariance in a result.
    pub const COVARIANCE: &str = "covariance";
    /// Name of what is taken off every sample in a result.
    pub const ORIGIN: &str = "origin";
    /// All of these names.
    pub const NAMES: [&str; 5] =
        [Self::WEIGHTS, Self::VARIANCE, Self::INVERSE_COVARIANCE, Self::COVARIANCE, Self::ORIGIN];

    /// That of a name.
    fn get(&self, name: &str) -> Option<&NumbersId> {
        match name {
            Self::WEIGHTS => self.weights.as_ref(),
            Self::VARIANCE => self.variance.as_ref(),
            Self::INVERSE_COVARIANCE => self.inverse_covariance.as_ref(),
            Self::COVARIANCE => self.covariance.as_ref(),
            Self::ORIGIN => self.origin.as_ref(),
            _ => None,
        }
    }

    /// Those that `find` has, by the names that they have in a result.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn from_names<E>(mut find: impl FnMut(&str) -> Result<Option<NumbersId>, E>) -> Result<Self, E> {
        Ok(Self {
            weights: find(Self::WEIGHTS)?,
            variance: find(Self::VARIANCE)?,
            inverse_covariance: find(Self::INVERSE_COVARIANCE)?,
            covariance: find(Self::COVARIANCE)?,
            origin: find(Self::ORIGIN)?,
        })
    }

    /// Whether one of them has a number for each pair of features, not for each feature.
    pub fn is_matrix(name: &str) -> bool {
        [Self::INVERSE_COVARIANCE, Self::COVARIANCE].contains(&name)
    }

    /// Numbers of one of them, of samples with `d` features.
    pub fn len(name: &str, d: usize) -> usize {
        if Self::is_matrix(name) { d.saturating_mul(d) } else { d }
    }

    /// Those that there are, by the names that they have in a result.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &NumbersId)> {
        Self::NAMES.into_iter().filter_map(|name| Some((name, self.get(name)?)))
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.named().next().is_none()
    }
}

impl InputId {
    /// The view of packed bits, which results of the first version of the format do not have.
    pub const BITS: &str = "packed bits";
}

/// Where samples came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputId {
    /// Path of the file, absolute.
    pub path: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Samples and features.
    pub shape: (usize, usize),
    /// Digest of the samples, in the type that was computed in; independent of ranks. Empty as long as it is not known.
    pub digest: String,
    /// How the dataset was looked at: `transposed`, `flattened`, `decoded`; empty where it was read as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub view: String,
    /// The whole number that was taken off every value before it was rounded; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subtracted: String,
}

/// What a run computes: everything that decides the bytes of its result. Plan, header and run record say it, and a run goes on
/// with another only if it is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the files' layout.
    pub format_version: u32,
    /// Version of the arithmetic, which decides the bits of a distance. Plans and results did not always have it.
    #[serde(default = "first_arithmetic")]
    pub arithmetic: u32,
    /// Sizes and choices.
    pub problem: Problem,
    /// What is made of the distances.
    #[serde(default)]
    pub results: Asked,
    /// One input.
    pub symmetric: bool,
    /// The files of X, in their order, and those of Y if there are two inputs.
    pub inputs: Vec<InputId>,
    /// Datasets with labels of the samples of X, and of Y, which are copied into the result.
    #[serde(default)]
    pub labels: [Option<String>; 2],
    /// What the metric was given.
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    pub parameters: Parameters,
}

/// Names of the labels of X and of Y in a result.
pub const LABELS: [&str; 2] = ["ids", "against_ids"];

/// Inputs of a matrix that is symmetric, or not.
fn inputs_of(symmetric: bool) -> usize {
    if symmetric { 1 } else { 2 }
}

/// The version of the arithmetic in plans and results that do not say it.
pub const fn first_arithmetic() -> u32 {
    1
}

impl Identity {
    /// Of what this program computes.
    pub fn new(
        problem: Problem,
        results: Asked,
        (inputs, symmetric): (Vec<InputId>, bool),
        labels: [Option<String>; 2],
        parameters: Parameters,
    ) -> Self {
        // what an earlier program could make is as it made it, so that either reads it and takes it up
        let is_old = results == Asked::MATRIX
            && labels == [None, None]
            && problem.metric.is_of_format_1()
            && !problem.skip_missing
            && !problem.method.is_whole()
            && !inputs.iter().any(|input| input.view == InputId::BITS)
            && inputs.len() == inputs_of(symmetric)
            && parameters.are_none();
        let format_version = if is_old { 1 } else { FORMAT_VERSION };
        Self {
            format_version,
            arithmetic: ARITHMETIC,
            problem,
            results,
            symmetric,
            inputs,
            labels,
            parameters,
        }
    }

    /// The matrix in tiles.
    pub fn grid(&self) -> Grid {
        self.problem.grid(self.symmetric)
    }

    /// Whether an input has more than one file.
    pub fn has_several_files(&self) -> bool {
        self.inputs.len() > inputs_of(self.symmetric)
    }

    /// The files of X, and those of Y: none with one input.
    pub fn files(&self) -> (&[InputId], &[InputId]) {
        if self.symmetric {
            return (&self.inputs, &[]);
        }
        // as many as have the samples of X
        let mut rows = 0;
        let of_x = self.inputs.iter().take_while(|input| {
            let is_of_x = rows < self.problem.n;
            rows = input.shape.0.saturating_add(rows);
            is_of_x
        });
        self.inputs.split_at(of_x.count())
    }

    /// The first field in which a run that resumes this one differs, and both values. Where the inputs lie may change.
    /// Digests are compared where both are known.
    pub fn difference(&self, now: &Self) -> Option<String> {
        fn differ(name: &str, then: &impl Display, now: &impl Display) -> Option<String> {
            let (then, now) = (then.to_string(), now.to_string());
            (then != now).then(|| format!("{name} was {then} and is {now}"))
        }
        let (a, b) = (&self.problem, &now.problem);
        let results = |identity: &Self| identity.results.names().join(" and ");
        let count = |identity: &Self| identity.results.neighbors.map_or(0, |nearest| nearest.count);
        let radius = |identity: &Self| {
            identity.results.within.map_or("none".into(), |within| within.radius.to_string())
        };
        let with_self = |identity: &Self| {
            let Asked { neighbors, within, .. } = identity.results;
            neighbors.is_some_and(|nearest| nearest.include_self)
                || within.is_some_and(|within| within.include_self)
        };
        let order = |identity: &Self| identity.problem.p.map_or("none".into(), |p| p.to_string());
        let label = |identity: &Self, of: usize| identity.labels[of].clone().unwrap_or_else(|| "none".into());
        let parameters = Parameters::NAMES.map(|name| {
            let of =
                |identity: &Self| identity.parameters.get(name).map_or("none".into(), |id| id.digest.clone());
            let (then, now) = (of(self), of(now));
            let shown = match name {
                Parameters::COVARIANCE | Parameters::ORIGIN => format!("the {name} of the samples"),
                option => format!("--{}", option.replace('_', "-")),
            };
            if then.is_empty() || now.is_empty() { None } else { differ(&shown, &then, &now) }
        });
        let store = |identity: &Self| identity.results.stored_as(identity.problem.dtype).name();
        let inputs = self.inputs.iter().zip(&now.inputs).map(|(then, now)| {
            let known = !then.digest.is_empty() && !now.digest.is_empty();
            let differs = || {
                let subtracted =
                    |id: &InputId| if id.subtracted.is_empty() { "0".into() } else { id.subtracted.clone() };
                differ(&format!("what is taken off {}", now.path), &subtracted(then), &subtracted(now))
                    .or_else(|| differ(&format!("the digest of {}", now.path), &then.digest, &now.digest))
            };
            let as_stored =
                |id: &InputId| if id.view.is_empty() { "as it is".into() } else { id.view.clone() };
            differ(&format!("how {} is read", now.path), &as_stored(then), &as_stored(now))
                .or_else(|| known.then(differs).flatten())
        });
        [
            differ("the version of the arithmetic", &self.arithmetic, &now.arithmetic),
            differ("the number of inputs", &inputs_of(self.symmetric), &inputs_of(now.symmetric)),
            differ("the number of files of X", &self.files().0.len(), &now.files().0.len()),
            differ("the number of files of Y", &self.files().1.len(), &now.files().1.len()),
            differ("the number of samples of X", &a.n, &b.n),
            differ("the number of samples of Y", &a.m, &b.m),
            differ("the number of features", &a.d, &b.d),
            differ("metric", &a.metric, &b.metric),
            differ("--p", &order(self), &order(now)),
            differ("--skip-missing", &a.skip_missing, &b.skip_missing),
            differ("kernel", &a.method, &b.method),
            differ("dtype", &a.dtype, &b.dtype),
            differ("tile", &a.tile, &b.tile),
            differ("what is made of the distances", &results(self), &results(now)),
            differ("--neighbors", &count(self), &count(now)),
            differ("--radius", &radius(self), &radius(now)),
            differ("--include-self", &with_self(self), &with_self(now)),
            differ("--store", &store(self), &store(now)),
            differ("--ids", &label(self, 0), &label(now, 0)),
            differ("--against-ids", &label(self, 1), &label(now, 1)),
            differ("format_version", &self.format_version, &now.format_version),
        ]
        .into_iter()
        .chain(inputs)
        // last, as some are made of the samples
        .chain(parameters)
        .flatten()
        .next()
    }

    /// What in it cannot be, or contradicts itself, as the attributes of a result have it.
    pub fn contradiction(&self) -> Option<String> {
        let Problem { n, m, d, metric, method, p, skip_missing, .. } = self.problem;
        let (x, y) = self.files();
        let of_y = if self.symmetric { x } else { y };
        if x.is_empty() || of_y.is_empty() {
            let number = if x.is_empty() { "no input" } else { "1 input" };
            return Some(format!(
                "attribute \"symmetric\" is {}, and it has {number}",
                u8::from(self.symmetric)
            ));
        }
        let rows =
            |files: &[InputId]| files.iter().fold(0_usize, |rows, file| rows.saturating_add(file.shape.0));
        if (n, m) != (rows(x), rows(of_y)) {
            return Some(format!(
                "its distances are {n} x {m}, and its files have {} and {} samples",
                rows(x),
                rows(of_y)
            ));
        }
        if let Some(other) = self.inputs.iter().find(|file| file.shape.1 != d) {
            return Some(format!(
                "its samples have {d} features, and those of {} {}",
                other.path, other.shape.1
            ));
        }
        if self.results.condensed && !self.symmetric {
            return Some("it has the upper triangle of a matrix that is not symmetric".into());
        }
        if let Some(nearest) = self.results.neighbors {
            let has_others_only = self.symmetric && !nearest.include_self;
            let most = m.saturating_sub(usize::from(has_others_only));
            if !(1..=most).contains(&nearest.count) || nearest.include_self && !self.symmetric {
                return Some(format!("it has {} neighbours of each of {n} samples among {m}", nearest.count));
            }
        }
        if self.results.within.is_some_and(|within| within.include_self) && !self.symmetric {
            return Some("it has samples of X among themselves, and two inputs".into());
        }
        let has_covariance =
            self.parameters.covariance.is_some() || self.parameters.inverse_covariance.is_some();
        if has_covariance != metric.takes().contains(&Parameter::InverseCovariance) {
            let has = if has_covariance { "a covariance" } else { "no covariance" };
            return Some(format!("it is of {metric}, and has {has}"));
        }
        if p.is_some() != metric.takes().contains(&Parameter::Order) {
            return Some(format!("{metric} has {}", if p.is_some() { "no order" } else { "an order" }));
        }
        if skip_missing && !metric.can_skip_missing() {
            return Some(format!("{metric} does not skip missing values"));
        }
        if !method.is_of(&self.problem.measure_of_any_weights()) {
            return Some(format!("{metric} has no kernel \"{method}\""));
        }
        None
    }
}

/// When, how and by what a run was begun: where its result is from, nothing more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// When it began.
    pub created: String,
    /// How the program was called.
    pub command_line: String,
    /// The program's version.
    pub pairdist_version: String,
    /// The commit it is from. Plans and results did not always have it.
    #[serde(default = "unknown")]
    pub pairdist_commit: String,
    /// MPI ranks. Plans did not always have it, nor what follows.
    #[serde(default)]
    pub ranks: usize,
    /// Threads of a rank.
    #[serde(default)]
    pub threads: usize,
    /// The MPI library.
    #[serde(default = "unknown")]
    pub mpi_version: String,
    /// The HDF5 library.
    #[serde(default = "unknown")]
    pub hdf5_version: String,
}

/// What stands for the versions in plans and results that do not say them.
pub fn unknown() -> String {
    "unknown".into()
}

#[cfg(test)]
impl Problem {
    /// A small one, for tests.
    pub(crate) fn example() -> Self {
        Self {
            n: 10,
            m: 10,
            d: 3,
            metric: Metric::Euclidean,
            p: None,
            weighted: false,
            skip_missing: false,
            method: Method::Gemm,
            dtype: Dtype::F32,
            tile: 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let problem = Problem::example();
        let (path, dataset, digest) = ("/x.h5".into(), "/x".into(), "00ff".into());
        Identity::new(
            problem,
            Asked::MATRIX,
            (
                vec![InputId {
                    path,
                    dataset,
                    shape: (10, 3),
                    digest,
                    view: String::new(),
                    subtracted: String::new(),
                }],
                true,
            ),
            [None, None],
            Parameters::default(),
        )
    }

    #[test]
    fn the_field_that_differs_is_named() {
        let mut other = identity();
        assert_eq!(identity().difference(&other), None);
        other.inputs[0].path = "/moved.h5".into();
        assert_eq!(identity().difference(&other), None);
        other.inputs[0].digest = "0000".into();
        assert_eq!(identity().difference(&other).unwrap(), "the digest of /moved.h5 was 00ff and is 0000");
        other.inputs[0].subtracted = "150".into();
        assert_eq!(identity().difference(&other).unwrap(), "what is taken off /moved.h5 was 0 and is 150");
        other.problem.skip_missing = true;
        assert_eq!(identity().difference(&other).unwrap(), "--skip-missing was false and is true");
        other.problem.metric = Metric::Cityblock;
        assert_eq!(identity().difference(&other).unwrap(), "metric was euclidean and is cityblock");
        other.arithmetic += 1;
        let versions =
            format!("the version of the arithmetic was {ARITHMETIC} and is {}", identity().arithmetic + 1);
        assert_eq!(identity().difference(&other).unwrap(), versions);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        assert_eq!(identity().contradiction(), None);
        let mut other = identity();
        other.problem.metric = Metric::Cityblock;
        assert_eq!(other.contradiction().unwrap(), "cityblock has no kernel \"gemm\"");
        other.problem = Problem { metric: Metric::Cosine, skip_missing: true, ..identity().problem };
        assert_eq!(other.contradiction().unwrap(), "cosine does not skip missing values");
        other.problem.d = 4;
        assert_eq!(other.contradiction().unwrap(), "its samples have 4 features, and those of /x.h5 3");
        other.symmetric = false;
        assert_eq!(other.contradiction().unwrap(), "attribute \"symmetric\" is 0, and it has 1 input");
    }
}
