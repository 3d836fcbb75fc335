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
pub(crate) use record::features_at_a_time;
pub use record::{InputRecord, Record, Versions};

use std::io::Write as _;

use crate::error::{Context, Result};
use crate::text::printable;

/// Starts the log on standard error: rank 0 from level info, the others from warn, or as `RUST_LOG` says.
pub fn start_log(rank: usize, size: usize) {
    let level = if rank == 0 { "info" } else { "warn" };
    let prefix = if size > 1 { format!("[rank {rank}] ") } else { String::new() };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(move |out, record| {
            let time = out.timestamp_seconds();
            writeln!(out, "{time} {:5} {prefix}{}", record.level(), printable(&record.args().to_string()))
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
