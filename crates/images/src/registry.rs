//! A registry, as the distribution specification has it: manifests and blobs over HTTP, with logins, redirects, ranges and retries.
//!
//! One [`Registry`] serves one pull. It connects only where the store's [`AddressPolicy`](crate::AddressPolicy) lets it, follows redirects
//! by hand (each is checked again, and a login never goes to another origin), and reads nothing without a bound.

mod auth;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use url::{Host, Url};

use crate::manifest::{self, Descriptor};
use crate::{Credentials, Digest, Limits, PullError, Reference, StoreOptions};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait that a registry can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What went wrong with one request.
#[derive(Debug)]
pub enum Trouble {
    /// Asking again may help; the registry may have said when.
    Again(PullError, Option<Duration>),
    /// It will not.
    Final(PullError),
}

impl Trouble {
    pub fn into_error(self) -> PullError {
        match self {
            Self::Again(error, _) | Self::Final(error) => error,
        }
    }
}

impl From<PullError> for Trouble {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

/// Makes the client that all pulls of a store share. A machine that trusts no authority (none is installed) pulls from registries
/// that need none, or one that was named; the others are refused when they are asked.
pub fn client(options: &StoreOptions) -> Result<reqwest::Client, String> {
    // Whoever is first wins; a second installation is refused and that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut authorities = Vec::new();
    for pem in &options.authorities {
        let more = reqwest::Certificate::from_pem_bundle(pem);
        authorities.extend(more.map_err(|_| "a registry's certificate authority cannot be read".to_owned())?);
    }
    let client = builder(options).tls_certs_merge(authorities.clone()).build();
    client
        .or_else(|_| builder(options).tls_certs_only(authorities).build())
        .map_err(|e| format!("the HTTP client for registries cannot be made: {e}"))
}

#[expect(clippy::disallowed_methods, reason = "this client is guarded by the store's address policy")]
fn builder(options: &StoreOptions) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(GuardedResolver(options.clone())))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT.min(options.limits.no_progress))
        .pool_max_idle_per_host(8)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("Spawnpoint/", env!("CARGO_PKG_VERSION")))
}

/// Resolves names and leaves out every address that the policy does not permit.
struct GuardedResolver(StoreOptions);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0.addresses);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|address| policy.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(Box::new(NoAddress) as Box<dyn std::error::Error + Send + Sync>);
            }
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name leads to no address that may be called from here")]
struct NoAddress;

/// One registry and one repository in it, for one pull.
pub struct Registry {
    client: reqwest::Client,
    options: StoreOptions,
    credentials: Option<Credentials>,
    repository: String,
    base: Url,
    /// `Authorization` for `base`, once it is known what it wants.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// Finds out how the registry of a reference is spoken to.
    pub async fn connect(
        client: &reqwest::Client,
        options: &StoreOptions,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PullError> {
        let host = reference.host();
        let secure = Url::parse(&format!("https://{host}/v2/"));
        let base = secure.map_err(|_| PullError::Unreachable("its name cannot be a host's".to_owned()))?;
        let mut registry = Self {
            client: client.clone(),
            options: options.clone(),
            credentials: credentials.cloned(),
            repository: reference.repository().to_owned(),
            base,
            authorization: Mutex::new(None),
        };
        registry.check(&registry.base)?;
        if registry.may_be_plain(&registry.base) && !registry.speaks_tls().await {
            let _ = registry.base.set_scheme("http");
            registry.base = Url::parse(&format!("http://{host}/v2/"))
                .map_err(|_| PullError::Unreachable("its name cannot be a host's".to_owned()))?;
        }
        Ok(registry)
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Whether an answer of any kind comes over TLS. Nothing secret is sent.
    async fn speaks_tls(&self) -> bool {
        let asked = self.client.get(self.base.clone()).send();
        tokio::time::timeout(CONNECT_TIMEOUT, asked).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Whether plain HTTP is allowed for a URL's host.
    fn may_be_plain(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let loopback = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(v4) => v4.is_loopback(),
            Host::Ipv6(v6) => v6.is_loopback(),
        };
        let bare = host.to_string();
        // The port as it was written: what a scheme's default is differs between the two.
        let full = url.port().map(|port| format!("{bare}:{port}"));
        let named = |name: &String| *name == bare || Some(name) == full.as_ref();
        (loopback && self.options.loopback_http) || self.options.insecure_registries.iter().any(named)
    }

    /// Everything about a URL that can be known before it is called.
    fn check(&self, url: &Url) -> Result<(), PullError> {
        let forbidden = |why: &str| Err(PullError::Forbidden(why.to_owned()));
        match url.scheme() {
            "https" => {}
            "http" if self.may_be_plain(url) => {}
            "http" => return forbidden("plain HTTP is allowed on loopback and for named registries only"),
            _ => return forbidden("its scheme must be https"),
        }
        let address = match url.host() {
            None => return forbidden("it names no host"),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
        };
        if address.is_some_and(|address| !self.options.addresses.permits(address)) {
            return forbidden("its address is not one that may be called from here");
        }
        self.options.addresses.check(url).map_err(PullError::Forbidden)
    }

    fn url(&self, kind: &str, what: &str) -> Result<Url, PullError> {
        let path = format!("{}/{kind}/{what}", self.repository);
        self.base.join(&path).map_err(|_| PullError::Unreachable("its address cannot be made".to_owned()))
    }

    /// A manifest or index, checked against the digest if one is asked for.
    pub async fn manifest(
        &self,
        selector: &str,
        digest: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), PullError> {
        let url = self.url("manifests", selector)?;
        let bytes = self.small(&url, Some(manifest::ACCEPT), self.limits().manifest_bytes).await?;
        let found = digest.map_or_else(|| Digest::of(&bytes), |digest| hash(digest, &bytes));
        match digest {
            Some(wanted) if *wanted != found => {
                Err(PullError::refused(format!("the manifest {wanted} is not what its digest says")))
            }
            _ => Ok((found, bytes)),
        }
    }

    /// A small blob, checked.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        let most = self.limits().config_bytes;
        if descriptor.size > most {
            return Err(PullError::refused("its configuration is too large"));
        }
        let url = self.url("blobs", descriptor.digest.as_str())?;
        let bytes = self.small(&url, None, most).await?;
        if hash(&descriptor.digest, &bytes) == descriptor.digest && bytes.len() as u64 == descriptor.size {
            return Ok(bytes);
        }
        Err(PullError::refused(format!("{} is not what its digest and size say", descriptor.digest)))
    }

    /// A blob from some byte on.
    pub async fn open_blob(&self, digest: &Digest, from: u64) -> Result<Response, Trouble> {
        let url = self.url("blobs", digest.as_str())?;
        let mut headers = HeaderMap::new();
        if from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
        {
            headers.insert(header::RANGE, range);
        }
        self.get(&url, headers).await
    }

    /// Something that fits in memory, tried several times.
    async fn small(&self, url: &Url, accept: Option<&'static str>, most: u64) -> Result<Vec<u8>, PullError> {
        let mut failures = 0;
        loop {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            let tried = match self.get(url, headers).await {
                Ok(response) => self.body(response, most).await,
                Err(trouble) => Err(trouble),
            };
            match tried {
                Ok(bytes) => return Ok(bytes),
                Err(trouble) => self.wait_or_fail(trouble, &mut failures).await?,
            }
        }
    }

    /// Waits before the next attempt, or says why there is none.
    pub async fn wait_or_fail(&self, trouble: Trouble, failures: &mut u32) -> Result<(), PullError> {
        let (error, asked) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Again(error, asked) => (error, asked),
        };
        *failures += 1;
        if *failures >= self.limits().attempts {
            return Err(error);
        }
        tracing::debug!(failures = *failures, reason = %error, "a registry is asked again");
        let wait = self.limits().backoff.saturating_mul(1 << (*failures - 1).min(6));
        tokio::time::sleep(asked.unwrap_or(wait).min(MAX_RETRY_AFTER)).await;
        Ok(())
    }

    async fn body(&self, mut response: Response, most: u64) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if (bytes.len() + chunk.len()) as u64 > most {
                return Err(PullError::refused("the registry sends a document that is too large").into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next piece of a body; an error if none comes for too long.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Trouble> {
        match tokio::time::timeout(self.limits().no_progress, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(transport(&error)),
            Err(_) => Err(self.stalled().into()),
        }
    }

    /// The pull made no progress.
    pub fn stalled(&self) -> PullError {
        PullError::Stalled { seconds: self.limits().no_progress.as_secs() }
    }

    /// One GET, through logins and redirects, to an answer that is good.
    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, Trouble> {
        self.check(url)?;
        let mut url = url.clone();
        let mut redirects = 0;
        let mut logged_in = false;
        loop {
            let own = url.origin() == self.base.origin();
            let response = self.send(&url, &headers, own).await?;
            let status = response.status();
            if status.is_redirection() {
                redirects += 1;
                if redirects > self.limits().redirects {
                    return Err(PullError::refused("the registry redirects without end").into());
                }
                url = self.redirected(&url, &response)?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && own && !logged_in {
                logged_in = true;
                self.log_in(response.headers()).await?;
                continue;
            }
            return if status.is_success() { Ok(response) } else { Err(said_no(status, response.headers())) };
        }
    }

    async fn send(&self, url: &Url, headers: &HeaderMap, with_login: bool) -> Result<Response, Trouble> {
        let mut request = self.client.get(url.clone()).headers(headers.clone());
        if with_login && let Some(authorization) = self.authorization.lock().clone() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        match tokio::time::timeout(self.limits().no_progress, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(transport(&error)),
            Err(_) => Err(self.stalled().into()),
        }
    }

    fn redirected(&self, from: &Url, response: &Response) -> Result<Url, PullError> {
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| from.join(location).ok());
        let next = next.ok_or_else(|| PullError::refused("the registry redirects to nowhere"))?;
        if from.scheme() == "https" && next.scheme() != "https" {
            return Err(PullError::Forbidden("it redirects from https to plain HTTP".to_owned()));
        }
        self.check(&next)?;
        Ok(next)
    }
}

fn hash(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = like.hasher();
    hasher.update(bytes);
    hasher.finish()
}

/// What a bad status means. Bodies are not repeated: they are the registry's words, and may be anything.
fn said_no(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    match status.as_u16() {
        404 => Trouble::Final(PullError::NotFound),
        status @ (401 | 403) => Trouble::Final(PullError::Denied { status }),
        429 => Trouble::Again(PullError::RateLimited, after),
        408 | 500..=599 => Trouble::Again(PullError::Unreachable(format!("it answers {status}")), after),
        416 => Trouble::Final(PullError::refused("a layer is shorter than its manifest says")),
        _ => Trouble::Final(PullError::Unreachable(format!("it answers {status}"))),
    }
}

/// What went wrong, without the URL, which may be signed.
fn transport(error: &reqwest::Error) -> Trouble {
    let what = if error.is_connect() { "no connection" } else { "the exchange broke off" };
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        if cause.is::<NoAddress>() {
            return Trouble::Final(PullError::Forbidden(NoAddress.to_string()));
        }
    }
    if error.is_timeout() {
        return Trouble::Again(PullError::Unreachable(format!("{what}: no answer in time")), None);
    }
    // A cause without a deeper one is the error itself, which would tell the URL.
    let detail =
        if std::ptr::addr_eq(cause, error) { String::new() } else { manifest::printable(&cause.to_string()) };
    let text = if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") };
    Trouble::Again(PullError::Unreachable(text), None)
}
