//! What can be done to the files that the image brought.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Folders of the root whose files are none of the image's.
const OTHERS: [&str; 6] = ["/dev", "/etc", "/proc", "/run", "/sys", "/tmp"];

/// A number that tells the image's files, as they are now, from all others.
pub fn contents() -> String {
    let mut state = DefaultHasher::new();
    for path in files(Path::new("/")) {
        path.hash(&mut state);
        fs::read(&path).unwrap_or_default().hash(&mut state);
    }
    format!("{:016x}", state.finish())
}

/// Changes every file of the image, the program that runs included: in its place where the kernel lets us, else by another one
/// of its name. How many were changed in each way.
pub fn scribble() -> String {
    let (mut written, mut replaced) = (0, 0);
    for path in files(Path::new("/")) {
        if append(&path) {
            written += 1;
        } else if replace(&path) {
            replaced += 1;
        }
    }
    format!("{written} written, {replaced} replaced")
}

fn append(path: &Path) -> bool {
    fs::OpenOptions::new().append(true).open(path).is_ok_and(|mut file| file.write_all(b"scribble").is_ok())
}

fn replace(path: &Path) -> bool {
    let other = path.with_extension("scribble");
    fs::write(&other, b"scribble").is_ok() && fs::rename(&other, path).is_ok()
}

/// In the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            _ if OTHERS.iter().any(|other| path.starts_with(other)) => {}
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}
