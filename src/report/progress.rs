//! How far a run is: a bar on a terminal, else log lines that grow rarer.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::text::si;

/// Shows how far rank 0 is: a bar on a terminal, else a log line now and then.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    start: Instant,
    next_line: Duration,
    log: bool,
}

impl Progress {
    /// For `total` tiles to be computed on this rank.
    pub fn start(total: usize, is_root: bool) -> Self {
        let on_terminal = is_root && std::io::stderr().is_terminal();
        let style = "{percent:>3} % {wide_bar} {elapsed} spent, {eta} left";
        let bar = on_terminal.then(|| {
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style)
        });
        Self {
            bar,
            total,
            start: Instant::now(),
            next_line: Duration::from_secs(5),
            log: is_root && !on_terminal,
        }
    }

    /// `tiles` are done, with so many pairs.
    pub fn advance(&mut self, tiles: usize, pairs: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(tiles as u64);
        }
        let elapsed = self.start.elapsed();
        if self.log && elapsed >= self.next_line {
            // lines grow rarer: 5 s, 10 s, 20 s, ... at most 10 minutes apart
            self.next_line = elapsed + elapsed.clamp(Duration::from_secs(5), Duration::from_secs(600));
            let done = tiles as f64 / self.total as f64;
            let left = elapsed.mul_f64((1.0 - done) / done).as_secs();
            log::info!(
                "{:.0} % of the tiles of rank 0 done, {} pairs/s, about {} left",
                100.0 * done,
                si(pairs as f64 / elapsed.as_secs_f64()),
                humantime::format_duration(Duration::from_secs(left + 1)),
            );
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
