//! The two small secret files of a data directory: the master key and the first token. Both are readable by their owner only.
//!
//! What it must not know: what the secrets are for.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use spawnpoint_engine::Entropy;
use spawnpoint_model::Plaintext;

/// Makes the data directory, closed to others, if it is not there.
///
/// # Errors
/// A sentence that names the directory.
pub fn make_data_dir(dir: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|err| format!("data.dir: cannot make {}: {err}", dir.display()))
}

/// Reads the master key; makes it at the first start.
///
/// # Errors
/// A sentence that names the file.
pub fn master_key(path: &Path, entropy: &Entropy) -> Result<[u8; 32], String> {
    let fault = |text: String| format!("secrets.master_key_file: {}: {text}", path.display());
    if !path.exists() {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        match write_once(path, &hex(&key)) {
            // Someone else was faster: theirs counts.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(fault(err.to_string())),
            Ok(()) => return Ok(key),
        }
    }
    let text = read_secret(path).map_err(fault)?;
    parse_hex(text.reveal()).ok_or_else(|| fault("must hold 64 hex digits, nothing else".into()))
}

/// Reads a secret from a file that others may not read.
///
/// # Errors
/// A sentence.
pub fn read_secret(path: &Path) -> Result<Plaintext, String> {
    let mode = fs::metadata(path).map_err(|err| err.to_string())?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!(
            "anybody can read it (mode {:o}); run: chmod 600 {}",
            mode & 0o777,
            path.display()
        ));
    }
    let text = fs::read_to_string(path).map_err(|err| err.to_string())?;
    Ok(Plaintext::new(text.trim()))
}

/// Writes a secret file that is not there yet, whole or not at all.
///
/// # Errors
/// `AlreadyExists`, or what the file system says.
pub fn write_once(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = parent.join(format!(".{name}.{}", std::process::id()));
    let written = write_file(&draft, text).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written?;
    File::open(parent)?.sync_all()
}

/// Writes a file of the owner's.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// As lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 64 hex digits as 32 bytes.
fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master-key");
        let first = master_key(&path, &Entropy::from_seed(1)).unwrap();
        assert_eq!(first, master_key(&path, &Entropy::from_seed(2)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_that_anybody_can_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master-key");
        master_key(&path, &Entropy::from_seed(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let err = master_key(&path, &Entropy::from_seed(1)).unwrap_err();
        assert!(err.contains("chmod 600"), "{err}");
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master-key");
        for damaged in ["", "abc", &"g".repeat(64), &"é".repeat(32)] {
            fs::write(&path, damaged).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let err = master_key(&path, &Entropy::from_seed(1)).unwrap_err();
            assert!(err.contains("64 hex digits"), "{err}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_secret_is_not_written_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-token");
        write_once(&path, "one").unwrap();
        assert_eq!(write_once(&path, "two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_secret(&path).unwrap().reveal(), "one");
    }
}
