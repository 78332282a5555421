//! What every handler is given: the engine, the settings, the rate limiters.

use std::future::Future;
use std::sync::Arc;

use axum::http::HeaderName;
use spawnpoint_engine::Engine;
use spawnpoint_engine::webhooks::Network;
use tokio_util::sync::CancellationToken;

use crate::followers::Followers;
use crate::rate::{RateLimits, Rates};

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// How often a token may call what.
    pub rates: RateLimits,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it (`X-Forwarded-For`).
    pub client_address_header: Option<HeaderName>,
    /// Address of the API as clients write it, without a trailing slash (`https://games.example.com`).
    pub public_url: String,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            rates: RateLimits::default(),
            trusted_proxies: Vec::new(),
            client_address_header: None,
            public_url: "http://127.0.0.1:8080".to_owned(),
        }
    }
}

/// Given to every handler. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    engine: Engine,
    config: ApiConfig,
    rates: Rates,
    followers: Followers,
    closing: CancellationToken,
}

impl ApiState {
    /// Puts it together.
    #[must_use]
    pub fn new(engine: Engine, config: ApiConfig) -> Self {
        let rates = Rates::new(&config.rates);
        let (followers, closing) = (Followers::default(), CancellationToken::new());
        Self(Arc::new(Inner { engine, config, rates, followers, closing }))
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    /// Who follows logs.
    #[must_use]
    pub fn followers(&self) -> &Followers {
        &self.0.followers
    }

    /// Ends when the server is to end: answers that flow end with it.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.closing.clone().cancelled_owned()
    }

    /// Ends the answers that flow. A client that is told nothing more can go elsewhere.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    /// The rate limiters.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.0.rates
    }
}
