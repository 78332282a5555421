//! What runs containers on this machine: the embedded runtime or a Docker engine, and which of them a host gets.
//!
//! `auto` is the embedded runtime where it can run. Where it cannot, one line says why, and the host is this machine's Docker
//! engine. A host never changes from one to the other while deployments are left on it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spawnpoint_driver::DriverError;
use spawnpoint_driver_docker::DockerEngine;
use spawnpoint_driver_docker::image_archive::SingleBinaryImage;
use spawnpoint_driver_oci::{OciConfig, OciEngine, is_held, run_dir_in};
use spawnpoint_model::InstallationId;

use crate::config::{Config, DriverPlan, HostPlan, Plan, default_docker};
use crate::failure::Failure;
use crate::hosts::remember;
use crate::images;
use crate::opened::Opened;

/// An engine whose containers reach this machine by their gateway.
#[derive(Clone)]
pub enum LocalEngine {
    /// A Docker engine.
    Docker(Arc<DockerEngine>),
    /// The embedded runtime.
    Oci(Arc<OciEngine>),
}

impl LocalEngine {
    /// How containers see this machine.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn gateway(&self) -> Result<Ipv4Addr, DriverError> {
        match self {
            Self::Docker(engine) => engine.gateway().await,
            Self::Oci(engine) => Ok(engine.gateway()),
        }
    }

    /// Leaves the machine as it was found. No workload must be left.
    ///
    /// # Errors
    /// What is still there.
    pub async fn tidy(&self) -> Result<(), DriverError> {
        match self {
            Self::Docker(engine) => engine.remove_network().await,
            Self::Oci(engine) => engine.close().await,
        }
    }

    /// Makes an image of one static program.
    ///
    /// # Errors
    /// The engine refuses it.
    pub async fn load_program(
        &self,
        reference: &str,
        program: &[u8],
        file_name: &str,
    ) -> Result<(), Failure> {
        let archive = archive_of(reference, program, file_name)?;
        match self {
            Self::Docker(engine) => Ok(engine.load_image(archive).await?),
            Self::Oci(engine) => {
                let store = engine.images().clone();
                let import = move || -> Result<(), Failure> {
                    let file = as_file(&archive)?;
                    store.import(file.path(), None).map_err(|err| Failure::new(err.to_string()))?;
                    Ok(())
                };
                tokio::task::spawn_blocking(import).await.map_err(|err| Failure::new(err.to_string()))?
            }
        }
    }
}

/// An image of one static program, as `docker save` writes it.
///
/// # Errors
/// The name does not fit.
pub fn archive_of(reference: &str, program: &[u8], file_name: &str) -> Result<Vec<u8>, Failure> {
    let image = SingleBinaryImage { reference, binary: program, file_name, labels: &[] };
    Ok(image.archive()?)
}

/// A file that goes when it is dropped.
///
/// # Errors
/// The disk says no.
pub fn as_file(bytes: &[u8]) -> Result<tempfile::NamedTempFile, Failure> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut file, bytes)?;
    Ok(file)
}

/// The embedded runtime, opened when the first host wants it.
#[derive(Default)]
pub struct Embedded {
    engine: Option<Arc<OciEngine>>,
    /// Why it cannot run.
    refusal: Option<String>,
}

/// Where the embedded runtime keeps its images and containers.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("oci")
}

/// Where it keeps what lives as long as the machine runs.
fn run_dir(config: &Config, installation: &InstallationId) -> PathBuf {
    run_dir_in(&config.oci.run_dir, installation)
}

impl Embedded {
    /// It, if a host has wanted it.
    #[must_use]
    pub fn opened(self) -> Option<Arc<OciEngine>> {
        self.engine
    }

    /// A failure of the engine that a host got in its place, with why it did.
    #[must_use]
    pub fn explain(&self, host: &HostPlan, failure: Failure) -> Failure {
        match (&host.driver, &self.refusal) {
            (DriverPlan::Auto, Some(why)) => Failure::new(format!("{failure}; {why}")),
            _ => failure,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// Why it cannot run.
    pub async fn engine(
        &mut self,
        config: &Config,
        plan: &Plan,
        opened: &Opened,
    ) -> Result<Arc<OciEngine>, Failure> {
        if let Some(engine) = &self.engine {
            return Ok(Arc::clone(engine));
        }
        if let Some(refusal) = &self.refusal {
            return Err(Failure::new(refusal.clone()));
        }
        let dir = folder(&config.data.dir);
        let store = images::open(config).map_err(|failure| Failure::new(format!("driver oci: {failure}")))?;
        let installation = opened.store.installation().clone();
        let ranges = || plan.hosts.iter().filter(|host| host.is_local()).map(|host| &host.port_range);
        let first = ranges().map(|range| *range.start()).min().unwrap_or(30_000);
        let last = ranges().map(|range| *range.end()).max().unwrap_or(32_767);
        let run = run_dir(config, &installation);
        let oci = OciConfig {
            dir,
            run,
            installation,
            callback_port: Some(config.callback.port),
            port_range: first..=last,
            subnet: config.oci.subnet.map(|subnet| subnet.0),
            program: "/proc/self/exe".into(),
            pool: config.oci.pool,
            users: config.oci.users(),
            disk: config.oci.disk(),
        };
        match OciEngine::open(oci, store).await {
            Ok(engine) => {
                self.engine = Some(Arc::clone(&engine));
                Ok(engine)
            }
            Err(why) => {
                let text = format!("driver oci: {why} (`spawnpoint doctor` tells more)");
                self.refusal = Some(text.clone());
                Err(Failure::new(text))
            }
        }
    }

    /// What a host of the plan is run by: anything but [`DriverPlan::Auto`].
    ///
    /// # Errors
    /// Deployments are left in the embedded runtime, which cannot run now.
    pub async fn choose(
        &mut self,
        config: &Config,
        plan: &Plan,
        host: &HostPlan,
        opened: &Opened,
    ) -> Result<DriverPlan, Failure> {
        if host.driver != DriverPlan::Auto {
            return Ok(host.driver.clone());
        }
        let setting = format!("driver of {}", host.id);
        let before = opened.store.find_setting(&setting).await?;
        let rows = opened.store.live_deployments().await?;
        let is_in_use = rows.iter().any(|row| row.state.host.as_ref() == Some(&host.id));
        let docker = || DriverPlan::Docker(default_docker());
        // Before there was an embedded runtime, nobody wrote it down.
        if is_in_use && before.as_deref() != Some("oci") {
            tracing::info!(host.id = %host.id, "deployments are left on this machine's Docker engine: the host stays with it");
            return Ok(docker());
        }
        match self.engine(config, plan, opened).await {
            Ok(_) => {
                remember(&opened.store, &setting, "oci").await;
                Ok(DriverPlan::Oci)
            }
            Err(failure) if is_in_use => Err(Failure::new(format!(
                "host {} has deployments in the embedded runtime, which cannot run now: {failure}",
                host.id
            ))),
            // It can run here, and does so for another control plane: this one's host is none of Docker's.
            Err(failure) if is_held(&run_dir(config, opened.store.installation())) => Err(failure),
            Err(failure) => {
                tracing::info!(host.id = %host.id, "this machine's Docker engine is used: {failure}");
                remember(&opened.store, &setting, "docker").await;
                Ok(docker())
            }
        }
    }
}
