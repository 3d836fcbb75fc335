//! Stopping early, on purpose: a signal, or the end of the time that there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::error::{Context, Result};

/// Time that is left for the last tiles and their way to the disk, before a batch system ends the job; less where the job is
/// short.
const MARGIN: Duration = Duration::from_secs(120);

/// Signals that tell a run to stop.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1];

/// Knows when it is time to stop.
#[derive(Debug)]
pub struct Stop {
    signal: Arc<AtomicBool>,
    /// When time is over, and what has set it.
    deadline: Option<(Instant, &'static str)>,
}

impl Stop {
    /// Watches for SIGINT, SIGTERM and SIGUSR1. A second SIGINT ends the process at once.
    ///
    /// The signals are blocked in this thread and in all that it starts from now on, and a thread of its own waits for them. So no
    /// handler is called, whatever a library installs later: drivers of OpenCL that MPI loads may bring handlers that end the
    /// process. Call it before MPI starts. Handlers that do the same are for threads that a library started before the program began.
    pub fn watch() -> Result<Self> {
        let signals: SigSet = SIGNALS.into_iter().collect();
        signals.thread_block().context(unwatched)?;
        let [signal, interrupted] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let interrupt = Signal::SIGINT as i32;
        // the condition first, so that it sees the SIGINT before
        register_conditional_shutdown(interrupt, 128 + interrupt, Arc::clone(&interrupted))
            .context(unwatched)?;
        register(interrupt, Arc::clone(&interrupted)).context(unwatched)?;
        for number in SIGNALS {
            register(number as i32, Arc::clone(&signal)).context(unwatched)?;
        }
        let came = Arc::clone(&signal);
        let wait = move || {
            while let Ok(number) = signals.wait() {
                came.store(true, Ordering::Relaxed);
                if number == Signal::SIGINT && interrupted.swap(true, Ordering::Relaxed) {
                    signal_hook::low_level::exit(128 + interrupt);
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(wait);
        thread.context(|| {
            "the thread that waits for signals cannot be started; raise ulimit -u, or ulimit -v".into()
        })?;
        Ok(Self { signal, deadline: None })
    }

    /// Never tells to stop, for work that must be finished.
    pub fn never() -> Self {
        Self { signal: Arc::default(), deadline: None }
    }

    /// It is also time when `left` has gone by from now, as the named option or variable has it.
    #[must_use]
    pub fn after(self, left: Option<(Duration, &'static str)>) -> Self {
        let deadline = left.and_then(|(left, name)| Some((Instant::now().checked_add(left)?, name)));
        Self { deadline, ..self }
    }

    /// What ends the run's time.
    pub fn limit(&self) -> &'static str {
        self.deadline.map_or("no limit", |(_, name)| name)
    }

    /// Whether a signal has come.
    pub fn is_signalled(&self) -> bool {
        self.signal.load(Ordering::Relaxed)
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.is_signalled() || self.deadline.is_some_and(|(deadline, _)| Instant::now() >= deadline)
    }
}

/// Makes a write beyond the limit of file sizes an error, like others, instead of the end of the process. Call it before MPI starts.
pub fn block_file_size_signal() -> Result<()> {
    let unused = Arc::new(AtomicBool::new(false));
    register(Signal::SIGXFSZ as i32, unused).map(drop).context(unwatched)?;
    SigSet::from(Signal::SIGXFSZ).thread_block().context(unwatched)
}

fn unwatched() -> String {
    "signals cannot be watched for".into()
}

/// Where Slurm says when the job ends, in seconds since 1970.
pub const JOB_END: &str = "SLURM_JOB_END_TIME";

/// The end of the Slurm job, if this is one.
fn job_end() -> Option<SystemTime> {
    let end: u64 = std::env::var(JOB_END).ok()?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

/// Whether the Slurm job named in the environment has ended. A shell that was started in a job keeps its variables.
pub fn job_has_ended() -> bool {
    job_end().is_some_and(|end| end <= SystemTime::now())
}

/// Time to compute, and what sets it: the limit asked for, or what Slurm still gives with a margin, unless that is over.
pub fn time_left(limit: Option<Duration>) -> Option<(Duration, &'static str)> {
    let job = job_end().filter(|_| !job_has_ended()).map(|end| (before(end, SystemTime::now()), JOB_END));
    [limit.map(|limit| (limit, "--time-limit")), job].into_iter().flatten().min()
}

/// From `now` to the margin before `end`.
fn before(end: SystemTime, now: SystemTime) -> Duration {
    let left = end.duration_since(now).unwrap_or_default();
    left.saturating_sub(MARGIN.min(left / 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_shrinks_with_the_job() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let at = |seconds| before(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), now).as_secs();
        assert_eq!([at(4600), at(1100), at(1000), at(900)], [3480, 80, 0, 0]);
    }

    #[test]
    fn a_limit_that_has_gone_by_is_due() {
        let is_due = |left: Option<Duration>| {
            Stop::watch().unwrap().after(left.map(|left| (left, "--time-limit"))).is_due()
        };
        assert!(is_due(Some(Duration::ZERO)));
        assert!(![Some(Duration::from_secs(3600)), None, Some(Duration::MAX)].into_iter().any(is_due));
    }
}
