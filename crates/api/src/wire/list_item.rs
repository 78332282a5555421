//! An item of `GET /v1/deployments`.

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::query::Paged;
use spawnpoint_model::{DeploymentId, Status};

use super::parts::{Fqdn, Ports, PublicIp, Shown, TagNames, sockets, status_name};
use crate::dates::V1Date;
use crate::pagination::Pagination;

/// The list. Its optional `message` is left out: an array breaks one known client, a text another.
#[derive(Serialize)]
pub struct ListBody<'a> {
    data: Vec<ListItem<'a>>,
    total_count: u64,
    pagination: Pagination,
}

#[derive(Serialize)]
struct ListItem<'a> {
    request_id: Shown<DeploymentId>,
    fqdn: Fqdn<'a>,
    start_time: V1Date,
    ready: bool,
    status: &'static str,
    public_ip: PublicIp<'a>,
    ports: Ports<'a>,
    tags: TagNames<'a>,
    sockets: Option<u32>,
    sockets_usage: Option<u32>,
    is_joinable_by_session: bool,
}

impl<'a> ListBody<'a> {
    /// Of a page of deployments.
    #[must_use]
    pub fn of(paged: &'a Paged<DeploymentView>) -> Self {
        let data = paged.items.iter().map(ListItem::of).collect();
        Self { data, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

impl<'a> ListItem<'a> {
    fn of(view: &'a DeploymentView) -> Self {
        let row = &*view.deployment;
        let status = row.status();
        let (sockets, sockets_usage) = sockets(view);
        Self {
            request_id: Shown(row.id),
            fqdn: Fqdn(view),
            start_time: V1Date(row.state.ready_at.unwrap_or(row.spec.created_at)),
            ready: status == Status::Ready,
            status: status_name(status),
            public_ip: PublicIp(view),
            ports: Ports(view),
            tags: TagNames(&row.state.tags),
            sockets,
            sockets_usage,
            is_joinable_by_session: row.state.joinable,
        }
    }
}
