//! A bulk stop of a thousand deployments while others are deployed: all end in time, each is announced exactly once, and
//! whoever deploys meanwhile is served as before. The times are compared with `SPAWNPOINT_LONG=1` only, over three rounds;
//! the counts always.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::text;
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::webhooks::{Received, Receiver};
use spawnpoint_compat::{Api, PATIENCE, Server, eventually, long, say};
use tokio::time::Instant;

/// Deployments that are stopped at one stroke.
const MANY: usize = 1000;
/// What they have in common.
const TAG: &str = "old season";
/// Clients that deploy at one time, and their pause between two deployments: about as often as a token may.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(90);
/// Hosts; a host has ports for nearly 400 deployments, and a port rests for a minute before it is given out again.
const HOSTS: usize = 16;

/// Enough fake hosts for everything that these tests deploy.
fn hosts(ports: &Ports) -> String {
    let site = "[[site]]\nname = \"here\"\ncity = \"Montreal\"\ncountry = \"Canada\"\ncontinent = \"North America\"\n\
                latitude = 45.5\nlongitude = -73.57\n";
    let host = |number| {
        format!(
            "[[site.host]]\nname = \"host-{number}\"\ndriver = \"fake\"\nport_range = \"{}\"\n\
             capacity = {{ cpu_units = 262144, memory_mib = 262144 }}\n",
            ports.games(0, 1)
        )
    };
    format!("{site}{}", (0..HOSTS).map(host).collect::<String>())
}

/// Deploys so many at one time; their ids.
fn deploy_many(api: &Api, fields: &Value) -> BTreeSet<String> {
    let share = || (0..MANY / CLIENTS).map(|_| api.deploy("arena", "v1", fields)).collect::<Vec<_>>();
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(share)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), MANY);
    ids
}

/// Deploys until it is told to end, or so often; how long each answer took.
fn deploy_on(api: &Api, end: &AtomicBool, times: usize) -> Vec<Duration> {
    let one = || {
        std::thread::sleep(PAUSE);
        let started = Instant::now();
        let _ = api.deploy("arena", "v1", &json!({"tags": ["new season"]}));
        started.elapsed()
    };
    let client =
        || (0..times).take_while(|_| !end.load(Ordering::Relaxed)).map(|_| one()).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// How many deployments that have not ended satisfy a list query.
fn count(api: &Api, filters: &Value) -> u64 {
    let query = spawnpoint_compat::http::encode(&json!({ "filters": filters }).to_string());
    api.get(&format!("/v1/deployments?limit=1&query={query}")).expect(200)["total_count"].as_u64().unwrap()
}

fn tagged() -> Value {
    json!({"field": "tags", "operator": "eq", "value": TAG})
}

fn ready() -> Value {
    json!({"field": "status", "operator": "eq", "value": "ready"})
}

fn percentile(mut times: Vec<Duration>, hundredths: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * hundredths / 100).min(times.len() - 1)).copied().unwrap_or_default()
}

/// One thousand, stopped at one stroke: the 99th percentile of the time that a deploy took before and meanwhile.
fn round(server: &Server, receiver: &Receiver) -> (Duration, Duration) {
    let api = &server.api;
    let hook = json!({"url": receiver.url("/ended")});
    let before = receiver.received().len();
    let ids = deploy_many(api, &json!({"tags": [TAG, "ranked"], "webhook_on_terminated": hook}));
    eventually("all are ready", PATIENCE, || {
        (count(api, &json!([tagged(), ready()])) == MANY as u64).then_some(())
    });
    let idle = deploy_on(api, &AtomicBool::new(false), if long() { 100 } else { 5 });
    let quiet = json!([{"field": "tags", "operator": "eq", "value": "new season"}, {"field": "status", "operator": "neq", "value": "ready"}]);
    eventually("the others are ready", PATIENCE, || (count(api, &quiet) == 0).then_some(()));

    let end = AtomicBool::new(false);
    let (busy, answered, ended) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| deploy_on(api, &end, usize::MAX));
        let started = Instant::now();
        let filters = json!([
            {"field": "deployment_tags", "filter_type": "all", "values": ["ranked", TAG]},
            {"field": "deployment_tags", "filter_type": "not", "values": ["new season"]},
        ]);
        let stopped = api.post("/v1/deployments/bulk-stop", &json!({ "filters": filters })).expect(202);
        let answered = started.elapsed();
        let named = stopped["processable"].as_array().unwrap();
        assert_eq!(named.iter().map(|item| text(item, "request_id")).collect::<BTreeSet<_>>(), ids);
        eventually("all have ended", Duration::from_secs(60), || {
            (count(api, &json!([tagged()])) == 0).then_some(())
        });
        let ended = started.elapsed();
        eventually("all are announced", PATIENCE, || {
            (receiver.received().len() >= before + MANY).then_some(())
        });
        end.store(true, Ordering::Relaxed);
        (clients.join().unwrap(), answered, ended)
    });
    announced_once(&receiver.received()[before..], &ids);
    assert!(busy.len() >= CLIENTS, "nobody could deploy meanwhile");
    let figures = (percentile(idle.clone(), 99), percentile(busy.clone(), 99));
    say(&format!(
        "bulk stop of {MANY}: answered in {answered:.2?}, all ended in {ended:.2?}; deploys before: p50 {:.2?}, \
         p99 {:.2?} of {}; meanwhile: p50 {:.2?}, p99 {:.2?} of {}",
        percentile(idle.clone(), 50),
        figures.0,
        idle.len(),
        percentile(busy.clone(), 50),
        figures.1,
        busy.len(),
    ));
    figures
}

/// Each of them is in one webhook, and nobody else is.
fn announced_once(received: &[Received], ids: &BTreeSet<String>) {
    let told: BTreeSet<(String, String)> = received.iter().map(Received::about).collect();
    let due: BTreeSet<_> = ids.iter().map(|id| (id.clone(), "TERMINATED".to_owned())).collect();
    assert!(told == due, "{:?}", told.symmetric_difference(&due).collect::<Vec<_>>());
    assert_eq!(received.len(), MANY, "each exactly once");
    let messages: BTreeSet<_> = received.iter().filter_map(|one| one.header("webhook-id")).collect();
    assert_eq!(messages.len(), MANY);
}

#[test]
fn a_kill_right_after_the_answer_loses_no_stop() {
    let mut server = Server::start(hosts);
    server.api.describe("arena", "v1", ("fake-game", "1"), &json!({}));
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/ended")});
    let fields = json!({"tags": [TAG], "webhook_on_terminated": hook, "webhook_on_error": hook});
    let ids: BTreeSet<String> = (0..200).map(|_| server.api.deploy("arena", "v1", &fields)).collect();
    eventually("all are ready", PATIENCE, || {
        (count(&server.api, &json!([tagged(), ready()])) == 200).then_some(())
    });
    let filters = json!({"filters": [{"field": "deployment_tags", "filter_type": "any", "values": [TAG]}]});
    let stopped = server.api.post("/v1/deployments/bulk-stop", &filters).expect(202);
    server.kill();
    assert_eq!(stopped["processable"].as_array().map(Vec::len), Some(200));
    // The fake hosts die with the server: who was not stopped would be in error now, its container being gone.
    server.restart();
    for id in &ids {
        let _ = server.api.wait_for(id, "TERMINATED");
        assert_eq!(server.api.status(id)["last_status"], "Status.TERMINATING");
    }
    let due: BTreeSet<_> = ids.iter().map(|id| (id.clone(), "TERMINATED".to_owned())).collect();
    eventually("each is announced", PATIENCE, || {
        let told: BTreeSet<_> = receiver.received().iter().map(Received::about).collect();
        assert!(told.is_subset(&due), "{told:?}");
        (told == due).then_some(())
    });
    server.audit();
}

/// Ends all others and looks for what is left.
fn close(server: &Server) {
    let api = &server.api;
    let everybody =
        json!({"filters": [{"field": "request_id", "filter_type": "not", "values": ["000000000000"]}]});
    let _ = api.post("/v1/deployments/bulk-stop", &everybody).expect(202);
    eventually("everybody has ended", PATIENCE, || (count(api, &json!([])) == 0).then_some(()));
    server.audit();
}

#[test]
fn a_bulk_stop_of_a_thousand_ends_them_all_tells_each_once_and_holds_up_nobody() {
    let server = Server::start(hosts);
    server.api.describe("arena", "v1", ("fake-game", "1"), &json!({}));
    let receiver = Receiver::open();
    if !long() {
        let _ = round(&server, &receiver);
        return close(&server);
    }
    let mut ratios: Vec<f64> = Vec::new();
    for _ in 0..3 {
        let (idle, busy) = round(&server, &receiver);
        ratios.push(busy.as_secs_f64() / idle.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    say(&format!("p99 of a deploy during a bulk stop against before: {ratios:.2?}"));
    assert!(
        ratios.get(1).is_some_and(|middle| *middle < 2.0),
        "deploys waited for the bulk stop: {ratios:.2?}"
    );
    close(&server);
}
