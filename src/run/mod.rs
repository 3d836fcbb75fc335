//! The subcommands, one file each: the only place that sees all other modules.

mod compute;
mod generate;
mod info;
mod placement;
mod plan;
mod reading;
mod setup;
mod unfinished;
mod verify;

use crate::cli::{Cli, Command};
use crate::comm::Comm;
use crate::error::{Error, Result, tell};
use crate::failpoint;
use crate::io::workdir::Workdir;
use crate::kernel::ARITHMETIC;
use crate::report::start_log;
use crate::stop::{self, Stop};

/// Ends the job where the file of a result could not be created: HDF5 holds what it could not write and
/// would crash when MPI ends in the ordinary way.
fn end_job(comm: &Comm, workdir: &mut Workdir, error: &Error) -> Error {
    workdir.discard();
    tell(error);
    comm.abort()
}

/// Does what the command line says. Returns the exit code: 0 done, 1 failed, 2 usage, 75 stopped early.
pub fn run(cli: Cli) -> u8 {
    let Cli { command, options } = cli;
    match command {
        Command::Plan(args) => {
            start_log(0, 1);
            finish(plan::plan(&args), true)
        }
        Command::Compute(args) => {
            // before MPI starts threads and loads libraries
            let stop = Stop::watch();
            with_mpi(&options, |comm| compute::compute(comm, &args, comm.agree(stop)?))
        }
        Command::Generate(args) => with_mpi(&options, |comm| generate::generate(comm, &args)),
        Command::Verify(args) => with_mpi(&options, |comm| verify::verify(comm, &args)),
        Command::Info(args) => with_mpi(&options, |comm| comm.on_root(|| info::info(&args))),
    }
}

/// What one rank's program must have in common with the others', so that they compute the same.
fn build() -> Vec<(String, String)> {
    [
        ("the build", crate::VERSION.into()),
        ("the version of the arithmetic", ARITHMETIC.to_string()),
        ("the HDF5 library", crate::io::library_version()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Runs on all ranks; every error is one that all ranks have agreed on, so that rank 0 speaks for all.
fn with_mpi(options: &[(String, String)], work: impl FnOnce(&Comm) -> Result<()>) -> u8 {
    let blocked = stop::block_file_size_signal();
    match Comm::start() {
        Ok(comm) => {
            start_log(comm.rank(), comm.size());
            placement::warn_of_strangers(&comm);
            failpoint::arm(comm.rank());
            let ready = comm.agree(blocked);
            let alike = ready.and_then(|()| comm.same(&[build(), options.to_vec()].concat()));
            finish(alike.and_then(|()| work(&comm)), comm.is_root())
        }
        Err(error) => finish(Err(error), true),
    }
}

fn finish(result: Result<()>, speaks: bool) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            if speaks {
                tell(&error);
            }
            error.exit_code()
        }
    }
}
