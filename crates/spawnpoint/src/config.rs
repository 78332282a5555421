//! The configuration: embedded defaults, a TOML file, the environment, two flags; the later one wins.
//!
//! What it is for: turning text that people wrote into typed values, once, at the start, and saying exactly what is
//! wrong with it: the key, the line, what is allowed. Mistakes end the program with exit code 2.
//!
//! What it must not know: drivers, the store, anything that runs. It opens no file but the one it is given.
//!
//! Entry points: [`load`] for the whole, [`Config::plan`] for the sites and hosts in the model's terms.
//!
//! The defaults are written twice: in the `Default` of each section, and with their explanation in
//! `config.default.toml`. A test compares the two.

mod added;
mod beacons;
mod env;
mod fleets;
mod kernel;
mod locate;
mod names;
mod oci;
mod plan;
mod problem;
#[cfg(test)]
mod tests;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spawnpoint_engine::image_tags::OwnRegistry;

pub use env::Variables;
pub use fleets::PrivateFleet;
pub use kernel::KernelPorts;
pub use names::{Acme, CertificateFiles, Dns, Tls};
pub use oci::Oci;
pub use plan::{DriverPlan, Endpoint, HostPlan, Plan, TlsFiles, default_docker};
pub use problem::Problem;
pub use values::{
    CapacityText, DriverKind, HttpUrl, LogFormat, LogLevel, NetworkText, PortRange, SecurityKind, StoreUrl,
};

/// The defaults with their explanations, as `spawnpoint config print-default` prints them.
pub const DEFAULT_TEXT: &str = include_str!("config/config.default.toml");

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP API.
    pub api: Api,
    /// Where files are kept.
    pub data: Data,
    /// The database.
    pub store: Store,
    /// Encryption at rest.
    pub secrets: Secrets,
    /// Names of deployments.
    pub domain: Domain,
    /// The name server for them.
    pub dns: Dns,
    /// TLS in front of deployments' ports.
    pub tls: Tls,
    /// Rates.
    pub limits: Limits,
    /// Calls to users' addresses.
    pub webhooks: Webhooks,
    /// Users' S3 buckets.
    pub storage: Storage,
    /// Container registries.
    pub images: Images,
    /// The embedded runtime.
    pub oci: Oci,
    /// Positions of addresses.
    pub geo: Geo,
    /// What answers pings.
    pub beacon: OwnBeacon,
    /// The listener for game servers.
    pub callback: Callback,
    /// Hosts that are added over the API.
    pub added_hosts: AddedHosts,
    /// How long records are kept.
    pub retention: Retention,
    /// What deployments use.
    pub metrics: Metrics,
    /// Logs of ended containers.
    pub logs: Logs,
    /// The registry that clients push images to.
    pub registry: Option<Registry>,
    /// The log.
    pub log: Log,
    /// Sites with their hosts; none means one local site.
    #[serde(rename = "site")]
    pub sites: Vec<Site>,
    /// Private fleets that hosts may belong to.
    #[serde(rename = "private_fleet")]
    pub private_fleets: Vec<PrivateFleet>,
}

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate and key; `None` = plain HTTP.
    pub tls: Option<CertificateFiles>,
    /// How others reach it.
    pub public_url: Option<HttpUrl>,
    /// Networks of proxies in front of the API whose word on the client's address is taken.
    pub trusted_proxies: Vec<NetworkText>,
    /// The header in which they say it.
    pub client_address_header: String,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            client_address_header: "X-Forwarded-For".into(),
        }
    }
}

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The directory.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("spawnpoint-data") }
    }
}

/// The database.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Which; `None` = SQLite in the data directory.
    pub url: Option<StoreUrl>,
}

/// Encryption at rest.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// The file with the master key; `None` = `master-key` in the data directory.
    pub master_key_file: Option<PathBuf>,
}

/// Names of deployments.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Deployments are named `<id>.<suffix>`.
    pub suffix: String,
}

impl Default for Domain {
    fn default() -> Self {
        Self { suffix: "spawnpoint.localhost".into() }
    }
}

/// Requests per second, for each token and operation; 0 = no limit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Of the deploy calls.
    pub deploy_per_second: u32,
    /// Of status.
    pub status_per_second: u32,
    /// Of the list of deployments.
    pub list_per_second: u32,
    /// Of the list of a private fleet's hosts.
    pub hosts_per_second: u32,
    /// Of calls without a valid token, from one address.
    pub failed_logins_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deploy_per_second: 40,
            status_per_second: 20,
            list_per_second: 10,
            hosts_per_second: 10,
            failed_logins_per_second: 20,
        }
    }
}

/// Calls to users' addresses.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Networks that may be called besides public ones.
    pub allow_networks: Vec<NetworkText>,
}

/// Users' S3 buckets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Networks that endpoint storages may lie in besides public ones.
    pub allow_networks: Vec<NetworkText>,
    /// MiB of logs that may wait for their upload.
    pub spool_mib: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self { allow_networks: Vec::new(), spool_mib: 2048 }
    }
}

/// Container registries.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Networks in which registries may be asked besides public ones.
    pub allow_networks: Vec<NetworkText>,
}

/// Positions of addresses.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Geo {
    /// A MaxMind-format city database.
    pub database: Option<PathBuf>,
}

/// What answers pings on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnBeacon {
    /// Whether anything does.
    pub enabled: bool,
    /// Where it listens.
    pub listen: std::net::IpAddr,
    /// Its UDP port; 0 = none.
    pub udp_port: u16,
    /// Its TCP port; 0 = none.
    pub tcp_port: u16,
    /// Address or name under which players reach it; `None` = the public address of each host of this machine.
    pub public_host: Option<String>,
}

impl Default for OwnBeacon {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: Ipv4Addr::UNSPECIFIED.into(),
            udp_port: 8090,
            tcp_port: 8090,
            public_host: None,
        }
    }
}

/// A beacon that a site or a host names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedBeacon {
    /// Address or name under which players reach it; of a host `None` = its public address.
    pub host: Option<String>,
    /// Its UDP port.
    pub udp_port: Option<u16>,
    /// Its TCP port.
    pub tcp_port: Option<u16>,
}

/// The listener for game servers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callback {
    /// Its port, on the address that containers see as their gateway.
    pub port: u16,
    /// What game servers are told instead.
    pub url: Option<HttpUrl>,
}

impl Default for Callback {
    fn default() -> Self {
        Self { port: 8099, url: None }
    }
}

/// How long records are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Hours after which a failed deployment is ended.
    pub error_hours: u32,
    /// Hours for which an ended one can be looked up.
    pub terminated_hours: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { error_hours: 24, terminated_hours: 168 }
    }
}

/// Logs of ended containers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// MiB that they may take together; 0 = none are kept.
    pub keep_mib: u32,
}

impl Default for Logs {
    fn default() -> Self {
        Self { keep_mib: 256 }
    }
}

/// What deployments use: how often it is sampled, and for how long it is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Seconds between two samples; 0 = none are taken.
    pub sample_seconds: u32,
    /// Hours for which every sample is kept.
    pub raw_hours: u32,
    /// Hours for which a value a minute is kept.
    pub minute_hours: u32,
    /// Days for which a value every ten minutes is kept.
    pub days: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { sample_seconds: 10, raw_hours: 1, minute_hours: 24, days: 7 }
    }
}

impl Metrics {
    /// Seconds between two samples at most: a series needs some values.
    const SAMPLE_SECONDS_MAX: u32 = 60;
    /// Hours for which every sample is kept at most: they are many.
    const RAW_HOURS_MAX: u32 = 24;
    /// Hours for which a value a minute is kept at most.
    const MINUTE_HOURS_MAX: u32 = 24 * 7;
    /// Days at most.
    const DAYS_MAX: u32 = 90;

    fn check(&self) -> Result<(), Problem> {
        let Self { sample_seconds, raw_hours, minute_hours, days } = self;
        let bounded = [
            ("sample_seconds", sample_seconds, Self::SAMPLE_SECONDS_MAX),
            ("raw_hours", raw_hours, Self::RAW_HOURS_MAX),
            ("minute_hours", minute_hours, Self::MINUTE_HOURS_MAX),
            ("days", days, Self::DAYS_MAX),
        ];
        match bounded.into_iter().find(|(_, value, most)| *value > most) {
            None => Ok(()),
            Some((name, _, most)) => {
                Err(Problem::at(format!("metrics.{name}"), format!("must be 0 to {most}")))
            }
        }
    }
}

/// The registry that clients push images to: the wizard endpoint gives it out, and the tags of its images are listed and
/// deleted.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Its host, without a scheme.
    pub url: String,
    /// The project in it.
    pub project: String,
    /// The login name.
    pub username: String,
    /// A file with the login secret.
    pub token_file: PathBuf,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people or for collectors.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
}

/// What hosts that are added over the API may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddedHosts {
    /// With it they may be engines on any machine, connected to with these files; without it only engines that hosts of
    /// the configuration have.
    pub tls: Option<TlsFiles>,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name, unique.
    pub name: String,
    /// City.
    pub city: String,
    /// Country.
    #[serde(default)]
    pub country: String,
    /// Continent.
    #[serde(default)]
    pub continent: String,
    /// State, province, county.
    #[serde(default)]
    pub administrative_division: String,
    /// Timezone's name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Words for filters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Driver of the hosts that name none.
    #[serde(default)]
    pub driver: DriverKind,
    /// What answers pings near its hosts.
    pub beacon: Option<NamedBeacon>,
    /// Its hosts; none means one that is called as the site.
    #[serde(default, rename = "host")]
    pub hosts: Vec<Host>,
}

/// Timezone of a site that names none.
fn utc() -> String {
    "UTC".into()
}

/// A host of a site.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name, unique over all sites.
    pub name: String,
    /// Where players reach it.
    pub public_address: Option<std::net::IpAddr>,
    /// What runs workloads on it; `None` = as the site says.
    pub driver: Option<DriverKind>,
    /// Where the engine listens.
    pub endpoint: Option<String>,
    /// Files for a TLS connection to it.
    pub tls: Option<TlsFiles>,
    /// What may be given out; `None` = measured.
    pub capacity: Option<CapacityText>,
    /// Host ports that may be given out.
    #[serde(default)]
    pub port_range: PortRange,
    /// What answers pings near it; `None` = its site's.
    pub beacon: Option<NamedBeacon>,
    /// The private fleet it belongs to.
    pub private_fleet: Option<String>,
    /// Takes no new deployments.
    #[serde(default)]
    pub cordoned: bool,
    /// Told to game servers.
    #[serde(default = "default_base_clock_mhz")]
    pub base_clock_mhz: u32,
    /// How tightly workloads are held.
    #[serde(default)]
    pub security: SecurityKind,
}

/// What game servers are told of a CPU nobody described.
fn default_base_clock_mhz() -> u32 {
    3000
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
}

/// A configuration that holds together, and what was odd on the way to it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The options.
    pub config: Config,
    /// The sites and hosts.
    pub plan: Plan,
    /// Things that are probably mistakes but hurt nobody.
    pub warnings: Vec<String>,
}

/// Reads the file (if one is given), puts the environment and the flags over it, and checks the whole.
///
/// # Errors
/// The first mistake, in words for the person who made it.
pub fn load(
    file: Option<&Path>,
    variables: &Variables,
    overrides: &Overrides,
    kernel: &KernelPorts,
) -> Result<Loaded, Problem> {
    let text = match file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|err| Problem::new(format!("cannot read the configuration: {err}")).in_file(path))?,
    };
    let at_file = |problem: Problem| match file {
        Some(path) => problem.in_file(path),
        None => problem,
    };
    // The file alone, so that a mistake in it is shown with its line; then the same text with the environment over it.
    let config: Config = toml::from_str(&text).map_err(|err| at_file(Problem::from_toml(&err)))?;
    let mut config = env::apply(config, &text, variables)?;
    if let Some(dir) = &overrides.data_dir {
        config.data.dir.clone_from(dir);
    }
    if let Some(listen) = overrides.listen {
        config.api.listen = listen;
    }
    let plan = config.checked_plan(kernel).map_err(|problem| at_file(problem.at_line_of(&text)))?;
    Ok(Loaded { config, plan, warnings: env::warnings(variables) })
}

impl Config {
    /// Checks what no single value can tell, and gives the sites and hosts.
    fn checked_plan(&self, kernel: &KernelPorts) -> Result<Plan, Problem> {
        let suffix = &self.domain.suffix;
        let label_ok = |l: &str| {
            !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if suffix.len() > 200 || !suffix.split('.').all(label_ok) {
            return Err(Problem::at("domain.suffix", "must be a domain name, as \"play.example.com\""));
        }
        let header = &self.api.client_address_header;
        if header.is_empty() || !header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Problem::at(
                "api.client_address_header",
                "must be a header's name, as \"X-Forwarded-For\"",
            ));
        }
        if let Some(registry) = &self.registry {
            let fields =
                [("url", &registry.url), ("project", &registry.project), ("username", &registry.username)];
            let empty = fields.into_iter().find(|(_, value)| value.is_empty()).map(|(name, _)| name);
            if let Some(name) = empty.or(registry.token_file.as_os_str().is_empty().then_some("token_file")) {
                return Err(Problem::at(format!("registry.{name}"), "is missing: a registry has all four"));
            }
            OwnRegistry::check(&registry.url, &registry.project)
                .map_err(|(name, problem)| Problem::at(format!("registry.{name}"), problem))?;
        }
        self.beacon.check()?;
        self.oci.check()?;
        if self.callback.port == 0 {
            return Err(Problem::at("callback.port", "must be a port from 1 to 65535"));
        }
        self.metrics.check()?;
        self.dns.check()?;
        self.tls.check()?;
        if let Some(acme) = &self.tls.acme {
            acme.check(self)?;
        }
        self.plan(kernel)
    }

    /// Whether the API speaks HTTPS.
    #[must_use]
    pub fn api_speaks_tls(&self) -> bool {
        self.api.tls.is_some() || self.tls.acme.as_ref().is_some_and(|acme| acme.api)
    }

    /// The database: the one that is named, or an SQLite file in the data directory.
    #[must_use]
    pub fn store_url(&self) -> StoreUrl {
        self.store.url.clone().unwrap_or_else(|| StoreUrl::Sqlite(self.data.dir.join("spawnpoint.db")))
    }

    /// The file with the master key.
    #[must_use]
    pub fn master_key_file(&self) -> PathBuf {
        self.secrets.master_key_file.clone().unwrap_or_else(|| self.data.dir.join("master-key"))
    }
}
