//! The one process that a container needs besides its own: made ahead of time by a fork of the zygote, it waits for a workload,
//! starts it, and stays until it has ended. It survives the control plane and the zygote.
//!
//! ```text
//! zygote ─fork─▶ slot: group, pipes, child (init.rs) ─▶ accept ─▶ Start ─▶ limits, ports, state.json ─▶ "go" ─▶ Started
//!                                                                                                            │
//!     log.<n> ◀── output of the child ──┐                                                                    ▼
//!     "stop", "kill" on `ctl` ──────────┼──────────────────────── one loop, one thread ◀─────────────────────┘
//!     end of the child, deadline ───────┘           └─▶ exit.json, a hint, groups removed, the end
//! ```
//!
//! One that is killed is replaced by another that goes on with its workload (adopt.rs). So that the workload is not ended by
//! its next line of log meanwhile, it holds the other end of its pipes itself: they can be opened again through it.
//!
//! What it must not do: wait for anybody. A disk that is full loses log, a control plane that is silent loses answers.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libc::sock_filter;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::cgroup::{Hierarchies, Limits};
use crate::config::UserRange;
use crate::init::{self, Birth};
use crate::lines::{Lines, Moment};
use crate::protocol::{self, Received, Refusal, Reply, Request, Start};
use crate::records::{self, ExitRecord, StateRecord};
use crate::users::Block;
use crate::{log, sys};

/// Namespaces that a child is born in. Its network is entered later, its group's when it has joined it.
const NAMESPACES: u64 =
    (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) as u64;
/// Whoever speaks to a supervisor does so at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds between the end of a workload's time and its end, if it does not take the hint.
const GRACE: u64 = 10_000;
/// A lock that somebody holds is asked for so often, and a child that was killed looked for.
const LOCK_TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(1);
/// What the zygote notes of an end is looked for so often.
const NOTE_TRIES: u32 = 1000;
/// Connections at once that wait for the end.
const WAITING_MAX: usize = 16;
/// Bytes of a command.
const COMMAND_MAX: usize = 64;
/// Bytes of output that are read at once between two looks at everything else.
const READS: usize = 16;

/// What all supervisors of a zygote share.
pub struct Shared {
    /// The folder of sockets, stages and slots.
    pub run: PathBuf,
    /// Where control groups are.
    pub hierarchies: Hierarchies,
    /// What containers see of them.
    pub cgroup_mounts: Vec<String>,
    /// The filter of system calls.
    pub filter: Vec<sock_filter>,
    /// Ids of the containers' users; `None` = the host's own.
    pub users: Option<UserRange>,
    /// Which binary this is.
    pub identity: String,
}

/// Where it takes a workload from, and whom it tells that it did.
pub struct Post {
    /// Shared by all that wait.
    pub listener: UnixListener,
    /// To the zygote: `t` = taken, `q` = quit.
    pub zygote: OwnedFd,
    /// The zygote.
    pub zygote_pid: i32,
}

/// A child that waits for a program, and what belongs to it.
struct Slot {
    name: String,
    /// Held for life: whoever finds it free may take the slot's groups away.
    lock: File,
    /// Held for life as well: nobody else gets these ids.
    users: Option<Block>,
    child: sys::Child,
    /// Its mounts are taken down with this process, not with the child: so nobody who waits for its end waits for that too.
    mounts: Option<File>,
    talk: UnixStream,
    output: [OwnedFd; 2],
}

/// What a supervisor is asked to do.
enum Work {
    Start(Box<Received>, Box<Start>),
    Adopt(PathBuf, String),
}

/// Lives a supervisor's life. Never comes back.
pub fn live(shared: &Shared, post: Post, name: &str) -> ! {
    // With the zygote ends who waits for work.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent != Some(post.zygote_pid) || rustix::process::setsid().is_err() {
        sys::leave(2);
    }
    sys::reset_signals();
    sys::ignore_signals(&[libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM]);
    let slot = Slot::make(shared, name);
    let Some((connection, work)) = wait_for_work(shared, &post) else { sys::leave(0) };
    let _ = rustix::process::set_parent_process_death_signal(None);
    let zygote_pid = post.zygote_pid;
    drop(post);
    let (taken, dir, id) = match work {
        Work::Start(received, start) => {
            let started = slot
                .map_err(|error| Refusal::Internal(format!("no container can be prepared: {error}")))
                .and_then(|slot| run(shared, slot, *received, &start));
            if started.is_err() {
                give_back(shared, name);
            }
            (started, start.dir, start.id)
        }
        Work::Adopt(dir, id) => {
            // What was prepared is not needed: the workload has all that.
            drop(slot);
            give_back(shared, name);
            (crate::adopt::adopt(shared, &dir, zygote_pid), dir, id)
        }
    };
    let code = match taken {
        Ok(running) => {
            answer(&connection, &Reply::Started);
            drop(connection);
            running.supervise(shared, &dir, &id)
        }
        Err(refusal) => {
            answer(&connection, &Reply::Failed(refusal));
            1
        }
    };
    sys::leave(code)
}

/// Ends what waits in a slot, and takes the slot away.
fn give_back(shared: &Shared, name: &str) {
    let group = shared.hierarchies.group(name);
    group.kill();
    // The kernel empties a group when its processes are waited for, and they are our only children.
    for _ in 0..LOCK_TRIES {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(BETWEEN_TRIES),
            Ok(Some(_)) => {}
            Err(_) => break,
        }
    }
    if group.remove() {
        let _ = std::fs::remove_file(shared.run.join("slots").join(name));
    }
}

fn answer(connection: &UnixStream, reply: &Reply) {
    if let Ok(frame) = protocol::frame(reply, &[]) {
        // Whoever asked may be gone; the records tell as much.
        let _ = protocol::send(connection, &frame, None);
    }
}

/// Answers questions until there is work. `None`: the zygote is to end.
fn wait_for_work(shared: &Shared, post: &Post) -> Option<(UnixStream, Work)> {
    let taken = || {
        let [a, b, c, d] = std::process::id().to_le_bytes();
        let _ = rustix::io::write(&post.zygote, &[b't', a, b, c, d]);
    };
    loop {
        let Ok((connection, _)) = post.listener.accept() else { return None };
        let _ = connection.set_read_timeout(Some(PATIENCE));
        let _ = connection.set_write_timeout(Some(PATIENCE));
        let Ok(Some(received)) = protocol::receive(&connection) else { continue };
        match serde_json::from_slice(received.json()) {
            Ok(Request::Hello) => {
                let identity = shared.identity.clone();
                answer(&connection, &Reply::Hello { identity, zygote: post.zygote_pid });
            }
            Ok(Request::Quit) => {
                // With the zygote we end as well: first the answer.
                answer(&connection, &Reply::Quitting);
                let _ = rustix::io::write(&post.zygote, b"q0000");
            }
            Ok(Request::Start(start)) => {
                taken();
                return Some((connection, Work::Start(Box::new(received), start)));
            }
            Ok(Request::Adopt { dir, id }) => {
                taken();
                return Some((connection, Work::Adopt(dir, id)));
            }
            Err(error) => {
                answer(&connection, &Reply::Failed(Refusal::Internal(format!("not understood: {error}"))));
            }
        }
    }
}

impl Slot {
    fn make(shared: &Shared, name: &str) -> Result<Self, String> {
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let slots = shared.run.join("slots");
        let draft = slots.join(format!(".{name}"));
        let lock = File::create(&draft).map_err(failed("slot"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| format!("slot: {error}"))?;
        // It gets its name when it is held: nobody finds it free in between.
        std::fs::rename(&draft, slots.join(name)).map_err(failed("slot"))?;
        let group = shared.hierarchies.group(name);
        group.create().map_err(failed("control groups"))?;
        let pipe = || pipe().map_err(failed("pipe"));
        let ((out, child_out), (err, child_err)) = (pipe()?, pipe()?);
        let (mut talk, child_talk) = UnixStream::pair().map_err(failed("socket"))?;
        // Names end with a number that counts up.
        let number = name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let users = shared.users.map(|range| Block::take(&shared.run, range, number)).transpose();
        let users = users.map_err(failed("user namespace"))?;
        let birthplace = group.birthplace().map(File::open).transpose().map_err(failed("control groups"))?;
        let born =
            sys::split(NAMESPACES, birthplace.as_ref().map(AsFd::as_fd)).map_err(failed("namespaces"))?;
        let Some(child) = born else {
            drop((talk, out, err, birthplace));
            init::live(Birth {
                run: &shared.run,
                group,
                cgroups: &shared.cgroup_mounts,
                filter: &shared.filter,
                users,
                talk: child_talk,
                output: [child_out, child_err],
            })
        };
        drop((child_talk, child_out, child_err));
        let mounts = File::open(format!("/proc/{}/ns/mnt", child.pid)).ok();
        let _ = talk.set_read_timeout(Some(Duration::from_secs(60)));
        let mut letter = [0];
        match talk.read(&mut letter) {
            Ok(1) if letter == [init::READY] => {}
            _ => {
                let mut text = String::new();
                let _ = talk.read_to_string(&mut text);
                return Err(if text.is_empty() { "the child has ended".to_owned() } else { text });
            }
        }
        Ok(Self { name: name.to_owned(), lock, users, child, mounts, talk, output: [out, err] })
    }
}

/// A pipe for output: our end, which never waits, and the workload's, which is open for reading as well. So nobody who writes
/// there is ended for want of a reader while there is none.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let both = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    rustix::fs::fcntl_setfl(&ours, rustix::fs::fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
    Ok((ours, both))
}

/// A workload that runs.
pub struct Running {
    /// Of its control group.
    pub slot: String,
    /// Held as long as the group is needed.
    pub _slot_lock: File,
    /// Its first process.
    pub child: OwnedFd,
    /// Its output and its errors.
    pub output: [OwnedFd; 2],
    /// Held for life: nobody else gets the ids of its users.
    pub _users: Option<File>,
    /// Its mounts, which are taken down with this process.
    pub _mounts: Option<File>,
    /// What of either has no end of a line yet.
    pub lines: [Lines; 2],
    /// Where they are written.
    pub writer: log::Writer,
    /// Where commands come from.
    pub control: UnixListener,
    /// Whoever holds it looks after the workload.
    pub _lock: File,
    /// Host ports that are kept from others.
    pub ports: Vec<OwnedFd>,
    /// When its time is over.
    pub ends_at: Option<u64>,
    /// Who else hears how it ends, since it is not our child: the file in which that is noted.
    pub noted: Option<PathBuf>,
    /// It has written more than it may.
    pub over_disk: bool,
}

/// When it is ended though nobody asks.
#[derive(Debug)]
struct Deadlines {
    /// The end of its time: it is asked to end.
    life: Option<u64>,
    /// The end of its grace.
    kill: Option<u64>,
}

impl Deadlines {
    fn next(&self) -> Option<u64> {
        [self.life, self.kill].into_iter().flatten().min()
    }

    /// The signal that is due; each once.
    fn due(&mut self, now: u64) -> Option<Signal> {
        if self.kill.is_some_and(|at| now >= at) {
            *self = Self { life: None, kill: None };
            return Some(Signal::KILL);
        }
        if self.life.is_some_and(|at| now >= at) {
            self.life = None;
            self.kill.get_or_insert(now + GRACE);
            return Some(Signal::TERM);
        }
        None
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

/// Milliseconds of a clock that nobody sets.
fn uptime() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec * 1000 + time.tv_nsec / 1_000_000).unwrap_or(0)
}

/// Starts the workload.
fn run(shared: &Shared, mut slot: Slot, received: Received, start: &Start) -> Result<Running, Refusal> {
    let internal = |what: &str, error: io::Error| Refusal::Internal(format!("{what}: {error}"));
    let lock = take_lock(&start.dir).map_err(|error| internal("folder", error))?.ok_or(Refusal::UnderWay)?;
    let ends_at = start.lifetime.map(|left| uptime().saturating_add(left));
    // Both go on at once: the child puts its root together, we do the rest.
    protocol::send(&slot.talk, &received.frame, received.fd.as_ref().map(AsFd::as_fd))
        .map_err(|error| internal("child", error))?;
    drop(received);
    let limits = Limits { memory: start.memory, cpu_units: start.cpu_units, pids: start.pids };
    shared.hierarchies.group(&slot.name).limit(limits).map_err(|error| internal("limits", error))?;
    let ports = start.ports.iter().map(|(port, udp)| hold(*port, *udp)).collect::<Result<Vec<_>, _>>()?;
    let control = control_socket(&start.dir).map_err(|error| internal("control socket", error))?;
    let ticks = records::ticks(slot.child.pid).unwrap_or(0);
    let state = StateRecord {
        pid: slot.child.pid,
        ticks,
        boot: records::boot(),
        slot: slot.name.clone(),
        started_at: now(),
        pipes: slot.output.each_ref().map(|pipe| rustix::fs::fstat(pipe).map_or(0, |found| found.st_ino)),
        ends_at,
    };
    records::write(&start.dir, records::STATE, &state).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC) => Refusal::NoRoom(error.to_string()),
        _ => internal("record", error),
    })?;
    let writer = log::Writer::new(&start.dir);
    let outcome = slot.talk.write_all(&[init::GO]);
    let mut told = Vec::new();
    // The child's end is closed by its becoming the program, or after it has told why not.
    let read = slot.talk.read_to_end(&mut told);
    let refusal = match (outcome, read, told.split_first()) {
        (Ok(()), Ok(_), None) => {
            let Slot { name, lock: slot_lock, users, child, mounts, output, .. } = slot;
            let (child, slot) = (child.pidfd, name);
            return Ok(Running {
                slot,
                _slot_lock: slot_lock,
                child,
                output,
                _users: users.and_then(Block::into_lock),
                _mounts: mounts,
                lines: Default::default(),
                writer,
                control,
                _lock: lock,
                ports,
                ends_at,
                noted: None,
                over_disk: false,
            });
        }
        (_, _, Some((letter, text))) => {
            let text = String::from_utf8_lossy(text).into_owned();
            match *letter {
                init::IMAGE => Refusal::Start(text),
                init::FULL => Refusal::NoRoom(text),
                _ => Refusal::Internal(text),
            }
        }
        (Err(error), ..) | (_, Err(error), _) => internal("child", error),
    };
    let _ = std::fs::remove_file(start.dir.join(records::STATE));
    let _ = std::fs::remove_file(start.dir.join(records::CONTROL));
    Err(refusal)
}

/// Takes the lock of the workload's folder. Whoever only looks at it has it for a moment.
pub fn take_lock(dir: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_TRIES {
        let lock = records::lock(dir)?;
        if lock.is_some() {
            return Ok(lock);
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
    Ok(None)
}

/// Keeps a host port from everybody else, as a listening program would.
pub fn hold(port: u16, udp: bool) -> Result<OwnedFd, Refusal> {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    let bound = if udp { UdpSocket::bind(address).map(OwnedFd::from) } else { bind_tcp(port) };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Refusal::PortBusy { port, udp },
        _ => Refusal::Internal(format!("host port {port}: {error}")),
    })
}

/// Bound and not listening. A connection that was there before does not matter, somebody who listens does.
fn bind_tcp(port: u16) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    // Two that are bound with this may share a port until one listens; so it is asked without it first.
    match rustix::net::bind(&socket, &address) {
        Ok(()) => Ok(socket),
        Err(rustix::io::Errno::ADDRINUSE) => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            Ok(socket)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reached by the folder's descriptor: paths of sockets are short, folders of data need not be.
pub fn control_socket(dir: &Path) -> io::Result<UnixListener> {
    let folder = File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), records::CONTROL);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Running {
    /// Until it has ended, and everything of it is written down.
    fn supervise(mut self, shared: &Shared, dir: &Path, id: &str) -> i32 {
        let mut waiting: Vec<UnixStream> = Vec::new();
        let mut deadlines = Deadlines { life: self.ends_at, kill: None };
        let mut open = [true, true];
        loop {
            let ended = {
                let none = PollFlags::empty();
                let wanted = |open: bool| if open { PollFlags::IN } else { none };
                let mut fds = [
                    PollFd::new(&self.child, PollFlags::IN),
                    PollFd::new(&self.control, PollFlags::IN),
                    PollFd::new(&self.output[0], wanted(open[0])),
                    PollFd::new(&self.output[1], wanted(open[1])),
                ];
                // A stream that is closed would wake us for ever.
                let watched = if open == [false, false] { 2 } else { 4 };
                let held = self.lines.iter().filter_map(Lines::due).min();
                let next = [deadlines.next(), held].into_iter().flatten().min();
                let timeout = next.map(|at| milliseconds(at.saturating_sub(uptime())));
                let _ = rustix::event::poll(&mut fds[..watched], timeout.as_ref());
                !fds[0].revents().is_empty()
            };
            for (stream, open) in open.iter_mut().enumerate() {
                *open = *open && self.copy_output(stream, READS);
                if self.lines[stream].due().is_some_and(|due| due <= uptime()) {
                    self.flush_output(stream);
                }
            }
            if ended {
                break;
            }
            self.take_commands(&mut waiting, &mut deadlines.kill);
            if let Some(signal) = deadlines.due(uptime()) {
                let _ = rustix::process::pidfd_send_signal(&self.child, signal);
            }
        }
        let exit = self.note_end(shared, dir, id);
        for mut connection in waiting {
            let _ = connection.write_all(b"ok\n");
        }
        i32::from(exit.is_err())
    }

    /// `false` if the stream has ended.
    fn copy_output(&mut self, stream: usize, reads: usize) -> bool {
        for _ in 0..reads {
            match rustix::io::read(&self.output[stream], self.lines[stream].room()) {
                Ok(0) => return false,
                Ok(length) => {
                    let now = Moment { time: now(), uptime: uptime() };
                    let writer = &mut self.writer;
                    self.lines[stream].take(length, now, |at, bytes| writer.write(at, stream == 1, bytes));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn flush_output(&mut self, stream: usize) {
        let writer = &mut self.writer;
        self.lines[stream].flush(|at, bytes| writer.write(at, stream == 1, bytes));
    }

    fn take_commands(&mut self, waiting: &mut Vec<UnixStream>, deadline: &mut Option<u64>) {
        while let Ok((mut connection, _)) = self.control.accept() {
            let _ = connection.set_nonblocking(false);
            let _ = connection.set_read_timeout(Some(Duration::from_millis(500)));
            let _ = connection.set_write_timeout(Some(Duration::from_millis(500)));
            let mut command = [0; COMMAND_MAX];
            let length = connection.read(&mut command).unwrap_or(0);
            let command =
                std::str::from_utf8(command.get(..length).unwrap_or_default()).unwrap_or_default().trim();
            let child = &self.child;
            if command == "kill" {
                let _ = rustix::process::pidfd_send_signal(child, Signal::KILL);
                if waiting.len() < WAITING_MAX {
                    waiting.push(connection);
                }
            } else if command == "over-disk" {
                self.over_disk = true;
                let _ = rustix::process::pidfd_send_signal(child, Signal::KILL);
                let _ = connection.write_all(b"ok\n");
            } else if let Some(grace) =
                command.strip_prefix("stop ").and_then(|grace| grace.parse::<u64>().ok())
            {
                let _ = rustix::process::pidfd_send_signal(child, Signal::TERM);
                // The first stop counts: asking again gives nobody more time.
                deadline.get_or_insert(uptime().saturating_add(grace));
                let _ = connection.write_all(b"ok\n");
            } else {
                let _ = connection.write_all(b"no such command\n");
            }
        }
    }

    /// How it ended. Of one that was another's child that is known if the zygote has heard it.
    fn exit_code(&self) -> i32 {
        let Some(noted) = &self.noted else {
            let ended = rustix::process::waitid(WaitId::PidFd(self.child.as_fd()), WaitIdOptions::EXITED);
            return ended.ok().flatten().map_or(records::LOST.code, |status| {
                let signal = || status.terminating_signal().unwrap_or(libc::SIGKILL);
                status.exit_status().unwrap_or_else(|| 128 + signal())
            });
        };
        for _ in 0..NOTE_TRIES {
            if let Some(code) = records::take_exit(noted) {
                return code;
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        records::LOST.code
    }

    /// The child has ended, and with it all processes of its namespace.
    fn note_end(&mut self, shared: &Shared, dir: &Path, id: &str) -> io::Result<()> {
        let code = self.exit_code();
        for stream in 0..2 {
            // What is left in the pipe is bounded by its size.
            self.copy_output(stream, 1024);
            self.flush_output(stream);
        }
        // Whoever reads the record may use them again.
        self.ports.clear();
        let group = shared.hierarchies.group(&self.slot);
        let oom = group.memory_kills() > 0;
        let record = ExitRecord { code, oom, disk: self.over_disk };
        let mut written = records::write(dir, records::EXIT, &record);
        if written.is_err() {
            // The disk is full: how it ended is worth more than what it said.
            for number in log::files(dir).unwrap_or_default() {
                let _ = std::fs::remove_file(dir.join(format!("log.{number}")));
            }
            written = records::write(dir, records::EXIT, &record);
        }
        let _ = std::fs::remove_file(dir.join(records::CONTROL));
        hint(&shared.run, id);
        if !group.remove() {
            group.kill();
            let _ = group.remove();
        }
        let _ = std::fs::remove_file(shared.run.join("slots").join(&self.slot));
        written
    }
}

/// Whoever watches the folder sees a file come and go.
pub fn hint(run: &Path, id: &str) {
    let path = run.join("hints").join(id);
    if File::create(&path).is_ok() {
        let _ = std::fs::remove_file(&path);
    }
}

fn milliseconds(millis: u64) -> Timespec {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}

/// A handle on a process of somebody else, for as long as it is the one that is meant.
#[must_use]
pub fn handle_of(state: &StateRecord) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(state.pid)?;
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Asked after it is held: the number cannot have gone to another meanwhile.
    state.is_alive().then_some(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_its_time_asks_first_and_kills_after_the_grace() {
        let mut deadlines = Deadlines { life: Some(100), kill: None };
        assert_eq!((deadlines.next(), deadlines.due(99)), (Some(100), None));
        assert_eq!(deadlines.due(100), Some(Signal::TERM));
        assert_eq!((deadlines.next(), deadlines.due(101)), (Some(100 + GRACE), None));
        assert_eq!(deadlines.due(100 + GRACE), Some(Signal::KILL));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_stop_before_the_end_of_its_time_keeps_its_own_grace() {
        let mut deadlines = Deadlines { life: Some(100), kill: Some(150) };
        assert_eq!(deadlines.due(120), Some(Signal::TERM));
        assert_eq!(deadlines.due(150), Some(Signal::KILL));
    }
}
