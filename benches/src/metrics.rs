//! What it costs to sample a hundred idle containers every ten seconds: CPU time of the server and of the engine, with
//! sampling and without it in turn, against asking the engine itself for the same figures in the same rhythm.
//!
//! Only differences between the rows mean anything: the server and the engine have other work as well, and others may
//! use the engine.

use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::docker::{engine_with_game, installation_of, tidy};
use crate::http::{Connection, request};
use crate::server::{Server, TICK, TOKEN, cpu_time_of, deploy};
use crate::{Failure, Report, block_on};

const CONTAINERS: usize = 100;
/// Containers that are started at once.
const AT_ONCE: usize = 4;
/// Containers that the engine is asked about at once: it lets each answer wait for a second.
const ASKED_AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long each way is looked at in a round: three samples.
const PHASE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_secs(10);

/// One host with room for everything; the rest of the configuration follows.
const HOST: &str = "[[site]]\nname = \"here\"\ncity = \"here\"\nlatitude = 0.0\nlongitude = 0.0\ndriver = \"docker\"\n\
    [[site.host]]\nname = \"here-1\"\nport_range = \"23000-23999\"\n\
    capacity = { cpu_units = 100000000, memory_mib = 100000000 }\n[metrics]\n";

/// A way to have figures.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Not at all.
    None,
    /// As the product does.
    Ours,
    /// One call of the engine for each container.
    Engine,
}

const WAYS: [(Way, &str); 3] = [
    (Way::None, "no sampling:                  "),
    (Way::Ours, "sampling every 10 s:          "),
    (Way::Engine, "the engine asked every 10 s:  "),
];

/// CPU of the server and of the engine, as shares of one core.
#[derive(Clone, Copy, Default)]
struct Cost {
    server: f64,
    engine: f64,
}

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let (docker, tag, image) = engine_with_game().await?;
        let mut server = Server::start(&format!("{HOST}sample_seconds = 0\n")).await?;
        server.describe_game("localhost", "spawnpoint-bench", &tag).await?;
        let measured = measure(&docker, &mut server, rounds).await;
        // Else it would start again what is removed.
        server.kill()?;
        let tidied = tidy(&docker, &server, &image).await;
        let report = measured?;
        tidied?;
        Ok(report)
    })
}

async fn measure(docker: &Docker, server: &mut Server, rounds: usize) -> Report {
    start_containers(server).await?;
    let installation = installation_of(server)?;
    let mut costs = WAYS.map(|_| Vec::new());
    for _ in 0..rounds {
        for ((way, _), costs) in WAYS.iter().zip(&mut costs) {
            let seconds = if *way == Way::Ours { PERIOD.as_secs() } else { 0 };
            server.reconfigure(&format!("{HOST}sample_seconds = {seconds}\n")).await?;
            server.settle().await?;
            costs.push(phase(docker, server, &installation, *way).await?);
        }
    }
    let medians = costs.map(|costs| Cost {
        server: median(costs.iter().map(|cost| cost.server)),
        engine: median(costs.iter().map(|cost| cost.engine)),
    });
    let [none, ours, engine] = medians.map(|cost| cost.server + cost.engine);
    let line = |((_, name), cost): (&(Way, &str), &Cost)| {
        let (server, engine) = (cost.server * 100.0, cost.engine * 100.0);
        format!("  {name} server {server:.2} %, engine {engine:.2} % of one core")
    };
    let mut lines = vec![format!(
        "  {CONTAINERS} idle containers, {rounds} rounds of {} s; medians; ticks of {TICK:?}",
        PHASE.as_secs()
    )];
    lines.extend(WAYS.iter().zip(&medians).map(line));
    lines.push(format!(
        "  sampling costs {:.2} % of one core (goal: under 5 %), asking the engine {:.2} %",
        (ours - none) * 100.0,
        (engine - none) * 100.0
    ));
    Ok(lines)
}

async fn start_containers(server: &Server) -> Result<(), Failure> {
    let mut started = futures_util::stream::iter(0..CONTAINERS)
        .map(|number| async move {
            let mut connection = Connection::open(server.address).await?;
            let accepted = connection.exchange(&deploy(number)).await?.json(202)?;
            let id = accepted["request_id"].as_str().ok_or("no request_id")?.to_owned();
            let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
            let begun = Instant::now();
            loop {
                let status: Value = connection.exchange(&ask).await?.json(200)?;
                if status["current_status"] == "Status.READY" {
                    return Ok(());
                }
                if status["current_status"] == "Status.ERROR" || begun.elapsed() > PATIENCE {
                    return Err(Failure::from(format!("not ready: {status}")));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(started) = started.next().await {
        started?;
    }
    Ok(())
}

async fn phase(docker: &Docker, server: &Server, installation: &str, way: Way) -> Result<Cost, Failure> {
    let engine_before = engine_time()?;
    let server_before = server.cpu_time()?;
    let begun = Instant::now();
    while begun.elapsed() < PHASE {
        let next = tokio::time::Instant::now() + PERIOD;
        if way == Way::Engine {
            ask_engine(docker, installation).await?;
        }
        tokio::time::sleep_until(next).await;
    }
    let share = |spent: Duration| spent.as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Cost {
        server: share(server.cpu_time()? - server_before),
        engine: share(engine_time()? - engine_before),
    })
}

/// What everybody does who has no better: a list, and one call for each container.
async fn ask_engine(docker: &Docker, installation: &str) -> Result<(), Failure> {
    let filters =
        std::collections::HashMap::from([("label", vec![format!("spawnpoint.installation={installation}")])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let containers = docker.list_containers(Some(options)).await?;
    let ask = |container: ContainerSummary| async move {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        // One that has just gone has none.
        drop(docker.stats(&container.id.unwrap_or_default(), Some(options)).next().await);
    };
    futures_util::stream::iter(containers).for_each_concurrent(ASKED_AT_ONCE, ask).await;
    Ok(())
}

/// CPU time of the engine: its daemon and that of its containers' supervisor.
fn engine_time() -> Result<Duration, Failure> {
    let mut sum = Duration::ZERO;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if matches!(name.trim(), "dockerd" | "containerd") {
            sum += cpu_time_of(pid)?;
        }
    }
    Ok(sum)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
