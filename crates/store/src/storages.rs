//! `endpoint_storages` and `endpoint_storage_aliases`: users' S3 buckets, and the names they had.

use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::storage::{EndpointStorage, LogFormat};
use spawnpoint_model::{Sealed, StorageName};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// What [`storage`] decodes, and how the rows are picked. The table is called `s`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select s.name, s.access_key_id, s.secret, s.endpoint, s.bucket, s.output_format, s.created_at, \
             s.updated_at from endpoint_storages s ",
            $rest
        )
    };
}

fn exists(name: &StorageName) -> Conflict {
    Conflict::Exists { what: "endpoint storage", key: name.to_string() }
}

fn missing(name: &StorageName) -> Conflict {
    Conflict::Missing { what: "endpoint storage", key: name.to_string() }
}

impl Tx {
    /// A new storage; [`Conflict::Exists`] if the name is in use. A former name of another is no longer that one's.
    pub fn insert_storage(&mut self, storage: &EndpointStorage) {
        let sql = "insert into endpoint_storages (name, access_key_id, secret, endpoint, bucket, output_format, \
                   created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8)";
        let args = args![
            &storage.name,
            storage.access_key_id.as_str(),
            &storage.secret,
            storage.endpoint.as_str(),
            storage.bucket.as_str(),
            storage.format.word(),
            storage.created_at,
            storage.updated_at,
        ];
        self.must(sql, args, exists(&storage.name));
        self.run("delete from endpoint_storage_aliases where alias = $1", args![&storage.name]);
    }

    /// Changes the storage called `name` into `storage`, which may have another name: pull profiles, links and uploads
    /// move along, and the old name still leads to it. [`Conflict::Missing`] if there is none, [`Conflict::Exists`] if
    /// the new name is in use.
    pub fn update_storage(&mut self, name: &StorageName, storage: &EndpointStorage) {
        if storage.name != *name {
            // A statement of its own, so that the two reasons for "no row" can be told apart.
            let present = "update endpoint_storages set name = name where name = $1";
            self.must(present, args![name], missing(name));
            let rename = "update endpoint_storages set name = $2 where name = $1 \
                          and not exists (select 1 from endpoint_storages other where other.name = $2)";
            self.must(rename, args![name, &storage.name], exists(&storage.name));
            self.run("delete from endpoint_storage_aliases where alias = $1", args![&storage.name]);
            let alias = "insert into endpoint_storage_aliases (alias, storage) values ($1, $2) \
                         on conflict (alias) do update set storage = excluded.storage";
            self.run(alias, args![name, &storage.name]);
        }
        let sql = "update endpoint_storages set access_key_id = $2, secret = $3, endpoint = $4, bucket = $5, \
                   output_format = $6, updated_at = $7 where name = $1";
        let args = args![
            &storage.name,
            storage.access_key_id.as_str(),
            &storage.secret,
            storage.endpoint.as_str(),
            storage.bucket.as_str(),
            storage.format.word(),
            storage.updated_at,
        ];
        self.must(sql, args, missing(&storage.name));
    }

    /// Removes a storage with its pull profiles and their links; [`Conflict::Missing`] if there is none.
    pub fn delete_storage(&mut self, name: &StorageName) {
        self.must("delete from endpoint_storages where name = $1", args![name], missing(name));
    }
}

impl Store {
    /// The storage of this name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_storage(&self, name: &StorageName) -> Result<Option<EndpointStorage>, StoreError> {
        self.first(Query::new(select!("where s.name = $1"), args![name]), storage).await
    }

    /// The storage that has this name, or had it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_storage_meant_by(&self, name: &str) -> Result<Option<EndpointStorage>, StoreError> {
        let sql = select!(
            "where s.name = $1 or s.name in \
             (select a.storage from endpoint_storage_aliases a where a.alias = $1) \
             order by case when s.name = $1 then 0 else 1 end limit 1"
        );
        self.first(Query::new(sql, args![name]), storage).await
    }

    /// One page of the storages by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_storages(&self, page: Page) -> Result<Paged<EndpointStorage>, StoreError> {
        let total = Query::new("select count(*) from endpoint_storages", args![]);
        let items = Query::new(select!("order by s.name limit $1 offset $2"), args![]);
        self.page(total, items, page, storage).await
    }
}

fn storage(row: &Row) -> Result<EndpointStorage, StoreError> {
    let format = |word: &str| LogFormat::ALL.into_iter().find(|f| f.word() == word).ok_or(());
    Ok(EndpointStorage {
        name: row.parsed(0, StorageName::parse)?,
        access_key_id: row.text(1)?.to_owned(),
        secret: Sealed(row.text(2)?.to_owned()),
        endpoint: row.text(3)?.to_owned(),
        bucket: row.text(4)?.to_owned(),
        format: row.parsed(5, format)?,
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
    })
}
