//! The server under test: the real binary with its real configuration, as a process of its own, on a directory that is
//! gone afterwards. By default it has four fake hosts with every port and more than enough capacity, and no rate limits.
//!
//! Entry point: [`Server::start`]. The binary is the one beside this program: `cargo build --release -p spawnpoint`.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::Failure;
use crate::http::{Connection, request};
use crate::paired::Samples;

/// The token of the benchmarks.
pub const TOKEN: &str = "a-token-for-benchmarks";
/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// In which the kernel counts a process's time.
pub const TICK: Duration = Duration::from_millis(10);

/// No limits, and containers call back at a port of this run's own.
const COMMON: &str =
    "[limits]\ndeploy_per_second = 0\nstatus_per_second = 0\nlist_per_second = 0\nhosts_per_second = 0\n";

/// Fake hosts in four cities.
fn fake_hosts() -> String {
    let cities =
        [("lyon", 45.75, 4.85), ("montreal", 45.5, -73.57), ("tokyo", 35.68, 139.69), ("lima", -12.0, -77.0)];
    let site = |(city, latitude, longitude): (&str, f64, f64)| {
        format!(
            "[[site]]\nname = \"{city}\"\ncity = \"{city}\"\nlatitude = {latitude}\nlongitude = {longitude}\n\
             driver = \"fake\"\n[[site.host]]\nname = \"{city}-1\"\nport_range = \"1024-65535\"\n\
             capacity = {{ cpu_units = 100000000, memory_mib = 100000000 }}\n"
        )
    };
    cities.into_iter().map(site).collect()
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    child: Child,
    directory: TempDir,
    /// What every configuration of it begins with.
    head: String,
}

impl Server {
    /// On fake hosts, with the default store.
    pub async fn on_fake_hosts() -> Result<Self, Failure> {
        Self::start(&fake_hosts()).await
    }

    /// On fake hosts, with a PostgreSQL.
    pub async fn on_postgres(url: &str) -> Result<Self, Failure> {
        Self::start(&format!("[store]\nurl = \"{url}\"\n{}", fake_hosts())).await
    }

    /// With further configuration; answers when this returns.
    pub async fn start(config: &str) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("spawnpoint-bench-").tempdir_in(scratch()?)?;
        let head = format!("{COMMON}[callback]\nport = {}\n", free_port()?);
        std::fs::write(directory.path().join("config.toml"), format!("{head}{config}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let child = spawn(&directory, address)?;
        let mut server = Self { address, child, directory, head };
        server.wait().await?;
        Ok(server)
    }

    /// `kill -9`, and at once a new process on the same directory. Gives the time from its start to its first answer.
    pub async fn kill_and_restart(&mut self) -> Result<Duration, Failure> {
        self.child.kill()?;
        self.child.wait()?;
        let start = Instant::now();
        self.child = spawn(&self.directory, self.address)?;
        self.wait().await?;
        Ok(start.elapsed())
    }

    /// `kill -9`, for good.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The same with another configuration from now on.
    pub async fn reconfigure(&mut self, config: &str) -> Result<(), Failure> {
        std::fs::write(self.directory.path().join("config.toml"), format!("{}{config}", self.head))?;
        self.kill_and_restart().await.map(drop)
    }

    /// Gives the embedded runtime an image, as `docker save` writes it.
    pub fn import(&self, archive: &[u8]) -> Result<(), Failure> {
        let file = self.directory.path().join("image.tar");
        std::fs::write(&file, archive)?;
        let mut import = Command::new(std::env::current_exe()?.with_file_name("spawnpoint"));
        import.args(["image", "import"]).arg(file).arg("--data-dir").arg(self.directory.path().join("data"));
        let output = import.output()?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// SIGTERM, so that it takes away what is only kept ready. Nothing may be deployed.
    pub async fn end(&mut self) -> Result<(), Failure> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                return Err("the server does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until it is ready.
    async fn wait(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.exchange(&request("GET", "/monitor", TOKEN, "")).await?.status == 200
            {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                return Err(format!("the server did not start:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Makes the application `arena` with the version `v1`: one UDP port, an image that the fake driver runs at once.
    pub async fn describe_game(&self, repository: &str, image: &str, tag: &str) -> Result<(), Failure> {
        let mut connection = Connection::open(self.address).await?;
        let app = json!({"name": "arena", "is_active": true, "image": ""}).to_string();
        connection.exchange(&request("POST", "/v1/app", TOKEN, &app)).await?.json(200)?;
        let version = json!({
            "name": "v1", "is_active": true,
            "docker_repository": repository, "docker_image": image, "docker_tag": tag,
            "req_cpu": 256, "req_memory": 128,
            "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}],
        });
        let create = request("POST", "/v1/app/arena/version", TOKEN, &version.to_string());
        connection.exchange(&create).await?.json(200)?;
        Ok(())
    }

    /// Waits until the server does nothing but wait: everything that it has accepted is READY or has ended.
    pub async fn settle(&self) -> Result<(), Failure> {
        let mut before = self.cpu_time()?;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.cpu_time()?;
            // The kernel counts in ticks of 10 ms; a quiet server uses one at most now and then.
            if now - before <= TICK {
                return Ok(());
            }
            before = now;
        }
    }

    /// Time that it has spent on a processor: what counts on a machine that others use as well.
    pub fn cpu_time(&self) -> Result<Duration, Failure> {
        cpu_time_of(self.child.id())
    }

    /// Bytes of memory that are the process's own.
    pub fn resident_bytes(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.directory.path().join("data/spawnpoint.db")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time that a process has spent on a processor.
pub fn cpu_time_of(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |n: usize| -> Result<u32, Failure> { Ok(fields.get(n).ok_or("short stat")?.parse()?) };
    Ok(TICK * (field(11)? + field(12)?))
}

/// A directory on the disk under test: the build's own, since `/tmp` may be memory.
pub fn scratch() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let build = program.parent().and_then(|parent| parent.parent()).ok_or("this program has no directory")?;
    std::fs::create_dir_all(build.join("tmp"))?;
    Ok(build.join("tmp"))
}

fn spawn(directory: &TempDir, address: SocketAddr) -> Result<Child, Failure> {
    let program = std::env::current_exe()?.with_file_name("spawnpoint");
    if !program.exists() {
        return Err(format!("{} is missing: cargo build --release -p spawnpoint", program.display()).into());
    }
    let log = File::options().create(true).append(true).open(directory.path().join("log"))?;
    let child = Command::new(program)
        .arg("serve")
        .args(["--listen", &address.to_string(), "--config"])
        .arg(directory.path().join("config.toml"))
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .env("SPAWNPOINT_ADMIN_TOKEN", TOKEN)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A deploy request as games send it: two players, three tags and variables; about 600 bytes.
#[must_use]
pub fn deploy(number: usize) -> Vec<u8> {
    let body = json!({
        "application": "arena",
        "version": "v1",
        "users": [
            {"user_type": "geo_coordinates", "user_data": {"latitude": 35.6 + (number % 90) as f64 / 10.0, "longitude": 139.7}},
            {"user_type": "ip_address", "user_data": {"ip_address": "203.0.113.7"}},
        ],
        "environment_variables": [
            {"key": "MATCH_ID", "value": format!("match-{number}-4f9c2b7e"), "is_hidden": false},
            {"key": "GAME_MODE", "value": "capture-the-flag", "is_hidden": false},
        ],
        "tags": ["ranked"],
    });
    request("POST", "/v2/deployments", TOKEN, &body.to_string())
}

/// What the machine was doing.
#[must_use]
pub fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, load averages {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Percentiles of latencies.
#[must_use]
pub fn percentiles(samples: &Samples) -> String {
    let ms = |share: f64| samples.percentile(share).as_secs_f64() * 1000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
}
