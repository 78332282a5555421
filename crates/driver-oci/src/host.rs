//! What this machine has and can: whether the embedded runtime can run on it at all, and what is missing.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::FsOpenFlags;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, MemoryMib};
use spawnpoint_network::Unsupported;

use crate::cgroup::Hierarchies;

/// The oldest kernel that has everything: `close_range` is the youngest call that is used without another way.
const KERNEL_MIN: (u32, u32) = (5, 10);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// `Ok`: how it is. `Err`: what is missing, and how to get it.
    pub state: Result<String, String>,
}

/// Whether it can run here.
///
/// # Errors
/// Why not: one line.
pub fn check() -> Result<(), Unsupported> {
    let missing: Vec<String> = findings().into_iter().filter_map(|finding| finding.state.err()).collect();
    if missing.is_empty() { Ok(()) } else { Err(Unsupported(missing.join("; "))) }
}

/// Everything that can be looked at without changing anything.
#[must_use]
pub fn findings() -> Vec<Finding> {
    vec![
        Finding { what: "operating system", state: system() },
        Finding { what: "root", state: root() },
        Finding { what: "control groups", state: groups() },
        Finding { what: "overlay file system", state: overlay() },
        Finding { what: "filters of system calls", state: filters() },
        Finding { what: "namespaces", state: namespaces() },
    ]
}

fn system() -> Result<String, String> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err(format!("{} is no architecture that it knows", std::env::consts::ARCH));
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        return Err(format!("the kernel is {release}; {}.{} or later is needed", KERNEL_MIN.0, KERNEL_MIN.1));
    }
    Ok(format!("Linux {release}"))
}

fn root() -> Result<String, String> {
    use rustix::thread::CapabilitySet;
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::MKNOD
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::KILL;
    let own = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if !rustix::process::geteuid().is_root() {
        return Err("it has to be run as root (sudo, or User=root in its unit)".to_owned());
    }
    if !is_identity(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()) {
        return Err("this root is one of a user namespace only (a rootless container?); \
            run it as the machine's own root"
            .to_owned());
    }
    if !own.contains(needed) {
        return Err("root lacks capabilities here (a container without --privileged?)".to_owned());
    }
    Ok("yes".to_owned())
}

/// Whether users are those of the machine. No such file: the kernel knows no other ones.
fn is_identity(uid_map: &str) -> bool {
    let numbers: Vec<&str> = uid_map.split_whitespace().collect();
    matches!(numbers.as_slice(), [] | ["0", "0", "4294967295"])
}

fn groups() -> Result<String, String> {
    let found = Hierarchies::find("doctor").map_err(|missing| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let remedy = remedy(&missing, &read("/proc/cgroups"), &read("/proc/cmdline"));
        format!("there is no control group controller {missing:?}: {remedy}")
    })?;
    if found.is_read_only() {
        return Err(
            "control groups are mounted read-only here (a container without --privileged?)".to_owned()
        );
    }
    Ok(found.describe().to_owned())
}

/// How to get a controller: it was switched off, was not built in, or is mounted nowhere.
fn remedy(controller: &str, known: &str, command_line: &str) -> String {
    let switched_off = command_line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("cgroup_disable="))
        .find(|names| names.split(',').any(|name| name == controller));
    if let Some(names) = switched_off {
        return format!(
            "the kernel was started with cgroup_disable={names}; take that from its command line"
        );
    }
    // `name hierarchy groups enabled`
    let mut lines = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match lines.find(|words| words.first() == Some(&controller)).as_deref() {
        Some([.., "0"]) => {
            format!("the kernel has it switched off; add cgroup_enable={controller} to its command line")
        }
        Some(_) => "it is neither mounted (v1) nor free (v2); mount cgroup2 at /sys/fs/cgroup".to_owned(),
        None if known.is_empty() => {
            "nothing mounted at /sys/fs/cgroup has it; mount cgroup2 there, on a kernel that has it"
                .to_owned()
        }
        None => format!("the kernel was built without it (CONFIG_{})", option_of(controller)),
    }
}

fn option_of(controller: &str) -> &str {
    match controller {
        "cpu" => "CGROUP_SCHED",
        "memory" => "MEMCG",
        "pids" => "CGROUP_PIDS",
        other => other,
    }
}

/// Asked for by name, the kernel loads what it has as a module, which a freshly started machine has not done yet.
fn overlay() -> Result<String, String> {
    let asked = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if asked.is_ok() || known.lines().any(|line| line.ends_with("\toverlay")) {
        return Ok("yes".to_owned());
    }
    match asked {
        Err(Errno::PERM) => Ok("only root can tell".to_owned()),
        _ => Err("the kernel has no overlay file system; load it: modprobe overlay".to_owned()),
    }
}

fn filters() -> Result<String, String> {
    let actions = Path::new("/proc/sys/kernel/seccomp/actions_avail");
    if actions.exists() {
        return Ok("yes".to_owned());
    }
    Err("the kernel has no filters of system calls (CONFIG_SECCOMP_FILTER)".to_owned())
}

fn namespaces() -> Result<String, String> {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    if missing.is_empty() {
        return Ok("mount, pid, network, ipc, uts, cgroup".to_owned());
    }
    Err(format!("the kernel lacks namespaces: {}", missing.join(", ")))
}

/// Networks are kept by mounts, which the next process has to find where this one left them. A service manager may give each
/// start of a service mounts of its own.
pub(crate) fn mounts_of_our_own() -> Option<String> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let (own, first) = (of("self")?, of("1")?);
    (own != first).then(|| {
        "this process has mounts of its own, as by PrivateTmp=, ProtectSystem= or PrivateMounts= in its unit: after a \
         restart the networks of running matches are not found; take those options out"
            .to_owned()
    })
}

/// All there is.
#[must_use]
pub fn total() -> Option<Resources> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let cores = std::thread::available_parallelism().ok()?.get();
    let cpu = u32::try_from(cores).ok()?.checked_mul(CpuUnits::ONE.0)?;
    Some(Resources { cpu: CpuUnits(cpu), memory: MemoryMib(u32::try_from(kib / 1024).ok()?) })
}

/// The host's own list of name servers: where a local resolver stands in front of them, what is behind it.
#[must_use]
pub fn resolv_conf() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = read("/etc/resolv.conf");
    if own.contains("127.0.0.53") { read("/run/systemd/resolve/resolv.conf") } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_tells_what_it_has() {
        let total = total().unwrap();
        assert!(total.cpu.0 >= 1024 && total.memory.0 > 100, "{total:?}");
        assert!(findings().iter().any(|finding| finding.what == "root"));
    }

    #[test]
    fn a_missing_controller_is_told_with_how_to_get_it() {
        const KNOWN: &str = "#subsys_name hierarchy num_cgroups enabled\ncpu 0 54 1\nmemory 0 1 0\n";
        let told = |name, line| remedy(name, KNOWN, line);
        assert!(
            told("memory", "quiet cgroup_disable=io,memory ro").contains("take that from its command line")
        );
        assert!(told("memory", "quiet").contains("add cgroup_enable=memory"));
        assert!(told("cpu", "").contains("mount cgroup2 at /sys/fs/cgroup"));
        assert!(told("pids", "").contains("CONFIG_CGROUP_PIDS"));
        assert!(remedy("pids", "", "").contains("on a kernel that has it"));
    }

    #[test]
    fn a_root_of_some_users_only_is_told_from_the_machines() {
        assert!(is_identity("         0          0 4294967295\n") && is_identity(""));
        assert!(!is_identity("         0       1000          1\n"));
        assert!(!is_identity("0 100000 65536\n65536 1000 1\n"));
    }
}
