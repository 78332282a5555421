//! Hints: whoever watches is told that something of a workload has changed. Supervisors let a file come and go in one folder;
//! what the control plane does itself, it says itself. The zygote tells in the same way that a supervisor was lost.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use rustix::fs::inotify;
use spawnpoint_driver::{Hint, HintStream};
use spawnpoint_model::WorkloadId;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, broadcast};

use crate::zygote;

/// Reads what happens in the folder, and passes it on, for as long as the engine lives. `lost` hears of supervisors.
///
/// # Errors
/// The kernel gives no watch.
pub fn follow(
    folder: &Path,
    hints: broadcast::Sender<WorkloadId>,
    lost: Arc<Notify>,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&fd, folder, inotify::WatchFlags::CREATE)?;
    let fd = crate::sys::readable(fd)?;
    Ok(tokio::spawn(async move {
        while let Ok(mut ready) = fd.readable().await {
            for id in read(&fd, &lost) {
                // Nobody may be watching.
                let _ = hints.send(id);
            }
            ready.clear_ready();
        }
    }))
}

fn read(fd: &AsyncFd<OwnedFd>, lost: &Notify) -> Vec<WorkloadId> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(fd.get_ref(), &mut buffer);
    let mut found = Vec::new();
    while let Ok(event) = reader.next() {
        let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) else { continue };
        if name == zygote::LOST {
            lost.notify_one();
        }
        found.extend(name.parse::<WorkloadId>().ok());
    }
    found
}

/// The hints for one host's workloads. `is_ours` may not know yet: a hint too many costs a look.
pub fn hints(
    receiver: broadcast::Receiver<WorkloadId>,
    is_ours: impl Fn(WorkloadId) -> bool + Send + 'static,
) -> HintStream {
    let rest = stream::unfold((receiver, is_ours), |(mut receiver, is_ours)| async move {
        loop {
            match receiver.recv().await {
                Ok(id) if is_ours(id) => return Some((Hint::Changed(id), (receiver, is_ours))),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some((Hint::Resync, (receiver, is_ours)));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    stream::iter([Hint::Resync]).chain(rest).boxed()
}
