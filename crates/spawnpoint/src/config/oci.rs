//! The embedded runtime's own options.

use serde::Deserialize;
use spawnpoint_driver_oci::disk::DiskBounds;
use spawnpoint_driver_oci::users::UserRange;

/// The embedded runtime.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// Whether containers have users of their own.
    pub user_namespaces: bool,
    /// Where those are on the host; `None` = what the host has set aside.
    pub user_ids: Option<UserIds>,
    /// MiB that a container may write to its root file system; 0 = no bound.
    pub disk_mib: u32,
    /// Files and folders that it may make there; 0 = no bound.
    pub disk_files: u32,
    /// MiB that are kept free: with less, nothing is started or pulled.
    pub free_mib: u32,
}

impl Default for Oci {
    fn default() -> Self {
        Self {
            user_namespaces: false,
            user_ids: None,
            disk_mib: 10_240,
            disk_files: 1_000_000,
            free_mib: 1024,
        }
    }
}

/// A range of ids, written `FIRST:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserIds(pub UserRange);

impl TryFrom<String> for UserIds {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        UserRange::parse(&text).map(Self)
    }
}

impl Oci {
    /// Ids for the users of containers; `None` = they have the host's.
    #[must_use]
    pub fn users(&self) -> Option<UserRange> {
        let range = || self.user_ids.map_or_else(UserRange::of_this_host, |ids| ids.0);
        self.user_namespaces.then(range)
    }

    /// Bounds of the disk.
    #[must_use]
    pub fn disk(&self) -> DiskBounds {
        let bytes = |mib: u32| u64::from(mib) << 20;
        DiskBounds {
            bytes: bytes(self.disk_mib),
            files: self.disk_files.into(),
            free_bytes: bytes(self.free_mib),
        }
    }
}
