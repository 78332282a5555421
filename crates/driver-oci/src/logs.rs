//! Logs as streams, from the files that supervisors write; and the names of images.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::fs::inotify;
use spawnpoint_driver::{DriverError, LogChunk, LogFrom, LogStream};
use spawnpoint_images::Reference;
use tokio::io::unix::AsyncFd;

use crate::log::Reader;
use crate::records;

/// Bytes that are read and held at once.
const AT_ONCE: usize = 256 * 1024;
/// A follower looks again after so long even if nothing woke it.
const LOOK: Duration = Duration::from_secs(1);

/// Where a stream is.
struct Follower {
    dir: PathBuf,
    reader: Reader,
    from: LogFrom,
    /// Wakes whoever follows.
    changes: Option<AsyncFd<std::os::fd::OwnedFd>>,
    /// The workload had ended before the last look: what that look did not find will not come.
    is_last_look: bool,
}

/// The log of the workload in a folder.
///
/// # Errors
/// It cannot be read.
pub async fn open(dir: PathBuf, from: LogFrom, follow: bool) -> Result<LogStream, DriverError> {
    let changes = if follow { Some(watch(&dir).map_err(failed)?) } else { None };
    let begin = dir.clone();
    let reader = move || match from {
        LogFrom::Tail(bytes) => Reader::from_end(&begin, bytes),
        LogFrom::Start | LogFrom::Since(_) => Ok(Reader::from_start(&begin)),
    };
    let reader = tokio::task::spawn_blocking(reader).await.map_err(internal)?.map_err(failed)?;
    let follower = Follower { dir, reader, from, changes, is_last_look: !follow };
    let batches =
        stream::try_unfold(follower, |follower| async move { next(follower).await.map_err(failed) });
    Ok(batches.map_ok(|chunks| stream::iter(chunks.into_iter().map(Ok))).try_flatten().boxed())
}

fn failed(error: io::Error) -> DriverError {
    match error.kind() {
        // Its folder was removed meanwhile.
        io::ErrorKind::NotFound => DriverError::Missing,
        _ => DriverError::Internal(format!("the log cannot be read: {error}")),
    }
}

fn internal(error: tokio::task::JoinError) -> DriverError {
    DriverError::Internal(error.to_string())
}

fn watch(dir: &std::path::Path) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, dir, events)?;
    crate::sys::readable(fd)
}

/// The next pieces; `None` at the end.
async fn next(mut follower: Follower) -> io::Result<Option<(Vec<LogChunk>, Follower)>> {
    loop {
        // Asked before the look: what is written between the two is found by the look.
        let has_ended = follower.dir.join(records::EXIT).exists() || !follower.dir.exists();
        let Follower { mut reader, .. } = follower;
        let read = move || (reader.read(AT_ONCE), reader);
        let (chunks, reader) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
        let chunks: Vec<LogChunk> = match follower.from {
            LogFrom::Since(since) => {
                let all = chunks?;
                let nothing_more = all.is_empty();
                let new: Vec<_> =
                    all.into_iter().filter(|chunk| chunk.at.is_none_or(|at| at >= since)).collect();
                follower = Follower { reader, ..follower };
                if new.is_empty() && !nothing_more {
                    continue;
                }
                new
            }
            LogFrom::Start | LogFrom::Tail(_) => {
                let all = chunks?;
                follower = Follower { reader, ..follower };
                all
            }
        };
        if !chunks.is_empty() {
            return Ok(Some((chunks, follower)));
        }
        if follower.is_last_look {
            return Ok(None);
        }
        if has_ended {
            follower.is_last_look = true;
            continue;
        }
        if let Some(changes) = &follower.changes {
            wait(changes).await?;
        }
    }
}

async fn wait(changes: &AsyncFd<std::os::fd::OwnedFd>) -> io::Result<()> {
    if let Ok(ready) = tokio::time::timeout(LOOK, changes.readable()).await {
        let mut ready = ready?;
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(changes.get_ref(), &mut buffer), Ok(1..)) {}
        ready.clear_ready();
    }
    Ok(())
}

/// The ways to write a name: Docker Hub may be left out.
pub fn spellings(reference: &Reference) -> Vec<String> {
    let full = reference.to_string();
    let mut all = vec![reference.familiar()];
    if let Some(rest) = full.strip_prefix("docker.io/") {
        all.push(rest.to_owned());
        if let Some(short) = rest.strip_prefix("library/") {
            all.extend([short.to_owned(), format!("docker.io/{short}")]);
        }
    }
    all.push(full);
    all
}
