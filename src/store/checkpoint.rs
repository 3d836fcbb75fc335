//! Checkpoints: tiles that were written become tiles that are done, while the next ones are computed.
//!
//! A thread of its own takes batches of tiles whose distances have been written. For each it forces the file of the result to the disk,
//! and the spool, then writes a snapshot of what results have gathered, then appends the tiles to the rank's journal and forces that to the disk. In
//! this order, a journal never claims what a power cut could have lost. The thread calls neither MPI nor HDF5: it has the
//! result open as a plain file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::journal::{Entry, Journal};
use super::snapshot::Snapshots;
use crate::error::{Context, Result};
use crate::failpoint;

/// The rank's checkpoints.
pub struct Checkpoints {
    interval: Duration,
    batch: Vec<Entry>,
    /// When the first tile of the batch was written.
    begun: Instant,
    batches: Sender<Vec<Entry>>,
    /// Nothing, once it was joined.
    thread: Option<JoinHandle<Result<Journal>>>,
}

impl Checkpoints {
    /// Starts the thread. Without `sync`, nothing is forced to the disk: that serves when the program is killed, not when the
    /// power goes.
    pub fn start(
        matrix: &Path,
        journal: Journal,
        (snapshots, spool): (Option<Snapshots>, Option<Arc<File>>),
        interval: Duration,
        sync: bool,
    ) -> Result<Self> {
        let shown = matrix.display().to_string();
        let matrix = File::open(matrix).context(|| format!("{shown} cannot be opened"))?;
        let (batches, received) = channel();
        let work = move || {
            write_batches(&received, (&matrix, &shown), journal, (snapshots.as_ref(), spool.as_deref()), sync)
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(work);
        let thread = thread.context(|| {
            "the thread for checkpoints cannot be started; raise ulimit -u, or ulimit -v".into()
        })?;
        Ok(Self { interval, batch: Vec::new(), begun: Instant::now(), batches, thread: Some(thread) })
    }

    /// Time between two batches.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// A tile and its mirror image have been written.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        if self.batch.is_empty() {
            self.begun = Instant::now();
        }
        self.batch.push(entry);
        self.tick()
    }

    /// Closes the batch if it is time.
    ///
    /// # Errors
    /// If an earlier one could not be brought to the disk.
    pub fn tick(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.join().map(drop);
        }
        if !self.batch.is_empty() && self.begun.elapsed() >= self.interval {
            // a thread that has gone tells its error the next time
            let _ = self.batches.send(std::mem::take(&mut self.batch));
        }
        Ok(())
    }

    /// Brings the last batch to the disk. Returns the journal, which is locked as long as it is there.
    pub fn finish(mut self) -> Result<Journal> {
        let _ = self.batches.send(std::mem::take(&mut self.batch));
        // without a sender, the thread ends with the last batch
        self.batches = channel().0;
        self.join()
    }

    /// Waits for the thread's end. It ends early only with an error.
    fn join(&mut self) -> Result<Journal> {
        let thread = self.thread.take().expect("an error of the thread ends the run");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn write_batches(
    batches: &Receiver<Vec<Entry>>,
    (matrix, shown): (&File, &str),
    mut journal: Journal,
    (snapshots, spool): (Option<&Snapshots>, Option<&File>),
    sync: bool,
) -> Result<Journal> {
    while let Ok(mut batch) = batches.recv() {
        if snapshots.is_some() {
            // one does for all that have come meanwhile
            batch.extend(batches.try_iter().flatten());
        }
        failpoint::hit("sync")?;
        if sync {
            matrix.sync_data().context(|| format!("{shown} cannot be forced to the disk"))?;
            if let Some(spool) = spool {
                spool
                    .sync_data()
                    .context(|| format!("the spool beside {shown} cannot be forced to the disk"))?;
            }
        }
        if let Some(snapshots) = snapshots {
            failpoint::hit("snapshot")?;
            snapshots.write()?;
        }
        failpoint::hit("journal")?;
        journal.check_name()?;
        journal.append(&batch, sync)?;
        failpoint::hit("journalled")?;
    }
    Ok(journal)
}
