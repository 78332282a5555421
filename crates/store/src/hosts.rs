//! `host_usage`: what is reserved on each host. The database itself refuses to overcommit one.

use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, MemoryMib};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// What is reserved on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUsage {
    /// The host.
    pub host: HostId,
    /// CPU and memory, the sum over its deployments.
    pub reserved: Resources,
    /// Number of deployments that hold it.
    pub deployments: u32,
}

impl Tx {
    /// Reserves `wanted` on a host that can hold `capacity` in all and that no operator has cordoned or removed; else
    /// [`Conflict::NoCapacity`]. So a cordon holds at once for every control plane, whatever it knows.
    pub fn reserve(&mut self, host: &HostId, wanted: &Resources, capacity: &Resources) {
        // One statement, so that nothing can come between the look and the reservation.
        let sql = "insert into host_usage (host, cpu, memory, deployments) \
                   select cast($1 as text), cast($2 as bigint), cast($3 as bigint), 1 \
                   where cast($2 as bigint) <= cast($4 as bigint) and cast($3 as bigint) <= cast($5 as bigint) \
                   and not exists (select 1 from host_settings where host_settings.host = $1 \
                   and (cordoned = 1 or drain is not null)) \
                   and not exists (select 1 from added_hosts where added_hosts.host = $1 \
                   and removed_at is not null) \
                   on conflict (host) do update set cpu = host_usage.cpu + excluded.cpu, \
                   memory = host_usage.memory + excluded.memory, deployments = host_usage.deployments + 1 \
                   where host_usage.cpu + excluded.cpu <= $4 and host_usage.memory + excluded.memory <= $5";
        let args = args![host, wanted.cpu.0, wanted.memory.0, capacity.cpu.0, capacity.memory.0];
        self.must(sql, args, Conflict::NoCapacity(host.clone()));
    }

    /// Gives back what was reserved. Never goes below nothing, so that a stop cannot fail here.
    pub fn unreserve(&mut self, host: &HostId, held: &Resources) {
        let sql = "update host_usage set \
                   cpu = case when cpu > $2 then cpu - $2 else 0 end, \
                   memory = case when memory > $3 then memory - $3 else 0 end, \
                   deployments = case when deployments > 1 then deployments - 1 else 0 end \
                   where host = $1";
        self.run(sql, args![host, held.cpu.0, held.memory.0]);
    }

    /// Sets what is reserved on a host: repairs the sum from the rows.
    pub fn set_host_usage(&mut self, usage: &HostUsage) {
        let sql = "insert into host_usage (host, cpu, memory, deployments) values ($1, $2, $3, $4) \
                   on conflict (host) do update set cpu = excluded.cpu, memory = excluded.memory, \
                   deployments = excluded.deployments";
        let HostUsage { host, reserved, deployments } = usage;
        self.run(sql, args![host, reserved.cpu.0, reserved.memory.0, *deployments]);
    }
}

impl Store {
    /// What is reserved on every host that was ever used.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn host_usage(&self) -> Result<Vec<HostUsage>, StoreError> {
        let decode = |row: &Row| {
            let reserved = Resources { cpu: CpuUnits(row.number(1)?), memory: MemoryMib(row.number(2)?) };
            Ok(HostUsage { host: row.text(0)?.into(), reserved, deployments: row.number(3)? })
        };
        let sql = "select host, cpu, memory, deployments from host_usage order by host";
        self.all(Query::new(sql, args![]), decode).await
    }
}
