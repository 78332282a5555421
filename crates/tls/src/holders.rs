//! How many connections each address holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts, for a bound of each address.
#[derive(Debug)]
pub(crate) struct Holders {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of an address; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    holders: Arc<Holders>,
    address: IpAddr,
}

impl Holders {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    /// Counts one more; `None` if the address has its bound. This machine's own are not bounded: it is where proxies of
    /// others stand.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Share { holders: self.clone(), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.holders.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_bound_and_gets_its_shares_back() {
        let holders = Holders::new(2);
        let stranger: IpAddr = "203.0.113.9".parse().unwrap();
        let mut shares = vec![holders.take(stranger).unwrap(), holders.take(stranger).unwrap()];
        assert!(holders.take("::ffff:203.0.113.9".parse().unwrap()).is_none());
        assert!(holders.take("203.0.113.10".parse().unwrap()).is_some());
        shares.pop();
        assert!(holders.take(stranger).is_some());
        let local = "127.0.0.1".parse().unwrap();
        let many: Vec<_> = (0..9).map(|_| holders.take(local)).collect();
        assert!(many.iter().all(Option::is_some));
        drop((shares, many));
        assert!(holders.counts.lock().is_empty());
    }
}
