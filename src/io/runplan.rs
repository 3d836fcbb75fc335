//! The plan of a run, as it lies in its working folder: what a run that resumes it must agree with.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::matrix::{FORMAT_VERSION, InputId};
use crate::error::{Error, Result};
use crate::kernel::ARITHMETIC;
use crate::problem::Problem;

/// Everything that decides the bytes of a result, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Version of the files' layout.
    pub format_version: u32,
    /// Version of the program: where the result is from, nothing more.
    pub pairdist_version: String,
    /// Version of the arithmetic, which decides the bits of a distance. Plans did not always have it.
    #[serde(default = "first_arithmetic")]
    pub arithmetic: u32,
    /// What is computed.
    pub problem: Problem,
    /// One input.
    pub symmetric: bool,
    /// Begun with --force: an older result is to be replaced.
    pub replaces: bool,
    /// The inputs.
    pub inputs: Vec<InputId>,
    /// When the run began.
    pub created: String,
    /// How the program was called.
    pub command_line: String,
}

/// The version of the arithmetic in plans and results that do not say it.
pub(super) const fn first_arithmetic() -> u32 {
    1
}

impl RunPlan {
    /// The plan of a run that begins now, with the inputs' digests.
    pub fn new(
        problem: Problem,
        symmetric: bool,
        replaces: bool,
        inputs: Vec<InputId>,
        created: String,
        command_line: String,
    ) -> Self {
        let pairdist_version = env!("CARGO_PKG_VERSION").into();
        Self {
            format_version: FORMAT_VERSION,
            pairdist_version,
            arithmetic: ARITHMETIC,
            problem,
            symmetric,
            replaces,
            inputs,
            created,
            command_line,
        }
    }

    /// As text for the file.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::Failed(format!("the plan cannot be written: {error}")))
    }

    /// From the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &str) -> std::result::Result<Self, String> {
        let plan: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Problem { n, m, d, dtype, tile, .. } = plan.problem;
        let has_bytes = n.checked_mul(m).is_some_and(|pairs| pairs.checked_mul(dtype.size()).is_some());
        if [n, m, d, tile].contains(&0) || !has_bytes || plan.inputs.is_empty() {
            return Err("its sizes are impossible".into());
        }
        Ok(plan)
    }

    /// The number of the run with this text as its plan: journals carry it.
    pub fn run(text: &str) -> u64 {
        xxh3_64(text.as_bytes())
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
            known.then(differs).flatten()
        });
        [
            differ("format_version", &self.format_version, &now.format_version),
            differ("the version of the arithmetic", &self.arithmetic, &now.arithmetic),
            differ("the number of inputs", &self.inputs.len(), &now.inputs.len()),
            differ("the number of samples of X", &a.n, &b.n),
            differ("the number of samples of Y", &a.m, &b.m),
            differ("the number of features", &a.d, &b.d),
            differ("metric", &a.metric, &b.metric),
            differ("kernel", &a.kernel, &b.kernel),
            differ("dtype", &a.dtype, &b.dtype),
            differ("tile", &a.tile, &b.tile),
        ]
        .into_iter()
        .chain(inputs)
        .flatten()
        .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Dtype;
    use crate::kernel::Method;
    use crate::metric::Metric;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn plan() -> RunPlan {
        let (metric, kernel, dtype) = (Metric::Euclidean, Method::Gemm, Dtype::F32);
        let problem = Problem { n: 10, m: 10, d: 3, metric, kernel, dtype, tile: 4 };
        let id = InputId {
            path: "/x.h5".into(),
            dataset: "/x".into(),
            shape: (10, 3),
            digest: "00ff".into(),
            subtracted: String::new(),
        };
        RunPlan::new(problem, true, false, vec![id], "now".into(), "pairdist compute".into())
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let text = plan().to_json().unwrap();
        assert_eq!(RunPlan::from_json(&text), Ok(plan()));
    }

    #[test]
    fn the_field_that_differs_is_named() {
        let mut other = plan();
        assert_eq!(plan().difference(&other), None);
        other.inputs[0].path = "/moved.h5".into();
        other.command_line = "another".into();
        assert_eq!(plan().difference(&other), None);
        other.inputs[0].digest = "0000".into();
        assert_eq!(plan().difference(&other).unwrap(), "the digest of /moved.h5 was 00ff and is 0000");
        other.inputs[0].subtracted = "150".into();
        assert_eq!(plan().difference(&other).unwrap(), "what is taken off /moved.h5 was 0 and is 150");
        other.problem.metric = Metric::Cityblock;
        assert_eq!(plan().difference(&other).unwrap(), "metric was euclidean and is cityblock");
    }

    #[test]
    fn the_version_of_the_arithmetic_counts_and_that_of_the_program_does_not() {
        let mut other = plan();
        other.pairdist_version = "99.0.0".into();
        assert_eq!(plan().difference(&other), None);
        other.arithmetic += 1;
        let difference = plan().difference(&other).unwrap();
        assert_eq!(
            difference,
            format!("the version of the arithmetic was {ARITHMETIC} and is {}", ARITHMETIC + 1)
        );
    }

    #[test]
    fn a_plan_that_does_not_say_its_arithmetic_has_the_first() {
        let mut fields: serde_json::Value = serde_json::from_str(&plan().to_json().unwrap()).unwrap();
        fields.as_object_mut().unwrap().remove("arithmetic").unwrap();
        assert_eq!(RunPlan::from_json(&fields.to_string()).unwrap().arithmetic, 1);
    }

    #[test]
    fn changed_text_is_refused_or_read_without_a_panic() {
        let text = plan().to_json().unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        for _ in 0..5000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes.insert(at, b'0' + rng.random_range(0..10)),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Ok(plan) = RunPlan::from_json(&String::from_utf8_lossy(&bytes)) {
                assert!(plan.problem.tile > 0 && plan.problem.result_bytes() > 0);
            }
        }
    }
}
