//! The folder of an unfinished run, and what is in it.
//!
//! - `workdir` — claiming the folder, and the rename that publishes its result
//! - `names` — the names of the files in it
//! - `runplan` — what a resumed run must agree with
//! - `journal` — what is done
//! - `snapshot` — what was gathered and not written yet
//! - `spool` — pieces of results whose length is known only at the end
//! - `undo` — the way back from the last arrays of a result
//! - `checkpoint` — brings what was written to the disk, and into the journal

mod checkpoint;
pub mod journal;
mod names;
pub mod runplan;
pub mod snapshot;
pub mod spool;
pub mod undo;
pub mod workdir;

pub use checkpoint::Checkpoints;
