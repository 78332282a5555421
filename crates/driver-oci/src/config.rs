//! How the embedded runtime is set up: values that can be written down and checked on any machine, whether it can run there or
//! not.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use spawnpoint_model::{Cidr, InstallationId};

/// Where folders for what runs lie, unless the configuration says otherwise.
const RUN_DIR: &str = "/run";
/// What the names of their folders begin with.
pub(crate) const PREFIX: &str = "spawnpoint-";
/// Ids of one container.
pub(crate) const BLOCK: u32 = 65_536;
/// Above this, ids are not ids everywhere.
const ID_MAX: u32 = i32::MAX as u32;
/// Beyond what distributions give to users and systemd to its containers.
const FIRST: u32 = 0x7000_0000;
/// Whose entries of `/etc/subuid` and `/etc/subgid` are taken, if they are there.
const OWNERS: [&str; 2] = ["spawnpoint", "root"];

/// How the embedded runtime is set up.
#[derive(Clone, Debug)]
pub struct OciConfig {
    /// What it keeps.
    pub dir: PathBuf,
    /// What lives as long as the machine runs: sockets, networks. Best on a tmpfs.
    pub run: PathBuf,
    /// Whose workloads it runs.
    pub installation: InstallationId,
    /// The one TCP port of the host that workloads may reach: Spawnpoint's callback listener.
    pub callback_port: Option<u16>,
    /// The ports of the host that are published, as a rule.
    pub port_range: std::ops::RangeInclusive<u16>,
    /// Where workloads have their addresses; `None` = found.
    pub subnet: Option<Cidr>,
    /// The binary that becomes the zygote: the product's own.
    pub program: PathBuf,
    /// Networks and supervisors that are kept ready.
    pub pool: usize,
    /// Containers get users of their own, from this range of the host's ids; `None` = they have the host's.
    pub users: Option<UserRange>,
    /// How much workloads may write, and what is kept free.
    pub disk: DiskBounds,
}

/// The first eight letters and digits of an installation's id: short enough for names of kernel objects.
#[must_use]
pub fn short(installation: &InstallationId) -> String {
    let kept = installation.as_str().chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_lowercase()).take(8).collect()
}

/// The folder for what runs that is used if nobody says: on a tmpfs where there is one.
#[must_use]
pub fn default_run_dir(installation: &InstallationId) -> PathBuf {
    run_dir_in(Path::new(RUN_DIR), installation)
}

/// The folder for what runs of an installation, in a folder of the operator's choice.
#[must_use]
pub fn run_dir_in(dir: &Path, installation: &InstallationId) -> PathBuf {
    dir.join(format!("{PREFIX}{}", short(installation)))
}

/// Bounds of the disk; 0 = none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskBounds {
    /// Bytes that a workload may write to its root file system.
    pub bytes: u64,
    /// Files and folders that it may make there.
    pub files: u64,
    /// Bytes that are kept free: with less, nothing is started or pulled.
    pub free_bytes: u64,
}

impl Default for DiskBounds {
    /// 10 GiB and a million files each; 1 GiB is kept free.
    fn default() -> Self {
        Self { bytes: 10 << 30, files: 1_000_000, free_bytes: 1 << 30 }
    }
}

/// Ids of the host that containers may have, and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    pub(crate) first: u32,
    pub(crate) blocks: u32,
}

impl fmt::Display for UserRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, u64::from(self.blocks) * u64::from(BLOCK))
    }
}

impl UserRange {
    /// `first:count`, for instance `1879048192:65536000`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is no range of user ids: write \"FIRST:COUNT\" with a first of at least {BLOCK}, a count of at least {BLOCK}, and nothing above {ID_MAX}"
            )
        };
        let (first, count) = text.split_once(':').ok_or_else(refused)?;
        let (Ok(first), Ok(count)) = (first.trim().parse::<u32>(), count.trim().parse::<u32>()) else {
            return Err(refused());
        };
        let end = u64::from(first) + u64::from(count);
        if first < BLOCK || count < BLOCK || end > u64::from(ID_MAX) {
            return Err(refused());
        }
        Ok(Self { first, blocks: count / BLOCK })
    }

    /// What this host has set aside for us in `/etc/subuid` and `/etc/subgid`, else a range that nobody gives out.
    #[must_use]
    pub fn of_this_host() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let unclaimed = Self { first: FIRST, blocks: (ID_MAX - FIRST) / BLOCK };
        Self::set_aside(&read("/etc/subuid"), &read("/etc/subgid")).unwrap_or(unclaimed)
    }

    /// The first entry `name:first:count` of ours that both files have.
    fn set_aside(users: &str, groups: &str) -> Option<Self> {
        let entries = |text: &str| {
            let own = |line: &str| {
                let (name, range) = line.split_once(':')?;
                OWNERS.contains(&name).then(|| Self::parse(range).ok()).flatten()
            };
            text.lines().filter_map(own).collect::<Vec<_>>()
        };
        let groups = entries(groups);
        entries(users).into_iter().find(|range| groups.contains(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_written() {
        let range = UserRange::parse("100000:200000").unwrap();
        assert_eq!(range, UserRange { first: 100_000, blocks: 3 });
        assert_eq!(UserRange::parse(&range.to_string()).unwrap(), range);
        assert!(UserRange::of_this_host().blocks > 0);
        for bad in ["", "100000", "0:65536", "100000:65535", "2147483647:65536", "a:b", "-1:65536", "1:2:3"] {
            let error = UserRange::parse(bad).unwrap_err();
            assert!(error.contains("FIRST:COUNT") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn what_the_host_has_set_aside_is_taken_where_both_files_have_it() {
        let users = "somebody:100000:65536\nroot:300000:65536\nspawnpoint:500000:131072\n";
        let both = UserRange::set_aside(users, "spawnpoint:500000:131072\n");
        assert_eq!(both, Some(UserRange { first: 500_000, blocks: 2 }));
        assert_eq!(UserRange::set_aside(users, "somebody:100000:65536\n"), None);
        assert_eq!(UserRange::set_aside("root:300000:1000\n", "root:300000:1000\n"), None);
    }
}
