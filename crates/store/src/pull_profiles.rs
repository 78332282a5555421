//! `pull_profiles` and `pull_profile_links`: what is copied from storages into containers, and into whose.

use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::storage::{PullLink, PullProfile, SourceType};
use spawnpoint_model::{AppName, ProfileName, StorageName, VersionName};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// What [`profile`] decodes, and how the rows are picked. The table is called `p`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select p.storage, p.name, p.source, p.source_type, p.destination, p.created_at, p.updated_at \
             from pull_profiles p ",
            $rest
        )
    };
}

fn exists(storage: &StorageName, name: &ProfileName) -> Conflict {
    Conflict::Exists { what: "pull profile", key: format!("{storage}/{name}") }
}

fn missing(storage: &StorageName, name: &ProfileName) -> Conflict {
    Conflict::Missing { what: "pull profile", key: format!("{storage}/{name}") }
}

impl Tx {
    /// A new pull profile; [`Conflict::Exists`] if the name is in use, [`Conflict::Missing`] if there is no such storage.
    pub fn insert_profile(&mut self, profile: &PullProfile) {
        let sql = "insert into pull_profiles (storage, name, source, source_type, destination, created_at, \
                   updated_at) values ($1, $2, $3, $4, $5, $6, $7)";
        let PullProfile { storage, name, source, source_type, destination, created_at, updated_at } = profile;
        let args = args![
            storage,
            name,
            source.as_str(),
            source_type.word(),
            destination.as_str(),
            *created_at,
            *updated_at
        ];
        let no_storage = Conflict::Missing { what: "endpoint storage", key: storage.to_string() };
        self.must_refer(sql, args, exists(storage, name), no_storage);
    }

    /// Changes the pull profile `name` of `profile.storage` into `profile`, which may have another name; its links move
    /// along. [`Conflict::Missing`] if there is none, [`Conflict::Exists`] if the new name is in use.
    pub fn update_profile(&mut self, name: &ProfileName, profile: &PullProfile) {
        let PullProfile { storage, name: new_name, source, source_type, destination, updated_at, .. } =
            profile;
        if new_name != name {
            // A statement of its own, so that the two reasons for "no row" can be told apart.
            let present = "update pull_profiles set name = name where storage = $1 and name = $2";
            self.must(present, args![storage, name], missing(storage, name));
            let rename = "update pull_profiles set name = $3 where storage = $1 and name = $2 and not exists \
                          (select 1 from pull_profiles other where other.storage = $1 and other.name = $3)";
            self.must(rename, args![storage, name, new_name], exists(storage, new_name));
        }
        let sql = "update pull_profiles set source = $3, source_type = $4, destination = $5, updated_at = $6 \
                   where storage = $1 and name = $2";
        let args =
            args![storage, new_name, source.as_str(), source_type.word(), destination.as_str(), *updated_at];
        self.must(sql, args, missing(storage, new_name));
    }

    /// Removes a pull profile and its links; [`Conflict::Missing`] if there is none.
    pub fn delete_profile(&mut self, storage: &StorageName, name: &ProfileName) {
        let sql = "delete from pull_profiles where storage = $1 and name = $2";
        self.must(sql, args![storage, name], missing(storage, name));
    }

    /// Links a profile to a version; linked already, it is dated anew. [`Conflict::Missing`] if the version or the
    /// profile does not exist.
    pub fn link_profile(&mut self, link: &PullLink) {
        let sql = "insert into pull_profile_links (app, version, storage, profile, created_at, updated_at) \
                   values ($1, $2, $3, $4, $5, $6) on conflict (app, version, storage, profile) \
                   do update set updated_at = excluded.updated_at";
        let PullLink { app, version, storage, profile, created_at, updated_at } = link;
        let gone = Conflict::Missing {
            what: "version or pull profile",
            key: format!("{app}/{version} or {storage}/{profile}"),
        };
        let args = args![app, version, storage, profile, *created_at, *updated_at];
        self.must_refer(sql, args, gone.clone(), gone);
    }

    /// Takes a link away; [`Conflict::Missing`] if there is none.
    pub fn unlink_profile(
        &mut self,
        app: &AppName,
        version: &VersionName,
        storage: &StorageName,
        profile: &ProfileName,
    ) {
        let sql = "delete from pull_profile_links where app = $1 and version = $2 and storage = $3 and profile = $4";
        let key = format!("from {storage}/{profile} to {app}/{version}");
        self.must(sql, args![app, version, storage, profile], Conflict::Missing { what: "link", key });
    }
}

impl Store {
    /// A pull profile.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_profile(
        &self,
        storage: &StorageName,
        name: &ProfileName,
    ) -> Result<Option<PullProfile>, StoreError> {
        let query = Query::new(select!("where p.storage = $1 and p.name = $2"), args![storage, name]);
        self.first(query, profile).await
    }

    /// One page of a storage's pull profiles by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_profiles(
        &self,
        storage: &StorageName,
        page: Page,
    ) -> Result<Paged<PullProfile>, StoreError> {
        let total = Query::new("select count(*) from pull_profiles where storage = $1", args![storage]);
        let sql = select!("where p.storage = $1 order by p.name limit $2 offset $3");
        self.page(total, Query::new(sql, args![storage]), page, profile).await
    }

    /// The pull profiles that a version is linked to, in the order in which they were linked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn profiles_of(
        &self,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Vec<PullProfile>, StoreError> {
        let sql = select!(
            "join pull_profile_links l on l.storage = p.storage and l.profile = p.name \
             where l.app = $1 and l.version = $2 order by l.created_at, p.storage, p.name"
        );
        self.all(Query::new(sql, args![app, version]), profile).await
    }

    /// A link.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_link(
        &self,
        app: &AppName,
        version: &VersionName,
        storage: &StorageName,
        profile: &ProfileName,
    ) -> Result<Option<PullLink>, StoreError> {
        let sql = "select app, version, storage, profile, created_at, updated_at from pull_profile_links \
                   where app = $1 and version = $2 and storage = $3 and profile = $4";
        let decode = |row: &Row| {
            Ok(PullLink {
                app: row.parsed(0, AppName::parse)?,
                version: row.parsed(1, VersionName::parse)?,
                storage: row.parsed(2, StorageName::parse)?,
                profile: row.parsed(3, ProfileName::parse)?,
                created_at: row.time(4)?,
                updated_at: row.time(5)?,
            })
        };
        self.first(Query::new(sql, args![app, version, storage, profile]), decode).await
    }
}

fn profile(row: &Row) -> Result<PullProfile, StoreError> {
    let source_type = |word: &str| SourceType::ALL.into_iter().find(|t| t.word() == word).ok_or(());
    Ok(PullProfile {
        storage: row.parsed(0, StorageName::parse)?,
        name: row.parsed(1, ProfileName::parse)?,
        source: row.text(2)?.to_owned(),
        source_type: row.parsed(3, source_type)?,
        destination: row.text(4)?.to_owned(),
        created_at: row.time(5)?,
        updated_at: row.time(6)?,
    })
}
