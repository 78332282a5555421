//! Layers, honest and hostile, into directories. As root, since owners, nodes and `trusted.*` attributes need it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::settle::settle;
use crate::tarball::{Item, dir, file, link, node, symlink, tarball};

struct Free;

impl Budget for Free {
    fn take(&self, _: u64, _: u64) -> Result<(), PullError> {
        Ok(())
    }
}

/// Whether these tests can run; says why not.
fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("SPAWNPOINT_REQUIRE_DOCKER").is_none(), "not root");
    if !root {
        println!("skipped: not root");
    }
    root
}

/// A directory that others cannot enter, with a place beside the layer to see whether anything leaves it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), b"secret").unwrap();
        Self { dir }
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn unpack(&self, name: &str, items: &[Item]) -> Result<Unpacked, PullError> {
        let into = self.layer(name);
        fs::create_dir(&into).unwrap();
        unpack(&mut Reader::new(tarball(items).as_slice()), &into, &Free)
    }

    fn untouched(&self) {
        let outside: Vec<_> = fs::read_dir(self.dir.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1);
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
    }
}

use std::path::PathBuf;

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::lgetxattr(path, OPAQUE, &mut value[..]).is_ok()
}

fn is_whiteout_at(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

#[test]
fn a_layer_is_unpacked_with_all_that_it_says() {
    if !root() {
        return;
    }
    let place = Place::new();
    let items = [
        dir("./").mode(0o751).owner(3, 4),
        dir("bin").mode(0o1777),
        file("bin/su", b"x").mode(0o4755).owner(0, 5),
        file("bin/cap", b"y").owner(1000, 1000).pax("SCHILY.xattr.user.note", b"n\n1"),
        link("bin/su2", "/bin/su"),
        symlink("bin/sh", "/bin/su"),
        node(b'3', "null", (1, 3)).mode(0o666),
        node(b'6', "pipe", (0, 0)),
    ];
    let unpacked = place.unpack("l", &items).unwrap();
    assert!(unpacked.pending.is_empty());
    assert_eq!((unpacked.bytes, unpacked.root.unwrap().mode, unpacked.root.unwrap().gid), (2, 0o751, 4));
    let l = place.layer("l");
    let meta = |name: &str| fs::symlink_metadata(l.join(name)).unwrap();
    assert_eq!((meta("bin").mode() & 0o7777, meta("bin").mtime()), (0o1777, 1_700_000_000));
    assert_eq!((meta("bin/su").mode() & 0o7777, meta("bin/su").gid()), (0o4755, 5));
    assert_eq!((meta("bin/su").ino(), meta("bin/su").nlink()), (meta("bin/su2").ino(), 2));
    assert_eq!((meta("bin/cap").uid(), meta("bin/cap").mtime()), (1000, 1_700_000_000));
    assert_eq!(fs::read_link(l.join("bin/sh")).unwrap(), Path::new("/bin/su"));
    assert_eq!((meta("null").rdev(), meta("null").permissions().mode() & 0o777), (makedev(1, 3), 0o666));
    assert!(meta("pipe").file_type().is_fifo());
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(l.join("bin/cap"), "user.note", &mut value[..]).unwrap(), 3);
}

#[test]
fn capabilities_survive_the_change_of_owner() {
    if !root() {
        return;
    }
    let place = Place::new();
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let item = file("ping", b"x").owner(1000, 1000).pax("SCHILY.xattr.security.capability", capability);
    place.unpack("l", &[item]).unwrap();
    let mut value = [0; 32];
    let n =
        rustix::fs::lgetxattr(place.layer("l").join("ping"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(&value[..n], capability);
}

#[test]
fn no_name_leads_out_of_the_layer() {
    if !root() {
        return;
    }
    let refused: &[(&str, &[Item])] = &[
        ("..", &[file("../outside/x", b"")]),
        (".. inside", &[file("a/../../outside/x", b"")]),
        ("a hard link", &[link("x", "../outside/secret")]),
        ("a whiteout of ..", &[file("a/.wh...", b"")]),
        ("a whiteout of .", &[file("a/.wh..", b"")]),
        ("a whiteout of nothing", &[file("a/.wh.", b"")]),
        ("an opaque root", &[file(".wh..wh..opq", b"")]),
        ("a root that is a file", &[symlink("./", "/tmp")]),
        ("a circle", &[symlink("a", "b"), symlink("b", "a"), file("a/x", b"")]),
        ("a file with files", &[file("a", b""), file("a/b", b"")]),
        ("a whiteout's own number", &[node(b'3', "x", (0, 0))]),
        ("a link to a directory", &[dir("d"), link("x", "d")]),
        ("a link to the root", &[link("x", "/")]),
        ("an empty symbolic link", &[symlink("x", "")]),
    ];
    for (what, items) in refused {
        let place = Place::new();
        let error = place.unpack("l", items).unwrap_err();
        assert!(matches!(error, PullError::Refused(_)), "{what}: {error}");
        place.untouched();
    }
    let deep = "d/".repeat(300);
    let long = "n".repeat(256);
    for (what, path) in
        [("too deep", deep.as_str()), ("a long name", &long), ("a long path", &"a/".repeat(2100))]
    {
        let error = Place::new().unpack("l", &[file(path, b"")]).unwrap_err();
        assert!(matches!(error, PullError::Refused(_)), "{what}: {error}");
    }
}

#[test]
fn links_are_followed_as_if_the_layer_were_all_there_is() {
    if !root() {
        return;
    }
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    let items = [
        symlink("abs", outside.to_str().unwrap()),
        file("abs/x", b"1"),
        symlink("up", "../../../outside"),
        file("up/y", b"2"),
        symlink("secret", "/outside/secret"),
        file("secret", b"3"),
        link("hard", "abs/x"),
    ];
    place.unpack("l", &items).unwrap();
    place.untouched();
    let l = place.layer("l");
    let inside = l.join(outside.strip_prefix("/").unwrap());
    assert_eq!(fs::read(inside.join("x")).unwrap(), b"1");
    assert_eq!(fs::read(l.join("outside/y")).unwrap(), b"2");
    assert_eq!(fs::read(l.join("secret")).unwrap(), b"3");
    assert_eq!(fs::read(l.join("hard")).unwrap(), b"1");
}

#[test]
fn a_tree_that_is_replaced_by_a_link_is_not_written_through() {
    if !root() {
        return;
    }
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    let items = [
        dir("a"),
        file("a/x", b"1"),
        symlink("a", outside.to_str().unwrap()),
        file("a/secret", b"broken"),
        link("steal", "a/secret"),
    ];
    place.unpack("l", &items).unwrap();
    place.untouched();
}

#[test]
fn attributes_that_steer_the_host_are_not_taken() {
    if !root() {
        return;
    }
    let place = Place::new();
    let mut item = dir("d");
    for key in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.x",
        "user.overlay.opaque",
        "security.selinux",
    ] {
        item = item.pax(&format!("SCHILY.xattr.{key}"), b"y");
    }
    place.unpack("l", &[item]).unwrap();
    let mut list = [0; 1024];
    assert_eq!(rustix::fs::llistxattr(place.layer("l").join("d"), &mut list[..]).unwrap(), 0);
}

#[test]
fn whiteouts_take_overlayfs_form_and_never_hide_their_own_layer() {
    if !root() {
        return;
    }
    let place = Place::new();
    let items = [
        dir("d"),
        file("d/.wh.gone", b""),
        dir("o"),
        file("o/.wh..wh..opq", b""),
        file("o/new", b""),
        // Replaced directories, both ways round.
        file(".wh.before", b""),
        dir("before"),
        file("before/x", b""),
        dir("after"),
        file(".wh.after", b""),
        file("kept", b"kept"),
        file(".wh.kept", b""),
        file(".wh.path", b""),
        file("path/to/x", b""),
        file(".wh..wh.plnk", b""),
    ];
    let unpacked = place.unpack("l", &items).unwrap();
    let l = place.layer("l");
    assert!(is_whiteout_at(&l.join("d/gone")));
    assert!(
        opaque(&l.join("o"))
            && opaque(&l.join("before"))
            && opaque(&l.join("after"))
            && opaque(&l.join("path"))
    );
    assert!(!opaque(&l.join("d")));
    assert_eq!(fs::read(l.join("kept")).unwrap(), b"kept");
    assert_eq!(names(&l), ["after", "before", "d", "kept", "o", "path"]);
    let whiteouts: Vec<_> = unpacked.pending.whiteouts.iter().map(|p| joined(p)).collect();
    assert_eq!(whiteouts, [b"d/gone"]);
}

#[test]
fn what_depends_on_the_layers_below_is_settled_as_a_mount_would_show_it() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = [
        dir("etc").mode(0o750).owner(5, 6),
        file("etc/passwd", b"root"),
        dir("var"),
        dir("var/lib"),
        file("var/lib/data", b"old").mode(0o4711).owner(9, 9),
        dir("gone"),
        file("gone/x", b""),
        dir("covered"),
        file("covered/x", b""),
    ];
    place.unpack("0", &base).unwrap();
    let middle = [file(".wh.gone", b""), dir("covered"), file("covered/.wh..wh..opq", b"")];
    let unpacked = place.unpack("1", &middle).unwrap();
    settle(&place.layer("1"), unpacked.pending, &[place.layer("0")], &Free).unwrap();
    let top = [
        file("etc/new", b""),
        file("etc/.wh.passwd", b""),
        file("etc/.wh.never", b""),
        file("gone/.wh.x", b""),
        dir("timed"),
        file("timed/.wh.never", b""),
        file("covered/.wh.x", b""),
        link("copy", "var/lib/data"),
        link("early", "late"),
        file("late", b"late"),
    ];
    let unpacked = place.unpack("2", &top).unwrap();
    let (layer, lowers) = (place.layer("2"), [place.layer("0"), place.layer("1")]);
    assert_eq!(settle(&layer, unpacked.pending, &lowers, &Free).unwrap(), 3);
    let meta = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap();
    assert_eq!((meta("etc").mode() & 0o7777, meta("etc").uid(), meta("etc").gid()), (0o750, 5, 6));
    assert_eq!((meta("etc").mtime(), meta("timed").mtime()), (1_700_000_000, 1_700_000_000));
    assert!(is_whiteout_at(&layer.join("etc/passwd")));
    // Signs that hide nothing would be listed by a mount.
    assert_eq!(names(&layer.join("etc")), ["new", "passwd"]);
    assert!(names(&layer.join("gone")).is_empty() && names(&layer.join("covered")).is_empty());
    // A hard link to a file below brings the file up, as overlayfs does.
    assert_eq!((meta("copy").ino(), meta("copy").nlink()), (meta("var/lib/data").ino(), 2));
    assert_eq!((meta("copy").mode() & 0o7777, meta("copy").uid()), (0o4711, 9));
    assert_eq!(meta("early").ino(), meta("late").ino());
    assert_eq!(fs::read(place.layer("0").join("var/lib/data")).unwrap(), b"old");
    assert_eq!(fs::metadata(place.layer("0").join("var/lib/data")).unwrap().nlink(), 1);
}

#[test]
fn a_hard_link_to_nothing_is_refused() {
    if !root() {
        return;
    }
    let place = Place::new();
    place.unpack("0", &[file("a", b""), symlink("out", "/outside")]).unwrap();
    for target in ["nothing", "out/secret", "a/b"] {
        let name = target.replace('/', "-");
        let unpacked = place.unpack(&name, &[link("x", target)]).unwrap();
        let settled = settle(&place.layer(&name), unpacked.pending, &[place.layer("0")], &Free);
        assert!(matches!(settled, Err(PullError::Refused(_))), "{target}: {settled:?}");
    }
    place.untouched();
}
