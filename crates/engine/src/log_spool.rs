//! Where a whole log goes while [`crate::capture`] reads it, if somebody wants more of it than its end.

use spawnpoint_driver::LogChunk;
use spawnpoint_model::{Deployment, DeploymentId};

use crate::{Engine, Error};

/// Takes a whole log, piece by piece.
pub(crate) struct Spool {
    _private: (),
}

impl Spool {
    /// Takes the next piece.
    pub(crate) async fn write(&mut self, _piece: &LogChunk) {}

    /// The log has ended, or the time for reading it is over.
    pub(crate) async fn finish(self) {}
}

impl Engine {
    /// Where the whole log of this attempt is wanted, if it is.
    pub(crate) fn spool_for(&self, _row: &Deployment) -> Option<Spool> {
        None
    }

    /// Where the whole log can be downloaded.
    pub(crate) async fn logs_link(&self, _id: DeploymentId) -> Result<Option<String>, Error> {
        Ok(None)
    }
}
