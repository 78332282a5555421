//! The one thing that others hold.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use spawnpoint_model::{Cidr, InstallationId, WorkloadId};

use crate::types::{Inventory, NetworkConfig, NetworkError, Port, Published, Slot, Traffic, Unsupported};

/// The networks of one installation on this host. Cheap to clone; the last one that goes leaves all networks as they are.
#[derive(Clone, Debug)]
pub struct Network {}

impl Network {
    /// Opens the networks of an installation: finds what is there, clears what was interrupted, puts the rules in force.
    ///
    /// # Errors
    /// Why it cannot be on this host.
    pub async fn open(_config: NetworkConfig) -> Result<Self, Unsupported> {
        Err(Unsupported("not yet".into()))
    }

    /// The host as workloads see it: an address that is there from `open` on, for the callback listener to be bound to.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::UNSPECIFIED
    }

    /// The same by IPv6, where workloads have it.
    #[must_use]
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        None
    }

    /// What the operator should know: what was changed on the host, what could not be had.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Gives a workload its network: from the pool, or made now. The one it has, if it has one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn lease(&self, id: WorkloadId) -> Result<Slot, NetworkError> {
        Err(NetworkError::NoLease(id))
    }

    /// The network that a workload has.
    #[must_use]
    pub fn find(&self, _id: WorkloadId) -> Option<Slot> {
        None
    }

    /// Leads ports of the host to a workload: exactly these, in place of those before, with exactly this access (`None`:
    /// everybody, an empty list: nobody). All at once or nothing. Flows to these ports that the kernel still leads
    /// elsewhere are forgotten.
    ///
    /// # Errors
    /// [`NetworkError::PortBusy`], or why it was not possible; then nothing has changed.
    pub async fn publish(
        &self,
        id: WorkloadId,
        _ports: &[Port],
        _access: Option<&[Cidr]>,
    ) -> Result<(), NetworkError> {
        Err(NetworkError::NoLease(id))
    }

    /// Changes who may come. Holds for flows that are there already.
    ///
    /// # Errors
    /// Why it was not possible; then nothing has changed.
    pub async fn set_access(&self, id: WorkloadId, _access: Option<&[Cidr]>) -> Result<(), NetworkError> {
        Err(NetworkError::NoLease(id))
    }

    /// What is published for whom, as the kernel has it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn published(&self) -> Result<Vec<Published>, NetworkError> {
        Ok(Vec::new())
    }

    /// Takes a workload's network away: its ports are free and its flows forgotten when this returns, and nothing is left.
    /// Without a lease nothing is done.
    ///
    /// # Errors
    /// What is left; to be tried again.
    pub async fn release(&self, _id: WorkloadId) -> Result<(), NetworkError> {
        Ok(())
    }

    /// What there is, read from the kernel and the disk.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn inventory(&self) -> Result<Inventory, NetworkError> {
        Ok(Inventory::default())
    }

    /// Removes what was interrupted, and puts back what others took from our rules. Leases stay.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn sweep(&self) -> Result<(), NetworkError> {
        Ok(())
    }

    /// What went through a workload's network.
    ///
    /// # Errors
    /// [`NetworkError::NoLease`].
    pub async fn traffic(&self, id: WorkloadId) -> Result<Traffic, NetworkError> {
        Err(NetworkError::NoLease(id))
    }

    /// Leaves no trace of an installation: also of one that nobody has open. Workloads that still run lose their network.
    ///
    /// # Errors
    /// What is left.
    pub async fn remove_all(_installation: &InstallationId, _run_dir: &Path) -> Result<(), NetworkError> {
        Ok(())
    }
}
