//! Choosing the host of a deployment: near its players, fair to the worst-off one, with room for it.
//!
//! What it is for: one pure question, [`place`], with its explanation, [`explain()`]. Both give the same answer for the
//! same facts, whatever the order of hosts, sites or players.
//!
//! What it must not know: how facts are gathered, IO, a clock, randomness. Positions are checked ones
//! ([`GeoPoint::checked`]); players without a usable position are left out by the caller.
//!
//! Entry points: [`Hosts`] is kept up to date by the engine; [`place`] chooses; [`explain()`] says why.
//!
//! # The rule
//! A host is **usable** if nothing speaks against it ([`Refusal`] lists what can). Of the usable hosts the first in this
//! order is taken:
//! 1. the preferred hosts in the order given, before all others; a host of a private fleet is usable only so;
//! 2. the lower score: mean plus half of the worst estimated round-trip time of the players, each 10 ms and 1.50 ms
//!    for every 100 km of great circle (formula and sources: `place/score.rs`). A `centroid` stands in for the
//!    players. Nobody's position known: no score;
//! 3. the one that holds the image, then the one with the larger free share; without any score the larger free share
//!    first: then capacity decides;
//! 4. the smaller id.
//!
//! # How it is fast
//! Hosts at one position have one score. Positions are leaves of a tree of circles, and each circle knows the most that
//! is free in it. From the players' distances to a circle's centre follows a bound that no position in it can beat
//! (triangle inequality). Circles are opened in the order of their bounds, those without room never, until the next
//! bound is above the best exact score: what was not looked at cannot win. So the answer is the exhaustive one, which
//! tests compare.
//!
//! ```text
//! place.rs           the rule and the search      place/score.rs   formula, exact score, bound
//! place/hosts.rs     what is free where           place/tree.rs    circles over positions
//! place/explain.rs   every host and why
//! ```

mod explain;
mod hosts;
mod score;
#[cfg(test)]
mod tests;
mod tree;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

pub use explain::{Considered, Refusal, Verdict, explain, summary};
pub use hosts::{HostState, HostView, Hosts, Room};
pub use score::{Score, estimated_rtt_ms, score};

use crate::filter::LocationFilter;
use crate::geo::GeoPoint;
use crate::ids::HostId;
use crate::site::Host;
use score::{Crowd, Vector};
use tree::Below;

/// What a deployment needs of its host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Where its players are, as far as known.
    pub players: &'a [GeoPoint],
    /// Counts instead of the players.
    pub centroid: Option<GeoPoint>,
    /// Sites it may go to; all must pass.
    pub filters: &'a [LocationFilter],
    /// Hosts to take first, in order; unknown ids are passed over.
    pub preferred_hosts: &'a [HostId],
    /// Its image, as drivers write it.
    pub image: &'a str,
    /// Only hosts that hold the image.
    pub require_cached: bool,
    /// Only hosts that can keep others than listed networks out.
    pub filters_clients: bool,
    /// TLS has to be ended in front of a port.
    pub tls: bool,
    /// CPU, memory and ports.
    pub room: Room,
    /// Hosts where it has failed already.
    pub avoid: &'a [HostId],
}

/// The host that was chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct Placement {
    /// Its number in [`Hosts`].
    pub number: usize,
    /// The host.
    pub host: Arc<Host>,
    /// Its place among the preferred hosts, from 1; `None`: it was not named.
    pub preferred: Option<usize>,
    /// `None`: no player's position is known.
    pub score: Option<Score>,
}

/// Chooses the host for `ask`, by the rule at the top of this file. `None`: there is no usable host.
#[must_use]
pub fn place(ask: &Ask<'_>, hosts: &Hosts) -> Option<Placement> {
    let wanted = Wanted::new(ask, hosts);
    let first = wanted.preferred.iter().position(|number| wanted.refusal(*number).is_none());
    let (number, score) = match (first, &wanted.crowd) {
        (Some(preference), _) => {
            let number = wanted.preferred[preference];
            (number, wanted.score(hosts.position(number)))
        }
        (None, Some(crowd)) => {
            let (number, score) = wanted.nearest(crowd)?;
            (number, Some(score))
        }
        (None, None) => (wanted.best_of(0..hosts.views().len())?, None),
    };
    let host = Arc::clone(&hosts.views()[number].host);
    Some(Placement { number, host, preferred: first.map(|p| p + 1), score })
}

/// An ask, looked up in the hosts once.
struct Wanted<'a> {
    ask: Ask<'a>,
    hosts: &'a Hosts,
    crowd: Option<Crowd>,
    /// Numbers of the preferred hosts, each once.
    preferred: Vec<usize>,
    avoided: Vec<usize>,
}

/// The order of usable hosts: the least is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    preference: usize,
    points: u64,
    ties: (u32, u32),
    id: &'a HostId,
}

impl<'a> Wanted<'a> {
    fn new(ask: &Ask<'a>, hosts: &'a Hosts) -> Self {
        let crowd = match &ask.centroid {
            Some(centroid) => Crowd::of(std::slice::from_ref(centroid)),
            None => Crowd::of(ask.players),
        };
        let mut preferred = Vec::new();
        for number in ask.preferred_hosts.iter().filter_map(|id| hosts.find(id)) {
            if !preferred.contains(&number) {
                preferred.push(number);
            }
        }
        let avoided = ask.avoid.iter().filter_map(|id| hosts.find(id)).collect();
        Self { ask: *ask, hosts, crowd, preferred, avoided }
    }

    /// What speaks against a host; `None`: it is usable.
    fn refusal(&self, number: usize) -> Option<Refusal<'a>> {
        let view = &self.hosts.views()[number];
        let (host, state) = (&view.host, &view.state);
        if let Some(fleet) = &host.private_fleet
            && self.preference(number).is_none()
        {
            return Some(Refusal::Private { fleet });
        }
        if view.is_cordoned() {
            return Some(Refusal::Cordoned);
        }
        if !state.healthy {
            return Some(Refusal::Unhealthy);
        }
        if self.avoided.contains(&number) {
            return Some(Refusal::Avoided);
        }
        let passes = |filter: &&LocationFilter| filter.matches(&host.site.location, &host.site.tags);
        if let Some(filter) = self.ask.filters.iter().find(|filter| !passes(filter)) {
            return Some(Refusal::Filtered(filter));
        }
        if self.ask.filters_clients && !state.filters_clients {
            return Some(Refusal::NoAccessLists);
        }
        if self.ask.tls && !host.ends_tls {
            return Some(Refusal::EndsNoTls);
        }
        if self.ask.require_cached && !self.holds_image(number) {
            return Some(Refusal::NotCached { image: self.ask.image });
        }
        let (asked, free) = (self.ask.room, state.free);
        (!free.holds(asked)).then_some(Refusal::Full { asked, free })
    }

    /// The usable host with the least rank among `numbers`, which all have the same score or none.
    fn best_of(&self, numbers: impl IntoIterator<Item = usize>) -> Option<usize> {
        let points = self.crowd.as_ref().map(|_| 0);
        let room = |number: &usize| self.hosts.views()[*number].state.free.holds(self.ask.room);
        let usable = numbers.into_iter().filter(room).filter(|number| self.refusal(*number).is_none());
        usable.min_by_key(|number| self.rank(*number, None, points))
    }

    /// The usable host with the least rank, none being preferred: see "how it is fast" above.
    fn nearest(&self, crowd: &Crowd) -> Option<(usize, Score)> {
        let tree = &self.hosts.tree;
        let mut best: Option<(Rank<'a>, usize, Score)> = None;
        let mut open = BinaryHeap::new();
        let consider = |open: &mut BinaryHeap<_>, node: u32| {
            if self.hosts.most(node).holds(self.ask.room) {
                let circle = &tree.nodes[node as usize];
                open.push(Reverse((crowd.bound(circle.centre, circle.radius), node)));
            }
        };
        if !tree.nodes.is_empty() {
            consider(&mut open, 0);
        }
        while let Some(Reverse((bound, node))) = open.pop() {
            if best.as_ref().is_some_and(|(rank, ..)| bound > rank.points) {
                break;
            }
            match tree.below(node) {
                Below::Nodes(left, right) => {
                    consider(&mut open, left);
                    consider(&mut open, right);
                }
                Below::Position(position) => {
                    if let Some(number) = self.best_of(self.hosts.at(position)) {
                        let score = crowd.score(tree.positions[position as usize]);
                        let rank = self.rank(number, None, Some(score.points()));
                        if best.as_ref().is_none_or(|(least, ..)| rank < *least) {
                            best = Some((rank, number, score));
                        }
                    }
                }
            }
        }
        best.map(|(_, number, score)| (number, score))
    }

    /// The exact score of a position; `None`: no player's position is known.
    fn score(&self, position: Vector) -> Option<Score> {
        self.crowd.as_ref().map(|crowd| crowd.score(position))
    }

    /// A host's place among the preferred ones, from 0.
    fn preference(&self, number: usize) -> Option<usize> {
        self.preferred.iter().position(|preferred| *preferred == number)
    }

    fn holds_image(&self, number: usize) -> bool {
        self.hosts.views()[number].state.images.contains(self.ask.image)
    }

    fn rank(&self, number: usize, preference: Option<usize>, points: Option<u64>) -> Rank<'a> {
        let view = &self.hosts.views()[number];
        let missing = u32::from(!self.holds_image(number));
        let taken = u32::MAX - view.free_share();
        // Without any score capacity decides before images.
        let ties = if points.is_some() { (missing, taken) } else { (taken, missing) };
        let points = points.unwrap_or(0);
        Rank { preference: preference.unwrap_or(usize::MAX), points, ties, id: &view.host.id }
    }
}
