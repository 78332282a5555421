//! What operators say of hosts: cordon, uncordon, drain, give up at some time. It is stored before it is answered, lasts over
//! restarts, and is carried out by a task of its own ([`run`]): other control planes follow within a second, and a drain
//! goes on after a crash.
//!
//! A drain stops deployments for as long as it lasts, not once: what another control plane placed there before it heard of
//! the cordon is stopped as well.

use std::time::Duration;

use futures_util::StreamExt;
use spawnpoint_model::deployment::{Desired, StopCause};
use spawnpoint_model::host_settings::{Deletion, Drain};
use spawnpoint_model::token::Actor;
use spawnpoint_model::{HostId, Invalid, Timestamp};
use spawnpoint_store::Tx;

use crate::hosts::HostRuntime;
use crate::private_fleets::HostReport;
use crate::{Engine, Error};

/// How often what others said is looked up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Stops that are stored side by side.
const AT_ONCE: usize = 8;
/// How far ahead a host may be given up.
const DELETION_AHEAD_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Engine {
    /// Takes no new deployments on a host; a drain of it ends where it is.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` without `admin`.
    pub async fn cordon_host(&self, actor: &Actor, id: &HostId) -> Result<HostReport, Error> {
        self.say_of_host(actor, id, "cordoned", |tx, now| tx.set_host_cordon(id, true, None, now)).await
    }

    /// Takes new deployments on a host again, whatever the config says.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a host whose time is over; `Forbidden` without `admin`.
    pub async fn uncordon_host(&self, actor: &Actor, id: &HostId) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        let runtime = self.inner.fleet.find(id).ok_or_else(not_found)?;
        if self.inner.fleet.standing(&runtime.setup.host, self.now()).retired {
            let problem = "the time of its deletion is over; take the schedule of its deletion back first";
            return Err(Error::Conflict(problem.to_owned()));
        }
        self.say_of_host(actor, id, "uncordoned", |tx, now| tx.set_host_cordon(id, false, None, now)).await
    }

    /// Empties a host: nothing new is placed on it, and what runs there ends when it ends, or is stopped with its grace.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` without `admin`.
    pub async fn drain_host(&self, actor: &Actor, id: &HostId, drain: Drain) -> Result<HostReport, Error> {
        self.say_of_host(actor, id, "drained", |tx, now| tx.set_host_cordon(id, true, Some(drain), now)).await
    }

    /// Gives a host up at some time: from then on it takes nothing new, what runs there is stopped, and its fleet does not
    /// list it any more. A time in the past is now.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (too far ahead); `Forbidden` without `admin`.
    pub async fn schedule_host_deletion(
        &self,
        actor: &Actor,
        id: &HostId,
        at: Timestamp,
    ) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        if at > self.now().plus(DELETION_AHEAD_MAX) {
            return Err(Invalid::new("scheduled_at", "must not be more than ten years ahead").into());
        }
        let deletion = Deletion { id: self.random_uuid(), at };
        self.say_of_host(actor, id, "to be given up", |tx, now| {
            tx.set_host_deletion(id, Some(&deletion), now);
        })
        .await
    }

    /// Keeps a host that was to be given up. One whose time was over stays cordoned, as drained as it is.
    ///
    /// # Errors
    /// `NotFound`, also if it was not to be given up; `Forbidden` without `admin`.
    pub async fn keep_host(&self, actor: &Actor, id: &HostId) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        self.reload_settings().await?;
        let runtime = self.inner.fleet.find(id).ok_or_else(not_found)?;
        let scheduled = self.inner.fleet.settings(id).is_some_and(|said| said.deletion.is_some());
        if !scheduled {
            return Err(Error::NotFound("no deletion of this host is scheduled".to_owned()));
        }
        let retired = self.inner.fleet.standing(&runtime.setup.host, self.now()).retired;
        self.say_of_host(actor, id, "kept", |tx, now| {
            tx.set_host_deletion(id, None, now);
            if retired {
                tx.set_host_cordon(id, true, None, now);
            }
        })
        .await
    }

    /// Stores what an operator says of a host, and shows the host as it is then.
    async fn say_of_host(
        &self,
        actor: &Actor,
        id: &HostId,
        what: &str,
        say: impl FnOnce(&mut Tx, Timestamp),
    ) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        let runtime = self.inner.fleet.find(id).ok_or_else(not_found)?;
        let mut tx = Tx::new();
        tx.see_host(id, runtime.setup.host.private_fleet.as_deref(), self.now());
        say(&mut tx, self.now());
        self.inner.store.commit(tx).await?;
        tracing::info!(host.id = %id, token = %actor.token, "host is {what} by an operator");
        self.reload_settings().await?;
        self.inner.fleet.bell.notify_one();
        self.get_host(actor, id).await
    }

    /// Notes which hosts the config has and to which fleets they belong.
    pub(crate) async fn see_hosts(&self) -> Result<(), Error> {
        let mut tx = Tx::new();
        for runtime in self.inner.fleet.all().iter() {
            tx.forget_removal(runtime.id());
            tx.see_host(runtime.id(), runtime.setup.host.private_fleet.as_deref(), self.now());
        }
        Ok(self.inner.store.commit(tx).await?)
    }

    pub(crate) async fn reload_settings(&self) -> Result<(), Error> {
        let _reading = self.inner.fleet.reading_settings.lock().await;
        let all = self.inner.store.host_settings().await?;
        self.inner.fleet.load_settings(all, self.now());
        Ok(())
    }

    /// One look: what operators say holds for placement, and what runs on hosts that are to be empty is stopped.
    async fn follow_operators(&self) -> Result<(), Error> {
        if !self.inner.rows.is_exact() {
            self.follow_others().await?;
            self.reload_settings().await?;
        }
        for runtime in self.inner.fleet.apply_settings(self.now()) {
            self.empty_host(&runtime).await?;
        }
        Ok(())
    }

    /// Stops everything on a host that is not being stopped yet.
    async fn empty_host(&self, runtime: &HostRuntime) -> Result<(), Error> {
        let mut rows = self.inner.rows.on_host(runtime.id()).await?;
        rows.retain(|row| row.state.phase.holds_host() && row.state.desired == Desired::Run);
        if rows.is_empty() {
            return Ok(());
        }
        tracing::info!(host.id = %runtime.id(), deployments = rows.len(), "host is drained; what runs there is stopped");
        let stops = rows.into_iter().map(|row| self.record_stop(row, StopCause::Drained, None));
        let mut stops = futures_util::stream::iter(stops).buffered(AT_ONCE);
        while let Some(outcome) = stops.next().await {
            match outcome {
                Ok((row, _)) => self.wake_in_turn(row.id),
                // It ended by itself meanwhile.
                Err(Error::Gone(_) | Error::NotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// A random UUID (version 4).
    fn random_uuid(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.inner.entropy.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }
}

/// Looks every second, and when an operator said something here. Begun once, in [`crate::tasks`].
pub(crate) async fn run(engine: Engine) {
    loop {
        let _ = tokio::time::timeout(LOOK_EVERY, engine.inner.fleet.bell.notified()).await;
        if let Err(error) = engine.follow_operators().await {
            tracing::warn!(error = %error, "what operators say of hosts could not be followed");
        }
    }
}

pub(crate) fn not_found() -> Error {
    Error::NotFound("there is no host with this id".to_owned())
}
