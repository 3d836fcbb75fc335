//! Memory that can still be had: what the node has free, within the limits of the control groups of this process, and what the
//! process itself may still map.
//!
//! A batch system sets the limit of a job or a step on a group, and its processes live in groups below that, so the groups up to
//! the root all count. What files leave in memory counts as free: the kernel gives it up before it refuses memory to a program, and a run
//! that wrote a matrix leaves much of it. See cgroups(7), and cgroup-v1/memory and cgroup-v2 in the documentation of Linux.

use std::fs::read_to_string;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Where a version of control groups keeps the numbers of a group, all of them with those of the groups below it.
struct Version {
    /// Where its groups are mounted.
    root: &'static str,
    /// How lines of /proc/self/cgroup begin that name a group of it with control of memory.
    is_line: fn(number: &str, controllers: &str) -> bool,
    limit: &'static str,
    usage: &'static str,
    /// Lines of memory.stat: pages of files.
    files: [&'static str; 2],
}

const VERSIONS: [Version; 2] = [
    Version {
        root: "/sys/fs/cgroup",
        is_line: |number, controllers| number == "0" && controllers.is_empty(),
        limit: "memory.max",
        usage: "memory.current",
        files: ["active_file", "inactive_file"],
    },
    Version {
        root: "/sys/fs/cgroup/memory",
        is_line: |_, controllers| controllers.split(',').any(|name| name == "memory"),
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        files: ["total_active_file", "total_inactive_file"],
    },
];

/// Memory of the node that this process can still have, in bytes, if the system tells.
pub fn available_memory() -> Option<u64> {
    let free = bytes_in(&read_to_string("/proc/meminfo").ok()?, "MemAvailable:", 1024)?;
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = VERSIONS.iter().filter_map(|version| version.left(Path::new(version.root), &groups));
    Some(left.fold(free, u64::min))
}

/// A limit on what this process may map, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimit {
    /// How a shell shows and sets it.
    pub command: &'static str,
    /// The limit.
    pub bytes: u64,
    /// What the process has mapped of it.
    pub used: u64,
}

impl ProcessLimit {
    /// What may still be mapped.
    pub fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }
}

/// The limit on this process that leaves it least, if it has one: that of its addresses, or of its private memory. See getrlimit(2).
pub fn process_limit() -> Option<ProcessLimit> {
    let status = read_to_string("/proc/self/status").ok()?;
    let limits =
        [(Resource::RLIMIT_AS, "ulimit -v", "VmSize:"), (Resource::RLIMIT_DATA, "ulimit -d", "VmData:")];
    let limit = |(resource, command, name): (Resource, &'static str, &str)| {
        let (bytes, _) = getrlimit(resource).ok()?;
        let used = bytes_in(&status, name, 1024)?;
        (bytes != RLIM_INFINITY).then_some(ProcessLimit { command, bytes, used })
    };
    limits.into_iter().filter_map(limit).min_by_key(ProcessLimit::left)
}

impl Version {
    /// What the tightest of the groups up to the root leaves, if one of them has a limit.
    fn left(&self, root: &Path, groups: &str) -> Option<u64> {
        let group = groups.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            // a group outside those that can be seen from here begins with /..
            ((self.is_line)(number, controllers) && !group.contains("/..")).then_some(group)
        })?;
        Path::new(group)
            .ancestors()
            .filter_map(|group| self.left_in(&root.join(group.strip_prefix("/").ok()?)))
            .min()
    }

    /// What the limit of one group leaves, if it has one.
    fn left_in(&self, group: &Path) -> Option<u64> {
        let read = |file| read_to_string(group.join(file));
        // without a limit, version 2 says "max" and version 1 a number beyond all memory
        let limit: u64 = read(self.limit).ok()?.trim().parse().ok()?;
        let usage: u64 = read(self.usage).ok()?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let files: u64 = self.files.iter().filter_map(|name| bytes_in(&stat, name, 1)).sum();
        Some(limit.saturating_sub(usage.saturating_sub(files)))
    }
}

/// The number in the line that begins with this word, times the bytes of its unit.
fn bytes_in(lines: &str, name: &str, unit: u64) -> Option<u64> {
    let mut words = lines
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next()? == name).then_some(words))?;
    words.next()?.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Groups below a folder, each with its limit, usage, and pages of files; and what is left in the last.
    fn left(version: &Version, line: &str, groups: &[(&str, &str, u64, u64)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for &(group, limit, usage, files) in groups {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(version.limit), format!("{limit}\n")).unwrap();
            fs::write(folder.join(version.usage), format!("{usage}\n")).unwrap();
            let [active, inactive] = version.files;
            let stat = format!("anon 5\n{active} {}\n{inactive} {}\n", files / 4, files - files / 4);
            fs::write(folder.join("memory.stat"), stat).unwrap();
        }
        version.left(root.path(), &format!("1:name=systemd:/elsewhere\n{line}\n"))
    }

    #[test]
    fn the_tightest_group_up_to_the_root_counts() {
        let job = ("slurm/job_1", "1000", 300, 0);
        let task = ("slurm/job_1/step_0/task_0", "max", 10, 0);
        let [v2, v1] = &VERSIONS;
        assert_eq!(left(v2, "0::/slurm/job_1/step_0/task_0", &[job, task]), Some(700));
        assert_eq!(left(v2, "0::/slurm/job_1/step_0/task_0", &[("", "800", 500, 0), job, task]), Some(300));
        assert_eq!(left(v2, "0::/slurm", &[job, task]), None);
        let unlimited = ("slurm/job_1/step_0", "9223372036854771712", 10, 0);
        assert_eq!(left(v1, "4:cpu,memory:/slurm/job_1/step_0", &[job, unlimited]), Some(700));
    }

    #[test]
    fn pages_of_files_count_as_free() {
        for (version, line) in VERSIONS.iter().zip(["0::/job", "4:memory:/job"]) {
            assert_eq!(left(version, line, &[("job", "1000", 990, 800)]), Some(810));
            assert_eq!(left(version, line, &[("job", "1000", 2000, 100)]), Some(0));
        }
    }

    #[test]
    fn what_is_not_there_is_no_limit() {
        let [v2, v1] = &VERSIONS;
        for line in ["", "0::/job", "0::/../job", "4:memory:/job", "nonsense", "::"] {
            assert_eq!(left(v2, line, &[]).or(left(v1, line, &[])), None, "{line}");
        }
        assert!(available_memory() > Some(0));
    }
}
