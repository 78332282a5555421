//! The store: names, images, layers and leases on the disk. What it says is what the disk says: several processes may use it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::disk::{Disk, ImageRecord, LayerRecord, Lock, NameRecord, layer_name};
use crate::pull::{Flights, LayerLocks};
use crate::{
    Credentials, Digest, Image, PruneWhat, Pruned, PullError, PullOptions, Reference, Removed, StoreError,
    StoreOptions, import, registry,
};

/// How often a pull starts again because what it counted on was removed meanwhile.
const REPAIRS: usize = 3;

/// Images on this machine's disk. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub disk: Disk,
    pub options: StoreOptions,
    pub client: reqwest::Client,
    pub flights: Flights,
    /// Who makes which layer right now.
    pub layer_locks: LayerLocks,
    /// Layers that pulls of this process count on, and how many do.
    pub wanted: Mutex<HashMap<String, usize>>,
    /// All layers that are in the works.
    pub permits: Arc<Semaphore>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("disk", &self.inner.disk).finish_non_exhaustive()
    }
}

/// An image and its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Every full reference that leads to it (`docker.io/library/busybox:latest`); may be empty.
    pub names: Vec<String>,
    /// The image.
    pub image: Image,
}

/// Somebody who holds an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The image's.
    pub digest: Digest,
    /// Who.
    pub holder: String,
}

impl Store {
    /// Opens (or makes) the store in `dir` and clears what a crash left. Blocking: a few milliseconds, more if there is much to clear.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// [`Self::open`], with options.
    ///
    /// # Errors
    /// The directory cannot be used, or the options make no HTTP client.
    pub fn open_with(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let disk = Disk::open(dir.as_ref())?;
        let client = registry::client(&options).map_err(|detail| StoreError::Io {
            what: "call registries".to_owned(),
            kind: io::ErrorKind::InvalidInput,
            detail,
        })?;
        let permits = Arc::new(Semaphore::new(options.limits.parallel_total.max(1)));
        let store = Self {
            inner: Arc::new(Inner {
                disk,
                options,
                client,
                flights: Flights::default(),
                layer_locks: LayerLocks::default(),
                wanted: Mutex::default(),
                permits,
            }),
        };
        store.inner.distrust()?;
        store.inner.disk.clear_junk(false)?;
        Ok(store)
    }

    /// Where the layers are.
    #[must_use]
    pub fn layers_dir(&self) -> PathBuf {
        self.inner.disk.part("layers")
    }

    /// Brings an image here. A tag is asked for each time (nothing is fetched that is here); a digest that is here asks nobody.
    /// A hundred who ask for the same at once wait for one download, and it goes on while anybody waits; when the last one is dropped
    /// it stops, and what has arrived is used by the next pull.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        options: &PullOptions<'_>,
    ) -> Result<Image, PullError> {
        for _ in 0..REPAIRS {
            let image = self.inner.pull_shared(reference, credentials, options).await?;
            let Some(holder) = options.holder else { return Ok(image) };
            match self.hold(&image.digest, holder) {
                Ok(()) => return Ok(image),
                // Taken away between the two.
                Err(StoreError::Absent(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PullError::Unreachable("the image is removed again and again while it is pulled".to_owned()))
    }

    /// Takes images from a file of `docker save`, or an OCI layout (directory or archive, plain or compressed). Blocking: call it
    /// where that is allowed. `name` is for layouts whose images have none, or only a tag.
    ///
    /// # Errors
    /// [`PullError::Refused`], [`PullError::Store`], [`PullError::Platform`].
    pub fn import(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<Named>, PullError> {
        import::import(&self.inner, path, name)
    }

    /// An image by one of its names (any spelling) or its digest.
    #[must_use]
    pub fn find(&self, name_or_digest: &str) -> Option<Image> {
        if let Ok(digest) = name_or_digest.parse::<Digest>() {
            return self.inner.image(&digest);
        }
        let reference: Reference = name_or_digest.parse().ok()?;
        let digest = self.inner.named(&reference).or_else(|| reference.digest().cloned())?;
        self.inner.image(&digest)
    }

    /// Every image, in the order of their digests.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn list(&self) -> Result<Vec<Named>, StoreError> {
        let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (_, record) in self.inner.disk.records::<NameRecord>("names")? {
            names.entry(record.digest).or_default().push(record.name);
        }
        let mut images: Vec<Named> = Vec::new();
        for (_, record) in self.inner.disk.records::<ImageRecord>("images")? {
            let Some(image) = self.inner.image(&record.digest) else { continue };
            let mut names = names.remove(&record.digest).unwrap_or_default();
            names.sort();
            images.push(Named { names, image });
        }
        images.sort_by(|a, b| a.image.digest.cmp(&b.image.digest));
        Ok(images)
    }

    /// Keeps an image from being removed until `holder` gives it back. Twice is once. One small file is made: microseconds.
    /// Waits while somebody removes images (moments: files are deleted afterwards).
    ///
    /// # Errors
    /// [`StoreError::Absent`]: pull it again. [`StoreError::Holder`].
    pub fn hold(&self, digest: &Digest, holder: &str) -> Result<(), StoreError> {
        let file = self.inner.lease_file(digest, holder)?;
        let _lock = self.inner.disk.lock(Lock::Shared)?;
        if self.inner.disk.image(digest).is_none() {
            return Err(StoreError::Absent(digest.clone()));
        }
        let dir = self.inner.disk.lease_dir(digest);
        fs::create_dir_all(&dir).map_err(|e| StoreError::io("make", &dir, &e))?;
        File::create(&file).map_err(|e| StoreError::io("write", &file, &e))?;
        Ok(())
    }

    /// Gives an image back. Fine if it was not held.
    ///
    /// # Errors
    /// The disk said no; [`StoreError::Holder`].
    pub fn release(&self, digest: &Digest, holder: &str) -> Result<(), StoreError> {
        remove_file(&self.inner.lease_file(digest, holder)?)
    }

    /// Who holds what.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        for dir in self.inner.disk.entries("leases")? {
            let Some(digest) = file_name(&dir).and_then(Digest::from_file_name) else { continue };
            let holders = self.inner.holders(&digest)?;
            leases.extend(holders.into_iter().map(|holder| Lease { digest: digest.clone(), holder }));
        }
        Ok(leases)
    }

    /// Removes a name (any spelling) or, given a digest, an image with all its names. The image goes with its last name. Blocking:
    /// deletes files.
    ///
    /// # Errors
    /// [`StoreError::InUse`]: it was the last name, and somebody holds the image; nothing is changed.
    pub fn remove(&self, name_or_digest: &str) -> Result<Removed, StoreError> {
        let removed = {
            let _lock = self.inner.disk.lock(Lock::Exclusive)?;
            self.inner.remove_locked(name_or_digest)?
        };
        if removed == Removed::Image {
            self.inner.disk.clear_junk(false)?;
        }
        Ok(removed)
    }

    /// Removes images that nobody holds, layers that no image has, and downloads that nobody goes on with. Blocking: deletes files.
    ///
    /// # Errors
    /// The disk said no.
    pub fn prune(&self, what: PruneWhat) -> Result<Pruned, StoreError> {
        let pruned = {
            let _lock = self.inner.disk.lock(Lock::Exclusive)?;
            self.inner.prune_locked(what)?
        };
        self.inner.disk.clear_junk(true)?;
        Ok(pruned)
    }
}

impl Inner {
    /// The digest that a reference leads to.
    pub fn named(&self, reference: &Reference) -> Option<Digest> {
        let record: NameRecord = self.disk.read(&self.disk.name_file(&reference.to_string())).ok()??;
        if record.name == reference.to_string() {
            return Some(record.digest);
        }
        None
    }

    pub fn image(&self, digest: &Digest) -> Option<Image> {
        let record = self.disk.image(digest)?;
        let mut layers: Vec<PathBuf> =
            record.layers.iter().map(|name| self.disk.layer_dir(name).join("fs")).collect();
        if layers.is_empty() {
            layers.push(self.disk.empty_layer());
        }
        Some(Image {
            digest: record.digest,
            config: record.config,
            layers,
            root: record.root,
            size: record.size,
        })
    }

    /// Writes down an image whose layers are in place. False: some of them are no longer. Blocking.
    pub fn commit(&self, record: &ImageRecord, names: &[String]) -> Result<bool, StoreError> {
        self.disk.flush()?;
        let _lock = self.disk.lock(Lock::Shared)?;
        let whole = record.layers.iter().all(|name| self.disk.layer_dir(name).join("layer.json").exists());
        if !whole {
            return Ok(false);
        }
        self.disk.write_record(&self.disk.image_file(&record.digest), record)?;
        for name in names {
            self.name_locked(name, &record.digest)?;
        }
        Ok(true)
    }

    /// Makes a name lead to an image. False: it is not (or no longer) here.
    pub fn name(&self, name: &str, digest: &Digest) -> Result<bool, StoreError> {
        let _lock = self.disk.lock(Lock::Shared)?;
        let here = self.disk.image(digest).is_some();
        if here {
            self.name_locked(name, digest)?;
        }
        Ok(here)
    }

    fn name_locked(&self, name: &str, digest: &Digest) -> Result<(), StoreError> {
        let file = self.disk.name_file(name);
        let known: Option<NameRecord> = self.disk.read(&file).unwrap_or(None);
        if known.is_some_and(|known| known.digest == *digest && known.name == name) {
            return Ok(());
        }
        self.disk.write_record(&file, &NameRecord { name: name.to_owned(), digest: digest.clone() })
    }

    fn lease_file(&self, digest: &Digest, holder: &str) -> Result<PathBuf, StoreError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let length = (1..=128).contains(&holder.len());
        if !length || holder.starts_with('.') || !holder.bytes().all(fits) {
            return Err(StoreError::Holder);
        }
        Ok(self.disk.lease_dir(digest).join(holder))
    }

    fn holders(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        let dir = self.disk.lease_dir(digest);
        let read = || fs::read_dir(&dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        let mut holders: Vec<String> = match read() {
            Ok(names) => names.into_iter().filter_map(|name| name.into_string().ok()).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(StoreError::io("read", &dir, &e)),
        };
        holders.sort();
        Ok(holders)
    }

    fn remove_locked(&self, name_or_digest: &str) -> Result<Removed, StoreError> {
        let names = self.disk.records::<NameRecord>("names")?;
        let (digest, mut going): (Digest, Vec<PathBuf>) = if let Ok(digest) = name_or_digest.parse::<Digest>()
        {
            let going =
                names.iter().filter(|(_, r)| r.digest == digest).map(|(path, _)| path.clone()).collect();
            (digest, going)
        } else {
            let Ok(reference) = name_or_digest.parse::<Reference>() else { return Ok(Removed::Absent) };
            let name = reference.to_string();
            let Some((path, record)) = names.iter().find(|(_, r)| r.name == name) else {
                return Ok(Removed::Absent);
            };
            (record.digest.clone(), vec![path.clone()])
        };
        let stays = names.iter().any(|(path, record)| record.digest == digest && !going.contains(path));
        let known = self.disk.image_file(&digest).exists();
        if !stays && known {
            let holders = self.holders(&digest)?;
            if !holders.is_empty() {
                return Err(StoreError::InUse(holders));
            }
            going.push(self.disk.image_file(&digest));
        }
        for path in &going {
            remove_file(path)?;
        }
        match (stays, known, going.is_empty()) {
            (true, ..) | (false, false, false) => Ok(Removed::Name),
            (false, false, true) => Ok(Removed::Absent),
            (false, true, _) => {
                self.sweep_layers()?;
                Ok(Removed::Image)
            }
        }
    }

    fn prune_locked(&self, what: PruneWhat) -> Result<Pruned, StoreError> {
        let names = self.disk.records::<NameRecord>("names")?;
        let mut pruned = Pruned::default();
        for (path, record) in self.disk.records::<ImageRecord>("images")? {
            let named = names.iter().any(|(_, name)| name.digest == record.digest);
            let broken = self.disk.image(&record.digest).is_none();
            let kept = what == PruneWhat::Nameless && named && !broken;
            if kept || !self.holders(&record.digest)?.is_empty() {
                continue;
            }
            for (path, _) in names.iter().filter(|(_, name)| name.digest == record.digest) {
                remove_file(path)?;
            }
            remove_file(&path)?;
            // Empty, or it would not go.
            let _ = fs::remove_dir(self.disk.lease_dir(&record.digest));
            pruned.images += 1;
        }
        for (path, _) in names.iter().filter(|(_, name)| !self.disk.image_file(&name.digest).exists()) {
            remove_file(path)?;
        }
        let (layers, bytes) = self.sweep_layers()?;
        Ok(Pruned { layers, bytes, ..pruned })
    }

    /// Moves layers away that no image has and no pull of this process counts on.
    fn sweep_layers(&self) -> Result<(usize, u64), StoreError> {
        let images = self.disk.records::<ImageRecord>("images")?;
        let used: HashSet<String> = images.into_iter().flat_map(|(_, record)| record.layers).collect();
        let wanted = self.wanted.lock();
        let (mut layers, mut bytes) = (0, 0);
        for path in self.disk.entries("layers")? {
            let Some(name) = file_name(&path) else { continue };
            if used.contains(name) || wanted.contains_key(name) {
                continue;
            }
            let record: Option<LayerRecord> = self.disk.read(&path.join("layer.json")).unwrap_or(None);
            bytes += record.map_or(0, |record| record.bytes);
            layers += 1;
            self.disk.discard(&path)?;
        }
        Ok((layers, bytes))
    }

    /// Moves layers away that may have been written only in part before the machine went down: those that no image has (images
    /// are written down after a flush) and that another run of the machine made.
    fn distrust(&self) -> Result<(), StoreError> {
        let _lock = self.disk.lock(Lock::Exclusive)?;
        let images = self.disk.records::<ImageRecord>("images")?;
        let used: HashSet<String> = images.into_iter().flat_map(|(_, record)| record.layers).collect();
        for path in self.disk.entries("layers")? {
            let record: Option<LayerRecord> = self.disk.read(&path.join("layer.json")).unwrap_or(None);
            let believed = record.is_some_and(|record| record.boot == self.disk.boot);
            if !believed && file_name(&path).is_none_or(|name| !used.contains(name)) {
                self.disk.discard(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps a prune from taking layers that a pull counts on.
    pub fn want(self: &Arc<Self>, keys: impl IntoIterator<Item = Digest>) -> Wanted {
        let names: Vec<String> = keys.into_iter().map(|key| layer_name(&key)).collect();
        let mut wanted = self.wanted.lock();
        for name in &names {
            *wanted.entry(name.clone()).or_default() += 1;
        }
        drop(wanted);
        Wanted { store: Arc::clone(self), names }
    }
}

/// Layers that somebody counts on.
pub(crate) struct Wanted {
    store: Arc<Inner>,
    names: Vec<String>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut wanted = self.store.wanted.lock();
        for name in &self.names {
            if let Some(count) = wanted.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    wanted.remove(name);
                }
            }
        }
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, &e)),
        _ => Ok(()),
    }
}
