//! From the command line to a problem: types and tiles chosen, and who computes what.

use std::time::Duration;

use super::inputs::Shape;
use super::parameters::Given;
use crate::cli::ProblemArgs;
use crate::comm::{Comm, Reduce};
use crate::element::{Dtype, Element, StoreType};
use crate::error::{Error, Result};
use crate::fail;
use crate::io::MAX_WRITE_BYTES;
use crate::kernel::Level;
use crate::metric::{Measure, Metric, Order, Parameter};
use crate::partition::choose_edge;
use crate::problem::{Asked, Nearest, Problem, Radius, Within};
use crate::schedule::Schedule;
use crate::stop;
use crate::text::counted;

/// The problem on so many ranks, which have so many threads together, with what the command line leaves open chosen.
pub(super) fn problem(args: &ProblemArgs, shape: &Shape, ranks: usize, threads: usize) -> Result<Problem> {
    let Shape { n, m, d, dtype, content, is_of_file, .. } = *shape;
    let metric = args.metric;
    // its samples are multiplied by a matrix first, which f32 has too few digits for
    let is_whitened = metric.form().is_whitened();
    if is_whitened && args.dtype.is_some_and(|dtype| Dtype::from(dtype) == Dtype::F32) {
        return Err(Error::Usage(format!(
            "--dtype f32: {metric} is computed in f64; leave the option out, and use --store f32 to store distances in it"
        )));
    }
    let samples = if args.against.is_empty() { n } else { n.saturating_add(m) };
    if is_whitened && args.inverse_covariance.is_none() && samples <= d {
        fail!(
            "the covariance of {} in {} is singular: {metric} needs {} at least; use more samples, or give an inverse covariance with --inverse-covariance",
            counted(d, "feature"),
            counted(samples, "sample"),
            d.saturating_add(1)
        );
    }
    let dtype = if is_whitened { Dtype::F64 } else { args.dtype.map_or(dtype, Dtype::from) };
    if let Some(features) = args.features
        && !args.packed
        && is_of_file
    {
        return Err(Error::Usage(format!(
            "--features {features}: all features of the samples are taken; leave the option out, or use --packed for samples that are packed bits"
        )));
    }
    let takes_order = metric.takes().contains(&Parameter::Order);
    if args.p.is_some() && !takes_order {
        return Err(Error::Usage(format!(
            "--p: {metric} has no order; leave the option out, or use --metric minkowski"
        )));
    }
    let p = takes_order.then(|| args.p.unwrap_or(Order::TWO));
    if let Some(p) = p
        && !p.fits(dtype)
    {
        return Err(Error::Usage(format!(
            "--p {p}: powers of differences would leave the range of {dtype}; use --dtype f64"
        )));
    }
    Given::check(args)?;
    check_missing(args)?;
    let weighted = args.weights.is_some() || metric.takes().contains(&Parameter::Variance);
    let (skip_missing, measure) = (args.skip_missing, measure(args));
    let Some(method) = args.kernel.method(&measure, d, content) else {
        let weighted = args.with_options();
        return Err(Error::Usage(format!(
            "--kernel gemm: {metric}{weighted} has no form as a matrix product; use auto or direct"
        )));
    };
    let size = args.store.map_or(0, |store| StoreType::from(store).size()).max(dtype.size());
    let is_countable = |rows: usize, columns: usize, size: usize| {
        rows.checked_mul(columns).is_some_and(|values| values.checked_mul(size).is_some())
    };
    let has_matrix = args.matrix || args.neighbors.is_none() && args.radius.is_none() && !args.condensed;
    if !is_countable(n, m, if has_matrix { size } else { 1 }) {
        fail!("{n} x {m} distances have more bytes than 64 bits can count; use fewer samples");
    }
    if !is_countable(n.max(m), d, size) {
        fail!(
            "{} samples of {d} features have more bytes than 64 bits can count; use fewer features or samples",
            n.max(m)
        );
    }
    let tile = match args.tile {
        Some(tile) => tile.min(n.max(m)),
        None => choose_edge(n, m, ranks, threads, dtype.size()),
    };
    // of what lies within a radius, columns too, and others are sent
    let entry = if args.radius.is_some() { size + size_of::<u32>() } else { size };
    let tile_bytes = tile.min(n) as u128 * tile.min(m) as u128 * entry as u128;
    if tile_bytes > MAX_WRITE_BYTES as u128 {
        return Err(Error::Usage(format!(
            "--tile {tile}: a tile would have {tile_bytes} bytes, the limit is {MAX_WRITE_BYTES}; choose a smaller one"
        )));
    }
    Ok(Problem { n, m, d, metric, p, weighted, skip_missing, method, dtype, tile })
}

/// The metric with its options, whatever its weights are.
pub(super) fn measure(args: &ProblemArgs) -> Measure {
    let takes_order = args.metric.takes().contains(&Parameter::Order);
    let p = takes_order.then(|| args.p.unwrap_or(Order::TWO));
    let weighted = args.weights.is_some() || args.metric.takes().contains(&Parameter::Variance);
    Measure::of_any_weights(args.metric, p, weighted).skipping_missing(args.skip_missing)
}

/// Refuses to skip missing values where the metric cannot.
fn check_missing(args: &ProblemArgs) -> Result<()> {
    if !args.skip_missing || args.metric.can_skip_missing() {
        return Ok(());
    }
    let that_can = Metric::ALL.iter().filter(|metric| metric.can_skip_missing());
    let names: Vec<_> = that_can.map(|metric| metric.name()).collect();
    Err(Error::Usage(format!(
        "--skip-missing: {} cannot skip missing values; leave the option out, or use one of the metrics that can: {}",
        args.metric,
        names.join(", ")
    )))
}

/// The results that the command line asks for: the matrix unless it names others.
pub(super) fn asked(args: &ProblemArgs, problem: &Problem, symmetric: bool) -> Result<Asked> {
    let neighbors = args.neighbors.map(|count| Nearest { count, include_self: args.include_self });
    let include_self = args.include_self;
    if include_self && !symmetric {
        return Err(Error::Usage(
            "--include-self: no sample of X is one of Y; leave the option out, or --against".into(),
        ));
    }
    if include_self && neighbors.is_none() && args.radius.is_none() {
        return Err(Error::Usage(
            "--include-self: it goes with --neighbors or --radius; add one of them, or leave it out".into(),
        ));
    }
    if let Some(Nearest { count, .. }) = neighbors {
        let others = problem.m - usize::from(symmetric && !include_self);
        if count > others {
            let among = if symmetric && include_self { "with itself has" } else { "has" };
            let way_out = match others {
                0 => "there is one sample only, which has none but itself (--include-self)".into(),
                _ => format!("ask for {others} or fewer"),
            };
            let others = counted(others, "neighbour");
            return Err(Error::Usage(format!("--neighbors {count}: a sample {among} {others}; {way_out}")));
        }
    }
    if args.condensed && !symmetric {
        return Err(Error::Usage(
            "--condensed: with two inputs the matrix has no upper triangle that stands for all of it; leave the option out, or --against".into(),
        ));
    }
    let store = args.store.map(StoreType::from).filter(|store| *store != problem.dtype.into());
    let condensed = args.condensed;
    let rounded = |radius| match problem.dtype {
        Dtype::F32 => f32::from_f64(radius).to_f64(),
        Dtype::F64 => radius,
    };
    let within = args.radius.and_then(|radius| Radius::new(rounded(radius)));
    let within = within.map(|radius| Within { radius, include_self });
    let matrix = args.matrix || neighbors.is_none() && within.is_none() && !condensed;
    Ok(Asked { matrix, condensed, neighbors, within, store })
}

/// Who computes which tiles.
pub(super) fn schedule(problem: &Problem, ranks: usize, symmetric: bool) -> Schedule {
    Schedule::new(problem.grid(symmetric), ranks)
}

/// The best SIMD level that every rank has.
pub(super) fn common_level(comm: &Comm) -> Result<Level> {
    let level = comm.agree(Level::detect().map_err(Error::Usage))?;
    let place = Level::ALL.iter().position(|other| *other == level).unwrap_or(0);
    let worst = comm.all_reduce(&[place as u64], Reduce::Max)[0];
    Ok(Level::ALL.iter().copied().nth(usize::try_from(worst).unwrap_or(0)).unwrap_or(level))
}

/// Time to compute, the same on all ranks: the limit asked for, or the end of the Slurm job. Collective.
pub(super) fn time_left(comm: &Comm, limit: Option<Duration>) -> Option<(Duration, &'static str)> {
    if comm.is_root() && stop::job_has_ended() {
        let name = stop::JOB_END;
        log::warn!(
            "{name}={} has passed, so it is ignored: this shell belongs to a job that has ended",
            std::env::var(name).unwrap_or_default()
        );
    }
    let mine = stop::time_left(limit);
    let seconds = mine.map_or(f64::INFINITY, |(left, _)| left.as_secs_f64());
    let left = Duration::try_from_secs_f64(comm.all_reduce(&[seconds], Reduce::Min)[0]).ok()?;
    Some((left, mine.map_or("the limit of another rank", |(_, name)| name)))
}

/// Calls a generic function with the element type that a [`Dtype`] names.
macro_rules! with_dtype {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            $crate::element::Dtype::F32 => $function::<f32>($($argument),*),
            $crate::element::Dtype::F64 => $function::<f64>($($argument),*),
        }
    };
}
pub(super) use with_dtype;
