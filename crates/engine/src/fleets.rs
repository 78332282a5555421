//! Smart fleets: made, changed, linked, and kept as they are wanted.
//!
//! What it is for: deployments that are there before anybody asks. The rules are in [`spawnpoint_model::fleet`].
//!
//! What it must not know: how fleets are written.
//!
//! ```text
//! manage.rs   fleets      policies.rs   policies      links.rs   versions of fleets
//! keep.rs     what is done about a policy and a version: start one, wait, rest
//! ```
//!
//! A unit is a policy and a version of its fleet. Whatever may change what is to be done about it wakes it in the same
//! transaction: a deployment of it that starts, works, fails or ends, a session that comes or goes, a change of fleet, policy,
//! link or version. So nothing is looked for, and nothing is forgotten by a crash.
//!
//! Changes need `admin` and a token that is bound to no application: a policy concerns every version that is linked. Whoever
//! may look at anything may look at fleets and policies; of the links, at those of its applications.

mod keep;
mod links;
mod manage;
mod policies;

use std::time::Duration;

use spawnpoint_model::names::FleetName;
use spawnpoint_store::StoreError;

use crate::{Engine, Error};

pub use manage::{FleetPatch, NewFleet};
pub use policies::PolicyPatch;

/// Units that are looked at in one round.
const ROUND: u32 = 64;
/// How long another control plane leaves a unit alone that this one looks at.
const LEASE: Duration = Duration::from_secs(30);
/// The due units are looked for this often at least.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Looks at units when they are due, until the engine stops. Begun once, in [`crate::tasks`].
pub(crate) async fn run(engine: Engine) {
    let owner = format!("{:016x}", engine.inner.entropy.u64());
    let mut is_first = true;
    loop {
        match engine.look_at_units(&owner, is_first).await {
            Ok(()) => is_first = false,
            Err(error) => {
                tracing::warn!(error = %error, "smart fleets could not be looked at; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let _ = tokio::time::timeout(HEARTBEAT, engine.inner.units.notified()).await;
    }
}

impl Engine {
    /// Does what is due. `all`: whether it is or not, since time has passed unseen.
    async fn look_at_units(&self, owner: &str, all: bool) -> Result<(), StoreError> {
        if all {
            let mut tx = spawnpoint_store::Tx::new();
            tx.wake_all_units(self.now());
            self.inner.store.commit(tx).await?;
        }
        loop {
            let now = self.now();
            let due = self.inner.store.claim_units(owner, now, now.plus(LEASE), ROUND).await?;
            if due.is_empty() {
                return Ok(());
            }
            for unit in due {
                self.keep_unit(unit).await?;
            }
        }
    }
}

fn no_fleet(name: &FleetName) -> Error {
    Error::NotFound(format!("fleet {name} does not exist"))
}
