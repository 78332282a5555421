//! Ports: what a version asks for, and what a deployment was given.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits;

/// What is spoken on a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// Plain TCP.
    Tcp,
    /// Plain UDP.
    Udp,
    /// Both, on one number.
    TcpUdp,
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS, ended by the game server itself.
    Https,
    /// WebSocket in the clear.
    Ws,
    /// WebSocket over TLS, ended by the game server itself.
    Wss,
}

/// What the kernel knows of a port's protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// `tcp` or `udp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Protocol {
    /// All, in the order in which messages name them.
    pub const ALL: [Self; 7] =
        [Self::Tcp, Self::Udp, Self::TcpUdp, Self::Http, Self::Https, Self::Ws, Self::Wss];

    /// The canonical spelling: `TCP`, `UDP`, `TCP/UDP`, `HTTP`, `HTTPS`, `WS`, `WSS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP/UDP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Reads any spelling in use: case does not matter, `Websocket` and `Secure Websocket` are synonyms.
    ///
    /// # Errors
    /// Names what is allowed; the field is left empty.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let upper = text.trim().to_ascii_uppercase();
        match upper.as_str() {
            "WEBSOCKET" => return Ok(Self::Ws),
            "SECURE WEBSOCKET" => return Ok(Self::Wss),
            "UDP/TCP" => return Ok(Self::TcpUdp),
            _ => {}
        }
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == upper)
            .ok_or_else(|| Invalid::new("", "must be one of TCP, UDP, TCP/UDP, HTTP, HTTPS, WS, WSS"))
    }

    /// The kernel protocols it needs.
    #[must_use]
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Udp => &[Transport::Udp],
            Self::TcpUdp => &[Transport::Tcp, Transport::Udp],
            Self::Tcp | Self::Http | Self::Https | Self::Ws | Self::Wss => &[Transport::Tcp],
        }
    }

    /// Whether Spawnpoint may end TLS in front of it.
    #[must_use]
    pub const fn may_upgrade(self) -> bool {
        matches!(self, Self::Http | Self::Ws)
    }
}

fn yes() -> bool {
    true
}

/// A port as a version declares it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PortSpec {
    /// The number inside the container; 0 = the number that is chosen outside is used inside as well.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// READY waits until somebody listens on it.
    #[serde(default = "yes")]
    pub to_check: bool,
    /// TLS is ended in front of it.
    #[serde(default)]
    pub tls_upgrade: bool,
    /// Its name; the key under which it is found in answers and variables.
    pub name: Option<String>,
}

impl PortSpec {
    /// The key under which it is found: its name, else its number.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.port.to_string())
    }

    /// Checks one port by itself.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name inside the port.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.port > limits::INTERNAL_PORT_MAX {
            return Err(Invalid::new("port", format!("must be 0 to {}", limits::INTERNAL_PORT_MAX)));
        }
        if let Some(name) = &self.name {
            crate::names::check_text(name, 1..=limits::PORT_NAME_CHARS_MAX).map_err(|e| e.within("name"))?;
        } else if self.port == 0 {
            return Err(Invalid::new("name", "is needed where port is 0"));
        }
        if self.tls_upgrade && !self.protocol.may_upgrade() {
            return Err(Invalid::new("tls_upgrade", "is possible for HTTP and WS only"));
        }
        Ok(())
    }
}

/// Checks a version's list of ports: each by itself, their number, and that no two share a key, a variable name or
/// an internal number on one transport.
///
/// # Errors
/// Every problem found, under `ports[i]`.
pub fn check_ports(ports: &[PortSpec]) -> Result<(), crate::Invalids> {
    let mut invalids = crate::Invalids::default();
    if ports.len() > limits::PORTS_MAX {
        invalids
            .add("ports", format!("must hold at most {} entries, not {}", limits::PORTS_MAX, ports.len()));
        return Err(invalids);
    }
    for (i, port) in ports.iter().enumerate() {
        let field = format!("ports[{i}]");
        if let Err(invalid) = port.check() {
            invalids.push(invalid.within(&field));
            continue;
        }
        let variable = crate::env::port_variable(&port.key());
        if ports[..i].iter().any(|p| crate::env::port_variable(&p.key()) == variable) {
            invalids.add(format!("{field}.name"), format!("another port is already called {:?}", port.key()));
        }
        let clash = |other: &&PortSpec| {
            other.port != 0
                && other.port == port.port
                && other.protocol.transports().iter().any(|t| port.protocol.transports().contains(t))
        };
        if let Some(other) = ports[..i].iter().find(clash) {
            let problem = format!("{} is already declared on {}", other.port, other.protocol.as_str());
            invalids.add(format!("{field}.port"), problem);
        }
    }
    invalids.into_result()
}

/// A port as a deployment was given it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PortBinding {
    /// The key: the port's name, or its internal number.
    pub name: String,
    /// The number inside the container.
    pub internal: u16,
    /// The number on the host.
    pub external: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// READY waits for it.
    pub to_check: bool,
    /// TLS is ended in front of it.
    pub tls_upgrade: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, protocol: Protocol, name: Option<&str>) -> PortSpec {
        PortSpec { port: number, protocol, to_check: true, tls_upgrade: false, name: name.map(str::to_owned) }
    }

    #[test]
    fn protocols_are_read_in_every_spelling_in_use() {
        for (text, protocol) in [
            ("udp", Protocol::Udp),
            ("UDP", Protocol::Udp),
            ("TCP/UDP", Protocol::TcpUdp),
            ("Websocket", Protocol::Ws),
            ("Secure Websocket", Protocol::Wss),
            ("http", Protocol::Http),
        ] {
            assert_eq!(Protocol::parse(text), Ok(protocol));
        }
        assert!(Protocol::parse("QUIC").unwrap_err().problem.contains("TCP/UDP"));
    }

    #[test]
    fn port_zero_needs_a_name_and_may_stand_twice() {
        assert!(check_ports(&[port(0, Protocol::Udp, None)]).is_err());
        assert!(check_ports(&[port(0, Protocol::Udp, Some("a")), port(0, Protocol::Udp, Some("b"))]).is_ok());
    }

    #[test]
    fn one_number_may_carry_tcp_and_udp_under_two_names() {
        assert!(
            check_ports(&[port(7777, Protocol::Udp, Some("game")), port(7777, Protocol::Tcp, Some("query"))])
                .is_ok()
        );
        let same_key =
            check_ports(&[port(7777, Protocol::Udp, None), port(7777, Protocol::Tcp, None)]).unwrap_err();
        assert_eq!(same_key.0[0].field, "ports[1].name");
        let same_number =
            check_ports(&[port(7777, Protocol::TcpUdp, Some("a")), port(7777, Protocol::Udp, Some("b"))])
                .unwrap_err();
        assert_eq!(same_number.0[0].field, "ports[1].port");
    }

    #[test]
    fn names_that_give_one_variable_are_refused() {
        assert!(
            check_ports(&[
                port(1, Protocol::Udp, Some("Game Port")),
                port(2, Protocol::Udp, Some("game_port"))
            ])
            .is_err()
        );
    }

    #[test]
    fn tls_is_ended_for_http_and_ws_only() {
        let mut spec = port(80, Protocol::Udp, None);
        spec.tls_upgrade = true;
        assert_eq!(spec.check().unwrap_err().field, "tls_upgrade");
        spec.protocol = Protocol::Ws;
        assert!(spec.check().is_ok());
    }
}
