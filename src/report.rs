//! What a run tells: log lines, progress, the summary at its end, the run record.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::comm::{Comm, Reduce};
use crate::error::{Context, Result};
use crate::problem::Problem;

/// Starts the log on standard error: rank 0 from level info, the others from warn, or as `RUST_LOG` says.
pub fn start_log(rank: usize, size: usize) {
    let level = if rank == 0 { "info" } else { "warn" };
    let prefix = if size > 1 { format!("[rank {rank}] ") } else { String::new() };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(move |out, record| {
            let time = out.timestamp_seconds();
            writeln!(out, "{time} {:5} {prefix}{}", record.level(), record.args())
        })
        .init();
}

/// What the main thread of a rank spends its time on. The phases partition the wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading and packing samples.
    Read,
    /// Waiting for a block with no tile left to compute.
    Exchange,
    /// Waiting for a tile to be computed.
    Compute,
    /// Writing tiles.
    Write,
    /// Forcing data to the disk and publishing the result.
    Sync,
    /// Waiting for slower ranks.
    Wait,
}

const PHASES: [&str; 6] = ["read", "exchange", "compute", "write", "sync", "wait"];

/// A stopwatch that books all time to phases.
pub struct Clock {
    start: Instant,
    last: Instant,
    spent: [Duration; PHASES.len()],
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, spent: Default::default() }
    }

    /// Books the time since the last lap to `phase`.
    pub fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent[phase as usize] += now - self.last;
        self.last = now;
    }

    /// Seconds from the start to the last lap.
    pub fn wall_s(&self) -> f64 {
        (self.last - self.start).as_secs_f64()
    }

    fn seconds(&self) -> [f64; PHASES.len()] {
        self.spent.map(|spent| spent.as_secs_f64())
    }
}

/// Shows how far rank 0 is: a bar on a terminal, else a log line now and then.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    start: Instant,
    next_line: Duration,
    log: bool,
}

impl Progress {
    /// For `total` tiles to be computed on this rank.
    pub fn start(total: usize, is_root: bool) -> Self {
        let on_terminal = is_root && std::io::stderr().is_terminal();
        let style = "{percent:>3} % {wide_bar} {elapsed} spent, {eta} left";
        let bar = on_terminal.then(|| {
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style)
        });
        Self {
            bar,
            total,
            start: Instant::now(),
            next_line: Duration::from_secs(5),
            log: is_root && !on_terminal,
        }
    }

    /// `tiles` are done, with so many pairs.
    pub fn advance(&mut self, tiles: usize, pairs: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(tiles as u64);
        }
        let elapsed = self.start.elapsed();
        if self.log && elapsed >= self.next_line {
            // lines grow rarer: 5 s, 10 s, 20 s, ... at most 10 minutes apart
            self.next_line = elapsed + elapsed.clamp(Duration::from_secs(5), Duration::from_secs(600));
            let done = tiles as f64 / self.total as f64;
            let left = elapsed.mul_f64((1.0 - done) / done).as_secs();
            log::info!(
                "{:.0} % of the tiles of rank 0 done, {} pairs/s, about {} left",
                100.0 * done,
                si(pairs as f64 / elapsed.as_secs_f64()),
                humantime::format_duration(Duration::from_secs(left + 1)),
            );
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds over the ranks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Fastest rank.
    pub min_s: f64,
    /// Mean over ranks.
    pub mean_s: f64,
    /// Slowest rank.
    pub max_s: f64,
}

/// Time of each [`Phase`] over the ranks.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the phases say it")]
pub struct Phases {
    pub read: Spread,
    pub exchange: Spread,
    pub compute: Spread,
    pub write: Spread,
    pub sync: Spread,
    pub wait: Spread,
}

impl Phases {
    /// Gathers the ranks' clocks. Collective.
    pub fn gather(clock: &Clock, comm: &Comm) -> Self {
        let mine = clock.seconds();
        let [min, sum, max] =
            [Reduce::Min, Reduce::Sum, Reduce::Max].map(|reduce| comm.all_reduce(&mine, reduce));
        let spread = |phase: Phase| {
            let at = phase as usize;
            Spread { min_s: min[at], mean_s: sum[at] / comm.size() as f64, max_s: max[at] }
        };
        Self {
            read: spread(Phase::Read),
            exchange: spread(Phase::Exchange),
            compute: spread(Phase::Compute),
            write: spread(Phase::Write),
            sync: spread(Phase::Sync),
            wait: spread(Phase::Wait),
        }
    }

    /// What took most of the ranks' time, its share of it, and what helps.
    fn bound(&self) -> (&'static str, f64, &'static str) {
        let total: f64 = self.all().iter().map(|spread| spread.mean_s).sum();
        let parts = [
            ("computing", &[self.compute] as &[Spread], "more ranks or threads, on cores of their own"),
            (
                "writing",
                &[self.write, self.sync],
                "a faster or striped file system, more nodes, or --dtype f32, if 7 digits are enough",
            ),
            (
                "reading",
                &[self.read],
                "samples that are not compressed, or in chunks of whole rows, or more ranks",
            ),
            ("the network", &[self.exchange], "fewer ranks with more threads each"),
            ("waiting for slower ranks", &[self.wait], "nodes and ranks that are alike, or a smaller --tile"),
        ]
        .map(|(name, phases, help)| (name, phases.iter().map(|spread| spread.mean_s).sum::<f64>(), help));
        let (name, most, help) = parts.into_iter().fold(("", -1.0, ""), |a, b| if b.1 > a.1 { b } else { a });
        (name, most / total, help)
    }

    fn all(&self) -> [Spread; PHASES.len()] {
        [self.read, self.exchange, self.compute, self.write, self.sync, self.wait]
    }
}

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
    /// Whether there was one input.
    pub symmetric: bool,
    /// Exponent of the power of two that the samples were scaled by.
    pub scaling_exponent: i32,
    /// X, and Y if there were two.
    pub inputs: Vec<InputRecord>,
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
    /// Bytes of samples read by all ranks.
    pub bytes_read: u64,
    /// Bytes of distances written by all ranks.
    pub bytes_written: u64,
    /// Bytes of samples sent between ranks.
    pub bytes_exchanged: u64,
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

impl Record {
    /// The summary for people.
    pub fn summary(&self, output: Option<&Path>) -> String {
        let Problem { n, m, d, metric, method, dtype, tile } = self.problem;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        let kind = if self.symmetric { "one input, symmetric" } else { "two inputs" };
        line("problem", format!("{n} x {m} distances, {d} features, {metric}, {dtype}, {method}, {kind}"));
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
        for input in &self.inputs {
            line("input", input.summary());
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
        line("read", format!("{}, exchanged {}", bytes(self.bytes_read), bytes(self.bytes_exchanged)));
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
        if self.scaling_exponent != 0 {
            let factor = format!("2^{}", self.scaling_exponent);
            line(
                "scaled",
                format!("samples were scaled by {factor} so that their squares neither overflow nor vanish"),
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

/// Writes text to standard output.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // a reader that has seen enough is no failure
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context(|| "standard output cannot be written".into()),
    }
}

/// A number with an SI prefix, three digits.
pub fn si(value: f64) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.iter().find(|(scale, _)| value >= *scale) {
        Some((scale, prefix)) => format!("{:.2} {prefix}", value / scale),
        None => format!("{value:.2} "),
    }
}

/// So many of a thing: 1 rank, 2 ranks.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes, in powers of 1000.
pub fn bytes(count: u64) -> String {
    bytes_f(count as f64)
}

fn bytes_f(count: f64) -> String {
    format!("{}B", si(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_a_prefix() {
        assert_eq!(si(27.6e9), "27.60 G");
        assert_eq!(bytes(999), "999.00 B");
        assert_eq!([counted(1, "rank"), counted(0, "rank")], ["1 rank", "0 ranks"]);
        assert_eq!(bytes(1_152_000_000), "1.15 GB");
    }

    #[test]
    fn what_took_most_of_the_time_bounds_the_run() {
        let phases = |seconds: [f64; PHASES.len()]| {
            let [read, exchange, compute, write, sync, wait] =
                seconds.map(|mean_s| Spread { min_s: 0.0, mean_s, max_s: 9.0 });
            Phases { read, exchange, compute, write, sync, wait }
        };
        for (seconds, what) in [
            ([4.0, 1.0, 2.0, 1.0, 1.0, 1.0], "reading"),
            ([1.0, 4.0, 2.0, 1.0, 1.0, 1.0], "the network"),
            ([1.0, 2.0, 4.0, 1.0, 1.0, 1.0], "computing"),
            ([1.0, 0.0, 3.0, 2.0, 2.0, 2.0], "writing"),
            ([1.0, 1.0, 2.0, 1.0, 1.0, 4.0], "waiting for slower ranks"),
        ] {
            let (bound, share, _) = phases(seconds).bound();
            assert_eq!((bound, share), (what, 0.4), "{seconds:?}");
        }
    }

    #[test]
    fn laps_partition_the_wall_time() {
        let mut clock = Clock::start();
        for phase in [Phase::Read, Phase::Compute, Phase::Read, Phase::Wait] {
            std::thread::sleep(Duration::from_millis(2));
            clock.lap(phase);
        }
        assert!((clock.seconds().iter().sum::<f64>() - clock.wall_s()).abs() < 1e-9);
    }
}
