//! Samples that are read part by part of their features, because not even those of a tile fit into memory, or because there are so few
//! that only their features can be shared by the workers.
//!
//! - `window` — some features of some samples, as they are read
//! - `seen` — what is known of a sample of which parts were seen
//! - `fold` — tiles whose folds rest in memory between parts
//! - `finish` — distances from these

mod finish;
mod fold;
mod seen;
mod window;

pub(crate) use finish::FinishWorker;
pub(crate) use fold::{FoldedTiles, SummedTiles, words_of_shared_sums, words_of_sums};
pub(crate) use seen::Seen;
pub(crate) use window::{Window, converted_together};
