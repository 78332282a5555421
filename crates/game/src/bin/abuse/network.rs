//! Attempts over the network: raw packets, links and addresses of others, whoever is near.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::{Outcome, answer_of, recv, send, setsockopt, socket};

pub fn raw_packets() -> Outcome {
    let everything = i32::from(0x0003_u16.to_be());
    let mut refusal = String::new();
    for (domain, kind, protocol) in
        [(17, 3, everything), (17, 2, everything), (2, 3, 1), (2, 3, 255), (10, 3, 58)]
    {
        // SAFETY: numbers only.
        match answer_of(unsafe { socket(domain, kind, protocol) }.into()) {
            Ok(what) => return Ok(format!("family {domain}, kind {kind}: {what}")),
            Err(why) => refusal = why,
        }
    }
    Err(refusal)
}

/// Asks the kernel to set the loopback interface up, which it is.
pub fn change_links() -> Outcome {
    let mut message = Vec::new();
    // Header: length, RTM_NEWLINK, request with an answer, number, sender.
    message.extend(32_u32.to_ne_bytes());
    message.extend(16_u16.to_ne_bytes());
    message.extend(5_u16.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // Family and kind, the first interface, "up".
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    let mut reply = [0_u8; 256];
    // SAFETY: both buffers live through the calls and are as long as is said.
    let received = unsafe {
        let netlink = socket(16, 3, 0);
        if netlink < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        if send(netlink, message.as_ptr().cast(), message.len(), 0) < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        recv(netlink, reply.as_mut_ptr().cast(), reply.len(), 0)
    };
    let error = i32::from_ne_bytes([reply[16], reply[17], reply[18], reply[19]]);
    if received >= 20 && error == -1 {
        return Err("Operation not permitted".to_owned());
    }
    Ok(format!("{received} bytes came back, error {error}"))
}

/// Sending in somebody else's name.
pub fn take_another_address() -> Outcome {
    use std::os::fd::AsRawFd as _;
    let own = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    let yes: c_int = 1;
    // SAFETY: the value lives through the call and has the size given. 19 = transparent.
    let transparent = unsafe { setsockopt(own.as_raw_fd(), 0, 19, (&raw const yes).cast(), 4) };
    if transparent == 0 {
        return Ok("a socket is transparent".to_owned());
    }
    match std::net::UdpSocket::bind("192.0.2.77:0") {
        Ok(_) => Ok("an address of others could be taken".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Who may be at the other end of the own links.
pub fn reach(port: u16) -> Outcome {
    let own = addresses();
    let near = own.iter().flat_map(|address| match address {
        IpAddr::V4(own) => [1, 2, 3, -1_i64, -2]
            .map(|step| u32::try_from(i64::from(own.to_bits()) + step).unwrap_or(0))
            .into_iter()
            .chain([own.to_bits() & !255 | 1, own.to_bits() & !255 | 254, own.to_bits() & !0xffff | 1])
            .map(|bits| SocketAddr::new(Ipv4Addr::from_bits(bits).into(), port))
            .collect::<Vec<_>>(),
        IpAddr::V6(own) => [1, 2, -1_i128, -2]
            .map(|step| own.to_bits().wrapping_add_signed(step))
            .into_iter()
            .chain([own.to_bits() & !0xffff | 1])
            .map(|bits| SocketAddr::new(Ipv6Addr::from_bits(bits).into(), port))
            .collect(),
    });
    let metadata = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"];
    let metadata =
        metadata.iter().filter_map(|text| text.parse().ok()).map(|address| SocketAddr::new(address, port));
    let all: Vec<SocketAddr> =
        near.chain(gateways(port)).chain(metadata).filter(|address| !own.contains(&address.ip())).collect();
    for address in &all {
        if TcpStream::connect_timeout(address, Duration::from_millis(300)).is_ok() {
            return Ok(format!("{address} is reached"));
        }
    }
    Err(format!("{} addresses, none answers", all.len()))
}

pub fn connect(address: &str) -> Outcome {
    let address: SocketAddr = address.parse().map_err(|_| "no address".to_owned())?;
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => Ok(format!("{address} is reached")),
        Err(error) => Err(error.to_string()),
    }
}

/// Those that are not loopback, as the kernel's tables have them.
pub fn addresses() -> Vec<IpAddr> {
    let mut all = Vec::new();
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut last = None;
    for line in table.lines() {
        if let Some(address) = line.trim().strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL") {
            all.extend(last.filter(|address| !address.is_loopback()).map(IpAddr::V4));
        }
    }
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let six = table.lines().filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    all.extend(six.map(Ipv6Addr::from_bits).filter(|address| !address.is_loopback()).map(IpAddr::V6));
    all.sort_unstable();
    all.dedup();
    all
}

/// Where packets go that go out.
fn gateways(port: u16) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for line in fs::read_to_string("/proc/net/route").unwrap_or_default().lines().skip(1) {
        let gateway = line.split_whitespace().nth(2).and_then(|text| u32::from_str_radix(text, 16).ok());
        all.extend(gateway.map(|bits| SocketAddr::new(Ipv4Addr::from(bits.to_le_bytes()).into(), port)));
    }
    for line in fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(gateway), Some(link)) = (words.get(4), words.get(9)) else { continue };
        let Ok(bits) = u128::from_str_radix(gateway, 16) else { continue };
        let index = fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).unwrap_or_default();
        let scope = index.trim().parse().unwrap_or(0);
        all.push(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from_bits(bits), port, 0, scope)));
    }
    all.retain(|address| !address.ip().is_unspecified() && !address.ip().is_loopback());
    all
}

pub fn abstract_socket(name: &str) -> Outcome {
    use std::os::linux::net::SocketAddrExt as _;
    let address =
        std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(|error| error.to_string())?;
    match std::os::unix::net::UnixStream::connect_addr(&address) {
        Ok(_) => Ok("connected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Who listens for those that may do everything.
pub fn sockets_of_the_host() -> Outcome {
    let known = [
        "docker.sock",
        "containerd/containerd.sock",
        "dbus/system_bus_socket",
        "systemd/private",
        "crio/crio.sock",
    ];
    for folder in ["/run", "/var/run"] {
        let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let ours = found.filter(|path| path.to_string_lossy().contains("spawnpoint"));
        if let Some(path) = known
            .map(|name| Path::new(folder).join(name))
            .into_iter()
            .filter(|path| path.exists())
            .chain(ours)
            .next()
        {
            return Ok(format!("{} is there", path.display()));
        }
    }
    Err("none is there".to_owned())
}
