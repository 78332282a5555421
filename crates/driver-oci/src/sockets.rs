//! Which ports a workload listens on, read from the kernel's tables of its network namespace: exact for UDP as well, and cheap
//! enough to be asked every few milliseconds.

use std::fs;

use spawnpoint_driver::PortPublish;
use spawnpoint_model::Transport;

/// Whether every one of `ports` is open in the network of process `pid`. `None` if the process is gone.
pub fn all_open(pid: i32, ports: &[PortPublish]) -> Option<bool> {
    let table = |transport: Transport, six: &str| {
        fs::read_to_string(format!("/proc/{pid}/net/{}{six}", transport.as_str())).ok()
    };
    for transport in [Transport::Tcp, Transport::Udp] {
        let wanted: Vec<u16> =
            ports.iter().filter(|port| port.transport == transport).map(|port| port.internal).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut open = Vec::new();
        read_table(&table(transport, "")?, transport, &mut open);
        // A kernel without IPv6 has no such table.
        read_table(&table(transport, "6").unwrap_or_default(), transport, &mut open);
        if !wanted.iter().all(|port| open.contains(port)) {
            return Some(false);
        }
    }
    Some(true)
}

/// `sl local_address rem_address st …`; a TCP socket listens in state `0A`, a UDP socket receives in state `07`.
fn read_table(table: &str, transport: Transport, open: &mut Vec<u16>) {
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
            open.push(port);
        }
    }
}

/// Nobody outside reaches a loopback socket. Addresses are written as the words of memory that hold them.
fn is_loopback(address: &str) -> bool {
    match address.strip_prefix("0000000000000000") {
        None => address.len() == 8 && address.ends_with("7F"),
        Some("0000000001000000") => true,
        Some(rest) => rest.strip_prefix("FFFF0000").is_some_and(|word| word.ends_with("7F")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_this_process_are_found_and_vanish_with_it() {
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let internal = udp.local_addr().unwrap().port();
        let publish = [PortPublish { internal, external: 1, transport: Transport::Udp }];
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(all_open(pid, &publish), Some(true));
        drop(udp);
        assert_eq!(all_open(pid, &publish), Some(false));
        assert_eq!(all_open(i32::MAX, &publish), None);
        assert_eq!(all_open(pid, &[]), Some(true));
    }

    #[test]
    fn a_loopback_socket_is_not_open_to_players() {
        for (address, loopback) in [
            ("0100007F", true),
            ("00000000", false),
            ("7F000001", false),
            ("00000000000000000000000001000000", true),
            ("0000000000000000FFFF00000100007F", true),
            ("0000000000000000FFFF0000020012AC", false),
        ] {
            assert_eq!(is_loopback(address), loopback, "{address}");
        }
    }
}
