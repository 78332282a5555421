//! Endpoint storages: make, show, change, remove, list. They belong to the installation, so a token that is bound to
//! applications has nothing to do with them.

use spawnpoint_model::limits::STORAGES_MAX;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::storage::{EndpointStorage, LogFormat};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Invalid, StorageName, limits};
use spawnpoint_store::Tx;

use crate::s3::{S3Error, Target};
use crate::{Engine, Error};

/// Purpose under which S3 secrets are sealed.
pub(crate) const SEAL_PURPOSE: &str = "storage";

/// A new storage, already checked field by field.
#[derive(Clone, Debug)]
pub struct NewStorage {
    /// Its name.
    pub name: StorageName,
    /// The public half of the credentials.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Plaintext,
    /// Address of the S3 service.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// How logs are written.
    pub format: LogFormat,
}

/// A change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct StoragePatch {
    /// A new name.
    pub name: Option<StorageName>,
    /// The public half of the credentials.
    pub access_key_id: Option<String>,
    /// The secret half.
    pub secret_access_key: Option<Plaintext>,
    /// Address of the S3 service.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: Option<String>,
    /// How logs are written.
    pub format: Option<LogFormat>,
}

impl Engine {
    /// Makes a storage.
    ///
    /// # Errors
    /// `Conflict` if the name is taken or there are too many; `Invalid` if the endpoint must not be called.
    pub async fn create_storage(&self, actor: &Actor, new: NewStorage) -> Result<EndpointStorage, Error> {
        self.need_whole(actor, Scope::Admin)?;
        self.check_endpoint(&new.endpoint)?;
        let first = Page { number: 1, limit: 1 };
        if self.inner.store.list_storages(first).await?.total >= STORAGES_MAX {
            return Err(Error::Conflict(format!(
                "there are {STORAGES_MAX} endpoint storages, and more are not possible"
            )));
        }
        let now = self.now();
        let storage = EndpointStorage {
            name: new.name,
            access_key_id: new.access_key_id,
            secret: self.inner.vault.seal(&new.secret_access_key, SEAL_PURPOSE)?,
            endpoint: new.endpoint,
            bucket: new.bucket,
            format: new.format,
            created_at: now,
            updated_at: now,
        };
        let mut tx = Tx::new();
        tx.insert_storage(&storage);
        self.commit_catalog(tx).await?;
        Ok(storage)
    }

    /// Shows a storage.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_storage(&self, actor: &Actor, name: &StorageName) -> Result<EndpointStorage, Error> {
        self.need_whole(actor, Scope::Read)?;
        let found = self.inner.store.find_storage(name).await?;
        found.ok_or_else(|| Error::NotFound(format!("endpoint storage {name} does not exist")))
    }

    /// Changes a storage. A new name takes its pull profiles along, and what says the old one still means it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the new name is taken; `Invalid` if the endpoint must not be called.
    pub async fn update_storage(
        &self,
        actor: &Actor,
        name: &StorageName,
        patch: StoragePatch,
    ) -> Result<EndpointStorage, Error> {
        self.need_whole(actor, Scope::Admin)?;
        let before = self.get_storage(actor, name).await?;
        if let Some(endpoint) = &patch.endpoint {
            self.check_endpoint(endpoint)?;
        }
        let secret = match &patch.secret_access_key {
            Some(secret) => self.inner.vault.seal(secret, SEAL_PURPOSE)?,
            None => before.secret,
        };
        let storage = EndpointStorage {
            name: patch.name.unwrap_or(before.name),
            access_key_id: patch.access_key_id.unwrap_or(before.access_key_id),
            secret,
            endpoint: patch.endpoint.unwrap_or(before.endpoint),
            bucket: patch.bucket.unwrap_or(before.bucket),
            format: patch.format.unwrap_or(before.format),
            created_at: before.created_at,
            updated_at: self.now(),
        };
        let mut tx = Tx::new();
        tx.update_storage(name, &storage);
        // What waits for better credentials or another address need not wait on.
        tx.hurry_uploads(&storage.name, storage.updated_at);
        self.commit_catalog(tx).await?;
        self.inner.uploads.bell.notify_one();
        Ok(storage)
    }

    /// Removes a storage with its pull profiles. What is on its way into it is given up.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_storage(&self, actor: &Actor, name: &StorageName) -> Result<(), Error> {
        self.need_whole(actor, Scope::Admin)?;
        let mut tx = Tx::new();
        tx.delete_storage(name);
        self.commit_catalog(tx).await
    }

    /// Lists the storages by name.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn list_storages(&self, actor: &Actor, page: Page) -> Result<Paged<EndpointStorage>, Error> {
        self.need_whole(actor, Scope::Read)?;
        Ok(self.inner.store.list_storages(page).await?)
    }

    /// A scope over the whole installation.
    pub(crate) fn need_whole(&self, actor: &Actor, scope: Scope) -> Result<(), Error> {
        self.need(actor, scope)?;
        if actor.apps.is_empty() {
            return Ok(());
        }
        Err(Error::Forbidden(
            "a token that is bound to applications has no part in endpoint storages".to_owned(),
        ))
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), Invalid> {
        let checked = if endpoint.chars().count() > limits::URL_CHARS_MAX {
            Err(format!("must have at most {} characters", limits::URL_CHARS_MAX))
        } else {
            self.inner.s3.check_endpoint(endpoint)
        };
        checked.map_err(|problem| Invalid::new("endpoint", problem))
    }

    /// A storage as the S3 client takes it.
    pub(crate) fn target(&self, storage: &EndpointStorage) -> Result<Target, S3Error> {
        let secret = self.inner.vault.open(&storage.secret, SEAL_PURPOSE);
        let unreadable = "its secret cannot be opened with this master key";
        let secret = secret.map_err(|_| S3Error::Address(unreadable.to_owned()))?;
        Target::new(storage, &secret)
    }
}
