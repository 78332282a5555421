//! Images that were brought in for a start that is still to come. They are held until then, so that no removal of unused images
//! comes between the two.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_images::{Digest, Store};
use tokio::time::Instant;

/// A start follows within this time after its image was prepared, or is prepared anew.
const FOLLOWS: Duration = Duration::from_secs(120);

/// Which images are held for starts to come, and since when.
#[derive(Debug)]
pub struct Prepared {
    /// The name under which they are held.
    pub holder: String,
    since: Mutex<HashMap<Digest, Instant>>,
}

impl Prepared {
    /// Of the installation with this short name. Nothing is held yet.
    pub fn new(installation: &str) -> Self {
        Self { holder: format!("{installation}.prepared"), since: Mutex::default() }
    }

    /// Notes that an image is held from now on.
    pub fn note(&self, digest: &Digest) {
        self.since.lock().insert(digest.clone(), Instant::now());
    }

    /// Gives back an image that is held in this name, if its start has not come in time.
    pub fn tidy(&self, images: &Store, digest: &Digest) {
        let mut since = self.since.lock();
        if since.get(digest).is_none_or(|since| since.elapsed() > FOLLOWS)
            && images.release(digest, &self.holder).is_ok()
        {
            since.remove(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_image_is_given_back_two_minutes_after_it_was_prepared_or_by_another_life() {
        let dir = tempfile::tempdir().unwrap();
        let images = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"an image");
        let lease = dir.path().join("leases").join(digest.file_name());
        let take = || {
            std::fs::create_dir_all(&lease).unwrap();
            std::fs::write(lease.join("abc.prepared"), "").unwrap();
        };
        let prepared = Prepared::new("abc");
        take();
        prepared.note(&digest);
        prepared.tidy(&images, &digest);
        assert_eq!(images.leases().unwrap().len(), 1);
        tokio::time::advance(FOLLOWS + Duration::from_secs(1)).await;
        prepared.tidy(&images, &digest);
        assert_eq!(images.leases().unwrap().len(), 0);
        take();
        Prepared::new("abc").tidy(&images, &digest);
        assert_eq!(images.leases().unwrap().len(), 0);
    }
}
