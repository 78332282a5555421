//! Which ports the kernel gives to outgoing connections: a game server must never be promised one of them.

use std::ops::RangeInclusive;

/// The kernel's range for outgoing connections, and what is kept out of it.
#[derive(Clone, Debug, Default)]
pub struct KernelPorts {
    /// `net.ipv4.ip_local_port_range`; `None` = unknown.
    pub outgoing: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: Vec<RangeInclusive<u16>>,
}

impl KernelPorts {
    /// Asks this machine's kernel.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        Self::parse(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
    }

    /// Reads the two texts as the kernel writes them: `32768 60999` and `30000-32767,40000`.
    #[must_use]
    pub fn parse(outgoing: &str, reserved: &str) -> Self {
        let number = |text: &str| text.trim().parse::<u16>().ok();
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(number(first)?..=number(last)?)
        };
        let outgoing =
            outgoing.trim().split_once(char::is_whitespace).and_then(|(a, b)| Some(number(a)?..=number(b)?));
        Self { outgoing, reserved: reserved.split(',').filter_map(range).collect() }
    }

    /// The first port of `range` that the kernel may take for itself.
    #[must_use]
    pub fn first_taken(&self, range: &RangeInclusive<u16>) -> Option<u16> {
        let outgoing = self.outgoing.as_ref()?;
        let first = *range.start().max(outgoing.start());
        let last = *range.end().min(outgoing.end());
        (first..=last).find(|port| !self.reserved.iter().any(|kept| kept.contains(port)))
    }
}
