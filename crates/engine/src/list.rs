//! Show and list deployments.

use std::sync::Arc;

use spawnpoint_model::DeploymentId;
use spawnpoint_model::limits::EVENTS_MAX;
use spawnpoint_model::query::{ListQuery, Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_store::DeploymentEvent;

use crate::stop::not_found;
use crate::view::DeploymentView;
use crate::{Engine, Error};

impl Engine {
    /// Shows one deployment; also for a while after it has ended.
    ///
    /// # Errors
    /// `NotFound`, also for deployments of applications that are not the actor's business.
    pub async fn get_deployment(&self, actor: &Actor, id: DeploymentId) -> Result<DeploymentView, Error> {
        self.need(actor, Scope::Read)?;
        let row = self.inner.rows.find(id).await?.filter(|row| actor.may_see(&row.spec.app));
        self.view(row.ok_or_else(|| not_found(id))?).await
    }

    /// Lists deployments that have not ended.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn list_deployments(
        &self,
        actor: &Actor,
        query: ListQuery,
        page: Page,
    ) -> Result<Paged<DeploymentView>, Error> {
        self.need(actor, Scope::Read)?;
        let query = ListQuery { apps: actor.apps.clone(), ..query };
        let Paged { items, total, page } = self.inner.store.list_deployments(&query, page).await?;
        let rows: Vec<_> = items.into_iter().map(Arc::new).collect();
        let mut sessions = self.sessions_of_all(&rows).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let sessions = sessions.remove(&row.id).unwrap_or_default();
            views.push(self.view_with(row, sessions).await?);
        }
        Ok(Paged { items: views, total, page })
    }

    /// The history of a deployment, oldest first; of a very long one the end.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn events(&self, actor: &Actor, id: DeploymentId) -> Result<Vec<DeploymentEvent>, Error> {
        self.get_deployment(actor, id).await?;
        Ok(self.inner.store.events(id, EVENTS_MAX).await?)
    }
}

/// One page of a list that is in memory.
pub(crate) fn page_of<T>(items: Vec<T>, page: Page) -> Paged<T> {
    let total = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let skipped = usize::try_from(page.number.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(limit);
    Paged { items: items.into_iter().skip(skipped).take(limit).collect(), total, page }
}
