//! Sessions as they are shown: one, a list of them, who is in one, what became of several.
//!
//! The status of a session is that of its deployment; `Status.UNPROCESSABLE` if none takes it.

use std::net::IpAddr;

use serde::Serialize;
use spawnpoint_engine::Error;
use spawnpoint_engine::sessions::{SessionRow, SessionView};
use spawnpoint_model::names::CustomId;
use spawnpoint_model::query::Paged;
use spawnpoint_model::session::{Session, SessionPhase, SessionUser};
use spawnpoint_model::{DeploymentId, SessionId, Status, Timestamp};
use utoipa::ToSchema;

use super::context::ContextBody;
use super::parts::{Shown, status_name};
use super::version::{SessionKindName, kind_name};
use crate::dates::V1Date;
use crate::pagination::Pagination;

/// Where a session stands.
#[derive(ToSchema)]
#[schema(as = SessionStatus, example = "Status.READY")]
pub enum SessionStatusName {
    /// Its deployment is stored.
    #[schema(rename = "Status.INITIALIZING")]
    Initializing,
    /// A host is looked for.
    #[schema(rename = "Status.SEEKING")]
    Seeking,
    /// A host was found.
    #[schema(rename = "Status.SEEKED")]
    Seeked,
    /// Ports are looked at.
    #[schema(rename = "Status.SCANNING")]
    Scanning,
    /// Its deployment is being started.
    #[schema(rename = "Status.DEPLOYING")]
    Deploying,
    /// Its players can come.
    #[schema(rename = "Status.READY")]
    Ready,
    /// Its deployment is being stopped.
    #[schema(rename = "Status.TERMINATING")]
    Terminating,
    /// Its deployment has ended.
    #[schema(rename = "Status.TERMINATED")]
    Terminated,
    /// Its deployment failed.
    #[schema(rename = "Status.ERROR")]
    Error,
    /// No deployment takes it.
    #[schema(rename = "Status.UNPROCESSABLE")]
    Unprocessable,
}

fn session_status(session: &Session, deployment: Option<Status>) -> &'static str {
    match &session.phase {
        SessionPhase::Linked => status_name(deployment.unwrap_or(Status::Terminated)),
        SessionPhase::Unprocessable(_) => "Status.UNPROCESSABLE",
        SessionPhase::Failed(_) => "Status.ERROR",
        SessionPhase::Closed | SessionPhase::Deleted => "Status.TERMINATED",
    }
}

fn is_ready(session: &Session, deployment: Option<Status>) -> bool {
    session.is_linked() && deployment == Some(Status::Ready)
}

fn webhook(session: &Session) -> Option<&str> {
    session.webhook.as_ref().map(|webhook| webhook.shown.as_str())
}

/// The answer to a session that was asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionAnswer)]
pub struct MadeBody<'a> {
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
    /// The name that the user gave it.
    #[schema(value_type = Option<String>, required, example = json!(null))]
    custom_id: Option<&'a CustomId>,
    #[schema(example = "arena")]
    app: &'a str,
    #[schema(example = "v7")]
    version: &'a str,
    /// Its deployment; `null` if none takes it.
    #[schema(value_type = Option<String>, required, example = "5d1e07a9c34b")]
    deployment_request_id: Option<Shown<DeploymentId>>,
    selectors: Vec<SelectorShown<'a>>,
    /// Without login and query.
    #[schema(required, example = json!(null))]
    webhook_url: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Selector)]
struct SelectorShown<'a> {
    #[schema(example = "ranked")]
    tag: &'a str,
    #[schema(example = false)]
    tag_only: bool,
    #[schema(required, example = json!(null))]
    env: Option<SelectorEnvShown<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SelectorVariable)]
struct SelectorEnvShown<'a> {
    #[schema(example = "GAME_MODE")]
    key: &'a str,
    #[schema(example = "ranked")]
    value: &'a str,
}

impl<'a> MadeBody<'a> {
    /// Of a session.
    #[must_use]
    pub fn of(session: &'a Session) -> Self {
        let spec = &*session.spec;
        let selectors = spec.selectors.iter().map(|selector| SelectorShown {
            tag: selector.tag.as_str(),
            tag_only: selector.tag_only,
            env: selector.env.as_ref().map(|(key, value)| SelectorEnvShown { key, value }),
        });
        Self {
            session_id: Shown(session.id),
            custom_id: spec.custom_id.as_ref(),
            app: spec.app.as_str(),
            version: spec.version.as_str(),
            deployment_request_id: session.deployment.map(Shown),
            selectors: selectors.collect(),
            webhook_url: webhook(session),
        }
    }
}

/// A session; also the body of its webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionBody<'a> {
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
    /// The name that the user gave it.
    #[schema(value_type = Option<String>, required, example = json!(null))]
    custom_id: Option<&'a CustomId>,
    #[schema(value_type = SessionStatusName)]
    status: &'static str,
    /// Whether its deployment is ready.
    #[schema(example = true)]
    ready: bool,
    /// Whether it sits on a deployment.
    #[schema(example = true)]
    linked: bool,
    #[schema(value_type = SessionKindName)]
    kind: &'static str,
    #[schema(example = 1)]
    user_count: usize,
    /// The number of the version in its application, from 1.
    #[schema(example = 7)]
    app_version: i64,
    create_time: V1Date,
    /// Seconds since then, until it ended.
    #[schema(example = 42)]
    elapsed: u64,
    /// Why no deployment takes it, or why its deployment failed.
    #[schema(required, example = json!(null))]
    error: Option<&'a str>,
    session_users: Vec<UserShown>,
    /// The same.
    session_ips: Vec<UserShown>,
    /// The deployment on which it sits or sat.
    #[schema(required)]
    deployment: Option<ContextBody<'a>>,
    /// Without login and query.
    #[schema(required, example = json!(null))]
    webhook_url: Option<&'a str>,
}

/// A player of a session.
#[derive(Serialize, Clone, Copy, ToSchema)]
#[schema(as = SessionUser)]
struct UserShown {
    #[schema(value_type = String, example = "198.51.100.7")]
    ip: IpAddr,
    /// `null` where it is not known.
    #[schema(required, example = 45.75)]
    latitude: Option<f64>,
    #[schema(required, example = 4.85)]
    longitude: Option<f64>,
}

fn users(session: &Session) -> Vec<UserShown> {
    let shown = |user: &SessionUser| UserShown {
        ip: user.ip,
        latitude: user.at.map(|at| at.latitude),
        longitude: user.at.map(|at| at.longitude),
    };
    session.users.iter().map(shown).collect()
}

impl<'a> SessionBody<'a> {
    /// Of a session at `now`.
    #[must_use]
    pub fn of(view: &'a SessionView, now: Timestamp) -> Self {
        let session = &view.session;
        let deployment = view.deployment.as_ref().map(|deployment| deployment.deployment.status());
        let error = match &session.phase {
            SessionPhase::Unprocessable(why) | SessionPhase::Failed(why) => Some(why.as_str()),
            SessionPhase::Linked | SessionPhase::Closed | SessionPhase::Deleted => None,
        };
        let users = users(session);
        Self {
            session_id: Shown(session.id),
            custom_id: session.spec.custom_id.as_ref(),
            status: session_status(session, deployment),
            ready: is_ready(session, deployment),
            linked: session.is_linked(),
            kind: kind_name(session.spec.kind),
            user_count: users.len(),
            app_version: session.spec.version_number,
            create_time: V1Date(session.spec.created_at),
            elapsed: session.ended_at.unwrap_or(now).since(session.spec.created_at).as_secs(),
            error,
            session_users: users.clone(),
            session_ips: users,
            deployment: view.deployment.as_ref().map(ContextBody::of),
            webhook_url: webhook(session),
        }
    }
}

/// Writes a session at `now`: the body of its webhook.
#[must_use]
pub fn render_session(view: &SessionView, now: Timestamp) -> String {
    super::to_json(&SessionBody::of(view, now))
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = Sessions)]
pub struct SessionListBody<'a> {
    data: Vec<ItemBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SessionItem)]
struct ItemBody<'a> {
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
    #[schema(value_type = Option<String>, required, example = json!(null))]
    custom_id: Option<&'a CustomId>,
    #[schema(value_type = SessionStatusName)]
    status: &'static str,
    #[schema(example = true)]
    ready: bool,
    #[schema(example = true)]
    linked: bool,
    #[schema(value_type = SessionKindName)]
    kind: &'static str,
    #[schema(example = 1)]
    user_count: usize,
    #[schema(value_type = Option<String>, required, example = "5d1e07a9c34b")]
    deployment_request_id: Option<Shown<DeploymentId>>,
    #[schema(required, example = json!(null))]
    webhook_url: Option<&'a str>,
}

impl<'a> SessionListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<SessionRow>) -> Self {
        let item = |SessionRow { session, status }: &'a SessionRow| ItemBody {
            session_id: Shown(session.id),
            custom_id: session.spec.custom_id.as_ref(),
            status: session_status(session, *status),
            ready: is_ready(session, *status),
            linked: session.is_linked(),
            kind: kind_name(session.spec.kind),
            user_count: session.users.len(),
            deployment_request_id: session.deployment.map(Shown),
            webhook_url: webhook(session),
        };
        let data = paged.items.iter().map(item).collect();
        Self { data, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// Who is in a session.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionUsers)]
pub struct UsersBody {
    session_users: Vec<UserShown>,
}

impl UsersBody {
    /// Of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self { session_users: users(session) }
    }
}

/// A session that was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionDeleted)]
pub struct DeletedBody<'a> {
    #[schema(example = "Session 5d1e07a9c34b-s is deleted")]
    message: String,
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
    #[schema(value_type = Option<String>, required, example = json!(null))]
    custom_id: Option<&'a CustomId>,
}

impl<'a> DeletedBody<'a> {
    /// Of a session.
    #[must_use]
    pub fn of(session: &'a Session) -> Self {
        Self {
            message: format!("Session {} is deleted", session.id),
            session_id: Shown(session.id),
            custom_id: session.spec.custom_id.as_ref(),
        }
    }
}

/// Sessions that were made, and why others were not.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionsMade)]
pub struct MadeListBody<'a> {
    sessions: Vec<MadeBody<'a>>,
    #[schema(example = json!([]))]
    errors: Vec<String>,
}

/// Sessions that were deleted, and why others were not.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionsDeleted)]
pub struct DeletedListBody<'a> {
    sessions: Vec<DeletedBody<'a>>,
    #[schema(example = json!([]))]
    errors: Vec<String>,
}

impl<'a> MadeListBody<'a> {
    /// Of what became of each.
    #[must_use]
    pub fn of(outcomes: &'a [Result<Session, Error>]) -> Self {
        let sessions = outcomes.iter().flatten().map(MadeBody::of).collect();
        Self { sessions, errors: sentences(outcomes) }
    }
}

impl<'a> DeletedListBody<'a> {
    /// Of what became of each.
    #[must_use]
    pub fn of(outcomes: &'a [Result<Session, Error>]) -> Self {
        let sessions = outcomes.iter().flatten().map(DeletedBody::of).collect();
        Self { sessions, errors: sentences(outcomes) }
    }
}

/// Of faults of ours users see no cause.
fn sentences(outcomes: &[Result<Session, Error>]) -> Vec<String> {
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(ToString::to_string)).collect()
}

/// Sessions that a bulk stop deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionsBulkStopped)]
pub struct StoppedBody {
    processable: Vec<StoppedSession>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionsBulkStoppedSession)]
struct StoppedSession {
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
}

impl StoppedBody {
    /// Of these sessions.
    #[must_use]
    pub fn of(ids: &[SessionId]) -> Self {
        Self { processable: ids.iter().map(|id| StoppedSession { session_id: Shown(*id) }).collect() }
    }
}
