//! Pulls of the embedded runtime that do not go as they should: the control plane dies in the middle, the registry stands
//! still, a hundred ask at once, unused images are removed meanwhile. And a control plane without file descriptors.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::brake::Brake;
use spawnpoint_compat::player::{Prober, ask_udp};
use spawnpoint_compat::registry::{Registry, Setup};
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, game, long, say};

/// How many ask for the same image at once.
const CROWD: usize = 100;

/// A server with the embedded runtime, and a registry that it reaches through a brake, with the game's image under these names.
fn stage(names: &[&str]) -> Option<(Registry, Brake, Server)> {
    let runtime = Runtime::embedded()?;
    let registry = Registry::start_as(Setup { has_login: false, deletes: false })?;
    let game = game::build();
    for name in names {
        registry.push(&game, name, "v1");
    }
    let brake = Brake::before(&registry.address);
    let (server, _) = runtime.start();
    for name in names {
        let fields = json!({
            "docker_repository": brake.address, "docker_image": name, "docker_tag": "v1", "time_to_deploy": 300,
        });
        server.api.describe("arena", &name.replace('/', "-"), (name, "v1"), &fields);
    }
    server.api.describe("arena", "here", runtime.image(), &json!({}));
    Some((registry, brake, server))
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_pull_that_dies_with_the_control_plane_is_taken_up_again_and_leaves_no_pieces() {
    let Some((_registry, brake, mut server)) = stage(&["studio/arena"]) else { return };
    brake.hold("studio/arena");
    let id = server.api.deploy("arena", "studio-arena", &json!({}));
    eventually("the layer stands still", PATIENCE, || (brake.waiting() > 0).then_some(()));
    for _ in 0..3 {
        server.kill();
        server.restart();
        eventually("the pull is taken up", PATIENCE, || (brake.waiting() > 0).then_some(()));
    }
    assert_eq!(server.api.status(&id)["current_status"], "Status.DEPLOYING");
    brake.release();
    let status = server.api.wait_for(&id, "READY");
    assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"));
    server.api.stop(&id);
    let images = server.data_dir().join("oci/images");
    for part in ["partial", "tmp"] {
        assert_eq!(entries(&images.join(part)), Vec::<String>::new(), "pieces are left in {part}");
    }
    server.audit();
}

#[test]
fn a_registry_that_stands_still_holds_up_nobody_else_and_is_given_up() {
    let Some((_registry, brake, server)) = stage(&["studio/arena", "studio/lobby"]) else { return };
    let api = &server.api;
    brake.hold("studio/arena");
    let stuck = api.deploy("arena", "studio-arena", &json!({}));
    eventually("the layer stands still", PATIENCE, || (brake.waiting() > 0).then_some(()));
    let other = api.deploy("arena", "here", &json!({}));
    let _ = api.wait_for(&other, "READY");
    api.stop(&other);
    if long() {
        // Its layer is the same, and fetched once for both; it goes on alone when the other has been given up.
        let shares = api.deploy("arena", "studio-lobby", &json!({}));
        let status = api.wait_for_within(&stuck, "ERROR", Duration::from_secs(280));
        let detail = text(&status, "error_detail");
        assert!(detail.contains("Pull image timeout exceeded"), "{status}");
        let _ = api.wait_for_within(&shares, "READY", Duration::from_secs(100));
        api.stop(&shares);
    }
    // A stop of one that is not ready yet is carried out when it is.
    brake.release();
    api.stop(&stuck);
    server.audit();
}

#[test]
fn a_hundred_deployments_of_a_new_image_cause_one_download() {
    let Some((_registry, brake, server)) = stage(&["studio/arena"]) else { return };
    let body = deployment("arena", "studio-arena", &json!({"tags": ["crowd"]}));
    let ids: Vec<_> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..CROWD)
            .map(|_| scope.spawn(|| server.api.post("/v2/deployments", &body).expect(202)))
            .collect();
        askers.into_iter().map(|asker| text(&asker.join().unwrap(), "request_id")).collect()
    });
    for id in &ids {
        let _ = server.api.wait_for(id, "READY");
    }
    // The configuration and one layer.
    assert_eq!(brake.asked("studio/arena"), [1, 1]);
    let stopped = server.api.post(
        "/v1/deployments/bulk-stop",
        &json!({
            "filters": [{"field": "deployment_tags", "filter_type": "any", "values": ["crowd"]}]
        }),
    );
    assert_eq!(stopped.status, 202, "{}", stopped.text());
    for id in &ids {
        let _ = server.api.wait_for(id, "TERMINATED");
    }
    server.audit();
}

#[test]
fn no_deployment_fails_because_unused_images_are_removed_meanwhile() {
    let Some((_registry, brake, server)) = stage(&["studio/arena"]) else { return };
    let starts = if long() { 200 } else { 20 };
    let left = AtomicUsize::new(starts);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while left.load(Ordering::Relaxed) > 0 {
                let pruned = server.run(&["image", "prune", "--all"]);
                assert_eq!(pruned.code, Some(0), "{}", pruned.text);
            }
        });
        scope.spawn(|| {
            let is_over = OnDrop(&left);
            for _ in 0..starts {
                let id = server.api.deploy("arena", "studio-arena", &json!({}));
                let status = server.api.wait_for(&id, "READY");
                assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"));
                server.api.stop(&id);
                left.fetch_sub(1, Ordering::Relaxed);
            }
            drop(is_over);
        });
    });
    say(&format!("{starts} starts, pulled so often: {:?}", brake.asked("studio/arena")));
    server.audit();
}

/// Nothing is left to do when this ends, however it ends.
struct OnDrop<'a>(&'a AtomicUsize);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[test]
fn without_file_descriptors_the_control_plane_waits_and_goes_on_later() {
    let Some((_registry, _brake, mut server)) = stage(&["studio/arena"]) else { return };
    let id = server.api.deploy("arena", "studio-arena", &json!({}));
    let port = external(&server.api.wait_for(&id, "READY"), "game");
    let player = Prober::start(port);
    let pid = Pid::from_raw(i32::try_from(server.pid().unwrap()).unwrap());
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid().unwrap())).unwrap().count() as u64;
    // It has those of this process.
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(open + 8), maximum: before.maximum };
    let _ = prlimit(pid, Resource::Nofile, few).unwrap();
    let crowd: Vec<_> = (0..64)
        .filter_map(|_| {
            std::net::TcpStream::connect(spawnpoint_compat::player::local(server.ports.api())).ok()
        })
        .collect();
    assert_eq!(crowd.len(), 64, "the kernel's queue takes them");
    eventually("all descriptors are taken", PATIENCE, || {
        let now = std::fs::read_dir(format!("/proc/{}/fd", server.pid().unwrap())).unwrap().count() as u64;
        (now >= open + 7).then_some(())
    });
    drop(crowd);
    // It has not died of it, and serves again as soon as there are some; still few for what a start needs.
    let body = deployment("arena", "studio-arena", &json!({}));
    let mut ids = Vec::new();
    for _ in 0..5 {
        let made = eventually("a deployment is taken", PATIENCE, || {
            let answer = server.api.try_call("POST", "/v2/deployments", &[], Some(&body)).ok()?;
            (answer.status == 202).then(|| answer.json())
        });
        ids.push(text(&made, "request_id"));
    }
    let _ = prlimit(pid, Resource::Nofile, before).unwrap();
    assert!(server.is_alive());
    for id in &ids {
        let ended = eventually("it is READY or in ERROR", PATIENCE, || {
            let status: Value = server.api.status(id);
            let word = text(&status, "current_status");
            matches!(word.as_str(), "Status.READY" | "Status.ERROR").then_some(status)
        });
        assert!(text(&ended, "current_status") == "Status.READY" || !text(&ended, "error_detail").is_empty());
        server.api.stop(id);
    }
    let again = server.api.deploy("arena", "studio-arena", &json!({}));
    let _ = server.api.wait_for(&again, "READY");
    server.api.stop(&again);
    assert_eq!(player.finish().lost, Vec::<u64>::new(), "a player lost packets");
    server.api.stop(&id);
    server.audit();
}
