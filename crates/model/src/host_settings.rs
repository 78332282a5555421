//! What operators say of a host while it runs. It lasts over restarts, and wins over the config.
//!
//! Entry point: [`HostSettings::standing`] says what follows from it now.
//!
//! ```text
//!            cordon                    drain
//!   open ────────────▶ cordoned ───────────────▶ draining ── nothing runs there any more ──▶ drained
//!     ▲                    │                        │                                           │
//!     └────── uncordon ────┴────────────────────────┴───────────────────────────────────────────┘
//!   any of them ── the time of its deletion is over ──▶ retired: drained by stopping, whatever was said before
//! ```

use serde::{Deserialize, Serialize};

use crate::ids::HostId;
use crate::time::Timestamp;

/// What becomes of the deployments on a host that is drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// They end when they end.
    Wait,
    /// They are stopped, each with its grace.
    Stop,
}

/// When a host is to be given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Names this decision.
    pub id: String,
    /// From then on the host is retired.
    pub at: Timestamp,
}

/// What operators have said of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSettings {
    /// The host.
    pub host: HostId,
    /// Whether it takes no new deployments; `None` = as the config says.
    pub cordoned: Option<bool>,
    /// It is being emptied.
    pub drain: Option<Drain>,
    /// When it is to be given up.
    pub deletion: Option<Deletion>,
    /// When this installation first had it.
    pub created_at: Timestamp,
    /// When something was last said of it.
    pub updated_at: Timestamp,
}

/// What holds of a host now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Takes no new deployments.
    pub cordoned: bool,
    /// It is being emptied, or is empty already.
    pub drain: Option<Drain>,
    /// The time of its deletion is over.
    pub retired: bool,
}

impl HostSettings {
    /// A host of which nothing was said yet.
    #[must_use]
    pub const fn new(host: HostId, now: Timestamp) -> Self {
        Self { host, cordoned: None, drain: None, deletion: None, created_at: now, updated_at: now }
    }

    /// What follows from it at `now` for a host of which the config says `cordoned`.
    #[must_use]
    pub fn standing(&self, cordoned: bool, now: Timestamp) -> Standing {
        let retired = self.deletion.as_ref().is_some_and(|deletion| deletion.at <= now);
        let drain = if retired { Some(Drain::Stop) } else { self.drain };
        Standing { cordoned: drain.is_some() || self.cordoned.unwrap_or(cordoned), drain, retired }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn settings() -> HostSettings {
        HostSettings::new("a".into(), Timestamp(1))
    }

    #[test]
    fn what_an_operator_says_wins_over_the_config() {
        for configured in [false, true] {
            let cordoned =
                |said| HostSettings { cordoned: said, ..settings() }.standing(configured, NOW).cordoned;
            assert_eq!([None, Some(false), Some(true)].map(cordoned), [configured, false, true]);
        }
    }

    #[test]
    fn a_host_that_is_drained_takes_nothing_new() {
        for drain in [Drain::Wait, Drain::Stop] {
            let settings = HostSettings { cordoned: Some(false), drain: Some(drain), ..settings() };
            assert_eq!(
                settings.standing(false, NOW),
                Standing { cordoned: true, drain: Some(drain), retired: false }
            );
        }
    }

    #[test]
    fn a_host_is_retired_from_the_moment_of_its_deletion_on() {
        let at = |micros| {
            let deletion = Some(Deletion { id: "d".into(), at: Timestamp(micros) });
            HostSettings { drain: Some(Drain::Wait), deletion, ..settings() }.standing(false, NOW)
        };
        assert_eq!(at(1_001), Standing { cordoned: true, drain: Some(Drain::Wait), retired: false });
        for over in [1_000, 5] {
            assert_eq!(at(over), Standing { cordoned: true, drain: Some(Drain::Stop), retired: true });
        }
    }
}
