//! `spawnpoint serve` and the commands that talk to it, as processes. The hosts are fake: what containers do is tested
//! elsewhere.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::process::{Server, eventually, http, run, text};

/// Makes an application with a version and deploys it; the deployment's id.
fn deploy(server: &Server) -> String {
    let app = json!({"name": "game", "is_active": true, "image": ""}).to_string();
    assert_eq!(server.call("POST", "/v1/app", &app).0, 200);
    let version = json!({
        "name": "v1", "docker_repository": "fake", "docker_image": "game", "docker_tag": "ok",
        "req_cpu": 128, "req_memory": 128, "ports": [{"name": "game", "port": 7777, "protocol": "UDP"}],
    });
    let (code, body) = server.call("POST", "/v1/app/game/version", &version.to_string());
    assert_eq!(code, 200, "{body}");
    let users = json!([{"user_type": "ip_address", "user_data": {"ip_address": "203.0.113.7"}}]);
    let request = json!({"application": "game", "version": "v1", "users": users}).to_string();
    let (code, body) = server.call("POST", "/v2/deployments", &request);
    assert_eq!(code, 202, "{body}");
    body["request_id"].as_str().unwrap().to_owned()
}

fn wait_for(server: &Server, id: &str, wanted: &str) {
    eventually(wanted, || {
        let (_, status) = server.call("GET", &format!("/v1/status/{id}"), "");
        (status["current_status"] == wanted).then_some(())
    });
}

#[test]
fn the_first_start_makes_a_token_that_only_its_owner_may_read_and_a_later_one_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert!(server.announced.contains("sqlite:data/spawnpoint.db"), "{}", server.announced);
    assert_eq!(server.call("GET", "/monitor", "").0, 200);
    assert_eq!(server.call("GET", "/v1/apps", "").0, 200);
    assert_eq!(http(server.address, "GET", "/v1/apps", "guess", "").0, 401);
    for name in ["admin-token", "master-key"] {
        let mode = std::fs::metadata(dir.path().join("data").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let token = server.token();
    assert_eq!(server.signal("-TERM"), Some(0));
    let server = Server::start(dir.path());
    assert_eq!(server.token(), token);
    assert_eq!(server.call("GET", "/v1/apps", "").0, 200);
}

#[test]
fn sigterm_ends_it_with_0_and_takes_its_note_away() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let note = dir.path().join("data/server.json");
    let running: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    assert_eq!(running["address"], server.address.to_string());
    let asked = tokio::time::Instant::now();
    assert_eq!(server.signal("-TERM"), Some(0));
    assert!(asked.elapsed().as_secs() < 10);
    assert!(!note.exists());
}

#[test]
fn a_token_from_the_environment_is_the_first_token() {
    let dir = tempfile::tempdir().unwrap();
    let given = "given-by-the-environment-0123456789";
    let server = Server::start_with(dir.path(), &[("SPAWNPOINT_ADMIN_TOKEN", given)]);
    assert_eq!(http(server.address, "GET", "/v1/apps", given, "").0, 200);
    assert!(!dir.path().join("data/admin-token").exists());
    assert!(!server.announced.contains(given), "a token of the environment is not shown");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path());
    let arguments = ["serve", "--config", "spawnpoint.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let second = run(&arguments, dir.path());
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use by another"), "{}", text(&second.stderr));
}

#[test]
fn tokens_are_made_and_revoked_beside_a_server_and_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let spawnpoint = |arguments: &[&str]| {
        let common = ["--config", "spawnpoint.toml", "--data-dir", "data"];
        let output = run(&[arguments, &common].concat(), dir.path());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let server = Server::start(dir.path());
    let secret = spawnpoint(&["token", "create", "--name", "ci", "--scope", "read", "--expires-in", "1d"]);
    let read = |server: &Server| http(server.address, "GET", "/v1/apps", secret.trim(), "").0;
    assert_eq!(read(&server), 200);
    let app = json!({"name": "x", "is_active": true, "image": ""}).to_string();
    assert_eq!(http(server.address, "POST", "/v1/app", secret.trim(), &app).0, 403);
    assert_eq!(server.signal("-TERM"), Some(0));

    let listed = spawnpoint(&["token", "list"]);
    let id = listed.lines().find(|line| line.contains(" ci")).unwrap().split(' ').next().unwrap().to_owned();
    assert!(!listed.contains(secret.trim()), "{listed}");
    assert_eq!(spawnpoint(&["token", "revoke", &id]), format!("token {id} is revoked\n"));
    assert!(spawnpoint(&["token", "list"]).contains("revoked 20"), "the day is shown");

    let server = Server::start(dir.path());
    assert_eq!(read(&server), 401);
    let again = run(&["token", "revoke", &id, "--data-dir", "data"], dir.path());
    assert_eq!(again.status.code(), Some(1), "there is nothing left to revoke");
}

#[test]
fn hosts_are_cordoned_and_drained_beside_a_server_and_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let host = |arguments: &[&str]| {
        let common = ["--config", "spawnpoint.toml", "--data-dir", "data"];
        let output = run(&[&["host"], arguments, &common].concat(), dir.path());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let said = |arguments: &[&str], wanted: &str| {
        let (code, said) = host(arguments);
        assert!(code == Some(0) && said.contains(wanted), "{arguments:?}: {code:?} {said}");
    };
    let server = Server::start(dir.path());
    let cordoned = || server.call("GET", "/spawnpoint/v1/hosts/here", "").1["cordoned"].clone();
    assert_eq!(cordoned(), false);
    said(&["list"], "open");
    said(&["cordon", "here"], "cordoned");
    assert_eq!(cordoned(), true);
    assert_eq!(server.signal("-TERM"), Some(0));

    said(&["list"], "cordoned, not answering");
    said(&["uncordon", "here"], "it is carried out when one does");
    said(&["drain", "here", "--stop"], "drained");
    said(&["delete", "here", "--at", "90m"], "drained");
    assert_eq!(host(&["drain", "here", "--wait", "1m"]).0, Some(1), "nobody is there to empty it");
    assert_eq!(host(&["cordon", "nobody"]).0, Some(1));
    for bad in [&["cordon", "a/b"][..], &["delete", "here", "--at", "soon"], &["drain"]] {
        assert_eq!(host(bad).0, Some(2), "{bad:?}");
    }
    let server = Server::start(dir.path());
    let (_, found) = server.call("GET", "/spawnpoint/v1/hosts/here", "");
    assert_eq!((&found["drain"], &found["drained"]), (&json!("wait"), &json!(true)));
    assert!(found["delete_schedule"]["uuid"].is_string());
    said(&["drain", "here", "--stop", "--wait", "1m"], "here is empty");
}

#[test]
fn after_kill_9_an_acknowledged_deployment_is_served_again_and_the_audit_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = deploy(&server);
    wait_for(&server, &id, "Status.READY");
    let (_, before) = server.call("GET", &format!("/v1/status/{id}"), "");
    server.signal("-KILL");

    let server = Server::start(dir.path());
    let (code, after) = server.call("GET", &format!("/v1/status/{id}"), "");
    assert_eq!((code, &after["current_status"]), (200, &json!("Status.READY")));
    assert_eq!((&after["ports"], &after["start_time"]), (&before["ports"], &before["start_time"]));
    let audit = || run(&["audit", "--config", "spawnpoint.toml", "--data-dir", "data"], dir.path());
    let found = audit();
    assert_eq!(found.status.code(), Some(0), "{}{}", text(&found.stdout), text(&found.stderr));
    assert!(text(&found.stdout).contains(", 0 violations"), "{}", text(&found.stdout));

    assert_eq!(server.call("DELETE", &format!("/v1/stop/{id}"), "").0, 200);
    wait_for(&server, &id, "Status.TERMINATED");
    assert_eq!(server.signal("-TERM"), Some(0));
    let found = audit();
    assert_eq!(found.status.code(), Some(0), "without a server: {}", text(&found.stderr));
}

#[test]
fn the_note_of_a_dead_server_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.signal("-KILL");
    // Its number belongs to another process by now: this one.
    let note = json!({"pid": std::process::id(), "address": "127.0.0.1:1"}).to_string();
    std::fs::write(dir.path().join("data/server.json"), note).unwrap();
    let listed = run(&["token", "list", "--config", "spawnpoint.toml", "--data-dir", "data"], dir.path());
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
}

#[test]
fn audit_of_nothing_fails_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["audit", "--data-dir", "data"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--data-dir"), "{}", text(&output.stderr));
    assert!(!dir.path().join("data").exists());
}

#[test]
fn webhooks_that_were_given_up_are_listed_and_the_signing_secret_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let listed = run(&["webhook", "list-dead", "--data-dir", "data"], dir.path());
    assert_eq!(text(&listed.stdout).lines().last(), Some("0 in all"), "{}", text(&listed.stderr));
    let replayed = run(&["webhook", "replay", "msg_none", "--data-dir", "data"], dir.path());
    assert_eq!(replayed.status.code(), Some(1));
    let secret = |dir: &std::path::Path| text(&run(&["webhook", "secret", "--data-dir", "data"], dir).stdout);
    let shown = secret(dir.path());
    assert!(shown.starts_with("whsec_") && shown.len() > 40, "{shown}");
    assert_eq!(server.signal("-TERM"), Some(0));
    assert_eq!(secret(dir.path()), shown, "it stays the same");
}

#[test]
fn migrate_says_from_where_to_where() {
    let dir = tempfile::tempdir().unwrap();
    let migrate = || text(&run(&["migrate", "--data-dir", "data"], dir.path()).stdout);
    assert!(migrate().contains("from schema version 0"));
    assert!(migrate().contains("already"));
}

#[test]
fn a_host_that_was_never_seen_and_does_not_answer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let site = "[[site]]\nname = \"s\"\ncity = \"S\"\nlatitude = 1.0\nlongitude = 2.0\n";
    let host = "[[site.host]]\nname = \"away\"\nendpoint = \"unix:///no/such/docker.sock\"\n";
    std::fs::write(dir.path().join("away.toml"), format!("{site}{host}")).unwrap();
    let output = run(&["serve", "--config", "away.toml", "--listen", "127.0.0.1:0"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    for part in ["host away", "unix:///no/such/docker.sock", "start its engine"] {
        assert!(message.contains(part), "{message}");
    }
}
