//! A directory tree that is written into by hostile names: nothing here ever leaves it.
//!
//! Every path is walked component by component from the tree's own root, symbolic links are followed as if that root were `/`
//! (as Docker's chroot does), and nothing is opened through a link that was not looked at. The tree is private to its maker while it is
//! made, so nobody changes it between two steps.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmodat, mkdirat, openat, readlinkat, statat};
use rustix::io::Errno;

/// The longest name of an archive.
const MAX_PATH: usize = 4096;
/// The deepest directory.
const MAX_DEPTH: usize = 256;
/// Symbolic links that are followed on one way.
const MAX_LINKS: usize = 40;

/// Directories are opened for looking and walking only.
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A path inside of a tree: no `.`, no `..`, no empty component, not absolute.
pub type Inside = Vec<Vec<u8>>;

/// Makes a name of an archive a path inside of the tree.
///
/// # Errors
/// A sentence: it leads out of the tree, or is too long.
pub fn inside(name: &[u8]) -> Result<Inside, &'static str> {
    if name.len() > MAX_PATH {
        return Err("a name is longer than 4096 bytes");
    }
    let mut path = Inside::new();
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                path.pop().ok_or("a name leads out of the image")?;
            }
            other if other.contains(&0) => return Err("a name contains a zero byte"),
            other => path.push(other.to_vec()),
        }
    }
    if path.len() > MAX_DEPTH {
        return Err("a directory is too deep");
    }
    Ok(path)
}

/// The path as bytes, for sets and messages.
pub fn joined(path: &[Vec<u8>]) -> Vec<u8> {
    path.join(&b'/')
}

/// Why a walk did not arrive.
#[derive(Debug)]
pub enum WalkError {
    /// There is nothing at this place (and nothing was to be made).
    Absent,
    /// Something that is neither a directory nor a link to one is in the way. Its parent and name are given.
    Blocked(Place),
    /// The tree breaks a bound.
    Bad(&'static str),
    /// The disk said no.
    Io(io::Error),
}

impl From<Errno> for WalkError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A directory in the tree.
#[derive(Clone, Debug)]
pub struct Place {
    /// It, opened with `O_PATH`.
    pub dir: Rc<OwnedFd>,
    /// Where it really is.
    pub path: Inside,
    /// What was missing or in the way, where that is what is told.
    pub name: Vec<u8>,
}

/// A tree.
pub struct Tree {
    root: Rc<OwnedFd>,
    /// Directories that had to be made on the way, since nothing in the archive described them.
    pub made: Vec<Inside>,
}

impl Tree {
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(root, WALK, Mode::empty())?;
        Ok(Self { root: Rc::new(root), made: Vec::new() })
    }

    /// Walks to a directory; makes what is missing (0755, root's) if asked to.
    pub fn walk(&mut self, path: &[Vec<u8>], make: bool) -> Result<Place, WalkError> {
        let mut stack: Vec<(Rc<OwnedFd>, Vec<u8>)> = Vec::new();
        let mut todo: VecDeque<Vec<u8>> = path.iter().cloned().collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    stack.pop();
                    continue;
                }
                _ => {}
            }
            let at = stack.last().map_or_else(|| Rc::clone(&self.root), |(fd, _)| Rc::clone(fd));
            let next = match openat(&*at, &name[..], WALK, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if !make => return Err(WalkError::Absent),
                Err(Errno::NOENT) => {
                    make_dir(&at, &name)?;
                    let fd = openat(&*at, &name[..], WALK, Mode::empty())?;
                    let mut path: Inside = stack.iter().map(|(_, name)| name.clone()).collect();
                    path.push(name.clone());
                    self.made.push(path);
                    fd
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let Ok(target) = readlinkat(&*at, &name[..], Vec::new()) else {
                        let path = stack.into_iter().map(|(_, name)| name).collect();
                        return Err(WalkError::Blocked(Place { dir: at, path, name }));
                    };
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(WalkError::Bad("symbolic links lead in a circle"));
                    }
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        stack.clear();
                    }
                    for part in target.split(|b| *b == b'/').rev() {
                        todo.push_front(part.to_vec());
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            stack.push((Rc::new(next), name));
            if stack.len() > MAX_DEPTH {
                return Err(WalkError::Bad("a directory is too deep"));
            }
        }
        let dir = stack.last().map_or_else(|| Rc::clone(&self.root), |(fd, _)| Rc::clone(fd));
        Ok(Place { dir, path: stack.into_iter().map(|(_, name)| name).collect(), name: Vec::new() })
    }
}

/// A directory as one that nothing describes is made, whatever this process's umask is.
pub fn make_dir(at: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    mkdirat(at, name, Mode::from_raw_mode(0o755))?;
    chmodat(at, name, Mode::from_raw_mode(0o755), AtFlags::empty())
}

impl Place {
    /// What is under a name here, links not followed.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match statat(&*self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A path of the host that leads to a name here, whatever it is. Its last component is not to be followed.
    pub fn host_path(&self, name: &[u8]) -> PathBuf {
        host_path(self.dir.as_fd(), name)
    }

    /// A path inside of the tree.
    pub fn child(&self, name: &[u8]) -> Inside {
        let mut path = self.path.clone();
        path.push(name.to_vec());
        path
    }
}

/// A path of the host that leads to a name in an open directory; to the directory itself if the name is `.`.
pub fn host_path(dir: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(std::ffi::OsStr::from_bytes(name));
    path
}

/// Whether it is overlayfs's sign for: the file below is gone.
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
