//! The store's files: what is where, written so that a crash at any line leaves either the old or the new.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageConfig, RootAttributes, StoreError};

const VERSION: &str = "1";
/// The largest record that is read.
const MAX_RECORD: u64 = 16 << 20;
/// How the machine names its current run; what was not flushed before is not believed after.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Number of the next name in `tmp`: one count for all stores that this process has open, which may be the same one.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// What is known of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageRecord {
    pub digest: Digest,
    pub config: ImageConfig,
    /// Names of layer directories, lowest first.
    pub layers: Vec<String>,
    pub root: RootAttributes,
    pub size: u64,
}

/// What is known of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The diff id or chain id that it is kept under.
    pub key: Digest,
    pub bytes: u64,
    pub root: Option<RootAttributes>,
    /// The run of the machine in which it was made.
    pub boot: String,
}

/// What a name leads to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NameRecord {
    pub name: String,
    pub digest: Digest,
}

/// The directory of a store.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    pub boot: String,
}

/// A temporary directory of ours. Removed when dropped; others see by its lock that its maker lives.
#[derive(Debug)]
pub struct Scratch {
    pub path: PathBuf,
    _lock: File,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary directory cannot be removed");
        }
    }
}

/// Whether a removal and a hold may happen at the same time: they may not.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// Something is added.
    Shared,
    /// Something is removed.
    Exclusive,
}

impl Disk {
    /// Makes or checks the directory.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let dir = std::path::absolute(dir).map_err(|e| StoreError::io("find", dir, &e))?;
        fs::create_dir_all(&dir).map_err(|e| StoreError::io("make", &dir, &e))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&dir, mode).map_err(|e| StoreError::io("close to others", &dir, &e))?;
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let disk = Self { dir, boot };
        for part in ["layers", "images", "names", "leases", "partial", "tmp"] {
            make_dir(&disk.dir.join(part))?;
        }
        make_dir(&disk.empty_layer())?;
        let version = disk.dir.join("version");
        match fs::read_to_string(&version) {
            Ok(found) if found.trim() == VERSION => {}
            Ok(found) => return Err(StoreError::Version(found.chars().take(20).collect())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => disk.write(&version, VERSION.as_bytes())?,
            Err(e) => return Err(StoreError::io("read", &version, &e)),
        }
        Ok(disk)
    }

    pub fn part(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// Stands for the layers of an image that has none.
    pub fn empty_layer(&self) -> PathBuf {
        self.dir.join("empty")
    }

    pub fn image_file(&self, digest: &Digest) -> PathBuf {
        self.dir.join("images").join(format!("{}.json", digest.file_name()))
    }

    pub fn name_file(&self, name: &str) -> PathBuf {
        self.dir.join("names").join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    pub fn lease_dir(&self, digest: &Digest) -> PathBuf {
        self.dir.join("leases").join(digest.file_name())
    }

    pub fn partial_file(&self, digest: &Digest) -> PathBuf {
        self.dir.join("partial").join(digest.file_name())
    }

    /// The directory of a layer's name.
    pub fn layer_dir(&self, name: &str) -> PathBuf {
        self.dir.join("layers").join(name)
    }

    /// A layer, if it is whole.
    pub fn layer(&self, key: &Digest) -> Option<LayerRecord> {
        let record: LayerRecord = self.read(&self.layer_dir(&layer_name(key)).join("layer.json")).ok()??;
        (record.key == *key).then_some(record)
    }

    /// An image, if it and all its layers are there.
    pub fn image(&self, digest: &Digest) -> Option<ImageRecord> {
        let record: ImageRecord = self.read(&self.image_file(digest)).ok()??;
        let whole = record.layers.iter().all(|name| self.layer_dir(name).join("layer.json").exists());
        (whole && record.digest == *digest).then_some(record)
    }

    /// Waits for the lock, which is given back when the result is dropped. Held for moments only.
    pub fn lock(&self, lock: Lock) -> Result<File, StoreError> {
        let path = self.dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| StoreError::io("open", &path, &e))?;
        let operation = match lock {
            Lock::Shared => FlockOperation::LockShared,
            Lock::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(StoreError::io("lock", &path, &error.into())),
                Ok(()) => return Ok(file),
            }
        }
    }

    /// A new temporary directory.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let path = self.fresh();
        make_dir(&path)?;
        let lock = File::open(&path).map_err(|e| StoreError::io("open", &path, &e))?;
        // Nobody else knows it yet; where locks do not work there is one process only.
        let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Scratch { path, _lock: lock })
    }

    /// A name in `tmp` that nothing has.
    fn fresh(&self) -> PathBuf {
        loop {
            let n = FRESH.fetch_add(1, Ordering::Relaxed);
            let path = self.dir.join("tmp").join(format!("{}-{n}", std::process::id()));
            if !path.exists() {
                return path;
            }
        }
    }

    /// Takes something away at once; its files go with the next [`Self::clear_junk`].
    pub fn discard(&self, path: &Path) -> Result<(), StoreError> {
        match fs::rename(path, self.fresh()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("move away", path, &e)),
            _ => Ok(()),
        }
    }

    /// Removes what crashes and removals left in `tmp`; with `partials`, also downloads that nobody goes on with.
    pub fn clear_junk(&self, partials: bool) -> Result<(), StoreError> {
        for part in if partials { &["tmp", "partial"][..] } else { &["tmp"] } {
            for path in self.entries(part)? {
                // A lock means that its maker lives.
                if File::open(&path)
                    .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
                {
                    continue;
                }
                let is_dir = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
                let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                match removed {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(StoreError::io("remove", &path, &e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What is in one of the store's directories.
    pub fn entries(&self, part: &str) -> Result<Vec<PathBuf>, StoreError> {
        let path = self.dir.join(part);
        let read = || fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        read().map_err(|e| StoreError::io("read", &path, &e))
    }

    /// Every record of a kind; what cannot be read is passed over.
    pub fn records<T: DeserializeOwned>(&self, part: &str) -> Result<Vec<(PathBuf, T)>, StoreError> {
        let mut records = Vec::new();
        for path in self.entries(part)? {
            match self.read(&path) {
                Ok(Some(record)) => records.push((path, record)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a record of the image store cannot be read"),
            }
        }
        Ok(records)
    }

    /// A record; none if there is none.
    pub fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, StoreError> {
        let read = || {
            let size = fs::metadata(path)?.len();
            if size > MAX_RECORD {
                return Err(io::Error::other("it is too large"));
            }
            serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
        };
        match read() {
            Ok(record) => Ok(Some(record)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(StoreError::io("read", path, &e)),
        }
    }

    /// Writes a record, all or nothing, also if the machine loses power.
    pub fn write_record<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|e| StoreError::io("write", path, &e.into()))?;
        self.write(path, &bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let fresh = self.fresh();
        let write = || {
            let mut file = File::options().write(true).create_new(true).open(&fresh)?;
            // Whoever clears junk leaves it alone.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&fresh);
            StoreError::io("write", path, &e)
        })
    }

    /// Makes a scratch directory that holds `fs` a layer.
    pub fn publish(&self, scratch: &Scratch, record: &LayerRecord) -> Result<(), StoreError> {
        let file = scratch.path.join("layer.json");
        let bytes = serde_json::to_vec(record).map_err(|e| StoreError::io("write", &file, &e.into()))?;
        fs::write(&file, bytes).map_err(|e| StoreError::io("write", &file, &e))?;
        let target = self.layer_dir(&layer_name(&record.key));
        match fs::rename(&scratch.path, &target) {
            Ok(()) => Ok(()),
            // Somebody else was faster; if what is there is not whole, it goes.
            Err(_) if self.layer(&record.key).is_some() => Ok(()),
            Err(_) => {
                self.discard(&target)?;
                fs::rename(&scratch.path, &target).map_err(|e| StoreError::io("make", &target, &e))
            }
        }
    }

    /// Flushes all that was written to the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        let dir = File::open(&self.dir).map_err(|e| StoreError::io("open", &self.dir, &e))?;
        rustix::fs::syncfs(&dir).map_err(|e| StoreError::io("flush", &self.dir, &e.into()))
    }
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("make", path, &e)),
        _ => Ok(()),
    }
}

/// The short name of a layer's directory: 128 bits of its key, so that many of them fit the options of a mount. Each directory says which
/// key it really is for.
pub fn layer_name(key: &Digest) -> String {
    let hex = key.hex().as_bytes();
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let bytes: Vec<u8> =
        hex.chunks_exact(2).take(16).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}
