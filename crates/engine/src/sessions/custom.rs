//! Custom sessions: on a deployment that is named, under a name that the user chooses.

use std::net::IpAddr;
use std::sync::Arc;

use spawnpoint_model::names::CustomId;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::session::{Session, SessionSpec};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::SessionRow;

use super::{SessionView, UserInput};
use crate::{Engine, Error};

/// A custom session that is asked for.
#[derive(Clone, Debug)]
pub struct CustomSession {
    /// Its name.
    pub custom_id: CustomId,
    /// Who is in it.
    pub ips: Vec<IpAddr>,
    /// Whom to tell.
    pub webhook: Option<Plaintext>,
}

impl Engine {
    /// Makes a custom session.
    ///
    /// # Errors
    /// `NotFound` for the deployment; `Conflict`: it does not take the session, or has one of that name.
    pub async fn create_custom_session(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        custom: CustomSession,
    ) -> Result<Session, Error> {
        let row = self.row_for(actor, Scope::Deploy, deployment).await?;
        self.link_custom(row, custom).await
    }

    /// Makes several; each by itself: what became of each.
    ///
    /// # Errors
    /// `NotFound` for the deployment.
    pub async fn create_custom_sessions(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        all: Vec<CustomSession>,
    ) -> Result<Vec<Result<Session, Error>>, Error> {
        self.row_for(actor, Scope::Deploy, deployment).await?;
        let mut outcomes = Vec::with_capacity(all.len());
        for custom in all {
            let row = self.row_for(actor, Scope::Deploy, deployment).await?;
            outcomes.push(self.link_custom(row, custom).await);
        }
        Ok(outcomes)
    }

    async fn link_custom(&self, row: Arc<Deployment>, custom: CustomSession) -> Result<Session, Error> {
        let users = inputs(&custom.ips);
        let session = self.new_session(&row, &users, custom.webhook.as_ref()).await?;
        let spec = SessionSpec { custom_id: Some(custom.custom_id), ..SessionSpec::clone(&session.spec) };
        self.link_to(&Session { spec: Arc::new(spec), ..session }, row).await
    }

    /// Shows a custom session.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_custom_session(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        custom_id: &CustomId,
    ) -> Result<SessionView, Error> {
        let found = self.custom_session(actor, Scope::Read, deployment, custom_id).await?;
        self.session_view(found.session).await
    }

    /// Changes who is in a custom session, and whom it tells if that is said.
    ///
    /// # Errors
    /// `NotFound`; `Unprocessable` if there is no room.
    pub async fn update_custom_session(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        custom: CustomSession,
    ) -> Result<SessionView, Error> {
        let found = self.custom_session(actor, Scope::Deploy, deployment, &custom.custom_id).await?;
        let users = self.session_users(&inputs(&custom.ips));
        let webhook = self.seal_session_webhook(custom.webhook.as_ref())?;
        let change = |session: &mut Session| {
            session.users.clone_from(&users);
            if webhook.is_some() {
                session.webhook.clone_from(&webhook);
            }
            Ok(())
        };
        let session = self.change_session(found.session.id, change).await?;
        self.session_view(session).await
    }

    /// Deletes a custom session: its sockets are free, its deployment goes on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_custom_session(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        custom_id: &CustomId,
    ) -> Result<Session, Error> {
        let found = self.custom_session(actor, Scope::Deploy, deployment, custom_id).await?;
        self.unlink(found.session.id).await?.ok_or_else(|| missing(deployment, custom_id))
    }

    /// Deletes several; each by itself: what became of each.
    ///
    /// # Errors
    /// `NotFound` for the deployment.
    pub async fn delete_custom_sessions(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        custom_ids: &[CustomId],
    ) -> Result<Vec<Result<Session, Error>>, Error> {
        self.row_for(actor, Scope::Deploy, deployment).await?;
        let mut outcomes = Vec::with_capacity(custom_ids.len());
        for custom_id in custom_ids {
            outcomes.push(self.delete_custom_session(actor, deployment, custom_id).await);
        }
        Ok(outcomes)
    }

    async fn custom_session(
        &self,
        actor: &Actor,
        scope: Scope,
        deployment: DeploymentId,
        custom_id: &CustomId,
    ) -> Result<SessionRow, Error> {
        self.row_for(actor, scope, deployment).await?;
        let found = self.inner.store.find_custom_session(deployment, custom_id).await?;
        found.ok_or_else(|| missing(deployment, custom_id))
    }
}

fn inputs(ips: &[IpAddr]) -> Vec<UserInput> {
    ips.iter().map(|ip| UserInput { ip: *ip, at: None }).collect()
}

fn missing(deployment: DeploymentId, custom_id: &CustomId) -> Error {
    Error::NotFound(format!("Deployment {deployment} has no session {custom_id}"))
}
