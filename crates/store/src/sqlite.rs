//! The SQLite executor: one process, one writer thread with group commit ([`writer`]), a few readers.
//!
//! The file is in WAL mode with `synchronous=FULL`: what was committed is on disk. Memory-mapped reads stay off on
//! purpose, since a failing disk would then end the process by a signal instead of giving an error.

pub mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, ffi};
use tokio::sync::Semaphore;

use crate::error::StoreError;
use crate::sql::{Decode, Query, Row, Stmt, Value};
use writer::Writer;

pub use writer::GROUP_MAX;

/// How long a statement waits for a lock that another process holds (a backup tool, the `sqlite3` shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reader connections. Reads are short and the machine's disk is one.
const READERS: usize = 4;
/// Prepared statements kept per connection: more than there are fixed texts.
const STATEMENTS_KEPT: usize = 160;

/// An open SQLite database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    readers: Arc<Readers>,
    writer: Option<Writer>,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Changes rows; makes the file if there is none.
    Write,
    /// Looks only; the file must exist.
    Read,
}

impl Sqlite {
    /// Takes the lock, opens the file, and lets `prepare` bring the schema up to date. Blocks.
    pub(crate) fn open(
        path: &Path,
        prepare: impl FnOnce(&mut Connection) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let mut connection = connect(path, Mode::Write)?;
        prepare(&mut connection)?;
        let writer = Writer::start(path.to_owned(), connection, lock)?;
        Ok(Self { readers: Arc::new(Readers::new(path)), writer: Some(writer) })
    }

    /// Opens the file for reading, whether or not another process writes it. Blocks.
    pub(crate) fn open_read_only(
        path: &Path,
        check: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let connection = connect(path, Mode::Read)?;
        check(&connection)?;
        let readers = Readers::new(path);
        readers.idle.lock().push(connection);
        Ok(Self { readers: Arc::new(readers), writer: None })
    }

    /// Gives the statements to the writer and waits until they are on disk.
    pub(crate) async fn commit(&self, stmts: Vec<Stmt>) -> Result<(), StoreError> {
        match &self.writer {
            Some(writer) => writer.commit(stmts).await,
            None => Err(StoreError::Internal("the store was opened for reading only".into())),
        }
    }

    /// Answers a question.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: Query,
        decode: Decode<T>,
    ) -> Result<Vec<T>, StoreError> {
        let permit = self.readers.permits.acquire().await;
        let _permit = permit.map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        let readers = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || readers.query(&query, decode))
            .await
            .map_err(|e| StoreError::Internal(format!("a read was cut short: {e}")))?
    }

    /// Writes what is queued, closes the files and gives the lock back. Blocks.
    pub(crate) fn close(&self) {
        self.readers.permits.close();
        self.readers.idle.lock().clear();
        if let Some(writer) = &self.writer {
            writer.stop();
        }
    }
}

/// Connections for reading; each is made when it is first needed.
#[derive(Debug)]
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default(), permits: Semaphore::new(READERS) }
    }

    fn query<T>(&self, query: &Query, decode: Decode<T>) -> Result<Vec<T>, StoreError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, Mode::Read)?,
        };
        let result = ask(&connection, query, decode);
        // A connection that met an IO error is not used again.
        if !matches!(result, Err(StoreError::Unavailable(_) | StoreError::Corrupt(_))) {
            self.idle.lock().push(connection);
        }
        result
    }
}

/// Refuses a second process on one file. The lock is on a file of its own, so that no other use of the database
/// file can drop it; the kernel frees it when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let unavailable = |e: &std::io::Error| StoreError::Unavailable(format!("{}: {e}", name.display()));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|e| unavailable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(unavailable(&e)),
    }
}

/// Opens a connection with the settings of its mode.
pub(crate) fn connect(path: &Path, mode: Mode) -> Result<Connection, StoreError> {
    let flags = match mode {
        Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let connection =
        opened.map_err(|e| StoreError::Unavailable(format!("{} cannot be opened: {e}", path.display())))?;
    let set = || {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        connection.pragma_update(None, "foreign_keys", true)?;
        match mode {
            Mode::Write => {
                connection.pragma_update(None, "journal_mode", "wal")?;
                connection.pragma_update(None, "synchronous", "full")?;
                // Negative: KiB. The writer touches the index pages of everything that is live.
                connection.pragma_update(None, "cache_size", -16_384)
            }
            Mode::Read => connection.pragma_update(None, "query_only", true),
        }
    };
    set().map_err(|e| failure(&e))?;
    Ok(connection)
}

/// Runs a question on a connection.
pub(crate) fn ask<T>(
    connection: &Connection,
    query: &Query,
    decode: Decode<T>,
) -> Result<Vec<T>, StoreError> {
    if query.is_fixed() {
        let mut statement = connection.prepare_cached(&query.sql).map_err(|e| failure(&e))?;
        collect(&mut statement, &query.args, decode)
    } else {
        let mut statement = connection.prepare(&query.sql).map_err(|e| failure(&e))?;
        collect(&mut statement, &query.args, decode)
    }
}

fn collect<T>(
    statement: &mut rusqlite::Statement<'_>,
    args: &[Value],
    decode: Decode<T>,
) -> Result<Vec<T>, StoreError> {
    bind(statement, args)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut answer = Vec::new();
    while let Some(row) = rows.next().map_err(|e| failure(&e))? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(value(row.get_ref(column).map_err(|e| failure(&e))?)?);
        }
        answer.push(decode(&Row(values))?);
    }
    Ok(answer)
}

/// Runs one statement of a transaction, and says what it means if it is refused.
pub(crate) fn run(connection: &Connection, stmt: &Stmt) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(&stmt.sql).map_err(|e| failure(&e))?;
    bind(&mut statement, &stmt.args)?;
    let meaning = match statement.raw_execute() {
        Ok(0) => &stmt.refused,
        Ok(_) => return Ok(()),
        Err(error) => {
            let conflict = match error.sqlite_error().map(|e| e.extended_code) {
                Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => &stmt.refused,
                Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => &stmt.dangling,
                _ => &None,
            };
            return Err(conflict.clone().map_or_else(|| failure(&error), StoreError::Conflict));
        }
    };
    meaning.clone().map_or(Ok(()), |conflict| Err(conflict.into()))
}

/// Binds by name: to SQLite `$2` is a name, and its number is its place in the text.
fn bind(statement: &mut rusqlite::Statement<'_>, args: &[Value]) -> Result<(), StoreError> {
    for index in 1..=statement.parameter_count() {
        let number = statement.parameter_name(index).and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let arg = number.and_then(|n| args.get(n.checked_sub(1)?));
        let arg = arg.ok_or_else(|| StoreError::Internal(format!("parameter {index} has no value")))?;
        statement.raw_bind_parameter(index, arg).map_err(|e| failure(&e))?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(i) => ValueRef::Integer(*i),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => Value::Int(i),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => return Err(StoreError::Corrupt("a text is not UTF-8".into())),
        },
        ValueRef::Real(_) => return Err(StoreError::Corrupt("a column holds a fraction".into())),
    })
}

/// What an error of SQLite means to callers.
pub(crate) fn failure(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unavailable(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(text),
        _ => StoreError::Internal(text),
    }
}
