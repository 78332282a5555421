//! Netlink: how questions to the kernel are written, sent and answered. Knows no protocol above.
//!
//! A question is a [`Packet`] of one or more messages; each message has attributes, and attributes may have attributes in
//! them. The kernel works while it is being sent to, so all answers are there when `send` returns.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// A question.
pub const REQUEST: u16 = 1;
/// Answer when done.
pub const ACK: u16 = 4;
/// All there is.
pub const DUMP: u16 = 0x300;
/// Make it, if it is not there.
pub const CREATE: u16 = 0x400;
/// Refuse if it is there.
pub const EXCL: u16 = 0x200;
/// Put it in place of what is there.
pub const REPLACE: u16 = 0x100;
/// To the end of a list.
pub const APPEND: u16 = 0x800;
/// This attribute has attributes in it.
pub const NESTED: u16 = 0x8000;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// What was read changed meanwhile.
const INTERRUPTED: u16 = 0x10;
/// For one `recv`; the kernel makes answers of at most 32 KiB.
const RECEIVE: usize = 64 * 1024;
/// A transaction with every element of a full host; the kernel has to hold it as a whole.
const SEND_BUFFER: usize = 32 * 1024 * 1024;
/// How often a listing is read again that changed while it was read.
const ATTEMPTS: u32 = 64;
/// The first of these follow each other at once; then there is a pause that grows to the longest: 2.5 s in all. Others (Docker,
/// another installation) may change what is read a hundred times a second.
const AT_ONCE: u32 = 8;
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Messages to the kernel.
#[derive(Debug, Default)]
pub struct Packet {
    bytes: Vec<u8>,
    start: usize,
    messages: u32,
}

impl Packet {
    /// Begins a message. What follows belongs to it, until the next begins.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.end();
        self.start = self.bytes.len();
        self.messages += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        self.pad();
        self
    }

    /// Writes the length of the message that was begun.
    fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(self.start..self.start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    /// An attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // No value of ours comes near 64 KiB.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// A text, ended as the kernel likes it.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// A number in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// A number in the network's order, as netfilter has them.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Attributes in an attribute.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attr(kind | NESTED, &[]);
        inner(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }

    /// Bytes as they are: a structure in an attribute.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// How many messages there are.
    pub const fn messages(&self) -> u32 {
        self.messages
    }

    fn finish(&mut self) -> &[u8] {
        self.end();
        &self.bytes
    }
}

/// A message from the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its kind.
    pub kind: u16,
    /// What follows the netlink header.
    pub body: Vec<u8>,
}

/// A way to the kernel, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// For links, addresses and routes.
    pub fn route() -> io::Result<Self> {
        // Its number is 0, which is also "none".
        Self::open(None)
    }

    /// For nftables and connection tracking.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// For what sockets there are.
    pub fn sockets() -> io::Result<Self> {
        Self::open(Some(netlink::SOCK_DIAG))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Makes room for large transactions.
    pub fn widen(self) -> io::Result<Self> {
        sockopt::set_socket_send_buffer_size_force(&self.0, SEND_BUFFER)?;
        sockopt::set_socket_recv_buffer_size_force(&self.0, SEND_BUFFER)?;
        Ok(self)
    }

    fn send(&self, packet: &mut Packet) -> io::Result<()> {
        rustix::net::send(&self.0, packet.finish(), SendFlags::empty())?;
        Ok(())
    }

    /// What is there to be read, without waiting; empty if nothing is.
    fn receive(&self, flags: RecvFlags) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; RECEIVE];
        loop {
            match rustix::net::recv(&self.0, buffer.as_mut_slice(), flags) {
                Ok((length, _)) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(Vec::new()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends messages; all of them must succeed. The error is the first that the kernel tells.
    pub fn run(&self, packet: &mut Packet) -> io::Result<()> {
        self.send(packet)?;
        let mut result = Ok(());
        loop {
            // What is refused in a packet is told after the whole of it was worked on: all is read, or the next asker gets it.
            let bytes = self.receive(RecvFlags::DONTWAIT)?;
            if bytes.is_empty() {
                return result;
            }
            for (kind, _, body) in messages(&bytes) {
                if let (Ok(()), Some(error)) = (&result, errno(kind, body)) {
                    result = Err(error);
                }
            }
        }
    }

    /// One question with one answer.
    pub fn get(&self, packet: &mut Packet) -> io::Result<Answer> {
        self.send(packet)?;
        let mut found = None;
        loop {
            let bytes = self.receive(RecvFlags::DONTWAIT)?;
            if bytes.is_empty() {
                return found.ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            for (kind, _, body) in messages(&bytes) {
                match errno(kind, body) {
                    Some(error) => return Err(error),
                    None if kind > DONE => found = Some(Answer { kind, body: body.to_vec() }),
                    None => {}
                }
            }
        }
    }

    /// A question with many answers. It is asked again if what was read changed meanwhile.
    pub fn dump(&self, packet: &mut Packet) -> io::Result<Vec<Answer>> {
        until_still(|| self.dump_once(packet), std::thread::sleep)
    }

    fn dump_once(&self, packet: &mut Packet) -> io::Result<Option<Vec<Answer>>> {
        self.send(packet)?;
        let mut answers = Vec::new();
        let mut whole = true;
        loop {
            let bytes = self.receive(RecvFlags::empty())?;
            for (kind, flags, body) in messages(&bytes) {
                whole &= flags & INTERRUPTED == 0;
                match (kind, errno(kind, body)) {
                    (_, Some(error)) if error.raw_os_error() == Some(11) => return Ok(None),
                    (_, Some(error)) => return Err(error),
                    (DONE, None) => return Ok(whole.then_some(answers)),
                    (kind, None) if kind > DONE => answers.push(Answer { kind, body: body.to_vec() }),
                    _ => {}
                }
            }
        }
    }
}

/// The error that a message tells of.
fn errno(kind: u16, body: &[u8]) -> Option<io::Error> {
    if kind != ERROR && kind != DONE {
        return None;
    }
    let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
    (code < 0).then(|| io::Error::from_raw_os_error(-code))
}

/// The messages in what was received: kind, flags, body.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(rest.get(6..8)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, body))
    })
}

/// The attributes in a body, after its own header.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

/// The value of an attribute.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(of, _)| *of == kind).map(|(_, value)| value)
}

/// The value of an attribute that is a text.
pub fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(attribute(bytes, kind)?).ok().map(|text| text.trim_end_matches('\0'))
}

/// The value of an attribute that is a number in the network's order.
pub fn be32(bytes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(attribute(bytes, kind)?.try_into().ok()?))
}

/// Reads until nothing changed meanwhile, as often as may be.
fn until_still<T>(
    mut read: impl FnMut() -> io::Result<Option<T>>,
    pause: impl Fn(Duration),
) -> io::Result<T> {
    for attempt in 0..ATTEMPTS {
        if let Some(whole) = read()? {
            return Ok(whole);
        }
        if let Some(longer) = attempt.checked_sub(AT_ONCE) {
            pause(Duration::from_millis(1 << longer.min(16)).min(PAUSE_MAX));
        }
    }
    Err(io::Error::other("what was read never stood still"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut packet = Packet::default();
        packet.message(77, ACK, &[9, 9, 9, 9]).text(1, "abc").nest(2, |inner| {
            inner.be32(1, 0x0102_0304).u32(5, 7);
        });
        packet.message(78, 0, &[]);
        let bytes = packet.finish().to_vec();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].0, read[0].1, read[1].0), (77, ACK | REQUEST, 78));
        let body = &read[0].2[4..];
        assert_eq!(text(body, 1), Some("abc"));
        let inner = attribute(body, 2).unwrap();
        assert_eq!(be32(inner, 1), Some(0x0102_0304));
        assert_eq!(attribute(inner, 5), Some(&7_u32.to_ne_bytes()[..]));
    }

    #[test]
    fn what_others_change_all_the_time_is_read_in_a_pause_of_theirs_or_given_up() {
        let paused = std::cell::Cell::new(Duration::ZERO);
        let pause = |time| paused.set(paused.get() + time);
        let mut left = 50;
        let still = || {
            left -= 1;
            Ok((left == 0).then_some("read"))
        };
        assert_eq!(until_still(still, pause).unwrap(), "read");
        assert!(paused.get() > Duration::from_secs(1), "{paused:?}");
        paused.set(Duration::ZERO);
        assert!(until_still(|| Ok(None::<()>), pause).is_err());
        assert!((2..3).contains(&paused.get().as_secs()), "{paused:?}");
        let refused = until_still(|| Err::<Option<()>, _>(io::ErrorKind::PermissionDenied.into()), pause);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn cut_off_and_lying_answers_are_read_up_to_where_they_hold() {
        let mut packet = Packet::default();
        packet.message(77, 0, &[]).text(1, "abcd");
        let bytes = packet.finish().to_vec();
        for length in 0..bytes.len() {
            assert!(messages(&bytes[..length]).next().is_none(), "{length}");
        }
        assert!(attributes(&[255, 255, 1, 0, 0]).next().is_none());
        assert!(attributes(&[3, 0, 1, 0]).next().is_none(), "shorter than its own header");
        assert!(messages(&[0; 64]).next().is_none(), "a length of 0 would never end");
    }

    #[test]
    fn the_kernel_says_what_it_does_not_like() {
        let Ok(socket) = Socket::route() else { return };
        let mut packet = Packet::default();
        packet.message(18, ACK, &[0; 16]).text(3, "no-such-link");
        let refused = socket.run(&mut packet).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(19));
        assert!(socket.get(&mut packet).is_err(), "nothing of the answer before is left over");
    }
}
