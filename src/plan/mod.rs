//! What a run will take, before anything is started.
//!
//! - `memory` — resident memory of a rank
//! - `volume` — what is computed, read, exchanged and written
//! - `cost` — the time of each phase, from what a kind of node can do

mod cost;
mod memory;
mod volume;

pub use cost::{Cost, Machine};
pub use memory::{Memory, Source};
pub use volume::{Balance, Traffic, Volume};
