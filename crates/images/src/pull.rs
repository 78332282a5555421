//! One pull: manifest, configuration, layers at the same time, the record. And: one pull for all who ask for the same.
//!
//! ```text
//! ask ─┐                                    ┌─▶ layer: wait for whoever makes it ─▶ download ∥ unpack ─▶ in place, or loose
//! ask ─┼─▶ flight ─▶ manifest ─▶ config ────┼─▶ layer …                                                      │
//! ask ─┘   (aborted when nobody waits)      └─▶ layer …                        settle what is loose, lowest first ─▶ flush ─▶ record
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::disk::{ImageRecord, LayerRecord, Scratch, layer_name};
use crate::fetch::{self, Job};
use crate::layer::ImageBudget;
use crate::manifest::{
    Config, Document, Manifest, chain_ids, check_platform, choose, read_config, read_document,
};
use crate::registry::Registry;
use crate::settle::settle;
use crate::store::Inner;
use crate::unpack::Unpacked;
use crate::{Credentials, Digest, Image, Platform, Progress, PullError, PullOptions, Reference};

/// Indexes that lead to indexes.
const MAX_INDEXES: usize = 3;
/// How often a pull starts again because a layer that it counted on was removed by another process.
const REPAIRS: usize = 3;

/// What makes two questions one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    reference: String,
    platform: Platform,
    /// Who may not see an image with another's login does not get it that way.
    login: Option<Digest>,
}

/// Pulls under way.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Key, Weak<Flight>>>);

struct Flight {
    outcome: watch::Receiver<Option<Result<Image, PullError>>>,
    progress: watch::Receiver<Progress>,
    task: AbortHandle,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who makes which layer.
#[derive(Default)]
pub(crate) struct LayerLocks(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl LayerLocks {
    pub async fn lock(&self, diff_id: &Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(diff_id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(diff_id.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

/// A layer that has been unpacked.
pub(crate) enum Staged {
    /// In place.
    Ready(LayerRecord),
    /// It depends on those below.
    Loose(Scratch, Unpacked),
}

/// Tells how a pull is going.
pub(crate) struct Reporter {
    sender: watch::Sender<Progress>,
    pub budget: ImageBudget,
}

impl Reporter {
    pub fn add(&self, downloaded: u64, layers_done: usize) {
        self.sender.send_modify(|progress| {
            progress.downloaded += downloaded;
            progress.layers_done += layers_done;
            progress.unpacked = self.budget.bytes();
        });
    }
}

impl Inner {
    /// Joins the pull of the same image, or begins one.
    pub async fn pull_shared(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<&Credentials>,
        options: &PullOptions<'_>,
    ) -> Result<Image, PullError> {
        let platform = options.platform.cloned().unwrap_or_else(Platform::here);
        if let Some(image) = self.known(reference).filter(|image| image.config.is_for(&platform)) {
            return Ok(image);
        }
        let flight = self.join(reference, credentials, platform);
        let (mut outcome, mut progress) = (flight.outcome.clone(), flight.progress.clone());
        let tell = |now: Progress| {
            if let Some(progress) = options.progress {
                progress(now);
            }
        };
        loop {
            tokio::select! {
                biased;
                done = outcome.wait_for(Option::is_some) => {
                    let done = done.ok().and_then(|done| (*done).clone());
                    let last = *progress.borrow_and_update();
                    tell(last);
                    return done.unwrap_or_else(|| Err(PullError::Unreachable("the pull broke off".to_owned())));
                }
                changed = progress.changed(), if options.progress.is_some() && progress.has_changed().is_ok() => {
                    if changed.is_ok() {
                        let now = *progress.borrow_and_update();
                        tell(now);
                    }
                }
            }
        }
    }

    /// What a digest names and is here needs no registry.
    fn known(&self, reference: &Reference) -> Option<Image> {
        let digest = reference.digest()?;
        self.image(&self.named(reference).unwrap_or_else(|| digest.clone()))
    }

    fn join(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<&Credentials>,
        platform: Platform,
    ) -> Arc<Flight> {
        let login =
            credentials.map(|c| Digest::of(format!("{}\0{}", c.username, c.password.reveal()).as_bytes()));
        let key = Key { reference: reference.to_string(), platform: platform.clone(), login };
        let mut flights = self.flights.0.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        let known = flights.get(&key).and_then(Weak::upgrade);
        if let Some(flight) = known.filter(|flight| flight.outcome.borrow().is_none()) {
            return flight;
        }
        let (tell_outcome, outcome) = watch::channel(None);
        let (tell_progress, progress) = watch::channel(Progress::default());
        let pull = Pull {
            store: Arc::clone(self),
            reference: reference.clone(),
            credentials: credentials.cloned(),
            platform,
        };
        let task = tokio::spawn(async move {
            let result = Box::pin(pull.run(tell_progress)).await;
            let _ = tell_outcome.send(Some(result));
        });
        let flight = Arc::new(Flight { outcome, progress, task: task.abort_handle() });
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }

    /// Settles, publishes and writes down. Blocking.
    pub fn finish(
        &self,
        digest: &Digest,
        config: Config,
        staged: Vec<Staged>,
        budget: &ImageBudget,
        names: &[String],
    ) -> Result<Option<Image>, PullError> {
        let chain = chain_ids(&config.diff_ids);
        let (mut layers, mut paths) = (Vec::new(), Vec::new());
        let (mut root, mut size) = (None, 0);
        for (staged, key) in staged.into_iter().zip(chain) {
            let record = match staged {
                Staged::Ready(record) => record,
                Staged::Loose(scratch, unpacked) => {
                    let more = settle(&scratch.path.join("fs"), unpacked.pending, &paths, budget)?;
                    let bytes = unpacked.bytes + more;
                    let record =
                        LayerRecord { key, bytes, root: unpacked.root, boot: self.disk.boot.clone() };
                    self.disk.publish(&scratch, &record)?;
                    record
                }
            };
            let name = layer_name(&record.key);
            paths.push(self.disk.layer_dir(&name).join("fs"));
            layers.push(name);
            root = record.root.or(root);
            size += record.bytes;
        }
        let record = ImageRecord {
            digest: digest.clone(),
            config: config.image,
            layers,
            root: root.unwrap_or_default(),
            size,
        };
        Ok(if self.commit(&record, names)? { self.image(digest) } else { None })
    }
}

struct Pull {
    store: Arc<Inner>,
    reference: Reference,
    credentials: Option<Credentials>,
    platform: Platform,
}

impl Pull {
    async fn run(self, progress: watch::Sender<Progress>) -> Result<Image, PullError> {
        let options = &self.store.options;
        let registry =
            Registry::connect(&self.store.client, options, &self.reference, self.credentials.as_ref())
                .await?;
        let registry = Arc::new(registry);
        let (digest, manifest) = self.manifest(&registry).await?;
        for _ in 0..REPAIRS {
            if let Some(image) = self.store.image(&digest) {
                check_platform(&image.config, &self.platform)?;
                let (store, name, digest) =
                    (Arc::clone(&self.store), self.reference.to_string(), digest.clone());
                if blocking(move || Ok(store.name(&name, &digest)?)).await? {
                    return Ok(image);
                }
            }
            if let Some(image) = self.fetch(&registry, &digest, &manifest, &progress).await? {
                return Ok(image);
            }
        }
        Err(PullError::Unreachable("layers are removed again and again while they are pulled".to_owned()))
    }

    /// The manifest for the platform, through as many indexes as it takes.
    async fn manifest(&self, registry: &Registry) -> Result<(Digest, Manifest), PullError> {
        let limits = &self.store.options.limits;
        let mut asked = self.reference.digest().cloned();
        let mut selector = self.reference.selector().to_owned();
        for _ in 0..=MAX_INDEXES {
            let (digest, bytes) = registry.manifest(&selector, asked.as_ref()).await?;
            match read_document(&bytes, limits)? {
                Document::Image(manifest) => return Ok((digest, manifest)),
                Document::Index(index) => {
                    let chosen = choose(&index, &self.platform)?;
                    selector = chosen.digest.to_string();
                    asked = Some(chosen.digest.clone());
                }
            }
        }
        Err(PullError::refused("its index leads to indexes without end"))
    }

    /// Fetches what is missing. None: something that was there has gone meanwhile.
    async fn fetch(
        &self,
        registry: &Arc<Registry>,
        digest: &Digest,
        manifest: &Manifest,
        progress: &watch::Sender<Progress>,
    ) -> Result<Option<Image>, PullError> {
        let store = &self.store;
        let bytes = registry.blob(&manifest.config).await?;
        let config = read_config(&bytes, &self.platform, manifest.layers.len())?;
        let chain = chain_ids(&config.diff_ids);
        let wanted = store.want(config.diff_ids.iter().chain(&chain).cloned());
        let total = manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        progress.send_replace(Progress {
            total: Some(total),
            layers: manifest.layers.len(),
            ..Progress::default()
        });
        let budget = ImageBudget::new(&store.options.limits, &store.disk.part("tmp"));
        let reporter = Arc::new(Reporter { sender: progress.clone(), budget });
        let permits = Arc::new(Semaphore::new(store.options.limits.parallel_layers.max(1)));
        let mut tasks = JoinSet::new();
        for (at, layer) in manifest.layers.iter().enumerate() {
            let job = Job {
                store: Arc::clone(store),
                registry: Arc::clone(registry),
                reporter: Arc::clone(&reporter),
                permits: Arc::clone(&permits),
                layer: layer.clone(),
                diff_id: config.diff_ids[at].clone(),
                chain_id: chain[at].clone(),
            };
            tasks.spawn(async move { (at, Box::pin(fetch::layer(job)).await) });
        }
        // Dropping the set stops the others when one fails.
        let mut staged: Vec<Option<Staged>> = manifest.layers.iter().map(|_| None).collect();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((at, Ok(layer))) => staged[at] = Some(layer),
                failed => {
                    // What is given up is deleted where waiting for the disk does not matter.
                    tokio::task::spawn_blocking(move || drop(staged));
                    let (_, layer) =
                        failed.map_err(|_| PullError::Unreachable("the pull broke off".to_owned()))?;
                    return layer.map(|_| None);
                }
            }
        }
        let (store, digest, name) = (Arc::clone(store), digest.clone(), self.reference.to_string());
        blocking(move || {
            let _wanted = wanted;
            let staged = staged.into_iter().flatten().collect();
            store.finish(&digest, config, staged, &reporter.budget, &[name])
        })
        .await
    }
}

/// Runs something that waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(PullError::Unreachable("the pull broke off".to_owned())))
}
