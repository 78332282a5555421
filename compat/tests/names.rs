//! Names of deployments, asked for with `dig`: a READY one resolves, and nothing else does.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::process::Command;

use serde_json::json;
use spawnpoint_compat::api::text;
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, say, server};

spawnpoint_compat::on_each_runtime!(
    a_deployment_has_a_name_from_ready_until_its_end_and_nothing_else_has_one,
);

const DOMAIN: &str = "play.spawnpoint.test";

/// What `dig` said.
#[derive(Debug)]
struct Told {
    status: String,
    flags: Vec<String>,
    /// Records of the answer: name, seconds, class, type, data.
    answers: Vec<Vec<String>>,
    authorities: Vec<Vec<String>>,
}

impl Told {
    /// Types and data of the answer.
    fn records(&self) -> Vec<(&str, &str)> {
        self.answers.iter().map(|record| (record[3].as_str(), record[4].as_str())).collect()
    }
}

/// Whether there is a `dig`; says so if not.
fn dig_is_there() -> bool {
    let there = Command::new("dig").arg("-v").output().is_ok();
    let required = std::env::var("CI").is_ok_and(|set| set == "true");
    assert!(there || !required, "dig is required here (Debian: bind9-dnsutils)");
    if !there {
        say("skipped: there is no dig (Debian: bind9-dnsutils)");
    }
    there
}

fn dig(server: &Server, arguments: &[&str]) -> Told {
    let port = server.ports.names().to_string();
    let output = Command::new("dig")
        .args(["@127.0.0.1", "-p", &port, "+time=5", "+tries=2", "+norecurse"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let status = text.split_once("status: ").unwrap().1.split(',').next().unwrap().to_owned();
    let flags = text.split_once(";; flags: ").unwrap().1.split(';').next().unwrap();
    let section = |name: &str| -> Vec<Vec<String>> {
        let Some((_, rest)) = text.split_once(&format!(";; {name} SECTION:\n")) else { return Vec::new() };
        let records = rest.lines().take_while(|line| !line.is_empty());
        records.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    Told {
        status,
        flags: flags.split(' ').map(str::to_owned).collect(),
        answers: section("ANSWER"),
        authorities: section("AUTHORITY"),
    }
}

/// A configuration with a name server for [`DOMAIN`].
fn named(ports: &Ports, site: &str) -> String {
    format!(
        "[domain]\nsuffix = \"{DOMAIN}\"\n[dns]\nlisten = [\"127.0.0.1:{}\"]\nseconds = 7\naddresses = [\"127.0.0.1\"]\n{site}",
        ports.names()
    )
}

fn a_deployment_has_a_name_from_ready_until_its_end_and_nothing_else_has_one(runtime: &Runtime) {
    if !dig_is_there() {
        return;
    }
    let (mut server, installation) = runtime.start_with(|ports| named(ports, &runtime.site(ports)));
    let envs = json!([{"key": "GAME_MODE", "value": "slow:2500", "is_hidden": false}]);
    server.api.describe("arena", "slow", runtime.image(), &json!({"envs": envs}));
    let id = server.api.deploy("arena", "slow", &json!({}));
    let fqdn = text(&server.api.status(&id), "fqdn");
    assert_eq!(fqdn, format!("{id}.{DOMAIN}"));

    eventually("its container runs", PATIENCE, || {
        installation.containers().iter().any(|container| container.is_running).then_some(())
    });
    let early = dig(&server, &[&fqdn, "A"]);
    assert_ne!(server.api.status(&id)["current_status"], "Status.READY");
    assert_eq!((early.status.as_str(), early.answers.len()), ("NXDOMAIN", 0), "{early:?}");
    let soa = &early.authorities[0];
    assert_eq!((soa[1].as_str(), soa[3].as_str()), ("2", "SOA"), "it is soon asked again");

    let _ = server.api.wait_for(&id, "READY");
    for how in [&[][..], &["+tcp"], &["+noedns"], &["+dnssec"]] {
        let told = dig(&server, &[&[fqdn.as_str(), "A"], how].concat());
        assert_eq!((told.status.as_str(), told.records()), ("NOERROR", vec![("A", "127.0.0.1")]), "{told:?}");
        assert!(told.flags.contains(&"aa".to_owned()) && !told.flags.contains(&"ra".to_owned()), "{told:?}");
        assert_eq!(told.answers[0][1], "7");
    }
    let shouted = dig(&server, &[&fqdn.to_uppercase(), "A"]);
    assert_eq!(shouted.answers[0][0], format!("{}.", fqdn.to_uppercase()), "{shouted:?}");
    let other_type = dig(&server, &[&fqdn, "AAAA"]);
    assert_eq!((other_type.status.as_str(), other_type.answers.len()), ("NOERROR", 0), "{other_type:?}");
    for nobody in ["0123456789ab", "www", "_acme-challenge", "x.y", &format!("a.{id}"), &id[..11]] {
        let told = dig(&server, &[&format!("{nobody}.{DOMAIN}"), "A"]);
        assert_eq!((told.status.as_str(), told.answers.len()), ("NXDOMAIN", 0), "{nobody}: {told:?}");
    }
    for other in ["spawnpoint.test", "example.com", &format!("{id}.example.com"), "."] {
        let told = dig(&server, &[other, "A"]);
        assert_eq!((told.status.as_str(), told.answers.len()), ("REFUSED", 0), "{other}: {told:?}");
    }
    let zone = dig(&server, &[DOMAIN, "NS"]);
    assert_eq!(zone.records(), [("NS", format!("ns.{DOMAIN}.").as_str())]);
    assert_eq!(dig(&server, &[&format!("ns.{DOMAIN}"), "A"]).records(), [("A", "127.0.0.1")]);
    assert_eq!(dig(&server, &[DOMAIN, "SOA"]).records()[0].0, "SOA");

    // A control plane that was killed knows the name when it is back.
    server.kill();
    server.restart();
    assert_eq!(dig(&server, &[&fqdn, "A"]).records(), [("A", "127.0.0.1")]);

    server.api.stop(&id);
    let gone = dig(&server, &[&fqdn, "A"]);
    assert_eq!((gone.status.as_str(), gone.answers.len()), ("NXDOMAIN", 0), "{gone:?}");
    server.audit();
}

#[test]
fn a_host_with_a_v6_address_is_found_by_it() {
    if !dig_is_there() {
        return;
    }
    let server = Server::start(|ports| {
        named(ports, &format!("{}public_address = \"2001:db8::7\"\n", server::fake(ports)))
    });
    server.api.describe("arena", "v1", ("game", "1"), &json!({}));
    let id = server.api.deploy("arena", "v1", &json!({}));
    let _ = server.api.wait_for(&id, "READY");
    let fqdn = format!("{id}.{DOMAIN}");
    assert_eq!(dig(&server, &[&fqdn, "AAAA"]).records(), [("AAAA", "2001:db8::7")]);
    let told = dig(&server, &[&fqdn, "A"]);
    assert_eq!((told.status.as_str(), told.answers.len()), ("NOERROR", 0), "{told:?}");
    assert_eq!(text(&server.api.status(&id), "public_ip"), "2001:db8::7");
}
