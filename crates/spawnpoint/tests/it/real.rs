//! With real containers: the demo, and the README's walk as it is written. Both need something that runs containers on this
//! machine (`spawnpoint doctor`) and say so if there is nothing.

use std::io::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::process::{Server, eventually, run, text};
use crate::workspace::root;

/// Whether deployments can run here; prints why a test is skipped if not, and fails where they have to.
fn can_deploy(dir: &Path) -> bool {
    let output = run(&["doctor"], dir);
    let found = output.status.code() == Some(0);
    if !found {
        let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        let told = text(&output.stdout);
        assert!(!is_set("CI", "true") && !is_set("SPAWNPOINT_REQUIRE_DOCKER", "1"), "{told}");
        std::io::stderr()
            .write_all(format!("skipped: nothing runs deployments here\n{told}").as_bytes())
            .unwrap();
    }
    found
}

/// Has the image of the walk where a server on this directory finds it, whatever runs its containers.
fn bring_image(dir: &Path) {
    demo(dir);
    let output = run(&["image", "demo", "--data-dir", "data"], dir);
    // Without root there is no embedded runtime, and the demo has left it on the Docker engine.
    std::io::stderr().write_all(&output.stderr).unwrap();
}

/// Runs the demo, which also leaves its image.
fn demo(dir: &Path) -> String {
    let output = run(&["demo"], dir);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The shell blocks of a section of the README, without those that start a server.
fn blocks(section: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.filter(|block| !block.contains("spawnpoint serve")).collect()
}

/// Runs a script as a reader would who types it, against this server.
fn type_in(script: &str, server: &Server, dir: &Path) -> String {
    let script = script.replace("http://127.0.0.1:8080", &format!("http://{}", server.address));
    let output = Command::new("timeout")
        .args(["120", "bash", "-euo", "pipefail", "-c", &script.replace("spawnpoint-data/", "data/")])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Stops what a reader would have left running.
fn stop_all(server: &Server) {
    let (_, list) = server.call("GET", "/v1/deployments", "");
    for one in list["data"].as_array().unwrap() {
        let id = one["request_id"].as_str().unwrap();
        let _ = server.call("DELETE", &format!("/v1/stop/{id}"), "");
        eventually("it is stopped", || {
            let (_, status) = server.call("GET", &format!("/v1/status/{id}"), "");
            (status["current_status"] == "Status.TERMINATED").then_some(())
        });
    }
}

#[test]
fn the_demo_plays_with_a_real_container() {
    let dir = tempfile::tempdir().unwrap();
    if !can_deploy(dir.path()) {
        return;
    }
    let shown = demo(dir.path());
    for part in ["is READY", "UDP packets answered", "is Status.TERMINATED", "every invariant holds"] {
        assert!(shown.contains(part), "{part:?} is missing in {shown}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing where it was called");
}

#[test]
fn the_readmes_walk_works_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    if !can_deploy(dir.path()) {
        return;
    }
    bring_image(dir.path());
    let server = Server::start_on(dir.path(), "", &[]);
    let shown = type_in(&blocks("The walk"), &server, dir.path());
    assert!(shown.contains("Status.READY"), "{shown}");
    let id = shown.split("\"request_id\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(shown.contains(&format!("pong {id}")), "the game was played: {shown}");
    stop_all(&server);
    assert_eq!(server.signal("-TERM"), Some(0));

    let cities = std::fs::read_to_string(root().join("examples/three-cities.toml")).unwrap();
    let server = Server::start_on(dir.path(), &cities, &[]);
    let beginning =
        blocks("The walk").split("\n\n").next().unwrap().lines().take(3).collect::<Vec<_>>().join("\n");
    let shown = type_in(&format!("{beginning}\n{}", blocks("Cities")), &server, dir.path());
    assert_eq!(shown, "Frankfurt am Main\nTokyo\n");
    stop_all(&server);
    assert_eq!(server.signal("-TERM"), Some(0));
}

#[test]
fn a_container_reads_its_context_and_stops_itself() {
    let dir = tempfile::tempdir().unwrap();
    if !can_deploy(dir.path()) {
        return;
    }
    bring_image(dir.path());
    let server = Server::start_on(dir.path(), "", &[]);
    let app = json!({"name": "arena", "is_active": true, "image": ""});
    assert_eq!(server.call("POST", "/v1/app", &app.to_string()).0, 200);
    let version = json!({
        "name": "v1", "docker_repository": "localhost", "docker_image": "spawnpoint-demo",
        "docker_tag": env!("CARGO_PKG_VERSION"), "req_cpu": 128, "req_memory": 128,
        "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}],
    });
    assert_eq!(server.call("POST", "/v1/app/arena/version", &version.to_string()).0, 200);
    let user = json!({"user_type": "ip_address", "user_data": {"ip_address": "203.0.113.7"}});
    let request = json!({"application": "arena", "version": "v1", "users": [user]});
    let (_, deployed) = server.call("POST", "/v2/deployments", &request.to_string());
    let id = deployed["request_id"].as_str().unwrap().to_owned();
    let status = |wanted: &str| {
        eventually(wanted, || {
            let (_, status) = server.call("GET", &format!("/v1/status/{id}"), "");
            (status["current_status"] == wanted).then_some(status)
        })
    };
    let port = status("Status.READY")["ports"]["game"]["external"].as_u64().unwrap();
    let player = UdpSocket::bind("127.0.0.1:0").unwrap();
    player.connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    player.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let say = |words: &str| {
        let mut answer = [0; 4096];
        player.send(words.as_bytes()).unwrap();
        let length = player.recv(&mut answer).unwrap();
        text(&answer[..length])
    };
    let context = say("http-context");
    assert!(context.contains("200") && context.contains(&id), "{context}");
    // Its answer may come too late: the stop ends it within a millisecond.
    player.send(b"http-delete").unwrap();
    status("Status.TERMINATED");
    assert_eq!(server.signal("-TERM"), Some(0));
}
