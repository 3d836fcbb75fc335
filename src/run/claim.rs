//! The place of a result: its working folder, held by this run from before the samples are read until the result has its name.

use std::path::Path;

use super::blocks::Findings;
use super::job::Job;
use super::limits;
use super::parameters::Given;
use super::unfinished::{Earlier, Restored, Run, read_journals, read_snapshots, read_spools};
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::fail;
use crate::failpoint;
use crate::io::result::{self, Header, ResultReader, ResultWriter};
use crate::number::Number;
use crate::partition::TileSet;
use crate::problem::LABELS;
use crate::sink::{self, Finished, Sinks, Tail};
use crate::stop::Stop;
use crate::store::Checkpoints;
use crate::store::journal::{Journal, Journalled};
use crate::store::runplan::RunPlan;
use crate::store::snapshot::{SnapshotId, Snapshots};
use crate::store::spool::Spool;
use crate::store::undo;
use crate::store::workdir::Workdir;

/// A working folder that no other run has.
pub(super) struct Claim {
    workdir: Workdir,
    /// The run that it resumes.
    unfinished: Option<Run>,
    /// The number of the run, from its beginning.
    number: u64,
    /// The result in it, open on all ranks.
    file: Option<ResultWriter>,
}

impl Claim {
    /// Takes the folder: makes it, or locks one that may be taken over; all ranks must find it and be able to write there. What is in it
    /// stays until [`Self::begin`]. Collective.
    pub(super) fn take<T: Number>(
        comm: &Comm,
        job: &Job<'_>,
        mut workdir: Workdir,
        found: Earlier,
    ) -> Result<Self> {
        let unfinished = if let Earlier::Unfinished(run) = found { Some(run) } else { None };
        comm.on_root(|| {
            if let Some(run) = &unfinished {
                return run.check(&job.identity(job.inputs.ids(&[], 0), &job.given), &workdir);
            }
            let bytes = job.results.disk_bytes::<T>(&job.schedule.grid);
            let bytes = bytes.and_then(|bytes| bytes.checked_add(job.problem.parameter_bytes()?));
            limits::check_space(bytes.unwrap_or(u64::MAX), &workdir)?;
            workdir.claim()
        })?;
        let mut claim = Self { workdir, unfinished, number: 0, file: None };
        claim.workdir.check_shared(comm).inspect_err(|_| claim.give_up(comm))?;
        Ok(claim)
    }

    /// After an error: leaves nothing that was not there before.
    pub(super) fn give_up(&mut self, comm: &Comm) {
        if comm.is_root() && self.unfinished.is_none() {
            self.workdir.give_up();
        }
    }

    /// Opens the result on all ranks, after making it, or reading what is done of it; and this rank's journal. Collective.
    pub(super) fn begin<T: Number>(
        &mut self,
        comm: &Comm,
        job: &Job<'_>,
        findings: &Findings,
    ) -> Result<(Sinks<T>, Restored)> {
        let number = self.make_or_check::<T>(comm, job, findings)?;
        self.number = number;
        let grid = job.schedule.grid;
        let mut journalled = Journalled::nothing(&grid);
        if self.unfinished.is_some() {
            journalled = read_journals(comm, &self.workdir, number, &grid)?;
        }
        let done = journalled.done(&grid, job.results.are_mailed());
        comm.agree(failpoint::hit("open"))?;
        let matrix = self.workdir.matrix();
        let (file, mut sinks) = ResultWriter::open(&matrix, comm, |file| {
            let mut sinks = job.sinks::<T>(comm);
            sinks.open(file).map(|()| sinks)
        })?;
        let kept = self.keep(comm, job, number, (&mut sinks, &done));
        // all ranks have read the journals and snapshots before any writes its own
        let checkpoints = match kept {
            Ok(checkpoints) => checkpoints,
            Err(error) => {
                drop(sinks);
                // the first error is the one to tell
                let _ = comm.agree(file.close());
                return Err(error);
            }
        };
        let mut restored = Restored::of(journalled, done, &grid);
        if self.unfinished.is_some() {
            let count = restored.done.len();
            log::info!("{count} tiles are done already, in {}", self.workdir.folder().display());
        }
        self.file = Some(file);
        sinks.keep(checkpoints);
        // the list of tiles is needed no more
        sinks.restore(&std::mem::take(&mut restored.tiles));
        Ok((sinks, restored))
    }

    /// Takes in what the snapshots and spools of an earlier run hold of tiles that are `done`, and opens those of this rank, and its
    /// journal. Collective.
    fn keep<T: Number>(
        &self,
        comm: &Comm,
        job: &Job<'_>,
        number: u64,
        (sinks, done): (&mut Sinks<T>, &TileSet),
    ) -> Result<Checkpoints> {
        let (workdir, grid) = (&self.workdir, &job.schedule.grid);
        let (sync, interval) = (!job.args.no_sync, job.args.checkpoint_interval);
        let (mut older, mut generation) = (Vec::new(), 0);
        let state = sinks.state();
        if let Some(state) = &state {
            (generation, older) = read_snapshots(comm, workdir, number, &**state, (done, grid))?;
        }
        let spool = match sinks.spooled() {
            Some(spooled) => {
                generation = read_spools(comm, workdir, number, spooled, done)?.max(generation);
                let path = workdir.spool(SnapshotId { generation, rank: comm.rank() });
                let spool = comm.agree(Spool::begin(&path, number, &spooled.rows(), sync))?;
                let file = spool.file();
                spooled.append_to(spool);
                Some(file)
            }
            None => None,
        };
        let snapshots = match state {
            Some(state) => {
                let paths = workdir.snapshot(SnapshotId { generation, rank: comm.rank() });
                let snapshots = Snapshots::new(paths, number, sync, state);
                // before any older one is removed
                comm.agree(if older.is_empty() { Ok(()) } else { snapshots.write() })?;
                Some(snapshots)
            }
            None => None,
        };
        comm.on_root(|| workdir.remove_snapshots(&older))?;
        let checkpoints =
            Journal::open(&workdir.journal(comm.rank()), number, generation, sync).and_then(|journal| {
                Checkpoints::start(&workdir.matrix(), journal, (snapshots, spool), interval, sync)
            });
        comm.agree(checkpoints)
    }

    /// Makes the result, or makes sure that it is the one of the run that it resumes. Returns the run's number. Collective.
    fn make_or_check<T: Number>(&mut self, comm: &Comm, job: &Job<'_>, findings: &Findings) -> Result<u64> {
        let (identity, provenance) =
            (job.identity(findings.ids.clone(), &findings.given), job.provenance(comm.size()));
        let Self { workdir, unfinished, .. } = self;
        let mut number = unfinished.as_ref().map_or(0, |run| run.number);
        comm.on_root(|| {
            if let Some(run) = unfinished {
                run.check(&identity, workdir)?;
                // before anything is changed that such a rank may write
                workdir.check_free()?;
                let [undo, _] = workdir.undo();
                undo::restore(&workdir.matrix(), &undo, run.number)?;
                return run.check_matrix(workdir);
            }
            let header = Header { identity, provenance, scaling_exponent: findings.scaling };
            number = make::<T>(comm, workdir, header, job, &findings.given)?;
            Ok(())
        })?;
        Ok(comm.all_reduce(&[number], Reduce::Or)[0])
    }

    /// Closes the result of a run that has stopped early. Collective.
    pub(super) fn leave<T>(self, comm: &Comm, sinks: Sinks<T>) {
        drop(sinks);
        if let Some(file) = self.file {
            comm.or_abort(file.close());
        }
    }

    /// Makes the arrays whose length is known only now, and stores what belongs there. Returns the file, open again. Collective.
    fn store_last<T: Number>(
        &self,
        comm: &Comm,
        job: &Job<'_>,
        file: ResultWriter,
        tail: Box<dyn Tail>,
        stop: &Stop,
    ) -> (ResultWriter, Option<Finished>) {
        let (workdir, grid, results) = (&self.workdir, &job.schedule.grid, &job.results);
        let sync = !job.args.no_sync;
        let mut lens = vec![0; comm.size()];
        lens[comm.rank()] = tail.entries() as u64;
        let lens = comm.all_reduce(&lens, Reduce::Sum);
        let sum = |lens: &[u64]| usize::try_from(lens.iter().sum::<u64>()).expect("entries are counted");
        let (first, all) = (sum(&lens[..comm.rank()]), sum(&lens));
        let entry = results.bytes_of_entry::<T>(grid).unwrap_or_default();
        comm.or_end(comm.on_root(|| {
            failpoint::hit("last")?;
            limits::check_room((all as u64).saturating_mul(entry as u64), workdir)
        }));
        let before = |path: &Path| {
            let [undo, draft] = workdir.undo();
            let places = result::places(path, &results.arrays::<T>())?;
            undo::save(path, &places, [&undo, &draft], self.number, sync)?;
            failpoint::hit("extend")
        };
        let hint = |text| {
            format!(
                "{text}. The computed distances are kept: once that is done, run the same command with --resume"
            )
        };
        let file = file.extend(comm, before, |file| results.create_last::<T>(file, grid, all));
        let file = comm.or_end(file.map_err(|error| error.map(hint)));
        comm.or_end(comm.on_root(|| workdir.reserve().map_err(|error| error.map(hint))));
        let finished =
            failpoint::hit("extended").and_then(|()| tail.finish(&file.arrays(), first, &|| stop.is_due()));
        (file, comm.or_abort(finished))
    }

    /// Declares the result complete and gives it its name. Returns what this rank has stored for it, or nothing if it was time to stop
    /// before all was stored. Collective.
    pub(super) fn publish<T: Number>(
        mut self,
        comm: &Comm,
        job: &Job<'_>,
        (sinks, journal): (Sinks<T>, Option<Journal>),
        stop: &Stop,
    ) -> Result<Option<Finished>> {
        // nobody takes the run over while its ranks write
        let _held = journal;
        let sync = !job.args.no_sync;
        let mut file = self.file.take().expect("a result that has begun is open");
        let stored = failpoint::hit("checksums").and_then(|()| sinks.finish());
        let (mut finished, tail) = comm.or_abort(stored);
        if let Some(tail) = tail {
            let last;
            (file, last) = self.store_last::<T>(comm, job, file, tail, stop);
            let is_stopped = comm.all_reduce(&[u64::from(last.is_none())], Reduce::Max)[0] == 1;
            let Some(last) = last.filter(|_| !is_stopped) else {
                comm.or_abort(file.close());
                return Ok(None);
            };
            finished.add(&last);
        }
        comm.or_abort(complete(comm, &file, sync));
        let stored = comm.all_reduce(&[finished.checksums], Reduce::Sum)[0];
        comm.or_abort(failpoint::hit("close"));
        comm.or_abort(file.close());
        let Self { mut workdir, unfinished, .. } = self;
        let replaces = unfinished.is_some_and(|run| run.plan.replaces);
        let hint = |text| {
            format!(
                "{text}; if {} is whole, the same command with --resume publishes it",
                workdir.matrix().display()
            )
        };
        workdir.check_still_shared(comm).map_err(|error| error.map(hint))?;
        comm.on_root(|| {
            check_stored(&workdir, stored)?;
            workdir.publish(replaces, sync)
        })?;
        Ok(Some(finished))
    }
}

/// Fills the working folder, and returns the run's number.
fn make<T: Number>(
    comm: &Comm,
    workdir: &mut Workdir,
    header: Header,
    job: &Job<'_>,
    given: &Given,
) -> Result<u64> {
    let args = job.args;
    workdir.clear()?;
    failpoint::hit("create")?;
    let grid = header.identity.grid();
    let labels = job.inputs.labels(&args.problem)?;
    let created = result::create(&workdir.matrix(), &header, |file| {
        let mut labels = LABELS.into_iter().zip(&labels);
        labels.try_for_each(|(name, labels)| file.labels(name, labels))?;
        given.stored().try_for_each(|(name, values)| file.values(name, values, job.problem.d))?;
        job.results.create::<T>(file, &grid)
    });
    created.map_err(|error| super::end_job(comm, workdir, &error))?;
    workdir.reserve()?;
    let Header { identity, provenance, .. } = header;
    let text = RunPlan { identity, replaces: args.force, provenance }.to_json()?;
    failpoint::hit("plan")?;
    workdir.commit_plan(&text, !args.no_sync)?;
    Ok(RunPlan::run(&text))
}

/// Forces all to the disk and declares the result complete.
fn complete(comm: &Comm, file: &ResultWriter, sync: bool) -> Result<()> {
    if sync {
        file.sync()?;
    }
    // nothing is declared complete before all ranks have stored everything
    comm.barrier();
    failpoint::hit("complete")?;
    file.declare_complete()?;
    if sync {
        file.sync()?;
    }
    Ok(())
}

/// Makes sure that what is published is what all ranks have written, as this rank sees it.
fn check_stored(workdir: &Workdir, written: u64) -> Result<()> {
    let path = workdir.matrix();
    let stored = sink::stored_sum(&ResultReader::open(&path)?)?;
    if stored != written {
        fail!(
            "the checksums in {} add up to {stored:016x}, and those of what all ranks have written to {written:016x}: the file was replaced during the run, or some ranks have written elsewhere; write the result to a file system that all nodes share, and start over with --force",
            path.display()
        );
    }
    Ok(())
}
