//! What every command that touches an installation begins with: the clock, randomness, the keys, the store.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use spawnpoint_engine::{Clock as _, Entropy, SystemClock};
use spawnpoint_model::Plaintext;
use spawnpoint_store::{Database, Store, Vault};

use crate::config::{Config, StoreUrl};
use crate::failure::Failure;
use crate::keys;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Alone (SQLite) and for writing; makes what is not there yet.
    Write,
    /// For looking, beside whoever works on it; makes nothing.
    Look,
}

/// An opened installation.
pub struct Opened {
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
    /// Seals and opens secrets.
    pub vault: Arc<Vault>,
    /// The rows.
    pub store: Store,
}

impl From<&StoreUrl> for Database {
    fn from(url: &StoreUrl) -> Self {
        match url {
            StoreUrl::Sqlite(path) => Self::Sqlite(path.clone()),
            StoreUrl::Postgres(url) => Self::Postgres(url.clone()),
        }
    }
}

impl Opened {
    /// Opens the installation that the configuration names.
    ///
    /// # Errors
    /// A sentence: no database, another process on it, the wrong key.
    pub async fn open(config: &Config, mode: Mode) -> Result<Self, Failure> {
        let clock = Arc::new(SystemClock::new());
        let entropy = Arc::new(Entropy::from_system());
        let url = config.store_url();
        let key_file = config.master_key_file();
        match mode {
            Mode::Write => {
                keys::make_data_dir(&config.data.dir).map_err(Failure::new)?;
                if let StoreUrl::Sqlite(path) = &url
                    && let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
                {
                    keys::make_data_dir(parent).map_err(Failure::new)?;
                }
            }
            Mode::Look => {
                if let StoreUrl::Sqlite(path) = &url {
                    must_exist(path, "database")?;
                }
                must_exist(&key_file, "master key")?;
            }
        }
        let key = keys::master_key(&key_file, &entropy).map_err(Failure::new)?;
        let vault = Arc::new(Vault::from_master_key(key));
        let database = Database::from(&url);
        let store = match mode {
            Mode::Write => Store::open(&database, clock.now()).await?,
            Mode::Look => Store::open_read_only(&database).await?,
        };
        store.check_master_key(&vault).await?;
        Ok(Self { clock, entropy, vault, store })
    }

    /// The secret that webhooks of this installation are signed with, in the form of Standard Webhooks. Derived from the
    /// master key, so it needs no place of its own.
    #[must_use]
    pub fn webhook_secret(&self) -> Plaintext {
        let mac = self.vault.mac("webhook signing", self.store.installation().as_str().as_bytes());
        Plaintext::new(format!("whsec_{}", BASE64_STANDARD.encode(mac)))
    }
}

/// A command that only looks must not make what it looks for.
fn must_exist(path: &Path, what: &str) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::new(format!("there is no {what} at {}; is this the right --data-dir?", path.display())))
}
