//! Compares file trees: what a mount of our layers shows, and what Docker shows of a container.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use spawnpoint_images::{Digest, Image};

/// Everything about a file that is compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    /// Content's digest, link's target, or device number.
    what: String,
    /// Hard links to it, for files.
    links: u64,
    capability: Vec<u8>,
    /// Not of directories: Docker makes files in some when it starts a container.
    mtime: i64,
}

/// What Docker puts into a container, or over it.
const DOCKERS: &[&str] =
    &[".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"];

/// The tree under a directory, without what Docker adds.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            if DOCKERS.iter().any(|docker| Path::new(docker) == path) {
                continue;
            }
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            if meta.is_dir() {
                todo.push(path.clone());
            }
            nodes.insert(path.clone(), node(&root.join(&path), &meta));
        }
    }
    nodes
}

fn node(path: &Path, meta: &fs::Metadata) -> Node {
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        String::from_utf8_lossy(fs::read_link(path).unwrap().as_os_str().as_bytes()).into_owned()
    } else if kind.is_file() {
        Digest::of(&fs::read(path).unwrap()).to_string()
    } else if kind.is_char_device() || kind.is_block_device() {
        meta.rdev().to_string()
    } else {
        String::new()
    };
    let mut capability = vec![0; 64];
    let n = rustix::fs::lgetxattr(path, "security.capability", &mut capability[..]).unwrap_or(0);
    capability.truncate(n);
    Node {
        kind: format!("{kind:?}"),
        mode: meta.permissions().mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        what,
        links: if kind.is_file() { meta.nlink() } else { 0 },
        capability,
        mtime: if kind.is_dir() { 0 } else { meta.mtime() },
    }
}

/// What differs, for a message; nothing if they are equal.
pub fn differences(ours: &BTreeMap<PathBuf, Node>, theirs: &BTreeMap<PathBuf, Node>) -> Vec<String> {
    let mut found = Vec::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        let (our, their) = (ours.get(path), theirs.get(path));
        // Docker makes /etc in an image that has none.
        if our != their && !(our.is_none() && path == Path::new("etc")) {
            found.push(format!("{}: ours {our:?}, Docker's {their:?}", path.display()));
        }
    }
    found
}

/// A mount of an image, with an empty upper directory, as a container has it.
pub struct Mount {
    pub root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mount {
    pub fn new(image: &Image) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (upper, work, root) = (at("upper"), at("work"), at("root"));
        fs::set_permissions(&upper, fs::Permissions::from_mode(image.root.mode)).unwrap();
        std::os::unix::fs::chown(&upper, Some(image.root.uid), Some(image.root.gid)).unwrap();
        // Highest first; relative names, since a mount's options are short.
        let store = image.layers[0].parent().unwrap().parent().unwrap();
        let names =
            image.layers.iter().rev().map(|layer| layer.strip_prefix(store).unwrap().to_str().unwrap());
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            names.collect::<Vec<_>>().join(":"),
            upper.display(),
            work.display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&root).current_dir(store);
        assert!(mount.status().unwrap().success(), "{options}");
        Self { root, _dir: dir }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.root).status();
    }
}
