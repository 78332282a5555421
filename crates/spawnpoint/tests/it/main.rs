//! Tests of the workspace as a whole and of the binary as a user runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod arrows;
mod command_line;
mod dependencies;
mod documents;
mod files;
mod process;
mod real;
mod server;
mod workspace;
