//! What an idle deployment costs its host beyond the game itself: the embedded runtime against a Docker engine, in turn.
//!
//! Two views of the same, since neither is whole: the memory of processes (PSS, so that what is shared is counted once),
//! which leaves out the kernel; and what the machine says that it has left (MemAvailable), which has all of it, network
//! namespaces, links and control groups too, and everything else that the machine does meanwhile.
//!
//! The game's own memory is taken off both. Docker's containers are plain, with one published port.

use std::fs;

use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};

use crate::docker::{engine_with_game, first_answer, installation_of, plain, remove_image, until_every};
use crate::embedded::with_game;
use crate::http::{Connection, request};
use crate::server::{Server, TOKEN, deploy};
use crate::{Failure, Report, block_on};

/// Deployments of ours that are idle.
const OURS: usize = 100;
/// The engine's containers: they take long to start.
const THEIRS: usize = 20;
/// Host ports of the bare containers.
const FIRST_PORT: u16 = 20_000;
/// After the last start, for what is done afterwards.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(2);
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(5);

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let (docker, tag, image) = engine_with_game().await?;
        let mut server = with_game(&tag).await?;
        let measured = measure(&docker, &server, &image, rounds).await;
        server.end().await?;
        remove_image(&docker, &image).await?;
        measured
    })
}

async fn measure(docker: &Docker, server: &Server, image: &str, rounds: usize) -> Report {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let installation: String = installation_of(server)?.chars().take(8).collect();
    // One round that is not counted: whatever is made once is there then.
    for round in 0..=rounds {
        let before = Memory::read(&installation)?;
        let started = start_ours(server).await?;
        tokio::time::sleep(SETTLED).await;
        let cost = Memory::read(&installation)?.less(before).each(OURS);
        stop_ours(server, &started).await?;
        let before = Memory::read(&installation)?;
        let started = start_theirs(docker, image).await;
        tokio::time::sleep(SETTLED).await;
        let their_cost = Memory::read(&installation)?.less(before).each(THEIRS);
        for number in 0..THEIRS {
            let options = RemoveContainerOptionsBuilder::default().force(true).build();
            docker.remove_container(&name(number), Some(options)).await?;
        }
        started?;
        if round > 0 {
            ours.push(cost);
            theirs.push(their_cost);
        }
    }
    Ok(report(rounds, &ours, &theirs))
}

fn report(rounds: usize, ours: &[Memory], theirs: &[Memory]) -> Vec<String> {
    let views: [(&str, View); 5] = [
        ("processes beside the game, PSS", |memory| memory.helpers),
        ("the kernel's own", |memory| memory.kernel),
        ("both", |memory| memory.helpers + memory.kernel),
        ("what the machine has less, without the game", |memory| memory.machine - memory.game),
        ("the control plane itself, PSS", |memory| memory.server),
    ];
    let mut lines = vec![format!(
        "  {rounds} rounds, {OURS} deployments of ours and {THEIRS} containers of Docker; KiB for each; the game itself {}",
        spread(ours, |memory| memory.game)
    )];
    for (what, view) in views {
        let ratio = median(theirs, view) / median(ours, view);
        lines.push(format!(
            "  {what}: {} | Docker: {} | ratio 1/{ratio:.1} (entry 1/4, goal 1/10)",
            spread(ours, view),
            spread(theirs, view)
        ));
    }
    lines
}

/// One figure of all.
type View = fn(&Memory) -> f64;

fn sorted(all: &[Memory], view: View) -> Vec<f64> {
    let mut values: Vec<f64> = all.iter().map(view).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(all: &[Memory], view: View) -> f64 {
    let values = sorted(all, view);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn spread(all: &[Memory], view: View) -> String {
    let values = sorted(all, view);
    let (least, most) = (values.first().unwrap_or(&0.0), values.last().unwrap_or(&0.0));
    format!("{:.0} ({least:.0} to {most:.0})", median(all, view))
}

/// KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Processes that look after one container each.
    helpers: f64,
    /// The game.
    game: f64,
    /// The process that all of it belongs to: ours, or the engine's two.
    server: f64,
    /// What is no more available on this machine.
    machine: f64,
    /// Slab, stacks, page tables and the kernel's own of each processor.
    kernel: f64,
}

impl Memory {
    fn read(installation: &str) -> Result<Self, Failure> {
        let mut memory = Self::default();
        for entry in fs::read_dir("/proc")?.flatten() {
            let folder = entry.path();
            let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
            if !is_process {
                continue;
            }
            let Ok(command) = fs::read_to_string(folder.join("cmdline")) else { continue };
            let is_zygote = command.starts_with("spawnpoint-zygote") && command.contains(installation);
            let into = match command.split('\0').next().and_then(|program| program.rsplit('/').next()) {
                _ if is_zygote => &mut memory.helpers,
                Some("containerd-shim-runc-v2" | "docker-proxy" | "containerd-shim") => &mut memory.helpers,
                Some("dockerd" | "containerd") => &mut memory.server,
                Some("spawnpoint") if command.contains("spawnpoint-bench-") => &mut memory.server,
                Some("game") => &mut memory.game,
                _ => continue,
            };
            // It may have ended meanwhile.
            *into += fs::read_to_string(folder.join("smaps_rollup"))
                .ok()
                .and_then(|text| kib(&text, "Pss:"))
                .unwrap_or_default();
        }
        let text = fs::read_to_string("/proc/meminfo")?;
        memory.machine = -kib(&text, "MemAvailable:").ok_or("no MemAvailable")?;
        memory.kernel = ["Slab:", "KernelStack:", "PageTables:", "Percpu:"]
            .iter()
            .filter_map(|name| kib(&text, name))
            .sum();
        Ok(memory)
    }

    fn less(self, before: Self) -> Self {
        Self {
            helpers: self.helpers - before.helpers,
            game: self.game - before.game,
            server: self.server - before.server,
            machine: self.machine - before.machine,
            kernel: self.kernel - before.kernel,
        }
    }

    fn each(self, count: usize) -> Self {
        let share = |all: f64| all / count as f64;
        Self {
            helpers: share(self.helpers),
            game: share(self.game),
            server: share(self.server),
            machine: share(self.machine),
            kernel: share(self.kernel),
        }
    }
}

/// A line `name: number kB`.
fn kib(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Deployments that are READY and have answered once.
async fn start_ours(server: &Server) -> Result<Vec<String>, Failure> {
    let mut connection = Connection::open(server.address).await?;
    let mut all = Vec::new();
    for number in 0..OURS {
        let accepted = connection.exchange(&deploy(number)).await?.json(202)?;
        let id = accepted["request_id"].as_str().ok_or("no request_id")?.to_owned();
        let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
        let status = until_every(&mut connection, &ask, "Status.READY", LOOK_EVERY).await?;
        let port = status["ports"]["game"]["external"].as_u64().ok_or("no port in the status")?;
        first_answer(u16::try_from(port)?).await?;
        all.push(id);
    }
    Ok(all)
}

async fn stop_ours(server: &Server, all: &[String]) -> Result<(), Failure> {
    let mut connection = Connection::open(server.address).await?;
    for id in all {
        connection.exchange(&request("DELETE", &format!("/v1/stop/{id}"), TOKEN, "")).await?.json(200)?;
    }
    for id in all {
        let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
        until_every(&mut connection, &ask, "Status.TERMINATED", LOOK_EVERY).await?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("spawnpoint-bench-{}-idle-{number}", std::process::id())
}

async fn start_theirs(docker: &Docker, image: &str) -> Result<(), Failure> {
    for number in 0..THEIRS {
        let port = FIRST_PORT + u16::try_from(number)?;
        let options = CreateContainerOptionsBuilder::default().name(&name(number)).build();
        docker.create_container(Some(options), plain(image, port)).await?;
        docker.start_container(&name(number), None::<StartContainerOptions>).await?;
        first_answer(port).await?;
    }
    Ok(())
}
