//! Logs of real containers into a real S3 server (`s3s-fs`), and files out of it into them: when it is well, down, slow,
//! unwilling and back; across `kill -9`; and where the secret could have come to light.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

#[path = "../../crates/engine/tests/it/bucket.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod bucket;

use std::path::Path;
use std::time::Duration;

use bucket::{KEY, Mood, S3, SECRET};
use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::http::{request, send_raw};
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, say};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    logs_of_containers_arrive_in_the_bucket_as_text_and_as_json_and_the_secret_is_nowhere,
    a_bucket_that_is_slow_or_down_delays_no_stop_and_the_log_arrives_when_it_is_back,
    the_log_of_a_crash_is_kept_beside_that_of_the_end,
    files_of_a_bucket_are_in_the_container_when_it_starts,
    what_cannot_be_put_into_a_container_fails_the_deployment_and_says_why,
);

const STORAGES: &str = "/v1/storage/endpoint";

/// A server on this runtime, and a bucket.
fn world(runtime: &Runtime) -> (Server, Installation, S3) {
    let (server, installation) = runtime.start();
    (server, installation, S3::start())
}

/// Ends everything and looks for violations.
fn close(server: &Server, installation: &Installation) {
    for row in server.api.list() {
        server.api.stop(row["request_id"].as_str().unwrap());
    }
    assert_eq!(installation.containers(), []);
    server.audit();
}

fn make_storage(server: &Server, s3: &S3, name: &str, format: &str) {
    let body = json!({
        "name": name, "access_key_id": KEY, "secret_access_key": SECRET, "bucket": "bucket",
        "endpoint": s3.endpoint(), "output_format": format,
    });
    let made = server.api.post(STORAGES, &body);
    let _ = made.expect(200);
    assert!(!made.text().contains(SECRET));
}

/// Makes a pull profile of the storage `text` and links it to a version of `arena`.
fn pull(server: &Server, version: &str, name: &str, source: &str, kind: &str, destination: &str) {
    let body = json!({"name": name, "source": source, "source_type": kind, "destination": destination});
    let _ = server.api.post(&format!("{STORAGES}/text/pull-profile"), &body).expect(200);
    let link = format!("{STORAGES}/text/pull-profile/{name}/app/arena/version/{version}");
    let _ = server.api.call("PUT", &link, None).expect(200);
}

fn running(server: &Server, version: &str, fields: &Value) -> (String, u16) {
    let id = server.api.deploy("arena", version, fields);
    let port = external(&server.api.wait_for(&id, "READY"), "game");
    (id, port)
}

/// Stops a deployment with this choice; tells how long it took to end.
fn stop(server: &Server, id: &str, choice: &str) -> Duration {
    let asked = Instant::now();
    let _ = server.api.delete(&format!("/v1/stop/{id}{choice}")).expect(200);
    let _ = server.api.wait_for(id, "TERMINATED");
    asked.elapsed()
}

/// Waits until the second container of a deployment answers on this port.
fn until_restarted(installation: &Installation, port: u16) {
    eventually("the second container runs", PATIENCE, || {
        installation.containers().iter().any(|one| one.is_running && one.attempt == 2).then_some(())
    });
    // Its process listens a moment after it runs, and datagrams before that are lost.
    eventually("the second container answers", PATIENCE, || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.send_to(b"ping", ("127.0.0.1", port)).unwrap();
        socket.recv(&mut [0; 64]).ok().map(drop)
    });
}

fn object(s3: &S3, key: &str) -> String {
    let bytes = eventually(&format!("{key} is in the bucket"), PATIENCE, || s3.object(key));
    String::from_utf8(bytes).unwrap()
}

/// Every file below a directory that holds the text.
fn holding(dir: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding(&path, needle, found);
        } else if std::fs::read(&path).is_ok_and(|b| b.windows(needle.len()).any(|w| w == needle.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
}

fn logs_of_containers_arrive_in_the_bucket_as_text_and_as_json_and_the_secret_is_nowhere(runtime: &Runtime) {
    let (server, installation, s3) = world(runtime);
    make_storage(&server, &s3, "text", "TEXT");
    make_storage(&server, &s3, "json", "NDJSON");
    server.api.describe("arena", "v1", runtime.image(), &json!({"endpoint_storage": "text"}));

    let (as_text, port) = running(&server, "v1", &json!({}));
    assert_eq!(ask_udp(port, "log 200"), "logged");
    assert_eq!(ask_udp(port, "log-error a line of its own"), "logged");
    let took = stop(&server, &as_text, "");
    let log = object(&s3, &format!("arena/v1/{as_text}/container.log"));
    assert!(log.contains("game: line 200\n") && log.contains("a line of its own\n"), "{log}");
    assert!(log.contains("game: signal 15, leaving\n"), "the end is missing: {log}");

    let (as_json, port) = running(&server, "v1", &json!({}));
    assert_eq!(ask_udp(port, "log-error of the \"other\" stream"), "logged");
    stop(&server, &as_json, "?container_log_storage=json");
    let log = object(&s3, &format!("arena/v1/{as_json}/container.ndjson"));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["stream"] == "stderr").unwrap();
    assert_eq!(line["log"], "of the \"other\" stream");
    assert!(lines.iter().all(|line| line["time"].as_str().is_some_and(|time| time.ends_with('Z'))), "{log}");

    let (skipped, _) = running(&server, "v1", &json!({}));
    stop(&server, &skipped, "?container_log_storage=false");
    let (unknown, _) = running(&server, "v1", &json!({}));
    stop(&server, &unknown, "?container_log_storage=nobody");
    for id in [skipped, unknown] {
        assert_eq!(s3.object(&format!("arena/v1/{id}/container.log")), None);
    }
    say(&format!("a stop with an upload took {} ms", took.as_millis()));

    let mut found = Vec::new();
    holding(&server.data_dir(), SECRET, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(!server.log().contains(SECRET) && !server.log().contains("X-Amz-Signature"));
    for path in ["/v1/storage/endpoints", "/v1/storage/endpoint/text"] {
        assert!(!server.api.get(path).text().contains(SECRET));
    }
    close(&server, &installation);
}

fn a_bucket_that_is_slow_or_down_delays_no_stop_and_the_log_arrives_when_it_is_back(runtime: &Runtime) {
    let (mut server, installation, s3) = world(runtime);
    make_storage(&server, &s3, "text", "TEXT");
    server.api.describe("arena", "v1", runtime.image(), &json!({"endpoint_storage": "text"}));
    let mut ids = Vec::new();
    for mood in [Mood::Hangs, Mood::Refuses(500, "InternalError"), Mood::Refuses(403, "AccessDenied")] {
        s3.set(mood);
        let (id, port) = running(&server, "v1", &json!({}));
        assert_eq!(ask_udp(port, "log 3"), "logged");
        let took = stop(&server, &id, "");
        assert!(took < Duration::from_secs(10), "a stop took {took:?} while the bucket was {mood:?}");
        say(&format!("{mood:?}: a stop took {} ms", took.as_millis()));
        ids.push(id);
    }
    eventually("each was tried", PATIENCE, || (s3.calls() >= 3).then_some(()));
    server.kill();
    server.restart();
    s3.set(Mood::Well);
    for id in ids {
        let log = object(&s3, &format!("arena/v1/{id}/container.log"));
        assert!(log.contains("game: line 3\n"), "{log}");
    }
    let spool = server.data_dir().join("spool");
    eventually("the spool is empty", PATIENCE, || {
        (std::fs::read_dir(&spool).unwrap().count() == 1).then_some(())
    });
    close(&server, &installation);
}

fn the_log_of_a_crash_is_kept_beside_that_of_the_end(runtime: &Runtime) {
    let (server, installation, s3) = world(runtime);
    make_storage(&server, &s3, "text", "TEXT");
    server.api.describe("arena", "v1", runtime.image(), &json!({"endpoint_storage": "text"}));
    let (id, port) = running(&server, "v1", &json!({}));
    spawnpoint_compat::player::tell_udp(port, "exit 3");
    let crash = object(&s3, &format!("arena/v1/{id}/crash.log"));
    assert!(crash.contains("game: exit 3\n"), "{crash}");
    until_restarted(&installation, port);
    stop(&server, &id, "");
    let end = object(&s3, &format!("arena/v1/{id}/container.log"));
    assert!(end.contains("game: started") && !end.contains("game: exit 3\n"), "{end}");
    close(&server, &installation);
}

fn files_of_a_bucket_are_in_the_container_when_it_starts(runtime: &Runtime) {
    let (server, installation, s3) = world(runtime);
    make_storage(&server, &s3, "text", "TEXT");
    let show = json!({"arguments": "show:/usr/share/configs/config.cfg", "endpoint_storage": "text"});
    server.api.describe("arena", "v1", runtime.image(), &show);
    s3.put("config.cfg", b"speed=1");
    s3.put("maps/a.map", b"map A");
    s3.put("maps/deep er/b.map", "map \u{fc}".as_bytes());
    pull(&server, "v1", "config", "/bucket/config.cfg", "File", "/usr/share/configs");
    pull(&server, "v1", "maps", "maps", "Folder", "/data/maps");
    let (id, port) = running(&server, "v1", &json!({}));
    assert_eq!(ask_udp(port, "read /usr/share/configs/config.cfg"), "speed=1");
    assert_eq!(ask_udp(port, "read /data/maps/a.map"), "map A");
    assert_eq!(ask_udp(port, "read /data/maps/deep er/b.map"), "map \u{fc}");
    // A crash is followed by a container that has them as well, as they are in the bucket by then.
    s3.put("config.cfg", b"speed=2");
    spawnpoint_compat::player::tell_udp(port, "exit 3");
    until_restarted(&installation, port);
    assert_eq!(ask_udp(port, "read /usr/share/configs/config.cfg"), "speed=2");
    stop(&server, &id, "");
    let log = object(&s3, &format!("arena/v1/{id}/container.log"));
    assert!(log.contains("configs/config.cfg holds speed=2"), "{log}");
    close(&server, &installation);
}

fn what_cannot_be_put_into_a_container_fails_the_deployment_and_says_why(runtime: &Runtime) {
    let (server, installation, s3) = world(runtime);
    make_storage(&server, &s3, "text", "TEXT");
    s3.put("a.cfg", b"x");
    // The game itself is a file, so nothing can be put below it.
    for (version, source, destination, why) in [
        ("protected", "a.cfg", "/etc/game", "/etc is protected"),
        ("unwritable", "a.cfg", "/game", "cannot be put into the container"),
        ("absent", "none.cfg", "/data", "404 (NoSuchKey)"),
    ] {
        server.api.describe("arena", version, runtime.image(), &json!({}));
        pull(&server, version, version, source, "File", destination);
        let id = server.api.deploy("arena", version, &json!({}));
        let status = eventually("it is in error", PATIENCE, || {
            let status = server.api.status(&id);
            (status["current_status"] == "Status.ERROR").then_some(status)
        });
        let detail = text(&status, "error_detail");
        assert!(detail.contains(why), "{version}: {detail}");
        say(&format!("{version}: {detail}"));
    }
    let bad = request("GET", "/bucket/a.cfg", &[], None);
    assert_eq!(send_raw(s3.address, &bad).unwrap().status, 403, "the bucket is open to anybody");
    close(&server, &installation);
}
