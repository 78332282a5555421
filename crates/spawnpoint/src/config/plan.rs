//! Sites and hosts of the configuration in the model's terms, after everything that can be checked without asking a host.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use spawnpoint_driver::Security;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::site::{Beacon, Location, PrivateFleet, Site};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, MemoryMib};

use super::{Config, DriverKind, Host, KernelPorts, PortRange, Problem};

/// Where Docker listens on a machine that nobody changed.
pub(super) const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Characters of a site's or a host's name.
const NAME_CHARS_MAX: usize = 63;

/// All sites and hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The sites, in the order of the file.
    pub sites: Vec<Arc<Site>>,
    /// The hosts, in the order of the file.
    pub hosts: Vec<HostPlan>,
    /// The private fleets, in the order of the file.
    pub private_fleets: Vec<PrivateFleet>,
}

/// A host that is to be connected.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlan {
    /// Its name.
    pub id: HostId,
    /// The site in which it stands.
    pub site: Arc<Site>,
    /// Where players reach it.
    pub public_address: IpAddr,
    /// What runs workloads on it.
    pub driver: DriverPlan,
    /// What may be given out; `None` = ask the host.
    pub capacity: Option<Resources>,
    /// Host ports that may be given out.
    pub port_range: RangeInclusive<u16>,
    /// The private fleet it belongs to.
    pub private_fleet: Option<String>,
    /// What answers pings near it.
    pub beacon: Option<Beacon>,
    /// Takes no new deployments.
    pub cordoned: bool,
    /// Told to game servers.
    pub base_clock_mhz: u32,
    /// How tightly workloads are held.
    pub security: Security,
}

/// What runs workloads on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriverPlan {
    /// The embedded runtime on this machine, or this machine's Docker engine where it cannot run.
    Auto,
    /// The embedded runtime on this machine.
    Oci,
    /// A Docker engine.
    Docker(Endpoint),
    /// Pretends, in memory.
    Fake,
}

/// Where a Docker engine listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// Over the network.
    Tcp {
        /// Name or address of the machine.
        host: String,
        /// TCP port.
        port: u16,
        /// How the two know each other; `None` on loopback only.
        tls: Option<TlsFiles>,
    },
}

/// Files for a TLS connection in which both sides show a certificate; each in PEM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Who signs the engine's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Endpoint {
    /// Reads `unix:///path` or `tcp://host:port`.
    pub(super) fn parse(text: &str, tls: Option<TlsFiles>) -> Result<Self, String> {
        let allowed = || format!("{text:?} must be \"unix:///PATH\" or \"tcp://ADDRESS:PORT\"");
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return match tls {
                None => Ok(Self::Unix(path.into())),
                Some(_) => Err("a unix socket takes no tls".into()),
            };
        }
        let rest = text.strip_prefix("tcp://").ok_or_else(allowed)?;
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(allowed)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(allowed)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(allowed());
        }
        let endpoint = Self::Tcp { host, port, tls };
        match &endpoint {
            Self::Tcp { tls: None, .. } if !endpoint.is_local() => Err(
                "an engine over the network needs tls = { ca, cert, key }: whoever reaches it is root there"
                    .into(),
            ),
            _ => Ok(endpoint),
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// The address at which players would reach what it runs, if that can be told.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { host, .. } if !self.is_local() => host.parse().ok(),
            Self::Unix(_) | Self::Tcp { .. } => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl fmt::Display for DriverPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Oci => f.write_str("oci"),
            Self::Docker(endpoint) => write!(f, "docker at {endpoint}"),
            Self::Fake => f.write_str("fake"),
        }
    }
}

impl Config {
    /// The sites and hosts; one local site with one host if there are none.
    pub(super) fn plan(&self, kernel: &KernelPorts) -> Result<Plan, Problem> {
        let local = [local_site()];
        let sites = if self.sites.is_empty() { &local[..] } else { &self.sites[..] };
        let mut plan = Plan { sites: Vec::new(), hosts: Vec::new(), private_fleets: Vec::new() };
        let mut names = BTreeSet::new();
        for (index, site) in sites.iter().enumerate() {
            let site_key = format!("site[{index}]");
            let key = &site_key;
            check_name(&site.name).map_err(|text| Problem::at(format!("{key}.name"), text))?;
            if plan.sites.iter().any(|other| other.id.as_str() == site.name) {
                let text = format!("two sites are named {:?}", site.name);
                return Err(Problem::at(format!("{key}.name"), text));
            }
            let placed = Arc::new(site.placed(key)?);
            plan.sites.push(Arc::clone(&placed));
            let own = [Host { base_clock_mhz: super::default_base_clock_mhz(), ..Host::named(&site.name) }];
            let hosts = if site.hosts.is_empty() { &own[..] } else { &site.hosts[..] };
            for (index, host) in hosts.iter().enumerate() {
                let key = format!("{key}.host[{index}]");
                if !names.insert(host.name.clone()) {
                    let text = format!("two hosts are named {:?}", host.name);
                    return Err(Problem::at(format!("{key}.name"), text));
                }
                self.check_fleet(&key, host)?;
                let mut planned = host.placed(&key, site.driver, &placed)?;
                planned.beacon = self.beacon_of(site, host, &planned, &site_key, &key)?;
                plan.hosts.push(planned);
                plan.check_newest_host(&key, kernel)?;
            }
        }
        plan.private_fleets = self.private_fleets(&plan.hosts)?;
        Ok(plan)
    }
}

impl HostPlan {
    /// Whether it is on this machine, as far as can be told.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.driver {
            DriverPlan::Docker(endpoint) => endpoint.is_local(),
            DriverPlan::Auto | DriverPlan::Oci | DriverPlan::Fake => true,
        }
    }

    /// What its workloads share with those of other hosts: the machine, or an engine elsewhere. `None`: nothing.
    fn shared(&self) -> Option<String> {
        match &self.driver {
            DriverPlan::Fake => None,
            DriverPlan::Docker(endpoint) if !endpoint.is_local() => Some(format!("the engine at {endpoint}")),
            DriverPlan::Docker(Endpoint::Unix(path)) if path.as_os_str() != DOCKER_SOCKET => {
                Some(format!("the engine at unix://{}", path.display()))
            }
            DriverPlan::Docker(endpoint @ Endpoint::Tcp { .. }) => Some(format!("the engine at {endpoint}")),
            DriverPlan::Auto | DriverPlan::Oci | DriverPlan::Docker(Endpoint::Unix(_)) => {
                Some("this machine".to_owned())
            }
        }
    }
}

/// Docker's default socket, for hosts that are run automatically where the embedded runtime cannot run.
#[must_use]
pub fn default_docker() -> Endpoint {
    Endpoint::Unix(DOCKER_SOCKET.into())
}

impl Plan {
    /// Checks the last host against the kernel and against those before it with which it shares an engine.
    pub(super) fn check_newest_host(&self, key: &str, kernel: &KernelPorts) -> Result<(), Problem> {
        let Some((newest, before)) = self.hosts.split_last() else { return Ok(()) };
        let Some(shared) = newest.shared() else { return Ok(()) };
        let range = PortRange(newest.port_range.clone());
        if newest.is_local()
            && let Some(port) = kernel.first_taken(&range.0)
        {
            let text = format!(
                "the kernel may use port {port} of {range} for an outgoing connection; choose a range outside \
                 net.ipv4.ip_local_port_range, or keep it free: sysctl -w net.ipv4.ip_local_reserved_ports={range}"
            );
            return Err(Problem::at(format!("{key}.port_range"), text));
        }
        for other in before.iter().filter(|other| other.shared().as_ref() == Some(&shared)) {
            if range.overlaps(&other.port_range) {
                let text = format!(
                    "{range} of host {:?} overlaps {} of host {:?}, and both stand on {shared}",
                    newest.id,
                    PortRange(other.port_range.clone()),
                    other.id
                );
                return Err(Problem::at(format!("{key}.port_range"), text));
            }
            if newest.capacity.is_none() || other.capacity.is_none() {
                let text = format!(
                    "hosts {:?} and {:?} share {shared}: say what may be given out on each, \
                     as capacity = {{ cpu_units = 2048, memory_mib = 2048 }}",
                    other.id, newest.id
                );
                return Err(Problem::at(format!("{key}.capacity"), text));
            }
        }
        Ok(())
    }
}

impl super::Site {
    /// The site in the model's terms.
    fn placed(&self, key: &str) -> Result<Site, Problem> {
        GeoPoint::checked(self.latitude, self.longitude)
            .map_err(|invalid| Problem::at(format!("{key}.{}", invalid.field), invalid.problem))?;
        Ok(Site {
            id: self.name.as_str().into(),
            location: Location {
                city: self.city.clone(),
                country: self.country.clone(),
                continent: self.continent.clone(),
                administrative_division: self.administrative_division.clone(),
                timezone: self.timezone.clone(),
                latitude: self.latitude,
                longitude: self.longitude,
            },
            tags: self.tags.clone(),
        })
    }
}

impl Host {
    /// A host with everything at its default.
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The host in the model's terms.
    pub(super) fn placed(
        &self,
        key: &str,
        site_driver: DriverKind,
        site: &Arc<Site>,
    ) -> Result<HostPlan, Problem> {
        let at = |field: &str, text: String| Problem::at(format!("{key}.{field}"), text);
        check_name(&self.name).map_err(|text| at("name", text))?;
        let driver = self.driver_plan(site_driver).map_err(|(field, text)| at(field, text))?;
        let reachable = match &driver {
            DriverPlan::Docker(endpoint) => endpoint.address(),
            DriverPlan::Auto | DriverPlan::Oci | DriverPlan::Fake => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let public_address = self.public_address.or(reachable).ok_or_else(|| {
            at(
                "public_address",
                "say where players reach it: the endpoint is a name, and players get an address".into(),
            )
        })?;
        if public_address.is_unspecified() || public_address.is_multicast() {
            return Err(at(
                "public_address",
                format!("{public_address} is no address that players can reach"),
            ));
        }
        let capacity = self
            .capacity
            .map(|given| Resources { cpu: CpuUnits(given.cpu_units), memory: MemoryMib(given.memory_mib) });
        Ok(HostPlan {
            id: self.name.as_str().into(),
            site: Arc::clone(site),
            public_address,
            driver,
            capacity,
            port_range: self.port_range.0.clone(),
            private_fleet: self.private_fleet.clone(),
            beacon: None,
            cordoned: self.cordoned,
            base_clock_mhz: self.base_clock_mhz,
            security: self.security.into(),
        })
    }

    /// What runs workloads on it; an error names the field.
    fn driver_plan(&self, site_driver: DriverKind) -> Result<DriverPlan, (&'static str, String)> {
        let unbuilt = |name: &str| {
            let text = format!(
                "{name:?} is planned, but not part of this release; use \"auto\", \"oci\", \"docker\" or \"fake\""
            );
            Err(("driver", text))
        };
        match self.driver.unwrap_or(site_driver) {
            DriverKind::Oci if self.endpoint.is_some() || self.tls.is_some() => {
                let field = if self.endpoint.is_some() { "endpoint" } else { "tls" };
                Err((field, "the embedded runtime runs on this machine and has no endpoint".into()))
            }
            DriverKind::Oci => Ok(DriverPlan::Oci),
            DriverKind::Kubernetes => unbuilt("kubernetes"),
            DriverKind::Fake if self.endpoint.is_some() => {
                Err(("endpoint", "a fake host has no endpoint".into()))
            }
            DriverKind::Fake if self.tls.is_some() => Err(("tls", "a fake host has no connection".into())),
            DriverKind::Fake => Ok(DriverPlan::Fake),
            DriverKind::Auto | DriverKind::Docker => match &self.endpoint {
                Some(text) => {
                    let endpoint =
                        Endpoint::parse(text, self.tls.clone()).map_err(|text| ("endpoint", text))?;
                    Ok(DriverPlan::Docker(endpoint))
                }
                None if self.tls.is_some() => {
                    Err(("tls", "tls needs an endpoint = \"tcp://ADDRESS:PORT\"".into()))
                }
                None if self.driver.unwrap_or(site_driver) == DriverKind::Auto => Ok(DriverPlan::Auto),
                None => Ok(DriverPlan::Docker(default_docker())),
            },
        }
    }
}

/// The one site of a configuration that names none: this machine.
pub(super) fn local_site() -> super::Site {
    super::Site {
        name: "local".into(),
        city: "Local".into(),
        country: "Local".into(),
        continent: "Local".into(),
        administrative_division: "Local".into(),
        timezone: super::utc(),
        latitude: 0.0,
        longitude: 0.0,
        tags: Vec::new(),
        driver: DriverKind::Auto,
        beacon: None,
        hosts: Vec::new(),
    }
}

/// Names stand in labels, answers and log lines.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(ok) {
        return Ok(());
    }
    Err(format!("{name:?} must be 1 to {NAME_CHARS_MAX} letters, digits, dots, hyphens or underscores"))
}
