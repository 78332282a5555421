//! A write transaction as data. Its methods stand with the tables that they write.

use std::borrow::Cow;

use serde::Serialize;

use crate::error::{Conflict, StoreError};
use crate::sql::{Stmt, Value};

/// A list of statements that happen all or not at all, in order. Build it, then give it to
/// [`Store::commit`](crate::Store::commit).
#[derive(Debug, Clone, Default)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Tx {
    stmts: Vec<Stmt>,
    /// The first thing that could not be written down.
    broken: Option<String>,
}

impl Tx {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stmts.is_empty() && self.broken.is_none()
    }

    /// Appends everything that `other` does.
    pub fn append(&mut self, other: Self) {
        self.stmts.extend(other.stmts);
        self.broken = self.broken.take().or(other.broken);
    }

    /// The statements.
    ///
    /// # Errors
    /// If a value could not be written as JSON.
    pub fn into_stmts(self) -> Result<Vec<Stmt>, StoreError> {
        match self.broken {
            None => Ok(self.stmts),
            Some(problem) => Err(StoreError::Internal(problem)),
        }
    }

    /// A statement that may affect no row.
    pub(crate) fn run(&mut self, sql: impl Into<Cow<'static, str>>, args: Vec<Value>) {
        self.stmts.push(Stmt { sql: sql.into(), args, refused: None, dangling: None });
    }

    /// A statement that must affect a row, else it is `refused`.
    pub(crate) fn must(&mut self, sql: impl Into<Cow<'static, str>>, args: Vec<Value>, refused: Conflict) {
        self.stmts.push(Stmt { sql: sql.into(), args, refused: Some(refused), dangling: None });
    }

    /// The same, for a row that refers to another: `dangling` if that one does not exist.
    pub(crate) fn must_refer(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
        refused: Conflict,
        dangling: Conflict,
    ) {
        self.stmts.push(Stmt { sql: sql.into(), args, refused: Some(refused), dangling: Some(dangling) });
    }

    /// A structured value as JSON text.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Value {
        match serde_json::to_string(value) {
            Ok(text) => Value::Text(text),
            Err(e) => {
                self.broken.get_or_insert_with(|| format!("a value cannot be written as JSON: {e}"));
                Value::Null
            }
        }
    }
}
