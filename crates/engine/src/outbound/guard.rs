//! Where user-given URLs may lead. The address that is connected to is the one that was checked: names are resolved
//! here, and the connector is given nothing else.
//!
//! Never: link-local and metadata addresses, unspecified, multicast, broadcast. Only if a configured network holds
//! them: loopback, private, shared (100.64/10), unique-local, and every form that wraps an IPv4 address (mapped, NAT64,
//! 6to4, Teredo is refused outright).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::Network;

/// Decides which addresses may be connected to.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed: Arc<[Network]>,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a bare address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address: IpAddr = text.trim().parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        let max = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        (prefix <= max).then_some(Self { address, prefix })
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || own.to_bits() >> shift == other.to_bits() >> shift
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || own.to_bits() >> shift == other.to_bits() >> shift
            }
            _ => false,
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let low = || Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(low()),
        // IPv4-compatible (deprecated); :: and ::1 are IPv6's own.
        [0, 0, 0, 0, 0, 0, hi, lo] if (hi, lo) != (0, 0) && (hi, lo) != (0, 1) => Some(low()),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(low()),
        [0x2002, hi, lo, ..] => Some(Ipv4Addr::from_bits(u32::from(hi) << 16 | u32::from(lo))),
        _ => None,
    }
}

/// What kind of address it is, as far as it matters here.
#[derive(PartialEq, Eq, Debug)]
enum Kind {
    Public,
    Internal,
    Never,
}

fn kind_v4(v4: Ipv4Addr) -> Kind {
    let [a, b, c, _] = v4.octets();
    let never = a == 0
        || v4.is_link_local()
        || v4.is_multicast()
        || a >= 240
        || v4 == Ipv4Addr::new(100, 100, 100, 200) // a cloud's metadata service
        || v4 == Ipv4Addr::new(192, 0, 0, 192); // another's
    let internal = v4.is_private()
        || v4.is_loopback()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    match (never, internal) {
        (true, _) => Kind::Never,
        (false, true) => Kind::Internal,
        (false, false) => Kind::Public,
    }
}

fn kind(address: IpAddr) -> Kind {
    let v6 = match address {
        IpAddr::V4(v4) => return kind_v4(v4),
        IpAddr::V6(v6) => v6,
    };
    if let Some(v4) = embedded_v4(v6) {
        return kind_v4(v4);
    }
    let first = v6.segments()[0];
    let metadata = v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let teredo = first == 0x2001 && v6.segments()[1] == 0;
    if v6.is_unspecified() || v6.is_multicast() || first & 0xffc0 == 0xfe80 || metadata || teredo {
        Kind::Never
    } else if v6.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
        Kind::Internal
    } else {
        Kind::Public
    }
}

impl Guard {
    /// A guard that lets internal addresses pass if one of `allowed` holds them.
    #[must_use]
    pub fn new(allowed: &[Network]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether `address` may be connected to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let plain = match address {
            IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        match kind(address) {
            Kind::Public => true,
            Kind::Never => false,
            Kind::Internal => self.allowed.iter().any(|network| network.contains(plain)),
        }
    }

    /// Checks everything of a URL that can be known without asking a name server.
    ///
    /// # Errors
    /// A sentence fit for users.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("its scheme must be http or https".to_owned());
        }
        let address = match url.host() {
            None => return Err("it names no host".to_owned()),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
        };
        if address.is_some_and(|address| !self.permits(address)) {
            return Err("its address is not one that may be called from here".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let internal_ok = address.is_some_and(|a| kind(a) == Kind::Internal);
        if port < 1024 && !matches!(port, 80 | 443) && !internal_ok {
            return Err("its port must be 80, 443 or 1024 and above".to_owned());
        }
        Ok(())
    }
}

/// Resolves names and leaves out every address that the guard does not permit.
#[derive(Clone, Debug)]
pub struct GuardedResolver(pub Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|address| guard.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err("the name leads to no address that may be called from here".into());
            }
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(networks: &[&str]) -> Guard {
        let networks: Vec<Network> = networks.iter().map(|n| Network::parse(n).unwrap()).collect();
        Guard::new(&networks)
    }

    #[test]
    fn public_addresses_pass_and_internal_ones_need_a_network() {
        let closed = guard(&[]);
        for public in ["1.1.1.1", "203.0.113.9", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(closed.permits(public.parse().unwrap()), "{public}");
        }
        let internal = [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ];
        for address in internal {
            assert!(!closed.permits(address.parse().unwrap()), "{address}");
        }
        let open = guard(&["127.0.0.0/8", "10.0.0.0/8", "::1"]);
        for address in ["127.0.0.1", "10.1.2.3", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"] {
            assert!(open.permits(address.parse().unwrap()), "{address}");
        }
        assert!(!open.permits("192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn metadata_and_link_local_never_pass() {
        let open = guard(&["0.0.0.0/0", "::/0"]);
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "2001:0:1::1",
            "::169.254.169.254",
        ] {
            assert!(!open.permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_are_checked_in_every_spelling_of_an_address() {
        let closed = guard(&[]);
        for bad in [
            "ftp://example.com/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://example.com:22/",
            "http://user:pass@10.0.0.1/",
        ] {
            assert!(closed.check_url(&Url::parse(bad).unwrap()).is_err(), "{bad}");
        }
        for good in ["https://example.com/hook?x=1", "http://example.com:8080/", "http://203.0.113.9/"] {
            assert!(closed.check_url(&Url::parse(good).unwrap()).is_ok(), "{good}");
        }
        assert!(guard(&["127.0.0.0/8"]).check_url(&Url::parse("http://127.0.0.1:900/").unwrap()).is_ok());
    }
}
