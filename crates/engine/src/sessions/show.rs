//! Shows and lists sessions.

use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::session::{Session, SessionPhase};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, SessionId, Status};
use spawnpoint_store::SessionRow;

use super::{SessionView, no_session};
use crate::list::page_of;
use crate::{Engine, Error};

impl Engine {
    /// Shows a session, also for a while after its deployment has ended. One that was deleted is not there any more.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_session(&self, actor: &Actor, id: SessionId) -> Result<SessionView, Error> {
        let row = self.session_for(actor, Scope::Read, id).await?;
        if row.session.phase == SessionPhase::Deleted {
            return Err(no_session(id));
        }
        self.session_view(row.session).await
    }

    /// Who is in a session.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_session_users(&self, actor: &Actor, id: SessionId) -> Result<Session, Error> {
        Ok(self.get_session(actor, id).await?.session)
    }

    /// Lists the sessions that have not ended, the newest first.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn list_sessions(&self, actor: &Actor, page: Page) -> Result<Paged<SessionRow>, Error> {
        self.need(actor, Scope::Read)?;
        Ok(self.inner.store.list_sessions(&actor.apps, page).await?)
    }

    /// Lists the custom sessions on a deployment, the oldest first.
    ///
    /// # Errors
    /// `NotFound` for the deployment.
    pub async fn list_custom_sessions(
        &self,
        actor: &Actor,
        deployment: DeploymentId,
        page: Page,
    ) -> Result<Paged<SessionRow>, Error> {
        let row = self.row_for(actor, Scope::Read, deployment).await?;
        let status: Option<Status> = Some(row.status());
        let mut sessions = self.inner.store.sessions_on(&[deployment]).await?;
        sessions.retain(|session| session.spec.custom_id.is_some());
        let rows = sessions.into_iter().map(|session| SessionRow { session, status }).collect();
        Ok(page_of(rows, page))
    }
}
