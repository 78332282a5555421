//! From the plan of hosts to hosts with drivers: the one place that names concrete drivers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_driver::Driver;
use spawnpoint_driver::fake::{FakeConfig, FakeDriver};
use spawnpoint_driver_docker as docker;
use spawnpoint_driver_docker::{DockerDriver, DockerEngine, EngineConfig};
use spawnpoint_driver_oci::OciDriver;
use spawnpoint_engine::{Clock as _, HostSetup};
use spawnpoint_model::site::Host;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, MemoryMib};
use spawnpoint_store::{Store, Tx};
use tokio::net::UdpSocket;

use crate::config::{Config, DriverPlan, Endpoint, HostPlan, Plan};
use crate::failure::Failure;
use crate::local::{self, LocalEngine};
use crate::opened::Opened;

/// How long a host may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Processes and threads that a workload may have: enough for any game, too few to starve a host.
const PIDS_MAX: u32 = 1024;
/// Of a measured host's memory one part in so many is left to the host itself.
const MEMORY_KEPT: u32 = 16;
/// What a fake host without a capacity has: 4096 vCPU and 8 TiB.
const FAKE_CAPACITY: Resources = Resources { cpu: CpuUnits(4 << 20), memory: MemoryMib(8 << 20) };

/// The hosts, and the engines of this machine under them.
pub struct Hosts {
    /// What the product works with.
    pub setups: Vec<HostSetup>,
    /// Engines whose containers reach this machine by their gateway.
    pub local_engines: Vec<LocalEngine>,
}

impl Hosts {
    /// Takes network and firewall rules off this machine's engines if no workload is left, not even an ended one.
    pub async fn tidy(&self) {
        for setup in &self.setups {
            if !setup.driver.list().await.is_ok_and(|left| left.is_empty()) {
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

/// Connects to every host. A host that does not answer now is taken with what was measured of it before.
///
/// # Errors
/// A host that was never measured does not answer, or an endpoint's certificates cannot be read.
pub async fn connect(config: &Config, plan: &Plan, opened: &Opened) -> Result<Hosts, Failure> {
    let mut engines: BTreeMap<Endpoint, Arc<DockerEngine>> = BTreeMap::new();
    let mut setups = Vec::new();
    let mut embedded = local::Embedded::default();
    for planned in &plan.hosts {
        let chosen = embedded.choose(config, plan, planned, opened).await?;
        let (driver, callback_url, ends_tls): (Arc<dyn Driver>, _, _) = match &chosen {
            DriverPlan::Oci | DriverPlan::Auto => {
                let engine = embedded.engine(config, plan, opened).await?;
                let given = config.callback.url.as_ref().map(|url| url.as_str().to_owned());
                let own = || format!("http://{}:{}", engine.gateway(), config.callback.port);
                let driver = Arc::new(OciDriver::new(Arc::clone(&engine), planned.id.clone()));
                (driver, Some(given.unwrap_or_else(own)), true)
            }
            DriverPlan::Docker(endpoint) => {
                let engine = match engines.get(endpoint) {
                    Some(engine) => engine.clone(),
                    None => {
                        let engine = connect_docker(config, endpoint, &planned.id, opened)?;
                        engines.insert(endpoint.clone(), engine.clone());
                        engine
                    }
                };
                let callback_url = callback_url(config, endpoint, &engine, &opened.store).await;
                let ends_tls = endpoint.is_local() && reaches_containers(planned, &engine).await;
                (Arc::new(DockerDriver::new(engine, planned.id.clone())), callback_url, ends_tls)
            }
            // It pretends to end TLS as well.
            DriverPlan::Fake => (fake(planned, opened).await?, None, true),
        };
        let capacity = match (planned.capacity, &chosen) {
            (Some(capacity), _) => capacity,
            (None, DriverPlan::Fake) => FAKE_CAPACITY,
            (None, _) => measured(planned, driver.as_ref(), &opened.store).await?,
        };
        setups.push(HostSetup {
            host: Arc::new(host(planned, capacity, ends_tls)),
            driver,
            callback_url,
            security: planned.security,
            pids_max: PIDS_MAX,
            // Put there by whoever serves.
            front: None,
        });
    }
    let docker = engines.into_iter().filter(|(endpoint, _)| endpoint.is_local());
    let docker = docker.map(|(_, engine)| LocalEngine::Docker(engine));
    let local_engines = embedded.opened().map(LocalEngine::Oci).into_iter().chain(docker).collect();
    Ok(Hosts { setups, local_engines })
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

fn connect_docker(
    config: &Config,
    endpoint: &Endpoint,
    host: &HostId,
    opened: &Opened,
) -> Result<Arc<DockerEngine>, Failure> {
    let engine = EngineConfig {
        endpoint: endpoint.into(),
        installation: opened.store.installation().clone(),
        callback_port: Some(config.callback.port),
    };
    DockerEngine::connect(engine).map_err(|err| {
        Failure::new(format!(
            "host {host} (docker at {endpoint}): {err}; start its engine (scripts/demo.sh can)"
        ))
    })
}

/// A fake host. Its workloads lived in the last process, so those that rows know are taken as living on.
async fn fake(planned: &HostPlan, opened: &Opened) -> Result<Arc<dyn Driver>, Failure> {
    let clock = opened.clock.clone();
    let config = FakeConfig {
        total: Some(planned.capacity.unwrap_or(FAKE_CAPACITY)),
        host_deadlines: false,
        clock: Some(Arc::new(move || clock.now())),
    };
    let driver = FakeDriver::new(opened.store.installation(), planned.id.clone(), config);
    let rows = opened.store.live_deployments().await?;
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
    let reason = match tokio::time::timeout(PATIENCE, driver.probe()).await {
        Ok(Ok(probe)) => match probe.total {
            Some(Resources { cpu, memory: MemoryMib(memory) }) => {
                let capacity = Resources { cpu, memory: MemoryMib(memory - memory / MEMORY_KEPT) };
                remember(store, &setting, &format!("{} {}", capacity.cpu.0, capacity.memory.0)).await;
                return Ok(capacity);
            }
            None => "it does not tell what it has".to_owned(),
        },
        Ok(Err(err)) => err.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
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
