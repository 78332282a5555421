//! The firewall between containers and what they must not reach.
//!
//! What it is for: a game server may talk to players and to the internet. It may not reach its neighbours, cloud
//! metadata services, or anything on the host except the one port on which Spawnpoint answers it.
//!
//! The engine's own `icc=false` keeps neighbours apart; these rules say the same again and add the rest. They hang in
//! two chains of our own, one per installation, that only see packets from our bridge:
//!
//! ```text
//! DOCKER-USER ─ from our bridge ─▶ SPAWNPOINT-F-…   forwarded: no neighbours, no metadata
//! INPUT       ─ from our bridge ─▶ SPAWNPOINT-I-…   to the host: answers and the callback port only
//! ```
//!
//! Filling the chains is one atomic `iptables-restore`, so it can be repeated at any time. For an engine on another
//! machine nothing can be done from here: [`Guard::for_operators`] is what its operator has to run there.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use spawnpoint_model::InstallationId;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::names;

/// Link-local addresses (among them every cloud's metadata service) and Alibaba's, which lies elsewhere. A cloud whose
/// name server is link-local needs another one in the engine's configuration.
const METADATA: [&str; 2] = ["169.254.0.0/16", "100.100.100.200/32"];
/// For one call of a program.
const PATIENCE: Duration = Duration::from_secs(10);

/// The rules of one installation on one engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    bridge: String,
    forward: String,
    input: String,
    gateway: Ipv4Addr,
    callback_port: Option<u16>,
}

impl Guard {
    /// The rules for the network behind `gateway`; `callback_port` is the one port of the host that containers reach.
    #[must_use]
    pub fn new(installation: &InstallationId, gateway: Ipv4Addr, callback_port: Option<u16>) -> Self {
        let short = names::short(installation);
        Self {
            bridge: names::bridge(installation),
            forward: format!("SPAWNPOINT-F-{short}"),
            input: format!("SPAWNPOINT-I-{short}"),
            gateway,
            callback_port,
        }
    }

    /// Both chains with all their rules, as `iptables-restore --noflush` reads them.
    fn chains(&self) -> String {
        let Self { bridge, forward, input, gateway, .. } = self;
        let mut text = format!("*filter\n:{forward} - [0:0]\n:{input} - [0:0]\n");
        let mut rule = |rule: String| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "-A {rule}");
        };
        for address in METADATA {
            rule(format!("{forward} -d {address} -j DROP"));
        }
        rule(format!("{forward} -o {bridge} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"));
        rule(format!("{forward} -o {bridge} -j DROP"));
        rule(format!("{input} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
        if let Some(port) = self.callback_port {
            rule(format!("{input} -d {gateway} -p tcp --dport {port} -j ACCEPT"));
        }
        rule(format!("{input} -j DROP"));
        text.push_str("COMMIT\n");
        text
    }

    /// A jump from a chain of the system into one of ours.
    fn jump<'a>(&'a self, chain: &'a str) -> [&'a str; 4] {
        ["-i", &self.bridge, "-j", chain]
    }

    /// What the operator of an engine on another machine has to run there, as root.
    #[must_use]
    pub fn for_operators(&self) -> String {
        let mut text = format!("iptables-restore --noflush <<'END'\n{}END\n", self.chains());
        for (parent, chain) in [("DOCKER-USER", &self.forward), ("INPUT", &self.input)] {
            let jump = self.jump(chain).join(" ");
            let _ = writeln!(text, "iptables -C {parent} {jump} || iptables -I {parent} {jump}");
        }
        text
    }

    /// Puts the rules in force on this machine, or finds them so.
    ///
    /// # Errors
    /// Why it was not possible: no `iptables`, no privilege.
    pub async fn install(&self) -> Result<(), String> {
        run("iptables-restore", &["-w", "--noflush"], Some(&self.chains())).await?;
        // An engine that does not manage iptables itself has no DOCKER-USER.
        let parent =
            if iptables(&["-n", "-L", "DOCKER-USER"]).await.is_ok() { "DOCKER-USER" } else { "FORWARD" };
        for (parent, chain) in [(parent, &self.forward), ("INPUT", &self.input)] {
            let jump = self.jump(chain);
            if iptables(&[&["-C", parent], jump.as_slice()].concat()).await.is_err() {
                iptables(&[&["-I", parent], jump.as_slice()].concat()).await?;
            }
        }
        Ok(())
    }

    /// Takes the rules away. What is not there is no error.
    pub async fn uninstall(&self) {
        for (parent, chain) in
            [("DOCKER-USER", &self.forward), ("FORWARD", &self.forward), ("INPUT", &self.input)]
        {
            while iptables(&[&["-D", parent], self.jump(chain).as_slice()].concat()).await.is_ok() {}
        }
        for chain in [&self.forward, &self.input] {
            // Absent chains give errors that say nothing new.
            let _ = iptables(&["-F", chain]).await;
            let _ = iptables(&["-X", chain]).await;
        }
    }
}

pub(crate) async fn iptables(arguments: &[&str]) -> Result<(), String> {
    run("iptables", &[&["-w"], arguments].concat(), None).await.map(drop)
}

/// Runs a program to its end, and tells what it wrote; the error is what it said.
pub(crate) async fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let whole = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PATIENCE, whole).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => return Err(format!("{program} did not end within {} s", PATIENCE.as_secs())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(callback_port: Option<u16>) -> Guard {
        Guard::new(&"aabbccddee".into(), Ipv4Addr::new(172, 18, 0, 1), callback_port)
    }

    #[test]
    fn only_answers_and_the_callback_port_reach_the_host() {
        let chains = guard(Some(8099)).chains();
        let input: Vec<&str> =
            chains.lines().filter(|line| line.starts_with("-A SPAWNPOINT-I-aabbccdd")).collect();
        assert_eq!(
            input,
            [
                "-A SPAWNPOINT-I-aabbccdd -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                "-A SPAWNPOINT-I-aabbccdd -d 172.18.0.1 -p tcp --dport 8099 -j ACCEPT",
                "-A SPAWNPOINT-I-aabbccdd -j DROP",
            ]
        );
        assert!(!guard(None).chains().contains("--dport"));
    }

    #[test]
    fn metadata_is_dropped_before_anything_is_let_through() {
        let chains = guard(None).chains();
        let metadata = chains.find("169.254.0.0/16").unwrap();
        assert!(metadata < chains.find("RETURN").unwrap());
        assert!(chains.contains("-A SPAWNPOINT-F-aabbccdd -o sp-aabbccdd -j DROP"));
    }

    #[test]
    fn chain_names_fit_into_what_iptables_allows() {
        let guard = guard(None);
        assert!(guard.forward.len() <= 28 && guard.input.len() <= 28);
    }

    #[test]
    fn operators_are_given_commands_that_can_be_run_twice() {
        let text = guard(Some(1)).for_operators();
        assert!(
            text.contains("iptables -C INPUT -i sp-aabbccdd -j SPAWNPOINT-I-aabbccdd || iptables -I INPUT")
        );
    }
}
