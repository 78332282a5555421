//! Runs workloads itself: containers without a daemon.
#![expect(unsafe_code, reason = "fork, clone3, exec and filters of system calls have no safe form; each block says why it is sound")]

mod cgroup;
mod client;
mod init;
mod log;
mod protocol;
mod records;
mod root;
mod seccomp;
mod supervisor;
mod sys;
mod user;
mod zygote;

pub use zygote::zygote_main;
