//! `info`: what a file holds.

use std::fmt::Write as _;

use crate::cli::InfoArgs;
use crate::error::Result;
use crate::io::matrix::MatrixReader;
use crate::io::samples::Samples;
use crate::io::workdir::Workdir;
use crate::report::{bytes, print};

pub(super) fn info(args: &InfoArgs) -> Result<()> {
    let mut out = String::new();
    let unfinished = Workdir::of(&args.file);
    let is_unfinished = !args.file.exists() && unfinished.matrix().exists();
    let path = if is_unfinished { unfinished.matrix() } else { args.file.clone() };
    let reader = match MatrixReader::open(&path) {
        Ok(reader) => reader,
        Err(error) => {
            // not a result: perhaps samples
            let samples = Samples::open(&path, None).map_err(|_| error)?;
            let _ = writeln!(
                out,
                "{}: {} samples of {} features",
                samples.describe(),
                samples.rows,
                samples.features
            );
            return print(&out);
        }
    };
    let header = &reader.header;
    let grid = header.grid;
    let _ = writeln!(out, "file         {}", path.display());
    let _ = writeln!(
        out,
        "state        {}",
        if reader.complete { "complete" } else { "not finished: its values are not to be used" }
    );
    let _ =
        writeln!(out, "distances    {} x {}, {}, {}", grid.n, grid.m, header.dtype, bytes(header.bytes()));
    let _ = writeln!(out, "metric       {}, {} kernel", header.metric, header.method);
    let _ = writeln!(
        out,
        "symmetric    {}",
        if header.symmetric { "yes (one input)" } else { "no (two inputs)" }
    );
    let _ = writeln!(
        out,
        "tiles        {} x {} of {} x {}",
        grid.tile_rows(),
        grid.tile_cols(),
        grid.edge,
        grid.edge
    );
    for input in &header.inputs {
        let (rows, features) = input.shape;
        let _ = writeln!(
            out,
            "input        {}:{}, {rows} x {features}, digest {}",
            input.path, input.dataset, input.digest
        );
    }
    let _ = writeln!(out, "created      {} by pairdist {}", header.created, header.pairdist_version);
    let _ = writeln!(
        out,
        "on           {} ranks x {} threads; {}; HDF5 {}",
        header.ranks, header.threads, header.mpi_version, header.hdf5_version
    );
    let _ = writeln!(out, "command      {}", header.command_line);
    print(&out)
}
