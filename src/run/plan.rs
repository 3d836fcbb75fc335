//! `plan`: what a run will take.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bands::Banded;
use super::fit::{self, Fit, Layout, MOST_NODES};
use super::inputs::{self, Inputs, Shape};
use super::limits::{self, check_asked};
use super::parameters::Given;
use super::placement::{self, Threads};
use super::setup::{self, with_dtype};
use crate::cli::PlanArgs;
use crate::comm::MAX_RANKS;
use crate::error::{Error, Result};
use crate::fail;
use crate::host;
use crate::kernel::{Kernel, Level, WORD_BYTES};
use crate::number::Number;
use crate::partition::Grid;
use crate::pipeline::{PAGE_CACHE_BYTES, Workers, kernel_rate, parcels, share_of};
use crate::plan::{Balance, Cost, Machine, Memory, Traffic, Volume};
use crate::problem::{Asked, Nearest, Problem};
use crate::report::{features_at_a_time, file, print};
use crate::schedule::Bands;
use crate::sink::{Parcel, Results};
use crate::source::{Input, Storage};
use crate::text::{bytes, counted};

/// Values, or words of features, of the samples that the kernel rate is measured on at most.
const MEASURED_LINES: usize = 1024;
/// Pairs of values or words in a tile of them, at most.
const MEASURED_TILE: usize = 50_000_000;
/// Likewise at least, where samples have as many: much longer than handing the tile over takes.
const MEASURED_LEAST: usize = 1 << 20;
/// Features of the rows and columns of all tiles that are measured: as floats, enough to leave the caches behind.
const MEASURED_VALUES: usize = 8 << 20;

/// Neighbours of each sample in tiles that are measured, and samples that have any at most, or a tile of them.
const MEASURED_NEIGHBORS: usize = 16;
const MEASURED_ROWS: usize = 1 << 16;

/// What `plan --json` writes.
#[derive(Serialize)]
struct Record {
    disk: Disk,
    problem: Problem,
    /// Where not all samples are in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bands: Option<Bands>,
    results: Asked,
    /// What lies within a radius takes as much as there is of it.
    radius: Vec<Hits>,
    symmetric: bool,
    nodes: usize,
    ranks: usize,
    threads_per_rank: usize,
    #[serde(flatten)]
    balance: Balance,
    /// Bytes of a rank.
    memory: Memory,
    memory_bytes: u64,
    #[serde(flatten)]
    traffic: Traffic,
    machine: Machine,
    /// By the machine that plans, which need not be of the kind that is planned for.
    kernel_rate_is_measured_here: bool,
    volume: Volume,
    seconds: Cost,
    node_hours: f64,
    /// If the memory of a node is given.
    fewest_nodes: Option<usize>,
}

/// Disk space: how much the result needs, and how much is free.
#[derive(Serialize)]
struct Disk {
    needed_bytes: u64,
    /// Where the samples are, or else where `plan` runs.
    folder: PathBuf,
    /// If the system tells.
    free_bytes: Option<u64>,
}

/// What lies within a radius, if it is such a share of all pairs.
#[derive(Serialize)]
struct Hits {
    share: f64,
    /// Bytes in the result, and in the working folder until it is complete.
    result_bytes: f64,
    folder_bytes: f64,
}

/// Shares of all pairs that may lie within a radius.
const SHARES: [f64; 4] = [0.001, 0.01, 0.1, 1.0];

impl Hits {
    fn of<T: Number>(results: &Results, grid: &Grid) -> Vec<Self> {
        let Some(entry) = results.bytes_of_entry::<T>(grid) else { return Vec::new() };
        let all = grid.n as f64 * grid.m as f64 * entry as f64;
        let hits = |share| {
            let folder_bytes = results.spool_bytes::<T>(grid, share);
            Self { share, result_bytes: share * all, folder_bytes }
        };
        SHARES.map(hits).into()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
    fn line(&self) -> String {
        format!(
            "{} in the result if {} % of all pairs are within it, and {} beside it until the end",
            bytes(self.result_bytes as u64),
            100.0 * self.share,
            bytes(self.folder_bytes as u64)
        )
    }
}

impl Disk {
    fn of(needed_bytes: u64, input: Option<&Path>) -> Self {
        let folder = input.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let free_bytes = host::free_space(folder);
        Self {
            needed_bytes,
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.into()),
            free_bytes,
        }
    }

    fn line(&self) -> String {
        if self.needed_bytes == 0 {
            return "nothing is written".into();
        }
        let (needed, folder) = (bytes(self.needed_bytes), self.folder.display());
        match self.free_bytes {
            None => format!("{needed} for the result"),
            Some(free) => {
                let fits = if free < self.needed_bytes { "does not fit" } else { "fits" };
                format!("{needed} for the result, which {fits} in {folder}: {} free", bytes(free))
            }
        }
    }
}

pub(super) fn plan(args: &PlanArgs) -> Result<()> {
    let nodes = args.nodes;
    let ranks = args.ranks.unwrap_or(nodes);
    if ranks > MAX_RANKS {
        let option = if args.ranks.is_some() { "--ranks" } else { "--nodes" };
        return Err(Error::Usage(format!("{option} {ranks}: MPI has at most {MAX_RANKS} ranks")));
    }
    if !ranks.is_multiple_of(nodes) {
        let more = ranks.next_multiple_of(nodes);
        let way_out = if more <= MAX_RANKS { format!("--ranks {more}") } else { format!("--nodes {ranks}") };
        return Err(Error::Usage(format!(
            "--ranks {ranks}: {nodes} nodes do not share them evenly; use {way_out}"
        )));
    }
    if let Some(record) = &args.json {
        let given: Vec<_> = Given::files(&args.problem).collect();
        let inputs = args.inputs.iter().chain(&args.problem.against).chain(&args.machine).chain(&given);
        let inputs: Vec<_> = inputs.map(std::path::PathBuf::as_path).collect();
        file::check(record, file::RecordKind::Plan, &inputs)?;
    }
    let machine = args.machine.as_deref().map_or_else(|| Ok(Machine::default()), Machine::read)?;
    let ranks_per_node = ranks / nodes;
    let cores = machine.cores.unwrap_or_else(host::usable_cores);
    let Threads { count: threads, .. } = placement::wanted_threads(args.threads, cores, ranks_per_node)?;
    let layout = Layout { nodes, ranks_per_node, threads, tile: args.problem.tile };
    let (shape, symmetric) = shape(args)?;
    let problem = setup::problem(&args.problem, &shape, ranks, ranks.saturating_mul(threads))?;
    Given::read(&args.problem, problem.d)?.check_range(&problem)?;
    with_dtype!(problem.dtype, show(args, Planned { layout, machine, shape, problem, symmetric }))
}

/// What is planned.
struct Planned {
    layout: Layout,
    machine: Machine,
    shape: Shape,
    problem: Problem,
    symmetric: bool,
}

fn shape(args: &PlanArgs) -> Result<(Shape, bool)> {
    if !args.inputs.is_empty() {
        let inputs = Inputs::open(&args.inputs, &args.problem)?;
        inputs.tell();
        inputs.labels(&args.problem)?;
        return Ok((inputs.shape(), inputs.y.is_none()));
    }
    let (Some(n), Some(d)) = (args.samples, args.problem.features) else {
        return Err(Error::Usage("name a file with samples, or give --samples and --features".into()));
    };
    let y = inputs::open_against(&args.problem)?;
    if let Some(y) = &y
        && y.features != d
    {
        return Err(Error::Usage(format!("--features {d}: {} has {} features", y.describe(), y.features)));
    }
    let storage = if args.problem.packed { Storage::bits(d) } else { args.stored.storage(d) };
    let (dtype, content) = (storage.stored.dtype(), storage.content);
    let m = y.as_ref().map_or(n, Input::rows);
    let (dtype, content) =
        y.as_ref().map_or((dtype, content), |y| (dtype.wider(y.dtype()), content.and(y.content())));
    let of_x = vec![(storage, n)];
    let layouts = [of_x.clone(), y.as_ref().map_or(of_x, Input::layouts)];
    Ok((Shape { n, m, d, dtype, content, layouts, is_of_file: false }, y.is_none()))
}

fn show<T: Number>(args: &PlanArgs, planned: Planned) -> Result<()> {
    let level = Level::detect().map_err(Error::Usage)?;
    let Planned { layout, symmetric, problem, .. } = planned;
    let shape = &planned.shape.clone();
    let node_bytes = planned.machine.memory_gb.unwrap_or(f64::INFINITY) * 1e9;
    let asked =
        if args.no_output { Asked::NOTHING } else { setup::asked(&args.problem, &problem, symmetric)? };
    let results = Results::of(asked);
    let fit = Fit { args: &args.problem, shape, symmetric, level, results: &results, node_bytes };
    let record = predict::<T>(args, planned, &fit)?;
    if let Some(path) = &args.json {
        file::write(path, file::RecordKind::Plan, &record)?;
    }
    print(&summary(&record))?;
    check_cores(&record)?;
    check_memory(&record, || fit.way_out::<T>(layout, problem.tile, false), layout)
}

fn predict<T: Number>(args: &PlanArgs, planned: Planned, fit: &Fit<'_>) -> Result<Record> {
    let Planned { layout, mut machine, problem, symmetric, .. } = planned;
    let Layout { nodes, ranks_per_node, threads, .. } = layout;
    let ranks = layout.ranks();
    let schedule = setup::schedule(&problem, ranks, symmetric);
    let memory = fit.memory::<T>(&problem, &schedule, threads)?;
    let whole = Banded { problem, schedule, memory };
    // as much as a rank may take
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let of_node = (fit.node_bytes / ranks_per_node as f64) as u64;
    let limit = args.problem.memory_per_rank.unwrap_or(u64::MAX).min(of_node);
    let within = fit.within::<T>(layout.size(), (problem.tile, layout.tile.is_some()), limit);
    let Banded { problem, schedule, memory } = within.unwrap_or(whole);
    check_asked(&memory, args.problem.memory_per_rank)?;
    let kernel = fit::kernel::<T>(&problem, &schedule, fit.level);
    let balance = Balance::of(&schedule);
    let disk = fit.results.disk_bytes::<T>(&schedule.grid);
    // what the metric was given goes into the result, if there is one
    let parameters = if disk == Some(0) { Some(0) } else { problem.parameter_bytes() };
    let disk = disk.and_then(|bytes| bytes.checked_add(parameters?));
    let traffic = Traffic::of(&schedule, &kernel, fit.results)?;
    let volume = Volume::of(&schedule, &kernel, &fit.shape.layouts, fit.results, threads, ranks_per_node)?;
    let kernel_rate_is_measured_here = machine.kernel_rate.is_none();
    let rate = if let Some(rate) = machine.kernel_rate {
        rate * 1e9
    } else {
        // whole tiles are measured
        machine.tile_us = 0.0;
        machine.assumed.retain(|name| *name != "tile_us");
        measured_rate(layout, &problem, &kernel, symmetric, fit.results)?
    };
    machine.kernel_rate = Some(rate / 1e9);
    let seconds = Cost::of(&volume, &machine, rate);
    Ok(Record {
        disk: Disk::of(disk.unwrap_or(u64::MAX), args.inputs.first().map(PathBuf::as_path)),
        problem,
        bands: (schedule.bands != Bands::NONE).then_some(schedule.bands),
        results: fit.results.asked,
        radius: Hits::of::<T>(fit.results, &schedule.grid),
        symmetric,
        nodes,
        ranks,
        threads_per_rank: threads,
        balance,
        memory,
        memory_bytes: memory.total(),
        traffic,
        kernel_rate_is_measured_here,
        fewest_nodes: machine.memory_gb.and_then(|_| fit.fewest_nodes::<T>(layout)),
        machine,
        volume,
        seconds,
        node_hours: nodes as f64 * seconds.wall / 3600.0,
    })
}

/// Pair-features that a thread of this machine computes per second, as many at work as a node has, or this machine; of the tiles
/// such results are made.
fn measured_rate<T: Number>(
    layout: Layout,
    problem: &Problem,
    kernel: &Kernel<T>,
    symmetric: bool,
    results: &Results,
) -> Result<f64> {
    let threads = layout.threads.saturating_mul(layout.ranks_per_node).min(host::usable_cores());
    let (grid, features) = measured_grid(problem, kernel.row_panels().features_per_line());
    // lists of more rows would take much more memory than their samples
    let most = if results.are_mailed() { MEASURED_ROWS.next_multiple_of(grid.edge) } else { usize::MAX };
    let grid = Grid { m: grid.m.min(most), symmetric, ..grid };
    let (height, width) = grid.tile_shape();
    let kernel = Kernel::<T>::new(kernel.measure().clone(), problem.method, features, kernel.level())
        .for_tiles(height, width);
    // tiles are computed again and again, so that nothing is near enough to enter a list: short ones do
    let nearest = results
        .asked
        .neighbors
        .map(|nearest| Nearest { count: nearest.count.min(MEASURED_NEIGHBORS), ..nearest });
    let results = &Results::of(Asked { neighbors: nearest, ..results.asked });
    let parcel = Parcel::<T>::len_for(results, &grid, kernel.strip_len(width));
    // packed, and those of a tile as they are drawn
    let packed = [(grid.n, kernel.row_panels()), (grid.m, kernel.col_panels())]
        .map(|(samples, panels)| panels.count(samples) * panels.len() * WORD_BYTES);
    let values = height.max(width) * features + parcels(threads) * parcel;
    let planned = (PAGE_CACHE_BYTES + packed.iter().sum::<usize>() + values * size_of::<T>()) as u64;
    let kept = results.kept_bytes::<T>(&share_of(grid)).unwrap_or(u64::MAX);
    limits::check_limit(planned.saturating_add(kept), threads, "raise the limit")?;
    let workers = Workers::start(threads)?;
    Ok(kernel_rate(&workers, &kernel, grid, results))
}

/// Whole tiles that stand for those of the problem, and the features of their samples. They have the problem's shape, unless that
/// takes too long: a kernel computes two columns no faster than a whole panel of them. `together` features are folded at once.
fn measured_grid(problem: &Problem, together: usize) -> (Grid, usize) {
    let Problem { n, m, d, tile, .. } = *problem;
    let lines = d.div_ceil(together);
    // where one side of the matrix is short, the other may be longer
    let area = MEASURED_TILE / lines.min(MEASURED_LINES);
    let edge = tile.min(area.isqrt().max(area / n.min(m)));
    let (height, width) = Grid { n, m, edge, symmetric: false }.tile_shape();
    let most = MEASURED_LINES.max(MEASURED_LEAST / (height * width));
    let features = d.min(most.saturating_mul(together));
    // a row of tiles, or as many as leave the caches behind where rows are short
    let room = MEASURED_VALUES / features;
    let whole = |samples: usize, most: usize| {
        if samples < edge { samples } else { samples.min(most.max(1)).next_multiple_of(edge) }
    };
    let m = whole(m, room);
    (Grid { n: whole(n, room.saturating_sub(m)), m, edge, symmetric: false }, features)
}

/// What people read.
fn summary(record: &Record) -> String {
    let mut out = String::new();
    for (name, value) in size_lines(record).into_iter().chain(time_lines(record)) {
        let _ = writeln!(out, "{name:<12} {value}");
    }
    out
}

/// A line of the summary.
type Line = (&'static str, String);

/// What is computed, by whom, and what that takes of disk and memory.
fn size_lines(record: &Record) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |name: &'static str, value: String| lines.push((name, value));
    let Record { problem, balance, traffic, volume, machine, .. } = record;
    let Problem { n, m, d, method, dtype, tile, .. } = problem;
    let metric = problem.shown_metric();
    // first, since a result that has no place is not worth planning
    let beside = if record.radius.is_empty() { "" } else { "; without the pairs within the radius" };
    line("disk", format!("{}{beside}", record.disk.line()));
    for (number, hits) in record.radius.iter().enumerate() {
        line(if number == 0 { "radius" } else { "" }, hits.line());
    }
    line("problem", format!("{n} x {m} distances, {}, {metric}, {dtype}, {method}", counted(*d, "feature")));
    if let Some(nearest) = record.results.neighbors {
        line("neighbors", format!("{} of every sample", nearest.count));
    }
    let (across, down) = (n.div_ceil(*tile), m.div_ceil(*tile));
    line("tiles", format!("{across} x {down} of {tile} x {tile}, {} computed", balance.tiles));
    line(
        "ranks",
        format!(
            "{} x {} on {}, {}",
            record.ranks,
            counted(record.threads_per_rank, "thread"),
            counted(record.nodes, "node"),
            counted(volume.rounds, "round")
        ),
    );
    line(
        "balance",
        format!(
            "{} on the busiest rank, {:.3} of the mean; {} on its busiest thread",
            counted(balance.tiles_of_busiest_rank, "tile"),
            balance.imbalance,
            volume.waves
        ),
    );
    if balance.idle_ranks > 0 {
        line("", format!("{} without a tile", counted(balance.idle_ranks, "rank")));
    }
    if let Some(Bands { rows, cols, features, shared_features }) = record.bands {
        let passing = if record.symmetric { rows * cols } else { cols };
        line(
            "bands",
            format!(
                "{} of rows in memory, one at a time; the columns pass in {passing}{}",
                counted(rows, "band"),
                features_at_a_time(features, shared_features)
            ),
        );
    }
    line("read", bytes(traffic.bytes_read));
    line("exchanged", bytes(traffic.bytes_exchanged));
    let beside = if record.radius.is_empty() { "" } else { ", and the pairs within the radius, twice" };
    line("written", format!("{}{beside}", bytes(traffic.bytes_written)));
    line("memory", format!("{} per rank", bytes(record.memory_bytes)));
    line("  own rows", bytes(record.memory.rows));
    line("  moving", bytes(record.memory.cols));
    line("  tiles", bytes(record.memory.buffers));
    if record.results.neighbors.is_some() {
        line("  lists", bytes(record.memory.results));
    } else if record.results.within.is_some() {
        line("  pieces", bytes(record.memory.results));
    }
    line("  program", bytes(record.memory.base));
    let Memory { rows, cols, buffers, results, reading, .. } = record.memory;
    if reading > rows + cols + buffers + results {
        line("  reading", format!("{} for a moment, with what is packed by then", bytes(reading)));
    }
    if let (Some(nodes), Some(gb)) = (record.fewest_nodes, machine.memory_gb) {
        let ranks = counted(volume.ranks_per_node, "rank");
        line("", format!("fewest nodes of {ranks} and {gb} GB that hold all samples: {nodes}"));
    }
    lines
}

/// How long it takes, phase by phase, and at which rates.
fn time_lines(record: &Record) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |name: &'static str, value: String| lines.push((name, value));
    let Record { seconds, machine, .. } = record;
    let beside = if record.radius.is_empty() { "" } else { ", and writing the pairs within the radius" };
    line("time", format!("{:.3} s, {:.4} node-hours{beside}", seconds.wall, record.node_hours));
    let assumed = |rate| machine.assumption(rate);
    let disk =
        || format!("{} GB/s of the file system for all nodes{}", machine.disk_gb_s, assumed("disk_gb_s"));
    line(
        "  read",
        format!(
            "{:.3} s, at {} GB/s for a node{} and {}",
            seconds.read,
            machine.node_read_gb_s,
            assumed("node_read_gb_s"),
            disk()
        ),
    );
    line(
        "  exchange",
        format!(
            "{:.3} s that computing does not hide, at {} GB/s for a node{} and {} us for a message{}",
            seconds.exchange,
            machine.network_gb_s,
            assumed("network_gb_s"),
            machine.latency_us,
            assumed("latency_us")
        ),
    );
    let rate = machine.kernel_rate.unwrap_or_default();
    line(
        "  compute",
        format!(
            "{:.3} s not overlapped with writing, at {rate:.2} G pair-features/s for a thread{}{}",
            seconds.compute,
            if record.kernel_rate_is_measured_here { " (measured here)" } else { "" },
            match machine.tile_us {
                0.0 => String::new(),
                time => format!(" and {time} us for a tile{}", assumed("tile_us")),
            }
        ),
    );
    line(
        "  write",
        format!(
            "{:.3} s, at {} GB/s for a node{} and {} us for a tile{}",
            seconds.write,
            machine.node_write_gb_s,
            assumed("node_write_gb_s"),
            machine.write_us,
            assumed("write_us")
        ),
    );
    line("  sync", format!("{:.3} s, at {}", seconds.sync, disk()));
    lines
}

/// Refuses more threads than cores: they would take turns, and times would be others.
fn check_cores(record: &Record) -> Result<()> {
    let Some(cores) = record.machine.cores else { return Ok(()) };
    let Volume { ranks_per_node, threads, .. } = record.volume;
    let needed = ranks_per_node.saturating_mul(threads);
    if needed > cores {
        let Record { nodes, ranks, .. } = *record;
        let way_out = match (cores / ranks_per_node, cores / threads) {
            (0, 0) => format!("use --ranks {nodes} --threads {cores}"),
            (fewer_threads, 0) => format!("use --threads {fewer_threads}"),
            (fewer_threads, fewer_ranks) => {
                // nodes that share the ranks evenly
                let most = (1..=fewer_ranks).rev().find(|&most| ranks.is_multiple_of(most)).unwrap_or(1);
                let more_nodes = ranks / most;
                let fewer = match fewer_threads {
                    0 => format!("use --ranks {}", nodes * fewer_ranks),
                    _ => format!("use --threads {fewer_threads}, --ranks {}", nodes * fewer_ranks),
                };
                format!("{fewer} or --nodes {more_nodes}")
            }
        };
        let (ranks, threads) = (counted(ranks_per_node, "rank"), counted(threads, "thread"));
        fail!("{ranks} x {threads} need {needed} cores, and a node has {cores}; {way_out}");
    }
    Ok(())
}

/// Refuses a run that does not fit the memory of its nodes.
fn check_memory(record: &Record, way_out: impl Fn() -> Option<Layout>, layout: Layout) -> Result<()> {
    let Some(gb) = record.machine.memory_gb else { return Ok(()) };
    let Volume { ranks_per_node, .. } = record.volume;
    if record.machine.holds(record.memory_bytes, ranks_per_node) {
        return Ok(());
    }
    let needed = record.memory_bytes.saturating_mul(ranks_per_node as u64);
    let way_out = match way_out() {
        Some(fitting) => {
            format!("{} (plan {})", fitting.change_from(layout, false), fitting.plan_options(layout))
        }
        None => format!("{MOST_NODES} nodes are not enough, so use nodes with more memory"),
    };
    fail!("the ranks of a node need {} of memory and it has {gb} GB; {way_out}", bytes(needed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiles_that_are_measured_have_the_shape_of_those_that_are_planned() {
        for (n, m, d, tile) in [
            (200_000, 2, 20, 4096),
            (2, 200_000, 20, 4096),
            (200_000, 30, 500, 1448),
            (50, 100, 3, 100),
            (2, 2, 280_000_000, 2),
            (1_000_000, 1_000_000, 30, 1024),
            (1, 1, 1, 1),
        ] {
            let problem = Problem { n, m, d, tile, ..Problem::example() };
            let (grid, features) = measured_grid(&problem, 1);
            let planned = Grid { n, m, edge: tile, symmetric: false };
            assert_eq!(grid.tile_shape(), planned.tile_shape(), "{problem:?}");
            let (height, width) = grid.tile_shape();
            assert!(features <= d && height * width * features <= MEASURED_TILE, "{grid:?}");
            // whole tiles, and as many values as there are, or as leave the caches behind
            assert!(grid.n.is_multiple_of(height) && grid.m.is_multiple_of(width), "{grid:?}");
            assert!((grid.n + grid.m) * features >= ((n + m) * features).min(MEASURED_VALUES), "{grid:?}");
        }
        let wide = Problem { n: 9000, m: 9000, d: 1000, tile: 4096, ..Problem::example() };
        let (height, width) = measured_grid(&wide, 1).0.tile_shape();
        assert!(height == width && height * width * 1000 <= MEASURED_TILE, "{height} x {width}");
    }
}
