//! The run record, and the summary that people read.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::clock::{PHASES, Phases};
use crate::problem::{Asked, Parameters, Problem};
use crate::schedule::Bands;
use crate::text::{bytes, bytes_f, counted, si};

/// Versions of what computed the result.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Versions {
    pub pairdist: String,
    pub commit: String,
    pub arithmetic: u32,
    pub mpi: String,
    pub hdf5: String,
    pub simd: String,
}

/// What a run record says of an input.
#[derive(Clone, Debug, Serialize)]
pub struct InputRecord {
    /// Path of the file, absolute.
    pub path: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Samples and features.
    pub shape: (usize, usize),
    /// Digest of the samples, in the type that was computed in.
    pub digest: String,
    /// The whole number that was taken off every value before it was rounded.
    pub subtracted: Option<String>,
    /// How the dataset was looked at, if not as it is.
    pub view: Option<String>,
    /// Storage chunks that were never written and were read as the fill value.
    pub missing_chunks: u64,
    /// Smallest finite value that was computed with.
    pub smallest: f64,
    /// Largest finite value that was computed with.
    pub largest: f64,
    /// Values that are NaN.
    pub nan: u64,
    /// Values that are infinite, or were too large for the type that was computed in.
    pub infinite: u64,
    /// Values that the attribute `_FillValue` or `missing_value` calls missing.
    pub marked_missing: u64,
    /// Whole numbers with more digits than the type that was computed in holds.
    pub rounded: u64,
}

/// Files that the summary names.
const SHOWN_FILES: usize = 8;

impl InputRecord {
    fn summary(&self) -> String {
        let (rows, features) = self.shape;
        let mut text = format!("{}:{}, {rows} x {features}", self.path, self.dataset);
        for (count, what) in [
            (self.nan, "NaN"),
            (self.infinite, "infinite"),
            (self.marked_missing, "marked as missing"),
            (self.rounded, "rounded"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {} {what}", counted_values(count));
            }
        }
        if self.missing_chunks > 0 {
            let _ = write!(text, ", {} chunks missing", self.missing_chunks);
        }
        if let Some(view) = &self.view {
            let _ = write!(text, ", {view}");
        }
        if let Some(subtracted) = &self.subtracted {
            let _ = write!(text, ", less {subtracted}");
        }
        text
    }
}

fn counted_values(count: u64) -> String {
    format!("{count} value{}", if count == 1 { "" } else { "s" })
}

/// The run record: everything a scaling study needs, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What was computed.
    pub problem: Problem,
    /// Where not all samples were in memory, into how many bands they were cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
    /// What was made of the distances.
    pub results: Asked,
    /// Whether there was one input.
    pub symmetric: bool,
    /// Exponent of the power of two that the samples were scaled by.
    pub scaling_exponent: i32,
    /// The files of X, and those of Y if there were two inputs.
    pub inputs: Vec<InputRecord>,
    /// What the metric was given beside them.
    #[serde(flatten)]
    pub parameters: Parameters,
    /// MPI ranks.
    pub ranks: usize,
    /// Nodes they ran on.
    pub nodes: usize,
    /// Threads of a rank.
    pub threads_per_rank: usize,
    /// Host of each rank.
    pub hosts: Vec<String>,
    /// Versions of program, libraries and SIMD level.
    pub versions: Versions,
    /// From first read to last write, in seconds.
    pub wall_s: f64,
    /// Where the time went.
    pub phases: Phases,
    /// Entries of the matrix.
    pub pairs: u64,
    /// Of these, those that a run before this one had computed.
    pub resumed_pairs: u64,
    /// Pairs of this run, times d, over the wall time.
    pub pair_features_per_s: f64,
    /// Entries that failed the Gram guard and were computed directly.
    pub recomputed_pairs: u64,
    /// Where missing values are skipped, entries whose samples share no feature, so that they are NaN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs_without_shared_features: Option<u64>,
    /// Bytes of samples read by all ranks.
    pub bytes_read: u64,
    /// Bytes of distances written by all ranks.
    pub bytes_written: u64,
    /// Bytes of samples sent between ranks.
    pub bytes_exchanged: u64,
    /// Bytes of what ranks have found for rows of others.
    pub bytes_mailed: u64,
    /// Largest resident memory of a rank.
    pub peak_rss_bytes: u64,
    /// What `plan` had said it would be.
    pub planned_bytes: u64,
    /// Sum of all distances; its last digits depend on the order of tiles.
    pub sum: f64,
    /// Smallest distance.
    pub min: f64,
    /// Largest distance.
    pub max: f64,
    /// Digest of the matrix: the same for every number of ranks, threads and tiles.
    pub digest: String,
}

/// How many features of its samples a rank has in memory, if these are not all.
pub(crate) fn features_at_a_time(features: Option<usize>, shared: bool) -> String {
    let whose = if shared { ", others on each rank" } else { "" };
    features.map_or(String::new(), |features| format!(", {features} features at a time{whose}"))
}

impl Record {
    /// How the samples were cut, if they were.
    fn shown_bands(&self) -> Option<String> {
        let Bands { rows, features, shared_features, .. } = self.bands?;
        let features = features_at_a_time(features, shared_features);
        Some(format!("{} of samples in memory, one at a time{features}", counted(rows, "band")))
    }

    /// What the summary says of the inputs.
    fn shown_inputs(&self) -> Vec<String> {
        let mut shown: Vec<_> = self.inputs.iter().take(SHOWN_FILES).map(InputRecord::summary).collect();
        if self.inputs.len() > SHOWN_FILES {
            shown.push(format!("and {} more files", self.inputs.len() - SHOWN_FILES));
        }
        shown
    }

    /// The summary for people.
    pub fn summary(&self, output: Option<&Path>) -> String {
        let Problem { n, m, d, method, dtype, tile, .. } = self.problem;
        let metric = self.problem.shown_metric();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        let kind = if self.symmetric { "one input, symmetric" } else { "two inputs" };
        line("problem", format!("{n} x {m} distances, {d} features, {metric}, {dtype}, {method}, {kind}"));
        if let Some(nearest) = self.results.neighbors {
            let first = if nearest.include_self { ", itself first" } else { "" };
            line("neighbors", format!("{} of every sample{first}", nearest.count));
        }
        line(
            "layout",
            format!(
                "{} x {} on {}, tiles of {tile} x {tile}, SIMD {}",
                counted(self.ranks, "rank"),
                counted(self.threads_per_rank, "thread"),
                counted(self.nodes, "node"),
                self.versions.simd
            ),
        );
        self.shown_bands().into_iter().for_each(|bands| line("bands", bands));
        self.shown_inputs().into_iter().for_each(|input| line("input", input));
        for (name, id) in self.parameters.named() {
            line(name, id.from.clone());
        }
        line("wall time", format!("{:.3} s", self.wall_s));
        line("phases", "min / mean / max over ranks, in s".into());
        for (name, spread) in PHASES.iter().zip(self.phases.all()) {
            line(
                &format!("  {name}"),
                format!("{:8.3} {:8.3} {:8.3}", spread.min_s, spread.mean_s, spread.max_s),
            );
        }
        let (what, share, help) = self.phases.bound();
        line("bound by", format!("{what}, {:.0} % of the time; what helps: {help}", 100.0 * share));
        line(
            "rate",
            format!(
                "{} pair-features/s, {} pairs/s",
                si(self.pair_features_per_s),
                si((self.pairs - self.resumed_pairs) as f64 / self.wall_s)
            ),
        );
        if self.resumed_pairs > 0 {
            let share = 100.0 * self.resumed_pairs as f64 / self.pairs as f64;
            line("resumed", format!("{} pairs ({share:.1} %) were there already", self.resumed_pairs));
        }
        let mailed = if self.bytes_mailed > 0 {
            format!(", mailed {}", bytes(self.bytes_mailed))
        } else {
            String::new()
        };
        line(
            "read",
            format!("{}, exchanged {}{mailed}", bytes(self.bytes_read), bytes(self.bytes_exchanged)),
        );
        let written = match output {
            Some(_) => format!(
                "{}, {}/s",
                bytes(self.bytes_written),
                bytes_f(self.bytes_written as f64 / self.wall_s)
            ),
            None => "nothing (--no-output)".into(),
        };
        line("written", written);
        line(
            "memory",
            format!("{} per rank at most, planned {}", bytes(self.peak_rss_bytes), bytes(self.planned_bytes)),
        );
        if self.recomputed_pairs > 0 {
            let share = 100.0 * self.recomputed_pairs as f64 / self.pairs as f64;
            line(
                "recomputed",
                format!("{} pairs ({share:.2} %) lay too close for the Gram trick", self.recomputed_pairs),
            );
        }
        if let Some(without) = self.pairs_without_shared_features.filter(|without| *without > 0) {
            let share = 100.0 * without as f64 / self.pairs as f64;
            line(
                "missing",
                format!("{without} pairs ({share:.2} %) share no feature, so their distances are NaN"),
            );
        }
        if self.scaling_exponent != 0 {
            let factor = format!("2^{}", self.scaling_exponent);
            line(
                "scaled",
                format!("samples were scaled by {factor} so that their powers neither overflow nor vanish"),
            );
        }
        line("distances", format!("sum {:.12e}, min {:e}, max {:e}", self.sum, self.min, self.max));
        line("digest", self.digest.clone());
        if let Some(output) = output {
            line("result", output.display().to_string());
        }
        text
    }
}
