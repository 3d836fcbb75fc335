//! What the machine of a rank has: cores, memory, disk space.

use std::path::Path;
use std::time::SystemTime;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

/// The node's name.
pub fn name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned())
}

/// How the program was called.
pub fn command_line() -> String {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// Processor cores of the node, as the operating system counts them.
pub fn cores() -> usize {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = |range: &str| match range.split_once('-') {
        Some((first, last)) => Some(last.parse::<usize>().ok()? - first.parse::<usize>().ok()? + 1),
        None => range.parse::<usize>().ok().map(|_| 1),
    };
    online.trim().split(',').filter_map(count).sum::<usize>().max(usable_cores())
}

/// Cores that this process may use: its affinity mask, and the quota of its control group.
pub fn usable_cores() -> usize {
    let quota = std::thread::available_parallelism().map_or(1, usize::from);
    let mask = sched_getaffinity(Pid::from_raw(0))
        .map(|set| (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).count());
    mask.map_or(quota, |mask| mask.clamp(1, quota.max(1)))
}

/// Largest resident memory this process has had, in bytes.
pub fn peak_rss_bytes() -> u64 {
    let kib = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0) * 1024
}

/// Memory of the node that can still be had, in bytes, if the system tells.
pub fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let limit = control_group("memory.max").zip(control_group("memory.current"));
    let left = limit.map_or(u64::MAX, |(max, current)| max.saturating_sub(current));
    Some((kib * 1024).min(left))
}

/// A number from the process's control group (version 2), if it is set.
fn control_group(file: &str) -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    std::fs::read_to_string(format!("/sys/fs/cgroup{group}/{file}")).ok()?.trim().parse().ok()
}

/// Free space of the file system that holds `folder`, in bytes.
pub fn free_space(folder: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

/// The time of day as `2026-01-31T12:00:00Z`.
pub fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
