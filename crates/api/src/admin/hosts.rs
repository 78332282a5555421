//! `/spawnpoint/v1/hosts`: lists hosts and shows one, cordons, uncordons, drains them, and says when one is given up.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::private_fleets::HostReport;
use spawnpoint_model::host_settings::Drain;
use spawnpoint_model::{HostId, Invalid, Invalids, Timestamp};
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::dates::{self, V2Date};
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::limits::HOSTS_PAGE;
use crate::openapi::params::{HostPath, PageQuery};
use crate::openapi::tag;
use crate::pagination::{Pagination, Parameters};
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, fleet_hosts::DeleteScheduleBody};

/// Where something is declared.
#[derive(Serialize, ToSchema)]
#[schema(as = DeclaredIn, example = "config")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Declared {
    /// In the configuration: it is changed there.
    Config,
    /// It was added over the API, and can be removed over it.
    Api,
}

impl Declared {
    pub(crate) const fn of(added: bool) -> Self {
        if added { Self::Api } else { Self::Config }
    }
}

/// A host.
#[derive(Serialize, ToSchema)]
#[schema(as = Host)]
pub(crate) struct HostBody<'a> {
    #[schema(example = "chicago-1")]
    host_id: &'a str,
    #[schema(example = "chicago")]
    site: &'a str,
    #[schema(required, example = "tournament")]
    private_fleet: Option<&'a str>,
    declared: Declared,
    /// Its driver answers.
    #[schema(example = true)]
    healthy: bool,
    /// It takes no new deployments.
    #[schema(example = false)]
    cordoned: bool,
    /// It is being emptied: what runs there is waited for, or stopped.
    #[schema(required, value_type = Option<DrainName>, example = json!(null))]
    drain: Option<Drain>,
    /// It is drained, and nothing runs there any more.
    #[schema(example = false)]
    drained: bool,
    /// The time of its deletion is over.
    #[schema(example = false)]
    retired: bool,
    /// Deployments that hold something of it.
    #[schema(example = 1)]
    deployments: u32,
    /// CPU units that they hold.
    #[schema(example = 1024)]
    allocated_cpu_units: u32,
    /// MiB that they hold.
    #[schema(example = 512)]
    allocated_memory_mib: u32,
    /// CPU units that may be held in all.
    #[schema(example = 16384)]
    allocatable_cpu_units: u32,
    /// MiB that may be held in all.
    #[schema(example = 32768)]
    allocatable_memory_mib: u32,
    #[schema(required)]
    delete_schedule: Option<DeleteScheduleBody<'a>>,
    /// When this installation first had it.
    created_at: V2Date,
    /// When its operator last said something of it.
    updated_at: V2Date,
}

impl<'a> HostBody<'a> {
    pub(crate) fn of(report: &'a HostReport) -> Self {
        let HostReport { host, settings, standing, healthy, reserved, deployments, added } = report;
        Self {
            host_id: host.id.as_str(),
            site: host.site.id.as_str(),
            private_fleet: host.private_fleet.as_deref(),
            healthy: *healthy,
            cordoned: standing.cordoned,
            drain: standing.drain,
            drained: standing.drain.is_some() && *deployments == 0,
            retired: standing.retired,
            deployments: *deployments,
            declared: Declared::of(*added),
            allocated_cpu_units: reserved.cpu.0,
            allocated_memory_mib: reserved.memory.0,
            allocatable_cpu_units: host.capacity.cpu.0,
            allocatable_memory_mib: host.capacity.memory.0,
            delete_schedule: settings.deletion.as_ref().map(DeleteScheduleBody::of),
            created_at: V2Date(settings.created_at),
            updated_at: V2Date(settings.updated_at),
        }
    }
}

/// A host as an operator sees it: the body of [`get`], for the command line without a server.
#[must_use]
pub fn host_json(report: &HostReport) -> Value {
    serde_json::to_value(HostBody::of(report)).unwrap_or_default()
}

#[derive(Serialize, ToSchema)]
#[schema(as = Hosts)]
struct HostListBody<'a> {
    data: Vec<HostBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// What becomes of the deployments on a host that is drained.
#[derive(ToSchema)]
#[schema(as = HostDrain, rename_all = "lowercase", example = "wait")]
pub enum DrainName {
    /// They end when they end.
    Wait,
    /// They are stopped, each with its grace.
    Stop,
}

/// How a host is drained, as [`read_drain`] reads it.
#[derive(ToSchema)]
#[schema(as = DrainHost)]
pub struct DrainBody {
    /// What becomes of the deployments there.
    #[schema(default = "wait")]
    pub deployments: Option<DrainName>,
}

/// When a host is given up, as [`read_schedule`] reads it.
#[derive(ToSchema)]
#[schema(as = ScheduleHostDeletion)]
pub struct ScheduleBody {
    /// From then on it takes no new deployments, and what runs there is stopped. A time in the past is now; at most ten years
    /// ahead.
    #[schema(format = DateTime, example = "2026-04-11T08:30:12Z")]
    pub scheduled_at: String,
}

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/hosts",
    operation_id = "spawnpoint-hosts-list",
    tag = tag::EXTENSIONS,
    summary = "List hosts",
    description = "All of them, shared and private.",
    params(PageQuery),
    responses((status = 200, description = "A page", body = HostListBody)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let hosts = state.engine().list_hosts(&caller.actor, parameters.page(HOSTS_PAGE)?).await?;
    Ok(wire::ok(&HostListBody {
        data: hosts.items.iter().map(HostBody::of).collect(),
        total_count: hosts.total,
        pagination: Pagination::of(&hosts),
    }))
}

/// 200 with the host; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/hosts/{host_id}",
    operation_id = "spawnpoint-hosts-get",
    tag = tag::EXTENSIONS,
    summary = "Show a host",
    description = "What may be held on it and what is, and what operators said of it.",
    params(HostPath),
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host"),
    ),
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let host = state.engine().get_host(&caller.actor, &HostId::from(id)).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

/// 200 with the host; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/hosts/{host_id}/cordon",
    operation_id = "spawnpoint-hosts-cordon",
    tag = tag::EXTENSIONS,
    summary = "Take no new deployments on a host",
    description = "What runs there goes on. A drain of it ends where it is.",
    params(HostPath),
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host"),
    ),
)]
pub async fn cordon(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let host = state.engine().cordon_host(&caller.actor, &HostId::from(id)).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

/// 200 with the host; 404; 409 for one whose time is over.
///
/// # Errors
/// See above.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/hosts/{host_id}/uncordon",
    operation_id = "spawnpoint-hosts-uncordon",
    tag = tag::EXTENSIONS,
    summary = "Take new deployments on a host again",
    description = "Whatever the configuration says of it. A drain of it ends where it is.",
    params(HostPath),
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host"),
        (status = 409, description = "The time of its deletion is over"),
    ),
)]
pub async fn uncordon(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let host = state.engine().uncordon_host(&caller.actor, &HostId::from(id)).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

/// 200 with the host; 404.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/hosts/{host_id}/drain",
    operation_id = "spawnpoint-hosts-drain",
    tag = tag::EXTENSIONS,
    summary = "Empty a host",
    description = "It takes no new deployments; what runs there ends when it ends, or is stopped with its grace. `drained` tells when it is empty.",
    params(HostPath),
    request_body = DrainBody,
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host"),
    ),
)]
pub async fn drain(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let drain = read_drain(&body.object)?;
    let host = state.engine().drain_host(&caller.actor, &HostId::from(id), drain).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

/// 200 with the host; 404.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    put,
    path = "/spawnpoint/v1/hosts/{host_id}/delete-schedule",
    operation_id = "spawnpoint-hosts-delete-schedule-set",
    tag = tag::EXTENSIONS,
    summary = "Give a host up at some time",
    description = "Until then it is as the others; `delete_schedule` of the fleet's list tells of it. Then it is drained by stopping what runs there, and its fleet does not list it any more. It may then be taken out of the configuration.",
    params(HostPath),
    request_body = ScheduleBody,
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host"),
    ),
)]
pub async fn schedule(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let at = read_schedule(&body.object)?;
    let host = state.engine().schedule_host_deletion(&caller.actor, &HostId::from(id), at).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

/// 200 with the host; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/spawnpoint/v1/hosts/{host_id}/delete-schedule",
    operation_id = "spawnpoint-hosts-delete-schedule-remove",
    tag = tag::EXTENSIONS,
    summary = "Keep a host that was to be given up",
    description = "One whose time is over already stays cordoned until it is uncordoned.",
    params(HostPath),
    responses(
        (status = 200, description = "The host", body = HostBody),
        (status = 404, description = "There is no such host, or it was not to be given up"),
    ),
)]
pub async fn keep(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let host = state.engine().keep_host(&caller.actor, &HostId::from(id)).await?;
    Ok(wire::ok(&HostBody::of(&host)))
}

pub(crate) fn read_drain(object: &Map<String, Value>) -> Result<Drain, Invalids> {
    let problems = Problems::new();
    let drain = Fields::new(object, &problems).parsed("deployments", |text| match text {
        "wait" => Ok(Drain::Wait),
        "stop" => Ok(Drain::Stop),
        _ => Err(Invalid::new("", "must be one of wait, stop")),
    });
    problems.into_result()?;
    Ok(drain.unwrap_or(Drain::Wait))
}

pub(crate) fn read_schedule(object: &Map<String, Value>) -> Result<Timestamp, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("scheduled_at");
    let at = body.parsed("scheduled_at", dates::parse);
    problems.into_result()?;
    at.ok_or_else(|| Invalid::new("scheduled_at", "is missing").into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(body: Value) -> Map<String, Value> {
        let Value::Object(object) = body else { unreachable!("an object") };
        object
    }

    #[test]
    fn a_drain_waits_unless_it_is_told_to_stop() {
        for (body, drain) in [
            (json!({}), Drain::Wait),
            (json!({"deployments": "wait"}), Drain::Wait),
            (json!({"deployments": "stop"}), Drain::Stop),
        ] {
            assert_eq!(read_drain(&object(body)), Ok(drain));
        }
        for bad in [json!("kill"), json!(true), json!([]), json!("")] {
            let invalids = read_drain(&object(json!({"deployments": bad}))).unwrap_err();
            assert_eq!(invalids.0[0].field, "deployments");
        }
    }

    #[test]
    fn a_schedule_has_a_time() {
        let at = read_schedule(&object(json!({"scheduled_at": "2026-09-21T14:13:20Z"}))).unwrap();
        assert_eq!(at, Timestamp(1_790_000_000_000_000));
        for bad in [json!(null), json!("soon"), json!(5), json!("")] {
            let invalids = read_schedule(&object(json!({"scheduled_at": bad}))).unwrap_err();
            assert_eq!(invalids.0[0].field, "scheduled_at");
        }
    }
}
