//! `compute`: from samples to the matrix of their distances.

use std::path::Path;

use super::fit::{self, Fit, Layout};
use super::placement;
use super::reading::{self, Known};
use super::setup::{self, Inputs, with_dtype};
use super::unfinished::{Found, Run, read_journals};
use crate::cli::{ComputeArgs, ProblemArgs};
use crate::comm::{Comm, Nodes, Reduce};
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::fail;
use crate::failpoint;
use crate::host;
use crate::io::journal::Journal;
use crate::io::matrix::{self, Header, InputId, MatrixReader, MatrixWriter};
use crate::io::record;
use crate::io::runplan::RunPlan;
use crate::io::samples::Samples;
use crate::io::workdir::Workdir;
use crate::kernel::{ARITHMETIC, Kernel, Level};
use crate::metric::Metric;
use crate::partition::{Grid, Tile, TileSet};
use crate::pipeline::{
    Checkpoints, Number, Output, Target, Totals, Work, Workers, load, rounds, scale, slab_rows,
};
use crate::plan::Memory;
use crate::problem::Problem;
use crate::report::{Clock, Phase, Phases, Progress, Record, Versions, bytes, counted, print};
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::tile::Block;

/// Everything about a run that is known before it starts.
struct Setup<'a, T> {
    comm: &'a Comm,
    args: &'a ComputeArgs,
    inputs: &'a Inputs,
    problem: Problem,
    schedule: Schedule,
    kernel: Kernel<T>,
    nodes: Nodes,
    threads: usize,
    memory: Memory,
    versions: Versions,
    started: String,
    /// Where it works, unless nothing is written.
    workdir: Option<Workdir>,
    /// The run that it takes up.
    unfinished: Option<Run>,
    stop: Stop,
}

/// What a run begins with.
struct Start<'a> {
    comm: &'a Comm,
    args: &'a ComputeArgs,
    inputs: &'a Inputs,
    problem: Problem,
    nodes: Nodes,
    threads: usize,
    workdir: Option<Workdir>,
    unfinished: Option<Run>,
    stop: Stop,
}

pub(super) fn compute(comm: &Comm, args: &ComputeArgs, stop: Stop) -> Result<()> {
    let stop = stop.after(setup::time_left(comm, args.time_limit));
    let mut workdir = args.output.as_deref().map(|output| Workdir::of(output, args.existing()));
    let found = workdir.as_mut().map_or(Ok(Found::Nothing), |workdir| Run::find(comm, workdir))?;
    let mut inputs = comm.agree(Inputs::open(&args.input, &args.problem))?;
    comm.on_root(|| {
        inputs.tell();
        Ok(())
    })?;
    // first, since chunks that were never written need not read alike on all ranks
    inputs.count_chunks(comm, args.allow_missing_chunks)?;
    inputs.agree(comm)?;
    let nodes = placement::nodes(comm);
    let threads = comm.agree(placement::threads(args.threads, &nodes))?;
    let all_threads =
        usize::try_from(comm.all_reduce(&[threads as u64], Reduce::Sum)[0]).unwrap_or(usize::MAX);
    // the tile depends on ranks and threads, of which there may be others now
    let tile = args.problem.tile.or(found.run().map(|run| run.plan.problem.tile));
    let wanted = ProblemArgs { tile, ..args.problem.clone() };
    let problem = comm.agree(setup::problem(&wanted, inputs.shape(), comm.size(), all_threads))?;
    match (found, workdir) {
        (Found::Published(run), Some(mut workdir)) => {
            with_dtype!(
                problem.dtype,
                already_there(comm, &inputs, problem, &run, &mut workdir, args.json.is_some())
            )
        }
        (found, workdir) => {
            let unfinished = if let Found::Unfinished(run) = found { Some(run) } else { None };
            let inputs = &inputs;
            let start = Start { comm, args, inputs, problem, nodes, threads, workdir, unfinished, stop };
            with_dtype!(problem.dtype, compute_in(start))
        }
    }
}

/// The result of an earlier run is the one that is asked for, or it is in the way.
fn already_there<T: Number>(
    comm: &Comm,
    inputs: &Inputs,
    problem: Problem,
    run: &Run,
    workdir: &mut Workdir,
    has_record: bool,
) -> Result<()> {
    let shown = workdir.output().display().to_string();
    let check = |ids| match run.plan.difference(&run_plan(problem, false, ids, String::new())) {
        Some(difference) => Err(Error::Failed(format!(
            "{shown} exists, and is another result: {difference}; choose another name, or use --force"
        ))),
        None => Ok(()),
    };
    check(inputs.ids(&[], 0))?;
    let workers = comm.agree(Workers::start(1))?;
    let known = reading::survey::<T>(comm, &workers, inputs, problem.metric)?;
    check(inputs.ids(&known.digests(), known.subtracted))?;
    comm.on_root(|| {
        let record = if has_record { "; nothing was computed, so no run record is written" } else { "" };
        log::info!("{shown} is complete already{record}");
        if workdir.folder().exists() {
            workdir.discard();
        }
        Ok(())
    })
}

/// The paper's paragraph: every rank reads the rows it owns and packs them once; column blocks go round the ring while
/// workers compute tiles and the main thread writes them in place; the result gets its name when it is complete.
fn compute_in<T: Number>(start: Start) -> Result<()> {
    let Start { comm, args, problem, .. } = start;
    let mut setup = prepare::<T>(start)?;
    let workers = comm.agree(Workers::start(setup.threads))?;
    let mut clock = Clock::start();

    let (rows, cols, read) = read_samples(&setup, &workers)?;
    setup.kernel = setup.kernel.of_scaled(read.scaling);
    clock.lap(Phase::Read);
    comm.barrier();
    clock.lap(Phase::Wait);

    let (mut output, done, before) = open_output(&mut setup, &read)?;
    let work = Work {
        comm,
        schedule: &setup.schedule,
        kernel: &setup.kernel,
        rows,
        cols,
        done: &done,
        stop: &setup.stop,
        output: output.as_mut(),
    };
    let mut progress = Progress::start(tiles_left(&setup, &done), comm.is_root());
    let mut totals = comm.or_abort(rounds(&workers, work, &mut progress, &mut clock));
    progress.finish();
    let writer = output.map(|Output { writer, checkpoints }| {
        // before waiting for slower ranks: what is done is safe
        comm.or_abort(checkpoints.finish());
        writer
    });
    clock.lap(Phase::Sync);
    comm.barrier();
    clock.lap(Phase::Wait);

    let resumed_pairs = before.pairs;
    totals.add(before);
    let [pairs, digest] = [totals.pairs, totals.digest].map(|mine| comm.all_reduce(&[mine], Reduce::Sum)[0]);
    if pairs != problem.n as u64 * problem.m as u64 {
        if let Some(writer) = writer {
            comm.or_abort(writer.close());
        }
        return Err(stopped(&setup, pairs));
    }
    if let Some(writer) = writer {
        comm.or_abort(complete(comm, writer, std::mem::take(&mut totals.checksums), !args.no_sync));
        let replaces = setup.unfinished.as_ref().is_some_and(|run| run.plan.replaces);
        let workdir = &mut setup.workdir;
        workdir.as_ref().map_or(Ok(()), |workdir| {
            let hint = |text| {
                format!(
                    "{text}; if {} is whole, the same command with --resume publishes it",
                    workdir.matrix().display()
                )
            };
            workdir.check_still_shared(comm).map_err(|error| error.map(hint))
        })?;
        comm.on_root(|| {
            let Some(workdir) = workdir else { return Ok(()) };
            check_matrix(&workdir.matrix(), digest)?;
            workdir.publish(replaces, !args.no_sync)
        })?;
        clock.lap(Phase::Sync);
    }
    report(&setup, &read, &totals, resumed_pairs, &clock)
}

/// Tiles that this rank has to compute.
fn tiles_left<T>(setup: &Setup<'_, T>, done: &TileSet) -> usize {
    let (schedule, rank) = (&setup.schedule, setup.comm.rank());
    if done.is_empty() {
        return schedule.tile_count(rank);
    }
    let tiles = (0..schedule.rounds()).flat_map(|round| schedule.tiles(rank, round));
    tiles.filter(|tile| !done.contains(*tile)).count()
}

/// The error of a run that was stopped when all ranks together had so many pairs. Collective.
fn stopped<T>(setup: &Setup<'_, T>, pairs: u64) -> Error {
    let comm = setup.comm;
    let flags = [setup.stop.is_due(), setup.stop.is_signalled()].map(u64::from);
    let flags = comm.all_reduce(&flags, Reduce::Max);
    let (is_due, is_signalled) = (flags[0] == 1, flags[1] == 1);
    let percent = 100.0 * pairs as f64 / (setup.problem.n as f64 * setup.problem.m as f64);
    if !is_due {
        return Error::Failed(format!(
            "internal error: only {percent} % of the distances came; please report it"
        ));
    }
    let way_on = if setup.workdir.is_some() {
        format!("resume with: {}", host::command_to_resume(&host::command_line()))
    } else {
        "nothing was to be written (--no-output), so nothing is kept".into()
    };
    let why = if is_signalled {
        "by a signal".into()
    } else {
        format!("at the time limit ({})", setup.stop.limit())
    };
    Error::Stopped(format!("stopped {why}, with {percent:.1} % done; {way_on}"))
}

fn prepare<T: Number>(start: Start<'_>) -> Result<Setup<'_, T>> {
    let Start { comm, args, inputs, problem, nodes, threads, workdir, unfinished, stop } = start;
    let level: Level = setup::common_level(comm)?;
    let schedule = setup::schedule(&problem, comm.size(), inputs.y.is_none());
    let kernel = fit::kernel::<T>(&problem, &schedule, level);
    let (shape, symmetric, written) = (inputs.shape(), schedule.symmetric, args.output.is_some());
    let memory = Memory::of(&schedule, &kernel, shape.source, threads, written, Comm::resident_bytes());
    let memory = comm.agree(memory)?;
    let way_out = |node_bytes| {
        let tile = args.problem.tile.or(unfinished.as_ref().map(|_| problem.tile));
        let layout = Layout { nodes: nodes.count, ranks_per_node: nodes.ranks_here, threads, tile };
        let fit = Fit { args: &args.problem, shape, symmetric, level, written, node_bytes };
        // the tile size of an unfinished run is fixed
        let fitting = fit.way_out::<T>(layout, problem.tile, unfinished.is_some())?;
        Some(fitting.change_from(layout, comm.size() != layout.ranks()))
    };
    comm.agree(setup::check_memory(&memory, threads, &nodes, way_out))?;
    let inputs_and_output = [Some(&args.input), args.problem.against.as_ref(), args.output.as_ref()];
    let paths: Vec<&Path> =
        inputs_and_output.into_iter().flatten().map(std::path::PathBuf::as_path).collect();
    if let Some(record) = &args.json {
        let folder = workdir.as_ref().map(Workdir::folder);
        let others: Vec<&Path> = paths.iter().copied().chain(folder).collect();
        comm.on_root(|| record::check(record, record::Kind::Run, &others))?;
    }
    if let Some(workdir) = &workdir {
        let paths = &paths[..paths.len() - 1];
        comm.on_root(|| workdir.check(paths))?;
        comm.on_root(|| match &unfinished {
            Some(run) => {
                run.check(&run_plan(problem, args.force, inputs.ids(&[], 0), String::new()), workdir)
            }
            None => setup::check_space(problem.result_bytes(), workdir),
        })?;
    }
    placement::tell(comm, threads, &nodes);
    let Problem { n, m, d, metric, kernel: method, dtype, tile } = problem;
    log::info!(
        "{n} x {m} {metric} distances of {d} features in {dtype} ({method}, {}), {} of result",
        level.name(),
        bytes(problem.result_bytes())
    );
    log::info!(
        "{} x {} on {}, tiles of {tile} x {tile}, {}, {} of memory per rank",
        counted(comm.size(), "rank"),
        counted(threads, "thread"),
        counted(nodes.count, "node"),
        counted(schedule.rounds(), "round"),
        bytes(memory.total())
    );
    let versions = Versions {
        pairdist: env!("CARGO_PKG_VERSION").into(),
        commit: crate::COMMIT.into(),
        arithmetic: ARITHMETIC,
        mpi: Comm::library_version(),
        hdf5: crate::io::library_version(),
        simd: kernel.level().name().into(),
    };
    let started = host::timestamp();
    Ok(Setup {
        comm,
        args,
        inputs,
        problem,
        schedule,
        kernel,
        nodes,
        threads,
        memory,
        versions,
        started,
        workdir,
        unfinished,
        stop,
    })
}

fn run_plan(problem: Problem, replaces: bool, inputs: Vec<InputId>, started: String) -> RunPlan {
    RunPlan::new(problem, inputs.len() == 1, replaces, inputs, started, host::command_line())
}

/// What reading has told.
struct Read {
    ids: Vec<InputId>,
    /// Of all ranks' samples of X, and of Y if there is one.
    known: Known,
    /// Exponent of the power of two that the samples were scaled by.
    scaling: i32,
}

/// Reads this rank's rows of X, and of Y if there is one, into a stationary and a moving block.
fn read_samples<T: Number>(setup: &Setup<'_, T>, workers: &Workers) -> Result<(Block<T>, Block<T>, Read)> {
    let Setup { comm, inputs, schedule, kernel, .. } = setup;
    let Grid { n, m, edge } = schedule.grid;
    let (row_tiles, col_tiles) = (schedule.tile_rows(comm.rank()), schedule.tile_cols(comm.rank()));
    let (height, width) = schedule.grid.tile_shape();
    let mut rows = Block::new(row_tiles.clone(), height, kernel.row_panels());
    let mut cols = Block::new(col_tiles.clone(), width, kernel.col_panels());
    let samples_of = |tiles: std::ops::Range<usize>, total: usize| {
        (tiles.start * edge).min(total)..(tiles.end * edge).min(total)
    };
    let load = |samples: &Samples, range: std::ops::Range<usize>, target: Target<'_, T>| {
        let row_bytes = samples.features * size_of::<T>().max(samples.kind.size());
        let slab = slab_rows(row_bytes, &target.shapes(), edge, samples.chunk_rows());
        comm.agree(load(workers, samples, range, edge, slab, target))
    };
    let (row_samples, col_samples) = (samples_of(row_tiles, n), samples_of(col_tiles, m));
    let known = reading::read(comm, inputs, setup.problem.metric, T::DTYPE, |subtracted| {
        let x = inputs.x.less(subtracted);
        let Some(y) = &inputs.y else {
            let target = Target { rows: Some(&mut rows), cols: Some(&mut cols) };
            return Ok(vec![load(&x, row_samples.clone(), target)?]);
        };
        let target = Target { rows: Some(&mut rows), cols: None };
        let x = load(&x, row_samples.clone(), target)?;
        let target = Target { rows: None, cols: Some(&mut cols) };
        Ok(vec![x, load(&y.less(subtracted), col_samples.clone(), target)?])
    })?;
    comm.on_root(|| reading::judge(inputs, &known, setup.args.allow_nonfinite, T::DTYPE))?;
    let scaling = scaling::<T>(&setup.problem, known.largest());
    if scaling != 0 {
        scale(workers, &mut rows, row_samples, scaling);
        scale(workers, &mut cols, col_samples, scaling);
    }
    let ids = inputs.ids(&known.digests(), known.subtracted);
    Ok((rows, cols, Read { ids, known, scaling }))
}

/// Exponent of the power of two to scale samples of this largest magnitude by.
fn scaling<T: Number>(problem: &Problem, largest: f64) -> i32 {
    let exponent = problem.metric.scaling_exponent::<T>(problem.d, largest);
    if exponent != 0 {
        log::info!(
            "the samples are scaled by 2^{exponent} so that their squares neither overflow nor vanish: their largest magnitude is {largest:e}"
        );
    }
    exponent
}

/// Opens the matrix on all ranks, after making it, or reading what is done of it; and this rank's journal.
fn open_output<T: Number>(
    setup: &mut Setup<'_, T>,
    read: &Read,
) -> Result<(Option<Output>, TileSet, Totals)> {
    let plan = run_plan(setup.problem, setup.args.force, read.ids.clone(), setup.started.clone());
    let header = header(setup, read);
    let Setup { comm, args, schedule, unfinished, workdir, .. } = setup;
    let Some(workdir) = workdir else {
        return Ok((None, TileSet::empty(&schedule.grid, schedule.symmetric), Totals::default()));
    };
    let mut number = unfinished.as_ref().map_or(0, |run| run.number);
    comm.on_root(|| {
        if let Some(run) = unfinished {
            run.check(&plan, workdir)?;
            return run.check_matrix(workdir);
        }
        workdir.create()?;
        let made = make_matrix::<T>(comm, workdir, &header, &plan, !args.no_sync);
        number = made.inspect_err(|_| workdir.discard())?;
        Ok(())
    })?;
    if let Err(error) = workdir.check_shared(comm) {
        if comm.is_root() && unfinished.is_none() {
            workdir.discard();
        }
        return Err(error);
    }
    let number = comm.all_reduce(&[number], Reduce::Or)[0];
    let (mut done, mut before) = (TileSet::empty(&schedule.grid, schedule.symmetric), Totals::default());
    if unfinished.is_some() {
        (done, before) = read_journals(comm, workdir, number, schedule)?;
        log::info!("{} tiles are done already, in {}", done.len(), workdir.folder().display());
    }
    comm.agree(failpoint::hit("open"))?;
    let writer = MatrixWriter::open(&workdir.matrix(), schedule.grid, comm)?;
    let checkpoints =
        Journal::open(&workdir.journal(comm.rank()), number, !args.no_sync).and_then(|journal| {
            Checkpoints::start(&workdir.matrix(), journal, args.checkpoint_interval, !args.no_sync)
        });
    // all ranks have read the journals before any adds to its own
    let checkpoints = comm.agree(checkpoints)?;
    Ok((Some(Output { writer, checkpoints }), done, before))
}

/// Fills an empty working folder, and returns the run's number.
fn make_matrix<T: Number>(
    comm: &Comm,
    workdir: &mut Workdir,
    header: &Header,
    plan: &RunPlan,
    sync: bool,
) -> Result<u64> {
    failpoint::hit("create")?;
    let created = matrix::create::<T>(&workdir.matrix(), header);
    created.map_err(|error| super::end_job(comm, workdir, &error))?;
    workdir.reserve()?;
    let text = plan.to_json()?;
    failpoint::hit("plan")?;
    workdir.commit_plan(&text, sync)?;
    Ok(RunPlan::run(&text))
}

fn header<T: Number>(setup: &Setup<'_, T>, read: &Read) -> Header {
    Header {
        grid: setup.schedule.grid,
        features: setup.problem.d,
        dtype: T::DTYPE,
        metric: setup.problem.metric,
        method: setup.problem.kernel,
        scaling_exponent: read.scaling,
        arithmetic: ARITHMETIC,
        symmetric: setup.schedule.symmetric,
        inputs: read.ids.clone(),
        created: setup.started.clone(),
        command_line: host::command_line(),
        ranks: setup.comm.size(),
        threads: setup.threads,
        pairdist_version: setup.versions.pairdist.clone(),
        pairdist_commit: setup.versions.commit.clone(),
        mpi_version: setup.versions.mpi.clone(),
        hdf5_version: setup.versions.hdf5.clone(),
    }
}

/// Stores the checksums, forces all to the disk and declares the matrix complete.
fn complete(comm: &Comm, writer: MatrixWriter, checksums: Vec<(Tile, u64)>, sync: bool) -> Result<()> {
    failpoint::hit("checksums")?;
    writer.write_checksums(checksums)?;
    if sync {
        writer.sync()?;
    }
    // nothing is declared complete before every rank's checksums are there
    comm.barrier();
    failpoint::hit("complete")?;
    writer.finish(sync)
}

/// Makes sure that what is published is what all ranks have written, as this rank sees it.
fn check_matrix(path: &Path, digest: u64) -> Result<()> {
    let stored = MatrixReader::open(path)?.digest()?;
    if stored != digest {
        fail!(
            "the checksums in {} add up to {stored:016x}, and those of the tiles that were computed to {digest:016x}: the file was replaced during the run, or some ranks have written elsewhere; write the result to a file system that all nodes share, and start over with --force",
            path.display()
        );
    }
    Ok(())
}

/// Gathers what all ranks have seen, prints the summary and writes the run record.
fn report<T: Number>(
    setup: &Setup<'_, T>,
    read: &Read,
    totals: &Totals,
    resumed_pairs: u64,
    clock: &Clock,
) -> Result<()> {
    let Setup { comm, args, problem, .. } = setup;
    let summary = &totals.summary;
    let counts = [totals.recomputed, totals.bytes_written, totals.bytes_sent, totals.digest, resumed_pairs];
    let counts = comm.all_reduce(&counts, Reduce::Sum);
    let wall_s = comm.all_reduce(&[clock.wall_s()], Reduce::Max)[0];
    let pairs = problem.n as u64 * problem.m as u64;
    let record = Record {
        problem: *problem,
        symmetric: setup.schedule.symmetric,
        scaling_exponent: read.scaling,
        inputs: read.known.record(setup.inputs),
        ranks: comm.size(),
        nodes: setup.nodes.count,
        threads_per_rank: setup.threads,
        hosts: setup.nodes.hosts.clone(),
        versions: setup.versions.clone(),
        wall_s,
        phases: Phases::gather(clock, comm),
        pairs,
        resumed_pairs: counts[4],
        pair_features_per_s: (pairs - counts[4]) as f64 * problem.d as f64 / wall_s,
        recomputed_pairs: counts[0],
        bytes_read: read.known.bytes(),
        bytes_written: counts[1],
        bytes_exchanged: counts[2],
        peak_rss_bytes: comm.all_reduce(&[host::peak_rss_bytes()], Reduce::Max)[0],
        planned_bytes: setup.memory.total(),
        sum: comm.all_reduce(&[summary.sum], Reduce::Sum)[0],
        min: comm.all_reduce(&[summary.min], Reduce::Min)[0],
        max: comm.all_reduce(&[summary.max], Reduce::Max)[0],
        digest: format!("{:016x}", counts[3]),
    };
    comm.on_root(|| {
        warn_of_range::<T>(&record, args.allow_nonfinite);
        if record.recomputed_pairs > pairs / 2 {
            log::warn!(
                "{} of {pairs} pairs lay too close for the Gram trick and were computed from differences; --kernel direct spares the attempt",
                record.recomputed_pairs
            );
        }
        if let Some(path) = &args.json {
            // the result is there, whatever becomes of its record
            let hint = |text| match &args.output {
                Some(output) => format!("{text}; the result, {}, is complete", output.display()),
                None => text,
            };
            record::write(path, record::Kind::Run, &record).map_err(|error| error.map(hint))?;
        }
        // the result is there, and what it took is in its record
        if let Err(error) = print(&record.summary(args.output.as_deref())) {
            log::warn!("the summary is lost: {error}");
        }
        Ok(())
    })
}

/// Says so if the type is too small for some distances, or for all.
fn warn_of_range<T: Number>(record: &Record, allow_nonfinite: bool) {
    let Problem { metric, dtype, .. } = record.problem;
    let mut ways_out = Vec::new();
    if metric == Metric::Sqeuclidean {
        ways_out.push("use --metric euclidean");
    }
    if dtype == Dtype::F32 {
        ways_out.push("use --dtype f64");
    }
    ways_out.push("scale the samples");
    let ways_out = ways_out.join(", or ");
    if record.max == f64::INFINITY && !allow_nonfinite {
        log::warn!("some distances are infinite: they are too large for {dtype}; {ways_out}");
    }
    if record.scaling_exponent > 0 && metric.degree() > 1 && record.max < T::SMALLEST_NORMAL {
        log::warn!(
            "all distances have lost digits, or are 0: the largest, {:e}, is below the normal numbers of {dtype}; {ways_out}",
            record.max
        );
    }
}
