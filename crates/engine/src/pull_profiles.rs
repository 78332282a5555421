//! Pull profiles: make, show, change, remove, list, link to versions; and what they bring into a container.
//!
//! Which profiles a deployment has is settled when it is deployed, as everything else that its version says. The files
//! themselves are fetched each time a container is made.

use std::future::Future;
use std::time::Duration;

use spawnpoint_driver::WorkloadFile;
use spawnpoint_model::limits::{PULL_BYTES_MAX, PULL_FILES_MAX, PULL_LINKS_MAX, PULL_PROFILES_MAX};
use spawnpoint_model::names::{AppName, ProfileName, StorageName, VersionName};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::storage::{PullLink, PullProfile, SourceType, check_source};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, Invalid};
use spawnpoint_store::Tx;

use crate::s3::{S3Error, Target, is_plain_key};
use crate::{Engine, Error};

/// Pauses before an object is asked for again.
const PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];
/// All files of a deployment must be here in this time.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How files are made in containers: for everybody to read.
const FILE_MODE: u32 = 0o644;

/// A new pull profile, already checked field by field.
#[derive(Clone, Debug)]
pub struct NewProfile {
    /// Its name.
    pub name: ProfileName,
    /// Where in the bucket.
    pub source: String,
    /// One object or many.
    pub source_type: SourceType,
    /// The folder in the container.
    pub destination: String,
}

/// A change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ProfilePatch {
    /// A new name.
    pub name: Option<ProfileName>,
    /// Where in the bucket.
    pub source: Option<String>,
    /// One object or many.
    pub source_type: Option<SourceType>,
    /// The folder in the container.
    pub destination: Option<String>,
}

impl Engine {
    /// Makes a pull profile of a storage.
    ///
    /// # Errors
    /// `NotFound` for the storage; `Conflict` if the name is taken or there are too many.
    pub async fn create_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        new: NewProfile,
    ) -> Result<PullProfile, Error> {
        self.need_whole(actor, Scope::Admin)?;
        self.get_storage(actor, storage).await?;
        let first = Page { number: 1, limit: 1 };
        if self.inner.store.list_profiles(storage, first).await?.total >= PULL_PROFILES_MAX {
            let problem =
                format!("{storage} has {PULL_PROFILES_MAX} pull profiles, and more are not possible");
            return Err(Error::Conflict(problem));
        }
        let now = self.now();
        let profile = PullProfile {
            storage: storage.clone(),
            name: new.name,
            source: new.source,
            source_type: new.source_type,
            destination: new.destination,
            created_at: now,
            updated_at: now,
        };
        check_whole(&profile)?;
        let mut tx = Tx::new();
        tx.insert_profile(&profile);
        self.commit_catalog(tx).await?;
        Ok(profile)
    }

    /// Shows a pull profile.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        name: &ProfileName,
    ) -> Result<PullProfile, Error> {
        self.get_storage(actor, storage).await?;
        let found = self.inner.store.find_profile(storage, name).await?;
        found.ok_or_else(|| Error::NotFound(format!("pull profile {name} of {storage} does not exist")))
    }

    /// Changes a pull profile; a new name takes its links along. Deployments that exist stay as they are.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the new name is taken; `Invalid`.
    pub async fn update_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        name: &ProfileName,
        patch: ProfilePatch,
    ) -> Result<PullProfile, Error> {
        self.need_whole(actor, Scope::Admin)?;
        let before = self.get_profile(actor, storage, name).await?;
        let profile = PullProfile {
            storage: before.storage,
            name: patch.name.unwrap_or(before.name),
            source: patch.source.unwrap_or(before.source),
            source_type: patch.source_type.unwrap_or(before.source_type),
            destination: patch.destination.unwrap_or(before.destination),
            created_at: before.created_at,
            updated_at: self.now(),
        };
        check_whole(&profile)?;
        let mut tx = Tx::new();
        tx.update_profile(name, &profile);
        self.commit_catalog(tx).await?;
        Ok(profile)
    }

    /// Removes a pull profile and its links.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        name: &ProfileName,
    ) -> Result<(), Error> {
        self.need_whole(actor, Scope::Admin)?;
        let mut tx = Tx::new();
        tx.delete_profile(storage, name);
        self.commit_catalog(tx).await
    }

    /// Lists the pull profiles of a storage by name.
    ///
    /// # Errors
    /// `NotFound` for the storage.
    pub async fn list_profiles(
        &self,
        actor: &Actor,
        storage: &StorageName,
        page: Page,
    ) -> Result<Paged<PullProfile>, Error> {
        self.get_storage(actor, storage).await?;
        Ok(self.inner.store.list_profiles(storage, page).await?)
    }

    /// Links a pull profile to a version: its deployments from now on are given the files.
    ///
    /// # Errors
    /// `NotFound` for the storage, the profile, the application or the version; `Conflict` if the version has too many.
    pub async fn link_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        profile: &ProfileName,
        app: &AppName,
        version: &VersionName,
    ) -> Result<PullLink, Error> {
        self.need_whole(actor, Scope::Admin)?;
        self.get_profile(actor, storage, profile).await?;
        self.get_version(actor, app, version).await?;
        let linked = self.inner.store.profiles_of(app, version).await?;
        let is_linked = linked.iter().any(|p| p.storage == *storage && p.name == *profile);
        if linked.len() >= PULL_LINKS_MAX && !is_linked {
            let problem =
                format!("{version} of {app} has {PULL_LINKS_MAX} pull profiles, and more are not possible");
            return Err(Error::Conflict(problem));
        }
        let now = self.now();
        let link = PullLink {
            app: app.clone(),
            version: version.clone(),
            storage: storage.clone(),
            profile: profile.clone(),
            created_at: now,
            updated_at: now,
        };
        let mut tx = Tx::new();
        tx.link_profile(&link);
        self.commit_catalog(tx).await?;
        Ok(self.inner.store.find_link(app, version, storage, profile).await?.unwrap_or(link))
    }

    /// Takes a link away.
    ///
    /// # Errors
    /// `NotFound` for any of the names, or if they are not linked.
    pub async fn unlink_profile(
        &self,
        actor: &Actor,
        storage: &StorageName,
        profile: &ProfileName,
        app: &AppName,
        version: &VersionName,
    ) -> Result<(), Error> {
        self.need_whole(actor, Scope::Admin)?;
        let mut tx = Tx::new();
        tx.unlink_profile(app, version, storage, profile);
        self.commit_catalog(tx).await
    }

    /// The files that a deployment is given. Tries again what may be otherwise in a moment.
    ///
    /// # Errors
    /// A sentence for users.
    pub(crate) async fn pulled_files(&self, row: &Deployment) -> Result<Vec<WorkloadFile>, String> {
        let left = row.state.deadline.map_or(FETCH_TIMEOUT, |end| end.since(self.now()));
        let patience = left.min(FETCH_TIMEOUT);
        let all = async {
            let mut files = Vec::new();
            for profile in &row.spec.pull_profiles {
                let failed =
                    |problem| format!("pull profile {} of {}: {problem}", profile.name, profile.storage);
                self.fetch(profile, &mut files).await.map_err(failed)?;
            }
            Ok(files)
        };
        let in_time = tokio::time::timeout(patience, all).await;
        in_time.unwrap_or_else(|_| {
            Err(format!("its pull profiles could not be fetched within {} s", patience.as_secs()))
        })
    }

    async fn fetch(&self, profile: &PullProfile, files: &mut Vec<WorkloadFile>) -> Result<(), String> {
        let storage = self.inner.store.find_storage_meant_by(profile.storage.as_str()).await;
        let storage = storage.map_err(|_| "the database did not answer".to_owned())?;
        let storage = storage.ok_or_else(|| "its endpoint storage does not exist any more".to_owned())?;
        let target = self.target(&storage).map_err(|error| error.to_string())?;
        let key = profile.key_in(&storage.bucket);
        let keys = match profile.source_type {
            SourceType::File => vec![(key.to_owned(), file_name(key).to_owned())],
            SourceType::Folder => self.keys_below(&target, key).await?,
        };
        for (key, below) in keys {
            if files.len() >= PULL_FILES_MAX {
                return Err(format!("there are more than {PULL_FILES_MAX} files"));
            }
            let taken: usize = files.iter().map(|file| file.content.len()).sum();
            let room = PULL_BYTES_MAX.saturating_sub(taken);
            let now = self.now();
            let got = self.patiently(|| self.inner.s3.get(&target, &key, room, now)).await;
            let content = got.map_err(|error| match error {
                S3Error::TooLarge(_) => format!("the files have more than {PULL_BYTES_MAX} bytes together"),
                error => format!("{key:?} cannot be read: {error}"),
            })?;
            let path = format!("{}/{below}", profile.destination.trim_end_matches('/'));
            files.retain(|file| file.path != path);
            files.push(WorkloadFile { path, mode: FILE_MODE, content });
        }
        Ok(())
    }

    /// The objects below a prefix, and their paths from there on.
    async fn keys_below(&self, target: &Target, prefix: &str) -> Result<Vec<(String, String)>, String> {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let now = self.now();
        let list = || self.inner.s3.list(target, &prefix, PULL_FILES_MAX, now);
        let listed = self.patiently(list).await.map_err(|error| match error {
            S3Error::TooLarge(_) => format!("there are more than {PULL_FILES_MAX} files"),
            error => format!("the folder cannot be listed: {error}"),
        })?;
        let mut keys = Vec::new();
        let mut bytes = 0_usize;
        // What ends in a slash only makes a folder visible in consoles.
        for object in listed.into_iter().filter(|object| !object.key.ends_with('/')) {
            let below = object.key.strip_prefix(&prefix).filter(|below| is_plain_key(below));
            let Some(below) = below.filter(|_| is_plain_key(&object.key)).map(str::to_owned) else {
                return Err(format!("{:?} is no path of a file", object.key));
            };
            bytes = bytes.saturating_add(object.bytes);
            keys.push((object.key, below));
        }
        if bytes > PULL_BYTES_MAX {
            return Err(format!(
                "the files have {bytes} bytes together; at most {PULL_BYTES_MAX} are possible"
            ));
        }
        if keys.is_empty() {
            return Err(format!("there is nothing in the folder {prefix:?}"));
        }
        Ok(keys)
    }

    /// Asks again, a few times, while the answer may be otherwise in a moment.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        for pause in PAUSES {
            match ask().await {
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(pause.mul_f64(self.inner.entropy.jitter(0.2))).await;
                }
                other => return other,
            }
        }
        ask().await
    }
}

/// What can only be checked of the whole.
fn check_whole(profile: &PullProfile) -> Result<(), Invalid> {
    check_source(&profile.source, profile.source_type).map_err(|invalid| invalid.within("source"))
}

fn file_name(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}
