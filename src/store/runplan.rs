//! The plan of a run, as it lies in its working folder: what a run that resumes it must agree with.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::problem::{Identity, Problem, Provenance};

/// What a run has set out to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// What it computes.
    #[serde(flatten)]
    pub identity: Identity,
    /// Begun with --force: an older result is to be replaced.
    pub replaces: bool,
    /// How it was begun.
    #[serde(flatten)]
    pub provenance: Provenance,
}

impl RunPlan {
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
        let Problem { n, m, d, dtype, tile, .. } = plan.identity.problem;
        let has_bytes = n.checked_mul(m).is_some_and(|pairs| pairs.checked_mul(dtype.size()).is_some());
        if [n, m, d, tile].contains(&0) || !has_bytes || plan.identity.inputs.is_empty() {
            return Err("its sizes are impossible".into());
        }
        Ok(plan)
    }

    /// The number of the run with this text as its plan: journals carry it.
    pub fn run(text: &str) -> u64 {
        xxh3_64(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Asked, InputId, Parameters};
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn plan() -> RunPlan {
        let problem = Problem::example();
        let id = InputId {
            path: "/x.h5".into(),
            dataset: "/x".into(),
            shape: (10, 3),
            digest: "00ff".into(),
            view: String::new(),
            subtracted: String::new(),
        };
        let provenance = Provenance {
            created: "now".into(),
            command_line: "pairdist compute".into(),
            pairdist_version: "1.2.3".into(),
            pairdist_commit: "abc".into(),
            ranks: 2,
            threads: 3,
            mpi_version: "an MPI".into(),
            hdf5_version: "1.10.8".into(),
        };
        RunPlan {
            identity: Identity::new(
                problem,
                Asked::MATRIX,
                (vec![id], true),
                [None, None],
                Parameters::default(),
            ),
            replaces: false,
            provenance,
        }
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let text = plan().to_json().unwrap();
        assert_eq!(RunPlan::from_json(&text), Ok(plan()));
    }

    #[test]
    fn a_plan_of_an_earlier_version_is_read() {
        let mut fields: serde_json::Value = serde_json::from_str(&plan().to_json().unwrap()).unwrap();
        for name in ["arithmetic", "pairdist_commit", "ranks", "threads", "mpi_version", "hdf5_version"] {
            fields.as_object_mut().unwrap().remove(name).unwrap();
        }
        let read = RunPlan::from_json(&fields.to_string()).unwrap();
        assert_eq!(read.identity.arithmetic, 1);
        assert_eq!(read.identity.inputs, plan().identity.inputs);
        assert_eq!((read.provenance.pairdist_commit.as_str(), read.provenance.ranks), ("unknown", 0));
        for name in ["created", "command_line", "pairdist_version", "symmetric", "problem"] {
            let mut fields = fields.clone();
            fields.as_object_mut().unwrap().remove(name).unwrap();
            assert!(RunPlan::from_json(&fields.to_string()).unwrap_err().contains(name));
        }
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
                assert!(plan.identity.problem.tile > 0 && plan.identity.problem.result_bytes() > 0);
            }
        }
    }
}
