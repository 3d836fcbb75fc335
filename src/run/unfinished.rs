//! Taking up a run that did not come to its end.

use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::fail;
use crate::io::journal;
use crate::io::matrix::MatrixReader;
use crate::io::runplan::RunPlan;
use crate::io::workdir::Workdir;
use crate::partition::{TileSet, range_of};
use crate::pipeline::Totals;
use crate::schedule::Schedule;

/// What `--resume` has found.
pub(super) enum Found {
    /// No run, or none that had begun to compute.
    Nothing,
    /// A run to go on with.
    Unfinished(Run),
    /// A run that had come to its end, but for its folder.
    Finished,
}

/// The run that a working folder belongs to.
pub(super) struct Run {
    pub(super) plan: RunPlan,
    /// Its number, which its journals carry.
    pub(super) number: u64,
}

impl Run {
    pub(super) fn of(text: &str, workdir: &Workdir) -> Result<Self> {
        match RunPlan::from_json(text) {
            Ok(plan) => Ok(Self { plan, number: RunPlan::run(text) }),
            Err(error) => {
                fail!(
                    "the plan in {} is damaged ({error}); start over with --force",
                    workdir.folder().display()
                )
            }
        }
    }

    /// Looks for a run that is to be taken up. Locks its folder on rank 0.
    pub(super) fn find(comm: &Comm, workdir: &mut Workdir) -> Result<Found> {
        let (mut text, mut is_finished) = (Vec::new(), 0_u64);
        comm.on_root(|| {
            let Some(plan) = workdir.resume()? else { return Ok(()) };
            if Self::of(&plan, workdir)?.is_published(workdir) {
                log::info!("{} is complete already", workdir.output().display());
                workdir.discard();
                is_finished = 1;
            }
            text = plan.into_bytes();
            Ok(())
        })?;
        if comm.all_reduce(&[is_finished], Reduce::Max)[0] == 1 {
            return Ok(Found::Finished);
        }
        comm.broadcast(0, &mut text);
        if text.is_empty() {
            return Ok(Found::Nothing);
        }
        comm.agree(Self::of(&String::from_utf8_lossy(&text), workdir)).map(Found::Unfinished)
    }

    /// Whether the run got as far as the rename, and no further.
    fn is_published(&self, workdir: &Workdir) -> bool {
        let is_mine = |result: MatrixReader| {
            result.complete
                && result.header.created == self.plan.created
                && result.header.inputs == self.plan.inputs
        };
        !workdir.matrix().exists() && MatrixReader::open(workdir.output()).is_ok_and(is_mine)
    }

    /// Refuses to go on with another problem than the run was begun with.
    pub(super) fn check(&self, now: &RunPlan, workdir: &Workdir) -> Result<()> {
        if let Some(difference) = self.plan.difference(now) {
            fail!(
                "{} was begun with something else: {difference}; go on as it was begun, or start over with --force",
                workdir.folder().display()
            );
        }
        Ok(())
    }

    /// Refuses a matrix that is not the one of the plan.
    pub(super) fn check_matrix(&self, workdir: &Workdir) -> Result<()> {
        let path = workdir.matrix();
        let header = MatrixReader::open(&path)?.header;
        let problem = &self.plan.problem;
        let (grid, then) = (header.grid, (problem.n, problem.m, problem.tile));
        if (grid.n, grid.m, grid.edge) != then || header.dtype != problem.dtype {
            fail!("{} is not the matrix of its plan; start over with --force", path.display());
        }
        Ok(())
    }
}

/// What the journals of a run say is done: the tiles, and this rank's share of what they add up to. Collective.
pub(super) fn read_journals(
    comm: &Comm,
    workdir: &Workdir,
    run: u64,
    schedule: &Schedule,
) -> Result<(TileSet, Totals)> {
    let mut listed = Vec::new();
    comm.on_root(|| {
        listed = workdir.journals()?.iter().flat_map(|rank| (*rank as u64).to_le_bytes()).collect();
        Ok(())
    })?;
    comm.broadcast(0, &mut listed);
    let (listed, _) = listed.as_chunks::<8>();
    let mine = &listed[range_of(listed.len(), comm.size(), comm.rank())];
    let grid = &schedule.grid;
    let (mut done, mut totals, mut entries) =
        (TileSet::empty(grid, schedule.symmetric), Totals::default(), 0_u64);
    let read = mine.iter().try_for_each(|rank| {
        let path = workdir.journal(usize::try_from(u64::from_le_bytes(*rank)).unwrap_or(usize::MAX));
        let contents = journal::read(&path, run, grid)?;
        if contents.damaged > 0 {
            log::warn!(
                "{}: {} entries are damaged; their tiles are computed again",
                path.display(),
                contents.damaged
            );
        }
        for entry in contents.entries {
            let mirrored = schedule.is_mirrored(entry.tile);
            done.insert(entry.tile);
            totals.count(&entry, grid, mirrored);
            totals.keep_checksum(&entry, mirrored);
            entries += 1;
        }
        Ok(())
    });
    comm.agree(read)?;
    if listed.is_empty() {
        return Ok((done, totals));
    }
    let words = TileSet::words(grid);
    *done.bits(words) = comm.all_reduce(done.bits(words), Reduce::Or);
    let entries = comm.all_reduce(&[entries], Reduce::Sum)[0];
    if done.len() as u64 != entries {
        fail!("the journals in {} name a tile twice; start over with --force", workdir.folder().display());
    }
    Ok((done, totals))
}
