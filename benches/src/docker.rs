//! From the deploy request to the first UDP answer of a real container, against the bare Engine API doing the same:
//! create and start, then packets until one is answered.
//!
//! Players are told of READY and send then, so ours waits for READY: whoever sends earlier, into a network that is not up
//! yet, may wait a second for the kernel to ask for the address again.
//!
//! Two bare containers are measured in turn with ours: a twin of ours (same image, environment, limits, profile and
//! network: what is left is our own time), and a plain one, as `docker run -p` makes it (what the profile costs).

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ImportImageOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    StartContainerOptions,
};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use rusqlite::{Connection as Database, OpenFlags};
use serde_json::Value;
use spawnpoint_driver_docker::image_archive::SingleBinaryImage;
use spawnpoint_driver_docker::{DockerEngine, Endpoint, EngineConfig};
use spawnpoint_model::InstallationId;
use tokio::time::Instant;

use crate::http::{Connection, request};
use crate::paired::{Samples, text};
use crate::server::{Server, TOKEN, deploy, scratch};
use crate::{Failure, Report, block_on};

pub const WARM_UPS: usize = 3;
/// How long a container may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between packets that nobody answers.
const PACKET_EVERY: Duration = Duration::from_millis(1);
/// Between packets that are refused, since nobody listens yet.
const REFUSED_EVERY: Duration = Duration::from_micros(200);
/// Between two looks at a status: often enough to see it in time, seldom enough to leave the cores to the engine.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The runtime's timers come so late at most.
const TICK: Duration = Duration::from_millis(1);
/// Host ports of the bare containers, outside the server's range.
const FIRST_PORT: u16 = 20_000;
/// The game's port inside a container, as the engine writes it.
const GAME_PORT: &str = "7777/udp";

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let (docker, tag, image) = engine_with_game().await?;
        let server = Server::start("[[site]]\nname = \"local\"\ncity = \"Local\"\nlatitude = 0\nlongitude = 0\ndriver = \"docker\"\n").await?;
        server.describe_game("localhost", "spawnpoint-bench", &tag).await?;
        let mut bench = Bench { docker, server, image, times: Times::default() };
        let measured = bench.rounds(rounds).await;
        let tidied = tidy(&bench.docker, &bench.server, &bench.image).await;
        measured?;
        tidied?;
        bench.report(rounds).await
    })
}

#[derive(Debug, Default)]
struct Times {
    ours: Samples,
    twin: Samples,
    plain: Samples,
    /// From the moment at which the engine says that the container runs until READY was seen.
    ready: Samples,
    /// From the stop until TERMINATED, and the bare forced removal.
    stop: Samples,
    removal: Samples,
}

struct Bench {
    docker: Docker,
    server: Server,
    image: String,
    times: Times,
}

impl Bench {
    async fn rounds(&mut self, rounds: usize) -> Result<(), Failure> {
        for round in 0..WARM_UPS + rounds {
            if round == WARM_UPS {
                self.times = Times::default();
            }
            let port = FIRST_PORT + u16::try_from(round * 2)?;
            let made = self.ours(round).await?;
            let twin = self.bare(twin_of(made, port), port).await?;
            self.times.twin.add(twin);
            let plain = self.bare(plain(&self.image, port + 1), port + 1).await?;
            self.times.plain.add(plain);
        }
        Ok(())
    }

    /// One deployment over HTTP; gives its container as the engine shows it.
    async fn ours(&mut self, round: usize) -> Result<ContainerInspectResponse, Failure> {
        let mut connection = Connection::open(self.server.address).await?;
        let start = Instant::now();
        let accepted = connection.exchange(&deploy(round)).await?.json(202)?;
        let id = accepted["request_id"].as_str().ok_or("no request_id")?.to_owned();
        let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
        let status = until(&mut connection, &ask, "Status.READY").await?;
        let ready = Timestamp::now();
        let port = status["ports"]["game"]["external"].as_u64().ok_or("no port in the status")?;
        first_answer(u16::try_from(port)?).await?;
        self.times.ours.add(start.elapsed());
        let made = self.container_of(&id).await?;
        let started: Timestamp =
            made.state.as_ref().and_then(|state| state.started_at.as_deref()).unwrap_or_default().parse()?;
        self.times.ready.add(ready.duration_since(started).unsigned_abs());
        let stopping = Instant::now();
        connection.exchange(&request("DELETE", &format!("/v1/stop/{id}"), TOKEN, "")).await?.json(200)?;
        until(&mut connection, &ask, "Status.TERMINATED").await?;
        self.times.stop.add(stopping.elapsed());
        Ok(made)
    }

    async fn container_of(&self, id: &str) -> Result<ContainerInspectResponse, Failure> {
        let filters = HashMap::from([("label", vec![format!("spawnpoint.deployment={id}")])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found =
            self.docker.list_containers(Some(options)).await?.into_iter().find_map(|container| container.id);
        let name = found.ok_or_else(|| format!("{id} has no container"))?;
        Ok(self.docker.inspect_container(&name, None::<InspectContainerOptions>).await?)
    }

    /// The same with nothing but the engine.
    async fn bare(&mut self, body: ContainerCreateBody, port: u16) -> Result<Duration, Failure> {
        let name = format!("spawnpoint-bench-{}-{port}", std::process::id());
        let start = Instant::now();
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.docker.create_container(Some(options), body).await?;
        self.docker.start_container(&name, None::<StartContainerOptions>).await?;
        let answered = first_answer(port).await;
        let took = start.elapsed();
        let removing = Instant::now();
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        self.docker.remove_container(&name, Some(options)).await?;
        self.times.removal.add(removing.elapsed());
        answered.map(|()| took)
    }

    async fn report(&self, rounds: usize) -> Report {
        let Times { ours, twin, plain, ready, stop, removal } = &self.times;
        let version = self.docker.version().await?;
        let word = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        let p99 = |samples: &Samples| text(samples.percentile(0.99));
        Ok(vec![
            format!(
                "  {rounds} rounds; Docker {}, kernel {}",
                word(version.version),
                word(version.kernel_version)
            ),
            format!("  deploy request to first UDP answer: {ours}, p99 {}", p99(ours)),
            format!(
                "  bare engine, the same container:    {twin}, p99 {} | ratio {:.3} (entry 1.10, goal 1.03)",
                p99(twin),
                ours.ratio(twin)
            ),
            format!(
                "  bare engine, a plain container:     {plain}, p99 {} | ratio {:.3}",
                p99(plain),
                ours.ratio(plain)
            ),
            format!("  READY seen after the container ran (entry 25 ms, goal 5 ms): {ready}"),
            format!(
                "  stop to TERMINATED: {stop} | bare forced removal: {removal} | ratio {:.3} (entry 1.10)",
                stop.ratio(removal)
            ),
        ])
    }
}

/// The installation that a server is.
pub fn installation_of(server: &Server) -> Result<String, Failure> {
    let database = Database::open_with_flags(server.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "select value from settings where key = 'installation_id'";
    Ok(database.query_row(sql, [], |row| row.get(0))?)
}

/// Leaves nothing of a server on the engine.
pub async fn tidy(docker: &Docker, server: &Server, image: &str) -> Result<(), Failure> {
    let installation = installation_of(server)?;
    let filters = HashMap::from([("label", vec![format!("spawnpoint.installation={installation}")])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    for left in docker.list_containers(Some(options)).await? {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        docker.remove_container(&left.id.unwrap_or_default(), Some(options)).await?;
    }
    let installation = InstallationId::from(installation);
    let config = EngineConfig { endpoint: Endpoint::default(), installation, callback_port: None };
    DockerEngine::connect(config)?.remove_network().await?;
    remove_image(docker, image).await
}

/// Asks until the status is as wanted.
pub async fn until(connection: &mut Connection, ask: &[u8], wanted: &str) -> Result<Value, Failure> {
    until_every(connection, ask, wanted, LOOK_EVERY).await
}

/// The same with another pause between two looks.
pub async fn until_every(
    connection: &mut Connection,
    ask: &[u8],
    wanted: &str,
    pause: Duration,
) -> Result<Value, Failure> {
    let start = Instant::now();
    loop {
        let status = connection.exchange(ask).await?.json(200)?;
        if status["current_status"] == wanted {
            return Ok(status);
        }
        if status["current_status"] == "Status.ERROR" || start.elapsed() > PATIENCE {
            return Err(format!("not {wanted}: {status}").into());
        }
        if pause < TICK {
            // The runtime's timers do not tick so often.
            tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await?;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sends packets to a published port until one is answered.
pub async fn first_answer(port: u16) -> Result<(), Failure> {
    first_answer_at(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// Sends packets to an address until one is answered.
pub async fn first_answer_at(address: SocketAddr) -> Result<(), Failure> {
    let ask = move || -> Result<(), Failure> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(PACKET_EVERY))?;
        let (start, mut answer) = (Instant::now(), [0; 64]);
        while start.elapsed() < PATIENCE {
            // Refused as long as nobody listens, on sending as on receiving.
            match socket.send(b"ping").and_then(|_| socket.recv(&mut answer)) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::thread::sleep(REFUSED_EVERY)
                }
                Err(_) => {}
            }
        }
        Err(format!("nobody answered at {address}/udp").into())
    };
    tokio::task::spawn_blocking(ask).await?
}

/// The container that ours was, at another port and without our labels, so that nobody takes it for ours.
fn twin_of(made: ContainerInspectResponse, port: u16) -> ContainerCreateBody {
    let config = made.config.unwrap_or_default();
    let host = made.host_config.unwrap_or_default();
    ContainerCreateBody {
        image: config.image,
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        user: config.user,
        exposed_ports: config.exposed_ports,
        host_config: Some(HostConfig { port_bindings: Some(bindings(port)), ..host }),
        ..Default::default()
    }
}

/// What `docker run -p` makes, with the same limits.
pub fn plain(image: &str, port: u16) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        exposed_ports: Some(vec![GAME_PORT.to_owned()]),
        host_config: Some(HostConfig {
            port_bindings: Some(bindings(port)),
            memory: Some(128 * 1024 * 1024),
            nano_cpus: Some(250_000_000),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn bindings(port: u16) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = PortBinding { host_ip: Some("0.0.0.0".to_owned()), host_port: Some(port.to_string()) };
    HashMap::from([(GAME_PORT.to_owned(), Some(vec![binding]))])
}

/// The engine of this machine with the game server of this workspace on it, the image's tag, and the image.
pub async fn engine_with_game() -> Result<(Docker, String, String), Failure> {
    let docker = Docker::connect_with_unix_defaults()?.negotiate_version().await?;
    let tag = std::process::id().to_string();
    let image = format!("localhost/spawnpoint-bench:{tag}");
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    docker
        .import_image(options, bollard::body_full(game_image(&image)?.into()), None)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok((docker, tag, image))
}

/// Takes the image off the engine again.
pub async fn remove_image(docker: &Docker, image: &str) -> Result<(), Failure> {
    let options = RemoveImageOptionsBuilder::default().force(true).build();
    docker.remove_image(image, Some(options), None).await?;
    Ok(())
}

/// The game server of this workspace as an image, as `docker save` writes it.
pub fn game_image(reference: &str) -> Result<Vec<u8>, Failure> {
    let binary = game_binary()?;
    let image = SingleBinaryImage { reference, binary: &binary, file_name: "game", labels: &[] };
    Ok(image.archive()?)
}

/// The game server of this workspace: a program that needs nothing else.
pub fn game_binary() -> Result<Vec<u8>, Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/game/src/main.rs");
    let directory = tempfile::tempdir_in(scratch()?)?;
    let program = directory.path().join("game");
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition",
        "2024",
        "--crate-name",
        "game",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "opt-level=s",
    ]);
    rustc.args(["-C", "panic=abort", "-C", "strip=symbols", "-o"]).arg(&program).arg(source);
    if !rustc.status()?.success() {
        return Err("the game server did not compile".into());
    }
    Ok(std::fs::read(&program)?)
}
