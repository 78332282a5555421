//! How much each network of senders may ask. Addresses can be forged over UDP: what is bounded is what a victim gets.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Networks that are remembered at a time. When there are more, all start anew: who forges many gains little.
pub const NETWORKS_MAX: usize = 16_384;
/// Seconds' worth of questions that may come at once.
const BURST_SECONDS: f64 = 2.0;

/// What becomes of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// It is answered.
    Answer,
    /// It is answered with "ask over TCP".
    Shorten,
    /// It is not answered.
    Nothing,
}

/// The rates of all networks.
#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    networks: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    refused: u32,
}

impl Rates {
    /// So many questions a second from each network; 0 = as many as come.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), networks: Mutex::default() }
    }

    /// Counts a question.
    pub fn take(&self, sender: IpAddr, now: Instant) -> Allowed {
        if self.per_second == 0.0 {
            return Allowed::Answer;
        }
        let most = self.per_second * BURST_SECONDS;
        let mut networks = self.networks.lock();
        let network = network(sender);
        if networks.len() >= NETWORKS_MAX && !networks.contains_key(&network) {
            networks.clear();
        }
        let bucket = networks.entry(network).or_insert(Bucket { left: most, at: now, refused: 0 });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * self.per_second).min(most);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Allowed::Answer;
        }
        bucket.refused = bucket.refused.wrapping_add(1);
        if bucket.refused.is_multiple_of(2) { Allowed::Shorten } else { Allowed::Nothing }
    }
}

/// A /24 or a /56: what belongs to one customer at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & 0xffff_ff00).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 72)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_network_that_asks_too_much_gets_short_answers_and_silence_and_others_are_not_touched() {
        let rates = Rates::new(10);
        let now = Instant::now();
        let noisy: IpAddr = "198.51.100.1".parse().unwrap();
        let neighbour: IpAddr = "198.51.100.200".parse().unwrap();
        assert!((0..20).all(|_| rates.take(noisy, now) == Allowed::Answer));
        assert_eq!(rates.take(neighbour, now), Allowed::Nothing);
        assert_eq!(rates.take(noisy, now), Allowed::Shorten);
        assert_eq!(rates.take("198.51.101.1".parse().unwrap(), now), Allowed::Answer);
        assert_eq!(rates.take(noisy, now + Duration::from_millis(150)), Allowed::Answer);
        assert_eq!(rates.take(noisy, now + Duration::from_millis(150)), Allowed::Nothing);
    }

    #[test]
    fn the_table_is_bounded() {
        let rates = Rates::new(10);
        let now = Instant::now();
        for number in 0..3 * u32::try_from(NETWORKS_MAX).unwrap() {
            rates.take(IpAddr::V4((number << 8).into()), now);
        }
        assert!(rates.networks.lock().len() <= NETWORKS_MAX);
    }

    #[test]
    fn v6_senders_are_counted_by_their_customer_and_v4_in_v6_as_v4() {
        assert_eq!(
            network("2001:db8:1:2ff::1".parse().unwrap()),
            "2001:db8:1:200::".parse::<IpAddr>().unwrap()
        );
        assert_eq!(network("::ffff:192.0.2.9".parse().unwrap()), "192.0.2.0".parse::<IpAddr>().unwrap());
    }
}
