//! The embedded runtime under fire: whoever looks after workloads is killed, at the worst moments, and nothing is lost.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use spawnpoint_driver::testkit::{Program, own_installation};
use spawnpoint_driver::{Driver, DriverError, Hint, LogFrom, PortPublish, Running, WorkloadSpec};
use spawnpoint_driver_oci::OciDriver;
use spawnpoint_driver_oci::records::{self, StateRecord};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{Plaintext, Transport, WorkloadId};
use world::{PATIENCE, World, listens, until};

/// All in one test: they share an installation, which is taken away at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_loses_nothing_of_others() {
    let Some(world) = World::open().await else { return };
    let port = 9_000 + u16::try_from(std::process::id() % 100).unwrap() * 4;
    a_restart_of_the_control_plane_touches_nothing_and_finds_the_ends(&world, port).await;
    a_deadline_holds_though_nobody_asks(&world, port).await;
    a_supervisor_that_is_killed_is_replaced_and_its_workload_plays_on(&world, port).await;
    the_next_supervisor_keeps_deadlines_and_sees_ends(&world, port).await;
    a_control_plane_that_comes_back_finds_workloads_without_a_supervisor(&world, port).await;
    what_a_program_says_without_a_supervisor_waits_for_the_next(&world, port).await;
    a_zygote_that_is_killed_is_replaced(&world, port).await;
    a_start_that_was_interrupted_is_done_by_the_next(&world, port).await;
    a_flood_of_log_is_bounded_and_its_end_is_read(&world, port).await;
    a_program_that_is_a_link_to_our_own_is_none(&world, port).await;
    what_the_kernel_shows_of_the_host_can_not_be_written(&world, port).await;
    an_end_is_hinted_at_once(&world, port).await;
    another_release_replaces_the_zygote_and_touches_no_workload(&world, port).await;
    let left = world.close().await;
    assert_eq!(left, Vec::<String>::new(), "something is left behind");
}

/// As after a restart of the control plane: nothing is remembered.
async fn driver_again(world: &World) -> OciDriver {
    OciDriver::new(world.reopen(&own_installation()).await, "host".into())
}

fn doing(world: &World, program: Program, attempt: u32, port: u16) -> WorkloadSpec {
    let mut spec = world.spec(attempt, port);
    program.of_the_game(&mut spec);
    spec
}

fn state(world: &World, id: WorkloadId) -> StateRecord {
    records::read(&world.folder(id), records::STATE).unwrap().unwrap()
}

async fn exit(driver: &OciDriver, id: WorkloadId) -> Exit {
    let look = async || match driver.inspect(id).await.unwrap().unwrap().state {
        Running::Exited(exit) => Some(exit),
        _ => None,
    };
    until("it has ended", async || look().await.is_some()).await;
    look().await.unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The parent of a process.
fn parent(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn a_restart_of_the_control_plane_touches_nothing_and_finds_the_ends(world: &World, port: u16) {
    let first = world.driver().await;
    let stays = world.spec(1, port);
    let ends = doing(world, Program::ExitAfter(300, 7), 2, port + 1);
    let grows = doing(world, Program::OutOfMemory, 3, port + 2);
    for spec in [&stays, &ends, &grows] {
        first.ensure(spec).await.unwrap();
    }
    listens(&first, &stays).await;
    let before = first.inspect(stays.id).await.unwrap();
    drop(first);
    let second = driver_again(world).await;
    assert_eq!(second.inspect(stays.id).await.unwrap(), before);
    second.ensure(&stays).await.unwrap();
    assert_eq!(second.inspect(stays.id).await.unwrap(), before, "it was started again");
    assert_eq!(exit(&second, ends.id).await, Exit { code: 7, oom: false, disk: false });
    assert_eq!(exit(&second, grows.id).await, Exit { code: 137, oom: true, disk: false });
    let mut other = stays.clone();
    other.pids_max += 1;
    assert_eq!(second.ensure(&other).await, Err(DriverError::Conflict));
    for spec in [&stays, &ends, &grows] {
        second.remove(spec.id).await.unwrap();
    }
    assert_eq!(second.list().await.unwrap(), []);
}

async fn a_deadline_holds_though_nobody_asks(world: &World, port: u16) {
    let driver = world.driver().await;
    let spec = doing(world, Program::IgnoreTerm, 4, port);
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    driver.stop(spec.id, Duration::from_millis(400)).await.unwrap();
    // Asking again gives it no more time.
    driver.stop(spec.id, Duration::from_secs(600)).await.unwrap();
    assert_eq!(exit(&driver, spec.id).await, Exit { code: 137, oom: false, disk: false });
    driver.remove(spec.id).await.unwrap();
    let mut spec = doing(world, Program::TermExit(4), 16, port);
    spec.lifetime = Some(Duration::from_millis(700));
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    assert_eq!(exit(&driver, spec.id).await, Exit { code: 4, oom: false, disk: false });
    driver.remove(spec.id).await.unwrap();
}

/// Who holds the lock of a workload's folder: its supervisor.
fn supervisor(world: &World, id: WorkloadId) -> Option<i32> {
    let file = std::fs::metadata(world.folder(id).join(records::LOCK)).ok()?;
    let own = format!(":{}", std::os::unix::fs::MetadataExt::ino(&file));
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let line = locks
        .lines()
        .find(|line| line.split(' ').any(|word| word.ends_with(&own)) && line.contains("WRITE"))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// Kills the supervisor of a workload, and waits until another looks after it.
async fn replace_supervisor(world: &World, id: WorkloadId) {
    let first = supervisor(world, id).unwrap();
    kill(first);
    let other = async || supervisor(world, id).is_some_and(|now| now != first);
    until("another supervisor is there", other).await;
    let answers =
        async || std::os::unix::net::UnixStream::connect(world.folder(id).join(records::CONTROL)).is_ok();
    until("it can be told", answers).await;
}

async fn log_of(driver: &OciDriver, id: WorkloadId) -> String {
    let mut all = Vec::new();
    let mut log = driver.logs(id, LogFrom::Start, false).await.unwrap();
    while let Some(chunk) = log.next().await {
        all.extend_from_slice(&chunk.unwrap().bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn a_supervisor_that_is_killed_is_replaced_and_its_workload_plays_on(world: &World, port: u16) {
    let driver = world.driver().await;
    let mut spec = doing(world, Program::TermExit(7), 5, port);
    spec.ports.retain(|port| port.transport == Transport::Tcp);
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    let before = state(world, spec.id);
    for round in 0..3 {
        assert_eq!(ask(&spec, "log 3").await, "logged");
        replace_supervisor(world, spec.id).await;
        assert_eq!(ask(&spec, &format!("log-error round-{round}")).await, "logged");
        let told = async || log_of(&driver, spec.id).await.contains(&format!("round-{round}"));
        until("its log goes on", told).await;
    }
    assert!(before.is_alive() && state(world, spec.id) == before, "the game is another one");
    assert_eq!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Running);
    let whole = log_of(&driver, spec.id).await;
    assert_eq!(whole.matches("game: started").count(), 1, "{whole}");
    // Ports are kept from others as before.
    assert!(std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok(), "a port that is not its own");
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err(), "its port is free to take");
    driver.stop(spec.id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        exit(&driver, spec.id).await,
        Exit { code: 7, oom: false, disk: false },
        "how it ended was heard"
    );
    assert!(log_of(&driver, spec.id).await.contains("exit 7"), "its last words are lost");
    driver.remove(spec.id).await.unwrap();
}

async fn the_next_supervisor_keeps_deadlines_and_sees_ends(world: &World, port: u16) {
    let driver = world.driver().await;
    let mut ends = doing(world, Program::IgnoreTerm, 6, port);
    ends.lifetime = Some(Duration::from_secs(4));
    driver.ensure(&ends).await.unwrap();
    listens(&driver, &ends).await;
    replace_supervisor(world, ends.id).await;
    until("the end of its time is told to it", async || {
        log_of(&driver, ends.id).await.contains("ignoring signal 15")
    })
    .await;
    driver.stop(ends.id, Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit(&driver, ends.id).await, Exit { code: 137, oom: false, disk: false });
    driver.remove(ends.id).await.unwrap();

    let grows = {
        let mut spec = world.spec(17, port + 1);
        spec.env.push(("GAME_MODE".to_owned(), Plaintext::new("oom-after:3000")));
        spec
    };
    driver.ensure(&grows).await.unwrap();
    listens(&driver, &grows).await;
    replace_supervisor(world, grows.id).await;
    assert_eq!(exit(&driver, grows.id).await, Exit { code: 137, oom: true, disk: false });
    driver.remove(grows.id).await.unwrap();
}

/// Also what happens while nobody is there to replace anybody.
async fn a_control_plane_that_comes_back_finds_workloads_without_a_supervisor(world: &World, port: u16) {
    let first = world.driver().await;
    let (stays, ends) = (world.spec(18, port), doing(world, Program::ExitAfter(1500, 6), 19, port + 1));
    for spec in [&stays, &ends] {
        first.ensure(spec).await.unwrap();
    }
    listens(&first, &stays).await;
    world.forget(&own_installation()).await;
    drop(first);
    let alive = state(world, ends.id);
    for spec in [&stays, &ends] {
        kill(supervisor(world, spec.id).unwrap());
    }
    until("one of them has ended", async || !alive.is_alive()).await;
    assert!(state(world, stays.id).is_alive());
    let second = driver_again(world).await;
    assert_eq!(exit(&second, ends.id).await, Exit { code: 6, oom: false, disk: false });
    until("somebody looks after the other", async || supervisor(world, stays.id).is_some()).await;
    // With the zygote gone as well it works on, but how it ends is not heard.
    let zygote = parent(state(world, stays.id).pid);
    kill(zygote);
    kill(supervisor(world, stays.id).unwrap());
    until("somebody looks after it again", async || {
        let _ = second.list().await;
        supervisor(world, stays.id).is_some()
    })
    .await;
    second.stop(stays.id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(exit(&second, stays.id).await.code, records::LOST.code);
    for spec in [&stays, &ends] {
        second.remove(spec.id).await.unwrap();
    }
}

async fn what_a_program_says_without_a_supervisor_waits_for_the_next(world: &World, port: u16) {
    let first = world.driver().await;
    let mut spec = world.spec(20, port);
    spec.ports.retain(|port| port.transport == Transport::Tcp);
    first.ensure(&spec).await.unwrap();
    listens(&first, &spec).await;
    world.forget(&own_installation()).await;
    drop(first);
    kill(supervisor(world, spec.id).unwrap());
    until("nobody looks after it", async || supervisor(world, spec.id).is_none()).await;
    assert_eq!(ask(&spec, "log-error said-to-nobody").await, "logged");
    let second = driver_again(world).await;
    until("it is read", async || log_of(&second, spec.id).await.contains("said-to-nobody")).await;
    second.remove(spec.id).await.unwrap();
}

async fn a_zygote_that_is_killed_is_replaced(world: &World, port: u16) {
    let driver = world.driver().await;
    let first = world.spec(7, port);
    driver.ensure(&first).await.unwrap();
    listens(&driver, &first).await;
    kill(parent(parent(state(world, first.id).pid)));
    let second = world.spec(8, port + 1);
    driver.ensure(&second).await.unwrap();
    listens(&driver, &second).await;
    assert!(state(world, first.id).is_alive(), "a game died with the zygote");
    for spec in [&first, &second] {
        driver.stop(spec.id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(exit(&driver, spec.id).await.code, 0);
        driver.remove(spec.id).await.unwrap();
    }
}

async fn a_start_that_was_interrupted_is_done_by_the_next(world: &World, port: u16) {
    let driver = world.driver().await;
    let mut spec = world.spec(9, port);
    // A start that fails leaves nothing; what it leaves when it is killed is put there by hand.
    spec.command = Some(vec!["/no/such".to_owned()]);
    assert!(matches!(driver.ensure(&spec).await, Err(DriverError::StartFailed(_))));
    assert!(!world.folder(spec.id).exists());
    spec.command = None;
    driver.ensure(&spec).await.unwrap();
    let keep = world.folder(spec.id).with_extension("copy");
    std::fs::copy(world.folder(spec.id).join(records::SPEC), &keep).unwrap();
    driver.remove(spec.id).await.unwrap();
    std::fs::create_dir_all(world.folder(spec.id)).unwrap();
    std::fs::rename(&keep, world.folder(spec.id).join(records::SPEC)).unwrap();
    drop(driver);
    let again = driver_again(world).await;
    let seen = again.list().await.unwrap();
    assert_eq!(
        seen.iter().map(|w| (w.id, w.state.clone())).collect::<Vec<_>>(),
        [(spec.id, Running::Starting)]
    );
    again.ensure(&spec).await.unwrap();
    listens(&again, &spec).await;
    again.remove(spec.id).await.unwrap();
}

async fn a_flood_of_log_is_bounded_and_its_end_is_read(world: &World, port: u16) {
    let driver = world.driver().await;
    let mut spec = world.spec(10, port);
    spec.env.push(("GAME_MODE".to_owned(), Plaintext::new("flood:200")));
    driver.ensure(&spec).await.unwrap();
    let bytes = || {
        let entries = std::fs::read_dir(world.folder(spec.id)).unwrap().flatten();
        let logs = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("log."));
        logs.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum::<u64>()
    };
    until("twice the bound was written", async || world.folder(spec.id).join("log.6").exists()).await;
    assert!(bytes() < 36 * 1024 * 1024, "{} bytes", bytes());
    listens(&driver, &spec).await;
    let mut tail = driver.logs(spec.id, LogFrom::Tail(1000), false).await.unwrap();
    assert!(tail.next().await.unwrap().unwrap().bytes.len() >= 100);
    driver.remove(spec.id).await.unwrap();
}

async fn a_program_that_is_a_link_to_our_own_is_none(world: &World, port: u16) {
    let driver = world.driver().await;
    for program in ["/proc/self/exe", "/proc/1/exe", "/proc/self/fd/3"] {
        let mut spec = world.spec(11, port);
        spec.command = Some(vec![program.to_owned()]);
        // Our own binary does not run in an image of one static file; and if it did, it could not be written to.
        match driver.ensure(&spec).await {
            Ok(()) => drop(exit(&driver, spec.id).await),
            Err(error) => assert!(matches!(error, DriverError::StartFailed(_)), "{program}: {error}"),
        }
        driver.remove(spec.id).await.unwrap();
    }
}

/// One line to the game, one line back.
async fn ask(spec: &WorkloadSpec, question: &str) -> String {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", spec.ports[0].external)).await.unwrap();
    stream.write_all(format!("{question}\n").as_bytes()).await.unwrap();
    let mut line = String::new();
    tokio::io::BufReader::new(stream).read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

async fn what_the_kernel_shows_of_the_host_can_not_be_written(world: &World, port: u16) {
    let driver = world.driver().await;
    let mut spec = world.spec(12, port);
    spec.ports = vec![PortPublish { internal: 7777, external: port, transport: Transport::Tcp }];
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/1/oom_score_adj_",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/cgroup.procs",
        "/dev/mem",
        "/dev/kmsg_",
    ] {
        let answer = ask(&spec, &format!("write {path}")).await;
        // A file of the container's own in /dev is no device, whatever the host has under that name.
        let seen = format!("/proc/{}/root{path}", state(world, spec.id).pid);
        let is_own = path.starts_with("/dev/") && std::fs::metadata(seen).is_ok_and(|found| found.is_file());
        assert!(answer != "written" || is_own, "{path}: {answer}");
    }
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let answer = ask(&spec, &format!("read {path}")).await;
        assert!(
            answer.is_empty() || answer.contains("denied") || answer.contains("No such"),
            "{path}: {answer}"
        );
    }
    // The host's processes and mounts.
    assert_eq!(ask(&spec, "read /proc/1/comm").await, "game");
    let own = format!("read /proc/{}/comm", std::process::id());
    assert!(ask(&spec, &own).await.contains("No such"));
    assert!(!ask(&spec, "read /proc/self/mountinfo").await.contains("stage"));
    driver.remove(spec.id).await.unwrap();
}

async fn an_end_is_hinted_at_once(world: &World, port: u16) {
    let driver = Arc::new(world.driver().await);
    let spec = doing(world, Program::ExitAfter(200, 0), 13, port);
    let mut hints = driver.watch().await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Resync));
    driver.ensure(&spec).await.unwrap();
    let ended = async {
        while hints.next().await.is_some() {
            if matches!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Exited(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    driver.remove(spec.id).await.unwrap();
}

async fn another_release_replaces_the_zygote_and_touches_no_workload(world: &World, port: u16) {
    let first = world.driver().await;
    let old = world.spec(14, port);
    first.ensure(&old).await.unwrap();
    listens(&first, &old).await;
    let before = state(world, old.id);
    let zygote = parent(parent(before.pid));
    drop(first);
    let program = world.dir.path().join("another-release");
    std::fs::copy(env!("CARGO_BIN_EXE_spawnpoint-oci-zygote"), &program).unwrap();
    let engine = world.reopen_with(&own_installation(), |config| config.program.clone_from(&program)).await;
    let second = OciDriver::new(engine, "host".into());
    let new = world.spec(15, port + 1);
    second.ensure(&new).await.unwrap();
    listens(&second, &new).await;
    assert!(before.is_alive());
    assert_ne!(parent(parent(state(world, new.id).pid)), zygote, "the old zygote is still asked");
    for spec in [&old, &new] {
        second.stop(spec.id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(exit(&second, spec.id).await, Exit { code: 0, oom: false, disk: false });
        second.remove(spec.id).await.unwrap();
    }
}
