//! `GET /spawnpoint/v1/private-fleets`: lists the private fleets of the configuration.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::private_fleets::{FleetReport, HostReport};
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::HOSTS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::{Pagination, Parameters};
use crate::state::ApiState;
use crate::wire::{self, fleet_hosts::CentroidBody};

#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleet)]
struct FleetBody<'a> {
    #[schema(example = "tournament")]
    name: &'a str,
    centroid: CentroidBody<'a>,
    /// Its hosts, without those that were given up.
    #[schema(example = json!(["chicago-1"]))]
    host_ids: Vec<&'a str>,
    /// How many of them take deployments that name them.
    #[schema(example = 1)]
    active_hosts: usize,
    /// Deployments on them.
    #[schema(example = 1)]
    deployments: u64,
}

impl<'a> FleetBody<'a> {
    fn of(report: &'a FleetReport) -> Self {
        let hosts = &report.hosts;
        Self {
            name: &report.fleet.name,
            centroid: CentroidBody::of(&report.fleet.centroid),
            host_ids: hosts.iter().map(|host| host.host.id.as_str()).collect(),
            active_hosts: hosts.iter().filter(|host| host.is_active()).count(),
            deployments: hosts.iter().map(|HostReport { deployments, .. }| u64::from(*deployments)).sum(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleets)]
struct FleetListBody<'a> {
    data: Vec<FleetBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/private-fleets",
    operation_id = "spawnpoint-private-fleets-list",
    tag = tag::EXTENSIONS,
    summary = "List private fleets",
    description = "With their hosts.",
    params(PageQuery),
    responses((status = 200, description = "A page", body = FleetListBody)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let fleets = state.engine().list_private_fleets(&caller.actor, parameters.page(HOSTS_PAGE)?).await?;
    Ok(wire::ok(&FleetListBody {
        data: fleets.items.iter().map(FleetBody::of).collect(),
        total_count: fleets.total,
        pagination: Pagination::of(&fleets),
    }))
}
