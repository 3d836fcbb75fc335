//! Stopping early, on purpose: a signal, or the end of the time at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::error::{Context, Result};

/// Time that is left for the last tiles and their way to the disk, before a batch system ends the job; less where the job is
/// short.
const MARGIN: Duration = Duration::from_secs(120);

/// Knows when it is time to stop.
#[derive(Debug)]
pub struct Stop {
    signal: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Watches for SIGINT, SIGTERM and SIGUSR1, and for `left` to go by. A second SIGINT ends the process at once.
    pub fn watch(left: Option<Duration>) -> Result<Self> {
        let signal = Arc::new(AtomicBool::new(false));
        // the condition first, so that it sees the SIGINT before
        let interrupted = Arc::new(AtomicBool::new(false));
        register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&interrupted)).context(unwatched)?;
        register(SIGINT, interrupted).context(unwatched)?;
        for number in [SIGINT, SIGTERM, SIGUSR1] {
            register(number, Arc::clone(&signal)).context(unwatched)?;
        }
        let deadline = left.and_then(|left| Instant::now().checked_add(left));
        Ok(Self { signal, deadline })
    }

    /// Whether a signal has come.
    pub fn is_signalled(&self) -> bool {
        self.signal.load(Ordering::Relaxed)
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.is_signalled() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Makes a write beyond the limit of file sizes an error, like others, instead of the end of the process.
pub fn ignore_file_size_signal() -> Result<()> {
    let unused = Arc::new(AtomicBool::new(false));
    register(SIGXFSZ, unused).map(drop).context(unwatched)
}

fn unwatched() -> String {
    "signals cannot be watched for".into()
}

/// Time to compute: the limit asked for, and what Slurm still gives (`SLURM_JOB_END_TIME`) with a margin.
pub fn time_left(limit: Option<Duration>) -> Option<Duration> {
    let end: Option<u64> = std::env::var("SLURM_JOB_END_TIME").ok().and_then(|text| text.parse().ok());
    let end = end.and_then(|end| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end)));
    let job = end.map(|end| before(end, SystemTime::now()));
    [limit, job].into_iter().flatten().min()
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
        assert!(Stop::watch(Some(Duration::ZERO)).unwrap().is_due());
        assert!(!Stop::watch(Some(Duration::from_secs(3600))).unwrap().is_due());
        assert!(!Stop::watch(None).unwrap().is_due());
        assert!(!Stop::watch(Some(Duration::MAX)).unwrap().is_due());
    }
}
