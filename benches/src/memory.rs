//! By how much the server's resident memory grows when 100 000 deployments become live on fake hosts (whose workloads
//! it holds as well), against what the same deployments take as JSON in the database.

use rusqlite::{Connection, OpenFlags};

use crate::load::flat_out;
use crate::server::{Server, deploy};
use crate::{Report, block_on};

const CONNECTIONS: usize = 64;
const WARM_UP: usize = 1_000;
const LIVE: usize = 100_000;

/// Measures it; each round takes a minute or so.
pub fn run(rounds: usize) -> Report {
    let mut report = Vec::new();
    for _ in 0..rounds {
        report.push(block_on(measure())?);
    }
    Ok(report)
}

async fn measure() -> Result<String, crate::Failure> {
    let server = Server::on_fake_hosts().await?;
    server.describe_game("fake", "game", "ok").await?;
    flat_out(server.address, CONNECTIONS, WARM_UP, deploy).await?.deployed()?;
    server.settle().await?;
    let before = server.resident_bytes()?;
    let load = flat_out(server.address, CONNECTIONS, LIVE, deploy).await?;
    load.deployed()?;
    server.settle().await?;
    let grown = server.resident_bytes()?.saturating_sub(before) as f64;
    let database = Connection::open_with_flags(server.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let (ready, bytes): (i64, i64) = database.query_row(
        "select count(*), sum(length(spec) + length(state)) from deployments where phase = 'ready'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let serialized = bytes as f64 * LIVE as f64 / ready as f64;
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    Ok(format!(
        "  {ready} ready; grown by {:.0} MiB for {LIVE}, serialized {:.0} MiB ({:.0} bytes each) | ratio {:.2} (entry 5 and 400 MiB, goal 2 and 150 MiB) | accepted {:.0}/s",
        mib(grown),
        mib(serialized),
        bytes as f64 / ready as f64,
        grown / serialized,
        load.rate(),
    ))
}
