//! The subcommands, one file each: the only place that sees all other modules.

mod bands;
mod blocks;
mod claim;
mod compute;
mod filed;
mod fit;
mod generate;
mod info;
mod inputs;
mod job;
mod limits;
mod moments;
mod outcome;
mod parameters;
mod parts;
mod placement;
mod plan;
mod reading;
mod reread;
mod setup;
mod unfinished;
mod verify;

use crate::cli::{Cli, Command};
use crate::comm::Comm;
use crate::error::{Error, Result, end_on_panic, tell};
use crate::failpoint;
use crate::host;
use crate::kernel::ARITHMETIC;
use crate::report::start_log;
use crate::stop::{self, Stop};
use crate::store::workdir::Workdir;

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
    let nothing = || Ok(());
    match command {
        Command::Plan(args) => {
            start_log(0, 1);
            end_on_panic(String::new(), || std::process::exit(1));
            failpoint::arm(0);
            finish(plan::plan(&args), true)
        }
        Command::Compute(args) => {
            with_mpi(&options, Stop::watch, |comm, stop| compute::compute(comm, &args, stop))
        }
        Command::Generate(args) => {
            with_mpi(&options, Stop::watch, |comm, stop| generate::generate(comm, &args, &stop))
        }
        Command::Verify(args) => with_mpi(&options, nothing, |comm, ()| verify::verify(comm, &args)),
        Command::Info(args) => with_mpi(&options, nothing, |comm, ()| comm.on_root(|| info::info(&args))),
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

/// Runs on all ranks; every error is one that all ranks have agreed on, so that rank 0 speaks for all. What `prepare` does has to come
/// before MPI starts threads and loads libraries.
fn with_mpi<P>(
    options: &[(String, String)],
    prepare: impl FnOnce() -> Result<P>,
    work: impl FnOnce(&Comm, P) -> Result<()>,
) -> u8 {
    // first: the environment of a process can be changed safely only by starting it anew
    let completed = host::complete_environment();
    let prepared = stop::block_file_size_signal().and_then(|()| prepare());
    let comm = match Comm::start() {
        Ok(comm) => comm,
        Err(error) => return finish(Err(error), true),
    };
    start_log(comm.rank(), comm.size());
    if let Err(error) = completed
        && comm.is_root()
    {
        log::warn!(
            "hwloc may load drivers of GPUs, and limits of memory may be too tight: the program cannot be started anew: {error}"
        );
    }
    placement::warn_of_strangers(&comm);
    failpoint::arm(comm.rank());
    let work = || {
        let prepared = comm.agree(prepared)?;
        let way_out = "start all ranks from one build, with the same options";
        comm.same(&[build(), options.to_vec()].concat(), way_out)?;
        work(&comm, prepared)
    };
    finish(work(), comm.is_root())
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
