//! Deletes sessions: one, or every one that passes filters. Deployments go on.

use std::collections::{HashMap, HashSet};

use spawnpoint_model::filter::FilterType;
use spawnpoint_model::session::Session;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, Invalid, SessionId};

use crate::{Engine, Error};

/// What of a session is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionField {
    /// Its id.
    Id,
    /// The tags of its deployment.
    DeploymentTags,
    /// The id of its deployment.
    Deployment,
}

/// One filter; all of a request must match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionFilter {
    /// What is compared.
    pub field: SessionField,
    /// With what, letter by letter.
    pub values: Vec<String>,
    /// Whether one of the values has to be there, all of them, or none.
    pub filter_type: FilterType,
}

impl SessionFilter {
    fn matches(&self, session: &Session, tags: &HashMap<DeploymentId, HashSet<String>>) -> bool {
        let present = |value: &String| match self.field {
            SessionField::Id => value.parse() == Ok(session.id),
            SessionField::Deployment => session.deployment.is_some_and(|id| value.parse() == Ok(id)),
            SessionField::DeploymentTags => session
                .deployment
                .and_then(|id| tags.get(&id))
                .is_some_and(|tags| tags.contains(value.as_str())),
        };
        match self.filter_type {
            FilterType::Any => self.values.iter().any(present),
            FilterType::All => self.values.iter().all(present),
            FilterType::Not => !self.values.iter().any(present),
        }
    }
}

impl Engine {
    /// Deletes a session.
    ///
    /// # Errors
    /// `NotFound`; `Gone` if it was deleted before or its deployment has ended.
    pub async fn delete_session(&self, actor: &Actor, id: SessionId) -> Result<Session, Error> {
        let row = self.session_for(actor, Scope::Deploy, id).await?;
        let gone = || Error::Gone(format!("Session {id} has already been terminated"));
        if row.session.ended_at.is_some() {
            return Err(gone());
        }
        self.unlink(id).await?.ok_or_else(gone)
    }

    /// Deletes every session that satisfies all of `filters` and is the actor's business; their ids.
    ///
    /// # Errors
    /// `Invalid` for no filter or one without values: nothing is deleted.
    pub async fn bulk_delete_sessions(
        &self,
        actor: &Actor,
        filters: &[SessionFilter],
    ) -> Result<Vec<SessionId>, Error> {
        self.need(actor, Scope::Deploy)?;
        if filters.is_empty() {
            return Err(Invalid::new("filters", "must not be empty").into());
        }
        if let Some(empty) = filters.iter().position(|filter| filter.values.is_empty()) {
            return Err(Invalid::new(format!("filters[{empty}].values"), "must not be empty").into());
        }
        let sessions = self.inner.store.active_sessions(&actor.apps).await?;
        let tags = self.tags_of(&sessions, filters).await?;
        let mut deleted = Vec::new();
        for session in &sessions {
            let matches = filters.iter().all(|filter| filter.matches(session, &tags));
            if matches && self.unlink(session.id).await?.is_some() {
                deleted.push(session.id);
            }
        }
        Ok(deleted)
    }

    /// The tags of the deployments on which sessions are, if a filter asks for them.
    async fn tags_of(
        &self,
        sessions: &[Session],
        filters: &[SessionFilter],
    ) -> Result<HashMap<DeploymentId, HashSet<String>>, Error> {
        let mut all: HashMap<DeploymentId, HashSet<String>> = HashMap::new();
        if filters.iter().all(|filter| filter.field != SessionField::DeploymentTags) {
            return Ok(all);
        }
        let ids: HashSet<DeploymentId> = sessions.iter().filter_map(|session| session.deployment).collect();
        for id in ids {
            let row = self.inner.rows.find(id).await?;
            let names = row.iter().flat_map(|row| &row.state.tags);
            all.insert(id, names.map(|tag| tag.name.as_str().to_owned()).collect());
        }
        Ok(all)
    }
}
