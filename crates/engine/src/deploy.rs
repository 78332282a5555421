//! Deploy: from a checked request to a row that holds a host, ports and capacity.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use spawnpoint_model::app::Version;
use spawnpoint_model::deployment::{DeploymentSpec, Failure, FailureKind, LogStorage, Origin, Tag};
use spawnpoint_model::filter::LocationFilter;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::lifecycle::{due_at, place_on, refuse};
use spawnpoint_model::names::{AppName, TagName, VersionName};
use spawnpoint_model::place::{Ask, Room};
use spawnpoint_model::secret::{Plaintext, Sealed};
use spawnpoint_model::token::Actor;
use spawnpoint_model::units::Resources;
use spawnpoint_model::webhook::{WebhookEvent, Webhooks};
use spawnpoint_model::{
    Deployment, DeploymentId, HostId, Invalid, Invalids, PortBinding, Timestamp, VersionSpec,
};
use spawnpoint_store::{Conflict, RememberedRequest, StoreError, Tx};

use crate::hosts::{Choice, NoHost};
use crate::save::Change;
use crate::view::DeploymentView;
use crate::{Engine, Error, webhooks};

/// How often a placement is tried again because another control plane took the place first.
const PLACEMENTS_MAX: u32 = 8;
/// How long an idempotency key is remembered.
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A variable as a user gives it, its key already sanitized.
#[derive(Clone, Debug)]
pub struct EnvInput {
    /// Its name.
    pub key: String,
    /// Its value; `None` keeps the stored value of a hidden variable (versions only).
    pub value: Option<Plaintext>,
    /// Encrypt it, never show it.
    pub hidden: bool,
}

/// A player to be near to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Player {
    /// By address: its position is looked up.
    Address(IpAddr),
    /// By position.
    At(GeoPoint),
}

/// Addresses to call.
#[derive(Clone, Debug, Default)]
pub struct WebhookUrls {
    /// When it is ready.
    pub on_ready: Option<Plaintext>,
    /// When it fails.
    pub on_error: Option<Plaintext>,
    /// When it has ended.
    pub on_terminated: Option<Plaintext>,
}

/// A deploy request, already checked field by field.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// The application.
    pub app: AppName,
    /// The version; `None` = the one that was created last.
    pub version: Option<VersionName>,
    /// Players.
    pub players: Vec<Player>,
    /// Nearest to this point, whatever the players say.
    pub centroid: Option<GeoPoint>,
    /// Sites it may go to.
    pub filters: Vec<LocationFilter>,
    /// Hosts to try first, in order.
    pub preferred_hosts: Vec<HostId>,
    /// Only hosts that hold the image.
    pub require_cached: bool,
    /// Variables over the version's.
    pub env: Vec<EnvInput>,
    /// Tags, duplicates collapsed.
    pub tags: Vec<TagName>,
    /// Whom to tell.
    pub webhooks: WebhookUrls,
    /// Over the version's command.
    pub command: Option<String>,
    /// Over the version's arguments.
    pub arguments: Option<String>,
    /// What becomes of the logs.
    pub log_storage: Option<LogStorage>,
    /// Over the version's resources.
    pub resources: Option<Resources>,
}

/// Makes a deploy request safe to repeat.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The client's key, 1 to 255 characters.
    pub key: String,
    /// SHA-256 of the request's body: the same key with another body is a conflict.
    pub body_hash: [u8; 32],
}

/// What became of a deploy request.
#[derive(Clone, Debug)]
pub struct DeployOutcome {
    /// The deployment; it exists in any case.
    pub view: DeploymentView,
    /// Why no host could take it, a sentence for users. The deployment is in error then.
    pub refused: Option<String>,
}

impl Engine {
    /// Places and stores a deployment; it is durable when this returns. Everything after it is asynchronous.
    ///
    /// # Errors
    /// `Invalid` (unknown or inactive application or version, under the fields `application` and `version`; only unknown
    /// preferred hosts, under `private_host_ids`),
    /// `Forbidden`, `Conflict` (idempotency key used with another body), `Unavailable`. Nothing was created then.
    pub async fn deploy(
        &self,
        actor: &Actor,
        request: DeployRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<DeployOutcome, Error> {
        if !actor.may_see(&request.app) {
            return Err(Error::Forbidden(format!(
                "this token may not deploy the application {}",
                request.app
            )));
        }
        let remembered = idempotency.map(|i| self.remembered_request(actor, i));
        if let Some(request) = &remembered
            && let Some(outcome) = self.repeated(request).await?
        {
            return Ok(outcome);
        }
        let version = self.deployable(&request.app, request.version.as_ref()).await?;
        if self.none_is_known(&request.preferred_hosts) {
            return Err(Invalid::new("private_host_ids", "none of these hosts exists").into());
        }
        let row = self.new_row(&request, &version, None).await?;
        for _ in 0..PLACEMENTS_MAX {
            match self.place_and_store(&row, &version, remembered.as_ref()).await {
                Ok(outcome) => return Ok(outcome),
                Err(StoreError::Conflict(Conflict::NoCapacity(_) | Conflict::PortTaken { .. })) => {
                    // Another control plane was faster, or an operator: see what is there now, and choose again.
                    self.reload_hosts().await?;
                    self.reload_settings().await?;
                }
                Err(StoreError::Conflict(Conflict::KeyUsed(_))) => {
                    let repeated = match &remembered {
                        Some(request) => self.repeated(request).await?,
                        None => None,
                    };
                    return repeated.ok_or_else(|| Error::Unavailable("please try again".to_owned()));
                }
                Err(StoreError::OutcomeUnknown) => match self.inner.store.find_deployment(row.id).await? {
                    Some(stored) => return self.accepted(Arc::new(stored)).await,
                    None => return Err(StoreError::OutcomeUnknown.into()),
                },
                Err(other) => return Err(other.into()),
            }
        }
        Err(Error::Unavailable(
            "the hosts are being taken faster than they can be looked at, please try again".into(),
        ))
    }

    /// The version that is asked for, if it can be deployed.
    pub(crate) async fn deployable(
        &self,
        app: &AppName,
        version: Option<&VersionName>,
    ) -> Result<Arc<Version>, Error> {
        let Some(application) = self.inner.catalog.app(app).await? else {
            return Err(Invalid::new("application", format!("there is no application {app}")).into());
        };
        if !application.is_active {
            return Err(Invalid::new("application", format!("{app} is not active")).into());
        }
        let Some(found) = self.inner.catalog.version(app, version).await? else {
            let problem = match version {
                Some(name) => format!("{app} has no version {name}"),
                None => format!("{app} has no version yet"),
            };
            return Err(Invalid::new("version", problem).into());
        };
        if !found.spec.is_active {
            return Err(Invalid::new("version", format!("{} of {app} is not active", found.name)).into());
        }
        Ok(found)
    }

    /// Where a player is, if it is known.
    pub(crate) fn position_of(&self, player: &Player) -> Option<GeoPoint> {
        match player {
            Player::At(point) => Some(*point),
            Player::Address(address) => self.inner.positions.position(*address),
        }
    }

    /// A row for a request; of a smart fleet's making if there is an `origin`.
    pub(crate) async fn new_row(
        &self,
        request: &DeployRequest,
        version: &Version,
        origin: Option<Origin>,
    ) -> Result<Deployment, Error> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let profiles = inner.catalog.profiles(&version.app, &version.name).await?;
        let spec = DeploymentSpec {
            app: version.app.clone(),
            version: version.name.clone(),
            revision: version.revision.clone(),
            created_at: now,
            // The points of a policy are not players.
            user_count: if origin.is_some() { 0 } else { count(request.players.len()) },
            players: request.players.iter().filter_map(|player| self.position_of(player)).collect(),
            centroid: request.centroid,
            filters: request.filters.clone(),
            preferred_hosts: request.preferred_hosts.clone(),
            require_cached: request.require_cached,
            env: self.seal_env(&request.env, &[])?,
            command: request.command.clone(),
            arguments: request.arguments.clone(),
            webhooks: self.seal_webhooks(&request.webhooks)?,
            log_storage: request.log_storage.clone(),
            pull_profiles: profiles.to_vec(),
            resources: request.resources.unwrap_or(version.spec.resources),
            restart_policy: version.spec.restart_policy,
            grace_seconds: version.spec.grace_seconds,
            time_to_deploy_seconds: version.spec.time_to_deploy_seconds,
            max_duration_minutes: version.spec.max_duration_minutes,
            session: version.spec.session,
            origin,
        };
        let tag = |name: &TagName| Tag { name: name.clone(), created_at: now, updated_at: now };
        let id = DeploymentId::from_random(inner.entropy.u64());
        Ok(Deployment::new(id, spec, request.tags.iter().map(tag).collect()))
    }

    /// Seals the webhook addresses, after a look at everything that can be known of them now.
    fn seal_webhooks(&self, urls: &WebhookUrls) -> Result<Webhooks, Error> {
        let mut invalids = Invalids::default();
        let mut seal = |field: &str, url: &Option<Plaintext>| -> Result<Option<Sealed>, Error> {
            let Some(url) = url else { return Ok(None) };
            if let Err(problem) = self.inner.sender.check_url(url.reveal()) {
                invalids.add(field, problem);
                return Ok(None);
            }
            Ok(Some(self.inner.vault.seal(url, webhooks::SEAL_PURPOSE)?))
        };
        let sealed = Webhooks {
            on_ready: seal("webhook_on_ready.url", &urls.on_ready)?,
            on_error: seal("webhook_on_error.url", &urls.on_error)?,
            on_terminated: seal("webhook_on_terminated.url", &urls.on_terminated)?,
        };
        invalids.into_result()?;
        Ok(sealed)
    }

    /// One try: choose a host and store the row with everything it holds, or store that it was refused.
    async fn place_and_store(
        &self,
        row: &Deployment,
        version: &Version,
        remembered: Option<&RememberedRequest>,
    ) -> Result<DeployOutcome, StoreError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut tx = Tx::new();
        let (stored, choice) = match self.choose_host(row, &version.spec, now) {
            Ok(choice) => {
                let placed = place_on(row, choice.runtime.id().clone(), choice.ports.clone(), now);
                (Arc::new(placed), Ok(choice))
            }
            Err(refusal) => (Arc::new(refused_row(row, &refusal, now)), Err(refusal)),
        };
        tx.insert_deployment(&stored, due_at(&stored, &inner.options.rules));
        match &choice {
            Ok(choice) => {
                hold(&mut tx, &stored, choice, now);
                tx.append_event(stored.id, now, "placed", &json!({ "reasons": choice.reasons }).to_string());
            }
            Err(refusal) => {
                tx.append_event(
                    stored.id,
                    now,
                    "refused",
                    &json!({ "reasons": refusal.reasons }).to_string(),
                );
                for delivery in self.deliveries(&stored, &[WebhookEvent::Error], now).await? {
                    tx.enqueue_webhook(&delivery);
                }
            }
        }
        if let Some(request) = remembered {
            tx.remember_request(&RememberedRequest { deployment: stored.id, ..request.clone() }, now);
        }
        if let Err(error) = inner.store.commit(tx).await {
            if let Ok(choice) = &choice {
                inner.fleet.undo(choice, stored.spec.resources);
            }
            return Err(error);
        }
        inner.rows.put(&stored);
        if choice.is_err() {
            inner.sender.bell.notify_one();
        }
        self.accepted(stored).await.map_err(|e| StoreError::Internal(e.to_string()))
    }

    /// Places and stores a row that nobody waits for, together with what `also` does; its work begins. If no host can take
    /// it nothing is stored, and the outcome is a sentence for users.
    pub(crate) async fn place_new(
        &self,
        row: &Deployment,
        version: &Version,
        also: &Tx,
    ) -> Result<Result<Arc<Deployment>, String>, StoreError> {
        let inner = &self.inner;
        for _ in 0..PLACEMENTS_MAX {
            let now = inner.clock.now();
            let choice = match self.choose_host(row, &version.spec, now) {
                Ok(choice) => choice,
                Err(refusal) => return Ok(Err(refusal.summary)),
            };
            let placed = Arc::new(place_on(row, choice.runtime.id().clone(), choice.ports.clone(), now));
            let mut tx = Tx::new();
            tx.insert_deployment(&placed, due_at(&placed, &inner.options.rules));
            hold(&mut tx, &placed, &choice, now);
            tx.append_event(placed.id, now, "placed", &json!({ "reasons": choice.reasons }).to_string());
            tx.append(also.clone());
            let stored = match inner.store.commit(tx).await {
                Err(StoreError::OutcomeUnknown) => {
                    inner.store.find_deployment(row.id).await?.map(Arc::new).ok_or(StoreError::OutcomeUnknown)
                }
                result => result.map(|()| placed.clone()),
            };
            match stored {
                Ok(stored) => {
                    inner.rows.put(&stored);
                    self.wake(stored.id);
                    return Ok(Ok(stored));
                }
                Err(error) => {
                    inner.fleet.undo(&choice, placed.spec.resources);
                    // Another control plane was faster: see what it took, and choose again.
                    let was_taken = matches!(
                        error,
                        StoreError::Conflict(Conflict::NoCapacity(_) | Conflict::PortTaken { .. })
                    );
                    if !was_taken {
                        return Err(error);
                    }
                    self.reload_hosts().await.ok();
                }
            }
        }
        Ok(Err("the hosts are being taken faster than they can be looked at".to_owned()))
    }

    /// What is answered for a stored row; its work begins.
    async fn accepted(&self, row: Arc<Deployment>) -> Result<DeployOutcome, Error> {
        self.wake(row.id);
        let refused = row.failure().filter(|f| f.kind == FailureKind::NoCapacity).map(|f| f.detail.clone());
        Ok(DeployOutcome { view: self.view(row).await?, refused })
    }

    /// Takes the best host and ports for `row` in the mirror, of what is free at `now`.
    pub(crate) fn choose_host(
        &self,
        row: &Deployment,
        version: &VersionSpec,
        now: Timestamp,
    ) -> Result<Choice, NoHost> {
        let image = version.image.reference();
        let ports = u32::try_from(version.ports.len()).unwrap_or(u32::MAX);
        let ask = Ask {
            players: &row.spec.players,
            centroid: row.spec.centroid,
            filters: &row.spec.filters,
            preferred_hosts: &row.spec.preferred_hosts,
            image: &image,
            require_cached: row.spec.require_cached,
            filters_clients: version.access_list_active,
            tls: version.ports.iter().any(|port| port.tls_upgrade),
            room: Room { resources: row.spec.resources, ports },
            avoid: &row.state.avoid_hosts,
        };
        self.inner.fleet.choose(&ask, &version.ports, &self.inner.entropy, now)
    }

    /// Places a row again whose first attempt has failed.
    pub(crate) async fn place_again(&self, row: &Deployment) -> Result<(), StoreError> {
        let inner = &self.inner;
        let version = inner.rows.revision(&row.spec.revision).await?;
        let now = inner.clock.now();
        let choice = match self.choose_host(row, &version, now) {
            Ok(choice) => choice,
            Err(refusal) => {
                let event = Some(("refused", json!({ "reasons": refusal.reasons })));
                let decision = refuse(row, no_capacity(&refusal), now);
                let change = Change { webhooks: decision.webhooks, event, ..Change::default() };
                return match decision.next {
                    Some(next) => self.save(row, next, change).await.map(drop),
                    None => Ok(()),
                };
            }
        };
        let placed = Arc::new(place_on(row, choice.runtime.id().clone(), choice.ports.clone(), now));
        let mut tx = Tx::new();
        tx.save_step(row, &placed, due_at(&placed, &inner.options.rules));
        hold(&mut tx, &placed, &choice, now);
        tx.append_event(placed.id, now, "placed", &json!({ "reasons": choice.reasons }).to_string());
        if let Err(error) = inner.store.commit(tx).await {
            inner.fleet.undo(&choice, placed.spec.resources);
            self.reload_hosts().await.ok();
            self.reload_settings().await.ok();
            return Err(error);
        }
        inner.rows.put(&placed);
        Ok(())
    }

    /// Loads the mirror of what is free where, for stores that others write too.
    pub(crate) async fn reload_hosts(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if !inner.rows.is_exact() {
            self.follow_others().await?;
            inner.fleet.load(&inner.store.host_usage().await?, &inner.store.port_leases(None).await?);
        }
        Ok(())
    }

    fn remembered_request(&self, actor: &Actor, idempotency: Idempotency) -> RememberedRequest {
        RememberedRequest {
            key: format!("{}/{}", actor.token, idempotency.key),
            body_hash: idempotency.body_hash.to_vec(),
            deployment: DeploymentId::from_random(0),
            expires_at: self.now().plus(IDEMPOTENCY_KEPT),
        }
    }

    /// The outcome of the same request made before, if it was.
    async fn repeated(&self, request: &RememberedRequest) -> Result<Option<DeployOutcome>, Error> {
        let Some(before) = self.inner.store.find_request(&request.key, self.now()).await? else {
            return Ok(None);
        };
        if before.body_hash != request.body_hash {
            return Err(Error::Conflict(
                "this Idempotency-Key was used with another request body".to_owned(),
            ));
        }
        match self.inner.rows.find(before.deployment).await? {
            Some(row) => self.accepted(row).await.map(Some),
            None => Err(Error::Gone(format!(
                "{} was deployed with this Idempotency-Key and has ended",
                before.deployment
            ))),
        }
    }
}

/// Ports and capacity of a placed row.
fn hold(tx: &mut Tx, row: &Deployment, choice: &Choice, now: Timestamp) {
    let host = &choice.runtime.setup.host;
    tx.reserve(&host.id, &row.spec.resources, &host.capacity);
    let transports = |port: &PortBinding| {
        port.protocol.transports().iter().map(|t| (*t, port.external)).collect::<Vec<_>>()
    };
    let ports: Vec<_> = choice.ports.iter().flat_map(transports).collect();
    tx.lease_ports(&host.id, row.id, &ports, now);
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn no_capacity(refusal: &NoHost) -> Failure {
    Failure::new(FailureKind::NoCapacity, refusal.summary.as_str())
}

fn refused_row(row: &Deployment, refusal: &NoHost, now: Timestamp) -> Deployment {
    refuse(row, no_capacity(refusal), now).next.unwrap_or_else(|| row.clone())
}
