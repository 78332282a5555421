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
use spawnpoint_driver::fake::FakeEngine;
use spawnpoint_engine::apps::NewApp;
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_engine::webhooks::Network;
use spawnpoint_engine::{
    Clock as _, DeployRequest, DeploymentView, Engine, Entropy, Error, Front, FrontError, Guests,
    ManualClock, Options, Parts, WebhookUrls,
};
use spawnpoint_model::deployment::{Phase, Status};
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::query::{ListQuery, Page};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{AppName, DeploymentId, Plaintext, Protocol, TokenId, VersionName, WorkloadId};
use spawnpoint_store::{Store, Vault};
pub use spawnpoint_testing::NOW;
use spawnpoint_testing::{Scratch, atlas};

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
    scratch: Scratch,
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
        Self::over(Scratch::sqlite()).await
    }

    pub async fn postgres() -> Option<Self> {
        Some(Self::over(Scratch::postgres().await?).await)
    }

    async fn over(scratch: Scratch) -> Self {
        let receiver = Receiver::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver_address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clock = ManualClock::new(NOW);
        let seen = clock.clone();
        let hosts = atlas::engines(Some(Arc::new(move || seen.now())));
        let store = Store::open(&scratch.database, NOW).await.unwrap();
        let front = Arc::new(TestFront::default());
        let engine = start(&store, &clock, &hosts, &front, scratch.directory(), |_| {}).await;
        let admin = Actor { token: TokenId::from("test"), scope: Scope::Admin, apps: Vec::new() };
        let world = Self { engine, clock, hosts, store, receiver, receiver_address, admin, front, scratch };
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
        self.store = Store::open(&self.scratch.database, NOW).await.unwrap();
        // What it had opened is closed with it.
        self.front = Arc::default();
        let (hosts, front) = (&self.hosts, &self.front);
        self.engine = start(&self.store, &self.clock, hosts, front, self.scratch.directory(), change).await;
    }

    /// Another control plane on the same database and hosts; PostgreSQL alone allows it.
    pub async fn second(&self) -> Engine {
        let directory = self.scratch.directory().join("second");
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
        self.scratch.directory().join("spool")
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
        self.scratch.remove().await;
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
    // A clock that runs in leaps is no good for it.
    options.gc_first = options.gc_every;
    options.resync_every = Duration::from_millis(200);
    options.terminated_retention = Duration::from_secs(30 * 24 * 3600);
    options.metrics.sample_every = Duration::from_secs(1);
    change(&mut options);
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
        hosts: atlas::setups(store, hosts, &*front_of_a_host(front)),
        private_fleets: vec![atlas::tournament()],
        connect: atlas::Annex::on_last(hosts, store, front_of_a_host(front)),
    };
    Engine::start(parts).await.unwrap()
}

fn front_of_a_host(all: &Arc<TestFront>) -> Box<atlas::MakeFront> {
    let all = all.clone();
    Box::new(move || Some(all.of_a_host()))
}

pub fn app(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

pub fn version(name: &str) -> VersionName {
    VersionName::parse(name).unwrap()
}
