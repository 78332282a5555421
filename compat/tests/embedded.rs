//! The embedded runtime from outside: deployments are made and stopped while the server is killed again and again, players play
//! on, and afterwards nothing is left on the machine: no process, mount, namespace, interface, address, rule, tracked
//! connection, control group or file. Forty starts; a thousand with `SPAWNPOINT_LONG=1`.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external};
use spawnpoint_compat::player::{Prober, ask_udp};
use spawnpoint_compat::random::Random;
use spawnpoint_compat::{Api, PATIENCE, Runtime, Server, eventually, long, say, server};
use tokio::time::Instant;

/// Clients that deploy and stop at the same time.
const CLIENTS: usize = 12;
/// Deployments that a server makes which lives for five seconds.
const DEPLOYED_IN_A_LIFE: usize = 20;
/// Every second deployment lives until the server has been killed.
const KILLED_OF: usize = 2;

/// Whether the embedded runtime runs here; says why if not.
fn can_run(server: &Server) -> bool {
    let doctor = server.run(&["doctor"]);
    let found = doctor.text.contains("run in the embedded runtime");
    if !found {
        assert!(std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none(), "{}", doctor.text);
        say(&format!("skipped: no embedded runtime here\n{}", doctor.text));
    }
    found
}

/// Asks until there is an answer: the server may be dead right now.
fn insist(
    api: &Api,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> (u16, String) {
    eventually(&format!("{method} {path} is answered"), PATIENCE, || {
        let answer = api.try_call(method, path, headers, body).ok()?;
        (answer.status != 503).then(|| (answer.status, answer.text().to_owned()))
    })
}

/// The deployments that were accepted and whose stop nobody has asked for yet: how many kills each has seen.
#[derive(Default)]
struct Alive(Mutex<HashMap<String, usize>>);

impl Alive {
    fn all(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server was killed.
    fn note_kill(&self) {
        self.all().values_mut().for_each(|kills| *kills += 1);
    }
}

/// What all clients share.
struct Rally {
    /// Deployments that are still to be made.
    left: AtomicUsize,
    alive: Alive,
    /// Deployments that saw a kill between their start and their stop.
    survivors: AtomicUsize,
}

/// Deploys and stops, one after the other, until there were enough.
fn client(number: usize, api: &Api, mut random: Random, rally: &Rally) {
    let take = || rally.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    while let Ok(turn) = take() {
        let body = deployment("arena", "v1", &json!({}));
        let id = eventually("there is a port", PATIENCE * 2, || {
            // A refusal is an answer as well, and is given again for its key.
            let key = format!("{number}-{:016x}", random.bits());
            let (status, text) =
                insist(api, "POST", "/v2/deployments", &[("idempotency-key", &key)], Some(&body));
            // Every port rests for a while after its use, and there are some hundred.
            let has_no_port = status == 422 && text.contains("ports");
            assert!(status == 202 || has_no_port, "{status} {text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            (!has_no_port).then(|| answer["request_id"].as_str().unwrap().to_owned())
        });
        rally.alive.all().insert(id.clone(), 0);
        let is = |wanted: &str| {
            let (_, text) = insist(api, "GET", &format!("/v1/status/{id}"), &[], None);
            let status: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(!(wanted == "READY" && status["current_status"] == "Status.ERROR"), "{text}");
            (status["current_status"] == format!("Status.{wanted}")).then_some(status)
        };
        let status = eventually("it is READY", PATIENCE, || is("READY"));
        let game = external(&status, "game");
        assert_eq!(ask_udp(game, "ping"), format!("pong {id}"));
        if turn % KILLED_OF == 0 {
            let has_seen_one = || (rally.alive.all()[&id] > 0).then_some(());
            eventually("the server was killed meanwhile", PATIENCE, has_seen_one);
            assert_eq!(ask_udp(game, "ping"), format!("pong {id}"));
        } else {
            std::thread::sleep(random.millis(0, 200));
        }
        let kills = rally.alive.all().remove(&id).unwrap();
        rally.survivors.fetch_add(usize::from(kills > 0), Ordering::Relaxed);
        let (status, text) = insist(api, "DELETE", &format!("/v1/stop/{id}"), &[], None);
        assert!(matches!(status, 200 | 202 | 410), "{status} {text}");
        let _ = eventually("it has ended", PATIENCE, || is("TERMINATED"));
    }
}

/// A server with the demo's image, if it can be here.
fn arena() -> Option<Server> {
    let mut server = Server::start(server::fake);
    let is_here = can_run(&server);
    server.kill();
    if !is_here {
        return None;
    }
    let server = Server::start(server::embedded);
    let brought = server.run(&["image", "demo"]);
    assert_eq!(brought.code, Some(0), "{}", brought.text);
    server.api.describe("arena", "v1", ("spawnpoint-demo", env!("CARGO_PKG_VERSION")), &json!({}));
    Some(server)
}

#[test]
fn a_thousand_starts_under_kills_leave_nothing_behind() {
    let Some(mut server) = arena() else { return };
    let steady = server.api.deploy("arena", "v1", &json!({}));
    let port = external(&server.api.wait_for(&steady, "READY"), "game");
    let place = Place::of(&server.data_dir());
    let player = Prober::start(port);
    // What is not seen while it is there would not be seen when it is left behind.
    let is_found = |kind: &&str| place.stock().iter().any(|line| line.starts_with(*kind));
    for kind in KINDS {
        eventually(&format!("a {kind} is found of what runs"), PATIENCE, || is_found(&kind).then_some(()));
    }

    let starts = if long() { 1000 } else { 40 };
    let rally = Arc::new(Rally {
        left: AtomicUsize::new(starts),
        alive: Alive::default(),
        survivors: AtomicUsize::new(0),
    });
    let mut random = Random::new();
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut own = random.clone();
            for _ in 0..=number {
                let _ = own.bits();
            }
            let (api, rally) = (server.api.clone(), Arc::clone(&rally));
            std::thread::spawn(move || client(number, &api, own, &rally))
        })
        .collect();
    let mut kills = 0;
    while !clients.iter().all(JoinHandle::is_finished) {
        std::thread::sleep(random.millis(100, 1500));
        server.kill();
        kills += 1;
        rally.alive.note_kill();
        server.restart();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    let survivors = rally.survivors.load(Ordering::Relaxed);
    say(&format!(
        "{starts} starts and stops in {:.1} s, {kills} kills, {survivors} of them alive in one",
        began.elapsed().as_secs_f32()
    ));
    assert!(survivors >= starts / KILLED_OF, "{survivors} of {starts} saw a kill");

    let report = player.finish();
    assert_eq!(report.lost, Vec::<u64>::new(), "a player lost packets");
    server.audit();
    server.api.stop(&steady);
    eventually("its folders are gone", PATIENCE, || {
        let containers = server.data_dir().join("oci/containers");
        (std::fs::read_dir(containers).unwrap().count() == 0).then_some(())
    });
    assert!(server.terminate().success());
    assert_eq!(place.eventually_nothing(), Vec::<String>::new(), "something is left behind");
}

#[test]
fn a_control_plane_that_never_lives_long_still_comes_to_an_end_of_everything() {
    let Some(mut server) = arena() else { return };
    let place = {
        let first = server.api.deploy("arena", "v1", &json!({}));
        let _ = server.api.wait_for(&first, "READY");
        let place = Place::of(&server.data_dir());
        server.api.stop(&first);
        place
    };
    // Each life ends five seconds after its start, whatever it is at.
    let rounds = if long() { 8 } else { 2 };
    let mut ids = Vec::new();
    for _ in 0..rounds {
        let end = Instant::now() + Duration::from_secs(5);
        for number in 0..DEPLOYED_IN_A_LIFE {
            let id = server.api.deploy("arena", "v1", &json!({}));
            if number % 2 == 0 {
                server.api.stop(&id);
            }
            ids.push(id);
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        server.kill();
        server.restart();
    }
    ids.iter().for_each(|id| drop(server.api.try_call("DELETE", &format!("/v1/stop/{id}"), &[], None)));
    let has_ended = |id: &String| {
        let answer = server.api.try_call("GET", &format!("/v1/status/{id}"), &[], None);
        answer.is_ok_and(|answer| answer.status == 404 || answer.text().contains("Status.TERMINATED"))
    };
    eventually("all of them end", PATIENCE, || ids.iter().all(has_ended).then_some(()));
    server.audit();
    say(&format!("{} deployments over {rounds} lives of five seconds", ids.len()));
    assert!(server.terminate().success());
    assert_eq!(place.eventually_nothing(), Vec::<String>::new(), "something is left behind");
}

#[test]
fn who_writes_more_than_his_host_allows_ends_in_error_and_his_neighbour_plays_on() {
    let Some(runtime) = Runtime::embedded() else { return };
    let (server, installation) =
        runtime.start_with(|ports| format!("{}[oci]\ndisk_mib = 32\n", runtime.site(ports)));
    server.api.describe("arena", "v1", runtime.image(), &json!({}));
    // 64 MiB each second; its policy would start it again.
    let mode = json!({"envs": [{"key": "GAME_MODE", "value": "load:0:0:65536", "is_hidden": false}], "restart_policy": "always"});
    server.api.describe("arena", "writes", runtime.image(), &mode);
    let neighbour = server.api.deploy("arena", "v1", &json!({}));
    let player = Prober::start(external(&server.api.wait_for(&neighbour, "READY"), "game"));
    let writer = server.api.deploy("arena", "writes", &json!({}));
    let ended = server.api.wait_for(&writer, "ERROR");
    let detail = ended["error_detail"].as_str().unwrap();
    assert!(detail.contains("it wrote more to its file system than its host allows"), "{ended}");
    let logs = eventually("its log is kept", PATIENCE, || {
        let logs = server.api.get(&format!("/v1/deployment/{writer}/container-logs")).expect(200);
        (logs["crash_data"] != Value::Null).then_some(logs)
    });
    let message = "killed: it wrote more to its file system than it may";
    assert_eq!(logs["crash_data"], json!({"exit_code": 137, "message": message, "restart_count": 0}));
    let report = player.finish();
    assert!(report.sent > 0 && report.lost.is_empty(), "{} sent, lost: {:?}", report.sent, report.lost);
    server.api.stop(&neighbour);
    server.api.stop(&writer);
    assert_eq!(installation.containers(), []);
    server.audit();
}

/// What an installation can leave behind.
const KINDS: [&str; 9] =
    ["process", "mount", "namespace", "link", "address", "rule", "flow", "control group", "file"];

/// Where an installation has what it has.
struct Place {
    /// The short name of the installation, as it is in the names of all that it makes.
    installation: String,
    /// What the addresses of its workloads begin with.
    network: String,
    data: PathBuf,
}

impl Place {
    /// Of a server with a deployment that runs.
    fn of(data_dir: &Path) -> Self {
        let installation = installation(data_dir);
        let subnet = std::fs::read_to_string(format!("/run/spawnpoint-{installation}/net/subnet")).unwrap();
        let (network, _) = subnet.split_once(".0.0/").unwrap();
        Self { installation, network: format!("={network}."), data: data_dir.join("oci") }
    }

    /// What of it is to be found on this machine: its kind, and what it is.
    fn stock(&self) -> Vec<String> {
        let own = self.installation.as_str();
        let run = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mounts = read("/proc/self/mounts");
        let is_namespace = |line: &&str| line.starts_with("nsfs ");
        let lines = |text: &str, of: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains(of)).map(|line| line.trim().to_owned()).collect()
        };
        let both = mounts.lines().filter(|line| line.contains(own));
        let (namespaces, mounts): (Vec<_>, Vec<_>) =
            both.map(str::to_owned).partition(|line| is_namespace(&line.as_str()));
        let mut files = lines(&run("find /run -maxdepth 2"), own);
        for folder in ["containers", "trash"] {
            files.extend(
                run(&format!("find {} -mindepth 1", self.data.join(folder).display()))
                    .lines()
                    .map(str::to_owned),
            );
        }
        let found = [
            processes(own),
            // Stages and roots are mounted where only supervisors and containers see them.
            mounts.into_iter().chain(mounts_elsewhere(own)).collect(),
            namespaces,
            lines(&run("ip -o link"), own),
            lines(&run("ip -o addr"), own),
            lines(&run("nft list ruleset"), own),
            self.flows(),
            run(&format!("find /sys/fs/cgroup -path */spawnpoint-{own}*"))
                .lines()
                .filter(|line| !line.rsplit('/').next().is_some_and(|name| name.contains('.')))
                .map(str::to_owned)
                .collect(),
            files,
        ];
        KINDS
            .iter()
            .zip(found)
            .flat_map(|(kind, all)| all.into_iter().map(move |line| format!("{kind}: {line}")))
            .collect()
    }

    /// Flows of its workloads. Not those of the host with itself in their network, which are the harness' own; and none, if the
    /// network is another installation's by now.
    fn flows(&self) -> Vec<String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let is_another = |run: &std::fs::DirEntry| {
            !run.file_name().to_string_lossy().ends_with(&self.installation)
                && read(&run.path().join("net/subnet").display().to_string()).contains(&self.network[1..])
        };
        if std::fs::read_dir("/run").unwrap().flatten().any(|run| is_another(&run)) {
            return Vec::new();
        }
        let own = format!("src{0}0.1 dst{0}0.1 ", self.network);
        let flows = read("/proc/net/nf_conntrack");
        let of_workloads = flows.lines().filter(|line| line.contains(&self.network) && !line.contains(&own));
        of_workloads.map(str::to_owned).collect()
    }

    fn eventually_nothing(&self) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.stock();
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Numbers of all processes.
fn all_processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("mountinfo").exists())
}

/// Processes that were started for it, or that are in its control groups.
fn processes(own: &str) -> Vec<String> {
    let name = format!("spawnpoint-{own}");
    let is_own = |path: &PathBuf| {
        let read = |file: &str| std::fs::read(path.join(file)).unwrap_or_default();
        let says = |text: Vec<u8>| String::from_utf8_lossy(&text).contains(&name);
        says(read("cgroup")) || says(read("cmdline"))
    };
    all_processes().filter(is_own).map(|path| path.display().to_string()).collect()
}

/// Its mounts in mount namespaces that are not ours.
fn mounts_elsewhere(own: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for process in all_processes() {
        let Ok(namespace) = std::fs::read_link(process.join("ns/mnt")) else { continue };
        if seen.insert(namespace) {
            let mounts = std::fs::read_to_string(process.join("mounts")).unwrap_or_default();
            found.extend(mounts.lines().filter(|line| line.contains(own)).map(str::to_owned));
        }
    }
    found
}

/// The short name of the installation, as its control groups have it.
fn installation(data_dir: &Path) -> String {
    let folder = std::fs::read_dir(data_dir.join("oci/containers")).unwrap().next().unwrap().unwrap().path();
    let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).unwrap()).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    let name = groups.split("/spawnpoint-").nth(1).unwrap();
    name.split(['/', '\n']).next().unwrap().to_owned()
}
