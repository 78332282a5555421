//! 400 deploys within one second, `kill -9` right after the last answer, a new process: is every accepted one there?
//! Then the same with 10 000 live ones: how long until the new process serves them?

use std::time::Duration;

use crate::http::request;
use crate::load::{flat_out, paced};
use crate::paired::{Samples, text};
use crate::server::{Server, TOKEN, deploy, percentiles};
use crate::{Failure, Report, block_on};

const CONNECTIONS: usize = 64;
const BURST: usize = 400;
const LIVE: usize = 10_000;

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let (mut latencies, mut starts, mut lost) = (Samples::default(), Samples::default(), 0);
        for _ in 0..rounds {
            let mut server = Server::on_fake_hosts().await?;
            server.describe_game("fake", "game", "ok").await?;
            let load = paced(server.address, CONNECTIONS, BURST, BURST as f64, deploy).await?;
            if load.took > Duration::from_millis(1100) {
                return Err(format!("the burst took {}", text(load.took)).into());
            }
            let mut ids = load.deployed()?;
            latencies.append(load.latencies);
            server.kill_and_restart().await?;
            lost += missing(&server, &ids).await?;
            ids.extend(flat_out(server.address, CONNECTIONS, LIVE - ids.len(), deploy).await?.deployed()?);
            server.settle().await?;
            starts.add(server.kill_and_restart().await?);
            lost += missing(&server, &ids).await?;
        }
        Ok(vec![
            format!(
                "  {rounds} rounds of {BURST} deploys in one second (goal p99 50 ms): {}",
                percentiles(&latencies)
            ),
            format!("  accepted, then missing after kill -9: {lost}"),
            format!("  from the start of the process to serving {LIVE} live ones (goal 1 s): {starts}"),
        ])
    })
}

/// How many of `ids` the server does not know as live.
async fn missing(server: &Server, ids: &[String]) -> Result<usize, Failure> {
    let ask = |number: usize| request("GET", &format!("/v1/status/{}", ids[number]), TOKEN, "");
    let load = flat_out(server.address, CONNECTIONS, ids.len(), ask).await?;
    let known = load.answers.iter().filter(|answer| {
        let status = answer.json(200).map(|body| body["current_status"].clone());
        status.is_ok_and(|status| status != "Status.ERROR" && status != "Status.TERMINATED")
    });
    Ok(ids.len() - known.count())
}
