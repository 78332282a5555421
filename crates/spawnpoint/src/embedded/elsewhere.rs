//! This is no Linux: there is no embedded runtime, and whoever asks for it is told so.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use spawnpoint_driver::{Driver, DriverError};
use spawnpoint_model::{HostId, InstallationId};

use super::Notes;
use crate::config::{Config, Plan};
use crate::failure::Failure;

fn refusal() -> String {
    format!("the embedded runtime needs Linux, and this is {}; use Docker here", std::env::consts::OS)
}

/// Nobody has one.
pub struct Engine(Infallible);

impl Engine {
    /// How containers would see this machine.
    #[must_use]
    pub const fn gateway(&self) -> Ipv4Addr {
        match self.0 {}
    }

    /// Would take everything away.
    ///
    /// # Errors
    /// None.
    pub async fn close(&self) -> Result<(), DriverError> {
        match self.0 {}
    }
}

/// One thing that was looked at.
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// What is missing, and how to get it.
    pub state: Result<String, String>,
}

/// What is missing.
#[must_use]
pub fn findings() -> Vec<Finding> {
    vec![Finding { what: "operating system", state: Err(refusal()) }]
}

/// # Errors
/// Always.
pub async fn attempt() -> Result<Notes, String> {
    Err(refusal())
}

/// Nobody holds it.
#[must_use]
pub const fn is_held(_: &Config, _: &InstallationId) -> bool {
    false
}

/// # Errors
/// Always.
pub async fn open(_: &Config, _: &Plan, _: &InstallationId) -> Result<Arc<Engine>, Failure> {
    Err(Failure::new(format!("driver oci: {}", refusal())))
}

/// Would run the workloads of a host.
#[must_use]
pub fn driver(engine: Arc<Engine>, _: HostId) -> Arc<dyn Driver> {
    match engine.0 {}
}

/// Would take images from an archive.
///
/// # Errors
/// None.
pub async fn load(engine: &Engine, _: Vec<u8>) -> Result<(), Failure> {
    match engine.0 {}
}

/// `spawnpoint image`.
pub mod images {
    use super::{Config, Failure, refusal};
    use crate::cli::ImageCommand;

    /// # Errors
    /// Always.
    pub async fn command(_: &Config, _: &ImageCommand) -> Result<(), Failure> {
        Err(Failure::new(refusal()))
    }
}

/// `spawnpoint leftovers`.
pub mod leftovers {
    use std::path::Path;

    use super::{Failure, refusal};

    /// # Errors
    /// Always.
    pub async fn list(_: &Path) -> Result<(), Failure> {
        Err(Failure::new(refusal()))
    }

    /// # Errors
    /// Always.
    pub async fn remove(_: &Path, _: &str, _: bool) -> Result<(), Failure> {
        Err(Failure::new(refusal()))
    }
}
