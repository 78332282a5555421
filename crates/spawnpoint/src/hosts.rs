//! From the plan of hosts to hosts with drivers: the one place that names concrete drivers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_driver::Driver;
use spawnpoint_driver::fake::{FakeConfig, FakeDriver};
use spawnpoint_driver_docker as docker;
use spawnpoint_driver_docker::{DockerDriver, DockerEngine, EngineConfig};
use spawnpoint_engine::{Clock as _, HostSetup, SystemClock};
use spawnpoint_model::site::Host;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, MemoryMib};
use spawnpoint_store::{Store, Tx};
use tokio::net::UdpSocket;

use crate::added_hosts::Connector;
use crate::config::{Config, DriverPlan, Endpoint, HostPlan, Plan};
use crate::embedded;
use crate::failure::Failure;
use crate::local::{self, LocalEngine};
use crate::opened::Opened;
use crate::tls::Fronts;

/// How long a host may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Processes and threads that a workload may have: enough for any game, too few to starve a host.
const PIDS_MAX: u32 = 1024;
/// Of a measured host's memory one part in so many is left to the host itself.
const MEMORY_KEPT: u32 = 16;
/// What a fake host without a capacity has: 4096 vCPU and 8 TiB.
pub const FAKE_CAPACITY: Resources = Resources { cpu: CpuUnits(4 << 20), memory: MemoryMib(8 << 20) };

/// The hosts, and the engines of this machine under them.
pub struct Hosts {
    /// What the product works with.
    pub setups: Vec<HostSetup>,
    /// Engines whose containers reach this machine by their gateway.
    pub local_engines: Vec<LocalEngine>,
    /// Connects hosts that are added later.
    pub connector: Arc<Connector>,
}

/// What a host is connected with besides its configuration.
#[derive(Clone)]
pub struct Base {
    /// The rows.
    pub store: Store,
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Ends TLS in front of its ports; `None` = nobody serves.
    pub fronts: Option<Arc<Fronts>>,
}

impl Hosts {
    /// Takes network and firewall rules off this machine's engines if no workload is left, not even an ended one.
    pub async fn tidy(&self) {
        let configured = self.setups.iter().map(|setup| setup.driver.clone());
        for driver in configured.chain(self.connector.drivers()) {
            if !driver.list().await.is_ok_and(|left| left.is_empty()) {
                return;
            }
        }
        for engine in &self.local_engines {
            if let Err(err) = engine.tidy().await {
                tracing::debug!(error = %err, "the network stays");
            }
        }
    }
}

/// Connects to every host. A host that does not answer now is taken with what was measured of it before. Whoever serves gives
/// `fronts`.
///
/// # Errors
/// A host that was never measured does not answer, or an endpoint's certificates cannot be read.
pub async fn connect(
    config: &Config,
    plan: &Plan,
    opened: &Opened,
    fronts: Option<Arc<Fronts>>,
) -> Result<Hosts, Failure> {
    let mut engines: BTreeMap<Endpoint, Arc<DockerEngine>> = BTreeMap::new();
    let base = Base { store: opened.store.clone(), clock: opened.clock.clone(), fronts };
    let mut setups = Vec::new();
    let mut embedded = local::Embedded::default();
    // As the plan, but for hosts that may be one or the other.
    let mut decided = plan.clone();
    for (planned, decided) in plan.hosts.iter().zip(&mut decided.hosts) {
        let chosen = embedded.choose(config, plan, planned, opened).await?;
        decided.driver = chosen.clone();
        let reached = match &chosen {
            DriverPlan::Oci | DriverPlan::Auto => {
                Reached::embedded(config, planned, embedded.engine(config, plan, opened).await?)
            }
            DriverPlan::Docker(endpoint) => {
                let engine = match engines.get(endpoint) {
                    Some(engine) => engine.clone(),
                    None => {
                        let engine = connect_docker(config, endpoint, &planned.id, &opened.store)?;
                        engines.insert(endpoint.clone(), engine.clone());
                        engine
                    }
                };
                Reached::docker(config, planned, endpoint, engine, &opened.store).await
            }
            DriverPlan::Fake => Reached::fake(planned, planned.capacity, &base).await?,
        };
        let capacity = match (planned.capacity, &chosen) {
            (Some(capacity), _) => capacity,
            (None, DriverPlan::Fake) => FAKE_CAPACITY,
            (None, _) => measured(planned, reached.driver.as_ref(), &opened.store)
                .await
                .map_err(|failure| embedded.explain(planned, failure))?,
        };
        setups.push(base.setup(planned, capacity, reached));
    }
    let connector = Arc::new(Connector::new(config, &decided, base, engines.clone()));
    let docker = engines.into_iter().filter(|(endpoint, _)| endpoint.is_local());
    let docker = docker.map(|(_, engine)| LocalEngine::Docker(engine));
    let local_engines = embedded.opened().map(LocalEngine::Oci).into_iter().chain(docker).collect();
    Ok(Hosts { setups, local_engines, connector })
}

/// How a host is reached.
pub struct Reached {
    /// What runs workloads on it.
    pub driver: Arc<dyn Driver>,
    /// Where its containers reach the API.
    callback_url: Option<String>,
    /// TLS can be ended in front of its ports.
    ends_tls: bool,
}

impl Reached {
    /// By a Docker engine.
    pub async fn docker(
        config: &Config,
        planned: &HostPlan,
        endpoint: &Endpoint,
        engine: Arc<DockerEngine>,
        store: &Store,
    ) -> Self {
        let callback_url = callback_url(config, endpoint, &engine, store).await;
        let ends_tls = endpoint.is_local() && reaches_containers(planned, &engine).await;
        Self { driver: Arc::new(DockerDriver::new(engine, planned.id.clone())), callback_url, ends_tls }
    }

    /// By the embedded runtime.
    fn embedded(config: &Config, planned: &HostPlan, engine: Arc<embedded::Engine>) -> Self {
        let given = config.callback.url.as_ref().map(|url| url.as_str().to_owned());
        let own = || format!("http://{}:{}", engine.gateway(), config.callback.port);
        let callback_url = Some(given.unwrap_or_else(own));
        Self { driver: embedded::driver(engine, planned.id.clone()), callback_url, ends_tls: true }
    }

    /// Not at all: it pretends, and pretends to end TLS as well.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn fake(planned: &HostPlan, total: Option<Resources>, base: &Base) -> Result<Self, Failure> {
        let driver = fake(&planned.id, total.unwrap_or(FAKE_CAPACITY), base).await?;
        Ok(Self { driver, callback_url: None, ends_tls: true })
    }
}

impl Base {
    /// A host that is connected, with a front where TLS can be ended and somebody serves.
    pub fn setup(&self, planned: &HostPlan, capacity: Resources, reached: Reached) -> HostSetup {
        let Reached { driver, callback_url, ends_tls } = reached;
        let fronts = self.fronts.as_ref().filter(|_| ends_tls && planned.driver != DriverPlan::Fake);
        HostSetup {
            host: Arc::new(host(planned, capacity, ends_tls)),
            driver,
            callback_url,
            security: planned.security,
            pids_max: PIDS_MAX,
            front: fronts.map(|fronts| fronts.stand_before(planned.public_address)),
        }
    }
}

fn host(planned: &HostPlan, capacity: Resources, ends_tls: bool) -> Host {
    Host {
        id: planned.id.clone(),
        site: planned.site.clone(),
        public_address: planned.public_address,
        capacity,
        port_range: planned.port_range.clone(),
        private_fleet: planned.private_fleet.clone(),
        ends_tls,
        cordoned: planned.cordoned,
        base_clock_mhz: planned.base_clock_mhz,
        beacon: planned.beacon.clone(),
    }
}

impl From<&Endpoint> for docker::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Unix(path) => Self::Unix(path.clone()),
            Endpoint::Tcp { host, port, tls } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let tls = tls.as_ref().map(|files| docker::TlsFiles {
                    ca: files.ca.clone(),
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                });
                Self::Tcp { address: format!("{host}:{port}"), tls }
            }
        }
    }
}

/// A connection to a Docker engine. Nothing is sent yet.
///
/// # Errors
/// Its certificates cannot be read.
pub fn connect_docker(
    config: &Config,
    endpoint: &Endpoint,
    host: &HostId,
    store: &Store,
) -> Result<Arc<DockerEngine>, Failure> {
    let engine = EngineConfig {
        endpoint: endpoint.into(),
        installation: store.installation().clone(),
        callback_port: Some(config.callback.port),
    };
    DockerEngine::connect(engine).map_err(|err| {
        Failure::new(format!(
            "host {host} (docker at {endpoint}): {err}; start its engine (scripts/demo.sh can)"
        ))
    })
}

/// A fake host. Its workloads lived in the last process, so those that rows know are taken as living on.
async fn fake(id: &HostId, total: Resources, base: &Base) -> Result<Arc<dyn Driver>, Failure> {
    let clock = base.clock.clone();
    let config =
        FakeConfig { total: Some(total), host_deadlines: false, clock: Some(Arc::new(move || clock.now())) };
    let driver = FakeDriver::new(base.store.installation(), id.clone(), config);
    let rows = base.store.live_deployments().await?;
    let live = rows.iter().filter(|row| row.state.phase.may_have_workload());
    driver.remember(live.filter_map(|row| Some((row.workload(), row.state.host.clone()?))));
    Ok(Arc::new(driver))
}

/// Where containers of a host reach the API: the listener on the gateway of their own network, if the engine is here.
async fn callback_url(
    config: &Config,
    endpoint: &Endpoint,
    engine: &DockerEngine,
    store: &Store,
) -> Option<String> {
    if let Some(url) = &config.callback.url {
        return Some(url.as_str().to_owned());
    }
    if !endpoint.is_local() {
        return None;
    }
    let port = config.callback.port;
    let setting = format!("gateway of {endpoint}");
    match tokio::time::timeout(PATIENCE, engine.gateway()).await {
        Ok(Ok(gateway)) => {
            remember(store, &setting, &gateway.to_string()).await;
            Some(format!("http://{gateway}:{port}"))
        }
        // The network outlives the engine's restarts, and with it the gateway.
        Ok(Err(_)) | Err(_) => {
            let known = store.find_setting(&setting).await.ok().flatten();
            known.map(|gateway| format!("http://{gateway}:{port}"))
        }
    }
}

/// Whether this machine reaches containers by their own addresses: it does not where the engine lives in a virtual machine, or
/// behind a tunnel. The address of their gateway tells: it is one of this machine's.
async fn reaches_containers(planned: &HostPlan, engine: &DockerEngine) -> bool {
    let Ok(Ok(gateway)) = tokio::time::timeout(PATIENCE, engine.gateway()).await else { return true };
    match UdpSocket::bind((gateway, 0)).await {
        Err(err) if err.kind() == io::ErrorKind::AddrNotAvailable => {
            tracing::warn!(host.id = %planned.id, "no TLS can be ended for this host: its containers cannot be reached directly");
            false
        }
        Ok(_) | Err(_) => true,
    }
}

/// What there is on a host, less a little for the host itself; what it was the last time if it does not answer now.
async fn measured(planned: &HostPlan, driver: &dyn Driver, store: &Store) -> Result<Resources, Failure> {
    let setting = format!("measured capacity of {}", planned.id);
    let reason = match measure(driver).await {
        Ok(capacity) => {
            remember(store, &setting, &format!("{} {}", capacity.cpu.0, capacity.memory.0)).await;
            return Ok(capacity);
        }
        Err(reason) => reason,
    };
    let known = store.find_setting(&setting).await?;
    let numbers = known.as_deref().and_then(|text| text.split_once(' '));
    if let Some((Ok(cpu), Ok(memory))) = numbers.map(|(cpu, memory)| (cpu.parse(), memory.parse())) {
        tracing::warn!(host.id = %planned.id, %reason, "host is not well; it is taken with the capacity that was measured last");
        return Ok(Resources { cpu: CpuUnits(cpu), memory: MemoryMib(memory) });
    }
    Err(Failure::new(format!(
        "host {} ({}) cannot be measured: {reason}; start its engine (scripts/demo.sh can), or give the host a capacity in the configuration",
        planned.id, planned.driver
    )))
}

/// What there is on a host now, less a little for the host itself.
///
/// # Errors
/// Why it cannot be told.
pub async fn measure(driver: &dyn Driver) -> Result<Resources, String> {
    match tokio::time::timeout(PATIENCE, driver.probe()).await {
        Ok(Ok(probe)) => match probe.total {
            Some(Resources { cpu, memory: MemoryMib(memory) }) => {
                Ok(Resources { cpu, memory: MemoryMib(memory - memory / MEMORY_KEPT) })
            }
            None => Err("it does not tell what it has".to_owned()),
        },
        Ok(Err(err)) => Err(err.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Notes a fact about a host for a start at which the host is away. If that fails, only such a start is worse off.
pub async fn remember(store: &Store, setting: &str, value: &str) {
    if !store.is_writable() || store.find_setting(setting).await.ok().flatten().as_deref() == Some(value) {
        return;
    }
    let mut tx = Tx::new();
    tx.set_setting(setting, value);
    if let Err(err) = store.commit(tx).await {
        tracing::warn!(error = %err, "a fact about a host could not be stored");
    }
}
