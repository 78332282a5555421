//! The embedded runtime against a bare OCI runtime in a network that is ready: from the request to the first UDP answer.
//!
//! Ours is the whole way over HTTP: token, placement, two commits before READY, an image from the store as an overlay, a
//! filter of system calls, limits, a network from the pool, a published port. Theirs is `run -d` on a bundle whose root file
//! system lies ready, in a network namespace that has its address, as `runc spec` and `crun spec` describe a container,
//! with our limits: no overlay, no filter, no port to be led anywhere, nothing written down.
//!
//! crun 1.8 refuses a hybrid of control groups, so it is run where the mount of v2 is not seen; and once more without any
//! groups, which is the least that a runtime can do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::docker::{WARM_UPS, first_answer_at, game_binary};
use crate::embedded::{LOOK_CLOSELY, ours, with_game};
use crate::paired::Samples;
use crate::server::scratch;
use crate::{Failure, Report, block_on};

/// This program's name for being what starts bare runtimes.
pub const COMMAND: &str = "launch-bare";
/// Of the two ends of the link: networks that nobody routes, made for measuring (RFC 2544).
const OUTSIDE: &str = "198.18.213.1/30";
const INSIDE: &str = "198.18.213.2/30";
const GAME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 213, 2)), 7777);
/// A runtime that refuses says so later than that; nobody answers then.
const PATIENCE: Duration = Duration::from_secs(5);

/// A runtime, and how it is run.
struct Peer {
    name: &'static str,
    program: &'static str,
    /// Without control groups.
    free: bool,
}

const PEERS: [Peer; 3] = [
    Peer { name: "runc", program: "runc", free: false },
    Peer { name: "crun", program: "crun", free: false },
    Peer { name: "crun without control groups", program: "crun", free: true },
];

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let directory = tempfile::Builder::new().prefix("spawnpoint-bare-").tempdir_in(scratch()?)?;
        let network = Network::make()?;
        let mut lines = Vec::new();
        let mut peers = Vec::new();
        for peer in &PEERS {
            match Launcher::start(peer, &directory, &network).await {
                Ok(launcher) => peers.push(launcher),
                Err(why) => lines.push(format!("  {}: not measured: {why}", peer.name)),
            }
        }
        let tag = std::process::id().to_string();
        let mut server = with_game(&tag).await?;
        let mut times = Samples::default();
        let measured = measure(rounds, server.address, &mut times, &mut peers).await;
        server.end().await?;
        measured?;
        lines.insert(0, format!("  {rounds} rounds; kernel {}", kernel()));
        lines.push(format!("  deploy request over HTTP to first UDP answer: {times}"));
        lines.extend(peers.iter().map(|peer| {
            format!(
                "  {} ({}), ready network: {} | ratio {:.2} (entry 1.5, goal 1.0, stretch 0.3)",
                peer.name,
                peer.version,
                peer.times,
                times.ratio(&peer.times)
            )
        }));
        Ok(lines)
    })
}

async fn measure(
    rounds: usize,
    address: SocketAddr,
    times: &mut Samples,
    peers: &mut [Launcher],
) -> Result<(), Failure> {
    for round in 0..WARM_UPS + rounds {
        if round == WARM_UPS {
            *times = Samples::default();
            peers.iter_mut().for_each(|peer| peer.times = Samples::default());
        }
        times.add(ours(address, round, LOOK_CLOSELY).await?.answered);
        for peer in &mut *peers {
            peer.round(round).await?;
        }
    }
    Ok(())
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Runs a command to its end.
fn command(line: &str) -> Result<(), Failure> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// A network namespace with an address, and a link to it.
struct Network {
    name: String,
}

impl Network {
    fn make() -> Result<Self, Failure> {
        let name = format!("spnbench{}", std::process::id());
        let network = Self { name: name.clone() };
        for line in [
            format!("ip netns add {name}"),
            format!("ip link add {name} type veth peer name eth0 netns {name}"),
            format!("ip addr add {OUTSIDE} dev {name}"),
            format!("ip link set {name} up"),
            format!("ip -n {name} link set lo up"),
            format!("ip -n {name} addr add {INSIDE} dev eth0"),
            format!("ip -n {name} link set eth0 up"),
        ] {
            command(&line)?;
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Best effort: whatever is left has the benchmark's name.
        let _ = command(&format!("ip link del {}", self.name));
        let _ = command(&format!("ip netns del {}", self.name));
    }
}

/// A process that starts containers when it is told to, in a mount namespace of its own.
struct Launcher {
    name: &'static str,
    version: String,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    times: Samples,
}

impl Launcher {
    /// Starts it, and sees one container run.
    async fn start(peer: &Peer, directory: &TempDir, network: &Network) -> Result<Self, Failure> {
        let version = Command::new(peer.program).arg("--version").output();
        let version = version.map_err(|error| format!("{} is not installed: {error}", peer.program))?;
        let version = String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default().to_owned();
        let bundle = bundle(peer, directory.path(), network)?;
        let hide = if peer.program == "crun" { "hide" } else { "show" };
        let mut own = Command::new("unshare");
        own.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe()?);
        own.arg(COMMAND).arg(hide).arg(peer.program);
        own.arg(if peer.free { "disabled" } else { "cgroupfs" }).arg(bundle);
        let mut child = own.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let answers = BufReader::new(answers);
        let times = Samples::default();
        let mut launcher = Self { name: peer.name, version, child, orders, answers, times };
        launcher.round(usize::MAX).await?;
        Ok(launcher)
    }

    fn order(&mut self, word: &str, id: &str) -> Result<(), Failure> {
        self.orders.write_all(format!("{word} {id}\n").as_bytes())?;
        Ok(())
    }

    fn answer(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line == "ok\n" { Ok(()) } else { Err(line.trim().to_owned().into()) }
    }

    /// One container.
    async fn round(&mut self, round: usize) -> Result<(), Failure> {
        let id = format!("spnbench-{}-{round}", std::process::id());
        let start = Instant::now();
        self.order("run", &id)?;
        let answered = tokio::time::timeout(PATIENCE, first_answer_at(GAME)).await;
        let took = start.elapsed();
        // What it says of itself is said before that nobody answers.
        let ran = self.answer();
        self.order("end", &id)?;
        let ended = self.answer();
        ran?;
        answered.map_err(|_| "nobody answers")??;
        self.times.add(took);
        ended
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // It has no container any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bundle as the runtime itself would describe it, with our limits and the network that is ready.
fn bundle(peer: &Peer, directory: &Path, network: &Network) -> Result<PathBuf, Failure> {
    let bundle = directory.join(peer.name.replace(' ', "-"));
    let root = bundle.join("rootfs");
    for folder in ["proc", "dev", "sys", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let game = root.join("game");
    fs::write(&game, game_binary()?)?;
    fs::set_permissions(&game, fs::Permissions::from_mode(0o755))?;
    let output = Command::new(peer.program).arg("spec").current_dir(&bundle).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let file = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&file)?)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/game"]);
    spec["linux"]["resources"] = json!({
        "memory": {"limit": 128 * 1024 * 1024}, "cpu": {"quota": 25_000, "period": 100_000}, "pids": {"limit": 512},
    });
    for namespace in spec["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(format!("/run/netns/{}", network.name));
        }
    }
    if peer.free {
        for list in ["/mounts", "/linux/namespaces"] {
            if let Some(all) = spec.pointer_mut(list).and_then(Value::as_array_mut) {
                all.retain(|one| one["type"] != "cgroup");
            }
        }
        spec["linux"]["resources"] = json!({});
    }
    fs::write(&file, serde_json::to_vec(&spec)?)?;
    Ok(bundle)
}

/// Starts and ends containers of a bundle for as long as somebody orders: `run <id>`, `end <id>`, each answered by a line.
#[expect(clippy::print_stdout, reason = "the parent reads the answers there")]
pub fn launch(arguments: &[String]) -> Result<(), Failure> {
    let [hide, program, groups, bundle] = arguments else { return Err("four arguments".into()) };
    if hide == "hide" {
        // A machine that has no hybrid has nothing to hide.
        let _ = Command::new("umount").args(["-l", "/sys/fs/cgroup/unified"]).stderr(Stdio::null()).status();
    }
    let runtime = |arguments: &[&str]| -> String {
        let mut runtime = Command::new(program);
        if program == "crun" {
            runtime.arg(format!("--cgroup-manager={groups}"));
        }
        // What a container inherits it keeps open: so nothing that anybody waits for.
        let log = Path::new(bundle).join("errors");
        let errors = fs::File::create(&log).map_or_else(|_| Stdio::null(), Stdio::from);
        let status =
            runtime.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).status();
        match status {
            Ok(status) if status.success() => "ok".to_owned(),
            Ok(_) => fs::read_to_string(log).unwrap_or_default().replace('\n', " "),
            Err(error) => error.to_string(),
        }
    };
    for line in std::io::stdin().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("run", id)) => println!("{}", runtime(&["run", "--detach", "--bundle", bundle, id])),
            Some((_, id)) => println!("{}", runtime(&["delete", "--force", id])),
            None => println!("not understood"),
        }
    }
    Ok(())
}
