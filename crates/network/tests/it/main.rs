//! Real packets through real networks. Needs root; skips with the reason otherwise.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod access;
mod isolation;
mod lab;
mod reach;
mod remains;
