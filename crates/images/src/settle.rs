//! Settles what of a layer depends on those below it, as a mount of them would show it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lgetxattr, linkat, llistxattr, lsetxattr, mknodat, openat, readlinkat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::tree::{Inside, Place, Tree, WalkError, is_dir, is_whiteout};
use crate::unpack::{Budget, OPAQUE, Pending, failed, is_taken, set_times, shown, walk_error};
use crate::{PullError, StoreError};

/// Something in the layers below.
struct Below {
    place: Place,
    name: Vec<u8>,
    stat: Stat,
}

/// Looks things up in the layers below, highest first.
struct Lowers {
    trees: Vec<Tree>,
}

impl Lowers {
    fn open(lowers: &[PathBuf]) -> Result<Self, StoreError> {
        let open = |path: &PathBuf| Tree::open(path).map_err(|e| StoreError::io("open", path, &e));
        Ok(Self { trees: lowers.iter().rev().map(open).collect::<Result<_, _>>()? })
    }

    /// What a mount of the layers would show under a path; links are not followed.
    fn find(&mut self, path: &[Vec<u8>]) -> Result<Option<Below>, PullError> {
        let Some((last, parents)) = path.split_last() else { return Ok(None) };
        // Directories that are shown as one at this depth, highest first.
        let mut dirs: Vec<Place> = Vec::new();
        for tree in &mut self.trees {
            dirs.push(tree.walk(&[], false).map_err(|e| walk_error(path, e))?);
        }
        for name in parents {
            let mut next = Vec::new();
            for dir in &dirs {
                let Some(stat) = dir.stat(name).map_err(|e| failed(path, &e))? else { continue };
                if !is_dir(&stat) {
                    break;
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(&*dir.dir, &name[..], flags, Mode::empty())
                    .map_err(|e| failed(path, &e.into()))?;
                next.push(Place { dir: std::rc::Rc::new(fd), path: dir.child(name), name: Vec::new() });
                if is_opaque(dir, name) {
                    break;
                }
            }
            dirs = next;
        }
        for place in dirs {
            if let Some(stat) = place.stat(last).map_err(|e| failed(path, &e))? {
                return Ok((!is_whiteout(&stat)).then(|| Below { place, name: last.clone(), stat }));
            }
        }
        Ok(None)
    }
}

fn is_opaque(place: &Place, name: &[u8]) -> bool {
    let mut value = [0; 1];
    lgetxattr(place.host_path(name), OPAQUE, &mut value[..]).is_ok_and(|n| n == 1 && value == *b"y")
}

/// Whether a directory above hides all that is below it.
fn is_cut_off(tree: &mut Tree, path: &[Vec<u8>]) -> bool {
    (1..path.len()).any(|depth| tree.walk(&path[..depth], false).is_ok_and(|place| is_opaque(&place, b".")))
}

/// Settles a layer that was unpacked into `layer`. `lowers` are those below it, lowest first.
pub fn settle(
    layer: &Path,
    pending: Pending,
    lowers: &[PathBuf],
    budget: &dyn Budget,
) -> Result<u64, PullError> {
    let mut tree = Tree::open(layer).map_err(|e| StoreError::io("open", layer, &e))?;
    let mut below = Lowers::open(lowers)?;
    for path in &pending.whiteouts {
        if is_cut_off(&mut tree, path) || below.find(path)?.is_none() {
            // In a directory that only one layer has, overlayfs would list it.
            let (place, name) = locate(&mut tree, path)?;
            unlinkat(&*place.dir, name, AtFlags::empty()).map_err(|e| failed(path, &e.into()))?;
        }
    }
    let bytes = links(&mut tree, &mut below, &pending.links, budget)?;
    set_times(&mut tree, &pending.times)?;
    let made: Vec<Inside> = pending.made.into_iter().chain(tree.made.clone()).collect();
    // Deepest first: giving a directory its time must be the last thing that happens in it.
    for path in made.iter().rev() {
        let Some(found) = below.find(path)?.filter(|found| is_dir(&found.stat)) else { continue };
        let (place, name) = locate(&mut tree, path)?;
        dress_like(&found, &place, name).map_err(|e| failed(path, &e))?;
    }
    Ok(bytes)
}

fn locate<'p>(tree: &mut Tree, path: &'p [Vec<u8>]) -> Result<(Place, &'p [u8]), PullError> {
    let Some((name, parents)) = path.split_last() else { return Err(PullError::refused("/ is no file")) };
    Ok((tree.walk(parents, true).map_err(|e| walk_error(path, e))?, name))
}

/// Makes hard links to what this layer did not have when they were met: now it has it, or a layer below has.
fn links(
    tree: &mut Tree,
    below: &mut Lowers,
    links: &BTreeMap<Inside, Inside>,
    budget: &dyn Budget,
) -> Result<u64, PullError> {
    let mut bytes = 0;
    for (path, target) in links {
        let own = match tree.walk(&target[..target.len().saturating_sub(1)], false) {
            Ok(at) => at.stat(last(target)).map_err(|e| failed(path, &e))?.filter(|stat| !is_whiteout(stat)),
            Err(WalkError::Absent | WalkError::Blocked(_)) => None,
            Err(error) => return Err(walk_error(target, error)),
        };
        if own.is_none() {
            let Some(found) = below.find(target)?.filter(|found| !is_dir(&found.stat)) else {
                let gone = format!("a hard link leads to {}, which is no file here or below", shown(target));
                return Err(PullError::refused(gone));
            };
            let size = u64::try_from(found.stat.st_size).unwrap_or(0);
            budget.take(1, size)?;
            bytes += size;
            // As overlayfs does when it links to a file of a lower layer.
            let (place, name) = locate(tree, target)?;
            copy_up(&found, &place, name).map_err(|e| failed(target, &e))?;
        }
        let (from, old) = locate(tree, target)?;
        let (to, new) = locate(tree, path)?;
        linkat(&*from.dir, old, &*to.dir, new, AtFlags::empty()).map_err(|e| failed(path, &e.into()))?;
    }
    Ok(bytes)
}

fn last(path: &[Vec<u8>]) -> &[u8] {
    path.last().map_or(b"", Vec::as_slice)
}

fn copy_up(from: &Below, place: &Place, name: &[u8]) -> io::Result<()> {
    match place.stat(name)? {
        Some(stat) if is_whiteout(&stat) => unlinkat(&*place.dir, name, AtFlags::empty())?,
        _ => {}
    }
    let kind = FileType::from_raw_mode(from.stat.st_mode);
    match kind {
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let write = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = File::from(openat(&*from.place.dir, &from.name[..], read, Mode::empty())?);
            let mut copy = File::from(openat(&*place.dir, name, write, Mode::from_raw_mode(0o600))?);
            io::copy(&mut source, &mut copy)?;
        }
        FileType::Symlink => {
            let target = readlinkat(&*from.place.dir, &from.name[..], Vec::new())?;
            symlinkat(&*target, &*place.dir, name)?;
        }
        other => mknodat(&*place.dir, name, other, Mode::from_raw_mode(0o600), from.stat.st_rdev)?,
    }
    dress_like(from, place, name)
}

fn dress_like(from: &Below, place: &Place, name: &[u8]) -> io::Result<()> {
    let stat = &from.stat;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(&*place.dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(&*place.dir, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    copy_xattrs(&from.place.host_path(&from.name), &place.host_path(name))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(&*place.dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let n = match llistxattr(from, &mut names[..]) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..n].split(|b| *b == 0).filter(|name| is_taken(name)) {
        let mut value = vec![0_u8; 64 << 10];
        let n = lgetxattr(from, name, &mut value[..])?;
        lsetxattr(to, name, &value[..n], XattrFlags::empty())?;
    }
    Ok(())
}
