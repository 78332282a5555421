//! Applications: make, show, change, remove, list.

use spawnpoint_model::app::Application;
use spawnpoint_model::names::AppName;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_store::{Conflict, StoreError, Tx};

use crate::{Engine, Error};

/// A new application.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// Its name.
    pub name: AppName,
    /// Whether it can be deployed.
    pub is_active: bool,
    /// A picture, base64; may be empty.
    pub image: String,
}

/// A change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct AppPatch {
    /// A new name.
    pub name: Option<AppName>,
    /// Whether it can be deployed.
    pub is_active: Option<bool>,
    /// A picture.
    pub image: Option<String>,
}

impl Engine {
    /// Makes an application. Needs `admin`, and a token that is not bound to other applications.
    ///
    /// # Errors
    /// `Conflict` if the name is taken.
    pub async fn create_app(&self, actor: &Actor, new: NewApp) -> Result<Application, Error> {
        self.need_app(actor, Scope::Admin, &new.name)?;
        let now = self.now();
        let NewApp { name, is_active, image } = new;
        let app = Application { name, is_active, image, created_at: now, updated_at: now };
        let mut tx = Tx::new();
        tx.insert_application(&app);
        self.commit_catalog(tx).await?;
        Ok(app)
    }

    /// Shows an application.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_app(&self, actor: &Actor, name: &AppName) -> Result<Application, Error> {
        self.need_app(actor, Scope::Read, name)?;
        self.inner.store.find_application(name).await?.ok_or_else(|| no_app(name))
    }

    /// Changes an application; a new name moves its versions along.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the new name is taken.
    pub async fn update_app(
        &self,
        actor: &Actor,
        name: &AppName,
        patch: AppPatch,
    ) -> Result<Application, Error> {
        self.need_app(actor, Scope::Admin, name)?;
        let before = self.inner.store.find_application(name).await?.ok_or_else(|| no_app(name))?;
        let app = Application {
            name: patch.name.unwrap_or(before.name),
            is_active: patch.is_active.unwrap_or(before.is_active),
            image: patch.image.unwrap_or(before.image),
            created_at: before.created_at,
            updated_at: self.now(),
        };
        self.need_app(actor, Scope::Admin, &app.name)?;
        let mut tx = Tx::new();
        tx.update_application(name, &app);
        tx.wake_all_units(self.now());
        self.commit_catalog(tx).await?;
        self.inner.units.notify_one();
        Ok(app)
    }

    /// Removes an application and its versions. Its deployments go on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_app(&self, actor: &Actor, name: &AppName) -> Result<(), Error> {
        self.need_app(actor, Scope::Admin, name)?;
        let mut tx = Tx::new();
        tx.delete_application(name);
        self.commit_catalog(tx).await
    }

    /// Lists the applications that the actor may see, by name.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn list_apps(&self, actor: &Actor, page: Page) -> Result<Paged<Application>, Error> {
        self.need(actor, Scope::Read)?;
        Ok(self.inner.store.list_applications(page, &actor.apps).await?)
    }

    /// Commits a change of applications or versions, and has memory forget them.
    pub(crate) async fn commit_catalog(&self, tx: Tx) -> Result<(), Error> {
        let result = self.inner.store.commit(tx).await;
        self.inner.catalog.changed();
        match result {
            Err(StoreError::Conflict(conflict @ Conflict::Missing { .. })) => {
                Err(Error::NotFound(conflict.to_string()))
            }
            other => Ok(other?),
        }
    }
}

fn no_app(name: &AppName) -> Error {
    Error::NotFound(format!("application {name} does not exist"))
}
