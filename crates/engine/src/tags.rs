//! Tags of a deployment: list, get, create, rename, delete. They can be read for as long as the deployment is known and
//! changed until it has ended. A running container keeps the tags that were injected at its start.

use spawnpoint_model::deployment::Tag;
use spawnpoint_model::limits::TAGS_MAX;
use spawnpoint_model::names::TagName;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, Invalid, Timestamp};

use crate::list::page_of;
use crate::{Engine, Error};

impl Engine {
    /// Lists the tags of a deployment in the order in which they were put on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_tags(&self, actor: &Actor, id: DeploymentId, page: Page) -> Result<Paged<Tag>, Error> {
        let row = self.row_for(actor, Scope::Read, id).await?;
        Ok(page_of(row.state.tags.clone(), page))
    }

    /// Gets a tag by its name.
    ///
    /// # Errors
    /// `NotFound`: the deployment or the tag.
    pub async fn get_tag(&self, actor: &Actor, id: DeploymentId, name: &str) -> Result<Tag, Error> {
        let row = self.row_for(actor, Scope::Read, id).await?;
        row.state.tags.iter().find(|tag| tag.name.as_str() == name).cloned().ok_or_else(no_such_tag)
    }

    /// Puts a tag on a deployment.
    ///
    /// # Errors
    /// `NotFound` (also once it has ended); `Conflict` if it carries the tag; `Invalid` if it has too many.
    pub async fn create_tag(&self, actor: &Actor, id: DeploymentId, name: TagName) -> Result<Tag, Error> {
        self.row_for(actor, Scope::Deploy, id).await?;
        self.add_tag(id, name).await
    }

    /// Gives a tag another name; its place among the others and the time it was put on stay.
    ///
    /// # Errors
    /// `NotFound`: the deployment (also once it has ended) or the tag; `Conflict` if another tag has the new name.
    pub async fn rename_tag(
        &self,
        actor: &Actor,
        id: DeploymentId,
        name: &str,
        to: TagName,
    ) -> Result<Tag, Error> {
        self.row_for(actor, Scope::Deploy, id).await?;
        let now = self.now();
        self.change_state(id, |state| rename(&mut state.tags, name, &to, now)).await
    }

    /// Takes a tag off a deployment.
    ///
    /// # Errors
    /// `NotFound`: the deployment (also once it has ended) or the tag.
    pub async fn delete_tag(&self, actor: &Actor, id: DeploymentId, name: &str) -> Result<(), Error> {
        self.row_for(actor, Scope::Deploy, id).await?;
        self.remove_tag(id, name).await
    }

    /// Puts a tag on; whoever calls has found out that it may be done.
    pub(crate) async fn add_tag(&self, id: DeploymentId, name: TagName) -> Result<Tag, Error> {
        let now = self.now();
        self.change_state(id, |state| add(&mut state.tags, &name, now)).await
    }

    /// Takes a tag off; whoever calls has found out that it may be done.
    pub(crate) async fn remove_tag(&self, id: DeploymentId, name: &str) -> Result<(), Error> {
        self.change_state(id, |state| remove(&mut state.tags, name)).await
    }
}

fn add(tags: &mut Vec<Tag>, name: &TagName, now: Timestamp) -> Result<Tag, Error> {
    if tags.iter().any(|present| present.name == *name) {
        return Err(taken(name));
    }
    if tags.len() >= TAGS_MAX {
        return Err(
            Invalid::new("name", format!("the deployment has {TAGS_MAX} tags, the most possible")).into()
        );
    }
    let tag = Tag { name: name.clone(), created_at: now, updated_at: now };
    tags.push(tag.clone());
    Ok(tag)
}

fn rename(tags: &mut [Tag], name: &str, to: &TagName, now: Timestamp) -> Result<Tag, Error> {
    let found = tags.iter().position(|tag| tag.name.as_str() == name).ok_or_else(no_such_tag)?;
    if tags.iter().enumerate().any(|(i, other)| i != found && other.name == *to) {
        return Err(taken(to));
    }
    let tag = tags.get_mut(found).ok_or_else(no_such_tag)?;
    // A tag that is renamed to its own name has not changed.
    if tag.name != *to {
        tag.name = to.clone();
        tag.updated_at = now;
    }
    Ok(tag.clone())
}

fn remove(tags: &mut Vec<Tag>, name: &str) -> Result<(), Error> {
    let found = tags.iter().position(|tag| tag.name.as_str() == name).ok_or_else(no_such_tag)?;
    tags.remove(found);
    Ok(())
}

fn taken(name: &TagName) -> Error {
    Error::Conflict(format!("the deployment has the tag {name} already"))
}

fn no_such_tag() -> Error {
    Error::NotFound("the deployment has no such tag".to_owned())
}
