//! The published rate of Edgegap on this machine: 40 real deployments a second on the embedded runtime, for a minute. Each is
//! asked for when its time has come, however the others do; is READY; answers its first packet; lives a while; is stopped;
//! and is TERMINATED. Then nothing is left of any, and after the server's end nothing at all.
//!
//! Each has a host port of its own: as many are free as are deployed, so that the quarantine of ports, which is a promise to
//! players, need not be shortened for this.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::docker::{installation_of, until_every};
use crate::embedded::with_game;
use crate::http::{Connection, request};
use crate::paired::Samples;
use crate::server::{TOKEN, deploy, percentiles};
use crate::{Failure, Report, block_on};

/// Deployments a second.
const RATE: u32 = 40;
/// A minute of them.
const TOTAL: u32 = 60 * RATE;
/// Each lives so long after its first answer: so some eighty are there at a time.
const LIFE: Duration = Duration::from_secs(2);
/// Between two looks at a status: seldom enough to leave the processors to the server.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A packet that is not answered is sent again after so long.
const PACKET_EVERY: Duration = Duration::from_millis(100);
const PACKETS_MAX: usize = 100;
/// More than these at a time, a dozen seconds of the rhythm, and the machine does not keep up: no more are asked for.
const UNDER_WAY_MAX: usize = 480;
/// What failed is stopped all the same, and has ended by then.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// What is taken away in the background is gone by then.
const CLEARED: Duration = Duration::from_secs(10);

/// Measures it; each round takes a minute and a little.
pub fn run(rounds: usize) -> Report {
    let mut report = Vec::new();
    for round in 0..rounds {
        report.append(&mut block_on(measure(round))?);
    }
    Ok(report)
}

/// Times of one deployment.
struct Life {
    accepted: Duration,
    ready: Duration,
    answered: Duration,
    gone: Duration,
    packets: usize,
}

async fn measure(round: usize) -> Report {
    let mut server = with_game(&format!("{}-{round}", std::process::id())).await?;
    let installation: String = installation_of(&server)?.chars().take(8).collect();
    let before = server.cpu_time()?;
    let (lives, late, failures, took) = sustain(server.address).await;
    let spent = server.cpu_time()? - before;
    let mut left = left_running(&installation, Instant::now()).await;
    server.end().await?;
    left.extend(left_at_all(&installation));
    let of = |time: fn(&Life) -> Duration| {
        let mut samples = Samples::default();
        lives.iter().for_each(|life| samples.add(time(life)));
        percentiles(&samples)
    };
    let again = lives.iter().filter(|life| life.packets > 1).count();
    let mut lines = vec![
        format!(
            "  {} of {TOTAL} lived and ended, {} failed; {} were asked for in {:.1} s (goal: all in 60 s), at most {:.1} ms late",
            lives.len(),
            failures.len(),
            lives.len() + failures.len(),
            took.as_secs_f64(),
            late.as_secs_f64() * 1000.0
        ),
        format!("  request to 202: {}", of(|life| life.accepted)),
        format!("  request to READY seen: {}", of(|life| life.ready)),
        format!(
            "  request to first UDP answer: {}; {again} needed a second packet",
            of(|life| life.answered)
        ),
        format!("  stop to TERMINATED seen: {}", of(|life| life.gone)),
        format!(
            "  time of the server on processors: {:.2} ms for each",
            spent.as_secs_f64() * 1000.0 / lives.len() as f64
        ),
        format!("  left over: {}", if left.is_empty() { "nothing".to_owned() } else { left.join("; ") }),
    ];
    lines.extend(failures.iter().take(3).map(|failure| format!("  one failed: {failure}")));
    Ok(lines)
}

/// Asks for one deployment after the other in the rhythm. The lives, by how much one was asked for too late, what failed, and
/// how long it took until the last was asked for.
async fn sustain(address: SocketAddr) -> (Vec<Life>, Duration, Vec<String>, Duration) {
    let start = Instant::now();
    let (mut running, mut late) = (JoinSet::new(), Duration::ZERO);
    let (mut lives, mut failures) = (Vec::new(), Vec::new());
    let mut note = |ended: Result<Result<Life, Failure>, JoinError>| match ended {
        Ok(Ok(life)) => lives.push(life),
        Ok(Err(failure)) => failures.push(failure.to_string()),
        Err(failure) => failures.push(failure.to_string()),
    };
    for number in 0..TOTAL {
        let due = start + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(due).await;
        late = late.max(due.elapsed());
        while let Some(ended) = running.try_join_next() {
            note(ended);
        }
        if running.len() >= UNDER_WAY_MAX {
            break;
        }
        running.spawn(live(address, number as usize));
    }
    let took = start.elapsed();
    while let Some(ended) = running.join_next().await {
        note(ended);
    }
    (lives, late, failures, took)
}

async fn live(address: SocketAddr, number: usize) -> Result<Life, Failure> {
    let start = Instant::now();
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&deploy(number)).await?.json(202)?;
    let accepted = start.elapsed();
    let id = answer["request_id"].as_str().ok_or("no request_id")?.to_owned();
    let ask = request("GET", &format!("/v1/status/{id}"), TOKEN, "");
    let stop = request("DELETE", &format!("/v1/stop/{id}"), TOKEN, "");
    let life = async {
        let status = until_every(&mut connection, &ask, "Status.READY", LOOK_EVERY).await?;
        let ready = start.elapsed();
        let port = status["ports"]["game"]["external"].as_u64().ok_or("no port in the status")?;
        let packets = ping(u16::try_from(port)?, &id).await?;
        let answered = start.elapsed();
        tokio::time::sleep(LIFE).await;
        let stopping = Instant::now();
        connection.exchange(&stop).await?.json(200)?;
        until_every(&mut connection, &ask, "Status.TERMINATED", LOOK_EVERY).await?;
        Ok(Life { accepted, ready, answered, gone: stopping.elapsed(), packets })
    };
    let life: Result<Life, Failure> = life.await;
    if life.is_err() {
        give_up(address, &ask, &stop).await?;
    }
    life
}

/// Stops what did not live as it should, and waits until it has ended: it must not stay on the machine.
async fn give_up(address: SocketAddr, ask: &[u8], stop: &[u8]) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut connection = Connection::open(address).await?;
    // It may be stopped already.
    let _ = connection.exchange(stop).await?;
    while begun.elapsed() < GIVEN_UP {
        tokio::time::sleep(PACKET_EVERY).await;
        if connection.exchange(ask).await?.json(200)?["current_status"] == "Status.TERMINATED" {
            break;
        }
    }
    Ok(())
}

/// Asks the game who it is until it answers; how many packets it took.
async fn ping(port: u16, id: &str) -> Result<usize, Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(("127.0.0.1", port)).await?;
    let mut answer = [0; 128];
    for packet in 1..=PACKETS_MAX {
        // Refused as long as nobody listens, on sending as on receiving.
        let _ = socket.send(b"ping").await;
        match tokio::time::timeout(PACKET_EVERY, socket.recv(&mut answer)).await {
            Ok(Ok(length)) => {
                let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
                let is_own = text.trim() == format!("pong {id}");
                return if is_own { Ok(packet) } else { Err(format!("{id} answers {text:?}").into()) };
            }
            Ok(Err(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(_) => {}
        }
    }
    Err(format!("{id} does not answer at its port {port}").into())
}

fn entries(folder: &str) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What is left of deployments that have ended, while the server is there: what is cleared in the background gets its time.
async fn left_running(installation: &str, begun: Instant) -> Vec<String> {
    loop {
        let leases = entries(&format!("/run/spawnpoint-{installation}/net/leases"));
        let games = processes(|command| command.starts_with("/game\0"), Some(installation));
        let left: Vec<String> = [("networks held", leases.len()), ("games running", games)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        if left.is_empty() || begun.elapsed() > CLEARED {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is left when the server has ended.
fn left_at_all(installation: &str) -> Vec<String> {
    let mut left = Vec::new();
    let mut note = |what: &str, count: usize| {
        if count > 0 {
            left.push(format!("{count} {what} after the end"));
        }
    };
    let own = format!("spawnpoint-{installation}");
    note("files of what runs", entries(&format!("/run/{own}")).len());
    note(
        "processes",
        processes(|command| command.starts_with("spawnpoint-zygote\0") && command.contains(&own), None),
    );
    let links =
        entries("/sys/class/net").into_iter().filter(|name| name.starts_with(&format!("spn{installation}")));
    note("links", links.count());
    let groups = entries("/sys/fs/cgroup").into_iter();
    note(
        "control groups",
        groups.filter(|name| fs::exists(format!("/sys/fs/cgroup/{name}/{own}")).unwrap_or(false)).count(),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    note("mounts", mounts.lines().filter(|line| line.contains(&own)).count());
    let tables = Command::new("nft").args(["list", "tables"]).output();
    let tables =
        tables.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    note("tables of nftables", tables.lines().filter(|line| line.contains(installation)).count());
    left
}

/// How many processes there are of a command, in the control groups of an installation if one is named.
fn processes(is_meant: impl Fn(&str) -> bool, installation: Option<&str>) -> usize {
    let pids = entries("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
    let read = |pid: &str, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.filter(|pid| is_meant(&read(pid, "cmdline")))
        .filter(|pid| installation.is_none_or(|installation| read(pid, "cgroup").contains(installation)))
        .count()
}
