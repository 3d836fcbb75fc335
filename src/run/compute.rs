//! `compute`: from samples to the matrix of their distances.

use std::ops::Range;

use super::blocks::{Blocks, Findings};
use super::claim::Claim;
use super::job::Job;
use super::outcome::{self, Outcome};
use super::reading;
use super::reread::Reread;
use super::setup::{self, with_dtype};
use super::unfinished::{Earlier, Restored, Run};
use crate::block::Block;
use crate::cli::ComputeArgs;
use crate::comm::{Comm, Reduce};
use crate::error::{Error, Result};
use crate::host;
use crate::kernel::Kernel;
use crate::number::Number;
use crate::partition::TileSet;
use crate::pipeline::{Meanwhile, Rounds, Tally, ThreadWorker, Workers};
use crate::report::{Clock, Phase, Progress};
use crate::schedule::Ring;
use crate::sink::{Finished, Parcel, Sinks};
use crate::stop::Stop;
use crate::store::workdir::Workdir;

pub(super) fn compute(comm: &Comm, args: &ComputeArgs, stop: Stop) -> Result<()> {
    let stop = stop.after(setup::time_left(comm, args.time_limit));
    let mut workdir = args.output.as_deref().map(|output| Workdir::of(output, args.existing()));
    let found = workdir.as_mut().map_or(Ok(Earlier::Nothing), |workdir| Run::find(comm, workdir))?;
    let job = Job::settle(comm, args, &found)?;
    match (found, workdir) {
        (Earlier::Published(run), Some(workdir)) => {
            with_dtype!(job.problem.dtype, already_there(comm, &job, &run, workdir))
        }
        (found, workdir) => with_dtype!(job.problem.dtype, run(comm, job, &stop, found, workdir)),
    }
}

/// The result of an earlier run is the one that is asked for, or it is in the way.
fn already_there<T: Number>(comm: &Comm, job: &Job<'_>, run: &Run, mut workdir: Workdir) -> Result<()> {
    let (inputs, shown) = (&job.inputs, workdir.output().display().to_string());
    let check = |ids| match run.plan.identity.difference(&job.identity(ids, &job.given)) {
        Some(difference) => Err(Error::Failed(format!(
            "{shown} exists, and is another result: {difference}; choose another name, or use --force"
        ))),
        None => Ok(()),
    };
    check(inputs.ids(&[], 0))?;
    let workers = comm.agree(Workers::start(1))?;
    let known = reading::survey::<T>(comm, &workers, inputs, job.problem.metric)?;
    check(inputs.ids(&known.digests(), known.subtracted))?;
    comm.on_root(|| {
        let has_record = job.args.json.is_some();
        let record = if has_record { "; nothing was computed, so no run record is written" } else { "" };
        log::info!("{shown} is complete already{record}");
        if workdir.folder().exists() {
            workdir.discard();
        }
        Ok(())
    })
}

/// The paper's paragraph: every rank reads the rows it owns and packs them once; column blocks go round the ring while
/// workers compute tiles and the main thread stores what is made of them; the result gets its name when it is complete.
fn run<T: Number>(
    comm: &Comm,
    mut job: Job<'_>,
    stop: &Stop,
    found: Earlier,
    workdir: Option<Workdir>,
) -> Result<()> {
    let memory = job.fit_memory::<T>(comm, &found)?;
    let (job, kernel) = (&job, job.kernel::<T>());
    comm.on_root(|| job.check_names(workdir.as_ref()))?;
    let mut claim = workdir.map(|workdir| Claim::take::<T>(comm, job, workdir, found)).transpose()?;
    job.tell::<T>(comm, &memory);
    let mut clock = Clock::start();
    let begun = begin(comm, job, &kernel, claim.as_mut(), &mut clock);
    let Begun { workers, blocks, findings, mut sinks, restored } =
        begun.inspect_err(|_| claim.iter_mut().for_each(|claim| claim.give_up(comm)))?;

    let kernel = kernel.of(findings.measure.clone()).of_scaled(findings.scaling);
    let mut progress = Progress::start(tiles_left(comm, job, &restored.done), comm.is_root());
    let mut tally = Tally::new(&mut progress, &mut clock);
    let rings = Rings { comm, job, kernel: &kernel, workers: &workers, done: &restored.done, stop };
    comm.or_abort(rings.run(blocks, &mut sinks, &mut tally));
    let mut totals = tally.totals;
    progress.finish();
    // before waiting for slower ranks: what is done is safe
    let journal = comm.or_abort(sinks.settle());
    clock.lap(Phase::Sync);
    comm.barrier();
    clock.lap(Phase::Wait);

    totals.add(&restored.totals);
    let pairs = comm.all_reduce(&[totals.pairs], Reduce::Sum)[0];
    if pairs != job.problem.pairs() {
        if let Some(claim) = claim {
            claim.leave(comm, sinks);
        }
        return Err(stopped(comm, job, stop, pairs));
    }
    let mut finished = Finished::default();
    if let Some(claim) = claim {
        match claim.publish(comm, job, (sinks, journal), stop)? {
            Some(stored) => finished = stored,
            None => return Err(stopped(comm, job, stop, pairs)),
        }
        totals.bytes_written += finished.bytes;
        clock.lap(Phase::Sync);
    }
    let resumed_pairs = restored.totals.pairs;
    outcome::tell::<T>(
        comm,
        job,
        &Outcome { findings, totals, resumed_pairs, finished, planned: memory, clock },
    )
}

/// What tiles are computed with.
struct Begun<T> {
    workers: Workers,
    blocks: Blocks,
    findings: Findings,
    sinks: Sinks<T>,
    restored: Restored,
}

/// Makes what is needed before tiles are computed. Collective.
fn begin<T: Number>(
    comm: &Comm,
    job: &Job<'_>,
    kernel: &Kernel<T>,
    claim: Option<&mut Claim>,
    clock: &mut Clock,
) -> Result<Begun<T>> {
    let workers = comm.agree(Workers::start(job.cores.threads))?;
    let (blocks, findings) = Blocks::load(comm, job, kernel, &workers, clock)?;
    clock.lap(Phase::Read);
    comm.barrier();
    clock.lap(Phase::Wait);
    let (sinks, restored) = match claim {
        Some(claim) => claim.begin::<T>(comm, job, &findings)?,
        None => (job.sinks(comm), Restored::nothing(&job.schedule.grid)),
    };
    Ok(Begun { workers, blocks, findings, sinks, restored })
}

/// All ways round the ring.
pub(super) struct Rings<'a, T> {
    pub(super) comm: &'a Comm,
    pub(super) job: &'a Job<'a>,
    pub(super) kernel: &'a Kernel<T>,
    pub(super) workers: &'a Workers,
    /// Tiles that an earlier run has computed.
    pub(super) done: &'a TileSet,
    pub(super) stop: &'a Stop,
}

impl<T: Number> Rings<'_, T> {
    /// Computes and stores the tiles of this rank.
    ///
    /// # Errors
    /// If a tile cannot be stored, or samples cannot be read again: the other ranks know nothing of it, so the caller must end the job.
    fn run(&self, blocks: Blocks, sinks: &mut Sinks<T>, tally: &mut Tally<'_>) -> Result<()> {
        let mut parcels = Vec::new();
        match blocks {
            Blocks::Whole(rows, cols) => {
                let ring = self.job.schedule.rings().next().expect("there is one way round the ring");
                self.go_round(ring, (&rows, cols), (sinks, &mut parcels), &mut (), tally)
            }
            Blocks::InBands(reread) => self.run_in_bands(&reread, (sinks, &mut parcels), tally),
            Blocks::InParts(parts) => {
                for ring in self.job.schedule.rings().filter(|ring| self.has_work(ring)) {
                    if !parts.go_round(self, ring, (&mut *sinks, &mut parcels), tally)?
                        || self.all_stop(tally)
                    {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether it is time to stop for any rank. Collective.
    pub(super) fn all_stop(&self, tally: &mut Tally<'_>) -> bool {
        let stops = self.comm.all_reduce(&[u64::from(self.stop.is_due())], Reduce::Max)[0];
        tally.clock.lap(Phase::Wait);
        stops > 0
    }

    /// Reads the columns of each way round the ring while the tiles of the one before are computed.
    fn run_in_bands(
        &self,
        reread: &Reread,
        (sinks, parcels): (&mut Sinks<T>, &mut Vec<Parcel<T>>),
        tally: &mut Tally<'_>,
    ) -> Result<()> {
        let (rank, schedule) = (self.comm.rank(), self.job.schedule);
        let count = |samples: Range<usize>, tally: &mut Tally<'_>| {
            let values = samples.len() * self.job.problem.d;
            tally.totals.bytes_read += (values * size_of::<T>()) as u64;
        };
        let mut rings = schedule.rings().filter(|ring| self.has_work(ring));
        let mut rows: Option<(usize, Block)> = None;
        let Some(mut ring) = rings.next() else { return Ok(()) };
        let mut ahead = reread.ahead::<T>(&ring);
        loop {
            if rows.as_ref().is_none_or(|(band, _)| *band != ring.rows) {
                // room for the next
                drop(rows.take());
                rows = Some((ring.rows, reread.rows::<T>(self.workers, ring.rows)?));
                count(schedule.rows_of(ring.tile_rows(rank)), tally);
            }
            let cols = reread.cols(self.workers, &ring, ahead)?;
            count(schedule.cols_of(ring.tile_cols(rank)), tally);
            tally.clock.lap(Phase::Read);
            let (_, block) = rows.as_ref().expect("it was read");
            let next = rings.next();
            let Some(next) = next else {
                return self.go_round(ring, (block, cols), (sinks, parcels), &mut (), tally);
            };
            ahead = reread.ahead(&next);
            self.go_round(ring, (block, cols), (&mut *sinks, &mut *parcels), &mut ahead, tally)?;
            // all ranks are through, and go on or stop together
            if self.all_stop(tally) {
                return Ok(());
            }
            ring = next;
        }
    }

    /// Whether any rank has a tile to compute on this way.
    fn has_work(&self, ring: &Ring) -> bool {
        self.done.is_empty() || {
            let all = (0..self.comm.size()).flat_map(|rank| ring.all_tiles(rank));
            all.into_iter().any(|tile| !self.done.contains(tile))
        }
    }

    fn go_round(
        &self,
        ring: Ring,
        (rows, cols): (&Block, Block),
        stores: (&mut Sinks<T>, &mut Vec<Parcel<T>>),
        meanwhile: &mut dyn Meanwhile,
        tally: &mut Tally<'_>,
    ) -> Result<()> {
        let Self { comm, job, done, stop, .. } = *self;
        let rounds = Rounds { comm, ring, done, stop, mail_interval: job.args.checkpoint_interval };
        let worker = || ThreadWorker::new(self.kernel, job.schedule.grid, rows);
        rounds.run(self.workers, worker, cols, stores, meanwhile, tally)
    }
}

/// Tiles that this rank has to compute.
fn tiles_left(comm: &Comm, job: &Job<'_>, done: &TileSet) -> usize {
    let (schedule, rank) = (&job.schedule, comm.rank());
    if done.is_empty() {
        return schedule.tile_count(rank);
    }
    let tiles = schedule.rings().flat_map(|ring| ring.all_tiles(rank));
    tiles.filter(|tile| !done.contains(*tile)).count()
}

/// The error of a run that was stopped when all ranks together had so many pairs. Collective.
fn stopped(comm: &Comm, job: &Job<'_>, stop: &Stop, pairs: u64) -> Error {
    let flags = [stop.is_due(), stop.is_signalled()].map(u64::from);
    let flags = comm.all_reduce(&flags, Reduce::Max);
    let (is_due, is_signalled) = (flags[0] == 1, flags[1] == 1);
    let percent = 100.0 * pairs as f64 / job.problem.pairs() as f64;
    if !is_due {
        return Error::Failed(format!(
            "internal error: only {percent} % of the distances came; please report it"
        ));
    }
    let way_on = if job.args.output.is_some() {
        format!("resume with: {}", host::command_to_resume(&host::command_line()))
    } else {
        "nothing was to be written (--no-output), so nothing is kept".into()
    };
    let why =
        if is_signalled { "by a signal".into() } else { format!("at the time limit ({})", stop.limit()) };
    Error::Stopped(format!("stopped {why}, with {percent:.1} % done; {way_on}"))
}
