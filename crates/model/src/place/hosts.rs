//! The hosts as placement sees them: what is free on each, and for each region the most that is free in it.
//!
//! What it must not know: one deployment. Entry points: [`Hosts::new`], then [`Hosts::update`] for each change; the
//! engine keeps one of these for its whole life, and asks [`super::place`] with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::score::Vector;
use super::tree::{Below, Tree};
use crate::ids::HostId;
use crate::site::Host;
use crate::units::Resources;

/// What can be had of a host: what is free, or what is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// CPU and memory.
    pub resources: Resources,
    /// Host ports.
    pub ports: u32,
}

impl Room {
    /// Whether `asked` fits in here.
    #[must_use]
    pub fn holds(self, asked: Self) -> bool {
        asked.resources.fits(self.resources) && asked.ports <= self.ports
    }

    /// The larger of each amount.
    fn most(self, other: Self) -> Self {
        let resources = Resources {
            cpu: self.resources.cpu.max(other.resources.cpu),
            memory: self.resources.memory.max(other.resources.memory),
        };
        Self { resources, ports: self.ports.max(other.ports) }
    }
}

/// What changes about a host while it runs.
#[derive(Clone, Debug, Default)]
pub struct HostState {
    /// What is not reserved.
    pub free: Room,
    /// References of the images that it holds.
    pub images: Arc<HashSet<String>>,
    /// Its driver answers and finds it well.
    pub healthy: bool,
    /// What its operator says of new deployments; `None` = as the config says.
    pub cordoned: Option<bool>,
    /// Access lists can be put in force there.
    pub filters_clients: bool,
}

/// A host and its state.
#[derive(Clone, Debug)]
pub struct HostView {
    /// What the config says of it.
    pub host: Arc<Host>,
    /// What is known of it now.
    pub state: HostState,
}

impl HostView {
    /// Parts per million that are free of the scarcer of CPU and memory.
    #[must_use]
    pub fn free_share(&self) -> u32 {
        const MILLION: u64 = 1_000_000;
        let share =
            |free: u32, whole: u32| (u64::from(free) * MILLION / u64::from(whole.max(1))).min(MILLION);
        let (free, whole) = (self.state.free.resources, self.host.capacity);
        share(free.cpu.0, whole.cpu.0).min(share(free.memory.0, whole.memory.0)) as u32
    }

    /// Whether it takes no new deployments.
    #[must_use]
    pub fn is_cordoned(&self) -> bool {
        self.state.cordoned.unwrap_or(self.host.cordoned)
    }

    /// What a deployment that does not name this host can have of it.
    fn open_room(&self) -> Room {
        let open = self.state.healthy && !self.is_cordoned() && self.host.private_fleet.is_none();
        if open { self.state.free } else { Room::default() }
    }
}

/// Every host, by number (its place in the list that [`Hosts::new`] was given), and where they stand.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    views: Vec<HostView>,
    number_of: HashMap<HostId, usize>,
    pub(super) tree: Tree,
    /// The position of each host.
    position_of: Vec<u32>,
    /// The hosts at each position.
    hosts_at: Vec<Vec<u32>>,
    /// For each node of the tree the most that a host below it has free; each amount may be another host's.
    most: Vec<Room>,
}

impl Hosts {
    /// Prepares `views`. Ids are expected to differ: of two equal ones the later is found by its id.
    #[must_use]
    pub fn new(views: Vec<HostView>) -> Self {
        let point = |view: &HostView| {
            let location = &view.host.site.location;
            Vector::from_degrees(location.latitude, location.longitude)
        };
        let (tree, position_of) = Tree::of(&views.iter().map(point).collect::<Vec<_>>());
        let mut hosts_at = vec![Vec::new(); tree.positions.len()];
        for (host, position) in position_of.iter().enumerate() {
            hosts_at[*position as usize].push(host as u32);
        }
        let number_of =
            views.iter().enumerate().map(|(number, view)| (view.host.id.clone(), number)).collect();
        let most = vec![Room::default(); tree.nodes.len()];
        let mut hosts = Self { views, number_of, tree, position_of, hosts_at, most };
        // Children come after their parent: backwards, both are ready when it is asked for.
        for node in (0..hosts.tree.nodes.len() as u32).rev() {
            hosts.most[node as usize] = hosts.most_below(node);
        }
        hosts
    }

    /// Changes what is known of host `number`. Costs a look at the hosts of its position and at the tree's depth.
    /// A number that no host has changes nothing.
    pub fn update(&mut self, number: usize, change: impl FnOnce(&mut HostState)) {
        let Some(view) = self.views.get_mut(number) else { return };
        let before = view.open_room();
        change(&mut view.state);
        let after = view.open_room();
        if before == after {
            return;
        }
        let mut node = self.tree.leaves[self.position_of[number] as usize];
        loop {
            let most = self.most_below(node);
            if most == self.most[node as usize] {
                return;
            }
            self.most[node as usize] = most;
            if node == 0 {
                return;
            }
            node = self.tree.nodes[node as usize].parent;
        }
    }

    /// Every host, in the order of their numbers.
    #[must_use]
    pub fn views(&self) -> &[HostView] {
        &self.views
    }

    /// The number of the host with this id.
    #[must_use]
    pub fn find(&self, id: &HostId) -> Option<usize> {
        self.number_of.get(id).copied()
    }

    /// The hosts at a position of the tree.
    pub(super) fn at(&self, position: u32) -> impl Iterator<Item = usize> + '_ {
        self.hosts_at[position as usize].iter().map(|host| *host as usize)
    }

    /// Where a host stands.
    pub(super) fn position(&self, number: usize) -> Vector {
        self.tree.positions[self.position_of[number] as usize]
    }

    /// The most that a host below `node` has free.
    pub(super) fn most(&self, node: u32) -> Room {
        self.most[node as usize]
    }

    fn most_below(&self, node: u32) -> Room {
        match self.tree.below(node) {
            Below::Nodes(left, right) => self.most[left as usize].most(self.most[right as usize]),
            Below::Position(position) => {
                self.at(position).fold(Room::default(), |most, host| most.most(self.views[host].open_room()))
            }
        }
    }
}
