//! What the tests stand on: an engine over a real database, fake hosts, a webhook receiver, a clock of their own.
//! [`World::end`] stops what runs and asserts that nothing is left over.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use spawnpoint_driver::Security;
use spawnpoint_driver::fake::{FakeConfig, FakeDriver, FakeEngine};
use spawnpoint_engine::apps::NewApp;
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_engine::webhooks::Network;
use spawnpoint_engine::{
    ConnectHost, DeployRequest, DeploymentView, Engine, Entropy, Error, Front, FrontError, Guests, HostSetup,
    ManualClock, Options, Parts, WebhookUrls,
};
use spawnpoint_model::added::AddedHost;
use spawnpoint_model::deployment::{Phase, Status};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::query::{ListQuery, Page};
use spawnpoint_model::site::{Beacon, Centroid, Host, Location, PrivateFleet, Site};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{
    AppName, CpuUnits, DeploymentId, HostId, Invalid, Invalids, MemoryMib, Plaintext, Protocol, Timestamp,
    TokenId, VersionName, WorkloadId,
};
use spawnpoint_store::{Database, Store, Vault};

pub const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

/// Runs a test on both databases.
macro_rules! on_both {
    ($(async fn $name:ident($world:ident: &mut World) $body:block)*) => { $(
        mod $name {
            use super::*;

            async fn body($world: &mut World) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let mut world = World::sqlite().await;
                Box::pin(body(&mut world)).await;
                Box::pin(world.end()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let Some(mut world) = World::postgres().await else { return };
                Box::pin(body(&mut world)).await;
                Box::pin(world.end()).await;
            }
        }
    )* };
}
pub(crate) use on_both;

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// A scripted answer: status code and `Retry-After`.
pub type Answer = (u16, Option<&'static str>);

/// A receiver of webhooks whose answers are scripted; 204 when the script is over.
#[derive(Clone, Default)]
pub struct Receiver {
    pub received: Arc<Mutex<Vec<Received>>>,
    pub answers: Arc<Mutex<Vec<Answer>>>,
}

pub struct World {
    pub engine: Engine,
    pub clock: Arc<ManualClock>,
    pub hosts: Vec<Arc<FakeEngine>>,
    pub store: Store,
    pub receiver: Receiver,
    pub receiver_address: SocketAddr,
    pub admin: Actor,
    /// What ends TLS for the present control plane.
    pub front: Arc<TestFront>,
    database: Database,
    schema: Option<(String, String)>,
    directory: tempfile::TempDir,
}

/// Three cities with a shared host each, and two with a private one.
const CITIES: [(&str, f64, f64, Option<&str>); 5] = [
    ("lyon", 45.75, 4.85, None),
    ("montreal", 45.5, -73.57, None),
    ("tokyo", 35.68, 139.69, None),
    ("kyoto", 35.01, 135.77, Some("tournament")),
    ("osaka", 34.69, 135.5, Some("tournament")),
];

/// The private fleet of Kyoto and Osaka.
pub fn tournament() -> PrivateFleet {
    let at = GeoPoint { latitude: 35.0, longitude: 135.5 };
    let centroid = Centroid { label: "Kansai".into(), at, radius_km: 100.0, desired_host_count: 2 };
    PrivateFleet { name: "tournament".into(), centroid }
}

/// Notes which TLS ports are open on all hosts, and may find ports taken.
#[derive(Default)]
pub struct TestFront {
    /// Port: which workload it leads to, and where that is.
    pub open: Mutex<HashMap<u16, (WorkloadId, SocketAddr)>>,
    /// Whom each deployment's ports let in.
    guests: Mutex<HashMap<DeploymentId, Guests>>,
    /// So many ports are found taken from now on.
    pub taken: AtomicUsize,
}

/// The part of one host.
pub struct HostFront {
    all: Arc<TestFront>,
    own: Mutex<HashSet<u16>>,
}

impl TestFront {
    pub fn of_a_host(self: &Arc<Self>) -> Arc<HostFront> {
        Arc::new(HostFront { all: self.clone(), own: Mutex::default() })
    }

    /// Whether a deployment's TLS ports let an address in.
    pub fn admits(&self, id: DeploymentId, client: &str) -> bool {
        let client = client.parse().unwrap();
        self.guests.lock().get(&id).is_some_and(|guests| guests.as_ref().is_none_or(|admits| admits(client)))
    }
}

impl Front for HostFront {
    fn set_guests(&self, deployment: DeploymentId, guests: &Guests) {
        self.all.guests.lock().insert(deployment, guests.clone());
    }

    fn open(
        &self,
        workload: WorkloadId,
        port: u16,
        to: SocketAddr,
        guests: Guests,
    ) -> Result<(), FrontError> {
        let take_one = |left: usize| left.checked_sub(1);
        if self.all.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            return Err(FrontError::PortTaken(port));
        }
        self.all.open.lock().insert(port, (workload, to));
        self.set_guests(workload.deployment, &guests);
        self.own.lock().insert(port);
        Ok(())
    }

    fn is_open(&self, workload: WorkloadId, port: u16) -> bool {
        self.all.open.lock().get(&port).is_some_and(|(open, _)| *open == workload)
    }

    fn close(&self, deployment: DeploymentId) {
        self.all.open.lock().retain(|_, (workload, _)| workload.deployment != deployment);
    }

    fn deployments(&self) -> HashSet<DeploymentId> {
        let (open, own) = (self.all.open.lock(), self.own.lock());
        own.iter().filter_map(|port| open.get(port)).map(|(workload, _)| workload.deployment).collect()
    }
}

impl World {
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(directory.path().join("spawnpoint.db"));
        Self::over(database, None, directory).await
    }

    pub async fn postgres() -> Option<Self> {
        let Ok(url) = std::env::var("SPAWNPOINT_TEST_POSTGRES") else {
            eprintln!("skipped: SPAWNPOINT_TEST_POSTGRES holds no URL of a PostgreSQL server");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let random = directory.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let schema = format!("test_{}", random.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        execute(&url, &format!("create schema {schema}")).await;
        let separator = if url.contains('?') { '&' } else { '?' };
        let scoped = format!("{url}{separator}options=-c%20search_path%3D{schema}");
        Some(Self::over(Database::Postgres(scoped), Some((url, schema)), directory).await)
    }

    async fn over(
        database: Database,
        schema: Option<(String, String)>,
        directory: tempfile::TempDir,
    ) -> Self {
        let receiver = Receiver::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver_address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut hosts = CITIES.map(|_| FakeEngine::new(FakeConfig::default())).to_vec();
        // One more, on which added hosts stand.
        hosts.push(FakeEngine::new(FakeConfig::default()));
        let clock = ManualClock::new(NOW);
        let store = Store::open(&database, NOW).await.unwrap();
        let front = Arc::new(TestFront::default());
        let engine = start(&store, &clock, &hosts, &front, directory.path(), |_| {}).await;
        let admin = Actor { token: TokenId::from("test"), scope: Scope::Admin, apps: Vec::new() };
        let world = Self {
            engine,
            clock,
            hosts,
            store,
            receiver,
            receiver_address,
            admin,
            front,
            database,
            schema,
            directory,
        };
        world.create_app("arena").await;
        world.create_version("arena", "v1", "fake/game:ok", |_| {}).await;
        world
    }

    /// The control plane dies without a word, and a new one begins on the same database and hosts.
    pub async fn crash_and_restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same, with other settings.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Options)) {
        self.engine.shut_down(Duration::from_secs(5)).await;
        self.store.clone().close().await;
        self.store = Store::open(&self.database, NOW).await.unwrap();
        // What it had opened is closed with it.
        self.front = Arc::default();
        let (hosts, front) = (&self.hosts, &self.front);
        self.engine = start(&self.store, &self.clock, hosts, front, self.directory.path(), change).await;
    }

    /// Another control plane on the same database and hosts; PostgreSQL alone allows it.
    pub async fn second(&self) -> Engine {
        let directory = self.directory.path().join("second");
        start(&self.store, &self.clock, &self.hosts, &Arc::default(), &directory, |_| {}).await
    }

    pub async fn create_app(&self, name: &str) {
        let new = NewApp { name: app(name), is_active: true, image: String::new() };
        self.engine.create_app(&self.admin, new).await.unwrap();
    }

    /// A version of 1 vCPU and 512 MiB with the UDP port 7777 called `game`.
    pub async fn create_version(
        &self,
        of: &str,
        name: &str,
        image: &str,
        change: impl FnOnce(&mut VersionInput),
    ) {
        let (image, tag) = image.split_once(':').unwrap();
        let port = PortSpec {
            port: 7777,
            protocol: Protocol::Udp,
            to_check: true,
            tls_upgrade: false,
            name: Some("game".into()),
        };
        let mut input = VersionInput {
            name: Some(VersionName::parse(name).unwrap()),
            registry: Some(String::new()),
            image: Some(image.into()),
            tag: Some(tag.into()),
            cpu: Some(1024),
            memory: Some(512),
            ports: Some(vec![port]),
            ..VersionInput::default()
        };
        change(&mut input);
        self.engine.create_version(&self.admin, &app(of), input).await.unwrap();
    }

    /// A request for `arena` with all three webhooks, at `/ready`, `/error` and `/terminated` of the receiver.
    pub fn request(&self, version: &str) -> DeployRequest {
        let url = |path: &str| Some(Plaintext::new(format!("http://{}/{path}", self.receiver_address)));
        DeployRequest {
            app: app("arena"),
            version: Some(VersionName::parse(version).unwrap()),
            players: Vec::new(),
            centroid: None,
            filters: Vec::new(),
            preferred_hosts: Vec::new(),
            require_cached: false,
            env: Vec::new(),
            tags: Vec::new(),
            webhooks: WebhookUrls {
                on_ready: url("ready"),
                on_error: url("error"),
                on_terminated: url("terminated"),
            },
            command: None,
            arguments: None,
            log_storage: None,
            resources: None,
        }
    }

    /// Deploys a version and returns the id.
    pub async fn deploy(&self, version: &str) -> DeploymentId {
        self.engine.deploy(&self.admin, self.request(version), None).await.unwrap().view.deployment.id
    }

    /// Deploys a version and waits until it is ready.
    pub async fn deploy_ready(&self, version: &str) -> DeploymentId {
        let id = self.deploy(version).await;
        self.until(id, Status::Ready).await;
        id
    }

    pub async fn view(&self, id: DeploymentId) -> DeploymentView {
        self.engine.get_deployment(&self.admin, id).await.unwrap()
    }

    /// Waits, with bounded patience, until the deployment has this status.
    pub async fn until(&self, id: DeploymentId, status: Status) -> DeploymentView {
        let mut last = None;
        for _ in 0..1000 {
            let view = self.view(id).await;
            if view.deployment.status() == status {
                return view;
            }
            last = Some(view);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} did not become {status:?}: {:?}", last.unwrap().deployment.state);
    }

    /// Waits, with bounded patience, until `condition` holds.
    pub async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..1000 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("in vain: {what}");
    }

    pub async fn stop(&self, id: DeploymentId) -> Result<spawnpoint_engine::stop::StopOutcome, Error> {
        self.engine.stop(&self.admin, id, None).await
    }

    /// Where logs wait for their upload.
    pub fn spool_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("spool")
    }

    /// A plain HTTP client, as anybody has one.
    #[expect(clippy::disallowed_methods, reason = "it calls the test's own servers")]
    pub fn http(&self) -> reqwest::Client {
        reqwest::Client::new()
    }

    /// Paths of the webhooks that arrived, in order.
    pub fn arrived(&self) -> Vec<String> {
        self.receiver.received.lock().iter().map(|r| r.path.clone()).collect()
    }

    pub fn workloads(&self) -> usize {
        self.hosts.iter().map(|host| host.workload_count()).sum()
    }

    /// Violations that the audit counts, as sentences.
    pub async fn violations(&self) -> Vec<String> {
        let findings = self.engine.audit().await.unwrap();
        findings
            .into_iter()
            .flat_map(|f| f.violations.into_iter().map(move |v| format!("{}: {v}", f.id)))
            .collect()
    }

    /// Stops everything and asserts that nothing is left: no workload, no held port, no reserved capacity, no pending
    /// webhook, no violation.
    pub async fn end(self) {
        for host in &self.hosts {
            host.set_unreachable(false);
        }
        self.receiver.answers.lock().clear();
        let page = Page { number: 1, limit: 100 };
        let live = self.engine.list_deployments(&self.admin, ListQuery::default(), page).await.unwrap();
        for view in &live.items {
            self.stop(view.deployment.id).await.ok();
        }
        for view in &live.items {
            self.eventually("the deployment ends", async || {
                self.clock.advance(Duration::from_millis(100));
                matches!(self.view(view.deployment.id).await.deployment.state.phase, Phase::Terminated(_))
            })
            .await;
        }
        self.eventually("all webhooks are sent", async || {
            self.clock.advance(Duration::from_secs(60));
            self.store.count_pending_deliveries().await.unwrap() == 0
        })
        .await;
        assert_eq!(self.violations().await, Vec::<String>::new());
        let held =
            self.store.port_leases(None).await.unwrap().into_iter().filter(|lease| lease.free_at.is_none());
        assert_eq!(held.count(), 0, "ports are still leased");
        let reserved = self.store.host_usage().await.unwrap();
        assert!(reserved.iter().all(|usage| usage.reserved == Resources::default()), "{reserved:?}");
        assert_eq!(self.workloads(), 0, "workloads are left");
        assert!(self.front.open.lock().is_empty(), "TLS ports are open");
        self.engine.shut_down(Duration::from_secs(5)).await;
        if let Some((url, schema)) = &self.schema {
            execute(url, &format!("drop schema {schema} cascade")).await;
        }
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    request: axum::extract::Request,
) -> (StatusCode, HeaderMap) {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    receiver.received.lock().push(Received { path: head.uri.path().to_owned(), headers: head.headers, body });
    let mut answers = receiver.answers.lock();
    let (code, retry_after) = if answers.is_empty() { (204, None) } else { answers.remove(0) };
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", seconds.parse().unwrap());
    }
    (StatusCode::from_u16(code).unwrap(), headers)
}

async fn start(
    store: &Store,
    clock: &Arc<ManualClock>,
    hosts: &[Arc<FakeEngine>],
    front: &Arc<TestFront>,
    directory: &std::path::Path,
    change: impl FnOnce(&mut Options),
) -> Engine {
    let mut options =
        Options::new("games.test", "http://api.test", Plaintext::new("whsec_c3Bhd25wb2ludC10ZXN0cw=="));
    options.webhook_networks = vec![Network::parse("127.0.0.0/8").unwrap()];
    options.storage_networks = options.webhook_networks.clone();
    options.spool_dir = Some(directory.join("spool"));
    options.resync_every = Duration::from_millis(200);
    options.terminated_retention = Duration::from_secs(30 * 24 * 3600);
    options.metrics.sample_every = Duration::from_secs(1);
    change(&mut options);
    let setups = CITIES.iter().zip(hosts).map(|((city, latitude, longitude, private), fake)| {
        let location = Location {
            city: (*city).into(),
            latitude: *latitude,
            longitude: *longitude,
            ..Location::default()
        };
        let site = Arc::new(Site { id: (*city).into(), location, tags: Vec::new() });
        let id = HostId::from(format!("{city}-1"));
        let host = Host {
            id: id.clone(),
            site,
            public_address: "203.0.113.1".parse().unwrap(),
            capacity: Resources { cpu: CpuUnits(4096), memory: MemoryMib(4096) },
            port_range: 30_000..=30_099,
            private_fleet: private.map(str::to_owned),
            ends_tls: true,
            cordoned: false,
            base_clock_mhz: 2000,
            beacon: None,
        };
        let driver = Arc::new(FakeDriver::on(fake.clone(), store.installation(), id));
        HostSetup {
            host: Arc::new(host),
            driver,
            callback_url: None,
            security: Security::Baseline,
            pids_max: 512,
            front: Some(front.of_a_host()),
        }
    });
    let parts = Parts {
        options,
        clock: clock.clone(),
        entropy: Arc::new(Entropy::from_system()),
        positions: Arc::new(spawnpoint_engine::positions::NoPositions),
        render_status: Arc::new(|view, _| {
            format!("{{\"status\":\"{}\"}}", view.deployment.status().as_str())
        }),
        render_session: Arc::new(|view, _| {
            format!("{{\"session\":\"{}\",\"phase\":\"{}\"}}", view.session.id, view.session.phase.word())
        }),
        store: store.clone(),
        vault: Arc::new(Vault::from_master_key([7; 32])),
        hosts: setups.collect(),
        private_fleets: vec![tournament()],
        connect: hosts.last().map(|engine| {
            let annex = Annex { engine: engine.clone(), store: store.clone(), front: front.clone() };
            Arc::new(annex) as Arc<dyn ConnectHost>
        }),
    };
    Engine::start(parts).await.unwrap()
}

/// Connects added hosts to the last of the engines.
struct Annex {
    engine: Arc<FakeEngine>,
    store: Store,
    front: Arc<TestFront>,
}

#[async_trait::async_trait]
impl ConnectHost for Annex {
    async fn connect(&self, added: &AddedHost, _beside: &[AddedHost]) -> Result<HostSetup, Invalids> {
        let city = CITIES.iter().find(|(city, ..)| *city == added.site.as_str());
        let Some((city, latitude, longitude, _)) = city else {
            return Err(Invalid::new("site", "there is no such site").into());
        };
        let location = Location {
            city: (*city).into(),
            latitude: *latitude,
            longitude: *longitude,
            ..Location::default()
        };
        let (first, last) = added.port_range.unwrap_or((31_000, 31_099));
        let host = Host {
            id: added.id.clone(),
            site: Arc::new(Site { id: (*city).into(), location, tags: Vec::new() }),
            public_address: "203.0.113.2".parse().unwrap(),
            capacity: added.capacity.unwrap_or(Resources { cpu: CpuUnits(2048), memory: MemoryMib(2048) }),
            port_range: first..=last,
            private_fleet: added.private_fleet.clone(),
            ends_tls: true,
            cordoned: false,
            base_clock_mhz: 2000,
            beacon: added.beacon.as_ref().map(|beacon| Beacon {
                host: beacon.host.clone().unwrap_or_default(),
                udp_port: beacon.udp_port,
                tcp_port: beacon.tcp_port,
            }),
        };
        let driver = FakeDriver::on(self.engine.clone(), self.store.installation(), added.id.clone());
        Ok(HostSetup {
            host: Arc::new(host),
            driver: Arc::new(driver),
            callback_url: None,
            security: Security::Baseline,
            pids_max: 512,
            front: Some(self.front.of_a_host()),
        })
    }
}

pub fn app(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

pub fn version(name: &str) -> VersionName {
    VersionName::parse(name).unwrap()
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    let _ = connection.await;
}
