//! Whether a program on this host has a port.
//!
//! A published port takes packets before any program sees them: without this look a workload would quietly take a port from
//! a program that was there first.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketType, sockopt};
use spawnpoint_model::Transport;

/// Whether the port is bound on any address of this host.
pub fn is_bound(transport: Transport, port: u16) -> bool {
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
