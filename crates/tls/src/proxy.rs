//! Ports on which TLS is ended, and the plain services that they lead to.
//!
//! ```text
//! client ──TLS──▶ port ──▶ one HTTP/1.1 request after the other ──▶ a connection of its own to the service
//!                                └─ 101: from then on bytes, both ways (WebSocket)
//! ```
//!
//! The service learns who asks by `X-Forwarded-For`, which is ours alone to write: what a client sends under that name is
//! dropped. Bounds: connections of one owner over all its ports and of one address within it, time for the handshake and for each
//! request's head, bytes of a head, time without a byte. A new connection to the service for each request costs
//! microseconds on one machine and saves us from those that the service closes while we use them.

mod request;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acceptor::{BREATH, HANDSHAKE_PATIENCE};
use crate::holders::{Holders, Share};
use crate::idle::Idle;

/// For the head of a request to come.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Connections of one address to one owner.
const PER_ADDRESS_MAX: usize = 128;

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of one owner at a time.
    pub connections_per_owner: usize,
    /// Time without a byte after which a connection ends.
    pub idle: Duration,
    /// How long requests under way may take when everything is closed.
    pub drain: Duration,
}

/// Who may connect; `None` = everybody.
pub type Guests = Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>;

/// Where a port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who shares its bound of connections with others of the same name.
    pub owner: String,
    /// What it leads to, by a name.
    pub label: String,
    /// The port.
    pub port: u16,
    /// The plain service.
    pub to: SocketAddr,
}

/// An open port.
struct Port {
    owner: String,
    label: String,
    to: Arc<RwLock<SocketAddr>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What the ports of one owner share.
struct Shared {
    places: Arc<Semaphore>,
    holders: Arc<Holders>,
    guests: watch::Sender<Guests>,
}

impl Shared {
    /// Whether an address may connect, or stay.
    fn admits(&self, peer: IpAddr) -> bool {
        self.guests.borrow().as_ref().is_none_or(|admits| admits(peer.to_canonical()))
    }

    /// Comes back when an address may stay no longer.
    async fn until_unwelcome(&self, peer: IpAddr) {
        let mut guests = self.guests.subscribe();
        while self.admits(peer) {
            if guests.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Everything that one connection holds.
struct Held {
    _place: OwnedSemaphorePermit,
    _share: Share,
}

/// All ports.
pub struct Proxy {
    config: Arc<ServerConfig>,
    limits: Limits,
    ports: Mutex<HashMap<u16, Port>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Proxy {
    /// A proxy without ports.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, limits: Limits) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { config, limits, ports: Mutex::default(), tasks, stop }
    }

    /// Opens a port, or leads the open port of the same owner elsewhere. `guests` hold for all ports of the owner from now on.
    ///
    /// # Errors
    /// `AddrInUse` if somebody else has the port, or what the system says.
    pub fn open(&self, route: &Route, guests: Guests) -> io::Result<()> {
        let mut ports = self.ports.lock();
        if let Some(open) = ports.get_mut(&route.port) {
            if open.owner != route.owner {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            open.label.clone_from(&route.label);
            *open.to.write() = route.to;
            open.shared.guests.send_replace(guests);
            return Ok(());
        }
        if self.stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let listener = listen(route.port)?;
        let same = ports.values().find(|port| port.owner == route.owner).map(|port| port.shared.clone());
        let shared = same.unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(self.limits.connections_per_owner));
            Arc::new(Shared {
                places,
                holders: Holders::new(PER_ADDRESS_MAX),
                guests: watch::Sender::new(None),
            })
        });
        shared.guests.send_replace(guests);
        let to = Arc::new(RwLock::new(route.to));
        let stop = self.stop.child_token();
        let port = Port {
            owner: route.owner.clone(),
            label: route.label.clone(),
            to: to.clone(),
            shared: shared.clone(),
            stop: stop.clone(),
        };
        ports.insert(route.port, port);
        let served = Served {
            tls: TlsAcceptor::from(self.config.clone()),
            limits: self.limits,
            to,
            shared,
            stop,
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(serve(Arc::new(served), listener));
        Ok(())
    }

    /// Whether a port is open and leads to what has this label.
    #[must_use]
    pub fn is_open(&self, label: &str, port: u16) -> bool {
        self.ports.lock().get(&port).is_some_and(|open| open.label == label)
    }

    /// Lets these in from now on to the ports of an owner; connections of others end at once.
    pub fn set_guests(&self, owner: &str, guests: &Guests) {
        for port in self.ports.lock().values().filter(|port| port.owner == owner) {
            port.shared.guests.send_replace(guests.clone());
        }
    }

    /// Who has ports.
    #[must_use]
    pub fn owners(&self) -> Vec<String> {
        let mut owners: Vec<String> = self.ports.lock().values().map(|port| port.owner.clone()).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Closes every port of an owner, with its connections.
    pub fn close_owner(&self, owner: &str) {
        self.ports.lock().retain(|_, port| {
            let kept = port.owner != owner;
            if !kept {
                port.stop.cancel();
            }
            kept
        });
    }

    /// Closes everything: requests under way have `drain` to end, WebSockets end at once.
    pub async fn close(&self) {
        self.stop.cancel();
        self.ports.lock().clear();
        self.tasks.close();
        if timeout(self.limits.drain, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections of TLS ports were cut");
        }
    }
}

/// Listens on every IPv4 address of the machine, as container engines are told to for plain ports: whatever guards those (access
/// lists in the firewall) sees the same packets.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What the connections of a port need.
struct Served {
    tls: TlsAcceptor,
    limits: Limits,
    to: Arc<RwLock<SocketAddr>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

async fn serve(served: Arc<Served>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = served.stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %error, "a connection could not be accepted");
                sleep(BREATH).await;
                continue;
            }
        };
        if !served.shared.admits(peer.ip()) {
            continue;
        }
        // Over the bound: closed at once, which a client understands better than silence.
        let Ok(place) = served.shared.places.clone().try_acquire_owned() else { continue };
        let Some(share) = served.shared.holders.take(peer.ip()) else { continue };
        let held = Arc::new(Held { _place: place, _share: share });
        let task = connection(served.clone(), stream, peer.ip().to_canonical(), held);
        let (stop, served) = (served.stop.clone(), served.clone());
        let tasks = served.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = task_until(stop, served.limits.drain, task) => {}
                () = served.shared.until_unwelcome(peer.ip()) => {}
            }
        });
    }
}

/// Runs a connection, which knows itself when to stop, and cuts it should it not.
async fn task_until(stop: CancellationToken, drain: Duration, task: impl Future<Output = ()>) {
    let cut = async {
        stop.cancelled().await;
        sleep(drain).await;
    };
    tokio::select! {
        () = task => {}
        () = cut => {}
    }
}

async fn connection(served: Arc<Served>, stream: TcpStream, peer: IpAddr, held: Arc<Held>) {
    drop(stream.set_nodelay(true));
    let stream = match timeout(HANDSHAKE_PATIENCE, served.tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(error = %error, "no TLS came of a connection"),
        Err(_) => return tracing::debug!("a client took too long to agree on TLS"),
    };
    let forward = Arc::new(request::Forward {
        peer,
        to: served.to.clone(),
        idle: served.limits.idle,
        drain: served.limits.drain,
        stop: served.stop.clone(),
        tasks: served.tasks.clone(),
        shared: served.shared.clone(),
        held,
    });
    let service = hyper::service::service_fn(move |request| request::forward(forward.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Idle::new(stream, served.limits.idle)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = served.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients break off as they like; that is no error of ours.
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
