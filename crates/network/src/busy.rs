//! Whether a program on this host has a port.
//!
//! A published port takes packets before any program sees them: without this look a workload would quietly take a port from
//! a program that was there first. Connections that go out from the port are no reason: the kernel tells their answers from
//! what is new.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketType, sockopt};
use spawnpoint_model::Transport;

use crate::wire::{DUMP, Packet, Socket};

const SOCKETS_BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
const LISTENING: u32 = 1 << 10;

/// Whether a program has the port on any address of this host.
pub fn is_taken(transport: Transport, port: u16) -> bool {
    // Most ports are free, and that is known at once.
    is_bound(transport, port) && (transport == Transport::Udp || is_listened(port).unwrap_or(true))
}

/// Whether somebody waits for TCP connections to the port.
fn is_listened(port: u16) -> io::Result<bool> {
    let socket = Socket::sockets()?;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let family = family.as_raw().to_le_bytes()[0];
        let mut question = vec![family, TCP, 0, 0];
        question.extend(LISTENING.to_ne_bytes());
        question.extend(port.to_be_bytes());
        // No other port, no address, no interface; and no particular socket.
        question.extend([0; 2 + 16 + 16 + 4]);
        question.extend([0xff; 8]);
        let mut packet = Packet::default();
        packet.message(SOCKETS_BY_FAMILY, DUMP, &question);
        if !socket.dump(&mut packet)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the port is bound on any address of this host.
fn is_bound(transport: Transport, port: u16) -> bool {
    let everywhere: [(AddressFamily, SocketAddr); 2] = [
        (AddressFamily::INET6, (Ipv6Addr::UNSPECIFIED, port).into()),
        (AddressFamily::INET, (Ipv4Addr::UNSPECIFIED, port).into()),
    ];
    everywhere.into_iter().any(|(family, address)| {
        let bind = || {
            let kind = match transport {
                Transport::Tcp => SocketType::STREAM,
                Transport::Udp => SocketType::DGRAM,
            };
            let socket = rustix::net::socket(family, kind, None)?;
            if transport == Transport::Tcp {
                // Connections that ended a moment ago are no listener.
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            if family == AddressFamily::INET6 {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
            rustix::net::bind(&socket, &address)
        };
        bind() == Err(rustix::io::Errno::ADDRINUSE)
    })
}
