//! `plan`: what a run will take.

use std::fmt::Write as _;

use super::setup::{self, Inputs, Shape, with_dtype};
use crate::cli::PlanArgs;
use crate::comm::MAX_RANKS;
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Level};
use crate::pipeline::Number;
use crate::plan::Memory;
use crate::problem::Problem;
use crate::report::{bytes, print};

pub(super) fn plan(args: &PlanArgs) -> Result<()> {
    if args.ranks > MAX_RANKS {
        return Err(Error::Usage(format!("--ranks {}: MPI has at most {MAX_RANKS}", args.ranks)));
    }
    let (shape, symmetric) = shape(args)?;
    let problem = setup::problem(&args.problem, shape, args.ranks)?;
    with_dtype!(problem.dtype, show(args, problem, symmetric, shape.chunk_rows))
}

fn shape(args: &PlanArgs) -> Result<(Shape, bool)> {
    if let Some(path) = &args.input {
        let inputs = Inputs::open(path, &args.problem)?;
        return Ok((inputs.shape(), inputs.y.is_none()));
    }
    let (Some(n), Some(d)) = (args.samples, args.features) else {
        return Err(Error::Usage("name a file with samples, or give --samples and --features".into()));
    };
    let y = setup::open_against(&args.problem)?;
    if let Some(y) = &y
        && y.features != d
    {
        return Err(Error::Usage(format!("--features {d}: {} has {} features", y.describe(), y.features)));
    }
    let (m, chunk_rows) = y.as_ref().map_or((n, 1), |y| (y.rows, y.chunk_rows()));
    Ok((Shape { n, m, d, dtype: Dtype::F64, chunk_rows }, y.is_none()))
}

fn show<T: Number>(args: &PlanArgs, problem: Problem, symmetric: bool, chunk_rows: usize) -> Result<()> {
    let mut out = String::new();
    let level = Level::detect().map_err(Error::Usage)?;
    let schedule = setup::schedule(&problem, args.ranks, symmetric);
    let kernel = Kernel::<T>::new(problem.metric, problem.kernel, problem.d, level);
    let memory = Memory::of(&schedule, &kernel, chunk_rows, args.threads, true);
    let counts = || (0..args.ranks).map(|rank| schedule.tile_count(rank));
    let (total, most) = (counts().sum::<usize>(), counts().max().unwrap_or(0));
    let Problem { n, m, d, metric, kernel: method, dtype, tile } = problem;
    let (grid, ranks, threads) = (schedule.grid, args.ranks, args.threads);
    let mean = total as f64 / ranks as f64;
    let panels = kernel.col_panels();
    let block = [schedule.tile_cols(0).len(), panels.count(tile), panels.len(), size_of::<T>()];
    let moved = [schedule.rounds() - 1, ranks].into_iter().chain(block).fold(1, usize::saturating_mul) as u64;
    let _ = writeln!(out, "problem      {n} x {m} distances, {d} features, {metric}, {dtype}, {method}");
    let _ = writeln!(
        out,
        "tiles        {} x {} of {tile} x {tile}, {total} computed",
        grid.tile_rows(),
        grid.tile_cols()
    );
    let _ = writeln!(out, "ranks        {ranks} x {threads} threads, {} rounds", schedule.rounds());
    let _ = writeln!(out, "balance      {most} tiles on the busiest rank, {mean:.1} on average");
    let _ = writeln!(out, "result       {}", bytes(problem.result_bytes()));
    let _ = writeln!(
        out,
        "read         {}",
        bytes(
            (n as u64 + if symmetric { 0 } else { m as u64 })
                .saturating_mul(d as u64)
                .saturating_mul(dtype.size() as u64)
        )
    );
    let _ = writeln!(out, "exchanged    {}", bytes(moved));
    let _ = writeln!(out, "memory       {} per rank", bytes(memory.total()));
    let _ = writeln!(out, "  own rows   {}", bytes(memory.rows));
    let _ = writeln!(out, "  moving     {}", bytes(memory.cols));
    let _ = writeln!(out, "  tiles      {}", bytes(memory.buffers));
    let _ = writeln!(out, "  program    {}", bytes(memory.base));
    print(&out)
}
