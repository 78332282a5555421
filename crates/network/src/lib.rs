//! Gives workloads their own networks, with ports of the host leading there.
//!
//! What it must not know: containers, images, the engine. It is asked for a network by a workload's id, and keeps it
//! until it is told to release it. It talks to the kernel by netlink only; no program is called.
//!
//! Entry: [`Network::open`], then [`Network::lease`] → [`Network::publish`] → the workload runs → [`Network::release`].
//! All of them may be called twice, by another process than the one that began, and be given up half way: what was begun
//! goes on to its end.
//!
//! ```text
//!        this host                              │ network namespace of one workload
//!                                               │
//!   world ── eth0 ──▶ table inet spawnpoint-…   │
//!   127.0.0.1 ──────▶   its map: udp 31000      │
//!                        is 10.64.0.2:7777 ─────┼──▶ eth0 10.64.0.2/32, everything else is behind 10.64.0.1
//!   gateway 10.64.0.1    by spn<short id>0002   │
//!   on spn<short id>0001                        │
//! ```
//!
//! # What holds
//! - A published port is reached from other hosts, from this host's addresses and from 127.0.0.1. The workload sees the
//!   client's address; from 127.0.0.1 it sees the gateway's, since no answer could find the way back to a loopback. From
//!   `::1` it is not reached (the kernel lets nothing out of there): it is refused at once, and `localhost` goes on by IPv4.
//! - A workload reaches the world under the host's address; of this host nothing but the callback port at the gateway's
//!   address; no other workload of any installation and either driver; no link-local or metadata address.
//! - A loopback service of the host stays its own. `route_localnet` is set on our own links only, and what comes from them
//!   to 127.0.0.0/8 is dropped before it is looked at.
//! - Access lists hold for each packet, in both directions, also of flows that are older than the list.
//! - Flows are forgotten when a port changes hands, so that a client that never stops sending reaches the new owner.
//!
//! # Firewalls of the host
//! Nothing of the host's rules is changed, with one exception. A packet on its way to a workload is forwarded, and passes
//! *every* chain on the forward hook: an `accept` in ours does not save it from a chain with `policy drop`, and Docker makes
//! `ip filter FORWARD` such a chain. What does not pass that hook was looked into and does not do: `fwd` at the ingress of
//! an interface comes before connection tracking, knows no next hop, and would have to be put on each interface of the host;
//! flow tables begin to work only with the second packet of a flow; ipvlan (L3S) comes in by the input hook, where firewalls
//! drop as well, excludes other uses of the interface, and is missing in many kernels, as are flow tables; a program of our own
//! in the kernel (BPF) would have to do routing and translation anew; a proxy hides the client's address and costs a copy of
//! each packet. So: only where a chain on the forward or input hook has `policy drop`, two rules are put before its others
//! (Docker's `DOCKER-USER`, if there is one, which is made for that and which Docker never clears): what comes from or goes
//! to an interface named `spn<short id>…` is accepted. They take nothing away: our own chains have judged these packets
//! before. They carry the comment `spawnpoint-<short id>`, are put back by [`Network::sweep`] if a reload lost them, and go
//! with [`Network::remove_all`]. An operator who wants to write them himself sets `open_host_firewall` to false.
//!
//! Firewalls that drop by a rule instead of a policy (firewalld's `reject` for other zones) and those of the old iptables
//! (`iptables-legacy`) are not opened; the notes of [`Network::notes`] say so where the latter is found.
//!
//! # What is set on the host
//! `net.ipv4.ip_forward`, and for IPv6 `net.ipv6.conf.all.forwarding` (with `accept_ra` from 1 to 2, so that a host that
//! learns its routes from routers keeps doing so), are set to 1 if they are not, and stay so: others may rely on it by
//! then. It is in the notes. A host with several networks that did not forward before does so between them from then on, as
//! with any other runtime of containers: who does not want that says so in a firewall of his own. Everything else is of our
//! own interfaces.
//!
//! # What it costs
//! Publishing is one transaction of a few elements (0.1 ms, with a hundred ports or five thousand), leasing from the pool is
//! the writing of one small file. To forget flows the kernel walks through its whole table of connections (0.3 ms where it
//! has 262,144 places and few are taken): once for a release and once for each UDP port that is published, right after whoever
//! asked was told, and before anything else changes. To take a link away it waits for some 30 ms in which it does nothing:
//! that is done in the background, for many at once. A network holds some 220 KiB of the kernel's memory.
//!
//! # For whoever runs the workloads
//! Files of `netns/` are mounts. A process that makes a mount namespace of its own takes them along, and keeps networks
//! alive that were released: it must let go of its old root (`pivot_root`, then detach), or unmount them.
#![cfg(target_os = "linux")]

mod busy;
mod committer;
mod flows;
mod host;
mod link;
mod network;
mod nft;
mod opening;
mod pool;
mod rules;
mod slots;
mod stock;
mod types;
mod wire;

pub use network::Network;
pub use types::{Inventory, NetworkConfig, NetworkError, Port, Published, Slot, Traffic, Unsupported};

/// Prepared networks that may be kept ready.
pub const POOL_MAX: usize = 256;
/// Ports that a workload may have.
pub const PORTS_MAX: usize = 64;
/// Networks that are made at once: it is work.
const MAKERS: usize = 4;
/// Networks that are cleared at once: it is mostly waiting for the kernel, which waits once for all.
const CLEARERS: usize = 32;
