//! What the tests build: an installation of their own, other hosts, servers inside, clients anywhere.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use spawnpoint_model::{InstallationId, Transport, WorkloadId};
use spawnpoint_network::{Network, NetworkConfig, Port, Slot};

/// For an answer that is expected.
const PATIENCE: Duration = Duration::from_millis(250);
const ATTEMPTS: usize = 20;
/// For one that is not.
const DOUBT: Duration = Duration::from_millis(150);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Runs a program to its end; it must succeed.
pub fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether networks can be made here; if not it is said, or fails where it must be.
pub fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    let tools = ["ip", "nft"].iter().all(|tool| Command::new(tool).arg("-V").output().is_ok());
    if root && tools {
        return true;
    }
    let required = std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_some_and(|value| value == "1");
    assert!(!required, "networks need root, ip and nft");
    println!("skipped: networks need root, ip and nft");
    false
}

/// Numbers of this process and test that no other has at the same time.
pub fn unique() -> (u32, u32) {
    (std::process::id() % 0x1_0000, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// An installation of its own.
pub struct Lab {
    pub network: Network,
    pub config: NetworkConfig,
    pub base_port: u16,
    _dir: tempfile::TempDir,
}

/// The id of a workload.
pub fn id(number: u32) -> WorkloadId {
    format!("{number:012x}-1").parse().unwrap()
}

pub fn config(installation: &str, run_dir: PathBuf) -> NetworkConfig {
    NetworkConfig {
        installation: InstallationId::from(installation),
        run_dir,
        pool_size: 2,
        callback_port: Some(8099),
        port_range: 11000..=19999,
        subnet: None,
        ipv6: true,
        open_host_firewall: true,
    }
}

/// Also a test that failed leaves nothing behind.
impl Drop for Lab {
    fn drop(&mut self) {
        let (installation, run_dir) = (self.config.installation.clone(), self.config.run_dir.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let network = self.network.clone();
        let remove = move || {
            runtime.map(|runtime| {
                runtime.block_on(async {
                    let _ = network.close().await;
                    let _ = Network::remove_all(&installation, &run_dir).await;
                })
            })
        };
        let _ = std::thread::spawn(remove).join();
    }
}

impl Lab {
    pub async fn open(change: impl FnOnce(&mut NetworkConfig)) -> Self {
        let (process, number) = unique();
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&format!("{process:04x}t{number:03x}"), dir.path().join("net"));
        change(&mut config);
        let network = Network::open(config.clone()).await.unwrap();
        // Ports that nobody on this host uses; tests are next to each other, and others run theirs. Not where those take
        // theirs from who only bind them (compat/src/ports.rs): what is published here takes their packets away.
        let first = u16::try_from((process * 40 + number * 10) % 8990).unwrap();
        let is_free = |base: &u16| {
            (*base..*base + 10).all(|port| {
                UdpSocket::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
            })
        };
        let base_port = (0..899).map(|step| 11000 + (first + step * 10) % 8990).find(is_free).unwrap();
        Self { network, config, base_port, _dir: dir }
    }

    pub fn table(&self) -> String {
        format!("spawnpoint-{}", self.config.installation.as_str())
    }

    /// A workload that echoes on UDP and TCP port 7777, with who asked, published on one port.
    pub async fn echo(&self, number: u32, external: u16) -> Slot {
        let slot = self.network.lease(id(number)).await.unwrap();
        self.network.publish(id(number), &both(external), None).await.unwrap();
        echo(&slot, &format!("{number}"));
        slot
    }

    pub async fn close(self) {
        self.network.close().await.unwrap();
        Network::remove_all(&self.config.installation, &self.config.run_dir).await.unwrap();
    }
}

pub fn udp(external: u16) -> Port {
    Port { transport: Transport::Udp, external, internal: 7777 }
}

pub fn tcp(external: u16) -> Port {
    Port { transport: Transport::Tcp, ..udp(external) }
}

pub fn both(external: u16) -> Vec<Port> {
    vec![udp(external), tcp(external)]
}

/// Does something in a network namespace. Sockets that are made there stay there.
pub fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let enter = || {
            use std::os::fd::AsFd;
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        scope.spawn(enter).join().unwrap()
    })
}

/// Servers that answer `<name> <address of who asked> <what was said>`.
pub fn echo(slot: &Slot, name: &str) {
    let any: IpAddr =
        if slot.address6.is_some() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let (udp, tcp) = inside(&slot.netns, || {
        (UdpSocket::bind((any, 7777)).unwrap(), TcpListener::bind((any, 7777)).unwrap())
    });
    serve(udp, tcp, name);
}

/// The same with sockets that are there.
pub fn serve(udp: UdpSocket, tcp: TcpListener, name: &str) {
    let answer = |name: &str, from: SocketAddr, said: &[u8]| {
        [format!("{name} {} ", from.ip().to_canonical()).as_bytes(), said].concat()
    };
    let own = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&answer(&own, from, &buffer[..length]), from);
        }
    });
    let own = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = tcp.accept() {
            let own = own.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&answer(&own, from, &buffer[..length]));
                }
            });
        }
    });
}

/// Another host: a network namespace with a link to this one.
pub struct Elsewhere {
    name: String,
    pub netns: OwnedFd,
    /// This host's address there.
    pub host: Ipv4Addr,
    /// Its own.
    pub own: Ipv4Addr,
    pub link: String,
}

impl Elsewhere {
    pub fn new() -> Self {
        let (process, number) = unique();
        let name = format!("spt{process:04x}{number:x}");
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (process % 512) * 256 + (number % 64) * 4;
        let (host, own) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
        let link = format!("{name}h");
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add {link} type veth peer name eth0 netns {name}"));
        run(&format!("ip addr add {host}/30 dev {link}"));
        run(&format!("ip link set {link} up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} addr add {own}/30 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        run(&format!("ip -n {name} route add default via {host}"));
        let netns = std::fs::File::open(format!("/run/netns/{name}")).unwrap().into();
        Self { name, netns, host, own, link }
    }

    pub fn ip(&self, line: &str) {
        run(&format!("ip -n {} {line}", self.name));
    }
}

impl Elsewhere {
    /// Adds IPv6: this host's address there and its own.
    pub fn with_ipv6(&self) -> (Ipv6Addr, Ipv6Addr) {
        let [.., c, d] = self.host.octets();
        let [host, own] = [1, 2]
            .map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0x5350, u16::from_be_bytes([c, d]), 0, 0, 0, last));
        run(&format!("ip addr add {host}/64 dev {} nodad", self.link));
        self.ip(&format!("addr add {own}/64 dev eth0 nodad"));
        self.ip(&format!("route add default via {host}"));
        (host, own)
    }

    /// Sends packets for 127.0.0.1 to this host.
    pub fn escape(&self) {
        let enter = |line: &str| run(&format!("ip netns exec {} {line}", self.name));
        enter("ip route del local 127.0.0.0/8 dev lo table local");
        enter("ip addr flush dev lo");
        enter("sysctl -qw net.ipv4.conf.eth0.route_localnet=1");
        enter(&format!("ip route add 127.0.0.1/32 via {} src {}", self.host, self.own));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.link]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A UDP socket here, connected.
pub fn udp_client(to: impl Into<SocketAddr>) -> UdpSocket {
    let to = to.into();
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(to).unwrap();
    socket
}

fn exchange(socket: &UdpSocket, wait: Duration, attempts: usize) -> Option<String> {
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut buffer = [0; 2048];
    for _ in 0..attempts {
        let start = tokio::time::Instant::now();
        // An ICMP error of before is told on sending or on receiving, at once: that is no attempt yet.
        while start.elapsed() < wait {
            if socket.send(b"hi").is_ok()
                && let Ok(length) = socket.recv(&mut buffer)
            {
                return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    None
}

/// The answer, which must come.
pub fn answer(socket: &UdpSocket) -> String {
    exchange(socket, PATIENCE, ATTEMPTS).unwrap_or_else(|| panic!("no answer from {:?}", socket.peer_addr()))
}

/// Reads what is still under way, then asks again: nothing may come.
pub fn no_answer(socket: &UdpSocket) {
    socket.set_read_timeout(Some(DOUBT)).unwrap();
    let mut buffer = [0; 2048];
    while socket.recv(&mut buffer).is_ok() {}
    if let Some(answer) = exchange(socket, DOUBT, 3) {
        panic!("{:?} answered {answer}", socket.peer_addr());
    }
}

/// Whether anything comes to a socket, and from whom.
pub fn comes(socket: &UdpSocket) -> Option<IpAddr> {
    socket.set_read_timeout(Some(DOUBT * 2)).unwrap();
    socket.recv_from(&mut [0; 2048]).ok().map(|(_, from)| from.ip())
}

/// What the kernel knows of flows from or to an address.
pub fn flows(address: Ipv4Addr) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_default();
    let own = format!("={address} ");
    all.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
}

/// The kernel has some. Its list is read in pieces, and may lack one while others come and go.
pub async fn some_flows(address: Ipv4Addr) {
    let start = tokio::time::Instant::now();
    while flows(address).is_empty() {
        assert!(start.elapsed() < 20 * PATIENCE, "no flow of {address} is known");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The kernel forgets them: right after whoever asked for the release was told.
pub async fn no_flows(address: Ipv4Addr) {
    let start = tokio::time::Instant::now();
    while !flows(address).is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?}", flows(address));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A TCP connection, if there can be one.
pub fn tcp_client(to: impl Into<SocketAddr>) -> Option<TcpStream> {
    TcpStream::connect_timeout(&to.into(), Duration::from_millis(700)).ok()
}

/// Says something and gives the answer, if one comes.
pub fn talk(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    stream.write_all(b"hi").ok()?;
    let mut buffer = [0; 2048];
    match stream.read(&mut buffer) {
        Ok(length @ 1..) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        _ => None,
    }
}
