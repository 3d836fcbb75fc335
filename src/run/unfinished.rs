//! Taking up a run that did not come to its end.

use crate::comm::{Comm, Reduce};
use crate::error::{Error, Result};
use crate::fail;
use crate::io::result::Header;
use crate::partition::{Grid, TileSet, range_of};
use crate::pipeline::Totals;
use crate::problem::Identity;
use crate::sink::{self, Spooled};
use crate::store::journal::{self, Done, Journalled};
use crate::store::runplan::RunPlan;
use crate::store::snapshot::{self, SnapshotId, State};
use crate::store::spool;
use crate::store::workdir::Workdir;

/// What `--resume` has found.
pub(super) enum Earlier {
    /// No run, or none that had begun to compute.
    Nothing,
    /// A run to go on with.
    Unfinished(Run),
    /// A complete result, and what it was computed from.
    Published(Run),
}

impl Earlier {
    pub(super) fn run(&self) -> Option<&Run> {
        match self {
            Self::Nothing => None,
            Self::Unfinished(run) | Self::Published(run) => Some(run),
        }
    }
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

    /// Looks for a run to resume. Locks its folder on rank 0.
    pub(super) fn find(comm: &Comm, workdir: &mut Workdir) -> Result<Earlier> {
        let (mut text, mut is_published) = (Vec::new(), 0_u64);
        comm.on_root(|| {
            if !workdir.may_resume() {
                return Ok(());
            }
            let plan =
                workdir.resume()?.map(|text| Self::of(&text, workdir).map(|run| (run, text))).transpose()?;
            let has_result = workdir.output().exists();
            if let Some((run, _)) = &plan
                && has_result
                && workdir.matrix().exists()
                && run.has_published(workdir)
            {
                workdir.remove_matrix()?;
            }
            let has_matrix = workdir.matrix().exists();
            text = match plan {
                Some((run, text)) if has_matrix => {
                    if has_result && !run.plan.replaces {
                        fail!(
                            "{} exists, and {} has a run that has not finished; move one of them away",
                            workdir.output().display(),
                            workdir.folder().display()
                        );
                    }
                    text
                }
                _ if has_result => {
                    is_published = 1;
                    let Header { identity, provenance, .. } = published(workdir)?;
                    RunPlan { identity, replaces: false, provenance }.to_json()?
                }
                plan => {
                    tell_fresh_start(plan.map(|(run, _)| run), workdir);
                    String::new()
                }
            }
            .into_bytes();
            Ok(())
        })?;
        let is_published = comm.all_reduce(&[is_published], Reduce::Max)[0] == 1;
        comm.broadcast(0, &mut text);
        if text.is_empty() {
            return Ok(Earlier::Nothing);
        }
        let run = comm.agree(Self::of(&String::from_utf8_lossy(&text), workdir))?;
        Ok(if is_published { Earlier::Published(run) } else { Earlier::Unfinished(run) })
    }

    /// Whether the result that stands there is this run's: it was killed when it had given the matrix its name, and not
    /// yet taken the old one away.
    fn has_published(&self, workdir: &Workdir) -> bool {
        published(workdir).is_ok_and(|made| self.is_of(&made))
    }

    /// Whether a matrix was made by this run.
    fn is_of(&self, made: &Header) -> bool {
        let RunPlan { identity, provenance, .. } = &self.plan;
        made.provenance.created == provenance.created && made.identity == *identity
    }

    /// Refuses to go on with another problem than the run was begun with.
    pub(super) fn check(&self, now: &Identity, workdir: &Workdir) -> Result<()> {
        if let Some(difference) = self.plan.identity.difference(now) {
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
        let open = sink::open(&path);
        let why = |text| {
            format!("{} is not the matrix of its plan ({text}); start over with --force", path.display())
        };
        let header = open.map_err(|error| error.map(why))?.header;
        if !self.is_of(&header) {
            fail!("{} is not the matrix of its plan; start over with --force", path.display());
        }
        Ok(())
    }
}

/// Says why nothing is resumed.
fn tell_fresh_start(run: Option<Run>, workdir: &Workdir) {
    let folder = workdir.folder().display();
    if let Some(run) = run {
        log::warn!(
            "{folder} has the plan of the run begun at {} and no matrix; something has removed it, such as a clean-up of the file system: starting from the beginning",
            run.plan.provenance.created
        );
    } else if workdir.journals().is_ok_and(|ranks| !ranks.is_empty()) {
        log::warn!(
            "{folder} has journals of a run and no plan; something has removed it, so the journals cannot be used: starting from the beginning"
        );
    } else {
        log::info!(
            "there is nothing to resume at {}: starting from the beginning",
            workdir.output().display()
        );
    }
}

/// What a run that has published its result says of it.
fn published(workdir: &Workdir) -> Result<Header> {
    let reader = sink::open(workdir.output())?;
    if !reader.complete {
        fail!("{} is not complete; remove it, or start over with --force", workdir.output().display());
    }
    Ok(reader.header)
}

/// What an earlier run has done.
pub(super) struct Restored {
    /// All tiles that are done.
    pub(super) done: TileSet,
    /// Some of them, which this rank takes in.
    pub(super) tiles: Vec<Done>,
    /// What these add up to.
    pub(super) totals: Totals,
}

impl Restored {
    /// Of a run that begins.
    pub(super) fn nothing(grid: &Grid) -> Self {
        Self { done: TileSet::empty(grid), tiles: Vec::new(), totals: Totals::default() }
    }

    /// Of what journals say of tiles that are done.
    pub(super) fn of(journalled: Journalled, done: TileSet, grid: &Grid) -> Self {
        let mut tiles = journalled.tiles;
        tiles.retain(|known| done.contains(known.tile));
        let mut totals = Totals::default();
        for known in &tiles {
            totals.count(known, grid);
        }
        Self { done, tiles, totals }
    }
}

/// What the journals of a run say, of which each rank takes in a share. Collective.
pub(super) fn read_journals(comm: &Comm, workdir: &Workdir, run: u64, grid: &Grid) -> Result<Journalled> {
    let mut listed = Vec::new();
    comm.on_root(|| {
        listed = workdir.journals()?.iter().flat_map(|rank| (*rank as u64).to_le_bytes()).collect();
        Ok(())
    })?;
    comm.broadcast(0, &mut listed);
    let (listed, _) = listed.as_chunks::<8>();
    let mine = range_of(listed.len(), comm.size(), comm.rank());
    let mut journalled = comm.agree(read_some(&listed[mine], workdir, run, grid))?;
    if unite(comm, &mut journalled, grid) {
        // a tile in the journals of two ranks must count once: one rank reads them all
        let listed = if comm.is_root() { listed } else { &[] };
        journalled = comm.agree(read_some(listed, workdir, run, grid))?;
        unite(comm, &mut journalled, grid);
    }
    Ok(journalled)
}

/// Has each rank take in what earlier ranks have gathered of its rows, from tiles that are done. Returns the generation of the snapshots
/// to come, and those that are there. Collective.
///
/// # Errors
/// If something of a tile that is done is in none of them: it would be taken for done ever after.
pub(super) fn read_snapshots(
    comm: &Comm,
    workdir: &Workdir,
    run: u64,
    state: &dyn State,
    (done, grid): (&TileSet, &Grid),
) -> Result<(usize, Vec<SnapshotId>)> {
    let versions = listed(comm, || workdir.snapshots())?;
    let rows = state.rows();
    let mut is_there = vec![false; rows.len()];
    let read = versions.iter().try_for_each(|version| {
        let [path, _] = workdir.snapshot(*version);
        for whole in snapshot::read(&path, run, state)? {
            is_there[whole.start - rows.start..whole.end - rows.start].fill(true);
        }
        Ok(())
    });
    comm.agree(read)?;
    // rows of tiles of which all is there
    let mut whole = vec![0_u64; grid.tile_rows().div_ceil(64)];
    for tile_row in 0..grid.tile_rows() {
        let of_tile = grid.rows(tile_row);
        if rows.contains(&of_tile.start)
            && is_there[of_tile.start - rows.start..of_tile.end - rows.start].iter().all(|there| *there)
        {
            whole[tile_row / 64] |= 1 << (tile_row % 64);
        }
    }
    let whole = comm.all_reduce(&whole, Reduce::Or);
    let is_whole = |tile_row: usize| whole[tile_row / 64] & 1 << (tile_row % 64) != 0;
    let mut kept = done.clone();
    kept.retain(|tile| is_whole(tile.i) && (!grid.is_mirrored(tile) || is_whole(tile.j)));
    if kept != *done {
        fail!(
            "the lists of neighbours in {} (lists.*) are damaged, or some of them are missing; start over with --force",
            workdir.folder().display()
        );
    }
    state.retain(&|tile| done.contains(tile));
    Ok((versions.last().map_or(0, |last| last.generation + 1), versions))
}

/// Has each rank take in the pieces of its rows that earlier ranks have spooled, of tiles that are done. Returns the generation of the
/// spools to come. Collective.
///
/// # Errors
/// If a piece of a tile that is done is in none of them.
pub(super) fn read_spools(
    comm: &Comm,
    workdir: &Workdir,
    run: u64,
    spooled: &mut dyn Spooled,
    done: &TileSet,
) -> Result<usize> {
    let spools = listed(comm, || workdir.spools())?;
    let rows = spooled.rows();
    // in the order of generations
    let read = spools.iter().try_for_each(|id| {
        spooled.take_in(spool::scan(&workdir.spool(*id), run, &rows)?);
        Ok(())
    });
    comm.agree(read)?;
    comm.agree(if spooled.retain(&|tile| done.contains(tile)) {
        Ok(())
    } else {
        let folder = workdir.folder().display();
        Err(Error::Failed(format!(
            "the pieces of the result in {folder} (spool.*) are damaged, or some of them are missing; start over with --force"
        )))
    })?;
    // of a run that filled the disk, pieces of tiles that are not done may be all there is
    let used = spools.iter().map(|id| u64::from(spooled.uses(&workdir.spool(*id)))).collect::<Vec<_>>();
    let used = comm.all_reduce(&used, Reduce::Or);
    let unused: Vec<_> = spools.iter().zip(used).filter(|(_, used)| *used == 0).map(|(id, _)| *id).collect();
    comm.on_root(|| workdir.remove_spools(&unused))?;
    Ok(spools.last().map_or(0, |last| last.generation + 1))
}

/// What rank 0 finds in the working folder, on all ranks. Collective.
fn listed(comm: &Comm, find: impl FnOnce() -> Result<Vec<SnapshotId>>) -> Result<Vec<SnapshotId>> {
    let mut listed = Vec::new();
    comm.on_root(|| {
        let ids = find()?;
        let words = ids.iter().flat_map(|id| [id.generation as u64, id.rank as u64]);
        listed = words.flat_map(u64::to_le_bytes).collect();
        Ok(())
    })?;
    comm.broadcast(0, &mut listed);
    let place = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).unwrap_or(usize::MAX);
    let words: Vec<usize> = listed.as_chunks::<8>().0.iter().map(place).collect();
    Ok(words.chunks_exact(2).map(|pair| SnapshotId { generation: pair[0], rank: pair[1] }).collect())
}

/// Makes the sets those of all ranks. Returns whether several ranks have one tile. Collective.
fn unite(comm: &Comm, journalled: &mut Journalled, grid: &Grid) -> bool {
    let words = TileSet::words(grid);
    let entries = comm.all_reduce(&[journalled.tiles.len() as u64], Reduce::Sum)[0];
    let most = comm.all_reduce(&[journalled.generations.len() as u64], Reduce::Max)[0];
    journalled.extend(grid, usize::try_from(most).expect("generations are a usize"));
    let mut forward = TileSet::empty(grid);
    for set in journalled.generations.iter_mut().flatten() {
        *set.bits(words) = comm.all_reduce(set.bits(words), Reduce::Or);
    }
    journalled.generations.iter().for_each(|[set, _]| forward.unite(set));
    forward.len() as u64 != entries
}

/// What some of the journals say.
fn read_some(ranks: &[[u8; 8]], workdir: &Workdir, run: u64, grid: &Grid) -> Result<Journalled> {
    let mut journalled = Journalled::nothing(grid);
    for rank in ranks {
        let path = workdir.journal(usize::try_from(u64::from_le_bytes(*rank)).unwrap_or(usize::MAX));
        journal::check_free(&path)?;
        let contents = journal::read(&path, run, grid)?;
        if contents.damaged > 0 {
            log::warn!(
                "{}: {} entries are damaged; their tiles are computed again",
                path.display(),
                contents.damaged
            );
        }
        journalled.add(grid, &contents.entries);
    }
    Ok(journalled)
}
