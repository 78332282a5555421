//! `port_leases`: which host port belongs to which deployment. A row is there from the intent until the container is
//! gone **and** the quarantine is over, so that players of an old match never reach a new one.

use spawnpoint_model::port::Transport;
use spawnpoint_model::{DeploymentId, HostId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// A port that cannot be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortLease {
    /// The host.
    pub host: HostId,
    /// TCP or UDP.
    pub transport: Transport,
    /// The number.
    pub port: u16,
    /// Who holds or held it; `None` = nobody of us (banned).
    pub deployment: Option<DeploymentId>,
    /// `None` = held now. Else it may be given out from then on.
    pub free_at: Option<Timestamp>,
}

/// What [`lease`] decodes, and how the rows are picked.
macro_rules! select {
    ($rest:literal) => {
        concat!("select host, transport, port, deployment_id, free_at from port_leases ", $rest)
    };
}

impl Tx {
    /// Takes ports for a deployment; [`Conflict::PortTaken`] names the first that is held, in quarantine or banned at `now`.
    /// What is over by then need not have been forgotten before.
    pub fn lease_ports(
        &mut self,
        host: &HostId,
        deployment: DeploymentId,
        ports: &[(Transport, u16)],
        now: Timestamp,
    ) {
        let sql = "insert into port_leases (host, transport, port, deployment_id) values ($1, $2, $3, $4) \
                   on conflict (host, transport, port) do update \
                   set deployment_id = excluded.deployment_id, free_at = null where port_leases.free_at <= $5";
        for &(transport, port) in ports {
            let taken = Conflict::PortTaken { host: host.clone(), transport, port };
            self.must(sql, args![host, transport.as_str(), port, deployment, now], taken);
        }
    }

    /// Puts all ports a deployment holds into quarantine until `free_at`.
    pub fn release_ports(&mut self, deployment: DeploymentId, free_at: Timestamp) {
        let sql = "update port_leases set free_at = $2 where deployment_id = $1 and free_at is null";
        self.run(sql, args![deployment, free_at]);
    }

    /// Keeps a port from being given out until `until`: somebody else on the host uses it. A port that is held is
    /// left alone, so release it first (in the same transaction).
    pub fn ban_port(&mut self, host: &HostId, transport: Transport, port: u16, until: Timestamp) {
        let sql = "insert into port_leases (host, transport, port, free_at) values ($1, $2, $3, $4) \
                   on conflict (host, transport, port) do update set deployment_id = null, free_at = excluded.free_at \
                   where port_leases.free_at < excluded.free_at";
        self.run(sql, args![host, transport.as_str(), port, until]);
    }

    /// Forgets quarantines and bans that are over.
    pub fn free_expired_ports(&mut self, now: Timestamp) {
        self.run("delete from port_leases where free_at <= $1", args![now]);
    }
}

impl Store {
    /// The ports of one host (or of all) that cannot be given out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn port_leases(&self, host: Option<&HostId>) -> Result<Vec<PortLease>, StoreError> {
        let query = match host {
            Some(host) => Query::new(select!("where host = $1 order by transport, port"), args![host]),
            None => Query::new(select!("order by host, transport, port"), args![]),
        };
        self.all(query, lease).await
    }
}

fn lease(row: &Row) -> Result<PortLease, StoreError> {
    let transport = |text: &str| match text {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        _ => Err(()),
    };
    Ok(PortLease {
        host: row.text(0)?.into(),
        transport: row.parsed(1, transport)?,
        port: row.number(2)?,
        deployment: row.opt_text(3)?.is_some().then(|| row.deployment_id(3)).transpose()?,
        free_at: row.opt_time(4)?,
    })
}
