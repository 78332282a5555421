//! Where an engine answers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use spawnpoint_driver::DriverError;

use crate::error::from_bollard;

/// Longer than any deadline of ours: bollard's own limit must never be the one that ends a call.
const CLIENT_TIMEOUT_SECONDS: u64 = 600;
/// Streams may stay silent for as long as a match lasts.
const STREAM_TIMEOUT: Duration = Duration::from_secs(400 * 86_400);

/// The certificates for an engine behind TLS, as `docker --tlsverify` names them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Who signed the engine's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Where an engine answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// Another machine; in the clear only if there are no certificates.
    Tcp {
        /// `host:port`
        address: String,
        /// For TLS.
        tls: Option<TlsFiles>,
    },
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/var/run/docker.sock"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address, .. } => write!(f, "tcp://{address}"),
        }
    }
}

impl Endpoint {
    /// Reads `unix:///path` or `tcp://host:port`, the forms of `DOCKER_HOST`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str, tls: Option<TlsFiles>) -> Result<Self, DriverError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(Path::new(path).to_owned()));
        }
        let address = text.strip_prefix("tcp://").map(|rest| rest.trim_end_matches('/'));
        let has_port =
            |address: &&str| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match address.filter(has_port) {
            Some(address) => Ok(Self::Tcp { address: address.to_owned(), tls }),
            None => Err(DriverError::Invalid(format!(
                "a Docker endpoint is unix:///path/to/docker.sock or tcp://host:port, not {text:?}"
            ))),
        }
    }

    /// The host name or address of another machine.
    #[must_use]
    pub fn remote_host(&self) -> Option<&str> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { address, .. } => address.rsplit_once(':').map(|(host, _)| host),
        }
    }

    /// A client for it. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Docker, DriverError> {
        match self {
            Self::Unix(path) => {
                let path = path.to_string_lossy();
                Docker::connect_with_unix(&path, CLIENT_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            }
            Self::Tcp { address, tls: None } => {
                Docker::connect_with_http(address, CLIENT_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            }
            Self::Tcp { address, tls: Some(files) } => {
                // rustls has no provider of its own in this build. Whoever comes first installs it.
                let _ = rustls::crypto::ring::default_provider().install_default();
                Docker::connect_with_ssl(
                    address,
                    &files.key,
                    &files.cert,
                    &files.ca,
                    CLIENT_TIMEOUT_SECONDS,
                    API_DEFAULT_VERSION,
                )
            }
        }
        .map_err(|error| from_bollard(&error))
    }

    /// The same client for streams that may be silent for long.
    pub(crate) fn for_streams(client: &Docker) -> Docker {
        client.clone().with_timeout(STREAM_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_docker_host_writes_them() {
        assert_eq!(Endpoint::parse("unix:///var/run/docker.sock", None).unwrap(), Endpoint::default());
        let remote = Endpoint::parse("tcp://10.0.0.7:2376/", None).unwrap();
        assert_eq!(remote.remote_host(), Some("10.0.0.7"));
        assert_eq!(remote.to_string(), "tcp://10.0.0.7:2376");
        for bad in ["", "docker", "tcp://host", "http://host:1", "tcp://host:99999"] {
            assert!(Endpoint::parse(bad, None).is_err(), "{bad:?}");
        }
    }
}
