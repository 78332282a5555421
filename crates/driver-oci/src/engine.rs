//! What all hosts of this machine share: images, networks, the zygote, the folder of workloads.
//!
//! ```text
//! <data>/oci/images      the image store
//!            containers  a folder for each workload (records.rs)
//!            trash       what is being deleted
//! <run>      sockets, slots, hints (zygote.rs); net/: networks
//! ```
//!
//! It remembers nothing that is not on disk: whatever is kept in memory is a shortcut to a process that is looked at again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_driver::DriverError;
use spawnpoint_driver::bulkhead::Bulkhead;
use spawnpoint_images::Store;
use spawnpoint_model::WorkloadId;
use spawnpoint_network::{Network, NetworkConfig, Unsupported};
use tokio::sync::{Notify, Semaphore, broadcast};

use crate::cgroup::Hierarchies;
use crate::client::Client;
use crate::config::{OciConfig, UserRange, short};
use crate::disk;
use crate::prepared::Prepared;
use crate::zygote::{self, Options};
use crate::{at_work, host, leftovers, quota, records};

/// Starts and removals at once: beyond that they only slow each other down.
const HEAVY_PLACES: usize = 32;
/// Hints that may wait for a watcher; one that comes later than that looks at everything.
const HINTS: usize = 1024;
/// Programs that were started just now and are looked at closely, at a time: it is work.
const LINGERING_MAX: usize = 4;
/// Locks of workloads are thrown away when there are more than this.
const LOCKS_MAX: usize = 4096;

/// The embedded runtime of one installation on this machine.
pub struct OciEngine {
    pub(crate) config: OciConfig,
    pub(crate) images: Store,
    pub(crate) prepared: Prepared,
    pub(crate) network: Network,
    pub(crate) client: Client,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) heavy: Bulkhead,
    pub(crate) lingering: Semaphore,
    pub(crate) hints: broadcast::Sender<WorkloadId>,
    pub(crate) processes: Mutex<HashMap<WorkloadId, records::StateRecord>>,
    locks: Mutex<HashMap<WorkloadId, Arc<tokio::sync::Mutex<()>>>>,
    trash: AtomicU64,
    /// The file system keeps the bounds of the disk itself.
    pub(crate) has_quota: bool,
    watching: Vec<tokio::task::JoinHandle<()>>,
    guarding: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Nobody else of this installation works here meanwhile.
    _alone: fs::File,
}

/// A folder that is closed to other users of the machine.
fn private(dir: &Path) -> Result<(), Unsupported> {
    let refused = |error: io::Error| Unsupported(format!("{}: {error}", dir.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(refused)
}

impl OciEngine {
    /// Sets it up: finds what was there before, clears what was interrupted, starts the zygote.
    ///
    /// # Errors
    /// Why it cannot run here: one line for the operator.
    pub async fn open(config: OciConfig, images: Store) -> Result<Arc<Self>, Unsupported> {
        host::check()?;
        let short = short(&config.installation);
        let hierarchies = Hierarchies::find(&short)
            .map_err(|missing| Unsupported(format!("there is no control group controller {missing:?}")))?;
        let config = OciConfig { dir: std::path::absolute(&config.dir).unwrap_or(config.dir), ..config };
        for dir in [
            &config.dir,
            &config.dir.join("containers"),
            &config.dir.join("trash"),
            &config.run,
            &config.run.join("hints"),
        ] {
            private(dir)?;
        }
        let alone = at_work::begin(&config.run).await?;
        at_work::move_in(&config).await?;
        leftovers::sign(&config.run, &short)?;
        let network = Network::open(NetworkConfig {
            installation: config.installation.clone(),
            run_dir: config.run.join("net"),
            pool_size: config.pool,
            callback_port: config.callback_port,
            port_range: config.port_range.clone(),
            subnet: config.subnet,
            ipv6: true,
            open_host_firewall: true,
        })
        .await?;
        for note in network.notes().iter().chain(&host::mounts_of_our_own()) {
            tracing::info!("{note}");
        }
        let prepared = Prepared::new(&short);
        let client = Client::new(config.program.clone(), options(&config));
        client.probe(&config.dir).await.map_err(Unsupported)?;
        client.ready().await.map_err(|error| Unsupported(error.to_string()))?;
        let (hints, _) = broadcast::channel(HINTS);
        let lost = Arc::new(Notify::new());
        let watching = crate::watch::follow(&config.run.join("hints"), hints.clone(), Arc::clone(&lost))
            .map_err(|error| Unsupported(format!("inotify: {error}")))?;
        let engine = Arc::new_cyclic(|own| Self {
            images,
            prepared,
            network,
            client,
            hierarchies,
            heavy: Bulkhead::new(HEAVY_PLACES),
            lingering: Semaphore::new(LINGERING_MAX),
            hints,
            processes: Mutex::default(),
            locks: Mutex::default(),
            trash: AtomicU64::new(0),
            has_quota: quota::is_enforced(&config.dir),
            watching: vec![watching, tokio::spawn(crate::janitor::replace_lost(Weak::clone(own), lost))],
            guarding: Mutex::default(),
            config,
            _alone: alone,
        });
        *engine.guarding.lock() = disk::guard(&engine);
        engine.tidy().await;
        engine.look_after_orphans().await;
        Ok(engine)
    }

    /// Whether containers can have users of their own, on the file system of this config's folder. Nothing is left of it.
    ///
    /// # Errors
    /// What is missing: one line.
    pub async fn check_users(config: &OciConfig, users: UserRange) -> Result<(), String> {
        let config = OciConfig { users: Some(users), ..config.clone() };
        Client::new(config.program.clone(), options(&config)).probe(&config.dir).await
    }

    /// The address at which workloads see this host: where the callback listener is to be bound.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    /// What the operator should know: what was changed on the host, what could not be had.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.network.notes().iter().cloned().chain(host::mounts_of_our_own()).collect()
    }

    /// The image store.
    #[must_use]
    pub const fn images(&self) -> &Store {
        &self.images
    }

    /// For people: which control groups and how many processors.
    #[must_use]
    pub fn describe(&self) -> String {
        let disk = if self.has_quota { ", disk quota" } else { "" };
        let users = if self.config.users.is_some() { ", user namespaces" } else { "" };
        format!("{} (control groups {}{users}{disk})", env!("CARGO_PKG_VERSION"), self.hierarchies.describe())
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.config.dir.join("containers")
    }

    pub(crate) fn folder(&self, id: WorkloadId) -> PathBuf {
        self.containers().join(id.to_string())
    }

    /// Calls for one workload come one after the other.
    pub(crate) async fn alone(&self, id: WorkloadId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock();
            if locks.len() > LOCKS_MAX {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry(id).or_default())
        };
        lock.lock_owned().await
    }

    pub(crate) fn hint(&self, id: WorkloadId) {
        // Nobody may be watching.
        let _ = self.hints.send(id);
    }

    /// Puts a folder out of sight, whole, and deletes it afterwards.
    pub(crate) fn discard(&self, folder: &Path) -> io::Result<()> {
        if self.has_quota {
            // Where there is no folder, there is no bound.
            let _ = quota::forget(&folder.join(records::UPPER));
        }
        let number = self.trash.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let gone = self.config.dir.join("trash").join(name);
        match fs::rename(folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        tokio::task::spawn_blocking(move || {
            // What is left over is found by the next look into the trash.
            let _ = fs::remove_dir_all(gone);
        });
        Ok(())
    }

    /// Takes everything away that nobody needs while no workload is left: networks, the zygote, control groups. It may be
    /// opened again afterwards.
    ///
    /// # Errors
    /// What is still there.
    pub async fn close(&self) -> Result<(), DriverError> {
        let folder = self.config.run.join("net");
        let network = async {
            // No network is made meanwhile.
            self.network.close().await?;
            Network::remove_all(&self.config.installation, &folder).await
        };
        let (ended, removed) = tokio::join!(self.end_zygote(), network);
        ended?;
        removed.map_err(|error| DriverError::Internal(error.to_string()))?;
        // Only what is ours and empty by now.
        let _ = fs::remove_dir_all(&self.config.run);
        Ok(())
    }

    async fn end_zygote(&self) -> Result<(), DriverError> {
        self.client.quit().await?;
        let those_that_wait_have_ended = async {
            while !self.slots_are_free() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), those_that_wait_have_ended).await;
        waited.map_err(|_| DriverError::Timeout)?;
        // Who lets go of a slot is still in a group for a moment.
        let own = short(&self.config.installation);
        let groups_are_gone = async {
            loop {
                self.tidy_slots();
                self.hierarchies.remove_parents();
                if !self.hierarchies.installations().contains(&own) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), groups_are_gone).await.is_err() {
            tracing::warn!("control groups of this installation are left, with somebody in them");
        }
        Ok(())
    }
}

impl Drop for OciEngine {
    fn drop(&mut self) {
        self.watching.iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(guarding) = self.guarding.lock().take() {
            guarding.abort();
        }
    }
}

/// What the zygote is started with.
fn options(config: &OciConfig) -> Options {
    Options {
        run: config.run.clone(),
        installation: short(&config.installation),
        identity: identity(config),
        pool: config.pool.clamp(1, zygote::POOL_MAX),
        users: config.users,
    }
}

/// Which binary the zygote has to be, and what it has to give its containers.
fn identity(config: &OciConfig) -> String {
    let own = config.program == Path::new("/proc/self/exe");
    let binary = if own { zygote::identity() } else { zygote::identity_of(&config.program) };
    config.users.map_or_else(|| binary.clone(), |users| format!("{binary}-{users}"))
}
