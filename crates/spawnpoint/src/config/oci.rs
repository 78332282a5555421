//! The embedded runtime's own options.

use serde::Deserialize;
use spawnpoint_driver_oci::users::UserRange;

/// The embedded runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// Whether containers have users of their own.
    pub user_namespaces: bool,
    /// Where those are on the host; `None` = what the host has set aside.
    pub user_ids: Option<UserIds>,
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
}
