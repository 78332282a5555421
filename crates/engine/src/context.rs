//! The context: what a container may ask about, and tag, its own deployment.

use std::sync::Arc;

use spawnpoint_model::deployment::{Phase, Tag};
use spawnpoint_model::names::TagName;
use spawnpoint_model::{Deployment, DeploymentId};

use crate::callback::{Purpose, number_matches, token_matches};
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
        self.add_tag(id, tag).await
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
        self.remove_tag(id, tag).await
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
}
