//! Who is answered: so many a second from one source, and from all of them together.
//!
//! Sources stand in a table of fixed size, by a hash that nobody outside can foresee: memory does not grow with the number of
//! (perhaps invented) sources, and two that share a place share its rate.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Places in the table: 512 KiB.
const PLACES: usize = 1 << 16;
/// What one source may do for long, and at once.
const SOURCE: Rate = Rate { every: Duration::from_millis(20), burst: Duration::from_secs(2) };
/// What all sources may do together: 20,000 a second.
const ALL: Rate = Rate { every: Duration::from_micros(50), burst: Duration::from_secs(1) };
/// Source ports below this belong to services, which may answer an answer; no client has one.
const FIRST_CLIENT_PORT: u16 = 1024;

/// One in so long; and ahead of that by at most `burst`.
struct Rate {
    every: Duration,
    burst: Duration,
}

impl Rate {
    /// Takes one at `now`. `used_until`: until when what was taken so far lasts.
    fn take(&self, used_until: &mut Duration, now: Duration) -> bool {
        let next = (*used_until).max(now) + self.every;
        if next > now + self.burst {
            return false;
        }
        *used_until = next;
        true
    }
}

/// Decides who is answered.
pub(super) struct Gate {
    seed: u64,
    started: Instant,
    table: Mutex<Table>,
}

struct Table {
    sources: Vec<Duration>,
    all: Duration,
}

impl Gate {
    /// `seed` must not be known outside.
    pub(super) fn new(seed: u64) -> Self {
        let table = Table { sources: vec![Duration::ZERO; PLACES], all: Duration::ZERO };
        Self { seed, started: Instant::now(), table: Mutex::new(table) }
    }

    /// Whether a packet or a connection from `source` to our `port` is answered; counts it if so.
    pub(super) fn admits(&self, source: SocketAddr, port: u16) -> bool {
        self.admits_at(source, port, self.started.elapsed())
    }

    fn admits_at(&self, source: SocketAddr, port: u16, now: Duration) -> bool {
        // Two beacons, or a beacon and another echo, would answer one another without end.
        if source.port() < FIRST_CLIENT_PORT || source.port() == port {
            return false;
        }
        let place = self.place(source.ip());
        let mut table = self.table.lock();
        let Table { sources, all } = &mut *table;
        sources.get_mut(place).is_some_and(|used| SOURCE.take(used, now)) && ALL.take(all, now)
    }

    fn place(&self, address: IpAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        subscriber(address).hash(&mut hasher);
        hasher.finish() as usize % PLACES
    }
}

/// What counts as one source: an IPv4 address, an IPv6 /64.
pub(super) fn subscriber(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_answered_so_often_and_does_not_hinder_others() {
        let gate = Gate::new(7);
        let count_at = |from: &str, seconds| {
            (0..1000).filter(|_| gate.admits_at(source(from), 8090, Duration::from_secs(seconds))).count()
        };
        let count = |from: &str| count_at(from, 0);
        assert_eq!(count("192.0.2.1:5000"), 100);
        assert_eq!(count("192.0.2.1:5001"), 0, "another port, the same source");
        assert_eq!(count("[::ffff:192.0.2.1]:5001"), 0, "written as IPv6");
        assert_eq!(count("192.0.2.2:5000"), 100);
        assert_eq!(count("[2001:db8::1]:5000"), 100);
        assert_eq!(count("[2001:db8::ffff]:5000"), 0, "the same /64");
        assert_eq!(count_at("192.0.2.1:5000", 1), 50);
        assert_eq!(count_at("192.0.2.1:5000", 100), 100);
    }

    #[test]
    fn invented_sources_are_bounded_together_and_cost_no_memory() {
        let gate = Gate::new(7);
        let from = |n: u32| SocketAddr::from((n.to_be_bytes(), 5000));
        let answered = (0..200_000).filter(|n| gate.admits_at(from(*n), 8090, Duration::ZERO)).count();
        assert_eq!(answered, 20_000);
        assert_eq!(gate.table.lock().sources.len(), PLACES);
    }

    #[test]
    fn what_could_answer_an_answer_gets_none() {
        let gate = Gate::new(7);
        for service in ["192.0.2.1:7", "192.0.2.1:53", "192.0.2.1:1023", "192.0.2.1:8090"] {
            assert!(!gate.admits(source(service), 8090), "{service}");
        }
        assert!(gate.admits(source("192.0.2.1:1024"), 8090));
    }
}
