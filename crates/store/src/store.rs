//! The store itself: opening, committing, asking. What is asked stands in the file of the table.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::{InstallationId, Timestamp};

use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::migrate::{self, Migrated};
use crate::postgres::Postgres;
use crate::sql::{Decode, Query, Value};
use crate::sqlite::{self, Mode, Sqlite};
use crate::tx::Tx;

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A URL, with its password.
    Postgres(String),
}

impl FromStr for Database {
    type Err = StoreError;

    /// `postgres://…`, `postgresql://…`, `sqlite:PATH` or a path.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            let problem = "the store's URL must be postgres://…, postgresql://… or sqlite:PATH";
            return Err(StoreError::Internal(problem.into()));
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    installation: InstallationId,
    writable: bool,
}

#[derive(Debug)]
enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens a database for reading and writing: takes the lock (SQLite), brings the schema up to date, makes the
    /// installation's id if there is none. `now` is written next to the migrations that are run.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerSchema`], or the database cannot be reached or read.
    pub async fn open(database: &Database, now: Timestamp) -> Result<Self, StoreError> {
        let backend = match database.clone() {
            Database::Sqlite(path) => {
                let open = move || Sqlite::open(&path, |c| migrate::migrate_sqlite(c, now).map(drop));
                Backend::Sqlite(blocking(open).await?)
            }
            Database::Postgres(url) => {
                let postgres = Postgres::new(&url)?;
                migrate::migrate_postgres(&mut *postgres.client().await?, now).await?;
                Backend::Postgres(postgres)
            }
        };
        Self::with_installation(backend, true).await
    }

    /// Opens a database for looking only, whether or not another process works on it. Takes no lock, migrates
    /// nothing; commits are refused.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::OlderSchema`], or the database cannot be reached or read.
    pub async fn open_read_only(database: &Database) -> Result<Self, StoreError> {
        let backend = match database.clone() {
            Database::Sqlite(path) => {
                let check = |c: &rusqlite::Connection| migrate::check_exact(migrate::sqlite_version(c)?);
                Backend::Sqlite(blocking(move || Sqlite::open_read_only(&path, check)).await?)
            }
            Database::Postgres(url) => {
                let postgres = Postgres::new(&url)?;
                migrate::check_exact(migrate::postgres_version(&*postgres.client().await?).await?)?;
                Backend::Postgres(postgres)
            }
        };
        Self::with_installation(backend, false).await
    }

    /// Brings a database's schema up to date and closes it again.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(database: &Database, now: Timestamp) -> Result<Migrated, StoreError> {
        let from = Self::schema_version(database).await?;
        Self::open(database, now).await?.close().await;
        Ok(Migrated { from, to: migrate::latest() })
    }

    /// The version of a database's schema, 0 if it is empty or does not exist. Changes nothing.
    ///
    /// # Errors
    /// The database cannot be reached or read.
    pub async fn schema_version(database: &Database) -> Result<i64, StoreError> {
        match database.clone() {
            Database::Sqlite(path) if !path.exists() => Ok(0),
            Database::Sqlite(path) => {
                blocking(move || migrate::sqlite_version(&sqlite::connect(&path, Mode::Read)?)).await
            }
            Database::Postgres(url) => {
                let postgres = Postgres::new(&url)?;
                migrate::postgres_version(&*postgres.client().await?).await
            }
        }
    }

    /// The newest schema version this binary knows.
    #[must_use]
    pub const fn latest_schema_version() -> i64 {
        migrate::latest()
    }

    async fn with_installation(backend: Backend, writable: bool) -> Result<Self, StoreError> {
        let mut store = Self { inner: Arc::new(Inner { backend, installation: "".into(), writable }) };
        let installation = store.find_or_make_installation().await?;
        let inner = Arc::get_mut(&mut store.inner)
            .ok_or_else(|| StoreError::Internal("the store was shared before it was open".into()))?;
        inner.installation = installation;
        Ok(store)
    }

    /// Whether it may change rows.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.inner.writable
    }

    /// The installation's id, made with the database.
    #[must_use]
    pub fn installation(&self) -> &InstallationId {
        &self.inner.installation
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match &self.inner.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Carries out a transaction: atomic, and durable when this returns `Ok`. If the returned future is dropped, the
    /// transaction may or may not happen.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] and [`StoreError::Unavailable`]: nothing was written.
    /// [`StoreError::OutcomeUnknown`]: read again to know.
    pub async fn commit(&self, tx: Tx) -> Result<(), StoreError> {
        let stmts = tx.into_stmts()?;
        if stmts.is_empty() {
            return Ok(());
        }
        if !self.inner.writable {
            return Err(StoreError::Internal("the store was opened for reading only".into()));
        }
        match &self.inner.backend {
            Backend::Sqlite(sqlite) => sqlite.commit(stmts).await,
            Backend::Postgres(postgres) => postgres.commit(stmts).await,
        }
    }

    /// Writes what is queued and closes the database; later calls fail. Dropping the last clone does the same, but
    /// blocks its thread meanwhile.
    pub async fn close(self) {
        let close = move || {
            match &self.inner.backend {
                Backend::Sqlite(sqlite) => sqlite.close(),
                Backend::Postgres(postgres) => postgres.close(),
            }
            Ok(())
        };
        if let Err(error) = blocking(close).await {
            tracing::warn!(%error, "the store was not closed in order");
        }
    }

    /// All rows of an answer.
    pub(crate) async fn all<T: Send + 'static>(
        &self,
        query: Query,
        decode: Decode<T>,
    ) -> Result<Vec<T>, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite(sqlite) => sqlite.query(query, decode).await,
            Backend::Postgres(postgres) => postgres.query(&query, decode).await,
        }
    }

    /// The first row of an answer.
    pub(crate) async fn first<T: Send + 'static>(
        &self,
        query: Query,
        decode: Decode<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(query, decode).await?.into_iter().next())
    }

    /// The number that an answer consists of.
    pub(crate) async fn count(&self, query: Query) -> Result<u64, StoreError> {
        Ok(self.first(query, |row| row.number(0)).await?.unwrap_or(0))
    }

    /// One page: `total` counts, `items` gets the page's limit and offset as its last two parameters.
    pub(crate) async fn page<T: Send + 'static>(
        &self,
        total: Query,
        mut items: Query,
        page: Page,
        decode: Decode<T>,
    ) -> Result<Paged<T>, StoreError> {
        let total = self.count(total).await?;
        let skipped = i64::from(page.number.saturating_sub(1)) * i64::from(page.limit);
        items.args.extend([Value::from(page.limit), Value::from(skipped)]);
        Ok(Paged { items: self.all(items, decode).await?, total, page })
    }
}

/// Runs what blocks away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StoreError::Internal(format!("cut short: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_url_or_path() {
        let file = |path: &str| Database::Sqlite(path.into());
        assert_eq!("sqlite:data/a.db".parse(), Ok(file("data/a.db")));
        assert_eq!("sqlite:///var/a.db".parse(), Ok(file("/var/a.db")));
        assert_eq!("/var/a.db".parse(), Ok(file("/var/a.db")));
        let url = "postgres://u:p@h/d";
        assert_eq!(url.parse(), Ok(Database::Postgres(url.into())));
        assert!("mysql://h/d".parse::<Database>().is_err());
        assert!("".parse::<Database>().is_err());
    }

    #[test]
    fn a_database_can_be_printed_without_its_password() {
        assert!(!format!("{:?}", Database::Postgres("postgres://u:hunter2@h/d".into())).contains("hunter2"));
    }
}
