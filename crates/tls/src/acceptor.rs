//! A TLS listener: connections come out of it with their handshake done. Handshakes are made beside each other, so that a slow
//! client delays nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::holders::Holders;

/// Handshakes at a time.
const HANDSHAKES_MAX: usize = 512;
/// Handshakes of one address at a time.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;
/// For a handshake.
pub(crate) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections that wait to be taken.
const WAITING_MAX: usize = 64;
/// After an error that is not about one client: too many open files, say.
pub(crate) const BREATH: Duration = Duration::from_millis(100);

/// A TLS listener.
pub struct Acceptor {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Acceptor {
    /// Takes connections of `listener` from now on.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(WAITING_MAX);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(config), sender));
        Ok(Self { ready, address, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    pub async fn accept(&mut self) -> (TlsStream<TcpStream>, SocketAddr) {
        match self.ready.recv().await {
            Some(next) => next,
            // The task ends with this value only.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let holders = Holders::new(HANDSHAKES_PER_ADDRESS_MAX);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %error, "a connection could not be accepted");
                sleep(BREATH).await;
                continue;
            }
        };
        let Some(share) = holders.take(peer.ip()) else { continue };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            // Answers are small and written at once: waiting for more only costs time.
            drop(stream.set_nodelay(true));
            match timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
                // Nobody takes it if the listener is gone.
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(error = %error, "no TLS came of a connection"),
                Err(_) => tracing::debug!("a client took too long to agree on TLS"),
            }
            drop((place, share));
        });
    }
}
