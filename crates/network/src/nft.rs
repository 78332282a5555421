//! nftables: how tables, chains, sets, elements and rules are told to the kernel. Knows nothing of what ours mean.
//!
//! Everything goes in a [`Batch`], which the kernel takes as a whole or not at all. A rule is a list of [`Expr`]essions
//! that pass values on in registers; ours are the sixteen of four bytes, [`Reg`] 0 to 15.

use std::io;

use crate::wire::{APPEND, Answer, CREATE, DUMP, Packet, Socket, attribute, attributes, be32, text};

/// Both IPv4 and IPv6.
pub const INET: u8 = 1;
/// IPv4, as a family of tables and as `meta nfproto` tells it.
pub const IPV4: u8 = 2;
/// IPv6.
pub const IPV6: u8 = 10;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;

const LIST_ELEM: u16 = 1;
const VALUE: u16 = 1;
const SET_IS_MAP: u32 = 8;
/// How `nft` keeps a comment in what the kernel does not read.
const COMMENT: u8 = 0;

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A register of four bytes. Values that are longer take those that follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reg(pub u32);

impl Reg {
    const fn number(self) -> u32 {
        self.0 + 8
    }
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// On to the next hook.
    Accept,
    /// Gone.
    Drop,
    /// Back to where the chain was jumped from.
    Return,
    /// To another chain, and back.
    Jump(String),
    /// To another chain.
    Goto(String),
}

/// What a rule is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expr {
    /// Something about the packet that is not in it.
    Meta(u32, Reg),
    /// Goes on only if the register begins with this.
    Equal(Reg, Vec<u8>),
    /// Goes on only if it does not.
    Differs(Reg, Vec<u8>),
    /// Goes on only if the register begins with something between the two, in the network's order.
    Within(Reg, Vec<u8>, Vec<u8>),
    /// Bytes of the packet: base (1 network, 2 transport), offset, length.
    Payload(u32, u32, u32, Reg),
    /// And with the first, exclusive or with the second, in place.
    Bitwise(Reg, Vec<u8>, Vec<u8>),
    /// A value.
    Immediate(Reg, Vec<u8>),
    /// Something about the flow; the direction, if it is asked for.
    Flow(u32, Option<u8>, Reg),
    /// Marks the flow.
    MarkFlow(Reg),
    /// What the routing tables say: result, flags.
    Route(u32, u32, Reg),
    /// Goes on only if the key is in the set; `Some`: and takes what it maps to.
    In(String, Reg, Option<Reg>),
    /// Translates the destination: family, address, port.
    Destination(u8, Reg, Reg),
    /// Translates the source: family, address.
    Source(u8, Reg),
    /// Translates the source to the address of the interface.
    Masquerade,
    /// Counts packets.
    Counter,
    /// Ends it.
    Then(Verdict),
}

/// `meta` keys.
pub mod meta {
    /// Name of the interface it came by, padded with zeros.
    pub const IN_NAME: u32 = 6;
    /// Name of the interface it leaves by.
    pub const OUT_NAME: u32 = 7;
    /// IPv4 or IPv6.
    pub const FAMILY: u32 = 15;
    /// TCP, UDP, …
    pub const PROTOCOL: u32 = 16;
}

/// `ct` keys.
pub mod flow {
    /// New, established, …: bits.
    pub const STATE: u32 = 0;
    /// 0 as asked, 1 answers.
    pub const DIRECTION: u32 = 1;
    /// Translated, …: bits.
    pub const STATUS: u32 = 2;
    /// The mark.
    pub const MARK: u32 = 3;
    /// Port of the destination.
    pub const TO_PORT: u32 = 12;
    /// IPv4 address of the source.
    pub const FROM_IPV4: u32 = 19;
    /// IPv6 address of the source.
    pub const FROM_IPV6: u32 = 21;
}

/// Writes an expression's name and attributes.
fn expression(packet: &mut Packet, name: &str, data: impl FnOnce(&mut Packet)) {
    packet.nest(LIST_ELEM, |p| {
        p.text(1, name).nest(2, data);
    });
}

fn value(packet: &mut Packet, kind: u16, bytes: &[u8]) {
    packet.nest(kind, |p| {
        p.attr(VALUE, bytes);
    });
}

impl Expr {
    fn write(&self, packet: &mut Packet) {
        match self {
            Self::Meta(key, to) => expression(packet, "meta", |p| {
                p.be32(1, to.number()).be32(2, *key);
            }),
            Self::Equal(reg, bytes) => compare(packet, *reg, 0, bytes),
            Self::Differs(reg, bytes) => compare(packet, *reg, 1, bytes),
            Self::Within(reg, low, high) => expression(packet, "range", |p| {
                p.be32(1, reg.number()).be32(2, 0);
                value(p, 3, low);
                value(p, 4, high);
            }),
            Self::Payload(base, offset, length, to) => expression(packet, "payload", |p| {
                p.be32(1, to.number()).be32(2, *base).be32(3, *offset).be32(4, *length);
            }),
            Self::Bitwise(reg, mask, xor) => expression(packet, "bitwise", |p| {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                p.be32(1, reg.number()).be32(2, reg.number()).be32(3, length);
                value(p, 4, mask);
                value(p, 5, xor);
            }),
            Self::Immediate(to, bytes) => expression(packet, "immediate", |p| {
                p.be32(1, to.number());
                value(p, 2, bytes);
            }),
            Self::Flow(key, direction, to) => expression(packet, "ct", |p| {
                p.be32(1, to.number()).be32(2, *key);
                if let Some(direction) = direction {
                    p.attr(3, &[*direction]);
                }
            }),
            Self::MarkFlow(from) => expression(packet, "ct", |p| {
                p.be32(2, flow::MARK).be32(4, from.number());
            }),
            Self::Route(result, flags, to) => expression(packet, "fib", |p| {
                p.be32(1, to.number()).be32(2, *result).be32(3, *flags);
            }),
            Self::In(set, key, to) => expression(packet, "lookup", |p| {
                p.text(1, set).be32(2, key.number());
                if let Some(to) = to {
                    p.be32(3, to.number());
                }
            }),
            Self::Destination(family, address, port) => expression(packet, "nat", |p| {
                p.be32(1, 1).be32(2, u32::from(*family)).be32(3, address.number()).be32(5, port.number());
            }),
            Self::Source(family, address) => expression(packet, "nat", |p| {
                p.be32(1, 0).be32(2, u32::from(*family)).be32(3, address.number());
            }),
            Self::Masquerade => expression(packet, "masq", |_| {}),
            Self::Counter => expression(packet, "counter", |_| {}),
            Self::Then(verdict) => expression(packet, "immediate", |p| {
                p.be32(1, 0).nest(2, |p| {
                    p.nest(2, |p| verdict.write(p));
                });
            }),
        }
    }
}

fn compare(packet: &mut Packet, reg: Reg, operator: u32, bytes: &[u8]) {
    expression(packet, "cmp", |p| {
        p.be32(1, reg.number()).be32(2, operator);
        value(p, 3, bytes);
    });
}

impl Verdict {
    fn write(&self, packet: &mut Packet) {
        let (code, chain): (i32, Option<&str>) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
        };
        packet.attr(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            packet.text(2, chain);
        }
    }
}

/// Where a chain hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u32,
    /// Lower is earlier.
    pub priority: i32,
}

/// A set or a map: what its keys and values are, as `nft` numbers types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetKind {
    /// Its name.
    pub name: &'static str,
    /// Type and length of the keys.
    pub key: (u32, u32),
    /// Type and length of what they map to.
    pub data: Option<(u32, u32)>,
}

/// An element of a set.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Element {
    /// The set.
    pub set: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// What it maps to.
    pub data: Option<Vec<u8>>,
    /// For people, and to be found again.
    pub comment: String,
}

/// Changes that are made together or not at all.
#[derive(Debug)]
pub struct Batch {
    packet: Packet,
    family: u8,
    table: String,
    owner: String,
}

impl Batch {
    /// Changes in a table, made by somebody.
    pub fn new(family: u8, table: &str, owner: &str) -> Self {
        let mut packet = Packet::default();
        packet.message(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        Self { packet, family, table: table.to_owned(), owner: owner.to_owned() }
    }

    fn message(&mut self, kind: u16, flags: u16) -> &mut Packet {
        // Not acknowledged: what is refused is told anyway.
        self.packet.message(kind, flags, &header(self.family)).text(1, &self.table)
    }

    /// Makes the table, if it is not there.
    pub fn add_table(&mut self) {
        self.message(NEW_TABLE, CREATE).be32(2, 0);
    }

    /// Removes the table with all that is in it.
    pub fn delete_table(&mut self) {
        self.message(DELETE_TABLE, 0);
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        let packet = self.message(NEW_CHAIN, CREATE).text(3, name);
        if let Some(Hook { kind, hook, priority }) = hook {
            packet
                .nest(4, |p| {
                    p.be32(1, hook).attr(2, &priority.to_be_bytes());
                })
                .be32(5, 1)
                .text(7, kind);
        }
    }

    /// Makes a set.
    pub fn add_set(&mut self, set: &SetKind) {
        let id = self.packet.messages();
        let flags = if set.data.is_some() { SET_IS_MAP } else { 0 };
        let packet = self.message(NEW_SET, CREATE);
        packet.text(2, set.name).be32(3, flags).be32(4, set.key.0).be32(5, set.key.1);
        if let Some((kind, length)) = set.data {
            packet.be32(6, kind).be32(7, length);
        }
        packet.be32(10, id);
    }

    /// Adds a rule to the end of a chain, or puts it before all others.
    pub fn add_rule(&mut self, chain: &str, rule: &[Expr], first: bool) {
        let flags = if first { CREATE } else { CREATE | APPEND };
        // In the chains of others ours are known again by the comment.
        let comment = comment(&self.owner);
        let packet = self.message(NEW_RULE, flags).text(2, chain).nest(4, |p| {
            for expression in rule {
                expression.write(p);
            }
        });
        packet.attr(7, &comment);
    }

    /// Removes a rule.
    pub fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.message(DELETE_RULE, 0).text(2, chain).attr(3, &handle.to_be_bytes());
    }

    /// Adds an element.
    pub fn add_element(&mut self, element: &Element) {
        self.element(NEW_ELEMENT, CREATE, element);
    }

    /// Removes an element.
    pub fn delete_element(&mut self, element: &Element) {
        self.element(DELETE_ELEMENT, 0, element);
    }

    fn element(&mut self, kind: u16, flags: u16, element: &Element) {
        self.message(kind, flags).text(2, element.set).nest(3, |p| {
            p.nest(LIST_ELEM, |p| {
                value(p, 1, &element.key);
                if kind == NEW_ELEMENT {
                    if let Some(data) = &element.data {
                        value(p, 2, data);
                    }
                    p.attr(6, &comment(&element.comment));
                }
            });
        });
    }

    /// How many changes there are.
    pub const fn changes(&self) -> u32 {
        self.packet.messages() - 1
    }

    /// Makes them.
    pub fn commit(mut self, socket: &Socket) -> io::Result<()> {
        self.packet.message(BATCH_END, 0, &[0, 0, 0, 10]);
        socket.run(&mut self.packet)
    }
}

/// A comment as `nft` writes them: kind, length, text.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

fn read_comment(bytes: &[u8]) -> Option<&str> {
    match bytes {
        [COMMENT, length, rest @ ..] => match rest.get(..usize::from(*length))? {
            [text @ .., 0] => std::str::from_utf8(text).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// A chain of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainFound {
    /// Family of its table.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Hook and whether its policy is to drop, if it hangs on a hook.
    pub base: Option<(u32, bool)>,
}

/// All tables: family and name.
pub fn tables(socket: &Socket) -> io::Result<Vec<(u8, String)>> {
    let mut packet = Packet::default();
    packet.message(GET_TABLE, DUMP, &header(0));
    let table = |answer: &Answer| Some((*answer.body.first()?, text(answer.body.get(4..)?, 1)?.to_owned()));
    Ok(socket.dump(&mut packet)?.iter().filter_map(table).collect())
}

/// All chains.
pub fn chains(socket: &Socket) -> io::Result<Vec<ChainFound>> {
    let mut packet = Packet::default();
    packet.message(GET_CHAIN, DUMP, &header(0));
    let chain = |answer: &Answer| {
        let body = answer.body.get(4..)?;
        let base = attribute(body, 4).and_then(|hook| Some((be32(hook, 1)?, be32(body, 5)? == 0)));
        let (table, name) = (text(body, 1)?.to_owned(), text(body, 3)?.to_owned());
        Some(ChainFound { family: *answer.body.first()?, table, name, base })
    };
    Ok(socket.dump(&mut packet)?.iter().filter_map(chain).collect())
}

/// The rules of a chain: handle, and the comment.
pub fn rules(socket: &Socket, family: u8, table: &str, chain: &str) -> io::Result<Vec<(u64, String)>> {
    let mut packet = Packet::default();
    packet.message(GET_RULE, DUMP, &header(family)).text(1, table).text(2, chain);
    let rule = |answer: &Answer| {
        let body = answer.body.get(4..)?;
        if text(body, 1) != Some(table) || text(body, 2) != Some(chain) {
            return None;
        }
        let handle = u64::from_be_bytes(attribute(body, 3)?.try_into().ok()?);
        Some((handle, attribute(body, 7).and_then(read_comment).unwrap_or_default().to_owned()))
    };
    Ok(socket.dump(&mut packet)?.iter().filter_map(rule).collect())
}

/// The elements of a set; those without a comment of ours have an empty one.
pub fn elements(socket: &Socket, family: u8, table: &str, set: &SetKind) -> io::Result<Vec<Element>> {
    let mut packet = Packet::default();
    packet.message(GET_ELEMENT, DUMP, &header(family)).text(1, table).text(2, set.name);
    let mut found = Vec::new();
    for answer in socket.dump(&mut packet)? {
        let list = answer.body.get(4..).and_then(|body| attribute(body, 3)).unwrap_or_default();
        for (_, element) in attributes(list) {
            let bytes = |kind| Some(attribute(attribute(element, kind)?, VALUE)?.to_vec());
            let Some(key) = bytes(1) else { continue };
            let comment = attribute(element, 6).and_then(read_comment);
            let (data, comment) = (bytes(2), comment.unwrap_or_default().to_owned());
            found.push(Element { set: set.name, key, data, comment });
        }
    }
    Ok(found)
}
