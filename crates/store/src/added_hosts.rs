//! `private_fleets` and `added_hosts`: what operators add while a server runs.

use spawnpoint_model::added::{AddedFleet, AddedHost, StoredHost};
use spawnpoint_model::{HostId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, Value, args};
use crate::store::Store;
use crate::tx::Tx;

fn missing_fleet(name: &str) -> Conflict {
    Conflict::Missing { what: "private fleet", key: name.to_owned() }
}

impl Tx {
    /// Adds a private fleet; [`Conflict::Exists`] for a name that is taken.
    pub fn add_private_fleet(&mut self, fleet: &AddedFleet, now: Timestamp) {
        let centroid = fleet.centroid.as_ref().map_or(Value::Null, |centroid| self.json(centroid));
        let sql = "insert into private_fleets (name, centroid, created_at) values ($1, $2, $3) \
                   on conflict (name) do nothing";
        let args = args![fleet.name.as_str(), centroid, now];
        self.must(sql, args, Conflict::Exists { what: "private fleet", key: fleet.name.clone() });
    }

    /// Removes a private fleet; [`Conflict::Missing`], or [`Conflict::Exists`] while an added host belongs to it.
    pub fn remove_private_fleet(&mut self, name: &str) {
        // Hosts that were removed belong to nothing.
        let forget = "update added_hosts set fleet = null where fleet = $1 and removed_at is not null";
        self.run(forget, args![name]);
        let used = Conflict::Exists { what: "a host of private fleet", key: name.to_owned() };
        self.must_refer("delete from private_fleets where name = $1", args![name], missing_fleet(name), used);
    }

    /// Adds a host, of which nothing was said yet. `fleet` is its private fleet, if that one was added too.
    /// [`Conflict::Exists`] for an id that is taken, [`Conflict::Missing`] for a fleet that is not there.
    pub fn add_host(&mut self, host: &AddedHost, fleet: Option<&str>, now: Timestamp) {
        let spec = self.json(host);
        let sql = "insert into added_hosts (host, fleet, spec, created_at) values ($1, $2, $3, $4) \
                   on conflict (host) do update set fleet = excluded.fleet, spec = excluded.spec, \
                   created_at = excluded.created_at, removed_at = null where added_hosts.removed_at is not null";
        let args = args![&host.id, fleet, spec, now];
        let taken = Conflict::Exists { what: "host", key: host.id.to_string() };
        self.must_refer(sql, args, taken, missing_fleet(fleet.unwrap_or_default()));
        self.run("delete from host_settings where host = $1", args![&host.id]);
        self.see_host(&host.id, host.private_fleet.as_deref(), now);
    }

    /// Removes a host and what was said of it, unless a deployment holds something of it ([`Conflict::Exists`]).
    pub fn remove_host(&mut self, host: &HostId, now: Timestamp) {
        let sql = "update added_hosts set removed_at = $2, fleet = null where host = $1 and removed_at is null \
                   and not exists (select 1 from host_usage where host_usage.host = $1 and deployments > 0)";
        let used = Conflict::Exists { what: "a deployment on host", key: host.to_string() };
        self.must(sql, args![host, now], used);
        self.run("delete from host_settings where host = $1", args![host]);
    }

    /// Forgets that a host was removed: the config has one of that name now.
    pub fn forget_removal(&mut self, host: &HostId) {
        self.run("delete from added_hosts where host = $1 and removed_at is not null", args![host]);
    }
}

impl Store {
    /// Every host that was added and not removed, in the order of their ids.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn added_hosts(&self) -> Result<Vec<StoredHost>, StoreError> {
        let decode = |row: &Row| Ok(StoredHost { host: row.json(0)?, created_at: row.time(1)? });
        let sql = "select spec, created_at from added_hosts where removed_at is null order by host";
        self.all(Query::new(sql, args![]), decode).await
    }

    /// Every private fleet that was added, in the order of their names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn added_fleets(&self) -> Result<Vec<AddedFleet>, StoreError> {
        let decode = |row: &Row| {
            let centroid = row.opt_text(1)?.map(|_| row.json(1)).transpose()?;
            Ok(AddedFleet { name: row.text(0)?.to_owned(), centroid })
        };
        let sql = "select name, centroid from private_fleets order by name";
        self.all(Query::new(sql, args![]), decode).await
    }
}
