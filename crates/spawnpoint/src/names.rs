//! The built-in name server, put together with the engine that knows where deployments are, and with the orders of certificates
//! that want a text shown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use spawnpoint_dns::{Known, Limits, Names, Zone, ZoneConfig};
use spawnpoint_engine::Engine;
use spawnpoint_model::DeploymentId;
use spawnpoint_store::{Store, StoreError};
use spawnpoint_tls::acme::CHALLENGE_LABEL;

use crate::config::Config;
use crate::failure::Failure;

/// What answers on one address until it is dropped.
pub type Answers = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens the configured addresses.
///
/// # Errors
/// One of them is taken, or needs a privilege.
pub async fn open(config: &Config, engine: &Engine, store: &Store) -> Result<Vec<Answers>, Failure> {
    let dns = &config.dns;
    let mut all: Vec<Answers> = Vec::new();
    if dns.listen.is_empty() {
        return Ok(all);
    }
    let zone = Zone::new(&ZoneConfig {
        domain: config.domain.suffix.clone(),
        name_servers: dns.name_servers.clone(),
        addresses: dns.addresses.clone(),
        seconds: dns.seconds,
        // Seconds fit until 2106.
        serial: u32::try_from(engine.now().micros() / 1_000_000).unwrap_or(u32::MAX),
    });
    let zone = zone.map_err(|err| Failure::misused(format!("dns.name_servers: {err}")))?;
    let texts = config.tls.acme.as_ref().map(|_| store.clone());
    let names: Arc<dyn Names> = Arc::new(Told { engine: engine.clone(), texts });
    for listen in &dns.listen {
        let limits = Limits { per_second: dns.questions_per_second };
        let opened = spawnpoint_dns::serve(*listen, zone.clone(), names.clone(), limits).await;
        let (address, answers) =
            opened.map_err(|err| Failure::new(format!("dns.listen: {listen} (UDP and TCP): {err}")))?;
        tracing::info!(%address, domain = config.domain.suffix, "names of deployments are answered");
        all.push(Box::pin(answers));
    }
    Ok(all)
}

/// The names of this installation.
struct Told {
    engine: Engine,
    /// Where the texts are that an authority wants to see; `None` = nobody orders from one.
    texts: Option<Store>,
}

impl Told {
    /// What orders of certificates want shown: any control plane may be asked for those of another.
    async fn challenges(&self) -> Result<Vec<String>, StoreError> {
        match &self.texts {
            None => Ok(Vec::new()),
            Some(store) => store.acme_texts().await,
        }
    }
}

#[async_trait]
impl Names for Told {
    async fn find(&self, label: &str) -> Known {
        if label == CHALLENGE_LABEL {
            return match self.challenges().await {
                Ok(texts) if texts.is_empty() => Known::Nothing,
                Ok(texts) => Known::Says(texts),
                Err(error) => {
                    tracing::debug!(%error, "texts could not be looked up");
                    Known::Unknown
                }
            };
        }
        let Ok(id) = label.parse::<DeploymentId>() else { return Known::Nothing };
        match self.engine.address_of(id).await {
            Ok(Some(address)) => Known::At(address),
            Ok(None) => Known::Nothing,
            Err(error) => {
                tracing::debug!(error = %error, "a name could not be looked up");
                Known::Unknown
            }
        }
    }
}
