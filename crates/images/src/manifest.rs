//! Manifests, indexes and configurations, OCI's and Docker's: what of them is used, read leniently, and bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::{Digest, Hasher, ImageConfig, Limits, Platform, PullError};

/// What may answer a question for a manifest.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What one blob is said to be.
#[derive(Clone, Debug, Deserialize)]
pub struct Descriptor {
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<DescribedPlatform>,
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DescribedPlatform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// A manifest of one image.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// What a manifest document turned out to be.
#[derive(Clone, Debug)]
pub enum Document {
    Image(Manifest),
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyManifest {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde_json::Value>,
}

/// Descriptors of an index.
const MAX_INDEX: usize = 1024;

/// Reads a manifest or an index.
///
/// # Errors
/// [`PullError::Refused`].
pub fn read_document(bytes: &[u8], limits: &Limits) -> Result<Document, PullError> {
    let any: AnyManifest = serde_json::from_slice(bytes)
        .map_err(|e| PullError::refused(format!("its manifest cannot be read: {e}")))?;
    if any.schema_version == 1 || any.fs_layers.is_some() {
        return Err(PullError::refused(
            "its manifest is of Docker's first schema; push it again with a newer tool",
        ));
    }
    let kind = any.media_type.as_deref().unwrap_or_default();
    match (any.config, any.layers, any.manifests) {
        (None, None, Some(manifests)) if !kind.contains(".manifest.v") => {
            if manifests.len() > MAX_INDEX {
                return Err(PullError::refused("its index is too long"));
            }
            Ok(Document::Index(manifests))
        }
        (Some(config), Some(layers), None) if !kind.contains("index") && !kind.contains(".list.") => {
            if layers.len() > limits.layers {
                return Err(PullError::refused(format!(
                    "it has {} layers; at most {} can be stacked",
                    layers.len(),
                    limits.layers
                )));
            }
            if let Some(large) = layers.iter().find(|layer| layer.size > limits.layer_bytes) {
                return Err(PullError::refused(format!("the layer {} is too large", large.digest)));
            }
            Ok(Document::Image(Manifest { config, layers }))
        }
        // Something that is both could be one thing to one reader and another to the next.
        _ => Err(PullError::refused("its manifest is neither an image's nor an index")),
    }
}

/// The manifest of an index that a platform can run, the closest first.
///
/// # Errors
/// [`PullError::Platform`].
pub fn choose<'i>(index: &'i [Descriptor], wanted: &Platform) -> Result<&'i Descriptor, PullError> {
    let rank = |descriptor: &Descriptor| {
        let platform = descriptor.platform.as_ref()?;
        if platform.os != wanted.os || platform.architecture != wanted.architecture {
            return None;
        }
        variant_rank(&wanted.architecture, wanted.variant.as_deref(), platform.variant.as_deref())
    };
    let best = index.iter().filter_map(|d| Some((rank(d)?, d))).min_by_key(|(rank, _)| *rank);
    if let Some((_, descriptor)) = best {
        return Ok(descriptor);
    }
    // Layouts that hold one image do not always say for what.
    if let [only] = index
        && only.platform.as_ref().is_none_or(|p| p.architecture.is_empty())
    {
        return Ok(only);
    }
    let found =
        index.iter().filter_map(|d| d.platform.as_ref()).filter(|p| p.os != "unknown" && !p.os.is_empty());
    let mut found: Vec<String> =
        found.take(16).map(|p| printable(&format!("{}/{}", p.os, p.architecture))).collect();
    found.dedup();
    let found = if found.is_empty() { "nothing that can be run".to_owned() } else { found.join(", ") };
    Err(PullError::Platform { wanted: wanted.clone(), found })
}

/// How well a variant fits: 0 is best.
fn variant_rank(architecture: &str, wanted: Option<&str>, has: Option<&str>) -> Option<u8> {
    let number = |variant: Option<&str>| -> Option<u8> {
        let default = match architecture {
            "arm64" => "v8",
            "arm" => "v7",
            "amd64" => "v1",
            _ => return Some(0),
        };
        let text = variant.filter(|v| !v.is_empty()).unwrap_or(default);
        text.strip_prefix('v')?.parse().ok()
    };
    number(wanted)?.checked_sub(number(has)?)
}

/// What of a configuration is used.
#[derive(Clone, Debug)]
pub struct Config {
    pub image: ImageConfig,
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    config: Option<RawRun>,
    rootfs: RawRoot,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    #[serde(deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(deserialize_with = "nullable")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a configuration; it must be for `wanted` (or not say for what it is) and describe `layers` layers.
///
/// # Errors
/// [`PullError::Refused`], [`PullError::Platform`].
pub fn read_config(bytes: &[u8], wanted: &Platform, layers: usize) -> Result<Config, PullError> {
    let raw: RawConfig = serde_json::from_slice(bytes)
        .map_err(|e| PullError::refused(format!("its configuration is not an image's: {e}")))?;
    if raw.rootfs.diff_ids.len() != layers {
        let told = raw.rootfs.diff_ids.len();
        return Err(PullError::refused(format!(
            "its manifest has {layers} layers, its configuration {told}"
        )));
    }
    let run = raw.config.unwrap_or_default();
    let texts = run.entrypoint.iter().chain(&run.cmd).chain(&run.env).chain([&run.user, &run.working_dir]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(PullError::refused("its configuration contains a zero byte"));
    }
    let image = ImageConfig {
        os: raw.os.unwrap_or_default(),
        architecture: raw.architecture.unwrap_or_default(),
        entrypoint: run.entrypoint,
        cmd: run.cmd,
        env: run.env,
        user: run.user,
        working_dir: run.working_dir,
        stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
        exposed_ports: run.exposed_ports.into_keys().collect(),
        volumes: run.volumes.into_keys().collect(),
        labels: run.labels,
    };
    check_platform(&image, wanted)?;
    Ok(Config { image, diff_ids: raw.rootfs.diff_ids })
}

/// An image must be for the platform that is asked for.
///
/// # Errors
/// [`PullError::Platform`].
pub fn check_platform(config: &ImageConfig, wanted: &Platform) -> Result<(), PullError> {
    if config.is_for(wanted) {
        return Ok(());
    }
    let found = printable(&format!("{}/{}", config.os, config.architecture));
    Err(PullError::Platform { wanted: wanted.clone(), found })
}

/// The name of a stack of layers, for each of them: the OCI image specification's chain ids.
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let mut hasher = Hasher::sha256();
                hasher.update(format!("{below} {diff_id}").as_bytes());
                hasher.finish()
            }
        };
        chain.push(next);
    }
    chain
}

/// Text of others, fit for a message.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests;
