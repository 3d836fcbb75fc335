//! Named steps at which a test can make a rank panic, fail, die or become slow.
//!
//! `PAIRDIST_FAIL_AT=STEP:RANK:COUNT:ACTION` does ACTION (`panic`, `error`, `kill` or `slow`) when RANK reaches STEP for the
//! COUNT-th time, from 1. `slow` makes that time and all later ones take 0.2 s longer. Only builds with the feature `failpoints` look at it; in all others these functions do nothing.

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug)]
    pub(super) struct Point {
        pub(super) step: String,
        pub(super) hits: AtomicU64,
        pub(super) count: u64,
        pub(super) action: String,
    }

    pub(super) static POINT: OnceLock<Option<Point>> = OnceLock::new();

    pub(super) fn parse(text: &str, rank: usize) -> Option<Point> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[step, at, count, action] = parts.as_slice() else { return None };
        let (hits, count) = (AtomicU64::new(0), count.parse().ok()?);
        (at.parse() == Ok(rank)).then(|| Point { step: step.into(), hits, count, action: action.into() })
    }

    pub(super) fn is_reached(point: &Point, step: &str) -> bool {
        if point.step != step {
            return false;
        }
        let hits = 1 + point.hits.fetch_add(1, Ordering::Relaxed);
        hits == point.count || hits > point.count && point.action == "slow"
    }
}

/// Reads what this rank is to do.
pub fn arm(rank: usize) {
    #[cfg(feature = "failpoints")]
    {
        let text = std::env::var("PAIRDIST_FAIL_AT").unwrap_or_default();
        let _ = armed::POINT.set(armed::parse(&text, rank));
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = rank;
}

/// The rank has reached a step.
///
/// # Errors
/// If it is to fail here.
///
/// # Panics
/// If it is to panic here.
pub fn hit(step: &str) -> crate::error::Result<()> {
    #[cfg(feature = "failpoints")]
    if let Some(Some(point)) = armed::POINT.get()
        && armed::is_reached(point, step)
    {
        match point.action.as_str() {
            "panic" => panic!("told to panic at {step}"),
            "error" => crate::fail!("told to fail at {step}"),
            "slow" => std::thread::sleep(std::time::Duration::from_millis(200)),
            _ => {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
    let _ = step;
    Ok(())
}
