//! A `spawnpoint serve` process with a data directory and ports of its own. It can be killed and started again on both.

use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, request, send_raw};
use crate::player::local;
use crate::ports::Ports;
use crate::runtime::Installation;
use crate::{Api, docker, embedded, eventually, say};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);
/// Begin of the names of the directories; the process id follows.
const PREFIX: &str = "spawnpoint-compat-";
/// Files in these directories that say what a server has on the Docker engine, and by the embedded runtime.
const DOCKER_NOTE: &str = "network";
const EMBEDDED_NOTE: &str = "embedded";

/// A server.
#[derive(Debug)]
pub struct Server {
    /// The API, with the first token.
    pub api: Api,
    /// Its ports.
    pub ports: Ports,
    /// Its API speaks TLS, which the clients here do not.
    secure: bool,
    dir: TempDir,
    child: Option<Child>,
    installation: Option<Installation>,
}

/// What a command of the binary said.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: Option<i32>,
    /// Both of its outputs.
    pub text: String,
}

impl Outcome {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// Runs a command of the binary that needs no configuration.
pub(crate) fn run_alone(arguments: &[&str]) -> Outcome {
    Outcome::of(&mut bare(arguments))
}

/// The configuration of one host that only pretends, with room for a lot.
#[must_use]
pub fn fake(ports: &Ports) -> String {
    site("fake", ports)
}

/// The configuration of one host that is this machine, by the embedded runtime.
#[must_use]
pub fn embedded(ports: &Ports) -> String {
    site("oci", ports)
}

/// The configuration of one host with this driver.
pub(crate) fn site(driver: &str, ports: &Ports) -> String {
    format!(
        "[[site]]\nname = \"here\"\ncity = \"Montreal\"\ncountry = \"Canada\"\ncontinent = \"North America\"\n\
         administrative_division = \"Quebec\"\ntimezone = \"America/Toronto\"\nlatitude = 45.5\nlongitude = -73.57\n\
         [[site.host]]\nname = \"host-1\"\ndriver = \"{driver}\"\nport_range = \"{}\"\n\
         capacity = {{ cpu_units = 262144, memory_mib = 262144 }}\n",
        ports.games(0, 1)
    )
}

/// A process beside the server.
#[derive(Debug)]
pub struct Beside(Child);

impl Beside {
    /// SIGTERM, and the end that comes of it.
    ///
    /// # Panics
    /// It has not ended after 12 s.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        terminate(&mut self.0)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts one. `configuration` gives what the configuration holds besides the listeners. Rate limits are off unless it
    /// sets them.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn start(configuration: impl FnOnce(&Ports) -> String) -> Self {
        sweep_up_after_killed_runs();
        let ports = Ports::take();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        let rest = configuration(&ports);
        let unlimited = "[limits]\ndeploy_per_second = 0\nstatus_per_second = 0\nlist_per_second = 0\nhosts_per_second = 0\n\
                         failed_logins_per_second = 0\n";
        let limits = if rest.contains("[limits]") { "" } else { unlimited };
        let (api, callback) = (ports.api(), ports.callback());
        let text =
            format!("[api]\nlisten = \"127.0.0.1:{api}\"\n[callback]\nport = {callback}\n{limits}{rest}");
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        let api = Api { address: local(ports.api()), token: String::new() };
        let secure = rest.contains("[api.tls]") || rest.contains("\napi = true\n");
        let mut server = Self { api, ports, secure, dir, child: None, installation: None };
        server.restart();
        server.api.token =
            std::fs::read_to_string(server.data_dir().join("admin-token")).unwrap().trim().to_owned();
        server
    }

    /// Starts it again on the same directory and ports, and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command(&["serve"]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let address = self.api.address;
        let announced = || self.log().matches(" is ready\n").count();
        let before = announced();
        eventually("the server answers GET /monitor", START, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            if self.secure {
                return (announced() > before).then_some(());
            }
            let monitor: std::io::Result<Answer> = send_raw(address, &request("GET", "/monitor", &[], None));
            monitor.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        self.child = Some(child);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the end that comes of it.
    ///
    /// # Panics
    /// It has not ended after 12 s.
    pub fn terminate(&mut self) -> ExitStatus {
        terminate(&mut self.child.take().unwrap())
    }

    /// Whether its process runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Runs another command of the binary on its configuration.
    ///
    /// # Panics
    /// The binary cannot be run.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// Starts another command of the binary that runs until it is killed, as it is when what this gives is dropped.
    ///
    /// # Panics
    /// The binary cannot be run.
    #[must_use]
    pub fn beside(&self, arguments: &[&str]) -> Beside {
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command(arguments);
        Beside(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// `spawnpoint audit`, which must find nothing.
    ///
    /// # Panics
    /// It finds something.
    pub fn audit(&self) {
        let audit = self.run(&["audit"]);
        assert_eq!(audit.code, Some(0), "{}", audit.text);
    }

    /// Everything it has logged and printed, over all of its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Takes note of what it has on this machine: that goes with it, or is found by the next run, should this one be killed.
    pub(crate) fn adopt(&mut self, installation: Installation) {
        let (file, note) = match &installation {
            Installation::Docker(docker) => (DOCKER_NOTE, format!("{} {}", docker.id, docker.network)),
            Installation::Embedded(embedded) => (EMBEDDED_NOTE, embedded.short.clone()),
        };
        std::fs::write(self.dir.path().join(file), note).unwrap();
        self.installation = Some(installation);
    }

    /// A command of the binary on its configuration.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.arg("--config").arg(self.dir.path().join("config.toml"));
        command.arg("--data-dir").arg(self.data_dir()).current_dir(self.dir.path());
        command
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            say("the end of the server's log:");
            lines[lines.len().saturating_sub(60)..].iter().for_each(|line| say(line));
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(installation) = &self.installation {
            installation.remove();
        }
    }
}

/// SIGTERM, and the end that comes of it.
fn terminate(child: &mut Child) -> ExitStatus {
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIGTERM could not be sent");
    eventually("the process has ended after SIGTERM", Duration::from_secs(12), || child.try_wait().unwrap())
}

/// A command of the binary, with nothing of this environment but what every program needs.
fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPAWNPOINT_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The binary under test: the one that `SPAWNPOINT_BIN` names, or the one beside this test, which is built if it is not there.
fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("SPAWNPOINT_BIN") {
        return given.into();
    }
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/kill9-… -> target/debug/spawnpoint
    let target = test.ancestors().nth(2).unwrap_or(Path::new("."));
    let built = target.join("spawnpoint");
    if !built.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "-p", "spawnpoint"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if target.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the binary does not build");
    }
    built
}

/// Runs that were killed could not tidy up. Their directories name their process and their network.
fn sweep_up_after_killed_runs() {
    let lock = File::create(std::env::temp_dir().join("spawnpoint-compat.lock")).unwrap();
    lock.lock().unwrap();
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid =
            name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid.to_owned());
        let Some(pid) = pid.filter(|pid| pid.parse::<u32>().is_ok()) else { continue };
        if Path::new(&format!("/proc/{pid}")).exists() {
            continue;
        }
        end_orphan(&entry.path().join("data/server.json"));
        let note = |file| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let gateway = Ipv4Addr::UNSPECIFIED;
        if let Some((id, network)) = note(DOCKER_NOTE).split_once(' ') {
            let (id, network) = (id.to_owned(), network.to_owned());
            docker::Installation { id, network, gateway }.remove();
        }
        let short = note(EMBEDDED_NOTE);
        if !short.is_empty() {
            embedded::Installation { short, gateway, folder: PathBuf::new() }.remove();
        }
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Ends the server of a killed run, if it is one of ours indeed.
fn end_orphan(note: &Path) {
    let note: Value =
        std::fs::read(note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let Some(pid) = note["pid"].as_u64() else { return };
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if line.contains(PREFIX) {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
}
