//! What the tests stand on: an open store, and values to put into it.

use std::sync::Arc;
use std::time::Duration;

use spawnpoint_model::app::{Application, ImageSource, Version};
use spawnpoint_model::deployment::{DeploymentSpec, StopCause, Tag};
use spawnpoint_model::units::Resources;
use spawnpoint_model::webhook::Webhooks;
use spawnpoint_model::{
    AppName, CpuUnits, Deployment, DeploymentId, HostId, MemoryMib, Phase, TagName, Timestamp, VersionName,
    VersionSpec,
};
use spawnpoint_store::{Store, StoreError, Tx};
pub use spawnpoint_testing::{NOW, Scratch, execute};

/// So many seconds after [`NOW`].
pub fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Runs a test on both databases.
macro_rules! on_both {
    ($(async fn $name:ident($world:ident: &World) $body:block)*) => { $(
        mod $name {
            use super::*;

            async fn body($world: &World) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let world = World::sqlite().await;
                Box::pin(body(&world)).await;
                world.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let Some(world) = World::postgres().await else { return };
                Box::pin(body(&world)).await;
                world.end().await;
            }
        }
    )* };
}
pub(crate) use on_both;

/// An open store with an application `arena`, its version `v1` and that version's revision `r1`.
pub struct World {
    pub store: Store,
    pub scratch: Scratch,
}

impl World {
    pub async fn sqlite() -> Self {
        Self::over(Scratch::sqlite()).await
    }

    pub async fn postgres() -> Option<Self> {
        Some(Self::over(Scratch::postgres().await?).await)
    }

    async fn over(scratch: Scratch) -> Self {
        let store = Store::open(&scratch.database, NOW).await.unwrap();
        let mut tx = Tx::new();
        tx.insert_application(&application("arena"));
        tx.insert_version(&version("arena", "v1", "r1"));
        store.commit(tx).await.unwrap();
        Self { store, scratch }
    }

    /// Commits what `build` puts into a transaction.
    pub async fn commit(&self, build: impl FnOnce(&mut Tx)) -> Result<(), StoreError> {
        let mut tx = Tx::new();
        build(&mut tx);
        self.store.commit(tx).await
    }

    /// Stores a deployment that is due at once.
    pub async fn insert(&self, deployment: &Deployment) {
        self.commit(|tx| tx.insert_deployment(deployment, Some(NOW))).await.unwrap();
    }

    /// Closes the store and removes what the test left.
    pub async fn end(self) {
        self.store.close().await;
        self.scratch.remove().await;
    }
}

pub fn app(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

pub fn version_name(name: &str) -> VersionName {
    VersionName::parse(name).unwrap()
}

pub fn application(name: &str) -> Application {
    Application { name: app(name), is_active: true, image: String::new(), created_at: NOW, updated_at: NOW }
}

pub fn resources(cpu: u32, memory: u32) -> Resources {
    Resources { cpu: CpuUnits(cpu), memory: MemoryMib(memory) }
}

pub fn version(app_name: &str, name: &str, revision: &str) -> Version {
    let image = ImageSource {
        registry: "registry.example.com".into(),
        name: "studio/arena".into(),
        tag: revision.into(),
        username: None,
        token: None,
    };
    Version {
        app: app(app_name),
        name: version_name(name),
        revision: revision.into(),
        spec: Arc::new(VersionSpec::new(image, resources(256, 256))),
        created_at: NOW,
        updated_at: NOW,
    }
}

pub fn id(n: u64) -> DeploymentId {
    DeploymentId::from_random(n)
}

pub fn host(name: &str) -> HostId {
    name.into()
}

pub fn tag(name: &str) -> Tag {
    Tag { name: TagName::parse(name).unwrap(), created_at: NOW, updated_at: NOW }
}

/// A new deployment of `arena`, asked for `n` seconds after [`NOW`].
pub fn deployment(n: u64) -> Deployment {
    let spec = DeploymentSpec {
        app: app("arena"),
        version: version_name("v1"),
        revision: "r1".into(),
        created_at: after(n),
        user_count: 2,
        players: Vec::new(),
        centroid: None,
        filters: Vec::new(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env: Vec::new(),
        command: None,
        arguments: None,
        webhooks: Webhooks::default(),
        log_storage: None,
        pull_profiles: Vec::new(),
        resources: resources(256, 256),
        restart_policy: spawnpoint_model::RestartPolicy::Always,
        grace_seconds: 5,
        time_to_deploy_seconds: 120,
        max_duration_minutes: 60,
        session: None,
        origin: None,
    };
    Deployment::new(id(n), spec, Vec::new())
}

/// The row after a change.
pub fn changed(deployment: &Deployment, change: impl FnOnce(&mut Deployment)) -> Deployment {
    let mut next = deployment.clone();
    next.generation += 1;
    change(&mut next);
    next
}

/// The row after its end.
pub fn terminated(deployment: &Deployment, at: Timestamp) -> Deployment {
    changed(deployment, |d| {
        d.state.phase = Phase::Terminated(StopCause::User);
        d.state.host = None;
        d.state.ended_at = Some(at);
    })
}
