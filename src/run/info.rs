//! `info`: what a file holds.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::unfinished::{Restored, Run};
use crate::cli::InfoArgs;
use crate::error::{Error, Result};
use crate::host;
use crate::io::result::is_result;
use crate::problem::Problem;
use crate::report::print;
use crate::sink;
use crate::source::{Samples, View};
use crate::store::journal::{self, Journalled};
use crate::store::runplan::RunPlan;
use crate::store::workdir::{Existing, Workdir};
use crate::text::counted;

pub(super) fn info(args: &InfoArgs) -> Result<()> {
    // the folder of an unfinished run stands for its result
    let is_unfinished = args.file.is_dir() && args.file.extension().is_some_and(|end| end == "partial");
    let file = if is_unfinished { args.file.with_extension("") } else { args.file.clone() };
    let workdir = Workdir::of(&file, Existing::Refuse);
    if (is_unfinished || !file.exists())
        && let Some(text) = workdir.plan_of_ours()?
    {
        return unfinished(&workdir, &text);
    }
    if !is_result(&file)? {
        return samples(&file, args.dataset.as_deref());
    }
    if args.dataset.is_some() {
        return Err(Error::Usage(format!(
            "--dataset: {} is a result, not a file of samples",
            file.display()
        )));
    }
    result(&file)
}

/// What a result says of itself.
fn result(path: &Path) -> Result<()> {
    let mut out = String::new();
    let reader = sink::open(path)?;
    let header = &reader.header;
    let (grid, problem, made) = (header.grid(), header.identity.problem, &header.provenance);
    let _ = writeln!(out, "file         {}", path.display());
    let _ = writeln!(
        out,
        "state        {}",
        if reader.complete { "complete" } else { "not finished: its values are not to be used" }
    );
    for (name, text) in sink::shown(&reader) {
        let _ = writeln!(out, "{name:<12} {text}");
    }
    let _ = writeln!(out, "metric       {}, {} kernel", problem.metric, problem.method);
    let _ =
        writeln!(out, "symmetric    {}", if grid.symmetric { "yes (one input)" } else { "no (two inputs)" });
    let _ = writeln!(
        out,
        "tiles        {} x {} of {} x {}",
        grid.tile_rows(),
        grid.tile_cols(),
        grid.edge,
        grid.edge
    );
    if header.scaling_exponent != 0 {
        let _ = writeln!(out, "scaled       the samples, by 2^{}, while computing", header.scaling_exponent);
    }
    for input in &header.identity.inputs {
        let (rows, features) = input.shape;
        let _ = writeln!(
            out,
            "input        {}:{}, {rows} x {features}{}, digest {}",
            input.path,
            input.dataset,
            Some(&input.view)
                .filter(|view| !view.is_empty())
                .map_or(String::new(), |view| format!(" ({view})")),
            input.digest
        );
    }
    let _ = writeln!(
        out,
        "created      {} by pairdist {} (commit {}), arithmetic {}",
        made.created, made.pairdist_version, made.pairdist_commit, header.identity.arithmetic
    );
    let _ = writeln!(
        out,
        "on           {} x {}; {}; HDF5 {}",
        counted(made.ranks, "rank"),
        counted(made.threads, "thread"),
        made.mpi_version,
        made.hdf5_version
    );
    let _ = writeln!(out, "command      {}", made.command_line);
    print(&out)
}

/// What compute would read.
fn samples(path: &Path, dataset: Option<&str>) -> Result<()> {
    let samples = Samples::open(path, dataset, View::default())?;
    let mut out = String::new();
    let _ =
        writeln!(out, "{}: {} samples of {} features", samples.describe(), samples.rows, samples.features);
    for other in &samples.passed_over {
        let _ = writeln!(out, "passed over  {}: {}", other.name, other.why);
    }
    for note in samples.notes() {
        let _ = writeln!(out, "note         {note}");
    }
    print(&out)
}

/// How far a run is that has not come to its end.
fn unfinished(workdir: &Workdir, text: &str) -> Result<()> {
    let Run { plan, number } = Run::of(text, workdir)?;
    let RunPlan { identity, provenance: made, .. } = &plan;
    let Problem { n, m, d, metric, method, dtype, tile } = identity.problem;
    let grid = identity.grid();
    let (mut journalled, mut latest, journals) = (Journalled::nothing(&grid), None, workdir.journals()?);
    for rank in &journals {
        let path = workdir.journal(*rank);
        journalled.add(&journal::read(&path, number, &grid)?.entries);
        latest = latest.max(std::fs::metadata(&path).and_then(|meta| meta.modified()).ok());
    }
    let Restored { totals, .. } = Restored::of(journalled, &grid, false);
    let percent = 100.0 * totals.pairs as f64 / identity.problem.pairs() as f64;
    let age = latest.and_then(|time| time.elapsed().ok()).map(|age| Duration::from_secs(age.as_secs()));
    let age = age.map_or("unknown".into(), |age| humantime::format_duration(age).to_string());
    let mut out = String::new();
    let _ = writeln!(out, "folder       {}", workdir.folder().display());
    let _ = writeln!(out, "state        not finished: {percent:.1} % of the distances are there");
    let _ = writeln!(out, "journals     {}, the latest written {age} ago", journals.len());
    let _ = writeln!(
        out,
        "distances    {n} x {m}, {d} features, {metric}, {dtype}, {method}, tiles of {tile} x {tile}"
    );
    for input in &identity.inputs {
        let _ = writeln!(out, "input        {}:{}, digest {}", input.path, input.dataset, input.digest);
    }
    let _ = writeln!(
        out,
        "created      {} by pairdist {}, arithmetic {}",
        made.created, made.pairdist_version, identity.arithmetic
    );
    let _ = writeln!(out, "resume with  {}", host::command_to_resume(&made.command_line));
    print(&out)
}
