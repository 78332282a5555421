//! The embedded runtime from outside: deployments are made and stopped while the server is killed again and again, players play
//! on, and afterwards nothing is left on the machine: no process, mount, namespace, interface, table, control group or file.
//! Forty starts; a thousand with `SPAWNPOINT_LONG=1`.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external};
use spawnpoint_compat::player::{Prober, ask_udp};
use spawnpoint_compat::random::Random;
use spawnpoint_compat::{Api, PATIENCE, Server, eventually, long, say, server};
use tokio::time::Instant;

/// Clients that deploy and stop at the same time.
const CLIENTS: usize = 3;
/// The server is killed at most so often.
const KILLS_MAX: usize = 60;

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

/// Deploys and stops, one after the other, until there were enough.
fn client(number: usize, api: &Api, mut random: Random, left: &AtomicUsize) {
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let key = format!("{number}-{:016x}", random.bits());
        let body = deployment("arena", "v1", &json!({}));
        let (status, text) =
            insist(api, "POST", "/v2/deployments", &[("idempotency-key", &key)], Some(&body));
        if status == 422 && text.contains("ports") {
            // Every port rests for a minute after its use, and there are some hundred.
            left.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(300));
            continue;
        }
        assert_eq!(status, 202, "{text}");
        let id = serde_json::from_str::<Value>(&text).unwrap()["request_id"].as_str().unwrap().to_owned();
        let is = |wanted: &str| {
            let (_, text) = insist(api, "GET", &format!("/v1/status/{id}"), &[], None);
            let status: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(!(wanted == "READY" && status["current_status"] == "Status.ERROR"), "{text}");
            (status["current_status"] == format!("Status.{wanted}")).then_some(status)
        };
        let status = eventually("it is READY", PATIENCE, || is("READY"));
        assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"));
        std::thread::sleep(random.millis(0, 200));
        let (status, text) = insist(api, "DELETE", &format!("/v1/stop/{id}"), &[], None);
        assert!(matches!(status, 200 | 202 | 410), "{status} {text}");
        let _ = eventually("it has ended", PATIENCE, || is("TERMINATED"));
    }
}

#[test]
fn a_thousand_starts_under_kills_leave_nothing_behind() {
    let mut server = Server::start(server::fake);
    let is_here = can_run(&server);
    server.kill();
    if !is_here {
        return;
    }
    let mut server = Server::start(server::embedded);
    let brought = server.run(&["image", "demo"]);
    assert_eq!(brought.code, Some(0), "{}", brought.text);
    server.api.describe("arena", "v1", ("spawnpoint-demo", env!("CARGO_PKG_VERSION")), &json!({}));
    let steady = server.api.deploy("arena", "v1", &json!({}));
    let port = external(&server.api.wait_for(&steady, "READY"), "game");
    let installation = installation(&server.data_dir());
    let player = Prober::start(port);

    let starts = if long() { 1000 } else { 40 };
    let left = Arc::new(AtomicUsize::new(starts));
    let mut random = Random::new();
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (api, left, random) = (server.api.clone(), Arc::clone(&left), random.clone());
            std::thread::spawn(move || client(number, &api, random, &left))
        })
        .collect();
    let mut kills = 0;
    // Without an end to the kills no port would ever come back from its rest.
    while left.load(Ordering::Relaxed) > starts / 2
        && kills < KILLS_MAX
        && !clients.iter().all(JoinHandle::is_finished)
    {
        std::thread::sleep(random.millis(100, 1500));
        server.kill();
        kills += 1;
        server.restart();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    say(&format!("{starts} starts and stops in {:.1} s, {kills} kills", began.elapsed().as_secs_f32()));

    let report = player.finish();
    assert_eq!(report.lost, Vec::<u64>::new(), "a player lost packets");
    server.audit();
    server.api.stop(&steady);
    eventually("its folders are gone", PATIENCE, || {
        let containers = server.data_dir().join("oci/containers");
        (std::fs::read_dir(containers).unwrap().count() == 0).then_some(())
    });
    assert!(server.terminate().success());
    let left = eventually_nothing(&installation);
    assert_eq!(left, Vec::<String>::new(), "something is left behind");
}

/// The short name of the installation, as its control groups have it.
fn installation(data_dir: &Path) -> String {
    let folder = std::fs::read_dir(data_dir.join("oci/containers")).unwrap().next().unwrap().unwrap().path();
    let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).unwrap()).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    let name = groups.split("/spawnpoint-").nth(1).unwrap();
    name.split(['/', '\n']).next().unwrap().to_owned()
}

fn eventually_nothing(installation: &str) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left = traces(installation);
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What of an installation is to be found on this machine.
fn traces(installation: &str) -> Vec<String> {
    let lines = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.contains(installation)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut found = lines("find", &["/sys/fs/cgroup", "-maxdepth", "3", "-name", "spawnpoint-*"]);
    found.extend(lines("ip", &["link"]));
    found.extend(lines("nft", &["list", "tables"]));
    found.extend(lines("cat", &["/proc/mounts"]));
    found.extend(lines("ls", &["/run"]));
    found.extend(lines("ps", &["-eo", "args"]).into_iter().filter(|line| line.contains("zygote")));
    found
}
