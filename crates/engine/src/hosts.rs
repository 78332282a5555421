//! The hosts: their drivers, what is free on them, and the choice of one.
//!
//! What is free is kept in memory, in the shape that [`place`] wants. The store holds the truth (reserved capacity and
//! port leases, each guarded in the deployment's own transaction); if it disagrees, since another control plane was
//! faster, the mirror is loaded anew and the choice made again.

mod pool;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use spawnpoint_driver::{Driver, HostProbe, Security};
use spawnpoint_model::added::{AddedFleet, StoredHost};
use spawnpoint_model::host_settings::{Drain, HostSettings, Standing};
use spawnpoint_model::place::{
    Ask, Considered, HostState, HostView, Hosts, Room, Verdict, explain, place, summary,
};
use spawnpoint_model::port::{PortBinding, PortSpec};
use spawnpoint_model::site::{Host, PrivateFleet, Site};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{HostId, Timestamp};
use spawnpoint_store::{HostUsage, PortLease};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock::Entropy;
use crate::front::Front;
use crate::view::HostPlace;
use pool::PortPool;

/// Reasons that are kept with a placement; more hosts than this are only counted.
const REASONS_MAX: usize = 32;

/// A host, with what runs workloads on it.
#[derive(Clone)]
pub struct HostSetup {
    /// The host.
    pub host: Arc<Host>,
    /// Its driver.
    pub driver: Arc<dyn Driver>,
    /// Address of the API as its containers reach it, without a trailing slash; `None` = the common one.
    pub callback_url: Option<String>,
    /// How tightly its workloads are held.
    pub security: Security,
    /// Processes and threads that a workload may have.
    pub pids_max: u32,
    /// Ends TLS in front of its ports; `None`: nothing does, and they are published as the others.
    pub front: Option<Arc<dyn Front>>,
}

/// A host at work.
pub(crate) struct HostRuntime {
    pub(crate) setup: HostSetup,
    pub(crate) place: Arc<HostPlace>,
    /// Places for reading logs before their workloads are removed. Each host has its own, so that one that hangs delays
    /// nobody else.
    pub(crate) captures: Semaphore,
    /// Places for reading logs because somebody asks for them.
    pub(crate) log_reads: Semaphore,
    /// What an operator said when it was added while the server ran; `None` = it is in the config.
    pub(crate) added: Option<StoredHost>,
    /// It was removed: its tasks end.
    pub(crate) gone: CancellationToken,
}

impl HostRuntime {
    fn new(setup: HostSetup, added: Option<StoredHost>) -> Arc<Self> {
        let host = &setup.host;
        let place = Arc::new(HostPlace {
            host: host.id.clone(),
            public_address: host.public_address,
            location: host.site.location.clone(),
            private_fleet: host.private_fleet.clone(),
            base_clock_mhz: host.base_clock_mhz,
            beacon: host.beacon.clone(),
        });
        let captures = Semaphore::new(crate::capture::CAPTURES_PER_HOST);
        let log_reads = Semaphore::new(crate::logs::READS_PER_HOST);
        Arc::new(Self { setup, place, captures, log_reads, added, gone: CancellationToken::new() })
    }

    /// It as placement sees it before anything is known of it.
    fn view(&self) -> HostView {
        let free = Room { resources: self.setup.host.capacity, ports: 0 };
        HostView { host: self.setup.host.clone(), state: HostState { free, ..HostState::default() } }
    }

    pub(crate) fn id(&self) -> &HostId {
        &self.setup.host.id
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.setup.driver
    }
}

/// A host and ports that were taken for a deployment, not yet stored.
pub(crate) struct Choice {
    pub(crate) runtime: Arc<HostRuntime>,
    pub(crate) ports: Vec<PortBinding>,
    /// Why this host, and why not the others.
    pub(crate) reasons: Vec<String>,
}

/// Why no host could be chosen.
pub(crate) struct NoHost {
    /// For whoever runs the hosts: one sentence each.
    pub(crate) reasons: Vec<String>,
    /// For whoever asked: one sentence that names none.
    pub(crate) summary: String,
}

/// What is free where. The three lists have the same order: a host's number is its place in each of them.
#[derive(Default)]
struct Table {
    runtimes: Vec<Arc<HostRuntime>>,
    hosts: Hosts,
    pools: Vec<PortPool>,
    /// When the next ports of which host come out of quarantine: looked at with each question, since no task that a crash
    /// interrupts may stand between a port and its next match.
    resting: BTreeSet<(Timestamp, usize)>,
}

impl Table {
    /// The same for other hosts; what is known of those that were here before is kept.
    fn with(mut self, runtimes: Vec<Arc<HostRuntime>>) -> Self {
        let mut views = Vec::with_capacity(runtimes.len());
        let mut pools = Vec::with_capacity(runtimes.len());
        for runtime in &runtimes {
            let before = self.runtimes.iter().position(|known| Arc::ptr_eq(known, runtime));
            views.push(before.map_or_else(|| runtime.view(), |number| self.hosts.views()[number].clone()));
            let pool = before.and_then(|number| self.pools.get_mut(number));
            pools.push(pool.map(std::mem::take).unwrap_or_default());
        }
        let numbered = pools.iter().enumerate();
        let resting = numbered.filter_map(|(number, pool)| Some((pool.next_free()?, number))).collect();
        Self { runtimes, hosts: Hosts::new(views), pools, resting }
    }

    /// Frees ports whose quarantine is over.
    fn expire(&mut self, now: Timestamp) {
        while let Some((_, number)) = self.resting.first().copied().filter(|(at, _)| *at <= now) {
            self.resting.pop_first();
            let Some(pool) = self.pools.get_mut(number) else { continue };
            pool.expire(now);
            let ports = u32::try_from(pool.len()).unwrap_or(u32::MAX);
            self.resting.extend(pool.next_free().map(|at| (at, number)));
            self.hosts.update(number, |state| state.free.ports = ports);
        }
    }

    /// Replaces what is known to be free on a host by what the store says.
    fn load(&mut self, number: usize, usage: &[HostUsage], held: &HashMap<u16, Option<Timestamp>>) {
        let host = self.runtimes[number].setup.host.clone();
        let used = usage.iter().find(|u| u.host == host.id).map(|u| u.reserved).unwrap_or_default();
        let mut free = host.capacity;
        free.cpu.0 = free.cpu.0.saturating_sub(used.cpu.0);
        free.memory.0 = free.memory.0.saturating_sub(used.memory.0);
        let pool = PortPool::new(host.port_range.clone(), held);
        let ports = u32::try_from(pool.len()).unwrap_or(u32::MAX);
        self.resting.extend(pool.next_free().map(|at| (at, number)));
        self.pools[number] = pool;
        self.hosts.update(number, |state| state.free = Room { resources: free, ports });
    }
}

/// Every host, for those who need not know what is free.
struct Roster {
    all: Arc<[Arc<HostRuntime>]>,
    by_id: HashMap<HostId, Arc<HostRuntime>>,
}

impl Roster {
    fn of(runtimes: &[Arc<HostRuntime>]) -> Self {
        let by_id = runtimes.iter().map(|runtime| (runtime.id().clone(), runtime.clone())).collect();
        Self { all: runtimes.into(), by_id }
    }
}

/// All hosts.
pub(crate) struct Fleet {
    roster: RwLock<Roster>,
    table: Mutex<Table>,
    /// What operators say of them; the store's copy is the truth.
    settings: RwLock<HashMap<HostId, HostSettings>>,
    /// Held from the reading of the settings until they are taken over, so that older ones never follow newer ones.
    pub(crate) reading_settings: tokio::sync::Mutex<()>,
    /// The private fleets of the config.
    private: Vec<PrivateFleet>,
    /// The private fleets that were added while the server ran.
    pub(crate) added_fleets: RwLock<Vec<AddedFleet>>,
    /// Added hosts that could not be connected, so that this is told once.
    pub(crate) unusable: Mutex<HashSet<HostId>>,
    /// Held while hosts or fleets are added or removed, so that one is judged by what the other left.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Rung when an operator said something.
    pub(crate) bell: Notify,
}

impl Fleet {
    pub(crate) fn new(setups: Vec<HostSetup>, private: Vec<PrivateFleet>) -> Self {
        let runtimes: Vec<_> = setups.into_iter().map(|setup| HostRuntime::new(setup, None)).collect();
        Self {
            roster: RwLock::new(Roster::of(&runtimes)),
            table: Mutex::new(Table::default().with(runtimes)),
            settings: RwLock::default(),
            reading_settings: tokio::sync::Mutex::default(),
            private,
            added_fleets: RwLock::default(),
            unusable: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// Takes a host in, in which nothing is free before [`Fleet::load_host`].
    pub(crate) fn add(&self, setup: HostSetup, added: StoredHost) -> Arc<HostRuntime> {
        let runtime = HostRuntime::new(setup, Some(added));
        self.change(|runtimes| runtimes.push(runtime.clone()));
        runtime
    }

    /// Takes a host out; its tasks end.
    pub(crate) fn remove(&self, id: &HostId) {
        if let Some(runtime) = self.find(id) {
            runtime.gone.cancel();
            // Another control plane may have ended what they lead to since the last resync, and there is none any more.
            if let Some(front) = &runtime.setup.front {
                front.deployments().into_iter().for_each(|deployment| front.close(deployment));
            }
        }
        self.change(|runtimes| runtimes.retain(|runtime| runtime.id() != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<HostRuntime>>)) {
        let mut table = self.table.lock();
        let mut runtimes = table.runtimes.clone();
        change(&mut runtimes);
        *self.roster.write() = Roster::of(&runtimes);
        *table = std::mem::take(&mut *table).with(runtimes);
    }

    /// The private fleets, in the order of the config.
    pub(crate) fn private(&self) -> &[PrivateFleet] {
        &self.private
    }

    /// Replaces what operators say by what the store says.
    pub(crate) fn load_settings(&self, all: Vec<HostSettings>, now: Timestamp) {
        *self.settings.write() = all.into_iter().map(|said| (said.host.clone(), said)).collect();
        self.apply_settings(now);
    }

    /// What operators say of a host.
    pub(crate) fn settings(&self, id: &HostId) -> Option<HostSettings> {
        self.settings.read().get(id).cloned()
    }

    /// What holds of a host at `now`.
    pub(crate) fn standing(&self, host: &Host, now: Timestamp) -> Standing {
        match self.settings.read().get(&host.id) {
            Some(said) => said.standing(host.cordoned, now),
            None => Standing { cordoned: host.cordoned, ..Standing::default() },
        }
    }

    /// Has placement follow what operators say, at `now`. The hosts that are to be emptied by stopping, and are not empty.
    pub(crate) fn apply_settings(&self, now: Timestamp) -> Vec<Arc<HostRuntime>> {
        let mut to_empty = Vec::new();
        let mut guard = self.table.lock();
        let Table { runtimes, hosts, .. } = &mut *guard;
        for (number, runtime) in runtimes.iter().enumerate() {
            let standing = self.standing(&runtime.setup.host, now);
            let view = &hosts.views()[number];
            if standing.drain == Some(Drain::Stop) && view.state.free.resources != view.host.capacity {
                to_empty.push(runtime.clone());
            }
            if view.is_cordoned() != standing.cordoned {
                hosts.update(number, |state| state.cordoned = Some(standing.cordoned));
            }
        }
        to_empty
    }

    /// Every host: those of the config in its order, then the added ones.
    pub(crate) fn all(&self) -> Arc<[Arc<HostRuntime>]> {
        self.roster.read().all.clone()
    }

    /// The sites with a host that is not in a private fleet, each once, in the order of the configuration.
    pub(crate) fn shared_sites(&self) -> Vec<Arc<Site>> {
        let mut seen = HashSet::new();
        let all = self.all();
        let shared = all.iter().map(|r| &r.setup.host).filter(|host| host.private_fleet.is_none());
        shared.filter(|host| seen.insert(&host.site.id)).map(|host| host.site.clone()).collect()
    }

    /// The sites with a host that could take `ask` at `now`.
    pub(crate) fn usable_sites(&self, ask: &Ask<'_>, now: Timestamp) -> HashSet<String> {
        let mut table = self.table.lock();
        table.expire(now);
        let usable = |one: &Considered<'_>| matches!(one.verdict, Verdict::Usable { .. });
        let considered = explain(ask, &table.hosts);
        considered.iter().filter(|one| usable(one)).map(|one| one.host.site.id.to_string()).collect()
    }

    pub(crate) fn find(&self, id: &HostId) -> Option<Arc<HostRuntime>> {
        self.roster.read().by_id.get(id).cloned()
    }

    /// Replaces the mirror by what the store says.
    pub(crate) fn load(&self, usage: &[HostUsage], leases: &[PortLease]) {
        let mut held: HashMap<&HostId, HashMap<u16, Option<Timestamp>>> = HashMap::new();
        for lease in leases {
            // A number is given to one port at a time, whatever its transport; of two leases the longer one counts.
            let free_at = held.entry(&lease.host).or_default().entry(lease.port).or_insert(lease.free_at);
            *free_at = (*free_at).zip(lease.free_at).map(|(a, b)| a.max(b));
        }
        let none = HashMap::new();
        let mut table = self.table.lock();
        for number in 0..table.runtimes.len() {
            let held = held.get(table.runtimes[number].id()).unwrap_or(&none);
            table.load(number, usage, held);
        }
    }

    /// The same for one host, as it is taken in.
    pub(crate) fn load_host(&self, id: &HostId, usage: &[HostUsage], leases: &[PortLease]) {
        let mut held: HashMap<u16, Option<Timestamp>> = HashMap::new();
        for lease in leases.iter().filter(|lease| lease.host == *id) {
            let free_at = held.entry(lease.port).or_insert(lease.free_at);
            *free_at = (*free_at).zip(lease.free_at).map(|(a, b)| a.max(b));
        }
        let mut table = self.table.lock();
        if let Some(number) = table.hosts.find(id) {
            table.load(number, usage, &held);
        }
    }

    /// Chooses a host and takes capacity and ports of it that are free at `now` in the mirror. Either store the choice or [`Fleet::undo`] it.
    pub(crate) fn choose(
        &self,
        ask: &Ask<'_>,
        ports: &[PortSpec],
        entropy: &Entropy,
        now: Timestamp,
    ) -> Result<Choice, NoHost> {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        table.expire(now);
        let chosen = place(ask, &table.hosts);
        let reasons = reasons(ask, &table.hosts);
        let Some(chosen) = chosen else {
            let summary = summary(&explain(ask, &table.hosts));
            return Err(NoHost { reasons, summary });
        };
        let runtime = table.runtimes[chosen.number].clone();
        let Some(numbers) = table.pools[chosen.number].take(ports.len(), entropy) else {
            let summary = "no host has enough free ports for this deployment now".to_owned();
            return Err(NoHost { reasons, summary });
        };
        table.hosts.update(chosen.number, |state| shrink(&mut state.free, ask.room));
        let bind = |(spec, external): (&PortSpec, u16)| PortBinding {
            name: spec.key(),
            internal: if spec.port == 0 { external } else { spec.port },
            external,
            protocol: spec.protocol,
            to_check: spec.to_check,
            tls_upgrade: spec.tls_upgrade,
        };
        Ok(Choice { runtime, ports: ports.iter().zip(numbers).map(bind).collect(), reasons })
    }

    /// Gives a choice back that was not stored.
    pub(crate) fn undo(&self, choice: &Choice, resources: Resources) {
        let numbers: Vec<u16> = choice.ports.iter().map(|port| port.external).collect();
        let mut table = self.table.lock();
        let Some(number) = table.hosts.find(choice.runtime.id()) else { return };
        table.pools[number].put_back(&numbers);
        let room = Room { resources, ports: u32::try_from(numbers.len()).unwrap_or(0) };
        table.hosts.update(number, |state| grow(&mut state.free, room));
    }

    /// Gives capacity back at once and ports after `free_at`, as the store did.
    pub(crate) fn release(
        &self,
        host: &HostId,
        resources: Resources,
        ports: &[PortBinding],
        free_at: Timestamp,
    ) {
        let mut table = self.table.lock();
        let Some(number) = table.hosts.find(host) else { return };
        table.pools[number].quarantine(ports.iter().map(|port| port.external), free_at);
        if !ports.is_empty() {
            table.resting.insert((free_at, number));
        }
        table.hosts.update(number, |state| grow(&mut state.free, Room { resources, ports: 0 }));
    }

    /// Frees ports whose quarantine is over.
    pub(crate) fn expire_ports(&self, now: Timestamp) {
        self.table.lock().expire(now);
    }

    /// Notes what a probe said of a host; `None` = it did not answer.
    pub(crate) fn set_health(&self, id: &HostId, probe: Option<HostProbe>) {
        let images =
            probe.map(|probe| (probe.filters_clients, Arc::new(probe.cached_images.into_iter().collect())));
        let mut table = self.table.lock();
        let Some(number) = table.hosts.find(id) else { return };
        table.hosts.update(number, |state| {
            state.healthy = images.is_some();
            if let Some((filters_clients, images)) = images {
                state.filters_clients = filters_clients;
                state.images = images;
            }
        });
    }

    /// Notes that a host holds an image now.
    pub(crate) fn add_image(&self, id: &HostId, image: &str) {
        let mut table = self.table.lock();
        let Some(number) = table.hosts.find(id) else { return };
        table.hosts.update(number, |state| {
            if !state.images.contains(image) {
                let mut images = HashSet::clone(&state.images);
                images.insert(image.to_owned());
                state.images = Arc::new(images);
            }
        });
    }

    /// Whether a host holds an image.
    pub(crate) fn holds(&self, id: &HostId, image: &str) -> bool {
        let table = self.table.lock();
        table.hosts.find(id).is_some_and(|number| table.hosts.views()[number].state.images.contains(image))
    }

    /// The share of the hosts that holds an image.
    pub(crate) fn share_with(&self, image: &str) -> f64 {
        let table = self.table.lock();
        let views = table.hosts.views();
        let holding = views.iter().filter(|view| view.state.images.contains(image)).count();
        holding as f64 / views.len().max(1) as f64
    }

    /// Whether a host answered its last probe.
    pub(crate) fn is_healthy(&self, id: &HostId) -> bool {
        let table = self.table.lock();
        table.hosts.find(id).is_some_and(|number| table.hosts.views()[number].state.healthy)
    }
}

/// Every host's reason as a sentence, as long as there are few enough hosts to be read; of many, those of the host that was
/// taken and of the hosts that were named.
fn reasons(ask: &Ask<'_>, hosts: &Hosts) -> Vec<String> {
    let unknown = ask.preferred_hosts.iter().filter(|id| hosts.find(id).is_none());
    let unknown = unknown.map(|id| format!("{id}: passed over, there is no such host"));
    let count = hosts.views().len();
    let mut reasons: Vec<String> = if count <= REASONS_MAX {
        explain(ask, hosts).iter().map(ToString::to_string).collect()
    } else {
        let mut told = vec![format!("{count} hosts were considered; too many to list each")];
        if !ask.preferred_hosts.is_empty() {
            let named = |one: &&Considered<'_>| {
                matches!(one.verdict, Verdict::Usable { rank: 1, .. })
                    || ask.preferred_hosts.contains(&one.host.id)
            };
            told.extend(explain(ask, hosts).iter().filter(named).map(ToString::to_string));
        }
        told
    };
    reasons.extend(unknown);
    reasons
}

fn shrink(free: &mut Room, by: Room) {
    free.resources.cpu.0 = free.resources.cpu.0.saturating_sub(by.resources.cpu.0);
    free.resources.memory.0 = free.resources.memory.0.saturating_sub(by.resources.memory.0);
    free.ports = free.ports.saturating_sub(by.ports);
}

fn grow(free: &mut Room, by: Room) {
    free.resources.cpu.0 = free.resources.cpu.0.saturating_add(by.resources.cpu.0);
    free.resources.memory.0 = free.resources.memory.0.saturating_add(by.resources.memory.0);
    free.ports = free.ports.saturating_add(by.ports);
}
