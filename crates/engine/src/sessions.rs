//! Sessions: made, changed, deleted and shown; one file a verb.
//!
//! What it is for: players, or matches of players, on deployments with sockets. The nouns and the choice of a deployment are
//! in [`spawnpoint_model::session`].
//!
//! What it must not know: how sessions are written.
//!
//! ```text
//! create.rs       search, or deploy, or find nobody      custom.rs   sessions named by users, on one deployment
//! link.rs         the claim: one conditional write       users.rs    who is in a session
//! show.rs         get and list                           delete.rs   one, and those that pass filters
//! follow_up.rs    what a change of a deployment means for the sessions on it
//! ```
//!
//! # Never oversold
//! A session and its sockets are one transaction with one conditional write on the deployment's row; whoever is refused
//! looks again. What is shown is the sum over the sessions, and the audit compares it with the counter.
//!
//! # Running empty
//! A row says since when it is empty (`State::empty_since`), and its deadline is one of [`lifecycle::due_at`]. The first
//! session that comes and the last that leaves change the row, and are refused if it changed meanwhile: so is the stop of an
//! empty deployment.
//!
//! [`lifecycle::due_at`]: spawnpoint_model::lifecycle::due_at

mod create;
mod custom;
mod delete;
mod follow_up;
mod link;
mod show;
mod users;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::session::{Session, SessionUser, SessionWebhook};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId, Invalid, Phase, SessionId};
use spawnpoint_store::StoreError;
use url::Url;

use crate::deploy::Player;
use crate::view::DeploymentView;
use crate::{Engine, Error, webhooks};

pub use create::SessionRequest;
pub use custom::CustomSession;
pub use delete::{SessionField, SessionFilter};
pub use spawnpoint_store::SessionRow;

/// A session with the deployment on which it sits or sat.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The session.
    pub session: Session,
    /// Its deployment, as long as that is known.
    pub deployment: Option<DeploymentView>,
}

/// A player of a session, as a user names one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UserInput {
    /// The player's address.
    pub ip: std::net::IpAddr,
    /// Where the player is; looked up if it is not given.
    pub at: Option<GeoPoint>,
}

/// The deployments that may have sessions: others need no look at the database. Only for stores that this process alone
/// writes.
#[derive(Default)]
pub(crate) struct WithSessions(RwLock<HashSet<DeploymentId>>);

impl WithSessions {
    /// To be called before a session is stored.
    pub(crate) fn note(&self, id: DeploymentId) {
        self.0.write().insert(id);
    }

    /// Forgets those that have ended. (What is not stored yet has session settings, and is known by them.)
    pub(crate) fn trim(&self, is_live: impl Fn(DeploymentId) -> bool) {
        self.0.write().retain(|id| is_live(*id));
    }
}

impl Engine {
    /// Whether sessions may be on a deployment.
    fn may_have_sessions(&self, row: &Deployment) -> bool {
        !self.inner.rows.is_exact()
            || row.state.joinable
            || row.spec.session.is_some()
            || self.inner.with_sessions.0.read().contains(&row.id)
    }

    /// The sessions on a deployment, the oldest first.
    pub(crate) async fn sessions_of(&self, row: &Deployment) -> Result<Vec<Session>, StoreError> {
        if !self.may_have_sessions(row) || matches!(row.state.phase, Phase::Terminated(_)) {
            return Ok(Vec::new());
        }
        self.inner.store.sessions_on(&[row.id]).await
    }

    /// The same for several deployments.
    pub(crate) async fn sessions_of_all(
        &self,
        rows: &[Arc<Deployment>],
    ) -> Result<HashMap<DeploymentId, Vec<Session>>, StoreError> {
        let ids: Vec<_> = rows.iter().filter(|row| self.may_have_sessions(row)).map(|row| row.id).collect();
        let mut all: HashMap<_, Vec<Session>> = HashMap::new();
        for session in self.inner.store.sessions_on(&ids).await? {
            if let Some(id) = session.deployment {
                all.entry(id).or_default().push(session);
            }
        }
        Ok(all)
    }

    /// A session that `actor` may see. What a user has deleted is not there any more.
    async fn session_for(&self, actor: &Actor, scope: Scope, id: SessionId) -> Result<SessionRow, Error> {
        self.need(actor, scope)?;
        let found = self.inner.store.find_session(id).await?;
        found.filter(|row| actor.may_see(&row.session.spec.app)).ok_or_else(|| no_session(id))
    }

    /// A session with everything that is needed to show it.
    async fn session_view(&self, session: Session) -> Result<SessionView, Error> {
        let row = match session.deployment {
            Some(id) => self.inner.rows.find(id).await?,
            None => None,
        };
        let deployment = match row {
            Some(row) => Some(self.view(row).await?),
            None => None,
        };
        Ok(SessionView { session, deployment })
    }

    /// Players as they are stored.
    fn session_users(&self, users: &[UserInput]) -> Vec<SessionUser> {
        let place = |user: &UserInput| user.at.or_else(|| self.position_of(&Player::Address(user.ip)));
        users.iter().map(|user| SessionUser { ip: user.ip, at: place(user) }).collect()
    }

    /// Seals a webhook's address; what is shown of it holds no login and no query, where secrets would be.
    fn seal_session_webhook(&self, url: Option<&Plaintext>) -> Result<Option<SessionWebhook>, Error> {
        let Some(url) = url else { return Ok(None) };
        if let Err(problem) = self.inner.sender.check_url(url.reveal()) {
            return Err(Invalid::new("webhook_url", problem).into());
        }
        let sealed = self.inner.vault.seal(url, webhooks::SEAL_PURPOSE)?;
        Ok(Some(SessionWebhook { url: sealed, shown: without_secrets(url.reveal()) }))
    }
}

/// An address without login, query and fragment.
fn without_secrets(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return String::new() };
    url.set_query(None);
    url.set_fragment(None);
    // Only addresses without a host cannot have a login, and those are not called.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return String::new();
    }
    url.into()
}

fn no_session(id: SessionId) -> Error {
    Error::NotFound(format!("Session {id} does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_webhook_holds_no_login_and_no_query() {
        assert_eq!(without_secrets("https://u:p@h.test:81/a/b?token=1#x"), "https://h.test:81/a/b");
        assert_eq!(without_secrets("no address"), "");
    }
}
