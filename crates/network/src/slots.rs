//! Prepared networks: how one is made, found again and cleared.
//!
//! A network is a number, and everything of it follows from the number: the file `netns/<number>` on which its network
//! namespace is mounted (so that it outlives this process), the name of its link, its addresses. It is whole when the host's
//! end of its link is up, which is done last; what is not whole is cleared. Who holds it is the file `leases/<workload>`
//! with the number in it, which is written before the network is handed out. When it is given back the file becomes
//! `leases/!<number>`, which is removed when nothing is left of the network: so one without either file was never used.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::UnshareFlags;
use spawnpoint_model::WorkloadId;

use crate::host::inside6;
use crate::link;
use crate::types::Slot;
use crate::wire::{Packet, Socket};

/// The first number: before it are the two ends of the link that has the gateway's address.
const FIRST: u32 = 2;
/// What the names of files begin with that tell of networks to be cleared.
const BURIED: char = '!';
/// Numbers have four hexadecimal digits.
const LAST: u32 = 0xfffe;
/// Of the file that the kernel shows of a network namespace that is mounted somewhere.
const NSFS: rustix::fs::FsWord = 0x6e73_6673;
/// Settings inside, as Docker has them: low ports and echo requests are no privilege where the host has no part in them.
const SETTINGS: [(&str, &str); 2] =
    [("ipv4/ip_unprivileged_port_start", "0"), ("ipv4/ping_group_range", "0 2147483647")];

/// Where an installation has its networks.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What must be found again.
    pub run_dir: PathBuf,
    /// What the names of links begin with.
    pub interfaces: String,
    /// Where the addresses are: network and length of prefix.
    pub subnet: (Ipv4Addr, u8),
    /// The host's address there.
    pub gateway: Ipv4Addr,
    /// The same by IPv6.
    pub gateway6: Option<Ipv6Addr>,
}

/// A network.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its number.
    pub number: u32,
    /// Its network namespace.
    pub netns: Arc<OwnedFd>,
}

impl Ground {
    /// All numbers there can be.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let hosts = u32::MAX.checked_shr(self.subnet.1.into()).unwrap_or(0);
        // The last address of the subnet is nobody's, by custom.
        FIRST..hosts.min(LAST + 1)
    }

    /// The address inside.
    pub fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.0.to_bits() | number)
    }

    /// The IPv6 address inside.
    pub fn address6(&self, number: u32) -> Option<Ipv6Addr> {
        self.gateway6.map(|gateway6| inside6(gateway6, self.address(number)))
    }

    /// The link's name on the host.
    pub fn link(&self, number: u32) -> String {
        format!("{}{number:04x}", self.interfaces)
    }

    fn netns_dir(&self) -> PathBuf {
        self.run_dir.join("netns")
    }

    fn leases_dir(&self) -> PathBuf {
        self.run_dir.join("leases")
    }

    /// Where the network namespace is mounted.
    pub fn netns(&self, number: u32) -> PathBuf {
        self.netns_dir().join(format!("{number:04x}"))
    }

    /// Makes the directories.
    pub fn make_dirs(&self) -> io::Result<()> {
        fs::create_dir_all(self.netns_dir())?;
        fs::create_dir_all(self.leases_dir())
    }

    /// Removes the directories, which are empty.
    pub fn remove_dirs(&self) -> io::Result<()> {
        for dir in [self.netns_dir(), self.leases_dir()] {
            absent_is_fine(fs::remove_dir_all(dir))?;
        }
        Ok(())
    }

    /// The network as its holder sees it.
    pub fn slot(&self, prepared: &Prepared) -> Slot {
        let number = prepared.number;
        Slot {
            netns: Arc::clone(&prepared.netns),
            netns_path: self.netns(number),
            address: self.address(number),
            gateway: self.gateway,
            address6: self.address6(number),
            gateway6: self.gateway6,
        }
    }

    /// Makes a network. What was made before something failed is cleared.
    pub fn make(&self, number: u32) -> io::Result<Prepared> {
        let ground = self.clone();
        // The thread leaves the host's network for good, so it ends with its work.
        let thread =
            std::thread::Builder::new().name("network-maker".into()).spawn(move || ground.build(number))?;
        let made = thread.join().unwrap_or_else(|_| Err(io::Error::other("the maker's thread panicked")));
        if made.is_err() {
            self.clear(&Socket::route()?, number)?;
        }
        made
    }

    fn build(&self, number: u32) -> io::Result<Prepared> {
        let host = Socket::route()?;
        let path = self.netns(number);
        File::create(&path)?;
        leave_the_network()?;
        mount_bind("/proc/thread-self/ns/net", &path)?;
        let netns = OwnedFd::from(File::open(&path)?);
        let inner = Socket::route()?;

        let mut packet = Packet::default();
        link::add_pair(&mut packet, &self.link(number), netns.as_raw_fd());
        host.run(&mut packet)?;

        let ipv6 = self.gateway6.is_some();
        for (setting, value) in SETTINGS {
            fs::write(Path::new("/proc/sys/net").join(setting), value)?;
        }
        let addresses = [Some(IpAddr::from(self.address(number))), self.address6(number).map(IpAddr::from)];
        let gateways = [Some(IpAddr::from(self.gateway)), self.gateway6.map(IpAddr::from)];
        let mut packet = Packet::default();
        link::set_up(&mut packet, 1);
        link::set_up_inside(&mut packet, link::INSIDE, ipv6);
        for address in addresses.into_iter().flatten() {
            link::add_address(&mut packet, link::INSIDE, address);
        }
        for gateway in gateways.into_iter().flatten() {
            link::add_default_route(&mut packet, link::INSIDE, gateway);
        }
        inner.run(&mut packet)?;

        let outside = link::find(&host, &self.link(number))?.index;
        let mut packet = Packet::default();
        link::set_up_outside(&mut packet, outside, ipv6);
        for address in addresses.into_iter().flatten() {
            link::add_route(&mut packet, outside, address);
        }
        host.run(&mut packet)?;
        Ok(Prepared { number, netns: Arc::new(netns) })
    }

    /// Clears all of a network, or what there is of it.
    pub fn clear(&self, host: &Socket, number: u32) -> io::Result<()> {
        let mut packet = Packet::default();
        link::delete(&mut packet, &self.link(number));
        absent_is_fine(host.run(&mut packet))?;
        let path = self.netns(number);
        // The kernel says so of a file that is none of its mounts.
        match unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        absent_is_fine(fs::remove_file(path))
    }

    /// The network of a number, if it is whole.
    pub fn find(&self, links: &[link::Found], number: u32) -> Option<Prepared> {
        let name = self.link(number);
        links.iter().find(|link| link.name == name && link.up)?;
        let file = File::open(self.netns(number)).ok()?;
        let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
        (kind == NSFS).then(|| Prepared { number, netns: Arc::new(file.into()) })
    }

    /// The numbers of which there is something: a link, a mount or a file.
    pub fn present(&self, links: &[link::Found]) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> = Vec::new();
        for file in fs::read_dir(self.netns_dir())? {
            numbers.extend(file?.file_name().to_str().and_then(number));
        }
        let of_link = |link: &link::Found| number(link.name.strip_prefix(&self.interfaces)?);
        numbers.extend(links.iter().filter_map(of_link).filter(|number| *number >= FIRST));
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Writes down who holds a network.
    pub fn write_lease(&self, id: WorkloadId, number: u32) -> io::Result<()> {
        let path = self.leases_dir().join(id.to_string());
        let half = self.leases_dir().join(format!(".{id}"));
        fs::write(&half, format!("{number:04x}"))?;
        fs::rename(half, path)
    }

    /// From here on nobody holds the network, and it is to be cleared: also by the next process, if this one ends before.
    pub fn bury_lease(&self, id: WorkloadId, number: u32) -> io::Result<()> {
        fs::rename(self.leases_dir().join(id.to_string()), self.grave(number))
    }

    fn grave(&self, number: u32) -> PathBuf {
        self.leases_dir().join(format!("{BURIED}{number:04x}"))
    }

    /// The networks that are to be cleared.
    pub fn buried(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(self.leases_dir())? {
            let name = file?.file_name();
            numbers.extend(name.to_str().and_then(|name| number(name.strip_prefix(BURIED)?)));
        }
        Ok(numbers)
    }

    /// Clears a network that was buried.
    pub fn clear_buried(&self, host: &Socket, number: u32) -> io::Result<()> {
        self.clear(host, number)?;
        absent_is_fine(fs::remove_file(self.grave(number)))
    }

    /// Forgets who held a network.
    pub fn remove_lease(&self, id: WorkloadId) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.leases_dir().join(id.to_string())))
    }

    /// Removes leases that were being written. Only for whoever is alone here.
    pub fn clear_halves(&self) -> io::Result<()> {
        for file in fs::read_dir(self.leases_dir())? {
            let file = file?;
            if file.file_name().to_str().is_none_or(|name| name.starts_with('.')) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// Who holds which network.
    pub fn leases(&self) -> io::Result<Vec<(WorkloadId, u32)>> {
        let mut leases = Vec::new();
        for file in fs::read_dir(self.leases_dir())? {
            let file = file?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Ok(id) = name.parse() {
                let text = fs::read_to_string(file.path())?;
                leases.extend(number(text.trim()).map(|number| (id, number)));
            }
        }
        Ok(leases)
    }
}

fn number(text: &str) -> Option<u32> {
    (text.len() == 4).then(|| u32::from_str_radix(text, 16).ok())?
}

#[expect(
    deprecated,
    reason = "the successor is unsafe for flags that part the descriptors; this one does not"
)]
fn leave_the_network() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNET)?)
}

/// What is not there need not be removed.
pub fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        // 19: no such device.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(19) => Ok(()),
        other => other,
    }
}
