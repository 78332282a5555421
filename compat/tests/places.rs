//! Three cities on one machine (the layout of `examples/three-cities.toml`): where one can deploy, how far players are from
//! there, where their addresses are, and which running match is the nearest to them.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::mmdb::{city, database};
use spawnpoint_compat::player::{ask_tcp, ask_udp, local};
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually};

spawnpoint_compat::on_each_runtime!(new_players_find_the_running_match_that_is_best_for_them);

/// City, country, continent, latitude, longitude, tag.
const CITIES: [(&str, &str, &str, f64, f64, &str); 3] = [
    ("Chicago", "United States of America", "North America", 41.88, -87.63, "americas"),
    ("Frankfurt am Main", "Germany", "Europe", 50.11, 8.68, "emea"),
    ("Tokyo", "Japan", "Asia", 35.68, 139.69, "apac"),
];
/// Players' addresses, as the test's own database knows them.
const TORONTO: &str = "24.48.0.1";
const BERLIN: &str = "81.2.69.160";
const SEOUL: &str = "2001:218::7";

/// The example's cities with one host each; `extra` is added to a city's site.
fn three_cities(ports: &Ports, driver: &str, extra: impl Fn(&str) -> String) -> String {
    let example = include_str!("../../examples/three-cities.toml");
    let mut text = String::new();
    for (index, (city, country, continent, latitude, longitude, tag)) in (0..).zip(CITIES) {
        // The example moved on without this test, if it does not know the city.
        assert!(example.contains(city) && example.contains(&latitude.to_string()), "{city}");
        text.push_str(&format!(
            "[[site]]\nname = \"{tag}\"\ncity = \"{city}\"\ncountry = \"{country}\"\ncontinent = \"{continent}\"\n\
             timezone = \"UTC\"\nlatitude = {latitude}\nlongitude = {longitude}\ntags = [\"{tag}\"]\n{}\
             [[site.host]]\nname = \"{tag}-1\"\ndriver = \"{driver}\"\nport_range = \"{}\"\n\
             capacity = {{ cpu_units = 256, memory_mib = 256 }}\n",
            extra(tag),
            ports.games(index, 4),
        ));
    }
    text
}

fn nothing(_: &str) -> String {
    String::new()
}

/// A database that knows the three players, and the directory that it is in.
fn geo() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("city.mmdb");
    let networks = [
        ("24.48.0.0", 16, city(("NA", "North America"), ("CA", "Canada"), 43.65, -79.38)),
        ("81.2.69.0", 24, city(("EU", "Europe"), ("DE", "Germany"), 52.52, 13.4)),
        ("2001:218::", 32, city(("AS", "Asia"), ("KR", "South Korea"), 37.57, 126.98)),
    ];
    std::fs::write(&path, database(&networks)).unwrap();
    let option = format!("[geo]\ndatabase = \"{}\"\n", path.display());
    (dir, option)
}

fn cities(list: &Value) -> Vec<String> {
    list["locations"].as_array().unwrap().iter().map(|place| text(place, "city")).collect()
}

#[test]
fn locations_are_the_cities_with_room_and_none_of_private_fleets() {
    let server = Server::start(|ports| {
        let private = format!(
            "[[private_fleet]]\nname = \"tournament\"\n[[site]]\nname = \"hall\"\ncity = \"Lyon\"\nlatitude = 45.75\nlongitude = 4.85\n\
             [[site.host]]\nname = \"hall-1\"\ndriver = \"fake\"\nprivate_fleet = \"tournament\"\nport_range = \"{}\"\n",
            ports.games(3, 4)
        );
        three_cities(ports, "fake", nothing) + &private
    });
    let api = &server.api;
    api.describe("arena", "v1", ("game", "1"), &json!({}));
    let all = api.get("/v1/locations?tags=true").expect(200);
    assert_eq!(cities(&all), CITIES.map(|city| city.0), "not Lyon");
    assert_eq!(all["locations"][1]["tags"], json!([{"key": "emea", "value": "emea"}]));
    assert_eq!((&all["locations"][1]["latitude"], &all["total_count"]), (&json!(50.11), &json!(3)));

    let here = |latitude: f64, longitude: f64| {
        let data = json!({"latitude": latitude, "longitude": longitude});
        json!({"users": [{"user_type": "geo_coordinates", "user_data": data}]})
    };
    let room = || cities(&api.get("/v1/locations?app=arena&version=v1").expect(200));
    let ids: Vec<String> = (0..2).map(|_| api.deploy("arena", "v1", &here(52.52, 13.4))).collect();
    assert_eq!(room(), ["Chicago", "Tokyo"], "two fill a city");
    ids.iter().for_each(|id| api.stop(id));
    eventually("there is room again", PATIENCE, || (room().len() == 3).then_some(()));
    assert_eq!(api.get("/v1/locations?app=nobody").status, 400);
    server.audit();
}

/// Whether a datagram comes back from there.
fn answers(port: u16, question: &[u8]) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.send_to(question, local(port)).unwrap();
    let mut answer = [0; 2048];
    socket.recv_from(&mut answer).is_ok_and(|(length, _)| answer[..length] == *question)
}

#[test]
fn players_measure_the_beacons_that_are_listed() {
    let server = Server::start(|ports| {
        let far = ports.far_beacon();
        let own = format!(
            "[beacon]\nenabled = true\nlisten = \"127.0.0.1\"\nudp_port = {0}\ntcp_port = {0}\n",
            ports.beacon()
        );
        let beacon = format!("beacon = {{ host = \"127.0.0.1\", udp_port = {far}, tcp_port = {far} }}\n");
        own + &three_cities(ports, "fake", |tag| if tag == "apac" { beacon.clone() } else { String::new() })
    });
    let far = server.ports.far_beacon();
    let beside = server.beside(&["beacon", "--listen", &format!("127.0.0.1:{far}")]);
    eventually("the beacon of the other machine answers", PATIENCE, || answers(far, b"up?").then_some(()));

    let list = server.api.get("/v1/locations/beacons").expect(200);
    assert_eq!(list["count"], 3);
    let mut ports = Vec::new();
    for (beacon, city) in list["locations"].as_array().unwrap().iter().zip(CITIES) {
        assert_eq!(text(&beacon["location"], "city"), city.0);
        assert_eq!((text(beacon, "host"), text(beacon, "fqdn")), ("127.0.0.1".into(), "127.0.0.1".into()));
        let port = |key: &str| u16::try_from(beacon[key].as_u64().unwrap()).unwrap();
        let (udp, tcp) = (port("udp_port"), port("tcp_port"));
        assert_eq!(ask_udp(udp, "how far are you?"), "how far are you?");
        assert_eq!(ask_tcp(tcp, "and over TCP?"), "and over TCP?");
        assert!(answers(udp, &[7; 512]) && !answers(udp, &[7; 513]), "never more than 512 bytes");
        ports.push(udp);
    }
    assert_eq!(ports, [server.ports.beacon(), server.ports.beacon(), far]);

    assert!(beside.terminate().success());
    assert!(TcpStream::connect(local(far)).is_err());
    let mut server = server;
    assert!(server.terminate().success(), "an open beacon keeps nobody from ending");
}

#[test]
fn a_flood_is_answered_in_part_and_holds_up_nobody_else() {
    let server = Server::start(|ports| {
        let own = format!(
            "[beacon]\nenabled = true\nlisten = \"0.0.0.0\"\nudp_port = {0}\ntcp_port = 0\n",
            ports.beacon()
        );
        own + &three_cities(ports, "fake", nothing)
    });
    let beacon = local(server.ports.beacon());
    // Every address of 127.0.0.0/8 is this machine's: two sources.
    let (loud, calm) =
        (UdpSocket::bind(("127.0.0.2", 0)).unwrap(), UdpSocket::bind(("127.0.0.3", 0)).unwrap());
    for socket in [&loud, &calm] {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    }
    let mut buffer = [0; 64];
    for _ in 0..5000 {
        loud.send_to(b"flood", beacon).unwrap();
    }
    // The kernel's queue may still be full of the flood.
    eventually("the calm one is answered", PATIENCE, || {
        calm.send_to(b"calm", beacon).unwrap();
        calm.recv_from(&mut buffer).is_ok_and(|(length, _)| buffer[..length] == *b"calm").then_some(())
    });
    let answered = std::iter::from_fn(|| loud.recv_from(&mut buffer).ok()).count();
    assert!((1..=400).contains(&answered), "{answered} of 5000");
    assert_eq!(server.api.get("/v1/locations").status, 200);
}

#[test]
fn addresses_are_where_the_database_says() {
    let (_dir, option) = geo();
    let server = Server::start(|ports| option + &three_cities(ports, "fake", nothing));
    let api = &server.api;
    let berlin = api.get(&format!("/v1/ip/{BERLIN}/lookup")).expect(200);
    let expected = json!({
        "type": "ipv4", "ip_address": BERLIN,
        "location": {
            "continent": {"code": "EU", "name": "Europe"}, "country": {"code": "DE", "name": "Germany"},
            "latitude": 52.52, "longitude": 13.4,
        },
    });
    assert_eq!(berlin, expected);
    let body = json!({"addresses": [SEOUL, "10.0.0.1", "8.8.8.8", BERLIN]});
    let list = api.post("/v1/ips/lookup", &body).expect(200)["addresses"].clone();
    assert_eq!((&list[0]["type"], &list[0]["location"]["country"]["code"]), (&json!("ipv6"), &json!("KR")));
    assert_eq!(
        (&list[1]["location"], &list[2]["location"], &list[3]),
        (&Value::Null, &Value::Null, &expected)
    );
    assert_eq!(api.get("/v1/ip/here/lookup").status, 400);
    // The database is the one by which matches are placed.
    api.describe("arena", "v1", ("game", "1"), &json!({}));
    let users = json!({"users": [{"user_type": "ip_address", "user_data": {"ip_address": SEOUL}}]});
    let id = api.deploy("arena", "v1", &users);
    assert_eq!(text(&api.wait_for(&id, "READY")["location"], "city"), "Tokyo");
}

fn new_players_find_the_running_match_that_is_best_for_them(runtime: &Runtime) {
    let (_dir, option) = geo();
    let (server, _installation) = runtime.start_with(|ports| {
        let own = format!("[beacon]\nenabled = true\nudp_port = {0}\ntcp_port = {0}\n", ports.beacon());
        option + &own + &three_cities(ports, runtime.driver(), nothing)
    });
    let api = &server.api;
    api.describe("arena", "v1", runtime.image(), &json!({}));
    let near = |address: &str| {
        let users = json!([{"user_type": "ip_address", "user_data": {"ip_address": address}}]);
        api.deploy("arena", "v1", &json!({"users": users}))
    };
    let [chicago, frankfurt, tokyo] = [TORONTO, BERLIN, SEOUL].map(near);
    for (id, city) in [&chicago, &frankfurt, &tokyo].into_iter().zip(CITIES) {
        let status = api.wait_for(id, "READY");
        assert_eq!(text(&status["location"], "city"), city.0);
        // The game is told which beacon stands beside it.
        let told = ask_udp(external(&status, "game"), "env ARBITRIUM_HOST_BEACON_PORT_UDP_EXTERNAL");
        assert_eq!(told, server.ports.beacon().to_string());
    }

    let receiver = Receiver::open();
    let path = "/v1/telemetry/active-deployments";
    let order = |ips: &[&str]| {
        let body = json!({
            "deployments": [chicago, frankfurt, tokyo], "ips": ips, "webhook_url": receiver.url("/telemetry"),
        });
        let ticket = api.post(path, &body).expect(200);
        let result = api.get(&format!("{path}/{}", text(&ticket, "retrieval_key"))).expect(200);
        let told = eventually("the webhook is called", PATIENCE, || {
            let all = receiver.received();
            all.iter().map(|one| one.json()).find(|body| body["retrieval_key"] == ticket["retrieval_key"])
        });
        assert_eq!(told, result, "the webhook says the same");
        let ids: Vec<String> =
            result["scores"].as_array().unwrap().iter().map(|score| text(score, "request_id")).collect();
        (ids, result["partial_result"] == json!(true))
    };
    let ids = |all: &[&String]| all.iter().map(|id| (*id).clone()).collect::<Vec<_>>();
    assert_eq!(order(&[SEOUL]), (ids(&[&tokyo, &frankfurt, &chicago]), false));
    assert_eq!(order(&[TORONTO, TORONTO, BERLIN]), (ids(&[&chicago, &frankfurt, &tokyo]), false));
    assert_eq!(order(&["10.0.0.1"]), (ids(&[&chicago, &frankfurt, &tokyo]), false), "as they were named");
    api.stop(&tokyo);
    assert_eq!(order(&[SEOUL]), (ids(&[&frankfurt, &chicago]), true), "the best has ended");
    api.stop(&chicago);
    api.stop(&frankfurt);
    server.audit();
}
