//! The embedded runtime, a real game image, and somebody who plays the metadata service.

#[path = "../../../driver/tests/support/machine.rs"]
pub mod machine;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use machine::{MetadataStandIn, Picture, Programs, host_address};
use spawnpoint_driver::testkit::{Program, RealWorld, Subject, own_installation};
use spawnpoint_driver::{Driver, DriverError, PortPublish, Security, WorkloadSpec};
use spawnpoint_driver_oci::disk::DiskBounds;
use spawnpoint_driver_oci::users::UserRange;
use spawnpoint_driver_oci::{ImageStore, OciConfig, OciDriver, OciEngine, host, short};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, InstallationId, MemoryMib, Plaintext, Transport};

/// Runs at the same time need ports of their own.
pub fn callback_port() -> u16 {
    29_000 + u16::try_from(std::process::id() % 900).unwrap()
}

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
        let id = format!("{:012x}-{attempt}", (u64::from(std::process::id()) << 20) + u64::from(external));
        let publish = |transport| PortPublish { internal: 7777, external, transport };
        WorkloadSpec {
            id: id.parse().unwrap(),
            installation: own_installation(),
            host: "host".into(),
            image: self.image.clone(),
            command: None,
            arguments: None,
            env: vec![("GAME_PORT".to_owned(), Plaintext::new("7777"))],
            ports: vec![publish(Transport::Tcp), publish(Transport::Udp)],
            resources: Resources { cpu: CpuUnits(512), memory: MemoryMib(64) },
            pids_max: 64,
            security: Security::Baseline,
            files: Vec::new(),
            access: None,
            lifetime: None,
        }
    }

    /// Imports the game under a name, as `docker save` would write it.
    fn load(&self, reference: &str) -> Result<(), DriverError> {
        let internal = |error: &dyn std::fmt::Display| DriverError::Internal(error.to_string());
        let file = self.dir.path().join(format!("{}.tar", self.next_image.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&file, self.programs.archive(reference)).map_err(|error| internal(&error))?;
        self.store.import(&file, None).map_err(|error| internal(&error))?;
        Ok(())
    }

    /// Imports an image, as `docker save` would write it.
    pub fn import(&self, picture: &Picture<'_>) {
        let file = self.dir.path().join(format!("{}.tar", self.next_image.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&file, picture.archive()).unwrap();
        self.store.import(&file, None).unwrap();
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
