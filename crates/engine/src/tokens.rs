//! API tokens: make, check, list, revoke. Only the SHA-256 of a secret is stored: secrets have 256 random bits, so
//! nothing slower is needed.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use spawnpoint_model::names::AppName;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::token::{Actor, Scope, Token};
use spawnpoint_model::{Invalid, Timestamp, TokenId};
use spawnpoint_store::dialect::Dialect;
use spawnpoint_store::{Conflict, Store, StoreError, Tx};

use crate::{Engine, Error};

/// A new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// If not empty: only these applications.
    pub apps: Vec<AppName>,
    /// Refused after this long.
    pub expires_in: Option<Duration>,
}

type Hash = [u8; 32];

/// Tokens by the hash of their secret. Where this process is the only one that writes, memory holds all of them, so that
/// guessing costs no look into the database.
pub(crate) struct Tokens {
    store: Store,
    known: Option<RwLock<HashMap<Hash, Token>>>,
}

impl Tokens {
    pub(crate) fn new(store: Store) -> Self {
        let exclusive = store.dialect() == Dialect::Sqlite;
        Self { store, known: exclusive.then(RwLock::default) }
    }

    /// Fills memory, before the first request.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        if let Some(known) = &self.known {
            let all = self.store.token_hashes().await?;
            known.write().extend(all);
        }
        Ok(())
    }

    async fn find(&self, hash: &Hash) -> Result<Option<Token>, StoreError> {
        match &self.known {
            Some(known) => Ok(known.read().get(hash).cloned()),
            None => self.store.find_token_by_hash(hash).await,
        }
    }

    fn put(&self, hash: Hash, token: Token) {
        if let Some(known) = &self.known {
            known.write().insert(hash, token);
        }
    }

    fn revoked(&self, id: &TokenId, now: Timestamp) {
        if let Some(known) = &self.known {
            let mut known = known.write();
            for token in known.values_mut().filter(|token| token.id == *id) {
                token.revoked_at.get_or_insert(now);
            }
        }
    }
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

impl Engine {
    /// Who shows this secret. Served from memory; a revoked or expired token is refused at the next call.
    ///
    /// # Errors
    /// `Unauthorized`.
    pub async fn authenticate(&self, secret: &str) -> Result<Actor, Error> {
        let token = self.inner.tokens.find(&hash(secret)).await?.filter(|token| token.is_valid(self.now()));
        let Token { id, scope, apps, .. } = token.ok_or(Error::Unauthorized)?;
        Ok(Actor { token: id, scope, apps })
    }

    /// Makes a token; the secret is shown this once.
    ///
    /// # Errors
    /// `Forbidden` without `admin`.
    pub async fn create_token(&self, actor: &Actor, new: NewToken) -> Result<(Token, Plaintext), Error> {
        self.need_unbound(actor)?;
        let mut random = [0_u8; 36];
        self.inner.entropy.fill(&mut random);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (id, rest) = random.split_at(4);
        let id = format!("sp_{}", hex(id));
        let secret = Plaintext::new(format!("{id}_{}", hex(rest)));
        let token = self.store_token(&id, new, &secret).await?;
        Ok((token, secret))
    }

    /// Makes sure that `secret` is accepted with every right: the first token of an installation. Made once; a revoked
    /// one stays revoked.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn install_admin_token(&self, secret: &Plaintext) -> Result<(), Error> {
        let hash = hash(secret.reveal());
        if self.inner.store.find_token_by_hash(&hash).await?.is_some() {
            return Ok(());
        }
        let id =
            format!("admin_{}", hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>());
        let new = NewToken {
            name: "first admin token".into(),
            scope: Scope::Admin,
            apps: Vec::new(),
            expires_in: None,
        };
        match self.store_token(&id, new, secret).await {
            // Another control plane was first.
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn store_token(&self, id: &str, new: NewToken, secret: &Plaintext) -> Result<Token, Error> {
        spawnpoint_model::names::check_text(&new.name, 1..=spawnpoint_model::limits::NAME_CHARS_MAX)
            .map_err(|invalid: Invalid| invalid.within("name"))?;
        let now = self.now();
        let NewToken { name, scope, apps, expires_in } = new;
        let expires_at = expires_in.map(|duration| now.plus(duration));
        let token =
            Token { id: TokenId::from(id), name, scope, apps, created_at: now, expires_at, revoked_at: None };
        let mut tx = Tx::new();
        let hash = hash(secret.reveal());
        tx.insert_token(&token, &hash);
        self.inner.store.commit(tx).await?;
        self.inner.tokens.put(hash, token.clone());
        Ok(token)
    }

    /// Lists all tokens, revoked ones too.
    ///
    /// # Errors
    /// `Forbidden` without `admin`.
    pub async fn list_tokens(&self, actor: &Actor) -> Result<Vec<Token>, Error> {
        self.need_unbound(actor)?;
        Ok(self.inner.store.list_tokens().await?.into_iter().map(|record| record.token).collect())
    }

    /// Revokes a token by its public id.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` without `admin`.
    pub async fn revoke_token(&self, actor: &Actor, id: &str) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let (id, now) = (TokenId::from(id), self.now());
        let mut tx = Tx::new();
        tx.revoke_token(&id, now);
        match self.inner.store.commit(tx).await {
            Ok(()) => {
                self.inner.tokens.revoked(&id, now);
                Ok(())
            }
            Err(StoreError::Conflict(Conflict::Missing { .. })) => {
                Err(Error::NotFound(format!("there is no token {id} that could be revoked")))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Refuses what the scope does not allow.
    pub(crate) fn need(&self, actor: &Actor, scope: Scope) -> Result<(), Error> {
        if actor.may(scope) {
            return Ok(());
        }
        let word = match scope {
            Scope::Read => "read",
            Scope::Deploy => "deploy",
            Scope::Admin => "admin",
        };
        Err(Error::Forbidden(format!("a token with the scope {word} is needed")))
    }

    /// The same, for something that belongs to an application.
    pub(crate) fn need_app(&self, actor: &Actor, scope: Scope, app: &AppName) -> Result<(), Error> {
        self.need(actor, scope)?;
        if actor.may_see(app) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("this token is not for the application {app}")))
    }

    /// Refuses a token that is bound to applications what concerns all of them: tokens, the audit, given-up webhooks.
    ///
    /// # Errors
    /// `Forbidden`, without `admin` too.
    pub fn need_unbound(&self, actor: &Actor) -> Result<(), Error> {
        self.need(actor, Scope::Admin)?;
        if actor.apps.is_empty() {
            return Ok(());
        }
        Err(Error::Forbidden("this concerns all applications, and the token is bound to some".to_owned()))
    }
}
