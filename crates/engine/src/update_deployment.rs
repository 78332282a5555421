//! Changes the one property of a deployment that users may set: whether sessions may join it.

use spawnpoint_model::DeploymentId;
use spawnpoint_model::token::{Actor, Scope};

use crate::{Engine, Error};

impl Engine {
    /// Lets sessions join a deployment, or keeps them out; without a word it stays as it is. How it stands then.
    ///
    /// # Errors
    /// `NotFound`, also once it has ended.
    pub async fn set_joinable(
        &self,
        actor: &Actor,
        id: DeploymentId,
        joinable: Option<bool>,
    ) -> Result<bool, Error> {
        self.row_for(actor, Scope::Deploy, id).await?;
        self.change_state(id, |state| {
            state.joinable = joinable.unwrap_or(state.joinable);
            Ok(state.joinable)
        })
        .await
    }
}
