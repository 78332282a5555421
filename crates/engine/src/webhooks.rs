//! The webhook outbox: send, retry, give up, replay.
//!
//! A delivery is a row that was written with the transition it announces, so none is lost and none is invented. It is
//! tried up to 8 times with growing, jittered pauses; what was given up is kept as a dead letter. Per deployment the
//! next event waits for the one before it (until that has failed three times). A receiver that does not answer is asked
//! less and less, and holds up nobody else.
//!
//! Each request is signed by the Standard Webhooks scheme (standardwebhooks.com): `webhook-id`, `webhook-timestamp`,
//! `webhook-signature: v1,` + base64(HMAC-SHA256(secret, id "." timestamp "." body)).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::token::Actor;
use spawnpoint_model::webhook::Subject;
use spawnpoint_model::{Timestamp, limits};
use spawnpoint_store::{Conflict, Delivery, StoreError, Tx};
use tokio::sync::Notify;
use url::Url;

use crate::engine::Options;
use crate::outbound::{self, Outbound};
use crate::{Engine, Error};

pub use crate::outbound::Network;

/// Purpose under which webhook addresses are sealed.
pub(crate) const SEAL_PURPOSE: &str = "webhook";
/// Connect, send and answer, all together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses after the first, second, … failed try; the 8th failure is the last.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
];
/// How long a delivery that is under way may take when the engine stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
const JITTER: f64 = 0.2;
/// A receiver's `Retry-After` is honoured up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Deliveries in flight, in all and to one receiver.
const IN_FLIGHT_MAX: usize = 256;
const IN_FLIGHT_PER_TARGET: usize = 32;
const BATCH: u32 = 1024;
/// Answers that did not come at all, in a row, after which a receiver is asked less.
const SILENCES_MAX: u32 = 5;
/// How long another control plane leaves a delivery alone that this one is sending.
const LEASE: Duration = Duration::from_secs(30);

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadDelivery {
    /// Message id, the same on each try.
    pub id: String,
    /// The deployment or the session.
    pub subject: Subject,
    /// `ready`, `error`, `terminated`, `linked`, `unprocessable` or `telemetry`.
    pub event: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: String,
    /// When it was due first.
    pub created_at: Timestamp,
}

/// How it stands with one receiver.
#[derive(Default)]
struct Target {
    in_flight: usize,
    silences: u32,
    asked_again_at: Option<Timestamp>,
}

#[derive(Default)]
struct Traffic {
    in_flight: HashSet<String>,
    /// What has ended since the due rows were last read: a row that was read before its outcome was stored looks due still.
    ended: HashSet<String>,
    targets: HashMap<String, Target>,
}

/// Sends webhooks.
pub(crate) struct Sender {
    outbound: Outbound,
    key: Vec<u8>,
    traffic: Mutex<Traffic>,
    /// Rung when a delivery was written or has ended.
    pub(crate) bell: Notify,
}

/// What came of one try.
enum Outcome {
    Delivered,
    /// The receiver answered with something else.
    Refused {
        detail: String,
        retry_after: Option<Duration>,
        gone: bool,
    },
    /// No answer.
    Silent(String),
}

impl Sender {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let outbound = Outbound::new(&options.webhook_networks, TIMEOUT)?;
        let secret = options.webhook_secret.reveal();
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
        let key = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| "the webhook secret must be whsec_ and base64".to_owned())?;
        Ok(Self { outbound, key, traffic: Mutex::default(), bell: Notify::new() })
    }

    /// Checks an address as far as it can be known before it is called.
    pub(crate) fn check_url(&self, text: &str) -> Result<(), String> {
        if text.chars().count() > limits::URL_CHARS_MAX {
            return Err(format!("must have at most {} characters", limits::URL_CHARS_MAX));
        }
        let url = Url::parse(text).map_err(|e| format!("must be a URL ({e})"))?;
        self.outbound.check_url(&url)
    }

    async fn send(&self, delivery: &Delivery, url: &str, now: Timestamp) -> Outcome {
        if let Err(problem) = self.check_url(url) {
            return Outcome::Refused { detail: problem, retry_after: None, gone: false };
        }
        let timestamp = now.micros() / 1_000_000;
        let request = self
            .outbound
            .client()
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", sign(&self.key, &delivery.id, timestamp, &delivery.body))
            .body(delivery.body.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Silent(outbound::describe(&error)),
        };
        let status = answer.status();
        if status.is_success() {
            return Outcome::Delivered;
        }
        let asks_to_wait = matches!(status.as_u16(), 429 | 503);
        let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let seconds = header.and_then(|text| text.trim().parse().ok()).filter(|_| asks_to_wait);
        let retry_after = seconds.map(|s| Duration::from_secs(s).min(RETRY_AFTER_MAX));
        Outcome::Refused {
            detail: format!("answered {}", status.as_u16()),
            retry_after,
            gone: status.as_u16() == 410,
        }
    }
}

/// The signature header of a message.
#[must_use]
pub fn sign(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let mut signature = Vec::new();
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        signature = mac.finalize().into_bytes().to_vec();
    }
    format!("v1,{}", BASE64_STANDARD.encode(signature))
}

/// The receiver of a URL: what is counted together.
fn target_of(url: &str) -> String {
    Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// Sends what is due until the engine stops.
pub(crate) async fn run(engine: Engine) {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    let owner = format!("{:016x}", engine.inner.entropy.u64());
    // After a restart of this task nothing is in flight.
    *engine.inner.sender.traffic.lock() = Traffic::default();
    loop {
        if let Err(error) = engine.send_due(&owner).await {
            tracing::warn!(error = %error, "due webhooks could not be read");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _ = tokio::time::timeout(HEARTBEAT, engine.inner.sender.bell.notified()).await;
    }
}

impl Engine {
    /// Begins to send everything that is due and not in flight.
    async fn send_due(&self, owner: &str) -> Result<(), StoreError> {
        let now = self.now();
        self.inner.sender.traffic.lock().ended.clear();
        let due = self.inner.store.claim_deliveries(owner, now, now.plus(LEASE), BATCH).await?;
        let mut postponed = Tx::new();
        for delivery in due {
            let Ok(url) = self.inner.vault.open(&delivery.url, SEAL_PURPOSE) else {
                postponed.delivery_dead(
                    &delivery.id,
                    "its address cannot be opened with this master key",
                    now,
                );
                continue;
            };
            match self.admit(&delivery.id, &target_of(url.reveal()), now) {
                Admission::Go => {
                    let engine = self.clone();
                    self.inner.tracker.spawn(async move { engine.deliver(delivery, url).await });
                }
                Admission::NotYet => {}
                Admission::AskLater(at) => {
                    let error =
                        delivery.last_error.as_deref().unwrap_or("waiting for its receiver to answer again");
                    postponed.delivery_failed(&delivery.id, delivery.attempts, at, error);
                }
            }
        }
        self.inner.store.commit(postponed).await
    }

    fn admit(&self, id: &str, target: &str, now: Timestamp) -> Admission {
        let mut traffic = self.inner.sender.traffic.lock();
        let is_known = traffic.in_flight.contains(id) || traffic.ended.contains(id);
        if is_known || traffic.in_flight.len() >= IN_FLIGHT_MAX {
            return Admission::NotYet;
        }
        let state = traffic.targets.entry(target.to_owned()).or_default();
        if let Some(at) = state.asked_again_at.filter(|at| *at > now) {
            return Admission::AskLater(at.plus(Duration::from_secs_f64(self.inner.entropy.jitter(0.5))));
        }
        // A receiver that was silent is asked with one delivery first.
        let places = if state.silences >= SILENCES_MAX { 1 } else { IN_FLIGHT_PER_TARGET };
        if state.in_flight >= places {
            return Admission::NotYet;
        }
        state.in_flight += 1;
        traffic.in_flight.insert(id.to_owned());
        Admission::Go
    }

    async fn deliver(&self, delivery: Delivery, url: Plaintext) {
        let target = target_of(url.reveal());
        let sending = self.inner.sender.send(&delivery, url.reveal(), self.now());
        let outcome = tokio::select! {
            outcome = sending => Some(outcome),
            // Not known whether it arrived: it is sent again, with the same id, by whoever comes next.
            () = self.end_of_sending() => None,
        };
        if let Some(outcome) = outcome {
            self.note_target(&target, matches!(outcome, Outcome::Silent(_)));
            if let Err(error) = self.inner.store.commit(self.note_outcome(&delivery, &outcome)).await {
                tracing::warn!(webhook.id = delivery.id, error = %error, "the outcome of a webhook could not be stored");
            }
        }
        let mut traffic = self.inner.sender.traffic.lock();
        traffic.in_flight.remove(&delivery.id);
        traffic.ended.insert(delivery.id);
        if let Some(state) = traffic.targets.get_mut(&target) {
            state.in_flight = state.in_flight.saturating_sub(1);
            if state.in_flight == 0 && state.silences == 0 {
                traffic.targets.remove(&target);
            }
        }
        drop(traffic);
        self.inner.sender.bell.notify_one();
    }

    /// Deliveries that are under way when the engine stops may still end.
    async fn end_of_sending(&self) {
        self.inner.stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }

    fn note_target(&self, target: &str, silent: bool) {
        let now = self.now();
        let mut traffic = self.inner.sender.traffic.lock();
        let Some(state) = traffic.targets.get_mut(target) else { return };
        if !silent {
            state.silences = 0;
            state.asked_again_at = None;
            return;
        }
        state.silences += 1;
        if state.silences >= SILENCES_MAX {
            let doublings = (state.silences - SILENCES_MAX).min(5);
            state.asked_again_at = Some(now.plus(Duration::from_secs(1 << doublings)));
        }
    }

    fn note_outcome(&self, delivery: &Delivery, outcome: &Outcome) -> Tx {
        let now = self.now();
        let mut tx = Tx::new();
        let (detail, retry_after, gone) = match outcome {
            Outcome::Delivered => {
                tx.delivery_done(&delivery.id, now);
                return tx;
            }
            Outcome::Refused { detail, retry_after, gone } => (detail, *retry_after, *gone),
            Outcome::Silent(detail) => (detail, None, false),
        };
        let pause = usize::try_from(delivery.attempts).ok().and_then(|tries| PAUSES.get(tries));
        match pause {
            Some(pause) if !gone => {
                let jittered = pause.mul_f64(self.inner.entropy.jitter(JITTER));
                let next_at = now.plus(jittered.max(retry_after.unwrap_or_default()));
                tx.delivery_failed(&delivery.id, delivery.attempts + 1, next_at, detail);
            }
            _ => {
                tracing::warn!(webhook.subject = %delivery.subject, webhook.id = delivery.id, error = %detail, "a webhook was given up");
                tx.delivery_dead(&delivery.id, detail, now);
            }
        }
        tx
    }

    /// Lists deliveries that were given up, newest first. Needs `admin`.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn dead_deliveries(&self, actor: &Actor, page: Page) -> Result<Paged<DeadDelivery>, Error> {
        self.need_unbound(actor)?;
        let dead = self.inner.store.dead_deliveries(page).await?;
        Ok(dead.map(|delivery| DeadDelivery {
            id: delivery.id,
            subject: delivery.subject,
            event: delivery.event.as_str(),
            attempts: delivery.attempts,
            last_error: delivery.last_error.unwrap_or_default(),
            created_at: delivery.created_at,
        }))
    }

    /// Sends a given-up delivery again, from its first try. Needs `admin`.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn replay_delivery(&self, actor: &Actor, id: &str) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let mut tx = Tx::new();
        tx.replay_delivery(id, self.now());
        match self.inner.store.commit(tx).await {
            Err(StoreError::Conflict(Conflict::Missing { .. })) => {
                Err(Error::NotFound(format!("there is no dead delivery {id}")))
            }
            other => {
                self.inner.sender.bell.notify_one();
                Ok(other?)
            }
        }
    }
}

/// Whether a delivery may be sent now.
enum Admission {
    Go,
    NotYet,
    AskLater(Timestamp),
}
