//! One layer: from its bytes as they were sent to a directory, checked on the way.
//!
//! ```text
//! bytes ─▶ hash, count ─▶ gunzip / unzstd / as it is ─▶ hash, bomb limits ─▶ tar ─▶ files
//! ```

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive::Reader;
use crate::unpack::{Budget, Unpacked, read_error, unpack};
use crate::{Digest, Hasher, Limits, PullError, StoreError};

const BUFFER: usize = 128 << 10;
/// Memory that a zstd stream may ask for, as a power of two: 128 MiB.
const ZSTD_WINDOW: u32 = 27;
/// How often it is looked whether the disk is full.
const DISK_EVERY: u64 = 64 << 20;
/// How much of a layer that cannot be read is still waited for, to tell whether its digest is wrong.
const BLAME_BYTES: u64 = 64 << 20;

/// What an image may still use, counted over all its layers.
pub struct ImageBudget {
    files: AtomicU64,
    bytes: AtomicU64,
    limits: Limits,
    disk: std::path::PathBuf,
}

impl ImageBudget {
    /// A budget for an image whose layers are unpacked on the disk that holds `disk`.
    pub fn new(limits: &Limits, disk: &Path) -> Self {
        Self {
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            limits: limits.clone(),
            disk: disk.to_owned(),
        }
    }

    /// Bytes that were taken.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Budget for ImageBudget {
    fn take(&self, files: u64, bytes: u64) -> Result<(), PullError> {
        if bytes > self.limits.unpacked_bytes {
            return Err(too_large(&self.limits));
        }
        let all_files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.limits.unpacked_bytes {
            return Err(too_large(&self.limits));
        }
        if all_files > self.limits.files {
            return Err(PullError::refused(format!("it has more than {} files", self.limits.files)));
        }
        if before == 0 || before / DISK_EVERY != (before + bytes) / DISK_EVERY {
            has_room(&self.disk, bytes, &self.limits)?;
        }
        Ok(())
    }
}

fn too_large(limits: &Limits) -> PullError {
    PullError::refused(format!("it unpacks to more than {} bytes", limits.unpacked_bytes))
}

/// Whether the disk has room for so much, with the reserve left free.
pub fn has_room(disk: &Path, bytes: u64, limits: &Limits) -> Result<(), StoreError> {
    let stat = rustix::fs::statvfs(disk).map_err(|e| StoreError::io("look at", disk, &e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes.saturating_add(limits.disk_reserve) {
        return Ok(());
    }
    Err(StoreError::Io {
        what: format!("unpack into {}", disk.display()),
        kind: io::ErrorKind::StorageFull,
        detail: format!("the disk is full ({free} bytes are free, {} stay free)", limits.disk_reserve),
    })
}

/// What a stream was found to be.
struct Seen {
    hasher: Option<Hasher>,
    bytes: u64,
}

/// Hashes and counts what passes.
struct Tap<R> {
    inner: R,
    seen: Rc<RefCell<Seen>>,
    most: u64,
    /// The other tap, the ratio that is allowed between them, and from how many bytes on.
    ratio: Option<(Rc<RefCell<Seen>>, u64, u64)>,
}

impl<R> Tap<R> {
    fn new(inner: R, hasher: Hasher, most: u64) -> (Self, Rc<RefCell<Seen>>) {
        let seen = Rc::new(RefCell::new(Seen { hasher: Some(hasher), bytes: 0 }));
        (Self { inner, seen: Rc::clone(&seen), most, ratio: None }, seen)
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let mut seen = self.seen.borrow_mut();
        seen.bytes += n as u64;
        if let Some(hasher) = &mut seen.hasher {
            hasher.update(&buf[..n]);
        }
        let too_much = seen.bytes > self.most
            || self.ratio.as_ref().is_some_and(|(sent, ratio, from)| {
                seen.bytes > *from && seen.bytes / ratio > sent.borrow().bytes
            });
        if too_much {
            let why = "a layer unpacks to far more than was sent: it is meant to fill the disk";
            return Err(io::Error::other(PullError::refused(why)));
        }
        Ok(n)
    }
}

fn digest_of(seen: &Rc<RefCell<Seen>>) -> Option<Digest> {
    seen.borrow_mut().hasher.take().map(Hasher::finish)
}

/// What a layer is said to be.
pub struct Expected<'a> {
    /// Digest and size of the bytes as they were sent, if somebody told.
    pub blob: Option<(&'a Digest, u64)>,
    /// Digest of the archive.
    pub diff_id: &'a Digest,
    /// Some of the bytes are from an earlier run, and may be damaged.
    pub resumed: bool,
}

/// Why a layer could not be unpacked.
pub struct LayerError {
    pub error: PullError,
    /// The bytes as they were sent are not what was asked for.
    pub is_blob: bool,
}

impl From<PullError> for LayerError {
    fn from(error: PullError) -> Self {
        Self { error, is_blob: false }
    }
}

/// Unpacks a layer into an empty directory and checks it.
pub fn unpack_layer(
    blob: impl Read,
    expected: &Expected<'_>,
    into: &Path,
    budget: &dyn Budget,
    limits: &Limits,
) -> Result<Unpacked, LayerError> {
    let hasher = expected.blob.map_or_else(Hasher::sha256, |(digest, _)| digest.hasher());
    let most = expected.blob.map_or(limits.layer_bytes, |(_, size)| size);
    let (sent, seen) = Tap::new(blob, hasher, most);
    let mut sent = BufReader::with_capacity(BUFFER, sent);
    let outcome = unpack_stream(&mut sent, &seen, expected.diff_id, into, budget, limits);
    let refused = match &outcome {
        Ok(_) => false,
        Err(PullError::Refused(_)) => true,
        Err(_) => return outcome.map_err(LayerError::from),
    };
    // A layer that cannot be read may be so because it is not the one that was asked for.
    let patience = if refused && !expected.resumed { BLAME_BYTES } else { u64::MAX };
    let rest = io::copy(&mut sent.by_ref().take(patience), &mut io::sink()).map_err(read_error);
    if let Some((digest, size)) = expected.blob {
        let bytes = seen.borrow().bytes;
        let whole = rest.is_ok() && bytes == size;
        if whole && digest_of(&seen).as_ref() != Some(digest) {
            let error = PullError::refused(format!("the layer {digest} is not what its digest says"));
            return Err(LayerError { error, is_blob: true });
        }
        if !refused && !whole {
            rest?;
            let error = PullError::refused(format!("the layer {digest} has {bytes} bytes, not {size}"));
            return Err(LayerError { error, is_blob: true });
        }
    }
    Ok(outcome?)
}

fn unpack_stream<R: Read>(
    sent: &mut BufReader<R>,
    seen: &Rc<RefCell<Seen>>,
    diff_id: &Digest,
    into: &Path,
    budget: &dyn Budget,
    limits: &Limits,
) -> Result<Unpacked, PullError> {
    // Headers and padding come on top of the files.
    let most = limits.unpacked_bytes.saturating_add(limits.files.saturating_mul(2048));
    let (mut tap, unpacked_seen) = Tap::new(decode(sent)?, diff_id.hasher(), most);
    tap.ratio = Some((Rc::clone(seen), limits.ratio.max(1), limits.ratio_from));
    let mut archive = Reader::new(BufReader::with_capacity(BUFFER, tap));
    let unpacked = unpack(&mut archive, into, budget)?;
    // What follows the archive's end belongs to the digests.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read_error)?;
    if digest_of(&unpacked_seen).as_ref() == Some(diff_id) {
        return Ok(unpacked);
    }
    Err(PullError::refused(format!("a layer is not {diff_id}, as the configuration says")))
}

/// What a stream's first bytes say, whatever its media type does (as Docker does it).
pub fn decode<'r, R: Read>(sent: &'r mut BufReader<R>) -> Result<Box<dyn Read + 'r>, PullError> {
    let mut start = [0; 6];
    let have = sent.fill_buf().map_err(read_error)?;
    let n = have.len().min(6);
    start[..n].copy_from_slice(&have[..n]);
    if start.starts_with(b"\x1f\x8b") {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(sent)));
    }
    let skippable = start[0] & 0xf0 == 0x50 && start[1..4] == *b"\x2a\x4d\x18";
    if start.starts_with(b"\x28\xb5\x2f\xfd") || skippable {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(sent).map_err(read_error)?;
        decoder.window_log_max(ZSTD_WINDOW).map_err(read_error)?;
        return Ok(Box::new(decoder));
    }
    if start.starts_with(b"BZh") || start.starts_with(b"\xfd7zXZ\0") {
        return Err(PullError::refused("a layer is compressed with neither gzip nor zstd"));
    }
    Ok(Box::new(sent))
}
