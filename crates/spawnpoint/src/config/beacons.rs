//! Beacons of the configuration: which one stands near which host.
//!
//! The host's own, else its site's, else the one of this machine, if the host is on it and there is one.

use std::net::IpAddr;

use spawnpoint_model::limits::BEACON_PORT_MAX;
use spawnpoint_model::site::Beacon;

use super::{Config, Host, HostPlan, NamedBeacon, OwnBeacon, Problem, Site};

/// Characters of a name under which players reach a beacon.
const NAME_CHARS_MAX: usize = 253;

impl OwnBeacon {
    /// Checks what a person may have written.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |field: &str, text: String| Problem::at(format!("beacon.{field}"), text);
        for (field, port) in [("udp_port", self.udp_port), ("tcp_port", self.tcp_port)] {
            if port > BEACON_PORT_MAX {
                return Err(at(field, format!("must be a port from 1 to {BEACON_PORT_MAX}, or 0 for none")));
            }
        }
        if self.enabled && self.udp_port == 0 && self.tcp_port == 0 {
            return Err(at("enabled", "a beacon needs a udp_port or a tcp_port".into()));
        }
        match &self.public_host {
            Some(host) => check_host(host).map_err(|text| at("public_host", text)),
            None => Ok(()),
        }
    }

    /// As players see it, near a host that they reach at `public_address`.
    fn near(&self, public_address: IpAddr) -> Option<Beacon> {
        let port = |port: u16| Some(port).filter(|port| *port != 0);
        self.enabled.then(|| Beacon {
            host: self.public_host.clone().unwrap_or_else(|| public_address.to_string()),
            udp_port: port(self.udp_port),
            tcp_port: port(self.tcp_port),
        })
    }
}

impl NamedBeacon {
    /// In the model's terms; an error names the field.
    fn placed(&self, public_address: Option<IpAddr>) -> Result<Beacon, (&'static str, String)> {
        let host = match (&self.host, public_address) {
            (Some(host), _) => host.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => {
                return Err(("host", "say under which address or name players reach it".into()));
            }
        };
        check_host(&host).map_err(|text| ("host", text))?;
        for (field, port) in [("udp_port", self.udp_port), ("tcp_port", self.tcp_port)] {
            if port.is_some_and(|port| !(1..=BEACON_PORT_MAX).contains(&port)) {
                return Err((field, format!("must be a port from 1 to {BEACON_PORT_MAX}")));
            }
        }
        if self.udp_port.is_none() && self.tcp_port.is_none() {
            return Err(("udp_port", "a beacon needs a udp_port or a tcp_port".into()));
        }
        Ok(Beacon { host, udp_port: self.udp_port, tcp_port: self.tcp_port })
    }
}

impl Config {
    /// What answers pings near a host.
    pub(super) fn beacon_of(
        &self,
        site: &Site,
        host: &Host,
        planned: &HostPlan,
        site_key: &str,
        host_key: &str,
    ) -> Result<Option<Beacon>, Problem> {
        let at =
            |key: &str, (field, text): (&str, String)| Problem::at(format!("{key}.beacon.{field}"), text);
        // A mistake in the site's is one even where no host uses it.
        let sites = site.beacon.as_ref().map(|named| named.placed(None)).transpose();
        let sites = sites.map_err(|problem| at(site_key, problem))?;
        let own = host.beacon.as_ref().map(|named| named.placed(Some(planned.public_address))).transpose();
        let own = own.map_err(|problem| at(host_key, problem))?;
        if let Some(named) = own.or(sites) {
            return Ok(Some(named));
        }
        if !planned.is_local() {
            return Ok(None);
        }
        let here = self.beacon.near(planned.public_address);
        let taken = [("udp_port", self.beacon.udp_port), ("tcp_port", self.beacon.tcp_port)];
        if let Some((field, port)) = taken.into_iter().find(|(_, port)| planned.port_range.contains(port))
            && here.is_some()
        {
            let text = format!("port {port} lies in the port_range of host {:?}", planned.id);
            return Err(Problem::at(format!("beacon.{field}"), text));
        }
        Ok(here)
    }
}

/// An address or a domain name.
fn check_host(host: &str) -> Result<(), String> {
    let label_ok = |label: &str| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(ok)
    };
    let allowed = || format!("{host:?} must be an address or a name, as \"203.0.113.7\"");
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            Err(format!("{address} is no address that players can reach"))
        }
        Ok(_) => Ok(()),
        Err(_) if host.len() <= NAME_CHARS_MAX && host.split('.').all(label_ok) => Ok(()),
        Err(_) => Err(allowed()),
    }
}
