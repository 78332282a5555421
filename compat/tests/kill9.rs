//! `kill -9` at random moments while clients deploy and stop and players play. Afterwards nothing that was acknowledged is
//! lost, nobody who played has noticed, and nothing is left over. Four rounds; thirty with `SPAWNPOINT_LONG=1`.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external};
use spawnpoint_compat::player::{Prober, Report};
use spawnpoint_compat::random::Random;
use spawnpoint_compat::runtime::{Details, Installation};
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{Api, PATIENCE, Runtime, Server, eventually, long, say};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(a_kill_at_any_moment_loses_no_acknowledged_deployment_and_no_packet,);

/// Deployments that live through everything, with a player each.
const STEADY: usize = 3;
/// Others that live at one time.
const LIVE_MAX: usize = 8;

/// What a client wrote down of what it was told.
#[derive(Default)]
struct Ledger {
    /// Acknowledged, and not stopped.
    live: Vec<String>,
    /// Whose stop was acknowledged.
    stopped: Vec<String>,
    /// Deploy requests that were repeated since no answer came, and those that were not.
    repeated: usize,
    given_up: usize,
}

/// A client that goes on whatever happens.
struct Client {
    api: Api,
    hooks: Value,
    random: Random,
    ledger: Ledger,
    end: Arc<AtomicBool>,
}

impl Client {
    fn run(mut self) -> Ledger {
        while !self.end.load(Ordering::Relaxed) {
            match self.random.below(10) {
                0..6 if self.ledger.live.len() < LIVE_MAX => self.deploy(),
                0..9 => self.stop(),
                _ => self.look(),
            }
            // Not faster: a port rests for a minute before it is given out again, and there are 390.
            std::thread::sleep(self.random.millis(20, 200));
        }
        self.ledger
    }

    /// Deploys, with one `Idempotency-Key` for all tries; sometimes there is one try only.
    fn deploy(&mut self) {
        let key = format!("{:016x}", self.random.bits());
        let tries = if self.random.below(4) == 0 { 1 } else { 1000 };
        let body = deployment("arena", "v1", &self.hooks);
        for number in 0..tries {
            let answer =
                self.api.try_call("POST", "/v2/deployments", &[("idempotency-key", &key)], Some(&body));
            if let Some(answer) = answer.ok().filter(|answer| answer.status != 503) {
                let id = answer.expect(202)["request_id"].as_str().unwrap().to_owned();
                assert!(!self.ledger.live.contains(&id), "{id} was given out twice");
                self.ledger.live.push(id);
                self.ledger.repeated += usize::from(number > 0);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.ledger.given_up += 1;
    }

    /// Stops one, until that is acknowledged.
    fn stop(&mut self) {
        let Some(id) = self.random.pick(&self.ledger.live).cloned() else { return };
        let mut lost = false;
        for _ in 0..1000 {
            match self.api.try_call("DELETE", &format!("/v1/stop/{id}"), &[], None) {
                Ok(answer) if answer.status != 503 => {
                    // 410 only if the stop whose answer was lost has worked.
                    let fine = matches!(answer.status, 200 | 202) || (answer.status == 410 && lost);
                    assert!(fine, "{id}: {} {}", answer.status, answer.text());
                    self.ledger.live.retain(|other| *other != id);
                    self.ledger.stopped.push(id);
                    return;
                }
                _ => lost = true,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was acknowledged is known, whenever there is an answer.
    fn look(&mut self) {
        let Some(id) = self.random.pick(&self.ledger.live) else { return };
        if let Ok(answer) = self.api.try_call("GET", &format!("/v1/status/{id}"), &[], None) {
            let _ = answer.expect(200);
        }
    }
}

fn a_kill_at_any_moment_loses_no_acknowledged_deployment_and_no_packet(runtime: &Runtime) {
    let rounds = if long() { 30 } else { 4 };
    let mut random = Random::new();
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/hook")});
    let hooks = json!({"webhook_on_ready": hook, "webhook_on_error": hook, "webhook_on_terminated": hook});
    let (mut server, installation) = runtime.start();
    server.api.describe("arena", "v1", runtime.image(), &json!({}));

    let steady: Vec<String> = (0..STEADY).map(|_| server.api.deploy("arena", "v1", &hooks)).collect();
    let ports: Vec<u16> =
        steady.iter().map(|id| external(&server.api.wait_for(id, "READY"), "game")).collect();
    let started: Vec<Details> = steady.iter().map(|id| installation.container(id)).collect();
    let players: Vec<Prober> = ports.iter().map(|port| Prober::start(*port)).collect();

    let end = Arc::new(AtomicBool::new(false));
    let client = Client {
        api: server.api.clone(),
        hooks,
        random: random.clone(),
        ledger: Ledger::default(),
        end: Arc::clone(&end),
    };
    let client = std::thread::spawn(move || client.run());
    let mut slowest_start = Duration::ZERO;
    for _ in 0..rounds {
        receiver.answer_next(&[500, 200, 200, 503]);
        std::thread::sleep(random.millis(300, 3000));
        server.kill();
        std::thread::sleep(random.millis(0, 600));
        let began = Instant::now();
        server.restart();
        slowest_start = slowest_start.max(began.elapsed());
    }
    end.store(true, Ordering::Relaxed);
    let mut ledger = client.join().unwrap();
    ledger.live.extend(steady.iter().cloned());

    let rows = settle(&server.api, &mut ledger);
    containers_match(&installation, &ledger);
    server.audit();
    webhooks_match(&receiver, &rows);
    for (id, before) in steady.iter().zip(&started) {
        assert_eq!(&installation.container(id), before, "the container of {id} was touched");
    }

    // Players leave before their games are stopped.
    let reports: Vec<Report> = players.into_iter().map(Prober::finish).collect();
    assert!(reports.iter().all(|report| report.lost.is_empty()), "packets were lost: {reports:?}");
    let all = stop_all(&server.api, &ledger);
    nothing_is_left(&installation, &server);
    server.audit();
    webhooks_match(&receiver, &all);
    assert!(server.terminate().success());
    // Without a server the audit opens the store itself.
    server.audit();

    let sent: u64 = reports.iter().map(|report| report.sent).sum();
    let slowest = reports.iter().map(|report| report.slowest).max().unwrap_or_default();
    say(&format!(
        "{rounds} rounds of kill -9, slowest start {} ms; {} deployments made ({} after repeats), {} of them \
         stopped under way; {sent} packets sent, 0 lost, slowest answer {} ms; {} webhooks received for {} events",
        slowest_start.as_millis(),
        all.len(),
        ledger.repeated,
        ledger.stopped.len(),
        slowest.as_millis(),
        receiver.received().len(),
        2 * all.len(),
    ));
}

/// Waits until everything stands where it should, and takes the rows that nobody was told of into the ledger. All rows.
fn settle(api: &Api, ledger: &mut Ledger) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for id in &ledger.stopped {
        rows.insert(id.clone(), api.wait_for(id, "TERMINATED"));
    }
    for row in api.list() {
        let id = row["request_id"].as_str().unwrap().to_owned();
        if !ledger.live.contains(&id) {
            // Only a request whose answer was lost may have made it.
            assert!(!ledger.stopped.contains(&id), "{id} is listed after its end");
            ledger.live.push(id);
            assert!(ledger.given_up > 0, "a row that nobody asked for");
            ledger.given_up -= 1;
        }
    }
    for id in &ledger.live {
        rows.insert(id.clone(), api.wait_for(id, "READY"));
    }
    rows
}

/// Every live deployment has its one container, and nothing else has one.
fn containers_match(installation: &Installation, ledger: &Ledger) {
    let live: BTreeSet<&String> = ledger.live.iter().collect();
    eventually("containers are those of the live deployments", PATIENCE, || {
        let containers = installation.containers();
        let running: Vec<String> = containers
            .iter()
            .filter(|container| container.is_running)
            .map(|container| container.deployment.clone())
            .collect();
        let distinct: BTreeSet<&String> = running.iter().collect();
        assert_eq!(distinct.len(), running.len(), "two containers for one deployment: {running:?}");
        (distinct == live && containers.len() == running.len()).then_some(())
    });
}

/// Exactly the due webhooks came, each at least once, each under one id, and in order.
fn webhooks_match(receiver: &Receiver, rows: &BTreeMap<String, Value>) {
    let mut due = BTreeSet::new();
    for (id, row) in rows {
        let (now, before) =
            (row["current_status"].as_str().unwrap(), row["last_status"].as_str().unwrap_or_default());
        let events: &[&str] = match (now, before) {
            ("Status.READY", _) => &["READY"],
            ("Status.TERMINATED", "Status.TERMINATING") => &["READY", "TERMINATED"],
            _ => unreachable!("{id} is {now} after {before}"),
        };
        due.extend(events.iter().map(|event| (id.clone(), (*event).to_owned())));
    }
    eventually("all due webhooks have come", PATIENCE, || {
        let came: BTreeSet<_> = receiver
            .received()
            .iter()
            .filter(|received| received.answered == 200)
            .map(spawnpoint_compat::webhooks::Received::about)
            .collect();
        let undue: Vec<_> = came.difference(&due).collect();
        assert!(undue.is_empty(), "not due: {undue:?}");
        (came == due).then_some(())
    });
    let mut ids: BTreeMap<(String, String), String> = BTreeMap::new();
    for received in receiver.received() {
        let (deployment, event) = received.about();
        if event == "TERMINATED" {
            assert!(
                ids.contains_key(&(deployment.clone(), "READY".to_owned())),
                "{deployment}: out of order"
            );
        }
        let id = received.header("webhook-id").unwrap().to_owned();
        let known = ids.entry((deployment, event)).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "the same event under two ids");
    }
    let distinct: BTreeSet<&String> = ids.values().collect();
    assert_eq!(distinct.len(), ids.len(), "two events under one id");
}

/// Stops everything. All rows.
fn stop_all(api: &Api, ledger: &Ledger) -> BTreeMap<String, Value> {
    for id in &ledger.live {
        let _ = api.delete(&format!("/v1/stop/{id}")).expect(200);
    }
    let all = ledger.live.iter().chain(&ledger.stopped);
    let rows = all.map(|id| (id.clone(), api.wait_for(id, "TERMINATED"))).collect();
    for id in &ledger.live {
        let _ = api.delete(&format!("/v1/stop/{id}")).expect(410);
    }
    assert_eq!(api.list(), Vec::<Value>::new());
    rows
}

/// No container, no rule and no socket for a player's packets, nothing on the network.
fn nothing_is_left(installation: &Installation, server: &Server) {
    assert_eq!(installation.containers(), []);
    assert_eq!(installation.remains(), Vec::<String>::new());
    for port in (20_000..29_999).filter(|port| server.ports.has_game(*port)) {
        // Others on this machine look whether a port is free by taking it for a moment.
        eventually(&format!("{port}/udp is free"), Duration::from_secs(5), || {
            UdpSocket::bind(("0.0.0.0", port)).ok().map(drop)
        });
    }
}
