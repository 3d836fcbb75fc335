//! `pairdist`: see `pairdist --help`.

use std::process::ExitCode;

use pairdist::cli::Cli;
use pairdist::error::tell;
use pairdist::{host, run};

fn main() -> ExitCode {
    let cli = Cli::read();
    // the environment of a process can be changed safely only by starting it anew
    if let Err(error) = host::keep_device_plugins_out() {
        tell(format_args!("hwloc may load drivers of GPUs: {error}"));
    }
    ExitCode::from(run::run(cli))
}
