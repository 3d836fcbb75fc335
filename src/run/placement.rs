//! Where ranks and threads run: how many threads a rank starts, and what is told about it.

use xxhash_rust::xxh3::xxh3_64;

use crate::comm::{Comm, Nodes};
use crate::error::{Error, Result};
use crate::host;
use crate::text::counted;

/// Nodes that are told about; with RUST_LOG=debug all are.
const NODES_TOLD: usize = 8;

/// Letters of the lists of cores that are told of a node; of longer ones, the first list and the last.
const CORES_TOLD: usize = 120;

/// Threads for each core of a node that are still an honest wish.
const THREADS_PER_CORE: usize = 16;

/// Where the ranks run, and the worker threads of this one.
pub(super) struct Cores {
    pub(super) nodes: Nodes,
    pub(super) threads: usize,
}

impl Cores {
    /// With as many threads as asked for, or as [`wanted_threads`] has it. Collective.
    pub(super) fn of(comm: &Comm, asked: Option<usize>) -> Result<Self> {
        let nodes = nodes(comm);
        let threads = comm.agree(threads(asked, &nodes))?;
        Ok(Self { nodes, threads })
    }
}

/// Finds out which ranks share nodes and cores. Collective.
pub(super) fn nodes(comm: &Comm) -> Nodes {
    // a list too long to be sent whole still has a digest of its own
    let cores = host::core_list();
    comm.nodes(&host::name(), &format!("{:016x} {cores}", xxh3_64(cores.as_bytes())))
}

/// Where Slurm says how many cores a rank has.
const SLURM_CORES: &str = "SLURM_CPUS_PER_TASK";

/// Worker threads of a rank, and who has decided it.
pub(super) struct Threads {
    pub(super) count: usize,
    pub(super) source: &'static str,
}

/// Worker threads of a rank: as asked for, as Slurm says, or its share of `cores`, which so many ranks share.
///
/// # Errors
/// If what Slurm says is no number.
pub(super) fn wanted_threads(asked: Option<usize>, cores: usize, ranks: usize) -> Result<Threads> {
    let slurm = std::env::var(SLURM_CORES).unwrap_or_default();
    match (asked, slurm.as_str()) {
        (Some(count), _) => Ok(Threads { count, source: "--threads" }),
        (None, "") => Ok(Threads { count: (cores / ranks).max(1), source: "cores" }),
        (None, text) => match text.parse() {
            Ok(count) if count > 0 => Ok(Threads { count, source: SLURM_CORES }),
            _ => Err(Error::Usage(format!("{SLURM_CORES}={text}: it must be a number of cores, or unset"))),
        },
    }
}

/// Worker threads of this rank, see [`wanted_threads`].
///
/// # Errors
/// If no node could serve so many.
pub(super) fn threads(asked: Option<usize>, nodes: &Nodes) -> Result<usize> {
    let Threads { count, source } = wanted_threads(asked, host::usable_cores(), nodes.sharing)?;
    let most = THREADS_PER_CORE * host::cores();
    if count > most {
        return Err(Error::Usage(format!(
            "{source} {count}: {} has {} cores; use at most {most}",
            host::name(),
            host::cores()
        )));
    }
    Ok(count)
}

/// Where launchers say how many processes they have started: the first that is set is the innermost.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// Warns of a rank alone that was started as one of many: with a launcher of another MPI each of them is a whole run.
pub(super) fn warn_of_strangers(comm: &Comm) {
    if comm.size() > 1 {
        return;
    }
    let launched = LAUNCHED.iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    if let Some((name, text)) = launched
        && text.parse().is_ok_and(|processes: usize| processes > 1)
    {
        log::warn!(
            "{name}={text}, and MPI knows 1 rank: each process does all the work; use the mpirun of the MPI that pairdist was built with, or \
             srun --mpi=pmix for Open MPI and --mpi=pmi2 for MPICH"
        );
    }
}

/// Tells for each node where its ranks run; its first rank warns where the launcher's binding or the thread count does not fit the
/// cores. Collective.
pub(super) fn tell(comm: &Comm, Cores { nodes, threads }: &Cores) {
    let threads = *threads;
    let mut cores: Vec<_> = nodes.cores_here.iter().filter_map(|cores| cores.split_once(' ')).collect();
    cores.dedup();
    let mut cores: Vec<_> = cores.into_iter().map(|(_, list)| list).collect();
    if let &[first, .., last] = &cores[..]
        && cores.iter().map(|list| list.len()).sum::<usize>() > CORES_TOLD
    {
        cores = vec![first, "...", last];
    }
    let line = format!(
        "{}: {} x {} on cores {}",
        host::name(),
        counted(nodes.ranks_here, "rank"),
        counted(threads, "thread"),
        cores.join(" | ")
    );
    let lines = comm.lines_of_nodes(nodes.is_first.then_some(&line));
    for (place, line) in lines.iter().enumerate() {
        let level = if place < NODES_TOLD { log::Level::Info } else { log::Level::Debug };
        log::log!(level, "{line}");
    }
    if lines.len() > NODES_TOLD {
        log::info!("... and {} more nodes (RUST_LOG=debug tells)", lines.len() - NODES_TOLD);
    }
    if !nodes.is_first {
        return;
    }
    let (usable, cores) = (host::usable_cores(), host::cores());
    if usable == 1 && cores > nodes.ranks_here {
        log::warn!(
            "this rank may use 1 of the node's {cores} cores; with mpirun, add --bind-to none or --map-by slot:PE=N; with srun, --cpus-per-task=N"
        );
    }
    if nodes.sharing * threads > usable {
        log::warn!(
            "{} x {} share {usable} of the node's {}: they will take turns; use fewer --threads or ranks, or bind ranks to more cores",
            counted(nodes.sharing, "rank"),
            counted(threads, "thread"),
            counted(cores, "core")
        );
    }
}
