//! The proxy between real clients and small services, over loopback.

use std::sync::Mutex as StdMutex;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::{Authority, Identity};

/// Seconds since 1970: certificates of the tests are good for a while around it.
const NOW: u64 = 1_795_000_000;
const NAME: &str = "5d1e07a9c34b.games.test";
const LIMITS: Limits =
    Limits { connections_per_owner: 4, idle: Duration::from_millis(700), drain: Duration::from_millis(300) };

struct World {
    proxy: Proxy,
    identity: Arc<Identity>,
    authority: Authority,
    trusted: Arc<ClientConfig>,
}

impl World {
    fn new() -> Self {
        let authority = Authority::make("test", NOW).unwrap();
        let identity = Identity::new(authority.issue(&["*.games.test".into()], NOW).unwrap());
        let proxy = Proxy::new(identity.server_config().unwrap(), LIMITS);
        let trusted = trusting(authority.certificate_pem());
        Self { proxy, identity, authority, trusted }
    }

    /// Opens a free port in front of a service.
    fn open(&self, owner: &str, to: SocketAddr) -> u16 {
        let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        self.proxy.open(&Route { owner: owner.into(), label: format!("{owner}-1"), port, to }, None).unwrap();
        port
    }

    async fn connect(&self, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(self.trusted.clone()).connect(name, stream).await
    }

    /// Sends bytes and reads until the end.
    async fn ask(&self, port: u16, request: &str) -> String {
        let mut stream = self.connect(port).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The end without a goodbye is an end as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn trusting(pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(crate::identity::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A service that answers the head of each request that it got, on a connection each; it switches protocols if it is asked to,
/// and echoes then.
async fn service() -> (SocketAddr, Arc<StdMutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(StdMutex::new(Vec::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                seen.lock().unwrap().push(head.clone());
                if head.contains("upgrade: websocket") {
                    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
                    stream.write_all(switch.as_bytes()).await?;
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await?;
                    return Ok(());
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nkeep-alive: x\r\ncontent-length: {}\r\n\r\n{head}",
                    head.len()
                );
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    (address, heads)
}

const GET: &str = "GET /a?b=c HTTP/1.1\r\nhost: 5d1e07a9c34b.games.test:31000\r\n";

#[tokio::test]
async fn a_request_arrives_as_it_was_with_the_clients_address_and_nothing_that_the_client_claims_of_it() {
    let (world, (to, _)) = (World::new(), service().await);
    let port = world.open("a", to);
    let claims = "x-forwarded-for: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\nx-real-ip: 1.2.3.4\r\nX-Secret: s\r\n\
                  connection: close, x-secret\r\nte: trailers\r\nx-kept: yes\r\n\r\n";
    let answer = world.ask(port, &format!("{GET}{claims}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("keep-alive"), "{answer}");
    for expected in [
        "get /a?b=c http/1.1\r\n",
        "host: 5d1e07a9c34b.games.test:31000\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "x-kept: yes\r\n",
    ] {
        assert!(answer.contains(expected), "{expected:?}: {answer}");
    }
    assert!(
        !answer.contains("1.2.3.4") && !answer.contains("x-secret") && !answer.contains("\nte:"),
        "{answer}"
    );
}

#[tokio::test]
async fn several_requests_of_one_connection_are_answered_one_after_the_other() {
    let (world, (to, heads)) = (World::new(), service().await);
    let port = world.open("a", to);
    let post = "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let answer = world.ask(port, &format!("{GET}\r\n{post}{GET}connection: close\r\n\r\n")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    let heads = heads.lock().unwrap();
    assert!(heads[1].starts_with("post /up "), "{heads:?}");
}

#[tokio::test]
async fn a_websocket_is_bytes_both_ways_and_ends_with_its_port() {
    let (world, (to, _)) = (World::new(), service().await);
    let port = world.open("a", to);
    let mut stream = world.connect(port).await.unwrap();
    let upgrade = format!("{GET}connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n");
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    let mut echo = [0; 5];
    // Longer than a silent connection may live, since it is not silent.
    for _ in 0..4 {
        stream.write_all(b"\x81\x03abc").await.unwrap();
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"\x81\x03abc");
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(world.proxy.owners(), ["a"]);
    world.proxy.close_owner("b");
    assert!(world.proxy.is_open("a-1", port) && !world.proxy.is_open("a-2", port));
    world.proxy.close_owner("a");
    assert!(world.proxy.owners().is_empty());
    let ended = timeout(Duration::from_secs(5), stream.read_u8()).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_silent_connection_ends_and_so_does_one_that_never_agrees_on_tls_or_speaks_plainly() {
    let (world, (to, _)) = (World::new(), service().await);
    let port = world.open("a", to);
    let mut silent = world.connect(port).await.unwrap();
    let ended = timeout(Duration::from_secs(5), silent.read_u8()).await.unwrap();
    assert!(ended.is_err());
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "no plain answer");
}

#[tokio::test]
async fn a_service_that_is_gone_is_a_bad_gateway_and_the_port_can_be_led_elsewhere() {
    let world = World::new();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let port = world.open("a", address);
    let request = format!("{GET}connection: close\r\n\r\n");
    assert!(world.ask(port, &request).await.starts_with("HTTP/1.1 502 "));
    let (to, _) = service().await;
    let route = |owner: &str| Route { owner: owner.into(), label: format!("{owner}-1"), port, to };
    assert_eq!(world.proxy.open(&route("b"), None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    world.proxy.open(&route("a"), None).unwrap();
    assert!(world.ask(port, &request).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_not_opened() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let route = Route {
        owner: "a".into(),
        label: "a-1".into(),
        port: taken.local_addr().unwrap().port(),
        to: SocketAddr::from(([127, 0, 0, 1], 9)),
    };
    assert_eq!(world.proxy.open(&route, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert!(!world.proxy.is_open("a-1", route.port));
}

#[tokio::test]
async fn one_owners_connections_are_bounded_over_its_ports_and_another_owner_has_its_own() {
    let (world, (to, _)) = (World::new(), service().await);
    let (first, second, other) = (world.open("a", to), world.open("a", to), world.open("b", to));
    let mut held = Vec::new();
    for port in [first, first, second, second] {
        held.push(world.connect(port).await.unwrap());
    }
    assert!(world.connect(first).await.is_err() && world.connect(second).await.is_err());
    assert!(world.connect(other).await.is_ok());
    drop(held);
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_the_next_client_whatever_name_it_asks_for() {
    let (world, (to, _)) = (World::new(), service().await);
    let port = world.open("a", to);
    let shown = async || {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("other.games.test").unwrap();
        let stream = TlsConnector::from(world.trusted.clone()).connect(name, stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = shown().await;
    assert_eq!(first, shown().await);
    world.identity.replace(world.authority.issue(&["*.games.test".into()], NOW).unwrap());
    assert_ne!(first, shown().await);
}

#[tokio::test]
async fn at_the_end_a_request_under_way_is_answered_and_the_rest_is_cut() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = world.open("a", listener.local_addr().unwrap());
    let mut stream = world.connect(port).await.unwrap();
    stream.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
    let (mut behind, _) = listener.accept().await.unwrap();
    let answers = async {
        behind.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (answer, ()) = tokio::join!(answers, world.proxy.close());
    assert!(answer.ends_with("late"), "{answer}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let route =
        Route { owner: "a".into(), label: "a-1".into(), port, to: SocketAddr::from(([127, 0, 0, 1], 9)) };
    assert!(world.proxy.open(&route, None).is_err(), "nothing is opened any more");
}

#[tokio::test]
async fn guests_are_let_in_and_others_are_cut_off_as_soon_as_they_are_none() {
    let (world, (to, _)) = (World::new(), service().await);
    let port = world.open("a", to);
    let nobody: Guests = Some(Arc::new(|_| false));
    let local: Guests = Some(Arc::new(|peer| peer == IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let request = format!("{GET}connection: close\r\n\r\n");
    world.proxy.set_guests("a", &local);
    assert!(world.ask(port, &request).await.starts_with("HTTP/1.1 200 "));
    let mut idle = world.connect(port).await.unwrap();
    let mut socket = world.connect(port).await.unwrap();
    let upgrade = format!("{GET}connection: upgrade\r\nupgrade: websocket\r\n\r\n");
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'H');
    world.proxy.set_guests("b", &nobody);
    assert!(world.ask(port, &request).await.starts_with("HTTP/1.1 200 "), "that was about another owner");
    world.proxy.set_guests("a", &nobody);
    let mut rest = Vec::new();
    // Sooner than a silent connection would end.
    let soon = LIMITS.idle / 2;
    assert!(timeout(soon, idle.read_u8()).await.unwrap().is_err());
    assert!(timeout(soon, socket.read_to_end(&mut rest)).await.unwrap().is_err());
    assert!(world.connect(port).await.is_err());
    world.proxy.set_guests("a", &None);
    assert!(world.ask(port, &request).await.starts_with("HTTP/1.1 200 "));
}
