//! A database that one test has to itself: a file, or a schema of a PostgreSQL server.

use std::path::Path;

use spawnpoint_store::Database;
use tempfile::TempDir;

/// Holds the URL of the server that tests on PostgreSQL use.
const POSTGRES: &str = "SPAWNPOINT_TEST_POSTGRES";

/// A database of a test's own, and a directory for its other files.
#[derive(Debug)]
pub struct Scratch {
    /// Where the store opens it.
    pub database: Database,
    schema: Option<(String, String)>,
    directory: TempDir,
}

impl Scratch {
    /// A new file of SQLite.
    ///
    /// # Panics
    /// There is no directory for temporary files.
    #[must_use]
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(directory.path().join("spawnpoint.db"));
        Self { database, schema: None, directory }
    }

    /// A new schema of the PostgreSQL server that `SPAWNPOINT_TEST_POSTGRES` names, whose connections bear the schema's name.
    /// Nothing, and a line that says so, if it names none.
    ///
    /// # Panics
    /// The server refuses.
    #[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
    pub async fn postgres() -> Option<Self> {
        let Ok(url) = std::env::var(POSTGRES) else {
            eprintln!("skipped: {POSTGRES} holds no URL of a PostgreSQL server");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let random = directory.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let schema = format!("test_{}", random.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        execute(&url, &format!("create schema {schema}")).await;
        let separator = if url.contains('?') { '&' } else { '?' };
        let scoped = format!("{url}{separator}options=-c%20search_path%3D{schema}&application_name={schema}");
        Some(Self { database: Database::Postgres(scoped), schema: Some((url, schema)), directory })
    }

    /// Of PostgreSQL: the server's URL and the schema made for this test.
    #[must_use]
    pub fn schema(&self) -> Option<(&str, &str)> {
        self.schema.as_ref().map(|(url, schema)| (url.as_str(), schema.as_str()))
    }

    /// For the test's other files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it. What is open on it must be closed first.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn remove(self) {
        if let Some((url, schema)) = &self.schema {
            execute(url, &format!("drop schema {schema} cascade")).await;
        }
    }
}

/// Runs SQL on a connection of its own.
///
/// # Panics
/// The server refuses.
pub async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
