//! The full matrix of distances between the rows of large sample matrices: HDF5 in, MPI ranks × threads, parallel HDF5
//! out.
//!
//! The program is a thin binary over this library. Start reading at [`run`]; `docs/ARCHITECTURE.md` has the
//! map, `docs/FORMAT.md` the files.
//!
//! Letters: the matrix has n rows (samples of X) and m columns (samples of Y), a sample has d features; within a tile of m × n
//! entries and k features, i, j and l are the indices, as in BLAS. A micro-tile has MR rows and NR columns.

// What tests and benches use is public; of the rest, the compiler says what nobody uses.
pub mod block;
pub mod cli;
mod comm;
pub mod element;
mod error;
mod failpoint;
mod host;
pub mod io;
pub mod kernel;
pub mod metric;
pub mod number;
mod pages;
pub mod partition;
pub mod pipeline;
mod plan;
pub mod problem;
mod report;
pub mod run;
pub mod schedule;
pub mod sink;
pub mod source;
mod stop;
mod store;
mod text;

use error::fail;

/// The commit that the program is from, with `-dirty` if its sources were changed; `unknown` if there was no repository.
pub const COMMIT: &str = env!("PAIRDIST_COMMIT");

/// Version and commit, as `--version` shows them.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PAIRDIST_COMMIT"), ")");
