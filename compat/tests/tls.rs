//! TLS from outside: ports with `tls_upgrade` of real containers by `curl` and a WebSocket client, and the API with a
//! certificate.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::curl::curl;
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, server};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

spawnpoint_compat::on_each_runtime!(
    ports_with_tls_upgrade_are_reached_by_https_and_wss_and_the_container_stays_plain,
    a_tls_port_lets_in_only_whom_the_access_list_names,
    connections_break_when_the_control_plane_is_killed_and_are_made_anew_when_it_is_back,
    a_restarted_container_is_reached_under_the_same_link,
    slow_and_many_connections_do_no_harm,
);

const DOMAIN: &str = "play.spawnpoint.test";

/// A server with a version that has ports of every kind.
fn world(runtime: &Runtime) -> (Server, Installation) {
    let (server, installation) = runtime.start_with(|ports| {
        let site = runtime.site(ports);
        format!(
            "[domain]\nsuffix = \"{DOMAIN}\"\n[tls]\nconnections_per_deployment = 8\nidle_seconds = 5\n{site}"
        )
    });
    let ports = json!([
        {"name": "web", "port": 8080, "protocol": "HTTP", "to_check": true, "tls_upgrade": true},
        {"name": "play", "port": 8081, "protocol": "WS", "to_check": true, "tls_upgrade": true},
        {"name": "plain", "port": 8082, "protocol": "WS", "to_check": true},
        {"name": "direct", "port": 0, "protocol": "HTTP", "to_check": true, "tls_upgrade": true},
        {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
    ]);
    server.api.describe("arena", "v1", runtime.image(), &json!({"ports": ports}));
    (server, installation)
}

/// The authority's certificate, as `spawnpoint ca print` tells it, in a file.
fn authority(server: &Server) -> PathBuf {
    let printed = server.run(&["ca", "print"]);
    assert_eq!(printed.code, Some(0), "{}", printed.text);
    assert!(printed.text.starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", printed.text);
    let path = server.data_dir().join("printed-ca.pem");
    std::fs::write(&path, printed.text).unwrap();
    path
}

/// Speaks WebSocket over TLS to a port, under a name.
async fn websocket(
    name: &str,
    port: u16,
    ca: &Path,
) -> WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(server, stream).await.unwrap();
    let url = format!("wss://{name}:{port}/");
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

/// Whether a WebSocket answers a ping of the game.
async fn plays<S>(socket: &mut WebSocketStream<S>, id: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::text("ping")).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_text().unwrap().as_str(), format!("pong {id}"));
}

fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Addresses of this machine that others would use.
fn addresses() -> Vec<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let outward = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr());
    [Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), outward.ok().map(|address| address.ip())]
        .into_iter()
        .flatten()
        .collect()
}

fn ports_with_tls_upgrade_are_reached_by_https_and_wss_and_the_container_stays_plain(runtime: &Runtime) {
    let (server, installation) = world(runtime);
    let ca = authority(&server);
    let id = server.api.deploy("arena", "v1", &json!({}));
    let status = server.api.wait_for(&id, "READY");
    let link = |name: &str| text(&status["ports"][name], "link");
    let (web, play) = (external(&status, "web"), external(&status, "play"));
    assert_eq!(link("web"), format!("https://{id}.{DOMAIN}:{web}"));
    assert_eq!(link("play"), format!("wss://{id}.{DOMAIN}:{play}"));

    let claims = ["-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Mine: kept", "-d", "a body"];
    let (code, told) = curl(&format!("{}/lobby?a=1", link("web")), &ca, &claims);
    assert_eq!(code, Some(0), "{told}");
    for expected in
        ["POST /lobby?a=1 HTTP/1.1", "x-forwarded-for: 127.0.0.1", "x-mine: kept", "\n\na body", "\n200"]
    {
        assert!(told.contains(expected), "{expected:?}: {told}");
    }
    assert!(!told.contains("1.2.3.4"), "{told}");
    let (code, told) = curl(&link("direct"), &ca, &[]);
    assert!(code == Some(0) && told.ends_with("\n200"), "{told}");
    // Whoever does not know the authority is warned, and a wrong name is told to be one.
    let (code, _) = curl(&link("web"), Path::new("/etc/ssl/certs/ca-certificates.crt"), &[]);
    assert_eq!(code, Some(60));
    let (code, told) = curl(&format!("https://other.example.com:{web}/"), &ca, &[]);
    assert_eq!(code, Some(60), "{told}");

    executor().block_on(async {
        let name = format!("{id}.{DOMAIN}");
        let mut socket = websocket(&name, play, &ca).await;
        plays(&mut socket, &id).await;
        let long = "x".repeat(70_000);
        socket.send(Message::text(long.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), long);
        socket.close(None).await.unwrap();
    });
    no_plain_port_is_open(&installation, &id, &status);
    assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"));
    server.audit();
    server.api.stop(&id);
    assert!(TcpStream::connect(("127.0.0.1", web)).is_err(), "the port is closed with its deployment");
    assert_eq!(installation.containers(), []);
    server.audit();
}

/// Several addresses of the loopback network are several clients.
fn a_tls_port_lets_in_only_whom_the_access_list_names(runtime: &Runtime) {
    let (server, _installation) = world(runtime);
    let ca = authority(&server);
    let api = &server.api;
    let ports = json!([{"name": "web", "port": 8080, "protocol": "HTTP", "to_check": true, "tls_upgrade": true},
        {"name": "play", "port": 8081, "protocol": "WS", "to_check": true, "tls_upgrade": true}]);
    let _ = api
        .patch("/v1/app/arena/version/v1", &json!({"whitelisting_active": true, "ports": ports}))
        .expect(200);
    let list = "/v1/app/arena/version/v1/whitelist";
    let add = |cidr: &str| text(&api.post(list, &json!({"cidr": cidr})).expect(200)["whitelist_entry"], "id");
    let own = add("127.0.0.1/32");
    let id = api.deploy("arena", "v1", &json!({}));
    let status = api.wait_for(&id, "READY");
    let link = text(&status["ports"]["web"], "link");
    let reached = |from: &str| curl(&link, &ca, &["--interface", from, "-m", "2"]).0 == Some(0);
    assert_eq!((reached("127.0.0.1"), reached("127.0.0.9")), (true, false));
    executor().block_on(async {
        let mut socket = websocket(&format!("{id}.{DOMAIN}"), external(&status, "play"), &ca).await;
        plays(&mut socket, &id).await;
        let _ = add("127.0.0.9/32");
        eventually("a network is added", PATIENCE, || reached("127.0.0.9").then_some(()));
        plays(&mut socket, &id).await;
        let _ = api.delete(&format!("{list}/{own}")).expect(200);
        let end = tokio::time::timeout(PATIENCE, socket.next()).await;
        assert!(!matches!(end.unwrap(), Some(Ok(_))), "a connection goes on that is listed no more");
    });
    assert_eq!((reached("127.0.0.1"), reached("127.0.0.9")), (false, true));
    server.audit();
}

/// Neither the engine publishes the port nor does anything speak plainly on it, on whatever address of this machine.
fn no_plain_port_is_open(installation: &Installation, id: &str, status: &Value) {
    let published = installation.container(id).published;
    let is_published = |port: &str| published.iter().any(|one| one == port);
    assert!(!is_published("8080/tcp") && is_published("8082/tcp"), "{published:?}");
    for address in addresses() {
        for name in ["web", "play", "direct"] {
            let port = external(status, name);
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let answer = spawnpoint_compat::http::send_raw(SocketAddr::new(address, port), request);
            assert!(answer.is_err(), "{address}:{port} speaks plainly: {answer:?}");
            let (inside, here) = (status["ports"][name]["internal"].as_u64().unwrap(), u64::from(port));
            let inside = u16::try_from(inside).unwrap();
            if here != u64::from(inside) {
                assert!(TcpStream::connect((address, inside)).is_err(), "{address}:{inside} is open");
            }
        }
    }
}

fn connections_break_when_the_control_plane_is_killed_and_are_made_anew_when_it_is_back(runtime: &Runtime) {
    let (mut server, installation) = world(runtime);
    let ca = authority(&server);
    let id = server.api.deploy("arena", "v1", &json!({}));
    let status = server.api.wait_for(&id, "READY");
    let (play, name) = (external(&status, "play"), format!("{id}.{DOMAIN}"));
    let started = installation.container(&id);
    let executor = executor();
    let mut socket = executor.block_on(websocket(&name, play, &ca));
    executor.block_on(plays(&mut socket, &id));
    server.kill();
    let broken = executor.block_on(async { tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() });
    assert!(broken.is_none_or(|message| message.is_err()));
    server.restart();
    // It is open when the server is ready: what ran is adopted first.
    let mut socket = executor.block_on(websocket(&name, play, &ca));
    executor.block_on(plays(&mut socket, &id));
    assert_eq!(installation.container(&id), started, "the match went on");
    // In order, the same: and the port is free for the next one.
    assert_eq!(server.terminate().code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", play)).is_err());
    server.restart();
    let mut socket = executor.block_on(websocket(&name, play, &ca));
    executor.block_on(plays(&mut socket, &id));
    drop(socket);
    server.api.stop(&id);
    server.audit();
}

fn a_restarted_container_is_reached_under_the_same_link(runtime: &Runtime) {
    let (server, installation) = world(runtime);
    let ca = authority(&server);
    let fields = json!({"restart_policy": "always", "ports": [
        {"name": "web", "port": 8080, "protocol": "HTTP", "to_check": true, "tls_upgrade": true},
        {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
    ]});
    server.api.describe("arena", "restarts", runtime.image(), &fields);
    let id = server.api.deploy("arena", "restarts", &json!({}));
    let status = server.api.wait_for(&id, "READY");
    let link = text(&status["ports"]["web"], "link");
    let first = installation.container(&id).id;
    spawnpoint_compat::player::tell_udp(external(&status, "game"), "exit 3");
    eventually("another container runs", PATIENCE, || installation.has_another(&id, &first).then_some(()));
    eventually("it is reached by the same link", PATIENCE, || {
        curl(&link, &ca, &[]).1.ends_with("\n200").then_some(())
    });
    server.api.stop(&id);
    server.audit();
}

fn slow_and_many_connections_do_no_harm(runtime: &Runtime) {
    let (server, _installation) = world(runtime);
    let ca = authority(&server);
    let id = server.api.deploy("arena", "v1", &json!({}));
    let status = server.api.wait_for(&id, "READY");
    let web = external(&status, "web");
    // As many as one deployment may have, none of which says a word.
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(("127.0.0.1", web)).unwrap()).collect();
    let link = text(&status["ports"]["web"], "link");
    let refused = eventually("all places are taken", PATIENCE, || {
        let (code, told) = curl(&link, &ca, &[]);
        (code != Some(0)).then_some(told)
    });
    assert!(!refused.contains("\n200"), "{refused}");
    // They are given up after a while, whether their clients hang up or not.
    eventually("silent ones are gone", PATIENCE, || curl(&link, &ca, &[]).1.ends_with("\n200").then_some(()));
    drop(silent);
    server.api.stop(&id);
}

/// A certificate that `openssl` signs itself, in two files.
fn self_signed(dir: &Path, common_name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join("api.pem"), dir.join("api-key.pem"));
    let (new_certificate, new_key) = (dir.join("new.pem"), dir.join("new-key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={common_name}"),
        ])
        .args(["-addext", "subjectAltName=DNS:api.example.test"])
        .arg("-keyout")
        .arg(&new_key)
        .arg("-out")
        .arg(&new_certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::rename(new_key, &key).unwrap();
    std::fs::rename(new_certificate, &certificate).unwrap();
    (certificate, key)
}

#[test]
fn the_api_speaks_tls_whatever_the_host_header_says_and_shows_a_replaced_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(dir.path(), "first");
    let server = Server::start(|ports| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("[api.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{}", server::fake(ports))
    });
    let port = server.api.address.port();
    let url = format!("https://api.example.test:{port}/v1/ip");
    let token = format!("authorization: {}", server.api.token);
    for host in ["api.example.test", "spawnpoint", "10.1.2.3:99", "evil.example.com"] {
        let (code, told) = curl(&url, &certificate, &["-H", &token, "-H", &format!("host: {host}")]);
        assert!(code == Some(0) && told.ends_with("\n200") && told.contains("127.0.0.1"), "{host}: {told}");
    }
    // Any name that a client asks for is answered with the one certificate; what it thinks of that is its business.
    let (code, told) = curl(&format!("https://127.0.0.1:{port}/monitor"), &certificate, &["-k"]);
    assert!(code == Some(0) && told.ends_with("\n200"), "{told}");
    let (code, _) = curl(&format!("https://wrong.example.test:{port}/monitor"), &certificate, &[]);
    assert_eq!(code, Some(60));
    let plain = spawnpoint_compat::http::send_raw(
        server.api.address,
        &spawnpoint_compat::http::request("GET", "/monitor", &[], None),
    );
    assert!(plain.is_err(), "{plain:?}");
    // The binary's own commands find it, by its address, under a certificate that is for another name.
    let listed = server.run(&["token", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.text);
    server.audit();

    let (certificate, _) = self_signed(dir.path(), "second");
    let sent = Command::new("kill").args(["-HUP", &server.pid().unwrap().to_string()]).status();
    assert!(sent.unwrap().success());
    eventually("the new certificate is shown", Duration::from_secs(20), || {
        curl(&url, &certificate, &["-H", &token]).1.ends_with("\n200").then_some(())
    });
    assert_eq!(server.run(&["token", "list"]).code, Some(0));
}
