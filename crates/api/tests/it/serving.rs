//! The listener: deadlines and bounds that a client meets on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use spawnpoint_api::serve::{ServeOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Where a slow request waits: it says that it has begun, and ends when it may.
#[derive(Clone)]
struct Gate {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

/// A server that tells clients their address, and slowly that they were late.
async fn server() -> (SocketAddr, Gate, oneshot::Sender<()>, JoinHandle<()>) {
    let gate = Gate { begun: Arc::new(Semaphore::new(0)), may_end: Arc::new(Semaphore::new(0)) };
    let inside = gate.clone();
    let slow = async move || {
        inside.begun.add_permits(1);
        inside.may_end.acquire().await.unwrap().forget();
        "late"
    };
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
        .route("/slow", get(slow));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, router, ServeOptions::default(), async { drop(stopped.await) }));
    (address, gate, stop, task)
}

async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    stream.write_all(request.as_ref()).await.ok();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap().ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_know_where_they_come_from() {
    let (address, _gate, stop, task) = server().await;
    let answer = exchange(address, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
    stop.send(()).unwrap();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_ends_its_headers_is_hung_up_on() {
    let (address, _gate, _stop, _task) = server().await;
    let before = tokio::time::Instant::now();
    let answer = exchange(address, b"GET / HTTP/1.1\r\nhost:").await;
    assert!(!answer.contains("200"), "{answer}");
    assert!(before.elapsed() >= Duration::from_secs(10) && before.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn headers_are_bounded_in_size_and_number() {
    let (address, _gate, _stop, _task) = server().await;
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx-pad: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-pad: 1\r\n".repeat(1000));
    for request in [large, many] {
        let answer = exchange(address, &request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn smuggled_and_broken_requests_are_refused() {
    let (address, _gate, _stop, _task) = server().await;
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\nhost: x\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ] {
        let answer = exchange(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_shutdown_lets_requests_under_way_end() {
    let (address, gate, stop, task) = server().await;
    let slow = tokio::spawn(exchange(address, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"));
    gate.begun.acquire().await.unwrap().forget();
    stop.send(()).unwrap();
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(!task.is_finished(), "it waits for the request");
    gate.may_end.add_permits(1);
    assert!(slow.await.unwrap().contains("late"));
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_at_any_moment_leaves_nothing_half_done() {
    let world = crate::world::World::with_arena().await;
    for polls in 1..12 {
        let id = world.deploy_ready("v1").await;
        let path = format!("/v1/stop/{id}");
        {
            let mut stop = Box::pin(world.delete(&path));
            for _ in 0..polls {
                if futures_util::poll!(&mut stop).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let again = tokio::time::timeout(std::time::Duration::from_secs(10), world.delete(&path)).await;
        assert!([200, 410].contains(&again.expect("it is answered").code), "after {polls} polls");
        world.until(&id, "TERMINATED").await;
    }
    world.end().await;
}
