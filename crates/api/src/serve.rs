//! Runs a router on a listener: HTTP/1.1 with deadlines and bounds that a plain `axum::serve` does not have.
//!
//! A connection ends if a request's headers take longer than [`HEADER_READ_TIMEOUT`] or are larger than [`HEADER_BYTES_MAX`], and if
//! the client takes nothing of an answer for [`WRITE_STALL_MAX`].
//! At most [`CONNECTIONS_MAX`] connections are served at a time; further ones wait in the kernel's queue. One address holds
//! at most [`CONNECTIONS_PER_ADDRESS_MAX`] of them, so that one slow client cannot lock out the others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use spawnpoint_engine::webhooks::Network;
use tokio::sync::Semaphore;

use crate::client::contains;
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, HEADERS_MAX,
    WRITE_STALL_MAX,
};
use crate::stall::Stalling;

/// Settings of a listener.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Proxies; they may hold as many connections as they like, as loopback may.
    pub trusted_proxies: Vec<Network>,
    /// How long requests under way may take to end once a shutdown was asked for.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), drain: Duration::from_secs(5) }
    }
}

/// Serves until `shutdown` resolves, then lets the requests under way end.
pub async fn serve<L>(
    mut listener: L,
    router: Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener<Addr = SocketAddr>,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let holders = Arc::new(Holders::default());
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            let (io, peer) = listener.accept().await;
            (slot, io, peer)
        };
        let (slot, io, peer) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let Some(share) = Share::take(&holders, peer.ip().to_canonical(), &options.trusted_proxies) else {
            tracing::debug!("a connection was closed: its address holds too many");
            continue;
        };
        let service = service(router.clone(), peer);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(Stalling::new(io, WRITE_STALL_MAX)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Clients break off as they like; that is no error of ours.
            if let Err(error) = connection.await {
                tracing::debug!(error.cause = %error, "a connection ended early");
            }
            drop((slot, share));
        });
    }
    drop(listener);
    if tokio::time::timeout(options.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            drain_seconds = options.drain.as_secs(),
            "requests were still under way when the server ended"
        );
    }
}

/// Tells each request where it comes from, and hands it to the router.
fn service(
    router: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send,
> {
    hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut router = router.clone();
        async move { tower_call(&mut router, request).await }
    })
}

async fn tower_call(router: &mut Router, request: Request) -> Result<axum::response::Response, Infallible> {
    // A router is always ready.
    tower::Service::call(router, request).await
}

/// How many connections each address holds.
#[derive(Default)]
struct Holders(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address; gives it back when dropped.
struct Share {
    holders: Arc<Holders>,
    address: IpAddr,
}

impl Share {
    fn take(holders: &Arc<Holders>, address: IpAddr, proxies: &[Network]) -> Option<Self> {
        let unbounded = address.is_loopback() || proxies.iter().any(|network| contains(network, address));
        let mut counts = holders.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX && !unbounded {
            return None;
        }
        *count += 1;
        Some(Self { holders: holders.clone(), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.holders.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_a_bounded_number_of_connections_and_gets_them_back() {
        let holders = Arc::new(Holders::default());
        let stranger: IpAddr = "203.0.113.9".parse().unwrap();
        let mut shares: Vec<Share> = (0..64).map(|_| Share::take(&holders, stranger, &[]).unwrap()).collect();
        assert!(Share::take(&holders, stranger, &[]).is_none());
        shares.pop();
        assert!(Share::take(&holders, stranger, &[]).is_some());
        drop(shares);
        assert!(holders.0.lock().is_empty());
    }

    #[test]
    fn loopback_and_proxies_are_not_bounded() {
        let holders = Arc::new(Holders::default());
        let proxies = [Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 }];
        for address in ["127.0.0.1", "10.1.1.1"] {
            let shares: Vec<_> =
                (0..100).map(|_| Share::take(&holders, address.parse().unwrap(), &proxies)).collect();
            assert!(shares.iter().all(Option::is_some));
        }
    }
}
