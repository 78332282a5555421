//! Walls of the embedded runtime that no other driver has in this form: users of their own, roots put together from images that want
//! out, bounds of the disk.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use spawnpoint_driver::testkit::own_installation;
use spawnpoint_driver::{Driver, DriverError, PortPublish, Running, Security, WorkloadFile, WorkloadSpec};
use spawnpoint_driver_oci::records::{self, StateRecord};
use spawnpoint_driver_oci::{DiskBounds, OciDriver, UserRange};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{MemoryMib, Transport};
use world::machine::{Entry, Picture};
use world::{World, keeps_the_contract, listens, until};

/// One line to the program, one line back.
async fn ask(spec: &WorkloadSpec, question: &str) -> String {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", spec.ports[0].external)).await.unwrap();
    stream.write_all(format!("{question}\n").as_bytes()).await.unwrap();
    let mut line = String::new();
    tokio::io::BufReader::new(stream).read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

fn port() -> u16 {
    22_000 + u16::try_from(std::process::id() % 800).unwrap() * 4
}

/// `CONFORMANCE_ONLY=logs` plays the cases whose names hold that word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_where_containers_have_users_of_their_own() {
    let Some(world) = World::open_with_users().await else { return };
    keeps_the_contract(world).await;
}

/// User and group ids of a process: real, effective, saved, for files.
fn ids(pid: i32, kind: &str) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
    line.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_inside_is_nobody_outside_and_files_look_as_the_image_says() {
    let Some(world) = World::open_with_users().await else { return };
    let reference = "spawnpoint-test/owners:1";
    world.import(&Picture {
        reference,
        program: "/abuse",
        working_dir: "/",
        user: "",
        entries: &[
            ("abuse", Entry::File(&world.programs.abuse, 0o755)),
            ("game", Entry::File(&world.programs.game, 0o755)),
            ("home/own", Entry::Owned(b"mine", 0o600, 1000)),
            ("bin/su", Entry::Owned(b"x", 0o4755, 0)),
            ("last", Entry::Owned(b"x", 0o640, 65_535)),
        ],
    });
    let driver = world.driver().await;
    let mut firsts = Vec::new();
    let mut specs = Vec::new();
    for number in 0..2 {
        let mut spec = world.spec(20 + u32::from(number), port() + number);
        spec.image = reference.to_owned();
        spec.resources.memory = MemoryMib(256);
        // A low port: root inside opens it as anywhere.
        spec.env = vec![("GAME_PORT".to_owned(), spawnpoint_model::Plaintext::new("80"))];
        let external = port() + number;
        spec.ports = vec![PortPublish { internal: 80, external, transport: Transport::Tcp }];
        driver.ensure(&spec).await.unwrap();
        listens(&driver, &spec).await;
        let state: StateRecord = records::read(&world.folder(spec.id), records::STATE).unwrap().unwrap();
        let (users, groups) = (ids(state.pid, "Uid:"), ids(state.pid, "Gid:"));
        assert!(users.iter().all(|id| *id == users[0] && *id >= 65_536), "{users:?}");
        assert_eq!(users, groups);
        firsts.push(users[0]);
        specs.push(spec);
    }
    assert_ne!(firsts[0], firsts[1], "two containers have the same users");
    let spec = &specs[0];
    for (path, owner) in [
        ("/", "0:0 755"),
        ("/home/own", "1000:1000 600"),
        ("/bin/su", "0:0 4755"),
        ("/last", "65535:65535 640"),
    ] {
        assert_eq!(ask(spec, &format!("owner {path}")).await, owner, "{path}");
    }
    // Others inside, and what they make; a copy of a file of the image keeps its owner.
    assert_eq!(ask(spec, "as 1000").await, "changed: true");
    assert!(ask(spec, "fill /dev/shm/x").await.ends_with(')'));
    assert_eq!(ask(spec, "owner /dev/shm/x").await, "0:0 600");
    assert_eq!(ask(spec, "owner /etc/hosts").await, "0:0 644");
    assert!(driver.stats(spec.id).await.unwrap().memory_bytes.is_some());
    for spec in &specs {
        driver.remove(spec.id).await.unwrap();
    }
    // Whom its namespace does not have.
    world.import(&Picture {
        reference: "spawnpoint-test/owners:2",
        program: "/abuse",
        working_dir: "/",
        user: "70000",
        entries: &[("abuse", Entry::File(&world.programs.abuse, 0o755))],
    });
    let mut beyond = world.spec(23, port());
    beyond.image = "spawnpoint-test/owners:2".to_owned();
    match driver.ensure(&beyond).await {
        Err(DriverError::StartFailed(text)) => assert!(text.contains("70000"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

/// Users of their own are taken up, and given up, with a new zygote; who runs goes on as they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_their_own_are_turned_on_while_workloads_run() {
    let Some(world) = World::open().await else { return };
    if !world.users_work().await {
        assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
        return;
    }
    let own = own_installation();
    let user_of = |id| {
        let state: StateRecord = records::read(&world.folder(id), records::STATE).unwrap().unwrap();
        ids(state.pid, "Uid:")[0]
    };
    let first = world.spec(30, port());
    world.driver().await.ensure(&first).await.unwrap();
    let engine = world.reopen_with(&own, |config| config.users = Some(UserRange::of_this_host())).await;
    let driver = OciDriver::new(engine, "host".into());
    let second = world.spec(31, port() + 1);
    driver.ensure(&second).await.unwrap();
    assert_eq!(user_of(first.id), 0);
    assert!(user_of(second.id) >= 65_536);
    for spec in [&first, &second] {
        listens(&driver, spec).await;
        driver.stop(spec.id, Duration::from_secs(5)).await.unwrap();
        until("it has ended", async || {
            matches!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Exited(_))
        })
        .await;
        driver.remove(spec.id).await.unwrap();
    }
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

/// An image of the abuser with something else in it.
fn hostile(world: &World, reference: &str, working_dir: &str, more: Vec<(&str, Entry<'_>)>) {
    let mut entries = vec![("abuse", Entry::File(&world.programs.abuse, 0o755))];
    entries.extend(more);
    world.import(&Picture { reference, program: "/abuse", working_dir, user: "", entries: &entries });
}

fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    all.sort_unstable();
    all
}

/// Starts it; whether it runs or is refused, nothing goes out. `true`: it runs.
async fn starts(driver: &OciDriver, spec: &WorkloadSpec, what: &str) -> bool {
    match driver.ensure(spec).await {
        Ok(()) => {
            listens(driver, spec).await;
            true
        }
        Err(error) => {
            assert!(matches!(error, DriverError::StartFailed(_)), "{what}: {error}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_in_an_image_lead_nowhere_outside() {
    let Some(world) = World::open().await else { return };
    let driver = world.driver().await;
    let victim = world.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    for name in ["hosts", "resolv.conf", "hostname", "null", "a", "fs"] {
        std::fs::write(victim.join(name), "untouched").unwrap();
    }
    let before = tree(&victim);
    let out = victim.to_str().unwrap();
    let dots = format!("{}{out}", "../".repeat(40));
    let file = format!("{out}/hosts");
    let links: [(&str, &str, bool); 14] = [
        ("etc", out, true),
        ("etc", &dots, true),
        ("etc/hosts", &file, true),
        ("etc/resolv.conf", &file, true),
        ("etc/hostname", &file, true),
        ("data", out, true),
        ("data", "/proc/1/root", true),
        ("dev", out, false),
        ("proc", out, false),
        ("proc", &dots, false),
        ("sys", out, false),
        ("sys", "/proc/self/fd/5", false),
        ("tmp", out, false),
        ("data", "/proc/self/cwd", true),
    ];
    for (number, (name, target, may_start)) in links.into_iter().enumerate() {
        let what = format!("{name} -> {target}");
        let reference = format!("spawnpoint-test/links:{number}");
        hostile(&world, &reference, "/", vec![(name, Entry::Link(target))]);
        let mut spec = world.spec(40, port());
        spec.image = reference;
        if name == "tmp" {
            spec.security = Security::Restricted;
        }
        if name == "data" {
            let content = "written by the driver".into();
            spec.files = vec![WorkloadFile { path: "/data/a".to_owned(), mode: 0o644, content }];
        }
        if starts(&driver, &spec, &what).await {
            assert!(may_start, "{what}: it runs with a mount that may be anywhere");
            for attempt in ["climb", "write-settings-of-the-kernel", "processes-of-others"] {
                let answer = ask(&spec, &format!("try {attempt}")).await;
                assert!(answer.starts_with("refused: "), "{what}: {attempt}: {answer}");
            }
        }
        driver.remove(spec.id).await.unwrap();
        assert_eq!(tree(&victim), before, "{what}");
    }
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

/// As in CVE-2024-21626: a working directory that is a descriptor which somebody has left open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_directory_that_is_a_descriptor_of_the_host_is_none() {
    let Some(world) = World::open().await else { return };
    let driver = world.driver().await;
    let descriptors = (0..16).map(|number| format!("/proc/self/fd/{number}"));
    let others = ["/proc/1/cwd", "/proc/self/root/..", "/proc/self/fd/../cwd"].map(str::to_owned);
    for (number, folder) in descriptors.chain(others).enumerate() {
        let reference = format!("spawnpoint-test/folders:{number}");
        hostile(&world, &reference, &folder, Vec::new());
        let mut spec = world.spec(41, port());
        spec.image = reference;
        if starts(&driver, &spec, &folder).await {
            for attempt in ["climb", "descriptors-of-others"] {
                let answer = ask(&spec, &format!("try {attempt}")).await;
                assert!(answer.starts_with("refused: "), "{folder}: {attempt}: {answer}");
            }
        }
        driver.remove(spec.id).await.unwrap();
    }
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

/// The numbers of a disk of this machine.
fn disk_of_this_machine() -> (u32, u32) {
    let names = std::fs::read_dir("/sys/dev/block").into_iter().flatten().flatten();
    let mut numbers = names.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (major, minor) = name.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.find(|(major, _)| *major != 7).unwrap_or((8, 0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_in_an_image_cannot_be_opened() {
    let Some(world) = World::open().await else { return };
    let driver = world.driver().await;
    let (major, minor) = disk_of_this_machine();
    let entries = vec![("disk", Entry::Disk(major, minor)), ("usr/disk", Entry::Disk(8, 0))];
    hostile(&world, "spawnpoint-test/disks:1", "/", entries);
    let mut spec = world.spec(42, port());
    spec.image = "spawnpoint-test/disks:1".to_owned();
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    for path in ["/disk", "/usr/disk"] {
        let answer = ask(&spec, &format!("open {path}")).await;
        assert!(answer.starts_with("refused: "), "{path}: {answer}");
    }
    driver.remove(spec.id).await.unwrap();
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

/// A registry that sends whoever wants a blob somewhere else. Its manifest is honest.
fn registry_that_redirects(to: String) -> std::net::SocketAddr {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let digest = format!("sha256:{}", "1".repeat(64));
    let blob = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":100}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        blob("application/vnd.oci.image.config.v1+json"),
        blob("application/vnd.oci.image.layer.v1.tar+gzip")
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let asked = head.first().cloned().unwrap_or_default();
            let answer = if asked.contains("/blobs/") {
                format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
            } else {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{manifest}",
                    manifest.len()
                )
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_sends_us_to_an_address_of_the_host_is_not_followed() {
    let Some(world) = World::open().await else { return };
    let driver = world.driver().await;
    let private = std::net::TcpListener::bind((world::machine::host_address(), 0)).unwrap();
    private.set_nonblocking(true).unwrap();
    let own = format!("http://{}/secret", private.local_addr().unwrap());
    for to in ["http://169.254.169.254/latest/meta-data/".to_owned(), own, "file:///etc/shadow".to_owned()] {
        let registry = registry_that_redirects(to.clone());
        let image = format!("{registry}/evil/game:1");
        let error = driver.prepare(&image, None, false, &|_, _| {}).await.unwrap_err();
        assert!(matches!(error, DriverError::ImageUnavailable { permanent: true, .. }), "{to}: {error:?}");
        assert!(world.store.find(&image).is_none());
    }
    assert!(private.accept().is_err(), "a service of the host was asked");
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

// --- the disk ------------------------------------------------------------------------------------------------------

/// A small file system of its own; gone when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, after saying why, where none can be mounted.
    fn mounted(has_quota: bool) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let (image, folder) = (place.path().join("image"), place.path().join("disk"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F"]);
        let mut options = "loop".to_owned();
        if has_quota {
            mkfs.args(["-O", "quota,project", "-E", "quotatype=prjquota"]);
            options.push_str(",prjquota");
        }
        let made = mkfs.arg(&image).status().is_ok_and(|status| status.success());
        let mounted = made
            && Command::new("mount")
                .args(["-o", &options])
                .args([&image, &folder])
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            // Some kernels have no quotas, as that of the machine on which this was written.
            let is_needed = std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_some() && !has_quota;
            assert!(!is_needed, "no small disk can be mounted");
            println!("skipped: no small disk can be mounted here (quotas: {has_quota})");
        }
        mounted.then_some(Self(place))
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(self.folder()).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder()).status();
    }
}

const MIB: u64 = 1 << 20;
const BOUNDS: DiskBounds = DiskBounds { bytes: 32 * MIB, files: 500, free_bytes: 0 };

async fn driver_on(world: &World, disk: &SmallDisk, bounds: DiskBounds) -> OciDriver {
    let engine = world
        .reopen_with(&own_installation(), |config| {
            config.dir = disk.folder().join("data");
            config.disk = bounds;
        })
        .await;
    OciDriver::new(engine, "host".into())
}

fn abuser(world: &World, attempt: u32, port: u16) -> WorkloadSpec {
    let mut spec = world.spec(attempt, port);
    spec.command = Some(vec!["/abuse".to_owned()]);
    spec.resources.memory = MemoryMib(256);
    spec
}

fn first_number(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn a_file_system_with_quotas_keeps_the_bounds_on(world: &World, disk: &SmallDisk) {
    let driver = driver_on(world, disk, BOUNDS).await;
    assert!(driver.info().await.unwrap().version.contains("disk quota"), "quotas were not found");
    let neighbour = world.spec(50, port() + 1);
    driver.ensure(&neighbour).await.unwrap();
    listens(&driver, &neighbour).await;
    // What is deleted and open counts as well.
    for (attempt, question) in [(51, "fill /flood"), (52, "fill-hidden /hidden"), (53, "fill /again")] {
        let spec = abuser(world, attempt, port());
        driver.ensure(&spec).await.unwrap();
        listens(&driver, &spec).await;
        let filled = ask(&spec, question).await;
        assert!(filled.contains("quota"), "{question}: {filled}");
        let bytes = first_number(&filled);
        assert!((BOUNDS.bytes / 2..=BOUNDS.bytes).contains(&bytes), "{question}: {filled}");
        let made = ask(&spec, "inodes /").await;
        assert!(made.contains("quota") && first_number(&made) <= BOUNDS.files, "{made}");
        assert_eq!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Running);
        assert!(ask(&neighbour, "write /still").await.contains("written"));
        driver.remove(spec.id).await.unwrap();
    }
    driver.remove(neighbour.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_with_quotas_keeps_the_bounds_itself() {
    let Some(disk) = SmallDisk::mounted(true) else { return };
    let Some(world) = World::open().await else { return };
    a_file_system_with_quotas_keeps_the_bounds_on(&world, &disk).await;
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_and_users_of_their_own_go_together() {
    let Some(disk) = SmallDisk::mounted(true) else { return };
    let Some(world) = World::open_with_users().await else { return };
    a_file_system_with_quotas_keeps_the_bounds_on(&world, &disk).await;
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_quotas_who_writes_too_much_is_ended_and_nobody_else() {
    // First: supervisors that wait have the mounts that were there when they were made.
    let Some(disk) = SmallDisk::mounted(false) else { return };
    let Some(world) = World::open().await else { return };
    let driver = driver_on(&world, &disk, BOUNDS).await;
    let neighbour = world.spec(60, port() + 1);
    driver.ensure(&neighbour).await.unwrap();
    listens(&driver, &neighbour).await;
    let floods = ["fill /flood", "fill-hidden /hidden", "inodes /"];
    for (attempt, question) in (61..).zip(floods) {
        let spec = abuser(&world, attempt, port());
        driver.ensure(&spec).await.unwrap();
        listens(&driver, &spec).await;
        let asked = {
            let spec = spec.clone();
            let question = question.to_owned();
            tokio::spawn(async move { ask(&spec, &question).await })
        };
        let state = async || driver.inspect(spec.id).await.unwrap().unwrap().state;
        until(&format!("it is ended: {question}"), async || matches!(state().await, Running::Exited(_)))
            .await;
        assert_eq!(state().await, Running::Exited(Exit { code: 137, oom: false, disk: true }), "{question}");
        asked.abort();
        assert!(ask(&neighbour, "ping").await.starts_with("pong"));
        assert_eq!(driver.inspect(neighbour.id).await.unwrap().unwrap().state, Running::Running);
        driver.remove(spec.id).await.unwrap();
        // What it wrote goes in the background; the next one must find room to fill.
        until("there is room again", async || disk.free_bytes() > 10 * BOUNDS.bytes).await;
    }
    driver.remove(neighbour.id).await.unwrap();
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_almost_full_starts_nothing_and_says_why() {
    // First: supervisors that wait have the mounts that were there when they were made.
    let Some(disk) = SmallDisk::mounted(false) else { return };
    let Some(world) = World::open().await else { return };
    let spec = world.spec(70, port());
    let full = driver_on(&world, &disk, DiskBounds { free_bytes: 1 << 40, ..BOUNDS }).await;
    match full.ensure(&spec).await {
        Err(DriverError::NoCapacity(text)) => assert!(text.contains("oci.free_mib"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(full.list().await.unwrap(), []);
    // One control plane at a time.
    drop(full);
    let roomy = driver_on(&world, &disk, BOUNDS).await;
    roomy.ensure(&spec).await.unwrap();
    listens(&roomy, &spec).await;
    roomy.remove(spec.id).await.unwrap();
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}
