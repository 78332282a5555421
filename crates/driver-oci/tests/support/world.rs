//! The embedded runtime, a real game image, and somebody who plays the metadata service.

#[path = "../../../driver/tests/support/machine.rs"]
pub mod machine;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use machine::{MetadataStandIn, Picture, Programs, callback_port, host_address, serving};
use spawnpoint_driver::testkit::{self, Program, RealWorld, Subject, own_installation};
use spawnpoint_driver::{Driver, DriverError, WorkloadSpec};
use spawnpoint_driver_oci::{
    DiskBounds, ImageStore, OciConfig, OciDriver, OciEngine, UserRange, host, short,
};
use spawnpoint_model::{HostId, InstallationId, WorkloadId};

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The world of one test process.
pub struct World {
    /// Tests of one process have the same installations: one at a time.
    _alone: tokio::sync::MutexGuard<'static, ()>,
    pub image: String,
    pub dir: tempfile::TempDir,
    pub store: ImageStore,
    pub programs: Programs,
    /// Whether containers have users of their own.
    users: Option<UserRange>,
    engines: tokio::sync::Mutex<HashMap<InstallationId, Arc<OciEngine>>>,
    next_image: AtomicU32,
    gateway: Ipv4Addr,
    metadata: Option<MetadataStandIn>,
}

impl World {
    /// `None`, after saying why, if it cannot run here.
    pub async fn open() -> Option<Arc<Self>> {
        Self::open_with(None).await
    }

    /// The same, with containers that have users of their own.
    pub async fn open_with_users() -> Option<Arc<Self>> {
        Self::open_with(Some(UserRange::of_this_host())).await
    }

    async fn open_with(users: Option<UserRange>) -> Option<Arc<Self>> {
        if let Err(why) = host::check() {
            assert!(std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none(), "{why}");
            println!("skipped: {why}");
            return None;
        }
        let alone = ALONE.lock().await;
        sweep_up_after_killed_runs().await;
        let dir = tempfile::tempdir().unwrap();
        let programs = Programs::build();
        let store = ImageStore::open(dir.path().join("images")).unwrap();
        let mut world = Self {
            _alone: alone,
            image: format!("spawnpoint-test/game:{}", std::process::id()),
            store,
            metadata: MetadataStandIn::put_up(&programs.path),
            programs,
            users,
            engines: tokio::sync::Mutex::default(),
            next_image: AtomicU32::new(1),
            gateway: Ipv4Addr::UNSPECIFIED,
            dir,
        };
        if users.is_some() && !world.users_work().await {
            return None;
        }
        world.load(&world.image).unwrap();
        match world.engine(&own_installation()).await {
            Ok(engine) => world.gateway = engine.gateway(),
            Err(why) => {
                assert!(std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none(), "{why}");
                println!("skipped: {why}");
                return None;
            }
        }
        Some(Arc::new(world))
    }

    /// Whether containers can have users of their own here; says why if not. In a changed root they need not.
    pub async fn users_work(&self) -> bool {
        let config = self.config(&own_installation());
        let Err(why) = OciEngine::check_users(&config, UserRange::of_this_host()).await else { return true };
        let is_excused = why.contains("chroot") || std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none();
        assert!(is_excused, "{why}");
        println!("skipped: {why}");
        false
    }

    /// How an installation's engine is set up.
    pub fn config(&self, installation: &InstallationId) -> OciConfig {
        OciConfig {
            dir: self.dir.path().join(installation.as_str()),
            run: Path::new("/run").join(format!("spawnpoint-test-{}", short(installation))),
            installation: installation.clone(),
            callback_port: Some(callback_port()),
            port_range: 9_000..=10_999,
            subnet: None,
            program: env!("CARGO_BIN_EXE_spawnpoint-oci-zygote").into(),
            pool: 2,
            users: self.users,
            disk: DiskBounds::default(),
        }
    }

    /// The control plane is gone, as far as this world knows.
    pub async fn forget(&self, installation: &InstallationId) {
        self.engines.lock().await.remove(installation);
    }

    /// A new engine over what there is, as after a restart of the control plane.
    pub async fn reopen(&self, installation: &InstallationId) -> Arc<OciEngine> {
        self.reopen_with(installation, |_| {}).await
    }

    /// The same, set up in another way.
    pub async fn reopen_with(
        &self,
        installation: &InstallationId,
        change: impl FnOnce(&mut OciConfig),
    ) -> Arc<OciEngine> {
        let mut engines = self.engines.lock().await;
        engines.remove(installation);
        let mut config = self.config(installation);
        change(&mut config);
        let engine = OciEngine::open(config, self.store.clone()).await.unwrap();
        engines.insert(installation.clone(), Arc::clone(&engine));
        engine
    }

    pub async fn engine(&self, installation: &InstallationId) -> Result<Arc<OciEngine>, DriverError> {
        let mut engines = self.engines.lock().await;
        if let Some(engine) = engines.get(installation) {
            return Ok(Arc::clone(engine));
        }
        let engine = OciEngine::open(self.config(installation), self.store.clone()).await;
        let engine = engine.map_err(|why| DriverError::Unavailable(why.to_string()))?;
        engines.insert(installation.clone(), Arc::clone(&engine));
        Ok(engine)
    }

    /// A workload that serves, on this port.
    pub fn spec(&self, attempt: u32, external: u16) -> WorkloadSpec {
        serving(&self.image, attempt, external)
    }

    /// Imports the game under a name, as `docker save` would write it.
    fn load(&self, reference: &str) -> Result<(), DriverError> {
        self.import_archive(&self.programs.archive(reference))
    }

    /// Imports an image, as `docker save` would write it.
    pub fn import(&self, picture: &Picture<'_>) {
        self.import_archive(&picture.archive()).unwrap();
    }

    fn import_archive(&self, archive: &[u8]) -> Result<(), DriverError> {
        let internal = |error: &dyn std::fmt::Display| DriverError::Internal(error.to_string());
        let file = self.dir.path().join(format!("{}.tar", self.next_image.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&file, archive).map_err(|error| internal(&error))?;
        self.store.import(&file, None).map_err(|error| internal(&error))?;
        Ok(())
    }

    /// The driver of this world's own host.
    pub async fn driver(&self) -> OciDriver {
        OciDriver::new(self.engine(&own_installation()).await.unwrap(), "host".into())
    }

    /// Where a workload of our own installation has its files.
    pub fn folder(&self, id: WorkloadId) -> PathBuf {
        self.dir.path().join(own_installation().as_str()).join("containers").join(id.to_string())
    }

    /// Takes everything away again, and tells what is left.
    pub async fn close(&self) -> Vec<String> {
        let engines: Vec<_> = self.engines.lock().await.drain().collect();
        let mut left = Vec::new();
        for (installation, engine) in engines {
            if let Err(error) = engine.close().await {
                left.push(format!("{installation}: {error}"));
            }
            left.extend(traces(&installation));
        }
        left
    }
}

/// For what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !look().await {
        assert!(tokio::time::Instant::now() < end, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the program listens on its ports.
pub async fn listens(driver: &OciDriver, spec: &WorkloadSpec) {
    until("it listens", async || driver.listening(spec.id, &spec.ports).await.unwrap()).await;
}

/// The conformance suite, or the cases of it whose names hold the word `CONFORMANCE_ONLY`; nothing is left afterwards.
pub async fn keeps_the_contract(world: Arc<World>) {
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let subject: Arc<dyn Subject> = world.clone();
    let report = testkit::run(subject, &only).await;
    println!("{report}");
    let left = world.close().await;
    assert!(report.failed.is_empty(), "{report}");
    assert!(!report.passed.is_empty(), "no case was played");
    assert_eq!(left, Vec::<String>::new(), "something is left behind");
}

/// What of an installation is still to be found on this machine.
pub fn traces(installation: &InstallationId) -> Vec<String> {
    let short = short(installation);
    let lines = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.contains(&short)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut found = lines("find", &["/sys/fs/cgroup", "-maxdepth", "3", "-name", "spawnpoint-*"]);
    found.extend(lines("ip", &["link"]));
    found.extend(lines("nft", &["list", "tables"]));
    found.extend(
        std::fs::read_to_string("/proc/mounts")
            .unwrap()
            .lines()
            .filter(|l| l.contains(&short))
            .map(str::to_owned),
    );
    found.extend(lines("ps", &["-eo", "args"]).into_iter().filter(|line| line.contains("zygote")));
    found
}

#[async_trait]
impl Subject for World {
    async fn driver(
        &self,
        installation: &InstallationId,
        host: &HostId,
    ) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(OciDriver::new(self.engine(installation).await?, host.clone())))
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
        self.load(image)
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
async fn sweep_up_after_killed_runs() {
    for entry in std::fs::read_dir("/run").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Some(short) = name.strip_prefix("spawnpoint-test-") else { continue };
        let process = u32::from_str_radix(short, 16).map(|id| id ^ 0x7e57_0000).ok();
        let is_dead_run =
            process.is_some_and(|pid| pid < 1 << 22 && !Path::new(&format!("/proc/{pid}")).exists());
        if !is_dead_run {
            continue;
        }
        let script = format!(
            "cat $(find /sys/fs/cgroup -path '*/spawnpoint-{short}/*' -name cgroup.procs) | sort -u | xargs -r kill -9"
        );
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        let dir = tempfile::tempdir().unwrap();
        let config = OciConfig {
            dir: dir.path().join("data"),
            run: entry.path(),
            installation: short.into(),
            callback_port: None,
            port_range: 9_000..=10_999,
            subnet: None,
            program: env!("CARGO_BIN_EXE_spawnpoint-oci-zygote").into(),
            pool: 1,
            users: None,
            disk: DiskBounds::default(),
        };
        let store = ImageStore::open(dir.path().join("images")).unwrap();
        if let Ok(engine) = OciEngine::open(config, store).await {
            let _ = engine.close().await;
        }
    }
}
