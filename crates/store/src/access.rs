//! `access_entries`: the networks that may reach the deployments of a version.
//!
//! Deployments are never rewritten, so they go by the name under which they were started: a rename copies the list, and
//! what is left under a name that no version has any more is purged with the last live deployment of that name.

use spawnpoint_model::{AccessEntry, AccessEntryId, AppName, Cidr, VersionName};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// The setting that is another one after every change of any list.
const CHANGED: &str = "access_lists_changed";

impl Tx {
    /// A new entry; [`Conflict::Missing`] if there is no such version, or by chance an entry of this number.
    pub fn insert_access_entry(&mut self, app: &AppName, version: &VersionName, entry: &AccessEntry) {
        let sql = "insert into access_entries (app, version, id, network, label, is_active, created_at) \
                   select v.app, v.name, $3, $4, $5, $6, $7 from versions v where v.app = $1 and v.name = $2 \
                   on conflict (app, version, id) do nothing";
        let AccessEntry { id, network, label, is_active, created_at } = entry;
        let args = args![
            app,
            version,
            i64::from(id.0),
            network.to_string().as_str(),
            label.as_str(),
            *is_active,
            *created_at
        ];
        let missing = Conflict::Missing { what: "version", key: format!("{app}/{version}") };
        self.must(sql, args, missing);
    }

    /// Removes an entry; [`Conflict::Missing`] if there is none.
    pub fn delete_access_entry(&mut self, app: &AppName, version: &VersionName, id: AccessEntryId) {
        let sql = "delete from access_entries where app = $1 and version = $2 and id = $3";
        let missing = Conflict::Missing { what: "access list entry", key: format!("{app}/{version}/{id}") };
        self.must(sql, args![app, version, i64::from(id.0)], missing);
    }

    /// Tells other control planes that lists have changed; `mark` is to be another one each time.
    pub fn mark_access_lists(&mut self, mark: &str) {
        self.set_setting(CHANGED, mark);
    }

    /// Forgets lists of versions that neither exist nor have live deployments.
    pub fn purge_access_entries(&mut self) {
        let sql = "delete from access_entries where \
                   not exists (select 1 from versions v \
                     where v.app = access_entries.app and v.name = access_entries.version) and \
                   not exists (select 1 from deployments d \
                     where d.live = 1 and d.app = access_entries.app and d.version = access_entries.version)";
        self.run(sql, args![]);
    }

    /// A version that is made begins with an empty list, whatever an earlier one of its name has left.
    pub(crate) fn forget_access_entries(&mut self, app: &AppName, version: &VersionName) {
        self.run("delete from access_entries where app = $1 and version = $2", args![app, version]);
    }

    /// Gives a version that is renamed its list under the new name too.
    pub(crate) fn copy_access_entries(&mut self, app: &AppName, from: &VersionName, to: &VersionName) {
        self.forget_access_entries(app, to);
        let sql = "insert into access_entries (app, version, id, network, label, is_active, created_at) \
                   select app, $3, id, network, label, is_active, created_at from access_entries \
                   where app = $1 and version = $2";
        self.run(sql, args![app, from, to]);
    }

    /// The same for all versions of an application that is renamed.
    pub(crate) fn copy_access_entries_of_app(&mut self, from: &AppName, to: &AppName) {
        self.run("delete from access_entries where app = $1", args![to]);
        let sql = "insert into access_entries (app, version, id, network, label, is_active, created_at) \
                   select $2, version, id, network, label, is_active, created_at from access_entries where app = $1";
        self.run(sql, args![from, to]);
    }
}

impl Store {
    /// The access list of a version, in the order in which it was made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn access_entries(
        &self,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Vec<AccessEntry>, StoreError> {
        let sql = "select id, network, label, is_active, created_at from access_entries \
                   where app = $1 and version = $2 order by created_at, id";
        self.all(Query::new(sql, args![app, version]), entry).await
    }

    /// What [`Tx::mark_access_lists`] has left last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn access_lists_mark(&self) -> Result<Option<String>, StoreError> {
        self.find_setting(CHANGED).await
    }
}

fn entry(row: &Row) -> Result<AccessEntry, StoreError> {
    let id = row.number(0)?;
    Ok(AccessEntry {
        id: AccessEntryId(id),
        network: row.parsed(1, Cidr::parse)?,
        label: row.text(2)?.to_owned(),
        is_active: row.flag(3)?,
        created_at: row.time(4)?,
    })
}
