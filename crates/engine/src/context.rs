//! The context: what a container may ask about, and tag, its own deployment.

use std::sync::Arc;

use spawnpoint_model::deployment::{Phase, Tag};
use spawnpoint_model::limits::TAGS_MAX;
use spawnpoint_model::names::TagName;
use spawnpoint_model::{Deployment, DeploymentId, Invalid};
use spawnpoint_store::{Conflict, StoreError};

use crate::callback::{Purpose, number_matches, token_matches};
use crate::save::Change;
use crate::view::DeploymentView;
use crate::{Engine, Error};

impl Engine {
    /// Shows a deployment to its own container.
    ///
    /// # Errors
    /// `Unauthorized` for a bad number or token or an unknown id: they are not told apart.
    pub async fn context(
        &self,
        id: DeploymentId,
        number: &str,
        token: Option<&str>,
    ) -> Result<DeploymentView, Error> {
        let row = self.own_row(id, number, token).await?;
        self.view(row).await
    }

    /// Puts a tag on the container's own deployment.
    ///
    /// # Errors
    /// `Unauthorized`; `Conflict` if it carries the tag; `Invalid` if it has too many.
    pub async fn context_add_tag(
        &self,
        id: DeploymentId,
        number: &str,
        token: Option<&str>,
        tag: TagName,
    ) -> Result<Tag, Error> {
        self.own_row(id, number, token).await?;
        let now = self.now();
        let tag = Tag { name: tag, created_at: now, updated_at: now };
        self.change_tags(id, |tags| {
            if tags.iter().any(|present| present.name == tag.name) {
                return Err(Error::Conflict(format!("the deployment has the tag {} already", tag.name)));
            }
            if tags.len() >= TAGS_MAX {
                return Err(Invalid::new(
                    "name",
                    format!("the deployment has {TAGS_MAX} tags, the most possible"),
                )
                .into());
            }
            tags.push(tag.clone());
            Ok(())
        })
        .await?;
        Ok(tag)
    }

    /// Takes a tag off the container's own deployment.
    ///
    /// # Errors
    /// `Unauthorized`; `NotFound` if it does not carry the tag.
    pub async fn context_remove_tag(
        &self,
        id: DeploymentId,
        number: &str,
        token: Option<&str>,
        tag: &str,
    ) -> Result<(), Error> {
        self.own_row(id, number, token).await?;
        self.change_tags(id, |tags| {
            let before = tags.len();
            tags.retain(|present| present.name.as_str() != tag);
            if tags.len() < before {
                Ok(())
            } else {
                Err(Error::NotFound("the deployment has no such tag".to_owned()))
            }
        })
        .await
    }

    async fn own_row(
        &self,
        id: DeploymentId,
        number: &str,
        token: Option<&str>,
    ) -> Result<Arc<Deployment>, Error> {
        let vault = &self.inner.vault;
        let known = token.is_some_and(|token| token_matches(vault, Purpose::Context, id, token))
            && number_matches(vault, Purpose::Context, id, number);
        let row = if known { self.inner.rows.find(id).await? } else { None };
        row.filter(|row| !matches!(row.state.phase, Phase::Terminated(_))).ok_or(Error::Unauthorized)
    }

    /// Changes a deployment's tags, again if it was changed meanwhile.
    pub(crate) async fn change_tags(
        &self,
        id: DeploymentId,
        change: impl Fn(&mut Vec<Tag>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let row = self.inner.rows.find(id).await?.ok_or_else(|| crate::stop::not_found(id))?;
            let mut next = Deployment::clone(&row);
            change(&mut next.state.tags)?;
            next.generation += 1;
            match self.save(&row, next, Change::default()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict(Conflict::Stale(_))) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
}
