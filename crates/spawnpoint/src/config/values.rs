//! Values that have a form of their own: each says in one sentence what it may be.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use spawnpoint_driver::Security;
use spawnpoint_engine::webhooks::Network;
use tracing_subscriber::EnvFilter;

/// An `http://` or `https://` address without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let allowed =
            "must be an http:// or https:// address without a query, as \"https://spawnpoint.example.com\"";
        let url = reqwest::Url::parse(&text).map_err(|err| format!("{err}; {allowed}"))?;
        let plain =
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
        if !plain || url.host_str().is_none() {
            return Err(allowed.into());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Which database.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL may carry a password.
    Postgres(String),
}

impl TryFrom<String> for StoreUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text));
        }
        match text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest)) {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err("must be \"sqlite:PATH\" or \"postgres://USER@HOST:PORT/DATABASE\"".into()),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => match reqwest::Url::parse(url) {
                Ok(url) => write!(
                    f,
                    "postgres://{}:{}{}",
                    url.host_str().unwrap_or("localhost"),
                    url.port().unwrap_or(5432),
                    url.path()
                ),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A network, written `10.0.0.0/8` or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NetworkText(pub Network);

impl TryFrom<String> for NetworkText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let allowed =
            || format!("{text:?} is not a network; write it as \"10.0.0.0/8\", \"fd00::/8\" or one address");
        Network::parse(&text).map(Self).ok_or_else(allowed)
    }
}

/// A range of ports, written `30000-32767`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange(pub RangeInclusive<u16>);

impl PortRange {
    /// Whether the two have a port in common.
    #[must_use]
    pub fn overlaps(&self, other: &RangeInclusive<u16>) -> bool {
        self.0.start() <= other.end() && other.start() <= self.0.end()
    }
}

impl Default for PortRange {
    /// Kubernetes' NodePort range: below where Linux begins to use ports for outgoing connections.
    fn default() -> Self {
        Self(30000..=32767)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parse = |part: &str| part.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
        match text.split_once('-').map(|(first, last)| (parse(first), parse(last))) {
            Some((Some(first), Some(last))) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!("{text:?} is not a range of ports from 1024 to 65535, as \"30000-32767\"")),
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// What is logged, as `tracing` writes filters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel(String);

impl LogLevel {
    /// The filter.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        // The Docker client writes the bodies of its requests into the log, secrets included, from debug on.
        EnvFilter::new(format!("{},bollard=warn", self.0))
    }

    /// Only what goes wrong.
    #[must_use]
    pub fn warnings() -> Self {
        Self("warn".into())
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".into())
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let known = |part: &str| {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            levels.contains(&level.trim().to_lowercase().as_str())
        };
        if text.split(',').any(|part| part.trim().starts_with("bollard")) {
            return Err(format!(
                "{text:?} must not name bollard: that client of Docker would write secrets into the log"
            ));
        }
        if text.split(',').all(known) && EnvFilter::try_new(&text).is_ok() {
            return Ok(Self(text));
        }
        Err(format!(
            "{text:?} is not a level (error, warn, info, debug, trace) or a list as \"info,spawnpoint_engine=debug\""
        ))
    }
}

/// What runs workloads on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// What is there.
    #[default]
    Auto,
    /// The embedded runtime.
    Oci,
    /// A Docker engine.
    Docker,
    /// A Kubernetes cluster.
    Kubernetes,
    /// Pretends, in memory.
    Fake,
}

/// What may be given out on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityText {
    /// 1024 = one vCPU.
    pub cpu_units: u32,
    /// MiB.
    pub memory_mib: u32,
}

/// How tightly workloads are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityKind {
    /// What game images need.
    #[default]
    Baseline,
    /// No root, no capability, read-only.
    Restricted,
}

impl From<SecurityKind> for Security {
    fn from(kind: SecurityKind) -> Self {
        match kind {
            SecurityKind::Baseline => Self::Baseline,
            SecurityKind::Restricted => Self::Restricted,
        }
    }
}
