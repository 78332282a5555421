//! Makes a session: on the deployment that is named, else on the best one that takes it, else on one that is deployed for it
//! (`autodeploy`). If nobody takes it, it is unprocessable, and stays so.

use std::collections::HashMap;
use std::sync::Arc;

use spawnpoint_model::app::Version;
use spawnpoint_model::deployment::{Desired, Tag};
use spawnpoint_model::filter::LocationFilter;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::limits::SESSION_MAX_DURATION_MINUTES_DEFAULT;
use spawnpoint_model::names::{AppName, TagName, VersionName};
use spawnpoint_model::query::{Condition, ListQuery, TextMatch};
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::session::{
    Candidate, Selector, Session, SessionPhase, SessionSpec, Wanted, rank, sockets_for,
};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::webhook::WebhookEvent;
use spawnpoint_model::{Deployment, DeploymentId, Invalid, SessionId, Status};
use spawnpoint_store::{SessionClaim, SessionUsage, StoreError, Tx};

use super::UserInput;
use crate::deploy::{DeployRequest, EnvInput, Player, WebhookUrls};
use crate::{Engine, Error};

/// How often deployments are searched again because others were faster.
const SEARCHES_MAX: u32 = 16;

/// A session that is asked for, checked field by field.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// The application.
    pub app: AppName,
    /// The version; `None` = the one that was created last.
    pub version: Option<VersionName>,
    /// Who is in it.
    pub users: Vec<UserInput>,
    /// The deployment on which it is to be.
    pub deployment: Option<DeploymentId>,
    /// Nearest to this point, whatever the players say.
    pub centroid: Option<GeoPoint>,
    /// Where its deployment may be.
    pub filters: Vec<LocationFilter>,
    /// What its deployment must carry.
    pub selectors: Vec<Selector>,
    /// Whom to tell.
    pub webhook: Option<Plaintext>,
}

/// A deployment that may take a session, with what is taken of it.
type Found = (Arc<Deployment>, SessionUsage);

impl Engine {
    /// Makes a session. It is durable when this returns, and sits on a deployment or is unprocessable.
    ///
    /// # Errors
    /// `Invalid`: application, version or deployment; `Conflict`: the deployment that is named does not take it.
    pub async fn create_session(&self, actor: &Actor, request: SessionRequest) -> Result<Session, Error> {
        self.need_app(actor, Scope::Deploy, &request.app)?;
        if let Some(id) = request.deployment {
            let row = self.inner.rows.find(id).await?.filter(|row| row.spec.app == request.app);
            let row = row.filter(|row| request.version.as_ref().is_none_or(|v| *v == row.spec.version));
            let missing = || {
                let problem = format!("there is no deployment {id} of this application and version");
                Invalid::new("deployment_request_id", problem)
            };
            let row = row.ok_or_else(missing)?;
            let session = self.new_session(&row, &request.users, request.webhook.as_ref()).await?;
            let session = with_selectors(session, request.selectors);
            return self.link_to(&session, row).await;
        }
        let version = self.deployable(&request.app, request.version.as_ref()).await?;
        let session = self.session_of_version(&version, &request).await?;
        match self.find_place(&session, &version, &request).await? {
            Ok(linked) => Ok(linked),
            Err(why) => self.store_unprocessable(session, why).await,
        }
    }

    /// A session for a deployment, not linked yet.
    pub(super) async fn new_session(
        &self,
        row: &Deployment,
        users: &[UserInput],
        webhook: Option<&Plaintext>,
    ) -> Result<Session, Error> {
        let spec = &row.spec;
        let kept = spec.session.map(|session| session.session_max_duration_minutes);
        let number = self.inner.store.version_number(&spec.app, &spec.version).await?;
        let session_spec = SessionSpec {
            app: spec.app.clone(),
            version: spec.version.clone(),
            version_number: number.unwrap_or(0),
            kind: spec.session_kind(),
            custom_id: None,
            selectors: Vec::new(),
            created_at: self.now(),
            kept_minutes: kept.unwrap_or(SESSION_MAX_DURATION_MINUTES_DEFAULT),
        };
        self.unlinked(session_spec, users, webhook)
    }

    async fn session_of_version(
        &self,
        version: &Version,
        request: &SessionRequest,
    ) -> Result<Session, Error> {
        let settings = version.spec.session;
        let number = self.inner.store.version_number(&version.app, &version.name).await?;
        let spec = SessionSpec {
            app: version.app.clone(),
            version: version.name.clone(),
            version_number: number.unwrap_or(0),
            kind: settings.map_or(spawnpoint_model::app::SessionKind::Default, |settings| settings.kind),
            custom_id: None,
            selectors: request.selectors.clone(),
            created_at: self.now(),
            kept_minutes: settings
                .map_or(SESSION_MAX_DURATION_MINUTES_DEFAULT, |s| s.session_max_duration_minutes),
        };
        self.unlinked(spec, &request.users, request.webhook.as_ref())
    }

    fn unlinked(
        &self,
        spec: SessionSpec,
        users: &[UserInput],
        webhook: Option<&Plaintext>,
    ) -> Result<Session, Error> {
        Ok(Session {
            id: SessionId::from_random(self.inner.entropy.u64()),
            generation: 0,
            spec: Arc::new(spec),
            deployment: None,
            phase: SessionPhase::Unprocessable(String::new()),
            users: self.session_users(users),
            webhook: self.seal_session_webhook(webhook)?,
            ended_at: None,
        })
    }

    /// Links a session to the best deployment, or to a new one; else a sentence that says why not.
    async fn find_place(
        &self,
        session: &Session,
        version: &Version,
        request: &SessionRequest,
    ) -> Result<Result<Session, String>, Error> {
        let settings = version.spec.session;
        let sockets = sockets_for(session.spec.kind, session.users.len());
        let has = settings.filter(|_| sockets > 0).map(|settings| settings.sockets);
        if let Some(has) = has.filter(|has| *has < sockets) {
            return Ok(Err(format!("it needs {sockets} sockets, and a deployment has {has}")));
        }
        let autodeploy = settings.is_some_and(|settings| settings.autodeploy);
        if let Some(linked) = self.search(session, request, autodeploy).await? {
            return Ok(Ok(linked));
        }
        if autodeploy {
            // One after the other: whoever waited here joins what was started meanwhile.
            let _turn = self.inner.autodeploys.lock().await;
            if let Some(linked) = self.search(session, request, autodeploy).await? {
                return Ok(Ok(linked));
            }
            return self.deploy_for(session, version, request).await;
        }
        Ok(Err("no deployment that is ready and joinable has room for it".to_owned()))
    }

    /// Links a session to the best deployment that takes it, if there is one.
    async fn search(
        &self,
        session: &Session,
        request: &SessionRequest,
        autodeploy: bool,
    ) -> Result<Option<Session>, Error> {
        for _ in 0..SEARCHES_MAX {
            let found = self.places_for(session, request, autodeploy).await?;
            if found.is_empty() {
                break;
            }
            for (row, usage) in found {
                if let Some(linked) = self.try_link(session, &row, &usage).await? {
                    return Ok(Some(linked));
                }
            }
        }
        Ok(None)
    }

    /// The deployments that take a session, the best first. With `autodeploy` those that are still starting will do: else
    /// everybody who comes meanwhile would have another one started.
    async fn places_for(
        &self,
        session: &Session,
        request: &SessionRequest,
        autodeploy: bool,
    ) -> Result<Vec<Found>, Error> {
        let spec = &session.spec;
        let rows = self.inner.rows.live_among(&narrowed(spec, !autodeploy)).await?;
        let fits = |row: &Arc<Deployment>| {
            row.spec.app == spec.app
                && row.spec.version == spec.version
                && row.spec.session_kind() == spec.kind
                && row.state.joinable
                && row.state.desired == Desired::Run
                && (row.status() == Status::Ready || (autodeploy && row.status() < Status::Ready))
        };
        let rows: HashMap<_, _> = rows.into_iter().filter(fits).map(|row| (row.id, row)).collect();
        let ids: Vec<_> = rows.keys().copied().collect();
        let usage = self.inner.store.session_usage(&ids).await?;
        let tags: HashMap<DeploymentId, Vec<TagName>> =
            rows.values().map(|row| (row.id, names(&row.state.tags))).collect();
        let hosts = self.inner.fleet.all();
        let sites: HashMap<_, _> = hosts.iter().map(|host| (host.id(), &host.setup.host.site)).collect();
        let mut candidates = Vec::with_capacity(usage.len());
        for taken in &usage {
            let Some(row) = rows.get(&taken.deployment) else { continue };
            let Some(site) = row.state.host.as_ref().and_then(|host| sites.get(host)) else { continue };
            candidates.push(Candidate {
                id: row.id,
                ready: row.status() == Status::Ready,
                free: taken.free,
                sessions: taken.sessions,
                tags: tags.get(&row.id).map_or(&[], Vec::as_slice),
                location: &site.location,
                site_tags: &site.tags,
                created_at: row.spec.created_at,
            });
        }
        let points: Vec<GeoPoint> = match request.centroid {
            Some(point) => vec![point],
            None => session.users.iter().filter_map(|user| user.at).collect(),
        };
        let required: Vec<TagName> = session.required_tags().cloned().collect();
        let wanted = Wanted {
            sockets: session.sockets(),
            tags: &required,
            filters: &request.filters,
            points: &points,
            may_wait: autodeploy,
        };
        let usage: HashMap<_, _> = usage.iter().map(|usage| (usage.deployment, *usage)).collect();
        let found = |id: DeploymentId| Some((rows.get(&id)?.clone(), *usage.get(&id)?));
        Ok(rank(&candidates, &wanted).into_iter().filter_map(found).collect())
    }

    /// Deploys for a session: row, session and sockets are one transaction.
    async fn deploy_for(
        &self,
        session: &Session,
        version: &Version,
        request: &SessionRequest,
    ) -> Result<Result<Session, String>, Error> {
        let row = self.new_row(&deployment_for(session, request), version, None).await?;
        let row = Deployment {
            state: spawnpoint_model::deployment::State { empty_since: None, ..row.state.clone() },
            ..row
        };
        let linked = Session { deployment: Some(row.id), phase: SessionPhase::Linked, ..session.clone() };
        let mut also = Tx::new();
        let claim =
            SessionClaim { sockets: linked.sockets(), joins: true, ready: Some(false), sessions: 0..=0 };
        also.claim_sockets(row.id, &claim);
        also.insert_session(&linked);
        self.inner.with_sessions.note(row.id);
        match self.place_new(&row, version, &also).await {
            Ok(Ok(_)) => Ok(Ok(linked)),
            Ok(Err(why)) => Ok(Err(why)),
            Err(other) => Err(other.into()),
        }
    }

    async fn store_unprocessable(&self, session: Session, why: String) -> Result<Session, Error> {
        let session = Session { phase: SessionPhase::Unprocessable(why), ..session };
        let mut tx = Tx::new();
        tx.insert_session(&session);
        tx.append(self.announce(&session, WebhookEvent::Unprocessable, None).await?);
        match self.inner.store.commit(tx).await {
            Err(StoreError::OutcomeUnknown) if self.inner.store.find_session(session.id).await?.is_some() => {
            }
            result => result?,
        }
        self.inner.sender.bell.notify_one();
        Ok(session)
    }
}

fn names(tags: &[Tag]) -> Vec<TagName> {
    tags.iter().map(|tag| tag.name.clone()).collect()
}

pub(super) fn with_selectors(session: Session, selectors: Vec<Selector>) -> Session {
    let spec = SessionSpec { selectors, ..SessionSpec::clone(&session.spec) };
    Session { spec: Arc::new(spec), ..session }
}

/// What the database can look for.
fn narrowed(spec: &SessionSpec, only_ready: bool) -> ListQuery {
    let mut conditions = vec![
        Condition::Application(TextMatch::In(vec![spec.app.as_str().to_owned()])),
        Condition::Version(TextMatch::In(vec![spec.version.as_str().to_owned()])),
        Condition::Joinable(true),
    ];
    if only_ready {
        conditions.push(Condition::Status(Status::Ready, true));
    }
    ListQuery { conditions, ..ListQuery::default() }
}

/// The request for a deployment that a session needs: near to its players, with the tags and the variables of its selectors.
fn deployment_for(session: &Session, request: &SessionRequest) -> DeployRequest {
    let player =
        |user: &spawnpoint_model::session::SessionUser| user.at.map_or(Player::Address(user.ip), Player::At);
    let mut tags: Vec<TagName> = Vec::new();
    for tag in session.required_tags() {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let mut env: Vec<EnvInput> = Vec::new();
    for (key, value) in session.spec.selectors.iter().filter_map(|selector| selector.env.clone()) {
        if env.iter().all(|other| other.key != key) {
            env.push(EnvInput { key, value: Some(Plaintext::new(value)), hidden: false });
        }
    }
    DeployRequest {
        app: session.spec.app.clone(),
        version: Some(session.spec.version.clone()),
        players: session.users.iter().map(player).collect(),
        centroid: request.centroid,
        filters: request.filters.clone(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env,
        tags,
        webhooks: WebhookUrls::default(),
        command: None,
        arguments: None,
        log_storage: None,
        resources: None,
    }
}
