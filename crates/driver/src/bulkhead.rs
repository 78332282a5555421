//! Keeps one slow engine from taking everything with it: at most so many calls at once, each with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::DriverError;

/// A bounded number of places, shared by all calls to one engine.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    places: Arc<Semaphore>,
}

impl Bulkhead {
    /// `places` calls may be under way at once.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)) }
    }

    /// Runs `call` within `deadline`, waiting for a place included.
    ///
    /// # Errors
    /// [`DriverError::Unavailable`] if no place became free in time (nothing was done then), [`DriverError::Timeout`]
    /// if the call did not end in time, else the call's own.
    pub async fn run<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let end = tokio::time::Instant::now() + deadline;
        let Ok(place) = tokio::time::timeout_at(end, self.places.acquire()).await else {
            return Err(DriverError::Unavailable("too many calls are waiting for this engine".to_owned()));
        };
        let _place = place.map_err(|_| DriverError::Unavailable("shutting down".to_owned()))?;
        tokio::time::timeout_at(end, call).await.unwrap_or(Err(DriverError::Timeout))
    }
}
