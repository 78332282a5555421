//! A real engine, a real game image, and somebody who plays the metadata service.

#[path = "../../../driver/tests/support/machine.rs"]
#[expect(dead_code, reason = "links and owners in images are tried elsewhere")]
mod machine;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{
    ListImagesOptions, ListNetworksOptions, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use machine::{MetadataStandIn, Programs, callback_port, host_address, serving};
use parking_lot::Mutex;
use spawnpoint_driver::testkit::{Program, RealWorld, Subject, own_installation};
use spawnpoint_driver::{Driver, DriverError, WorkloadSpec};
use spawnpoint_driver_docker::guard::Guard;
use spawnpoint_driver_docker::{DockerDriver, DockerEngine, Endpoint, EngineConfig, names};
use spawnpoint_model::{HostId, InstallationId};

/// The world of one test process.
pub struct World {
    pub client: Docker,
    pub image: String,
    programs: Programs,
    engines: Mutex<HashMap<InstallationId, Arc<DockerEngine>>>,
    images: Mutex<Vec<String>>,
    next_image: AtomicU32,
    gateway: Ipv4Addr,
    metadata: Option<MetadataStandIn>,
}

impl World {
    /// `None`, after saying why, if there is no engine here.
    pub async fn open() -> Option<Arc<Self>> {
        let client = Docker::connect_with_unix_defaults().ok()?;
        let client = match client.negotiate_version().await {
            Ok(client) => client,
            Err(error) => {
                println!("skipped: no Docker Engine answers on /var/run/docker.sock: {error}");
                return None;
            }
        };
        sweep_up_after_killed_runs(&client).await;
        let programs = Programs::build();
        let image = format!("spawnpoint-test/game:{}", std::process::id());
        let mut world = Self {
            client,
            image: image.clone(),
            metadata: MetadataStandIn::put_up(&programs.path),
            programs,
            engines: Mutex::default(),
            images: Mutex::default(),
            next_image: AtomicU32::new(1),
            gateway: Ipv4Addr::UNSPECIFIED,
        };
        world.load(&image).await.unwrap();
        world.gateway = world.engine(&own_installation()).unwrap().gateway().await.unwrap();
        Some(Arc::new(world))
    }

    pub fn engine(&self, installation: &InstallationId) -> Result<Arc<DockerEngine>, DriverError> {
        if let Some(engine) = self.engines.lock().get(installation) {
            return Ok(Arc::clone(engine));
        }
        let engine = DockerEngine::connect(EngineConfig {
            endpoint: Endpoint::default(),
            installation: installation.clone(),
            callback_port: Some(callback_port()),
        })?;
        self.engines.lock().insert(installation.clone(), Arc::clone(&engine));
        Ok(engine)
    }

    /// A workload that serves, on this port.
    pub fn spec(&self, attempt: u32, external: u16) -> WorkloadSpec {
        serving(&self.image, attempt, external)
    }

    /// A driver for our own host, by another way to the same engine.
    pub fn driver_at(&self, endpoint: Endpoint) -> DockerDriver {
        let config =
            EngineConfig { endpoint, installation: own_installation(), callback_port: Some(callback_port()) };
        DockerDriver::new(DockerEngine::connect(config).unwrap(), "host".into())
    }

    /// The program of the image.
    pub fn game(&self) -> &[u8] {
        &self.programs.game
    }

    /// Lets [`Self::close`] remove an image.
    pub fn note_image(&self, reference: &str) {
        self.images.lock().push(reference.to_owned());
    }

    async fn load(&self, reference: &str) -> Result<(), DriverError> {
        self.images.lock().push(reference.to_owned());
        self.engine(&own_installation())?.load_image(self.programs.archive(reference)).await
    }

    /// Takes everything away again.
    pub async fn close(&self) {
        let engines: Vec<_> = self.engines.lock().drain().map(|(_, engine)| engine).collect();
        for engine in engines {
            engine.remove_network().await.unwrap();
        }
        let images = std::mem::take(&mut *self.images.lock());
        for image in images {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            self.client.remove_image(&image, Some(options), None).await.unwrap();
        }
    }
}

#[async_trait]
impl Subject for World {
    async fn driver(
        &self,
        installation: &InstallationId,
        host: &HostId,
    ) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(DockerDriver::new(self.engine(installation)?, host.clone())))
    }

    async fn arrange(&self, program: Program, spec: &mut WorkloadSpec) -> Result<(), DriverError> {
        spec.image.clone_from(&self.image);
        program.of_the_game(spec);
        Ok(())
    }

    fn absent_image(&self) -> String {
        let number = self.next_image.fetch_add(1, Ordering::Relaxed);
        format!("spawnpoint-test/absent-{number}:{}", std::process::id())
    }

    async fn provide(&self, image: &str) -> Result<(), DriverError> {
        self.load(image).await
    }

    fn unknown_image(&self) -> String {
        // A registry that refuses the connection.
        "127.0.0.1:9/nobody/nothing:1".to_owned()
    }

    fn real_world(&self) -> Option<RealWorld> {
        Some(RealWorld {
            host_address: host_address(),
            callback: (self.gateway, callback_port()).into(),
            metadata: self.metadata.as_ref().map(|_| MetadataStandIn::ADDRESS),
        })
    }
}

/// Runs that were killed could not clear up. Their installation names their process.
async fn sweep_up_after_killed_runs(client: &Docker) {
    let networks = client.list_networks(None::<ListNetworksOptions>).await.unwrap();
    for network in networks {
        let labels = network.labels.unwrap_or_default();
        let installation = labels.get(names::INSTALLATION).map(String::as_str).unwrap_or_default();
        let process = u32::from_str_radix(installation, 16).map(|id| id ^ 0x7e57_0000).ok();
        let is_dead_run =
            process.is_some_and(|pid| pid < 1 << 22 && !Path::new(&format!("/proc/{pid}")).exists());
        let Some(id) = network.id.filter(|_| is_dead_run) else { continue };
        let whole = client.inspect_network(&id, None).await.unwrap();
        for container in whole.containers.unwrap_or_default().keys() {
            let options = RemoveContainerOptionsBuilder::default().force(true).build();
            let _ = client.remove_container(container, Some(options)).await;
        }
        let _ = client.remove_network(&id).await;
        Guard::new(&installation.into(), Ipv4Addr::UNSPECIFIED, None).uninstall().await;
    }
    let images = client.list_images(None::<ListImagesOptions>).await.unwrap();
    for reference in images.into_iter().flat_map(|image| image.repo_tags) {
        let is_ours = reference.contains("spawnpoint-test/");
        let process = reference.rsplit(':').next().filter(|_| is_ours);
        if process.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            let _ = client.remove_image(&reference, Some(options), None).await;
        }
    }
}
