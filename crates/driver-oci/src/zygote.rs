//! The process that supervisors are forked from: this same binary, started again with a hidden first argument, with one thread
//! and almost nothing in its memory. One for each installation and machine; it outlives the control plane.
//!
//! ```text
//! control plane ── exec ──▶ stage 0: a private mount of its own binary, read-only ── exec ──▶ stage 1: daemon
//!                                                                                              │ fork, fork, …
//!                                                   a few supervisors that wait, all on one socket (supervisor.rs)
//! ```
//!
//! A supervisor that is killed leaves its workload to the zygote, which hears how that ends (`exits/<pid>`), and tells the
//! control plane, which has another supervisor look after it (adopt.rs).
//!
//! Why the read-only mount: a container's program may be a link to `/proc/self/exe`, which for a moment is our own binary. From
//! this mount nobody can write to it, whatever they are.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::cgroup::Hierarchies;
use crate::config::UserRange;
use crate::supervisor::{self, Post, Shared};
use crate::users;
use crate::{seccomp, sys};

/// The first argument of a process that is to be a zygote.
pub const ARGUMENT: &str = "--spawnpoint-zygote";
/// Its socket, in the folder for what runs.
pub const SOCKET: &str = "zygote.sock";
/// What it writes when it waits for work.
pub const READY: &str = "ready\n";
/// Held by the one zygote of a folder.
pub const LOCK: &str = "zygote.lock";
/// What it and its children complain of.
const LOG: &str = "zygote.log";
/// Folders that it needs beside them.
const FOLDERS: [&str; 8] = ["stage", "root", "slots", "hints", "exe", "empty", EXITS, users::FOLDER];
/// In front of a folder: whether user namespaces work there.
pub const PROBE: &str = "probe:";
/// Where it notes how workloads ended whose supervisor was lost: a file with the code, named by the process.
pub const EXITS: &str = "exits";
/// What comes and goes among the hints when a supervisor was lost.
pub const LOST: &str = "lost";
/// Supervisors that wait at most.
pub const POOL_MAX: usize = 64;
/// A waiting supervisor that ended by itself is replaced after so long.
const PAUSE: Duration = Duration::from_millis(500);
/// One that was given work is replaced after so long, unless few are left: its start comes first, and takes less.
const AFTER_YOU: Duration = Duration::from_millis(20);

/// What a zygote is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder for what runs.
    pub run: PathBuf,
    /// Short name of the installation.
    pub installation: String,
    /// Which binary the control plane is.
    pub identity: String,
    /// Supervisors that wait.
    pub pool: usize,
    /// Ids of the containers' users; `None` = the host's own.
    pub users: Option<UserRange>,
}

impl Options {
    /// As arguments of the process, after [`ARGUMENT`].
    #[must_use]
    pub fn arguments(&self, stage: &str) -> Vec<String> {
        let run = self.run.display().to_string();
        let users = self.users.map_or_else(|| "-".to_owned(), |users| users.to_string());
        let (installation, identity) = (self.installation.clone(), self.identity.clone());
        vec![stage.to_owned(), run, installation, identity, self.pool.to_string(), users]
    }

    fn parse(arguments: &[String]) -> Option<(String, Self)> {
        let [stage, run, installation, identity, pool, users] = arguments else { return None };
        let pool = pool.parse().ok().filter(|pool| (1..=POOL_MAX).contains(pool))?;
        let users = match users.as_str() {
            "-" => None,
            range => Some(UserRange::parse(range).ok()?),
        };
        let (run, installation, identity) = (run.into(), installation.clone(), identity.clone());
        Some((stage.clone(), Self { run, installation, identity, pool, users }))
    }
}

/// Which binary this process runs: another one has another identity, also if it has the same name.
#[must_use]
pub fn identity() -> String {
    identity_of(Path::new("/proc/self/exe"))
}

/// Which binary a file is.
#[must_use]
pub fn identity_of(program: &Path) -> String {
    fs::metadata(program).map_or_else(
        |_| "unknown".to_owned(),
        |file| {
            format!(
                "{}-{}-{}-{}",
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime_nsec().wrapping_add(file.mtime())
            )
        },
    )
}

/// To be called first of all in `main`, before any thread is started. `None`: this process is to be something else.
#[must_use]
pub fn zygote_main() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let Some((stage, options)) = Options::parse(&arguments) else { return Some(ExitCode::from(2)) };
    let outcome = match (stage.strip_prefix("1:"), stage.strip_prefix(PROBE), options.users) {
        (Some(place), ..) => serve(&options, place),
        (None, Some(dir), Some(users)) => users::probe(users, Path::new(dir)),
        (None, Some(_), None) => Ok(()),
        (None, None, _) => protect(&options),
    };
    if stage.starts_with(PROBE) && outcome.is_ok() {
        let _ = write!(io::stdout(), "{READY}");
    }
    if let Err(error) = outcome {
        let _ = writeln!(io::stdout(), "{error}");
        return Some(ExitCode::FAILURE);
    }
    Some(ExitCode::SUCCESS)
}

fn failed(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> String {
    move |error| format!("{what}: {error}")
}

/// Stage 0: runs the same binary again from where it cannot be written to.
fn protect(options: &Options) -> Result<(), String> {
    for folder in FOLDERS {
        fs::create_dir_all(options.run.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
    }
    let mounts = File::open("/proc/self/ns/mnt").map_err(|error| error.to_string())?;
    // Stage 1 goes back to where we are now, which may be a root that somebody has changed to.
    let root = File::open("/").map_err(|error| error.to_string())?;
    for kept in [&mounts, &root] {
        rustix::io::fcntl_setfd(kept, rustix::io::FdFlags::empty()).map_err(failed("descriptor"))?;
    }
    let program = match mounted_program(options) {
        Ok(program) => program,
        Err(_) => sealed_program().map_err(|error| format!("a copy of the program: {error}"))?,
    };
    let mut arguments = vec!["spawnpoint-zygote".to_owned(), ARGUMENT.to_owned()];
    arguments.extend(options.arguments(&format!("1:{}:{}", mounts.as_raw_fd(), root.as_raw_fd())));
    let texts = |all: Vec<String>| all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let arguments = texts(arguments).map_err(|error| error.to_string())?;
    let environment =
        texts(vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]).map_err(|e| e.to_string())?;
    Err(format!("exec: {}", sys::exec(&program, &arguments, &environment)))
}

/// The binary's own folder as an overlay without a place to write to.
fn mounted_program(options: &Options) -> Result<CString, String> {
    let own = fs::read_link("/proc/self/exe").map_err(|error| error.to_string())?;
    let (Some(folder), Some(name)) = (own.parent(), own.file_name()) else {
        return Err("no path".to_owned());
    };
    let same = |one: &Path| {
        let ids = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        ids(one).is_some() && ids(one) == ids(Path::new("/proc/self/exe"))
    };
    // It was replaced meanwhile: the file that is there now is another one.
    if !same(&own) {
        return Err("replaced".to_owned());
    }
    // SAFETY: this process has one thread, and relies on no mount.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed("mounts"))?;
    let change = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", change).map_err(failed("mounts"))?;
    let open = |path: &Path| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(failed("folder"))
    };
    let (empty, folder) = (open(&options.run.join("empty"))?, open(folder)?);
    let place = options.run.join("exe");
    let data = format!("lowerdir=/proc/self/fd/{}:/proc/self/fd/{}", empty.as_raw_fd(), folder.as_raw_fd());
    let data = CString::new(data).map_err(|error| error.to_string())?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("overlay", &place, "overlay", flags, &*data).map_err(failed("overlay"))?;
    CString::new(place.join(name).as_os_str().as_bytes()).map_err(|error| error.to_string())
}

/// The binary as a file in memory that nobody can change any more.
fn sealed_program() -> io::Result<CString> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("spawnpoint", flags)?;
    let mut copy = File::from(memory);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let seals = rustix::fs::SealFlags::all();
    let seals = seals & !rustix::fs::SealFlags::FUTURE_WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    // Kept open until the exec, which closes it.
    let number = copy.as_raw_fd();
    std::mem::forget(copy);
    CString::new(format!("/proc/self/fd/{number}")).map_err(io::Error::other)
}

/// Stage 1: goes back to the host's mounts, becomes a daemon, and keeps supervisors waiting.
fn serve(options: &Options, place: &str) -> Result<(), String> {
    let given = |text: &str| {
        let number: i32 = text.parse().map_err(|_| "no descriptor".to_owned())?;
        // SAFETY: stage 0 has left it open for us, and nobody else knows of it.
        Ok::<_, String>(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let (mounts, root) = place.split_once(':').ok_or_else(|| "no descriptor".to_owned())?;
    let (mounts, root) = (given(mounts)?, given(root)?);
    rustix::thread::move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(failed("the host's mounts"))?;
    rustix::process::fchdir(&root).map_err(failed("root"))?;
    rustix::process::chroot(".").map_err(failed("root"))?;
    rustix::process::chdir("/").map_err(failed("root"))?;
    drop((mounts, root));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // The parent ends at once; whoever waits for it reads our word from the pipe.
    if sys::split(0, None).map_err(|error| error.to_string())?.is_some() {
        sys::leave(0);
    }
    rustix::process::setsid().map_err(failed("session"))?;
    sys::ignore_signals(&[libc::SIGPIPE, libc::SIGHUP, libc::SIGINT]);
    let lock = File::create(options.run.join(LOCK)).map_err(|error| format!("lock: {error}"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| "another zygote is at work".to_owned())?;
    let hierarchies = Hierarchies::find(&options.installation)
        .map_err(|missing| format!("there is no control group controller {missing:?}"))?;
    hierarchies.make_parents().map_err(|error| format!("control groups: {error}"))?;
    hierarchies.shelter();
    let listener = listen(&options.run).map_err(|error| format!("socket: {error}"))?;
    let shared = Shared {
        run: options.run.clone(),
        cgroup_mounts: hierarchies.mounts(),
        hierarchies,
        filter: seccomp::filter(),
        users: options.users,
        identity: options.identity.clone(),
    };
    // Without it orphans are somebody else's, and how they end is not known.
    let _ = sys::take_orphans();
    let children = sys::children_fd().map_err(|error| format!("signals: {error}"))?;
    let (heard, told) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)
            .map_err(failed("pipe"))?;
    say_ready(&options.run).map_err(|error| format!("log: {error}"))?;
    Nursery {
        shared,
        listener,
        lock,
        children,
        heard,
        told,
        waiting: Vec::new(),
        working: HashSet::new(),
        number: 0,
        pool: options.pool,
    }
    .run();
    Ok(())
}

/// Paths of sockets are short, folders need not be.
fn listen(run: &Path) -> io::Result<UnixListener> {
    let folder = File::open(run)?;
    let draft = format!("/proc/self/fd/{}/.{SOCKET}", folder.as_raw_fd());
    let _ = fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    fs::rename(run.join(format!(".{SOCKET}")), run.join(SOCKET))?;
    Ok(listener)
}

/// Tells whoever started us, and lets go of what they have given us.
fn say_ready(run: &Path) -> io::Result<()> {
    let log = File::create(run.join(LOG))?;
    let null = File::open("/dev/null")?;
    sys::duplicate_to(null.as_fd(), 0)?;
    sys::duplicate_to(log.as_fd(), 2)?;
    let mut out = io::stdout();
    out.write_all(READY.as_bytes())?;
    out.flush()?;
    sys::duplicate_to(log.as_fd(), 1)?;
    Ok(())
}

/// Keeps supervisors waiting.
struct Nursery {
    shared: Shared,
    listener: UnixListener,
    lock: File,
    children: OwnedFd,
    heard: OwnedFd,
    told: OwnedFd,
    waiting: Vec<i32>,
    /// Supervisors that have taken a workload.
    working: HashSet<i32>,
    number: u64,
    pool: usize,
}

impl Nursery {
    fn run(mut self) {
        let mut pause = None;
        loop {
            while pause.is_none() && self.waiting.len() < self.pool {
                match self.fork() {
                    Some(pid) => self.waiting.push(pid),
                    None => pause = Some(PAUSE),
                }
            }
            let timeout = pause.map(|pause| Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) });
            let mut fds =
                [PollFd::new(&self.children, PollFlags::IN), PollFd::new(&self.heard, PollFlags::IN)];
            let woken = rustix::event::poll(&mut fds, timeout.as_ref());
            if matches!(woken, Ok(0)) {
                pause = None;
            }
            let before = self.waiting.len();
            if self.hear() {
                let _ = fs::remove_file(self.shared.run.join(SOCKET));
                // Those that wait end with us; those that work go on.
                return;
            }
            if self.waiting.len() < before && pause != Some(PAUSE) {
                pause = (self.waiting.len() * 2 >= self.pool).then_some(AFTER_YOU);
            }
            if self.reap() {
                pause = Some(PAUSE);
            }
        }
    }

    /// `true` if it is to end.
    fn hear(&mut self) -> bool {
        let mut message = [0; 5];
        while let Ok(length) = rustix::io::read(&self.heard, &mut message) {
            match (length, message) {
                (0, _) => break,
                (_, [b'q', ..]) => return true,
                (_, [b't', a, b, c, d]) => {
                    let pid = i32::from_le_bytes([a, b, c, d]);
                    self.waiting.retain(|waiting| *waiting != pid);
                    self.working.insert(pid);
                }
                _ => {}
            }
        }
        false
    }

    /// `true` if one that waited has ended: something is wrong.
    fn reap(&mut self) -> bool {
        let mut drain = [0; 128];
        while matches!(rustix::io::read(&self.children, &mut drain), Ok(1..)) {}
        let mut lost = false;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = Pid::as_raw(Some(pid));
            let before = self.waiting.len();
            self.waiting.retain(|waiting| *waiting != pid);
            if self.waiting.len() < before {
                lost = true;
            } else if !self.working.remove(&pid) {
                self.note_orphan(pid, status);
            } else if status.signaled() {
                supervisor::hint(&self.shared.run, LOST);
            }
        }
        lost
    }

    /// A workload has ended whose supervisor had been lost. Appears whole; whoever waits for it looks often.
    fn note_orphan(&self, pid: i32, status: rustix::process::WaitStatus) {
        let signal = status.terminating_signal().unwrap_or(libc::SIGKILL);
        let code = status.exit_status().unwrap_or(128 + signal);
        let exits = self.shared.run.join(EXITS);
        let draft = exits.join(format!(".{pid}"));
        if fs::write(&draft, code.to_string()).is_ok() {
            let _ = fs::rename(&draft, exits.join(pid.to_string()));
        }
    }

    fn fork(&mut self) -> Option<i32> {
        let own = std::process::id();
        self.number += 1;
        let name = format!("{own}-{}", self.number);
        match sys::split(0, None) {
            Err(_) => None,
            Ok(Some(child)) => Some(child.pid),
            Ok(None) => self.become_supervisor(&name, own),
        }
    }

    fn become_supervisor(&mut self, name: &str, zygote: u32) -> ! {
        let (Ok(listener), Ok(told)) = (self.listener.try_clone(), self.told.try_clone()) else {
            sys::leave(2)
        };
        // Ours only are the copies: what else the zygote has open must not live on with us.
        for fd in [
            self.listener.as_raw_fd(),
            self.lock.as_raw_fd(),
            self.children.as_raw_fd(),
            self.heard.as_raw_fd(),
            self.told.as_raw_fd(),
        ] {
            sys::close_one(fd);
        }
        let zygote_pid = i32::try_from(zygote).unwrap_or(0);
        supervisor::live(&self.shared, Post { listener, zygote: told, zygote_pid }, name)
    }
}

/// Reads what a zygote that was started says, until it is ready or has ended.
///
/// # Errors
/// Why it did not become ready.
pub fn read_word(mut from: impl io::Read) -> Result<(), String> {
    let mut text = String::new();
    from.by_ref().take(4096).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text == READY { Ok(()) } else { Err(text.trim().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_through_as_arguments() {
        let options = Options {
            run: "/run/x".into(),
            installation: "aa".to_owned(),
            identity: "1-2".to_owned(),
            pool: 4,
            users: Some(UserRange::parse("100000:65536").unwrap()),
        };
        let (stage, parsed) = Options::parse(&options.arguments("0")).unwrap();
        assert_eq!((stage.as_str(), &parsed), ("0", &options));
        assert_eq!(Options::parse(&options.arguments("0")[1..]), None);
        let without = Options { users: None, ..options.clone() };
        assert_eq!(Options::parse(&without.arguments("0")).unwrap().1, without);
        let none = Options { pool: 0, ..options };
        assert_eq!(Options::parse(&none.arguments("0")), None);
    }

    #[test]
    fn a_zygote_that_says_anything_else_is_not_ready() {
        assert_eq!(read_word(READY.as_bytes()), Ok(()));
        assert_eq!(read_word(&b"socket: full\n"[..]), Err("socket: full".to_owned()));
    }
}
