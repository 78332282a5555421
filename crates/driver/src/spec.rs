//! What a driver is told to run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Cidr, HostId, InstallationId, Plaintext, Transport, WorkloadId};

/// A container port and the host port that leads to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortPublish {
    /// Number inside.
    pub internal: u16,
    /// Number on the host.
    pub external: u16,
    /// TCP or UDP.
    pub transport: Transport,
}

/// Who may reach the published ports of a workload: these networks and nobody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessList {
    /// Whose ports.
    pub id: WorkloadId,
    /// The ports.
    pub ports: Vec<PortPublish>,
    /// Who may; nobody if it is empty.
    pub networks: Vec<Cidr>,
}

/// How tightly a workload is held. Limits of CPU, memory and processes, no-new-privileges, dropped capabilities, the
/// engine's seccomp profile and isolation from neighbours, host and metadata service hold in both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Security {
    /// What game images need: root inside, a writable root file system, the harmless capabilities.
    #[default]
    Baseline,
    /// No capability at all, user 65532, read-only root with a sized `/tmp`.
    Restricted,
}

/// A fingerprint of a spec, stamped on the workload: the first 64 bits of a SHA-256, written as 16 hex digits. Stable
/// across releases, so that an upgraded control plane knows the workloads of the one before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpecHash(pub u64);

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a spec hash is 16 hex digits")]
pub struct NotAHash;

impl FromStr for SpecHash {
    type Err = NotAHash;
    fn from_str(text: &str) -> Result<Self, NotAHash> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAHash);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAHash)
    }
}

/// A file that is put into a workload before its process starts.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadFile {
    /// Where: an absolute path. Missing folders on the way are made.
    pub path: String,
    /// Its permissions, as `0o644`. It belongs to root.
    pub mode: u32,
    /// What is in it; may be a secret.
    pub content: Bytes,
}

impl fmt::Debug for WorkloadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkloadFile({:?}, {} bytes)", self.path, self.content.len())
    }
}

/// Where no file may be put: what the engine itself mounts or writes, and what makes users and programs what they are.
const PROTECTED: [&str; 5] = ["etc", "proc", "sys", "dev", ".dockerenv"];

impl WorkloadFile {
    /// Checks that it may be put where it is to be put.
    ///
    /// # Errors
    /// A sentence for users.
    pub fn check(&self) -> Result<(), String> {
        let refused =
            |why: &str| Err(format!("the file {:?} cannot be put into the container: {why}", self.path));
        let Some(rest) = self.path.strip_prefix('/') else { return refused("its path is not absolute") };
        let mut steps = rest.split('/');
        if steps.clone().any(|step| matches!(step, "" | "." | "..")) || self.path.contains('\0') {
            return refused("its path has empty steps, \".\" or \"..\"");
        }
        match steps.next() {
            Some(first) if PROTECTED.contains(&first) => refused(&format!("/{first} is protected")),
            _ => Ok(()),
        }
    }
}

/// A workload to be run. Labels (installation, host, deployment, attempt, spec hash) are derived from it by the driver;
/// no text of a user goes into a label, a name or a path.
#[derive(Clone, Debug)]
pub struct WorkloadSpec {
    /// Idempotency key.
    pub id: WorkloadId,
    /// Whose it is.
    pub installation: InstallationId,
    /// Where it runs.
    pub host: HostId,
    /// Image reference.
    pub image: String,
    /// Replaces the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// Replaces the image's arguments.
    pub arguments: Option<Vec<String>>,
    /// Variables, in order; the values may be secrets.
    pub env: Vec<(String, Plaintext)>,
    /// Ports.
    pub ports: Vec<PortPublish>,
    /// Limits.
    pub resources: Resources,
    /// Processes and threads at most.
    pub pids_max: u32,
    /// Security profile.
    pub security: Security,
    /// Files that are there before its process starts.
    pub files: Vec<WorkloadFile>,
    /// Who may reach its ports; `None` = everybody. Can be changed while it runs, so it is no part of what it is made from.
    pub access: Option<Vec<Cidr>>,
    /// How long its first process may live, at most, whether the control plane is there or not. Kept by drivers with
    /// [host deadlines](crate::DriverInfo::host_deadlines) only, so it is more than what the control plane allows; no part of
    /// what the workload is made from.
    pub lifetime: Option<Duration>,
}

impl WorkloadSpec {
    /// Checks that all files may be put where they are to be put.
    ///
    /// # Errors
    /// A sentence for users.
    pub fn check_files(&self) -> Result<(), String> {
        self.files.iter().try_for_each(WorkloadFile::check)
    }

    /// Its access list, if it has one.
    #[must_use]
    pub fn access_list(&self) -> Option<AccessList> {
        let networks = self.access.clone()?;
        Some(AccessList { id: self.id, ports: self.ports.clone(), networks })
    }

    /// A fingerprint of everything the workload is made from, secrets included (as a hash only).
    #[must_use]
    pub fn hash(&self) -> SpecHash {
        let Self {
            id,
            installation,
            host,
            image,
            command,
            arguments,
            env,
            ports,
            resources,
            pids_max,
            security,
            files,
            access: _,
            lifetime: _,
        } = self;
        let mut canon = Canon(Sha256::new());
        canon.text("spawnpoint workload 1");
        canon.text(&id.to_string());
        canon.text(installation.as_str());
        canon.text(host.as_str());
        canon.text(image);
        canon.list(command.as_deref());
        canon.list(arguments.as_deref());
        canon.number(env.len() as u64);
        for (key, value) in env {
            canon.text(key);
            canon.text(value.reveal());
        }
        canon.number(ports.len() as u64);
        for port in ports {
            canon.number(port.internal.into());
            canon.number(port.external.into());
            canon.text(port.transport.as_str());
        }
        canon.number(resources.cpu.0.into());
        canon.number(resources.memory.0.into());
        canon.number((*pids_max).into());
        canon.text(match security {
            Security::Baseline => "baseline",
            Security::Restricted => "restricted",
        });
        // Only where there are some: a workload without files has the hash that it had before there were files.
        if !files.is_empty() {
            canon.number(files.len() as u64);
            for file in files {
                canon.text(&file.path);
                canon.number(file.mode.into());
                canon.bytes(&file.content);
            }
        }
        canon.finish()
    }
}

/// Feeds a hash with fields that cannot run into each other: every text carries its length, every list its count.
struct Canon(Sha256);

impl Canon {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn list(&mut self, list: Option<&[String]>) {
        // An absent list and an empty one are different wishes.
        self.number(list.map_or(u64::MAX, |l| l.len() as u64));
        for text in list.unwrap_or_default() {
            self.text(text);
        }
    }

    fn finish(self) -> SpecHash {
        let digest = self.0.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        SpecHash(u64::from_be_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spawnpoint_model::{CpuUnits, DeploymentId, MemoryMib};

    fn spec() -> WorkloadSpec {
        WorkloadSpec {
            id: WorkloadId { deployment: DeploymentId::from_random(0x2a), attempt: 1 },
            installation: "aabbccdd".into(),
            host: "local".into(),
            image: "registry.test/game:1".to_owned(),
            command: None,
            arguments: Some(vec!["-a".to_owned()]),
            env: vec![("KEY".to_owned(), Plaintext::new("value"))],
            ports: vec![PortPublish { internal: 7777, external: 31000, transport: Transport::Udp }],
            resources: Resources { cpu: CpuUnits(512), memory: MemoryMib(256) },
            pids_max: 512,
            security: Security::Baseline,
            files: Vec::new(),
            access: None,
            lifetime: None,
        }
    }

    fn file(path: &str) -> WorkloadFile {
        WorkloadFile { path: path.to_owned(), mode: 0o644, content: Bytes::from_static(b"content") }
    }

    #[test]
    fn the_hash_of_a_spec_is_the_same_in_every_release() {
        // If this number changes, every live workload of every installation looks like a stranger after an upgrade.
        assert_eq!(spec().hash().to_string(), "4a67cc776f206ccc");
        assert_eq!("4a67cc776f206ccc".parse(), Ok(spec().hash()));
    }

    #[test]
    fn every_field_of_a_spec_is_in_its_hash() {
        let changes: [fn(&mut WorkloadSpec); 13] = [
            |s| s.id.attempt = 2,
            |s| s.installation = "other".into(),
            |s| s.host = "other".into(),
            |s| s.image.push('0'),
            |s| s.command = Some(Vec::new()),
            |s| s.arguments = None,
            |s| s.env[0].0.push('x'),
            |s| s.env[0].1 = Plaintext::new("other"),
            |s| s.ports[0].external += 1,
            |s| s.ports[0].transport = Transport::Tcp,
            |s| s.resources.memory = MemoryMib(257),
            |s| s.pids_max = 1,
            |s| s.security = Security::Restricted,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut changed = spec();
            change(&mut changed);
            assert_ne!(changed.hash(), spec().hash(), "change {i}");
        }
    }

    #[test]
    fn every_field_of_a_file_is_in_the_hash() {
        let with = |change: fn(&mut WorkloadFile)| {
            let mut spec = spec();
            let mut file = file("/data/a");
            change(&mut file);
            spec.files.push(file);
            spec.hash()
        };
        let plain = with(|_| {});
        assert_ne!(plain, spec().hash());
        assert_ne!(plain, with(|file| file.path.push('b')));
        assert_ne!(plain, with(|file| file.mode = 0o600));
        assert_ne!(plain, with(|file| file.content = Bytes::from_static(b"other")));
    }

    #[test]
    fn files_are_not_put_where_they_could_change_what_the_container_is() {
        for good in ["/data/a", "/usr/share/configs/x.cfg", "/a", "/home/etc/passwd", "/etcetera"] {
            assert!(file(good).check().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "data/a",
            "/",
            "/etc/passwd",
            "/etc",
            "/proc/1/mem",
            "/sys/x",
            "/dev/null",
            "/data/../etc/x",
        ] {
            let error = file(bad).check().unwrap_err();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
        for bad in ["/data//x", "/data/", "/./x", "/a\0b", "/.dockerenv"] {
            assert!(file(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        let with = |env: &[(&str, &str)]| {
            let mut spec = spec();
            spec.env = env.iter().map(|(k, v)| ((*k).to_owned(), Plaintext::new(*v))).collect();
            spec.hash()
        };
        assert_ne!(with(&[("a", "bc")]), with(&[("ab", "c")]));
        assert_ne!(with(&[("a", "b"), ("c", "d")]), with(&[("a", "bcd")]));
    }

    #[test]
    fn a_spec_hash_is_sixteen_hex_digits() {
        for bad in ["", "12", "00000000000000000", "+000000000000001", "g000000000000000"] {
            assert_eq!(bad.parse::<SpecHash>(), Err(NotAHash), "{bad:?}");
        }
    }
}
