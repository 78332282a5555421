//! `GET /v1/status/{id}` a second against a bare axum that says hello, same client, same number of connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hello::Hello;
use crate::http::request;
use crate::load::flat_out;
use crate::paired::Rates;
use crate::server::{Server, TOKEN, deploy, percentiles};
use crate::{Report, block_on};

const CONNECTIONS: usize = 64;
const REQUESTS: usize = 60_000;
const DEPLOYMENTS: usize = 1_000;

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let server = Server::on_fake_hosts().await?;
        server.describe_game("fake", "game", "ok").await?;
        let ids = flat_out(server.address, CONNECTIONS, DEPLOYMENTS, deploy).await?.deployed()?;
        server.settle().await?;
        let asks: Vec<_> =
            ids.iter().map(|id| request("GET", &format!("/v1/status/{id}"), TOKEN, "")).collect();
        let hello = Hello::start()?;
        let said = request("GET", "/", TOKEN, "");
        let (mut of_status, mut of_hello, mut latencies) =
            (Rates::default(), Rates::default(), String::new());
        let bad = AtomicUsize::new(0);
        for round in 0..=rounds {
            let status =
                flat_out(server.address, CONNECTIONS, REQUESTS, |n| asks[n % asks.len()].clone()).await?;
            let hello = flat_out(hello.address, CONNECTIONS, REQUESTS, |_| said.clone()).await?;
            let wrong =
                status.answers.iter().chain(&hello.answers).filter(|answer| answer.status != 200).count();
            bad.fetch_add(wrong, Ordering::Relaxed);
            // The first round warms both up.
            if round > 0 {
                of_status.add(status.rate());
                of_hello.add(hello.rate());
                latencies = percentiles(&status.latencies);
            }
        }
        Ok(vec![
            format!(
                "  {rounds} rounds of {REQUESTS} requests over {CONNECTIONS} connections, {DEPLOYMENTS} live (entry 0.4, goal 0.7)"
            ),
            format!(
                "  status {of_status} | hello {of_hello} | ratio {:.3}",
                of_status.median() / of_hello.median()
            ),
            format!(
                "  status, last round: {latencies}; answers other than 200: {}",
                bad.load(Ordering::Relaxed)
            ),
        ])
    })
}
