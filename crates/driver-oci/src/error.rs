//! From what the rooms below say to what the contract says.

use spawnpoint_driver::DriverError;
use spawnpoint_images::{PullError, StoreError};
use spawnpoint_model::Transport;
use spawnpoint_network::NetworkError;

use crate::protocol::Refusal;

/// Why a network was not had.
pub fn from_network(error: NetworkError) -> DriverError {
    match error {
        NetworkError::PortBusy { port, transport, .. } => DriverError::PortBusy { port, transport },
        NetworkError::TooMany { .. } => DriverError::NoCapacity(error.to_string()),
        NetworkError::NoLease(_) | NetworkError::Kernel { .. } | NetworkError::Closing => {
            DriverError::Internal(error.to_string())
        }
    }
}

/// Why the image store did not do it.
pub fn from_store(error: &StoreError) -> DriverError {
    match error {
        StoreError::Absent(_) => DriverError::ImageMissing,
        full if full.is_disk_full() => DriverError::NoCapacity(full.to_string()),
        other => DriverError::Internal(other.to_string()),
    }
}

/// Why an image was not had.
pub fn from_pull(image: &str, error: &PullError) -> DriverError {
    match error {
        PullError::Stalled { .. } => DriverError::PullTimeout,
        PullError::Store(store) if store.is_disk_full() => DriverError::NoCapacity(store.to_string()),
        other => DriverError::ImageUnavailable {
            detail: format!("The image {image} could not be pulled: {other}"),
            permanent: other.is_permanent(),
        },
    }
}

/// Why a supervisor did not start a workload.
pub fn from_refusal(refusal: Refusal) -> DriverError {
    match refusal {
        Refusal::Start(text) => DriverError::StartFailed(text),
        Refusal::PortBusy { port, udp } => {
            DriverError::PortBusy { port, transport: if udp { Transport::Udp } else { Transport::Tcp } }
        }
        Refusal::NoRoom(text) => DriverError::NoCapacity(text),
        // The effect is not known yet: it is looked at again.
        Refusal::UnderWay => DriverError::Timeout,
        Refusal::Internal(text) => DriverError::Internal(text),
    }
}
