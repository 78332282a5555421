//! Certificates by ACME from a real authority (`pebble`), which asks the built-in name server whether the domain is ours: ports
//! of real containers, a control plane that is killed in the middle, renewal, an authority that refuses or is not there.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use spawnpoint_compat::api::text;
use spawnpoint_compat::curl::curl;
use spawnpoint_compat::pebble::{Pebble, Setup};
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, say, server};

spawnpoint_compat::on_each_runtime!(a_deployment_is_reached_by_its_name_with_a_certificate_of_the_authority,);

const DOMAIN: &str = "play.spawnpoint.test";
/// An authority that does not take its time.
const AT_ONCE: (&str, &str) = ("PEBBLE_VA_NOSLEEP", "1");
/// One that takes every nonce; otherwise it refuses one in twenty.
const EVERY_NONCE: (&str, &str) = ("PEBBLE_WFE_NONCEREJECT", "0");
/// One that checks a name again for each order.
const ANEW: (&str, &str) = ("PEBBLE_AUTHZREUSE", "0");

/// A configuration with an authority.
fn configuration(ports: &Ports, directory: &str, ca: &Path, acme: &str, site: &str) -> String {
    format!(
        "[domain]\nsuffix = \"{DOMAIN}\"\n[dns]\nlisten = [\"127.0.0.1:{}\"]\n[tls.acme]\ndirectory = \"{directory}\"\n\
         ca = \"{}\"\nterms_agreed = true\ncontact = [\"mailto:you@example.com\"]\nretry_seconds = 1\n{acme}\n{site}",
        ports.names(),
        ca.display()
    )
}

/// An authority that asks the name server of a server with its API on TLS.
fn world(setup: Setup, acme: &str) -> (Pebble, Server) {
    let mut pebble = None;
    let server = Server::start(|ports| {
        let names = if setup.names == 0 { ports.names() } else { setup.names };
        let started = pebble.insert(Pebble::start(Setup { names, ..setup }));
        let acme = format!("{acme}\napi = true\n");
        configuration(ports, &started.directory, &started.ca, &acme, &server::fake(ports))
    });
    (pebble.unwrap(), server)
}

/// Serial number of the certificate that a port shows.
fn serial(port: u16) -> String {
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let path = std::env::temp_dir().join(format!("spawnpoint-shown-{}-{port}", std::process::id()));
    std::fs::write(&path, client.stdout).unwrap();
    let read =
        Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&path).output().unwrap();
    std::fs::remove_file(path).unwrap();
    String::from_utf8_lossy(&read.stdout).trim().trim_start_matches("serial=").to_lowercase()
}

/// Whether the API is reached by a name, by who trusts this root.
fn is_reached(server: &Server, name: &str, root: &Path) -> bool {
    let url = format!("https://{name}:{}/monitor", server.api.address.port());
    curl(&url, root, &[]).1.ends_with("\n200")
}

fn has_certificate(server: &Server, pebble: &Pebble) {
    let (name, root) = (format!("api.{DOMAIN}"), pebble.root());
    eventually("a certificate of the authority is shown", PATIENCE, || {
        is_reached(server, &name, &root).then_some(())
    });
}

/// What `spawnpoint ca status` says: whether all is well, and the text.
fn status(server: &Server) -> (bool, String) {
    let told = server.run(&["ca", "status"]);
    (told.code == Some(0), told.text)
}

fn a_deployment_is_reached_by_its_name_with_a_certificate_of_the_authority(runtime: &Runtime) {
    if !Pebble::is_there() {
        return;
    }
    let mut pebble = None;
    let (mut server, _installation) = runtime.start_with(|ports| {
        // One nonce in three is refused.
        let environment = vec![AT_ONCE, ("PEBBLE_WFE_NONCEREJECT", "33")];
        let setup = Setup { names: ports.names(), environment, ..Setup::default() };
        let pebble = pebble.insert(Pebble::start(setup));
        configuration(ports, &pebble.directory, &pebble.ca, "", &runtime.site(ports))
    });
    let pebble = pebble.unwrap();
    let ports =
        json!([{"name": "web", "port": 8080, "protocol": "HTTP", "to_check": true, "tls_upgrade": true}]);
    server.api.describe("arena", "v1", runtime.image(), &json!({"ports": ports}));
    // The first one starts whether there is a certificate or not.
    let first = server.api.deploy("arena", "v1", &json!({}));
    let second = server.api.deploy("arena", "v1", &json!({}));
    let links = [&first, &second].map(|id| text(&server.api.wait_for(id, "READY")["ports"]["web"], "link"));
    let root = pebble.root();
    for link in &links {
        let told = eventually("it is reached by its name", PATIENCE, || {
            let (code, told) = curl(link, &root, &[]);
            (code == Some(0)).then_some(told)
        });
        assert!(told.ends_with("\n200"), "{told}");
    }
    assert_eq!(pebble.issued(), 1);
    let (good, told) = status(&server);
    assert!(good && told.contains(&format!("*.{DOMAIN}")) && told.contains("days left"), "{told}");

    // It is kept: nothing is ordered at a restart, and no key can be read.
    server.kill();
    server.restart();
    assert_eq!(curl(&links[0], &root, &[]).0, Some(0), "at once");
    assert_eq!(pebble.issued(), 1);
    assert_no_key_lies_about(&server, &pebble.directory);
    for id in [&first, &second] {
        server.api.stop(id);
    }
    server.audit();
}

/// Neither in the log nor in the data directory, but for the own authority's: what is kept of ACME is sealed.
fn assert_no_key_lies_about(server: &Server, directory: &str) {
    let mut kept = server.log().into_bytes();
    for entry in std::fs::read_dir(server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("ca-key.pem") {
            kept.extend(std::fs::read(&path).unwrap());
        }
    }
    let holds = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(directory) && holds("BEGIN CERTIFICATE"), "else this test would not notice a leak");
    assert!(!holds("PRIVATE KEY") && !holds("key_pkcs8"));
}

#[test]
fn a_control_plane_that_is_killed_in_the_middle_of_an_order_ends_with_one_certificate() {
    if !Pebble::is_there() {
        return;
    }
    // (One that takes its time looks several times at once, and takes an order back that it has signed when the last of its
    // eyes finds the text gone.)
    let environment = vec![AT_ONCE, EVERY_NONCE, ANEW];
    let (pebble, mut server) = world(Setup { environment, ..Setup::default() }, "");
    // An order was made; its name is being looked at; the certificate was signed, but not fetched.
    for moment in ["orders in the db", "Pulled a task", "Issued certificate serial"] {
        eventually(moment, PATIENCE, || pebble.log().contains(moment).then_some(()));
        server.kill();
        say(&format!("killed at {moment:?}: {}", status(&server).1.lines().last().unwrap_or_default()));
        server.restart();
    }
    has_certificate(&server, &pebble);
    assert_eq!(pebble.issued(), 1, "the one order went on");
    let shown = serial(server.api.address.port());
    assert!(pebble.log().contains(&format!("Issued certificate serial {shown}")), "{shown}");
    assert!(status(&server).0);
    // The binary's own commands find the server behind whatever certificate it shows.
    assert_eq!(server.run(&["token", "list"]).code, Some(0));
    server.audit();
}

#[test]
fn a_certificate_is_renewed_before_it_expires_and_the_old_one_serves_until_then() {
    if !Pebble::is_there() {
        return;
    }
    let environment = vec![AT_ONCE, EVERY_NONCE];
    let (pebble, server) = world(Setup { environment, seconds: Some(18), ..Setup::default() }, "");
    has_certificate(&server, &pebble);
    let (root, name, port) = (pebble.root(), format!("api.{DOMAIN}"), server.api.address.port());
    let first = serial(port);
    eventually("another certificate is shown", PATIENCE, || {
        assert!(is_reached(&server, &name, &root), "at every moment");
        (serial(port) != first).then_some(())
    });
    let issued = pebble.issued();
    assert!((2..=3).contains(&issued), "{issued}");
    assert_eq!(server.run(&["token", "list"]).code, Some(0));
}

#[test]
fn names_that_cannot_be_proven_and_an_authority_that_forgets_us_are_borne() {
    if !Pebble::is_there() {
        return;
    }
    // It asks a name server that is not there.
    let environment = vec![AT_ONCE, EVERY_NONCE, ANEW];
    let (mut pebble, server) = world(Setup { names: 9, environment, ..Setup::default() }, "");
    let told = eventually("the refusal is told", PATIENCE, || {
        let (good, told) = status(&server);
        assert!(!good, "{told}");
        told.contains("proven").then_some(told)
    });
    assert!(told.contains("none yet") && told.contains("failed tries"), "{told}");
    assert!(server.log().contains("no certificate could be had"));
    assert!(pebble.issued() == 0 && server.log().matches("a certificate is ordered").count() < 8);
    // Who trusts the own authority is served.
    let own = server.data_dir().join("ca.pem");
    assert!(is_reached(&server, &format!("api.{DOMAIN}"), &own));

    // It comes back with the right name server, another root, and without knowing the account.
    pebble.restart(server.ports.names());
    has_certificate(&server, &pebble);
    assert!(status(&server).0);
    assert_eq!(pebble.issued(), 1);
}

#[test]
fn an_authority_that_is_not_there_is_told_and_breaks_nothing_else() {
    if !Pebble::is_there() {
        return;
    }
    let setup = Setup { names: 9, environment: vec![AT_ONCE], ..Setup::default() };
    let pebble = Pebble::start(setup);
    let stranger = Pebble::start(Setup { names: 9, ..Setup::default() });
    let wrong_path = pebble.directory.replace("/dir", "/nowhere");
    for (directory, ca, expected) in [
        ("https://127.0.0.1:9/dir", &pebble.ca, "Connection refused"),
        (wrong_path.as_str(), &pebble.ca, "404"),
        (pebble.directory.as_str(), &stranger.ca, "invalid peer certificate"),
    ] {
        let server = Server::start(|ports| configuration(ports, directory, ca, "", &server::fake(ports)));
        let told = eventually("the problem is told", PATIENCE, || {
            let (good, told) = status(&server);
            (!good && told.contains("last error")).then_some(told)
        });
        assert!(told.contains(expected) && told.contains(directory), "{told}");
        server.api.describe("arena", "v1", ("game", "1"), &json!({}));
        let id = server.api.deploy("arena", "v1", &json!({}));
        let _ = server.api.wait_for(&id, "READY");
        server.api.stop(&id);
        assert!(server.log().matches("a certificate is ordered").count() < 8, "{}", server.log());
        server.audit();
    }
}

#[test]
fn an_account_is_bound_to_one_that_the_authority_knows() {
    if !Pebble::is_there() {
        return;
    }
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("eab");
    let write = |key: &str| {
        std::fs::write(&key_file, key).unwrap();
        let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key_file, secret).unwrap();
    };
    write("bm90LXRoZS1rZXktbm90LXRoZS1rZXktbm90LXRoZS1rZXk");
    let environment = vec![AT_ONCE, EVERY_NONCE];
    let setup = Setup { environment, binding: Some(("kid-1", KEY)), ..Setup::default() };
    let eab = format!("eab = {{ kid = \"kid-1\", key_file = \"{}\" }}", key_file.display());
    let (pebble, mut server) = world(setup, &eab);
    let told = eventually("the refusal is told", PATIENCE, || {
        Some(status(&server).1).filter(|told| told.contains("last error"))
    });
    assert!(told.contains("gives no account"), "{told}");
    write(KEY);
    server.kill();
    server.restart();
    has_certificate(&server, &pebble);
    assert!(!server.log().contains(KEY));
}

#[test]
fn several_names_are_proven_at_once() {
    if !Pebble::is_there() {
        return;
    }
    let environment = vec![AT_ONCE, EVERY_NONCE, ANEW];
    let names = format!("names = [\"{DOMAIN}\"]");
    let (pebble, server) = world(Setup { environment, ..Setup::default() }, &names);
    has_certificate(&server, &pebble);
    assert!(is_reached(&server, DOMAIN, &pebble.root()), "the domain itself");
}

#[test]
fn of_two_control_planes_on_one_database_one_orders_and_both_show() {
    let Ok(url) = std::env::var("SPAWNPOINT_TEST_POSTGRES") else {
        say("skipped: SPAWNPOINT_TEST_POSTGRES holds no URL of a PostgreSQL server");
        return;
    };
    if !Pebble::is_there() {
        return;
    }
    let schema = format!("acme_{}", std::process::id());
    let sql = |text: String| {
        let done = Command::new("psql").args([&url, "-qc", &text]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    sql(format!("create schema {schema}"));
    let dir = tempfile::tempdir().unwrap();
    let shared = format!(
        "[store]\nurl = \"{url}{}options=-c%20search_path%3D{schema}\"\n[secrets]\nmaster_key_file = \"{}\"\n",
        if url.contains('?') { '&' } else { '?' },
        dir.path().join("master-key").display()
    );
    let mut pebble = None;
    let environment = vec![AT_ONCE, EVERY_NONCE, ANEW];
    let setup = Setup { environment, seconds: Some(25), ..Setup::default() };
    let start = |pebble: &mut Option<Pebble>| {
        Server::start(|ports| {
            let setup = Setup { names: ports.names(), ..setup.clone() };
            let pebble = pebble.get_or_insert_with(|| Pebble::start(setup));
            let site = format!("{shared}{}", server::fake(ports));
            configuration(ports, &pebble.directory, &pebble.ca, "\napi = true\n", &site)
        })
    };
    let servers = [start(&mut pebble), start(&mut pebble)];
    let pebble = pebble.unwrap();
    let serials = || servers.each_ref().map(|server| serial(server.api.address.port()));
    servers.iter().for_each(|server| has_certificate(server, &pebble));
    let first = eventually("both show the same", PATIENCE, || {
        let [one, other] = serials();
        (one == other).then_some(one)
    });
    // Whoever renews it, the first one's name server is asked: it shows what the other one orders, too.
    eventually("both show another one", PATIENCE, || {
        let [one, other] = serials();
        (one == other && one != first).then_some(())
    });
    let ordered: usize =
        servers.iter().map(|server| server.log().matches("a certificate is ordered").count()).sum();
    assert_eq!(ordered, pebble.issued(), "every order was one's alone, and gave a certificate");
    drop(servers);
    sql(format!("drop schema {schema} cascade"));
}
