//! `tokens`: API tokens, by the hash of their secret.

use spawnpoint_model::token::{Scope, Token};
use spawnpoint_model::{Timestamp, TokenId};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// A token and when it was last shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token.
    pub token: Token,
    /// When it was last accepted, as far as that was written down.
    pub last_used_at: Option<Timestamp>,
}

/// What [`record`] decodes, and how the rows are picked.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, name, scope, apps, created_at, expires_at, revoked_at, last_used_at from tokens ",
            $rest
        )
    };
}

const fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Deploy => "deploy",
        Scope::Admin => "admin",
    }
}

fn missing(id: &TokenId) -> Conflict {
    Conflict::Missing { what: "token", key: id.to_string() }
}

impl Tx {
    /// Stores a token under the SHA-256 of its secret; [`Conflict::Exists`] if id or secret are in use.
    pub fn insert_token(&mut self, token: &Token, secret_hash: &[u8; 32]) {
        let sql = "insert into tokens (id, secret_hash, name, scope, apps, created_at, expires_at, revoked_at) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8)";
        let apps = self.json(&token.apps);
        let args = args![
            &token.id,
            secret_hash.as_slice(),
            token.name.as_str(),
            scope_word(token.scope),
            apps,
            token.created_at,
            token.expires_at,
            token.revoked_at,
        ];
        self.must(sql, args, Conflict::Exists { what: "token", key: token.id.to_string() });
    }

    /// Revokes a token; [`Conflict::Missing`] if there is none or it is revoked.
    pub fn revoke_token(&mut self, id: &TokenId, now: Timestamp) {
        let sql = "update tokens set revoked_at = $2 where id = $1 and revoked_at is null";
        self.must(sql, args![id, now], missing(id));
    }

    /// Notes that a token was accepted.
    pub fn touch_token(&mut self, id: &TokenId, now: Timestamp) {
        self.run("update tokens set last_used_at = $2 where id = $1", args![id, now]);
    }
}

impl Store {
    /// The token with this SHA-256 of its secret, valid or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_token_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let query = Query::new(select!("where secret_hash = $1"), args![secret_hash.as_slice()]);
        Ok(self.first(query, record).await?.map(|record| record.token))
    }

    /// All tokens, oldest first, revoked and expired ones too.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.all(Query::new(select!("order by created_at, id"), args![]), record).await
    }

    /// Every token with the SHA-256 of its secret: what memory is filled from.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn token_hashes(&self) -> Result<Vec<([u8; 32], Token)>, StoreError> {
        let columns = select!("order by id").replacen(" from ", ", secret_hash from ", 1);
        let decode = |row: &Row| {
            let hash = row.blob(8)?.try_into();
            let hash = hash.map_err(|_| StoreError::Corrupt("a token's hash has not 32 bytes".into()))?;
            Ok((hash, record(row)?.token))
        };
        self.all(Query::new(columns, args![]), decode).await
    }
}

fn record(row: &Row) -> Result<TokenRecord, StoreError> {
    let scope = |word: &str| {
        [Scope::Read, Scope::Deploy, Scope::Admin].into_iter().find(|s| scope_word(*s) == word).ok_or(())
    };
    let token = Token {
        id: row.text(0)?.into(),
        name: row.text(1)?.to_owned(),
        scope: row.parsed(2, scope)?,
        apps: row.json(3)?,
        created_at: row.time(4)?,
        expires_at: row.opt_time(5)?,
        revoked_at: row.opt_time(6)?,
    };
    Ok(TokenRecord { token, last_used_at: row.opt_time(7)? })
}
