//! Paired benchmarks: each measures Spawnpoint and a baseline in turn, in one run, and prints medians with their
//! spread and the ratio. Only ratios within one run mean anything on a shared machine.
//!
//! Entry point: `cargo run --release -p spawnpoint-benches -- <name> [rounds]`. One benchmark = one module with a
//! `run(rounds)` that returns the lines of its report.

mod paired;
mod placement;

use std::process::ExitCode;

/// A benchmark: its name, what it compares, its function from rounds to the report, its default rounds.
type Benchmark = (&'static str, &'static str, fn(usize) -> Vec<String>, usize);

const BENCHMARKS: [Benchmark; 1] =
    [("placement", "choosing a host, against a naive haversine scan", placement::run, 51)];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let rounds = arguments.next().map(|text| text.parse::<usize>());
    let found = BENCHMARKS.iter().find(|(name, ..)| *name == wanted);
    let (Some((name, about, run, default)), None | Some(Ok(1..))) = (found, &rounds) else {
        eprintln!("usage: spawnpoint-benches <name> [rounds]");
        for (name, about, _, default) in BENCHMARKS {
            eprintln!("  {name:<12} {about} ({default} rounds)");
        }
        return ExitCode::from(2);
    };
    println!("{name}: {about}");
    for line in run(rounds.and_then(Result::ok).unwrap_or(*default)) {
        println!("{line}");
    }
    ExitCode::SUCCESS
}
