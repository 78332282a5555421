//! The beacon: sends back what it is sent, so that players can measure how far they are from this machine.
//!
//! Anybody on the internet may talk to it, with any address as its own. So: an answer is the question, never larger and only
//! once; datagrams have a size, sources a rate ([`gate`]), connections a number, a rate, a duration and a volume. Nothing is
//! logged of any of them.
//!
//! What it must not know: deployments, the store, the API. It is a part of `serve` where the configuration says so, and the
//! whole of `spawnpoint beacon` on other machines.
//!
//! Entry points: [`Listeners::bind`], then [`Listeners::serve`].

mod gate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use gate::{Gate, subscriber};

/// Bytes of a datagram; longer ones are not answered.
const DATAGRAM_BYTES_MAX: usize = 512;
/// Connections at one time, and those of one source.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_SOURCE_MAX: usize = 8;
/// How long a connection may be silent, and how long it may be at all.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// Bytes that a connection sends back.
const CONNECTION_BYTES_MAX: usize = 64 * 1024;
/// After an error of the socket, so that a lasting one does not burn a core.
const PAUSE: Duration = Duration::from_millis(50);

/// Where it listens, before it answers.
pub struct Listeners {
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Takes the ports; 0 = none.
    ///
    /// # Errors
    /// Names the option whose port is taken.
    pub async fn bind(listen: IpAddr, udp_port: u16, tcp_port: u16) -> Result<Self, Failure> {
        let fault = |option: &'static str, port: u16| {
            move |err: io::Error| {
                Failure::new(format!("beacon.{option}: {}: {err}", SocketAddr::new(listen, port)))
            }
        };
        let udp = match udp_port {
            0 => None,
            port => Some(UdpSocket::bind((listen, port)).await.map_err(fault("udp_port", port))?),
        };
        let tcp = match tcp_port {
            0 => None,
            port => Some(TcpListener::bind((listen, port)).await.map_err(fault("tcp_port", port))?),
        };
        Ok(Self { udp, tcp })
    }

    /// Answers until `stop`. `seed` is a secret random number.
    pub fn serve(self, seed: u64, tasks: &TaskTracker, stop: &CancellationToken) {
        let gate = Arc::new(Gate::new(seed));
        if let Some(socket) = self.udp {
            let (gate, stop) = (gate.clone(), stop.clone());
            tasks.spawn(async move { stop.run_until_cancelled(echo_datagrams(&socket, &gate)).await });
        }
        if let Some(listener) = self.tcp {
            let (tasks_of_it, stop_of_it) = (tasks.clone(), stop.clone());
            tasks.spawn(async move {
                let accepting = accept(&listener, &gate, &tasks_of_it, &stop_of_it);
                stop_of_it.run_until_cancelled(accepting).await;
            });
        }
    }
}

/// Sends datagrams back. What cannot be sent at once is left: a late answer would be a wrong one.
async fn echo_datagrams(socket: &UdpSocket, gate: &Gate) {
    let port = socket.local_addr().map_or(0, |address| address.port());
    // One byte more than is answered shows what is longer.
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) if length <= DATAGRAM_BYTES_MAX && gate.admits(peer, port) => {
                let _ = socket.try_send_to(&buffer[..length], peer);
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Takes connections. One too many is closed at once.
async fn accept(listener: &TcpListener, gate: &Gate, tasks: &TaskTracker, stop: &CancellationToken) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let holders = Arc::new(Holders::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !gate.admits(peer, port) {
            continue;
        }
        let Some(place) = Holders::take(&holders, peer.ip()) else { continue };
        let stop = stop.clone();
        tasks.spawn(async move {
            let echo = tokio::time::timeout(CONNECTION_MAX, echo_stream(stream));
            // However it ends, it has ended: the other side sees it.
            let _ = stop.run_until_cancelled(echo).await;
            drop(place);
        });
    }
}

/// Sends back what comes over a connection, until the other side ends, is silent or has had enough.
async fn echo_stream(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    let mut left = CONNECTION_BYTES_MAX;
    while left > 0 {
        let most = left.min(buffer.len());
        let length = tokio::time::timeout(SILENCE_MAX, stream.read(&mut buffer[..most])).await??;
        if length == 0 {
            break;
        }
        tokio::time::timeout(SILENCE_MAX, stream.write_all(&buffer[..length])).await??;
        left -= length;
    }
    stream.shutdown().await
}

/// Connections of each source. It holds no more sources than there are connections.
#[derive(Default)]
struct Holders(Mutex<(usize, HashMap<u64, usize>)>);

/// A connection's place; given back when it is dropped.
struct Place {
    holders: Arc<Holders>,
    source: u64,
}

impl Holders {
    fn take(holders: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = subscriber(address);
        let mut guard = holders.0.lock();
        let (all, counts) = &mut *guard;
        let own = counts.get(&source).copied().unwrap_or(0);
        if *all >= CONNECTIONS_MAX || own >= CONNECTIONS_PER_SOURCE_MAX {
            return None;
        }
        *all += 1;
        counts.insert(source, own + 1);
        Some(Place { holders: holders.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.holders.0.lock();
        let (all, counts) = &mut *guard;
        *all = all.saturating_sub(1);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}
