//! Access lists in the firewall of this machine: only listed networks reach a workload's published ports.
//!
//! What it must not know: the engine's API. Whether a workload still exists is told by the caller.
//!
//! A packet is judged by the flow that it belongs to: by the port that the client first asked for and by the client's own
//! address, as the kernel's connection tracking keeps them, whatever was translated since. So one rule holds for what the
//! kernel forwards, for what the engine's own proxy takes (from this machine, or flows that are older than the
//! translation), for both directions, and for flows that were let in before the list was changed: each packet is looked at
//! anew, before anything that lets established flows pass.
//!
//! ```text
//! DOCKER-USER ─ to our bridge, client's direction ───▶ SPAWNPOINT-A-…  not through a published port: DROP
//! DOCKER-USER ─ from our bridge, answers ────────────▶       │         port 31000/udp ─▶ SPA-5d1e07a9c34b-1
//! INPUT       ─ to this machine, client's direction ─▶       │           from 203.0.113.0/24: RETURN
//! OUTPUT      ─ answers, and what is translated here ▶       │           DROP
//! ```
//!
//! The rules of a workload go in and out in one atomic `iptables-restore`. They speak of host ports, which are known before
//! the container has an address: so they are in force before it starts. A machine on which no workload has ever had a list
//! gets none of these rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use spawnpoint_driver::{AccessList, PortPublish};
use spawnpoint_model::{Cidr, InstallationId, Transport, WorkloadId};

use crate::guard::{iptables, run};
use crate::names;

/// What the names of workloads' chains begin with.
const CHAIN: &str = "SPA-";

/// The rules of one installation on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessRules {
    bridge: String,
    dispatch: String,
}

/// The rules as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InForce {
    /// Chains of the system that lead into ours, each time they do.
    entries: usize,
    /// What leads to each workload's chain.
    jumps: BTreeSet<(Transport, u16, WorkloadId)>,
    /// Whom each workload's chain lets in; only those that end in DROP.
    networks: BTreeMap<WorkloadId, Vec<Cidr>>,
}

impl InForce {
    /// Whether there is anything of ours.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jumps.is_empty()
    }

    /// The workloads that have rules.
    #[must_use]
    pub fn workloads(&self) -> BTreeSet<WorkloadId> {
        self.jumps.iter().map(|(_, _, id)| *id).collect()
    }

    /// As lists. The ports inside are not known here: they are given as 0.
    #[must_use]
    pub fn lists(&self) -> Vec<AccessList> {
        let list = |id: WorkloadId| {
            let own = self.jumps.iter().filter(|(_, _, of)| *of == id);
            let port = |(transport, external, _): &(Transport, u16, WorkloadId)| PortPublish {
                internal: 0,
                external: *external,
                transport: *transport,
            };
            let networks = self.networks.get(&id).cloned().unwrap_or_default();
            AccessList { id, ports: own.map(port).collect(), networks }
        };
        self.workloads().into_iter().map(list).collect()
    }

    /// Whether a list is in force as it is.
    fn holds(&self, list: &AccessList) -> bool {
        let jump = |port: &PortPublish| self.jumps.contains(&(port.transport, port.external, list.id));
        list.ports.iter().all(jump) && self.networks.get(&list.id) == Some(&ipv4(list))
    }
}

/// The networks that can come at all: ports are published on IPv4 only.
fn ipv4(list: &AccessList) -> Vec<Cidr> {
    list.networks.iter().copied().filter(Cidr::is_ipv4).collect()
}

impl AccessRules {
    /// The rules of an installation.
    #[must_use]
    pub fn new(installation: &InstallationId) -> Self {
        let dispatch = format!("SPAWNPOINT-A-{}", names::short(installation));
        Self { bridge: names::bridge(installation), dispatch }
    }

    /// Where the system's chains lead into ours.
    fn entries(&self) -> [(&'static str, Vec<&str>); 6] {
        let Self { bridge, dispatch } = self;
        let entry = |conditions: &[&'static str], interface: Option<&'static str>| {
            let mut rule = Vec::new();
            if let Some(direction) = interface {
                rule.extend([direction, bridge.as_str()]);
            }
            rule.extend(["-m", "conntrack"]);
            rule.extend(conditions);
            rule.extend(["-j", dispatch.as_str()]);
            rule
        };
        let (asks, answers) = (["--ctdir", "ORIGINAL"], ["--ctdir", "REPLY"]);
        let translated = |direction: &'static str| ["--ctstate", "DNAT", "--ctdir", direction];
        [
            ("DOCKER-USER", entry(&asks, Some("-o"))),
            ("DOCKER-USER", entry(&translated("REPLY"), Some("-i"))),
            ("INPUT", entry(&asks, None)),
            ("INPUT", entry(&translated("REPLY"), Some("-i"))),
            ("OUTPUT", entry(&translated("ORIGINAL"), Some("-o"))),
            ("OUTPUT", entry(&answers, None)),
        ]
    }

    /// What is in force.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn in_force(&self) -> Result<InForce, String> {
        let text = run("iptables-save", &["-t", "filter"], None).await?;
        Ok(self.read(&text))
    }

    /// Reads what `iptables-save` tells.
    fn read(&self, text: &str) -> InForce {
        let mut found = InForce::default();
        let mut open: BTreeMap<WorkloadId, Vec<Cidr>> = BTreeMap::new();
        let mut closed = BTreeSet::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["-A", chain, rule @ ..] = words.as_slice() else { continue };
            let after = |option: &str| {
                let at = rule.iter().position(|word| *word == option)?;
                rule.get(at + 1).copied()
            };
            let target = after("-j").unwrap_or_default();
            if *chain == self.dispatch {
                let transport =
                    [Transport::Tcp, Transport::Udp].into_iter().find(|t| after("-p") == Some(t.as_str()));
                let port = after("--ctorigdstport").and_then(|port| port.parse().ok());
                if let (Some(transport), Some(port), Some(id)) = (transport, port, workload(target)) {
                    found.jumps.insert((transport, port, id));
                }
            } else if let Some(id) = workload(chain) {
                match (after("--ctorigsrc"), target) {
                    (Some(network), "RETURN") => open.entry(id).or_default().extend(Cidr::parse(network)),
                    (None, "RETURN") => open.entry(id).or_default().extend(Cidr::parse("0.0.0.0/0")),
                    (None, "DROP") => drop(closed.insert(id)),
                    _ => {}
                }
            } else if target == self.dispatch {
                found.entries += 1;
            }
        }
        found.networks = closed.into_iter().map(|id| (id, open.remove(&id).unwrap_or_default())).collect();
        found
    }

    /// Puts lists in force. Those that are so already cost a look.
    ///
    /// # Errors
    /// Why it was not possible.
    pub async fn put(&self, lists: &[AccessList]) -> Result<(), String> {
        if lists.is_empty() {
            return Ok(());
        }
        let now = self.in_force().await?;
        if now.entries < self.entries().len() {
            self.lead_in().await?;
        }
        let due: Vec<_> = lists.iter().filter(|list| !now.holds(list)).collect();
        if due.is_empty() { Ok(()) } else { self.restore(&self.rules_of(&due, &now)).await }
    }

    /// What `iptables-restore --noflush` puts these lists in force with.
    fn rules_of(&self, lists: &[&AccessList], now: &InForce) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{line}");
        };
        // Made, or emptied.
        for list in lists {
            line(format!(":{} - [0:0]", chain(list.id)));
        }
        for list in lists {
            for network in ipv4(list) {
                line(format!("-A {} -m conntrack --ctorigsrc {network} -j RETURN", chain(list.id)));
            }
            line(format!("-A {} -j DROP", chain(list.id)));
            for port in &list.ports {
                // A port belongs to one workload: what another has left there would be asked first.
                let others = now.jumps.iter().filter(|(transport, external, id)| {
                    (*transport, *external) == (port.transport, port.external) && *id != list.id
                });
                others.for_each(|jump| line(format!("-D {}", self.jump(*jump))));
                let jump = (port.transport, port.external, list.id);
                if !now.jumps.contains(&jump) {
                    line(format!("-A {}", self.jump(jump)));
                }
            }
        }
        text
    }

    fn jump(&self, (transport, external, id): (Transport, u16, WorkloadId)) -> String {
        let transport = transport.as_str();
        format!("{} -p {transport} -m conntrack --ctorigdstport {external} -j {}", self.dispatch, chain(id))
    }

    /// Takes away the rules of workloads that were in force `before`, and that `exists` does not know.
    ///
    /// # Errors
    /// Why it was not possible.
    pub async fn keep(&self, before: &InForce, exists: impl Fn(WorkloadId) -> bool) -> Result<(), String> {
        let gone: BTreeSet<_> = before.workloads().into_iter().filter(|id| !exists(*id)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for jump in before.jumps.iter().filter(|(_, _, id)| gone.contains(id)) {
            let _ = writeln!(text, "-D {}", self.jump(*jump));
        }
        for id in &gone {
            let _ = writeln!(text, "-F {0}\n-X {0}", chain(*id));
        }
        self.restore(&text).await
    }

    async fn restore(&self, rules: &str) -> Result<(), String> {
        let text = format!("*filter\n{rules}COMMIT\n");
        run("iptables-restore", &["-w", "--noflush"], Some(&text)).await.map(drop)
    }

    /// Makes our chain, and lets the system's chains lead into it.
    async fn lead_in(&self) -> Result<(), String> {
        if iptables(&["-n", "-L", &self.dispatch]).await.is_err() {
            iptables(&["-N", &self.dispatch]).await?;
        }
        // A container is reached through its published ports or not at all. What it asked itself (the control plane's
        // callback port) is answered.
        let Self { bridge, dispatch } = self;
        let past = "-m conntrack --ctdir ORIGINAL ! --ctstate DNAT -j DROP";
        let past: Vec<_> = ["-o", bridge.as_str()].into_iter().chain(past.split(' ')).collect();
        if iptables(&[&["-C", dispatch.as_str()], past.as_slice()].concat()).await.is_err() {
            iptables(&[&["-I", dispatch.as_str()], past.as_slice()].concat()).await?;
        }
        // An engine that does not manage iptables itself has no DOCKER-USER.
        let has_own = iptables(&["-n", "-L", "DOCKER-USER"]).await.is_ok();
        for (parent, rule) in self.entries() {
            let parent = if parent == "DOCKER-USER" && !has_own { "FORWARD" } else { parent };
            if iptables(&[&["-C", parent], rule.as_slice()].concat()).await.is_err() {
                iptables(&[&["-I", parent], rule.as_slice()].concat()).await?;
            }
        }
        Ok(())
    }

    /// Takes everything away. What is not there is no error.
    pub async fn uninstall(&self) {
        if iptables(&["-n", "-L", &self.dispatch]).await.is_err() {
            return;
        }
        for (parent, rule) in self.entries() {
            let parents = if parent == "DOCKER-USER" { vec![parent, "FORWARD"] } else { vec![parent] };
            for parent in parents {
                while iptables(&[&["-D", parent], rule.as_slice()].concat()).await.is_ok() {}
            }
        }
        if let Ok(before) = self.in_force().await {
            let _ = self.keep(&before, |_| false).await;
        }
        for step in ["-F", "-X"] {
            let _ = iptables(&[step, &self.dispatch]).await;
        }
    }
}

/// A workload's chain: 27 characters at most, of 28 that are possible.
fn chain(id: WorkloadId) -> String {
    format!("{CHAIN}{id}")
}

fn workload(chain: &str) -> Option<WorkloadId> {
    chain.strip_prefix(CHAIN)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> AccessRules {
        AccessRules::new(&"aabbccddee".into())
    }

    fn list(id: &str, external: u16, networks: &[&str]) -> AccessList {
        let publish = |transport| PortPublish { internal: 7777, external, transport };
        AccessList {
            id: id.parse().unwrap(),
            ports: vec![publish(Transport::Udp), publish(Transport::Tcp)],
            networks: networks.iter().map(|text| Cidr::parse(text).unwrap()).collect(),
        }
    }

    const SAVED: &str = "*filter
:INPUT ACCEPT [0:0]
:SPA-00000000002a-1 - [0:0]
:SPAWNPOINT-A-aabbccdd - [0:0]
-A INPUT -m conntrack --ctdir ORIGINAL -j SPAWNPOINT-A-aabbccdd
-A SPA-00000000002a-1 -m conntrack --ctorigsrc 10.0.0.0/8 -j RETURN
-A SPA-00000000002a-1 -m conntrack --ctorigsrc 192.0.2.7 -j RETURN
-A SPA-00000000002a-1 -j DROP
-A SPA-00000000002b-1 -j DROP
-A SPAWNPOINT-A-aabbccdd -o sp-aabbccdd -m conntrack ! --ctstate DNAT --ctdir ORIGINAL -j DROP
-A SPAWNPOINT-A-aabbccdd -p udp -m conntrack --ctorigdstport 31000 -j SPA-00000000002a-1
-A SPAWNPOINT-A-aabbccdd -p tcp -m conntrack --ctorigdstport 31000 -j SPA-00000000002a-1
-A SPAWNPOINT-A-99999999 -p tcp -m conntrack --ctorigdstport 31001 -j SPA-00000000002c-1
COMMIT
";

    #[test]
    fn what_is_saved_is_read_and_holds_only_what_it_says() {
        let now = rules().read(SAVED);
        assert_eq!(now.entries, 1);
        assert_eq!(now.workloads(), BTreeSet::from(["00000000002a-1".parse().unwrap()]));
        assert!(now.holds(&list("00000000002a-1", 31_000, &["10.0.0.0/8", "192.0.2.7/32"])));
        assert!(now.holds(&list("00000000002a-1", 31_000, &["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"])));
        assert!(!now.holds(&list("00000000002a-1", 31_000, &["10.0.0.0/8"])));
        assert!(!now.holds(&list("00000000002a-1", 31_001, &["10.0.0.0/8", "192.0.2.7/32"])));
        assert!(!now.holds(&list("00000000002a-2", 31_000, &[])));
    }

    #[test]
    fn a_chain_without_its_last_rule_lets_everybody_in_and_does_not_count() {
        let open = SAVED.replace("-A SPA-00000000002a-1 -j DROP\n", "");
        assert!(!rules().read(&open).holds(&list("00000000002a-1", 31_000, &["10.0.0.0/8", "192.0.2.7/32"])));
    }

    #[test]
    fn an_empty_list_is_a_chain_that_drops_everything() {
        let text = rules().rules_of(&[&list("00000000002a-1", 31_000, &[])], &InForce::default());
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                ":SPA-00000000002a-1 - [0:0]",
                "-A SPA-00000000002a-1 -j DROP",
                "-A SPAWNPOINT-A-aabbccdd -p udp -m conntrack --ctorigdstport 31000 -j SPA-00000000002a-1",
                "-A SPAWNPOINT-A-aabbccdd -p tcp -m conntrack --ctorigdstport 31000 -j SPA-00000000002a-1",
            ]
        );
    }

    #[test]
    fn what_a_predecessor_has_left_on_a_port_goes() {
        let text =
            rules().rules_of(&[&list("00000000002a-2", 31_000, &["10.0.0.0/8"])], &rules().read(SAVED));
        assert!(text.contains(
            "-D SPAWNPOINT-A-aabbccdd -p udp -m conntrack --ctorigdstport 31000 -j SPA-00000000002a-1"
        ));
    }

    #[test]
    fn chain_names_fit_into_what_iptables_allows() {
        assert!(chain("ffffffffffff-4294967295".parse().unwrap()).len() <= 28);
        assert!(rules().dispatch.len() <= 28);
    }
}
