//! The tags of images in the installation's own registry, the one of the configuration: list them, delete them.
//!
//! Only images of the configured project can be named: the registry is asked with its login, whoever the caller is. They
//! belong to the installation, so a token that is bound to applications has nothing to do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use spawnpoint_driver::Credentials;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Plaintext, Timestamp};
use tokio::sync::SemaphorePermit;

use crate::registry::repository::{Artifact, Repository, is_name, is_tag};
use crate::registry::{Registries, RegistryError, is_host, within};
use crate::{Engine, Error};

/// All that is asked to list tags, or to delete one.
const QUESTION: Duration = Duration::from_secs(20);
/// All that is asked to delete several.
const DELETIONS: Duration = Duration::from_secs(60);
/// Calls that ask the registry at one time.
pub(crate) const CALLS_MAX: usize = 8;
/// Images that are looked at at one time.
const ARTIFACTS_AT_ONCE: usize = 8;

/// The registry of the configuration.
#[derive(Clone, Debug)]
pub struct OwnRegistry {
    /// Its host, without a scheme.
    pub host: String,
    /// The project in it.
    pub project: String,
    /// The login name.
    pub username: String,
    /// The login secret.
    pub token: Plaintext,
}

impl OwnRegistry {
    /// Checks what a configuration says of a registry: the field that is wrong, and what is wrong with it.
    ///
    /// # Errors
    /// See above.
    pub fn check(host: &str, project: &str) -> Result<(), (&'static str, &'static str)> {
        if !is_host(host) {
            return Err((
                "url",
                "must be the host of a registry and nothing else, as \"registry.example.com\"",
            ));
        }
        if !is_name(project) {
            return Err(("project", "must be lower-case letters and digits, with . _ - and / between them"));
        }
        Ok(())
    }
}

/// A tag and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTag {
    /// The tag.
    pub tag: String,
    /// Digest of the image.
    pub digest: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// When the image was built; 1970 if it does not say.
    pub built_at: Timestamp,
    /// All tags of the image that there are; after a deletion, those that are left.
    pub tags: Vec<String>,
}

/// The image's tags and what they lead to.
type Tags = BTreeMap<String, String>;

/// A place among those who ask the registry, with what it takes to ask about one image.
struct Access<'a> {
    _place: SemaphorePermit<'a>,
    host: &'a str,
    credentials: Credentials,
    name: String,
}

impl Access<'_> {
    fn repository<'a>(&'a self, registries: &'a Registries) -> Result<Repository<'a>, RegistryError> {
        let session = registries.session(self.host, Some(&self.credentials))?;
        Ok(Repository::new(session, &self.name))
    }
}

impl Engine {
    /// The registry that clients push to.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn own_registry(&self) -> Result<&OwnRegistry, Error> {
        let registry = self.inner.options.own_registry.as_ref();
        registry.ok_or_else(|| Error::NotFound("this installation has no registry of its own".to_owned()))
    }

    /// Lists the tags of an image, in the order of their names.
    ///
    /// # Errors
    /// `NotFound` without a registry or such an image; `FailedDependency` if the registry does not answer as it should.
    pub async fn list_image_tags(
        &self,
        actor: &Actor,
        image: &str,
        page: Page,
    ) -> Result<Paged<ImageTag>, Error> {
        let access = self.access(actor, Scope::Read, image)?;
        let asked = async {
            let repository = access.repository(&self.inner.registries)?;
            let tags = repository.tags().await?;
            let total = u64::try_from(tags.len()).unwrap_or(u64::MAX);
            let before = u64::from(page.number - 1) * u64::from(page.limit);
            let before = usize::try_from(before).unwrap_or(usize::MAX);
            let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
            let shown: Vec<String> = tags.iter().skip(before).take(limit).cloned().collect();
            // The other tags are of interest for what they share with those that are shown.
            let tags = if shown.is_empty() { Tags::new() } else { repository.digests(tags).await? };
            Ok(Paged { items: describe(&repository, &tags, shown).await?, total, page })
        };
        // On the heap: HTTP futures are large.
        Box::pin(within(QUESTION, asked)).await.map_err(told)
    }

    /// Deletes a tag, and its image if it has no other.
    ///
    /// # Errors
    /// `NotFound` without a registry, such an image or tag; `FailedDependency` if the registry does not answer as it should, or
    /// does not delete.
    pub async fn delete_image_tag(&self, actor: &Actor, image: &str, tag: &str) -> Result<ImageTag, Error> {
        let access = self.access(actor, Scope::Admin, image)?;
        let asked = async {
            let repository = access.repository(&self.inner.registries)?;
            let mut tags = repository.digests(repository.tags().await?).await?;
            delete(&repository, &mut tags, tag).await
        };
        Box::pin(within(QUESTION, asked)).await.map_err(told)
    }

    /// Deletes several tags, each by itself, in their order.
    ///
    /// # Errors
    /// As for one, but for what concerns one tag alone.
    pub async fn delete_image_tags(
        &self,
        actor: &Actor,
        image: &str,
        tags: &[String],
    ) -> Result<Vec<Result<ImageTag, Error>>, Error> {
        let access = self.access(actor, Scope::Admin, image)?;
        let repository = access.repository(&self.inner.registries).map_err(told)?;
        let present = async { repository.digests(repository.tags().await?).await };
        let mut present = Box::pin(within(QUESTION, present)).await.map_err(told)?;
        let mut outcomes = Vec::with_capacity(tags.len());
        let one_by_one = async {
            for tag in tags {
                let outcome = within(QUESTION, delete(&repository, &mut present, tag)).await;
                let is_silent = matches!(outcome, Err(RegistryError::Silent(_)));
                outcomes.push(outcome.map_err(told));
                if is_silent {
                    return;
                }
            }
        };
        // What it did not come to is told so.
        let _ = Box::pin(tokio::time::timeout(DELETIONS, one_by_one)).await;
        let late = || Err(told(RegistryError::Silent("no answer in time".to_owned())));
        outcomes.resize_with(tags.len(), late);
        Ok(outcomes)
    }

    /// Lets an actor ask the registry about an image of its project.
    fn access(&self, actor: &Actor, scope: Scope, image: &str) -> Result<Access<'_>, Error> {
        self.need(actor, scope)?;
        if !actor.apps.is_empty() {
            return Err(Error::Forbidden(
                "a token that is bound to applications has no part in the registry".to_owned(),
            ));
        }
        let own = self.own_registry()?;
        let Some(name) = name_in(&own.project, image) else {
            return Err(Error::NotFound("there is no image with this name".to_owned()));
        };
        let Ok(place) = self.inner.registry_calls.try_acquire() else {
            return Err(Error::Unavailable("too many calls are asking the registry".to_owned()));
        };
        let credentials = Credentials { username: own.username.clone(), token: own.token.clone() };
        Ok(Access { _place: place, host: &own.host, credentials, name })
    }
}

/// A registry's failure as a verb's.
fn told(error: RegistryError) -> Error {
    match error {
        RegistryError::NotThere => Error::NotFound("the registry has no such image or tag".to_owned()),
        RegistryError::Login => {
            Error::FailedDependency("the registry does not take the configured login for this".to_owned())
        }
        other => Error::FailedDependency(other.to_string()),
    }
}

/// The image's whole name: with the project, whether it was given or not. `None` for what can be none.
fn name_in(project: &str, image: &str) -> Option<String> {
    let own = image.strip_prefix(project).and_then(|rest| rest.strip_prefix('/'));
    let name = format!("{project}/{}", own.unwrap_or(image));
    is_name(&name).then_some(name)
}

async fn describe(
    repository: &Repository<'_>,
    tags: &Tags,
    shown: Vec<String>,
) -> Result<Vec<ImageTag>, RegistryError> {
    let mut shared: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (tag, digest) in tags {
        shared.entry(digest).or_default().push(tag.clone());
    }
    let wanted: BTreeSet<String> = shown.iter().filter_map(|tag| tags.get(tag)).cloned().collect();
    let asked = stream::iter(wanted).map(|digest| async move {
        let artifact = repository.artifact(&digest).await?;
        Ok::<_, RegistryError>((digest, artifact))
    });
    let artifacts: BTreeMap<String, Option<Artifact>> =
        asked.buffer_unordered(ARTIFACTS_AT_ONCE).try_collect().await?;
    let described = shown.into_iter().filter_map(|tag| {
        let digest = tags.get(&tag)?;
        let artifact = artifacts.get(digest)?.as_ref()?;
        let tags = shared.get(digest.as_str()).cloned().unwrap_or_default();
        Some(image_tag(tag, digest, artifact, tags))
    });
    Ok(described.collect())
}

fn image_tag(tag: String, digest: &str, artifact: &Artifact, tags: Vec<String>) -> ImageTag {
    let built_at = artifact.built_at.unwrap_or(Timestamp(0));
    ImageTag { tag, digest: digest.to_owned(), bytes: artifact.bytes, built_at, tags }
}

/// Deletes one of `tags`.
async fn delete(repository: &Repository<'_>, tags: &mut Tags, tag: &str) -> Result<ImageTag, RegistryError> {
    let digest = tags.get(tag).filter(|_| is_tag(tag)).cloned().ok_or(RegistryError::NotThere)?;
    let artifact = repository.artifact(&digest).await?.ok_or(RegistryError::NotThere)?;
    let others = tags.iter().filter(|(other, its)| *other != tag && **its == digest);
    let others: Vec<String> = others.map(|(other, _)| other.clone()).collect();
    repository.delete(tag, &digest, !others.is_empty()).await?;
    tags.remove(tag);
    Ok(image_tag(tag.to_owned(), &digest, &artifact, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_with_their_project_or_without_it() {
        for (image, name) in [
            ("arena", Some("games/arena")),
            ("games/arena", Some("games/arena")),
            ("eu/arena", Some("games/eu/arena")),
            ("games", Some("games/games")),
            ("gamesx/arena", Some("games/gamesx/arena")),
            ("../other/arena", None),
            ("games/../other", None),
            ("games/", None),
            ("", None),
            ("arena?x=1", None),
            ("Arena", None),
        ] {
            assert_eq!(name_in("games", image).as_deref(), name, "{image}");
        }
    }
}
