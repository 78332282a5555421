//! The memory of the fake: what runs, what was scripted, what was asked.
//!
//! What it is for: [`FakeEngine`] outlives the [`super::FakeDriver`]s in front of it, as a container engine outlives a
//! control plane; a test that "restarts" the control plane makes new drivers on the same engine.
//!
//! States are computed from instants when they are asked for, so a workload that just runs costs no timer and no task.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, InstallationId, MemoryMib, Timestamp, Transport, WorkloadId};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::behaviour::{Behaviour, Start};
use super::{Fault, MEMORY_BYTES, Op, SIGKILLED};
use crate::{
    AccessList, DriverError, Hint, Observed, PortPublish, Running, SpecHash, Stats, WorkloadFile,
    WorkloadSpec,
};

/// Hints that a slow watcher may fall behind before it is told to look at everything.
const HINTS: usize = 1024;

/// Where wall-clock times come from.
pub type FakeClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a fake engine has and tells.
#[derive(Clone, Default)]
pub struct FakeConfig {
    /// All there is, and a limit that [`crate::Driver::ensure`] holds; `None` = no limit.
    pub total: Option<Resources>,
    /// Workloads are also ended by the host, at the end of the grace.
    pub host_deadlines: bool,
    /// Gives `started_at`; without it there is none.
    pub clock: Option<FakeClock>,
}

/// One image reference: what it does. Shared by all its workloads.
pub(super) struct Image {
    pub(super) name: Box<str>,
    pub(super) behaviour: Behaviour,
}

/// One workload. Kept small: a host may have to hold a hundred thousand.
pub(super) struct Workload {
    owner: u32,
    hash: Option<SpecHash>,
    pub(super) image: Arc<Image>,
    ports: Box<[PortPublish]>,
    resources: Resources,
    started_at: Option<Timestamp>,
    /// When its process starts; `None` = it was made only.
    starts: Option<Instant>,
    /// When and how its process ends, as far as that is settled.
    end: Option<(Instant, Exit)>,
    /// How it had ended when it was removed: whoever reads its log still reads the end of it, as with a real engine.
    pub(super) last_words: Arc<OnceLock<Exit>>,
}

impl Workload {
    pub(super) fn state(&self, now: Instant) -> Running {
        match (self.starts, self.end) {
            (_, Some((at, exit))) if at <= now => Running::Exited(exit),
            (Some(starts), _) if starts <= now => Running::Running,
            _ => Running::Starting,
        }
    }

    pub(super) fn listens(&self, now: Instant) -> bool {
        let open = self.starts.zip(self.image.behaviour.listen_after).map(|(starts, after)| starts + after);
        self.state(now) == Running::Running && open.is_some_and(|open| open <= now)
    }

    /// A tenth of a CPU for as long as its process has run, and a little memory.
    fn stats(&self, now: Instant) -> Stats {
        let until = self.end.map_or(now, |(at, _)| at.min(now));
        let ran = self.starts.map_or(Duration::ZERO, |starts| until.saturating_duration_since(starts));
        Stats {
            cpu_micros: Some(u64::try_from(ran.as_micros()).unwrap_or(u64::MAX) / 10),
            memory_bytes: Some(MEMORY_BYTES),
            received_bytes: Some(0),
            sent_bytes: Some(0),
            pids: Some(1),
            ..Stats::default()
        }
    }

    pub(super) fn observed(&self, id: WorkloadId, host: &HostId, now: Instant) -> Observed {
        Observed {
            id,
            host: host.clone(),
            state: self.state(now),
            started_at: self.started_at,
            image_digest: None,
            spec_hash: self.hash,
            ports: self.ports.to_vec(),
        }
    }

    pub(super) const fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// Settles an end unless an earlier one is settled; tells whether it did.
    fn end_at(&mut self, at: Instant, exit: Exit) -> bool {
        let settles = self.end.is_none_or(|(earlier, _)| at < earlier);
        if settles {
            self.end = Some((at, exit));
        }
        settles
    }
}

/// What was found out about a start.
pub(super) enum Started {
    /// Answer this now.
    Now(Result<(), DriverError>),
    /// It works, and the answer comes then.
    At(Instant),
    /// No effect and no answer.
    Never,
}

#[derive(Default)]
pub(super) struct World {
    owners: Vec<(InstallationId, HostId)>,
    images: HashMap<Box<str>, Arc<Image>>,
    cached: HashSet<Box<str>>,
    workloads: HashMap<WorkloadId, Workload>,
    busy_ports: HashSet<(u16, Transport)>,
    /// Apart from the workloads, which are many and mostly have none.
    files: HashMap<WorkloadId, Vec<WorkloadFile>>,
    access: HashMap<WorkloadId, AccessList>,
    used: (u64, u64),
    stats: HashMap<WorkloadId, Stats>,
    faults: HashMap<Op, VecDeque<Fault>>,
}

impl World {
    fn image(&mut self, name: &str) -> Arc<Image> {
        if let Some(image) = self.images.get(name) {
            return Arc::clone(image);
        }
        let image = Arc::new(Image { name: name.into(), behaviour: Behaviour::of_image(name) });
        self.images.insert(name.into(), Arc::clone(&image));
        image
    }

    fn owner(&mut self, installation: &InstallationId, host: &HostId) -> u32 {
        let found = self.owners.iter().position(|(i, h)| i == installation && h == host);
        let index = found.unwrap_or_else(|| {
            self.owners.push((installation.clone(), host.clone()));
            self.owners.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// A simulated container engine. Cheap to make; hold it in an `Arc` to let it outlive its drivers.
pub struct FakeEngine {
    pub(super) config: FakeConfig,
    world: Mutex<World>,
    hints: broadcast::Sender<Option<Hint>>,
    unreachable: AtomicBool,
    no_access_lists: AtomicBool,
    calls: [AtomicU64; Op::ALL.len()],
}

impl FakeEngine {
    /// An empty engine.
    #[must_use]
    pub fn new(config: FakeConfig) -> Arc<Self> {
        let (hints, _) = broadcast::channel(HINTS);
        let calls = std::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Self {
            config,
            world: Mutex::default(),
            hints,
            unreachable: AtomicBool::new(false),
            no_access_lists: AtomicBool::new(false),
            calls,
        })
    }

    /// Makes an image behave so, whatever its name says. Workloads that exist stay as they are.
    pub fn script(&self, image: &str, behaviour: Behaviour) {
        let scripted = Arc::new(Image { name: image.into(), behaviour });
        self.world.lock().images.insert(image.into(), scripted);
    }

    /// Puts an image on the host, as an operator would.
    pub fn load_image(&self, image: &str) {
        self.world.lock().cached.insert(image.into());
    }

    /// Takes an image off the host.
    pub fn unload_image(&self, image: &str) {
        self.world.lock().cached.remove(image);
    }

    /// The next call of `op` fails so, without effect.
    pub fn fail_next(&self, op: Op, error: DriverError) {
        self.inject(op, Fault::Fail(error));
    }

    /// The next call of `op` works, but its caller is told [`DriverError::Timeout`].
    pub fn lose_next_reply(&self, op: Op) {
        self.inject(op, Fault::LoseReply);
    }

    /// The next call of `op` waits for its deadline and has no effect.
    pub fn hang_next(&self, op: Op) {
        self.inject(op, Fault::Hang);
    }

    /// The next call of `op` (`Ensure`, `Stop` or `Remove`) is told [`DriverError::Timeout`] and takes effect later.
    pub fn delay_next(&self, op: Op, effect_after: Duration) {
        self.inject(op, Fault::Late(effect_after));
    }

    fn inject(&self, op: Op, fault: Fault) {
        self.world.lock().faults.entry(op).or_default().push_back(fault);
    }

    /// Cuts the connection to the engine, or mends it. Workloads go on.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::SeqCst);
        if unreachable {
            // Nobody may be watching.
            let _ = self.hints.send(None);
        }
    }

    /// From now on the figures of a workload are these.
    pub fn set_stats(&self, id: WorkloadId, stats: Stats) {
        self.world.lock().stats.insert(id, stats);
    }

    /// Ends a workload's process.
    pub fn kill(&self, id: WorkloadId, exit: Exit) {
        if let Some(workload) = self.world.lock().workloads.get_mut(&id) {
            workload.end_at(Instant::now(), exit);
        }
        self.hint(id);
    }

    /// How often `op` was called.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.calls[op as usize].load(Ordering::Relaxed)
    }

    /// How many workloads there are, in any state and of anybody.
    #[must_use]
    pub fn workload_count(&self) -> usize {
        self.world.lock().workloads.len()
    }

    /// Every workload of anybody, in no order.
    #[must_use]
    pub fn workload_ids(&self) -> Vec<WorkloadId> {
        self.world.lock().workloads.keys().copied().collect()
    }

    /// The ports that a workload publishes.
    #[must_use]
    pub fn published(&self, id: WorkloadId) -> Vec<PortPublish> {
        self.world.lock().workloads.get(&id).map(|workload| workload.ports.to_vec()).unwrap_or_default()
    }

    /// The files that were put into a workload.
    #[must_use]
    pub fn files_of(&self, id: WorkloadId) -> Vec<WorkloadFile> {
        self.world.lock().files.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn count(&self, op: Op) -> Result<Option<Fault>, DriverError> {
        self.calls[op as usize].fetch_add(1, Ordering::Relaxed);
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(DriverError::Unavailable("the fake engine was told not to answer".to_owned()));
        }
        Ok(self.world.lock().faults.get_mut(&op).and_then(VecDeque::pop_front))
    }

    pub(super) fn image(&self, name: &str) -> (Arc<Image>, bool) {
        let mut world = self.world.lock();
        let cached = world.cached.contains(name);
        (world.image(name), cached)
    }

    pub(super) fn cached_images(&self) -> Vec<String> {
        let mut images: Vec<String> = self.world.lock().cached.iter().map(ToString::to_string).collect();
        images.sort_unstable();
        images
    }

    pub(super) fn ensure(self: &Arc<Self>, spec: &WorkloadSpec) -> Started {
        let now = Instant::now();
        let started = self.ensure_at(spec, now);
        let owner = self.owner(&spec.installation, &spec.host);
        if let Some(instants) = self.find(owner, spec.id, |w| (w.starts, w.end)) {
            self.hint_at(spec.id, instants);
        }
        started
    }

    fn ensure_at(&self, spec: &WorkloadSpec, now: Instant) -> Started {
        if let Err(refused) = spec.check_files() {
            return Started::Now(Err(DriverError::Invalid(refused)));
        }
        if spec.access.is_some() && !self.has_access_lists() {
            return Started::Now(Err(DriverError::Unsupported));
        }
        let mut world = self.world.lock();
        let hash = spec.hash();
        let image = world.image(&spec.image);
        let owner = world.owner(&spec.installation, &spec.host);
        match world.workloads.get_mut(&spec.id) {
            // One that was remembered across a restart of the process is taken as what it is said to be.
            Some(known) if known.owner == owner && known.hash.is_none_or(|h| h == hash) => {
                known.hash = Some(hash);
                if known.starts.is_some() || known.end.is_some() {
                    return Started::Now(Ok(()));
                }
            }
            Some(_) => return Started::Now(Err(DriverError::Conflict)),
            None => {
                if let Err(refused) = self.make(&mut world, spec, owner, hash, &image) {
                    return Started::Now(Err(refused));
                }
            }
        }
        let behaviour = &image.behaviour;
        match behaviour.start {
            Start::Fails => {
                return Started::Now(Err(DriverError::StartFailed("the fake image asks to fail".to_owned())));
            }
            Start::PortBusy => {
                return Started::Now(Err(first_port(spec)));
            }
            Start::Hangs => return Started::Never,
            Start::Works | Start::LostReply | Start::NoCapacity => {}
        }
        if let Some(list) = spec.access_list() {
            world.access.insert(spec.id, list);
        }
        if !spec.files.is_empty() {
            world.files.insert(spec.id, spec.files.clone());
        }
        let starts = now + behaviour.start_delay;
        if let Some(workload) = world.workloads.get_mut(&spec.id) {
            workload.starts = Some(starts);
            workload.end = behaviour.exit.map(|(after, exit)| (starts + after, exit));
            workload.started_at = self.config.clock.as_ref().map(|clock| clock().plus(behaviour.start_delay));
        }
        match behaviour.start {
            Start::LostReply => Started::Now(Err(DriverError::Timeout)),
            _ if starts > now => Started::At(starts),
            _ => Started::Now(Ok(())),
        }
    }

    /// What creating does: all checks, and a workload that is made but does not run.
    fn make(
        &self,
        world: &mut World,
        spec: &WorkloadSpec,
        owner: u32,
        hash: SpecHash,
        image: &Arc<Image>,
    ) -> Result<(), DriverError> {
        if !world.cached.contains(&*image.name) {
            return Err(DriverError::ImageMissing);
        }
        let used = (
            world.used.0 + u64::from(spec.resources.cpu.0),
            world.used.1 + u64::from(spec.resources.memory.0),
        );
        let full = self.config.total.is_some_and(|t| used.0 > t.cpu.0.into() || used.1 > t.memory.0.into());
        if full || image.behaviour.start == Start::NoCapacity {
            return Err(DriverError::NoCapacity("the fake host is full".to_owned()));
        }
        if let Some(busy) = spec.ports.iter().find(|p| world.busy_ports.contains(&(p.external, p.transport)))
        {
            return Err(DriverError::PortBusy { port: busy.external, transport: busy.transport });
        }
        world.used = used;
        world.busy_ports.extend(spec.ports.iter().map(|p| (p.external, p.transport)));
        let workload = Workload {
            owner,
            hash: Some(hash),
            image: Arc::clone(image),
            ports: spec.ports.as_slice().into(),
            resources: spec.resources,
            started_at: None,
            starts: None,
            end: None,
            last_words: Arc::default(),
        };
        world.workloads.insert(spec.id, workload);
        Ok(())
    }

    /// The number under which workloads of this host are kept.
    pub(super) fn owner(&self, installation: &InstallationId, host: &HostId) -> u32 {
        self.world.lock().owner(installation, host)
    }

    pub(super) fn remember(&self, owner: u32, id: WorkloadId) {
        let mut world = self.world.lock();
        let workload = Workload {
            owner,
            hash: None,
            image: world.image("remembered"),
            ports: Box::default(),
            resources: Resources { cpu: CpuUnits(0), memory: MemoryMib(0) },
            started_at: None,
            starts: Some(Instant::now()),
            end: None,
            last_words: Arc::default(),
        };
        world.workloads.entry(id).or_insert(workload);
    }

    pub(super) fn terminate(self: &Arc<Self>, owner: u32, id: WorkloadId, grace: Duration) {
        let now = Instant::now();
        let end = {
            let mut world = self.world.lock();
            let Some(workload) = world.workloads.get_mut(&id).filter(|w| w.owner == owner) else { return };
            if workload.state(now) != Running::Running {
                return;
            }
            if let Some((delay, code)) = workload.image.behaviour.on_term {
                workload.end_at(now + delay, Exit { code, oom: false, disk: false });
            }
            if self.config.host_deadlines {
                workload.end_at(now + grace, SIGKILLED);
            }
            workload.end
        };
        if end.is_some() {
            self.hint_at(id, (None, end));
        }
    }

    pub(super) fn remove(&self, owner: u32, id: WorkloadId) {
        if self.find(owner, id, |_| ()).is_some() {
            self.forget(id);
        }
    }

    /// Makes a workload vanish, as if somebody had removed it by hand.
    pub fn forget(&self, id: WorkloadId) {
        {
            let mut world = self.world.lock();
            let Some(workload) = world.workloads.remove(&id) else { return };
            if let Running::Exited(exit) = workload.state(Instant::now()) {
                let _ = workload.last_words.set(exit);
            }
            world.stats.remove(&id);
            world.files.remove(&id);
            world.access.remove(&id);
            for port in &workload.ports {
                world.busy_ports.remove(&(port.external, port.transport));
            }
            world.used.0 -= u64::from(workload.resources.cpu.0);
            world.used.1 -= u64::from(workload.resources.memory.0);
        }
        self.hint(id);
    }

    /// Whether access lists can be put in force there.
    pub fn set_access_lists_possible(&self, possible: bool) {
        self.no_access_lists.store(!possible, Ordering::SeqCst);
    }

    pub(super) fn has_access_lists(&self) -> bool {
        !self.no_access_lists.load(Ordering::SeqCst)
    }

    /// The access lists that are in force, whoever's.
    #[must_use]
    pub fn access_lists(&self) -> Vec<AccessList> {
        self.world.lock().access.values().cloned().collect()
    }

    /// Loses all access lists, as if somebody had emptied the firewall.
    pub fn forget_access_lists(&self) {
        self.world.lock().access.clear();
    }

    pub(super) fn set_access(&self, owner: u32, lists: Vec<AccessList>) {
        let mut world = self.world.lock();
        for list in lists {
            if world.workloads.get(&list.id).is_some_and(|workload| workload.owner == owner) {
                world.access.insert(list.id, list);
            }
        }
    }

    pub(super) fn access(&self, owner: u32) -> Vec<AccessList> {
        let world = self.world.lock();
        let own = |list: &&AccessList| world.workloads.get(&list.id).is_some_and(|w| w.owner == owner);
        world.access.values().filter(own).cloned().collect()
    }

    /// Looks at one workload of this owner.
    pub(super) fn find<T>(&self, owner: u32, id: WorkloadId, look: impl FnOnce(&Workload) -> T) -> Option<T> {
        self.world.lock().workloads.get(&id).filter(|w| w.owner == owner).map(look)
    }

    pub(super) fn list(&self, owner: u32, host: &HostId) -> Vec<Observed> {
        let now = Instant::now();
        let world = self.world.lock();
        let own = world.workloads.iter().filter(|(_, w)| w.owner == owner);
        own.map(|(id, w)| w.observed(*id, host, now)).collect()
    }

    /// What a workload has used: what was set, or little.
    pub(super) fn stats(&self, owner: u32, id: WorkloadId) -> Option<Stats> {
        let now = Instant::now();
        let world = self.world.lock();
        let workload = world.workloads.get(&id).filter(|w| w.owner == owner)?;
        Some(world.stats.get(&id).copied().unwrap_or_else(|| workload.stats(now)))
    }

    /// The same of every workload of this owner that runs.
    pub(super) fn all_stats(&self, owner: u32) -> Vec<(WorkloadId, Stats)> {
        let now = Instant::now();
        let world = self.world.lock();
        let running =
            world.workloads.iter().filter(|(_, w)| w.owner == owner && w.state(now) == Running::Running);
        running.map(|(id, w)| (*id, world.stats.get(id).copied().unwrap_or_else(|| w.stats(now)))).collect()
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Option<Hint>> {
        self.hints.subscribe()
    }

    fn hint(&self, id: WorkloadId) {
        // Nobody may be watching.
        let _ = self.hints.send(Some(Hint::Changed(id)));
    }

    /// Hints now, and again when a start or an end that lies ahead has come.
    fn hint_at(self: &Arc<Self>, id: WorkloadId, (starts, end): (Option<Instant>, Option<(Instant, Exit)>)) {
        self.hint(id);
        let now = Instant::now();
        for at in starts.into_iter().chain(end.map(|(at, _)| at)).filter(|at| *at > now) {
            let engine = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                if let Some(engine) = engine.upgrade() {
                    engine.hint(id);
                }
            });
        }
    }
}

fn first_port(spec: &WorkloadSpec) -> DriverError {
    let (port, transport) = spec.ports.first().map_or((0, Transport::Udp), |p| (p.external, p.transport));
    DriverError::PortBusy { port, transport }
}

/// What one workload takes in memory, its key included, its ports not.
#[cfg(test)]
pub(super) const WORKLOAD_BYTES: usize = size_of::<(WorkloadId, Workload)>();
