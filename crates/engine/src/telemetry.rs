//! Telemetry: which of some running deployments is the best for some players.
//!
//! Nothing is measured: the order is that of the estimate by which deployments are placed
//! ([`score`](spawnpoint_model::place::score)), from the players' positions to the deployments' sites. So the result is there at once; a request is kept for a
//! while, and its result is made anew from what is true when it is fetched. Players' addresses are not kept, only where
//! they are about.

use std::sync::Arc;
use std::time::Duration;

use spawnpoint_model::deployment::{Desired, Status};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::limits::TELEMETRY_KEPT_MAX;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::webhook::WebhookEvent;
use spawnpoint_model::{Deployment, DeploymentId, Invalid, Timestamp};
use spawnpoint_store::{Delivery, DeliveryState, TelemetryRecord, Tx};

use crate::deploy::Player;
use crate::webhooks::SEAL_PURPOSE;
use crate::{Engine, Error};

/// How long a result can be fetched.
pub const KEPT: Duration = Duration::from_secs(15 * 60);
/// Random bytes of a key, which is written in hex digits: whoever has it may fetch the result.
const KEY_BYTES: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub struct TelemetryRequest {
    /// The deployments to compare, each once.
    pub deployments: Vec<DeploymentId>,
    /// For whom.
    pub players: Vec<Player>,
    /// Whom to tell.
    pub webhook: Option<Plaintext>,
}

/// Where the result is fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// Under which key.
    pub key: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The order of the deployments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TelemetryResult {
    /// The request's key.
    pub key: String,
    /// The best first; of equals the one that was named first. Where no player's position is known, all are equal.
    pub best_first: Vec<DeploymentId>,
    /// Whether some of the deployments are missing: they are not there (any more), or have no host yet.
    pub is_partial: bool,
}

impl Engine {
    /// Takes a request. `render` writes its result for the webhook, which is called with what is true now.
    ///
    /// # Errors
    /// `Unprocessable` if none of the deployments is there; `Invalid` for a webhook that may not be called;
    /// `Forbidden` if there is one and the scope is `read`.
    pub async fn request_telemetry(
        &self,
        actor: &Actor,
        request: TelemetryRequest,
        render: impl Fn(&TelemetryResult) -> String,
    ) -> Result<Ticket, Error> {
        // Who looks makes no calls.
        self.need(actor, if request.webhook.is_some() { Scope::Deploy } else { Scope::Read })?;
        let now = self.now();
        let record = TelemetryRecord {
            key: self.random_name(KEY_BYTES),
            token: actor.token.clone(),
            deployments: request.deployments,
            players: request.players.iter().filter_map(|player| self.position_of(player)).collect(),
            created_at: now,
            expires_at: now.plus(KEPT),
        };
        let compared = self.compared(actor, &record).await?;
        let Some(first) = compared.first().map(|(_, row)| row.id) else {
            return Err(Error::Unprocessable("none of these deployments is there".to_owned()));
        };
        let mut tx = Tx::new();
        tx.insert_telemetry(&record, TELEMETRY_KEPT_MAX);
        if let Some(url) = &request.webhook {
            let body = render(&self.result(&record, compared));
            tx.enqueue_webhook(&self.announcement(url, first, body, now)?);
        }
        self.inner.store.commit(tx).await?;
        if request.webhook.is_some() {
            self.inner.sender.bell.notify_one();
        }
        Ok(Ticket { key: record.key, expires_at: record.expires_at })
    }

    /// The result of a request, from what is true now.
    ///
    /// # Errors
    /// `NotFound` for a key that is unknown or expired, or whose deployments are not the actor's business.
    pub async fn telemetry_result(&self, actor: &Actor, key: &str) -> Result<TelemetryResult, Error> {
        self.need(actor, Scope::Read)?;
        let not_found =
            || Error::NotFound("there is no telemetry request with this key, or it has expired".to_owned());
        let is_key = key.len() == 2 * KEY_BYTES && key.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_key {
            return Err(not_found());
        }
        let record = self.inner.store.find_telemetry(key, self.now()).await?.ok_or_else(not_found)?;
        let compared = self.compared(actor, &record).await?;
        // Deployments that were forgotten are nobody's business: their result is empty, for whoever made the request.
        if compared.is_empty() && record.token != actor.token {
            return Err(not_found());
        }
        Ok(self.result(&record, compared))
    }

    /// The deployments that are there and may be seen, with their place in the request.
    async fn compared(
        &self,
        actor: &Actor,
        record: &TelemetryRecord,
    ) -> Result<Vec<(usize, Arc<Deployment>)>, Error> {
        let mut rows = Vec::with_capacity(record.deployments.len());
        for (place, id) in record.deployments.iter().enumerate() {
            let row = self.inner.rows.find(*id).await?;
            rows.extend(row.filter(|row| actor.may_see(&row.spec.app)).map(|row| (place, row)));
        }
        Ok(rows)
    }

    fn result(&self, record: &TelemetryRecord, compared: Vec<(usize, Arc<Deployment>)>) -> TelemetryResult {
        let points: &[GeoPoint] = &record.players;
        let mut ranked: Vec<(u64, usize, DeploymentId)> = compared
            .into_iter()
            .filter(|(_, row)| can_be_joined(row) && self.location(row).is_some())
            .map(|(place, row)| (self.distance(&row, points), place, row.id))
            .collect();
        ranked.sort_unstable();
        TelemetryResult {
            key: record.key.clone(),
            is_partial: ranked.len() < record.deployments.len(),
            best_first: ranked.into_iter().map(|(_, _, id)| id).collect(),
        }
    }

    fn announcement(
        &self,
        url: &Plaintext,
        deployment: DeploymentId,
        body: String,
        now: Timestamp,
    ) -> Result<Delivery, Error> {
        self.inner.sender.check_url(url.reveal()).map_err(|problem| Invalid::new("webhook_url", problem))?;
        Ok(Delivery {
            id: format!("msg_{}", self.random_name(12)),
            subject: deployment.into(),
            // Behind everything that the deployment itself announces: nothing of that waits for this.
            seq: i64::MAX,
            event: WebhookEvent::Telemetry,
            url: self.inner.vault.seal(url, SEAL_PURPOSE)?,
            body,
            state: DeliveryState::Pending,
            attempts: 0,
            next_at: now,
            last_error: None,
            created_at: now,
            delivered_at: None,
        })
    }

    /// So many random bytes as hex digits.
    fn random_name(&self, bytes: usize) -> String {
        let mut random = vec![0_u8; bytes];
        self.inner.entropy.fill(&mut random);
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether players could still be sent there, now or soon.
fn can_be_joined(row: &Deployment) -> bool {
    let over = matches!(row.status(), Status::Terminating | Status::Terminated | Status::Error);
    !over && row.state.desired == Desired::Run
}
