//! Unpacks one layer into a directory in overlayfs's form.
//!
//! What depends on the layers below ([`Pending`]) is noted and settled later (`settle.rs`), so that layers are unpacked at the same time.
//!
//! Order of names in an archive: what comes later replaces what came before; a whiteout never hides what its own layer has, but a directory
//! that stands beside one hides what was below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, linkat,
    lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::archive::{Entry, Kind, Reader};
use crate::tree::{Inside, Place, Tree, WalkError, inside, is_dir, is_whiteout, joined, make_dir};
use crate::{PullError, RootAttributes, StoreError};

/// The sign that hides what a directory had below.
pub const OPAQUE: &str = "trusted.overlay.opaque";
const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const CHUNK: usize = 256 << 10;

/// What one image may still use.
pub trait Budget {
    /// Takes files and bytes, or says that there are too many.
    ///
    /// # Errors
    /// The image is too large.
    fn take(&self, files: u64, bytes: u64) -> Result<(), PullError>;
}

/// What depends on the layers below.
#[derive(Debug, Default)]
pub struct Pending {
    /// Directories that the layer does not describe: they must look as below.
    pub made: BTreeSet<Inside>,
    /// Names that hide something below, if it is there.
    pub whiteouts: BTreeSet<Inside>,
    /// Hard links (path, target) to what the layer does not have.
    pub links: BTreeMap<Inside, Inside>,
    /// Times of the directories that the layer describes: settling may change them.
    pub times: BTreeMap<Inside, Timestamps>,
}

impl Pending {
    /// Whether the layer is the same whatever is below.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.whiteouts.is_empty() && self.links.is_empty()
    }

    fn forget(&mut self, path: &Inside) {
        self.made.retain(|p| !p.starts_with(path));
        self.whiteouts.retain(|p| !p.starts_with(path));
        self.links.retain(|p, _| !p.starts_with(path));
        self.times.retain(|p, _| !p.starts_with(path));
    }
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    pub files: u64,
    pub bytes: u64,
    /// What the layer says of `/`, if anything.
    pub root: Option<RootAttributes>,
    pub pending: Pending,
}

/// Unpacks an archive into an empty directory.
pub fn unpack(
    archive: &mut Reader<impl Read>,
    into: &Path,
    budget: &dyn Budget,
) -> Result<Unpacked, PullError> {
    let tree = Tree::open(into).map_err(|e| StoreError::io("open", into, &e))?;
    let mut unpacker =
        Unpacker { tree, done: Unpacked::default(), near: None, budget, buffer: vec![0; CHUNK] };
    while let Some(entry) = archive.next().map_err(read_error)? {
        unpacker.entry(&entry, archive)?;
    }
    unpacker.finish()
}

/// What reading an archive failed of: its content, or what is behind it.
pub fn read_error(error: io::Error) -> PullError {
    let text = error.to_string();
    match error.downcast::<PullError>() {
        Ok(inner) => inner,
        Err(_) => PullError::refused(format!("a layer cannot be read: {text}")),
    }
}

struct Unpacker<'a> {
    tree: Tree,
    done: Unpacked,
    /// The directory of the last entry, by the name that led there.
    near: Option<(Inside, Place)>,
    budget: &'a dyn Budget,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), PullError> {
        let mut path = inside(&entry.path).map_err(PullError::refused)?;
        let Some(name) = path.pop() else { return self.root(entry) };
        if name.len() > 255 {
            return Err(PullError::refused("a file's name is longer than 255 bytes"));
        }
        self.budget.take(1, if entry.kind == Kind::File { entry.size } else { 0 })?;
        self.done.files += 1;
        if name == WHITEOUT_OPAQUE {
            let place = self.parent(path)?;
            return self.opaque(&place, b".");
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let place = self.parent(path)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&place, hidden);
        }
        let hides = self.clear(&place, &name, entry.kind)?;
        self.create(&place, &name, entry, data)?;
        if entry.kind == Kind::Directory && hides {
            self.opaque_child(&place, &name)?;
        }
        Ok(())
    }

    /// What the archive says of `/`.
    fn root(&mut self, entry: &Entry) -> Result<(), PullError> {
        if entry.kind != Kind::Directory {
            return Err(PullError::refused("/ is not a directory"));
        }
        self.done.root = Some(RootAttributes { mode: entry.mode, uid: entry.uid, gid: entry.gid });
        let place = self.parent(Inside::new())?;
        dress(&place, b".", entry).map_err(|e| failed(&[], &e))
    }

    /// The directory that a path leads to; made if it is missing.
    fn parent(&mut self, path: Inside) -> Result<Place, PullError> {
        if let Some((near, place)) = &self.near
            && *near == path
        {
            return Ok(place.clone());
        }
        let place = loop {
            match self.tree.walk(&path, true) {
                Ok(place) => break place,
                Err(WalkError::Blocked(at)) => self.unblock(&at)?,
                Err(error) => return Err(walk_error(&path, error)),
            }
        };
        let made = std::mem::take(&mut self.tree.made);
        self.budget.take(made.len() as u64, 0)?;
        self.done.pending.made.extend(made);
        self.near = Some((path, place.clone()));
        Ok(place)
    }

    /// A whiteout on the way means: a new directory, with nothing from below.
    fn unblock(&mut self, at: &Place) -> Result<(), PullError> {
        let path = at.child(&at.name);
        if !self.done.pending.whiteouts.remove(&path) {
            return Err(PullError::refused(format!("{} is no directory, but has files", shown(&path))));
        }
        let replaced =
            unlinkat(&*at.dir, &at.name[..], AtFlags::empty()).and_then(|()| make_dir(&at.dir, &at.name));
        replaced.map_err(|e| failed(&path, &e.into()))?;
        self.done.pending.made.insert(path);
        self.opaque_child(at, &at.name)
    }

    /// Makes room for an entry. Tells whether a whiteout was there.
    fn clear(&mut self, place: &Place, name: &[u8], kind: Kind) -> Result<bool, PullError> {
        let path = place.child(name);
        let Some(stat) = place.stat(name).map_err(|e| failed(&path, &e))? else { return Ok(false) };
        if is_dir(&stat) && kind == Kind::Directory {
            self.done.pending.made.remove(&path);
            return Ok(false);
        }
        self.near = None;
        let removed = if is_dir(&stat) {
            std::fs::remove_dir_all(place.host_path(name))
        } else {
            unlinkat(&*place.dir, name, AtFlags::empty()).map_err(io::Error::from)
        };
        removed.map_err(|e| failed(&path, &e))?;
        self.done.pending.forget(&path);
        Ok(is_whiteout(&stat))
    }

    fn create(
        &mut self,
        place: &Place,
        name: &[u8],
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), PullError> {
        let path = place.child(name);
        let dir = &*place.dir;
        let private = Mode::from_raw_mode(0o600);
        let node = |kind, device| mknodat(dir, name, kind, private, device);
        let made = match entry.kind {
            Kind::File => return self.file(place, name, entry, data),
            Kind::Link => return self.link(place, name, entry),
            Kind::Symlink if entry.link.is_empty() => {
                return Err(PullError::refused("a symbolic link is empty"));
            }
            Kind::Symlink => symlinkat(&entry.link[..], dir, name),
            Kind::Directory => match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) => Ok(()),
                other => other,
            },
            Kind::Char | Kind::Block if entry.device == (0, 0) => {
                return Err(PullError::refused("a device node has the number of a whiteout"));
            }
            Kind::Char => node(FileType::CharacterDevice, makedev(entry.device.0, entry.device.1)),
            Kind::Block => node(FileType::BlockDevice, makedev(entry.device.0, entry.device.1)),
            Kind::Fifo => node(FileType::Fifo, 0),
        };
        made.map_err(io::Error::from)
            .and_then(|()| dress(place, name, entry))
            .map_err(|e| failed(&path, &e))?;
        if entry.kind == Kind::Directory {
            self.done.pending.times.insert(path, times(entry));
        }
        Ok(())
    }

    fn file(
        &mut self,
        place: &Place,
        name: &[u8],
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), PullError> {
        let path = place.child(name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&*place.dir, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| failed(&path, &e.into()))?;
        let file = File::from(fd);
        let whole = [(0, entry.size)];
        for (start, length) in entry.pieces.as_deref().unwrap_or(&whole) {
            let (mut at, end) = (*start, start + length);
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let n = data.read(&mut self.buffer[..most]).map_err(read_error)?;
                if n == 0 {
                    return Err(PullError::refused("a layer ends in the middle of a file"));
                }
                file.write_all_at(&self.buffer[..n], at).map_err(|e| failed(&path, &e))?;
                at += n as u64;
            }
        }
        if entry.pieces.is_some() {
            file.set_len(entry.size).map_err(|e| failed(&path, &e))?;
        }
        self.done.bytes += entry.size;
        dress(place, name, entry).map_err(|e| failed(&path, &e))
    }

    fn link(&mut self, place: &Place, name: &[u8], entry: &Entry) -> Result<(), PullError> {
        let path = place.child(name);
        let target = inside(&entry.link).map_err(PullError::refused)?;
        let Some((last, parents)) = target.split_last() else {
            return Err(PullError::refused("a hard link leads to a directory"));
        };
        let found = match self.tree.walk(parents, false) {
            Ok(at) => {
                let stat = at.stat(last).map_err(|e| failed(&path, &e))?;
                stat.filter(|stat| !is_whiteout(stat)).map(|stat| (at, stat))
            }
            Err(WalkError::Absent | WalkError::Blocked(_)) => None,
            Err(error) => return Err(walk_error(&target, error)),
        };
        match found {
            None => {
                self.done.pending.links.insert(path, target);
                Ok(())
            }
            Some((_, stat)) if is_dir(&stat) => Err(PullError::refused("a hard link leads to a directory")),
            Some((at, _)) => linkat(&*at.dir, &last[..], &*place.dir, name, AtFlags::empty())
                .map_err(|e| failed(&path, &e.into())),
        }
    }

    fn whiteout(&mut self, place: &Place, hidden: &[u8]) -> Result<(), PullError> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(PullError::refused("a whiteout hides a directory's own entries"));
        }
        let path = place.child(hidden);
        match place.stat(hidden).map_err(|e| failed(&path, &e))? {
            Some(stat) if is_dir(&stat) => self.opaque_child(place, hidden),
            Some(_) => Ok(()),
            None => {
                put_whiteout(place, hidden).map_err(|e| failed(&path, &e))?;
                self.done.pending.whiteouts.insert(path);
                Ok(())
            }
        }
    }

    fn opaque_child(&self, place: &Place, name: &[u8]) -> Result<(), PullError> {
        let path = place.host_path(name);
        lsetxattr(&path, OPAQUE, b"y", XattrFlags::empty()).map_err(|e| failed(&place.child(name), &e.into()))
    }

    fn opaque(&self, place: &Place, name: &[u8]) -> Result<(), PullError> {
        if place.path.is_empty() {
            return Err(PullError::refused("/ cannot hide what is below it"));
        }
        self.opaque_child(place, name)
    }

    fn finish(mut self) -> Result<Unpacked, PullError> {
        set_times(&mut self.tree, &self.done.pending.times)?;
        Ok(self.done)
    }
}

/// Sets directories' times, after everything in them has been made.
pub fn set_times(tree: &mut Tree, times: &BTreeMap<Inside, Timestamps>) -> Result<(), PullError> {
    for (path, times) in times {
        let place = tree.walk(path, false).map_err(|e| walk_error(path, e))?;
        let set = utimensat(&*place.dir, ".", times, AtFlags::empty());
        set.map_err(|e| failed(path, &e.into()))?;
    }
    Ok(())
}

/// Makes the sign that a name below is gone.
pub fn put_whiteout(place: &Place, name: &[u8]) -> io::Result<()> {
    Ok(mknodat(&*place.dir, name, FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// Owner first: changing it takes away set-user-id bits and capabilities.
fn dress(place: &Place, name: &[u8], entry: &Entry) -> io::Result<()> {
    let dir = &*place.dir;
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if entry.kind != Kind::Symlink {
        // What was just made under this name is no link.
        chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_taken(key)) {
        match lsetxattr(place.host_path(name), &key[..], value, XattrFlags::empty()) {
            // Users' attributes exist on files and directories only; some file systems have none.
            Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM) if key.starts_with(b"user.") => {}
            other => other?,
        }
    }
    Ok(utimensat(dir, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Attributes that images may bring. Not those by which overlayfs or the machine's security modules are steered.
pub fn is_taken(key: &[u8]) -> bool {
    let user = key.starts_with(b"user.") && !key.starts_with(b"user.overlay.");
    let acl = key.starts_with(b"system.posix_acl_");
    !key.contains(&0) && (user || acl || key == b"security.capability")
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// A path as a message may hold it.
pub fn shown(path: &[Vec<u8>]) -> String {
    let text = String::from_utf8_lossy(&joined(path)).into_owned();
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(200).collect()
}

pub fn walk_error(path: &[Vec<u8>], error: WalkError) -> PullError {
    match error {
        WalkError::Absent => PullError::refused(format!("{} is not there", shown(path))),
        WalkError::Blocked(_) => PullError::refused(format!("{} leads through a file", shown(path))),
        WalkError::Bad(why) => PullError::refused(why),
        WalkError::Io(error) => failed(path, &error),
    }
}

/// The disk said no to a file of a layer.
pub fn failed(path: &[Vec<u8>], error: &io::Error) -> PullError {
    if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) {
        return PullError::refused("a file's name is too long");
    }
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied => "unpack (images are unpacked by root)",
        _ => "unpack",
    };
    StoreError::Io { what: format!("{what} /{}", shown(path)), kind: error.kind(), detail: error.to_string() }
        .into()
}

#[cfg(test)]
mod tests;
