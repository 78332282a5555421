//! One request on its way to the plain service, and its answer on the way back.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Held, Shared};
use crate::idle::Idle;

/// For a connection to the service.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Headers that are about one connection, not about the request. (`Connection` may name more.)
const OF_ONE_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];
/// Headers that tell a service who asks. Ours alone to write.
const OF_PROXIES: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// What is the same for all requests of one connection.
pub(super) struct Forward {
    pub(super) peer: IpAddr,
    pub(super) to: Arc<RwLock<SocketAddr>>,
    pub(super) idle: Duration,
    pub(super) drain: Duration,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) shared: Arc<Shared>,
    pub(super) held: Arc<Held>,
}

type Body = BoxBody<Bytes, hyper::Error>;

/// Sends a request on and brings its answer back; says so if there is none.
pub(super) async fn forward(
    forward: Arc<Forward>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if request.method() == Method::CONNECT {
        return Ok(own(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy for other addresses"));
    }
    Ok(exchange(&forward, request).await.unwrap_or_else(|error| {
        tracing::debug!(error = %error, "a request did not reach its service");
        own(StatusCode::BAD_GATEWAY, "the game server did not answer")
    }))
}

async fn exchange(
    forward: &Forward,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let wanted = upgrade_of(request.headers());
    let client = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
    let mut request = request.map(BodyExt::boxed);
    to_origin_form(&mut request)?;
    rewrite(request.headers_mut(), forward.peer, wanted.as_ref());

    let to = *forward.to.read();
    let stream = timeout(CONNECT_PATIENCE, TcpStream::connect(to)).await??;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(Idle::new(stream, forward.idle));
    let (mut service, connection) = http1::handshake(io).await?;
    let (stop, held) = (forward.stop.clone(), forward.held.clone());
    let drain = forward.drain;
    forward.tasks.spawn(async move {
        // It ends with its one exchange, or with what ended the exchange.
        let _ = super::task_until(stop, drain, async { drop(connection.with_upgrades().await) }).await;
        drop(held);
    });
    let mut answer = service.send_request(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip(answer.headers_mut());
        return Ok(answer.map(BodyExt::boxed));
    }
    let Some(client) = client else { return Err("the service switched protocols unasked".into()) };
    let behind = hyper::upgrade::on(&mut answer);
    let (stop, held) = (forward.stop.clone(), forward.held.clone());
    let (shared, peer) = (forward.shared.clone(), forward.peer);
    forward.tasks.spawn(async move {
        // Bytes of a WebSocket cannot be ended in good form from outside: it is cut.
        tokio::select! {
            () = tunnel(client, behind) => {}
            () = stop.cancelled() => {}
            () = shared.until_unwelcome(peer) => {}
        }
        drop(held);
    });
    let switched = answer.headers().get(UPGRADE).cloned();
    strip(answer.headers_mut());
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(switched) = switched {
        answer.headers_mut().insert(UPGRADE, switched);
    }
    Ok(answer.map(BodyExt::boxed))
}

/// Bytes, both ways, until both have ended or nothing was moved for too long.
async fn tunnel(client: OnUpgrade, behind: OnUpgrade) {
    let both = async {
        let (client, behind) = tokio::try_join!(client, behind)?;
        copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(behind)).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    if let Err(error) = both.await {
        tracing::debug!(error = %error, "a WebSocket ended early");
    }
}

/// What a request wants to switch to, if it wants to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut words = named.flat_map(|value| value.split(','));
    words.any(|word| word.trim().eq_ignore_ascii_case("upgrade")).then(|| headers.get(UPGRADE).cloned())?
}

/// A client that takes us for a forward proxy names the whole address; services expect its path.
fn to_origin_form(request: &mut Request<Body>) -> Result<(), hyper::http::Error> {
    if let (Some(_), Some(authority)) = (request.uri().scheme(), request.uri().authority().cloned()) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(hyper::http::Error::from)?;
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
    }
    Ok(())
}

/// Takes out what was about the client's connection and puts in who asks.
fn rewrite(headers: &mut HeaderMap, peer: IpAddr, upgrade: Option<&HeaderValue>) {
    strip(headers);
    // We have answered it ourselves.
    headers.remove(EXPECT);
    OF_PROXIES.iter().for_each(|name| drop(headers.remove(*name)));
    if let Ok(peer) = HeaderValue::from_str(&peer.to_string()) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), peer);
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade.clone());
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.into_iter().for_each(|name| drop(headers.remove(name)));
    OF_ONE_CONNECTION.iter().for_each(|name| drop(headers.remove(*name)));
}

/// An answer of the proxy itself.
fn own(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
