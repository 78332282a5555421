//! The conformance suite: what every driver must do, tried on the driver itself.
//!
//! What it is for: [`run`] plays a list of named cases against a [`Subject`] and reports which held. The fake passes
//! it, so that tests with the fake say something about the real thing; Docker passes it; a new driver is finished when
//! it does.
//!
//! What it must not know: how a driver does it. Cases that need a real process ask the game server of `crates/game`
//! from inside the workload; a subject without real processes skips them, and the report says so.
//!
//! Entry point: [`run`]. A new case is a function and a line in its file's list.

mod abuse;
mod lab;
mod lifecycle;
mod processes;
mod security;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use spawnpoint_model::{HostId, InstallationId, Plaintext};

use crate::{Driver, DriverError, WorkloadSpec};

pub use lab::{Lab, own_installation, small_workload};

/// What a workload of a case does. A subject says how its driver gets one that does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Listens at once and runs until SIGTERM, at which it ends with 0.
    Serve,
    /// Ends at SIGTERM with this code.
    TermExit(i32),
    /// Does nothing at SIGTERM.
    IgnoreTerm,
    /// Runs and never listens.
    NeverListen,
    /// Listens this many milliseconds after its start.
    SlowListen(u32),
    /// Ends at once with this code.
    Exit(i32),
    /// Ends after so many milliseconds with this code.
    ExitAfter(u32, i32),
    /// Ends by a signal of its own making.
    Crash,
    /// Takes more memory than it may.
    OutOfMemory,
    /// Is not there: the start fails.
    Missing,
    /// Writes so many lines and serves.
    Log(u32),
    /// Tries on request what must not work: the program `/abuse` of the test images.
    Abuse,
}

impl Program {
    /// Lets the game server of `crates/game` do it.
    pub fn of_the_game(self, spec: &mut WorkloadSpec) {
        let mode = match self {
            Self::Serve => String::new(),
            Self::TermExit(code) => format!("term-exit:{code}"),
            Self::IgnoreTerm => "ignore-term".to_owned(),
            Self::NeverListen => "never-listen".to_owned(),
            Self::SlowListen(millis) => format!("slow:{millis}"),
            Self::Exit(code) => format!("exit:{code}"),
            Self::ExitAfter(millis, code) => format!("exit-after:{millis}:{code}"),
            Self::Crash => "abort".to_owned(),
            Self::OutOfMemory => "oom".to_owned(),
            Self::Log(lines) => format!("log:{lines}"),
            Self::Missing => {
                spec.command = Some(vec!["/no/such/program".to_owned()]);
                return;
            }
            Self::Abuse => {
                spec.command = Some(vec!["/abuse".to_owned()]);
                return;
            }
        };
        spec.env.push(("GAME_MODE".to_owned(), Plaintext::new(mode)));
    }

    /// The words that make the fake do it.
    #[must_use]
    pub fn of_the_fake(self) -> String {
        match self {
            Self::Serve | Self::Abuse => "ok".to_owned(),
            Self::TermExit(code) => format!("term-exit-{code}"),
            Self::IgnoreTerm => "ignore-term".to_owned(),
            Self::NeverListen => "never-listens".to_owned(),
            Self::SlowListen(millis) => format!("listen-delay-{millis}ms"),
            Self::Exit(code) => format!("exit-{code}"),
            Self::ExitAfter(millis, code) => format!("exit-{code}-after-{millis}ms"),
            Self::Crash => "exit-139".to_owned(),
            Self::OutOfMemory => "oom".to_owned(),
            Self::Missing => "start-error".to_owned(),
            Self::Log(lines) => format!("log-{lines}"),
        }
    }
}

/// What a subject with real processes lets a case look at.
#[derive(Clone, Debug)]
pub struct RealWorld {
    /// An address of the host that is not loopback.
    pub host_address: IpAddr,
    /// The host as workloads see it: the address of the callback listener, which they may reach.
    pub callback: SocketAddr,
    /// Something that listens on a metadata address, which they may not; `None` if it could not be put up here.
    pub metadata: Option<SocketAddr>,
}

/// A driver under test, and what a case needs to know of it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A driver for this host of this installation. All of them share one engine.
    async fn driver(
        &self,
        installation: &InstallationId,
        host: &HostId,
    ) -> Result<Arc<dyn Driver>, DriverError>;

    /// Fills in the image and whatever else makes the workload do this. The image is on the host.
    async fn arrange(&self, program: Program, spec: &mut WorkloadSpec) -> Result<(), DriverError>;

    /// An image that is not on the host. `provide` makes it available for [`Driver::prepare`].
    fn absent_image(&self) -> String;

    /// Makes [`Self::absent_image`] available.
    async fn provide(&self, image: &str) -> Result<(), DriverError>;

    /// An image that nobody has.
    fn unknown_image(&self) -> String;

    /// What can be looked at, if workloads are real processes.
    fn real_world(&self) -> Option<RealWorld>;
}

/// Why a case did not hold.
#[derive(Clone, Debug)]
pub struct Failed(pub String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a case comes to.
pub type Outcome = Result<(), Failed>;
/// A case under way.
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One thing that every driver does.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence.
    pub name: &'static str,
    /// It asks a real process.
    needs_processes: bool,
    play: for<'a> fn(&'a Lab) -> Running<'a>,
}

/// Fails the case unless a condition holds.
macro_rules! check {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::testkit::Failed(format!($($why)+)));
        }
    };
}
use check;

/// Names the functions of a file as its cases.
macro_rules! cases {
    ($needs_processes:expr, [$($name:ident),+ $(,)?]) => {
        /// The cases of this file.
        pub(super) const CASES: &[$crate::testkit::Case] = &[$($crate::testkit::Case {
            name: stringify!($name),
            needs_processes: $needs_processes,
            play: |lab| Box::pin($name(lab)),
        }),+];
    };
}
use cases;

/// Every case there is.
#[must_use]
pub fn all_cases() -> Vec<Case> {
    [lifecycle::CASES, processes::CASES, security::CASES, abuse::CASES].concat()
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The cases that held.
    pub passed: Vec<&'static str>,
    /// The cases that were not played.
    pub skipped: Vec<&'static str>,
    /// The cases that did not hold, and why.
    pub failed: Vec<(&'static str, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.failed {
            writeln!(f, "FAILED  {name}: {why}")?;
        }
        for name in &self.skipped {
            writeln!(f, "skipped {name}: this driver runs no real processes")?;
        }
        let (passed, failed, skipped) = (self.passed.len(), self.failed.len(), self.skipped.len());
        write!(f, "{passed} cases held, {failed} failed, {skipped} skipped")
    }
}

/// Plays every case whose name contains `only` (all if it is empty), one after the other, each on a workload of its
/// own, and checks after each that it left nothing behind.
pub async fn run(subject: Arc<dyn Subject>, only: &str) -> Report {
    let mut report = Report::default();
    for case in all_cases().into_iter().filter(|case| case.name.contains(only)) {
        if case.needs_processes && subject.real_world().is_none() {
            report.skipped.push(case.name);
            continue;
        }
        match play(&subject, case).await {
            Ok(()) => report.passed.push(case.name),
            Err(Failed(why)) => report.failed.push((case.name, why)),
        }
    }
    report
}

async fn play(subject: &Arc<dyn Subject>, case: Case) -> Outcome {
    let lab = Lab::new(Arc::clone(subject)).await?;
    let outcome = (case.play)(&lab).await;
    let cleared = lab.clear().await;
    outcome.and(cleared)
}
