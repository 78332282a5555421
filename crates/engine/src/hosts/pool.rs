//! The host ports of one host that can be given out. A mirror of the store's leases, which are the truth.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use spawnpoint_model::Timestamp;

use crate::clock::Entropy;

/// Free numbers, and those that will be free again.
#[derive(Debug, Default)]
pub(crate) struct PortPool {
    free: Vec<u16>,
    quarantined: BTreeSet<(Timestamp, u16)>,
}

impl PortPool {
    /// Everything in `range` but `held`, which maps a number to when it becomes free, if that is known.
    pub(crate) fn new(
        range: RangeInclusive<u16>,
        held: &std::collections::HashMap<u16, Option<Timestamp>>,
    ) -> Self {
        let mut pool = Self::default();
        for number in range {
            match held.get(&number) {
                None => pool.free.push(number),
                Some(Some(free_at)) => {
                    pool.quarantined.insert((*free_at, number));
                }
                Some(None) => {}
            }
        }
        pool
    }

    /// How many are free.
    pub(crate) fn len(&self) -> usize {
        self.free.len()
    }

    /// Takes `count` numbers at random, so that a number is not given out again soon; `None` if there are too few.
    pub(crate) fn take(&mut self, count: usize, entropy: &Entropy) -> Option<Vec<u16>> {
        if self.free.len() < count {
            return None;
        }
        Some((0..count).map(|_| self.free.swap_remove(entropy.below(self.free.len()))).collect())
    }

    /// Gives numbers back at once: they were never used.
    pub(crate) fn put_back(&mut self, numbers: &[u16]) {
        self.free.extend_from_slice(numbers);
    }

    /// Gives numbers back after `free_at`.
    pub(crate) fn quarantine(&mut self, numbers: impl IntoIterator<Item = u16>, free_at: Timestamp) {
        self.quarantined.extend(numbers.into_iter().map(|number| (free_at, number)));
    }

    /// When the next number comes out of quarantine.
    pub(crate) fn next_free(&self) -> Option<Timestamp> {
        self.quarantined.first().map(|(free_at, _)| *free_at)
    }

    /// Frees what has been in quarantine long enough.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some((free_at, number)) = self.quarantined.first().copied().filter(|(at, _)| *at <= now) {
            self.quarantined.remove(&(free_at, number));
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_port_is_not_given_out_before_its_quarantine_is_over() {
        let mut pool = PortPool::new(30_000..=30_001, &std::collections::HashMap::new());
        let entropy = Entropy::from_seed(1);
        let both = pool.take(2, &entropy).unwrap();
        assert_eq!(pool.take(1, &entropy), None);
        pool.quarantine(both, Timestamp(100));
        pool.expire(Timestamp(99));
        assert_eq!(pool.len(), 0);
        pool.expire(Timestamp(100));
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn held_ports_are_left_out() {
        let held = std::collections::HashMap::from([(30_000, None), (30_001, Some(Timestamp(5)))]);
        let mut pool = PortPool::new(30_000..=30_002, &held);
        assert_eq!(pool.len(), 1);
        pool.expire(Timestamp(5));
        assert_eq!(pool.len(), 2);
    }
}
