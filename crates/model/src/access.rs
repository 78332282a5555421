//! Access lists: the networks from which a version's deployments may be reached.
//!
//! A version that is switched to its list (`access_list_active`) lets in the active entries and nobody else; an empty list
//! lets in nobody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::invalid::Invalid;
use crate::limits::ACCESS_LABEL_CHARS_MAX;
use crate::names::check_text;
use crate::time::Timestamp;

/// A network: an address whose bits beyond the prefix are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `203.0.113.0/24`, `2001:db8::/32` or a bare address. Bits beyond the prefix are cleared, not refused.
    ///
    /// # Errors
    /// What is wrong with it; the field is left empty.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refused = |why: &str| {
            Err(Invalid::new("", format!("must be a network in CIDR form, as 203.0.113.0/24: {why}")))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return refused("the address is none") };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // Neither a sign nor a leading zero, which one reader takes for octal.
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(prefix) if prefix <= bits && (digits == "0" || !digits.starts_with('0')) => prefix,
                    _ => return refused(&format!("the prefix goes from 0 to {bits}")),
                }
            }
            Some(_) => return refused("the prefix is no number"),
        };
        // An IPv4 address written as IPv6 is the IPv4 address.
        let (address, prefix) = match (address.to_canonical(), prefix) {
            (IpAddr::V4(v4), 96..) if address.is_ipv6() => (IpAddr::V4(v4), prefix - 96),
            _ => (address, prefix),
        };
        Ok(Self { address: masked(address, prefix), prefix })
    }

    /// Whether `address` lies in it. An IPv4 address written as IPv6 (`::ffff:…`) is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether it is one of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

/// The address without its bits beyond the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// The number of an entry, unique in its list; drawn at random, so that one that was removed hardly comes again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AccessEntryId(pub u32);

impl fmt::Display for AccessEntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AccessEntryId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One line of an access list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessEntry {
    /// Which.
    pub id: AccessEntryId,
    /// Who may come.
    pub network: Cidr,
    /// A note for people; may be empty.
    pub label: String,
    /// Whether it counts.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Checks the label of an entry.
///
/// # Errors
/// What is wrong with it; the field is left empty.
pub fn check_label(text: &str) -> Result<(), Invalid> {
    check_text(text, 0..=ACCESS_LABEL_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> String {
        Cidr::parse(text).map_or_else(|invalid| invalid.problem, |cidr| cidr.to_string())
    }

    #[test]
    fn bits_beyond_the_prefix_are_cleared_and_a_bare_address_is_one_host() {
        assert_eq!(cidr("1.2.3.4/16"), "1.2.0.0/16");
        assert_eq!(cidr("1.2.3.4"), "1.2.3.4/32");
        assert_eq!(cidr("1.2.3.4/0"), "0.0.0.0/0");
        assert_eq!(cidr("2001:db8::1/32"), "2001:db8::/32");
        assert_eq!(cidr("2001:db8::1"), "2001:db8::1/128");
        assert_eq!(cidr("::1/0"), "::/0");
        assert_eq!(cidr("::ffff:1.2.3.4/112"), "1.2.0.0/16");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "01.2.3.4",
            "1.2.3.4/8/8",
            " 1.2.3.4",
            "::/129",
            "1.2.3.4/1000",
            "example.com",
            "1.2.3.4/255.255.0.0",
            "[::1]",
            "fe80::1%eth0",
        ] {
            assert!(Cidr::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_contains_its_own_addresses_only() {
        let network = Cidr::parse("10.1.0.0/16").unwrap();
        for (address, inside) in
            [("10.1.255.255", true), ("10.2.0.0", false), ("::ffff:10.1.0.1", true), ("::1", false)]
        {
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(!Cidr::parse("0.0.0.0/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    }
}
