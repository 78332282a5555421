//! Walls of the embedded runtime that no other driver has in this form: users of their own.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_driver::testkit::{self, Subject, own_installation};
use spawnpoint_driver::{Driver, DriverError, PortPublish, Running, WorkloadSpec};
use spawnpoint_driver_oci::OciDriver;
use spawnpoint_driver_oci::records::{self, StateRecord};
use spawnpoint_driver_oci::users::UserRange;
use spawnpoint_model::{Transport, WorkloadId};
use world::World;
use world::machine::{Entry, Picture};

/// For what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn driver(world: &World) -> OciDriver {
    OciDriver::new(world.engine(&own_installation()).await.unwrap(), "host".into())
}

fn folder(world: &World, id: WorkloadId) -> PathBuf {
    world.dir.path().join(own_installation().as_str()).join("containers").join(id.to_string())
}

async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !look().await {
        assert!(tokio::time::Instant::now() < end, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn listens(driver: &OciDriver, spec: &WorkloadSpec) {
    until("it listens", async || driver.listening(spec.id, &spec.ports).await.unwrap()).await;
}

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
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let subject: Arc<dyn Subject> = world.clone();
    let report = testkit::run(subject, &only).await;
    println!("{report}");
    let left = world.close().await;
    assert!(report.failed.is_empty(), "{report}");
    assert!(!report.passed.is_empty(), "no case was played");
    assert_eq!(left, Vec::<String>::new(), "something is left behind");
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
    let driver = driver(&world).await;
    let mut firsts = Vec::new();
    let mut specs = Vec::new();
    for number in 0..2 {
        let mut spec = world.spec(20 + u32::from(number), port() + number);
        spec.image = reference.to_owned();
        spec.resources.memory = spawnpoint_model::MemoryMib(256);
        // A low port: root inside opens it as anywhere.
        spec.env = vec![("GAME_PORT".to_owned(), spawnpoint_model::Plaintext::new("80"))];
        let external = port() + number;
        spec.ports = vec![PortPublish { internal: 80, external, transport: Transport::Tcp }];
        driver.ensure(&spec).await.unwrap();
        listens(&driver, &spec).await;
        let state: StateRecord = records::read(&folder(&world, spec.id), records::STATE).unwrap().unwrap();
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
    let own = own_installation();
    let user_of = |id| {
        let state: StateRecord = records::read(&folder(&world, id), records::STATE).unwrap().unwrap();
        ids(state.pid, "Uid:")[0]
    };
    let first = world.spec(30, port());
    driver(&world).await.ensure(&first).await.unwrap();
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
