//! `applications`: the games.

use spawnpoint_model::app::Application;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::{AppName, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, Value, args};
use crate::store::Store;
use crate::tx::Tx;

fn exists(name: &AppName) -> Conflict {
    Conflict::Exists { what: "application", key: name.to_string() }
}

fn missing(name: &AppName) -> Conflict {
    Conflict::Missing { what: "application", key: name.to_string() }
}

impl Tx {
    /// A new application; [`Conflict::Exists`] if the name is in use.
    pub fn insert_application(&mut self, app: &Application) {
        let sql = "insert into applications (name, is_active, image, created_at, updated_at) \
                   values ($1, $2, $3, $4, $5)";
        let args = args![&app.name, app.is_active, app.image.as_str(), app.created_at, app.updated_at];
        self.must(sql, args, exists(&app.name));
    }

    /// Changes the application called `name` into `app`, which may have another name; its versions move along,
    /// deployments keep the name under which they were started. [`Conflict::Missing`] if there is none,
    /// [`Conflict::Exists`] if the new name is in use.
    pub fn update_application(&mut self, name: &AppName, app: &Application) {
        if app.name != *name {
            // A statement of its own, so that the two reasons for "no row" can be told apart.
            let sql = "update applications set name = $2 where name = $1 \
                       and not exists (select 1 from applications other where other.name = $2)";
            self.must("update applications set name = name where name = $1", args![name], missing(name));
            self.must(sql, args![name, &app.name], exists(&app.name));
            self.copy_access_entries_of_app(name, &app.name);
        }
        let sql = "update applications set is_active = $2, image = $3, updated_at = $4 where name = $1";
        let args = args![&app.name, app.is_active, app.image.as_str(), app.updated_at];
        self.must(sql, args, missing(&app.name));
    }

    /// Removes an application and its versions; [`Conflict::Missing`] if there is none.
    pub fn delete_application(&mut self, name: &AppName) {
        self.must("delete from applications where name = $1", args![name], missing(name));
    }

    /// Changes when an application was last changed: one of its versions was.
    pub fn touch_application(&mut self, name: &AppName, now: Timestamp) {
        self.run("update applications set updated_at = $2 where name = $1", args![name, now]);
    }
}

impl Store {
    /// An application.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_application(&self, name: &AppName) -> Result<Option<Application>, StoreError> {
        let sql = "select name, is_active, image, created_at, updated_at from applications where name = $1";
        self.first(Query::new(sql, args![name]), application).await
    }

    /// One page of the applications by name; if `only` is not empty, of those.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_applications(
        &self,
        page: Page,
        only: &[AppName],
    ) -> Result<Paged<Application>, StoreError> {
        let names: Vec<_> = (1..=only.len()).map(|n| format!("${n}")).collect();
        let picked =
            if only.is_empty() { String::new() } else { format!("where name in ({})", names.join(", ")) };
        let args: Vec<_> = only.iter().map(Value::from).collect();
        let (limit, offset) = (only.len() + 1, only.len() + 2);
        let items = format!(
            "select name, is_active, image, created_at, updated_at from applications {picked} \
             order by name limit ${limit} offset ${offset}"
        );
        let total = Query::new(format!("select count(*) from applications {picked}"), args.clone());
        self.page(total, Query::new(items, args), page, application).await
    }
}

fn application(row: &Row) -> Result<Application, StoreError> {
    Ok(Application {
        name: row.parsed(0, AppName::parse)?,
        is_active: row.flag(1)?,
        image: row.text(2)?.to_owned(),
        created_at: row.time(3)?,
        updated_at: row.time(4)?,
    })
}
