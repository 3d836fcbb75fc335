//! What a run will take, before anything is started.
//!
//! - `memory` — resident memory of a rank
//! - `cost` — the time of each phase, from what a kind of node can do

mod cost;
mod memory;

pub use cost::{Cost, Machine, Volume};
pub use memory::Memory;
