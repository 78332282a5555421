//! The options of names and certificates: `[dns]`, `[tls]`, `api.tls`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use spawnpoint_dns::zone::NAME_SERVERS_MAX;

use super::Problem;

/// The built-in name server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Where it listens; none = it is off.
    pub listen: Vec<SocketAddr>,
    /// Its names; none = `ns.<suffix>`.
    pub name_servers: Vec<String>,
    /// Addresses of those that lie in the domain.
    pub addresses: Vec<IpAddr>,
    /// Seconds for which an address may be remembered.
    pub seconds: u32,
    /// Questions a second from each network of senders.
    pub questions_per_second: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            name_servers: Vec::new(),
            addresses: Vec::new(),
            seconds: 30,
            questions_per_second: 200,
        }
    }
}

impl Dns {
    /// Addresses to listen on, at most.
    const LISTEN_MAX: usize = 8;

    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |key: &str, text: String| Err(Problem::at(format!("dns.{key}"), text));
        if self.listen.len() > Self::LISTEN_MAX {
            return at("listen", format!("must be at most {} addresses", Self::LISTEN_MAX));
        }
        if !(1..=3600).contains(&self.seconds) {
            return at("seconds", "must be 1 to 3600".into());
        }
        if self.name_servers.len() > NAME_SERVERS_MAX || self.addresses.len() > NAME_SERVERS_MAX {
            let key = if self.addresses.len() > NAME_SERVERS_MAX { "addresses" } else { "name_servers" };
            return at(key, format!("must be at most {NAME_SERVERS_MAX}"));
        }
        let is_name = |name: &&String| {
            name.contains('.')
                && name.len() <= 200
                && name.trim_end_matches('.').split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        };
        match self.name_servers.iter().find(|name| !is_name(name)) {
            Some(name) => {
                at("name_servers", format!("{name:?} must be a domain name, as \"ns1.example.com\""))
            }
            None => Ok(()),
        }
    }
}

/// A certificate with its chain, and its key; both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, first in the file, and what leads from it to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// TLS in front of deployments' ports.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate; `None` = one of the installation's own authority.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Connections that one deployment takes at a time.
    pub connections_per_deployment: u32,
    /// Seconds without a byte after which a connection ends.
    pub idle_seconds: u32,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, connections_per_deployment: 1024, idle_seconds: 300 }
    }
}

impl Tls {
    /// Both files, or none.
    #[must_use]
    pub fn files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = (self.certificate.clone()?, self.key.clone()?);
        Some(CertificateFiles { certificate, key })
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |key: &str, text: &str| Err(Problem::at(format!("tls.{key}"), text));
        match (&self.certificate, &self.key) {
            (Some(_), None) => return at("key", "is missing: a certificate has one"),
            (None, Some(_)) => return at("certificate", "is missing: there is a key"),
            _ => {}
        }
        if !(1..=65_536).contains(&self.connections_per_deployment) {
            return at("connections_per_deployment", "must be 1 to 65536");
        }
        if !(5..=86_400).contains(&self.idle_seconds) {
            return at("idle_seconds", "must be 5 to 86400");
        }
        Ok(())
    }
}
