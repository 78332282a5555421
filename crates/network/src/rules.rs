//! The rules of one installation: what is in `table inet spawnpoint-<short id>`. Pure: it says what, [`crate::nft`] how.
//!
//! ```text
//!  from the world ──▶ ports (prerouting, nat): to an address of this host? its map knows the port? ─▶ to the workload
//!  from this host ──▶ ports_here (output, nat): the same
//!                     gate (forward): to a workload: only through a published port, as its list allows, or as an answer
//!                                     from a workload: not to a neighbour; anywhere else
//!                     door (input):   from a workload: answers, and to the callback port
//!                     here (output):  from this host to a workload: as its list allows
//!                     walls (prerouting, before all else): a workload's own address, no metadata, no loopback
//!                     names (postrouting, nat): workloads go out under the host's address; what comes from the host's
//!                                     loopback goes in under the gateway's, or the answer would not come back
//!                     late (prerouting, after nat): UDP to ports that lead nowhere yet is marked, also from this host:
//!                                     it comes by the loopback
//! ```
//!
//! The cost of a packet does not grow with the number of ports: one look into a hash table. The cost of publishing does not
//! either: elements come and go, rules stay. For the same reason access lists are no interval sets, which the kernel copies
//! whole for each change: a network is one element (port, address, length of prefix) of a hash table, and there is one rule
//! for each length that was ever used, which looks the client's address up after cutting it to that length.
//!
//! Lists are asked in both directions and for each packet, by what the flow was before it was translated: so a change holds
//! for flows that are there already.
//!
//! Flows are marked, so that the kernel can forget them at once without us reading through all it knows: those of a
//! workload by the last three bytes of its address, and UDP to ports that lead nowhere yet by the port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use spawnpoint_model::{Cidr, InstallationId, Transport};

use crate::nft::{Batch, Element, Expr, Hook, INET, IPV4, IPV6, Reg, SetKind, Verdict, flow, meta};
use crate::types::Port;

/// What the names of interfaces of any installation's workloads begin with.
pub const ANY_INTERFACE: &str = "spn";
/// What the names of the Docker driver's bridges begin with.
const DOCKER_BRIDGE: &str = "sp-";
/// Link-local addresses (among them every cloud's metadata service), and Alibaba's.
const METADATA4: [(Ipv4Addr, u8); 2] =
    [(Ipv4Addr::new(169, 254, 0, 0), 16), (Ipv4Addr::new(100, 100, 100, 200), 32)];
/// Amazon's metadata service by IPv6.
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The highest byte of the marks of a workload's flows.
const MARK_WORKLOAD: u8 = 0x53;
/// The highest byte of the marks of flows to ports that lead nowhere.
const MARK_PORT: u8 = 0x54;

const UDP: u8 = 17;
const TCP: u8 = 6;

// Types as `nft` numbers them, six bits each; every part of a key takes whole words of four bytes.
const ADDRESS4: u32 = 7;
const ADDRESS6: u32 = 8;
const PROTOCOL: u32 = 12;
const SERVICE: u32 = 13;
const MARK: u32 = 19;

const fn types(parts: &[u32]) -> u32 {
    let (mut all, mut at) = (0, 0);
    while at < parts.len() {
        all = all << 6 | parts[at];
        at += 1;
    }
    all
}

/// Published ports: protocol and port to address and port.
pub const PORTS4: SetKind = SetKind {
    name: "ports4",
    key: (types(&[PROTOCOL, SERVICE]), 8),
    data: Some((types(&[ADDRESS4, SERVICE]), 8)),
};
/// The same for IPv6.
pub const PORTS6: SetKind = SetKind {
    name: "ports6",
    key: (types(&[PROTOCOL, SERVICE]), 8),
    data: Some((types(&[ADDRESS6, SERVICE]), 20)),
};
/// Ports that have a list.
pub const LISTED: SetKind = SetKind { name: "listed", key: (types(&[PROTOCOL, SERVICE]), 8), data: None };
/// Who may: protocol, port, network, length of its prefix.
pub const ALLOWED4: SetKind =
    SetKind { name: "allowed4", key: (types(&[PROTOCOL, SERVICE, ADDRESS4, MARK]), 16), data: None };
/// The same for IPv6.
pub const ALLOWED6: SetKind =
    SetKind { name: "allowed6", key: (types(&[PROTOCOL, SERVICE, ADDRESS6, MARK]), 28), data: None };
/// All sets.
pub const SETS: [SetKind; 5] = [PORTS4, PORTS6, LISTED, ALLOWED4, ALLOWED6];

/// The first eight letters and digits of an installation's id, and always eight, so that no name begins another.
pub fn short(installation: &InstallationId) -> String {
    let kept = installation.as_str().chars().filter(char::is_ascii_alphanumeric);
    let mut short: String = kept.map(|c| c.to_ascii_lowercase()).take(8).collect();
    while short.len() < 8 {
        short.push('-');
    }
    short
}

/// The name of an installation's table.
pub fn table(installation: &InstallationId) -> String {
    format!("spawnpoint-{}", short(installation))
}

/// What the names of an installation's interfaces begin with; four digits follow.
pub fn interfaces(installation: &InstallationId) -> String {
    format!("{ANY_INTERFACE}{}", short(installation))
}

/// What the rules need to know of an installation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the names of its interfaces begin with.
    pub interfaces: String,
    /// Where its workloads are.
    pub subnet: (Ipv4Addr, u8),
    /// The host's address there.
    pub gateway: Ipv4Addr,
    /// The same by IPv6; its network is /64.
    pub gateway6: Option<Ipv6Addr>,
    /// The port of the host that workloads reach.
    pub callback_port: Option<u16>,
    /// Ports that are published as a rule.
    pub port_range: RangeInclusive<u16>,
}

/// The mark of a workload's flows.
pub const fn mark_of_workload(address: Ipv4Addr) -> u32 {
    let [_, b, c, d] = address.octets();
    u32::from_ne_bytes([b, c, d, MARK_WORKLOAD])
}

/// The mark of flows to a port that leads nowhere.
pub const fn mark_of_port(port: u16) -> u32 {
    let [a, b] = port.to_be_bytes();
    u32::from_ne_bytes([a, b, 0, MARK_PORT])
}

const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    }
}

fn port_key(transport: Transport, port: u16) -> Vec<u8> {
    let [a, b] = port.to_be_bytes();
    vec![protocol(transport), 0, 0, 0, a, b, 0, 0]
}

/// What a key begins with, read back.
pub fn read_port_key(key: &[u8]) -> Option<(Transport, u16)> {
    let [protocol, 0, 0, 0, a, b, 0, 0, ..] = key else { return None };
    let transport = [Transport::Tcp, Transport::Udp].into_iter().find(|t| self::protocol(*t) == *protocol)?;
    Some((transport, u16::from_be_bytes([*a, *b])))
}

/// Where a port leads to, read back.
pub fn read_target(data: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, port) = data.split_at_checked(data.len().checked_sub(4)?)?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some((address, u16::from_be_bytes([port[0], port[1]])))
}

/// A network of a list, read back.
pub fn read_network(key: &[u8]) -> Option<Cidr> {
    let (address, length) = key.get(8..)?.split_at_checked(key.len().checked_sub(12)?)?;
    let length = u32::from_ne_bytes(length.try_into().ok()?);
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Cidr::parse(&format!("{address}/{length}")).ok()
}

/// A network as address and length of prefix.
pub fn parts(network: &Cidr) -> Option<(IpAddr, u8)> {
    let text = network.to_string();
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

/// Everything that is in the sets for one workload.
pub fn elements(
    comment: &str,
    (address, address6): (Ipv4Addr, Option<Ipv6Addr>),
    ports: &[Port],
    access: Option<&[Cidr]>,
) -> BTreeSet<Element> {
    let mut all = BTreeSet::new();
    let mut add = |set: &SetKind, key: Vec<u8>, data: Option<Vec<u8>>| {
        all.insert(Element { set: set.name, key, data, comment: comment.to_owned() });
    };
    for port in ports {
        let key = port_key(port.transport, port.external);
        let [a, b] = port.internal.to_be_bytes();
        let inner: &[u8] = &[a, b, 0, 0];
        add(&PORTS4, key.clone(), Some([&address.octets(), inner].concat()));
        if let Some(address6) = address6 {
            add(&PORTS6, key.clone(), Some([&address6.octets(), inner].concat()));
        }
        let Some(networks) = access else { continue };
        add(&LISTED, key.clone(), None);
        for (network, length) in networks.iter().filter_map(parts) {
            let length = u32::from(length).to_ne_bytes();
            match network {
                IpAddr::V4(v4) => add(&ALLOWED4, [&key, &v4.octets()[..], &length].concat(), None),
                IpAddr::V6(v6) => add(&ALLOWED6, [&key, &v6.octets()[..], &length].concat(), None),
            }
        }
    }
    all
}

/// The lengths of prefixes that elements use, each with its family: there must be a rule for each.
pub fn lengths<'a>(elements: impl IntoIterator<Item = &'a Element>) -> BTreeSet<(u8, u8)> {
    let length = |element: &Element| {
        let family = if element.set == ALLOWED4.name {
            IPV4
        } else if element.set == ALLOWED6.name {
            IPV6
        } else {
            return None;
        };
        let length = element.key.last_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))?;
        Some((family, u8::try_from(length).ok()?))
    };
    elements.into_iter().filter_map(length).collect()
}

const R0: Reg = Reg(0);
const R1: Reg = Reg(1);

fn in_from(prefix: &str) -> Vec<Expr> {
    vec![Expr::Meta(meta::IN_NAME, R0), Expr::Equal(R0, prefix.into())]
}

fn out_to(prefix: &str) -> Vec<Expr> {
    vec![Expr::Meta(meta::OUT_NAME, R0), Expr::Equal(R0, prefix.into())]
}

fn family(family: u8) -> Vec<Expr> {
    vec![Expr::Meta(meta::FAMILY, R0), Expr::Equal(R0, vec![family])]
}

/// The mask of a prefix over so many bytes.
fn mask(length: u8, bytes: usize) -> Vec<u8> {
    let bits = usize::from(length);
    (0..bytes).map(|at| !(0xff_u16 >> bits.saturating_sub(at * 8).min(8)).to_le_bytes()[0]).collect()
}

/// Source (offset 12 or 8) or destination (16 or 24) is in a network.
fn is_in(address: IpAddr, length: u8, source: bool) -> Vec<Expr> {
    let (own, offset, octets) = match address {
        IpAddr::V4(v4) => (IPV4, if source { 12 } else { 16 }, v4.octets().to_vec()),
        IpAddr::V6(v6) => (IPV6, if source { 8 } else { 24 }, v6.octets().to_vec()),
    };
    let count = octets.len();
    let mut rule = family(own);
    rule.push(Expr::Payload(1, offset, u32::try_from(count).unwrap_or(0), R0));
    rule.push(Expr::Bitwise(R0, mask(length, count), vec![0; count]));
    rule.push(Expr::Equal(R0, octets));
    rule
}

/// Some of these bits of the flow are set.
fn some_bit(key: u32, bits: u32) -> Vec<Expr> {
    vec![
        Expr::Flow(key, None, R0),
        Expr::Bitwise(R0, bits.to_ne_bytes().to_vec(), vec![0; 4]),
        Expr::Differs(R0, vec![0; 4]),
    ]
}

const ANSWERS: u32 = 2 | 4;
const NEW: u32 = 8;
const TRANSLATED: u32 = 1 << 5;

fn to_this_host() -> Vec<Expr> {
    // The routing tables say "local" of the destination.
    vec![Expr::Route(3, 2, R0), Expr::Equal(R0, 2_u32.to_ne_bytes().to_vec())]
}

fn protocol_and_port() -> Vec<Expr> {
    vec![Expr::Meta(meta::PROTOCOL, R0), Expr::Payload(2, 2, 2, R1)]
}

fn asked_protocol_and_port() -> Vec<Expr> {
    vec![Expr::Meta(meta::PROTOCOL, R0), Expr::Flow(flow::TO_PORT, Some(0), R1)]
}

fn jump(to: &str) -> Expr {
    Expr::Then(Verdict::Jump(to.to_owned()))
}

fn goto(to: &str) -> Expr {
    Expr::Then(Verdict::Goto(to.to_owned()))
}

const DROP: Expr = Expr::Then(Verdict::Drop);
const ACCEPT: Expr = Expr::Then(Verdict::Accept);

/// Marks a new flow of the workload whose address is source or destination.
fn mark(ipv4: bool, source: bool) -> Vec<Expr> {
    let offset = match (ipv4, source) {
        (true, true) => 13,
        (true, false) => 17,
        (false, true) => 21,
        (false, false) => 37,
    };
    let mut rule = family(if ipv4 { IPV4 } else { IPV6 });
    rule.extend(some_bit(flow::STATE, NEW));
    rule.push(Expr::Payload(1, offset, 3, R0));
    rule.push(Expr::Bitwise(R0, vec![0xff; 4], vec![0, 0, 0, MARK_WORKLOAD]));
    rule.push(Expr::MarkFlow(R0));
    rule
}

/// The rule of one length of prefix.
pub fn length_rule((own, length): (u8, u8)) -> Vec<Expr> {
    let (key, set, bytes) = match own {
        IPV4 => (flow::FROM_IPV4, ALLOWED4.name, 4),
        _ => (flow::FROM_IPV6, ALLOWED6.name, 16),
    };
    let after = Reg(2 + bytes / 4);
    let count = bytes as usize;
    let mut rule = family(own);
    rule.extend(asked_protocol_and_port());
    rule.push(Expr::Flow(key, Some(0), Reg(2)));
    rule.push(Expr::Bitwise(Reg(2), mask(length, count), vec![0; count]));
    rule.push(Expr::Immediate(after, u32::from(length).to_ne_bytes().to_vec()));
    rule.push(Expr::In(set.to_owned(), R0, None));
    rule.push(Expr::Then(Verdict::Return));
    rule
}

/// The chain of the rules of lengths.
pub const LIST_CHAIN: &str = "list";

/// Chains with their hooks, in an order in which each is there before it is jumped to.
const CHAINS: [(&str, Option<Hook>); 12] = [
    (LIST_CHAIN, None),
    ("access", None),
    ("from_inside", None),
    ("to_inside", None),
    ("walls", Some(Hook { kind: "filter", hook: 0, priority: -300 })),
    ("ports", Some(Hook { kind: "nat", hook: 0, priority: -100 })),
    ("late", Some(Hook { kind: "filter", hook: 0, priority: -90 })),
    ("door", Some(Hook { kind: "filter", hook: 1, priority: -10 })),
    ("gate", Some(Hook { kind: "filter", hook: 2, priority: -10 })),
    ("ports_here", Some(Hook { kind: "nat", hook: 3, priority: -100 })),
    ("here", Some(Hook { kind: "filter", hook: 3, priority: -10 })),
    ("names", Some(Hook { kind: "nat", hook: 4, priority: 100 })),
];

/// The whole table, in place of the one that is there, with these elements in it.
pub fn rebuild(table: &str, plan: &Plan, elements: &BTreeSet<Element>) -> Batch {
    let mut batch = Batch::new(INET, table, table);
    // Made first, so that it can be deleted whether it was there or not.
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    for set in &SETS {
        batch.add_set(set);
    }
    for (name, hook) in CHAINS {
        batch.add_chain(name, hook);
    }
    let rules = lengths(elements).into_iter().map(|length| (LIST_CHAIN, length_rule(length)));
    for (chain, rule) in rules.chain(self::rules(plan)) {
        batch.add_rule(chain, &rule, false);
    }
    for element in elements {
        batch.add_element(element);
    }
    batch
}

/// The names of the chains.
pub fn chain_names() -> impl Iterator<Item = &'static str> {
    CHAINS.iter().map(|(name, _)| *name)
}

/// How many rules there are, without those of lengths.
pub fn count(plan: &Plan) -> usize {
    rules(plan).len()
}

fn rules(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = vec![(LIST_CHAIN, vec![DROP])];
    let mut access = asked_protocol_and_port();
    access.extend([Expr::In(LISTED.name.to_owned(), R0, None), goto(LIST_CHAIN)]);
    rules.push(("access", access));
    rules.extend(walls(plan));
    rules.extend(ports("ports"));
    rules.extend(ports("ports_here"));
    rules.push(late(&plan.port_range));
    rules.extend(gate(plan));
    rules.extend(door(plan));
    rules.extend(here(plan));
    rules.extend(names(plan));
    rules
}

fn walls(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = vec![vec![
        Expr::Meta(meta::IN_NAME, R0),
        Expr::Differs(R0, plan.interfaces.as_bytes().into()),
        ACCEPT,
    ]];
    // The interface by which an answer to the source would leave is the one that it came by, or there is none.
    rules.push(vec![Expr::Route(1, 1 | 8, R0), Expr::Equal(R0, vec![0; 4]), DROP]);
    for (address, length) in METADATA4.into_iter().chain([(Ipv4Addr::new(127, 0, 0, 0), 8)]) {
        rules.push([is_in(address.into(), length, false), vec![DROP]].concat());
    }
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    for (address, length) in [(METADATA6, 128), (link_local, 10)] {
        rules.push([is_in(address.into(), length, false), vec![DROP]].concat());
    }
    rules.into_iter().map(|rule| ("walls", rule)).collect()
}

fn ports(chain: &'static str) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = Vec::new();
    if chain == "ports" {
        // Of the host, workloads reach the callback port only, whoever's they are.
        for prefix in [ANY_INTERFACE, DOCKER_BRIDGE] {
            rules.push([in_from(prefix), vec![ACCEPT]].concat());
        }
    }
    for (own, set, after) in [(IPV4, PORTS4, 1), (IPV6, PORTS6, 4)] {
        let mut rule = family(own);
        if own == IPV6 {
            // The kernel lets nothing from ::1 leave the loopback. Refused at once it is tried by 127.0.0.1.
            rule.push(Expr::Payload(1, 24, 16, R0));
            rule.push(Expr::Differs(R0, Ipv6Addr::LOCALHOST.octets().to_vec()));
        }
        rule.extend(to_this_host());
        rule.extend(protocol_and_port());
        rule.push(Expr::In(set.name.to_owned(), R0, Some(R0)));
        rule.push(Expr::Destination(own, R0, Reg(after)));
        rules.push(rule);
    }
    rules.into_iter().map(|rule| (chain, rule)).collect()
}

fn late(range: &RangeInclusive<u16>) -> (&'static str, Vec<Expr>) {
    let mut rule = vec![Expr::Meta(meta::PROTOCOL, R0), Expr::Equal(R0, vec![UDP])];
    rule.extend([Expr::Flow(flow::MARK, None, R0), Expr::Equal(R0, vec![0; 4])]);
    rule.extend([Expr::Flow(flow::DIRECTION, None, R0), Expr::Equal(R0, vec![0])]);
    rule.extend([
        Expr::Flow(flow::STATUS, None, R0),
        Expr::Bitwise(R0, TRANSLATED.to_ne_bytes().to_vec(), vec![0; 4]),
        Expr::Equal(R0, vec![0; 4]),
    ]);
    rule.extend(to_this_host());
    rule.push(Expr::Payload(2, 2, 2, R0));
    rule.push(Expr::Within(R0, range.start().to_be_bytes().to_vec(), range.end().to_be_bytes().to_vec()));
    rule.push(Expr::Bitwise(R0, vec![0xff; 4], vec![0, 0, 0, MARK_PORT]));
    rule.push(Expr::MarkFlow(R0));
    ("late", rule)
}

fn gate(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = vec![
        ("gate", [in_from(&plan.interfaces), vec![goto("from_inside")]].concat()),
        ("gate", [out_to(&plan.interfaces), vec![goto("to_inside")]].concat()),
    ];
    for prefix in [ANY_INTERFACE, DOCKER_BRIDGE] {
        rules.push(("from_inside", [out_to(prefix), vec![DROP]].concat()));
    }
    rules.push(("from_inside", [some_bit(flow::STATUS, TRANSLATED), vec![jump("access")]].concat()));
    rules.push(("from_inside", mark(true, true)));
    rules.push(("from_inside", mark(false, true)));
    rules.push(("from_inside", vec![ACCEPT]));
    rules.push(("to_inside", [some_bit(flow::STATUS, TRANSLATED), vec![jump("access")]].concat()));
    rules.push(("to_inside", [some_bit(flow::STATE, ANSWERS), vec![ACCEPT]].concat()));
    rules.push(("to_inside", mark(true, false)));
    rules.push(("to_inside", mark(false, false)));
    rules.push(("to_inside", [some_bit(flow::STATUS, TRANSLATED), vec![ACCEPT]].concat()));
    rules.push(("to_inside", vec![DROP]));
    rules
}

fn door(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let other = vec![Expr::Meta(meta::IN_NAME, R0), Expr::Differs(R0, plan.interfaces.as_bytes().into())];
    let mut rules = vec![[other, vec![ACCEPT]].concat()];
    rules.push([some_bit(flow::STATUS, TRANSLATED), vec![jump("access")]].concat());
    rules.push([some_bit(flow::STATE, ANSWERS), vec![ACCEPT]].concat());
    rules.extend([mark(true, true), mark(false, true)]);
    let gateways = [Some((IpAddr::from(plan.gateway), 32)), plan.gateway6.map(|v6| (IpAddr::from(v6), 128))];
    if let Some(port) = plan.callback_port {
        for (gateway, length) in gateways.into_iter().flatten() {
            let mut rule = is_in(gateway, length, false);
            rule.extend([Expr::Meta(meta::PROTOCOL, R0), Expr::Equal(R0, vec![TCP])]);
            rule.extend([Expr::Payload(2, 2, 2, R0), Expr::Equal(R0, port.to_be_bytes().to_vec())]);
            rule.push(ACCEPT);
            rules.push(rule);
        }
    }
    rules.push(vec![DROP]);
    rules.into_iter().map(|rule| ("door", rule)).collect()
}

/// The networks of workloads.
fn subnets(plan: &Plan) -> impl Iterator<Item = (IpAddr, u8)> {
    let v4 = (IpAddr::from(plan.subnet.0), plan.subnet.1);
    let v6 = plan.gateway6.map(|v6| (IpAddr::from(Ipv6Addr::from_bits(v6.to_bits() & !0 << 64)), 64));
    [Some(v4), v6].into_iter().flatten()
}

fn here(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = Vec::new();
    for (address, length) in subnets(plan) {
        // Not by interface: after a translation the hook still names the one before.
        let own = is_in(address, length, false);
        rules.push([own.clone(), some_bit(flow::STATUS, TRANSLATED), vec![jump("access")]].concat());
        rules.push([own, mark(address.is_ipv4(), false)].concat());
    }
    rules.into_iter().map(|rule| ("here", rule)).collect()
}

fn names(plan: &Plan) -> Vec<(&'static str, Vec<Expr>)> {
    let mut rules = Vec::new();
    let loopback = is_in(Ipv4Addr::new(127, 0, 0, 0).into(), 8, true);
    let gateway = Expr::Immediate(R0, plan.gateway.octets().to_vec());
    rules.push([out_to(&plan.interfaces), loopback, vec![gateway, Expr::Source(IPV4, R0)]].concat());
    rules.push([out_to(ANY_INTERFACE), vec![ACCEPT]].concat());
    for (address, length) in subnets(plan) {
        rules.push([is_in(address, length, true), vec![Expr::Masquerade]].concat());
    }
    rules.into_iter().map(|rule| ("names", rule)).collect()
}

/// The rules that let our interfaces through a chain of the host that drops what it does not know.
pub fn pass(interfaces: &str, forward: bool) -> Vec<Vec<Expr>> {
    let way = |mut rule: Vec<Expr>| {
        rule.extend([Expr::Counter, ACCEPT]);
        rule
    };
    let mut rules = vec![way(in_from(interfaces))];
    if forward {
        rules.push(way(out_to(interfaces)));
    }
    rules
}

#[cfg(test)]
mod tests;
