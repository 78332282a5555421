//! Keeps prepared networks ready, in the background: whoever has just been given one is to be served first, so the next is
//! made a moment later, unless few are left.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::network::Inner;

/// For whoever was given a network: a start takes less.
const AFTER_YOU: Duration = Duration::from_millis(20);

/// Wakes the thread that replenishes.
#[derive(Clone, Debug)]
pub struct Bell(SyncSender<()>);

/// The thread's end of it.
pub type Wakes = Receiver<()>;

/// A bell. One ring is as good as many.
pub fn bell() -> (Bell, Wakes) {
    let (sender, receiver) = sync_channel(1);
    (Bell(sender), receiver)
}

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        // It rings already, or nobody is left to hear it.
        let _ = self.0.try_send(());
    }
}

/// Starts the thread. It ends with the last that holds the networks.
pub fn keep(inner: &Arc<Inner>, wakes: Wakes) -> io::Result<()> {
    let weak = Arc::downgrade(inner);
    inner.replenish.ring();
    std::thread::Builder::new().name("network-pool".into()).spawn(move || {
        while wakes.recv().is_ok() {
            if !is_low(&weak) {
                std::thread::sleep(AFTER_YOU);
            }
            while one_more(&weak) {}
        }
    })?;
    Ok(())
}

/// Whether those that are ready may not last.
fn is_low(weak: &Weak<Inner>) -> bool {
    weak.upgrade().is_none_or(|inner| inner.state.lock().pool.len() * 2 < inner.config.pool_size)
}

/// Makes one network, if there are too few. After a failure the next ring tries again.
fn one_more(weak: &Weak<Inner>) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    if inner.state.lock().pool.len() >= inner.config.pool_size {
        return false;
    }
    match inner.make_one() {
        Ok(Some(prepared)) => {
            inner.state.lock().pool.push_back(prepared);
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, "no network could be prepared");
            false
        }
    }
}
