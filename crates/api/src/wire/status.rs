//! The status of a deployment: the answer of `GET /v1/status/{id}`, the body of every webhook, the summary in the answer
//! of a stop.
//!
//! Fields and their nulls are fixed by what strict clients survive: `start_time`, `public_ip` and `elapsed_time` are never
//! null, numbers are numbers, and there is no `message` (Unity takes one for a failure).

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::{Status, Timestamp};

use super::parts::{Fqdn, Place, Ports, PublicIp, Shown, TagNames, sockets, status_name};
use crate::dates::V1Date;

/// The status body.
#[derive(Serialize)]
pub struct StatusBody<'a> {
    request_id: Shown<spawnpoint_model::DeploymentId>,
    fqdn: Fqdn<'a>,
    app_name: &'a str,
    app_version: &'a str,
    current_status: &'static str,
    last_status: Option<&'static str>,
    running: bool,
    whitelisting_active: bool,
    start_time: V1Date,
    removal_time: Option<V1Date>,
    elapsed_time: u64,
    error: bool,
    error_detail: Option<&'a str>,
    public_ip: PublicIp<'a>,
    ports: Ports<'a>,
    location: Option<Place<'a>>,
    tags: TagNames<'a>,
    sockets: Option<u32>,
    sockets_usage: Option<u32>,
    sessions: [(); 0],
    command: Option<&'a str>,
    arguments: Option<&'a str>,
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
            sessions: [],
            command: view.command(),
            arguments: view.arguments(),
            max_duration: row.spec.max_duration_minutes,
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
