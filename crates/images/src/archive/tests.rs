//! Archives of all kinds, honest and not.

use std::process::Command;

use super::*;
use crate::tarball::{Item, dir, file, link, put, symlink, tarball};

fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data)?;
        entries.push((entry, data));
    }
    Ok(entries)
}

#[test]
fn what_the_headers_say_is_read() {
    let long = "d/".repeat(100) + "file";
    let items = [
        dir("d").mode(0o1755).owner(7, 8),
        file("d/a", b"hello").mode(0o4755),
        symlink("d/s", &long),
        link("d/h", "d/a"),
        file(&long, b"deep")
            .pax("mtime", b"1700000000.25")
            .pax("uid", b"70000")
            .pax("SCHILY.xattr.security.capability", b"\x01\n=\n2"),
    ];
    let entries = read(&tarball(&items)).unwrap();
    let kinds: Vec<Kind> = entries.iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, [Kind::Directory, Kind::File, Kind::Symlink, Kind::Link, Kind::File]);
    let (d, a, s, last) = (&entries[0].0, &entries[1], &entries[2].0, &entries[4]);
    assert_eq!((d.mode, d.uid, d.gid, d.mtime), (0o1755, 7, 8, (1_700_000_000, 0)));
    assert_eq!((a.0.mode, a.1.as_slice()), (0o4755, &b"hello"[..]));
    assert_eq!(s.link, long.as_bytes());
    assert_eq!((last.0.path.as_slice(), last.1.as_slice()), (long.as_bytes(), &b"deep"[..]));
    assert_eq!((last.0.uid, last.0.mtime), (70_000, (1_700_000_000, 250_000_000)));
    assert_eq!(last.0.xattrs, [(b"security.capability".to_vec(), b"\x01\n=\n2".to_vec())]);
}

#[test]
fn what_gnu_tar_writes_in_each_of_its_formats_is_read() {
    let work = tempfile::tempdir().unwrap();
    let long = "n".repeat(120);
    std::fs::write(work.path().join(&long), b"long").unwrap();
    std::fs::write(work.path().join("short"), b"short").unwrap();
    for format in ["v7", "ustar", "gnu", "pax"] {
        let names: &[&str] = if matches!(format, "v7" | "ustar") { &["short"] } else { &["short", &long] };
        let mut tar = Command::new("tar");
        let tar = tar.arg("-C").arg(work.path()).args(["--format", format, "-cf", "-"]).args(names);
        let entries = read(&tar.output().unwrap().stdout).unwrap();
        let seen: Vec<_> = entries.iter().map(|(e, _)| String::from_utf8(e.path.clone()).unwrap()).collect();
        assert_eq!(seen, names, "{format}");
        assert_eq!(entries[0].1, b"short");
    }
}

#[test]
fn sparse_files_are_read_in_all_their_forms() {
    use std::os::unix::fs::FileExt;
    let work = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(work.path().join("sparse")).unwrap();
    // More pieces than fit the header of the old form.
    let offsets: Vec<u64> = (1..40).map(|n| n * 1_000_000).collect();
    for offset in &offsets {
        sparse.write_all_at(b"piece", *offset).unwrap();
    }
    sparse.set_len(50_000_000).unwrap();
    let whole = std::fs::read(work.path().join("sparse")).unwrap();
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    for form in forms {
        let mut tar = Command::new("tar");
        let out = tar.arg("-C").arg(work.path()).arg("-S").args(form).args(["-cf", "-", "sparse"]);
        let bytes = out.output().unwrap().stdout;
        assert!(bytes.len() < 5_000_000, "{form:?} is not sparse");
        let entries = read(&bytes).unwrap();
        let (entry, data) = &entries[0];
        assert_eq!((entry.path.as_slice(), entry.size), (&b"sparse"[..], 50_000_000), "{form:?}");
        let mut again = vec![0; 50_000_000];
        let mut rest = data.as_slice();
        for (offset, length) in entry.pieces.as_ref().unwrap() {
            let (piece, after) = rest.split_at(usize::try_from(*length).unwrap());
            let at = usize::try_from(*offset).unwrap();
            again[at..at + piece.len()].copy_from_slice(piece);
            rest = after;
        }
        assert!(again == whole, "{form:?}");
    }
}

#[test]
fn broken_archives_are_errors() {
    let good = tarball(&[file("a", &[7; 2000])]);
    for (what, bytes) in [
        ("cut in a header", good[..300].to_vec()),
        ("cut in the data", good[..1500].to_vec()),
        ("text", b"hello".repeat(300)),
        ("a changed header", [&b"b"[..], &good[1..]].concat()),
    ] {
        assert!(read(&bytes).is_err(), "{what}");
    }
    // No blocks of zeros at the end: as Docker and GNU tar do it, that is fine.
    assert_eq!(read(&good[..512 + 2048]).unwrap().len(), 1);
    // Nor the padding of the last file: umoci leaves it away.
    assert_eq!(read(&good[..512 + 2000]).unwrap().len(), 1);
    assert!(read(b"").unwrap().is_empty());
}

#[test]
fn hostile_headers_are_errors_and_cost_no_memory() {
    let huge = |kind| Item { size: Some(u64::from(u32::MAX)), kind, ..file("x", b"") };
    let sparse =
        |map: &[u8], size: &[u8]| file("x", b"12345").pax("GNU.sparse.map", map).pax("GNU.sparse.size", size);
    for (what, item) in [
        ("a name of gigabytes", huge(b'L')),
        ("PAX records of gigabytes", huge(b'x')),
        ("global records of gigabytes", huge(b'g')),
        ("a zero byte in a name", file("x", b"").pax("path", b"a\0b")),
        ("an owner that is too large", file("x", b"").pax("uid", b"99999999999")),
        ("an owner that is no number", file("x", b"").pax("uid", b"-1")),
        ("overlapping pieces", sparse(b"0,3,1,2", b"100")),
        ("pieces beyond the end", sparse(b"0,3,200,2", b"100")),
        ("pieces without data", sparse(b"0,3,50,20", b"100")),
        ("pieces that wrap around", sparse(b"18446744073709551615,5", b"100")),
        ("half a piece", sparse(b"0", b"100")),
        ("an unknown kind", Item { kind: b'V', ..file("x", b"") }),
    ] {
        assert!(read(&tarball(&[item])).is_err(), "{what}");
    }
    for records in [&b"6 a=b\n9"[..], b"0 a=b\n", b"99 a=b\n", b"6 ab\n\n", b" a=b\n", b"5 a=b\n"] {
        let mut bytes = Vec::new();
        put(&mut bytes, &Item { kind: b'x', ..file("pax", records) });
        put(&mut bytes, &file("x", b""));
        assert!(read(&bytes).is_err(), "{records:?}");
    }
}

#[test]
fn nothing_makes_the_reader_panic() {
    use proptest::prelude::*;
    let good = tarball(&[
        dir("d"),
        file("d/a", b"hello").pax("GNU.sparse.major", b"1").pax("GNU.sparse.minor", b"0"),
        symlink("s", "d"),
    ]);
    let changes = proptest::collection::vec((0..good.len(), any::<u8>()), 1..8);
    proptest!(|(changes in changes, cut in 0..good.len())| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
            // The checksum is no defence.
            for header in bytes.chunks_exact_mut(512) {
                let sum: u32 = header.iter().enumerate()
                    .map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
                if header[156] != 0 {
                    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let _ = read(&bytes);
        let _ = read(&bytes[..cut]);
    });
}
