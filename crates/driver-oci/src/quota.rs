//! Bounds that the file system itself keeps: project quotas of ext4 and xfs, where they are in force (`mount -o prjquota`).
//!
//! Each workload's own layer is a project. What is written beyond its bound fails with "disk quota exceeded"; nobody has to look.
//! Called by the control plane; nothing here relies on having one thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The kind of quota.
const PROJECT: u32 = 2;
const SET_QUOTA: u32 = 0x80_0008;
const GET_STATE: u32 = 0x5808;
/// Bounds of projects are in force.
const ENFORCED: u16 = 1 << 5;
/// `FS_IOC_FSGETXATTR`, `FS_IOC_FSSETXATTR`.
const GET_ATTRIBUTES: u64 = 0x801c_581f;
const SET_ATTRIBUTES: u64 = 0x401c_5820;
/// What is made in a folder belongs to its project.
const INHERIT: u32 = 0x200;
/// Our projects have numbers from here on, so that they meet nobody else's small ones.
const FIRST: u32 = 0x4000_0000;
/// Bounds of space and of files are set.
const BOTH: u32 = 1 | 4;
/// Blocks of bounds.
const BLOCK: u64 = 1024;

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Default)]
struct Bounds {
    blocks_hard: u64,
    blocks_soft: u64,
    space: u64,
    files_hard: u64,
    files_soft: u64,
    files: u64,
    space_time: u64,
    files_time: u64,
    valid: u32,
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent: u32,
    extents: u32,
    project: u32,
    cow_extent: u32,
    padding: [u8; 8],
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// Whether the file system of a folder keeps bounds of projects.
#[must_use]
pub fn is_enforced(folder: &Path) -> bool {
    // `struct fs_quota_statv` is shorter; its first byte is its version, its flags follow two bytes later.
    let mut state = [0_u64; 64];
    state[0] = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
    let Ok(folder) = open(folder) else { return false };
    // SAFETY: the kernel writes the structure, which is shorter, into a buffer that lives through the call.
    let asked = check(unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            folder.as_raw_fd(),
            (GET_STATE << 8) | PROJECT,
            0,
            state.as_mut_ptr(),
        )
    });
    let [_, _, low, high, ..] = state[0].to_ne_bytes();
    asked.is_ok() && u16::from_ne_bytes([low, high]) & ENFORCED != 0
}

/// Makes folders that are empty yet a project of their own, with these bounds.
///
/// # Errors
/// What the file system says.
pub fn bind(folders: &[&Path], bytes: u64, files: u64) -> io::Result<()> {
    let opened = folders.iter().map(|folder| open(folder)).collect::<io::Result<Vec<_>>>()?;
    let Some(first) = opened.first() else { return Ok(()) };
    let project = project_of(first.as_fd())?;
    set(first.as_fd(), project, bytes, files)?;
    for folder in &opened {
        let mut attributes = Attributes::default();
        // SAFETY: the structure is the one of this request, and lives through both calls.
        check(unsafe { libc::ioctl(folder.as_raw_fd(), GET_ATTRIBUTES, &raw mut attributes) }.into())?;
        attributes.project = project;
        attributes.flags |= INHERIT;
        // SAFETY: as above.
        check(unsafe { libc::ioctl(folder.as_raw_fd(), SET_ATTRIBUTES, &raw const attributes) }.into())?;
    }
    Ok(())
}

/// Takes the bounds away: the folders are about to be deleted.
///
/// # Errors
/// What the file system says.
pub fn forget(first: &Path) -> io::Result<()> {
    let folder = open(first)?;
    set(folder.as_fd(), project_of(folder.as_fd())?, 0, 0)
}

/// A number that nobody else has for as long as the folder is there.
fn project_of(folder: BorrowedFd<'_>) -> io::Result<u32> {
    let inode = rustix::fs::fstat(folder)?.st_ino;
    Ok(FIRST | u32::try_from(inode % u64::from(FIRST)).map_err(io::Error::other)?)
}

fn set(folder: BorrowedFd<'_>, project: u32, bytes: u64, files: u64) -> io::Result<()> {
    let bounds =
        Bounds { blocks_hard: bytes.div_ceil(BLOCK), files_hard: files, valid: BOTH, ..Bounds::default() };
    // SAFETY: the structure is the one of this request, which the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            folder.as_raw_fd(),
            (SET_QUOTA << 8) | PROJECT,
            project,
            &raw const bounds,
        )
    })
}
