//! Ids, one type a noun.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A deployment's id: 48 random bits, written as 12 lower-case hex digits (`5d1e07a9c34b`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(u64);

/// The text is not 12 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deployment id is 12 lower-case hex digits")]
pub struct NotAnId;

impl DeploymentId {
    /// Takes the low 48 bits of `random`.
    #[must_use]
    pub const fn from_random(random: u64) -> Self {
        Self(random & 0xffff_ffff_ffff)
    }

    /// One of `parts` numbers from 0; ids are spread evenly over them.
    #[must_use]
    pub const fn spread(self, parts: usize) -> usize {
        self.0 as usize % parts
    }
}

impl FromStr for DeploymentId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 12 || !text.bytes().all(is_hex) {
            return Err(NotAnId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAnId)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for DeploymentId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<DeploymentId> for String {
    fn from(id: DeploymentId) -> Self {
        id.to_string()
    }
}

/// A session's id: 48 random bits, written as 12 lower-case hex digits and `-s` (`5d1e07a9c34b-s`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(DeploymentId);

impl SessionId {
    /// Takes the low 48 bits of `random`.
    #[must_use]
    pub const fn from_random(random: u64) -> Self {
        Self(DeploymentId::from_random(random))
    }
}

impl FromStr for SessionId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.strip_suffix("-s").ok_or(NotAnId)?.parse().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-s", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for SessionId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

/// What a driver runs for one attempt of a deployment. Written `5d1e07a9c34b-2`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct WorkloadId {
    /// The deployment it belongs to.
    pub deployment: DeploymentId,
    /// Counts from 1; a restart or a replacement is a new attempt.
    pub attempt: u32,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.deployment, self.attempt)
    }
}

impl FromStr for WorkloadId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (deployment, attempt) = text.split_once('-').ok_or(NotAnId)?;
        Ok(Self { deployment: deployment.parse()?, attempt: attempt.parse().map_err(|_| NotAnId)? })
    }
}

/// Defines an id that is a cheap-to-clone text.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A host: one place with its own capacity and ports. Named in the config.
    HostId
);
text_id!(
    /// A site (on the wire: a location): a city in which hosts stand. Named in the config.
    SiteId
);
text_id!(
    /// One installation of Spawnpoint: made with the database, stamped on every workload as a label.
    InstallationId
);
text_id!(
    /// One immutable revision of an app version: the hash of its content. Deployments refer to it, so a later
    /// change of the version leaves them as they were started.
    RevisionId
);
text_id!(
    /// A policy of a smart fleet: stays when fleet or policy are renamed.
    PolicyId
);
text_id!(
    /// The public part of an API token; safe to log and to show.
    TokenId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_id_is_twelve_lower_case_hex_digits() {
        let id = DeploymentId::from_random(0xffff_0000_0000_002a);
        assert_eq!(id.to_string(), "00000000002a");
        assert_eq!("00000000002a".parse(), Ok(id));
        for bad in ["", "2a", "00000000002A", "+0000000002a", "00000000002ag", "0000000000 2a"] {
            assert_eq!(bad.parse::<DeploymentId>(), Err(NotAnId), "{bad:?}");
        }
    }

    #[test]
    fn a_session_id_has_a_suffix_of_its_own() {
        let id = SessionId::from_random(42);
        assert_eq!(id.to_string(), "00000000002a-s");
        assert_eq!("00000000002a-s".parse(), Ok(id));
        for bad in ["", "-s", "00000000002a", "00000000002a-S", "00000000002a-s-s"] {
            assert_eq!(bad.parse::<SessionId>(), Err(NotAnId), "{bad:?}");
        }
    }

    #[test]
    fn a_workload_id_names_deployment_and_attempt() {
        let id: WorkloadId = "00000000002a-3".parse().unwrap();
        assert_eq!(id.attempt, 3);
        assert_eq!(id.to_string(), "00000000002a-3");
        assert!("00000000002a".parse::<WorkloadId>().is_err());
        assert!("00000000002a-x".parse::<WorkloadId>().is_err());
    }
}
