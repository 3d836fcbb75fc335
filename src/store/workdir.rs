//! The folder of an unfinished run, and the rename that publishes its result.
//!
//! `OUT.h5.partial/` holds the matrix while it is computed, the plan, a journal for each rank, a lock that is released when
//! the run that holds it ends, and a token by which all ranks recognise the folder. The plan is written last: without it, nothing in
//! the folder counts. Samples that are generated have another file there, and no plan: they are not resumed, but generated again.
//! Nothing stands under the final name before it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::journal;
use super::names::{
    JOURNAL, LISTS, LISTS_DRAFT, LOCK, MATRIX, PLAN, PLAN_DRAFT, SAMPLES, SPOOL, TOKEN, UNDO, UNDO_DRAFT,
    is_lock_of_mpi, is_ours, journal_rank, version,
};
use super::runplan::RunPlan;
use super::snapshot::SnapshotId;
use crate::comm::Comm;
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::failpoint;
use crate::host;
use crate::io::result;
use crate::text::bytes;

/// Longest name of a file on Linux, in bytes.
const NAME_LEN: usize = 255;

/// No plan is longer, in bytes.
const PLAN_LEN: u64 = 1 << 20;

/// How long a rank waits until it sees what rank 0 has just written. Network file systems look a file up anew when it is opened.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits where it sees no file at all: that there is none, NFS remembers for half a minute (acdirmin of nfs(5)).
const PATIENCE_WITHOUT: Duration = Duration::from_secs(35);

/// What a run does where it finds the result's name, or its working folder, taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Stops.
    Refuse,
    /// Stops at a file, and at a folder that holds more than samples that were not finished. Those are generated again.
    Samples,
    /// Replaces the result, and empties the folder.
    Replace,
    /// Stops at a result; goes on with what is in the folder.
    Resume,
}

/// The working folder of one result.
#[derive(Debug)]
pub struct Workdir {
    output: PathBuf,
    folder: PathBuf,
    existing: Existing,
    /// Held by the rank that has locked the folder, with what it has written there.
    lock: Option<(File, String)>,
    /// What all ranks have found in the folder.
    token: Vec<u8>,
    /// This run has made or emptied the folder.
    is_new: bool,
}

impl Workdir {
    /// The working folder of the result `output`, which need not exist.
    pub fn of(output: &Path, existing: Existing) -> Self {
        let mut folder = output.as_os_str().to_owned();
        folder.push(".partial");
        Self {
            output: output.to_owned(),
            folder: folder.into(),
            existing,
            lock: None,
            token: Vec::new(),
            is_new: false,
        }
    }

    /// The matrix file.
    pub fn matrix(&self) -> PathBuf {
        self.folder.join(MATRIX)
    }

    /// The file of generated samples.
    pub fn samples(&self) -> PathBuf {
        self.folder.join(SAMPLES)
    }

    /// The file that gets the final name.
    fn unfinished(&self) -> PathBuf {
        if self.existing == Existing::Samples { self.samples() } else { self.matrix() }
    }

    /// The journal of a rank.
    pub fn journal(&self, rank: usize) -> PathBuf {
        self.folder.join(format!("{JOURNAL}{rank}"))
    }

    /// The snapshot of a rank, and what it is until it is whole.
    pub fn snapshot(&self, version: SnapshotId) -> [PathBuf; 2] {
        let SnapshotId { generation, rank } = version;
        [format!("{LISTS}{generation}.{rank}"), format!("{LISTS_DRAFT}{rank}")]
            .map(|name| self.folder.join(name))
    }

    /// Snapshots in the folder, in order.
    pub fn snapshots(&self) -> Result<Vec<SnapshotId>> {
        let mut versions: Vec<_> = self.names()?.iter().filter_map(|name| version(name, LISTS)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The spool of a rank.
    pub fn spool(&self, SnapshotId { generation, rank }: SnapshotId) -> PathBuf {
        self.folder.join(format!("{SPOOL}{generation}.{rank}"))
    }

    /// Spools in the folder, in order.
    pub fn spools(&self) -> Result<Vec<SnapshotId>> {
        let mut versions: Vec<_> = self.names()?.iter().filter_map(|name| version(name, SPOOL)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// What the matrix file is without its last arrays, and what that is until it is whole.
    pub fn undo(&self) -> [PathBuf; 2] {
        [UNDO, UNDO_DRAFT].map(|name| self.folder.join(name))
    }

    /// Removes snapshots that those of later generations stand for.
    pub fn remove_snapshots(&self, versions: &[SnapshotId]) -> Result<()> {
        versions.iter().try_for_each(|version| remove(&self.snapshot(*version)[0]))
    }

    /// Removes spools that nothing is taken from.
    pub fn remove_spools(&self, versions: &[SnapshotId]) -> Result<()> {
        versions.iter().try_for_each(|version| remove(&self.spool(*version)))
    }

    /// The result's final name.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder that holds the result.
    pub fn parent(&self) -> &Path {
        match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Checks that the result can be written without harm: its folder exists, its name is free or may be replaced, and no
    /// input is overwritten or lies in the working folder. Changes nothing.
    pub fn check(&self, inputs: &[&Path]) -> Result<()> {
        let (shown, parent) = (self.output.display(), self.parent());
        if !parent.is_dir() {
            fail!("{} is not a folder; make it first, or write the result elsewhere", parent.display());
        }
        let Some(name) =
            self.output.file_name().filter(|_| !self.output.as_os_str().as_encoded_bytes().ends_with(b"/"))
        else {
            fail!("{shown} names no file; give the result a name");
        };
        if self.folder.file_name().is_some_and(|name| name.len() > NAME_LEN) {
            let most = NAME_LEN - (self.folder.as_os_str().len() - self.output.as_os_str().len());
            fail!("the name of the result has {} bytes; it may have {most}", name.len());
        }
        if let Ok(meta) = fs::symlink_metadata(&self.output) {
            if meta.is_symlink() {
                fail!("{shown} is a symbolic link; name the file itself, or remove the link");
            }
            if !meta.is_file() {
                fail!("{shown} exists and is not a regular file; choose another name");
            }
            let same = |input: &&Path| fs::canonicalize(input).ok() == fs::canonicalize(&self.output).ok();
            if inputs.iter().any(|input| same(input) || same_file(input, &self.output)) {
                fail!("{shown} is an input of this run; write the result elsewhere");
            }
            match self.existing {
                Existing::Refuse => {
                    fail!("{shown} exists; remove it, choose another name, or overwrite it with --force")
                }
                Existing::Samples => fail!("{shown} exists; remove it, or choose another name"),
                Existing::Replace => result::check_replaceable(&self.output)?,
                Existing::Resume => {}
            }
        }
        let folder = self.folder.display();
        let inside = |input: &&Path| {
            let folder = fs::canonicalize(&self.folder);
            fs::canonicalize(input).is_ok_and(|input| folder.is_ok_and(|folder| input.starts_with(folder)))
        };
        if let Some(input) = inputs.iter().find(|input| inside(input)) {
            fail!(
                "{} lies in {folder}, which this run would empty; move it, or write elsewhere",
                input.display()
            );
        }
        if let Ok(meta) = fs::symlink_metadata(&self.folder) {
            if !meta.is_dir() {
                fail!(
                    "{folder} is in the way of the working folder; move it away, or choose another name for the result"
                );
            }
            // what is somebody else's, nobody is told to remove
            self.check_ours()?;
            match self.existing {
                Existing::Refuse => self.check_claim_only()?,
                Existing::Samples => self.check_samples_only()?,
                Existing::Replace | Existing::Resume => {}
            }
        }
        Ok(())
    }

    /// Refuses a folder that holds more than the claim of a run, which may have ended before it had anything to lose.
    fn check_claim_only(&self) -> Result<()> {
        if !self.names()?.iter().all(|name| name == LOCK || name == TOKEN) {
            fail!(
                "{} is there: another run is writing it, or has not finished; continue that run with --resume, or start over with --force",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Refuses a folder that a run of `compute` has begun: that run may be resumed.
    fn check_samples_only(&self) -> Result<()> {
        let is_of_samples = |name: &OsString| {
            name == LOCK || name == TOKEN || name == SAMPLES || is_lock_of_mpi(name, SAMPLES)
        };
        if !self.names()?.iter().all(is_of_samples) {
            fail!(
                "{} belongs to a run of compute that has not finished; choose another name",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Whether a run may be resumed here.
    pub fn may_resume(&self) -> bool {
        self.existing == Existing::Resume
    }

    /// Locks the folder of an unfinished run that is to be resumed, if there is one, and returns its plan, if it got as far.
    pub fn resume(&mut self) -> Result<Option<String>> {
        if fs::symlink_metadata(&self.folder).is_err() {
            return Ok(None);
        }
        self.check_ours()?;
        self.lock(false)?;
        self.plan()
    }

    /// Refuses a folder that holds anything which this program has not put there: it could be emptied by mistake. The lock,
    /// which is the first file in it and the last to go, names the process that has made it.
    fn check_ours(&self) -> Result<()> {
        let names = self.names()?;
        let shown = self.folder.display();
        // opening a pipe would wait for ever; what a run at work has removed meanwhile is nobody else's
        let is_file = |name: &OsStr| match fs::symlink_metadata(self.folder.join(name)) {
            Ok(meta) => meta.is_file(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if let Some(stranger) = names.iter().find(|name| !is_ours(name) || !is_file(name)) {
            fail!("{shown} holds {}, which is not of this program; move it away", stranger.display());
        }
        let others = names.iter().find(|name| *name != LOCK);
        let has_plan =
            || self.plan().is_ok_and(|text| text.is_some_and(|text| RunPlan::from_json(&text).is_ok()));
        if let Some(other) = others
            && !host::is_process(&self.holder())
            && !has_plan()
        {
            fail!(
                "{shown} holds {} and no lock that names a run of this program; move the folder away, or remove it",
                other.display()
            );
        }
        Ok(())
    }

    /// What the lock says of the process that holds it, or has held it.
    fn holder(&self) -> String {
        let mut holder = Vec::new();
        // without a lock nobody is named
        let _ = File::open(self.folder.join(LOCK)).map(|lock| lock.take(1024).read_to_end(&mut holder));
        String::from_utf8_lossy(&holder).trim().into()
    }

    /// The plan of the unfinished run of a folder that is there, and is this program's.
    pub fn plan_of_ours(&self) -> Result<Option<String>> {
        if !self.folder.is_dir() {
            return Ok(None);
        }
        self.check_ours()?;
        self.plan()
    }

    /// The plan of the unfinished run, if it got as far.
    pub fn plan(&self) -> Result<Option<String>> {
        let path = self.folder.join(PLAN);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result.context(|| format!("{} cannot be opened", path.display()))?,
        };
        let mut text = String::new();
        let read = file.take(PLAN_LEN + 1).read_to_string(&mut text);
        read.context(|| format!("{} cannot be read; start over with --force", path.display()))?;
        if text.len() as u64 > PLAN_LEN {
            fail!("{} is no plan of this program: it is too long; start over with --force", path.display());
        }
        Ok(Some(text))
    }

    /// Makes the folder and locks it, or locks one that no run holds. What is in that stays until [`Self::clear`].
    pub fn claim(&mut self) -> Result<()> {
        let made = fs::create_dir(&self.folder);
        self.is_new = made.is_ok();
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result.context(|| format!("{} cannot be made", self.folder.display()))?,
        }
        if self.lock.is_none() {
            self.check_ours()?;
            // unless the user has asked to delete an earlier run, a lock is required
            let is_asked = matches!(self.existing, Existing::Replace | Existing::Resume);
            self.lock(!is_asked && !self.is_new)?;
        }
        match self.existing {
            Existing::Refuse => self.check_claim_only()?,
            Existing::Samples => self.check_samples_only()?,
            Existing::Replace | Existing::Resume => {}
        }
        self.check_free()
    }

    /// Refuses journals that ranks are still at work on.
    pub fn check_free(&self) -> Result<()> {
        self.journals()?.into_iter().try_for_each(|rank| journal::check_free(&self.journal(rank)))
    }

    /// Empties the claimed folder for a run that begins.
    pub fn clear(&mut self) -> Result<()> {
        self.check_lock()?;
        // without its plan, the rest of an older run counts no more
        self.empty(&[LOCK, TOKEN], |name| name != PLAN)?;
        self.is_new = true;
        Ok(())
    }

    /// Removes the folder of a run that has failed before it had a plan. What an older run has left there stays.
    pub fn give_up(&mut self) {
        if self.is_new && !self.folder.join(PLAN).exists() {
            self.discard();
        }
    }

    /// Locks the folder, and writes into the lock which process holds it. On a file system without locks this is an error if a
    /// lock `is_needed`, and a warning if not.
    fn lock(&mut self, is_needed: bool) -> Result<()> {
        let (shown, path) = (self.folder.display(), self.folder.join(LOCK));
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = lock.context(|| format!("{shown} cannot be locked"))?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                fail!(
                    "{shown} is in use: another run is writing this result ({}); wait for it",
                    self.holder()
                );
            }
            // not every file system has locks
            Err(fs::TryLockError::Error(error)) if is_needed => fail!(
                "{shown} is there and cannot be locked ({error}), so another run may be writing it; remove it if none is"
            ),
            Err(fs::TryLockError::Error(error)) => log::warn!("{shown} cannot be locked: {error}"),
            Ok(()) => {}
        }
        // over what an earlier run has left, so that the lock names somebody at any time
        let holder = host::process();
        let named = lock.write_all(holder.as_bytes()).and_then(|()| lock.set_len(holder.len() as u64));
        if named.is_err() && self.is_new {
            // such as a full disk: a folder that holds nothing is not left behind
            let _ = fs::remove_file(&path).and_then(|()| fs::remove_dir(&self.folder));
        }
        named.context(|| format!("{} cannot be written", path.display()))?;
        self.lock = Some((lock, holder));
        self.check_lock()
    }

    /// Refuses a lock that is no longer the one in the folder: a run that ended at the same moment has removed it. By what it
    /// holds, since not every file system gives a file one number.
    fn check_lock(&self) -> Result<()> {
        let (shown, found) = (self.folder.display(), self.holder());
        if self.lock.as_ref().is_some_and(|(_, holder)| *holder == found) {
            return Ok(());
        }
        // locks need not hold on other nodes
        if host::is_process(&found) {
            fail!("{shown} is in use: another run has taken it ({found}); wait for it, or end it first");
        }
        fail!("{shown} was removed by a run that has just ended; start again")
    }

    /// Makes sure that all ranks work in the same folder and may write there, each with its own eyes: what has the same name may lie on
    /// a disk of each node's own. Rank 0 leaves a token for the others to find. Collective.
    pub fn check_shared(&mut self, comm: &Comm) -> Result<()> {
        let path = self.folder.join(TOKEN);
        let mut token = Vec::new();
        comm.on_root(|| {
            token = new_token().into_bytes();
            fs::write(&path, &token).context(|| format!("{} cannot be written", path.display()))
        })?;
        comm.broadcast(0, &mut token);
        self.token = token;
        self.check_still_shared(comm)?;
        comm.agree(
            File::options()
                .write(true)
                .open(&path)
                .map(drop)
                .context(|| format!("{} on {} cannot be written", self.folder.display(), host::name())),
        )
    }

    /// Makes sure that the folder is still the one that all ranks have found. Collective.
    pub fn check_still_shared(&self, comm: &Comm) -> Result<()> {
        comm.agree(self.find_token())
    }

    fn find_token(&self) -> Result<()> {
        let (path, start) = (self.folder.join(TOKEN), Instant::now());
        let mut is_told = false;
        loop {
            let (seen, patience) = match fs::read(&path) {
                Ok(found) if found == self.token => return Ok(()),
                Ok(_) => ("is another folder than that of rank 0".to_owned(), PATIENCE),
                Err(error) => {
                    let seen = format!("is not the folder that rank 0 has made: {error}");
                    (seen, if error.kind() == ErrorKind::NotFound { PATIENCE_WITHOUT } else { PATIENCE })
                }
            };
            let (shown, host) = (self.folder.display(), host::name());
            if start.elapsed() > patience {
                return Err(Error::Failed(format!(
                    "{shown} on {host} {seen}; write the result to a file system that all nodes share"
                )));
            }
            if start.elapsed() > PATIENCE && !is_told {
                log::warn!("{shown} on {host} {seen}; waiting for {} s more", patience.as_secs());
                is_told = true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Disk space of what an earlier run has left in the folder, in bytes: it is empty before this one writes to it.
    pub fn left_space(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let blocks = |name| fs::symlink_metadata(self.folder.join(name)).map_or(0, |meta| meta.blocks());
        // in units of 512 bytes
        512 * self.names().unwrap_or_default().into_iter().map(blocks).sum::<u64>()
    }

    /// Puts the plan into the folder, whole or not at all, after the matrix: from now on the run can be resumed. With `sync`,
    /// both are forced to the disk, in this order.
    pub fn commit_plan(&self, text: &str, sync: bool) -> Result<()> {
        self.check_lock()?;
        let (draft, plan) = (self.folder.join(PLAN_DRAFT), self.folder.join(PLAN));
        let write = || -> std::io::Result<()> {
            fs::write(&draft, text)?;
            if sync {
                if let Some((lock, _)) = &self.lock {
                    lock.sync_all()?;
                }
                File::open(self.matrix())?.sync_all()?;
                File::open(&draft)?.sync_all()?;
            }
            fs::rename(&draft, &plan)?;
            if sync {
                sync_folder(&self.folder)?;
                sync_folder(self.parent())?;
            }
            Ok(())
        };
        write().context(|| format!("{} cannot be written", plan.display()))
    }

    /// Reserves the disk space of the file that gets the final name, as long as it is now.
    pub fn reserve(&self) -> Result<()> {
        let path = self.unfinished();
        let file = File::options().write(true).open(&path);
        let len = file.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = len.context(|| format!("{} cannot be opened", path.display()))?;
        host::reserve(&file, len).context(|| {
            format!(
                "{} of disk space cannot be reserved in {}; make room, or write elsewhere",
                bytes(len),
                self.parent().display()
            )
        })
    }

    /// Ranks that have journals in the folder, in order.
    pub fn journals(&self) -> Result<Vec<usize>> {
        let names = self.names()?;
        let mut ranks: Vec<usize> = names.iter().filter_map(|name| journal_rank(name)).collect();
        ranks.sort_unstable();
        Ok(ranks)
    }

    fn names(&self) -> Result<Vec<OsString>> {
        let entries = fs::read_dir(&self.folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<Vec<_>>>()
        });
        entries.context(|| format!("{} cannot be read", self.folder.display()))
    }

    /// Removes what a run keeps in its folder, except some; first that for which `is_later` is false.
    fn empty(&self, kept: &[&str], is_later: impl Fn(&OsStr) -> bool) -> Result<()> {
        let shown = self.folder.display();
        let mut names = self.names()?;
        names.retain(|name| is_ours(name) && !kept.iter().any(|kept| name == kept));
        names.sort_by_key(|name| is_later(name));
        for name in names {
            match fs::remove_file(self.folder.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.context(|| format!("{shown} cannot be emptied"))?,
            }
        }
        Ok(())
    }

    /// Gives the finished matrix its name, replacing an older result only if told to, or to `replace` when the run began, and
    /// removes the folder.
    pub fn publish(&mut self, replace: bool, sync: bool) -> Result<()> {
        let (matrix, shown) = (self.unfinished(), self.output.display());
        // a lock need not hold on other nodes: what lies here may be another run's by now
        self.check_lock()?;
        if sync {
            let file = File::open(&matrix).and_then(|file| file.sync_all());
            file.context(|| format!("{} cannot be forced to the disk", matrix.display()))?;
        }
        failpoint::hit("rename")?;
        let replaces = self.existing == Existing::Replace || replace;
        if replaces {
            // what stands there now need not be what stood there when the run began
            result::check_replaceable(&self.output).map_err(|error| {
                error.map(|text| format!("{text}; the new result is complete, in {}", matrix.display()))
            })?;
            fs::rename(&matrix, &self.output)
                .context(|| format!("{} is complete, and cannot be renamed to {shown}", matrix.display()))?;
        } else {
            match host::rename_new(&matrix, &self.output) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    fail!("{shown} appeared during the run; the result is in {}", matrix.display())
                }
                result => result.context(|| {
                    format!("{} is complete, and cannot be renamed to {shown}", matrix.display())
                })?,
            }
        }
        failpoint::hit("renamed")?;
        if sync {
            let synced = sync_folder(self.parent());
            synced.context(|| format!("{} cannot be forced to the disk", self.parent().display()))?;
        }
        self.discard();
        Ok(())
    }

    /// Removes what a run that was killed while it published has left: the matrix, beside the result that it has become.
    pub fn remove_matrix(&self) -> Result<()> {
        remove(&self.matrix())
    }

    /// Removes the folder: its result is published, or it has failed before anything was computed. Leaves it alone where this run does
    /// not hold its lock any more: it may be another's by now.
    pub fn discard(&mut self) {
        if self.check_lock().is_err() {
            return;
        }
        // as long as there is a plan, it tells that the result is published
        let emptied = self.empty(&[LOCK], |name| name == PLAN).map_err(|error| error.to_string());
        // the lock last, and closed: network file systems keep the name of a file that is open
        self.lock = None;
        let removed = emptied.and_then(|()| {
            let lock = fs::remove_file(self.folder.join(LOCK));
            lock.and_then(|()| fs::remove_dir(&self.folder)).map_err(|error| error.to_string())
        });
        if let Err(error) = removed {
            log::warn!("{} cannot be removed: {error}", self.folder.display());
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).context(|| format!("{} cannot be removed", path.display()))
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// A text that no other run has.
fn new_token() -> String {
    // seeded by the operating system
    format!("{:016x} {}\n", RandomState::new().build_hasher().finish(), host::process())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(output: &Path, existing: Existing) -> Workdir {
        let mut workdir = Workdir::of(output, existing);
        workdir.claim().and_then(|()| workdir.clear()).unwrap();
        fs::write(workdir.matrix(), "distances").unwrap();
        workdir
    }

    #[test]
    fn a_run_that_has_lost_its_lock_leaves_the_folder_to_the_run_that_has_it() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("out.h5");
        let mut first = begun(&output, Existing::Refuse);
        // as a run does that ends while this one begins
        fs::remove_file(first.folder.join(LOCK)).unwrap();
        fs::write(first.folder.join(LOCK), "process 1 on elsewhere since today").unwrap();
        assert!(first.commit_plan("{}", false).unwrap_err().to_string().contains("process 1 on elsewhere"));
        first.discard();
        assert_eq!(fs::read(first.matrix()).unwrap(), b"distances");
    }

    #[test]
    fn a_run_that_holds_its_lock_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("out.h5");
        let mut run = begun(&output, Existing::Refuse);
        run.discard();
        assert!(!run.folder.exists());
        // a second time, nothing of the next run is touched
        let next = begun(&output, Existing::Refuse);
        run.discard();
        assert!(next.matrix().exists());
    }
}
