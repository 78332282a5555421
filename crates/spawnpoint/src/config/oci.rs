//! `[oci]`: the embedded runtime of this machine, which all of its hosts share.

use std::net::Ipv4Addr;
use std::path::{Component, PathBuf};

use serde::Deserialize;
use spawnpoint_driver_oci::UserRange;
use spawnpoint_model::Cidr;

use super::Problem;

/// On a tmpfs on every machine that has one.
const RUN_DIR: &str = "/run";
/// Networks and supervisors that may be kept ready.
const POOL_MAX: usize = 64;
/// Prefixes of the network of containers.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=24;
/// Networks that are nobody's on the internet.
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// The embedded runtime of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// Where containers have their addresses; `None` = found.
    pub subnet: Option<SubnetText>,
    /// Networks and supervisors that are kept ready.
    pub pool: usize,
    /// Where the folder for what runs is made.
    pub run_dir: PathBuf,
    /// Whether containers have users of their own.
    pub user_namespaces: bool,
    /// Where those are on the host; `None` = what the host has set aside.
    pub user_ids: Option<UserIds>,
    /// MiB that a container may write to its root file system; 0 = no bound.
    pub disk_mib: u32,
    /// Files and folders that it may make there; 0 = no bound.
    pub disk_files: u32,
    /// MiB that are kept free: with less, nothing is started or pulled.
    pub free_mib: u32,
}

impl Default for Oci {
    fn default() -> Self {
        Self {
            subnet: None,
            pool: 8,
            run_dir: RUN_DIR.into(),
            user_namespaces: false,
            user_ids: None,
            disk_mib: 10_240,
            disk_files: 1_000_000,
            free_mib: 1024,
        }
    }
}

/// A network that containers can have, written `10.77.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SubnetText(pub Cidr);

impl TryFrom<String> for SubnetText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let problem = || {
            format!(
                "{text:?} must be a private IPv4 network with 16 to 24 bits of prefix, as \"10.77.0.0/16\": in 10.0.0.0/8, \
                 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(problem)?;
        let address: Ipv4Addr = address.parse().map_err(|_| problem())?;
        let prefix: u8 =
            prefix.parse().ok().filter(|prefix| PREFIXES.contains(prefix)).ok_or_else(problem)?;
        let host_bits = u32::MAX >> prefix;
        let is_in = |(network, length): &(Ipv4Addr, u8)| {
            let bits = 32 - u32::from(*length);
            address.to_bits() >> bits == network.to_bits() >> bits && prefix >= *length
        };
        if address.to_bits() & host_bits != 0 || !PRIVATE.iter().any(is_in) {
            return Err(problem());
        }
        text.parse().map(Self).map_err(|_| problem())
    }
}

/// A range of ids, written `FIRST:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserIds(pub UserRange);

impl TryFrom<String> for UserIds {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        UserRange::parse(&text).map(Self)
    }
}

impl Oci {
    /// Checks what a person may have written.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |field: &str, text: String| Err(Problem::at(format!("oci.{field}"), text));
        if !(1..=POOL_MAX).contains(&self.pool) {
            return at("pool", format!("must be from 1 to {POOL_MAX}"));
        }
        let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !self.run_dir.is_absolute() || !self.run_dir.components().all(is_plain) {
            let text = "must be an absolute path without \"..\", as \"/run\"; best on a tmpfs";
            return at("run_dir", text.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_private_whole_and_neither_too_large_nor_too_small() {
        for good in ["10.77.0.0/16", "172.31.4.0/22", "192.168.0.0/16", "192.168.9.0/24", "100.127.0.0/16"] {
            assert!(SubnetText::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.77.0.0",
            "10.77.0.0/15",
            "10.77.0.0/25",
            "10.77.1.0/16",
            "172.32.0.0/16",
            "192.0.0.0/16",
            "8.8.0.0/16",
            "127.0.0.0/16",
            "169.254.0.0/16",
            "224.0.0.0/16",
            "fd00::/64",
            "10.77.0.0/x",
            "10.77.0.0/16/1",
            "10.77.0.0/016x",
        ] {
            let told = SubnetText::try_from(bad.to_owned()).unwrap_err();
            assert!(told.contains("16 to 24 bits"), "{bad}: {told}");
        }
    }
}
