//! The root file system of a container: what is prepared ahead of time, and what is put together for a workload.
//!
//! ```text
//! ahead of time, in the child's own mount namespace          for a workload
//! <run>/stage/proc    masked, partly read-only               <run>/root           overlay of the image's layers
//!             dev     null, zero, …, pts, shm, mqueue   ──▶              /proc, /dev, /sys/fs/cgroup  moved there
//!             cgroup  read-only                                          /sys                         mounted there
//!                                                                        /etc/hosts …, files          written there
//! ```
//!
//! Nothing that an image holds leads out: every path inside it is opened with `openat2`, which keeps symbolic links within
//! the root, before anything is written or mounted there.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::protocol::Start;
use crate::users::Block;

/// Of the kernel's own files, those that tell of the host or change it: nobody sees what is behind.
const MASKED_PROC: [&str; 12] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "mtrr",
    "kallsyms",
];
/// Those that are read only.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// The same under `/sys`.
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
/// Devices that every program may count on: name, minor number of the memory devices (major 1).
const DEVICES: [(&str, u32); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Sized: what a workload writes there counts against its memory as well.
const SHM: &CStrLit = c"size=65536k,mode=1777";
const TMP: &CStrLit = c"size=64m,mode=1777";
/// Where layers are seen with other owners, below the stage.
const LAYERS: &str = "layers";
/// The option text of a mount has to fit into a page.
const OPTIONS_MAX: usize = 4095;

type CStrLit = std::ffi::CStr;

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Why a container could not be made.
#[derive(Debug)]
pub enum Fault {
    /// The image or the spec is such that it cannot be; a sentence for users.
    Image(String),
    /// The host said no.
    Host(io::Error, &'static str),
}

impl Fault {
    /// For `map_err`: the host, at this step.
    pub fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Host(error.into(), step)
    }
}

/// Prepares what is the same in all containers. The caller has a mount namespace of its own.
///
/// # Errors
/// What the host says.
pub fn stage(run: &Path, cgroups: &[String], users: Option<&Block>) -> Result<(), Fault> {
    let change = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", change).map_err(Fault::at("own mounts"))?;
    let stage = run.join("stage");
    mount("tmpfs", &stage, "tmpfs", QUIET, c"mode=755,size=64k").map_err(Fault::at("stage"))?;
    for name in ["proc", "dev", "cgroup", LAYERS] {
        std::fs::create_dir(stage.join(name)).map_err(Fault::at("stage"))?;
    }
    devices(&stage.join("dev"), users.map_or(0, |users| users.first)).map_err(Fault::at("/dev"))?;
    let proc = stage.join("proc");
    mount("proc", &proc, "proc", QUIET, c"").map_err(Fault::at("/proc"))?;
    for name in MASKED_PROC {
        mask(&proc.join(name), &stage.join("dev/null")).map_err(Fault::at("masks in /proc"))?;
    }
    for name in READ_ONLY_PROC {
        read_only(&proc.join(name)).map_err(Fault::at("read-only parts of /proc"))?;
    }
    control_groups(&stage.join("cgroup"), cgroups).map_err(Fault::at("/sys/fs/cgroup"))
}

fn mount(source: &str, target: &Path, kind: &str, flags: MountFlags, data: &CStrLit) -> io::Result<()> {
    Ok(rustix::mount::mount(source, target, kind, flags, data)?)
}

fn devices(dev: &Path, first: u32) -> io::Result<()> {
    mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=755,size=64k")?;
    let folder = rustix::fs::open(dev, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let device = |name: &str, major, minor| {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(
            &folder,
            name,
            FileType::CharacterDevice,
            mode,
            rustix::fs::makedev(major, minor),
        )?;
        rustix::fs::chmodat(&folder, name, mode, AtFlags::empty())
    };
    for (name, minor) in DEVICES {
        device(name, 1, minor)?;
    }
    device("tty", 5, 0)?;
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &folder, name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        std::fs::create_dir(dev.join(name))?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={}", first.saturating_add(5));
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    mount("devpts", &dev.join("pts"), "devpts", terminals, &options)?;
    mount("shm", &dev.join("shm"), "tmpfs", QUIET, SHM)?;
    mount("mqueue", &dev.join("mqueue"), "mqueue", QUIET, c"")
}

/// Hides a file or a folder, if it is there.
fn mask(path: &Path, null: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => mount("tmpfs", path, "tmpfs", QUIET | MountFlags::RDONLY, c"size=0k"),
        Ok(_) => Ok(rustix::mount::mount_bind(null, path)?),
        Err(_) => Ok(()),
    }
}

fn read_only(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    rustix::mount::mount_bind_recursive(path, path)?;
    Ok(rustix::mount::mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | QUIET, "")?)
}

/// The container's own groups, to be looked at: all of v2, or a folder for each controller of v1. Runtimes look there for how
/// much memory they may take.
fn control_groups(at: &Path, cgroups: &[String]) -> io::Result<()> {
    let quiet = QUIET | MountFlags::RDONLY;
    mount("tmpfs", at, "tmpfs", QUIET, c"mode=755,size=64k")?;
    if cgroups == ["cgroup2"] {
        return mount("cgroup", at, "cgroup2", quiet, c"");
    }
    for controllers in cgroups {
        let folder = at.join(controllers);
        std::fs::create_dir(&folder)?;
        let options = std::ffi::CString::new(controllers.as_str()).map_err(io::Error::other)?;
        mount("cgroup", &folder, "cgroup", quiet, &options)?;
        for part in controllers.split(',').filter(|part| *part != controllers) {
            std::os::unix::fs::symlink(controllers, at.join(part))?;
        }
    }
    Ok(rustix::mount::mount_remount(at, quiet, "mode=755,size=64k")?)
}

/// Puts the root file system together and makes it the root. Its user's files are written by root of the host, which is
/// root inside as well.
///
/// # Errors
/// What is wrong with the image, or what the host says.
pub fn enter(run: &Path, start: &Start, contents: &[u8], users: Option<&Block>) -> Result<(), Fault> {
    let place = run.join("root");
    overlay(&place, start, users.map(|users| (users, run.join("stage").join(LAYERS))))?;
    let root = rustix::fs::open(&place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Fault::at("root"))?;
    write_etc(&root, start)?;
    write_files(&root, start, contents)?;
    if !start.cwd.is_empty() {
        make_folders(&root, &start.cwd)?;
    }
    let stage = run.join("stage");
    for name in ["proc", "dev"] {
        let target = folder(&root, name)?;
        rustix::mount::mount_move(stage.join(name), through(&target)).map_err(Fault::at("mounts"))?;
    }
    let sys = folder(&root, "sys")?;
    mount("sysfs", &through(&sys), "sysfs", QUIET | MountFlags::RDONLY, c"").map_err(Fault::at("/sys"))?;
    drop(sys);
    let sys = place.join("sys");
    rustix::mount::mount_move(stage.join("cgroup"), sys.join("fs/cgroup"))
        .map_err(Fault::at("/sys/fs/cgroup"))?;
    for name in MASKED_SYS {
        mask(&sys.join(name), &place.join("dev/null")).map_err(Fault::at("masks in /sys"))?;
    }
    if start.restricted {
        let tmp = folder(&root, "tmp")?;
        mount("tmpfs", &through(&tmp), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, TMP)
            .map_err(Fault::at("/tmp"))?;
    }
    drop(root);
    rustix::process::chdir(&place).map_err(Fault::at("root"))?;
    rustix::process::pivot_root(".", ".").map_err(Fault::at("root"))?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).map_err(Fault::at("the host's root"))?;
    rustix::process::chdir("/").map_err(Fault::at("root"))?;
    if start.restricted {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV;
        rustix::mount::mount_remount("/", flags, "").map_err(Fault::at("a read-only root"))?;
    }
    Ok(())
}

/// A path that leads to an open folder, whatever its name has become.
fn through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The layers, under a folder of its own to write to. Layers are named by descriptors: their paths would not fit.
fn overlay(place: &Path, start: &Start, users: Option<(&Block, PathBuf)>) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |number: usize, path: &Path| {
        let Some((users, stage)) = &users else {
            return rustix::fs::open(path, flags, Mode::empty()).map_err(Fault::at("layers of the image"));
        };
        let at = stage.join(number.to_string());
        std::fs::create_dir(&at).map_err(Fault::at("layers of the image"))?;
        users.shifted(path, &at).map_err(Fault::at("owners of the image's files"))
    };
    // The kernel wants the highest first.
    let layers = start.layers.iter().rev().enumerate().map(|(number, layer)| open(number, layer));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let own = open(layers.len(), &start.dir)?;
    let part = |name| rustix::fs::openat(&own, name, flags, Mode::empty()).map_err(Fault::at("own layer"));
    let (upper, work) = (part(crate::records::UPPER)?, part(crate::records::WORK)?);
    let lower: Vec<String> = layers.iter().map(|layer| through(layer).display().to_string()).collect();
    let options = |more: &str| {
        let (upper, work) = (through(&upper), through(&work));
        format!("lowerdir={},upperdir={},workdir={}{more}", lower.join(":"), upper.display(), work.display())
    };
    if options("").len() > OPTIONS_MAX {
        return Err(Fault::Image(format!("the image has {} layers, which is too many", lower.len())));
    }
    // What a container leaves is never read again after a crash of the machine: nobody has to wait for the disk.
    let tries = [options(",volatile"), options("")];
    let mut last = Errno::INVAL;
    for options in &tries {
        let options =
            std::ffi::CString::new(options.as_str()).map_err(|_| Fault::at("overlay")(Errno::INVAL))?;
        match rustix::mount::mount("overlay", place, "overlay", MountFlags::NODEV, &*options) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(Fault::Host(last.into(), "overlay"))
}

fn inside(root: &OwnedFd, path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "." } else { path };
    rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// A folder in the root directory that is to be mounted on; made if it is not there. No link is followed: what is mounted
/// there must be there.
fn folder(root: &OwnedFd, name: &'static str) -> Result<OwnedFd, Fault> {
    let wrong = |_| Fault::Image(format!("/{name} of the image is no folder"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match inside(root, name, flags, 0) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)).map_err(Fault::at("folders"))?;
            inside(root, name, flags, 0).map_err(wrong)
        }
        Err(error) => Err(wrong(error)),
    }
}

/// The folder of a path and everything above it; made where it is missing.
fn make_folders(root: &OwnedFd, path: &str) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if let Ok(found) = inside(root, path, flags, 0) {
        return Ok(found);
    }
    let mut done = String::new();
    for step in path.split('/').filter(|step| !step.is_empty() && *step != ".") {
        let parent = inside(root, &done, flags, 0).map_err(|error| no_folder(&done, error))?;
        done.push('/');
        done.push_str(step);
        match rustix::fs::mkdirat(&parent, step, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(no_folder(&done, error)),
        }
    }
    inside(root, path, flags, 0).map_err(|error| no_folder(path, error))
}

fn no_folder(path: &str, error: Errno) -> Fault {
    match error {
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM => Fault::Host(error.into(), "folders"),
        other => Fault::Image(format!("{path:?} cannot be made a folder of the container: {other}")),
    }
}

/// Puts a file there in place of whatever is there, unless that is a folder.
fn put(parent: &OwnedFd, path: &str, mode: u32, content: &[u8]) -> Result<(), Fault> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let refused = |error: Errno| match error {
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM => Fault::Host(error.into(), "files"),
        other => Fault::Image(format!("the file {path:?} cannot be made in the container: {other}")),
    };
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(refused(error)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(refused)?;
    let mut file = File::from(fd);
    file.write_all(content).map_err(Fault::at("files"))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).map_err(refused)
}

fn write_etc(root: &OwnedFd, start: &Start) -> Result<(), Fault> {
    let etc = make_folders(root, "/etc")?;
    put(&etc, "/etc/hosts", 0o644, start.hosts.as_bytes())?;
    put(&etc, "/etc/hostname", 0o644, format!("{}\n", start.hostname).as_bytes())?;
    put(&etc, "/etc/resolv.conf", 0o644, start.resolv.as_bytes())
}

fn write_files(root: &OwnedFd, start: &Start, contents: &[u8]) -> Result<(), Fault> {
    let mut rest = contents;
    for file in &start.files {
        let cut = rest.split_at_checked(file.length);
        let (content, after) =
            cut.ok_or_else(|| Fault::at("files")(io::Error::from(io::ErrorKind::UnexpectedEof)))?;
        rest = after;
        let folder = file.path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let placed = make_folders(root, folder).and_then(|it| put(&it, &file.path, file.mode, content));
        placed.map_err(of_pull_profiles)?;
    }
    Ok(())
}

/// What users know these files as.
fn of_pull_profiles(fault: Fault) -> Fault {
    match fault {
        Fault::Image(why) => {
            Fault::Image(format!("the files of its pull profiles cannot be put into the container: {why}"))
        }
        host => host,
    }
}

/// Reads a small file of the container, whose root this is already. Whatever is no plain file is not there.
#[must_use]
pub fn read_small(path: &str) -> String {
    use std::io::Read as _;
    const MOST: u64 = 1024 * 1024;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return String::new() };
    let plain = rustix::fs::fstat(fd.as_fd())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut bytes = Vec::new();
    if !plain || File::from(fd).take(MOST).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
