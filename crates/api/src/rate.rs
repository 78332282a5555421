//! Rate limits: so many calls a second, per token and kind of call, and failed logins per address. A second's worth may
//! come at once.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use spawnpoint_model::TokenId;

use crate::error::ApiError;

/// Addresses whose failed logins are remembered before the old ones are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// Calls a second; 0 = as many as one likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Deploy calls of a token, v1 and v2 together.
    pub deploy: u32,
    /// `GET /v1/status` of a token.
    pub status: u32,
    /// `GET /v1/deployments` of a token.
    pub list: u32,
    /// `GET /v2/private-fleets/{fleet-name}/hosts` of a token.
    pub hosts: u32,
    /// Calls without a valid token from one address (IPv6: from one /64).
    pub failed_auth: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { deploy: 40, status: 20, list: 10, hosts: 10, failed_auth: 20 }
    }
}

impl RateLimits {
    /// No limits at all.
    #[must_use]
    pub const fn off() -> Self {
        Self { deploy: 0, status: 0, list: 0, hosts: 0, failed_auth: 0 }
    }
}

/// The kinds of calls that are limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Deploy.
    Deploy,
    /// Status.
    Status,
    /// List.
    List,
    /// The hosts of a private fleet.
    Hosts,
}

type Limiter<K, C> = RateLimiter<K, DefaultKeyedStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// One bucket for each key.
struct Buckets<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    limiter: Option<Limiter<K, C>>,
    clock: C,
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Buckets<K, C> {
    fn new(per_second: u32, clock: C) -> Self {
        let limiter = NonZeroU32::new(per_second).map(|n| {
            RateLimiter::new(Quota::per_second(n), DefaultKeyedStateStore::default(), clock.clone())
        });
        Self { limiter, clock }
    }

    /// Takes one. If there is none: in how many seconds there will be, rounded up.
    fn take(&self, key: &K) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Err(not_until) = limiter.check_key(key) else { return Ok(()) };
        let wait = not_until.wait_time_from(self.clock.now());
        Err(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// Forgets full buckets once there are too many of them.
    fn tidy(&self, max: usize) {
        if let Some(limiter) = self.limiter.as_ref().filter(|l| l.len() > max) {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// All limiters of the API.
pub struct Rates {
    deploy: Buckets<TokenId>,
    status: Buckets<TokenId>,
    list: Buckets<TokenId>,
    hosts: Buckets<TokenId>,
    failed_auth: Buckets<IpAddr>,
}

impl Rates {
    /// Full buckets.
    #[must_use]
    pub fn new(limits: &RateLimits) -> Self {
        let clock = DefaultClock::default();
        Self {
            deploy: Buckets::new(limits.deploy, clock.clone()),
            status: Buckets::new(limits.status, clock.clone()),
            list: Buckets::new(limits.list, clock.clone()),
            hosts: Buckets::new(limits.hosts, clock.clone()),
            failed_auth: Buckets::new(limits.failed_auth, clock),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn check(&self, kind: Kind, token: &TokenId) -> Result<(), ApiError> {
        let buckets = match kind {
            Kind::Deploy => &self.deploy,
            Kind::Status => &self.status,
            Kind::List => &self.list,
            Kind::Hosts => &self.hosts,
        };
        buckets.take(token).map_err(ApiError::too_many_requests)
    }

    /// Counts a failed login. Valid tokens are never slowed down by the failures of others behind the same address.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn count_failure(&self, address: IpAddr) -> Result<(), ApiError> {
        self.failed_auth.tidy(ADDRESSES_MAX);
        self.failed_auth.take(&subscriber(address)).map_err(ApiError::too_many_requests)
    }
}

/// One subscriber holds a whole IPv6 /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_second_may_come_at_once_and_refills_evenly() {
        let clock = FakeRelativeClock::default();
        let buckets = Buckets::new(40, clock.clone());
        assert_eq!((0..50).filter(|_| buckets.take(&"a").is_ok()).count(), 40);
        assert_eq!(buckets.take(&"a"), Err(1));
        clock.advance(Duration::from_millis(500));
        assert_eq!((0..50).filter(|_| buckets.take(&"a").is_ok()).count(), 20);
        clock.advance(Duration::from_secs(100));
        assert_eq!((0..50).filter(|_| buckets.take(&"a").is_ok()).count(), 40);
    }

    #[test]
    fn keys_do_not_hinder_one_another() {
        let buckets = Buckets::new(1, FakeRelativeClock::default());
        assert!(buckets.take(&"a").is_ok());
        assert!(buckets.take(&"a").is_err());
        assert!(buckets.take(&"b").is_ok());
    }

    #[test]
    fn zero_is_off() {
        let buckets = Buckets::new(0, FakeRelativeClock::default());
        assert!((0..1000).all(|_| buckets.take(&"a").is_ok()));
    }

    #[test]
    fn failures_of_one_ipv6_network_count_together() {
        let rates = Rates::new(&RateLimits { failed_auth: 1, ..RateLimits::off() });
        assert!(rates.count_failure("2001:db8::1".parse().unwrap()).is_ok());
        assert_eq!(rates.count_failure("2001:db8::ffff".parse().unwrap()).unwrap_err().status(), 429);
        assert!(rates.count_failure("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let buckets = Buckets::new(1, clock.clone());
        for key in 0..100 {
            buckets.take(&key).unwrap();
        }
        clock.advance(Duration::from_secs(10));
        buckets.tidy(50);
        assert_eq!(buckets.limiter.as_ref().unwrap().len(), 0);
    }
}
