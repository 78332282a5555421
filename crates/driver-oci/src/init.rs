//! The child that becomes a container's program: born ahead of time in namespaces and control groups of its own, it waits for
//! a workload, puts the root file system together, gives everything up that it does not need, and becomes the program.
//!
//! ```text
//! born ─▶ joins its groups ─▶ stage (root.rs) ─▶ "ready" ─▶ a frame comes ─▶ network, root, user ─▶ "go" comes ─▶ exec
//!                                                                 └─ any fault ─▶ a letter and a sentence, and it ends
//! ```
//!
//! The order of what is given up matters: descriptors before the working directory (one of them could be the host's), the
//! bounding set while it still may, the filter last. No image can name the host's binary by `/proc/self/exe` in a way that
//! could be written to: the zygote runs from a read-only mount (zygote.rs).

use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::sock_filter;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::cgroup::Group;
use crate::config;
use crate::protocol::{self, Request, Start};
use crate::root::{self, Fault};
use crate::users::Block;
use crate::{sys, user};

/// What is left of root's abilities: a root inside a container may care for its own files, users, processes and ports. The
/// same as the Docker driver leaves.
pub const BASELINE_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID);
/// Who runs in the restricted profile: "nonroot" of the distroless images.
const RESTRICTED_USER: &str = "65532:65532";
/// Where programs are looked for if nobody says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Abilities that a kernel may know: those that it does not are skipped.
const CAPABILITIES_MAX: u32 = 63;

/// The first port that everybody in a network may open.
const LOW_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// It waits for work.
pub const READY: u8 = b'r';
/// The image or the spec is at fault; a sentence follows.
pub const IMAGE: u8 = b'i';
/// The host is full; a sentence follows.
pub const FULL: u8 = b'f';
/// Something else went wrong; a sentence follows.
pub const HOST: u8 = b'h';
/// From the supervisor: everything else is ready as well.
pub const GO: u8 = b'g';

/// What the child is given at its birth.
pub struct Birth<'a> {
    /// The folder with `stage` and `root`.
    pub run: &'a Path,
    /// Its groups.
    pub group: Group<'a>,
    /// Mounts of control groups that it sees.
    pub cgroups: &'a [String],
    /// The filter of system calls.
    pub filter: &'a [sock_filter],
    /// Ids that its users have on the host; `None` = the same.
    pub users: Option<Block>,
    /// To the supervisor.
    pub talk: UnixStream,
    /// Its standard output and error.
    pub output: [OwnedFd; 2],
}

/// Lives the child's life. Never comes back.
pub fn live(birth: Birth<'_>) -> ! {
    let Birth { run, group, cgroups, filter, users, mut talk, output } = birth;
    let fault = match prepare(run, &group, cgroups, users.as_ref()) {
        Err(fault) => fault,
        Ok(()) => {
            if talk.write_all(&[READY]).is_err() {
                sys::leave(1);
            }
            match become_program(run, filter, users, &mut talk, &output) {
                Err(fault) => fault,
                // The supervisor hung up: there is no work.
                Ok(()) => sys::leave(0),
            }
        }
    };
    let (letter, text) = match fault {
        Fault::Image(text) => (IMAGE, text),
        Fault::Host(error, step) => {
            let full = matches!(
                error.raw_os_error(),
                Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EMFILE | libc::ENFILE)
            );
            (if full { FULL } else { HOST }, format!("{step}: {error}"))
        }
    };
    let mut message = vec![letter];
    message.extend(text.bytes().take(1000));
    let _ = talk.write_all(&message);
    sys::leave(1)
}

fn prepare(run: &Path, group: &Group<'_>, cgroups: &[String], users: Option<&Block>) -> Result<(), Fault> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(Fault::at("end with the supervisor"))?;
    rustix::process::setsid().map_err(Fault::at("session"))?;
    // Whoever protects the control plane from the kernel's choice does not protect games with it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    group.join().map_err(Fault::at("control groups"))?;
    // SAFETY: a control group namespace does not touch what other code of this process relies on.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
        .map_err(Fault::at("control group namespace"))?;
    sys::leave_keyring();
    // What it writes into its root is written with the abilities of whoever mounted that: bounds of the disk hold for it.
    let mut own = rustix::thread::capabilities(None).map_err(Fault::at("abilities"))?;
    own.effective.remove(CapabilitySet::SYS_RESOURCE);
    rustix::thread::set_capabilities(None, own).map_err(Fault::at("abilities"))?;
    if let Some(users) = users {
        sys::own_new_files(users.first).map_err(Fault::at("user namespace"))?;
    }
    root::stage(run, cgroups, users)
}

/// `Ok` only if there is no work.
fn become_program(
    run: &Path,
    filter: &[sock_filter],
    users: Option<Block>,
    talk: &mut UnixStream,
    output: &[OwnedFd; 2],
) -> Result<(), Fault> {
    let Some(received) = protocol::receive(&*talk).map_err(Fault::at("frame"))? else { return Ok(()) };
    let request = serde_json::from_slice(received.json()).map_err(Fault::at("frame"))?;
    let Request::Start(start) = request else { return Ok(()) };
    if let Some(network) = &received.fd {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind))
            .map_err(Fault::at("network"))?;
    }
    if users.is_some() {
        // The network is not its own: low ports, which root inside may open, have to be free for all in it.
        std::fs::write(LOW_PORTS, "0").map_err(Fault::at("low ports"))?;
    }
    root::enter(run, &start, received.contents(), users.as_ref())?;
    drop(received);
    rustix::system::sethostname(start.hostname.as_bytes()).map_err(Fault::at("host name"))?;
    limit_files(start.open_files);
    let who = if start.restricted { RESTRICTED_USER } else { start.user.as_str() };
    let who = user::find(who, &root::read_small("/etc/passwd"), &root::read_small("/etc/group"))
        .map_err(Fault::Image)?;
    hand_over(&who, output, users)?;
    let env = environment(&start, &who.home);
    // As other engines do: a program that opens /dev/stdout needs it to be its own.
    for stream in output {
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(who.uid)), None);
    }
    let moved = move_descriptors(talk, output).map_err(Fault::at("descriptors"))?;
    // The old one is closed already.
    std::mem::forget(std::mem::replace(talk, moved));
    change_folder(&start.cwd)?;
    give_up(&who, start.restricted).map_err(Fault::at("privileges"))?;
    let program = locate(&start, &env)?;
    let arguments = texts(&start.argv)?;
    let env = texts(&env)?;
    // The supervisor has set the limits and written down that we are there.
    let mut go = [0];
    if !matches!(talk.read(&mut go), Ok(1)) || go != [GO] {
        return Ok(());
    }
    rustix::process::set_parent_process_death_signal(None).map_err(Fault::at("a life of its own"))?;
    sys::reset_signals();
    sys::filter_calls(filter).map_err(Fault::at("filter of system calls"))?;
    let error = sys::exec(&program, &arguments, &env);
    let shown = start.argv.first().map_or("", String::as_str);
    // The talk is still open: exec closes it only when it works.
    Err(Fault::Image(format!("the program {shown:?} cannot be started: {}", reason(&error))))
}

/// Its output belongs to its user, who may open it anew; from here on it has users of its own.
fn hand_over(who: &user::User, output: &[OwnedFd; 2], users: Option<Block>) -> Result<(), Fault> {
    let first = users.as_ref().map_or(0, |users| users.first);
    if users.is_some()
        && let Some(id) =
            [who.uid, who.gid].into_iter().chain(who.groups.iter().copied()).find(|id| *id >= config::BLOCK)
    {
        return Err(Fault::Image(format!(
            "the user or group {id} is above {}, which is the last in a user namespace",
            config::BLOCK - 1
        )));
    }
    for stream in output {
        let (user, group) = (Uid::from_raw(first + who.uid), Gid::from_raw(first + who.gid));
        rustix::fs::fchown(stream, Some(user), Some(group)).map_err(Fault::at("output"))?;
    }
    if let Some(users) = users {
        let kind = rustix::thread::LinkNameSpaceType::User;
        rustix::thread::move_into_link_name_space(users.namespace.as_fd(), Some(kind))
            .map_err(Fault::at("user namespace"))?;
    }
    Ok(())
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "there is no such file, or it needs an interpreter that is not there".to_owned()
        }
        Some(libc::ENOEXEC) => "it is no program for this machine".to_owned(),
        Some(libc::EACCES) => "it may not be executed".to_owned(),
        _ => error.to_string(),
    }
}

fn limit_files(most: u64) {
    // Not beyond what we have ourselves: only some roots may raise it.
    let own = rustix::process::getrlimit(Resource::Nofile);
    let most = own.maximum.map_or(most, |hard| hard.min(most));
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
}

/// Later ones win; what every program may count on is added where it is missing.
fn environment(start: &Start, home: &str) -> Vec<String> {
    let mut env: Vec<String> = Vec::with_capacity(start.env.len() + 3);
    let name = |text: &str| text.split_once('=').map_or(text.len(), |(name, _)| name.len());
    let defaults = [format!("PATH={PATH}"), format!("HOSTNAME={}", start.hostname), format!("HOME={home}")];
    for text in defaults.iter().chain(&start.env) {
        let end = name(text);
        let same =
            |other: &String| name(other) == end && other.as_bytes().get(..end) == text.as_bytes().get(..end);
        match env.iter().position(same) {
            Some(at) => text.clone_into(&mut env[at]),
            None => env.push(text.clone()),
        }
    }
    env
}

/// 0 = nothing to read, 1 and 2 = the log, 3 = the supervisor; all others are closed.
fn move_descriptors(talk: &UnixStream, output: &[OwnedFd; 2]) -> io::Result<UnixStream> {
    let null = std::fs::File::open("/dev/null")?;
    // Out of the way of the numbers that are about to be taken.
    let high = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 64);
    let sources = [high(null.as_fd())?, high(output[0].as_fd())?, high(output[1].as_fd())?];
    for (number, source) in sources.iter().enumerate() {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        if sys::duplicate_to(source.as_fd(), number)? != number {
            return Err(io::Error::other("another descriptor came"));
        }
    }
    let kept = high(talk.as_fd())?;
    let last = u32::try_from(kept.as_raw_fd()).map_err(io::Error::other)?;
    drop((null, sources));
    sys::close_all_but_standard_and(last)?;
    Ok(UnixStream::from(kept))
}

/// A working directory that does not lie in the container is none.
fn change_folder(cwd: &str) -> Result<(), Fault> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let refused = |why: &dyn std::fmt::Display| {
        Fault::Image(format!("the working directory {cwd:?} cannot be entered: {why}"))
    };
    rustix::process::chdir(cwd).map_err(|error| refused(&error))?;
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) => Err(refused(&"it lies outside of the container")),
        Err(error) => Err(refused(&error)),
    }
}

/// Privileges, user and groups.
fn give_up(who: &user::User, restricted: bool) -> rustix::io::Result<()> {
    let kept = if restricted { CapabilitySet::empty() } else { BASELINE_CAPABILITIES };
    for number in 0..=CAPABILITIES_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(one) {
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_no_new_privs(true)?;
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let groups: Vec<Gid> = who.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // Whoever is not root has lost all with the change of user.
    let own = if who.uid == 0 { kept } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: own, permitted: own, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}

/// The program, looked for as a shell would.
fn locate(start: &Start, env: &[String]) -> Result<CString, Fault> {
    let Some(name) = start.argv.first().filter(|name| !name.is_empty()) else {
        return Err(Fault::Image("the image names no program, and neither does the version".to_owned()));
    };
    let text = |path: &str| {
        CString::new(path).map_err(|_| Fault::Image(format!("{name:?} is no name of a program")))
    };
    if name.contains('/') {
        return text(name);
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = format!("{folder}/{name}");
        let executable = rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK).is_ok();
        if executable && std::fs::metadata(&candidate).is_ok_and(|found| found.is_file()) {
            return text(&candidate);
        }
    }
    Err(Fault::Image(format!("the program {name:?} is not in the container's PATH ({path})")))
}

fn texts(all: &[String]) -> Result<Vec<CString>, Fault> {
    let text = |text: &String| {
        let fault = |_| Fault::Image("an argument or a variable holds a null byte".to_owned());
        CString::new(text.as_str()).map_err(fault)
    };
    all.iter().map(text).collect()
}
