//! Users of containers that are nobody on the host: a user namespace for each container, with a block of ids of its own, and the
//! files of its image seen through it.
//!
//! ```text
//! on the disk          in the container         on the host
//! 0      (root)   ◀──  0                   ──▶  first
//! 65535           ◀──  65535               ──▶  first + 65535
//!         └── mounts of the layers and of what is written, with mapped owners ──┘
//! ```
//!
//! The other namespaces stay the host's: not even all abilities of root in its own user namespace give a container power over its
//! network, its mounts or its name. Layers are shared by all containers, whatever their block is: nothing is copied or owned anew.
//!
//! Entry points: [`probe`] once, [`Block::take`] for each slot.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::config::{BLOCK, UserRange};
use crate::sys;

/// A block that is free is looked for so often; then one is shared.
const TRIES: u32 = 4096;
/// Where blocks are held, in the folder for what runs.
pub const FOLDER: &str = "users";
/// The ids of one container.
pub struct Block {
    /// What root inside is outside.
    pub first: u32,
    /// The namespace.
    pub namespace: OwnedFd,
    /// Held for as long as the supervisor lives; `None`: it is shared, since all were taken.
    lock: Option<File>,
}

impl Block {
    /// Takes a block, and makes a namespace of it. Looks from the number on, so that two seldom ask for the same.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take(run: &Path, range: UserRange, number: u32) -> io::Result<Self> {
        let folder = run.join(FOLDER);
        let lock = |index: u32| -> io::Result<Option<File>> {
            let file = File::create(folder.join(index.to_string()))?;
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let start = number % range.blocks;
        let mut taken = (start, None);
        for step in 0..range.blocks.min(TRIES) {
            let index = (start + step) % range.blocks;
            if let Some(file) = lock(index)? {
                taken = (index, Some(file));
                break;
            }
        }
        let first = range.first + taken.0 * BLOCK;
        Ok(Self { first, namespace: make(first)?, lock: taken.1 })
    }

    /// What holds the ids, for whoever goes on with the container.
    pub fn into_lock(self) -> Option<File> {
        self.lock
    }

    /// Holds the ids of a container that runs, whose supervisor was lost. Nothing, if it has the host's or somebody holds them.
    #[must_use]
    pub fn hold_again(run: &Path, range: UserRange, pid: i32) -> Option<File> {
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
        let outside: u32 = map.split_whitespace().nth(1)?.parse().ok()?;
        let index = outside.checked_sub(range.first)? / BLOCK;
        let file = File::create(run.join(FOLDER).join(index.to_string())).ok()?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(file)
    }

    /// A folder as the container's users own it, mounted at an empty folder. What is on the disk stays as it is.
    ///
    /// # Errors
    /// The kernel or the file system cannot do that.
    pub fn shifted(&self, folder: &Path, at: &Path) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(rustix::fs::CWD, folder, flags)?;
        sys::map_owners(tree.as_fd(), self.namespace.as_fd())?;
        // Older kernels make overlays of mounts that have a place only.
        let from_itself = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", rustix::fs::CWD, at, from_itself)?;
        Ok(tree)
    }
}

/// A user namespace with one block of ids. It lives for as long as somebody has it open.
fn make(first: u32) -> io::Result<OwnedFd> {
    let (waits, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let new = u64::try_from(libc::CLONE_NEWUSER).map_err(io::Error::other)?;
    let Some(child) = sys::split(new, None)? else {
        drop(release);
        // Nothing is ever written: it ends with the one who made it, or when it is no longer needed.
        let _ = rustix::io::read(&waits, &mut [0; 1]);
        sys::leave(0)
    };
    drop(waits);
    let proc = Path::new("/proc").join(child.pid.to_string());
    let map = format!("0 {first} {BLOCK}\n");
    let mapped = fs::write(proc.join("uid_map"), &map).and_then(|()| fs::write(proc.join("gid_map"), &map));
    let namespace = mapped.and_then(|()| Ok(OwnedFd::from(File::open(proc.join("ns/user"))?)));
    drop(release);
    rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    namespace
}

/// Whether the root of this process is another one than its mounts have. It is lost by asking.
fn had_changed_root() -> bool {
    let root = || fs::metadata("/").map(|found| (found.dev(), found.ino())).ok();
    let before = root();
    let Ok(own) = File::open("/proc/self/ns/mnt") else { return false };
    let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
    // Whoever enters mounts gets their root, also if they are his own.
    rustix::thread::move_into_link_name_space(own.as_fd(), kind).is_ok() && root() != before
}

/// Tries everything once, in a folder of the file system in question. To be called by a process with one thread that does nothing
/// else: it leaves its mount namespace.
///
/// # Errors
/// What this host cannot do, for people.
pub fn probe(range: UserRange, dir: &Path) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("user namespaces: {what}: {error}");
    let place = dir.join(format!(".probe-{}", std::process::id()));
    let folders = ["run/users", "box/upper", "box/work", "layer", "at/0", "at/1", "root"];
    for folder in folders {
        fs::create_dir_all(place.join(folder)).map_err(failed("a folder to try it in"))?;
    }
    let tried = (|| {
        // SAFETY: this process has one thread, and relies on no mount.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .map_err(|error| failed("mounts")(error.into()))?;
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|error| failed("mounts")(error.into()))?;
        let block = Block::take(&place.join("run"), range, 0)
            .map_err(failed("the kernel makes none (user.max_user_namespaces?)"))?;
        let unmapped = "this file system does not map owners (ext4, xfs or btrfs is needed)";
        let layer = block.shifted(&place.join("layer"), &place.join("at/0")).map_err(failed(unmapped))?;
        let own = block.shifted(&place.join("box"), &place.join("at/1")).map_err(failed(unmapped))?;
        sys::own_new_files(block.first).map_err(failed("file ids"))?;
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{1}/upper,workdir=/proc/self/fd/{1}/work",
            layer.as_raw_fd(),
            own.as_raw_fd()
        );
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        let root = place.join("root");
        rustix::mount::mount("overlay", &root, "overlay", MountFlags::NODEV, &*options).map_err(|error| {
            failed("no overlay over mapped owners (Linux 5.19 or later is needed)")(error.into())
        })?;
        let owner = |path: &Path| fs::metadata(path).map(|found| found.uid());
        fs::write(root.join("file"), "x").map_err(failed("writing"))?;
        let seen = owner(&root.join("file")).map_err(failed("reading"))?;
        let kept = owner(&place.join("box/upper/file")).map_err(failed("reading"))?;
        if (seen, kept) == (block.first, 0) {
            Ok(())
        } else {
            Err(format!("user namespaces: a file of root is owned by {seen} above and {kept} below"))
        }
    })();
    // Its mounts are in a namespace that ends with this process; the folders below them are free outside.
    let _ = rustix::mount::unmount(place.join("root"), rustix::mount::UnmountFlags::DETACH);
    for at in ["at/0", "at/1"] {
        let _ = rustix::mount::unmount(place.join(at), rustix::mount::UnmountFlags::DETACH);
    }
    let _ = fs::remove_dir_all(&place);
    tried.map_err(|text| {
        let hint = if had_changed_root() { "; the kernel makes none in a changed root (chroot)" } else { "" };
        text + hint
    })
}
