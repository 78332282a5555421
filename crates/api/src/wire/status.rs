//! The status of a deployment: the answer of `GET /v1/status/{id}`, the body of every webhook, the summary in the answer
//! of a stop.
//!
//! Fields and their nulls are fixed by what strict clients survive: `start_time`, `public_ip` and `elapsed_time` are never
//! null, numbers are numbers, and there is no `message` (Unity takes one for a failure).

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::session::Session;
use spawnpoint_model::{DeploymentId, SessionId, Status, Timestamp};
use utoipa::ToSchema;

use super::parts::{Fqdn, Place, Port, Ports, PublicIp, Shown, StatusName, TagNames, sockets, status_name};
use crate::dates::V1Date;

/// The status body.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusBody<'a> {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
    /// The name under which players reach it.
    #[schema(value_type = String, format = "fqdn")]
    fqdn: Fqdn<'a>,
    #[schema(example = "arena")]
    app_name: &'a str,
    #[schema(example = "v7")]
    app_version: &'a str,
    #[schema(value_type = StatusName)]
    current_status: &'static str,
    #[schema(value_type = Option<StatusName>, required, example = "Status.DEPLOYING")]
    last_status: Option<&'static str>,
    /// Whether it is ready.
    #[schema(example = true)]
    running: bool,
    #[schema(example = false)]
    whitelisting_active: bool,
    /// When it became ready; until then, when it was made.
    start_time: V1Date,
    /// When it ended.
    #[schema(required, example = json!(null))]
    removal_time: Option<V1Date>,
    /// Seconds since it became ready, until it ended.
    #[schema(example = 42)]
    elapsed_time: u64,
    #[schema(example = false)]
    error: bool,
    #[schema(required, example = json!(null))]
    error_detail: Option<&'a str>,
    /// The address of its host; empty until it has one.
    #[schema(value_type = String, example = "203.0.113.40")]
    public_ip: PublicIp<'a>,
    /// By name; empty until they are given out.
    #[schema(value_type = BTreeMap<String, Port>, example = json!({"gameport": {"external": 31504, "internal": 7777, "protocol": "UDP", "name": "gameport", "tls_upgrade": false, "link": "5d1e07a9c34b.games.example.com:31504", "proxy": null}}))]
    ports: Ports<'a>,
    /// Where it is; `null` until it has a host.
    #[schema(required)]
    location: Option<Place<'a>>,
    #[schema(value_type = Vec<String>, example = json!(["ranked", "eu"]))]
    tags: TagNames<'a>,
    /// Places for sessions; `null` for a version without sessions.
    #[schema(required, example = json!(null))]
    sockets: Option<u32>,
    /// Places that are taken.
    #[schema(required, example = json!(null))]
    sockets_usage: Option<u32>,
    /// The sessions on it, the oldest first.
    #[schema(example = json!([]))]
    sessions: Vec<SessionItem>,
    /// `null` for the image's own.
    #[schema(required, example = json!(null))]
    command: Option<&'a str>,
    /// `null` for the image's own.
    #[schema(required, example = json!(null))]
    arguments: Option<&'a str>,
    /// Minutes it may run; 0 and less: forever.
    #[schema(example = 1440)]
    max_duration: i32,
}

impl<'a> StatusBody<'a> {
    /// Of a deployment at `now`.
    #[must_use]
    pub fn of(view: &'a DeploymentView, now: Timestamp) -> Self {
        let row = &*view.deployment;
        let status = row.status();
        let (sockets, sockets_usage) = sockets(view);
        let until = row.state.ended_at.unwrap_or(now);
        Self {
            request_id: Shown(row.id),
            fqdn: Fqdn(view),
            app_name: row.spec.app.as_str(),
            app_version: row.spec.version.as_str(),
            current_status: status_name(status),
            last_status: row.state.last_status.map(status_name),
            running: status == Status::Ready,
            whitelisting_active: view.version.access_list_active,
            start_time: V1Date(row.state.ready_at.unwrap_or(row.spec.created_at)),
            removal_time: row.state.ended_at.filter(|_| status == Status::Terminated).map(V1Date),
            elapsed_time: row.state.ready_at.map_or(0, |ready| until.since(ready).as_secs()),
            error: status == Status::Error,
            error_detail: row.failure().map(|failure| failure.detail.as_str()),
            public_ip: PublicIp(view),
            ports: Ports(view),
            location: Place::of(view),
            tags: TagNames(&row.state.tags),
            sockets,
            sockets_usage,
            sessions: view.sessions.iter().map(|session| SessionItem::of(session, status)).collect(),
            command: view.command(),
            arguments: view.arguments(),
            max_duration: row.spec.max_duration_minutes,
        }
    }
}

/// A session of a deployment.
#[derive(Serialize, ToSchema)]
#[schema(as = StatusSession)]
struct SessionItem {
    /// Its id.
    #[schema(value_type = String, format = "session-id")]
    session_id: Shown<SessionId>,
    /// How its deployment stands.
    #[schema(value_type = StatusName)]
    status: &'static str,
    /// Whether its deployment is ready.
    #[schema(example = true)]
    ready: bool,
    /// Whether it has a deployment.
    #[schema(example = true)]
    linked: bool,
    /// How it is counted.
    #[schema(value_type = super::version::SessionKindName)]
    kind: &'static str,
    /// Players in it.
    #[schema(example = 10)]
    user_count: usize,
}

impl SessionItem {
    /// Of a session on a deployment with this status.
    fn of(session: &Session, status: Status) -> Self {
        Self {
            session_id: Shown(session.id),
            status: status_name(status),
            ready: status == Status::Ready,
            linked: session.is_linked(),
            kind: super::version::kind_name(session.spec.kind),
            user_count: session.users.len(),
        }
    }
}

/// Writes the status of a deployment at `now`.
#[must_use]
pub fn render_status(view: &DeploymentView, now: Timestamp) -> String {
    super::to_json(&StatusBody::of(view, now))
}

#[cfg(test)]
mod tests;
