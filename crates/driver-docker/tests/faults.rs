//! A real engine behind a bad line: hangs, lost answers, cut streams, certificates.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use proxy::Manners;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use spawnpoint_driver::{Driver, DriverError, Hint, LogFrom, Running, WorkloadFile, WorkloadSpec};
use spawnpoint_driver_docker::{DockerDriver, Endpoint, GuardState, TlsFiles};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use world::World;

/// All in one test: they share an installation, whose network is taken away at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_to_the_engine_loses_doubles_and_delays_nothing() {
    let Some(world) = World::open().await else { return };
    let manners = Arc::new(Manners::default());
    let address = proxy::start(Arc::clone(&manners), None).await;
    let driver = world.driver_at(Endpoint::Tcp { address: address.clone(), tls: None });

    a_lost_answer_to(&world, &driver, &manners, "/containers/create", 21_001).await;
    a_lost_answer_to(&world, &driver, &manners, "/start", 21_002).await;
    files_are_put_into_a_container_that_was_only_made(&world, &driver, &manners, 21_005).await;
    a_lost_answer_to_a_removal_is_a_removal(&world, &driver, &manners, 21_003).await;
    a_cut_stream_of_hints_ends(&driver, &manners).await;
    a_mute_engine_costs_a_call_its_deadline(&driver, &manners).await;
    an_engine_elsewhere_is_asked_from_outside(&world, &driver, 21_004).await;
    figures_of_an_engine_elsewhere_are_asked_for_seldom_and_a_hang_is_a_gap(
        &world, &address, &manners, 21_005,
    )
    .await;
    an_engine_that_is_down_is_unavailable_until_it_is_up(&world).await;
    an_engine_behind_tls_is_used_and_a_false_one_is_not(&world).await;

    world.close().await;
}

async fn a_lost_answer_to(
    world: &World,
    driver: &DockerDriver,
    manners: &Manners,
    what: &'static str,
    port: u16,
) {
    driver.list().await.unwrap();
    let spec = world.spec(1, port);
    *manners.lose_answer_to.lock() = Some(what);
    assert_eq!(driver.ensure(&spec).await, Err(DriverError::Timeout), "{what}");
    driver.ensure(&spec).await.unwrap();
    let found = driver.list().await.unwrap().into_iter().filter(|w| w.id == spec.id).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{what}");
    assert_eq!(found[0].state, Running::Running, "{what}");
    driver.remove(spec.id).await.unwrap();
}

/// A control plane that dies between the creation and the start leaves a container that may lack its files.
async fn files_are_put_into_a_container_that_was_only_made(
    world: &World,
    driver: &DockerDriver,
    manners: &Manners,
    port: u16,
) {
    let mut spec = world.spec(1, port);
    spec.files = vec![WorkloadFile { path: "/data/last".to_owned(), mode: 0o644, content: "here".into() }];
    spec.arguments = Some(vec!["show:/data/last".to_owned()]);
    *manners.lose_answer_to.lock() = Some("/containers/create");
    assert_eq!(driver.ensure(&spec).await, Err(DriverError::Timeout));
    let found = driver.inspect(spec.id).await.unwrap().unwrap();
    assert_eq!(found.state, Running::Starting);
    driver.ensure(&spec).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let mut log = driver.logs(spec.id, LogFrom::Start, false).await.unwrap();
            let mut text = Vec::new();
            while let Some(Ok(chunk)) = log.next().await {
                text.extend_from_slice(&chunk.bytes);
            }
            if String::from_utf8_lossy(&text).contains("/data/last holds here") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    driver.remove(spec.id).await.unwrap();
}

async fn a_lost_answer_to_a_removal_is_a_removal(
    world: &World,
    driver: &DockerDriver,
    manners: &Manners,
    port: u16,
) {
    let spec = world.spec(1, port);
    driver.ensure(&spec).await.unwrap();
    *manners.lose_answer_to.lock() = Some("DELETE ");
    assert_eq!(driver.remove(spec.id).await, Err(DriverError::Timeout));
    driver.remove(spec.id).await.unwrap();
    assert_eq!(driver.inspect(spec.id).await.unwrap(), None);
}

async fn a_cut_stream_of_hints_ends(driver: &DockerDriver, manners: &Manners) {
    let mut hints = driver.watch().await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Resync));
    // Until the proxy holds the connection, there is nothing to cut.
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            manners.cut.notify_waiters();
            if let Ok(hint) = tokio::time::timeout(Duration::from_millis(20), hints.next()).await {
                break hint;
            }
        }
    });
    assert_eq!(ended.await.unwrap(), None);
}

async fn a_mute_engine_costs_a_call_its_deadline(driver: &DockerDriver, manners: &Manners) {
    manners.mute.store(true, Ordering::SeqCst);
    let asked = tokio::time::Instant::now();
    let many = (0..20).map(|n| driver.inspect(format!("{n:012x}-1").parse().unwrap()));
    for answer in futures_util::future::join_all(many).await {
        // The first ones wait for the engine, the others for a place.
        assert!(matches!(answer, Err(DriverError::Timeout | DriverError::Unavailable(_))), "{answer:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    manners.mute.store(false, Ordering::SeqCst);
    driver.list().await.unwrap();
}

async fn an_engine_elsewhere_is_asked_from_outside(world: &World, driver: &DockerDriver, port: u16) {
    let guard = driver.engine().guard().await.unwrap();
    let told = |commands: &str| commands.contains("169.254.0.0/16");
    assert!(matches!(&guard, GuardState::Missing { commands, .. } if told(commands)), "{guard:?}");
    assert!(!driver.info().await.unwrap().sees_udp_sockets);
    let listens = async |spec: &WorkloadSpec| driver.listening(spec.id, &spec.ports).await.unwrap();
    let spec = world.spec(1, port);
    driver.ensure(&spec).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while !listens(&spec).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    driver.remove(spec.id).await.unwrap();
    let mut deaf = world.spec(2, port);
    deaf.arguments = Some(vec!["never-listen".to_owned()]);
    driver.ensure(&deaf).await.unwrap();
    assert!(!listens(&deaf).await, "the engine's proxy was taken for the game");
    driver.remove(deaf.id).await.unwrap();
}

async fn figures_of_an_engine_elsewhere_are_asked_for_seldom_and_a_hang_is_a_gap(
    world: &World,
    address: &str,
    manners: &Manners,
    port: u16,
) {
    let driver = || world.driver_at(Endpoint::Tcp { address: address.to_owned(), tls: None });
    let first = driver();
    let spec = world.spec(1, port);
    first.ensure(&spec).await.unwrap();
    let read = first.stats_all().await.unwrap();
    let own = read.iter().find(|(id, _)| *id == spec.id).map(|(_, stats)| stats).unwrap();
    assert!(
        own.cpu_micros.is_some() && own.memory_bytes.is_some() && own.received_bytes.is_some(),
        "{own:?}"
    );
    assert_eq!(first.stats_all().await.unwrap(), [], "asked again within the minute");

    let second = driver();
    *manners.hang_on.lock() = Some("/stats");
    let asked = tokio::time::Instant::now();
    let others = async {
        let found = second.inspect(spec.id).await.unwrap();
        (found.unwrap().state, asked.elapsed())
    };
    let (figures, (state, waited)) = tokio::join!(second.stats_all(), others);
    assert_eq!(figures.unwrap(), [], "what does not answer is left out");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(state == Running::Running && waited < Duration::from_secs(3), "others waited for it: {waited:?}");
    *manners.hang_on.lock() = None;
    first.remove(spec.id).await.unwrap();
}

async fn an_engine_that_is_down_is_unavailable_until_it_is_up(world: &World) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let driver = world.driver_at(Endpoint::Unix(socket.clone()));
    let answer = driver.list().await;
    assert!(matches!(answer, Err(DriverError::Unavailable(_))), "{answer:?}");
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    driver.list().await.unwrap();
}

async fn an_engine_behind_tls_is_used_and_a_false_one_is_not(world: &World) {
    let directory = tempfile::tempdir().unwrap();
    let acceptor = certificates(directory.path());
    let address = proxy::start(Arc::default(), Some(acceptor)).await;
    let address = address.replace("127.0.0.1", "localhost");
    let file = |name: &str| directory.path().join(name);
    let tls = TlsFiles { ca: file("ca.pem"), cert: file("client.pem"), key: file("client.key") };
    let trusted = world.driver_at(Endpoint::Tcp { address: address.clone(), tls: Some(tls.clone()) });
    assert_eq!(trusted.info().await.unwrap().kind, "docker");
    // Signed by somebody else.
    let elsewhere = tempfile::tempdir().unwrap();
    drop(certificates(elsewhere.path()));
    let tls = TlsFiles { ca: elsewhere.path().join("ca.pem"), ..tls };
    let false_one = world.driver_at(Endpoint::Tcp { address, tls: Some(tls) });
    let answer = false_one.info().await;
    assert!(matches!(answer, Err(DriverError::Unavailable(_))), "{answer:?}");
}

/// An authority, a server called `localhost`, a client; the files that the client needs are written down.
fn certificates(directory: &Path) -> TlsAcceptor {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_cert = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let ((server_cert, server_key), (client_cert, client_key)) = (issue("localhost"), issue("spawnpoint"));
    for (name, pem) in
        [("ca.pem", &authority_cert.pem()), ("client.pem", &client_cert), ("client.key", &client_key)]
    {
        std::fs::write(directory.join(name), pem).unwrap();
    }
    // The driver installs it as well; whoever comes first.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(authority_cert.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(server_cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server_key.as_bytes()).unwrap();
    let config =
        ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}
