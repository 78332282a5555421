//! Tries what a game server must not be able to do: the test images' other program.
//!
//! What it is for: tests start it inside a container and ask it, one line of TCP a question (port: the first number of
//! `GAME_PORT`, or 7777). It builds with plain `rustc`, without a dependency. Nothing that it tries does harm where it works: it
//! writes back what it has read, mounts into its own folders, and asks the kernel with arguments that change nothing.
//!
//! | question | answer |
//! |---|---|
//! | `attempts` | the names of all attempts, separated by blanks |
//! | `try <name>` | `refused: …`, or `DONE: …` if it worked |
//! | `reach <port>` | the same of connections to this port of whoever is near: gateways and the addresses beside the own |
//! | `connect <address>` | the same of one connection |
//! | `addresses` | the own ones, separated by blanks |
//! | `abstract <name>` | the same of a connection to a socket of that name that lies in no folder |
//! | `as <uid>` | who a child process is that has become this user |
//! | `owner <path>` | user, group and permissions of a file |
//! | `fork-bomb`, `zombies`, `orphans` | how many processes came of it; those of the bomb and the orphans stay |
//! | `fill <path>` | bytes that could be written there, and what ended it |
//! | `fill-hidden <path>` | the same of a file that has no name any more, and stays open |
//! | `open <path>` | `refused: …`, or `DONE: …` if a byte could be read |
//! | `contents` | a number that tells the image's files, as they are now, from all others |
//! | `scribble` | how many of the image's files were changed in their place, and how many by another of their name |
//! | `inodes <folder>` | files that could be made there (200,000 at most), and what ended it |
//! | `descriptors` | files that could be open at once |
//! | `ping` | `pong` |
//! | `leave` | none: its first process ends |

#![cfg_attr(not(target_os = "linux"), expect(unused, reason = "it runs on Linux only"))]
#![expect(unsafe_code, reason = "what is tried are system calls, and this file may have no dependency")]

mod files;
mod network;

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    fn send(socket: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize;
    fn recv(socket: c_int, bytes: *mut c_void, length: usize, flags: c_int) -> isize;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn pause() -> c_int;
    fn _exit(code: c_int) -> !;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut [u64; 2]) -> c_int;
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
    fn setgid(id: u32) -> c_int;
    fn setuid(id: u32) -> c_int;
    fn getuid() -> u32;
}

/// What an attempt comes to: `Ok` if it worked, which is bad.
type Outcome = Result<String, String>;

/// One thing that is tried.
type Attempt = fn() -> Outcome;

/// Errors by which the kernel says no.
const REFUSALS: [i32; 4] = [1, 13, 30, 38];
const NEWUSER: u64 = 0x1000_0000;
const NEWNS: u64 = 0x2_0000;

/// Numbers of system calls.
#[cfg(target_arch = "x86_64")]
mod nr {
    pub const MOUNT: i64 = 165;
    pub const UMOUNT: i64 = 166;
    pub const UNSHARE: i64 = 272;
    pub const CLONE: i64 = 56;
    pub const OPEN_BY_HANDLE: i64 = 304;
    /// Name, number, arguments that change nothing.
    pub const PLAIN: [(&str, i64, [i64; 5]); 25] = [
        ("pivot-root", 155, [0; 5]),
        ("load-module", 175, [0; 5]),
        ("load-module-file", 313, [-1, 0, 0, 0, 0]),
        ("delete-module", 176, [0; 5]),
        ("kexec", 246, [0; 5]),
        ("kexec-file", 320, [-1, -1, 0, 0, 0]),
        ("reboot", 169, [0xfee1_dead_u32 as i64, 672_274_793, 0, 0, 0]),
        ("swap-on", 167, [0; 5]),
        ("swap-off", 168, [0; 5]),
        ("set-time", 164, [0; 5]),
        ("set-clock", 227, [0; 5]),
        ("accounting", 163, [0; 5]),
        ("quota", 179, [0x8000_0100, 0, 0, 0, 0]),
        ("kernel-log", 103, [3, 0, 0, 0, 0]),
        ("bpf", 321, [0; 5]),
        ("perf-events", 298, [0, 0, -1, -1, 0]),
        ("user-faults", 323, [-1, 0, 0, 0, 0]),
        ("keys", 250, [0, -3, 1, 0, 0]),
        ("add-key", 248, [0, 0, 0, 0, -3]),
        ("request-key", 249, [0, 0, 0, -3, 0]),
        ("host-name", 170, [0; 5]),
        ("hang-up", 153, [0; 5]),
        ("file-events-of-all", 300, [0; 5]),
        ("io-ports", 172, [3, 0, 0, 0, 0]),
        ("personality", 135, [0x004_0000, 0, 0, 0, 0]),
    ];
}

/// Numbers of system calls.
#[cfg(not(target_arch = "x86_64"))]
mod nr {
    pub const MOUNT: i64 = 40;
    pub const UMOUNT: i64 = 39;
    pub const UNSHARE: i64 = 97;
    pub const CLONE: i64 = 220;
    pub const OPEN_BY_HANDLE: i64 = 265;
    /// Name, number, arguments that change nothing.
    pub const PLAIN: [(&str, i64, [i64; 5]); 24] = [
        ("pivot-root", 41, [0; 5]),
        ("load-module", 105, [0; 5]),
        ("load-module-file", 273, [-1, 0, 0, 0, 0]),
        ("delete-module", 106, [0; 5]),
        ("kexec", 104, [0; 5]),
        ("kexec-file", 294, [-1, -1, 0, 0, 0]),
        ("reboot", 142, [0xfee1_dead_u32 as i64, 672_274_793, 0, 0, 0]),
        ("swap-on", 224, [0; 5]),
        ("swap-off", 225, [0; 5]),
        ("set-time", 170, [0; 5]),
        ("set-clock", 112, [0; 5]),
        ("accounting", 89, [0; 5]),
        ("quota", 60, [0x8000_0100, 0, 0, 0, 0]),
        ("kernel-log", 116, [3, 0, 0, 0, 0]),
        ("bpf", 280, [0; 5]),
        ("perf-events", 241, [0, 0, -1, -1, 0]),
        ("user-faults", 282, [-1, 0, 0, 0, 0]),
        ("keys", 219, [0, -3, 1, 0, 0]),
        ("add-key", 217, [0, 0, 0, 0, -3]),
        ("request-key", 218, [0, 0, 0, -3, 0]),
        ("host-name", 161, [0; 5]),
        ("hang-up", 58, [0; 5]),
        ("file-events-of-all", 262, [0; 5]),
        ("personality", 92, [0x004_0000, 0, 0, 0, 0]),
    ];
}

/// Attempts that need more than a number.
const OTHERS: [(&str, Attempt); 34] = [
    ("mount-memory", || mount(c"tmpfs", c"/", c"tmpfs", 0)),
    ("mount-processes", || mount(c"proc", c"/proc", c"proc", 0)),
    ("mount-groups", || mount(c"cgroup", c"/sys/fs/cgroup", c"cgroup", 0)),
    ("mount-groups-2", || mount(c"cgroup", c"/sys/fs/cgroup", c"cgroup2", 0)),
    ("mount-a-disk", || mount(c"/dev/vda", c"/", c"ext4", 1)),
    ("bind-mount", || mount(c"/", c"/", c"", 4096)),
    ("make-proc-writable", || mount(c"", c"/proc/sys", c"", 32 | 4096)),
    ("make-groups-writable", || mount(c"", c"/sys/fs/cgroup", c"", 32)),
    ("unmount-a-mask", || call(nr::UMOUNT, [c"/proc/kcore".as_ptr() as i64, 2, 0, 0, 0])),
    ("open-a-file-system", || call(430, [c"tmpfs".as_ptr() as i64, 0, 0, 0, 0])),
    ("copy-a-mount", || call(428, [-100, c"/".as_ptr() as i64, 1, 0, 0])),
    ("move-a-mount", || call(429, [-100, c"/proc".as_ptr() as i64, -100, c"/sys".as_ptr() as i64, 0])),
    ("new-users", || call(nr::UNSHARE, [NEWUSER as i64, 0, 0, 0, 0])),
    ("new-mounts", || call(nr::UNSHARE, [NEWNS as i64, 0, 0, 0, 0])),
    ("a-child-with-new-users", || child_with(NEWUSER)),
    ("a-child-with-new-mounts", || child_with(NEWNS)),
    ("enter-namespaces-of-the-first", enter_namespaces),
    ("change-root", || answer_of(unsafe { chroot(c"/proc".as_ptr()) }.into())),
    ("make-devices", make_devices),
    ("open-devices", open_devices),
    ("write-settings-of-the-kernel", write_settings),
    ("write-groups", write_groups),
    ("climb", climb),
    ("open-by-handle", open_by_handle),
    ("descriptors-of-others", descriptors_of_others),
    ("processes-of-others", processes_of_others),
    ("end-everybody", || answer_of(unsafe { kill(-1, 9) }.into())),
    ("write-to-programs-that-run", write_to_programs),
    ("read-memory-of-the-kernel", read_secrets),
    ("raw-packets", network::raw_packets),
    ("change-links", network::change_links),
    ("take-another-address", network::take_another_address),
    ("raise-limits", raise_limits),
    ("sockets-of-the-host", network::sockets_of_the_host),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        // One question, asked by hand or by a test that sees whether attempts can work.
        let _ = writeln!(io::stdout(), "{}", answer(&arguments.join(" ")));
        return;
    }
    let port = std::env::var("GAME_PORT").ok().and_then(|port| port.split(',').next()?.trim().parse().ok());
    // Over IPv6 as well, where there is any.
    let bound = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port.unwrap_or(7777)));
    let Ok(listener) = bound.or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.unwrap_or(7777))))
    else {
        std::process::exit(2)
    };
    // A datagram is not answered, but somebody is there to take it.
    let _udp = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port.unwrap_or(7777)));
    for stream in listener.incoming().flatten() {
        // Where no thread can be had, the question is answered here.
        let Ok(other) = stream.try_clone() else { continue };
        if thread::Builder::new().spawn(move || serve(&other)).is_err() {
            serve(&stream);
        }
    }
}

fn serve(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    let mut out = stream;
    while let Some(Ok(line)) = lines.next() {
        if writeln!(out, "{}", answer(line.trim()).replace(['\n', '\r'], " ")).is_err() {
            return;
        }
    }
}

fn answer(text: &str) -> String {
    let (question, rest) = text.split_once(' ').unwrap_or((text, ""));
    match question {
        "ping" => "pong".to_owned(),
        "attempts" => names().join(" "),
        "try" => shown(attempt(rest)),
        "reach" => shown(network::reach(rest.parse().unwrap_or(0))),
        "connect" => shown(network::connect(rest)),
        "addresses" => network::addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        "abstract" => shown(network::abstract_socket(rest)),
        "as" => become_user(rest.parse().unwrap_or(1)),
        "owner" => fs::symlink_metadata(rest).map_or_else(
            |error| error.to_string(),
            |found| format!("{}:{} {:o}", found.uid(), found.gid(), found.mode() & 0o7777),
        ),
        "fork-bomb" => fork_bomb(),
        "zombies" => zombies(),
        "orphans" => orphans(),
        "fill" => fill(Path::new(rest), false),
        "fill-hidden" => fill(Path::new(rest), true),
        "open" => shown(read_a_byte(rest)),
        "contents" => files::contents(),
        "scribble" => files::scribble(),
        "inodes" => inodes(Path::new(rest)),
        "descriptors" => descriptors(),
        "leave" => std::process::exit(0),
        _ => "no such question".to_owned(),
    }
}

fn names() -> Vec<&'static str> {
    nr::PLAIN.iter().map(|(name, ..)| *name).chain(OTHERS.iter().map(|(name, _)| *name)).collect()
}

fn attempt(name: &str) -> Outcome {
    if let Some((_, number, arguments)) = nr::PLAIN.iter().find(|(known, ..)| *known == name) {
        return call(*number, *arguments);
    }
    match OTHERS.iter().find(|(known, _)| *known == name) {
        Some((_, play)) => play(),
        None => Ok("there is no such attempt".to_owned()),
    }
}

fn shown(outcome: Outcome) -> String {
    outcome.map_or_else(|why| format!("refused: {why}"), |what| format!("DONE: {what}"))
}

/// The kernel's answer. Only a clear no is a refusal: a complaint about the arguments says that somebody has looked at them.
fn answer_of(result: i64) -> Outcome {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result >= 0 => Ok(format!("the kernel said {result}")),
        Some(number) if REFUSALS.contains(&number) => Err(error.to_string()),
        // Nobody was there whom it could have met.
        Some(3) => Err(error.to_string()),
        _ => Ok(format!("the kernel looked at it: {error}")),
    }
}

fn call(number: i64, a: [i64; 5]) -> Outcome {
    // SAFETY: the arguments are numbers, null, or texts that live for ever.
    answer_of(unsafe { syscall(number, a[0], a[1], a[2], a[3], a[4]) })
}

fn mount(
    source: &'static std::ffi::CStr,
    target: &'static std::ffi::CStr,
    kind: &'static std::ffi::CStr,
    flags: i64,
) -> Outcome {
    call(nr::MOUNT, [source.as_ptr() as i64, target.as_ptr() as i64, kind.as_ptr() as i64, flags, 0])
}

// --- namespaces, roots, descriptors --------------------------------------------------------------------------------

fn child_with(namespaces: u64) -> Outcome {
    const SIGCHLD: u64 = 17;
    // SAFETY: without memory in common it is a fork; the child ends at once.
    let pid = unsafe { syscall(nr::CLONE, (namespaces | SIGCHLD) as i64, 0_i64, 0_i64, 0_i64, 0_i64) };
    if pid == 0 {
        // SAFETY: it ends.
        unsafe { _exit(0) }
    }
    let outcome = answer_of(pid);
    if let Ok(pid) = i32::try_from(pid)
        && pid > 0
    {
        // SAFETY: a child of ours.
        unsafe { waitpid(pid, std::ptr::null_mut(), 0) };
    }
    outcome
}

fn enter_namespaces() -> Outcome {
    use std::os::fd::AsRawFd as _;
    let mut refusal = "there are none".to_owned();
    for name in ["mnt", "net", "pid", "ipc", "uts", "cgroup", "user"] {
        let Ok(file) = fs::File::open(format!("/proc/1/ns/{name}")) else { continue };
        // SAFETY: an open descriptor.
        match answer_of(unsafe { setns(file.as_raw_fd(), 0) }.into()) {
            Ok(what) => return Ok(format!("{name}: {what}")),
            Err(why) => refusal = why,
        }
    }
    Err(refusal)
}

/// Ways up that must end at the own root.
fn climb() -> Outcome {
    let place = |path: &str| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let root = place("/");
    let deep = "/..".repeat(64);
    for path in
        [deep.as_str(), "/proc/1/root", "/proc/1/root/..", "/proc/self/root/../..", "/proc/1/cwd/../../.."]
    {
        let found = place(path);
        if found.is_some() && found != root {
            return Ok(format!("{path} is another folder"));
        }
    }
    Err("every way ends at the own root".to_owned())
}

/// The old way out: a handle of the host's root directory.
fn open_by_handle() -> Outcome {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        inode: [u32; 2],
    }
    let handle = Handle { bytes: 8, kind: 1, inode: [2, 0] };
    let Ok(root) = fs::File::open("/") else { return Err("no root".to_owned()) };
    use std::os::fd::AsRawFd as _;
    // SAFETY: the handle lives through the call, which only reads it.
    answer_of(unsafe {
        syscall(nr::OPEN_BY_HANDLE, c_long::from(root.as_raw_fd()), &raw const handle, 0_i64)
    })
}

/// What was open before our own first line: nothing but the standard streams.
fn descriptors_of_others() -> Outcome {
    for entry in fs::read_dir("/proc/1/fd").map_err(|error| error.to_string())?.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let text = target.to_string_lossy();
        let known = ["pipe:", "socket:", "/dev/null", "anon_inode:", "/proc/"];
        if !known.iter().any(|start| text.starts_with(start)) {
            return Ok(format!("{} leads to {text}", entry.path().display()));
        }
    }
    Err("none is open".to_owned())
}

fn processes_of_others() -> Outcome {
    let own = std::process::id();
    for pid in 1..=100_000_u32 {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if pid != own && !comm.is_empty() && comm.trim() != "abuse" {
            return Ok(format!("{pid} is {comm}"));
        }
    }
    Err("there are none".to_owned())
}

/// As in CVE-2019-5736: whoever starts containers must not be reached through their processes. All that runs is the image's own
/// file, and busy.
fn write_to_programs() -> Outcome {
    let id_of = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let own = id_of(Path::new("/abuse")).ok_or("no program of our own")?;
    for entry in fs::read_dir("/proc").map_err(|error| error.to_string())?.flatten() {
        let exe = entry.path().join("exe");
        let Some(running) = id_of(&exe) else { continue };
        if running != own {
            return Ok(format!("{} is none of our image", exe.display()));
        }
        if keeps_programs_busy() && fs::OpenOptions::new().write(true).open(&exe).is_ok() {
            return Ok(format!("{} is open to us", exe.display()));
        }
    }
    Err("only our own program runs".to_owned())
}

/// Before 5.15 what kept a program from being written were its mappings, and overlayfs maps the file of the layer: the one that
/// is seen could be opened, and was copied for it. (That this reaches nobody else is another case: `scribble`.)
fn keeps_programs_busy() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_none_or(|version| version >= (5, 15))
}

// --- devices and files of the kernel -------------------------------------------------------------------------------

fn make_devices() -> Outcome {
    const BLOCK: u32 = 0o060_000;
    const CHARACTER: u32 = 0o020_000;
    let mut devices =
        vec![(CHARACTER, 1, 1), (CHARACTER, 1, 11), (CHARACTER, 10, 200), (BLOCK, 8, 0), (BLOCK, 254, 0)];
    for entry in fs::read_dir("/sys/dev/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((major, minor)) = name.split_once(':') else { continue };
        devices.push((BLOCK, major.parse().unwrap_or(8), minor.parse().unwrap_or(0)));
    }
    for folder in ["/", "/tmp", "/dev", "/dev/shm"] {
        for (kind, major, minor) in &devices {
            let path = CString::new(format!("{folder}/device-{major}-{minor}"))
                .map_err(|error| error.to_string())?;
            let device: u64 = (major << 8) | minor;
            // SAFETY: the path lives through the call.
            let made = unsafe { mknod(path.as_ptr(), kind | 0o600, device) };
            let opened = made == 0 && fs::File::open(path.to_string_lossy().as_ref()).is_ok();
            let _ = fs::remove_file(path.to_string_lossy().as_ref());
            if made == 0 {
                return Ok(format!("{major}:{minor} in {folder}, opened: {opened}"));
            }
        }
    }
    Err("none can be made".to_owned())
}

fn open_devices() -> Outcome {
    for name in [
        "mem",
        "kmem",
        "port",
        "kmsg",
        "vda",
        "sda",
        "nvme0n1",
        "loop-control",
        "fuse",
        "net/tun",
        "kvm",
        "vhost-net",
    ] {
        if fs::File::open(Path::new("/dev").join(name)).is_ok() {
            return Ok(format!("/dev/{name} is open"));
        }
    }
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_block_device()) {
            return Ok(format!("{} is a disk", entry.path().display()));
        }
    }
    Err("none is there".to_owned())
}

/// Opens for writing, and writes what stands there already.
fn write_back(path: &Path) -> Outcome {
    // What is masked is the device that swallows everything.
    let device = |path: &Path| fs::metadata(path).map(|found| found.rdev()).unwrap_or(0);
    if device(path) != 0 && device(path) == device(Path::new("/dev/null")) {
        return Err("masked".to_owned());
    }
    let held = fs::read(path).unwrap_or_default();
    let mut file = match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) => return Err(error.to_string()),
    };
    match file.write_all(&held) {
        // Without anything to write back, the open file is proof enough.
        Ok(()) => Ok(format!("{} can be written", path.display())),
        Err(error) if error.raw_os_error().is_some_and(|number| REFUSALS.contains(&number)) => {
            Err(error.to_string())
        }
        Err(error) => Ok(format!("{} was open: {error}", path.display())),
    }
}

fn first_done(paths: impl IntoIterator<Item = PathBuf>) -> Outcome {
    let mut tried = 0;
    for path in paths {
        if let Ok(what) = write_back(&path) {
            return Ok(what);
        }
        tried += 1;
    }
    Err(format!("{tried} files, none can be written"))
}

fn write_settings() -> Outcome {
    let settings = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/usermodehelper/bset",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/fs/file-max",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/conf/all/forwarding",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci/00/00.0",
        "/proc/fs/ext4",
        "/proc/mtrr",
        "/proc/acpi",
        "/proc/scsi/scsi",
        "/proc/kcore",
        "/proc/1/attr/current_",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/security/lockdown",
        "/sys/power/state",
        "/sys/module/kernel/parameters/panic",
        "/sys/firmware/acpi/tables/DSDT",
        "/sys/block/vda/queue/scheduler",
        "/sys/class/net/lo/mtu",
    ];
    first_done(settings.map(PathBuf::from))
}

/// Every file of the groups that could let somebody out (`release_agent`) or loosen a limit.
fn write_groups() -> Outcome {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_one = ["release_agent", "notify_on_release", "cgroup.procs", "tasks", "devices.allow"]
                .contains(&name.as_str())
                || name.contains("limit_in_bytes")
                || name.ends_with(".max")
                || name.ends_with("quota_us");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && folders.len() < 1000 => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && is_one => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.push("/sys/fs/cgroup/release_agent".into());
    for group in files.iter().filter(|file| file.ends_with("cgroup.procs")).filter_map(|file| file.parent()) {
        if fs::create_dir(group.join("own")).is_ok() {
            return Ok(format!("a group was made in {}", group.display()));
        }
    }
    first_done(files)
}

fn read_secrets() -> Outcome {
    for path in
        ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware/dmi/tables/DMI"]
    {
        if fs::File::open(path)
            .and_then(|file| io::Read::read(&mut &file, &mut [0; 64]))
            .is_ok_and(|read| read > 0)
        {
            return Ok(format!("{path} can be read"));
        }
    }
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let tells = symbols.lines().take(50).any(|line| !line.starts_with("0000000000000000"));
    if tells {
        Ok("addresses of the kernel can be read".to_owned())
    } else {
        Err("nothing can be read".to_owned())
    }
}

// --- limits --------------------------------------------------------------------------------------------------------

fn raise_limits() -> Outcome {
    const FILES: c_int = 7;
    let mut now = [0; 2];
    // SAFETY: the limits live through the calls. Priorities are numbers.
    unsafe {
        getrlimit(FILES, &raw mut now);
        let more = [now[1] + 1, now[1] + 1];
        if setrlimit(FILES, &raw const more) == 0 {
            return Ok("more open files".to_owned());
        }
        if setpriority(0, 0, -5) == 0 {
            return Ok("a higher priority".to_owned());
        }
    }
    match fs::write("/proc/self/oom_score_adj", "-900") {
        Ok(()) => Ok("spared when memory is short".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A child process that becomes another user, and tells who it is by its exit code: 0 = that user.
fn become_user(id: u32) -> String {
    // SAFETY: the child calls a few functions that take no lock, and ends.
    let pid = unsafe { fork() };
    if pid == 0 {
        // SAFETY: as above.
        unsafe {
            let changed = setgid(id) == 0 && setuid(id) == 0 && getuid() == id;
            _exit(i32::from(!changed))
        }
    }
    let mut status = -1;
    // SAFETY: a child of ours.
    unsafe { waitpid(pid, &raw mut status, 0) };
    format!("changed: {}", pid > 0 && status == 0)
}

/// Processes that make processes, until the limit; all of them stay.
fn fork_bomb() -> String {
    // SAFETY: the children call functions that take no lock, and nothing else.
    unsafe {
        if fork() == 0 {
            loop {
                if fork() < 0 {
                    pause();
                }
            }
        }
    }
    thread::sleep(Duration::from_secs(1));
    count().to_string()
}

/// Children that end and that nobody asks after.
fn zombies() -> String {
    let mut made = 0;
    // SAFETY: as above.
    while made < 100_000 && unsafe { fork() } > 0 {
        made += 1;
    }
    // The children come here as well.
    if std::process::id() != 1 {
        // SAFETY: it ends.
        unsafe { _exit(0) }
    }
    made.to_string()
}

/// Grandchildren in sessions of their own whose parents have ended: as daemons are.
fn orphans() -> String {
    const WANTED: usize = 8;
    for _ in 0..WANTED {
        // SAFETY: as above.
        unsafe {
            let child = fork();
            if child == 0 {
                setsid();
                if fork() == 0 {
                    setsid();
                    loop {
                        pause();
                    }
                }
                _exit(0)
            }
            waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    count().to_string()
}

fn count() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count()
}

fn fill(path: &Path, is_hidden: bool) -> String {
    let block = vec![7_u8; 1024 * 1024];
    let mut written = 0_u64;
    let mut write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        if is_hidden {
            fs::remove_file(path)?;
        }
        loop {
            match file.write(&block) {
                Ok(more) => written += u64::try_from(more).unwrap_or(0),
                Err(error) if is_hidden => {
                    // It stays open, and with it what it takes.
                    std::mem::forget(file);
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
    };
    let ended = write().map_or_else(|error| error.to_string(), |()| "no end".to_owned());
    format!("{written} {ended}")
}

fn read_a_byte(path: &str) -> Outcome {
    match fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut [0])) {
        Ok(read) => Ok(format!("{read} bytes")),
        Err(error) => Err(error.to_string()),
    }
}

fn inodes(folder: &Path) -> String {
    for number in 0..200_000 {
        if let Err(error) = fs::File::create(folder.join(format!("inode-{number}"))) {
            return format!("{number} {error}");
        }
    }
    "200000 no end".to_owned()
}

fn descriptors() -> String {
    let mut held = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        held.push(file);
    }
    held.len().to_string()
}
