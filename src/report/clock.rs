//! A stopwatch that books the wall time of a rank to phases.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::comm::{Comm, Reduce};

/// What the main thread of a rank spends its time on. The phases partition the wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading and packing samples.
    Read,
    /// Waiting for a block with no tile left to compute.
    Exchange,
    /// Waiting for a tile to be computed; before that, computing what is made of all samples first: their variances, or their covariance and the whitened samples.
    Compute,
    /// Writing tiles.
    Write,
    /// Forcing data to the disk and publishing the result.
    Sync,
    /// Waiting for slower ranks.
    Wait,
}

pub(super) const PHASES: [&str; 6] = ["read", "exchange", "compute", "write", "sync", "wait"];

/// A stopwatch that books all time to phases.
pub struct Clock {
    start: Instant,
    last: Instant,
    spent: [Duration; PHASES.len()],
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, spent: Default::default() }
    }

    /// Books the time since the last lap to `phase`.
    pub fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent[phase as usize] += now - self.last;
        self.last = now;
    }

    /// Seconds from the start to the last lap.
    pub fn wall_s(&self) -> f64 {
        (self.last - self.start).as_secs_f64()
    }

    fn seconds(&self) -> [f64; PHASES.len()] {
        self.spent.map(|spent| spent.as_secs_f64())
    }
}

/// Seconds over the ranks.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the record says seconds")]
pub struct Spread {
    /// Fastest rank.
    pub min_s: f64,
    /// Mean over ranks.
    pub mean_s: f64,
    /// Slowest rank.
    pub max_s: f64,
}

/// Time of each [`Phase`] over the ranks.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the phases say it")]
pub struct Phases {
    pub read: Spread,
    pub exchange: Spread,
    pub compute: Spread,
    pub write: Spread,
    pub sync: Spread,
    pub wait: Spread,
}

impl Phases {
    /// Gathers the ranks' clocks. Collective.
    pub fn gather(clock: &Clock, comm: &Comm) -> Self {
        let mine = clock.seconds();
        let [min, sum, max] =
            [Reduce::Min, Reduce::Sum, Reduce::Max].map(|reduce| comm.all_reduce(&mine, reduce));
        let spread = |phase: Phase| {
            let at = phase as usize;
            Spread { min_s: min[at], mean_s: sum[at] / comm.size() as f64, max_s: max[at] }
        };
        Self {
            read: spread(Phase::Read),
            exchange: spread(Phase::Exchange),
            compute: spread(Phase::Compute),
            write: spread(Phase::Write),
            sync: spread(Phase::Sync),
            wait: spread(Phase::Wait),
        }
    }

    /// What took most of the ranks' time, its share of it, and what helps.
    pub(super) fn bound(&self) -> (&'static str, f64, &'static str) {
        let total: f64 = self.all().iter().map(|spread| spread.mean_s).sum();
        let parts = [
            ("computing", &[self.compute] as &[Spread], "more ranks or threads, on cores of their own"),
            (
                "writing",
                &[self.write, self.sync],
                "a faster or striped file system, more nodes, or --dtype f32, if 7 digits are enough",
            ),
            (
                "reading",
                &[self.read],
                "samples that are not compressed, or in chunks of whole rows, or more ranks",
            ),
            ("the network", &[self.exchange], "fewer ranks with more threads each"),
            ("waiting for slower ranks", &[self.wait], "nodes and ranks that are alike, or a smaller --tile"),
        ]
        .map(|(name, phases, help)| (name, phases.iter().map(|spread| spread.mean_s).sum::<f64>(), help));
        let (name, most, help) = parts.into_iter().fold(("", -1.0, ""), |a, b| if b.1 > a.1 { b } else { a });
        (name, most / total, help)
    }

    pub(super) fn all(&self) -> [Spread; PHASES.len()] {
        [self.read, self.exchange, self.compute, self.write, self.sync, self.wait]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_most_of_the_time_bounds_the_run() {
        let phases = |seconds: [f64; PHASES.len()]| {
            let [read, exchange, compute, write, sync, wait] =
                seconds.map(|mean_s| Spread { min_s: 0.0, mean_s, max_s: 9.0 });
            Phases { read, exchange, compute, write, sync, wait }
        };
        for (seconds, what) in [
            ([4.0, 1.0, 2.0, 1.0, 1.0, 1.0], "reading"),
            ([1.0, 4.0, 2.0, 1.0, 1.0, 1.0], "the network"),
            ([1.0, 2.0, 4.0, 1.0, 1.0, 1.0], "computing"),
            ([1.0, 0.0, 3.0, 2.0, 2.0, 2.0], "writing"),
            ([1.0, 1.0, 2.0, 1.0, 1.0, 4.0], "waiting for slower ranks"),
        ] {
            let (bound, share, _) = phases(seconds).bound();
            assert_eq!((bound, share), (what, 0.4), "{seconds:?}");
        }
    }

    #[test]
    fn laps_partition_the_wall_time() {
        let mut clock = Clock::start();
        for phase in [Phase::Read, Phase::Compute, Phase::Read, Phase::Wait] {
            std::thread::sleep(Duration::from_millis(2));
            clock.lap(phase);
        }
        assert!((clock.seconds().iter().sum::<f64>() - clock.wall_s()).abs() < 1e-9);
    }
}
