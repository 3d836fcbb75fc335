//! What a run is to do, settled by all ranks before anything is made or read.

use std::path::{Path, PathBuf};

use super::bands::{Banded, Size};
use super::fit::{self, Fit, Layout};
use super::inputs::Inputs;
use super::limits;
use super::parameters::Given;
use super::placement::{self, Cores};
use super::setup;
use super::unfinished::Earlier;
use crate::cli::{ComputeArgs, ProblemArgs};
use crate::comm::{Comm, Reduce};
use crate::element::Content;
use crate::error::{Error, Result};
use crate::host;
use crate::kernel::{Kernel, Level};
use crate::number::Number;
use crate::partition::from_word;
use crate::plan::Memory;
use crate::problem::{Asked, Identity, InputId, Problem, Provenance};
use crate::report::file;
use crate::schedule::Schedule;
use crate::sink::{Results, Sinks};
use crate::store::workdir::Workdir;
use crate::text::{bytes, counted};

/// A run of `compute`.
pub(super) struct Job<'a> {
    pub(super) args: &'a ComputeArgs,
    pub(super) inputs: Inputs,
    pub(super) problem: Problem,
    /// What the metric is given beside the samples.
    pub(super) given: Given,
    pub(super) schedule: Schedule,
    /// What is made of the distances.
    pub(super) results: Results,
    pub(super) cores: Cores,
    /// The best SIMD level that every rank has.
    pub(super) level: Level,
    /// When it began.
    pub(super) started: String,
}

impl<'a> Job<'a> {
    /// Opens the inputs, and chooses what the command line leaves open; of a resumed run, the tiles are those that it had.
    /// Collective.
    pub(super) fn settle(comm: &Comm, args: &'a ComputeArgs, found: &Earlier) -> Result<Self> {
        let inputs = Inputs::agreed(comm, args)?;
        let cores = Cores::of(comm, args.threads)?;
        let threads = comm.all_reduce(&[cores.threads as u64], Reduce::Sum)[0];
        let threads = usize::try_from(threads).unwrap_or(usize::MAX);
        let tile = args.problem.tile.or(found.run().map(|run| run.plan.identity.problem.tile));
        let wanted = ProblemArgs { tile, ..args.problem.clone() };
        let problem = comm.agree(setup::problem(&wanted, &inputs.shape(), comm.size(), threads))?;
        let given = Given::agreed(comm, &args.problem, problem.d)?;
        comm.agree(given.check_range(&problem))?;
        let schedule = setup::schedule(&problem, comm.size(), inputs.y.is_none());
        let level = setup::common_level(comm)?;
        let asked = if args.output.is_some() {
            setup::asked(&args.problem, &problem, inputs.y.is_none())
        } else {
            Ok(Asked::NOTHING)
        };
        let asked = comm.agree(asked)?;
        let results = Results::of(asked);
        // before anything is made
        comm.on_root(|| inputs.labels(&args.problem).map(drop))?;
        Ok(Self { args, inputs, problem, given, schedule, results, cores, level, started: host::timestamp() })
    }

    /// How its tiles are computed.
    pub(super) fn kernel<T: Number>(&self) -> Kernel<T> {
        let weights = self.given.weights(self.problem.d);
        fit::kernel(&self.problem, &self.schedule, self.level).of(self.problem.measure(weights.as_deref()))
    }

    /// What this rank gathers the results in.
    pub(super) fn sinks<T: Number>(&self, comm: &Comm) -> Sinks<T> {
        let (_, width) = self.schedule.grid.tile_shape();
        let strip_len = self.kernel::<T>().strip_len(width);
        Sinks::new(self.results.clone(), &self.schedule.share(comm.rank()), strip_len)
    }

    /// Memory of a rank, in as many bands as keep it within its limit; refused if that cannot be, or the ranks of a node do not fit theirs.
    /// Collective.
    pub(super) fn fit_memory<T: Number>(&mut self, comm: &Comm, found: &Earlier) -> Result<Memory> {
        let Self { args, problem, schedule, results, cores, level, .. } = self;
        let (shape, symmetric) = (self.inputs.shape(), schedule.grid.symmetric);
        let (nodes, threads) = (&cores.nodes, cores.threads);
        let is_unfinished = found.run().is_some();
        let tile = args.problem.tile.or(is_unfinished.then_some(problem.tile));
        let layout = Layout { nodes: nodes.count, ranks_per_node: nodes.ranks_here, threads, tile };
        let node_bytes = f64::INFINITY;
        let fit = Fit { args: &args.problem, shape: &shape, symmetric, level: *level, results, node_bytes };
        comm.agree(limits::check_process())?;
        let left = limits::left_for_a_rank(nodes, threads);
        let asked = args.problem.memory_per_rank;
        // the same for all ranks
        let limit = comm.all_reduce(&[asked.map_or(left, |limit| limit.min(left)) as f64], Reduce::Min)[0];
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was a number of bytes"
        )]
        let limit = limit as u64;
        let whole = comm.agree(fit.memory::<T>(problem, schedule, threads))?;
        // nodes may have other numbers of ranks and of cores than this one, and copies of the files in other chunks: what rank 0 finds holds for all
        let most_threads = comm.all_reduce(&[threads as u64], Reduce::Max)[0];
        let size = Size { ranks: comm.size(), threads: from_word(most_threads) };
        let found = fit.within::<T>(size, (problem.tile, tile.is_some()), limit);
        let mut choice = found.as_ref().map_or([0; 6], Banded::words);
        comm.broadcast_values(0, &mut choice);
        let chosen = fit.of_words::<T>(size, choice).filter(|banded| banded.memory.total() <= limit);
        if comm.all_reduce(&[u64::from(chosen.is_some())], Reduce::Min)[0] > 0 {
            let chosen = chosen.expect("all ranks have it");
            (*problem, *schedule) = (chosen.problem, chosen.schedule);
            return Ok(chosen.memory);
        }
        let least = found.map_or_else(|least| least.unwrap_or(whole), |banded| banded.memory);
        let way_out = |node_bytes| {
            let fit = Fit { node_bytes, ..fit };
            // the tile size of an unfinished run is fixed
            let layout = Layout { tile, ..layout };
            let fitting = fit.way_out::<T>(layout, problem.tile, is_unfinished)?;
            Some(fitting.change_from(layout, comm.size() != layout.ranks()))
        };
        comm.agree(limits::check_memory(&least, threads, nodes, results.asked.neighbors.is_some(), way_out))?;
        comm.agree(limits::check_asked(&least, asked))?;
        // another rank has less
        comm.agree(Err(Error::Failed(format!(
            "a rank on another node has {} of memory left, and needs {} at least; use nodes with more memory, or fewer ranks on each",
            bytes(limit),
            bytes(least.total())
        ))))
    }

    /// Refuses names that cannot be written without harm. On one rank.
    pub(super) fn check_names(&self, workdir: Option<&Workdir>) -> Result<()> {
        let Self { args, .. } = self;
        let given: Vec<PathBuf> = Given::files(&args.problem).collect();
        let others = args.problem.against.iter().chain(&given).map(PathBuf::as_path);
        let inputs: Vec<&Path> = args.inputs.iter().map(PathBuf::as_path).chain(others).collect();
        if let Some(record) = &args.json {
            let outputs = [args.output.as_deref(), workdir.map(Workdir::folder)];
            let others: Vec<&Path> = inputs.iter().copied().chain(outputs.into_iter().flatten()).collect();
            file::check(record, file::RecordKind::Run, &others)?;
        }
        workdir.map_or(Ok(()), |workdir| workdir.check(&inputs))
    }

    /// Tells what it is, and where it runs. Collective.
    pub(super) fn tell<T: Number>(&self, comm: &Comm, memory: &Memory) {
        let Self { problem, schedule, results, cores, .. } = self;
        placement::tell(comm, cores);
        let Problem { n, m, d, method, dtype, tile, .. } = problem;
        let metric = problem.shown_metric();
        let are_small = self.inputs.files().all(|samples| samples.storage.content != Content::Any);
        if are_small && !method.is_whole() && self.args.problem.kernel.is_auto() {
            let weighted = if self.args.problem.weights.is_some() { " with weights" } else { "" };
            let why = match self.inputs.shape().content {
                Content::Any => "one input has signs and the other has none".to_owned(),
                _ => format!("{metric}{weighted} has no form in whole numbers"),
            };
            log::info!(
                "the samples are whole numbers of 8 bits or truth values, and are computed with as {dtype}: {why}"
            );
        }
        log::info!(
            "{n} x {m} {metric} distances of {d} features in {dtype} ({method}, {}), {} of result",
            self.level.name(),
            bytes(results.file_bytes::<T>(&schedule.grid).unwrap_or(u64::MAX))
        );
        log::info!(
            "{} x {} on {}, tiles of {tile} x {tile}, {}, {} of memory per rank",
            counted(comm.size(), "rank"),
            counted(cores.threads, "thread"),
            counted(cores.nodes.count, "node"),
            counted(schedule.round_count(), "round"),
            bytes(memory.total())
        );
    }

    /// What it computes, with as much of the inputs as is known.
    pub(super) fn identity(&self, inputs: Vec<InputId>, given: &Given) -> Identity {
        let ProblemArgs { ids, against_ids, .. } = &self.args.problem;
        let labels = [ids.clone(), against_ids.clone()];
        let inputs = (inputs, self.inputs.y.is_none());
        Identity::new(self.problem, self.results.asked, inputs, labels, given.ids())
    }

    pub(super) fn provenance(&self, ranks: usize) -> Provenance {
        Provenance {
            created: self.started.clone(),
            command_line: host::command_line(),
            pairdist_version: env!("CARGO_PKG_VERSION").into(),
            pairdist_commit: crate::COMMIT.into(),
            ranks,
            threads: self.cores.threads,
            mpi_version: Comm::library_version(),
            hdf5_version: crate::io::library_version(),
        }
    }
}
