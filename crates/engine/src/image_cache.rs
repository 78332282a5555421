//! Images that are brought to the hosts ahead of time: those of active versions with `force_cache`.
//!
//! The task looks when a version was changed, when a host has come back, and every few minutes. A host pulls one image at a
//! time and few hosts pull at once, so that starts are not held up; what fails is tried again, less and less often. Nothing
//! is stored: what a host holds, its engine says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use spawnpoint_driver::DriverError;
use spawnpoint_model::{HostId, Timestamp, VersionSpec};
use tokio::sync::Notify;

use crate::Engine;
use crate::hosts::HostRuntime;

/// Hosts that pull at once.
const HOSTS_AT_ONCE: usize = 4;
/// Without an event, hosts are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Pause after the first failure of an image on a host; doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What the task remembers.
#[derive(Default)]
pub(crate) struct ImageCache {
    /// Look again.
    pub(crate) bell: Notify,
    failures: Mutex<HashMap<(HostId, String), Failures>>,
}

/// How often a pull has failed, and when it may be tried again.
struct Failures {
    count: u32,
    next_at: Timestamp,
}

impl ImageCache {
    fn is_due(&self, host: &HostId, image: &str, now: Timestamp) -> bool {
        let failures = self.failures.lock();
        failures.get(&(host.clone(), image.to_owned())).is_none_or(|failures| failures.next_at <= now)
    }

    fn failed(&self, host: &HostId, image: &str, now: Timestamp) {
        let mut failures = self.failures.lock();
        let entry = failures.entry((host.clone(), image.to_owned()));
        let failures = entry.or_insert(Failures { count: 0, next_at: now });
        let pause = PAUSE_FIRST.saturating_mul(1_u32.checked_shl(failures.count).unwrap_or(u32::MAX));
        failures.count = failures.count.saturating_add(1);
        failures.next_at = now.plus(pause.min(PAUSE_MAX));
    }

    /// When the next one that has failed may be tried again; keeps those that are still wanted, on hosts that are still here.
    /// `hosts`: whether they are well. Of one that is not, the bell tells when it is.
    fn next_at(&self, wanted: &HashSet<String>, hosts: &HashMap<HostId, bool>) -> Option<Timestamp> {
        let mut failures = self.failures.lock();
        failures.retain(|(host, image), _| wanted.contains(image) && hosts.contains_key(host));
        let on_well = failures.iter().filter(|((host, _), _)| hosts.get(host) == Some(&true));
        on_well.map(|(_, failures)| failures.next_at).min()
    }

    fn succeeded(&self, host: &HostId, image: &str) {
        self.failures.lock().remove(&(host.clone(), image.to_owned()));
    }
}

impl Engine {
    /// Which share of the hosts holds the version's image, 0 to 1.
    #[must_use]
    pub fn cached_share(&self, version: &VersionSpec) -> f64 {
        self.inner.fleet.share_with(&version.image.reference())
    }
}

/// The task.
pub(crate) async fn run(engine: Engine) {
    loop {
        let wait = match look(&engine).await {
            Ok(next) => next.map_or(LOOK_EVERY, |next| next.since(engine.now()).min(LOOK_EVERY)),
            Err(error) => {
                tracing::warn!(error = %error, "the versions to be cached could not be read");
                PAUSE_FIRST
            }
        };
        let wait = wait.max(Duration::from_millis(100));
        let _ = tokio::time::timeout(wait, engine.inner.image_cache.bell.notified()).await;
    }
}

/// Brings every image that is wanted to every host that is well and does not hold it.
async fn look(engine: &Engine) -> Result<Option<Timestamp>, spawnpoint_store::StoreError> {
    let mut wanted: HashMap<String, Arc<VersionSpec>> = HashMap::new();
    for spec in engine.inner.store.specs_to_cache().await? {
        wanted.entry(spec.image.reference()).or_insert_with(|| Arc::new(spec));
    }
    let wanted = Arc::new(wanted);
    let hosts = stream::iter(engine.inner.fleet.all().to_vec());
    let pulls = hosts.map(|runtime| bring(engine.clone(), runtime, wanted.clone()));
    pulls.buffer_unordered(HOSTS_AT_ONCE).collect::<()>().await;
    let fleet = &engine.inner.fleet;
    let hosts = fleet.all().iter().map(|host| (host.id().clone(), fleet.is_healthy(host.id()))).collect();
    Ok(engine.inner.image_cache.next_at(&wanted.keys().cloned().collect(), &hosts))
}

async fn bring(engine: Engine, runtime: Arc<HostRuntime>, wanted: Arc<HashMap<String, Arc<VersionSpec>>>) {
    let inner = &engine.inner;
    for (image, spec) in &*wanted {
        let host = runtime.id();
        let due = inner.fleet.is_healthy(host) && inner.image_cache.is_due(host, image, engine.now());
        if !due || inner.fleet.holds(host, image) {
            continue;
        }
        match engine.pull_ahead(&runtime, spec).await {
            Ok(()) => {
                tracing::info!(host.id = %host, image, "cached an image");
                inner.fleet.add_image(host, image);
                inner.image_cache.succeeded(host, image);
            }
            Err(error) => {
                tracing::warn!(host.id = %host, image, error = %error, "an image could not be cached; trying again later");
                inner.image_cache.failed(host, image, engine.now());
            }
        }
    }
}

impl Engine {
    async fn pull_ahead(&self, runtime: &HostRuntime, version: &VersionSpec) -> Result<(), DriverError> {
        let credentials = self.credentials(version).map_err(DriverError::Invalid)?;
        let image = version.image.reference();
        // On the heap: drivers' futures are large.
        Box::pin(runtime.driver().prepare(&image, credentials.as_ref(), false, &|_, _| {})).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_less_and_less_often_and_never_given_up() {
        let (cache, host) = (ImageCache::default(), HostId::from("a"));
        let mut now = Timestamp(0);
        let (wanted, here) = (HashSet::from(["game:1".to_owned()]), HashMap::from([(host.clone(), true)]));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            assert!(cache.is_due(&host, "game:1", now));
            cache.failed(&host, "game:1", now);
            assert!(!cache.is_due(&host, "game:1", now));
            assert!(cache.is_due(&host, "game:2", now), "one image does not hold up another");
            let next = cache.next_at(&wanted, &here).unwrap();
            pauses.push(next.since(now));
            now = next;
        }
        assert_eq!(pauses[..3], [10, 20, 40].map(Duration::from_secs));
        assert_eq!(pauses[39], PAUSE_MAX);
        cache.succeeded(&host, "game:1");
        cache.failed(&host, "game:3", now);
        assert_eq!(cache.next_at(&HashSet::new(), &here), None, "nobody wants it any more");
    }

    #[test]
    fn what_failed_on_a_host_that_is_away_or_gone_keeps_nobody_awake() {
        let (cache, host, now) = (ImageCache::default(), HostId::from("a"), Timestamp(0));
        let wanted = HashSet::from(["game:1".to_owned()]);
        cache.failed(&host, "game:1", now);
        assert_eq!(cache.next_at(&wanted, &HashMap::from([(host.clone(), false)])), None, "it is away");
        let well = HashMap::from([(host.clone(), true)]);
        assert_eq!(cache.next_at(&wanted, &well), Some(now.plus(PAUSE_FIRST)), "it is back");
        assert_eq!(cache.next_at(&wanted, &HashMap::new()), None, "it was removed");
        assert!(cache.is_due(&host, "game:1", now), "another one of its name begins anew");
    }
}
