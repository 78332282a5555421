//! Applications and their versions: what can be deployed.

use serde::{Deserialize, Serialize};

use crate::env::EnvVar;
use crate::ids::RevisionId;
use crate::limits;
use crate::names::{AppName, VersionName};
use crate::port::PortSpec;
use crate::secret::Sealed;
use crate::time::Timestamp;
use crate::units::Resources;

/// A game.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Application {
    /// Its name, unique in the installation.
    pub name: AppName,
    /// Whether it can be deployed.
    pub is_active: bool,
    /// A picture, base64; kept for dashboards and plugins, may be empty.
    pub image: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// When a process that ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Whatever its exit code.
    #[default]
    Always,
    /// If its exit code is not 0.
    OnFailure,
    /// Never: the deployment ends with its process.
    Never,
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ImageSource {
    /// The registry's host and port, without a scheme (`registry.example.com:5000`); empty = the engine's default.
    pub registry: String,
    /// The image's path in the registry (`studio/arena`).
    pub name: String,
    /// Its tag, or a digest (`sha256:…`).
    pub tag: String,
    /// Login name for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Login secret for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Sealed>,
}

impl ImageSource {
    /// The reference an engine understands: `registry/name:tag` or `registry/name@sha256:…`.
    #[must_use]
    pub fn reference(&self) -> String {
        let separator = if self.tag.starts_with("sha256:") { '@' } else { ':' };
        let tag = if self.tag.is_empty() { "latest" } else { &self.tag };
        if self.registry.is_empty() {
            format!("{}{separator}{tag}", self.name)
        } else {
            format!("{}/{}{separator}{tag}", self.registry, self.name)
        }
    }

    /// Whether the image behind the reference may change from one deployment to the next, so that the registry has
    /// to be asked each time.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.tag.is_empty() || self.tag == "latest"
    }
}

/// How sessions sit on a deployment of the version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SessionKind {
    /// No sessions.
    Default,
    /// Each player takes a socket.
    Seat,
    /// Each session takes a socket.
    Match,
}

/// Session settings of a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SessionConfig {
    /// How sessions are counted.
    pub kind: SessionKind,
    /// How many fit.
    pub sockets: u32,
    /// Deploy where no deployment has room.
    pub autodeploy: bool,
    /// Minutes without a session after which a deployment ends.
    pub empty_ttl_minutes: Option<u32>,
    /// Minutes that session records are kept.
    pub session_max_duration_minutes: u32,
}

/// Everything that a version says of how it is run. Immutable once stored: a change makes a new revision.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionSpec {
    /// The image.
    pub image: ImageSource,
    /// What one deployment may use.
    pub resources: Resources,
    /// Share of a GPU, 1024 = one; stored only.
    pub gpu_units: u32,
    /// Ports.
    pub ports: Vec<PortSpec>,
    /// Variables.
    pub env: Vec<EnvVar>,
    /// Replaces the image's entrypoint.
    pub command: Option<String>,
    /// Replaces the image's arguments.
    pub arguments: Option<String>,
    /// What happens when the process ends.
    pub restart_policy: RestartPolicy,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// Seconds that one attempt may take until READY.
    pub time_to_deploy_seconds: u32,
    /// Minutes after READY at which it is stopped; 0 or less = never.
    pub max_duration_minutes: i32,
    /// Whether it can be deployed.
    pub is_active: bool,
    /// Check the registry when the version is stored.
    pub verify_image: bool,
    /// Pull it to every host ahead of time.
    pub force_cache: bool,
    /// Only listed networks may reach its ports.
    pub access_list_active: bool,
    /// Where logs go at the end, by name.
    pub endpoint_storage: Option<String>,
    /// Sessions.
    pub session: Option<SessionConfig>,
    /// Fields that have no meaning here and are only echoed, as JSON text.
    pub extras: String,
}

impl VersionSpec {
    /// Defaults of everything that is optional, for `image` and `resources`.
    #[must_use]
    pub fn new(image: ImageSource, resources: Resources) -> Self {
        Self {
            image,
            resources,
            gpu_units: 0,
            ports: Vec::new(),
            env: Vec::new(),
            command: None,
            arguments: None,
            restart_policy: RestartPolicy::default(),
            grace_seconds: limits::GRACE_SECONDS_DEFAULT,
            time_to_deploy_seconds: limits::TIME_TO_DEPLOY_SECONDS_DEFAULT,
            max_duration_minutes: limits::MAX_DURATION_MINUTES_DEFAULT,
            is_active: true,
            verify_image: false,
            force_cache: false,
            access_list_active: false,
            endpoint_storage: None,
            session: None,
            extras: String::new(),
        }
    }
}

/// A version as it is stored: its name and its newest revision.
#[derive(Clone, PartialEq, Debug)]
pub struct Version {
    /// The application it belongs to.
    pub app: AppName,
    /// Its name, unique in the application.
    pub name: VersionName,
    /// Identifies the content of `spec`.
    pub revision: RevisionId,
    /// What it says.
    pub spec: std::sync::Arc<VersionSpec>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_written_as_engines_read_them() {
        let mut image = ImageSource {
            registry: "127.0.0.1:5000".into(),
            name: "studio/arena".into(),
            tag: "v1".into(),
            username: None,
            token: None,
        };
        assert_eq!(image.reference(), "127.0.0.1:5000/studio/arena:v1");
        assert!(!image.is_moving());
        image.tag = String::new();
        image.registry = String::new();
        assert_eq!(image.reference(), "studio/arena:latest");
        assert!(image.is_moving());
        image.tag = "sha256:abc".into();
        assert_eq!(image.reference(), "studio/arena@sha256:abc");
    }
}
