//! What a container is told about its own deployment. The status is called `status` here, not `current_status`.

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::{DeploymentId, Status};

use super::parts::{Fqdn, Place, Ports, PublicIp, Shown, TagNames, sockets, status_name};

/// The context body.
#[derive(Serialize)]
pub struct ContextBody<'a> {
    request_id: Shown<DeploymentId>,
    public_ip: PublicIp<'a>,
    status: &'static str,
    ready: bool,
    whitelisting_active: bool,
    fqdn: Fqdn<'a>,
    ports: Ports<'a>,
    location: Option<Place<'a>>,
    tags: TagNames<'a>,
    sockets: Option<u32>,
    sockets_usage: Option<u32>,
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
