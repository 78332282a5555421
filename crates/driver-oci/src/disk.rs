//! How much a workload may write, and how much room the host keeps for itself.
//!
//! ```text
//! a file system with project quotas   ──▶ quota.rs: writing fails at the bound
//! any other                           ──▶ once a second, one question: has the file system lost a good deal since it was last
//!                                         measured? Then, and every ten seconds or less often, all workloads' own layers are measured, and who is over is ended
//! ```
//!
//! Where workloads are measured, they may go over by what is written between two looks. What counts is what lies in the own layer and
//! what is deleted and still open.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use spawnpoint_driver::DriverError;
use spawnpoint_model::WorkloadId;
use tokio::time::Instant;

use crate::config::DiskBounds;
use crate::engine::OciEngine;
use crate::records::{self, StateRecord};
use crate::{client, quota};

/// Between two looks at the file system.
const LOOK: Duration = Duration::from_secs(1);
/// Everybody is measured after so long in any case: what one gives back hides what another takes. Where that takes long, it comes
/// so much later that it stays a small part of the time.
const ANYHOW: Duration = Duration::from_secs(10);
const ANYHOW_PART: u32 = 20;
/// For a supervisor's word.
const WORD: Duration = Duration::from_secs(5);
/// What is lost of the file system before everybody is measured, as a part of the bound, and its limits.
const STEP_PART: u64 = 16;
const STEP_BYTES: (u64, u64) = (4 << 20, 1 << 30);
const STEP_FILES: (u64, u64) = (100, 100_000);
/// Who nests folders deeper than this wants to hide something.
const DEPTH_MAX: usize = 256;
/// Open files of a workload that are looked at.
const OPEN_MAX: usize = 50_000;
/// Bytes of a block in what the kernel tells of files.
const BLOCK: u64 = 512;
const OVERLAY: u64 = 0x794c_7630;

/// What a workload has written, or what is left of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
}

impl DiskBounds {
    const fn is_none(&self) -> bool {
        self.bytes == 0 && self.files == 0
    }

    const fn is_over(&self, amount: Amount) -> bool {
        (self.bytes > 0 && amount.bytes > self.bytes) || (self.files > 0 && amount.files > self.files)
    }

    /// Whether so much is gone that it is worth a measurement.
    fn is_worth_it(&self, before: Amount, now: Amount) -> bool {
        let step = |bound: u64, (least, most): (u64, u64)| {
            if bound == 0 { u64::MAX } else { (bound / STEP_PART).clamp(least, most) }
        };
        before.bytes.saturating_sub(now.bytes) >= step(self.bytes, STEP_BYTES)
            || before.files.saturating_sub(now.files) >= step(self.files, STEP_FILES)
    }

    /// Whether there is room for something new.
    ///
    /// # Errors
    /// [`DriverError::NoCapacity`], in words for operators.
    pub fn room(&self, dir: &Path) -> Result<(), DriverError> {
        let Some(free) = free(dir) else { return Ok(()) };
        if free.bytes >= self.free_bytes && free.files > 0 {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let what = if free.files == 0 {
            "no more files can be made".to_owned()
        } else {
            format!(
                "{} MiB are free, and {} are kept free (oci.free_mib)",
                mib(free.bytes),
                mib(self.free_bytes)
            )
        };
        Err(DriverError::NoCapacity(format!("the disk of its data directory is full: {what}")))
    }
}

/// What is left of the file system of a folder.
fn free(dir: &Path) -> Option<Amount> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let bytes = found.f_bavail.saturating_mul(found.f_frsize);
    // Some file systems make room for files as they go, and count none.
    let files = if found.f_files == 0 { u64::MAX } else { found.f_favail };
    Some(Amount { bytes, files })
}

/// Looks after the disk for as long as the engine lives, if nobody else does.
pub fn guard(engine: &Arc<OciEngine>) -> Option<tokio::task::JoinHandle<()>> {
    let bounds = engine.config.disk;
    if bounds.is_none() || engine.has_quota {
        return None;
    }
    let dir = engine.config.dir.clone();
    let engine = Arc::downgrade(engine);
    Some(tokio::spawn(async move {
        let mut measured: Option<Amount> = None;
        let mut due = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(now) = free(&dir) else { continue };
            match measured {
                Some(before) if Instant::now() < due && !bounds.is_worth_it(before, now) => {
                    let most = |a: u64, b: u64| a.max(b);
                    measured = Some(Amount {
                        bytes: most(before.bytes, now.bytes),
                        files: most(before.files, now.files),
                    });
                }
                _ => {
                    measured = Some(now);
                    let begun = Instant::now();
                    if measure_all(&engine, bounds).await.is_none() {
                        return;
                    }
                    due = Instant::now() + ANYHOW.max(begun.elapsed() * ANYHOW_PART);
                }
            }
        }
    }))
}

/// Measures everybody and ends who is over. `None`: the engine is gone.
async fn measure_all(engine: &Weak<OciEngine>, bounds: DiskBounds) -> Option<()> {
    let engine = engine.upgrade()?;
    let looker = Arc::clone(&engine);
    let look = move || {
        let over = |id: &WorkloadId| looker.is_over(*id, bounds);
        looker.folders().into_iter().filter(over).collect::<Vec<_>>()
    };
    for id in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
        tracing::warn!(
            workload.id = %id, bytes = bounds.bytes, files = bounds.files,
            "a workload has written more than it may, and is ended"
        );
        let told = client::command(&engine.folder(id), "over-disk", WORD).await;
        if !matches!(told, Ok(true)) {
            tracing::warn!(workload.id = %id, "nobody could be told to end it: the next look tries again");
        }
        engine.hint(id);
    }
    Some(())
}

impl OciEngine {
    fn is_over(&self, id: WorkloadId, bounds: DiskBounds) -> bool {
        let dir = self.folder(id);
        let Ok(Some(state)) = records::read::<StateRecord>(&dir, records::STATE) else { return false };
        if dir.join(records::EXIT).exists() || !state.is_alive() {
            return false;
        }
        match written(&dir.join(records::UPPER), bounds) {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(mut amount)) => {
                let open = deleted_and_open(&self.hierarchies.group(&state.slot).processes());
                amount.bytes = amount.bytes.saturating_add(open.bytes);
                amount.files = amount.files.saturating_add(open.files);
                bounds.is_over(amount)
            }
        }
    }
}

/// What lies in a layer; `None` as soon as it is over the bounds. Links are not followed: what they name may be the host's.
fn written(layer: &Path, bounds: DiskBounds) -> io::Result<Option<Amount>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut amount = Amount::default();
    // Files of several names, which count once.
    let mut seen = HashSet::new();
    let mut open = vec![Dir::new(rustix::fs::open(layer, flags, Mode::empty())?)?];
    while let Some(mut dir) = open.pop() {
        let Some(entry) = dir.next() else { continue };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            open.push(dir);
            continue;
        }
        let place = dir.fd()?;
        // Gone meanwhile.
        let Ok(found) = rustix::fs::statat(place, name, AtFlags::SYMLINK_NOFOLLOW) else {
            open.push(dir);
            continue;
        };
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if is_folder || found.st_nlink < 2 || seen.insert(found.st_ino) {
            amount.files += 1;
            let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
            amount.bytes = amount.bytes.saturating_add(blocks.saturating_mul(BLOCK));
        }
        if bounds.is_over(amount) {
            return Ok(None);
        }
        let below =
            is_folder.then(|| rustix::fs::openat(place, name, flags, Mode::empty()).and_then(Dir::new));
        open.push(dir);
        open.extend(below.and_then(Result::ok));
        if open.len() > DEPTH_MAX {
            return Ok(None);
        }
    }
    Ok(Some(amount))
}

/// What processes have open on their root file system that has no name any more.
fn deleted_and_open(processes: &[i32]) -> Amount {
    let mut amount = Amount::default();
    let mut seen = HashSet::new();
    let mut looks = 0;
    for pid in processes {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            looks += 1;
            if looks > OPEN_MAX {
                return amount;
            }
            let Ok(found) = fs::metadata(entry.path()) else { continue };
            let is_on_disk = || {
                let kind = rustix::fs::statfs(entry.path()).map(|found| found.f_type);
                kind.is_ok_and(|kind| u64::try_from(kind) == Ok(OVERLAY))
            };
            let is_hidden = found.is_file() && found.nlink() == 0;
            if is_hidden && seen.insert((found.dev(), found.ino())) && is_on_disk() {
                amount.files += 1;
                amount.bytes = amount.bytes.saturating_add(found.blocks().saturating_mul(BLOCK));
            }
        }
    }
    amount
}

/// Bounds a workload's own layer, where the file system can.
///
/// # Errors
/// What the file system says.
pub fn bind(engine: &OciEngine, draft: &Path) -> io::Result<()> {
    let bounds = engine.config.disk;
    if bounds.is_none() || !engine.has_quota {
        return Ok(());
    }
    let (upper, work) = (draft.join(records::UPPER), draft.join(records::WORK));
    quota::bind(&[&upper, &work], bounds.bytes, bounds.files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: DiskBounds = DiskBounds { bytes: 1 << 20, files: 10, free_bytes: 0 };

    #[test]
    fn a_layer_is_measured_without_following_links_and_files_of_two_names_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(at("a/b/file"), at("again")).unwrap();
        std::os::unix::fs::symlink("/usr", at("out")).unwrap();
        let amount = written(dir.path(), BOUNDS).unwrap().unwrap();
        assert_eq!(amount.files, 4, "two folders, one file, one link");
        assert!((100_000..200_000).contains(&amount.bytes), "{amount:?}");
        fs::write(at("more"), vec![1; 1 << 20]).unwrap();
        assert_eq!(written(dir.path(), BOUNDS).unwrap(), None);
        assert!(written(dir.path(), DiskBounds { bytes: 0, files: 0, free_bytes: 0 }).unwrap().is_some());
    }

    #[test]
    fn folders_that_are_nested_without_end_are_over_the_bounds() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(DEPTH_MAX + 2))).unwrap();
        let bounds = DiskBounds { bytes: 0, files: 10_000, free_bytes: 0 };
        assert_eq!(written(dir.path(), bounds).unwrap(), None);
    }

    #[test]
    fn everybody_is_measured_only_after_a_good_deal_is_gone() {
        let bounds = DiskBounds { bytes: 1 << 30, files: 0, free_bytes: 0 };
        let left = |bytes| Amount { bytes, files: 1000 };
        assert!(!bounds.is_worth_it(left(1 << 30), left((1 << 30) - (63 << 20))));
        assert!(bounds.is_worth_it(left(1 << 30), left((1 << 30) - (64 << 20))));
        assert!(!bounds.is_worth_it(left(0), left(1 << 30)), "space came back");
        let few = Amount { bytes: 1 << 30, files: 0 };
        assert!(!bounds.is_worth_it(left(1 << 30), few), "files have no bound");
    }

    #[test]
    fn a_host_without_room_says_how_much_it_keeps_free() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DiskBounds { free_bytes: 0, ..BOUNDS }.room(dir.path()), Ok(()));
        let error = DiskBounds { free_bytes: u64::MAX, ..BOUNDS }.room(dir.path()).unwrap_err();
        assert!(error.to_string().contains("oci.free_mib"), "{error}");
    }

    #[test]
    fn what_is_deleted_and_open_in_memory_is_not_on_the_disk() {
        let own = i32::try_from(std::process::id()).unwrap();
        let _memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(deleted_and_open(&[own]), Amount::default());
    }
}
