//! The embedded runtime of this machine from outside: what stands in its folders, in the kernel and in the packet filter,
//! what is left over, and how an operator takes an installation away that was given up.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::docker::answers;
use crate::runtime::{Container, Details};
use crate::{eventually, say, server};

/// Where control groups are, and folders of what runs.
const GROUPS: &str = "/sys/fs/cgroup";
/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ports that lead to containers.
const PORTS: [&str; 2] = ["ports4", "ports6"];
/// Ports with an access list, and whom they let in.
const LISTS: [&str; 3] = ["listed", "allowed4", "allowed6"];

/// What one installation has on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The part of its id that names everything of it.
    pub short: String,
    /// Where its containers find this machine.
    pub gateway: Ipv4Addr,
    /// Where its containers have their folders.
    pub folder: PathBuf,
}

/// Whether it can run here; says why if not.
///
/// # Panics
/// It cannot, and is required.
pub(crate) fn is_here() -> bool {
    let doctor = server::run_alone(&["doctor"]);
    let found = doctor.text.contains("run in the embedded runtime");
    if !found {
        let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
        let required = is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1");
        assert!(!required, "the embedded runtime is required here: {}", doctor.text);
        say(&format!("skipped: no embedded runtime here\n{}", doctor.text));
    }
    found
}

/// The installation whose callback listener has this port, once it listens.
pub(crate) fn find(callback: u16, folder: &Path) -> Option<Installation> {
    let listed = printed("ip", &["-o", "-4", "addr"]);
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let short = words.next()?.strip_prefix("spn")?.strip_suffix("0001")?.to_owned();
        let gateway = words.nth(1)?.split('/').next()?.parse().ok()?;
        Some(Installation { short, gateway, folder: folder.to_owned() })
    };
    listed.lines().filter_map(of_line).find(|found| answers(found.gateway, callback))
}

impl Installation {
    /// Its containers, dead ones too.
    pub(crate) fn containers(&self) -> Vec<Container> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let container = |id: String| {
            let (deployment, attempt) = id.rsplit_once('-')?;
            let (deployment, attempt) = (deployment.to_owned(), attempt.parse().ok()?);
            // One that is being made has no name yet.
            let is_made = !id.starts_with('.');
            let is_running = self.process(&id).is_some();
            is_made.then_some(Container { id, deployment, attempt, is_running })
        };
        names.filter_map(container).collect()
    }

    fn record(&self, id: &str, name: &str) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.folder.join(id).join(name)).ok()?).ok()
    }

    /// The first process of a container, if it runs.
    fn process(&self, id: &str) -> Option<u64> {
        let state = self.record(id, "state.json")?;
        let pid = state["pid"].as_u64()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut words = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = matches!(words.next()?, "Z" | "X");
        let is_it = words.nth(18)?.parse::<u64>().ok() == state["ticks"].as_u64();
        (is_it && !is_dead).then_some(pid)
    }

    /// All there is to say about a container; `None` if it does not run.
    pub(crate) fn details(&self, container: &Container) -> Option<Details> {
        let id = &container.id;
        let (spec, state) = (self.record(id, "spec.json")?, self.record(id, "state.json")?);
        let pid = self.process(id)?;
        let of_process = |pid: u64, file: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}"));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok()
        };
        // Until it becomes the image's program it is a process of the runtime, and has nothing of what it will be told.
        let environment = of_process(pid, "environ").filter(|all| all.contains("ARBITRIUM_REQUEST_ID="))?;
        let inside =
            printed("nsenter", &["-n", "-t", &pid.to_string(), "ip", "-o", "-4", "addr", "show", "eth0"]);
        let address = inside.split_whitespace().nth(3).and_then(|text| text.split('/').next()?.parse().ok());
        let port = |port: &Value| {
            let transport = if port[2] == true { "udp" } else { "tcp" };
            format!("{}/{transport}", port[0])
        };
        let supervisor = of_process(parent(pid)?, "cmdline").unwrap_or_default();
        let host_name = of_process(pid, "root/etc/hostname").unwrap_or_default();
        Some(Details {
            id: id.clone(),
            started: state.to_string(),
            pid,
            environment: environment.split_terminator('\0').map(str::to_owned).collect(),
            address,
            published: spec["ports"].as_array().into_iter().flatten().map(port).collect(),
            shown: format!("{id} {spec} {state} {supervisor} {host_name}"),
        })
    }

    /// Bytes of a container's log.
    pub(crate) fn log_bytes(&self, container: &Container) -> u64 {
        let files = std::fs::read_dir(self.folder.join(&container.id)).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log."));
        logs.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    }

    /// Removes a container behind everybody's back: its processes first, and whoever looks after them, then its folder.
    pub(crate) fn remove_container(&self, container: &Container) {
        if let Some(pid) = self.process(&container.id) {
            parent(pid).into_iter().for_each(kill);
            kill(pid);
        }
        eventually("it has ended", PATIENCE, || self.process(&container.id).is_none().then_some(()));
        // The server may be at it too, and a supervisor that takes the place of the killed one may write there meanwhile.
        let folder = self.folder.join(&container.id);
        eventually("its folder is gone", PATIENCE, || {
            let _ = std::fs::remove_dir_all(&folder);
            (!folder.exists()).then_some(())
        });
    }

    fn table(&self) -> String {
        format!("spawnpoint-{}", self.short)
    }

    /// What is in these sets of its table.
    fn elements(&self, sets: &[&str]) -> String {
        let listed = printed("nft", &["list", "table", "inet", &self.table()]);
        let of_set = |name: &&str| {
            let begin = [format!("map {name} {{"), format!("set {name} {{")];
            let rest = begin.iter().find_map(|begin| listed.split_once(begin.as_str()))?.1;
            // What stands in the set ends with a brace, and then the set itself does.
            let elements = rest.split_once("\n\t}").map_or(rest, |(own, _)| own);
            elements.split_once("elements = {").map(|(_, elements)| elements.to_owned())
        };
        sets.iter().filter_map(of_set).collect()
    }

    /// Elements that say who may reach a deployment.
    pub(crate) fn access_rules(&self, deployment: &str) -> usize {
        self.elements(&LISTS).matches(&format!("comment \"{deployment}-")).count()
    }

    /// Takes them away by hand, and those of all others with them.
    pub(crate) fn lose_access_rules(&self) {
        for set in LISTS {
            assert!(run("nft", &["flush", "set", "inet", &self.table(), set]), "{set} cannot be flushed");
        }
    }

    /// What is left of containers on its network: networks that somebody holds, and ports that lead somewhere.
    pub(crate) fn remains(&self) -> Vec<String> {
        let leases = self.run_dir().join("net/leases");
        let leases = std::fs::read_dir(leases).into_iter().flatten().flatten();
        let names = leases.filter_map(|lease| lease.file_name().into_string().ok());
        // Those that begin otherwise were given back.
        let held = names.filter(|name| !name.starts_with(['!', '.']));
        let ports = self.elements(&PORTS);
        held.chain(ports.lines().map(|line| line.trim().to_owned()).filter(|line| line.contains(" : ")))
            .collect()
    }

    /// Where it keeps what lives as long as the machine runs.
    pub(crate) fn run_dir(&self) -> PathBuf {
        Path::new("/run").join(self.table())
    }

    /// Takes everything of it away: what an operator does who gives an installation up.
    pub(crate) fn remove(&self) {
        assert!(self.short.len() == 8, "{self:?}");
        let groups = || printed("find", &[GROUPS, "-type", "d", "-path", &format!("*/{}*", self.table())]);
        let run_dir = self.run_dir().display().to_string();
        // What is killed may just have started another one.
        eventually("its processes are gone", PATIENCE, || {
            let mut all = with_command_line(&run_dir);
            let member = |group| std::fs::read_to_string(Path::new(group).join("cgroup.procs"));
            for text in groups().lines().filter_map(|group| member(group).ok()) {
                all.extend(text.lines().filter_map(|pid| pid.parse::<u64>().ok()));
            }
            all.iter().copied().for_each(kill);
            all.is_empty().then_some(())
        });
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| point.starts_with(&run_dir)) {
            run("umount", &["-l", point]);
        }
        let links = printed("ip", &["-o", "link"]);
        let names = links.lines().filter_map(|line| line.split_whitespace().nth(1)?.split([':', '@']).next());
        for name in names.filter(|name| name.starts_with(&format!("spn{}", self.short))) {
            run("ip", &["link", "del", name]);
        }
        run("nft", &["delete", "table", "inet", &self.table()]);
        self.remove_passes();
        let groups = groups();
        let mut groups: Vec<&str> = groups.lines().collect();
        // The innermost first.
        groups.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for group in groups {
            let _ = std::fs::remove_dir(group);
        }
        let _ = std::fs::remove_dir_all(self.run_dir());
    }

    /// Rules in the host's own firewall that let its containers pass; they carry its name.
    fn remove_passes(&self) {
        let listed = printed("nft", &["-a", "list", "ruleset"]);
        let (mut table, mut chain) = ("", "");
        for line in listed.lines().map(str::trim) {
            // `chain INPUT { # handle 1`
            let name = |kind| line.strip_prefix(kind)?.split(" {").next();
            table = name("table ").unwrap_or(table);
            chain = name("chain ").unwrap_or(chain);
            let handle = line.rsplit_once("# handle ").map(|(_, handle)| handle.trim());
            let is_ours = line.contains(&format!("comment \"{}\"", self.table()));
            if let (true, Some(handle)) = (is_ours, handle) {
                let words = ["delete", "rule"].into_iter().chain(table.split(' '));
                run("nft", &words.chain([chain, "handle", handle]).collect::<Vec<_>>());
            }
        }
    }
}

/// Who looks after a process.
fn parent(pid: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Processes that were started with this among their arguments.
fn with_command_line(part: &str) -> Vec<u64> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let is_it = |pid: &u64| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("zygote") && line.contains(part)
    };
    pids.filter(is_it).collect()
}

fn kill(pid: u64) {
    run("kill", &["-KILL", &pid.to_string()]);
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
