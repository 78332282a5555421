//! Bounds what all kept logs take together (`[logs] keep_mib`): the logs of the deployments that ended first go first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spawnpoint_store::{StoreError, Tx};

use crate::Engine;

/// Logs that are deleted in one transaction.
const DROP_MAX: u32 = 200;
/// Of the bound, this part may be exceeded before somebody looks; at the latest, `gc` does.
const SLACK_PART: u64 = 8;

/// How much was kept since somebody looked.
#[derive(Default)]
pub(crate) struct KeptLogs {
    since_last_look: AtomicU64,
    looking: AtomicBool,
}

impl Engine {
    /// Counts a log that was kept. Looks at all of them once it may have become too much.
    pub(crate) fn count_kept_log(&self, bytes: u64) {
        let kept = &self.inner.kept_logs;
        let since = kept.since_last_look.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if since < self.inner.options.log_keep_bytes / SLACK_PART || kept.looking.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let engine = self.clone();
        self.inner.tracker.spawn(async move {
            if let Err(error) = engine.trim_kept_logs().await {
                tracing::warn!(error = %error, "kept logs could not be deleted");
            }
            engine.inner.kept_logs.looking.store(false, Ordering::SeqCst);
        });
    }

    /// Deletes kept logs until what is left keeps to the bound.
    pub(crate) async fn trim_kept_logs(&self) -> Result<(), StoreError> {
        let store = &self.inner.store;
        self.inner.kept_logs.since_last_look.store(0, Ordering::Relaxed);
        loop {
            let total = store.kept_log_bytes().await?;
            let Some(mut over) =
                total.checked_sub(self.inner.options.log_keep_bytes).filter(|over| *over > 0)
            else {
                return Ok(());
            };
            let mut tx = Tx::new();
            for log in store.oldest_kept_logs(DROP_MAX).await? {
                if over == 0 {
                    break;
                }
                over = over.saturating_sub(log.stored_bytes);
                tx.drop_log(log.deployment, log.attempt);
            }
            if tx.is_empty() {
                return Ok(());
            }
            store.commit(tx).await?;
        }
    }
}
