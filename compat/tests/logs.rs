//! Logs of real containers: how a game ended, what it wrote, live and afterwards, and what floods do to others.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::events::{Event, Events};
use spawnpoint_compat::player::{Prober, Report, ask_udp};
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, long, say};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    how_a_game_ended_and_what_it_wrote_are_told_long_after_its_container_is_gone,
    a_game_that_takes_too_much_memory_is_started_again_and_its_end_is_called_oom,
    a_game_that_crashes_again_and_again_ends_in_error_and_one_follower_sees_it_all,
    the_restart_policy_is_kept_by_real_containers,
    a_log_is_followed_line_by_line_resumed_and_ended_with_the_server,
    whatever_floods_a_log_answers_are_small_and_stops_are_quick,
    three_flooders_beside_twenty_games_fill_no_disk_and_disturb_nobody,
);

/// The largest answer with a log.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Ends everything and looks for violations.
fn close(server: &Server, installation: &Installation) {
    for row in server.api.list() {
        server.api.stop(row["request_id"].as_str().unwrap());
    }
    assert_eq!(installation.containers(), []);
    server.audit();
}

/// Deploys a game of this mode and waits until it is ready.
fn game(server: &Server, runtime: &Runtime, mode: &str, version: &Value) -> (String, u16) {
    let name =
        format!("v{:08x}", mode.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte)));
    let mut fields = json!({"envs": [{"key": "GAME_MODE", "value": mode, "is_hidden": false}]});
    for (key, value) in version.as_object().into_iter().flatten() {
        fields[key] = value.clone();
    }
    server.api.describe("arena", &name, runtime.image(), &fields);
    another(server, &name)
}

/// Deploys a version and waits until it is ready.
fn another(server: &Server, version: &str) -> (String, u16) {
    let id = server.api.deploy("arena", version, &json!({}));
    let port = external(&server.api.wait_for(&id, "READY"), "game");
    (id, port)
}

fn container_logs(server: &Server, id: &str) -> Value {
    let answer = server.api.get(&format!("/v1/deployment/{id}/container-logs"));
    assert!(answer.body.len() <= ANSWER_BYTES_MAX, "{} bytes", answer.body.len());
    answer.expect(200)
}

fn record(server: &Server, id: &str) -> Value {
    server.api.get(&format!("/v2/deployments/{id}/events")).expect(200)
}

fn kinds(record: &Value) -> Vec<&str> {
    record["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

fn says(part: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.data["log"].as_str().is_some_and(|line| line.contains(part))
}

fn how_a_game_ended_and_what_it_wrote_are_told_long_after_its_container_is_gone(runtime: &Runtime) {
    let (mut server, installation) = runtime.start();
    let (id, port) = game(&server, runtime, "term-exit:7,escapes", &json!({}));
    let _ = ask_udp(port, "log-error something went wrong");
    let _ = ask_udp(port, "log-bytes");
    // What a game says is read from its pipe a moment later.
    let live = eventually("it is in the log", PATIENCE, || {
        let live = text(&container_logs(&server, &id), "logs");
        (live.contains("game: listens on 7777/udp") && live.contains("something went wrong")).then_some(live)
    });
    server.api.stop(&id);
    assert_eq!(installation.containers(), []);

    let kept = container_logs(&server, &id);
    let log = text(&kept, "logs");
    assert!(log.starts_with(&live) && log.ends_with("game: signal 15, leaving\ngame: exit 7\n"), "{log:?}");
    assert!(log.contains("\u{1b}[31mred") && log.contains("\u{fffd}"), "escapes as they are, bytes replaced");
    assert_eq!((&kept["crash_logs"], &kept["crash_data"]), (&Value::Null, &Value::Null));
    let ndjson = server.api.get(&format!("/v1/deployment/{id}/container-logs?format=ndjson")).expect(200);
    let lines: Vec<Value> =
        text(&ndjson, "logs").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = lines.iter().find(|line| line["log"] == "something went wrong").unwrap();
    assert!(error["stream"] == "stderr" && text(error, "time").ends_with('Z'), "{error}");

    let record = record(&server, &id);
    assert_eq!(record["exit"], json!({"code": 7, "oom": false, "message": "ended with exit code 7"}));
    let expected = ["placed", "starting", "ready", "stop_requested", "stopping", "terminated"];
    assert_eq!(kinds(&record), expected, "{record:#}");
    assert!(record["placement"][0].as_str().unwrap().starts_with("host-1 (here): chosen"), "{record:#}");

    // The same for people, from the server and from its database, with nothing that moves their cursor.
    let asked = server.run(&["inspect", &id]);
    server.terminate();
    let read = server.run(&["inspect", &id]);
    for (how, outcome) in [("server", asked), ("database", read)] {
        assert_eq!(outcome.code, Some(0), "{how}: {}", outcome.text);
        for part in [
            "ended with exit code 7",
            "stop_requested",
            "host-1",
            "game: exit 7",
            "\\u{1b}[31mred",
            "\\u{9b}1A",
        ] {
            assert!(outcome.text.contains(part), "{how}: no {part:?} in {}", outcome.text);
        }
        let controls: Vec<char> = outcome.text.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(controls.is_empty(), "{how}: {controls:?}");
    }
    let json = server.run(&["inspect", &id, "--json"]).text;
    let json: Value = serde_json::from_str(json.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!((&json["record"], &json["container_logs"]["logs"]), (&record, &kept["logs"]));
    assert_eq!(server.run(&["inspect", "000000000000"]).code, Some(1));
    server.restart();
    assert_eq!(container_logs(&server, &id), kept);
    close(&server, &installation);
}

fn a_game_that_takes_too_much_memory_is_started_again_and_its_end_is_called_oom(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let (id, _) = game(&server, runtime, "oom-after:1500", &json!({"restart_policy": "on_failure"}));
    // Its log is kept a moment before its next start is decided on.
    let crashed = eventually("it was killed for its memory, and is to start again", PATIENCE, || {
        Some(container_logs(&server, &id)).filter(|logs| logs["crash_data"]["restart_count"] == 1)
    });
    assert_eq!(crashed["crash_data"], json!({"exit_code": 137, "message": "OOM killed", "restart_count": 1}));
    assert!(text(&crashed, "crash_logs").contains("game: eating memory"), "{crashed}");
    assert_eq!(text(&server.api.status(&id), "current_status"), "Status.READY", "while it is started again");
    eventually("it runs again", PATIENCE, || {
        text(&container_logs(&server, &id), "logs").contains("game: listens").then_some(())
    });
    let exit = &record(&server, &id)["exit"];
    assert_eq!((&exit["oom"], &exit["message"]), (&json!(true), &json!("OOM killed")));
    close(&server, &installation);
}

fn a_game_that_crashes_again_and_again_ends_in_error_and_one_follower_sees_it_all(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let (id, _) = game(&server, runtime, "exit-after:800:3", &json!({"restart_policy": "on_failure"}));
    let mut events = Events::follow(&server.api, &id, None);
    let seen = events.until("the end", |event| event.name == "end");
    assert_eq!(seen.last().unwrap().data, json!({"status": "Status.ERROR"}));
    assert_eq!(events.next(), None);
    assert_eq!(seen.iter().filter(|event| event.name == "restart").count(), 5);
    assert_eq!(seen.iter().filter(|event| says("game: exit 3")(event)).count(), 6);
    let status = server.api.status(&id);
    assert!(text(&status, "error_detail").contains("too often (last: exit code 3)"), "{status}");
    let logs = container_logs(&server, &id);
    assert_eq!(
        logs["crash_data"],
        json!({"exit_code": 3, "message": "ended with exit code 3", "restart_count": 5})
    );
    let record = record(&server, &id);
    assert_eq!((&record["restarts"], &record["exit"]["code"]), (&json!(5), &json!(3)));
    close(&server, &installation);
}

fn the_restart_policy_is_kept_by_real_containers(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    for (policy, code, runs_again) in
        [("always", 0, true), ("on_failure", 0, false), ("on_failure", 9, true), ("never", 9, false)]
    {
        let mode = format!("exit-after:700:{code},log:{}", policy.len());
        let (id, _) = game(&server, runtime, &mode, &json!({"restart_policy": policy}));
        let logs = eventually("its exit is noticed", PATIENCE, || {
            let logs = container_logs(&server, &id);
            (logs["crash_data"]["restart_count"] == json!(u8::from(runs_again))).then_some(logs)
        });
        assert_eq!(logs["crash_data"]["exit_code"], json!(code), "{policy}");
        if !runs_again {
            let _ = server.api.wait_for(&id, "TERMINATED");
        }
        assert!(text(&logs, "crash_logs").ends_with(&format!("game: exit {code}\n")), "{policy}: {logs}");
        server.api.stop(&id);
    }
    close(&server, &installation);
}

fn a_log_is_followed_line_by_line_resumed_and_ended_with_the_server(runtime: &Runtime) {
    let (mut server, installation) = runtime.start();
    let (id, port) = game(&server, runtime, "escapes", &json!({}));
    let mut events = Events::follow(&server.api, &id, None);
    let first = events.until("what was written before", says("listens on 7777/udp"));
    assert!(first.iter().any(|event| event.data["log"].as_str().unwrap().contains('\u{202e}')), "{first:?}");
    let asked = Instant::now();
    let _ = ask_udp(port, "log-error live");
    let live = events.until("a new line", says("live"));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let live = live.last().unwrap();
    assert_eq!((live.name.as_str(), &live.data["stream"]), ("stderr", &json!("stderr")));
    // Whoever comes back goes on behind what he has seen.
    let _ = ask_udp(port, "log 1");
    let resumed = Events::follow(&server.api, &id, live.id.as_deref()).next().unwrap();
    assert_eq!(resumed.data["log"], "game: line 1");

    let player = Prober::start(port);
    let ended = std::thread::spawn(move || events.drain());
    let started = Instant::now();
    assert_eq!(server.terminate().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let _ = ended.join().unwrap();
    server.restart();
    let mut events = Events::follow(&server.api, &id, None);
    let stopped = std::thread::spawn({
        let (api, id) = (server.api.clone(), id.clone());
        move || api.stop(&id)
    });
    let last = events.until("the end", |event| event.name == "end");
    assert_eq!(last.last().unwrap().data, json!({"status": "Status.TERMINATED"}));
    assert!(last.iter().any(says("game: exit 0")), "{last:?}");
    stopped.join().unwrap();
    let _ = player.finish();
    close(&server, &installation);
}

fn whatever_floods_a_log_answers_are_small_and_stops_are_quick(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let megabytes = if long() { 100 } else { 30 };
    let modes =
        [format!("oneline:{megabytes}"), "binary:8".to_owned(), "escapes:8".to_owned(), "flood:8".to_owned()];
    let games: Vec<String> = modes.iter().map(|mode| game(&server, runtime, mode, &json!({})).0).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        for id in &games {
            let asked = Instant::now();
            assert!(!text(&container_logs(&server, id), "logs").is_empty());
            let plain = server.api.get(&format!("/v2/deployments/{id}/logs"));
            assert!(
                plain.status == 200
                    && plain.body.len() <= ANSWER_BYTES_MAX
                    && std::str::from_utf8(&plain.body).is_ok()
            );
            slowest = slowest.max(asked.elapsed());
        }
    }
    for id in &games[1..] {
        // What is not UTF-8 takes three bytes where it took one.
        let is_short =
            |event: &Event| event.data["log"].as_str().is_some_and(|line| line.len() <= 3 * 16 * 1024);
        assert_eq!(Events::follow(&server.api, id, None).take(200).filter(is_short).count(), 200);
    }
    for id in &games {
        let asked = Instant::now();
        server.api.stop(id);
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        let logs = container_logs(&server, id);
        let shown = text(&logs, "logs").len();
        assert!(shown > 100_000, "{shown} bytes are kept");
        assert!(!kinds(&record(&server, id)).contains(&"logs_not_kept"), "{id}");
        say(&format!("stopped in {:?}, {shown} bytes shown", asked.elapsed()));
    }
    say(&format!("slowest answer while all wrote: {slowest:?}"));
    close(&server, &installation);
}

/// Twenty games with a player each, for some seconds.
fn watch(ports: &[u16], time: Duration) -> Vec<Report> {
    let players: Vec<Prober> = ports.iter().map(|port| Prober::start(*port)).collect();
    std::thread::sleep(time);
    players.into_iter().map(Prober::finish).collect()
}

/// The p99 of all answers together, and how many were lost.
fn summary(reports: &[Report]) -> (Duration, usize, u64) {
    let all =
        Report { answers: reports.iter().flat_map(|r| r.answers.clone()).collect(), ..Report::default() };
    (all.p99(), reports.iter().map(|r| r.lost.len()).sum(), reports.iter().map(|r| r.sent).sum())
}

fn three_flooders_beside_twenty_games_fill_no_disk_and_disturb_nobody(runtime: &Runtime) {
    if !long() {
        return say("skipped: SPAWNPOINT_LONG=1 is not set");
    }
    let (server, installation) = runtime.start();
    server.api.describe("arena", "calm", runtime.image(), &json!({}));
    let ports: Vec<u16> = (0..20).map(|_| another(&server, "calm").1).collect();
    let calm = summary(&watch(&ports, Duration::from_secs(30)));
    let flooders: Vec<String> = ["binary:50", "escapes:50", "oneline:100,flood:50"]
        .map(|mode| game(&server, runtime, mode, &json!({"req_cpu": 256})).0)
        .to_vec();
    // One who follows and takes nothing of it: he is dropped, and costs nothing.
    let stalled = Events::follow(&server.api, &flooders[0], None);
    let seconds =
        std::env::var("SPAWNPOINT_FLOOD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let watched = std::thread::spawn(move || watch(&ports, Duration::from_secs(seconds)));
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut slowest, mut largest) = (Duration::ZERO, 0);
    while Instant::now() < until {
        for id in &flooders {
            let asked = Instant::now();
            let _ = container_logs(&server, id);
            slowest = slowest.max(asked.elapsed());
            largest = largest.max(installation.log_bytes(id));
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    let flooded = summary(&watched.join().unwrap());
    say(&format!("tick p99 (lost of sent): calm {calm:?}, with three flooders {flooded:?}"));
    say(&format!("slowest log answer {slowest:?}; largest log on disk {} MB", largest / 1_000_000));
    assert!(largest < 60_000_000, "{largest} bytes of one log on disk");
    assert!(flooded.1 <= calm.1 + 5, "{} packets were lost", flooded.1);
    let _ = stalled.drain();
    for id in &flooders {
        server.api.stop(id);
        assert!(text(&container_logs(&server, id), "logs").len() > 100_000);
    }
    close(&server, &installation);
}
