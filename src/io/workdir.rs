//! The folder of an unfinished run, and the rename that publishes its result.
//!
//! `OUT.h5.partial/` holds the matrix while it is computed. Nothing stands under the final name before it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::fail;

/// The working folder of one result.
#[derive(Clone, Debug)]
pub struct Workdir {
    output: PathBuf,
    folder: PathBuf,
}

impl Workdir {
    /// The working folder of the result `output`, which need not exist.
    pub fn of(output: &Path) -> Self {
        let mut folder = output.as_os_str().to_owned();
        folder.push(".partial");
        Self { output: output.to_owned(), folder: folder.into() }
    }

    /// The matrix file of the unfinished run.
    pub fn matrix(&self) -> PathBuf {
        self.folder.join("matrix.h5")
    }

    /// Folder that holds the result.
    pub fn parent(&self) -> &Path {
        match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Checks that the result can be written without harm: its folder exists, its name is free or
    /// `force` given, and it is none of the inputs. Changes nothing.
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
        if !force && fs::symlink_metadata(&self.folder).is_ok() {
            fail!("{} is left from an unfinished run; start over with --force", self.folder.display());
        }
        Ok(())
    }

    /// Makes the folder, empty.
    pub fn create(&self) -> Result<()> {
        let shown = self.folder.display();
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => fail!("{shown} cannot be removed: {error}"),
            _ => fs::create_dir(&self.folder).context(|| format!("{shown} cannot be made")),
        }
    }

    /// Gives the finished matrix its name, replacing an older result only if `force`.
    pub fn publish(&self, force: bool, sync: bool) -> Result<()> {
        let (matrix, shown) = (self.matrix(), self.output.display());
        if sync {
            let file = fs::File::open(&matrix).and_then(|file| file.sync_all());
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
        fs::remove_dir_all(&self.folder)
            .context(|| format!("{} cannot be removed", self.folder.display()))?;
        if sync {
            let folder = fs::File::open(self.parent()).and_then(|folder| folder.sync_all());
            folder.context(|| format!("{} cannot be forced to the disk", self.parent().display()))?;
        }
        Ok(())
    }

    /// Removes the folder of a run that failed before it computed anything.
    pub fn discard(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            log::warn!("{} cannot be removed: {error}", self.folder.display());
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    id(a).is_some() && id(a) == id(b)
}
