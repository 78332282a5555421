//! `spawnpoint demo`: the whole loop on this machine, with a real container. A server on a temporary directory, an image made
//! on the spot, a deployment over HTTP, packets over UDP, status, log and webhooks, a stop; and nothing left behind but the
//! image (a megabyte and a half, for the reader's own tries).

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use spawnpoint_driver::{Driver, LogFrom};
use spawnpoint_model::{DeploymentId, WorkloadId};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::config::{self, Config, KernelPorts, Loaded, Overrides, Variables};
use crate::console::print;
use crate::failure::Failure;
use crate::http::Api;
use crate::local::LocalEngine;
use crate::server::Server;

/// The game server that the binary carries: `crates/game`, compiled static by `build.rs`.
pub const GAME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/game"));
/// The image that is made of it; it has the name that the API makes of registry, image and tag.
pub const IMAGE: &str = concat!("localhost/spawnpoint-demo:", env!("CARGO_PKG_VERSION"));
/// For each step that waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a status: a tenth of the time that it has taken, so that what is shown is at most a tenth too much. The
/// demo's own server does not limit that.
const LOOK_AGAIN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(100);
/// For one answer of the game.
const PACKET_PATIENCE: Duration = Duration::from_secs(1);
/// Packets that are played.
const PACKETS: usize = 50;

/// Shows the loop.
///
/// # Errors
/// Whatever of it did not happen.
pub async fn demo() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let loaded = configuration(dir.path())?;
    let mut stage = Stage::new();
    stage.begin("starting a server on a temporary directory");
    let server = Box::pin(Server::start(&loaded.config, &loaded.plan, &Variables::default())).await?;
    stage.done(&format!("server at http://{}, data in {}", server.address, dir.path().display()));
    let engine = server.hosts.local_engines.first().cloned();
    let driver = server.hosts.setups.first().map(|setup| setup.driver.clone());
    let (Some(engine), Some(driver)) = (engine, driver) else {
        return Err(Failure::new("there is nothing on this machine that runs containers"));
    };
    let played = tokio::select! {
        played = Box::pin(play(&mut stage, &server, &engine, &driver)) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted")),
    };
    stage.begin("tidying up");
    server.stop().await;
    if let Err(failure) = played {
        // A demo that broke off may have left its container.
        tidy(&engine, driver.as_ref()).await?;
        return Err(failure);
    }
    stage.done("server stopped; no container, no network, no port is left");
    print("");
    print("That was the whole loop. Now your own game: `spawnpoint serve`, and the walk in README.md.");
    Ok(())
}

/// The defaults on a directory and a port of its own.
fn configuration(dir: &Path) -> Result<Loaded, Failure> {
    let overrides =
        Overrides { data_dir: Some(dir.join("data")), listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let none = Variables::default();
    let mut loaded = config::load(None, &none, &overrides, &KernelPorts::of_this_machine())?;
    loaded.config =
        Config { limits: config::Limits { status_per_second: 0, ..loaded.config.limits }, ..loaded.config };
    Ok(loaded)
}

/// Everything that is shown.
async fn play(
    stage: &mut Stage,
    server: &Server,
    engine: &LocalEngine,
    driver: &Arc<dyn Driver>,
) -> Result<(), Failure> {
    stage.begin("making an image of the game server that this binary carries");
    engine.load_program(IMAGE, GAME, "game").await?;
    stage.done(&format!("image {IMAGE} ({} KiB, one static program, no registry asked)", GAME.len() / 1024));

    let api = Api::at(server.running(), server.admin_token.clone())?;
    let (receiver, mut webhooks) = webhook_receiver().await?;
    stage.begin("describing the game over the API");
    describe_game(&api).await?;
    stage.done("POST /v1/app, POST /v1/app/echo/version");

    stage.begin("deploying");
    let started = Instant::now();
    let hook = json!({"url": format!("http://{receiver}/")});
    let request = json!({
        "application": "echo",
        "version": "v1",
        "users": [{"user_type": "ip_address", "user_data": {"ip_address": "203.0.113.7"}}],
        "tags": ["demo"],
        "webhook_on_ready": hook, "webhook_on_error": hook, "webhook_on_terminated": hook,
    });
    let deployed = api.ask(Method::POST, "/v2/deployments", Some(&request)).await?;
    let id = text(&deployed, "request_id")?;
    let status = wait_for_status(&api, &id, "Status.READY").await?;
    let external = status["ports"]["game"]["external"].as_u64().and_then(|port| u16::try_from(port).ok());
    let address = text(&status, "public_ip")?;
    let port = external.ok_or_else(|| Failure::new(format!("no port in the status: {status}")))?;
    stage.done(&format!("POST /v2/deployments: {id} is READY after {} ms", started.elapsed().as_millis()));
    print(&format!(
        "      {} at {address}:{port}/udp, in {}",
        text(&status, "fqdn")?,
        status["location"]["city"]
    ));

    stage.begin("playing");
    let times = play_packets(&address, port, &id).await?;
    stage.done(&format!(
        "{} UDP packets answered by the game, median {} µs, slowest {} µs",
        times.len(),
        times[times.len() / 2].as_micros(),
        times[times.len() - 1].as_micros(),
    ));

    show_log(stage, driver.as_ref(), &id).await?;
    expect_webhook(stage, &mut webhooks, &id, "Status.READY").await?;

    stage.begin("stopping");
    let started = Instant::now();
    api.ask(Method::DELETE, &format!("/v1/stop/{id}"), None).await?;
    wait_for_status(&api, &id, "Status.TERMINATED").await?;
    stage.done(&format!("DELETE /v1/stop/{id}: TERMINATED after {} ms", started.elapsed().as_millis()));
    expect_webhook(stage, &mut webhooks, &id, "Status.TERMINATED").await?;

    stage.begin("auditing");
    let audit = api.ask(Method::GET, "/spawnpoint/v1/audit", None).await?;
    let violations = audit["violation_count"].as_u64();
    if violations != Some(0) {
        return Err(Failure::new(format!("the audit found violations: {audit}")));
    }
    stage.done("audit: every invariant holds");
    Ok(())
}

async fn describe_game(api: &Api) -> Result<(), Failure> {
    let app = json!({"name": "echo", "is_active": true, "image": ""});
    api.ask(Method::POST, "/v1/app", Some(&app)).await?;
    let version = json!({
        "name": "v1",
        "is_active": true,
        "docker_repository": "localhost",
        "docker_image": "spawnpoint-demo",
        "docker_tag": env!("CARGO_PKG_VERSION"),
        "req_cpu": 256,
        "req_memory": 128,
        "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}],
    });
    api.ask(Method::POST, "/v1/app/echo/version", Some(&version)).await?;
    Ok(())
}

/// Looks at the status until it is as wanted.
async fn wait_for_status(api: &Api, id: &str, wanted: &str) -> Result<Value, Failure> {
    let started = Instant::now();
    loop {
        let status = api.ask(Method::GET, &format!("/v1/status/{id}"), None).await?;
        let current = text(&status, "current_status")?;
        if current == wanted {
            return Ok(status);
        }
        if current == "Status.ERROR" || started.elapsed() > PATIENCE {
            return Err(Failure::new(format!(
                "{id} is {current} instead of {wanted}: {}",
                status["error_detail"]
            )));
        }
        tokio::time::sleep((started.elapsed() / 10).clamp(*LOOK_AGAIN.start(), *LOOK_AGAIN.end())).await;
    }
}

/// Plays; the answer times, sorted.
async fn play_packets(address: &str, port: u16, id: &str) -> Result<Vec<Duration>, Failure> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((address, port)).await?;
    let pong = exchange(&socket, "ping").await?;
    if !pong.contains(id) {
        return Err(Failure::new(format!("the game answered {pong:?}, not as the deployment {id}")));
    }
    let mut times = Vec::with_capacity(PACKETS);
    for number in 0..PACKETS {
        let sent = Instant::now();
        let packet = format!("position {number} of the player");
        let echo = exchange(&socket, &packet).await?;
        if echo != packet {
            return Err(Failure::new(format!("the game answered {echo:?} to {packet:?}")));
        }
        times.push(sent.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Sends a packet and takes the answer.
async fn exchange(socket: &UdpSocket, packet: &str) -> Result<String, Failure> {
    let mut answer = [0; 512];
    socket.send(packet.as_bytes()).await?;
    let length = timeout(PACKET_PATIENCE, socket.recv(&mut answer))
        .await
        .map_err(|_| Failure::new("the game did not answer a packet within a second"))??;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

async fn show_log(stage: &mut Stage, driver: &dyn Driver, id: &str) -> Result<(), Failure> {
    stage.begin("reading the game's log");
    let deployment: DeploymentId =
        id.parse().map_err(|_| Failure::new(format!("{id} is no deployment id")))?;
    let mut stream = driver.logs(WorkloadId { deployment, attempt: 1 }, LogFrom::Start, false).await?;
    let mut log = Vec::new();
    while let Some(chunk) =
        timeout(PATIENCE, stream.next()).await.map_err(|_| Failure::new("the log does not end"))?
    {
        log.extend_from_slice(&chunk?.bytes);
    }
    let log = String::from_utf8_lossy(&log);
    if log.trim().is_empty() {
        return Err(Failure::new("the game's log is empty"));
    }
    stage.done("the game's log:");
    log.lines().take(4).for_each(|line| print(&format!("      | {line}")));
    Ok(())
}

/// A webhook as it came.
struct Received {
    signed: bool,
    body: Value,
}

/// A receiver of webhooks on this machine.
async fn webhook_receiver() -> Result<(SocketAddr, mpsc::Receiver<Received>), Failure> {
    let (sender, receiver) = mpsc::channel(16);
    let take = async |State(sender): State<mpsc::Sender<Received>>, headers: HeaderMap, body: String| {
        let signed = headers.contains_key("webhook-signature");
        let body = serde_json::from_str(&body).unwrap_or(Value::Null);
        // Nobody listens any more once the demo is over.
        let _ = sender.send(Received { signed, body }).await;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((address, receiver))
}

/// Waits for the webhook that announces a status.
async fn expect_webhook(
    stage: &mut Stage,
    webhooks: &mut mpsc::Receiver<Received>,
    id: &str,
    wanted: &str,
) -> Result<(), Failure> {
    stage.begin("waiting for the webhook");
    let received = timeout(PATIENCE, webhooks.recv()).await.ok().flatten();
    let received = received.ok_or_else(|| Failure::new(format!("no webhook came for {wanted}")))?;
    let (about, status) = (text(&received.body, "request_id")?, text(&received.body, "current_status")?);
    if about != id || status != wanted || !received.signed {
        return Err(Failure::new(format!(
            "a webhook came for {about}, {status}, signed: {}",
            received.signed
        )));
    }
    stage.done(&format!("webhook received, signed: {about} is {status}"));
    Ok(())
}

/// Removes whatever of ours is still on the engine.
async fn tidy(engine: &LocalEngine, driver: &dyn Driver) -> Result<(), Failure> {
    for left in driver.list().await? {
        driver.remove(left.id).await?;
    }
    Ok(engine.tidy().await?)
}

/// A text field of an answer.
fn text(value: &Value, key: &str) -> Result<String, Failure> {
    let found = value[key].as_str().map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("there is no {key} in {value}")))
}

/// Shows which step is under way (on a terminal), and each that is done.
struct Stage {
    spinner: ProgressBar,
    number: u32,
}

impl Stage {
    fn new() -> Self {
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        Self { spinner, number: 0 }
    }

    fn begin(&self, what: &str) {
        self.spinner.reset_elapsed();
        self.spinner.set_message(what.to_owned());
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    fn done(&mut self, what: &str) {
        self.number += 1;
        self.spinner.disable_steady_tick();
        self.spinner.suspend(|| print(&format!("  {:>2}. {what}", self.number)));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}
