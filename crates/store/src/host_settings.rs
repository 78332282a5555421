//! `host_settings`: what operators say of hosts while they run. A row is made when a host is first seen.

use spawnpoint_model::host_settings::{Deletion, Drain, HostSettings};
use spawnpoint_model::{HostId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

const fn drain_word(drain: Drain) -> &'static str {
    match drain {
        Drain::Wait => "wait",
        Drain::Stop => "stop",
    }
}

impl Tx {
    /// Notes when a host was first seen, and to which private fleet it belongs now; what was said of it stays.
    pub fn see_host(&mut self, host: &HostId, private_fleet: Option<&str>, now: Timestamp) {
        let sql = "insert into host_settings (host, private_fleet, created_at, updated_at) values ($1, $2, $3, $3) \
                   on conflict (host) do update set private_fleet = excluded.private_fleet";
        self.run(sql, args![host, private_fleet, now]);
    }

    /// Says whether a host takes new deployments, and how it is emptied; [`Conflict::Missing`] for one never seen.
    pub fn set_host_cordon(&mut self, host: &HostId, cordoned: bool, drain: Option<Drain>, now: Timestamp) {
        let sql = "update host_settings set cordoned = $2, drain = $3, updated_at = $4 where host = $1";
        self.must(sql, args![host, cordoned, drain.map(drain_word), now], missing(host));
    }

    /// Says when a host is to be given up, or that it is not; [`Conflict::Missing`] for one never seen.
    pub fn set_host_deletion(&mut self, host: &HostId, deletion: Option<&Deletion>, now: Timestamp) {
        let sql =
            "update host_settings set deletion_id = $2, deletion_at = $3, updated_at = $4 where host = $1";
        let (id, at) = (deletion.map(|d| d.id.as_str()), deletion.map(|d| d.at));
        self.must(sql, args![host, id, at, now], missing(host));
    }
}

fn missing(host: &HostId) -> Conflict {
    Conflict::Missing { what: "host", key: host.to_string() }
}

impl Store {
    /// What was said of every host that was ever seen.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn host_settings(&self) -> Result<Vec<HostSettings>, StoreError> {
        let sql = "select host, cordoned, drain, deletion_id, deletion_at, created_at, updated_at \
                   from host_settings order by host";
        self.all(Query::new(sql, args![]), decode).await
    }
}

fn decode(row: &Row) -> Result<HostSettings, StoreError> {
    let drain = |word: &str| {
        [Drain::Wait, Drain::Stop].into_iter().find(|drain| drain_word(*drain) == word).ok_or(())
    };
    let drain = row.opt_text(2)?.map(|_| row.parsed(2, drain)).transpose()?;
    let deletion = row.opt_text(3)?.map(str::to_owned).zip(row.opt_time(4)?);
    Ok(HostSettings {
        host: row.text(0)?.into(),
        cordoned: row.opt_int(1)?.map(|flag| flag != 0),
        drain,
        deletion: deletion.map(|(id, at)| Deletion { id, at }),
        created_at: row.time(5)?,
        updated_at: row.time(6)?,
    })
}
