//! `POST /spawnpoint/v1/hosts` and `DELETE /spawnpoint/v1/hosts/{host_id}`: adds hosts while the server runs, and removes
//! those that were added.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};
use spawnpoint_model::added::{AddedBeacon, AddedDriver, AddedHost};
use spawnpoint_model::limits::BEACON_PORT_MAX;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, Invalid, Invalids, MemoryMib};
use utoipa::ToSchema;

use crate::admin::hosts::HostBody;
use crate::admin::private_fleets::plain_name;
use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::openapi::params::HostPath;
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire;

/// Characters of an engine's address.
const ENDPOINT_CHARS_MAX: usize = 255;
/// Characters of a name under which players reach a beacon.
const BEACON_CHARS_MAX: usize = 253;
/// CPU units and MiB that a host may have.
const CAPACITY_MAX: i64 = 1 << 24;
/// MHz that a CPU may have.
const MHZ_MAX: i64 = 100_000;
/// The least port that may be given out.
const PORT_MIN: u16 = 1024;

/// A new host, as [`read`] reads it. What is left out is as in the configuration.
#[derive(ToSchema)]
#[schema(as = NewHost)]
pub struct NewHostBody {
    /// Its name: letters, digits, dots, hyphens, underscores.
    #[schema(format = "plain-name", example = "chicago-2")]
    pub host_id: String,
    /// The site of the configuration in which it stands.
    #[schema(format = "plain-name", example = "chicago")]
    pub site: String,
    /// Where players reach it; where its engine is, if it is left out.
    #[schema(format = "ip-address", example = "203.0.113.8")]
    pub public_address: Option<String>,
    /// What runs workloads on it.
    #[schema(default = "docker")]
    pub driver: Option<NewHostDriver>,
    /// An engine that a host of the configuration has (by default this machine's own), or `tcp://ADDRESS:PORT` of another
    /// machine, which needs `added_hosts.tls` in the configuration. No other socket can be named.
    #[schema(min_length = 1, max_length = 255, format = "line", example = "tcp://203.0.113.8:2376")]
    pub endpoint: Option<String>,
    /// What may be given out; measured now if it is left out.
    pub capacity: Option<NewHostCapacity>,
    /// Host ports from 1024 to 65535 that may be given out.
    #[schema(format = "port-range", default = "30000-32767", example = "30000-32767")]
    pub port_range: Option<String>,
    /// The private fleet it belongs to; none for a shared host.
    #[schema(format = "plain-name", example = "tournament")]
    pub private_fleet: Option<String>,
    /// What answers pings near it; its site's if it is left out.
    pub beacon: Option<NewHostBeacon>,
    /// Told to game servers.
    #[schema(minimum = 1, maximum = 100_000, default = 3000, example = 3000)]
    pub base_clock_mhz: Option<u32>,
    /// How tightly workloads are held.
    #[schema(default = "baseline")]
    pub security: Option<NewHostSecurity>,
}

/// What runs workloads on a host.
#[derive(ToSchema)]
#[schema(as = HostDriver, rename_all = "lowercase", example = "docker")]
pub enum NewHostDriver {
    /// A Docker engine.
    Docker,
    /// Pretends; only where a host of the configuration does.
    Fake,
}

/// How tightly workloads are held.
#[derive(ToSchema)]
#[schema(as = HostSecurity, rename_all = "lowercase", example = "baseline")]
pub enum NewHostSecurity {
    /// What game images need.
    Baseline,
    /// No root, no capability, read-only.
    Restricted,
}

/// What may be given out on a host.
#[derive(ToSchema)]
#[schema(as = NewHostCapacity)]
pub struct NewHostCapacity {
    /// 1024 = one vCPU.
    #[schema(minimum = 1, maximum = 16_777_216, example = 16384)]
    pub cpu_units: u32,
    /// MiB.
    #[schema(minimum = 1, maximum = 16_777_216, example = 32768)]
    pub memory_mib: u32,
}

/// A beacon with at least one port.
#[derive(ToSchema)]
#[schema(as = NewHostBeacon)]
pub struct NewHostBeacon {
    /// Address or name; the host's address if it is left out.
    #[schema(min_length = 1, max_length = 253, format = "line", example = "203.0.113.9")]
    pub host: Option<String>,
    /// Port on which datagrams are sent back.
    #[schema(minimum = 1, maximum = 59999, example = 8090)]
    pub udp_port: Option<u16>,
    /// Port on which connections are answered.
    #[schema(minimum = 1, maximum = 59999, example = 8090)]
    pub tcp_port: Option<u16>,
}

/// 201 with the host; 409.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/hosts",
    operation_id = "spawnpoint-hosts-add",
    tag = tag::EXTENSIONS,
    summary = "Add a host",
    description = "Beside those of the configuration, for as long as it is not removed. Placement uses it as soon as it answers.",
    request_body = NewHostBody,
    responses(
        (status = 201, description = "The host", body = HostBody),
        (status = 409, description = "There is one of this name already, or there are too many"),
    ),
)]
pub async fn add(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = read(&body.object)?;
    let host = state.engine().add_host(&caller.actor, new).await?;
    Ok(wire::json(StatusCode::CREATED, wire::to_json(&HostBody::of(&host))))
}

/// 204; 404; 409.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/spawnpoint/v1/hosts/{host_id}",
    operation_id = "spawnpoint-hosts-remove",
    tag = tag::EXTENSIONS,
    summary = "Remove a host",
    description = "One that was added over the API, once nothing runs there (drain it first).",
    params(HostPath),
    responses(
        (status = 204, description = "It is removed"),
        (status = 404, description = "There is no such host"),
        (status = 409, description = "It is declared in the configuration, or something is left on it"),
    ),
)]
pub async fn remove(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().remove_host(&caller.actor, &HostId::from(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A host out of the body of [`add`].
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<AddedHost, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("host_id");
    body.require("site");
    let (id, site) = (body.parsed("host_id", plain_name), body.parsed("site", plain_name));
    let public_address = body.parsed("public_address", |text| {
        text.parse::<IpAddr>().map_err(|_| Invalid::new("", "must be an address, as 203.0.113.7"))
    });
    let driver = body.parsed("driver", |text| match text {
        "docker" => Ok(AddedDriver::Docker),
        "fake" => Ok(AddedDriver::Fake),
        "oci" | "auto" => {
            let problem = "hosts of the embedded runtime stand in the server's configuration; must be one of docker, fake";
            Err(Invalid::new("", problem))
        }
        _ => Err(Invalid::new("", "must be one of docker, fake")),
    });
    let endpoint = body.line("endpoint", 1..=ENDPOINT_CHARS_MAX).map(str::to_owned);
    let capacity = body.object("capacity").and_then(|capacity| {
        capacity.require("cpu_units");
        capacity.require("memory_mib");
        let cpu = capacity.integer("cpu_units", 1..=CAPACITY_MAX).map(CpuUnits);
        let memory = capacity.integer("memory_mib", 1..=CAPACITY_MAX).map(MemoryMib);
        Some(Resources { cpu: cpu?, memory: memory? })
    });
    let port_range = body.parsed("port_range", read_range);
    let private_fleet = body.parsed("private_fleet", plain_name);
    let beacon = body.object("beacon").map(|beacon| {
        let host = beacon.line("host", 1..=BEACON_CHARS_MAX).map(str::to_owned);
        let port = |key| beacon.integer(key, 1..=i64::from(BEACON_PORT_MAX));
        AddedBeacon { host, udp_port: port("udp_port"), tcp_port: port("tcp_port") }
    });
    let base_clock_mhz = body.integer("base_clock_mhz", 1..=MHZ_MAX);
    let restricted = body.parsed("security", |text| match text {
        "baseline" => Ok(false),
        "restricted" => Ok(true),
        _ => Err(Invalid::new("", "must be one of baseline, restricted")),
    });
    match (id, site) {
        (Some(id), Some(site)) if problems.is_empty() => Ok(AddedHost {
            id: id.as_str().into(),
            site: site.as_str().into(),
            public_address,
            driver: driver.unwrap_or(AddedDriver::Docker),
            endpoint,
            capacity,
            measured: false,
            port_range,
            private_fleet,
            beacon,
            base_clock_mhz,
            restricted: restricted.unwrap_or(false),
        }),
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

fn read_range(text: &str) -> Result<(u16, u16), Invalid> {
    let port = |part: &str| part.parse::<u16>().ok().filter(|port| *port >= PORT_MIN);
    let (first, last) = text.split_once('-').unwrap_or_default();
    match port(first).zip(port(last)) {
        Some((first, last)) if first <= last && text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
            Ok((first, last))
        }
        _ => Err(Invalid::new("", "must be a range of ports from 1024 to 65535, as 30000-32767")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(body: Value) -> Result<AddedHost, Vec<String>> {
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object).map_err(|e| e.0.into_iter().map(|i| i.field).collect())
    }

    #[test]
    fn a_host_is_read_whole() {
        let host = read_json(json!({
            "host_id": "b", "site": "s", "public_address": "2001:db8::1", "driver": "fake", "endpoint": "tcp://a:1",
            "capacity": {"cpu_units": 5, "memory_mib": 6}, "port_range": "2000-2001", "private_fleet": "f",
            "beacon": {"udp_port": 7}, "base_clock_mhz": 8, "security": "restricted",
        }))
        .unwrap();
        assert_eq!(host.capacity, Some(Resources { cpu: CpuUnits(5), memory: MemoryMib(6) }));
        assert_eq!(
            (host.driver, host.port_range, host.restricted),
            (AddedDriver::Fake, Some((2000, 2001)), true)
        );
        assert_eq!(host.beacon.unwrap().udp_port, Some(7));
        let plain = read_json(json!({"host_id": "b", "site": "s"})).unwrap();
        assert_eq!((plain.driver, plain.port_range, plain.capacity), (AddedDriver::Docker, None, None));
    }

    #[test]
    fn every_bad_field_of_a_host_is_named() {
        assert_eq!(read_json(json!({})).unwrap_err(), ["host_id", "site"]);
        let bad = json!({
            "host_id": "a b", "site": "", "public_address": "nowhere", "driver": "oci", "endpoint": "",
            "capacity": {"cpu_units": 0}, "port_range": "5-4", "private_fleet": "..", "beacon": {"host": "", "udp_port": 60_000},
            "base_clock_mhz": 0, "security": "none",
        });
        let expected = [
            "host_id",
            "site",
            "public_address",
            "driver",
            "endpoint",
            "capacity.memory_mib",
            "capacity.cpu_units",
            "port_range",
            "private_fleet",
            "beacon.host",
            "beacon.udp_port",
            "base_clock_mhz",
            "security",
        ];
        assert_eq!(read_json(bad).unwrap_err(), expected);
        for range in ["30000", "1023-2000", "2000-1999", "2000-65536", "+2000-2001", "2000-2001-", "", "a-b"]
        {
            let body = json!({"host_id": "a", "site": "s", "port_range": range});
            assert_eq!(read_json(body).unwrap_err(), ["port_range"], "{range}");
        }
    }
}
