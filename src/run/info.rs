//! `info`: what a file holds.

use crate::cli::InfoArgs;
use crate::error::Result;
use crate::io::matrix::MatrixReader;
use crate::io::samples::Samples;
use crate::io::workdir::Workdir;
use crate::report::bytes;

pub(super) fn info(args: &InfoArgs) -> Result<()> {
    let unfinished = Workdir::of(&args.file);
    let is_unfinished = !args.file.exists() && unfinished.matrix().exists();
    let path = if is_unfinished { unfinished.matrix() } else { args.file.clone() };
    let reader = match MatrixReader::open(&path) {
        Ok(reader) => reader,
        Err(error) => {
            // not a result: perhaps samples
            let samples = Samples::open(&path, None).map_err(|_| error)?;
            println!("{}: {} samples of {} features", samples.describe(), samples.rows, samples.features);
            return Ok(());
        }
    };
    let header = &reader.header;
    let grid = header.grid;
    println!("file         {}", path.display());
    println!(
        "state        {}",
        if reader.complete { "complete" } else { "not finished: its values are not to be used" }
    );
    println!("distances    {} x {}, {}, {}", grid.n, grid.m, header.dtype, bytes(header.bytes()));
    println!("metric       {}, {} kernel", header.metric, header.method);
    println!("symmetric    {}", if header.symmetric { "yes (one input)" } else { "no (two inputs)" });
    println!("tiles        {} x {} of {} x {}", grid.tile_rows(), grid.tile_cols(), grid.edge, grid.edge);
    for input in &header.inputs {
        let (rows, features) = input.shape;
        println!(
            "input        {}:{}, {rows} x {features}, digest {}",
            input.path, input.dataset, input.digest
        );
    }
    println!("created      {} by pairdist {}", header.created, header.pairdist_version);
    println!(
        "on           {} ranks x {} threads; {}; HDF5 {}",
        header.ranks, header.threads, header.mpi_version, header.hdf5_version
    );
    println!("command      {}", header.command_line);
    Ok(())
}
