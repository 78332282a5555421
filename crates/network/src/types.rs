//! What is asked of the room and what it answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use spawnpoint_model::{Cidr, InstallationId, Transport, WorkloadId};

/// How the networks of one installation are made.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Whose they are: its short form is in the names of everything made here.
    pub installation: InstallationId,
    /// Where what must be found again after a crash is kept: mounts of network namespaces (`netns/`) and who holds them
    /// (`leases/`). Best on a tmpfs, as neither outlives the machine's start.
    pub run_dir: PathBuf,
    /// How many prepared networks are kept ready; at most [`crate::POOL_MAX`]. With 0 each is made when it is asked for.
    pub pool_size: usize,
    /// The one TCP port of the host that workloads reach, at [`crate::Network::gateway`]: the control plane's listener.
    pub callback_port: Option<u16>,
    /// The ports of the host that are published, as a rule. Others can be published, but a UDP flow to them that is older
    /// than that stays where it is.
    pub port_range: RangeInclusive<u16>,
    /// Where workloads have their addresses: an IPv4 network with 16 to 24 bits of prefix. `None`: the first
    /// `10.<n>.0.0/16` that leads nowhere on this host, which is kept as long as `run_dir` is.
    pub subnet: Option<Cidr>,
    /// Whether workloads get IPv6 where the host has it.
    pub ipv6: bool,
    /// Whether packets of our own interfaces are let through firewalls of the host that drop by policy whatever they do
    /// not know (Docker makes `FORWARD` so). See the crate's documentation for why this cannot be had otherwise.
    pub open_host_firewall: bool,
}

/// A published port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// Number on the host.
    pub external: u16,
    /// Number inside.
    pub internal: u16,
}

/// The network of one workload.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The network namespace: to be entered by the workload's first process, before it drops its privileges.
    pub netns: Arc<OwnedFd>,
    /// The same as a file, for those who have no descriptor of it (a supervisor in another process).
    pub netns_path: PathBuf,
    /// The address inside, on `eth0`.
    pub address: Ipv4Addr,
    /// The host as seen from inside: where the callback port is.
    pub gateway: Ipv4Addr,
    /// The IPv6 address inside.
    pub address6: Option<Ipv6Addr>,
    /// The host as seen from inside, by IPv6.
    pub gateway6: Option<Ipv6Addr>,
}

/// The published ports of a workload, as the kernel has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Whose.
    pub id: WorkloadId,
    /// Where they lead to.
    pub address: IpAddr,
    /// Which.
    pub ports: Vec<Port>,
    /// Who may come; `None` is everybody, an empty list nobody.
    pub access: Option<Vec<Cidr>>,
}

/// What there is in the kernel and on the disk, read there and not remembered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// The workloads that hold a network.
    pub leases: Vec<WorkloadId>,
    /// Prepared networks that nobody holds.
    pub free: usize,
    /// What is left of something that was interrupted, in words for a log. [`crate::Network::sweep`] removes it.
    pub strays: Vec<String>,
}

/// Bytes through a workload's network since it was leased, IP headers and Ethernet frames included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// To the workload.
    pub received: u64,
    /// From the workload.
    pub sent: u64,
}

/// Why no networks can be made on this host: one line for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The port is in use on this host: by the workload named, or by a program.
    #[error("port {port}/{} is in use by {by}", transport.as_str())]
    PortBusy {
        /// The number on the host.
        port: u16,
        /// Its protocol.
        transport: Transport,
        /// Who has it.
        by: String,
    },
    /// More ports, networks or namespaces than are allowed.
    #[error("{what}: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The workload holds no network.
    #[error("workload {0} has no network")]
    NoLease(WorkloadId),
    /// The kernel refused.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The thread that does the work has ended, as the process is ending.
    #[error("the network is closing")]
    Closing,
}
