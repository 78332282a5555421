//! One layer of a pull: downloaded into a file that outlives crashes, and unpacked while it arrives.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::disk::LayerRecord;
use crate::feed::{EndOnDrop, Feed, FeedReader};
use crate::layer::{Expected, LayerError, has_room, unpack_layer};
use crate::manifest::Descriptor;
use crate::pull::{Reporter, Staged, blocking};
use crate::registry::{Registry, Trouble};
use crate::store::Inner;
use crate::{Digest, PullError, StoreError};

/// How much is collected before it is written.
const WRITE: usize = 256 << 10;
/// Less than this within the limit for no progress is none: a layer cannot be dripped for ever.
const MIN_PROGRESS: u64 = 16 << 10;
/// How often a download that does go on may be taken up again.
const MAX_RESUMES: u32 = 100;
/// How often it is looked whether another process has finished with a download.
const LOCK_EVERY: Duration = Duration::from_millis(100);

/// What is to be fetched, and for whom.
pub(crate) struct Job {
    pub store: Arc<Inner>,
    pub registry: Arc<Registry>,
    pub reporter: Arc<Reporter>,
    pub permits: Arc<Semaphore>,
    pub layer: Descriptor,
    pub diff_id: Digest,
    pub chain_id: Digest,
}

/// Brings one layer here.
pub(crate) async fn layer(job: Job) -> Result<Staged, PullError> {
    let store = Arc::clone(&job.store);
    // Who waits for a layer that somebody else makes takes no permit.
    let making = Arc::new(store.layer_locks.lock(&job.diff_id).await);
    if let Some(record) = store.disk.layer(&job.diff_id).or_else(|| store.disk.layer(&job.chain_id)) {
        job.reporter.add(job.layer.size, 1);
        return Ok(Staged::Ready(record));
    }
    let closed = |_| PullError::Unreachable("the pull broke off".to_owned());
    let _own = Arc::clone(&job.permits).acquire_owned().await.map_err(closed)?;
    let _total = Arc::clone(&store.permits).acquire_owned().await.map_err(closed)?;
    let path = store.disk.partial_file(&job.layer.digest);
    let mut fresh = false;
    loop {
        let partial = Partial::open(&path, &job.layer, fresh).await?;
        let resumed = partial.have > 0;
        let keep = (Arc::clone(&making), Arc::clone(&partial.file));
        let done = Box::pin(download_and_unpack(&job, &partial, keep)).await;
        let error = match done {
            Ok(staged) => {
                partial.remove(&path);
                job.reporter.add(0, 1);
                return Ok(staged);
            }
            Err(error) => error,
        };
        if matches!(error.error, PullError::Refused(_)) {
            partial.remove(&path);
            // What an earlier run left may be damaged (a power cut): once more, from the start.
            if error.is_blob && resumed && !fresh {
                fresh = true;
                continue;
            }
        }
        return Err(error.error);
    }
}

/// A download's file, which this process alone has.
struct Partial {
    file: Arc<File>,
    have: u64,
}

impl Partial {
    async fn open(path: &Path, layer: &Descriptor, fresh: bool) -> Result<Self, PullError> {
        loop {
            let file = File::options().create(true).truncate(fresh).read(true).write(true).open(path);
            let file = file.map_err(|e| StoreError::io("write", path, &e))?;
            let ours = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            let meta = file.metadata().map_err(|e| StoreError::io("read", path, &e))?;
            // Its owner may have removed it between the two.
            if !ours || std::fs::metadata(path).map_or(true, |now| now.ino() != meta.ino()) {
                tokio::time::sleep(LOCK_EVERY).await;
                continue;
            }
            let mut have = meta.len();
            if have > layer.size {
                file.set_len(0).map_err(|e| StoreError::io("write", path, &e))?;
                have = 0;
            }
            return Ok(Self { file: Arc::new(file), have });
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a download's file cannot be removed");
        }
    }
}

async fn download_and_unpack<K: Send + 'static>(
    job: &Job,
    partial: &Partial,
    keep: K,
) -> Result<Staged, LayerError> {
    let limits = &job.store.options.limits;
    has_room(&job.store.disk.part("partial"), job.layer.size - partial.have, limits)
        .map_err(PullError::from)?;
    let feed = Arc::new(Feed::default());
    feed.written(partial.have);
    job.reporter.add(partial.have, 0);
    let _end = EndOnDrop(Arc::clone(&feed));
    let reader = FeedReader { file: Arc::clone(&partial.file), feed: Arc::clone(&feed), at: 0 };
    let mut unpacking = tokio::task::spawn_blocking({
        let (store, reporter) = (Arc::clone(&job.store), Arc::clone(&job.reporter));
        let (layer, diff_id, resumed) = (job.layer.clone(), job.diff_id.clone(), partial.have > 0);
        move || {
            // Nobody else touches the layer or its file before this thread has ended.
            let _keep = keep;
            let expected = Expected { blob: Some((&layer.digest, layer.size)), diff_id: &diff_id, resumed };
            stage(&store, reader, &expected, &reporter.budget)
        }
    });
    let mut download = Box::pin(download(job, partial, &feed));
    let broke = || LayerError::from(PullError::Unreachable("the pull broke off".to_owned()));
    tokio::select! {
        unpacked = &mut unpacking => unpacked.map_err(|_| broke())?,
        downloaded = &mut download => {
            feed.end(downloaded.clone());
            // It fails with the download's error, if there is one.
            let unpacked = unpacking.await.map_err(|_| broke())?;
            match downloaded {
                Ok(()) => unpacked,
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Unpacks one layer and puts it in its place if it depends on no other. Blocking.
pub(crate) fn stage(
    store: &Inner,
    blob: impl std::io::Read,
    expected: &Expected<'_>,
    budget: &dyn crate::unpack::Budget,
) -> Result<Staged, LayerError> {
    let scratch = store.disk.scratch().map_err(PullError::from)?;
    let into = scratch.path.join("fs");
    std::fs::create_dir(&into).map_err(|e| PullError::from(StoreError::io("make", &into, &e)))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&into, mode).map_err(|e| PullError::from(StoreError::io("make", &into, &e)))?;
    let unpacked = unpack_layer(blob, expected, &into, budget, &store.options.limits)?;
    if !unpacked.pending.is_empty() {
        return Ok(Staged::Loose(scratch, unpacked));
    }
    let record = LayerRecord {
        key: expected.diff_id.clone(),
        bytes: unpacked.bytes,
        root: unpacked.root,
        boot: store.disk.boot.clone(),
    };
    store.disk.publish(&scratch, &record).map_err(PullError::from)?;
    Ok(Staged::Ready(record))
}

/// Fetches what is missing of a layer, as often as it takes.
async fn download(job: &Job, partial: &Partial, feed: &Feed) -> Result<(), PullError> {
    let mut sink = Sink { job, feed, file: &partial.file, at: partial.have, buffer: Vec::new() };
    let (mut failures, mut resumes) = (0, 0);
    while sink.at < job.layer.size {
        let before = sink.at;
        let tried = stream(&mut sink).await;
        sink.flush().await?;
        let trouble = match tried {
            Ok(()) if sink.at == job.layer.size => break,
            Ok(()) if sink.at == before => {
                Trouble::Again(PullError::refused("a layer is shorter than its manifest says"), None)
            }
            Ok(()) => Trouble::Again(PullError::Unreachable("a layer ended early".to_owned()), None),
            Err(trouble) => trouble,
        };
        if sink.at > before {
            failures = 0;
            resumes += 1;
        }
        if resumes > MAX_RESUMES {
            return Err(trouble.into_error());
        }
        job.registry.wait_or_fail(trouble, &mut failures).await?;
    }
    Ok(())
}

/// One request, until its body ends.
async fn stream(sink: &mut Sink<'_>) -> Result<(), Trouble> {
    let registry = &sink.job.registry;
    let size = sink.job.layer.size;
    let mut response = registry.open_blob(&sink.job.layer.digest, sink.at).await?;
    let start = starts_at(&response, sink.at)?;
    if response.content_length().is_some_and(|length| start.checked_add(length) != Some(size)) {
        return Err(PullError::refused("a layer has another size than its manifest says").into());
    }
    // A registry that knows no ranges begins anew; what is here already is passed over.
    let mut skip = sink.at - start;
    let (mut since, mut arrived) = (Instant::now(), 0);
    while let Some(mut chunk) = registry.chunk(&mut response).await? {
        arrived += chunk.len() as u64;
        if arrived >= MIN_PROGRESS {
            (since, arrived) = (Instant::now(), 0);
        } else if since.elapsed() > sink.job.store.options.limits.no_progress {
            return Err(registry.stalled().into());
        }
        let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= passed as u64;
        let rest = chunk.split_off(passed);
        if sink.at + (sink.buffer.len() + rest.len()) as u64 > size {
            return Err(PullError::refused("a layer is longer than its manifest says").into());
        }
        sink.buffer.extend_from_slice(&rest);
        if sink.buffer.len() >= WRITE {
            sink.flush().await?;
        }
    }
    Ok(())
}

/// Where an answer begins.
fn starts_at(response: &Response, asked: u64) -> Result<u64, PullError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    match start {
        Some(start) if start == asked => Ok(start),
        _ => Err(PullError::refused("the registry sends another part of a layer than was asked for")),
    }
}

/// Where a download goes.
struct Sink<'a> {
    job: &'a Job,
    feed: &'a Feed,
    file: &'a Arc<File>,
    at: u64,
    buffer: Vec<u8>,
}

impl Sink<'_> {
    async fn flush(&mut self) -> Result<(), PullError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (bytes, file, at) = (std::mem::take(&mut self.buffer), Arc::clone(self.file), self.at);
        let mut bytes = blocking(move || {
            let written = file.write_all_at(&bytes, at);
            written.map_err(|e| StoreError::io("write a layer to", Path::new("the disk"), &e))?;
            Ok(bytes)
        })
        .await?;
        self.at += bytes.len() as u64;
        self.feed.written(self.at);
        self.job.reporter.add(bytes.len() as u64, 0);
        bytes.clear();
        self.buffer = bytes;
        Ok(())
    }
}
