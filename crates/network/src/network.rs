//! The one thing that others hold.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use spawnpoint_model::limits::ACCESS_ENTRIES_MAX;
use spawnpoint_model::{Cidr, InstallationId, Transport, WorkloadId};
use tokio::sync::Semaphore;

use crate::committer::{Change, Committer};
use crate::nft::Element;
use crate::slots::{Ground, Prepared, absent_is_fine};
use crate::types::{Inventory, NetworkConfig, NetworkError, Port, Published, Slot, Traffic, Unsupported};
use crate::wire::Socket;
use crate::{PORTS_MAX, busy, link, opening, pool, rules, stock};

/// The networks of one installation on this host. Cheap to clone; when the last one goes, all networks stay as they are.
#[derive(Clone, Debug)]
pub struct Network(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub config: NetworkConfig,
    pub ground: Ground,
    pub table: String,
    pub notes: Vec<String>,
    pub committer: Committer,
    pub state: Mutex<State>,
    /// Told when a network has been made or cleared, or not.
    pub settled: Condvar,
    pub replenish: pool::Bell,
    pub makers: Semaphore,
    pub clearers: Semaphore,
}

/// What is known without asking the kernel.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub leases: HashMap<WorkloadId, Lease>,
    pub pool: VecDeque<Prepared>,
    /// Numbers that are taken: leased, in the pool, being made, being cleared.
    pub taken: BTreeSet<u32>,
    pub owners: HashMap<(Transport, u16), WorkloadId>,
    /// Networks that are being made.
    pub making: usize,
    /// Networks that are being cleared.
    pub clearing: usize,
    /// Networks that could not be cleared.
    pub stuck: BTreeSet<u32>,
    /// No more are made.
    pub closed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub prepared: Prepared,
    pub ports: Vec<Port>,
    pub access: Option<Vec<Cidr>>,
    pub elements: BTreeSet<Element>,
    /// Held by whoever changes it.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

impl Lease {
    pub fn new(prepared: Prepared) -> Self {
        let (ports, access, elements) = (Vec::new(), None, BTreeSet::new());
        Self { prepared, ports, access, elements, turn: Arc::default() }
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: impl Into<String>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetworkError> {
    let result = tokio::task::spawn_blocking(work).await.map_err(|_| NetworkError::Closing)?;
    result.map_err(|source| NetworkError::Kernel { doing: doing.into(), source })
}

/// Does something to its end, also if who asked for it goes away meanwhile: what is known must be what was done.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, NetworkError>> + Send + 'static,
) -> Result<T, NetworkError> {
    tokio::spawn(work).await.map_err(|_| NetworkError::Closing)?
}

impl Network {
    /// Opens the networks of an installation: finds what is there, clears what was interrupted, puts the rules in force.
    /// Flows and leases go on as they were.
    ///
    /// # Errors
    /// Why it cannot be on this host.
    pub async fn open(config: NetworkConfig) -> Result<Self, Unsupported> {
        let ended = |_| Unsupported("the network's thread ended".into());
        let (inner, wakes) = tokio::task::spawn_blocking(|| opening::open(config)).await.map_err(ended)??;
        let network = Self(Arc::new(inner));
        pool::keep(&network.0, wakes).map_err(|error| Unsupported(format!("no thread: {error}")))?;
        Ok(network)
    }

    /// The host as workloads see it: an address that is there from `open` on, for the callback listener to be bound to.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.0.ground.gateway
    }

    /// The same by IPv6, where workloads have it.
    #[must_use]
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.0.ground.gateway6
    }

    /// What the operator should know: what was changed on the host, what could not be had.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// How many prepared networks are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.0.state.lock().pool.len()
    }

    /// Gives a workload its network: from the pool, or made now. The one it has, if it has one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn lease(&self, id: WorkloadId) -> Result<Slot, NetworkError> {
        let network = self.clone();
        whole(async move { network.lease_whole(id).await }).await
    }

    async fn lease_whole(&self, id: WorkloadId) -> Result<Slot, NetworkError> {
        // What is being released is waited for, and then there is none.
        if let Ok(_turn) = self.turn(id).await
            && let Some(slot) = self.find(id)
        {
            return Ok(slot);
        }
        let ready = self.0.state.lock().pool.pop_front();
        let prepared = match ready {
            Some(prepared) => prepared,
            None => self.make().await?,
        };
        self.0.replenish.ring();
        let slot = self.0.ground.slot(&prepared);
        {
            let mut state = self.0.state.lock();
            if let Some(lease) = state.leases.get(&id) {
                // Somebody asked for the same at the same time.
                let slot = self.0.ground.slot(&lease.prepared);
                state.pool.push_front(prepared);
                return Ok(slot);
            }
            state.leases.insert(id, Lease::new(prepared.clone()));
        }
        if let Err(source) = self.0.ground.write_lease(id, prepared.number) {
            let mut state = self.0.state.lock();
            state.leases.remove(&id);
            state.pool.push_front(prepared);
            return Err(NetworkError::Kernel { doing: "the lease cannot be written down".into(), source });
        }
        Ok(slot)
    }

    async fn make(&self) -> Result<Prepared, NetworkError> {
        let _hand = self.0.makers.acquire().await.map_err(|_| NetworkError::Closing)?;
        let inner = Arc::clone(&self.0);
        let made = blocking("a network cannot be made", move || inner.make_one()).await?;
        made.ok_or_else(|| match self.0.state.lock().closed {
            true => NetworkError::Closing,
            false => NetworkError::TooMany { what: "networks", max: self.0.ground.numbers().count() },
        })
    }

    /// The network that a workload has.
    #[must_use]
    pub fn find(&self, id: WorkloadId) -> Option<Slot> {
        self.0.state.lock().leases.get(&id).map(|lease| self.0.ground.slot(&lease.prepared))
    }

    /// Leads ports of the host to a workload: exactly these, in place of those before, with exactly this access (`None`:
    /// everybody, an empty list: nobody). All at once or nothing. Flows of UDP to these ports that the kernel still leads
    /// nowhere are forgotten right after, within about a millisecond.
    ///
    /// # Errors
    /// [`NetworkError::PortBusy`], or why it was not possible; then nothing has changed.
    pub async fn publish(
        &self,
        id: WorkloadId,
        ports: &[Port],
        access: Option<&[Cidr]>,
    ) -> Result<(), NetworkError> {
        let (network, ports, access) = (self.clone(), ports.to_vec(), access.map(<[Cidr]>::to_vec));
        whole(async move {
            let _turn = network.turn(id).await?;
            network.replace(id, ports, access).await
        })
        .await
    }

    /// Changes who may come. Holds for flows that are there already.
    ///
    /// # Errors
    /// Why it was not possible; then nothing has changed.
    pub async fn set_access(&self, id: WorkloadId, access: Option<&[Cidr]>) -> Result<(), NetworkError> {
        let (network, access) = (self.clone(), access.map(<[Cidr]>::to_vec));
        whole(async move {
            let _turn = network.turn(id).await?;
            let ports = network.lease_of(id)?.ports;
            network.replace(id, ports, access).await
        })
        .await
    }

    async fn turn(&self, id: WorkloadId) -> Result<tokio::sync::OwnedMutexGuard<()>, NetworkError> {
        Ok(self.lease_of(id)?.turn.lock_owned().await)
    }

    fn lease_of(&self, id: WorkloadId) -> Result<Lease, NetworkError> {
        self.0.state.lock().leases.get(&id).cloned().ok_or(NetworkError::NoLease(id))
    }

    /// What is published for a workload becomes this. The caller has its turn.
    async fn replace(
        &self,
        id: WorkloadId,
        ports: Vec<Port>,
        access: Option<Vec<Cidr>>,
    ) -> Result<(), NetworkError> {
        if ports.len() > PORTS_MAX {
            return Err(NetworkError::TooMany { what: "ports of a workload", max: PORTS_MAX });
        }
        if access.as_ref().is_some_and(|networks| networks.len() > ACCESS_ENTRIES_MAX) {
            return Err(NetworkError::TooMany {
                what: "networks of an access list",
                max: ACCESS_ENTRIES_MAX,
            });
        }
        let lease = self.lease_of(id)?;
        let added = self.claim(id, &ports, &lease)?;
        let ground = &self.0.ground;
        let addresses = (ground.address(lease.prepared.number), ground.address6(lease.prepared.number));
        let wanted = rules::elements(&id.to_string(), addresses, &ports, access.as_deref());
        let mut change = Change {
            gone: lease.elements.difference(&wanted).cloned().collect(),
            new: wanted.difference(&lease.elements).cloned().collect(),
            marks: Vec::new(),
            late_marks: added
                .iter()
                .filter(|(transport, _)| *transport == Transport::Udp)
                .map(|(_, port)| rules::mark_of_port(*port))
                .collect(),
        };
        let kept: BTreeSet<_> = ports.iter().map(|port| (port.transport, port.external)).collect();
        let mut lost: Vec<_> = lease.ports.iter().map(|port| (port.transport, port.external)).collect();
        lost.retain(|port| !kept.contains(port));
        if lease.ports.iter().any(|port| !ports.contains(port)) {
            change.marks.push(rules::mark_of_workload(addresses.0));
        }
        if let Err(error) = self.0.committer.change("ports cannot be published", change).await {
            let mut state = self.0.state.lock();
            for port in added {
                state.owners.remove(&port);
            }
            return Err(error);
        }
        let mut state = self.0.state.lock();
        for port in lost {
            state.owners.remove(&port);
        }
        if let Some(lease) = state.leases.get_mut(&id) {
            (lease.ports, lease.access, lease.elements) = (ports, access, wanted);
        }
        Ok(())
    }

    /// Takes the ports that the workload does not have yet.
    fn claim(
        &self,
        id: WorkloadId,
        ports: &[Port],
        lease: &Lease,
    ) -> Result<Vec<(Transport, u16)>, NetworkError> {
        let had: BTreeSet<_> = lease.ports.iter().map(|port| (port.transport, port.external)).collect();
        let mut wanted: Vec<_> = ports.iter().map(|port| (port.transport, port.external)).collect();
        wanted.sort_unstable();
        let busy = |(transport, port): (Transport, u16), by: String| {
            Err(NetworkError::PortBusy { port, transport, by })
        };
        if let Some(twice) = wanted.windows(2).find(|pair| pair[0] == pair[1]) {
            return busy(twice[0], "another port of the same workload".into());
        }
        wanted.retain(|port| !had.contains(port));
        let mut state = self.0.state.lock();
        for port in &wanted {
            if let Some(owner) = state.owners.get(port) {
                return busy(*port, format!("workload {owner}"));
            }
            if busy::is_taken(port.0, port.1) {
                return busy(*port, "a program on this host".into());
            }
        }
        state.owners.extend(wanted.iter().map(|port| (*port, id)));
        Ok(wanted)
    }

    /// What is published for whom, as the kernel has it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn published(&self) -> Result<Vec<Published>, NetworkError> {
        let table = self.0.table.clone();
        blocking("the rules cannot be read", move || stock::published(&table)).await
    }

    /// Takes a workload's network away: its ports are free when this returns, and its flows are forgotten before anybody
    /// else is given one of them. The network itself is cleared in the background, which [`Network::close`] waits for.
    /// Without a lease nothing is done.
    ///
    /// # Errors
    /// What is left; to be tried again.
    pub async fn release(&self, id: WorkloadId) -> Result<(), NetworkError> {
        let network = self.clone();
        whole(async move { network.release_whole(id).await }).await
    }

    async fn release_whole(&self, id: WorkloadId) -> Result<(), NetworkError> {
        let Ok(_turn) = self.turn(id).await else { return Ok(()) };
        // Somebody may have released it while this waited.
        let Ok(lease) = self.lease_of(id) else { return Ok(()) };
        let number = lease.prepared.number;
        let late_marks = vec![rules::mark_of_workload(self.0.ground.address(number))];
        let change = Change { gone: lease.elements.into_iter().collect(), late_marks, ..Change::default() };
        self.0.committer.change("ports cannot be freed", change).await?;
        {
            let mut state = self.0.state.lock();
            for port in lease.ports {
                state.owners.remove(&(port.transport, port.external));
            }
            if let Some(lease) = state.leases.get_mut(&id) {
                (lease.ports, lease.access, lease.elements) = (Vec::new(), None, BTreeSet::new());
            }
        }
        let doing = || format!("the lease of {id} cannot be ended");
        let buried = self.0.ground.bury_lease(id, number);
        absent_is_fine(buried).map_err(|source| NetworkError::Kernel { doing: doing(), source })?;
        let mut state = self.0.state.lock();
        state.leases.remove(&id);
        state.clearing += 1;
        drop(state);
        let network = self.clone();
        tokio::spawn(async move { network.clear(number).await });
        Ok(())
    }

    /// Clears what is left of a network. The kernel takes its time for a link: some 30 ms, in which it does nothing.
    async fn clear(&self, number: u32) {
        // Its flows are forgotten by then: whoever finds its grave after a crash forgets them himself.
        let forgotten = self.0.committer.change("flows cannot be forgotten", Change::default()).await;
        let _hand = self.0.clearers.acquire().await;
        let inner = Arc::clone(&self.0);
        let clear = move || inner.ground.clear_buried(&Socket::route()?, number);
        let cleared = match forgotten {
            Ok(()) => blocking("a network cannot be cleared", clear).await,
            Err(error) => Err(error),
        };
        let mut state = self.0.state.lock();
        state.clearing -= 1;
        match cleared {
            Ok(()) => {
                state.taken.remove(&number);
            }
            // It stays taken, and the next sweep tries again.
            Err(error) => {
                tracing::warn!(%error, number, "a network that was released stays for now");
                state.stuck.insert(number);
            }
        }
        self.0.settled.notify_all();
        drop(state);
        self.0.replenish.ring();
    }

    /// What there is, read from the kernel and the disk.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn inventory(&self) -> Result<Inventory, NetworkError> {
        let inner = Arc::clone(&self.0);
        blocking("the networks cannot be read", move || stock::inventory(&inner)).await
    }

    /// Removes what was interrupted, and puts back what others took from our rules. Leases stay.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn sweep(&self) -> Result<(), NetworkError> {
        if self.0.state.lock().closed {
            return Err(NetworkError::Closing);
        }
        self.0.committer.check().await?;
        let inner = Arc::clone(&self.0);
        blocking("what was interrupted cannot be removed", move || stock::sweep(&inner)).await?;
        self.0.replenish.ring();
        Ok(())
    }

    /// What went through a workload's network.
    ///
    /// # Errors
    /// [`NetworkError::NoLease`], or why it cannot be read.
    pub async fn traffic(&self, id: WorkloadId) -> Result<Traffic, NetworkError> {
        let name = self.0.ground.link(self.lease_of(id)?.prepared.number);
        let found = blocking("the link cannot be read", move || link::find(&Socket::route()?, &name)).await?;
        Ok(found.traffic)
    }

    /// Makes no more networks, sweeps no more, and waits for those that are being made or cleared. For whoever is about to remove everything.
    ///
    /// # Errors
    /// [`NetworkError::Closing`] if the process is ending.
    pub async fn close(&self) -> Result<(), NetworkError> {
        let inner = Arc::clone(&self.0);
        blocking("closing", move || {
            let mut state = inner.state.lock();
            state.closed = true;
            while state.making + state.clearing > 0 {
                inner.settled.wait(&mut state);
            }
            Ok(())
        })
        .await
    }

    /// Leaves no trace of an installation: also of one that nobody has open. Workloads that still run lose their network.
    /// Who has it open in this process closes it before, see [`Network::close`].
    ///
    /// # Errors
    /// What is left.
    pub async fn remove_all(installation: &InstallationId, run_dir: &Path) -> Result<(), NetworkError> {
        let (installation, run_dir) = (installation.clone(), run_dir.to_owned());
        blocking("the networks cannot be removed", move || stock::remove_all(&installation, &run_dir)).await
    }
}

impl Inner {
    /// Makes one network more; none if all numbers are taken.
    pub(crate) fn make_one(&self) -> io::Result<Option<Prepared>> {
        let number = {
            let mut state = self.state.lock();
            let free = self.ground.numbers().find(|number| !state.taken.contains(number));
            let Some(free) = free.filter(|_| !state.closed) else { return Ok(None) };
            state.taken.insert(free);
            state.making += 1;
            free
        };
        let made = self.ground.make(number);
        let mut state = self.state.lock();
        state.making -= 1;
        if made.is_err() {
            state.taken.remove(&number);
        }
        self.settled.notify_all();
        made.map(Some)
    }
}
