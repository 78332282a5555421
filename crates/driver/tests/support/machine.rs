//! What the tests of every driver with real processes need of this machine: programs for images, archives of images, workloads of
//! them, and somebody who plays the metadata service. Included by their worlds.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest as _, Sha256};
use spawnpoint_driver::WorkloadSpec;
use spawnpoint_driver::testkit::small_workload;

/// Runs at the same time need ports of their own.
pub fn callback_port() -> u16 {
    29_000 + u16::try_from(std::process::id() % 900).unwrap()
}

/// A workload of the game in `image` that serves, on this port of the host.
pub fn serving(image: &str, attempt: u32, external: u16) -> WorkloadSpec {
    let id = format!("{:012x}-{attempt}", (u64::from(std::process::id()) << 20) + u64::from(external));
    WorkloadSpec {
        host: "host".into(),
        image: image.to_owned(),
        ..small_workload(id.parse().unwrap(), external)
    }
}

/// The programs of the test images.
pub struct Programs {
    /// `crates/game`: serves.
    pub game: Vec<u8>,
    /// `crates/game/src/bin/abuse`: tries what must not work.
    pub abuse: Vec<u8>,
    /// Where the first lies.
    pub path: PathBuf,
}

impl Programs {
    /// Builds them as the product builds the game: alone, static.
    pub fn build() -> Self {
        let (path, abuse) = (build("main.rs", "game"), build("bin/abuse/main.rs", "abuse"));
        let read = |path: &Path| std::fs::read(path).unwrap();
        Self { game: read(&path), abuse: read(&abuse), path }
    }

    /// An image that has both and starts the game, as `docker save` writes it.
    pub fn archive(&self, reference: &str) -> Vec<u8> {
        let files = [("game", Entry::File(&self.game, 0o755)), ("abuse", Entry::File(&self.abuse, 0o755))];
        Picture { reference, program: "/game", working_dir: "/", user: "", entries: &files }.archive()
    }
}

fn build(source: &str, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../game/src").join(source);
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let arguments =
        ["-C", "target-feature=+crt-static", "-C", "opt-level=s", "-C", "panic=abort", "--edition", "2024"];
    let status = Command::new(rustc).args(arguments).arg(source).arg("-o").arg(&output).status().unwrap();
    assert!(status.success(), "{name} does not build by itself");
    output
}

/// What lies in a layer.
pub enum Entry<'a> {
    /// Content and permissions.
    File(&'a [u8], u32),
    /// Content, permissions and owner.
    Owned(&'a [u8], u32, u32),
    /// Where it leads.
    Link(&'a str),
    /// A disk, by its numbers.
    Disk(u32, u32),
}

/// An image of one layer.
pub struct Picture<'a> {
    /// Its name.
    pub reference: &'a str,
    /// What it starts.
    pub program: &'a str,
    /// Where that is started.
    pub working_dir: &'a str,
    /// As whom.
    pub user: &'a str,
    /// What it holds.
    pub entries: &'a [(&'a str, Entry<'a>)],
}

impl Picture<'_> {
    /// As `docker save` writes it.
    pub fn archive(&self) -> Vec<u8> {
        let layer = tar_of(self.entries);
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let (program, folder, user) = (self.program, self.working_dir, self.user);
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["{program}"],"WorkingDir":"{folder}","User":"{user}"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            hex(&layer)
        );
        let name = format!("{}.json", hex(config.as_bytes()));
        let reference = self.reference;
        let manifest =
            format!(r#"[{{"Config":"{name}","RepoTags":["{reference}"],"Layers":["layer.tar"]}}]"#);
        tar_of(&[
            ("layer.tar", Entry::File(&layer, 0o644)),
            (&name, Entry::File(config.as_bytes(), 0o644)),
            ("manifest.json", Entry::File(manifest.as_bytes(), 0o644)),
        ])
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar_of(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, entry) in entries {
        let mut header = tar::Header::new_ustar();
        let (bytes, mode, owner): (&[u8], u32, u32) = match entry {
            Entry::File(bytes, mode) => (bytes, *mode, 0),
            Entry::Owned(bytes, mode, owner) => (bytes, *mode, *owner),
            Entry::Link(_) | Entry::Disk(..) => (b"", 0o666, 0),
        };
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(owner.into());
        header.set_gid(owner.into());
        if let Entry::Disk(major, minor) = entry {
            header.set_entry_type(tar::EntryType::Block);
            header.set_device_major(*major).unwrap();
            header.set_device_minor(*minor).unwrap();
        }
        if let Entry::Link(target) = entry {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target).unwrap();
        } else {
            archive.append_data(&mut header, name, bytes).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

/// Listens on 169.254.169.254:80 in a network of its own, behind a pair of interfaces. Several tests may have one at a time: the
/// machine asks one of them, and each of them answers.
pub struct MetadataStandIn {
    server: Child,
    name: String,
    _lock: File,
}

/// How many this process put up.
static PUT_UP: AtomicU32 = AtomicU32::new(0);

impl MetadataStandIn {
    /// Where it is.
    pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
    /// How the names of their networks and interfaces begin; the id of the test's process and a count follow.
    const PREFIX: &str = "spm";

    /// `None`, after saying why, where it cannot be.
    pub fn put_up(game: &Path) -> Option<Self> {
        Self::clear_abandoned();
        let count = PUT_UP.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{count}", Self::PREFIX, std::process::id());
        let lock = Self::lock(&name)?;
        let inner = format!("{name}i");
        let steps: [&[&str]; 7] = [
            &["netns", "add", &name],
            &["link", "add", &name, "type", "veth", "peer", "name", &inner],
            &["link", "set", &inner, "netns", &name],
            &["-n", &name, "addr", "add", "169.254.169.254/30", "dev", &inner],
            &["-n", &name, "link", "set", &inner, "up"],
            &["link", "set", &name, "up"],
            &["addr", "add", "169.254.169.253/30", "dev", &name],
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
        Some(Self { server, name, _lock: lock })
    }

    /// Takes those away whose test was killed: nobody answers behind them, and the machine might ask one of them first.
    fn clear_abandoned() {
        for entry in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(Self::PREFIX)
                && let Some(_lock) = Self::lock(&name)
            {
                Self::remove(&name);
            }
        }
    }

    fn lock_path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("spawnpoint-{name}.lock"))
    }

    /// Held by the test that has `name`, for as long as its process lives. `None` if another has it.
    fn lock(name: &str) -> Option<File> {
        let file = File::create(Self::lock_path(name)).ok()?;
        file.try_lock().ok()?;
        Some(file)
    }

    fn remove(name: &str) {
        ip(&["link", "del", name]);
        ip(&["netns", "del", name]);
        let _ = std::fs::remove_file(Self::lock_path(name));
    }
}

impl Drop for MetadataStandIn {
    fn drop(&mut self) {
        // The way to it first: until then, another test may be asking this one.
        Self::remove(&self.name);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The address that this machine would send from. Nothing is sent.
pub fn host_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).unwrap();
    socket.local_addr().unwrap().ip()
}
