//! The embedded runtime against a Docker engine, in turn: from the deploy request to the first UDP answer, back to back and
//! after 100 ms in which nothing happens; from the stop to the end against a forced removal; and starts with removal a
//! second, by four clients at a time.
//!
//! Ours is the whole way over HTTP; Docker's is the bare Engine API with a plain container of the same image and limits.

use std::net::SocketAddr;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::docker::{WARM_UPS, engine_with_game, first_answer, game_image, plain, remove_image, until_every};
use crate::http::{Connection, request};
use crate::paired::{Rates, Samples};
use crate::server::{Server, TOKEN, deploy};
use crate::{Failure, Report, block_on};

/// Ours alone; ports beside those of the bare containers, so many that none has to be used twice in a run.
pub const SITE: &str = "[[site]]\nname = \"here\"\ncity = \"here\"\nlatitude = 0.0\nlongitude = 0.0\ndriver = \"oci\"\n\
    [[site.host]]\nname = \"here-1\"\nport_range = \"22000-32700\"\n\
    capacity = { cpu_units = 100000000, memory_mib = 100000000 }\n";
/// Host ports of the bare containers.
const FIRST_PORT: u16 = 20_000;
/// Between two looks at the status of one deployment whose time is taken: what is measured ends with READY and TERMINATED,
/// not with the next look.
pub const LOOK_CLOSELY: Duration = Duration::from_micros(200);
/// The same while as many as possible are started: looking costs time that the starts need.
const LOOK_NOW_AND_THEN: Duration = Duration::from_millis(4);
/// After which a machine counts as idle.
const IDLE: Duration = Duration::from_millis(100);
/// How long the throughput of each side is measured in a round.
const THROUGHPUT: Duration = Duration::from_secs(10);
/// Clients that start and stop at a time.
const CLIENTS: u16 = 4;
/// Rounds of throughput.
const THROUGHPUT_ROUNDS: usize = 3;

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let (docker, tag, image) = engine_with_game().await?;
        let server = with_game(&tag).await?;
        let mut bench = Bench { docker, server, image, times: Times::default() };
        let measured = bench.measure(rounds).await;
        bench.server.end().await?;
        remove_image(&bench.docker, &bench.image).await?;
        measured?;
        Ok(bench.report(rounds))
    })
}

/// A server on the embedded runtime that knows the game; its image is `localhost/spawnpoint-bench:<tag>`.
pub async fn with_game(tag: &str) -> Result<Server, Failure> {
    let server = Server::start(SITE).await?;
    server.import(&game_image(&format!("localhost/spawnpoint-bench:{tag}"))?)?;
    server.describe_game("localhost", "spawnpoint-bench", tag).await?;
    Ok(server)
}

#[derive(Debug, Default)]
struct Times {
    ours: Samples,
    idle: Samples,
    stop: Samples,
    docker: Samples,
    removal: Samples,
    our_rate: Rates,
    docker_rate: Rates,
}

struct Bench {
    docker: Docker,
    server: Server,
    image: String,
    times: Times,
}

/// Times of one start and its end.
pub struct Life {
    /// From the request to the first answer.
    pub answered: Duration,
    /// From the stop to the end.
    pub gone: Duration,
}

impl Bench {
    async fn measure(&mut self, rounds: usize) -> Result<(), Failure> {
        for round in 0..WARM_UPS + rounds {
            if round == WARM_UPS {
                self.times = Times::default();
            }
            let life = ours(self.server.address, round, LOOK_CLOSELY).await?;
            self.times.ours.add(life.answered);
            self.times.stop.add(life.gone);
            let life = bare(&self.docker, &self.image, FIRST_PORT + u16::try_from(round)?).await?;
            self.times.docker.add(life.answered);
            self.times.removal.add(life.gone);
            tokio::time::sleep(IDLE).await;
            self.times.idle.add(ours(self.server.address, round, LOOK_CLOSELY).await?.answered);
        }
        for _ in 0..THROUGHPUT_ROUNDS {
            let address = self.server.address;
            let rate = self::rate(|_, round| ours(address, round, LOOK_NOW_AND_THEN)).await?;
            self.times.our_rate.add(rate);
            let (docker, image) = (&self.docker, self.image.as_str());
            // Each client has its ports in turn, so that none is still being given back.
            let rate = self::rate(|client, round| {
                bare(docker, image, FIRST_PORT + 500 + client * 200 + (round % 200) as u16)
            })
            .await?;
            self.times.docker_rate.add(rate);
        }
        Ok(())
    }

    fn report(&self, rounds: usize) -> Vec<String> {
        let Times { ours, idle, stop, docker, removal, our_rate, docker_rate } = &self.times;
        vec![
            format!("  {rounds} rounds, and {THROUGHPUT_ROUNDS} of throughput by {CLIENTS} clients"),
            format!("  deploy request to first UDP answer: {ours}"),
            format!(
                "  bare Docker, a plain container:     {docker} | ratio 1/{:.1} (entry 1/4, goal 1/10, stretch 1/40)",
                docker.ratio(ours)
            ),
            format!(
                "  after {} ms of idleness: {idle} | ratio {:.2} (entry 5, goal 1.5)",
                IDLE.as_millis(),
                idle.ratio(ours)
            ),
            format!(
                "  stop to TERMINATED: {stop} | bare forced removal: {removal} | ratio 1/{:.1} (goal 1/20)",
                removal.ratio(stop)
            ),
            format!(
                "  starts with removal: {our_rate} | bare Docker: {docker_rate} | ratio {:.1} (entry 5, goal 20)",
                our_rate.median() / docker_rate.median()
            ),
        ]
    }
}

/// Lives a second, by several clients at a time.
async fn rate<F, L>(live: F) -> Result<f64, Failure>
where
    F: Fn(u16, usize) -> L,
    L: Future<Output = Result<Life, Failure>>,
{
    let start = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let live = &live;
        async move {
            let mut lives = 0;
            while start.elapsed() < THROUGHPUT {
                live(client, lives).await?;
                lives += 1;
            }
            Ok::<_, Failure>(lives)
        }
    });
    let lives: usize = try_join_all(clients).await?.into_iter().sum();
    Ok(lives as f64 / start.elapsed().as_secs_f64())
}

/// One deployment over HTTP, looked at so often.
pub async fn ours(address: SocketAddr, round: usize, pause: Duration) -> Result<Life, Failure> {
    let mut connection = Connection::open(address).await?;
    let start = Instant::now();
    let accepted = connection.exchange(&deploy(round)).await?.json(202)?;
    let id = accepted["request_id"].as_str().ok_or("no request_id")?.to_owned();
    let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
    let status = until_every(&mut connection, &ask, "Status.READY", pause).await?;
    let port = status["ports"]["game"]["external"].as_u64().ok_or("no port in the status")?;
    first_answer(u16::try_from(port)?).await?;
    let answered = start.elapsed();
    let stopping = Instant::now();
    connection.exchange(&request("DELETE", &format!("/v1/stop/{id}"), TOKEN, "")).await?.json(200)?;
    until_every(&mut connection, &ask, "Status.TERMINATED", pause).await?;
    Ok(Life { answered, gone: stopping.elapsed() })
}

/// The same with nothing but the Docker engine.
async fn bare(docker: &Docker, image: &str, port: u16) -> Result<Life, Failure> {
    let name = format!("spawnpoint-bench-{}-{port}", std::process::id());
    let start = Instant::now();
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), plain(image, port)).await?;
    docker.start_container(&name, None::<StartContainerOptions>).await?;
    let outcome = first_answer(port).await;
    let answered = start.elapsed();
    let removing = Instant::now();
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&name, Some(options)).await?;
    outcome.map(|()| Life { answered, gone: removing.elapsed() })
}
