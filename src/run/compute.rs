//! `compute`: from samples to the matrix of their distances.

use std::path::Path;

use super::setup::{self, Inputs, with_dtype};
use crate::cli::ComputeArgs;
use crate::comm::{Comm, Nodes, Reduce};
use crate::element::Dtype;
use crate::error::Result;
use crate::failpoint;
use crate::host;
use crate::io::matrix::{self, Header, InputId, MatrixWriter};
use crate::io::samples::Samples;
use crate::io::workdir::Workdir;
use crate::kernel::{Kernel, Level};
use crate::partition::{Grid, Tile};
use crate::pipeline::{Loaded, Number, Target, Totals, Work, Workers, load, rounds, slab_rows};
use crate::plan::{Memory, Problem};
use crate::report::{Clock, Phase, Phases, Progress, Record, Versions, bytes, print};
use crate::schedule::Schedule;
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
}

pub(super) fn compute(comm: &Comm, args: &ComputeArgs) -> Result<()> {
    let inputs = comm.agree(Inputs::open(&args.input, &args.problem))?;
    inputs.agree(comm)?;
    let problem = comm.agree(setup::problem(&args.problem, inputs.shape(), comm.size()))?;
    with_dtype!(problem.dtype, compute_in(comm, args, &inputs, problem))
}

/// The paper's paragraph: every rank reads the rows it owns and packs them once; column blocks go round the ring while
/// workers compute tiles and the main thread writes them in place; the result gets its name when it is complete.
fn compute_in<T: Number>(comm: &Comm, args: &ComputeArgs, inputs: &Inputs, problem: Problem) -> Result<()> {
    let setup = prepare::<T>(comm, args, inputs, problem)?;
    let workers = comm.agree(Workers::start(setup.threads))?;
    let mut clock = Clock::start();

    let (rows, cols, read) = read_samples(&setup, &workers)?;
    clock.lap(Phase::Read);
    comm.barrier();
    clock.lap(Phase::Wait);

    let output = create_output(&setup, &read)?;
    let mut progress = Progress::start(setup.schedule.tile_count(comm.rank()), comm.is_root());
    let work = Work {
        comm,
        schedule: &setup.schedule,
        kernel: &setup.kernel,
        rows,
        cols,
        output: output.as_ref().map(|(_, writer)| writer),
    };
    let mut totals = or_abort(comm, rounds(&workers, work, &mut progress, &mut clock));
    progress.finish();
    comm.barrier();
    clock.lap(Phase::Wait);

    if let Some((workdir, writer)) = output {
        or_abort(comm, complete(writer, std::mem::take(&mut totals.checksums), !args.no_sync));
        comm.on_root(|| workdir.publish(args.force, !args.no_sync))?;
        clock.lap(Phase::Sync);
    }
    report(&setup, &read, &totals, &clock)
}

/// An error on one rank inside the rounds: the others are computing and would wait for it for ever.
fn or_abort<R>(comm: &Comm, result: Result<R>) -> R {
    result.unwrap_or_else(|error| {
        eprintln!("pairdist: rank {} on {}: {error}", comm.rank(), host::name());
        comm.abort()
    })
}

fn prepare<'a, T: Number>(
    comm: &'a Comm,
    args: &'a ComputeArgs,
    inputs: &'a Inputs,
    problem: Problem,
) -> Result<Setup<'a, T>> {
    let level: Level = setup::common_level(comm)?;
    let kernel = Kernel::<T>::new(problem.metric, problem.kernel, problem.d, level);
    let schedule = setup::schedule(&problem, comm.size(), inputs.y.is_none());
    let nodes = comm.nodes(&host::name());
    let threads = setup::threads(args.threads, &nodes);
    let memory = Memory::of(&schedule, &kernel, problem.d, threads, args.output.is_some());
    comm.agree(setup::check_memory(memory.total(), &nodes))?;
    comm.agree(setup::check_threads(threads))?;
    let inputs_and_output = [Some(&args.input), args.problem.against.as_ref(), args.output.as_ref()];
    let paths: Vec<&Path> =
        inputs_and_output.into_iter().flatten().map(std::path::PathBuf::as_path).collect();
    if let Some(record) = &args.json {
        comm.on_root(|| setup::check_record(record, &paths))?;
    }
    if let Some(output) = &args.output {
        let workdir = Workdir::of(output);
        let paths = &paths[..paths.len() - 1];
        comm.on_root(|| workdir.check(args.force, paths))?;
        comm.on_root(|| setup::check_space(problem.result_bytes(), workdir.parent()))?;
    }
    setup::warn_of_placement(threads, &nodes);
    let Problem { n, m, d, metric, kernel: method, dtype, tile } = problem;
    log::info!(
        "{n} x {m} {metric} distances of {d} features in {dtype} ({method}, {}), {} of result",
        level.name(),
        bytes(problem.result_bytes())
    );
    log::info!(
        "{} ranks x {threads} threads on {} nodes, tiles of {tile} x {tile}, {} rounds, {} of memory per rank",
        comm.size(),
        nodes.count,
        schedule.rounds(),
        bytes(memory.total())
    );
    let versions = Versions {
        pairdist: env!("CARGO_PKG_VERSION").into(),
        mpi: Comm::library_version(),
        hdf5: crate::io::library_version(),
        simd: kernel.level().name().into(),
    };
    let started = host::timestamp();
    Ok(Setup { comm, args, inputs, problem, schedule, kernel, nodes, threads, memory, versions, started })
}

/// What reading has told.
struct Read {
    ids: Vec<InputId>,
    bytes: u64,
}

/// Reads this rank's rows of X, and of Y if there is one, into a stationary and a moving block.
fn read_samples<T: Number>(setup: &Setup<'_, T>, workers: &Workers) -> Result<(Block<T>, Block<T>, Read)> {
    let Setup { comm, inputs, schedule, kernel, .. } = setup;
    let Grid { n, m, edge } = schedule.grid;
    let (row_tiles, col_tiles) = (schedule.tile_rows(comm.rank()), schedule.tile_cols(comm.rank()));
    let mut rows = Block::new(row_tiles.clone(), edge, kernel.row_panels());
    let mut cols = Block::new(col_tiles.clone(), edge, kernel.col_panels());
    let samples_of = |tiles: std::ops::Range<usize>, total: usize| {
        (tiles.start * edge).min(total)..(tiles.end * edge).min(total)
    };
    let load = |samples: &Samples, range, target| {
        let row_bytes = samples.features * size_of::<T>();
        let slab =
            slab_rows(row_bytes, [kernel.row_panels(), kernel.col_panels()], edge, samples.chunk_rows());
        comm.agree(load(workers, samples, range, edge, slab, setup.args.allow_nonfinite, target))
    };
    let loaded = match &inputs.y {
        None => {
            let target = Target { rows: Some(&mut rows), cols: Some(&mut cols) };
            vec![load(&inputs.x, samples_of(row_tiles, n), target)?]
        }
        Some(y) => vec![
            load(&inputs.x, samples_of(row_tiles, n), Target { rows: Some(&mut rows), cols: None })?,
            load(y, samples_of(col_tiles, m), Target { rows: None, cols: Some(&mut cols) })?,
        ],
    };
    let digests = comm.all_reduce(&loaded.iter().map(|read| read.digest).collect::<Vec<_>>(), Reduce::Sum);
    let samples = [Some(&inputs.x), inputs.y.as_ref()];
    let ids = samples.into_iter().flatten().zip(digests).map(|(samples, digest)| InputId {
        path: std::path::absolute(&samples.path)
            .unwrap_or_else(|_| samples.path.clone())
            .display()
            .to_string(),
        dataset: samples.name.clone(),
        shape: (samples.rows, samples.features),
        digest: format!("{digest:016x}"),
    });
    let read = Read { ids: ids.collect(), bytes: loaded.iter().map(|Loaded { bytes, .. }| bytes).sum() };
    Ok((rows, cols, read))
}

/// Makes the working folder and the matrix in it on rank 0, and opens the matrix on all.
fn create_output<T: Number>(setup: &Setup<'_, T>, read: &Read) -> Result<Option<(Workdir, MatrixWriter)>> {
    let Some(output) = &setup.args.output else { return Ok(None) };
    let mut workdir = Workdir::of(output);
    let header = Header {
        grid: setup.schedule.grid,
        features: setup.problem.d,
        dtype: T::DTYPE,
        metric: setup.problem.metric,
        method: setup.problem.kernel,
        symmetric: setup.schedule.symmetric,
        inputs: read.ids.clone(),
        created: setup.started.clone(),
        command_line: host::command_line(),
        ranks: setup.comm.size(),
        threads: setup.threads,
        pairdist_version: setup.versions.pairdist.clone(),
        mpi_version: setup.versions.mpi.clone(),
        hdf5_version: setup.versions.hdf5.clone(),
    };
    setup.comm.on_root(|| {
        workdir.create(setup.args.force)?;
        let created = matrix::create::<T>(&workdir.matrix(), &header);
        created.map_err(|error| super::end_job(setup.comm, &workdir, &error))
    })?;
    let writer = MatrixWriter::open(&workdir.matrix(), header.grid, setup.comm)?;
    Ok(Some((workdir, writer)))
}

/// Stores the checksums, forces all to the disk and declares the matrix complete.
fn complete(writer: MatrixWriter, checksums: Vec<(Tile, u64)>, sync: bool) -> Result<()> {
    failpoint::hit("complete")?;
    writer.write_checksums(checksums)?;
    if sync {
        writer.sync()?;
    }
    writer.finish(sync)
}

/// Gathers what all ranks have seen, prints the summary and writes the run record.
fn report<T: Number>(setup: &Setup<'_, T>, read: &Read, totals: &Totals, clock: &Clock) -> Result<()> {
    let Setup { comm, args, problem, .. } = setup;
    let summary = &totals.summary;
    let counts = [totals.recomputed, read.bytes, totals.bytes_written, totals.bytes_sent, totals.digest];
    let counts = comm.all_reduce(&counts, Reduce::Sum);
    let wall_s = comm.all_reduce(&[clock.wall_s()], Reduce::Max)[0];
    let pairs = problem.n as u64 * problem.m as u64;
    let record = Record {
        problem: *problem,
        symmetric: setup.schedule.symmetric,
        ranks: comm.size(),
        nodes: setup.nodes.count,
        threads_per_rank: setup.threads,
        hosts: setup.nodes.hosts.clone(),
        versions: setup.versions.clone(),
        wall_s,
        phases: Phases::gather(clock, comm),
        pairs,
        pair_features_per_s: pairs as f64 * problem.d as f64 / wall_s,
        recomputed_pairs: counts[0],
        bytes_read: counts[1],
        bytes_written: counts[2],
        bytes_exchanged: counts[3],
        peak_rss_bytes: comm.all_reduce(&[host::peak_rss_bytes()], Reduce::Max)[0],
        planned_bytes: setup.memory.total(),
        sum: comm.all_reduce(&[summary.sum], Reduce::Sum)[0],
        min: comm.all_reduce(&[summary.min], Reduce::Min)[0],
        max: comm.all_reduce(&[summary.max], Reduce::Max)[0],
        digest: format!("{:016x}", counts[4]),
    };
    comm.on_root(|| {
        if record.max == f64::INFINITY && !args.allow_nonfinite {
            let way_out = if problem.dtype == Dtype::F32 { "--dtype f64, or scale" } else { "scale" };
            log::warn!(
                "some distances are infinite: their sums are too large for {}; {way_out} the samples",
                problem.dtype
            );
        }
        if record.recomputed_pairs > pairs / 2 {
            log::warn!(
                "{} of {pairs} pairs lay too close for the Gram trick and were computed from differences; --kernel direct spares the attempt",
                record.recomputed_pairs
            );
        }
        print(&record.summary(args.output.as_deref()))?;
        args.json.as_ref().map_or(Ok(()), |path| record.write_json(path))
    })
}
