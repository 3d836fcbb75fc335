//! What a run tells.
//!
//! - `clock` — where the time goes
//! - `progress` — how far it is
//! - `record` — the run record, and the summary for people
//! - `file` — run records and plans as JSON files

mod clock;
pub mod file;
mod progress;
mod record;

pub use clock::{Clock, Phase, Phases};
pub use progress::Progress;
pub use record::{InputRecord, Record, Versions};

use std::io::Write as _;

use crate::error::{Context, Result};

/// Starts the log on standard error: rank 0 from level info, the others from warn, or as `RUST_LOG` says.
pub fn start_log(rank: usize, size: usize) {
    let level = if rank == 0 { "info" } else { "warn" };
    let prefix = if size > 1 { format!("[rank {rank}] ") } else { String::new() };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(move |out, record| {
            let time = out.timestamp_seconds();
            writeln!(out, "{time} {:5} {prefix}{}", record.level(), record.args())
        })
        .init();
}

/// Writes text to standard output.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // a reader that has seen enough is no failure
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context(|| "standard output cannot be written".into()),
    }
}

/// A number with an SI prefix, three digits.
pub fn si(value: f64) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.iter().find(|(scale, _)| value >= *scale) {
        Some((scale, prefix)) => format!("{:.2} {prefix}", value / scale),
        None => format!("{value:.2} "),
    }
}

/// So many of a thing: 1 rank, 2 ranks.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes, in powers of 1000.
pub fn bytes(count: u64) -> String {
    bytes_f(count as f64)
}

fn bytes_f(count: f64) -> String {
    format!("{}B", si(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_a_prefix() {
        assert_eq!(si(27.6e9), "27.60 G");
        assert_eq!(bytes(999), "999.00 B");
        assert_eq!([counted(1, "rank"), counted(0, "rank")], ["1 rank", "0 ranks"]);
        assert_eq!(bytes(1_152_000_000), "1.15 GB");
    }
}
