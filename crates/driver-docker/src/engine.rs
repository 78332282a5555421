//! One engine, shared by every host of the config that lies on it: the client, the bulkheads, the network, the guard.
//!
//! Connecting never waits: an engine that is down now is set up by the first call that reaches it.

use std::collections::HashSet;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use spawnpoint_driver::bulkhead::Bulkhead;
use spawnpoint_driver::{AccessList, DriverError};
use spawnpoint_model::{InstallationId, WorkloadId};
use tokio::time::Instant;

use crate::access::AccessRules;
use crate::endpoint::Endpoint;
use crate::error::from_bollard;
use crate::guard::Guard;
use crate::network;
use crate::profile::Surroundings;

/// Calls at once that only ask, or only send a signal.
const LIGHT_PLACES: usize = 8;
/// Starts and removals at once on another machine; on this one, twice its cores: beyond that, starts only slow each
/// other down.
const HEAVY_PLACES: usize = 8;
/// Statistics at once: engines are known to hang in them, which must not keep others from being asked.
const STATS_PLACES: usize = spawnpoint_driver::figures::AT_ONCE;
/// For setting up: version, network, firewall.
const SET_UP: Duration = Duration::from_secs(30);
/// For loading an image from an archive.
const LOAD: Duration = Duration::from_secs(120);
/// The firewall is looked after this often.
const GUARD_EVERY: Duration = Duration::from_secs(20);
/// Open files of a workload, unless the machine allows fewer.
const OPEN_FILES: u64 = 16_384;

/// How an engine is reached and for whom.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where it answers.
    pub endpoint: Endpoint,
    /// Whose workloads it runs. Decides names and labels.
    pub installation: InstallationId,
    /// The one TCP port of the host that containers may reach: Spawnpoint's callback listener.
    pub callback_port: Option<u16>,
}

/// Whether the firewall rules of [`crate::guard`] are in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuardState {
    /// They are.
    InForce,
    /// They are not: why, and the commands that an operator has to run on the engine's machine.
    Missing {
        /// Why.
        reason: String,
        /// For the operator.
        commands: String,
    },
}

/// What was found out when the engine was set up.
#[derive(Debug)]
pub struct Ready {
    pub version: String,
    pub gateway: Ipv4Addr,
    pub around: Surroundings,
}

/// A Docker Engine that serves one installation.
pub struct DockerEngine {
    config: EngineConfig,
    /// Empty until the engine's socket is there.
    client: OnceLock<Docker>,
    light: Bulkhead,
    heavy: Bulkhead,
    stats: Bulkhead,
    ready: Mutex<Option<Arc<Ready>>>,
    setting_up: tokio::sync::Mutex<()>,
    guard: tokio::sync::Mutex<Option<(Instant, GuardState)>>,
    access: tokio::sync::Mutex<Known>,
}

/// Whether there are rules for access lists.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Known {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// There may be some.
    Some,
    /// There is none.
    None,
}

impl DockerEngine {
    /// A connection to the engine. Nothing is sent yet.
    ///
    /// # Errors
    /// The endpoint's certificates cannot be read.
    pub fn connect(config: EngineConfig) -> Result<Arc<Self>, DriverError> {
        let client = match config.endpoint.client() {
            Ok(client) => OnceLock::from(client),
            // It may come up later.
            Err(DriverError::Unavailable(_)) => OnceLock::new(),
            Err(error) => return Err(error),
        };
        let heavy_places = match config.endpoint {
            Endpoint::Unix(_) => {
                std::thread::available_parallelism().map_or(HEAVY_PLACES, |cores| cores.get() * 2)
            }
            Endpoint::Tcp { .. } => HEAVY_PLACES,
        };
        Ok(Arc::new(Self {
            config,
            client,
            light: Bulkhead::new(LIGHT_PLACES),
            heavy: Bulkhead::new(heavy_places),
            stats: Bulkhead::new(STATS_PLACES),
            ready: Mutex::new(None),
            setting_up: tokio::sync::Mutex::new(()),
            guard: tokio::sync::Mutex::new(None),
            access: tokio::sync::Mutex::default(),
        }))
    }

    /// How it is reached and for whom.
    #[must_use]
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The host's own address in our network: where containers reach the callback listener.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn gateway(&self) -> Result<Ipv4Addr, DriverError> {
        Ok(self.ready().await?.gateway)
    }

    /// Whether the firewall rules are in force; puts them there if that is possible and was not done of late.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn guard(&self) -> Result<GuardState, DriverError> {
        let guard = Guard::new(&self.config.installation, self.gateway().await?, self.config.callback_port);
        let mut known = self.guard.lock().await;
        if let Some((_, state)) = known.as_ref().filter(|(at, _)| at.elapsed() < GUARD_EVERY) {
            return Ok(state.clone());
        }
        let installed = match self.config.endpoint {
            Endpoint::Unix(_) => guard.install().await,
            Endpoint::Tcp { .. } => Err("the engine is on another machine".to_owned()),
        };
        let state = match installed {
            Ok(()) => GuardState::InForce,
            Err(reason) => GuardState::Missing { reason, commands: guard.for_operators() },
        };
        if known.as_ref().is_none_or(|(_, before)| *before != state) {
            self.tell(&state);
        }
        *known = Some((Instant::now(), state.clone()));
        Ok(state)
    }

    fn tell(&self, state: &GuardState) {
        let endpoint = &self.config.endpoint;
        match state {
            GuardState::InForce => {
                tracing::info!(%endpoint, "containers are kept from the host and the metadata service")
            }
            GuardState::Missing { reason, commands } => tracing::warn!(
                %endpoint,
                %reason,
                "containers can reach the host and metadata services; to close this, run there as root:\n{commands}"
            ),
        }
    }

    /// Takes away what [`Self::connect`]'s first call has put there: the firewall rules and the network. Fails while
    /// containers use it.
    ///
    /// # Errors
    /// The engine refuses or does not answer.
    pub async fn remove_network(&self) -> Result<(), DriverError> {
        let known = self.ready.lock().take();
        self.light.run(SET_UP, network::remove(self.client()?, &self.config.installation)).await?;
        *self.guard.lock().await = None;
        if matches!(self.config.endpoint, Endpoint::Unix(_)) {
            // The address does not matter for taking rules away.
            let gateway = known.map_or(Ipv4Addr::UNSPECIFIED, |ready| ready.gateway);
            Guard::new(&self.config.installation, gateway, self.config.callback_port).uninstall().await;
            AccessRules::new(&self.config.installation).uninstall().await;
        }
        Ok(())
    }

    /// Puts a list in force for a workload whose container was made and does not run.
    pub(crate) async fn put_access(&self, list: AccessList) -> Result<(), DriverError> {
        if !self.is_local() {
            return Err(DriverError::Unsupported);
        }
        let mut known = self.access.lock().await;
        *known = Known::Some;
        self.access_rules().put(&[list]).await.map_err(DriverError::Internal)
    }

    /// Puts access lists in force, and takes away those of workloads that have no container. `existing` tells which have
    /// one; it is asked after a look at the rules. So no rules are taken away that were put up since: they come after
    /// their container, here too.
    pub(crate) async fn set_access(
        &self,
        lists: &[AccessList],
        existing: impl Future<Output = Result<HashSet<WorkloadId>, DriverError>>,
    ) -> Result<(), DriverError> {
        if !self.is_local() {
            return if lists.is_empty() { Ok(()) } else { Err(DriverError::Unsupported) };
        }
        let mut known = self.access.lock().await;
        if lists.is_empty() && *known == Known::None {
            return Ok(());
        }
        let rules = self.access_rules();
        let before = match rules.in_force().await {
            Ok(before) => before,
            // A machine without iptables has none to take away.
            Err(_) if lists.is_empty() => return Ok(()),
            Err(error) => return Err(DriverError::Internal(error)),
        };
        if lists.is_empty() && before.is_empty() {
            *known = Known::None;
            return Ok(());
        }
        *known = Known::Some;
        let existing = existing.await?;
        let lists: Vec<_> = lists.iter().filter(|list| existing.contains(&list.id)).cloned().collect();
        rules.put(&lists).await.map_err(DriverError::Internal)?;
        rules.keep(&before, |id| existing.contains(&id)).await.map_err(DriverError::Internal)
    }

    /// The access lists that are in force.
    pub(crate) async fn access(&self) -> Result<Vec<AccessList>, DriverError> {
        if !self.is_local() || *self.access.lock().await == Known::None {
            return Ok(Vec::new());
        }
        Ok(self.access_rules().in_force().await.map(|now| now.lists()).unwrap_or_default())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::new(&self.config.installation)
    }

    /// Whether it runs on this machine.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.config.endpoint, Endpoint::Unix(_))
    }

    /// Puts an image on the host from an archive as `docker save` (or [`crate::image_archive`]) makes it.
    ///
    /// # Errors
    /// The engine refuses it or does not answer.
    pub async fn load_image(&self, archive: Vec<u8>) -> Result<(), DriverError> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let client = self.client()?;
        let load = async {
            let body = bollard::body_full(Bytes::from(archive));
            client.import_image(options, body, None).try_for_each(|_| async { Ok(()) }).await
        };
        self.heavy(LOAD, load).await?.map_err(|error| from_bollard(&error))
    }

    pub(crate) fn client(&self) -> Result<&Docker, DriverError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.config.endpoint.client()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// A call that only asks, or only sends a signal.
    pub(crate) async fn light<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, DriverError> {
        self.light.run(deadline, async { Ok(call.await) }).await
    }

    /// A call that starts, removes or loads.
    pub(crate) async fn heavy<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, DriverError> {
        self.heavy.run(deadline, async { Ok(call.await) }).await
    }

    /// A call for statistics.
    pub(crate) async fn stats<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        self.stats.run(deadline, call).await
    }

    /// What is known of the engine; sets it up if that was not done yet.
    pub(crate) async fn ready(&self) -> Result<Arc<Ready>, DriverError> {
        if let Some(ready) = self.ready.lock().clone() {
            return Ok(ready);
        }
        let alone = self.setting_up.lock().await;
        if let Some(ready) = self.ready.lock().clone() {
            return Ok(ready);
        }
        let ready = Arc::new(self.light.run(SET_UP, self.set_up()).await?);
        *self.ready.lock() = Some(Arc::clone(&ready));
        drop(alone);
        // Before the first workload runs.
        self.guard_quietly().await;
        Ok(ready)
    }

    /// The network may have been removed by hand: the next call sets it up again.
    pub(crate) fn forget_set_up(&self) {
        *self.ready.lock() = None;
    }

    async fn guard_quietly(&self) {
        // It has told what is to tell; a missing guard keeps no game from being played.
        let _ = Box::pin(self.guard()).await;
    }

    async fn set_up(&self) -> Result<Ready, DriverError> {
        let failed = |error: Error| from_bollard(&error);
        let client = self.client()?;
        client.clone().negotiate_version().await.map_err(failed)?;
        let version = client.version().await.map_err(failed)?.version.unwrap_or_default();
        let gateway = network::ensure(client, &self.config.installation).await?;
        let own_limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let open_files = match self.config.endpoint {
            Endpoint::Unix(_) => own_limit.unwrap_or(OPEN_FILES).min(OPEN_FILES),
            Endpoint::Tcp { .. } => OPEN_FILES,
        };
        let around = Surroundings { open_files: i64::try_from(open_files).unwrap_or(i64::MAX) };
        Ok(Ready { version, gateway, around })
    }
}
