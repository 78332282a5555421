//! The PostgreSQL executor: a pool of connections, prepared statements kept per connection, group commit, deadlocks
//! and serialization failures tried again.
//!
//! TLS: as `sslmode` in the URL says (`disable`, `prefer`, `require`). Where TLS is spoken, the server's certificate
//! is always checked, against `sslrootcert=FILE` of the URL if given, else against the system's authorities. Without
//! `sslmode`, TLS is not asked for on loopback and sockets, and preferred elsewhere.

mod group;

use std::error::Error as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::StoreError;
use crate::sql::{Decode, Query, Row, Stmt, Value};

/// Connections at most.
const CONNECTIONS: usize = 16;
/// How long to wait for a free connection, or for a new one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a transaction is tried that others' locks or a lost connection stopped before its commit.
const TRIES: u32 = 6;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// An open PostgreSQL database.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Connections,
    group: group::Group,
}

impl Postgres {
    /// Makes the pool; connects when first used.
    pub(crate) fn new(url: &str) -> Result<Self, StoreError> {
        let connections = Connections::new(url)?;
        Ok(Self { group: group::Group::new(connections.clone()), connections })
    }

    /// A connection of the pool.
    pub(crate) async fn client(&self) -> Result<Client, StoreError> {
        self.connections.client().await
    }

    /// Runs the statements in one transaction, perhaps together with those of others; durable when it returns.
    pub(crate) async fn commit(&self, stmts: Vec<Stmt>) -> Result<(), StoreError> {
        self.group.commit(stmts).await
    }

    /// Answers a question; asks again once if the connection turns out to be dead.
    pub(crate) async fn query<T>(&self, query: &Query, decode: Decode<T>) -> Result<Vec<T>, StoreError> {
        let rows = match self.connections.rows(query).await {
            Err(StoreError::Unavailable(_)) => self.connections.rows(query).await?,
            rows => rows?,
        };
        rows.iter().map(|row| decode(&values(row)?)).collect()
    }

    /// Closes the pool.
    pub(crate) fn close(&self) {
        self.connections.pool.close();
    }
}

/// The pool and what is done on one connection of it. Clones share it.
#[derive(Clone, Debug)]
struct Connections {
    pool: Pool,
}

impl Connections {
    fn new(url: &str) -> Result<Self, StoreError> {
        let (config, roots) = parse(url)?;
        let tls = tls(roots.as_deref())?;
        let manager =
            Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .recycle_timeout(Some(PATIENCE))
            .build()
            .map_err(|e| StoreError::Internal(e.to_string()))?;
        Ok(Self { pool })
    }

    async fn client(&self) -> Result<Client, StoreError> {
        self.pool.get().await.map_err(|e| StoreError::Unavailable(chain(&e)))
    }

    /// Runs the statements in one transaction; durable when it returns.
    async fn commit(&self, stmts: &[&Stmt]) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            match self.try_commit(stmts).await {
                Ok(()) => return Ok(()),
                Err(Refused::Final(error)) => return Err(error),
                Err(Refused::Again(error)) if tries == TRIES => return Err(error),
                Err(Refused::Again(_)) => tokio::time::sleep(Duration::from_millis(1 << tries)).await,
            }
            tries += 1;
        }
    }

    async fn try_commit(&self, stmts: &[&Stmt]) -> Result<(), Refused> {
        let mut client = self.client().await?;
        let before = |e| Refused::before_commit(&e);
        let transaction = client.transaction().await.map_err(before)?;
        let mut prepared = Vec::with_capacity(stmts.len());
        for stmt in stmts {
            prepared.push(transaction.prepare_cached(&stmt.sql).await.map_err(before)?);
        }
        // All are sent before the first answer is awaited (the server runs them in this order), so that row locks
        // are held for one round trip and not for one a statement.
        let runs = stmts.iter().zip(&prepared).map(|(stmt, p)| transaction.execute_raw(p, &stmt.args));
        let results = futures_util::future::join_all(runs).await;
        for (stmt, result) in stmts.iter().zip(results) {
            check(stmt, result)?;
        }
        transaction.commit().await.map_err(|e| Refused::at_commit(&e))
    }

    async fn rows(&self, query: &Query) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let client = self.client().await?;
        let failed = |e| failure(&e);
        let statement = if query.is_fixed() {
            client.prepare_cached(&query.sql).await.map_err(failed)?
        } else {
            client.prepare(&query.sql).await.map_err(failed)?
        };
        let args: Vec<_> = query.args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect();
        client.query(&statement, &args).await.map_err(failed)
    }
}

/// Why a try failed.
enum Refused {
    /// Nothing was written, and the next try may succeed.
    Again(StoreError),
    /// Trying again is useless or unsafe.
    Final(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

impl Refused {
    /// Before the commit was sent, nothing can have been written.
    fn before_commit(error: &tokio_postgres::Error) -> Self {
        let again = match error.code() {
            Some(code) => is_rivalry(code) || is_shutdown(code),
            None => is_lost(error),
        };
        if again { Self::Again(StoreError::Unavailable(chain(error))) } else { Self::Final(failure(error)) }
    }

    /// After the commit was sent, only an answer of the server tells what happened.
    fn at_commit(error: &tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if is_rivalry(code) => Self::Again(StoreError::Unavailable(chain(error))),
            Some(code) if !is_shutdown(code) => Self::Final(failure(error)),
            _ => Self::Final(StoreError::OutcomeUnknown),
        }
    }
}

/// What the answer to a statement means. The first that is refused tells why; the server answers to those after it
/// only that the transaction is over.
fn check(stmt: &Stmt, result: Result<u64, tokio_postgres::Error>) -> Result<(), Refused> {
    let error = match result {
        Ok(0) => return stmt.refused.clone().map_or(Ok(()), |c| Err(Refused::Final(c.into()))),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let conflict = match error.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => &stmt.refused,
        Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => &stmt.dangling,
        _ => &None,
    };
    Err(conflict.clone().map_or_else(|| Refused::before_commit(&error), |c| Refused::Final(c.into())))
}

/// Another transaction was in the way.
fn is_rivalry(code: &SqlState) -> bool {
    *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
}

/// The server ended the session, perhaps while it was doing what it was asked.
fn is_shutdown(code: &SqlState) -> bool {
    code.code().starts_with("57P")
}

/// The connection broke. Errors without a code that are not this are mistakes of ours.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

/// What an error of PostgreSQL means to callers.
pub(crate) fn failure(error: &tokio_postgres::Error) -> StoreError {
    let text = chain(error);
    match error.code().map(SqlState::code) {
        None if is_lost(error) => StoreError::Unavailable(text),
        // Connection (08), resources (53), operator (57), disk (58), a standby after a failover (25006).
        Some("25006") => StoreError::Unavailable(text),
        Some(code) if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(text)
        }
        Some("XX001" | "XX002") => StoreError::Corrupt(text),
        _ => StoreError::Internal(text),
    }
}

/// An error with its causes: tokio-postgres prints only "db error" by itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Reads the URL, and takes `sslrootcert` out of it, which tokio-postgres does not know.
fn parse(url: &str) -> Result<(tokio_postgres::Config, Option<String>), StoreError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (roots, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("sslrootcert="));
    let mut config = tokio_postgres::Config::from_str(&format!("{base}?{}", rest.join("&")))
        .map_err(|e| StoreError::Internal(format!("the PostgreSQL URL cannot be read: {}", chain(&e))))?;
    if !rest.iter().any(|part| part.starts_with("sslmode=")) && config.get_hosts().iter().all(is_local) {
        config.ssl_mode(SslMode::Disable);
    }
    config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE * 2).keepalives_idle(Duration::from_secs(30));
    if config.get_application_name().is_none() {
        config.application_name("spawnpoint");
    }
    Ok((config, roots.first().and_then(|part| part.split_once('=')).map(|(_, path)| path.to_owned())))
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn tls(roots: Option<&str>) -> Result<MakeRustlsConnect, StoreError> {
    let mut store = rustls::RootCertStore::empty();
    if let Some(path) = roots {
        let wrong = |e: &dyn std::fmt::Display| StoreError::Internal(format!("sslrootcert {path}: {e}"));
        for certificate in CertificateDer::pem_file_iter(Path::new(path)).map_err(|e| wrong(&e))? {
            store.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
        }
    } else {
        // A machine without authorities can still speak without TLS; with it, the check fails with a clear error.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Internal(format!("TLS: {e}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn values(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let column = |i| row.try_get::<_, Value>(i).map_err(|e| StoreError::Corrupt(chain(&e)));
    (0..row.len()).map(column).collect::<Result<_, _>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(i) if *ty == Type::INT8 => i.to_sql(ty, out),
            Self::Text(text) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            Self::Blob(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            Self::Int(_) | Self::Text(_) | Self::Blob(_) => {
                Err(format!("a parameter is of type {ty}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Int),
            Type::INT4 => i32::from_sql(ty, raw).map(|i| Self::Int(i.into())),
            Type::BYTEA => Ok(Self::Blob(raw.to_vec())),
            _ => String::from_sql(ty, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::INT4 | Type::BYTEA) || <String as FromSql>::accepts(ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_left_out_on_loopback_only_unless_the_url_says_otherwise() {
        let mode = |url: &str| parse(url).unwrap().0.get_ssl_mode();
        assert_eq!(mode("postgres://u@127.0.0.1/x"), SslMode::Disable);
        assert_eq!(mode("postgres://u@localhost/x"), SslMode::Disable);
        assert_eq!(mode("postgres://u@localhost/x?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://u@db.example.com/x"), SslMode::Prefer);
        assert_eq!(mode("postgres://u@db.example.com/x?sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn the_root_certificate_is_taken_from_the_url() {
        let (config, roots) = parse("postgres://u@db/x?sslrootcert=/etc/ca.pem&sslmode=require").unwrap();
        assert_eq!(roots.as_deref(), Some("/etc/ca.pem"));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert!(tls(Some("/does/not/exist.pem")).err().unwrap().to_string().contains("/does/not/exist.pem"));
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_its_password() {
        let error = parse("postgres://u:hunter2@host:notaport/x").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
