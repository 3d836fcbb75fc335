//! What is computed, and where a result came from.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::element::Dtype;
use crate::kernel::{ARITHMETIC, Method};
use crate::metric::Metric;
use crate::partition::Grid;

/// Version of the layout that `docs/FORMAT.md` describes.
pub const FORMAT_VERSION: u32 = 1;

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

    /// The matrix in tiles, of one input or two.
    pub fn grid(&self, symmetric: bool) -> Grid {
        Grid { n: self.n, m: self.m, edge: self.tile, symmetric }
    }
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
    /// One input.
    pub symmetric: bool,
    /// The inputs: X, and Y if there are two.
    pub inputs: Vec<InputId>,
}

/// The version of the arithmetic in plans and results that do not say it.
pub const fn first_arithmetic() -> u32 {
    1
}

impl Identity {
    /// Of what this program computes.
    pub fn new(problem: Problem, inputs: Vec<InputId>) -> Self {
        let symmetric = inputs.len() == 1;
        Self { format_version: FORMAT_VERSION, arithmetic: ARITHMETIC, problem, symmetric, inputs }
    }

    /// The matrix in tiles.
    pub fn grid(&self) -> Grid {
        self.problem.grid(self.symmetric)
    }

    /// The first field in which a run that resumes this one differs, and both values. Where the inputs lie may change.
    /// Digests are compared where both are known.
    pub fn difference(&self, now: &Self) -> Option<String> {
        fn differ(name: &str, then: &impl Display, now: &impl Display) -> Option<String> {
            let (then, now) = (then.to_string(), now.to_string());
            (then != now).then(|| format!("{name} was {then} and is {now}"))
        }
        let (a, b) = (&self.problem, &now.problem);
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
            differ("format_version", &self.format_version, &now.format_version),
            differ("the version of the arithmetic", &self.arithmetic, &now.arithmetic),
            differ("the number of inputs", &self.inputs.len(), &now.inputs.len()),
            differ("the number of samples of X", &a.n, &b.n),
            differ("the number of samples of Y", &a.m, &b.m),
            differ("the number of features", &a.d, &b.d),
            differ("metric", &a.metric, &b.metric),
            differ("kernel", &a.method, &b.method),
            differ("dtype", &a.dtype, &b.dtype),
            differ("tile", &a.tile, &b.tile),
        ]
        .into_iter()
        .chain(inputs)
        .flatten()
        .next()
    }

    /// What in it cannot be, or contradicts itself, as the attributes of a result have it.
    pub fn contradiction(&self) -> Option<String> {
        let Problem { n, m, d, metric, method, .. } = self.problem;
        let (x, y) = match self.inputs.as_slice() {
            [x] => (x, x),
            [x, y] => (x, y),
            inputs => return Some(format!("it has {} inputs", inputs.len())),
        };
        if self.symmetric != (self.inputs.len() == 1) {
            let number = if self.inputs.len() == 1 { "1 input" } else { "2 inputs" };
            return Some(format!(
                "attribute \"symmetric\" is {}, and it has {number}",
                u8::from(self.symmetric)
            ));
        }
        if (n, m) != (x.shape.0, y.shape.0) || (d, d) != (x.shape.1, y.shape.1) {
            return Some(format!(
                "its distances are {n} x {m}, and its samples {} x {} and {} x {}",
                x.shape.0, x.shape.1, y.shape.0, y.shape.1
            ));
        }
        if method == Method::Gemm && !metric.has_gram() {
            return Some(format!("{metric} has no kernel \"gemm\""));
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
mod tests {
    use super::*;

    fn identity() -> Identity {
        let (metric, method, dtype) = (Metric::Euclidean, Method::Gemm, Dtype::F32);
        let problem = Problem { n: 10, m: 10, d: 3, metric, method, dtype, tile: 4 };
        let (path, dataset, digest) = ("/x.h5".into(), "/x".into(), "00ff".into());
        Identity::new(
            problem,
            vec![InputId {
                path,
                dataset,
                shape: (10, 3),
                digest,
                view: String::new(),
                subtracted: String::new(),
            }],
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
        other.problem.d = 4;
        assert!(other.contradiction().unwrap().starts_with("its distances are 10 x 10"));
        other.symmetric = false;
        assert!(other.contradiction().unwrap().contains("\"symmetric\" is 0, and it has 1 input"));
    }
}
