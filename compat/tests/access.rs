//! Access lists proven with packets: clients on other machines (network namespaces) and on this one, over UDP and TCP, while
//! the lists change under a running match, the control plane is killed, and the container goes.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::external;
use spawnpoint_compat::netns::Machine;
use spawnpoint_compat::{Api, PATIENCE, Runtime, eventually};

spawnpoint_compat::on_each_runtime!(
    only_listed_networks_reach_a_match_and_a_change_counts_on_connections_that_exist,
    this_machine_is_a_client_as_any_other,
    a_client_that_knocks_before_the_match_starts_is_never_let_in,
    a_list_outlives_the_control_plane_and_what_was_changed_meanwhile_comes_into_force,
);

/// What was not answered in this time never will be.
const SILENCE: Duration = Duration::from_millis(700);
const LIST: &str = "/v1/app/arena/version/v1/whitelist";

/// A version with one port for UDP and one for TCP, that lets in whom its list says.
fn describe(api: &Api, image: (&str, &str)) {
    let ports = json!([
        {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
        {"name": "chat", "port": 7778, "protocol": "TCP", "to_check": true},
    ]);
    api.describe("arena", "v1", image, &json!({"whitelisting_active": true, "ports": ports}));
}

fn add(api: &Api, cidr: &str) -> String {
    let answer = api.post(LIST, &json!({"cidr": cidr})).expect(200);
    answer["whitelist_entry"]["id"].as_str().unwrap().to_owned()
}

fn remove(api: &Api, id: &str) {
    let _ = api.delete(&format!("{LIST}/{id}")).expect(200);
}

/// A client with a socket of each kind, made where it stands.
struct Client {
    udp: UdpSocket,
    asked: std::cell::Cell<u32>,
    tcp: Option<BufReader<TcpStream>>,
    chat: SocketAddr,
}

impl Client {
    fn open(to: Ipv4Addr, status: &Value) -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        udp.connect((to, external(status, "game"))).unwrap();
        udp.set_read_timeout(Some(SILENCE)).unwrap();
        Self { udp, asked: 0.into(), tcp: None, chat: (to, external(status, "chat")).into() }
    }

    /// Whether the game answers this datagram.
    fn is_answered_over_udp(&self) -> bool {
        // What is answered late is the answer to an earlier question.
        self.asked.set(self.asked.get() + 1);
        let question = format!("question {}", self.asked.get());
        self.udp.send(question.as_bytes()).is_ok() && {
            let mut answer = [0; 256];
            std::iter::from_fn(|| {
                self.udp.recv(&mut answer).ok().map(|n| answer[..n] == *question.as_bytes())
            })
            .any(|is_it| is_it)
        }
    }

    /// Whether the game answers on a connection that is kept, or on a new one.
    fn is_answered_over_tcp(&mut self, local: Option<&Machine>) -> bool {
        if self.tcp.is_none() {
            let connect = || TcpStream::connect_timeout(&self.chat, SILENCE);
            let connected = match local {
                Some(machine) => machine.run(connect),
                None => connect(),
            };
            let Ok(stream) = connected else { return false };
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            self.tcp = Some(BufReader::new(stream));
        }
        let Some(stream) = &mut self.tcp else { return false };
        let mut line = String::new();
        let said = stream.get_mut().write_all(b"hello\n").and_then(|()| stream.read_line(&mut line));
        said.is_ok() && line == "hello\n"
    }
}

/// A client on another machine.
fn away(machine: &Machine, status: &Value) -> Client {
    machine.run(|| Client::open(machine.gateway, status))
}

/// Waits until a change has come through, on the connections that the client has had all along.
fn until(client: &mut Client, machine: Option<&Machine>, answered: bool) {
    eventually(&format!("it is answered: {answered}"), PATIENCE, || {
        let now = (client.is_answered_over_udp(), client.is_answered_over_tcp(machine));
        (now == (answered, answered)).then_some(())
    });
}

fn only_listed_networks_reach_a_match_and_a_change_counts_on_connections_that_exist(runtime: &Runtime) {
    let Some(allowed) = Machine::put_up(71) else { return };
    let Some(refused) = Machine::put_up(72) else { return };
    let Some(other) = Machine::put_up(75) else { return };
    let (server, installation) = runtime.start();
    let api = server.api.clone();
    describe(&api, runtime.image());
    let first = add(&api, &format!("{}/32", allowed.address));
    let id = api.deploy("arena", "v1", &json!({}));
    let status = api.wait_for(&id, "READY");
    assert_eq!(status["whitelisting_active"], true);

    let mut listed = away(&allowed, &status);
    let mut neighbour = away(&other, &status);
    let mut stranger = away(&refused, &status);
    until(&mut listed, Some(&allowed), true);
    for (client, machine) in [(&mut neighbour, &other), (&mut stranger, &refused)] {
        assert!(!client.is_answered_over_udp());
        assert!(!client.is_answered_over_tcp(Some(machine)));
    }
    // By the way around the published port.
    let inside = installation.address_of(&id);
    let around = refused.run(|| TcpStream::connect_timeout(&(inside, 7778).into(), SILENCE).is_ok());
    assert!(!around, "the container's own address is open");
    let around = allowed.run(|| TcpStream::connect_timeout(&(inside, 7778).into(), SILENCE).is_ok());
    assert!(!around, "the container's own address is open, for a listed client too");

    // One more, while it runs; the one that there was goes on.
    let second = add(&api, "10.213.72.0/24");
    until(&mut stranger, Some(&refused), true);
    until(&mut listed, Some(&allowed), true);
    assert!(!neighbour.is_answered_over_udp());
    // One less: the connection that exists ends, the other's does not.
    remove(&api, &first);
    until(&mut listed, Some(&allowed), false);
    until(&mut stranger, Some(&refused), true);
    // An empty list lets in nobody.
    remove(&api, &second);
    until(&mut stranger, Some(&refused), false);
    assert!(!listed.is_answered_over_udp());

    api.stop(&id);
    eventually("no rule is left", PATIENCE, || (installation.access_rules(&id) == 0).then_some(()));
    assert_eq!(installation.containers(), []);
    server.audit();
}

fn this_machine_is_a_client_as_any_other(runtime: &Runtime) {
    let (server, _installation) = runtime.start();
    let api = server.api.clone();
    describe(&api, runtime.image());
    let id = api.deploy("arena", "v1", &json!({}));
    let status = api.wait_for(&id, "READY");
    let mut local = Client::open(Ipv4Addr::LOCALHOST, &status);
    assert!(!local.is_answered_over_udp() && !local.is_answered_over_tcp(None), "nobody is listed");
    let loopback = add(&api, "127.0.0.1");
    until(&mut local, None, true);
    remove(&api, &loopback);
    until(&mut local, None, false);
    api.stop(&id);
    server.audit();
}

fn a_client_that_knocks_before_the_match_starts_is_never_let_in(runtime: &Runtime) {
    let Some(refused) = Machine::put_up(73) else { return };
    let (server, _installation) = runtime.start();
    let api = server.api.clone();
    describe(&api, runtime.image());
    let _ = add(&api, "192.0.2.0/24");
    // It knocks at every port that a match may be given, from before the first to after the last.
    let knocker = refused.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    knocker.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let (ports, gateway) = (server.ports.all_games(), refused.gateway);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let knocking = std::thread::spawn(move || {
        let mut answered = BTreeSet::new();
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            for port in ports.clone() {
                let _ = knocker.send_to(b"knock", (gateway, port));
            }
            while let Ok((_, from)) = knocker.recv_from(&mut [0; 64]) {
                answered.insert(from.port());
            }
        }
        answered
    });
    let ids: Vec<_> = (0..6).map(|_| api.deploy("arena", "v1", &json!({}))).collect();
    let own: BTreeSet<u16> = ids.iter().map(|id| external(&api.wait_for(id, "READY"), "game")).collect();
    assert_eq!(own.len(), ids.len());
    std::thread::sleep(SILENCE);
    ids.iter().for_each(|id| api.stop(id));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    // What others on this machine run on ports of this range may answer whom it likes.
    let answered: Vec<u16> = knocking.join().unwrap().intersection(&own).copied().collect();
    assert_eq!(answered, Vec::<u16>::new(), "answers to a client that is not listed");
    server.audit();
}

fn a_list_outlives_the_control_plane_and_what_was_changed_meanwhile_comes_into_force(runtime: &Runtime) {
    let Some(machine) = Machine::put_up(74) else { return };
    let Some(refused) = Machine::put_up(76) else { return };
    let (mut server, installation) = runtime.start();
    let api = server.api.clone();
    describe(&api, runtime.image());
    let _ = add(&api, &format!("{}/32", machine.address));
    let id = api.deploy("arena", "v1", &json!({}));
    let status = api.wait_for(&id, "READY");
    let mut listed = away(&machine, &status);
    let mut other = away(&refused, &status);
    until(&mut listed, Some(&machine), true);

    server.kill();
    until(&mut listed, Some(&machine), true);
    assert!(!other.is_answered_over_udp() && !other.is_answered_over_tcp(Some(&refused)));
    // Somebody takes the rules of this match away by hand, and its container with it is still there.
    installation.lose_access_rules(&id);
    server.restart();
    until(&mut other, Some(&refused), false);
    until(&mut listed, Some(&machine), true);

    // A container that goes while nobody looks leaves rules; they are found.
    server.kill();
    installation.remove_container(&id);
    assert!(installation.access_rules(&id) > 0);
    server.restart();
    eventually("no rule is left", PATIENCE, || (installation.access_rules(&id) == 0).then_some(()));
    api.stop(&id);
    assert_eq!(installation.containers(), []);
    server.audit();
}
