//! An image that is here: what its manifest and configuration say, and where its layers are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

/// An image, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest (of the platform's own, where an index led to it).
    pub digest: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Its layers, lowest first; at least one. Overlayfs wants them highest first. Absolute; short names, so that 127 of
    /// them fit a mount's options if they are given relative to [`Store::layers_dir`](crate::Store::layers_dir).
    pub layers: Vec<PathBuf>,
    /// The mode and owner that `/` has in the image: a container's upper directory must have them, since that is what
    /// overlayfs shows.
    pub root: RootAttributes,
    /// Bytes of its files, over all layers.
    pub size: u64,
}

/// Mode and owner of a root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootAttributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Default for RootAttributes {
    fn default() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0 }
    }
}

/// How an image wants to be run. Empty where the image says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `linux`; empty if it does not say.
    pub os: String,
    /// `amd64`; empty if it does not say.
    pub architecture: String,
    /// The program.
    pub entrypoint: Vec<String>,
    /// Its arguments, or program and arguments if there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty for root.
    pub user: String,
    /// Where the program starts; empty for `/`.
    pub working_dir: String,
    /// `SIGTERM`, `15`, …
    pub stop_signal: Option<String>,
    /// `7777/udp`
    pub exposed_ports: Vec<String>,
    /// Paths that want a volume.
    pub volumes: Vec<String>,
    /// What the builder noted.
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// Whether it is for a platform, or does not say for which it is.
    #[must_use]
    pub fn is_for(&self, platform: &Platform) -> bool {
        let fits = |has: &str, wanted: &str| has.is_empty() || has == wanted;
        fits(&self.os, &platform.os) && fits(&self.architecture, &platform.architecture)
    }
}
