//! What a run has come to: its record, its summary, and what they give reason to warn of.

use super::blocks::Findings;
use super::job::Job;
use crate::comm::{Comm, Reduce};
use crate::element::{Dtype, StoreType};
use crate::error::Result;
use crate::host;
use crate::kernel::ARITHMETIC;
use crate::metric::{Measure, Metric};
use crate::number::Number;
use crate::pipeline::Totals;
use crate::plan::Memory;
use crate::problem::{Asked, Problem, Provenance};
use crate::report::file;
use crate::report::{Clock, Phases, Record, Versions, print};
use crate::schedule::Bands;
use crate::sink::Finished;
use crate::text::counted;

/// What a rank knows at the end.
pub(super) struct Outcome {
    pub(super) findings: Findings,
    pub(super) totals: Totals,
    /// Pairs that an earlier run had computed.
    pub(super) resumed_pairs: u64,
    pub(super) finished: Finished,
    pub(super) planned: Memory,
    pub(super) clock: Clock,
}

/// Gathers what all ranks have seen, writes the run record and prints the summary. Collective.
pub(super) fn tell<T: Number>(comm: &Comm, job: &Job<'_>, outcome: &Outcome) -> Result<()> {
    let record = gather(comm, job, outcome);
    let args = job.args;
    let Finished { overflows, short_rows, .. } = outcome.finished;
    let found = comm.all_reduce(&[u64::from(overflows), short_rows], Reduce::Sum);
    comm.on_root(|| {
        warn_of_results(job.results.asked, record.max, found[0] > 0, found[1]);
        warn_of_range::<T>(&record, &outcome.findings.measure, args.allow_nonfinite);
        warn_of_nan(&record);
        warn_of_unshared(&record);
        if record.recomputed_pairs > record.pairs / 2 {
            log::warn!(
                "{} of {} pairs lay too close for the Gram trick and were computed from differences; --kernel direct spares the attempt",
                record.recomputed_pairs,
                record.pairs
            );
        }
        if let Some(path) = &args.json {
            // the result is there, whatever becomes of its record
            let hint = |text| match &args.output {
                Some(output) => format!("{text}; the result, {}, is complete", output.display()),
                None => text,
            };
            file::write(path, file::RecordKind::Run, &record).map_err(|error| error.map(hint))?;
        }
        // the result is there, and what it took is in its record
        if let Err(error) = print(&record.summary(args.output.as_deref())) {
            log::warn!("the summary is lost: {error}");
        }
        Ok(())
    })
}

/// The run record. Collective.
fn gather(comm: &Comm, job: &Job<'_>, outcome: &Outcome) -> Record {
    let Outcome { findings, totals, resumed_pairs, planned, clock, .. } = outcome;
    let (problem, nodes, summary) = (&job.problem, &job.cores.nodes, &totals.summary);
    let counts = [
        totals.noted,
        totals.bytes_written,
        totals.bytes_sent,
        totals.digest,
        *resumed_pairs,
        totals.bytes_mailed,
        totals.bytes_read,
    ];
    let counts = comm.all_reduce(&counts, Reduce::Sum);
    let wall_s = comm.all_reduce(&[clock.wall_s()], Reduce::Max)[0];
    let pairs = problem.pairs();
    Record {
        problem: *problem,
        bands: Some(job.schedule.bands).filter(|bands| *bands != Bands::NONE),
        results: job.results.asked,
        symmetric: job.schedule.grid.symmetric,
        scaling_exponent: findings.scaling,
        inputs: findings.known.record(&job.inputs),
        parameters: findings.given.ids(),
        ranks: comm.size(),
        nodes: nodes.count,
        threads_per_rank: job.cores.threads,
        hosts: nodes.hosts.clone(),
        versions: versions(job, job.provenance(comm.size())),
        wall_s,
        phases: Phases::gather(clock, comm),
        pairs,
        resumed_pairs: counts[4],
        pair_features_per_s: (pairs - counts[4]) as f64 * problem.d as f64 / wall_s,
        recomputed_pairs: if problem.skip_missing { 0 } else { counts[0] },
        pairs_without_shared_features: problem.skip_missing.then_some(counts[0]),
        bytes_read: findings.known.bytes() + counts[6],
        bytes_written: counts[1],
        bytes_exchanged: counts[2],
        bytes_mailed: counts[5],
        peak_rss_bytes: comm.all_reduce(&[host::peak_rss_bytes()], Reduce::Max)[0],
        planned_bytes: planned.total(),
        sum: comm.all_reduce(&[summary.sum], Reduce::Sum)[0],
        min: comm.all_reduce(&[summary.min], Reduce::Min)[0],
        max: comm.all_reduce(&[summary.max], Reduce::Max)[0],
        digest: format!("{:016x}", counts[3]),
    }
}

fn versions(job: &Job<'_>, made: Provenance) -> Versions {
    Versions {
        pairdist: made.pairdist_version,
        commit: made.pairdist_commit,
        arithmetic: ARITHMETIC,
        mpi: made.mpi_version,
        hdf5: made.hdf5_version,
        simd: job.level.name().into(),
    }
}

/// Says so if the results lack something that was computed, or asked for; `largest` is the largest distance.
fn warn_of_results(asked: Asked, largest: f64, overflows: bool, short_rows: u64) {
    // what lies within a radius is never stored in 16 bits
    let has_others = asked.matrix || asked.condensed || asked.neighbors.is_some();
    let wide = asked.store.map(|store| if has_others { store } else { store.max(StoreType::F32) });
    if let Some(store) = wide.filter(|store| largest > 0.0 && largest < store.smallest_normal()) {
        log::warn!(
            "all distances are below {:e}, of which --store {} keeps few digits, or none; choose a wider type, or scale the samples",
            store.smallest_normal(),
            store.name()
        );
    }
    if let Some(store) = wide.filter(|_| overflows) {
        log::warn!(
            "some distances are stored as infinities: from {:e} on they are too large for --store {}; choose a wider type, or scale the samples",
            store.overflow(),
            store.name()
        );
    }
    if let Some(nearest) = asked.neighbors.filter(|_| short_rows > 0) {
        log::warn!(
            "{} had fewer than {} distances that are numbers: in their rows, index -1 and distance infinity stand for no neighbour",
            counted(usize::try_from(short_rows).unwrap_or(usize::MAX), "sample"),
            nearest.count
        );
    }
}

/// Says so if distances of numbers are none.
fn warn_of_nan(record: &Record) {
    let are_numbers = record.inputs.iter().all(|input| input.nan == 0 && input.infinite == 0);
    if record.sum.is_nan() && are_numbers {
        let why = match record.problem.metric {
            Metric::Cosine => "a row of zeros has no direction",
            Metric::Correlation => "a row whose features are all equal has no correlation",
            Metric::Braycurtis => "for some pairs both parts of the quotient are 0, as for two rows of zeros",
            Metric::Dice | Metric::Sokalsneath => "two samples in which nothing is true have no distance",
            // no others are NaN of numbers
            _ => return,
        };
        log::warn!("some distances are NaN: {why}; leave such samples out if that is no use");
    }
}

/// Says so if samples share no feature.
fn warn_of_unshared(record: &Record) {
    if let Some(without) = record.pairs_without_shared_features.filter(|without| *without > 0) {
        log::warn!(
            "{without} of {} distances are NaN: these pairs of samples have no feature with a value in both{}; leave out samples with few values, or pass over these pairs",
            record.pairs,
            if record.problem.weighted { " and a weight above 0" } else { "" }
        );
    }
}

/// Says so if the type is too small for some distances, or for all.
fn warn_of_range<T: Number>(record: &Record, measure: &Measure, allow_nonfinite: bool) {
    let Problem { metric, dtype, .. } = record.problem;
    let mut ways_out = Vec::new();
    if metric == Metric::Sqeuclidean {
        ways_out.push("use --metric euclidean");
    }
    // a root of a small order is far larger than its samples
    if record.problem.p.is_some_and(|p| p.get() < 1.0) {
        ways_out.push("use a larger --p");
    }
    if dtype == Dtype::F32 {
        ways_out.push("use --dtype f64");
    }
    let has_weights = measure.has_weighted_terms();
    ways_out.push(match metric {
        Metric::Seuclidean => "scale the samples or the variances",
        _ if has_weights => "scale the samples or the weights",
        _ => "scale the samples",
    });
    let ways_out = ways_out.join(", or ");
    if metric == Metric::Jensenshannon && record.max == f64::INFINITY {
        log::warn!(
            "some distances are infinite: a sample with a negative value, or of zeros alone, is no distribution; leave such samples out if that is no use"
        );
    }
    // that of a quotient says that its divisor is 0
    let degree = measure.degree();
    if record.max == f64::INFINITY && !allow_nonfinite && degree > 0 {
        log::warn!("some distances are infinite: they are too large for {dtype}; {ways_out}");
    }
    let may_lose_digits = degree > 1 || has_weights;
    if measure.undo_exponent(record.scaling_exponent) < 0
        && may_lose_digits
        && record.max < T::SMALLEST_NORMAL
    {
        log::warn!(
            "all distances have lost digits, or are 0: the largest, {:e}, is below the normal numbers of {dtype}; {ways_out}",
            record.max
        );
    }
}
