//! Why a command ends without success: a sentence for the person who ran it, and the exit code.

use std::fmt;

use spawnpoint_driver::DriverError;
use spawnpoint_store::StoreError;

use crate::config::Problem;

/// Something went wrong.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was done.
const MISUSED: u8 = 2;

/// Why a command ends without success.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub code: u8,
    text: String,
}

impl Failure {
    /// Something went wrong.
    pub fn new(text: impl Into<String>) -> Self {
        Self { code: FAILED, text: text.into() }
    }

    /// The configuration is wrong.
    pub fn misused(text: impl Into<String>) -> Self {
        Self { code: MISUSED, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::misused(problem.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Self {
        Self::new(format!("database: {err}"))
    }
}

impl From<DriverError> for Failure {
    fn from(err: DriverError) -> Self {
        Self::new(err.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(err: std::io::Error) -> Self {
        Self::new(err.to_string())
    }
}

impl From<spawnpoint_engine::Error> for Failure {
    fn from(err: spawnpoint_engine::Error) -> Self {
        match err {
            // Whoever runs the binary may read the cause; users of the API may not.
            spawnpoint_engine::Error::Internal(cause) => Self::new(cause),
            other => Self::new(other.to_string()),
        }
    }
}
