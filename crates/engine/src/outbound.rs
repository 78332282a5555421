//! Calls to addresses that users give: webhooks and S3 endpoints. The one place that makes such a client.
//!
//! What it must not know: what is said in these calls.
//!
//! Entry point: [`Outbound`], a client that resolves names itself and connects only where its [`guard::Guard`] lets it; it
//! follows no redirect and uses no proxy.

pub mod guard;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use guard::{Guard, GuardedResolver};
use url::Url;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

/// A client for addresses of users.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: reqwest::Client,
    guard: Guard,
}

impl Outbound {
    /// A client that may call public addresses and those in `allowed`. A whole exchange takes at most `timeout`.
    ///
    /// # Errors
    /// A sentence: the TLS set-up of this machine does not work.
    pub fn new(allowed: &[Network], timeout: Duration) -> Result<Self, String> {
        // Whoever is first wins; a second installation is refused and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard::new(allowed);
        // A machine that trusts no authority (none is installed) calls over plain HTTP; TLS is refused when it is asked for.
        let client = Self::builder(&guard, timeout).build();
        let client = client
            .or_else(|_| Self::builder(&guard, timeout).tls_certs_only([]).build())
            .map_err(|e| format!("the HTTP client for users' addresses cannot be made: {e}"))?;
        Ok(Self { client, guard })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the guarded client")]
    fn builder(guard: &Guard, timeout: Duration) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .pool_max_idle_per_host(4)
            .user_agent(concat!("Spawnpoint/", env!("CARGO_PKG_VERSION")))
    }

    /// The client. Each URL must be [checked](Self::check_url) first: a literal address is never resolved.
    #[must_use]
    pub const fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Checks everything of a URL that can be known without asking a name server.
    ///
    /// # Errors
    /// A sentence fit for users.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        self.guard.check_url(url)
    }
}

/// What went wrong, without the URL, which may hold secrets.
#[must_use]
pub fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let what = if error.is_connect() { "no connection" } else { "the exchange broke off" };
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // A cause without a deeper one is the error itself, which would tell the URL.
    let detail = if std::ptr::addr_eq(cause, error) { String::new() } else { cause.to_string() };
    let detail: String = detail.chars().filter(|c| !c.is_control()).take(200).collect();
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
