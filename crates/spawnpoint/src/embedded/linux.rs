//! It is there: how it is opened, tried, and given images and hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spawnpoint_driver::Driver;
pub use spawnpoint_driver_oci::OciEngine as Engine;
pub use spawnpoint_driver_oci::host::findings;
use spawnpoint_driver_oci::{
    DiskBounds, ImageStore, OciConfig, OciDriver, UserRange, default_run_dir, run_dir_in,
};
use spawnpoint_model::{HostId, InstallationId};

use super::{Notes, images};
use crate::config::{Config, Oci, Plan};
use crate::failure::Failure;

/// Where it keeps its images and containers.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("oci")
}

/// Where it keeps what lives as long as the machine runs.
fn run_dir(config: &Config, installation: &InstallationId) -> PathBuf {
    run_dir_in(&config.oci.run_dir, installation)
}

/// Whether it works on this machine for another control plane of the installation.
#[must_use]
pub fn is_held(config: &Config, installation: &InstallationId) -> bool {
    spawnpoint_driver_oci::is_held(&run_dir(config, installation))
}

/// Ids for the users of containers; `None` = they have the host's.
fn users(config: &Oci) -> Option<UserRange> {
    let range = || config.user_ids.map_or_else(UserRange::of_this_host, |ids| ids.0);
    config.user_namespaces.then(range)
}

/// Bounds of the disk.
fn disk(config: &Oci) -> DiskBounds {
    let bytes = |mib: u32| u64::from(mib) << 20;
    DiskBounds {
        bytes: bytes(config.disk_mib),
        files: config.disk_files.into(),
        free_bytes: bytes(config.free_mib),
    }
}

/// Opens it.
///
/// # Errors
/// Why it cannot run.
pub async fn open(
    config: &Config,
    plan: &Plan,
    installation: &InstallationId,
) -> Result<Arc<Engine>, Failure> {
    let store = images::open(config).map_err(|failure| Failure::new(format!("driver oci: {failure}")))?;
    let ranges = || plan.hosts.iter().filter(|host| host.is_local()).map(|host| &host.port_range);
    let first = ranges().map(|range| *range.start()).min().unwrap_or(30_000);
    let last = ranges().map(|range| *range.end()).max().unwrap_or(32_767);
    let oci = OciConfig {
        dir: folder(&config.data.dir),
        run: run_dir(config, installation),
        installation: installation.clone(),
        callback_port: Some(config.callback.port),
        port_range: first..=last,
        subnet: config.oci.subnet.map(|subnet| subnet.0),
        program: "/proc/self/exe".into(),
        pool: config.oci.pool,
        users: users(&config.oci),
        disk: disk(&config.oci),
    };
    let opened = Engine::open(oci, store).await;
    opened.map_err(|why| Failure::new(format!("driver oci: {why} (`spawnpoint doctor` tells more)")))
}

/// Runs the workloads of a host.
#[must_use]
pub fn driver(engine: Arc<Engine>, host: HostId) -> Arc<dyn Driver> {
    Arc::new(OciDriver::new(engine, host))
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

/// Takes images from an archive, as `docker save` writes it.
///
/// # Errors
/// The store refuses it.
pub async fn load(engine: &Engine, archive: Vec<u8>) -> Result<(), Failure> {
    let store = engine.images().clone();
    let import = move || -> Result<(), Failure> {
        let file = as_file(&archive)?;
        store.import(file.path(), None).map_err(|err| Failure::new(err.to_string()))?;
        Ok(())
    };
    tokio::task::spawn_blocking(import).await.map_err(|err| Failure::new(err.to_string()))?
}

/// Sets it up under a name of its own on a temporary folder, and takes it down.
///
/// # Errors
/// What does not work.
pub async fn attempt() -> Result<Notes, String> {
    let dir = tempfile::tempdir().map_err(|err| err.to_string())?;
    let installation: InstallationId = format!("d{:07x}", std::process::id()).into();
    let store = ImageStore::open(dir.path().join("images")).map_err(|err| err.to_string())?;
    let config = OciConfig {
        dir: dir.path().to_owned(),
        run: default_run_dir(&installation),
        installation,
        callback_port: None,
        port_range: 30_000..=32_767,
        subnet: None,
        program: "/proc/self/exe".into(),
        pool: 1,
        users: None,
        disk: DiskBounds::default(),
    };
    let users = Engine::check_users(&config, UserRange::of_this_host()).await;
    let engine = Engine::open(config, store).await.map_err(|why| why.to_string())?;
    let notes = engine.notes();
    engine.close().await.map_err(|err| err.to_string())?;
    Ok((notes, users))
}
