//! One image in a registry: its tags, what is behind them, and how one of them is deleted.
//!
//! Registries delete what is behind a tag by its digest, and all its other tags with it. So a tag that shares its image is
//! deleted alone ([`Repository::delete`]): by its name where the registry can do that, else by moving the tag to a copy of the
//! manifest that differs in one annotation, and deleting the copy. Whoever pulls by the tag until then gets the same image,
//! also if all ends half-way.
//!
//! Nothing that a registry says is believed to be small, well-formed or true; what is no tag or digest ends the question.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use spawnpoint_model::Timestamp;
use spawnpoint_model::limits::IMAGE_TAG_CHARS_MAX;

use super::session::{Session, read};
use super::{MANIFESTS, RegistryError};

/// Tags of an image that are looked at.
pub(crate) const TAGS_MAX: usize = 5000;
/// Characters of an image's whole name. Docker: 255 with the registry's.
const NAME_CHARS_MAX: usize = 255;
/// Tags that are asked for at once.
const TAGS_AT_ONCE: usize = 1000;
/// Pieces in which tags may come.
const PIECES_MAX: usize = 100;
/// Questions that a registry is asked at one time.
const ASKED_AT_ONCE: usize = 16;
/// Bytes of a piece of the tags.
const TAGS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a manifest. OCI: registries take 4 MiB at least.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an image's configuration that are looked at for its date.
const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// The annotation that makes the copy of a manifest another one.
const UNTAGGED: &str = "dev.spawnpoint.untagged";
/// When an image was built.
const CREATED: &str = "org.opencontainers.image.created";

/// See the module.
pub(crate) struct Repository<'a> {
    session: Session<'a>,
    name: &'a str,
}

/// What is behind a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// Bytes that are pulled.
    pub(crate) bytes: u64,
    /// When it was built, if it says so.
    pub(crate) built_at: Option<Timestamp>,
}

/// A manifest as the registry keeps it.
struct Kept {
    kind: HeaderValue,
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Manifest {
    config: Option<Piece>,
    layers: Vec<Piece>,
    manifests: Vec<Piece>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Piece {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Config {
    created: Option<String>,
}

impl<'a> Repository<'a> {
    /// `name` is what [`is_name`] takes.
    pub(crate) const fn new(session: Session<'a>, name: &'a str) -> Self {
        Self { session, name }
    }

    /// All tags, in the order of their names.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut tags = BTreeSet::new();
        let mut next = Some(format!("v2/{}/tags/list?n={TAGS_AT_ONCE}", self.name));
        for _ in 0..PIECES_MAX {
            let Some(path) = next else { return Ok(tags.into_iter().collect()) };
            let question = self.session.about(Method::GET, &path)?;
            let answer = well(self.session.ask(&question).await?)?;
            next = next_piece(answer.headers());
            let piece: TagList = json(answer, TAGS_BYTES_MAX).await?;
            for tag in piece.tags.unwrap_or_default() {
                if !is_tag(&tag) {
                    return Err(RegistryError::Strange("a tag that is none"));
                }
                tags.insert(tag);
            }
            if tags.len() > TAGS_MAX {
                return Err(RegistryError::TooMany(TAGS_MAX));
            }
        }
        // What is not all of it must not be taken for all of it: images go with what is thought to be their last tag.
        Err(RegistryError::Strange("tags without end"))
    }

    /// What each tag leads to. Those that have gone meanwhile are left out.
    pub(crate) async fn digests(&self, tags: Vec<String>) -> Result<BTreeMap<String, String>, RegistryError> {
        let asked = stream::iter(tags).map(|tag| async move {
            let digest = self.digest(&tag).await?;
            Ok::<_, RegistryError>(digest.map(|digest| (tag, digest)))
        });
        let found: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn digest(&self, tag: &str) -> Result<Option<String>, RegistryError> {
        let question = self.session.about(Method::HEAD, &self.manifest_path(tag))?.accept(MANIFESTS);
        let answer = match well(self.session.ask(&question).await?) {
            Err(RegistryError::NotThere) => return Ok(None),
            answer => answer?,
        };
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(digest) = said {
            let digest = Some(digest).filter(|digest| is_digest(digest));
            return digest.map(|digest| Some(digest.to_owned())).ok_or(RegistryError::Strange("no digest"));
        }
        Ok(self.manifest(tag).await?.map(|kept| digest_of(&kept.bytes)))
    }

    /// What is behind a digest; `None` if it has gone. Of an image for several platforms: that for Linux on x86-64, or the
    /// first.
    pub(crate) async fn artifact(&self, digest: &str) -> Result<Option<Artifact>, RegistryError> {
        let Some(Kept { bytes, .. }) = self.manifest(digest).await? else { return Ok(None) };
        let mut manifest: Manifest = understood(&bytes)?;
        let usual = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
        let of_usual = manifest.manifests.iter().find(|one| one.platform.as_ref() == Some(&usual));
        if let Some(one) = of_usual.or_else(|| manifest.manifests.first()) {
            if !is_digest(&one.digest) {
                return Err(RegistryError::Strange("no digest"));
            }
            let Some(Kept { bytes, .. }) = self.manifest(&one.digest).await? else { return Ok(None) };
            manifest = understood(&bytes)?;
        }
        let pieces = manifest.layers.iter().chain(&manifest.config);
        let bytes = pieces.fold(0_u64, |sum, piece| sum.saturating_add(piece.size));
        let said = manifest.annotations.as_ref().and_then(|all| all.get(CREATED)).and_then(|text| time(text));
        let built_at = match (said, &manifest.config) {
            (None, Some(config)) if is_digest(&config.digest) => self.built_at(&config.digest).await,
            (said, _) => said,
        };
        Ok(Some(Artifact { bytes, built_at }))
    }

    /// The date in an image's configuration. It is worth no failure.
    async fn built_at(&self, config: &str) -> Option<Timestamp> {
        let question = self.session.about(Method::GET, &format!("v2/{}/blobs/{config}", self.name)).ok()?;
        let answer = well(self.session.ask_and_follow(&question).await.ok()?).ok()?;
        let config: Config = json(answer, CONFIG_BYTES_MAX).await.ok()?;
        time(&config.created?)
    }

    /// Deletes a tag that leads to `digest`, and the image itself if no other tag is `shared` with it.
    pub(crate) async fn delete(&self, tag: &str, digest: &str, shared: bool) -> Result<(), RegistryError> {
        if !shared {
            return self.delete_manifest(digest).await;
        }
        match self.delete_manifest(tag).await {
            // It knows digests alone.
            Err(RegistryError::NoDeletion | RegistryError::NotThere | RegistryError::Refused(400 | 501)) => {}
            outcome => return outcome,
        }
        let Some(Kept { kind, bytes }) = self.manifest(digest).await? else {
            return Err(RegistryError::NotThere);
        };
        let copy = copy_for(tag, &bytes)?;
        let copied = digest_of(&copy);
        self.put(tag, &kind, copy).await?;
        let outcome = self.delete_manifest(&copied).await;
        if outcome.is_err() {
            // The tag is not to be left elsewhere than it was. If that fails too, it leads to the copy, which is the same image.
            let _ = self.put(tag, &kind, Bytes::from(bytes)).await;
        }
        outcome
    }

    async fn delete_manifest(&self, reference: &str) -> Result<(), RegistryError> {
        let question = self.session.about(Method::DELETE, &self.manifest_path(reference))?;
        well(self.session.ask(&question).await?).map(drop)
    }

    async fn put(&self, tag: &str, kind: &HeaderValue, manifest: Bytes) -> Result<(), RegistryError> {
        let question = self.session.about(Method::PUT, &self.manifest_path(tag))?;
        let question = question.body(kind.clone(), manifest);
        well(self.session.ask(&question).await?).map(drop)
    }

    /// A manifest; `None` if there is none.
    async fn manifest(&self, reference: &str) -> Result<Option<Kept>, RegistryError> {
        let question = self.session.about(Method::GET, &self.manifest_path(reference))?.accept(MANIFESTS);
        let answer = match well(self.session.ask(&question).await?) {
            Err(RegistryError::NotThere) => return Ok(None),
            answer => answer?,
        };
        let kind = answer.headers().get(CONTENT_TYPE).cloned();
        let kind = kind.ok_or(RegistryError::Strange("a manifest of no kind"))?;
        let bytes = read(answer, MANIFEST_BYTES_MAX).await?;
        bytes.map(|bytes| Some(Kept { kind, bytes })).ok_or(RegistryError::Strange("more than is read"))
    }

    fn manifest_path(&self, reference: &str) -> String {
        format!("v2/{}/manifests/{reference}", self.name)
    }
}

/// The same manifest under another digest.
fn copy_for(tag: &str, manifest: &[u8]) -> Result<Bytes, RegistryError> {
    let mut copy: Map<String, Value> = understood(manifest)?;
    let annotations = copy.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    let annotations = annotations.as_object_mut().ok_or(RegistryError::Strange("no manifest"))?;
    annotations.insert(UNTAGGED.to_owned(), Value::from(tag));
    Ok(Bytes::from(Value::Object(copy).to_string()))
}

/// An answer that is a success.
fn well(answer: Response) -> Result<Response, RegistryError> {
    match answer.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Login),
        StatusCode::NOT_FOUND => Err(RegistryError::NotThere),
        StatusCode::METHOD_NOT_ALLOWED => Err(RegistryError::NoDeletion),
        status => Err(RegistryError::Refused(status.as_u16())),
    }
}

async fn json<T: DeserializeOwned>(answer: Response, most: usize) -> Result<T, RegistryError> {
    let body = read(answer, most).await?.ok_or(RegistryError::Strange("more than is read"))?;
    understood(&body)
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|_| RegistryError::Strange("other JSON, or none"))
}

/// Where the tags go on: `Link: <…>; rel="next"`.
fn next_piece(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.replace(['"', ' '], "").contains("rel=next").then(|| target.to_owned())
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp(time.as_microsecond()))
}

/// Whether a text can be a tag.
pub(crate) fn is_tag(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins
        && text.len() <= IMAGE_TAG_CHARS_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether a text can be the name of an image in its registry: steps of lower-case letters and digits, with `.`, `_`, `__`
/// and any number of `-` between them.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_step = |step: &str| {
        let separators = step.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let mut separators = separators.filter(|separator| !separator.is_empty());
        let edges = step.as_bytes().first().zip(step.as_bytes().last());
        edges.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
            && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    };
    text.len() <= NAME_CHARS_MAX && text.split('/').all(is_step)
}

fn is_digest(text: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match text.split_once(':') {
        Some(("sha256", rest)) => hex(rest, 64),
        Some(("sha512", rest)) => hex(rest, 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_digests_are_what_registries_take() {
        for good in ["arena", "studio/arena", "a.b_c__d---e/0", "x1/y2/z3"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "a..b", "a___b", "-a", "a?b", "a%2fb",
            "\u{e9}", &long,
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        for good in ["v1", "_x", "1.0.0-rc.1", "Latest"] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a:b", "a b", "a?b", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
        assert!(is_digest(&digest_of(b"")) && digest_of(b"").ends_with("b855"));
        for bad in ["", "sha256:", "sha256:xyz", "md5:00", &format!("sha256:{}", "A".repeat(64))] {
            assert!(!is_digest(bad), "{bad}");
        }
    }

    #[test]
    fn tags_go_on_where_the_link_says() {
        let next = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(text));
            next_piece(&headers)
        };
        assert_eq!(next("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").unwrap(), "/v2/a/tags/list?last=b&n=2");
        for none in ["", "<x", "x>; rel=next", "</x>; rel=\"prev\""] {
            assert_eq!(next(none), None, "{none}");
        }
        assert_eq!(next_piece(&HeaderMap::new()), None);
    }
}
