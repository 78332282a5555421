//! The system calls that no safe crate offers: fork and `clone3`, exec, filters of system calls, signals.
//!
//! Everything here is called from processes with one thread (the zygote and its children), never from the control plane,
//! unless its text says otherwise.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `clone3` knows it since Linux 5.7; the C library's constants do not fit its field of 64 bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What `clone3` takes (`struct clone_args`, as of Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child process, as its parent sees it.
pub struct Child {
    /// Its number in the parent's namespace.
    pub pid: i32,
    /// A handle that stays its own.
    pub pidfd: OwnedFd,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Splits the process into two; `None` in the child. New namespaces by `flags` (`CLONE_NEW…`); the child begins in the
/// control group of v2, if one is given.
///
/// # Errors
/// What the kernel says.
pub fn split(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let signal = u64::try_from(libc::SIGCHLD).unwrap_or(17);
    let mut args = CloneArgs {
        flags: flags | u64::try_from(libc::CLONE_PIDFD).unwrap_or(0x1000),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: signal,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(0);
    }
    // SAFETY: the arguments are a valid `clone_args` of the size given, and outlive the call. No stack is given and memory
    // is not shared, so the child goes on from here on a copy, as after fork; the caller has one thread only, so nothing in
    // that copy (locks of the allocator, above all) is held by a thread that is missing there.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the kernel has just stored a new descriptor there, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid, pidfd }))
}

/// Becomes another program. Comes back only if that failed.
pub fn exec(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |texts: &[CString]| {
        let mut pointers: Vec<*const libc::c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with a null pointer, all texts end with a null byte, and all live until the call returns.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without running what others have registered for its end.
pub fn leave(code: i32) -> ! {
    // SAFETY: it does not return, and touches nothing.
    unsafe { libc::_exit(code) }
}

/// All signals as they are by default, none blocked.
pub fn reset_signals() {
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the default action needs no handler. The C library refuses its own two, which is as well.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // SAFETY: an all-zero set is made valid by `sigemptyset` before it is used; nothing is read back.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores these signals.
pub fn ignore_signals(signals: &[i32]) {
    for signal in signals {
        // SAFETY: ignoring needs no handler.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// A descriptor that becomes readable when a child ends.
///
/// # Errors
/// What the kernel says.
pub fn children_fd() -> io::Result<OwnedFd> {
    // SAFETY: the set is made valid by `sigemptyset` before it is used; the descriptor that comes back is new.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Puts a filter of system calls over this process and all that it becomes. It must not be able to gain privileges any more.
///
/// # Errors
/// The kernel has no such filters, or refuses this one.
pub fn filter_calls(filter: &[libc::sock_filter]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const SPECULATION_AS_ELSEWHERE: libc::c_uint = 4;
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in [SPECULATION_AS_ELSEWHERE, 0] {
        // SAFETY: the program's pointer and length describe the slice, which the kernel only reads.
        match check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) }) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Lets everything below a mount that has no place yet be owned by the users of a namespace.
///
/// # Errors
/// The kernel or the file system cannot do that.
pub fn map_owners(tree: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    /// `struct mount_attr`, as of Linux 5.12.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        users: u64,
    }
    const MAP: u64 = 0x10_0000;
    let users = u64::try_from(users.as_raw_fd()).map_err(io::Error::other)?;
    let attributes = Attributes { set: MAP, clear: 0, propagation: 0, users };
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty text, the attributes have the size that is given; the kernel only reads both.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// Lets files that this process makes be owned by this user and group; what it may do stays as it was.
///
/// # Errors
/// What the kernel says.
pub fn own_new_files(id: u32) -> io::Result<()> {
    let before = rustix::thread::capabilities(None)?;
    // The calls tell nothing but the id before; asked with what is no id, they tell the present one.
    // SAFETY: they touch the credentials of this thread, the only one.
    let now = unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
        (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
    };
    if (u32::try_from(now.0), u32::try_from(now.1)) != (Ok(id), Ok(id)) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // Whoever leaves root for files loses what overrides their owners with it.
    Ok(rustix::thread::set_capabilities(None, before)?)
}

/// A session keyring of its own: keys of whoever started us stay there.
pub fn leave_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new keyring without one. Kernels without keys have none to lose.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Makes `number` another name of a descriptor, in place of what it was. It survives an exec.
///
/// # Errors
/// What the kernel says.
pub fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<RawFd> {
    // SAFETY: only the standard descriptors are overwritten by callers, which nobody owns.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Closes every descriptor but 0, 1, 2 and this one. What else is open must have been let go of, or never be used again:
/// callers become another program or end.
///
/// # Errors
/// The kernel is older than 5.9.
pub fn close_all_but_standard_and(kept: u32) -> io::Result<()> {
    let close = |first: u32, last: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: the callers are about to become another program, and use none of these any more.
        check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
    };
    close(3, kept.saturating_sub(1))?;
    close(kept.saturating_add(1), u32::MAX)
}

/// Closes a descriptor in a child that inherited it. Whoever owns it there must never be dropped.
pub fn close_one(number: RawFd) {
    // SAFETY: the callers never return to the code that owns it: they end the process.
    unsafe { libc::close(number) };
}

/// From now on processes below this one whose parent has ended are its own: it hears how they end.
///
/// # Errors
/// What the kernel says.
pub fn take_orphans() -> io::Result<()> {
    // SAFETY: it changes whose child an orphan becomes, and nothing else.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into()).map(drop)
}

/// Lets the control plane's runtime tell when a descriptor can be read.
///
/// # Errors
/// What the kernel says.
pub fn readable(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, open, and stays the same one for as long as it is registered.
    let registered =
        unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    Ok(registered?)
}
