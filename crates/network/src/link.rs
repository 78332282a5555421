//! Links, addresses and routes: what is asked of the kernel about them. Pure but for what looks them up.
//!
//! A workload's link is a pair: `spn<installation><number>` on the host and `eth0` inside. Both ends have the same hardware
//! address and ask nobody for any other: the only station that either can reach is the other one. So no neighbour has to be
//! looked up, set or kept, and the first packet goes out as quickly as the thousandth.

use std::io;
use std::net::IpAddr;

use crate::types::Traffic;
use crate::wire::{ACK, Answer, CREATE, DUMP, EXCL, Packet, REPLACE, Socket, attribute, text};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const UP: u32 = 1;
const NO_ARP: u32 = 0x80;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const UNICAST: u8 = 1;
const MAIN: u8 = 254;
/// Made by an administrator's will, as opposed to the kernel's or a routing protocol's.
const STATIC: u8 = 4;
const UNIVERSE: u8 = 0;
const LINK: u8 = 253;
/// The gateway is on this link, whatever the addresses say.
const ON_LINK: u32 = 4;
/// No duplicate is looked for: nobody else is there.
const NO_DAD: u8 = 2;

/// Of both ends.
const HARDWARE: [u8; 6] = [0x02, 0x53, 0x50, 0, 0, 1];
/// Number of the interface inside: 1 is the loopback.
pub const INSIDE: u32 = 2;
/// Its name.
pub const INSIDE_NAME: &str = "eth0";

// Settings of an interface, as the kernel numbers them.
const FORWARDING: u16 = 1;
const ACCEPT_REDIRECTS: u16 = 4;
const SEND_REDIRECTS: u16 = 6;
const RP_FILTER: u16 = 8;
const ROUTE_LOCALNET: u16 = 26;

fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for word in [index, flags, change] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// Makes a pair, one end of which is born in the network namespace of the descriptor; both are down.
pub fn add_pair(packet: &mut Packet, name: &str, netns: i32) {
    let one_queue = |p: &mut Packet| {
        p.u32(31, 1).u32(32, 1);
    };
    packet.message(NEW_LINK, ACK | CREATE | EXCL, &link(0, 0, 0)).text(3, name).attr(1, &HARDWARE);
    one_queue(packet);
    packet.nest(18, |p| {
        p.text(1, "veth").nest(2, |p| {
            p.nest(1, |p| {
                p.raw(&link(INSIDE, 0, 0)).text(3, INSIDE_NAME).attr(1, &HARDWARE);
                p.attr(28, &netns.to_ne_bytes());
                one_queue(p);
            });
        });
    });
}

/// Makes a pair with both ends here.
pub fn add_pair_here(packet: &mut Packet, name: &str, other: &str) {
    packet.message(NEW_LINK, ACK | CREATE | EXCL, &link(0, 0, 0)).text(3, name).nest(18, |p| {
        p.text(1, "veth").nest(2, |p| {
            p.nest(1, |p| {
                p.raw(&link(0, 0, 0)).text(3, other);
            });
        });
    });
}

/// No address of its own by IPv6.
fn no_link_local(packet: &mut Packet) {
    packet.nest(u16::from(IPV6), |p| {
        p.attr(8, &[1]);
    });
}

/// Sets the host's end up: forwards, takes only what comes from the address behind it, and lets the host's own loopback
/// talk to it (nobody else's: the rules see to it).
pub fn set_up_outside(packet: &mut Packet, index: u32, ipv6: bool) {
    packet.message(SET_LINK, ACK, &link(index, UP | NO_ARP, UP | NO_ARP)).nest(26, |p| {
        p.nest(u16::from(IPV4), |p| {
            p.nest(1, |p| {
                p.u32(FORWARDING, 1).u32(RP_FILTER, 1).u32(ROUTE_LOCALNET, 1);
                p.u32(ACCEPT_REDIRECTS, 0).u32(SEND_REDIRECTS, 0);
            });
        });
        if ipv6 {
            no_link_local(p);
        }
    });
}

/// Sets an end up inside.
pub fn set_up_inside(packet: &mut Packet, index: u32, ipv6: bool) {
    packet.message(SET_LINK, ACK, &link(index, UP | NO_ARP, UP | NO_ARP));
    if ipv6 {
        packet.nest(26, no_link_local);
    }
}

/// Sets a link up, as it is.
pub fn set_up(packet: &mut Packet, index: u32) {
    packet.message(SET_LINK, ACK, &link(index, UP, UP));
}

/// Removes a link, and its other end with it.
pub fn delete(packet: &mut Packet, name: &str) {
    packet.message(DELETE_LINK, ACK, &link(0, 0, 0)).text(3, name);
}

fn family(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (IPV4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (IPV6, v6.octets().to_vec()),
    }
}

/// Gives a link an address of its own, with no network around it.
pub fn add_address(packet: &mut Packet, index: u32, address: IpAddr) {
    let (family, octets) = family(address);
    let length = if family == IPV4 { 32 } else { 128 };
    let mut header = vec![family, length, if family == IPV6 { NO_DAD } else { 0 }, UNIVERSE];
    header.extend(index.to_ne_bytes());
    packet.message(NEW_ADDRESS, ACK | CREATE | REPLACE, &header).attr(2, &octets);
    if family == IPV4 {
        packet.attr(1, &octets);
    }
}

fn route(packet: &mut Packet, family: u8, length: u8, scope: u8, flags: u32) {
    let mut header = vec![family, length, 0, 0, MAIN, STATIC, scope, UNICAST];
    header.extend(flags.to_ne_bytes());
    packet.message(NEW_ROUTE, ACK | CREATE | REPLACE, &header);
}

/// An address is behind a link.
pub fn add_route(packet: &mut Packet, index: u32, address: IpAddr) {
    let (family, octets) = family(address);
    let scope = if family == IPV4 { LINK } else { UNIVERSE };
    route(packet, family, if family == IPV4 { 32 } else { 128 }, scope, 0);
    packet.attr(1, &octets).u32(4, index);
}

/// Everything is behind a gateway, which is on the link.
pub fn add_default_route(packet: &mut Packet, index: u32, gateway: IpAddr) {
    let (family, octets) = family(gateway);
    route(packet, family, 0, UNIVERSE, ON_LINK);
    packet.attr(5, &octets).u32(4, index);
}

/// A link as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// What went through, seen from the other end.
    pub traffic: Traffic,
}

fn read(answer: &Answer) -> Option<Found> {
    let word = |at: usize| Some(u32::from_ne_bytes(answer.body.get(at..at + 4)?.try_into().ok()?));
    let body = answer.body.get(16..)?;
    let count = |at: usize| {
        let bytes = attribute(body, 23)?.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let traffic = Traffic { sent: count(16).unwrap_or(0), received: count(24).unwrap_or(0) };
    Some(Found { index: word(4)?, name: text(body, 3)?.to_owned(), up: word(8)? & UP != 0, traffic })
}

/// The link of a name.
pub fn find(socket: &Socket, name: &str) -> io::Result<Found> {
    let mut packet = Packet::default();
    packet.message(GET_LINK, 0, &link(0, 0, 0)).text(3, name);
    read(&socket.get(&mut packet)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// All links whose names begin so.
pub fn all(socket: &Socket, prefix: &str) -> io::Result<Vec<Found>> {
    let mut packet = Packet::default();
    packet.message(GET_LINK, DUMP, &link(0, 0, 0));
    let links = socket.dump(&mut packet)?;
    Ok(links.iter().filter_map(read).filter(|link| link.name.starts_with(prefix)).collect())
}

/// An IPv4 network that leads somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Address and length of prefix.
    pub to: (std::net::Ipv4Addr, u8),
    /// The number of the link that it leads over, if it is one.
    pub link: Option<u32>,
}

/// The IPv4 networks that lead anywhere, in any table, but for the default.
pub fn routes(socket: &Socket) -> io::Result<Vec<Route>> {
    let mut packet = Packet::default();
    packet.message(GET_ROUTE, DUMP, &[IPV4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let destination = |answer: &Answer| {
        let octets: [u8; 4] = attribute(answer.body.get(12..)?, 1)?.try_into().ok()?;
        let link = attribute(answer.body.get(12..)?, 4)
            .and_then(|link| Some(u32::from_ne_bytes(link.try_into().ok()?)));
        Some(Route { to: (octets.into(), *answer.body.get(1)?), link })
    };
    let mut routes: Vec<Route> = socket.dump(&mut packet)?.iter().filter_map(destination).collect();
    routes.retain(|route| route.to.1 > 0);
    Ok(routes)
}
