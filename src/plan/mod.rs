//! What a run will take, before anything is started.
//!
//! - `memory` — resident memory of a rank
//! - `volume` — what is computed, read, exchanged and written
//! - `cost` — the time of each phase, from what a kind of node can do

mod cost;
mod memory;
mod volume;

pub use cost::{Cost, Machine};
pub use memory::Memory;
pub use volume::{Balance, Traffic, Volume};

use crate::error::{Error, Result};

/// The product of sizes, if 64 bits can count that many.
fn product(factors: &[usize]) -> Option<u64> {
    factors.iter().try_fold(1, |all: u64, &factor| all.checked_mul(factor as u64))
}

/// Refuses a figure that 64 bits cannot count, instead of showing the largest one that they can.
fn counted(what: &str, bytes: Option<u64>) -> Result<u64> {
    bytes.ok_or_else(|| {
        Error::Failed(format!(
            "{what} would be more bytes than 64 bits can count; use fewer features, samples, ranks or threads"
        ))
    })
}
