//! `versions` and `version_revisions`: what can be deployed.
//!
//! A revision is the immutable content of a version under the hash of that content. A change of a version stores a
//! new revision; deployments keep theirs, and a revision nobody refers to can be purged.

use std::sync::Arc;

use spawnpoint_model::app::{Version, VersionSpec};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::{AppName, RevisionId, VersionName};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// What [`version`] decodes, and how the rows are picked. The tables are called `v` and `r`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select v.app, v.name, v.revision, r.doc, v.created_at, v.updated_at \
             from versions v join version_revisions r on r.id = v.revision ",
            $rest
        )
    };
}

fn exists(app: &AppName, name: &VersionName) -> Conflict {
    Conflict::Exists { what: "version", key: format!("{app}/{name}") }
}

fn missing(app: &AppName, name: &VersionName) -> Conflict {
    Conflict::Missing { what: "version", key: format!("{app}/{name}") }
}

impl Tx {
    /// A new version; [`Conflict::Exists`] if the name is in use, [`Conflict::Missing`] if there is no such
    /// application.
    pub fn insert_version(&mut self, version: &Version) {
        self.keep_revision(version);
        let sql = "insert into versions (app, name, revision, created_at, updated_at, seq) \
                   values ($1, $2, $3, $4, $5, (select coalesce(max(seq), 0) + 1 from versions where app = $1))";
        let Version { app, name, revision, created_at, updated_at, .. } = version;
        let args = args![app, name, revision, *created_at, *updated_at];
        let no_app = Conflict::Missing { what: "application", key: app.to_string() };
        self.must_refer(sql, args, exists(app, name), no_app);
        self.forget_access_entries(app, name);
    }

    /// Changes the version `name` of `version.app` into `version`, which may have another name. Deployments keep the
    /// revision they were started with. [`Conflict::Missing`] if there is none, [`Conflict::Exists`] if the new name
    /// is in use.
    pub fn update_version(&mut self, name: &VersionName, version: &Version) {
        self.keep_revision(version);
        let Version { app, name: new_name, revision, updated_at, .. } = version;
        if new_name != name {
            // A statement of its own, so that the two reasons for "no row" can be told apart.
            let present = "update versions set name = name where app = $1 and name = $2";
            self.must(present, args![app, name], missing(app, name));
            let rename = "update versions set name = $3 where app = $1 and name = $2 \
                          and not exists (select 1 from versions other where other.app = $1 and other.name = $3)";
            self.must(rename, args![app, name, new_name], exists(app, new_name));
            self.copy_access_entries(app, name, new_name);
        }
        let sql = "update versions set revision = $3, updated_at = $4 where app = $1 and name = $2";
        self.must(sql, args![app, new_name, revision, *updated_at], missing(app, new_name));
    }

    /// Removes a version; [`Conflict::Missing`] if there is none.
    pub fn delete_version(&mut self, app: &AppName, name: &VersionName) {
        let sql = "delete from versions where app = $1 and name = $2";
        self.must(sql, args![app, name], missing(app, name));
    }

    /// Forgets revisions that neither a version nor a stored deployment refers to.
    pub fn purge_revisions(&mut self) {
        let sql = "delete from version_revisions where \
                   not exists (select 1 from versions v where v.revision = version_revisions.id) and \
                   not exists (select 1 from deployments d where d.revision = version_revisions.id)";
        self.run(sql, args![]);
    }

    /// Stores the content. If it is there, the row is written all the same: that keeps a purge that runs at the same
    /// time from taking it away.
    fn keep_revision(&mut self, version: &Version) {
        let sql = "insert into version_revisions (id, doc) values ($1, $2) \
                   on conflict (id) do update set doc = version_revisions.doc";
        let doc = self.json(&*version.spec);
        self.run(sql, args![&version.revision, doc]);
    }
}

impl Store {
    /// A version with its content.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_version(
        &self,
        app: &AppName,
        name: &VersionName,
    ) -> Result<Option<Version>, StoreError> {
        let query = Query::new(select!("where v.app = $1 and v.name = $2"), args![app, name]);
        self.first(query, version).await
    }

    /// The version of an application that was made last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn latest_version(&self, app: &AppName) -> Result<Option<Version>, StoreError> {
        let sql = select!("where v.app = $1 order by v.seq desc, v.created_at desc, v.name desc limit 1");
        self.first(Query::new(sql, args![app]), version).await
    }

    /// One page of an application's versions, in the order in which they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_versions(&self, app: &AppName, page: Page) -> Result<Paged<Version>, StoreError> {
        let total = Query::new("select count(*) from versions where app = $1", args![app]);
        let sql = select!("where v.app = $1 order by v.seq, v.created_at, v.name limit $2 offset $3");
        self.page(total, Query::new(sql, args![app]), page, version).await
    }

    /// The contents of all active versions whose image is to be on the hosts ahead of time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn specs_to_cache(&self) -> Result<Vec<VersionSpec>, StoreError> {
        // As the writer of the JSON writes it; in a text its quotes would be escaped.
        let sql = select!("where r.doc like '%\"force_cache\":true%'");
        let found = self.all(Query::new(sql, args![]), version).await?;
        let specs = found.into_iter().map(|version| Arc::unwrap_or_clone(version.spec));
        Ok(specs.filter(|spec| spec.force_cache && spec.is_active).collect())
    }

    /// The content of a revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_revision(&self, id: &RevisionId) -> Result<Option<VersionSpec>, StoreError> {
        let query = Query::new("select doc from version_revisions where id = $1", args![id]);
        self.first(query, |row| row.json(0)).await
    }
}

fn version(row: &Row) -> Result<Version, StoreError> {
    Ok(Version {
        app: row.parsed(0, AppName::parse)?,
        name: row.parsed(1, VersionName::parse)?,
        revision: row.text(2)?.into(),
        spec: Arc::new(row.json(3)?),
        created_at: row.time(4)?,
        updated_at: row.time(5)?,
    })
}
