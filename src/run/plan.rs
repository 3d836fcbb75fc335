//! `plan`: what a run will take.

use std::fmt::Write as _;

use serde::Serialize;

use super::setup::{self, Inputs, Shape, with_dtype};
use crate::cli::PlanArgs;
use crate::comm::{Comm, MAX_RANKS};
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::fail;
use crate::host;
use crate::io::record;
use crate::kernel::{Kernel, Level};
use crate::pipeline::{Number, PAGE_CACHE_BYTES, Workers, buffers, kernel_rate};
use crate::plan::{Balance, Cost, Machine, Memory, Source, Traffic, Volume};
use crate::problem::Problem;
use crate::report::{bytes, counted, print};
use crate::schedule::Schedule;

/// Features of the samples that the kernel rate is measured on at most, pair-features of a tile of them, and values of a row of
/// tiles: enough to leave the caches behind.
const MEASURED_FEATURES: usize = 1024;
const MEASURED_TILE: usize = 50_000_000;
const MEASURED_VALUES: usize = 8 << 20;

/// Nodes among which the fewest that fit are looked for.
const MOST_NODES: usize = 10_000;

/// What `plan --json` writes.
#[derive(Serialize)]
struct Record {
    problem: Problem,
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

pub(super) fn plan(args: &PlanArgs) -> Result<()> {
    let PlanArgs { ranks, nodes, threads, .. } = *args;
    if ranks > MAX_RANKS {
        return Err(Error::Usage(format!("--ranks {ranks}: MPI has at most {MAX_RANKS}")));
    }
    if !ranks.is_multiple_of(nodes) {
        return Err(Error::Usage(format!("--ranks {ranks}: {nodes} nodes do not share them evenly")));
    }
    if let Some(record) = &args.json {
        let inputs = [&args.input, &args.problem.against, &args.machine];
        let inputs: Vec<_> = inputs.into_iter().flatten().map(std::path::PathBuf::as_path).collect();
        record::check(record, record::Kind::Plan, &inputs)?;
    }
    let (shape, symmetric) = shape(args)?;
    let problem = setup::problem(&args.problem, shape, ranks, ranks.saturating_mul(threads))?;
    with_dtype!(problem.dtype, show(args, shape, problem, symmetric))
}

fn shape(args: &PlanArgs) -> Result<(Shape, bool)> {
    if let Some(path) = &args.input {
        let inputs = Inputs::open(path, &args.problem)?;
        inputs.tell();
        return Ok((inputs.shape(), inputs.y.is_none()));
    }
    let (Some(n), Some(d)) = (args.samples, args.features) else {
        return Err(Error::Usage("name a file with samples, or give --samples and --features".into()));
    };
    let y = setup::open_against(&args.problem)?;
    if let Some(y) = &y
        && y.features != d
    {
        return Err(Error::Usage(format!("--features {d}: {} has {} features", y.describe(), y.features)));
    }
    let (m, source) = (y.as_ref().map_or(n, |y| y.rows), Source::of(y.iter()));
    Ok((Shape { n, m, d, dtype: Dtype::F64, source }, y.is_none()))
}

fn show<T: Number>(args: &PlanArgs, shape: Shape, problem: Problem, symmetric: bool) -> Result<()> {
    let record = predict::<T>(args, shape, problem, symmetric)?;
    if let Some(path) = &args.json {
        record::write(path, record::Kind::Plan, &record)?;
    }
    print(&summary(&record, args.threads))?;
    check_cores(&record)?;
    check_memory(&record)
}

fn predict<T: Number>(args: &PlanArgs, shape: Shape, problem: Problem, symmetric: bool) -> Result<Record> {
    let PlanArgs { ranks, nodes, threads, .. } = *args;
    let (written, ranks_per_node) = (!args.no_output, ranks / nodes);
    let level = Level::detect().map_err(Error::Usage)?;
    let kernel = Kernel::<T>::new(problem.metric, problem.kernel, problem.d, level);
    let memory = |schedule: &Schedule| {
        Memory::of(schedule, &kernel, shape.source, threads, written, Comm::resident_bytes())
    };
    let mut machine = args.machine.as_deref().map_or_else(|| Ok(Machine::default()), Machine::read)?;

    let schedule = setup::schedule(&problem, ranks, symmetric);
    let balance = Balance::of(&schedule);
    let traffic = Traffic::of(&schedule, &kernel, written);
    let volume = Volume::of(&schedule, &kernel, &balance, &traffic, threads, ranks_per_node);
    let rate = match machine.kernel_rate {
        Some(rate) => rate * 1e9,
        None => measured_rate(args, problem, &kernel, schedule.images(written))?,
    };
    let kernel_rate_is_measured_here = machine.kernel_rate.is_none();
    machine.kernel_rate = Some(rate / 1e9);
    let seconds = Cost::of(&volume, &machine, rate);
    let of_a_rank = |ranks: usize| {
        // tiles depend on the number of ranks
        let problem = setup::problem(&args.problem, shape, ranks, ranks.saturating_mul(threads));
        problem.map_or(u64::MAX, |problem| memory(&setup::schedule(&problem, ranks, symmetric)).total())
    };
    let memory = memory(&schedule);
    Ok(Record {
        problem,
        symmetric,
        nodes,
        ranks,
        threads_per_rank: threads,
        balance,
        memory,
        memory_bytes: memory.total(),
        traffic,
        kernel_rate_is_measured_here,
        fewest_nodes: fewest_nodes(&machine, &problem, ranks_per_node, of_a_rank),
        machine,
        volume,
        seconds,
        node_hours: nodes as f64 * seconds.wall / 3600.0,
    })
}

/// The fewest nodes, if the memory of one is given, that hold so many ranks each: a rank of a number of ranks has so many bytes.
fn fewest_nodes(
    machine: &Machine,
    problem: &Problem,
    ranks_per_node: usize,
    of_a_rank: impl Fn(usize) -> u64,
) -> Option<usize> {
    // where the samples themselves begin to fit beside the program
    let left =
        machine.memory_gb? * 1e9 - (ranks_per_node as u64).saturating_mul(Comm::resident_bytes()) as f64;
    if left <= 0.0 {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates where there is no way"
    )]
    let first = (problem.n as f64 * problem.d as f64 * problem.dtype.size() as f64 / left) as usize;
    let most = MOST_NODES.min(MAX_RANKS / ranks_per_node);
    // memory goes up and down with the edge of the tiles that a number of ranks gets: no bisection
    (first.max(1)..=most).find(|&nodes| machine.holds(of_a_rank(nodes * ranks_per_node), ranks_per_node))
}

/// Pair-features that a thread of this machine computes per second, as many at work as a node has, or this machine; of each tile
/// so many images are made.
fn measured_rate<T: Number>(
    args: &PlanArgs,
    problem: Problem,
    kernel: &Kernel<T>,
    images: usize,
) -> Result<f64> {
    let threads = args.threads.saturating_mul(args.ranks / args.nodes).min(host::usable_cores());
    let features = problem.d.min(MEASURED_FEATURES);
    let kernel = Kernel::<T>::new(problem.metric, problem.kernel, features, kernel.level());
    let edge = problem.tile.min((MEASURED_TILE / features).isqrt());
    let columns = problem.m.min(MEASURED_VALUES / features).div_ceil(edge);
    let values = (edge + columns * edge) * features + buffers(threads) * images * edge * edge;
    let planned = PAGE_CACHE_BYTES + values * size_of::<T>();
    setup::check_limit(planned as u64, threads, "raise the limit")?;
    let workers = Workers::start(threads)?;
    Ok(kernel_rate(&workers, &kernel, edge, columns, images))
}

fn summary(record: &Record, threads: usize) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    let Record { problem, balance, traffic, volume, seconds, machine, .. } = record;
    let Problem { n, m, d, metric, kernel, dtype, tile } = problem;
    line("problem", format!("{n} x {m} distances, {}, {metric}, {dtype}, {kernel}", counted(*d, "feature")));
    let (across, down) = (n.div_ceil(*tile), m.div_ceil(*tile));
    line("tiles", format!("{across} x {down} of {tile} x {tile}, {} computed", balance.tiles));
    line(
        "ranks",
        format!(
            "{} x {} on {}, {}",
            record.ranks,
            counted(threads, "thread"),
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
    line("read", bytes(traffic.bytes_read));
    line("exchanged", bytes(traffic.bytes_exchanged));
    line("written", bytes(traffic.bytes_written));
    line("memory", format!("{} per rank", bytes(record.memory_bytes)));
    line("  own rows", bytes(record.memory.rows));
    line("  moving", bytes(record.memory.cols));
    line("  tiles", bytes(record.memory.buffers));
    line("  program", bytes(record.memory.base));
    if let (Some(nodes), Some(gb)) = (record.fewest_nodes, machine.memory_gb) {
        let ranks = counted(volume.ranks_per_node, "rank");
        line("", format!("at least {} of {ranks} and {gb} GB", counted(nodes, "node")));
    }
    line("time", format!("{:.3} s, {:.4} node-hours", seconds.wall, record.node_hours));
    let assumed = |rate| machine.assumption(rate);
    line(
        "  read",
        format!("{:.3} s, at {} GB/s for a rank{}", seconds.read, machine.read_gb_s, assumed("read_gb_s")),
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
            "{:.3} s that writing does not hide, at {rate:.2} G pair-features/s for a thread{}",
            seconds.compute,
            if record.kernel_rate_is_measured_here { " (measured here)" } else { "" }
        ),
    );
    line(
        "  write",
        format!("{:.3} s, at {} GB/s for a rank{}", seconds.write, machine.write_gb_s, assumed("write_gb_s")),
    );
    let disk = machine
        .disk_gb_s
        .map_or_else(|| "a disk that keeps up (assumed)".into(), |rate| format!("{rate} GB/s for all ranks"));
    line("  sync", format!("{:.3} s, at {disk}", seconds.sync));
    out
}

/// Refuses more threads than cores: they would take turns, and times would be others.
fn check_cores(record: &Record) -> Result<()> {
    let Some(cores) = record.machine.cores else { return Ok(()) };
    let Volume { ranks_per_node, threads, .. } = record.volume;
    if ranks_per_node.saturating_mul(threads) > cores {
        // as many on each as have cores
        let way_out = match cores / threads {
            0 => format!("use at most --threads {cores}"),
            ranks => {
                format!("use fewer of them, or at least {}", counted(record.ranks.div_ceil(ranks), "node"))
            }
        };
        let (ranks, threads) = (counted(ranks_per_node, "rank"), counted(threads, "thread"));
        fail!("{ranks} x {threads} on a node of {}; {way_out}", counted(cores, "core"));
    }
    Ok(())
}

/// Refuses a run that does not fit the memory of its nodes.
fn check_memory(record: &Record) -> Result<()> {
    let Some(gb) = record.machine.memory_gb else { return Ok(()) };
    let Volume { ranks_per_node, .. } = record.volume;
    if record.machine.holds(record.memory_bytes, ranks_per_node) {
        return Ok(());
    }
    let needed = record.memory_bytes.saturating_mul(ranks_per_node as u64);
    let way_out = match record.fewest_nodes {
        Some(nodes) => {
            format!("use at least {nodes} nodes, --nodes {nodes} --ranks {}", nodes * ranks_per_node)
        }
        None => format!(
            "{MOST_NODES} nodes are not enough; use fewer ranks on a node, fewer --threads or a smaller --tile"
        ),
    };
    fail!("the ranks of a node need {} of memory and it has {gb} GB; {way_out}", bytes(needed));
}
