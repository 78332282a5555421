//! A deployment with everything that is needed to show it.

use std::net::IpAddr;
use std::sync::Arc;

use spawnpoint_model::session::Session;
use spawnpoint_model::site::{Beacon, Location};
use spawnpoint_model::{Deployment, HostId, PortBinding, Protocol, VersionSpec};

/// The host of a deployment, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlace {
    /// The host.
    pub host: HostId,
    /// Where players reach it.
    pub public_address: IpAddr,
    /// Where it is.
    pub location: Location,
    /// Its private fleet, if it belongs to one.
    pub private_fleet: Option<String>,
    /// Base clock of its CPU in MHz.
    pub base_clock_mhz: u32,
    /// What answers pings near it.
    pub beacon: Option<Beacon>,
}

/// A deployment with everything that is needed to show it.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// The row.
    pub deployment: Arc<Deployment>,
    /// The revision it runs.
    pub version: Arc<VersionSpec>,
    /// Its host, once it has or had one that is still configured.
    pub place: Option<Arc<HostPlace>>,
    /// The domain under which its name stands: its FQDN is `<id>.<domain>`.
    pub domain: Arc<str>,
    /// The sessions on it, the oldest first.
    pub sessions: Vec<Session>,
}

impl DeploymentView {
    /// Sockets that its sessions take.
    #[must_use]
    pub fn sockets_taken(&self) -> u32 {
        self.sessions.iter().map(Session::sockets).sum()
    }

    /// Its FQDN.
    #[must_use]
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.deployment.id, self.domain)
    }
}

impl DeploymentView {
    /// Where players reach a port: `host:port` for TCP and UDP, a URL for what is spoken over HTTP. The scheme is the
    /// secure one if TLS is ended in front of the port.
    #[must_use]
    pub fn link(&self, port: &PortBinding) -> String {
        let scheme = match (port.protocol, port.tls_upgrade) {
            (Protocol::Tcp | Protocol::Udp | Protocol::TcpUdp, _) => "",
            (Protocol::Http, false) => "http://",
            (Protocol::Http, true) | (Protocol::Https, _) => "https://",
            (Protocol::Ws, false) => "ws://",
            (Protocol::Ws, true) | (Protocol::Wss, _) => "wss://",
        };
        format!("{scheme}{}:{}", self.fqdn(), port.external)
    }

    /// What it runs instead of the image's entrypoint, if anything.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.deployment.spec.command.as_deref().or(self.version.command.as_deref())
    }

    /// What it runs instead of the image's arguments, if anything.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        self.deployment.spec.arguments.as_deref().or(self.version.arguments.as_deref())
    }
}
