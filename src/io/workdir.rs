//! The folder of an unfinished run, and the rename that publishes its result.
//!
//! `OUT.h5.partial/` holds the matrix while it is computed, and a lock that dies with the run that holds it. Nothing stands under
//! the final name before it is complete.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::fail;

/// The files a run keeps in its folder.
const MATRIX: &str = "matrix.h5";
const LOCK: &str = "lock";

/// The working folder of one result.
#[derive(Debug)]
pub struct Workdir {
    output: PathBuf,
    folder: PathBuf,
    /// Held from [`Self::create`] on, by the rank that created the folder.
    lock: Option<File>,
}

impl Workdir {
    /// The working folder of the result `output`, which need not exist.
    pub fn of(output: &Path) -> Self {
        let mut folder = output.as_os_str().to_owned();
        folder.push(".partial");
        Self { output: output.to_owned(), folder: folder.into(), lock: None }
    }

    /// The matrix file of the unfinished run.
    pub fn matrix(&self) -> PathBuf {
        self.folder.join(MATRIX)
    }

    /// Folder that holds the result.
    pub fn parent(&self) -> &Path {
        match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Checks that the result can be written without harm: its folder exists, its name is free or
    /// `force` given, and no input is overwritten or lies in the working folder. Changes nothing.
    pub fn check(&self, force: bool, inputs: &[&Path]) -> Result<()> {
        let (shown, parent) = (self.output.display(), self.parent());
        if !parent.is_dir() {
            fail!("{} is not a folder; make it first, or write the result elsewhere", parent.display());
        }
        if self.output.file_name().is_none() {
            fail!("{shown} names no file; give the result a name");
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
            if !force {
                fail!("{shown} exists; remove it, choose another name, or overwrite it with --force");
            }
        }
        let folder = self.folder.display();
        if !force && fs::symlink_metadata(&self.folder).is_ok() {
            fail!(
                "{folder} is there: another run is writing it, or has not finished; start over with --force, or remove it"
            );
        }
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
        Ok(())
    }

    /// Makes the folder and locks it; with `force`, empties one that no run holds.
    pub fn create(&mut self, force: bool) -> Result<()> {
        let shown = self.folder.display();
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && force => {}
            result => result.context(|| format!("{shown} cannot be made"))?,
        }
        let lock = File::create(self.folder.join(LOCK)).context(|| format!("{shown} cannot be locked"))?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                fail!("{shown} is in use: another run is writing this result; wait for it")
            }
            // not every file system has locks
            Err(fs::TryLockError::Error(error)) => log::warn!("{shown} cannot be locked: {error}"),
            Ok(()) => {}
        }
        self.lock = Some(lock);
        self.empty()
    }

    /// Removes what a run keeps in its folder, except the lock.
    fn empty(&self) -> Result<()> {
        let shown = self.folder.display();
        for entry in fs::read_dir(&self.folder).context(|| format!("{shown} cannot be read"))? {
            let name = entry.context(|| format!("{shown} cannot be read"))?.file_name();
            if name == MATRIX {
                fs::remove_file(self.matrix()).context(|| format!("{shown} cannot be emptied"))?;
            } else if name != LOCK {
                fail!("{shown} holds {}, which is not of this program; move it away", name.display());
            }
        }
        Ok(())
    }

    /// Gives the finished matrix its name, replacing an older result only if `force`.
    pub fn publish(&self, force: bool, sync: bool) -> Result<()> {
        let (matrix, shown) = (self.matrix(), self.output.display());
        if sync {
            let file = File::open(&matrix).and_then(|file| file.sync_all());
            file.context(|| format!("{} cannot be forced to the disk", matrix.display()))?;
        }
        if force {
            fs::rename(&matrix, &self.output)
                .context(|| format!("the result cannot be renamed to {shown}"))?;
        } else {
            // a link fails if the name was taken meanwhile, which a rename would overwrite
            match fs::hard_link(&matrix, &self.output) {
                Ok(()) => {
                    fs::remove_file(&matrix).context(|| format!("{} cannot be removed", matrix.display()))?;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    fail!("{shown} appeared during the run; the result is in {}", matrix.display())
                }
                // no links on this file system
                Err(_) => fs::rename(&matrix, &self.output)
                    .context(|| format!("the result cannot be renamed to {shown}"))?,
            }
        }
        self.discard();
        if sync {
            let folder = File::open(self.parent()).and_then(|folder| folder.sync_all());
            folder.context(|| format!("{} cannot be forced to the disk", self.parent().display()))?;
        }
        Ok(())
    }

    /// Removes the folder: its result is published, or it has failed before anything was computed.
    pub fn discard(&self) {
        let removed = self.empty().map_err(|error| error.to_string()).and_then(|()| {
            let lock = fs::remove_file(self.folder.join(LOCK));
            lock.and_then(|()| fs::remove_dir(&self.folder)).map_err(|error| error.to_string())
        });
        if let Err(error) = removed {
            log::warn!("{} cannot be removed: {error}", self.folder.display());
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    id(a).is_some() && id(a) == id(b)
}
