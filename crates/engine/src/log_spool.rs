//! The way of a log from a container that is about to go to a file of this control plane, from which it is uploaded.
//!
//! ```text
//!   capture (before the removal) ──▶ Spool::write … ──▶ Spool::finish ──▶ file is synced, row of log_uploads is written
//!                                         └── nothing to be had: Spool::abandon ──▶ the row says why
//! ```
//!
//! The container is removed only after that, so a control plane that dies in between reads the log again: the same file is
//! written anew. Which storage a log goes to is decided here ([`wanted`]); an unknown one fails nothing.
//!
//! What it must not know: S3.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use spawnpoint_driver::LogChunk;
use spawnpoint_model::deployment::{After, LogChoice, LogStorage, Phase};
use spawnpoint_model::limits::UPLOADED_LOG_BYTES_MAX;
use spawnpoint_model::{Deployment, LogFormat, Timestamp};
use spawnpoint_store::{LogKind, LogUpload, StoreError, UploadState};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::{Notify, OnceCell};

use crate::Engine;
use crate::log_upload::Note;

/// The file in the spool directory that says whose it is.
const NODE_FILE: &str = "node";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 128 * 1024;

/// The spool directory of this control plane.
#[derive(Default)]
pub(crate) struct Uploads {
    dir: Option<PathBuf>,
    bytes_max: u64,
    node: OnceCell<String>,
    /// Files that are being written.
    open: Mutex<HashSet<String>>,
    /// Uploads that are being sent.
    pub(crate) in_flight: Mutex<Vec<LogUpload>>,
    /// What all files together hold.
    bytes: AtomicU64,
    /// Rung when there is something to send.
    pub(crate) bell: Notify,
}

impl Uploads {
    pub(crate) fn new(dir: Option<PathBuf>, bytes_max: u64) -> Self {
        Self { dir, bytes_max, ..Self::default() }
    }

    /// Where a spooled file is.
    pub(crate) fn path(&self, spool: &str) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(spool))
    }

    /// Deletes a file that was sent or given up.
    pub(crate) async fn forget(&self, spool: &str) {
        let Some(path) = self.path(spool) else { return };
        let bytes = tokio::fs::metadata(&path).await.map_or(0, |meta| meta.len());
        match tokio::fs::remove_file(&path).await {
            Ok(()) => {
                let less = |now: u64| Some(now.saturating_sub(bytes));
                let _ = self.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(error = %error, "a spooled log could not be deleted"),
        }
    }

    /// The id of this control plane's spool directory, which is made at first; `None` if there is none.
    pub(crate) async fn node(&self, random: u64) -> Result<Option<&str>, String> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let node = self.node.get_or_try_init(|| async {
            let node = open_dir(dir, random).await?;
            let (mut bytes, mut files) = (0, tokio::fs::read_dir(dir).await?);
            while let Some(file) = files.next_entry().await? {
                bytes += file.metadata().await.map_or(0, |meta| meta.len());
            }
            self.bytes.store(bytes, Ordering::SeqCst);
            Ok(node)
        });
        node.await
            .map(|node| Some(node.as_str()))
            .map_err(|error: std::io::Error| format!("the spool directory cannot be used: {error}"))
    }

    /// Deletes files that no pending upload waits for: a control plane died while it wrote them.
    pub(crate) async fn remove_orphans(
        &self,
        kept: impl AsyncFnOnce() -> Result<Vec<String>, StoreError>,
    ) -> Result<(), String> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let mut found = Vec::new();
        let mut files = tokio::fs::read_dir(dir).await.map_err(|error| error.to_string())?;
        while let Some(file) = files.next_entry().await.map_err(|error| error.to_string())? {
            found.extend(file.file_name().into_string().ok().filter(|name| name != NODE_FILE));
        }
        // In this order: a file that is neither being written nor known afterwards was neither before.
        let open = self.open.lock().clone();
        let kept: HashSet<String> = kept().await.map_err(|error| error.to_string())?.into_iter().collect();
        for name in found.iter().filter(|name| !open.contains(*name) && !kept.contains(*name)) {
            self.forget(name).await;
        }
        Ok(())
    }
}

async fn open_dir(dir: &Path, random: u64) -> std::io::Result<String> {
    let path = dir.join(NODE_FILE);
    tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).await?;
    match tokio::fs::read_to_string(&path).await {
        Ok(node) if !node.trim().is_empty() => Ok(node.trim().to_owned()),
        _ => {
            let node = format!("{random:016x}");
            tokio::fs::write(&path, &node).await?;
            Ok(node)
        }
    }
}

/// The name of the storage that a log goes to: the first that says anything decides.
fn wanted<'a>(
    stop: Option<&'a LogChoice>,
    deployment: Option<&'a LogStorage>,
    version: Option<&'a str>,
) -> Option<&'a str> {
    match (stop, deployment) {
        (Some(LogChoice::Skip), _) => None,
        (Some(LogChoice::Storage(name)), _) => Some(name),
        (Some(LogChoice::Configured), _) => version,
        (None, Some(LogStorage { enabled: false, .. })) => None,
        (None, Some(LogStorage { endpoint_storage: Some(name), .. })) => Some(name),
        (None, Some(LogStorage { endpoint_storage: None, .. }) | None) => version,
    }
}

/// Of which of its containers the log is that is about to go.
const fn kind_of(phase: &Phase) -> Option<LogKind> {
    match phase {
        Phase::Stopping(After::Terminate(_) | After::Fail(_)) => Some(LogKind::Container),
        Phase::Stopping(After::Restart | After::Replace(_)) => Some(LogKind::Crash),
        Phase::Pending
        | Phase::Placed
        | Phase::Starting
        | Phase::Ready
        | Phase::Failed(_)
        | Phase::Terminated(_) => None,
    }
}

impl Engine {
    /// Where the log of the row's container is to be written before the container goes; `None` = nowhere, or it is there
    /// already. Costs nothing where no log is wanted.
    pub(crate) async fn spool_for(&self, row: &Deployment) -> Option<Spool> {
        let kind = kind_of(&row.state.phase)?;
        let version = self.inner.rows.revision(&row.spec.revision).await.ok()?;
        let (stop, deployment) = (row.state.log_choice.as_ref(), row.spec.log_storage.as_ref());
        let name = wanted(stop, deployment, version.endpoint_storage.as_deref())?;
        match self.open_spool(row, kind, name).await {
            Ok(spool) => spool,
            Err(error) => {
                tracing::warn!(deployment.id = %row.id, error = %error, "a log is not kept for upload: the store did not answer");
                None
            }
        }
    }

    async fn open_spool(
        &self,
        row: &Deployment,
        kind: LogKind,
        name: &str,
    ) -> Result<Option<Spool>, StoreError> {
        let store = &self.inner.store;
        let before = store.find_upload(row.id, kind).await?;
        let same = before.as_ref().filter(|upload| upload.attempt == row.state.attempt);
        if same.is_some_and(|upload| upload.state != UploadState::Failed) {
            return Ok(None);
        }
        let noted_failed = same.is_some();
        let storage = store.find_storage_meant_by(name).await?;
        let format = storage.as_ref().map_or_else(LogFormat::default, |storage| storage.format);
        let file = match kind {
            LogKind::Container => "container",
            LogKind::Crash => "crash",
        };
        let now = self.now();
        let upload = LogUpload {
            deployment: row.id,
            kind,
            attempt: row.state.attempt,
            storage: storage.map(|storage| storage.name),
            key: format!("{}/{}/{}/{file}.{}", row.spec.app, row.spec.version, row.id, format.extension()),
            node: String::new(),
            spool: format!("{}-{}", row.id, row.state.attempt),
            bytes: 0,
            state: UploadState::Pending,
            attempts: 0,
            next_at: now,
            last_error: None,
            created_at: now,
            ended_at: None,
        };
        let mut spool = Spool {
            engine: self.clone(),
            upload,
            format,
            file: None,
            bytes: 0,
            cut: None,
            noted_failed,
            replaced: before.filter(|upload| upload.state == UploadState::Pending).map(|upload| upload.spool),
        };
        if let Err(problem) = spool.open(name).await {
            spool.abandon(&problem).await;
            return Ok(None);
        }
        Ok(Some(spool))
    }
}

/// A log on its way into a file.
pub(crate) struct Spool {
    engine: Engine,
    upload: LogUpload,
    format: LogFormat,
    file: Option<BufWriter<File>>,
    bytes: u64,
    /// Why the rest is missing, if it is.
    cut: Option<String>,
    /// The row says already that there is none.
    noted_failed: bool,
    /// The file of a crash before this one, which has not been sent yet.
    replaced: Option<String>,
}

impl Spool {
    async fn open(&mut self, name: &str) -> Result<(), String> {
        if self.upload.storage.is_none() {
            return Err(format!("there is no endpoint storage called {name:?}"));
        }
        let uploads = &self.engine.inner.uploads;
        let random = self.engine.inner.entropy.u64();
        let node = uploads.node(random).await?.ok_or("no spool directory is configured")?;
        node.clone_into(&mut self.upload.node);
        if uploads.bytes.load(Ordering::SeqCst) >= uploads.bytes_max {
            return Err("the spool is full of logs that could not be uploaded".to_owned());
        }
        let path = uploads.path(&self.upload.spool).ok_or("no spool directory is configured")?;
        uploads.open.lock().insert(self.upload.spool.clone());
        // What was there is of a control plane that died over it.
        uploads.forget(&self.upload.spool).await;
        let file = tokio::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .await;
        let file = file.map_err(|error| format!("the spool file cannot be made: {error}"))?;
        self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(())
    }

    /// Whether it still takes something.
    pub(crate) const fn is_open(&self) -> bool {
        self.cut.is_none()
    }

    /// Writes a piece. What does not fit any more is left out, and the log says so.
    pub(crate) async fn write(&mut self, chunk: &LogChunk) {
        match self.format {
            LogFormat::Text => self.put(&chunk.bytes).await,
            LogFormat::Ndjson => {
                for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                    let stream = if chunk.stderr { "stderr" } else { "stdout" };
                    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
                    self.put(record(chunk.at, stream, &text).as_bytes()).await;
                }
            }
        }
    }

    /// The log is not whole, for this reason. It ends with a line that says so.
    pub(crate) fn cut_short(&mut self, why: &str) {
        self.cut.get_or_insert_with(|| why.to_owned());
    }

    async fn put(&mut self, bytes: &[u8]) {
        if self.cut.is_some() {
            return;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let uploads = &self.engine.inner.uploads;
        if self.bytes.saturating_add(length) > UPLOADED_LOG_BYTES_MAX {
            self.cut = Some(format!("it has more than {} MiB", UPLOADED_LOG_BYTES_MAX >> 20));
        } else if uploads.bytes.load(Ordering::SeqCst).saturating_add(length) > uploads.bytes_max {
            self.cut = Some("the spool is full".to_owned());
        } else {
            self.put_unbounded(bytes).await;
        }
    }

    async fn put_unbounded(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(bytes).await {
            self.cut = Some(format!("the spool file cannot be written: {error}"));
            return;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes += length;
        self.engine.inner.uploads.bytes.fetch_add(length, Ordering::SeqCst);
    }

    /// The log is complete: from now on it is on its way.
    pub(crate) async fn finish(mut self) {
        if let Some(why) = self.cut.take() {
            let line = format!("[spawnpoint: the log was cut here: {why}]");
            let line = match self.format {
                LogFormat::Text => format!("\n{line}\n"),
                LogFormat::Ndjson => record(None, "spawnpoint", &line),
            };
            self.put_unbounded(line.as_bytes()).await;
        }
        let synced = match &mut self.file {
            None => Ok(()),
            Some(file) => match file.flush().await {
                Ok(()) => file.get_ref().sync_data().await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = synced {
            return self.abandon(&format!("the spool file cannot be written: {error}")).await;
        }
        if self.upload.kind == LogKind::Crash && self.bytes == 0 {
            // A container that never spoke is no crash to read about.
            return self.close(false).await;
        }
        self.upload.bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        self.note(None).await;
    }

    /// There is no log, for this reason.
    pub(crate) async fn abandon(mut self, why: &str) {
        if self.noted_failed || self.upload.kind == LogKind::Crash && self.upload.storage.is_some() {
            return self.close(false).await;
        }
        self.upload.state = UploadState::Failed;
        self.upload.last_error = Some(why.to_owned());
        self.upload.ended_at = Some(self.upload.created_at);
        let detail = json!({ "key": self.upload.key, "reason": why });
        self.note(Some(("logs_upload_failed", detail))).await;
    }

    async fn note(self, event: Option<Note>) {
        let upload = self.upload.clone();
        let written = self.engine.note_upload(upload.deployment, event, |tx| tx.put_upload(&upload)).await;
        if let Err(error) = &written {
            tracing::warn!(deployment.id = %upload.deployment, error = %error, "a log for upload could not be stored");
        }
        let is_kept = written.is_ok() && upload.state == UploadState::Pending;
        if let (true, Some(replaced)) = (written.is_ok(), &self.replaced)
            && *replaced != upload.spool
        {
            self.engine.inner.uploads.forget(replaced).await;
        }
        self.close(is_kept).await;
    }

    /// Nobody writes the file any more.
    async fn close(mut self, keep: bool) {
        let uploads = &self.engine.inner.uploads;
        self.file = None;
        if !keep && uploads.open.lock().contains(&self.upload.spool) {
            uploads.forget(&self.upload.spool).await;
        }
        uploads.bell.notify_one();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.engine.inner.uploads.open.lock().remove(&self.upload.spool);
    }
}

/// A line of a log in NDJSON.
fn record(at: Option<Timestamp>, stream: &str, text: &str) -> String {
    let at = at.and_then(|at| jiff::Timestamp::from_microsecond(at.micros()).ok()).map(|at| at.to_string());
    format!("{}\n", json!({ "time": at, "stream": stream, "log": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_says_anything_decides_where_a_log_goes() {
        use LogChoice::{Configured, Skip};
        let named = || LogChoice::Storage("stop".into());
        let on = |name: Option<&str>| LogStorage { enabled: true, endpoint_storage: name.map(str::to_owned) };
        let off = || LogStorage { enabled: false, endpoint_storage: Some("deploy".into()) };
        for (stop, deployment, version, expected) in [
            (None, None, None, None),
            (None, None, Some("version"), Some("version")),
            (None, Some(off()), Some("version"), None),
            (None, Some(on(Some("deploy"))), Some("version"), Some("deploy")),
            (None, Some(on(None)), Some("version"), Some("version")),
            (None, Some(on(None)), None, None),
            (Some(Skip), Some(on(Some("deploy"))), Some("version"), None),
            (Some(named()), Some(off()), Some("version"), Some("stop")),
            (Some(named()), None, None, Some("stop")),
            (Some(Configured), Some(on(Some("deploy"))), Some("version"), Some("version")),
            (Some(Configured), Some(off()), Some("version"), Some("version")),
            (Some(Configured), Some(on(Some("deploy"))), None, None),
        ] {
            let found = wanted(stop.as_ref(), deployment.as_ref(), version);
            assert_eq!(found, expected, "{stop:?} {deployment:?} {version:?}");
        }
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let line = record(Some(Timestamp(1_790_000_000_000_000)), "stderr", "a \"b\"\n\u{1b}[31m");
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["time"], "2026-09-21T14:13:20Z");
        assert_eq!(
            (read["stream"].as_str(), read["log"].as_str()),
            (Some("stderr"), Some("a \"b\"\n\u{1b}[31m"))
        );
    }
}
