//! The baselines of everything that is stored: the least that could be written for a deployment, straight into the
//! database. A row is a 12-digit key, a body of 600 bytes and an indexed time.

use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use rusqlite::{Connection, params};
use tokio::time::Instant;

use crate::Failure;
use crate::paired::Samples;

const BODY_BYTES: usize = 600;

/// Spreads numbers as random ids are spread.
fn key(number: usize) -> String {
    format!("{:012x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
}

/// How SQLite keeps the rows.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// In the order in which they come, with an index over the keys: as our own tables are.
    Appended,
    /// In the order of their random keys: every row goes to a page of its own.
    ByKey,
}

/// Rows a second that a fresh SQLite file in `directory` takes in groups of `group`, synchronous FULL; and the time of
/// each commit.
pub fn sqlite(
    directory: &Path,
    layout: Layout,
    rows: usize,
    group: usize,
) -> Result<(f64, Samples), Failure> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut connection = Connection::open(directory.path().join("raw.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    let options = match layout {
        Layout::Appended => "strict",
        Layout::ByKey => "strict, without rowid",
    };
    connection.execute_batch(&format!(
        "create table rows (id text not null primary key, body text not null, at integer not null) {options};
         create index rows_by_time on rows (at);",
    ))?;
    let body = "x".repeat(BODY_BYTES);
    let mut commits = Samples::default();
    let start = Instant::now();
    for first in (0..rows).step_by(group) {
        let begun = Instant::now();
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("insert into rows values ($1, $2, $3)")?;
            for number in first..(first + group).min(rows) {
                insert.execute(params![key(number), body, number as i64])?;
            }
        }
        transaction.commit()?;
        commits.add(begun.elapsed());
    }
    Ok((rows as f64 / start.elapsed().as_secs_f64(), commits))
}

/// Rows a second that PostgreSQL takes from `clients` clients, each row a transaction.
pub async fn postgres(url: &str, rows: usize, clients: usize) -> Result<f64, Failure> {
    let setup = connect(url).await?;
    setup
        .batch_execute(
            "drop table if exists raw_rows;
             create table raw_rows (id text not null primary key, body text not null, at bigint not null);
             create index raw_rows_by_time on raw_rows (at);",
        )
        .await?;
    let body = "x".repeat(BODY_BYTES);
    let open = try_join_all((0..clients).map(|_| connect(url))).await?;
    let next = std::cell::Cell::new(0);
    let (next, body) = (&next, &body);
    let start = Instant::now();
    let each = open.into_iter().map(|client| async move {
        let insert = client.prepare("insert into raw_rows values ($1, $2, $3)").await?;
        loop {
            let number = next.get();
            if number >= rows {
                return Ok::<_, Failure>(());
            }
            next.set(number + 1);
            client.execute(&insert, &[&key(number), body, &(number as i64)]).await?;
        }
    });
    try_join_all(each).await?;
    let took: Duration = start.elapsed();
    setup.batch_execute("drop table raw_rows").await?;
    Ok(rows as f64 / took.as_secs_f64())
}

/// A connection that is driven by a task of its own.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
