//! Images from registries that are real, that lie and that break off; from archives; and what a store keeps of them.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod archives;
mod docker;
mod fake;
mod keeping;
mod lies;
mod pulls;
#[path = "../support/tarball.rs"]
mod tarball;
mod tree;
