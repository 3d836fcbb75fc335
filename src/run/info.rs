//! `info`: what a file holds.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::unfinished::{Restored, Run};
use crate::cli::InfoArgs;
use crate::error::{Error, Result};
use crate::host;
use crate::io::result::is_result;
use crate::problem::{InputId, LABELS, Problem};
use crate::report::print;
use crate::sink::{self, Results};
use crate::source::{self, Entry, Listing, Samples, View};
use crate::store::journal::{self, Journalled};
use crate::store::runplan::RunPlan;
use crate::store::workdir::{Existing, Workdir};
use crate::text::counted;

/// Lines of a list of what a file holds.
const LISTED: usize = 1000;

/// Commands that are named below it.
const ADVISED: usize = 10;

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
    let _ = writeln!(out, "metric       {}, {} kernel", problem.shown_metric(), problem.method);
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
    for (name, id) in header.identity.parameters.named() {
        let _ = writeln!(out, "{name:<12} {}, digest {}", id.from, id.digest);
    }
    for (name, source) in LABELS.into_iter().zip(&header.identity.labels) {
        if let Some(source) = source {
            let _ = writeln!(out, "{name:<12} from {source}");
        }
    }
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
            shown_view(input),
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

/// How an input was read, if not as it is: ` (transposed)`.
fn shown_view(input: &InputId) -> String {
    if input.view.is_empty() { String::new() } else { format!(" ({})", input.view) }
}

/// What compute would read, and what else there is.
fn samples(path: &Path, dataset: Option<&str>) -> Result<()> {
    let Listing { only, entries } = source::look_at(path)?;
    let chosen = match dataset {
        Some(name) => Ok(Samples::open(path, Some(name), View::default())?),
        None => only.and_then(|name| Samples::open(path, Some(&name), View::default())),
    };
    let mut out = String::new();
    match &chosen {
        Ok(samples) => {
            let (rows, features) = (samples.rows, samples.features);
            let _ = writeln!(out, "{}: {rows} samples of {features} features", samples.describe());
            for note in samples.notes() {
                let _ = writeln!(out, "note         {note}");
            }
        }
        // this is what compute says; whoever asks what there is gets an answer all the same
        Err(error) => {
            let _ = writeln!(out, "{error}");
        }
    }
    let read = chosen.as_ref().map_or("", |samples| samples.name.trim_start_matches('/'));
    let advice = advice(&entries, &out);
    out.push_str(&table(&entries, read));
    out.push_str(&advice);
    print(&out)
}

/// A line for each object that is or could have been the samples, in aligned columns. `read` is the name of the one that is read.
fn table(entries: &[Entry], read: &str) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let titles = ["dataset", "shape", "type", "storage", "filters", "as samples"].map(String::from);
    let lines = entries.iter().take(LISTED).map(|entry| {
        let verdict = match &entry.why_not {
            Some(why) => why,
            None if entry.name == read => "read",
            None => "can be read",
        };
        let columns = [&*entry.name, &entry.shape, &entry.dtype, &entry.storage, &entry.filters, verdict];
        // a name may hold anything, also what moves the cursor of a terminal
        columns.map(|text| text.replace(char::is_control, "?"))
    });
    let lines: Vec<_> = std::iter::once(titles).chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut out = String::from("\n");
    for line in &lines {
        for (text, width) in line.iter().zip(widths) {
            let _ = write!(out, "{text:width$}  ");
        }
        let _ = writeln!(out, "{}", line[5]);
    }
    if let Some(more) = entries.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(out, "and {more} more");
    }
    out
}

/// What to do to have other things than matrices as samples, unless that was said.
fn advice(entries: &[Entry], said: &str) -> String {
    let mut advice: Vec<_> = entries.iter().filter_map(Entry::advice).collect();
    advice.dedup();
    advice.retain(|advice| !said.contains(advice));
    advice.iter().take(ADVISED).flat_map(|advice| ["\n", advice, "\n"]).collect()
}

/// How far a run is that has not come to its end.
fn unfinished(workdir: &Workdir, text: &str) -> Result<()> {
    let Run { plan, number } = Run::of(text, workdir)?;
    let RunPlan { identity, provenance: made, .. } = &plan;
    let Problem { n, m, d, method, dtype, tile, .. } = identity.problem;
    let metric = identity.problem.shown_metric();
    let grid = identity.grid();
    let (mut journalled, mut latest, journals) = (Journalled::nothing(&grid), None, workdir.journals()?);
    for rank in &journals {
        let path = workdir.journal(*rank);
        journalled.add(&grid, &journal::read(&path, number, &grid)?.entries);
        latest = latest.max(std::fs::metadata(&path).and_then(|meta| meta.modified()).ok());
    }
    let done = journalled.done(&grid, Results::of(identity.results).are_mailed());
    let Restored { totals, .. } = Restored::of(journalled, done, &grid);
    let percent = 100.0 * totals.pairs as f64 / identity.problem.pairs() as f64;
    let age = latest.and_then(|time| time.elapsed().ok()).map(|age| Duration::from_secs(age.as_secs()));
    let age = age.map_or("unknown".into(), |age| humantime::format_duration(age).to_string());
    let mut out = String::new();
    let results = identity.results.names().join(", ");
    let _ = writeln!(out, "folder       {}", workdir.folder().display());
    let _ = writeln!(out, "state        not finished: {percent:.1} % of the distances are there");
    let _ = writeln!(out, "journals     {}, the latest written {age} ago", journals.len());
    let _ = writeln!(
        out,
        "distances    {n} x {m}, {d} features, {metric}, {dtype}, {method}, tiles of {tile} x {tile}"
    );
    let _ = writeln!(out, "results      {results}");
    for input in &identity.inputs {
        let view = shown_view(input);
        let _ = writeln!(out, "input        {}:{}{view}, digest {}", input.path, input.dataset, input.digest);
    }
    let _ = writeln!(
        out,
        "created      {} by pairdist {}, arithmetic {}",
        made.created, made.pairdist_version, identity.arithmetic
    );
    let _ = writeln!(out, "resume with  {}", host::command_to_resume(&made.command_line));
    print(&out)
}
