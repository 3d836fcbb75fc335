//! `pairdist`: see `pairdist --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pairdist::run::run(pairdist::cli::Cli::read()))
}
