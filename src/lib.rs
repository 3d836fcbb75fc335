//! The full matrix of distances between the rows of large sample matrices.
pub mod cli;
pub mod comm;
pub mod element;
pub mod error;
pub mod failpoint;
pub mod host;
pub mod io;
pub mod kernel;
pub mod metric;
pub mod partition;
pub mod pipeline;
pub mod plan;
pub mod report;
pub mod run;
pub mod schedule;
pub mod tile;
