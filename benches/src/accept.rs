//! Durable deployments accepted a second: `POST /v2/deployments` over 64 connections until the last 202, while the
//! server also runs what it accepted (fake driver), against the least that could be stored for each.
//!
//! With `SPAWNPOINT_TEST_POSTGRES` the same on PostgreSQL, against single-row inserts of 32 clients.

use crate::hello::Hello;
use crate::http::request;
use crate::load::{flat_out, paced};
use crate::paired::{Rates, Samples};
use crate::raw::Layout;
use crate::server::{Server, deploy, percentiles, scratch};
use crate::{Report, block_on, raw, server};

const CONNECTIONS: usize = 64;
const DEPLOYS: usize = 10_000;
/// Rows of the baseline: enough that the tables outgrow the cache and the log is checkpointed, as in a long run.
const ROWS: usize = 100_000;
const WARM_UP: usize = 500;
/// Rows of the baseline in one transaction.
const GROUP: usize = 100;
const POSTGRES_CLIENTS: usize = 32;

/// Measures all of it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let mut report = on_sqlite(rounds).await?;
        match std::env::var("SPAWNPOINT_TEST_POSTGRES") {
            Ok(url) => report.extend(on_postgres(&url, rounds).await?),
            Err(_) => report.push("  PostgreSQL: skipped, SPAWNPOINT_TEST_POSTGRES names none".to_owned()),
        }
        Ok(report)
    })
}

async fn on_sqlite(rounds: usize) -> Report {
    let (mut accepted, mut by_key, mut appended) = (Rates::default(), Rates::default(), Rates::default());
    let (mut work, mut latencies) = (Samples::default(), String::new());
    for _ in 0..rounds {
        let server = Server::on_fake_hosts().await?;
        server.describe_game("fake", "game", "ok").await?;
        flat_out(server.address, CONNECTIONS, WARM_UP, deploy).await?.deployed()?;
        server.settle().await?;
        let before = server.cpu_time()?;
        let load = flat_out(server.address, CONNECTIONS, DEPLOYS, deploy).await?;
        load.deployed()?;
        accepted.add(load.rate());
        latencies = percentiles(&load.latencies);
        server.settle().await?;
        work.add((server.cpu_time()? - before) / u32::try_from(DEPLOYS)?);
        drop(server);
        by_key.add(raw::sqlite(&scratch()?, Layout::ByKey, ROWS, GROUP)?.0);
        appended.add(raw::sqlite(&scratch()?, Layout::Appended, ROWS, GROUP)?.0);
    }
    let ratio = |raw: &Rates| accepted.median() / raw.median();
    let mut report = vec![
        format!(
            "  SQLite, {rounds} rounds of {DEPLOYS} deploys over {CONNECTIONS} connections: {accepted} accepted"
        ),
        format!(
            "  raw rows in groups of {GROUP}, by random key: {by_key} | ratio {:.3} (entry 0.15, goal 0.35)",
            ratio(&by_key)
        ),
        format!("  raw rows in groups of {GROUP}, appended: {appended} | ratio {:.3}", ratio(&appended)),
        format!("  accept at full load, last round: {latencies}"),
        format!("  the server's processor time for one, until it is READY: {work}"),
    ];
    report.extend(at_half_load(accepted.median() / 2.0).await?);
    Ok(report)
}

/// Latency where it is not the load that makes one wait.
async fn at_half_load(rate: f64) -> Report {
    let server = Server::on_fake_hosts().await?;
    server.describe_game("fake", "game", "ok").await?;
    flat_out(server.address, CONNECTIONS, WARM_UP, deploy).await?.deployed()?;
    server.settle().await?;
    let load = paced(server.address, CONNECTIONS, DEPLOYS, rate, deploy).await?;
    load.deployed()?;
    drop(server);
    let (_, commits) = raw::sqlite(&scratch()?, Layout::Appended, DEPLOYS, 1)?;
    let hello = Hello::start()?;
    let said =
        paced(hello.address, CONNECTIONS, DEPLOYS, rate, |_| request("GET", "/", server::TOKEN, "")).await?;
    let baseline = commits.percentile(0.99) + said.latencies.percentile(0.99);
    let ratio = load.latencies.percentile(0.99).as_secs_f64() / baseline.as_secs_f64();
    Ok(vec![
        format!(
            "  accept at {rate:.0}/s, half of that (entry 10x, goal 3x): {}",
            percentiles(&load.latencies)
        ),
        format!("  single-row commit: {}", percentiles(&commits)),
        format!(
            "  hello at the same rate: {} | ratio of the p99 to the sum of both {ratio:.1}x",
            percentiles(&said.latencies)
        ),
    ])
}

async fn on_postgres(url: &str, rounds: usize) -> Report {
    const SCHEMA: &str = "spawnpoint_bench";
    let separator = if url.contains('?') { '&' } else { '?' };
    let scoped = format!("{url}{separator}options=-c%20search_path%3D{SCHEMA}");
    let admin = raw::connect(url).await?;
    let (mut accepted, mut inserted, mut latencies) = (Rates::default(), Rates::default(), String::new());
    for _ in 0..rounds {
        admin
            .batch_execute(&format!("drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}"))
            .await?;
        let server = Server::on_postgres(&scoped).await?;
        server.describe_game("fake", "game", "ok").await?;
        flat_out(server.address, CONNECTIONS, WARM_UP, deploy).await?.deployed()?;
        server.settle().await?;
        let load = flat_out(server.address, CONNECTIONS, DEPLOYS / 5, deploy).await?;
        load.deployed()?;
        accepted.add(load.rate());
        latencies = percentiles(&load.latencies);
        drop(server);
        inserted.add(raw::postgres(&scoped, DEPLOYS, POSTGRES_CLIENTS).await?);
    }
    admin.batch_execute(&format!("drop schema if exists {SCHEMA} cascade")).await?;
    Ok(vec![
        format!(
            "  PostgreSQL, {rounds} rounds of {} deploys over {CONNECTIONS} connections (entry 0.3, goal 0.6)",
            DEPLOYS / 5
        ),
        format!(
            "  accepted {accepted} | single rows, {POSTGRES_CLIENTS} clients {inserted} | ratio {:.3}",
            accepted.median() / inserted.median()
        ),
        format!("  accept, last round: {latencies}"),
    ])
}
