//! The work inside a rank: worker threads compute, and the main thread talks to MPI and HDF5. Where samples are read by parts of their features, it also computes
//! when it has nothing else to do.
//!
//! - `load` — reads samples, digests and packs them
//! - `mail` — what a rank has found for rows that another owns
//! - `moments` — means, variances and the covariance of the features of all samples
//! - `parts` — samples that are read part by part of their features
//! - `rate` — how fast this machine computes tiles
//! - `rounds` — exchange, compute and store, overlapped
//! - `scale` — multiplies packed samples by a power of two
//! - `survey` — what the samples are like
//! - `whitening` — multiplies samples by a matrix, so that their Euclidean distances are Mahalanobis distances
//! - `worker` — what computes tiles, and the queues between it and the main thread

mod load;
mod mail;
mod moments;
mod parts;
mod rate;
mod rounds;
mod scale;
mod survey;
mod whitening;
mod worker;

pub(crate) use load::{Ahead, Target, converting_bytes, digest_of_files, load, reading_bytes, survey_of};
pub(crate) use moments::{Centre, Held, covariance, origin, variances};
pub(crate) use parts::{
    FinishWorker, FoldedTiles, Seen, SummedTiles, Window, converted_together, words_of_shared_sums,
    words_of_sums,
};
pub(crate) use rate::{PAGE_CACHE_BYTES, kernel_rate, share_of};
pub(crate) use rounds::{COLUMN_BLOCKS, Meanwhile, Rounds, Tally, Totals};
pub(crate) use scale::scale;
pub(crate) use survey::{Found, Sort, Survey};
pub(crate) use whitening::{Unfit, Whitening, WhiteningBytes, whiten};
pub(crate) use worker::below_len;
pub use worker::{Order, ThreadWorker};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Context, Result};

/// Parcels of a rank: one for each worker, and as many again to be stored, at least two.
pub fn parcels(threads: usize) -> usize {
    threads.saturating_add(threads.max(2))
}

/// The worker threads of a rank.
pub struct Workers {
    pool: ThreadPool,
}

impl Workers {
    /// Starts `threads` workers.
    pub fn start(threads: usize) -> Result<Self> {
        Self::build(threads, |builder| builder)
    }

    /// Starts `threads` workers. The calling thread is one of them until the process ends, and does its share whenever it waits for the others.
    ///
    /// This is for a main thread that is busy all the time, for example with reading: with as many workers as cores beside it, one of these
    /// threads would always wait for a core.
    pub(crate) fn with_this_thread(threads: usize) -> Result<Self> {
        Self::build(threads, ThreadPoolBuilder::use_current_thread)
    }

    fn build(threads: usize, choose: impl FnOnce(ThreadPoolBuilder) -> ThreadPoolBuilder) -> Result<Self> {
        let builder = ThreadPoolBuilder::new().num_threads(threads);
        let pool = choose(builder.thread_name(|number| format!("worker-{number}"))).build();
        Ok(Self {
            pool: pool
                .context(|| {
                    format!("{threads} threads cannot be started; choose fewer with --threads, or raise ulimit -u or ulimit -v")
                })?,
        })
    }

    /// `work(0)`, `work(1)`, ... `work(count - 1)`, shared by the workers.
    pub fn map<R: Send>(&self, count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
        self.pool.install(|| (0..count).into_par_iter().map(work).collect())
    }

    /// Does `work` on the workers, which share what is parallel in it.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Has the workers do `work`, and does something else meanwhile. If the calling thread is one of the workers, it then helps with what is left of `work`.
    pub fn meanwhile<R: Send, S>(
        &self,
        work: impl FnOnce() -> R + Send,
        other: impl FnOnce() -> S,
    ) -> (R, S) {
        let mut done = None;
        let other = self.pool.in_place_scope(|scope| {
            scope.spawn(|_| done = Some(work()));
            other()
        });
        (done.expect("the scope waits for its work"), other)
    }

    /// Number of workers.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }
}
