//! What runs containers on this machine: the embedded runtime or a Docker engine, and which of them a host gets.
//!
//! `auto` is the embedded runtime where it can run. Where it cannot, one line says why, and the host is this machine's Docker
//! engine. A host never changes from one to the other while deployments are left on it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use spawnpoint_driver::DriverError;
use spawnpoint_driver_docker::DockerEngine;
use spawnpoint_driver_docker::image_archive::SingleBinaryImage;

use crate::config::{Config, DriverPlan, HostPlan, Plan, default_docker};
use crate::embedded;
use crate::failure::Failure;
use crate::hosts::remember;
use crate::opened::Opened;

/// An engine whose containers reach this machine by their gateway.
#[derive(Clone)]
pub enum LocalEngine {
    /// A Docker engine.
    Docker(Arc<DockerEngine>),
    /// The embedded runtime.
    Oci(Arc<embedded::Engine>),
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
            Self::Oci(engine) => embedded::load(engine, archive).await,
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

/// The embedded runtime, opened when the first host wants it.
#[derive(Default)]
pub struct Embedded {
    engine: Option<Arc<embedded::Engine>>,
    /// Why it cannot run.
    refusal: Option<String>,
}

impl Embedded {
    /// It, if a host has wanted it.
    #[must_use]
    pub fn opened(self) -> Option<Arc<embedded::Engine>> {
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
    ) -> Result<Arc<embedded::Engine>, Failure> {
        if let Some(engine) = &self.engine {
            return Ok(Arc::clone(engine));
        }
        if let Some(refusal) = &self.refusal {
            return Err(Failure::new(refusal.clone()));
        }
        match embedded::open(config, plan, opened.store.installation()).await {
            Ok(engine) => {
                self.engine = Some(Arc::clone(&engine));
                Ok(engine)
            }
            Err(failure) => {
                self.refusal = Some(failure.to_string());
                Err(failure)
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
            Err(failure) if embedded::is_held(config, opened.store.installation()) => Err(failure),
            Err(failure) => {
                tracing::info!(host.id = %host.id, "this machine's Docker engine is used: {failure}");
                remember(&opened.store, &setting, "docker").await;
                Ok(docker())
            }
        }
    }
}
