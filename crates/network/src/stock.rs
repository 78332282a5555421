//! Taking stock: what there is in the kernel and on the disk, and what of it ought not to be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use spawnpoint_model::{InstallationId, WorkloadId};

use crate::committer::in_kernel;
use crate::network::Inner;
use crate::nft::{self, Batch, Element, INET};
use crate::slots::{Ground, absent_is_fine};
use crate::types::{Inventory, Port, Published};
use crate::wire::{Packet, Socket};
use crate::{flows, host, link, opening, rules};

/// What elements say of workloads.
pub fn read<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<Published> {
    let mut all: BTreeMap<WorkloadId, Published> = BTreeMap::new();
    for element in elements {
        let Ok(id) = element.comment.parse::<WorkloadId>() else { continue };
        let Some((transport, external)) = rules::read_port_key(&element.key) else { continue };
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let one =
            all.entry(id).or_insert(Published { id, address: nowhere, ports: Vec::new(), access: None });
        if element.set == rules::PORTS4.name {
            let Some((address, internal)) = element.data.as_deref().and_then(rules::read_target) else {
                continue;
            };
            one.address = address;
            one.ports.push(Port { transport, external, internal });
        } else if element.set == rules::LISTED.name {
            one.access.get_or_insert_default();
        } else if let Some(network) = rules::read_network(&element.key) {
            let access = one.access.get_or_insert_default();
            if !access.contains(&network) && element.set != rules::PORTS6.name {
                access.push(network);
            }
        }
    }
    let mut all: Vec<Published> = all.into_values().collect();
    for one in &mut all {
        one.ports.sort_unstable();
        if let Some(access) = &mut one.access {
            access.sort_unstable();
        }
    }
    all
}

/// What is published.
pub fn published(table: &str) -> io::Result<Vec<Published>> {
    Ok(read(&in_kernel(&Socket::netfilter()?.widen()?, table)?))
}

/// What there is.
pub fn inventory(inner: &Inner) -> io::Result<Inventory> {
    let route = Socket::route()?;
    let links = link::all(&route, &inner.ground.interfaces)?;
    let leases = inner.ground.leases()?;
    let mut inventory = Inventory::default();
    for (id, number) in &leases {
        if inner.ground.find(&links, *number).is_none() {
            inventory.strays.push(format!("lease of {id} without a network"));
        }
    }
    let taken = inner.state.lock().taken.clone();
    let buried = inner.ground.buried()?;
    for number in inner.ground.present(&links)? {
        let held = leases.iter().any(|(_, of)| *of == number) || buried.contains(&number);
        match (held, taken.contains(&number)) {
            (true, _) => {}
            (false, true) => inventory.free += 1,
            (false, false) => inventory.strays.push(format!("network {number:04x} of nobody")),
        }
    }
    for published in published(&inner.table)? {
        if !leases.iter().any(|(id, _)| *id == published.id) {
            inventory.strays.push(format!("ports of {}, which has no network", published.id));
        }
    }
    inventory.leases = leases.into_iter().map(|(id, _)| id).collect();
    inventory.leases.sort_unstable();
    Ok(inventory)
}

/// Removes networks that nobody has, and puts back what is ours on the host.
pub fn sweep(inner: &Inner) -> io::Result<()> {
    let route = Socket::route()?;
    if inner.config.open_host_firewall {
        host::pass(&Socket::netfilter()?.widen()?, &inner.table, &inner.ground.interfaces)?;
    }
    opening::anchor(&inner.ground, &route)?;
    let stuck = std::mem::take(&mut inner.state.lock().stuck);
    let present = inner.ground.present(&link::all(&route, &inner.ground.interfaces)?)?;
    for number in present {
        // Taken before it is looked at, or it could be made anew meanwhile.
        if inner.state.lock().taken.insert(number) {
            clear_taken(inner, &route, number)?;
        }
    }
    for number in stuck {
        clear_taken(inner, &route, number)?;
    }
    Ok(())
}

/// Clears a network whose number is taken for that.
fn clear_taken(inner: &Inner, route: &Socket, number: u32) -> io::Result<()> {
    let cleared = inner.ground.clear_buried(route, number);
    let mut state = inner.state.lock();
    match cleared {
        Ok(()) => state.taken.remove(&number),
        Err(_) => state.stuck.insert(number),
    };
    cleared
}

/// Clears all networks, whoever has them.
pub fn clear_all(ground: &Ground, route: &Socket) -> io::Result<()> {
    let links = link::all(route, &ground.interfaces)?;
    for number in ground.present(&links)? {
        ground.clear(route, number)?;
    }
    for (id, _) in ground.leases()? {
        ground.remove_lease(id)?;
    }
    for number in ground.buried()? {
        ground.clear_buried(route, number)?;
    }
    let mut packet = Packet::default();
    link::delete(&mut packet, &ground.link(1));
    absent_is_fine(route.run(&mut packet))
}

/// Leaves no trace.
pub fn remove_all(installation: &InstallationId, run_dir: &Path) -> io::Result<()> {
    let route = Socket::route()?;
    let netfilter = Socket::netfilter()?.widen()?;
    let table = rules::table(installation);
    let mut batch = Batch::new(INET, &table, &table);
    batch.delete_table();
    if nft::tables(&netfilter)?.contains(&(INET, table.clone())) {
        batch.commit(&netfilter)?;
    }
    let subnet = fs::read_to_string(run_dir.join("subnet")).unwrap_or_default();
    let subnet = subnet.trim().split_once('/').and_then(|(network, _)| network.parse().ok());
    let ground = Ground {
        run_dir: run_dir.to_owned(),
        interfaces: rules::interfaces(installation),
        subnet: (subnet.unwrap_or(Ipv4Addr::UNSPECIFIED), 16),
        gateway: Ipv4Addr::UNSPECIFIED,
        gateway6: None,
    };
    ground.make_dirs()?;
    let marks: Vec<u32> =
        ground.leases()?.iter().map(|(_, number)| rules::mark_of_workload(ground.address(*number))).collect();
    clear_all(&ground, &route)?;
    flows::forget(&netfilter, &marks)?;
    // Last, so that what was swept meanwhile does not stay.
    host::unpass(&netfilter, &table)?;
    absent_is_fine(fs::remove_file(run_dir.join("subnet")))?;
    ground.remove_dirs()?;
    // Not ours if there is something else in it.
    let _ = fs::remove_dir(run_dir);
    Ok(())
}
