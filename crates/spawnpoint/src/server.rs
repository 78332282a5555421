//! The server: everything put together, running in this process. `serve` waits for a signal beside it, `demo` plays with it.
//!
//! Start, in this order: keys and store (a second process on an SQLite file stops here), the listener, certificates, the hosts, the engine
//! (which adopts what runs), the first token, then requests. Stop, the other way round; workloads stay.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use axum::serve::ListenerExt as _;
use spawnpoint_api::serve::{ServeOptions, serve};
use spawnpoint_api::{
    ApiConfig, ApiState, RateLimits, callback_router, render_session, render_status, router,
};
use spawnpoint_engine::image_tags::OwnRegistry;
use spawnpoint_engine::metrics::Settings;
use spawnpoint_engine::positions::NoPositions;
use spawnpoint_engine::webhooks::Network;
use spawnpoint_engine::{Engine, Entropy, Options, Parts, Positions};
use spawnpoint_model::Plaintext;
use spawnpoint_store::Store;
use spawnpoint_store::dialect::Dialect;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::beacon::Listeners;
use crate::config::{Config, NetworkText, OwnBeacon, Plan, Variables};
use crate::failure::Failure;
use crate::geoip::GeoDatabase;
use crate::hosts::{self, Hosts};
use crate::keys;
use crate::local::LocalEngine;
use crate::names;
use crate::opened::{Mode, Opened};
use crate::running::Running;
use crate::tls::{SecureListener, Tls};

/// How long requests under way may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// How long steps of the engine may take after that.
const LAST_STEPS: Duration = Duration::from_secs(3);
/// How long tidying up on an engine may take.
const TIDYING: Duration = Duration::from_secs(4);
/// How often the callback listener tries again to get its address.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// Characters of a token that is given by the environment, at least: it must not be guessable.
const TOKEN_CHARS_MIN: usize = 16;
/// Networks that webhooks and storages may reach while nobody but this machine reaches the API.
const INTERNAL_NETWORKS: [&str; 7] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1", "fc00::/7"];

/// A running server.
pub struct Server {
    /// Where the API answers.
    pub address: SocketAddr,
    /// The token with every right.
    pub admin_token: Plaintext,
    /// Whether that token was made just now.
    pub is_first_start: bool,
    /// The hosts.
    pub hosts: Hosts,
    engine: Engine,
    api: ApiState,
    store: Store,
    running: Running,
    tls: Tls,
    data_dir: std::path::PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts it; requests are answered when this returns.
    ///
    /// # Errors
    /// A sentence: the database is taken, the address is taken, a host was never seen.
    pub async fn start(config: &Config, plan: &Plan, variables: &Variables) -> Result<Self, Failure> {
        let positions = positions(config)?;
        let opened = Opened::open(config, Mode::Write).await?;
        let listener = TcpListener::bind(config.api.listen)
            .await
            .map_err(|err| Failure::new(format!("api.listen: {}: {err}", config.api.listen)))?;
        let address = listener.local_addr()?;
        let beacon = match &config.beacon {
            OwnBeacon { enabled: false, .. } => None,
            own => Some(Listeners::bind(own.listen, own.udp_port, own.tcp_port).await?),
        };
        let tls = Tls::open(config, plan, &opened, DRAIN).await?;
        let hosts = hosts::connect(config, plan, &opened, Some(tls.fronts.clone())).await?;
        let (admin_token, is_first_start) = admin_token(&config.data.dir, &opened.entropy, variables)?;
        let mut parts = Parts {
            private_fleets: plan.private_fleets.clone(),
            connect: Some(hosts.connector.clone()),
            ..parts(config, &opened, positions, address, hosts.setups.clone())
        };
        parts.options.own_registry = own_registry(config)?;
        let engine = Engine::start(parts).await?;
        engine.install_admin_token(&admin_token).await?;
        let dns = names::open(config, &engine, &opened.store).await?;
        let state = ApiState::new(engine.clone(), api_config(config, address)?);
        let running = Running::this(address).showing(tls.api_certificate());
        running.leave(&config.data.dir)?;
        let server = Self {
            address,
            admin_token,
            is_first_start,
            hosts,
            engine,
            api: state.clone(),
            store: opened.store,
            running,
            tls,
            data_dir: config.data.dir.clone(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        for answers in dns {
            let stop = server.stop.clone();
            server.tasks.spawn(async move { stop.run_until_cancelled(answers).await });
        }
        let watch = server.tls.watch(server.stop.clone());
        server.tasks.spawn(watch);
        server.listen(config, listener, &state)?;
        if let Some(beacon) = beacon {
            beacon.serve(opened.entropy.u64(), &server.tasks, &server.stop);
        }
        Ok(server)
    }

    /// Begins to answer: the API, and what containers may call on each engine of this machine.
    fn listen(&self, config: &Config, listener: TcpListener, state: &ApiState) -> Result<(), Failure> {
        let trusted_proxies = config.api.trusted_proxies.iter().map(|network| network.0).collect();
        let options = ServeOptions { trusted_proxies, drain: DRAIN };
        let api = router(state.clone());
        let stop = self.stop.clone();
        match self.tls.api_config()? {
            Some(config) => {
                let listener = SecureListener::new(listener, config)?;
                self.tasks.spawn(async move { serve(listener, api, options, stop.cancelled()).await });
            }
            None => {
                // Answers are small and written at once: waiting for more only costs time.
                let listener = listener.tap_io(|io| drop(io.set_nodelay(true)));
                self.tasks.spawn(async move { serve(listener, api, options, stop.cancelled()).await });
            }
        }
        for engine in &self.hosts.local_engines {
            let callbacks = callback_router(state.clone());
            let (engine, port, stop) = (engine.clone(), config.callback.port, self.stop.clone());
            self.tasks.spawn(async move {
                let options = ServeOptions { trusted_proxies: Vec::new(), drain: DRAIN };
                if let Some(listener) = stop.run_until_cancelled(bind_callback(&engine, port)).await {
                    serve(listener, callbacks, options, stop.cancelled()).await;
                }
            });
        }
        Ok(())
    }

    /// How it is found by other commands.
    #[must_use]
    pub const fn running(&self) -> &Running {
        &self.running
    }

    /// Reads certificates again, whether they seem to have changed or not.
    pub fn reload(&self) {
        self.tls.reload();
    }

    /// Ends it: no new requests, those under way are answered, steps under way are finished. Workloads go on. Where none
    /// is left, this machine's engine is left as it was found.
    pub async fn stop(self) {
        self.stop.cancel();
        self.api.close();
        self.tasks.close();
        tokio::join!(self.tasks.wait(), self.tls.close());
        self.engine.shut_down(LAST_STEPS).await;
        self.running.withdraw(&self.data_dir);
        // Others may share a PostgreSQL, and with it the network on an engine.
        if self.store.dialect() == Dialect::Sqlite
            && tokio::time::timeout(TIDYING, self.hosts.tidy()).await.is_err()
        {
            tracing::debug!("the engine was too busy to be tidied up");
        }
        drop((self.engine, self.api));
        self.store.close().await;
    }
}

/// What the engine is made of, but for the private fleets and what connects added hosts.
#[must_use]
pub fn parts(
    config: &Config,
    opened: &Opened,
    positions: Arc<dyn Positions>,
    address: SocketAddr,
    hosts: Vec<spawnpoint_engine::HostSetup>,
) -> Parts {
    let hours = |hours: u32| Duration::from_secs(3600 * u64::from(hours));
    let callback_url = match &config.callback.url {
        Some(url) => url.as_str().to_owned(),
        None => public_url(config, address),
    };
    let mut options = Options::new(&config.domain.suffix, &callback_url, opened.webhook_secret());
    options.rules.error_retention = hours(config.retention.error_hours);
    options.terminated_retention = hours(config.retention.terminated_hours);
    options.log_keep_bytes = u64::from(config.logs.keep_mib) * 1024 * 1024;
    options.webhook_networks = networks(config, &config.webhooks.allow_networks);
    options.storage_networks = networks(config, &config.storage.allow_networks);
    options.registry_networks = networks(config, &config.images.allow_networks);
    options.spool_dir = Some(config.data.dir.join("spool"));
    options.spool_bytes_max = u64::from(config.storage.spool_mib) << 20;
    options.metrics = metrics(config);
    Parts {
        options,
        clock: opened.clock.clone(),
        entropy: opened.entropy.clone(),
        positions,
        render_status: Arc::new(render_status),
        render_session: Arc::new(render_session),
        store: opened.store.clone(),
        vault: opened.vault.clone(),
        hosts,
        private_fleets: Vec::new(),
        connect: None,
    }
}

/// What is sampled, and for how long it is kept.
fn metrics(config: &Config) -> Settings {
    let hours = |hours: u32| Duration::from_secs(3600 * u64::from(hours));
    let metrics = &config.metrics;
    Settings {
        sample_every: Duration::from_secs(metrics.sample_seconds.into()),
        raw_for: hours(metrics.raw_hours),
        minutes_for: hours(metrics.minute_hours),
        kept_for: hours(24 * metrics.days),
    }
}

/// Where private addresses of users may lead: what the configuration lists, and everything internal while only this machine
/// reaches the API (whoever can ask is here already).
#[must_use]
pub fn networks(config: &Config, listed: &[NetworkText]) -> Vec<Network> {
    let listed = listed.iter().map(|network| network.0);
    if !config.api.listen.ip().is_loopback() {
        return listed.collect();
    }
    listed.chain(INTERNAL_NETWORKS.iter().filter_map(|text| Network::parse(text))).collect()
}

/// Address of the API as others write it.
fn public_url(config: &Config, address: SocketAddr) -> String {
    match &config.api.public_url {
        Some(url) => url.as_str().to_owned(),
        None => {
            let scheme = if config.api_speaks_tls() { "https" } else { "http" };
            format!("{scheme}://{}", Running::this(address).address)
        }
    }
}

/// The registry that clients push to.
fn own_registry(config: &Config) -> Result<Option<OwnRegistry>, Failure> {
    let Some(registry) = &config.registry else { return Ok(None) };
    let file = &registry.token_file;
    let token = keys::read_secret(file)
        .map_err(|err| Failure::misused(format!("registry.token_file: {}: {err}", file.display())))?;
    Ok(Some(OwnRegistry {
        host: registry.url.clone(),
        project: registry.project.clone(),
        username: registry.username.clone(),
        token,
    }))
}

/// Settings of the API.
fn api_config(config: &Config, address: SocketAddr) -> Result<ApiConfig, Failure> {
    let header = &config.api.client_address_header;
    let header = HeaderName::from_bytes(header.as_bytes())
        .map_err(|err| Failure::misused(format!("api.client_address_header: {err}")))?;
    Ok(ApiConfig {
        rates: RateLimits {
            deploy: config.limits.deploy_per_second,
            status: config.limits.status_per_second,
            list: config.limits.list_per_second,
            hosts: config.limits.hosts_per_second,
            failed_auth: config.limits.failed_logins_per_second,
        },
        trusted_proxies: config.api.trusted_proxies.iter().map(|network| network.0).collect(),
        client_address_header: Some(header),
        public_url: public_url(config, address),
    })
}

/// Positions from the configured database; without one nothing is known.
fn positions(config: &Config) -> Result<Arc<dyn Positions>, Failure> {
    let Some(path) = &config.geo.database else { return Ok(Arc::new(NoPositions)) };
    let database = GeoDatabase::open(path).map_err(Failure::misused)?;
    let (kind, built) = database.describe();
    tracing::info!(database = kind, built_unix_seconds = built, "positions of addresses are known");
    Ok(Arc::new(database))
}

/// The token with every right: the environment's, else the one in the data directory, made at the first start.
fn admin_token(dir: &Path, entropy: &Entropy, variables: &Variables) -> Result<(Plaintext, bool), Failure> {
    if let Some(given) = given_token(variables)? {
        return Ok((given, false));
    }
    let path = dir.join("admin-token");
    let fault = |text: String| Failure::new(format!("{}: {text}", path.display()));
    if path.exists() {
        return Ok((keys::read_secret(&path).map_err(fault)?, false));
    }
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let secret = format!("sp_admin_{}", keys::hex(&random));
    keys::write_once(&path, &secret).map_err(|err| fault(err.to_string()))?;
    Ok((Plaintext::new(secret), true))
}

/// The token that the environment sets.
///
/// # Errors
/// It is too short to be one.
pub fn given_token(variables: &Variables) -> Result<Option<Plaintext>, Failure> {
    match variables.get("SPAWNPOINT_ADMIN_TOKEN") {
        None => Ok(None),
        Some(text) if text.len() >= TOKEN_CHARS_MIN && text.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Some(Plaintext::new(text)))
        }
        Some(_) => Err(Failure::misused(format!(
            "SPAWNPOINT_ADMIN_TOKEN must have at least {TOKEN_CHARS_MIN} printable characters without blanks"
        ))),
    }
}

/// Gets the callback listener's address on an engine's gateway, as soon as the engine has one.
async fn bind_callback(engine: &LocalEngine, port: u16) -> TcpListener {
    let mut told = false;
    loop {
        let problem = match engine.gateway().await {
            Ok(gateway) => match TcpListener::bind((gateway, port)).await {
                Ok(listener) => {
                    tracing::info!(address = %format!("{gateway}:{port}"), "containers can call back");
                    return listener;
                }
                Err(err) => format!("{gateway}:{port}: {err}"),
            },
            Err(err) => err.to_string(),
        };
        if !told {
            tracing::warn!(%problem, "containers cannot call back yet");
            told = true;
        }
        tokio::time::sleep(BIND_AGAIN).await;
    }
}
