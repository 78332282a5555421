//! A control plane that is away for a while, in order or not, and what happened meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::player::{Prober, ask_udp, tell_udp};
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, server};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    a_sigterm_leaves_matches_running_and_what_ended_meanwhile_is_found_out_at_the_next_start,
);

fn a_sigterm_leaves_matches_running_and_what_ended_meanwhile_is_found_out_at_the_next_start(
    runtime: &Runtime,
) {
    let (mut server, installation) = runtime.start();
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/")});
    let hooks = json!({"webhook_on_ready": hook, "webhook_on_error": hook, "webhook_on_terminated": hook});
    server.api.describe("arena", "v1", runtime.image(), &json!({"restart_policy": "never"}));
    let ids: Vec<String> = (0..3).map(|_| server.api.deploy("arena", "v1", &hooks)).collect();
    let ports: Vec<u16> = ids.iter().map(|id| external(&server.api.wait_for(id, "READY"), "game")).collect();
    let [plays_on, ends, vanishes] = [&ids[0], &ids[1], &ids[2]];
    ids.iter().for_each(|id| drop(receiver.wait_for(id, "READY")));
    let player = Prober::start(ports[0]);

    let started = Instant::now();
    assert_eq!(server.terminate().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(installation.containers().len(), 3, "a match was ended with the server");
    tell_udp(ports[1], "exit 0");
    installation.remove_container(vanishes);
    eventually("only one match is left", PATIENCE, || {
        (installation.containers().iter().filter(|container| container.is_running).count() == 1).then_some(())
    });
    server.restart();

    let ended = server.api.wait_for(ends, "TERMINATED");
    assert_eq!(ended["error"], json!(false));
    let failed = eventually("the vanished container is noticed", PATIENCE, || {
        Some(server.api.status(vanishes)).filter(|status| status["current_status"] == "Status.ERROR")
    });
    assert!(text(&failed, "error_detail").contains("gone"), "{failed}");
    let _ = receiver.wait_for(ends, "TERMINATED");
    let _ = receiver.wait_for(vanishes, "ERROR");
    assert_eq!(text(&server.api.status(plays_on), "current_status"), "Status.READY");
    assert_eq!(ask_udp(ports[0], "ping"), format!("pong {plays_on}"));
    let report = player.finish();
    assert!(report.lost.is_empty(), "{report:?}");
    server.api.stop(plays_on);
    server.api.stop(vanishes);
    assert_eq!(installation.containers(), []);
    server.audit();
}

#[test]
fn twenty_stops_at_once_are_one_stop_whatever_the_deployment_is_doing() {
    let mut server = Server::start(server::fake);
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/")});
    let hooks = json!({"webhook_on_ready": hook, "webhook_on_error": hook, "webhook_on_terminated": hook});
    // At once, while it starts, while it waits for its ports, while it is READY, while it is on its way out, in error.
    let games = ["ok", "start-delay-600ms", "listen-delay-600ms", "ok", "term-delay-600ms", "start-error"];
    let mut expected = Vec::new();
    for (number, game) in games.iter().enumerate() {
        let version = format!("v{number}");
        server.api.describe("arena", &version, ("game", game), &json!({}));
        let id = server.api.deploy("arena", &version, &hooks);
        if number == 3 || number == 4 {
            let _ = server.api.wait_for(&id, "READY");
        }
        let stops: Vec<_> = (0..20)
            .map(|_| {
                let (api, path) = (server.api.clone(), format!("/v1/stop/{id}"));
                std::thread::spawn(move || api.delete(&path).status)
            })
            .collect();
        for stop in stops {
            let status = stop.join().unwrap();
            assert!(matches!(status, 200 | 202 | 410), "{game}: {status}");
        }
        let _ = server.api.wait_for(&id, "TERMINATED");
        assert_eq!(server.api.delete(&format!("/v1/stop/{id}")).status, 410);
        let before = if *game == "start-error" { "ERROR" } else { "READY" };
        expected.extend([(id.clone(), before.to_owned()), (id, "TERMINATED".to_owned())]);
    }
    for (id, event) in &expected {
        let _ = receiver.wait_for(id, event);
    }
    let came: Vec<_> = receiver.received().iter().map(spawnpoint_compat::webhooks::Received::about).collect();
    assert_eq!(came.len(), expected.len(), "{came:?}");
    // A restart invents none. One whose outcome was not stored yet may come once more, with the id that it had.
    server.kill();
    server.restart();
    let received = receiver.received();
    let messages: HashSet<_> = received.iter().map(|received| received.header("webhook-id")).collect();
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    server.audit();
}

#[test]
fn two_servers_on_one_directory_are_one_too_many() {
    let server = Server::start(server::fake);
    let second = server.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.code.is_some_and(|code| code != 0), "{}", second.text);
    assert!(second.text.contains("spawnpoint.db"), "{}", second.text);
    assert_eq!(server.api.get("/monitor").status, 200);
}
