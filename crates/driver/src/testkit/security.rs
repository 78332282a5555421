//! What a workload must not be able to do, asked from inside it. One table for every driver.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use spawnpoint_model::{Cidr, CpuUnits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::lab::{Lab, ask_tcp};
use super::{Failed, Outcome, Program, cases, check};
use crate::{AccessList, Security, WorkloadSpec};

cases!(
    true,
    [
        the_baseline_profile_holds,
        the_restricted_profile_holds,
        a_workload_cannot_reach_its_neighbour,
        a_workload_cannot_reach_the_metadata_service,
        a_workload_reaches_of_its_host_only_the_callback_port,
        only_listed_networks_reach_a_workload_also_on_connections_that_exist,
    ]
);

/// CHOWN, `DAC_OVERRIDE`, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, `NET_BIND_SERVICE`.
const BASELINE_CAPABILITIES: u64 = 0b101_1111_1011;
/// A quarter of a CPU.
const LITTLE_CPU: CpuUnits = CpuUnits(256);

/// A row of the table: what is asked, and which answers are good.
struct Row {
    what: &'static str,
    ask: &'static str,
    good: fn(&str) -> bool,
}

/// Holds in both profiles.
const ALWAYS: [Row; 4] = [
    Row { what: "no new privileges", ask: "status", good: |s| word(s, "NoNewPrivs") == Some("1") },
    Row { what: "a seccomp filter", ask: "status", good: |s| word(s, "Seccomp") == Some("2") },
    // The limit is 64, and some are in use.
    Row { what: "few processes", ask: "fork", good: |s| s.parse().is_ok_and(|n: u32| (1..64).contains(&n)) },
    // Two busy threads for a second: 2000 ms without a limit, 250 with it.
    Row {
        what: "little CPU",
        ask: "burn 1000",
        good: |s| s.parse().is_ok_and(|n: u32| (10..600).contains(&n)),
    },
];

const BASELINE: [Row; 3] = [
    Row {
        what: "no capability beyond the harmless ones",
        ask: "status",
        good: |s| capabilities(s, "CapBnd").is_some_and(|caps| caps & !BASELINE_CAPABILITIES == 0),
    },
    Row { what: "root inside", ask: "status", good: |s| word(s, "Uid") == Some("0") },
    Row { what: "a writable root directory", ask: "write /x", good: |s| s == "written" },
];

const RESTRICTED: [Row; 5] = [
    Row { what: "no capability", ask: "status", good: |s| capabilities(s, "CapBnd") == Some(0) },
    Row { what: "no effective capability", ask: "status", good: |s| capabilities(s, "CapEff") == Some(0) },
    Row { what: "not root", ask: "status", good: |s| word(s, "Uid") == Some("65532") },
    Row { what: "a read-only root directory", ask: "write /x", good: |s| s != "written" },
    Row { what: "a writable /tmp", ask: "write /tmp/x", good: |s| s == "written" },
];

async fn the_baseline_profile_holds(lab: &Lab) -> Outcome {
    profile_holds(lab, Security::Baseline, &BASELINE).await
}

async fn the_restricted_profile_holds(lab: &Lab) -> Outcome {
    profile_holds(lab, Security::Restricted, &RESTRICTED).await
}

async fn profile_holds(lab: &Lab, security: Security, rows: &[Row]) -> Outcome {
    let mut spec = lab.spec(Program::Serve).await?;
    spec.security = security;
    spec.resources.cpu = LITTLE_CPU;
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    // All of them, so that one broken row does not hide the next.
    let mut broken = Vec::new();
    for Row { what, ask, good } in ALWAYS.iter().chain(rows) {
        let answer = lab.ask(&spec, ask).await?;
        if !good(&answer) {
            broken.push(format!("not {what}: {answer:?}"));
        }
    }
    check!(broken.is_empty(), "{security:?}: {}", broken.join("; "));
    Ok(())
}

async fn a_workload_cannot_reach_its_neighbour(lab: &Lab) -> Outcome {
    let (one, other) = (lab.serving(Program::Serve).await?, lab.serving(Program::Serve).await?);
    let address: Ipv4Addr = lab.ask(&other, "addr").await?.parse()?;
    let inside = other.ports.first().map_or(0, |port| port.internal);
    for question in [format!("connect {address}:{inside}"), format!("udp {address}:{inside}")] {
        let answer = lab.ask(&one, &question).await?;
        check!(!is_reached(&answer), "{question}: {answer}");
    }
    // Nor by the way round the host's published port.
    let outside =
        SocketAddr::new(lab.world()?.host_address, other.ports.first().map_or(0, |port| port.external));
    let answer = lab.ask(&one, &format!("connect {outside}")).await?;
    check!(!is_reached(&answer), "connect {outside}: {answer}");
    Ok(())
}

async fn a_workload_cannot_reach_the_metadata_service(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let target = match lab.world()?.metadata {
        Some(stand_in) => {
            // It does answer, if one may ask.
            ask_tcp(stand_in, "ping").await?;
            stand_in
        }
        None => SocketAddr::from(([169, 254, 169, 254], 80)),
    };
    let answer = lab.ask(&spec, &format!("connect {target}")).await?;
    check!(!is_reached(&answer), "connect {target}: {answer}");
    Ok(())
}

async fn a_workload_reaches_of_its_host_only_the_callback_port(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let callback = lab.world()?.callback;
    let listener = TcpListener::bind(callback).await?;
    check!(reaches(lab, &spec, callback).await?, "the callback port {callback} cannot be reached");
    drop(listener);
    let private = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let port = private.local_addr()?.port();
    for address in [callback.ip(), lab.world()?.host_address] {
        let target = SocketAddr::new(address, port);
        check!(!reaches(lab, &spec, target).await?, "a service of the host is reached at {target}");
    }
    Ok(())
}

async fn reaches(lab: &Lab, spec: &WorkloadSpec, target: SocketAddr) -> Result<bool, super::Failed> {
    Ok(is_reached(&lab.ask(spec, &format!("connect {target}")).await?))
}

fn is_reached(answer: &str) -> bool {
    matches!(answer, "connected" | "answered")
}

/// `value` of `key=value` in an answer to `status`.
fn word<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.split_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn capabilities(status: &str, key: &str) -> Option<u64> {
    u64::from_str_radix(word(status, key)?, 16).ok()
}

/// An answer comes in this time, or not at all.
const SILENCE: Duration = Duration::from_millis(1500);

async fn only_listed_networks_reach_a_workload_also_on_connections_that_exist(lab: &Lab) -> Outcome {
    let network = |text: &str| Cidr::parse(text).map_err(|invalid| Failed(invalid.problem));
    let (elsewhere, loopback) = (network("198.51.100.0/24")?, network("127.0.0.0/8")?);
    let own = network(&lab.world()?.host_address.to_string())?;
    let mut spec = lab.spec(Program::Serve).await?;
    spec.access = Some(vec![elsewhere]);
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    let port = spec.ports.first().map_or(0, |port| port.external);
    let by = [(Ipv4Addr::LOCALHOST.into(), loopback), (lab.world()?.host_address, own)];
    let let_in = async |networks: Vec<Cidr>| {
        let list = AccessList { id: spec.id, ports: spec.ports.clone(), networks };
        lab.driver.set_access(&[list]).await
    };
    for (address, listed) in by {
        let address = SocketAddr::new(address, port);
        let ask =
            async || tokio::time::timeout(SILENCE, ask_tcp(address, "id")).await.is_ok_and(|a| a.is_ok());
        let_in(vec![elsewhere]).await?;
        check!(!ask().await, "{address} was reached, and was not listed");
        let_in(vec![elsewhere, listed]).await?;
        check!(ask().await, "{address} was not reached, and was listed");
        let mut connection = TcpStream::connect(address).await?;
        check!(talks(&mut connection).await, "{address} does not answer");
        let_in(Vec::new()).await?;
        check!(!talks(&mut connection).await, "{address} still answers on a connection that exists");
        check!(!ask().await, "{address} was reached, and the list is empty");
    }
    Ok(())
}

/// Whether a connection answers a line. The answer is read to its end, or its rest would be taken for the next one.
async fn talks(connection: &mut TcpStream) -> bool {
    let exchange = async {
        connection.write_all(b"id\n").await?;
        while connection.read_u8().await? != b'\n' {}
        Ok::<_, std::io::Error>(())
    };
    tokio::time::timeout(SILENCE, exchange).await.is_ok_and(|answered| answered.is_ok())
}
