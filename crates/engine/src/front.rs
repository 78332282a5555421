//! TLS that is ended in front of a deployment's ports, where its version asks for it (`tls_upgrade`).
//!
//! The container does not publish such a port. What listens on the host's port instead is a [`Front`], which is given
//! by whoever puts the product together and leads to the container's own address. The lease of the port is the same as
//! for any other port.
//!
//! ```text
//! starting: it listens inside ─▶ open ─▶ READY         removal: close
//! every resync: what should be open is opened, what should not is closed (a new process begins with nothing open)
//! ```
//!
//! Several control planes on one machine: one of them has the port, and the others find it taken, which is as good. Should
//! that one die, another opens the port at its next resync.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use spawnpoint_model::deployment::{After, Phase};
use spawnpoint_model::port::PortBinding;
use spawnpoint_model::{Cidr, Deployment, DeploymentId, WorkloadId};

use crate::Engine;
use crate::hosts::HostRuntime;

/// Who may connect; `None` = everybody.
pub type Guests = Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>;

/// Ends TLS in front of the ports of one host.
///
/// The container sees connections of this machine alone: a firewall between clients and containers does not see who
/// connects, one that guards the host's port does. Besides, those who may connect are named here.
pub trait Front: Send + Sync + 'static {
    /// Opens a port in front of a workload, or leads it there if it is open for the same deployment. `guests` hold for all its
    /// ports from now on.
    ///
    /// # Errors
    /// Somebody else has the port, or what the system says.
    fn open(&self, workload: WorkloadId, port: u16, to: SocketAddr, guests: Guests)
    -> Result<(), FrontError>;

    /// Lets these in from now on; connections of others end.
    fn set_guests(&self, deployment: DeploymentId, guests: &Guests);

    /// Whether the port is open and leads to this workload.
    fn is_open(&self, workload: WorkloadId, port: u16) -> bool;

    /// Closes every port of a deployment, with its connections.
    fn close(&self, deployment: DeploymentId);

    /// The deployments for which a port is open.
    fn deployments(&self) -> HashSet<DeploymentId>;
}

/// Why a port could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontError {
    /// Somebody else listens on it.
    #[error("port {0} is used by somebody else")]
    PortTaken(u16),
    /// Something else, in a sentence for users.
    #[error("{0}")]
    Failed(String),
}

impl HostRuntime {
    /// Whether TLS is ended in front of a port of this host.
    pub(crate) fn is_fronted(&self, port: &PortBinding) -> bool {
        port.tls_upgrade && self.setup.front.is_some()
    }

    /// Lets only these networks in where TLS is ended in front of a row's ports; `None` = everybody.
    pub(crate) fn set_guests(&self, row: &Deployment, networks: Option<&Arc<[Cidr]>>) {
        let Some(front) = &self.setup.front else { return };
        if row.state.ports.iter().any(|port| port.tls_upgrade) {
            front.set_guests(row.id, &guests(networks));
        }
    }
}

/// The networks of an access list as the question that a [`Front`] asks.
fn guests(networks: Option<&Arc<[Cidr]>>) -> Guests {
    let networks = Arc::clone(networks?);
    Some(Arc::new(move |client| networks.iter().any(|network| network.contains(client))))
}

impl Engine {
    /// Opens what is not open yet of the row's ports; whether all are.
    pub(crate) async fn open_front(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
    ) -> Result<bool, FrontError> {
        let Some(front) = &runtime.setup.front else { return Ok(true) };
        let workload = row.workload();
        let closed = |port: &&PortBinding| port.tls_upgrade && !front.is_open(workload, port.external);
        let closed: Vec<&PortBinding> = row.state.ports.iter().filter(closed).collect();
        if closed.is_empty() {
            return Ok(true);
        }
        let address = match runtime.driver().address(workload).await {
            Ok(Some(address)) => address,
            Ok(None) => return Ok(false),
            Err(error) => {
                tracing::debug!(workload.id = %workload, error = %error, "no address to lead a TLS port to");
                return Ok(false);
            }
        };
        let guests = match self.networks_of(row).await {
            Ok(networks) => guests(networks.as_ref()),
            Err(error) => {
                tracing::debug!(workload.id = %workload, error = %error, "nobody knows whom to let in");
                return Ok(false);
            }
        };
        for port in closed {
            let to = SocketAddr::new(address, port.internal);
            match front.open(workload, port.external, to, guests.clone()) {
                // Another control plane of this machine may have it: it shares the rows.
                Err(FrontError::PortTaken(_)) if !self.inner.rows.is_exact() => {}
                opened => opened?,
            }
        }
        Ok(true)
    }

    /// Brings what is open on a host in line with its rows.
    pub(crate) async fn sync_front(
        &self,
        runtime: &HostRuntime,
        rows: impl Iterator<Item = &Arc<Deployment>>,
    ) {
        let Some(front) = &runtime.setup.front else { return };
        let mut held = HashSet::new();
        for row in rows.filter(|row| row.state.phase.holds_host()) {
            held.insert(row.id);
            // One that is starting is opened by its start.
            if serves(&row.state.phase)
                && let Err(error) = self.open_front(row, runtime).await
            {
                tracing::warn!(deployment.id = %row.id, error = %error, "a TLS port could not be opened; trying again");
            }
        }
        for id in front.deployments().difference(&held) {
            // Looked at once more: it may have come to this host just now.
            match self.inner.rows.find(*id).await {
                Ok(Some(row))
                    if row.state.phase.holds_host() && row.state.host.as_ref() == Some(runtime.id()) => {}
                Ok(_) => front.close(*id),
                Err(error) => tracing::debug!(error = %error, "a TLS port stays open for now"),
            }
        }
    }
}

/// Whether players may be connected.
fn serves(phase: &Phase) -> bool {
    matches!(phase, Phase::Ready | Phase::Stopping(After::Terminate(_)))
}
