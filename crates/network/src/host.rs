//! What there is on the host and not ours: settings of the kernel, its own firewalls, networks that are taken.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use spawnpoint_model::InstallationId;

use crate::nft::{self, Batch, ChainFound};
use crate::rules;
use crate::wire::Socket;
use crate::{link, types::Unsupported};

const FORWARD4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const INTERFACES6: &str = "/proc/sys/net/ipv6/conf";
/// Networks are looked for from `10.64.0.0/16` on, where few others look.
const FIRST_NETWORK: u8 = 64;
/// An interface that is up and has its address from a router keeps doing so although the host forwards.
const ACCEPT_ROUTERS_ALWAYS: &str = "2";

fn is(path: impl AsRef<Path>, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

/// Lets the host forward IPv4. Tells what was changed.
pub fn forward4() -> Result<Option<String>, Unsupported> {
    if is(FORWARD4, "1") {
        return Ok(None);
    }
    fs::write(FORWARD4, "1").map_err(|error| {
        Unsupported(format!("the kernel does not forward, and {FORWARD4} cannot be set: {error}"))
    })?;
    Ok(Some(format!("{FORWARD4} was 0 and is 1 now: without it no packet reaches a workload")))
}

/// Lets the host forward IPv6. Interfaces that learn their routes from routers keep learning them.
pub fn forward6() -> io::Result<Option<String>> {
    if is(FORWARD6, "1") {
        return Ok(None);
    }
    for interface in fs::read_dir(INTERFACES6)? {
        let setting = interface?.path().join("accept_ra");
        if is(&setting, "1") {
            fs::write(&setting, ACCEPT_ROUTERS_ALWAYS)?;
        }
    }
    fs::write(FORWARD6, "1")?;
    Ok(Some(format!("{FORWARD6} was 0 and is 1 now, and accept_ra is 2 where it was 1")))
}

/// Whether the host has an IPv6 address that others can reach.
pub fn has_ipv6() -> bool {
    let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    // Address, number of the interface, length of prefix, scope (0: the world), flags, interface.
    let global = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields.as_slice(), [_, _, _, "00", _, name] if !name.starts_with(rules::ANY_INTERFACE))
    };
    addresses.lines().any(global)
}

/// The first `10.<n>.0.0/16` that leads nowhere on this host.
pub fn free_network(route: &Socket) -> io::Result<Option<Ipv4Addr>> {
    let taken = link::routes(route)?;
    let free = |second: &u8| {
        let own = (Ipv4Addr::new(10, *second, 0, 0), 16);
        !taken.iter().any(|other| overlap(other.to, own))
    };
    let order = (FIRST_NETWORK..=254).chain(1..FIRST_NETWORK);
    Ok({ order }.find(free).map(|second| Ipv4Addr::new(10, second, 0, 0)))
}

/// Whether two networks have an address in common. Neither is everything.
fn overlap(one: (Ipv4Addr, u8), other: (Ipv4Addr, u8)) -> bool {
    let bits = 32 - u32::from(one.1.min(other.1).clamp(1, 32));
    u32::from(one.0) >> bits == u32::from(other.0) >> bits
}

/// What of a network the host leads elsewhere than to our own links, if anything.
pub fn in_the_way(route: &Socket, subnet: (Ipv4Addr, u8), interfaces: &str) -> io::Result<Option<String>> {
    let own: Vec<u32> = link::all(route, interfaces)?.into_iter().map(|link| link.index).collect();
    let is_other = |route: &link::Route| route.link.is_none_or(|link| !own.contains(&link));
    let found = link::routes(route)?.into_iter().find(|route| is_other(route) && overlap(route.to, subnet));
    Ok(found.map(|route| format!("{}/{}", route.to.0, route.to.1)))
}

/// The host's IPv6 address among the workloads of an installation: a private network that is ours by its number.
pub fn gateway6(installation: &InstallationId, gateway: Ipv4Addr) -> Ipv6Addr {
    // FNV-1a: the network must be the same at each start, and differ between installations of one host.
    let hash = installation.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, f, g, _] = hash.to_be_bytes();
    let prefix = [0xfd, a, b, c, d, e, f, g];
    inside6(Ipv6Addr::from(u128::from(u64::from_be_bytes(prefix)) << 64), gateway)
}

/// The IPv6 address that goes with an IPv4 address in a network.
pub fn inside6(network: Ipv6Addr, address: Ipv4Addr) -> Ipv6Addr {
    let [_, b, c, d] = address.octets();
    let host = u128::from(u32::from_be_bytes([0, b, c, d]));
    Ipv6Addr::from_bits(network.to_bits() & (!0 << 64) | host)
}

/// Chains of the host that drop what they do not know, where our packets come through: forward and input.
fn droppers(socket: &Socket, own: &str) -> io::Result<Vec<(ChainFound, bool)>> {
    let all = nft::chains(socket)?;
    let mut found = Vec::new();
    for chain in &all {
        let ip = [nft::INET, nft::IPV4, nft::IPV6].contains(&chain.family);
        let Some((hook @ (1 | 2), true)) = chain.base else { continue };
        if !ip || chain.table == own {
            continue;
        }
        // Docker keeps a chain for others, which it never clears.
        let for_others = all.iter().find(|other| {
            (other.family, &other.table, other.name.as_str()) == (chain.family, &chain.table, "DOCKER-USER")
        });
        let place = if hook == 2 { for_others.unwrap_or(chain) } else { chain };
        found.push((place.clone(), hook == 2));
    }
    Ok(found)
}

/// Lets our interfaces through firewalls of the host that drop by policy; what is there already stays. Tells where.
pub fn pass(socket: &Socket, own: &str, interfaces: &str) -> io::Result<Vec<String>> {
    let mut places = Vec::new();
    for (chain, forward) in droppers(socket, own)? {
        places.push(format!("{} {}", chain.table, chain.name));
        let wanted = rules::pass(interfaces, forward);
        let there = ours(socket, &chain, own)?;
        if there.len() == wanted.len() {
            continue;
        }
        let mut batch = Batch::new(chain.family, &chain.table, own);
        for handle in there {
            batch.delete_rule(&chain.name, handle);
        }
        for rule in wanted {
            batch.add_rule(&chain.name, &rule, true);
        }
        batch.commit(socket)?;
    }
    Ok(places)
}

/// Our rules in a chain of the host: those that carry our name.
fn ours(socket: &Socket, chain: &ChainFound, own: &str) -> io::Result<Vec<u64>> {
    let rules = nft::rules(socket, chain.family, &chain.table, &chain.name)?;
    Ok(rules.into_iter().filter(|(_, comment)| comment == own).map(|(handle, _)| handle).collect())
}

/// Whether the old iptables has rules, which cannot be seen from here.
pub fn has_legacy_firewall() -> bool {
    let tables = |file: &str| fs::read_to_string(file).unwrap_or_default();
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|file| tables(file).lines().any(|table| table == "filter"))
}

/// Takes our rules out of the host's firewalls again, wherever they are.
pub fn unpass(socket: &Socket, own: &str) -> io::Result<()> {
    for chain in nft::chains(socket)? {
        if chain.table == own || ![nft::INET, nft::IPV4, nft::IPV6].contains(&chain.family) {
            continue;
        }
        for handle in ours(socket, &chain, own)? {
            let mut batch = Batch::new(chain.family, &chain.table, own);
            batch.delete_rule(&chain.name, handle);
            batch.commit(socket)?;
        }
    }
    Ok(())
}
