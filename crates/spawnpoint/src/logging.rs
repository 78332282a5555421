//! The log: one subscriber for the whole process, on standard error.

use std::io::{self, IsTerminal as _};

use crate::config::{Log, LogFormat};

/// Sets the process's log up. Later calls change nothing.
pub fn start(log: &Log) {
    let lines = tracing_subscriber::fmt().with_env_filter(log.level.filter()).with_writer(io::stderr);
    // It fails only if there is a subscriber already, and then that one is meant to stay.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
