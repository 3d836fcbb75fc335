//! What the machine of a rank has: cores, memory, disk space.

mod memory;

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::error::{Context, Result};

pub use memory::{available_memory, process_limit};

/// Tells hwloc which of its plugins to leave out.
const HWLOC_COMPONENTS: &str = "HWLOC_COMPONENTS";

/// Those that load the drivers of GPUs.
const DEVICE_PLUGINS: [&str; 6] = ["opencl", "cuda", "nvml", "rsmi", "levelzero", "gl"];

/// Tells Open MPI how daemons on other nodes are started.
const DAEMONS: &str = "OMPI_MCA_plm";

/// Tells the C library how many arenas its `malloc` may have.
const MALLOC_ARENA_MAX: &str = "MALLOC_ARENA_MAX";

/// Starts this program anew, in the same process, if libraries that MPI loads miss something in its environment. Returns where they
/// miss nothing, and where the dynamic linker was called to start the program, which would have to be called again.
///
/// # Errors
/// If the program cannot be started anew.
pub fn complete_environment() -> std::io::Result<()> {
    let missing: Vec<_> =
        [without_device_plugins(), without_other_nodes(), with_one_arena()].into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    if program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld")) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut anew = Command::new(program);
    anew.arg0(arguments.next().unwrap_or_default()).args(arguments).envs(missing);
    Err(anew.exec())
}

/// Tells hwloc to load no drivers of GPUs, unless it has been told: MPI asks hwloc for the cores, and its plugins would load every
/// driver there is, which takes memory and time, and brings threads and handlers of signals.
fn without_device_plugins() -> Option<(&'static str, OsString)> {
    let told = std::env::var_os(HWLOC_COMPONENTS).unwrap_or_default();
    let words = told.to_string_lossy().into_owned();
    let is_told = |plugin: &&str| words.split(',').any(|word| word.trim_start_matches('-') == *plugin);
    let missing: Vec<_> = DEVICE_PLUGINS.iter().filter(|plugin| !is_told(plugin)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut components = told;
    for plugin in missing {
        if !components.is_empty() {
            components.push(",");
        }
        components.push(format!("-{plugin}"));
    }
    Some((HWLOC_COMPONENTS, components))
}

/// Tells Open MPI that there are no other nodes, unless it has been told of them. Where no launcher has started the program, a daemon is
/// started beside it, which looks for the `ssh` that others would need, and ends where there is none, as in a container.
fn without_other_nodes() -> Option<(&'static str, OsString)> {
    std::env::var_os(DAEMONS).is_none().then(|| (DAEMONS, "isolated".into()))
}

/// Keeps `malloc` from reserving 64 MiB of addresses for each thread, where addresses are limited: Open MPI 4.1.4 does not start, or
/// crashes, when its own threads leave it none.
fn with_one_arena() -> Option<(&'static str, OsString)> {
    let is_limited = process_limit().is_some() && std::env::var_os(MALLOC_ARENA_MAX).is_none();
    is_limited.then(|| (MALLOC_ARENA_MAX, "1".into()))
}

/// The node's name.
pub fn name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned())
}

/// How the program was called, as a shell takes it.
pub fn command_line() -> String {
    shell_words::join(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

/// A command line of `compute` with `--resume`, and without what speaks against it.
pub fn command_to_resume(command_line: &str) -> String {
    let mut words = shell_words::split(command_line).unwrap_or_default();
    // all that comes after "--" is a name
    let options = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let names = words.split_off(options);
    words.retain(|word| word != "--resume" && word != "--force");
    words.push("--resume".into());
    shell_words::join(words.iter().chain(&names))
}

/// A command for messages, as a shell takes it.
pub fn command(words: &[&str]) -> String {
    shell_words::join(words)
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

/// The cores that this process may use, as the kernel lists them: `0-3,8`.
pub fn core_list() -> String {
    status("Cpus_allowed_list:").unwrap_or_else(|| "unknown".into())
}

/// Largest resident memory this program has had, in bytes.
pub fn peak_rss_bytes() -> u64 {
    // getrusage gives that of the process, which may have been another program before: a Python that started this one
    let kib = status("VmHWM:").and_then(|text| text.strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

/// What the kernel says of this process.
fn status(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
}

/// Free space of the file system that holds `folder`, in bytes.
pub fn free_space(folder: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

/// Bytes that a file of this process may have, if there is a limit.
pub fn file_size_limit() -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).ok()?;
    (limit != RLIM_INFINITY).then_some(limit)
}

/// The time of day as `2026-01-31T12:00:00Z`.
pub fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// This process, for others to find: `process 7 on node1 since 2026-01-31T12:00:00Z, Slurm job 42`.
pub fn process() -> String {
    let job = std::env::var("SLURM_JOB_ID").map(|job| format!(", Slurm job {job}")).unwrap_or_default();
    format!("process {} on {} since {}{job}", std::process::id(), name(), timestamp())
}

/// Whether a text is one that [`process`] has given, of any process.
pub fn is_process(text: &str) -> bool {
    let number = text.strip_prefix("process ").and_then(|rest| rest.split_once(" on "));
    number.is_some_and(|(number, rest)| number.parse::<u32>().is_ok() && rest.contains(" since "))
}

/// A stay of this process in another folder, where its files have short names; it goes back when this is dropped.
#[derive(Debug)]
pub struct Visit {
    home: File,
}

impl Visit {
    /// Goes to the folder.
    pub fn to(folder: &Path) -> std::io::Result<Self> {
        let home = File::open(".")?;
        std::env::set_current_dir(folder)?;
        Ok(Self { home })
    }

    /// Goes back.
    ///
    /// # Errors
    /// If the folder where the process was is not to be entered any more.
    pub fn end(self) -> std::io::Result<()> {
        Ok(nix::unistd::fchdir(&self.home)?)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // after an error, which is told; or a second time
        let _ = nix::unistd::fchdir(&self.home);
    }
}

/// Reserves disk space for the first `bytes` of a file, where its file system can.
pub fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    let len = bytes.try_into().map_err(std::io::Error::other)?;
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, len) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// Renames a file to a name that nobody has.
///
/// # Errors
/// `AlreadyExists`, if somebody has.
pub fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // not on every file system: a link fails too if the name is taken
        Err(Errno::EINVAL | Errno::ENOSYS) => match std::fs::hard_link(from, to) {
            Ok(()) => std::fs::remove_file(from),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
            // nor are links: what is left is to look first
            Err(_) if std::fs::symlink_metadata(to).is_ok() => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from, to),
        },
        result => Ok(result?),
    }
}

/// Does `work` while the system lets this process open no file: every attempt fails at once, without a look at the file.
///
/// # Errors
/// If the limit cannot be set; `work` is not done then.
pub fn opening_no_file<R>(work: impl FnOnce() -> R) -> Result<R> {
    struct Limit(u64, u64);
    impl Drop for Limit {
        fn drop(&mut self) {
            // a limit may always be raised again to its upper bound
            let _ = setrlimit(Resource::RLIMIT_NOFILE, self.0, self.1);
        }
    }
    let failed = || "the number of open files cannot be limited".to_owned();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context(failed)?;
    let _limit = Limit(soft, hard);
    // files that are open stay so: the limit is for the number that a new one would get
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).context(failed)?;
    Ok(work())
}

/// Files that this process may have open.
pub fn most_open_files() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_on_with_resume_among_its_options() {
        for (begun, resumed) in [
            ("pairdist compute x.h5 -o d.h5", "pairdist compute x.h5 -o d.h5 --resume"),
            ("pairdist compute x.h5 -o d.h5 --force", "pairdist compute x.h5 -o d.h5 --resume"),
            ("pairdist compute -o d.h5 -- -x.h5", "pairdist compute -o d.h5 --resume -- -x.h5"),
            ("p compute -o d.h5 --force -- --force", "p compute -o d.h5 --resume -- --force"),
            ("p compute 'a --force b' -o 'it'\\''s'", "p compute 'a --force b' -o 'it'\\''s' --resume"),
        ] {
            assert_eq!(command_to_resume(begun), resumed, "{begun}");
        }
    }
}
