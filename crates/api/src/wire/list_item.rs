//! An item of `GET /v1/deployments`.

use serde::Serialize;
use spawnpoint_engine::DeploymentView;
use spawnpoint_model::query::Paged;
use spawnpoint_model::{DeploymentId, Status};
use utoipa::ToSchema;

use super::parts::{Fqdn, Port, Ports, PublicIp, Shown, StatusName, TagNames, sockets, status_name};
use crate::dates::V1Date;
use crate::pagination::Pagination;

/// The list. Its optional `message` is left out: an array breaks one known client, a text another.
#[derive(Serialize, ToSchema)]
#[schema(as = Deployments)]
pub struct ListBody<'a> {
    data: Vec<ListItem<'a>>,
    #[schema(example = 21)]
    total_count: u64,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Deployment)]
struct ListItem<'a> {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
    /// The name under which players reach it.
    #[schema(value_type = String, format = "fqdn")]
    fqdn: Fqdn<'a>,
    start_time: V1Date,
    #[schema(example = true)]
    ready: bool,
    #[schema(value_type = StatusName)]
    status: &'static str,
    /// The address of its host; empty until it has one.
    #[schema(value_type = String, example = "203.0.113.40")]
    public_ip: PublicIp<'a>,
    /// By name; empty until they are given out.
    #[schema(value_type = BTreeMap<String, Port>, example = json!({"gameport": {"external": 31504, "internal": 7777, "protocol": "UDP", "name": "gameport", "tls_upgrade": false, "link": "5d1e07a9c34b.games.example.com:31504", "proxy": null}}))]
    ports: Ports<'a>,
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
