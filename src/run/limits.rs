//! What a run needs of memory and disk against what there is.

use crate::comm::{Comm, Nodes};
use crate::error::Result;
use crate::fail;
use crate::host;
use crate::plan::Memory;
use crate::store::workdir::Workdir;
use crate::text::{bytes, counted};

/// Addresses that HDF5 and MPI take when they open files, beside what a run plans: 4 MB, measured with Open MPI 4.1.4.
const LIBRARY_BYTES: u64 = 16 << 20;

/// Addresses of a thread's stack.
const STACK_BYTES: u64 = 2 << 20;

/// Refuses a run that would map more than this process may, where the shell or the batch system has set a limit for it.
pub(super) fn check_limit(planned: u64, threads: usize, way_out: &str) -> Result<()> {
    let stacks = STACK_BYTES.saturating_mul(threads as u64);
    let needed = [planned, stacks, LIBRARY_BYTES].into_iter().fold(0, u64::saturating_add);
    if let Some(limit) = host::process_limit()
        && needed > limit.left()
    {
        fail!(
            "a process on {} may have {} of memory ({}), {} is in use, and this run needs another {}; {way_out}",
            host::name(),
            bytes(limit.bytes),
            limit.command,
            bytes(limit.used),
            bytes(needed)
        );
    }
    Ok(())
}

/// Refuses to go on in a process that may not map what MPI and HDF5 need.
pub(super) fn check_process() -> Result<()> {
    check_limit(0, 1, "raise the limit")
}

/// Memory that a rank may take: its share of what its node has left, within the limit of its process.
pub(super) fn left_for_a_rank(nodes: &Nodes, threads: usize) -> u64 {
    let of_node = host::available_memory().map_or(u64::MAX, |free| free / nodes.ranks_here as u64);
    let beside = STACK_BYTES.saturating_mul(threads as u64).saturating_add(LIBRARY_BYTES);
    let of_process = host::process_limit()
        .map_or(u64::MAX, |limit| limit.left().saturating_sub(beside).saturating_add(Comm::resident_bytes()));
    of_node.min(of_process)
}

/// Refuses a run that takes more than it was asked to keep within, however its samples are cut.
pub(super) fn check_asked(least: &Memory, asked: Option<u64>) -> Result<()> {
    if let Some(limit) = asked
        && least.total() > limit
    {
        fail!(
            "--memory-per-rank: {} are not enough, a rank of this run takes {} at least; give it that, or use more ranks, fewer --threads or a smaller --tile",
            bytes(limit),
            bytes(least.total())
        );
    }
    Ok(())
}

/// Refuses a run whose ranks do not fit the limits of their processes, or their node's memory: with a layout that does, of those that
/// `way_out` finds for the memory of a node.
pub(super) fn check_memory(
    memory: &Memory,
    threads: usize,
    nodes: &Nodes,
    has_lists: bool,
    way_out: impl Fn(f64) -> Option<String>,
) -> Result<()> {
    // what smaller tiles do not change
    let are_lists = has_lists && memory.results > memory.total() / 2;
    let of_lists = |ranks: usize| {
        let lists = bytes(memory.results.saturating_mul(ranks as u64));
        if are_lists {
            format!("; lists of neighbours take {lists} of it, fewer with a smaller K")
        } else {
            String::new()
        }
    };
    let of_limits =
        format!("raise the limit, or use more ranks, fewer --threads or a smaller --tile{}", of_lists(1));
    check_limit(memory.total() - memory.base, threads, &of_limits)?;
    let needed = memory.total().saturating_mul(nodes.ranks_here as u64);
    if let Some(available) = host::available_memory()
        && needed > available
    {
        let way_out = way_out(available as f64).unwrap_or_else(|| "use nodes with more memory".into());
        fail!(
            "{} on {} would take {} of memory and {} are free; {way_out}{}",
            counted(nodes.ranks_here, "rank"),
            host::name(),
            bytes(needed),
            bytes(available),
            of_lists(nodes.ranks_here)
        );
    }
    Ok(())
}

/// Refuses to put together what does not fit its file system.
pub(super) fn check_room(needed: u64, workdir: &Workdir) -> Result<()> {
    let folder = workdir.parent();
    let len = std::fs::metadata(workdir.matrix()).map_or(0, |meta| meta.len());
    if let Some(limit) = host::file_size_limit()
        && len.saturating_add(needed) > limit
    {
        fail!(
            "the result takes {} with all pairs within the radius, and a file of this process may have {} (ulimit -f); raise the limit, then run the same command with --resume",
            bytes(len.saturating_add(needed)),
            bytes(limit)
        );
    }
    if let Some(free) = host::free_space(folder)
        && needed > free
    {
        fail!(
            "the pairs within the radius take {} in the result, and {} has {} free; make room, then run the same command with --resume",
            bytes(needed),
            folder.display(),
            bytes(free)
        );
    }
    Ok(())
}

/// Refuses a result that does not fit its file system, or the limit of this process's files.
pub(super) fn check_space(needed: u64, workdir: &Workdir) -> Result<()> {
    let folder = workdir.parent();
    if let Some(free) = host::free_space(folder).map(|free| free.saturating_add(workdir.left_space()))
        && needed > free
    {
        fail!(
            "the result takes {} and {} has {} free; make room, or write it elsewhere",
            bytes(needed),
            folder.display(),
            bytes(free)
        );
    }
    if let Some(limit) = host::file_size_limit()
        && needed > limit
    {
        fail!(
            "the result takes {} and a file of this process may have {} (ulimit -f); raise the limit",
            bytes(needed),
            bytes(limit)
        );
    }
    Ok(())
}
