//! Which ports a container listens on, read from the kernel's tables of its network namespace.
//!
//! Cheap (two to four small files), exact for UDP as well, and without a call to the engine: this is what makes READY
//! come within milliseconds of the game server's bind.

use std::collections::BTreeSet;
use std::path::Path;

use spawnpoint_driver::PortPublish;
use spawnpoint_model::Transport;

/// A port of a container.
pub type Socket = (u16, Transport);

/// Whether process `pid` is the first process of `container` (its full engine id) as seen from here. It is not where
/// the engine lives in a virtual machine or another PID namespace, or where the number was given to somebody else.
pub fn is_ours(pid: i64, container: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("cgroup"))
        .is_ok_and(|cgroups| cgroups.contains(container))
}

/// Whether every one of `ports` is open in the network of process `pid`. `None` if the process is gone.
pub fn all_open(pid: i64, ports: &[PortPublish]) -> Option<bool> {
    let net = Path::new("/proc").join(pid.to_string()).join("net");
    let mut open = BTreeSet::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        if !ports.iter().any(|port| port.transport == transport) {
            continue;
        }
        let name = transport.as_str();
        read_table(&std::fs::read_to_string(net.join(name)).ok()?, transport, &mut open);
        // A kernel without IPv6 has no such table.
        if let Ok(table) = std::fs::read_to_string(net.join(format!("{name}6"))) {
            read_table(&table, transport, &mut open);
        }
    }
    Some(ports.iter().all(|port| open.contains(&(port.internal, port.transport))))
}

/// `sl local_address rem_address st …`; a TCP socket listens in state `0A`, a UDP socket receives in state `07`.
fn read_table(table: &str, transport: Transport, open: &mut BTreeSet<Socket>) {
    let wanted = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(local), Some(state)) = (words.nth(1), words.nth(1)) else { continue };
        let Some((address, port)) = local.rsplit_once(':') else { continue };
        let Ok(port) = u16::from_str_radix(port, 16) else { continue };
        if state == wanted && !is_loopback(address) {
            open.insert((port, transport));
        }
    }
}

/// Nobody outside reaches a loopback socket, and the engine's own name server has one in every container. Addresses
/// are written as the words of memory that hold them.
fn is_loopback(address: &str) -> bool {
    let v4 = |word: &str| word.ends_with("7F");
    match address.strip_prefix("0000000000000000") {
        None => address.len() == 8 && v4(address),
        Some("0000000001000000") => true,
        Some(rest) => rest.strip_prefix("FFFF0000").is_some_and(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
           0: 00000000:1E61 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n\
           1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2\n";

    #[test]
    fn a_listening_socket_is_open_and_a_connected_one_is_not() {
        let mut open = BTreeSet::new();
        read_table(TCP, Transport::Tcp, &mut open);
        assert_eq!(open.into_iter().collect::<Vec<_>>(), [(7777, Transport::Tcp)]);
    }

    #[test]
    fn a_loopback_socket_is_not_open_to_players() {
        for (address, loopback) in [
            ("0B00007F", true),
            ("00000000", false),
            ("7F000001", false),
            ("00000000000000000000000000000000", false),
            ("00000000000000000000000001000000", true),
            ("0000000000000000FFFF00000100007F", true),
            ("0000000000000000FFFF0000020012AC", false),
        ] {
            assert_eq!(is_loopback(address), loopback, "{address}");
        }
    }

    #[test]
    fn sockets_of_this_process_are_found_and_vanish_with_it() {
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let publish = [PortPublish { internal: port, external: 1, transport: Transport::Udp }];
        let pid = i64::from(std::process::id());
        assert_eq!(all_open(pid, &publish), Some(true));
        drop(udp);
        assert_eq!(all_open(pid, &publish), Some(false));
        assert_eq!(all_open(i64::MAX, &publish), None);
    }

    #[test]
    fn nothing_to_check_is_open() {
        assert_eq!(all_open(i64::from(std::process::id()), &[]), Some(true));
    }
}
