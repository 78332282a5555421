//! Brings a database to the schema this binary knows: numbered files, the same numbers and names for both databases,
//! each recorded in `schema_migrations`. A newer database is refused; an interrupted migration leaves nothing and is
//! simply run again.
//!
//! Rule for later files: first expand, contract one release later, so that the previous binary can still run.

use rusqlite::Connection;
use spawnpoint_model::Timestamp;

use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::sql::{Query, args};
use crate::{postgres, sqlite};

/// One step of the schema.
#[derive(Debug)]
pub struct Migration {
    /// Counts from 1 without gaps.
    pub version: i64,
    /// What it does, as in its file's name.
    pub name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    /// The file's text for one of the databases.
    #[must_use]
    pub const fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A migration by its number and name: the same file name in both folders.
macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../migrations/postgres/", $file)),
        }
    };
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    migration!(1, "init", "0001_init.sql"),
    migration!(2, "metrics", "0002_metrics.sql"),
    migration!(3, "logs", "0003_logs.sql"),
    migration!(4, "storages", "0004_storages.sql"),
    migration!(5, "telemetry", "0005_telemetry.sql"),
    migration!(6, "host_settings", "0006_host_settings.sql"),
    migration!(7, "sessions_and_fleets", "0007_sessions_and_fleets.sql"),
    migration!(8, "access_lists", "0008_access_lists.sql"),
    migration!(9, "added_hosts", "0009_added_hosts.sql"),
    migration!(10, "acme", "0010_acme.sql"),
];

/// The schema version this binary works with.
#[must_use]
pub const fn latest() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].version
}

/// What a migration run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 = empty.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

const TABLE: &str = "create table if not exists schema_migrations \
                     (version bigint primary key, name text not null, applied_at bigint not null)";
const VERSION: &str = "select coalesce(max(version), 0) from schema_migrations";
const RECORD: &str = "insert into schema_migrations (version, name, applied_at) values ($1, $2, $3)";
/// Two control planes that start at once migrate one after the other. The number is ours alone: "spawnpnt".
const ADVISORY_LOCK: &str = "select pg_advisory_xact_lock(8318818590294700660)";

/// Refuses a database from the future.
fn check(found: i64) -> Result<i64, StoreError> {
    let known = latest();
    if found > known { Err(StoreError::NewerSchema { found, known }) } else { Ok(found) }
}

/// Refuses a database that is not exactly at this binary's version: for reading only.
pub(crate) fn check_exact(found: i64) -> Result<(), StoreError> {
    let known = latest();
    if check(found)? < known { Err(StoreError::OlderSchema { found, known }) } else { Ok(()) }
}

/// The version of an SQLite database; 0 = empty.
pub(crate) fn sqlite_version(connection: &Connection) -> Result<i64, StoreError> {
    let exists = "select count(*) from sqlite_schema where name = 'schema_migrations'";
    if ask_number(connection, exists)? == 0 { Ok(0) } else { ask_number(connection, VERSION) }
}

fn ask_number(connection: &Connection, sql: &'static str) -> Result<i64, StoreError> {
    let rows = sqlite::ask(connection, &Query::new(sql, vec![]), |row| row.int(0))?;
    Ok(rows.first().copied().unwrap_or(0))
}

/// Migrates an SQLite database, each step in its own transaction.
pub(crate) fn migrate_sqlite(connection: &mut Connection, now: Timestamp) -> Result<Migrated, StoreError> {
    let from = check(sqlite_version(connection)?)?;
    let failed = |e| sqlite::failure(&e);
    for migration in MIGRATIONS.iter().filter(|m| m.version > from) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(TABLE).map_err(failed)?;
        transaction.execute_batch(migration.text(Dialect::Sqlite)).map_err(failed)?;
        let row = args![migration.version, migration.name, now];
        transaction.execute(RECORD, rusqlite::params_from_iter(row)).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(Migrated { from, to: latest() })
}

/// The version of a PostgreSQL database; 0 = empty.
pub(crate) async fn postgres_version(client: &tokio_postgres::Client) -> Result<i64, StoreError> {
    let exists = "select count(*) from pg_class where oid = to_regclass('schema_migrations')";
    let failed = |e| postgres::failure(&e);
    let found: i64 = client.query_one(exists, &[]).await.map_err(failed)?.get(0);
    if found == 0 {
        return Ok(0);
    }
    Ok(client.query_one(VERSION, &[]).await.map_err(failed)?.get(0))
}

/// Migrates a PostgreSQL database, all steps in one transaction.
pub(crate) async fn migrate_postgres(
    client: &mut tokio_postgres::Client,
    now: Timestamp,
) -> Result<Migrated, StoreError> {
    let failed = |e| postgres::failure(&e);
    check(postgres_version(client).await?)?;
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(ADVISORY_LOCK).await.map_err(failed)?;
    transaction.batch_execute(TABLE).await.map_err(failed)?;
    let from: i64 = transaction.query_one(VERSION, &[]).await.map_err(failed)?.get(0);
    check(from)?;
    for migration in MIGRATIONS.iter().filter(|m| m.version > from) {
        transaction.batch_execute(migration.text(Dialect::Postgres)).await.map_err(failed)?;
        let row = [
            &migration.version as &(dyn tokio_postgres::types::ToSql + Sync),
            &migration.name,
            &now.micros(),
        ];
        transaction.execute(RECORD, &row).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Migrated { from, to: latest() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dialect: Dialect) -> Vec<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dialect.name());
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn both_databases_have_the_same_migrations_and_all_are_embedded_in_order() {
        let expected: Vec<_> =
            MIGRATIONS.iter().map(|m| format!("{:04}_{}.sql", m.version, m.name)).collect();
        assert_eq!(files(Dialect::Sqlite), expected);
        assert_eq!(files(Dialect::Postgres), expected);
        for (i, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i64::try_from(i).unwrap() + 1);
        }
    }

    #[test]
    fn both_databases_have_the_same_tables_and_columns() {
        let shape = |dialect: Dialect| {
            let text: String = MIGRATIONS.iter().map(|m| m.text(dialect)).collect();
            let named = |l: &&str| l.starts_with(|c: char| c.is_ascii_lowercase());
            let words =
                |l: &str| if l.starts_with("create ") { 3 } else { 1 }.min(l.split_whitespace().count());
            let name = |l: &str| l.split_whitespace().take(words(l)).collect::<Vec<_>>().join(" ");
            text.lines().map(str::trim).filter(named).map(name).collect::<Vec<_>>()
        };
        assert_eq!(shape(Dialect::Sqlite), shape(Dialect::Postgres));
    }
}
