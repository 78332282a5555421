//! Values, rows and statements, the same for both databases.
//!
//! Columns are BIGINT (INTEGER), TEXT and BYTEA (BLOB) only: times are microseconds, booleans 0 or 1, everything
//! structured is JSON text. So a value has four forms, and nothing is converted by a driver behind our back.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use spawnpoint_model::{
    AppName, CustomId, DeploymentId, FleetName, HostId, PolicyId, PolicyName, ProfileName, RevisionId,
    Sealed, SessionId, StorageName, Timestamp, TokenId, VersionName,
};

use crate::error::{Conflict, StoreError};

/// A value of a column or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL, of any type.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BYTEA or BLOB.
    Blob(Vec<u8>),
}

/// Makes the parameters of a statement out of anything that is a [`Value`].
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$($crate::sql::Value::from($arg)),*] };
}
pub(crate) use args;

/// A statement of a transaction, and what it means if the database does not take it.
#[derive(Debug, Clone)]
pub struct Stmt {
    /// The text, with `$1`, `$2`, … for the parameters.
    pub sql: Cow<'static, str>,
    /// The parameters.
    pub args: Vec<Value>,
    /// What it means that no row was affected, or that a unique constraint is in the way. `None`: no row is fine.
    pub refused: Option<Conflict>,
    /// What it means that a foreign key has no row.
    pub dangling: Option<Conflict>,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Query {
    /// The text.
    pub sql: Cow<'static, str>,
    /// The parameters.
    pub args: Vec<Value>,
}

impl Query {
    /// A question with a fixed text. Its prepared form is kept; a text made at run time is prepared once and forgotten.
    pub fn new(sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Self {
        Self { sql: sql.into(), args }
    }

    /// Whether the prepared statement is worth keeping.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        matches!(self.sql, Cow::Borrowed(_))
    }
}

/// One row of an answer.
#[derive(Debug, Clone)]
pub struct Row(pub Vec<Value>);

/// Turns a row into what it stands for.
pub type Decode<T> = fn(&Row) -> Result<T, StoreError>;

impl Row {
    fn value(&self, column: usize) -> Result<&Value, StoreError> {
        self.0.get(column).ok_or_else(|| StoreError::Internal(format!("the answer has no column {column}")))
    }

    fn wrong(column: usize, expected: &str) -> StoreError {
        StoreError::Corrupt(format!("column {column} should hold {expected}"))
    }

    /// A number or nothing.
    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Int(i) => Ok(Some(*i)),
            _ => Err(Self::wrong(column, "a number")),
        }
    }

    /// A number.
    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| Self::wrong(column, "a number"))
    }

    /// A number that fits the type that is asked for.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|_| Self::wrong(column, "a smaller number"))
    }

    /// A text or nothing.
    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(Self::wrong(column, "a text")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.opt_text(column)?.ok_or_else(|| Self::wrong(column, "a text"))
    }

    /// Bytes.
    pub(crate) fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        match self.value(column)? {
            Value::Blob(bytes) => Ok(bytes),
            _ => Err(Self::wrong(column, "bytes")),
        }
    }

    /// A point in time.
    pub(crate) fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp)
    }

    /// A point in time or nothing.
    pub(crate) fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    /// A yes or no.
    pub(crate) fn flag(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// A structured value, kept as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T, StoreError> {
        serde_json::from_str(self.text(column)?)
            .map_err(|e| StoreError::Corrupt(format!("column {column} is not what was stored: {e}")))
    }

    /// A value that is written as one word: an id, a checked name, an enum.
    pub(crate) fn parsed<T, E>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let text = self.text(column)?;
        parse(text).map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
    }

    /// A deployment's id.
    pub(crate) fn deployment_id(&self, column: usize) -> Result<DeploymentId, StoreError> {
        self.parsed(column, str::parse)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.micros())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&str> for Value {
    /// PostgreSQL keeps no NUL in a text. What holds one (an answer of a stranger's server, a hostile query) gets
    /// the replacement character instead, with both databases, so that it cannot fail with one of them.
    fn from(value: &str) -> Self {
        Self::Text(value.replace('\0', "\u{fffd}"))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl From<DeploymentId> for Value {
    fn from(value: DeploymentId) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<SessionId> for Value {
    fn from(value: SessionId) -> Self {
        Self::Text(value.to_string())
    }
}

/// Names and ids whose text is at hand.
macro_rules! text_value {
    ($($name:ident),*) => { $(
        impl From<&$name> for Value {
            fn from(value: &$name) -> Self {
                Self::Text(value.as_str().to_owned())
            }
        }
    )* };
}
text_value!(
    AppName,
    VersionName,
    FleetName,
    PolicyName,
    CustomId,
    StorageName,
    ProfileName,
    HostId,
    PolicyId,
    RevisionId,
    TokenId
);

impl From<&Sealed> for Value {
    fn from(value: &Sealed) -> Self {
        Self::Text(value.0.clone())
    }
}

impl<T> From<Option<T>> for Value
where
    Self: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}
