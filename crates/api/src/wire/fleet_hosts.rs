//! The answer of `GET /v2/private-fleets/{fleet-name}/hosts`.

use std::net::IpAddr;

use serde::Serialize;
use spawnpoint_engine::private_fleets::HostReport;
use spawnpoint_model::host_settings::Deletion;
use spawnpoint_model::query::Paged;
use spawnpoint_model::site::{self, Beacon, Centroid, Host};
use utoipa::ToSchema;

use crate::dates::V2Date;
use crate::pagination::Pagination;

/// The hosts of a private fleet.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetHosts)]
pub struct FleetHostsBody<'a> {
    data: Vec<FleetHostBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// A host of a private fleet.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetHost)]
struct FleetHostBody<'a> {
    /// What `private_host_ids` takes.
    #[schema(example = "chicago-1")]
    host_id: &'a str,
    status: HostStatus,
    /// Where players reach it.
    #[schema(required, value_type = Option<String>, example = "203.0.113.7")]
    ip_address: Option<IpAddr>,
    #[schema(required, example = 41.88)]
    latitude: Option<f64>,
    #[schema(required, example = -87.63)]
    longitude: Option<f64>,
    #[schema(required, example = "Chicago")]
    city: Option<&'a str>,
    #[schema(required, example = "United States of America")]
    country: Option<&'a str>,
    #[schema(required, example = "North America")]
    continent: Option<&'a str>,
    /// CPU units that its deployments hold.
    #[schema(example = 1024)]
    allocated_cpu_units: u32,
    /// MiB that its deployments hold.
    #[schema(example = 512)]
    allocated_memory_mb: u32,
    /// CPU units that may be held in all.
    #[schema(required, example = 16384)]
    allocatable_cpu_units: Option<u32>,
    /// MiB that may be held in all.
    #[schema(required, example = 32768)]
    allocatable_memory_mb: Option<u32>,
    /// Where players measure their distance to it; null unless it goes by an address and answers over both UDP and TCP.
    #[schema(required)]
    beacon: Option<BeaconBody>,
    /// When this installation first had it.
    created_at: V2Date,
    /// When its operator last said something of it.
    updated_at: V2Date,
    centroid: CentroidBody<'a>,
    /// When it is given up.
    #[schema(required)]
    delete_schedule: Option<DeleteScheduleBody<'a>>,
    fleet_host_specifications: SpecificationsBody,
}

/// Whether it takes deployments that name it, if it has room.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetHostStatus, example = "ACTIVE")]
#[serde(rename_all = "UPPERCASE")]
enum HostStatus {
    /// It does not: it does not answer, is cordoned or drained.
    Pending,
    /// It does.
    Active,
}

/// A beacon.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetBeacon)]
struct BeaconBody {
    #[schema(example = 30001)]
    tcp_port: u16,
    #[schema(example = 30002)]
    udp_port: u16,
    #[schema(value_type = String, example = "203.0.113.7")]
    ip_address: IpAddr,
}

/// Around which point the hosts of the fleet were meant to stand.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetCentroid)]
pub struct CentroidBody<'a> {
    #[schema(example = "Midwest")]
    label: &'a str,
    #[schema(example = 41.88)]
    latitude: f64,
    #[schema(example = -87.63)]
    longitude: f64,
    #[schema(example = 500.0)]
    radius_km: f64,
    #[schema(example = 1)]
    desired_host_count: u32,
}

/// When a host is given up.
#[derive(Serialize, ToSchema)]
#[schema(as = HostDeleteSchedule)]
pub struct DeleteScheduleBody<'a> {
    #[schema(example = "0a4bd2c1-76a4-4f0e-9d53-2b6a8c1e7f90")]
    uuid: &'a str,
    scheduled_at: V2Date,
}

/// What it has, as the configuration says or as it was measured.
#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleetHostSpecifications)]
struct SpecificationsBody {
    #[schema(example = 16384)]
    cpu_units: u32,
    #[schema(example = 32768)]
    memory_mb: u32,
    #[schema(example = 3000)]
    base_clock_speed_mhz: u32,
}

impl BeaconBody {
    /// Of the beacon of a host, if it has an address and both ports: all are needed here, and a name is no address.
    fn of(host: &Host) -> Option<Self> {
        let Beacon { host: name, udp_port, tcp_port } = host.beacon.as_ref()?;
        Some(Self { tcp_port: (*tcp_port)?, udp_port: (*udp_port)?, ip_address: name.parse().ok()? })
    }
}

impl<'a> CentroidBody<'a> {
    /// Of a centroid.
    #[must_use]
    pub fn of(centroid: &'a Centroid) -> Self {
        let Centroid { label, at, radius_km, desired_host_count } = centroid;
        Self {
            label,
            latitude: at.latitude,
            longitude: at.longitude,
            radius_km: *radius_km,
            desired_host_count: *desired_host_count,
        }
    }
}

impl<'a> DeleteScheduleBody<'a> {
    /// Of a deletion.
    #[must_use]
    pub fn of(deletion: &'a Deletion) -> Self {
        Self { uuid: &deletion.id, scheduled_at: V2Date(deletion.at) }
    }
}

impl<'a> FleetHostsBody<'a> {
    /// Of a page of the hosts of a fleet.
    #[must_use]
    pub fn of(fleet: &'a site::PrivateFleet, hosts: &'a Paged<HostReport>) -> Self {
        let data = hosts.items.iter().map(|report| FleetHostBody::of(&fleet.centroid, report)).collect();
        Self { data, total_count: hosts.total, pagination: Pagination::of(hosts) }
    }
}

impl<'a> FleetHostBody<'a> {
    fn of(centroid: &'a Centroid, report: &'a HostReport) -> Self {
        let (host, location) = (&report.host, &report.host.site.location);
        let named = |name: &'a str| Some(name).filter(|name| !name.is_empty());
        Self {
            host_id: host.id.as_str(),
            status: if report.is_active() { HostStatus::Active } else { HostStatus::Pending },
            ip_address: Some(host.public_address),
            latitude: Some(location.latitude),
            longitude: Some(location.longitude),
            city: named(&location.city),
            country: named(&location.country),
            continent: named(&location.continent),
            allocated_cpu_units: report.reserved.cpu.0,
            allocated_memory_mb: report.reserved.memory.0,
            allocatable_cpu_units: Some(host.capacity.cpu.0),
            allocatable_memory_mb: Some(host.capacity.memory.0),
            beacon: BeaconBody::of(host),
            created_at: V2Date(report.settings.created_at),
            updated_at: V2Date(report.settings.updated_at),
            centroid: CentroidBody::of(centroid),
            delete_schedule: report.settings.deletion.as_ref().map(DeleteScheduleBody::of),
            fleet_host_specifications: SpecificationsBody {
                cpu_units: host.capacity.cpu.0,
                memory_mb: host.capacity.memory.0,
                base_clock_speed_mhz: host.base_clock_mhz,
            },
        }
    }
}
