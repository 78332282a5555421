//! What the tests stand on: a router over an engine with fake hosts, three shared and two private. [`World::end`] stops what runs and asserts that
//! nothing is left over.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use spawnpoint_api::{
    ApiConfig, ApiState, RateLimits, callback_router, render_session, render_status, router,
};
use spawnpoint_driver::fake::FakeEngine;
use spawnpoint_engine::image_tags::OwnRegistry;
use spawnpoint_engine::positions::{Positions, Region, Whereabouts};
use spawnpoint_engine::webhooks::Network;
use spawnpoint_engine::{Engine, Entropy, ManualClock, Options, Parts};
use spawnpoint_model::Plaintext;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_store::{Store, Vault};
pub use spawnpoint_testing::NOW;
use spawnpoint_testing::{Scratch, atlas};
use tower::ServiceExt;

pub const ADMIN: &str = "admin-secret";
/// Whence requests come, unless a test says otherwise.
pub const PEER: &str = "198.51.100.7:40000";

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Its body as JSON; it must say so in its content type.
    pub fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        serde_json::from_str(&self.text).unwrap()
    }

    /// The same, of an answer that must have this code.
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The sentence of an error.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

pub struct World {
    pub engine: Engine,
    pub router: Router,
    pub api: ApiState,
    pub callbacks: Router,
    pub clock: Arc<ManualClock>,
    pub hosts: Vec<Arc<FakeEngine>>,
    _scratch: Scratch,
}

impl World {
    /// Without rate limits.
    pub async fn new() -> Self {
        Self::with(ApiConfig { rates: RateLimits::off(), ..ApiConfig::default() }).await
    }

    /// Without rate limits, with a registry of its own, whose project is `studio`.
    pub async fn with_registry(host: &str) -> Self {
        let registry = OwnRegistry {
            host: host.into(),
            project: "studio".into(),
            username: "robot$studio".into(),
            token: Plaintext::new("push-me"),
        };
        Self::start(ApiConfig { rates: RateLimits::off(), ..ApiConfig::default() }, Some(registry)).await
    }

    pub async fn with(config: ApiConfig) -> Self {
        Self::start(config, None).await
    }

    async fn start(config: ApiConfig, registry: Option<OwnRegistry>) -> Self {
        let scratch = Scratch::sqlite();
        let store = Store::open(&scratch.database, NOW).await.unwrap();
        let clock = ManualClock::new(NOW);
        let hosts = atlas::engines(None);
        let mut parts = parts(&store, &clock, &hosts);
        parts.options.own_registry = registry;
        let engine = Engine::start(parts).await.unwrap();
        engine.install_admin_token(&Plaintext::new(ADMIN)).await.unwrap();
        let state = ApiState::new(engine.clone(), config);
        let (router, callbacks) = (router(state.clone()), callback_router(state.clone()));
        Self { engine, router, api: state, callbacks, clock, hosts, _scratch: scratch }
    }

    /// With an application `arena` and its version `v1`, whose servers listen on the UDP port 7777 called `game`.
    pub async fn with_arena() -> Self {
        let world = Self::new().await;
        world.create_app("arena").await;
        world.create_version("arena", "v1", "fake/game", "ok").await;
        world
    }

    pub async fn create_app(&self, name: &str) {
        let body = json!({"name": name, "is_active": true, "image": ""});
        self.post("/v1/app", &body).await.expect(200);
    }

    pub async fn create_version(&self, app: &str, name: &str, image: &str, tag: &str) {
        self.post(&format!("/v1/app/{app}/version"), &version(name, image, tag)).await.expect(200);
    }

    /// Makes a token over HTTP and returns its secret.
    pub async fn token(&self, scope: &str, apps: &[&str]) -> String {
        let body = json!({"name": format!("{scope} {apps:?}"), "scope": scope, "apps": apps});
        let made = self.post("/spawnpoint/v1/tokens", &body).await.expect(201);
        made["token"].as_str().unwrap().to_owned()
    }

    pub async fn send_to(&self, router: &Router, mut request: Request<Body>) -> Answer {
        if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
            request.extensions_mut().insert(ConnectInfo(PEER.parse::<SocketAddr>().unwrap()));
        }
        let response = router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        self.send_to(&self.router, request).await
    }

    /// Sends a request with a token.
    pub async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("token {token}"));
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, ADMIN, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, ADMIN, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, ADMIN, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, ADMIN, None).await
    }

    /// Deploys a version of `arena` over v2 and returns the id.
    pub async fn deploy(&self, version: &str) -> String {
        let answer = self.post("/v2/deployments", &deployment(version)).await.expect(202);
        answer["request_id"].as_str().unwrap().to_owned()
    }

    /// Waits, with bounded patience, until the status is `Status.<word>`.
    pub async fn until(&self, id: &str, word: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..1000 {
            last = self.get(&format!("/v1/status/{id}")).await.expect(200);
            if last["current_status"] == format!("Status.{word}") {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} did not become {word}: {last}");
    }

    pub async fn deploy_ready(&self, version: &str) -> String {
        let id = self.deploy(version).await;
        self.until(&id, "READY").await;
        id
    }

    /// How many deployments are listed.
    pub async fn count(&self) -> u64 {
        self.get("/v1/deployments").await.expect(200)["total_count"].as_u64().unwrap()
    }

    /// Stops everything and asserts that nothing is left.
    pub async fn end(self) {
        let list = self.get("/v1/deployments?limit=100").await.expect(200);
        let ids: Vec<&str> =
            list["data"].as_array().unwrap().iter().map(|d| d["request_id"].as_str().unwrap()).collect();
        for id in &ids {
            self.delete(&format!("/v1/stop/{id}")).await;
        }
        for id in &ids {
            for round in 0.. {
                self.clock.advance(Duration::from_millis(100));
                let status = self.get(&format!("/v1/status/{id}")).await.expect(200);
                if status["current_status"] == "Status.TERMINATED" {
                    break;
                }
                assert!(round < 1000, "{id} does not end: {status}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let audit = self.get("/spawnpoint/v1/audit").await.expect(200);
        assert_eq!(audit["violation_count"], 0, "{audit}");
        assert_eq!(
            self.hosts.iter().map(|host| host.workload_count()).sum::<usize>(),
            0,
            "workloads are left"
        );
        self.engine.shut_down(Duration::from_secs(5)).await;
    }
}

/// The installation's keys.
pub fn vault() -> Vault {
    Vault::from_master_key([7; 32])
}

/// The body of a version with the UDP port 7777.
pub fn version(name: &str, image: &str, tag: &str) -> Value {
    json!({
        "name": name, "docker_repository": "registry.test", "docker_image": image, "docker_tag": tag,
        "req_cpu": 1024, "req_memory": 512, "ports": [{"port": 7777, "protocol": "UDP", "name": "game"}]
    })
}

/// The body of a v2 deploy request for `arena`.
pub fn deployment(version: &str) -> Value {
    json!({
        "application": "arena", "version": version,
        "users": [{"user_type": "geo_coordinates", "user_data": {"latitude": 45.7, "longitude": 4.8}}]
    })
}

/// Knows an address in each city: 203.0.113.10 in the first, .20 in the second, .30 in the third.
struct Somewhere;

impl Positions for Somewhere {
    fn position(&self, address: IpAddr) -> Option<GeoPoint> {
        let IpAddr::V4(v4) = address else { return None };
        let [203, 0, 113, last @ (10 | 20 | 30)] = v4.octets() else { return None };
        let (_, latitude, longitude, _) = atlas::CITIES[usize::from(last / 10 - 1)];
        Some(GeoPoint { latitude, longitude })
    }

    fn whereabouts(&self, address: IpAddr) -> Option<Whereabouts> {
        let point = Some(self.position(address)?);
        let region =
            |code: &str, name: &str| Some(Region { code: Some(code.into()), name: Some(name.into()) });
        let continent = region("EU", "Europe");
        Some(Whereabouts { continent, country: region("FR", "France"), point })
    }
}

fn parts(store: &Store, clock: &Arc<ManualClock>, hosts: &[Arc<FakeEngine>]) -> Parts {
    let mut options =
        Options::new("games.test", "http://api.test", Plaintext::new("whsec_c3Bhd25wb2ludC10ZXN0cw=="));
    options.webhook_networks = vec![Network { address: "127.0.0.0".parse().unwrap(), prefix: 8 }];
    options.registry_networks.clone_from(&options.webhook_networks);
    options.resync_every = Duration::from_millis(200);
    options.metrics.sample_every = Duration::from_secs(1);
    Parts {
        options,
        clock: clock.clone(),
        entropy: Arc::new(Entropy::from_system()),
        positions: Arc::new(Somewhere),
        render_status: Arc::new(render_status),
        render_session: Arc::new(render_session),
        store: store.clone(),
        vault: Arc::new(vault()),
        hosts: atlas::setups(store, hosts, &|| None),
        private_fleets: vec![atlas::tournament()],
        connect: atlas::Annex::on_last(hosts, store, Box::new(|| None)),
    }
}
