//! `pairdist`: see `pairdist --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ExitCode::from(pairdist::run::run(pairdist::cli::Cli::parse()))
}
