//! Clients on other machines, as this machine sees them: network namespaces behind pairs of interfaces.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::say;

/// A machine next to this one.
#[derive(Debug)]
pub struct Machine {
    name: String,
    /// This machine's address on the way there.
    pub gateway: Ipv4Addr,
    /// Its own address.
    pub address: Ipv4Addr,
}

impl Machine {
    /// Puts one up: `10.213.NET.1` is this machine, it has `.2`. `None`, after saying why, if that is not possible.
    #[must_use]
    pub fn put_up(net: u8) -> Option<Self> {
        let name = format!("spc{}-{net}", std::process::id());
        let inner = format!("{name}i");
        let address = |last: u8| Ipv4Addr::new(10, 213, net, last);
        let machine = Self { name: name.clone(), gateway: address(1), address: address(2) };
        let steps = [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name {inner}"),
            format!("link set {inner} netns {name}"),
            format!("addr add {}/24 dev {name}", machine.gateway),
            format!("link set {name} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set {inner} up"),
            format!("-n {name} addr add {}/24 dev {inner}", machine.address),
            format!("-n {name} route add default via {}", machine.gateway),
        ];
        for step in steps {
            if !ip(&step) {
                say(&format!("skipped: no network namespaces here: ip {step} failed"));
                return None;
            }
        }
        Some(machine)
    }

    /// Does something there: sockets that are made belong to that machine.
    ///
    /// # Panics
    /// It does.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/var/run/netns/{}", self.name);
        let namespace = std::fs::File::open(path).unwrap();
        // A thread of its own: what it changes about itself ends with it.
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                    act()
                })
                .join()
                .unwrap()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.name));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
