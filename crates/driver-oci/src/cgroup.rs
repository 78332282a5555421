//! Control groups: found, not assumed. v1, v2, or each controller where it is (hybrid).
//!
//! ```text
//! <where the controller is mounted>/spawnpoint-<installation>/<slot>
//! ```
//!
//! A group is named by its slot, not by its workload: slots are made ahead of time, with their process already inside, since
//! moving a process into a group of v1 waits for the whole kernel (10 to 15 ms on an idle machine).
//!
//! Entry points: [`Hierarchies::find`], then [`Hierarchies::group`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spawnpoint_driver::Stats;

use crate::config::PREFIX;

/// What is limited and cannot be done without.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];
/// What is used where it is there.
const USEFUL: [&str; 3] = ["cpuacct", "blkio", "io"];
/// The group in v2 of those who look after groups.
const SHELTER: &str = "supervisors";
/// Where processes go that stand in the way of groups below theirs.
const ASIDE: &str = "spawnpoint-beside";
/// Those are looked for so often: new ones come in while others leave.
const LEAVINGS: u32 = 10;
/// The period over which CPU time is shared out, in microseconds.
const PERIOD: u64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const QUOTA_MIN: u64 = 1_000;
/// Removing a group is tried so often: the last process may still be on its way out.
const REMOVALS: u32 = 100;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(1);

/// Where the controllers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Name of the folder of this installation's groups.
    parent: String,
    /// Controllers of v1: name, mount point. Several may share one mount point.
    v1: Vec<(String, PathBuf)>,
    /// v2 with the controllers that it has.
    v2: Option<(PathBuf, Vec<String>)>,
    /// systemd's own hierarchy of v1, which limits nothing.
    services: Option<PathBuf>,
}

/// What a workload may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, without swap.
    pub memory: u64,
    /// 1024 of them are one CPU.
    pub cpu_units: u32,
    /// Processes and threads.
    pub pids: u32,
}

/// The groups of one slot, one in each hierarchy.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    hierarchies: &'a Hierarchies,
    name: String,
}

impl Hierarchies {
    /// Finds the controllers.
    ///
    /// # Errors
    /// The name of a controller that is missing.
    pub fn find(installation: &str) -> Result<Self, String> {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let found = Self::parse(installation, &text, |directory| {
            read(&directory.join("cgroup.controllers")).unwrap_or_default()
        });
        match NEEDED.iter().find(|name| found.place(name).is_none()) {
            None => Ok(found),
            Some(missing) => Err((*missing).to_owned()),
        }
    }

    /// `36 31 0:33 ROOT MOUNT_POINT rw,… … - cgroup NAME rw,memory`
    fn parse(installation: &str, mountinfo: &str, controllers: impl Fn(&Path) -> String) -> Self {
        let mut found =
            Self { parent: format!("spawnpoint-{installation}"), v1: Vec::new(), v2: None, services: None };
        for line in mountinfo.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let Some(directory) = place.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup"), Some(options)) if options.split(',').any(|o| o == "name=systemd") => {
                    found.services = Some(directory);
                }
                (Some("cgroup"), Some(options)) => {
                    for option in options.split(',').filter(|o| NEEDED.contains(o) || USEFUL.contains(o)) {
                        if !found.v1.iter().any(|(name, _)| name == option) {
                            found.v1.push((option.to_owned(), directory.clone()));
                        }
                    }
                }
                (Some("cgroup2"), _) if found.v2.is_none() => {
                    let names = controllers(&directory);
                    let names = names.split_whitespace().map(str::to_owned).collect();
                    found.v2 = Some((directory, names));
                }
                _ => {}
            }
        }
        found
    }

    /// Where a controller is, and whether that is v2.
    fn place(&self, controller: &str) -> Option<(&Path, bool)> {
        if let Some((_, directory)) = self.v1.iter().find(|(name, _)| name == controller) {
            return Some((directory, false));
        }
        let (directory, names) = self.v2.as_ref()?;
        names.iter().any(|name| name == controller).then_some((directory, true))
    }

    /// Whether a process can be born inside its groups: all limits are in v2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        NEEDED.iter().all(|name| self.place(name).is_some_and(|(_, v2)| v2))
    }

    /// Whether nobody here may make groups.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let root = self.place("memory").map(|(directory, _)| directory.to_owned());
        root.is_none_or(|root| {
            rustix::fs::statvfs(root)
                .is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        })
    }

    /// For people: `v2`, `v1` or `hybrid`.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match (self.is_unified(), &self.v2) {
            (true, _) => "v2",
            (false, Some(_)) => "hybrid",
            (false, None) => "v1",
        }
    }

    /// What a container mounts to see its own groups.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        if self.is_unified() {
            return vec!["cgroup2".to_owned()];
        }
        let mut all: Vec<(&Path, String)> = Vec::new();
        for (name, directory) in &self.v1 {
            match all.iter_mut().find(|(other, _)| other == directory) {
                Some((_, names)) => *names = format!("{names},{name}"),
                None => all.push((directory, name.clone())),
            }
        }
        all.into_iter().map(|(_, names)| names).collect()
    }

    /// The folders of this installation, one in each hierarchy that is used.
    fn parents(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        for controller in NEEDED.iter().chain(&USEFUL) {
            if let Some((directory, _)) = self.place(controller) {
                let parent = directory.join(&self.parent);
                if !all.contains(&parent) {
                    all.push(parent);
                }
            }
        }
        all
    }

    /// Makes the folders, and hands v2's controllers down.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make_parents(&self) -> io::Result<()> {
        for parent in self.parents() {
            make(&parent)?;
        }
        let Some((root, names)) = &self.v2 else { return Ok(()) };
        let wanted = names.iter().filter(|name| NEEDED.contains(&name.as_str()) || *name == "io");
        let wanted: Vec<String> = wanted.map(|name| format!("+{name}")).collect();
        if !wanted.is_empty() {
            for directory in [root.clone(), root.join(&self.parent)] {
                hand_down(&directory, &wanted.join(" "))?;
            }
        }
        Ok(())
    }

    /// Moves this process out of the group of whoever started it, so that an end of that service does not end it as well: in the
    /// hierarchies by which services are told apart (v2, and systemd's own of v1). Where there is none, nothing is to be feared.
    pub fn shelter(&self) {
        if let Some((root, _)) = &self.v2 {
            let shelter = root.join(&self.parent).join(SHELTER);
            if fs::create_dir_all(&shelter).is_ok() {
                let _ = fs::write(shelter.join("cgroup.procs"), "0");
            }
        }
        if let Some(root) = &self.services {
            let shelter = root.join(&self.parent);
            if make(&shelter).is_ok() {
                let _ = fs::write(shelter.join("cgroup.procs"), "0");
            }
        }
    }

    /// Takes the folders away, if they are empty.
    pub fn remove_parents(&self) {
        let v2 = self.v2.iter().flat_map(|(root, _)| {
            let parent = root.join(&self.parent);
            [parent.join(SHELTER), parent]
        });
        let services = self.services.iter().map(|root| root.join(&self.parent));
        for parent in self.parents().into_iter().chain(v2).chain(services) {
            // A folder that is not empty is somebody's; the next one who is last takes it away.
            let _ = fs::remove_dir(parent);
        }
    }

    /// The names of all groups there are.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = self.parents().into_iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten();
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| name != SHELTER);
        names
    }

    /// The short names of all installations that have groups here.
    #[must_use]
    pub fn installations(&self) -> Vec<String> {
        let v2 = self.v2.iter().map(|(root, _)| root.clone());
        let v1 = self.v1.iter().map(|(_, directory)| directory.clone());
        let roots = v2.chain(v1).chain(self.services.clone());
        let entries = roots.filter_map(|root| fs::read_dir(root).ok()).flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> = folders
            .filter_map(|folder| Some(folder.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The group of a slot, made or not.
    #[must_use]
    pub fn group(&self, name: &str) -> Group<'_> {
        Group { hierarchies: self, name: name.to_owned() }
    }
}

impl Group<'_> {
    fn directories(&self) -> Vec<PathBuf> {
        self.hierarchies.parents().into_iter().map(|parent| parent.join(&self.name)).collect()
    }

    /// The folder in the hierarchy of a controller, and whether that is v2.
    fn at(&self, controller: &str) -> Option<(PathBuf, bool)> {
        let (directory, v2) = self.hierarchies.place(controller)?;
        Some((directory.join(&self.hierarchies.parent).join(&self.name), v2))
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(&self) -> io::Result<()> {
        self.directories().iter().try_for_each(|directory| make(directory))
    }

    /// The folder in which a process can be born.
    #[must_use]
    pub fn birthplace(&self) -> Option<PathBuf> {
        self.hierarchies.is_unified().then(|| self.at("memory").map(|(directory, _)| directory)).flatten()
    }

    /// Moves the calling process into it, wherever it is not yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn join(&self) -> io::Result<()> {
        let born = self.birthplace();
        for directory in self.directories().iter().filter(|directory| Some(*directory) != born.as_ref()) {
            fs::write(directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Sets the limits.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn limit(&self, limits: Limits) -> io::Result<()> {
        let write = |directory: &Path, name: &str, value: String| fs::write(directory.join(name), value);
        let quota = (u64::from(limits.cpu_units) * PERIOD / 1024).max(QUOTA_MIN);
        if let Some((memory, v2)) = self.at("memory") {
            let bytes = limits.memory.to_string();
            if v2 {
                write(&memory, "memory.max", bytes)?;
                optional(write(&memory, "memory.swap.max", "0".to_owned()))?;
            } else {
                write(&memory, "memory.limit_in_bytes", bytes.clone())?;
                // Without accounting of swap there is no such file, and mostly no swap.
                optional(write(&memory, "memory.memsw.limit_in_bytes", bytes))?;
            }
        }
        if let Some((pids, _)) = self.at("pids") {
            write(&pids, "pids.max", limits.pids.to_string())?;
        }
        if let Some((cpu, v2)) = self.at("cpu") {
            if v2 {
                write(&cpu, "cpu.max", format!("{quota} {PERIOD}"))?;
            } else {
                write(&cpu, "cpu.cfs_period_us", PERIOD.to_string())?;
                write(&cpu, "cpu.cfs_quota_us", quota.to_string())?;
            }
        }
        Ok(())
    }

    /// How often the kernel has ended a process of it for want of memory.
    #[must_use]
    pub fn memory_kills(&self) -> u64 {
        let Some((memory, v2)) = self.at("memory") else { return 0 };
        let name = if v2 { "memory.events" } else { "memory.oom_control" };
        read(&memory.join(name)).and_then(|text| named(&text, "oom_kill")).unwrap_or(0)
    }

    /// Its processes, as this process sees them.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let lists =
            self.directories().into_iter().filter_map(|directory| read(&directory.join("cgroup.procs")));
        let mut all: Vec<i32> = lists
            .flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
            .filter(|pid| *pid > 0)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Ends every process in it.
    pub fn kill(&self) {
        if let Some(directory) = self.birthplace()
            && fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // Gone meanwhile is as good.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Takes it away; `false` if something in it does not end.
    #[must_use]
    pub fn remove(&self) -> bool {
        for _ in 0..REMOVALS {
            let gone = |directory: &PathBuf| match fs::remove_dir(directory) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if self.directories().iter().filter(|directory| !gone(directory)).count() == 0 {
                return true;
            }
            std::thread::sleep(BETWEEN_REMOVALS);
        }
        false
    }

    /// What its processes have used: all but the network. `None` if it is gone.
    #[must_use]
    pub fn figures(&self) -> Option<Stats> {
        let (memory, v2) = self.at("memory")?;
        let (usage, cache) = if v2 {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let used = number(&memory.join(usage))?;
        let cached = read(&memory.join("memory.stat")).and_then(|text| named(&text, cache)).unwrap_or(0);
        let (cpu_micros, throttled_micros) = self.cpu();
        let (disk_read_bytes, disk_written_bytes) = self.disk().unzip();
        Some(Stats {
            cpu_micros,
            memory_bytes: Some(used.saturating_sub(cached)),
            disk_read_bytes,
            disk_written_bytes,
            pids: self.at("pids").and_then(|(pids, _)| number(&pids.join("pids.current"))),
            throttled_micros,
            ..Stats::default()
        })
    }

    fn cpu(&self) -> (Option<u64>, Option<u64>) {
        let Some((cpu, v2)) = self.at("cpu") else { return (None, None) };
        let stat = read(&cpu.join("cpu.stat")).unwrap_or_default();
        if v2 {
            return (named(&stat, "usage_usec"), named(&stat, "throttled_usec"));
        }
        let used = self.at("cpuacct").and_then(|(cpuacct, _)| number(&cpuacct.join("cpuacct.usage")));
        (used.map(|nanos| nanos / 1000), named(&stat, "throttled_time").map(|nanos| nanos / 1000))
    }

    fn disk(&self) -> Option<(u64, u64)> {
        if let Some((io, true)) = self.at("io") {
            let table = read(&io.join("io.stat"))?;
            let sum = |key: &str| {
                table.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
            };
            return Some((sum("rbytes="), sum("wbytes=")));
        }
        // Of v1, the controller counts what goes to the disk at once; what the kernel writes later is nobody's there, but was
        // counted for the process that wrote it to memory.
        let (read_through, written_through) = self.disk_v1().unwrap_or_default();
        let (mut read_all, mut written_all) = (0, 0);
        for pid in self.processes() {
            let table = read(Path::new(&format!("/proc/{pid}/io"))).unwrap_or_default();
            read_all += named(&table, "read_bytes:").unwrap_or(0);
            written_all += named(&table, "write_bytes:").unwrap_or(0);
        }
        Some((read_through.max(read_all), written_through.max(written_all)))
    }

    fn disk_v1(&self) -> Option<(u64, u64)> {
        let (blkio, _) = self.at("blkio")?;
        let names = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"];
        let table = names.iter().find_map(|name| read(&blkio.join(name)))?;
        let sum = |operation: &str| {
            let value = |line: &str| line.split_once(operation)?.1.trim().parse::<u64>().ok();
            table.lines().filter_map(value).sum()
        };
        Some((sum(" Read "), sum(" Write ")))
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Lets the groups below one have controllers. Only the machine's own root may have that and processes at once: what a container
/// takes for the root has to be left by them first.
fn hand_down(directory: &Path, controllers: &str) -> io::Result<()> {
    let control = directory.join("cgroup.subtree_control");
    for _ in 0..LEAVINGS {
        match fs::write(&control, controllers) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            other => return other,
        }
        let aside = directory.join(ASIDE);
        make(&aside)?;
        for pid in read(&directory.join("cgroup.procs")).unwrap_or_default().lines() {
            // Who has ended meanwhile needs no other place; who comes in is found by the next round.
            let _ = fs::write(aside.join("cgroup.procs"), pid);
        }
    }
    fs::write(&control, controllers)
}

/// A file that some kernels do not have.
fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(())
        }
        other => other,
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// `key value` in one of the lines.
fn named(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
        31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 25 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        33 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const SHARED: &str = "30 25 0:26 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        31 25 0:27 / /c/memory rw - cgroup cgroup rw,memory\n\
        32 25 0:28 / /c/pids rw - cgroup cgroup rw,pids\n";
    const UNIFIED: &str = "34 25 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn each_controller_is_used_where_it_is() {
        let hybrid = Hierarchies::parse("aabbccdd", HYBRID, |_| "hugetlb".to_owned());
        assert_eq!(hybrid.describe(), "hybrid");
        assert_eq!(hybrid.place("memory"), Some((Path::new("/sys/fs/cgroup/memory"), false)));
        assert_eq!(hybrid.parents().len(), 3);
        assert!(hybrid.group("s1").birthplace().is_none());

        let shared = Hierarchies::parse("aabbccdd", SHARED, |_| String::new());
        assert_eq!(shared.describe(), "v1");
        assert_eq!(shared.parents().len(), 3, "one folder where two controllers share a hierarchy");

        let unified = Hierarchies::parse("aabbccdd", UNIFIED, |_| "cpuset cpu io memory pids".to_owned());
        assert_eq!(unified.describe(), "v2");
        let place = unified.group("s1").birthplace().unwrap();
        assert_eq!(place, Path::new("/sys/fs/cgroup/spawnpoint-aabbccdd/s1"));
    }

    #[test]
    fn a_controller_that_nobody_has_is_missing() {
        let without = Hierarchies::parse("x", UNIFIED, |_| "cpu memory".to_owned());
        assert_eq!(without.place("pids"), None);
        assert!(!without.is_unified());
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        assert_eq!(named("low 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(named("oom_kill_disable 1\nunder_oom 0\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(named("nothing\n", "oom_kill"), None);
    }
}
