//! What a container is told about its own deployment. The status is called `status` here, not `current_status`.

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::{DeploymentId, Status};
use utoipa::ToSchema;

use super::parts::{Fqdn, Place, Port, Ports, PublicIp, Shown, StatusName, TagNames, sockets, status_name};

/// The context body.
#[derive(Serialize, ToSchema)]
#[schema(as = Context)]
pub struct ContextBody<'a> {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
    /// The address of its host; empty until it has one.
    #[schema(value_type = String, example = "203.0.113.40")]
    public_ip: PublicIp<'a>,
    #[schema(value_type = StatusName)]
    status: &'static str,
    #[schema(example = true)]
    ready: bool,
    #[schema(example = false)]
    whitelisting_active: bool,
    /// The name under which players reach it.
    #[schema(value_type = String, format = "fqdn")]
    fqdn: Fqdn<'a>,
    /// By name; empty until they are given out.
    #[schema(value_type = BTreeMap<String, Port>, example = json!({"gameport": {"external": 31504, "internal": 7777, "protocol": "UDP", "name": "gameport", "tls_upgrade": false, "link": "5d1e07a9c34b.games.example.com:31504", "proxy": null}}))]
    ports: Ports<'a>,
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
    #[schema(example = false)]
    is_joinable_by_session: bool,
}

impl<'a> ContextBody<'a> {
    /// Of a deployment.
    #[must_use]
    pub fn of(view: &'a DeploymentView) -> Self {
        let row = &*view.deployment;
        let status = row.status();
        let (sockets, sockets_usage) = sockets(view);
        Self {
            request_id: Shown(row.id),
            public_ip: PublicIp(view),
            status: status_name(status),
            ready: status == Status::Ready,
            whitelisting_active: view.version.access_list_active,
            fqdn: Fqdn(view),
            ports: Ports(view),
            location: Place::of(view),
            tags: TagNames(&row.state.tags),
            sockets,
            sockets_usage,
            is_joinable_by_session: row.state.joinable,
        }
    }
}
