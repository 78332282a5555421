//! Who is at the other end: the peer's address, or what a trusted proxy says of it.
//!
//! A header is believed only if the connection itself comes from a configured proxy network; else anybody could choose
//! an address. Of a chain, the last address that is not a proxy's counts.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use spawnpoint_engine::webhooks::Network;

use crate::state::{ApiConfig, ApiState};

/// The client's address; `None` only if the server was started without connection information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<ApiState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(Self::of(parts, state.config()))
    }
}

impl ClientAddress {
    /// Of a request.
    #[must_use]
    pub fn of(parts: &Parts, config: &ApiConfig) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        Self(peer.map(|peer| behind_proxies(peer, &parts.headers, config)))
    }
}

fn behind_proxies(peer: IpAddr, headers: &HeaderMap, config: &ApiConfig) -> IpAddr {
    let Some(header) = &config.client_address_header else { return peer };
    let is_proxy = |address: IpAddr| config.trusted_proxies.iter().any(|network| contains(network, address));
    if !is_proxy(peer) {
        return peer;
    }
    let hops = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).collect();
    let mut nearest = peer;
    for hop in hops.into_iter().rev() {
        let Some(address) = parse_hop(hop) else { break };
        nearest = address;
        if !is_proxy(address) {
            break;
        }
    }
    nearest
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|s| s.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bracketed).map(|a| a.to_canonical())
}

/// Whether `address` lies in `network`; never across families.
#[must_use]
pub fn contains(network: &Network, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let host_bits = width.saturating_sub(u32::from(network.prefix));
        host_bits >= width || a >> host_bits == b >> host_bits
    };
    match (network.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn config() -> ApiConfig {
        let proxies = Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 };
        ApiConfig {
            trusted_proxies: vec![proxies],
            client_address_header: Some(HeaderName::from_static("x-forwarded-for")),
            ..ApiConfig::default()
        }
    }

    fn client(peer: &str, forwarded: &[&str], config: &ApiConfig) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        behind_proxies(peer.parse().unwrap(), &headers, config).to_string()
    }

    #[test]
    fn the_header_is_believed_from_configured_proxies_alone() {
        let config = config();
        assert_eq!(client("10.1.2.3", &["198.51.100.7"], &config), "198.51.100.7");
        assert_eq!(client("203.0.113.9", &["198.51.100.7"], &config), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &["198.51.100.7"], &ApiConfig::default()), "10.1.2.3");
    }

    #[test]
    fn of_a_chain_the_last_address_that_is_no_proxy_counts() {
        let config = config();
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 198.51.100.7, 10.9.9.9"], &config), "198.51.100.7");
        assert_eq!(client("10.1.2.3", &["1.1.1.1", "[2001:db8::1]:443"], &config), "2001:db8::1");
        assert_eq!(client("10.1.2.3", &["unknown"], &config), "10.1.2.3");
        assert_eq!(client("10.1.2.3", &[], &config), "10.1.2.3");
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
        let holds = |n: Network, a: &str| contains(&n, a.parse().unwrap());
        assert!(holds(network("192.0.2.0", 24), "192.0.2.255"));
        assert!(!holds(network("192.0.2.0", 24), "192.0.3.0"));
        assert!(holds(network("0.0.0.0", 0), "255.1.2.3"));
        assert!(holds(network("2001:db8::", 32), "2001:db8:ffff::1"));
        assert!(!holds(network("::", 0), "1.2.3.4"));
    }
}
