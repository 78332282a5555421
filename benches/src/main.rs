//! Paired benchmarks: each measures Spawnpoint and a baseline in turn, in one run, and prints medians with their
//! spread and the ratio. Only ratios within one run mean anything on a shared machine.
//!
//! Entry point: `cargo run --release -p spawnpoint-benches -- <name> [rounds]`. One benchmark = one module with a
//! `run(rounds)` that returns the lines of its report. All but `placement` talk to the real binary, as a process of its
//! own, over HTTP: `cargo build --release -p spawnpoint` first.

mod accept;
mod burst;
mod docker;
mod embedded;
mod growth;
mod hello;
mod http;
mod idle;
mod load;
mod memory;
mod metrics;
mod paired;
mod placement;
mod ports;
mod rate;
mod raw;
mod runtimes;
mod server;
mod status;

use std::process::ExitCode;

/// Why a benchmark could not be run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The lines of a report.
pub type Report = Result<Vec<String>, Failure>;

/// A benchmark: its name, what it compares, its function from rounds to the report, its default rounds.
type Benchmark = (&'static str, &'static str, fn(usize) -> Report, usize);

const BENCHMARKS: [Benchmark; 13] = [
    ("placement", "choosing a host, against a naive haversine scan", |rounds| Ok(placement::run(rounds)), 51),
    ("docker", "deploy request to first UDP answer, against the bare Engine API", docker::run, 25),
    ("embedded", "the embedded runtime, against a Docker engine doing the same", embedded::run, 25),
    (
        "runtimes",
        "the embedded runtime, against bare runc and crun in a network that is ready",
        runtimes::run,
        25,
    ),
    ("ports", "leading a port to a workload, with 100 and with 5 000 that are led already", ports::run, 101),
    ("idle", "memory of the host for an idle deployment, against a Docker container", idle::run, 5),
    ("rate", "40 deployments a second on the embedded runtime for a minute, nothing left", rate::run, 1),
    (
        "accept",
        "accepted deployments a second, against raw inserts into the same kind of database",
        accept::run,
        5,
    ),
    ("status", "GET status a second, against an axum that says hello", status::run, 7),
    ("growth", "time per call as live deployments grow from 100 to 10 000", growth::run, 201),
    ("memory", "resident memory of 100 000 live deployments, against their serialized bytes", memory::run, 1),
    (
        "metrics",
        "sampling a hundred idle containers, against asking the engine for the same",
        metrics::run,
        3,
    ),
    ("burst", "400 deploys in a second, then kill -9; 10 000 live, then kill -9", burst::run, 3),
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let own_process = match wanted.as_str() {
        hello::COMMAND => Some(hello::serve()),
        runtimes::COMMAND => Some(runtimes::launch(&rest)),
        _ => None,
    };
    if let Some(ended) = own_process {
        return if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let rounds = rest.first().map(|text| text.parse::<usize>());
    let found = BENCHMARKS.iter().find(|(name, ..)| *name == wanted);
    let (Some((name, about, run, default)), None | Some(Ok(1..))) = (found, &rounds) else {
        eprintln!("usage: spawnpoint-benches <name> [rounds]");
        for (name, about, _, default) in BENCHMARKS {
            eprintln!("  {name:<12} {about} ({default} rounds)");
        }
        return ExitCode::from(2);
    };
    println!("{name}: {about}");
    println!("  machine at the start: {}", server::machine());
    let report = run(rounds.and_then(Result::ok).unwrap_or(*default));
    match report {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            println!("  machine at the end: {}", server::machine());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{name} could not be measured: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a benchmark's requests: all of them on this one thread, so that they leave the other cores to the server.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
