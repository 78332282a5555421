//! Opening: what is there is found, what was interrupted is cleared, the rules are put in force.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{FlockOperation, flock};
use spawnpoint_model::WorkloadId;
use tokio::sync::Semaphore;

use crate::committer::{Committer, in_kernel};
use crate::network::{Inner, Lease, State};
use crate::nft::{self, Element};
use crate::rules::{self, Plan};
use crate::slots::Ground;
use crate::types::{NetworkConfig, Port, Unsupported};
use crate::wire::{Packet, Socket};
use crate::{CLEARERS, MAKERS, POOL_MAX, flows, host, link, pool, stock};

/// Prefixes of the network of workloads.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=24;

fn because<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Unsupported + '_ {
    move |error| Unsupported(format!("{what}: {error}"))
}

/// Opens, and gives the pool's end of its bell.
pub fn open(mut config: NetworkConfig) -> Result<(Inner, pool::Wakes), Unsupported> {
    config.pool_size = config.pool_size.min(POOL_MAX);
    let route = Socket::route().map_err(because("the kernel has no rtnetlink"))?;
    let netfilter = Socket::netfilter().and_then(Socket::widen);
    let netfilter = netfilter.map_err(because("nftables cannot be reached (root is needed)"))?;
    nft::tables(&netfilter).map_err(because("the kernel has no nftables; load it: modprobe nf_tables"))?;

    let mut notes = Vec::new();
    notes.extend(host::forward4()?);
    let ipv6 = config.ipv6 && host::has_ipv6();
    let ipv6 = ipv6
        && match host::forward6() {
            Ok(changed) => {
                notes.extend(changed);
                true
            }
            Err(error) => {
                notes.push(format!(
                    "workloads have no IPv6: the kernel cannot be made to forward it: {error}"
                ));
                false
            }
        };
    let ground = settle(&config, &route, ipv6, &mut notes)?;
    let table = rules::table(&config.installation);
    let found = find(&ground, &route, &netfilter, &table, config.pool_size);
    let state = found.map_err(because("the networks of before cannot be taken over"))?;

    let plan = Plan {
        interfaces: ground.interfaces.clone(),
        subnet: ground.subnet,
        gateway: ground.gateway,
        gateway6: ground.gateway6,
        callback_port: config.callback_port,
        port_range: config.port_range.clone(),
    };
    let elements = state.leases.values().flat_map(|lease| lease.elements.iter().cloned()).collect();
    let committer = Committer::start(table.clone(), plan, elements);
    let committer =
        committer.map_err(because("the rules cannot be put in force (nftables with NAT is needed)"))?;
    if config.open_host_firewall {
        let places = host::pass(&netfilter, &table, &ground.interfaces);
        let places = places.map_err(because("the host's firewall cannot be opened for workloads"))?;
        if !places.is_empty() {
            notes.push(format!("let through by {}, which drop what they do not know", places.join(", ")));
        }
    }
    if host::has_legacy_firewall() {
        let own = &ground.interfaces;
        notes.push(format!(
            "iptables-legacy is in use: if its FORWARD drops, let `-i {own}+` and `-o {own}+` through"
        ));
    }
    let (replenish, wakes) = pool::bell();
    let (makers, clearers) = (Semaphore::new(MAKERS), Semaphore::new(CLEARERS));
    let (state, settled) = (Mutex::new(state), Condvar::new());
    Ok((
        Inner { config, ground, table, notes, committer, state, settled, replenish, makers, clearers },
        wakes,
    ))
}

/// Where the networks are: as before, as configured, or where there is room; and the host's address there.
fn settle(
    config: &NetworkConfig,
    route: &Socket,
    ipv6: bool,
    notes: &mut Vec<String>,
) -> Result<Ground, Unsupported> {
    // Two installations of one host must not choose the same: this is locked by whoever chooses, and by nobody else.
    let lock = File::open("/proc/self/ns/net").map_err(because("/proc/self/ns/net"))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(because("/proc/self/ns/net"))?;

    let mut ground = Ground {
        run_dir: config.run_dir.clone(),
        interfaces: rules::interfaces(&config.installation),
        subnet: (Ipv4Addr::UNSPECIFIED, 16),
        gateway: Ipv4Addr::UNSPECIFIED,
        gateway6: None,
    };
    let dir = config.run_dir.display().to_string();
    ground.make_dirs().map_err(because(&dir))?;
    let wanted = wanted(config)?;
    let file = config.run_dir.join("subnet");
    let before = fs::read_to_string(&file).ok().and_then(|text| {
        let (network, prefix) = text.trim().split_once('/')?;
        Some((network.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?))
    });
    ground.subnet = match stays(&ground, route, wanted, before, notes)? {
        Some(before) => before,
        None => {
            stock::clear_all(&ground, route).map_err(because("networks of before cannot be cleared"))?;
            let chosen = choose(&ground, route, wanted)?;
            fs::write(&file, format!("{}/{}", chosen.0, chosen.1)).map_err(because(&dir))?;
            chosen
        }
    };
    ground.gateway = ground.address(1);
    ground.gateway6 = ipv6.then(|| host::gateway6(&config.installation, ground.gateway));
    anchor(&ground, route).map_err(because("the gateway's address cannot be set"))?;
    Ok(ground)
}

/// The network that the configuration asks for.
fn wanted(config: &NetworkConfig) -> Result<Option<(Ipv4Addr, u8)>, Unsupported> {
    let Some(subnet) = &config.subnet else { return Ok(None) };
    match rules::parts(subnet) {
        Some((IpAddr::V4(network), prefix)) if PREFIXES.contains(&prefix) => Ok(Some((network, prefix))),
        _ => Err(Unsupported(format!("subnet {subnet}: must be IPv4 with a prefix of 16 to 24"))),
    }
}

fn shown(network: (Ipv4Addr, u8)) -> String {
    format!("{}/{}", network.0, network.1)
}

/// The network of before, if it is the one from now on as well. Whoever runs in it keeps it, whatever is wanted.
fn stays(
    ground: &Ground,
    route: &Socket,
    wanted: Option<(Ipv4Addr, u8)>,
    before: Option<(Ipv4Addr, u8)>,
    notes: &mut Vec<String>,
) -> Result<Option<(Ipv4Addr, u8)>, Unsupported> {
    let Some(before) = before else { return Ok(None) };
    let other = host::in_the_way(route, before, &ground.interfaces);
    let other = other.map_err(because("the host's routes cannot be read"))?;
    let is_wanted = wanted.is_none_or(|wanted| wanted == before);
    if is_wanted && other.is_none() {
        return Ok(Some(before));
    }
    let in_use = !ground.leases().map_err(because("the networks of before cannot be read"))?.is_empty();
    if !in_use {
        return Ok(None);
    }
    let why = match (wanted.filter(|_| !is_wanted), other) {
        (Some(wanted), _) => format!("{} is wanted", shown(wanted)),
        (None, other) => format!("the host leads {} elsewhere", other.unwrap_or_default()),
    };
    notes.push(format!(
        "workloads stay in {} though {why}: it is changed at a start at which none runs",
        shown(before)
    ));
    Ok(Some(before))
}

/// Where they are from now on.
fn choose(
    ground: &Ground,
    route: &Socket,
    wanted: Option<(Ipv4Addr, u8)>,
) -> Result<(Ipv4Addr, u8), Unsupported> {
    let Some(wanted) = wanted else {
        let free = host::free_network(route).map_err(because("the host's routes cannot be read"))?;
        let free = free.ok_or_else(|| Unsupported("no network 10.<n>.0.0/16 is free".into()))?;
        return Ok((free, 16));
    };
    let other = host::in_the_way(route, wanted, &ground.interfaces);
    match other.map_err(because("the host's routes cannot be read"))? {
        None => Ok(wanted),
        Some(other) => Err(Unsupported(format!(
            "subnet {}: the host leads {other} elsewhere; name another network, or none",
            shown(wanted)
        ))),
    }
}

/// The host's own address among the workloads, on a link that leads nowhere.
pub fn anchor(ground: &Ground, route: &Socket) -> io::Result<()> {
    let name = ground.link(1);
    let mut packet = Packet::default();
    let found = match link::find(route, &name) {
        Ok(found) => found,
        Err(_) => {
            link::add_pair_here(&mut packet, &name, &ground.link(0));
            route.run(&mut packet)?;
            link::find(route, &name)?
        }
    };
    let mut packet = Packet::default();
    link::set_up_inside(&mut packet, found.index, ground.gateway6.is_some());
    for address in
        [Some(IpAddr::from(ground.gateway)), ground.gateway6.map(IpAddr::from)].into_iter().flatten()
    {
        link::add_address(&mut packet, found.index, address);
    }
    route.run(&mut packet)
}

/// Takes over what a process before this left, and clears what it did not finish.
fn find(ground: &Ground, route: &Socket, netfilter: &Socket, table: &str, pool: usize) -> io::Result<State> {
    let links = link::all(route, &ground.interfaces)?;
    let mut state = State::default();
    ground.clear_halves()?;
    let buried = ground.buried()?;
    let marks: Vec<u32> =
        buried.iter().map(|number| rules::mark_of_workload(ground.address(*number))).collect();
    flows::forget(netfilter, &marks)?;
    for number in buried {
        ground.clear_buried(route, number)?;
    }
    for (id, number) in ground.leases()? {
        match ground.find(&links, number) {
            Some(prepared) if state.taken.insert(number) => {
                state.leases.insert(id, Lease::new(prepared));
            }
            // A release that was interrupted: the rest of it.
            _ => ground.remove_lease(id)?,
        }
    }
    for number in ground.present(&links)? {
        if state.taken.contains(&number) {
            continue;
        }
        match ground.find(&links, number) {
            Some(prepared) if state.pool.len() < pool => {
                state.taken.insert(number);
                state.pool.push_back(prepared);
            }
            _ => ground.clear(route, number)?,
        }
    }
    // Without a table nothing was published.
    let mut elements: BTreeMap<WorkloadId, Vec<Element>> = BTreeMap::new();
    for element in in_kernel(netfilter, table).unwrap_or_default() {
        if let Ok(id) = element.comment.parse() {
            elements.entry(id).or_default().push(element);
        }
    }
    for published in stock::read(elements.values().flatten()) {
        let Some(lease) = state.leases.get_mut(&published.id) else { continue };
        let number = lease.prepared.number;
        let addresses = (ground.address(number), ground.address6(number));
        let access = published.access.as_deref();
        // Made anew, as addresses inside may have come or gone since.
        lease.elements = rules::elements(&published.id.to_string(), addresses, &published.ports, access);
        state.owners.extend(
            published.ports.iter().map(|port: &Port| ((port.transport, port.external), published.id)),
        );
        (lease.ports, lease.access) = (published.ports, published.access);
    }
    Ok(state)
}
