//! The embedded runtime, a real game image, and somebody who plays the metadata service.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use spawnpoint_driver::testkit::{Program, RealWorld, Subject, own_installation};
use spawnpoint_driver::{Driver, DriverError, PortPublish, Security, WorkloadSpec};
use spawnpoint_driver_oci::{ImageStore, OciConfig, OciDriver, OciEngine, host, short};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, InstallationId, MemoryMib, Plaintext, Transport};

/// Runs at the same time need ports of their own.
pub fn callback_port() -> u16 {
    29_000 + u16::try_from(std::process::id() % 900).unwrap()
}

/// The world of one test process.
pub struct World {
    pub image: String,
    pub dir: tempfile::TempDir,
    pub store: ImageStore,
    game: Vec<u8>,
    engines: tokio::sync::Mutex<HashMap<InstallationId, Arc<OciEngine>>>,
    next_image: AtomicU32,
    gateway: Ipv4Addr,
    metadata: Option<MetadataStandIn>,
}

impl World {
    /// `None`, after saying why, if it cannot run here.
    pub async fn open() -> Option<Arc<Self>> {
        if let Err(why) = host::check() {
            assert!(std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none(), "{why}");
            println!("skipped: {why}");
            return None;
        }
        sweep_up_after_killed_runs().await;
        let dir = tempfile::tempdir().unwrap();
        let binary = build_game();
        let game = std::fs::read(&binary).unwrap();
        let store = ImageStore::open(dir.path().join("images")).unwrap();
        let mut world = Self {
            image: format!("spawnpoint-test/game:{}", std::process::id()),
            store,
            game,
            engines: tokio::sync::Mutex::default(),
            next_image: AtomicU32::new(1),
            gateway: Ipv4Addr::UNSPECIFIED,
            metadata: MetadataStandIn::put_up(&binary),
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
        std::fs::write(&file, archive(reference, &self.game)).map_err(|error| internal(&error))?;
        self.store.import(&file, None).map_err(|error| internal(&error))?;
        Ok(())
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

/// The address that this machine would send from. Nothing is sent.
fn host_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image of one program, as `docker save` writes it.
fn archive(reference: &str, program: &[u8]) -> Vec<u8> {
    let layer = tar_of(&[("game", program, 0o755)]);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/game"],"WorkingDir":"/"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        hex(&layer)
    );
    let name = format!("{}.json", hex(config.as_bytes()));
    let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["{reference}"],"Layers":["layer.tar"]}}]"#);
    tar_of(&[
        ("layer.tar", &layer, 0o644),
        (&name, config.as_bytes(), 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])
}

fn tar_of(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Builds the game server as the product does: alone, static.
fn build_game() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../game/src/main.rs");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("game-{}", std::process::id()));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let arguments =
        ["-C", "target-feature=+crt-static", "-C", "opt-level=s", "-C", "panic=abort", "--edition", "2024"];
    let status = Command::new(rustc).args(arguments).arg(source).arg("-o").arg(&output).status().unwrap();
    assert!(status.success(), "the game server does not build by itself");
    output
}

/// Listens on 169.254.169.254:80 in a network of its own, behind a pair of interfaces.
struct MetadataStandIn {
    server: Child,
    name: String,
}

impl MetadataStandIn {
    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

    fn put_up(game: &Path) -> Option<Self> {
        let name = format!("spm{}", std::process::id());
        let inner = format!("{name}i");
        let steps: [&[&str]; 7] = [
            &["netns", "add", &name],
            &["link", "add", &name, "type", "veth", "peer", "name", &inner],
            &["link", "set", &inner, "netns", &name],
            &["addr", "add", "169.254.169.253/30", "dev", &name],
            &["link", "set", &name, "up"],
            &["-n", &name, "addr", "add", "169.254.169.254/30", "dev", &inner],
            &["-n", &name, "link", "set", &inner, "up"],
        ];
        for step in steps {
            if !ip(step) {
                println!("no stand-in for the metadata service here: ip {} failed", step.join(" "));
                ip(&["netns", "del", &name]);
                return None;
            }
        }
        let server = Command::new("ip")
            .args(["netns", "exec", &name])
            .arg(game)
            .env("GAME_PORT", "80")
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { server, name })
    }
}

impl Drop for MetadataStandIn {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        ip(&["link", "del", &self.name]);
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
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
        };
        let store = ImageStore::open(dir.path().join("images")).unwrap();
        if let Ok(engine) = OciEngine::open(config, store).await {
            let _ = engine.close().await;
        }
    }
}
