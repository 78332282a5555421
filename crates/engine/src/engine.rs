//! The engine's parts and how it is put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spawnpoint_model::lifecycle::Rules;
use spawnpoint_model::session::Session;
use spawnpoint_model::site::PrivateFleet;
use spawnpoint_model::{Deployment, Timestamp};
use spawnpoint_store::{Store, Vault};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::added::ConnectHost;
use crate::catalog::Catalog;
use crate::clock::{Clock, Entropy};
use crate::error::Error;
use crate::hosts::{Fleet, HostSetup};
use crate::log_retention::KeptLogs;
use crate::log_spool::Uploads;
use crate::positions::Positions;
use crate::reconcile::Reconciler;
use crate::resync::Strays;
use crate::rows::Rows;
use crate::s3::S3;
use crate::sessions::{SessionView, WithSessions};
use crate::timers::Timers;
use crate::tokens::Tokens;
use crate::turns::Turns;
use crate::view::DeploymentView;
use crate::webhooks::Sender;

/// Starts at one time that hold files of pull profiles in memory, each up to `limits::PULL_BYTES_MAX`.
const STARTS_WITH_FILES_MAX: usize = 4;

/// Renders a deployment's status as users of the API see it: the body of webhooks. Given by `api`, which alone knows
/// the spelling.
pub type StatusRenderer = Arc<dyn Fn(&DeploymentView, Timestamp) -> String + Send + Sync>;

/// The same for sessions: the body of their webhooks.
pub type SessionRenderer = Arc<dyn Fn(&SessionView, Timestamp) -> String + Send + Sync>;

/// How long the last figures may take to be stored at a shutdown. They are not worth waiting for a database that is away.
const LAST_FIGURES: Duration = Duration::from_secs(1);

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// FQDNs are `<id>.<domain>`.
    pub domain: Arc<str>,
    /// Address of the API as containers reach it, without a trailing slash; used where a host has none of its own.
    pub callback_url: String,
    /// Times and budgets of the lifecycle.
    pub rules: Rules,
    /// How long records are kept after their end.
    pub terminated_retention: Duration,
    /// How long webhooks that were delivered or given up are kept.
    pub delivery_retention: Duration,
    /// Bytes that all kept logs may take together; 0 = none are kept.
    pub log_keep_bytes: u64,
    /// How long a port stays unused after its deployment is gone.
    pub port_quarantine: Duration,
    /// How long a workload that no row can mean is left alone before it is removed.
    pub stray_grace: Duration,
    /// How often each host is listed in full.
    pub resync_every: Duration,
    /// How often what nobody needs any more is deleted.
    pub gc_every: Duration,
    /// When that is done first after the start: those who wait come before it.
    pub gc_first: Duration,
    /// Networks that webhooks may reach besides public ones.
    pub webhook_networks: Vec<crate::webhooks::Network>,
    /// What is sampled, and for how long it is kept.
    pub metrics: crate::metrics::Settings,
    /// Networks that endpoint storages may lie in besides public ones.
    pub storage_networks: Vec<crate::webhooks::Network>,
    /// Networks that container registries may lie in besides public ones, where Spawnpoint itself asks them.
    pub registry_networks: Vec<crate::webhooks::Network>,
    /// The registry that clients push to, if there is one.
    pub own_registry: Option<crate::image_tags::OwnRegistry>,
    /// Where logs are kept until they are uploaded; `None` = nowhere, and then none is.
    pub spool_dir: Option<std::path::PathBuf>,
    /// Bytes that may be kept there.
    pub spool_bytes_max: u64,
    /// Signs webhooks, in the `whsec_…` form of Standard Webhooks.
    pub webhook_secret: spawnpoint_model::Plaintext,
}

impl Options {
    /// Defaults for everything that has one.
    #[must_use]
    pub fn new(domain: &str, callback_url: &str, webhook_secret: spawnpoint_model::Plaintext) -> Self {
        Self {
            domain: domain.into(),
            callback_url: callback_url.to_owned(),
            rules: Rules::default(),
            terminated_retention: Duration::from_secs(7 * 24 * 3600),
            delivery_retention: Duration::from_secs(24 * 3600),
            log_keep_bytes: 256 * 1024 * 1024,
            port_quarantine: Duration::from_secs(60),
            stray_grace: Duration::from_secs(120),
            resync_every: Duration::from_secs(15),
            gc_every: Duration::from_secs(30),
            gc_first: Duration::from_secs(1),
            webhook_networks: Vec::new(),
            metrics: crate::metrics::Settings::default(),
            storage_networks: Vec::new(),
            registry_networks: Vec::new(),
            own_registry: None,
            spool_dir: None,
            spool_bytes_max: 2 << 30,
            webhook_secret,
        }
    }
}

/// What the engine is made of.
pub struct Parts {
    /// Settings.
    pub options: Options,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
    /// Where addresses are.
    pub positions: Arc<dyn Positions>,
    /// How a status is written.
    pub render_status: StatusRenderer,
    /// How a session is written.
    pub render_session: SessionRenderer,
    /// Rows.
    pub store: Store,
    /// Seals and opens secrets.
    pub vault: Arc<Vault>,
    /// Where workloads run.
    pub hosts: Vec<HostSetup>,
    /// The private fleets of the config that hosts may belong to.
    pub private_fleets: Vec<PrivateFleet>,
    /// Connects hosts that are added while it runs; `None` = none are, and those that were are not here.
    pub connect: Option<Arc<dyn ConnectHost>>,
}

/// Everything that Spawnpoint can do. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<Entropy>,
    pub(crate) positions: Arc<dyn Positions>,
    pub(crate) render_status: StatusRenderer,
    pub(crate) render_session: SessionRenderer,
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    pub(crate) rows: Rows,
    pub(crate) fleet: Fleet,
    pub(crate) catalog: Catalog,
    pub(crate) tokens: Tokens,
    pub(crate) reconciler: Reconciler,
    pub(crate) timers: Timers,
    pub(crate) turns: Turns,
    pub(crate) strays: Strays,
    pub(crate) with_sessions: WithSessions,
    /// Held while a deployment is started for a session.
    pub(crate) autodeploys: tokio::sync::Mutex<()>,
    /// Rung when smart fleets have something to look at.
    pub(crate) units: Notify,
    pub(crate) sender: Sender,
    pub(crate) metrics: crate::metrics::Buffer,
    /// Places for reading logs before their workloads are removed, over all hosts: it is memory that they take.
    pub(crate) captures: Semaphore,
    pub(crate) kept_logs: KeptLogs,
    pub(crate) s3: S3,
    pub(crate) uploads: Uploads,
    /// Places for starts that hold files in memory.
    pub(crate) with_files: Semaphore,
    pub(crate) access_lists: crate::access_lists::AccessLists,
    pub(crate) registries: crate::registry::Registries,
    /// Places for calls that ask the installation's own registry.
    pub(crate) registry_calls: Semaphore,
    pub(crate) image_cache: crate::image_cache::ImageCache,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) connect: Option<Arc<dyn ConnectHost>>,
    /// The hosts' tasks have begun.
    pub(crate) at_work: AtomicBool,
    ready: AtomicBool,
}

impl Engine {
    /// Loads what is stored, adopts what runs, and starts the background tasks. Requests may come when this returns.
    ///
    /// # Errors
    /// The store cannot be read, or the HTTP client for webhooks cannot be made.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let engine = Self::assemble(parts)?;
        engine.see_hosts().await?;
        engine.load().await?;
        crate::tasks::start(&engine).await;
        engine.inner.ready.store(true, Ordering::SeqCst);
        Ok(engine)
    }

    /// The engine without its background tasks: what `audit` needs on a store that is open for reading only.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_for_audit(parts: Parts) -> Result<Self, Error> {
        let engine = Self::assemble(parts)?;
        engine.load().await?;
        Ok(engine)
    }

    fn assemble(parts: Parts) -> Result<Self, Error> {
        let Parts {
            options,
            clock,
            entropy,
            positions,
            render_status,
            render_session,
            store,
            vault,
            hosts,
            ..
        } = parts;
        let sender = Sender::new(&options).map_err(Error::Internal)?;
        let registries =
            crate::registry::Registries::new(&options.registry_networks).map_err(Error::Internal)?;
        let s3 = S3::new(&options.storage_networks).map_err(Error::Internal)?;
        let inner = Inner {
            rows: Rows::new(store.clone()),
            fleet: Fleet::new(hosts, parts.private_fleets),
            catalog: Catalog::new(store.clone()),
            tokens: Tokens::new(store.clone()),
            reconciler: Reconciler::default(),
            timers: Timers::default(),
            turns: Turns::default(),
            strays: Strays::default(),
            with_sessions: WithSessions::default(),
            autodeploys: tokio::sync::Mutex::default(),
            units: Notify::new(),
            captures: Semaphore::new(crate::capture::CAPTURES_MAX),
            kept_logs: KeptLogs::default(),
            sender,
            metrics: crate::metrics::Buffer::default(),
            s3,
            uploads: Uploads::new(options.spool_dir.clone(), options.spool_bytes_max),
            with_files: Semaphore::new(STARTS_WITH_FILES_MAX),
            access_lists: crate::access_lists::AccessLists::default(),
            registries,
            registry_calls: Semaphore::new(crate::image_tags::CALLS_MAX),
            image_cache: crate::image_cache::ImageCache::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            connect: parts.connect,
            at_work: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            options,
            clock,
            entropy,
            positions,
            render_status,
            render_session,
            store,
            vault,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn load(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.tokens.load().await?;
        self.load_added().await?;
        inner.fleet.load(&inner.store.host_usage().await?, &inner.store.port_leases(None).await?);
        inner.fleet.load_settings(inner.store.host_settings().await?, self.now());
        if inner.rows.is_exact() {
            for row in inner.store.live_deployments().await? {
                inner.rows.put(&Arc::new(row));
            }
            for id in inner.store.deployments_with_sessions().await? {
                inner.with_sessions.note(id);
            }
        }
        Ok(())
    }

    /// Now, on the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// True once everything was adopted and requests may come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::SeqCst) && !self.inner.stop.is_cancelled()
    }

    /// Stops the background tasks and waits for the steps that are under way, at most `patience`. Workloads go on.
    pub async fn shut_down(&self, patience: Duration) {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(patience, self.inner.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.inner.tracker.len(), "some tasks did not end in time");
        }
        match tokio::time::timeout(LAST_FIGURES, self.store_metrics(true)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "the last figures could not be stored"),
            Err(_) => tracing::warn!("the last figures could not be stored in time"),
        }
    }

    /// A row with everything that is needed to show it.
    pub(crate) async fn view(&self, row: Arc<Deployment>) -> Result<DeploymentView, Error> {
        let sessions = self.sessions_of(&row).await?;
        self.view_with(row, sessions).await
    }

    /// The same, where its sessions are known.
    pub(crate) async fn view_with(
        &self,
        row: Arc<Deployment>,
        sessions: Vec<Session>,
    ) -> Result<DeploymentView, Error> {
        let version = self.inner.rows.revision(&row.spec.revision).await?;
        let place =
            row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host)).map(|r| r.place.clone());
        let domain = self.inner.options.domain.clone();
        Ok(DeploymentView { deployment: row, version, place, domain, sessions })
    }
}
