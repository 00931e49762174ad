//! How much memory the process may use, and how much of it is for images.
//!
//! A container is killed when it passes the limit of its cgroup, wherever in the hierarchy that is set,
//! and a machine has no more than it has. So the least of all that can be found counts: `memory.max` of
//! version 2 and `memory.limit_in_bytes` of version 1, of the process's own group and of all around
//! it, `MemTotal`, and the size of a Lambda function. (Linux kernel documentation, "Control Group v2",
//! "Memory Resource Controller"; `cgroups(7)`; `proc_meminfo(5)`.)
//!
//! The rule for the default of `MEMORY_BUDGET` is [`default_budget`].

use std::fs;
use std::path::{Path, PathBuf};

/// What the process takes without any image: its code, threads, connections and caches, in bytes.
pub const WITHOUT_IMAGES: u64 = 128 << 20;

/// Least `MEMORY_BUDGET`, in bytes.
pub const LEAST_BUDGET: u64 = 32 << 20;

/// Most of it.
pub const MOST_BUDGET: u64 = 1 << 40;

/// Taken for the machine's memory where nothing says how much there is, in bytes.
const UNKNOWN_MEMORY: u64 = 1 << 30;

/// The default of `MEMORY_BUDGET` for a process that may use `memory` bytes: three fifths of what is left
/// without [`WITHOUT_IMAGES`]. The others are for what the allocator holds without using it.
pub const fn default_budget(memory: u64) -> u64 {
    let budget = memory.saturating_sub(WITHOUT_IMAGES) / 5 * 3;
    if budget < LEAST_BUDGET { LEAST_BUDGET } else { budget }
}

/// The default of `MEMORY_BUDGET` for this process. `function` is the memory of the Lambda function that it is,
/// in MiB.
pub fn budget_of_this_process(function: Option<u64>) -> u64 {
    let function = function.map(|mebibytes| mebibytes << 20);
    let found = limits(Path::new("/")).into_iter().chain(function).min();
    default_budget(found.unwrap_or(UNKNOWN_MEMORY))
}

/// All limits that the file system under `root` tells of.
fn limits(root: &Path) -> Vec<u64> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let mut limits: Vec<u64> =
        read(root.join("proc/meminfo")).as_deref().and_then(total).into_iter().collect();
    let groups = read(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        // "0::/path" in version 2, "4:memory:/path" in version 1.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (folder, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let top = root.join(folder);
        // In a container the path may be that of the host, which is not there; the group is at the top then.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = read(top.join(group).join(file));
            limits.extend(limit.and_then(|limit| limit.trim().parse::<u64>().ok()));
        }
    }
    limits.retain(|limit| *limit > 0);
    limits
}

/// `MemTotal:       16384 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The least limit of a file system with these files.
    fn least(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limits(root.path()).into_iter().min()
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_limit_counts_wherever_it_is_set() {
        assert_eq!(least(&[]), None);
        assert_eq!(least(&[MEMINFO]), Some(8 << 30));
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let max = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(least(&[MEMINFO, group, max]), Some(8 << 30));
        for place in ["a/b/", "a/", ""] {
            let path = format!("sys/fs/cgroup/{place}memory.max");
            assert_eq!(least(&[MEMINFO, group, max, (&path, "1073741824\n")]), Some(1 << 30));
        }
    }

    #[test]
    fn version_one_of_cgroups_has_a_hierarchy_for_memory() {
        let group = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/y\n");
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let own = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "536870912\n");
        assert_eq!(least(&[MEMINFO, group, unlimited]), Some(8 << 30));
        assert_eq!(least(&[MEMINFO, group, unlimited, own]), Some(512 * MIB));
        let top = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
        assert_eq!(least(&[MEMINFO, group, top]), Some(256 * MIB), "the path is the host's");
    }

    #[test]
    fn what_makes_no_sense_is_no_limit() {
        let group = ("proc/self/cgroup", "nonsense\n0:\n0::/\n");
        for limit in ["", "-1", "0", "x", "1.5"] {
            assert_eq!(
                least(&[MEMINFO, group, ("sys/fs/cgroup/memory.max", limit)]),
                Some(8 << 30)
            );
        }
        assert_eq!(least(&[("proc/meminfo", "MemTotal: lots\n")]), None);
    }

    #[test]
    fn the_budget_leaves_room_for_the_process() {
        for (memory, budget) in [(0, 32), (128, 32), (512, 230), (1024, 537), (4096, 2380)] {
            assert_eq!(default_budget(memory * MIB) / MIB, budget, "{memory}");
        }
        assert!(budget_of_this_process(None) >= LEAST_BUDGET);
        assert_eq!(budget_of_this_process(Some(512)) / MIB, 230);
    }
}
