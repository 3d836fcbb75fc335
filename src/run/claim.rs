//! The place of a result: its working folder, held by this run from before the samples are read until the result has its name.

use super::blocks::Read;
use super::job::Job;
use super::setup;
use super::unfinished::{Found, Run, read_journals};
use crate::cli::ComputeArgs;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::fail;
use crate::failpoint;
use crate::io::matrix::{self, Header, MatrixReader, MatrixWriter};
use crate::partition::{Tile, TileSet};
use crate::pipeline::{Number, Output, Totals};
use crate::store::Checkpoints;
use crate::store::journal::Journal;
use crate::store::runplan::RunPlan;
use crate::store::workdir::Workdir;

/// A working folder that no other run has.
pub(super) struct Claim {
    workdir: Workdir,
    /// The run that it is taken up from.
    unfinished: Option<Run>,
}

/// What a run begins to compute with.
pub(super) struct Begun {
    /// Where tiles go, unless they are only counted.
    pub(super) output: Option<Output>,
    /// Tiles that are done already, and what this rank counts of them.
    pub(super) done: TileSet,
    pub(super) before: Totals,
}

impl Begun {
    /// Of a run that writes nothing.
    pub(super) fn counted(job: &Job<'_>) -> Self {
        let done = TileSet::empty(&job.schedule.grid);
        Self { output: None, done, before: Totals::default() }
    }
}

impl Claim {
    /// Takes the folder: makes it, or locks one that may be taken over; all ranks must find it and be able to write there. What is in it
    /// stays until [`Self::begin`]. Collective.
    pub(super) fn take(comm: &Comm, job: &Job<'_>, mut workdir: Workdir, found: Found) -> Result<Self> {
        let unfinished = if let Found::Unfinished(run) = found { Some(run) } else { None };
        comm.on_root(|| {
            if let Some(run) = &unfinished {
                return run.check(&job.identity(job.inputs.ids(&[], 0)), &workdir);
            }
            setup::check_space(job.problem.result_bytes(), &workdir)?;
            workdir.claim()
        })?;
        let mut claim = Self { workdir, unfinished };
        claim.workdir.check_shared(comm).inspect_err(|_| claim.give_up(comm))?;
        Ok(claim)
    }

    /// After an error: leaves nothing that was not there before.
    pub(super) fn give_up(&mut self, comm: &Comm) {
        if comm.is_root() && self.unfinished.is_none() {
            self.workdir.give_up();
        }
    }

    /// Opens the matrix on all ranks, after making it, or reading what is done of it; and this rank's journal. Collective.
    pub(super) fn begin<T: Number>(&mut self, comm: &Comm, job: &Job<'_>, read: &Read) -> Result<Begun> {
        let Self { workdir, unfinished } = self;
        let (identity, provenance) = (job.identity(read.ids.clone()), job.provenance(comm.size()));
        let mut number = unfinished.as_ref().map_or(0, |run| run.number);
        comm.on_root(|| {
            if let Some(run) = unfinished {
                run.check(&identity, workdir)?;
                return run.check_matrix(workdir);
            }
            let header = Header { identity, provenance, scaling_exponent: read.scaling };
            number = make_matrix::<T>(comm, workdir, header, job.args)?;
            Ok(())
        })?;
        let number = comm.all_reduce(&[number], Reduce::Or)[0];
        let mut begun = Begun::counted(job);
        if unfinished.is_some() {
            (begun.done, begun.before) = read_journals(comm, workdir, number, &job.schedule)?;
            log::info!("{} tiles are done already, in {}", begun.done.len(), workdir.folder().display());
        }
        comm.agree(failpoint::hit("open"))?;
        let (sync, interval) = (!job.args.no_sync, job.args.checkpoint_interval);
        let writer = MatrixWriter::open(&workdir.matrix(), job.schedule.grid, comm)?;
        let checkpoints = Journal::open(&workdir.journal(comm.rank()), number, sync)
            .and_then(|journal| Checkpoints::start(&workdir.matrix(), journal, interval, sync));
        // all ranks have read the journals before any adds to its own
        let checkpoints = comm.agree(checkpoints)?;
        begun.output = Some(Output { writer, checkpoints });
        Ok(begun)
    }

    /// Declares the matrix complete and gives it its name. Collective; `digest` is that of all tiles that were computed.
    pub(super) fn publish(
        self,
        comm: &Comm,
        writer: MatrixWriter,
        checksums: Vec<(Tile, u64)>,
        digest: u64,
        sync: bool,
    ) -> Result<()> {
        comm.or_abort(complete(comm, writer, checksums, sync));
        let Self { mut workdir, unfinished } = self;
        let replaces = unfinished.is_some_and(|run| run.plan.replaces);
        let hint = |text| {
            format!(
                "{text}; if {} is whole, the same command with --resume publishes it",
                workdir.matrix().display()
            )
        };
        workdir.check_still_shared(comm).map_err(|error| error.map(hint))?;
        comm.on_root(|| {
            check_digest(&workdir, digest)?;
            workdir.publish(replaces, sync)
        })
    }
}

/// Fills the working folder, and returns the run's number.
fn make_matrix<T: Number>(
    comm: &Comm,
    workdir: &mut Workdir,
    header: Header,
    args: &ComputeArgs,
) -> Result<u64> {
    workdir.clear()?;
    failpoint::hit("create")?;
    let created = matrix::create::<T>(&workdir.matrix(), &header);
    created.map_err(|error| super::end_job(comm, workdir, &error))?;
    workdir.reserve()?;
    let Header { identity, provenance, .. } = header;
    let text = RunPlan { identity, replaces: args.force, provenance }.to_json()?;
    failpoint::hit("plan")?;
    workdir.commit_plan(&text, !args.no_sync)?;
    Ok(RunPlan::run(&text))
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
fn check_digest(workdir: &Workdir, digest: u64) -> Result<()> {
    let path = workdir.matrix();
    let stored = MatrixReader::open(&path)?.digest()?;
    if stored != digest {
        fail!(
            "the checksums in {} add up to {stored:016x}, and those of the tiles that were computed to {digest:016x}: the file was replaced during the run, or some ranks have written elsewhere; write the result to a file system that all nodes share, and start over with --force",
            path.display()
        );
    }
    Ok(())
}
