//! What a container has used, read from the kernel's own files of this machine.
//!
//! What it is for: a hundred containers sampled every few seconds. An engine needs milliseconds of CPU for one answer
//! (and some have hung in it until they were restarted); the files below need microseconds and nobody's help.
//!
//! Entry points: [`Cgroups::here`] once a round, then [`Cgroups::read`] for each container.
//!
//! ```text
//! /proc/<pid>/cgroup           where the container's control groups are, and whether the process is the container's
//! /proc/self/mountinfo         where those hierarchies are mounted: v1, v2, or both (hybrid)
//! cpuacct.usage | cpu.stat     memory.usage_in_bytes | memory.current     blkio.… | io.stat     pids.current
//! /proc/<pid>/net/dev          the interfaces of its network namespace
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spawnpoint_driver::Stats;

use crate::sockets::is_ours;

/// Processes of a container that are asked what they read and wrote; beyond that it would cost too much.
const PROCESSES_MAX: usize = 32;

/// Where the hierarchies of control groups are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Of each v1 hierarchy: its controllers, the group that is mounted, the directory.
    v1: Vec<(Vec<String>, PathBuf, PathBuf)>,
    /// Of v2: the group that is mounted, the directory.
    v2: Vec<(PathBuf, PathBuf)>,
}

/// The groups of one process, as `/proc/<pid>/cgroup` names them.
struct Groups<'a> {
    mounts: &'a Cgroups,
    text: &'a str,
}

/// What became of a reading.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// Figures.
    Read(Stats),
    /// The process is not the container's any more.
    Gone,
    /// Its control groups cannot be seen from here.
    Hidden,
}

impl Cgroups {
    /// As this process sees them.
    #[must_use]
    pub fn here() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// `36 31 0:33 ROOT MOUNT_POINT rw,… … - cgroup NAME rw,memory`
    fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let mut place = place.split(' ').skip(3).map(PathBuf::from);
            let (Some(root), Some(directory)) = (place.next(), place.next()) else { continue };
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup"), Some(options)) => {
                    mounts.v1.push((options.split(',').map(str::to_owned).collect(), root, directory));
                }
                (Some("cgroup2"), _) => mounts.v2.push((root, directory)),
                _ => {}
            }
        }
        mounts
    }

    /// What the container whose first process is `pid` has used. A number that was given to another process meanwhile
    /// is not believed: its control group does not name the container.
    #[must_use]
    pub fn read(&self, pid: i64, container: &str) -> Reading {
        let process = Path::new("/proc").join(pid.to_string());
        let Ok(text) = fs::read_to_string(process.join("cgroup")) else { return Reading::Gone };
        if !text.contains(container) {
            return Reading::Gone;
        }
        let groups = Groups { mounts: self, text: &text };
        let mut stats = groups.stats();
        if stats.cpu_micros.is_none() && stats.memory_bytes.is_none() {
            return if is_ours(pid, container) { Reading::Hidden } else { Reading::Gone };
        }
        let network = fs::read_to_string(process.join("net/dev")).ok().map(|table| traffic(&table));
        (stats.received_bytes, stats.sent_bytes) = network.unzip();
        // Looked at again: the number may have been somebody else's by the time the network was read.
        if is_ours(pid, container) { Reading::Read(stats) } else { Reading::Gone }
    }
}

impl Groups<'_> {
    /// The directory of the group in the v1 hierarchy of a controller.
    fn v1(&self, controller: &str) -> Option<PathBuf> {
        let has = |names: &str| names.split(',').any(|name| name == controller);
        let path = self.paths().find(|(controllers, _)| has(controllers))?.1;
        let mounts = self.mounts.v1.iter().filter(|(names, ..)| names.iter().any(|name| name == controller));
        mounts.filter_map(|(_, root, directory)| below(path, root, directory)).next()
    }

    /// The directory of the group in the v2 hierarchy.
    fn v2(&self) -> Option<PathBuf> {
        let path = self.paths().find(|(controllers, _)| controllers.is_empty())?.1;
        self.mounts.v2.iter().filter_map(|(root, directory)| below(path, root, directory)).next()
    }

    /// `HIERARCHY:CONTROLLERS:PATH`; v2 has no controllers there.
    fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
    }

    fn stats(&self) -> Stats {
        let v2 = self.v2();
        let v2 = v2.as_deref();
        let (cpu, throttled) = match (self.v1("cpuacct"), v2) {
            (Some(cpuacct), _) => {
                let stat = self.v1("cpu").map(|cpu| cpu.join("cpu.stat"));
                let throttled = stat.and_then(|stat| named(&read(&stat)?, "throttled_time"));
                (number(&cpuacct.join("cpuacct.usage")).map(micros), throttled.map(micros))
            }
            (None, Some(v2)) => {
                let stat = read(&v2.join("cpu.stat")).unwrap_or_default();
                (named(&stat, "usage_usec"), named(&stat, "throttled_usec"))
            }
            (None, None) => (None, None),
        };
        let (memory, cache) = match (self.v1("memory"), v2) {
            (Some(memory), _) => {
                let cache = read(&memory.join("memory.stat")).and_then(|s| named(&s, "total_inactive_file"));
                (number(&memory.join("memory.usage_in_bytes")), cache)
            }
            (None, Some(v2)) => {
                let cache = read(&v2.join("memory.stat")).and_then(|s| named(&s, "inactive_file"));
                (number(&v2.join("memory.current")), cache)
            }
            (None, None) => (None, None),
        };
        let disk = match (self.v1("blkio"), v2) {
            (Some(blkio), _) => disk_v1(&blkio),
            (None, Some(v2)) => read(&v2.join("io.stat"))
                .map(|table| (transferred_v2(&table, "rbytes"), transferred_v2(&table, "wbytes"))),
            (None, None) => None,
        };
        let pids = self.v1("pids").or_else(|| v2.map(Path::to_owned));
        Stats {
            cpu_micros: cpu,
            memory_bytes: memory.map(|memory| memory.saturating_sub(cache.unwrap_or(0))),
            received_bytes: None,
            sent_bytes: None,
            disk_read_bytes: disk.map(|(read, _)| read),
            disk_written_bytes: disk.map(|(_, written)| written),
            pids: pids.and_then(|pids| number(&pids.join("pids.current"))),
            throttled_micros: throttled,
            age: Duration::ZERO,
        }
    }
}

/// The directory of the group `path`, where the group `root` is mounted at `directory`.
fn below(path: &str, root: &Path, directory: &Path) -> Option<PathBuf> {
    let inner = Path::new(path).strip_prefix(root).ok()?;
    // A namespace of control groups shows groups outside of it by steps upwards: those cannot be reached.
    (!inner.components().any(|step| step.as_os_str() == "..")).then(|| directory.join(inner))
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

const fn micros(nanos: u64) -> u64 {
    nanos / 1000
}

/// The number behind a name, one pair a line.
fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Bytes read and written of a v1 group. Newer kernels count them there only where something limits them; else the table
/// names no device, and what the group's processes tell of themselves has to do. (What a process that has ended moved
/// is lost then.)
fn disk_v1(group: &Path) -> Option<(u64, u64)> {
    let names = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"];
    let table = names.iter().find_map(|name| read(&group.join(name)));
    if let Some(table) = table.filter(|table| table.contains(':')) {
        return Some((transferred_v1(&table, "Read"), transferred_v1(&table, "Write")));
    }
    let processes = read(&group.join("cgroup.procs"))?;
    let own = |pid: &str| read(&Path::new("/proc").join(pid.trim()).join("io"));
    let all: Vec<String> = processes.lines().take(PROCESSES_MAX).filter_map(own).collect();
    let sum = |name: &str| all.iter().filter_map(|io| named(io, name)).sum();
    Some((sum("read_bytes:"), sum("write_bytes:")))
}

/// `8:0 Read 4096`, summed over the devices.
fn transferred_v1(table: &str, wanted: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_whitespace();
        let (_, operation, bytes) = (words.next()?, words.next()?, words.next()?);
        (operation == wanted).then(|| bytes.parse::<u64>().ok()).flatten()
    };
    table.lines().filter_map(value).sum()
}

/// `8:0 rbytes=4096 wbytes=0 …`, summed over the devices.
fn transferred_v2(table: &str, wanted: &str) -> u64 {
    let value = |word: &str| word.strip_prefix(wanted)?.strip_prefix('=')?.parse::<u64>().ok();
    table.split_whitespace().filter_map(value).sum()
}

/// Bytes received and sent over every interface but loopback.
fn traffic(table: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in table.lines().skip(2) {
        let Some((name, figures)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let mut figures = figures.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        sum.0 += figures.next().unwrap_or(0);
        sum.1 += figures.nth(7).unwrap_or(0);
    }
    sum
}

#[cfg(test)]
mod tests;
