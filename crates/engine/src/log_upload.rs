//! Uploads logs that were spooled: send, try again for a day, give up.
//!
//! Each pending row of this control plane is tried with growing, jittered pauses until it has arrived or [`GIVE_UP_AFTER`]
//! is over. What came of it stands in the deployment's history: `logs_uploaded`, `logs_upload_delayed` (the first failure),
//! `logs_upload_failed`. A storage that does not answer holds up its own logs only, and no stop ever.
//!
//! Sent twice is the same object twice: a control plane may die between the upload and the row.

use std::time::Duration;

use serde_json::json;
use spawnpoint_model::{DeploymentId, StorageName, Timestamp};
use spawnpoint_store::{Conflict, LogKind, LogUpload, StoreError, Tx, UploadState};

use crate::s3::{LINK_MAX, S3Error};
use crate::{Engine, Error};

/// An event of a deployment: kind and detail.
pub(crate) type Note = (&'static str, serde_json::Value);

/// A log that could not be uploaded for this long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A log whose control plane did not come back for this long is given up by another.
const STALE_AFTER: Duration = Duration::from_secs(25 * 3600);
/// What is still pending then was forgotten: nobody may see that (the audit looks).
pub(crate) const OVERDUE_AFTER: Duration = Duration::from_secs(26 * 3600);
/// Pauses after the first, second, … failed try; the last is repeated.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];
const JITTER: f64 = 0.2;
/// Uploads in flight, in all and to one storage.
const IN_FLIGHT_MAX: usize = 8;
const IN_FLIGHT_PER_STORAGE: usize = 2;
const BATCH: u32 = 256;
/// One try takes at most this long.
const TRY_MAX: Duration = Duration::from_secs(3600);

/// Why a try did not succeed, and whether another may.
struct Failed {
    reason: String,
    for_good: bool,
}

impl From<S3Error> for Failed {
    fn from(error: S3Error) -> Self {
        Self { reason: error.to_string(), for_good: matches!(error, S3Error::File(_)) }
    }
}

/// Sends what is due until the engine stops.
pub(crate) async fn run(engine: Engine) {
    const HEARTBEAT: Duration = Duration::from_secs(1);
    let uploads = &engine.inner.uploads;
    // After a restart of this task nothing is in flight.
    uploads.in_flight.lock().clear();
    let node = loop {
        match uploads.node(engine.inner.entropy.u64()).await {
            Ok(Some(node)) => break node.to_owned(),
            Ok(None) => return engine.inner.stop.cancelled().await,
            Err(error) => tracing::warn!(%error, "logs cannot be uploaded"),
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    };
    if let Err(error) = uploads.remove_orphans(async || engine.inner.store.spools_of(&node).await).await {
        tracing::warn!(%error, "the spool directory could not be tidied up");
    }
    loop {
        if let Err(error) = engine.upload_due(&node).await {
            tracing::warn!(error = %error, "due uploads could not be read");
        }
        let _ = tokio::time::timeout(HEARTBEAT, uploads.bell.notified()).await;
    }
}

impl Engine {
    /// Begins to send everything that is due and not in flight.
    async fn upload_due(&self, node: &str) -> Result<(), StoreError> {
        for upload in self.inner.store.due_uploads(node, self.now(), BATCH).await? {
            if self.admit_upload(&upload) {
                let engine = self.clone();
                self.inner.tracker.spawn(async move { engine.upload(upload).await });
            }
        }
        Ok(())
    }

    fn admit_upload(&self, upload: &LogUpload) -> bool {
        let mut in_flight = self.inner.uploads.in_flight.lock();
        let to_the_same = in_flight.iter().filter(|other| other.storage == upload.storage).count();
        let is_sent = in_flight.iter().any(|other| other.spool == upload.spool);
        if is_sent || in_flight.len() >= IN_FLIGHT_MAX || to_the_same >= IN_FLIGHT_PER_STORAGE {
            return false;
        }
        in_flight.push(upload.clone());
        true
    }

    async fn upload(&self, upload: LogUpload) {
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(TRY_MAX, self.send_log(&upload)) => Some(outcome),
            // Sent again by whoever comes next.
            () = self.inner.stop.cancelled() => None,
        };
        if let Some(outcome) = outcome {
            let took_too_long = || Failed { reason: "the upload took too long".to_owned(), for_good: false };
            let outcome = outcome.unwrap_or_else(|_| Err(took_too_long()));
            if let Err(error) = self.note_sent(&upload, outcome).await {
                tracing::warn!(deployment.id = %upload.deployment, error = %error, "the outcome of an upload could not be stored");
            }
        }
        let uploads = &self.inner.uploads;
        uploads.in_flight.lock().retain(|other| other.spool != upload.spool);
        uploads.bell.notify_one();
    }

    async fn send_log(&self, upload: &LogUpload) -> Result<(), Failed> {
        let for_good = |reason: &str| Failed { reason: reason.to_owned(), for_good: true };
        let name = upload.storage.as_ref().ok_or_else(|| for_good("its endpoint storage was removed"))?;
        let storage = self.inner.store.find_storage(name).await;
        let storage =
            storage.map_err(|_| Failed { reason: "the database did not answer".into(), for_good: false })?;
        // Renamed or removed just now: the row says so the next time.
        let storage =
            storage.ok_or_else(|| Failed { reason: "its endpoint storage moved".into(), for_good: false })?;
        let path =
            self.inner.uploads.path(&upload.spool).ok_or_else(|| for_good("there is no spool directory"))?;
        let target = self.target(&storage)?;
        Ok(self.inner.s3.put_file(&target, &upload.key, &path, self.now()).await?)
    }

    async fn note_sent(&self, upload: &LogUpload, outcome: Result<(), Failed>) -> Result<(), StoreError> {
        let now = self.now();
        let detail = |reason: Option<&str>| {
            let storage = upload.storage.as_ref().map(StorageName::as_str);
            let mut detail = json!({ "key": upload.key, "storage": storage, "bytes": upload.bytes });
            if let (Some(reason), Some(fields)) = (reason, detail.as_object_mut()) {
                fields.insert("reason".to_owned(), reason.into());
            }
            detail
        };
        let Err(Failed { reason, for_good }) = outcome else {
            let event = Some(("logs_uploaded", detail(None)));
            self.note_upload(upload.deployment, event, |tx| tx.upload_done(upload, now)).await?;
            self.inner.uploads.forget(&upload.spool).await;
            return Ok(());
        };
        if for_good || now.since(upload.created_at) >= GIVE_UP_AFTER {
            tracing::warn!(deployment.id = %upload.deployment, error = %reason, "an upload of a log was given up");
            let event = Some(("logs_upload_failed", detail(Some(&reason))));
            self.note_upload(upload.deployment, event, |tx| tx.upload_failed(upload, now, &reason)).await?;
            self.inner.uploads.forget(&upload.spool).await;
            return Ok(());
        }
        let tries = usize::try_from(upload.attempts).unwrap_or(usize::MAX);
        let pause = PAUSES.get(tries).or(PAUSES.last()).copied().unwrap_or_default();
        let next_at = now.plus(pause.mul_f64(self.inner.entropy.jitter(JITTER)));
        let event = (upload.attempts == 0).then(|| ("logs_upload_delayed", detail(Some(&reason))));
        self.note_upload(upload.deployment, event, |tx| tx.upload_postponed(upload, next_at, &reason)).await
    }

    /// Writes a change of an upload together with its event, or without it if the deployment is forgotten by now.
    pub(crate) async fn note_upload(
        &self,
        deployment: DeploymentId,
        event: Option<Note>,
        change: impl Fn(&mut Tx),
    ) -> Result<(), StoreError> {
        let mut tx = Tx::new();
        change(&mut tx);
        let Some((kind, detail)) = event else { return self.inner.store.commit(tx).await };
        tx.append_event(deployment, self.now(), kind, &detail.to_string());
        match self.inner.store.commit(tx).await {
            Err(StoreError::Conflict(Conflict::Missing { .. })) => {
                let mut tx = Tx::new();
                change(&mut tx);
                self.inner.store.commit(tx).await
            }
            other => other,
        }
    }

    /// Gives up what another control plane was to send and never came back for.
    pub(crate) async fn give_up_stale_uploads(&self) -> Result<(), StoreError> {
        let now = self.now();
        let age = i64::try_from(STALE_AFTER.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(now.micros().saturating_sub(age));
        for upload in self.inner.store.uploads_pending_since(before, BATCH).await? {
            let gone = "the control plane that held it did not come back".to_owned();
            self.note_sent(&upload, Err(Failed { reason: gone, for_good: true })).await?;
        }
        Ok(())
    }

    /// A link under which the log of an ended deployment can be read by anybody for a week; `None` if it was not stored
    /// (yet). Whoever asks has checked who may see the deployment.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn logs_link(&self, id: DeploymentId) -> Result<Option<String>, Error> {
        let found = self.inner.store.find_upload(id, LogKind::Container).await?;
        let Some(found) = found.filter(|upload| upload.state == UploadState::Done) else { return Ok(None) };
        let Some(name) = &found.storage else { return Ok(None) };
        let Some(storage) = self.inner.store.find_storage(name).await? else { return Ok(None) };
        match self.target(&storage) {
            Ok(target) => Ok(Some(target.link(&found.key, LINK_MAX, self.now()).into())),
            Err(error) => {
                tracing::warn!(deployment.id = %id, error = %error, "no link to a log can be made");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_fill_the_day() {
        assert!(PAUSES.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            PAUSES[PAUSES.len() - 1] < GIVE_UP_AFTER
                && GIVE_UP_AFTER < STALE_AFTER
                && STALE_AFTER < OVERDUE_AFTER
        );
    }
}
