//! Runs workloads itself: containers without a daemon.
//!
//! What it is for: the [`Driver`](spawnpoint_driver::Driver) contract on this very machine, with nothing installed: images from
//! `spawnpoint-images`, networks from `spawnpoint-network`, containers made here.
//!
//! What it must not know: the store, the engine, Edgegap, another driver.
//!
//! ```text
//! control plane (tokio)                 zygote: the same binary, one thread, started once, outlives the control plane
//!   OciEngine ── socket, descriptor ──▶   fork ─▶ supervisor, one for each workload: log, deadlines, the end; outlives both
//!     images: unpacked layers                        └─ clone3 ─▶ the container's first process: root, privileges, exec
//!     network: a namespace, ports
//! ```
//!
//! Entry points: [`zygote_main`] first of all in `main`; [`OciEngine::open`] once, then [`OciDriver::new`] for each host of the
//! config; [`host::findings`] for whoever wants to know why it cannot run.
//!
//! How it keeps the contract: every workload has a folder, made first and taken away last, and the truth is what stands there
//! ([`records`]) and in the kernel. Supervisors and their children are made ahead of time (a few wait), so a start is: a frame
//! over a socket, an overlay, an exec.
//!
//! It is Linux's own: elsewhere only its configuration is left ([`OciConfig`]).
//!
//! Nothing forks in a process with threads: the zygote and everything below it have one.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "fork, clone3, exec and filters of system calls have no safe form; each block says why it is sound"
    )
)]

mod config;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod adopt;
        mod at_work;
        mod cgroup;
        mod client;
        mod disk;
        mod driver;
        mod engine;
        mod error;
        pub mod host;
        mod init;
        mod janitor;
        pub mod leftovers;
        mod lines;
        mod log;
        mod logs;
        mod prepared;
        mod profile;
        mod protocol;
        mod quota;
        pub mod records;
        mod root;
        mod seccomp;
        mod sockets;
        mod supervisor;
        mod sys;
        mod user;
        mod users;
        mod watch;
        mod zygote;

        pub use at_work::is_held;
        pub use driver::OciDriver;
        pub use engine::OciEngine;
        pub use spawnpoint_images::Store as ImageStore;
        pub use spawnpoint_network::Unsupported;
        pub use zygote::zygote_main;
    } else {
        /// There is none here: this process is always something else.
        #[must_use]
        pub const fn zygote_main() -> Option<std::process::ExitCode> {
            None
        }
    }
}

pub use config::{DiskBounds, OciConfig, UserRange, default_run_dir, run_dir_in, short};
