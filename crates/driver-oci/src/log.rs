//! A workload's output on disk: bounded, rotated, bytes as they came.
//!
//! ```text
//! log.<n>   piece piece piece …      n grows; the newest [`FILES`] files are kept, each of about [`FILE_BYTES`] (or more smaller ones)
//! piece     length: u32 │ microseconds since 1970: i64 │ stream: u8 │ bytes │ length: u32
//! ```
//!
//! The length stands at both ends, so that the end of a log is read from its end. A piece that was cut short (a crash, a full
//! disk) is the last one of its file, and is not read.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spawnpoint_driver::LogChunk;
use spawnpoint_model::Timestamp;

/// A file is left when it has this many bytes.
pub const FILE_BYTES: u64 = 10 * 1024 * 1024;
/// So many files are kept.
pub const FILES: u64 = 3;
/// So many are kept at most if writers that followed each other have left small ones.
const FILES_MAX: usize = 32;
/// Bytes of one piece at most.
pub const PIECE_MAX: usize = 32 * 1024;
/// Bytes in front of a piece, and behind it.
const HEAD: usize = 13;
const FOOT: usize = 4;

fn name(number: u64) -> String {
    format!("log.{number}")
}

/// The log files of a workload by their numbers, oldest first.
///
/// # Errors
/// What the file system says.
pub fn files(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(dir) {
        // The workload was removed: nothing more comes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_prefix("log.")?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes a log. What cannot be written is lost; the workload does not wait for the disk.
pub struct Writer {
    dir: PathBuf,
    number: u64,
    file: Option<File>,
    size: u64,
}

impl Writer {
    /// Goes on behind what is there.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let last = files(dir).ok().and_then(|numbers| numbers.last().copied());
        let mut writer =
            Self { dir: dir.to_owned(), number: last.map_or(0, |last| last + 1), file: None, size: 0 };
        writer.open();
        writer.forget_old();
        writer
    }

    /// Takes away what is beyond the bound. Of writers before this one there may be small files as well.
    fn forget_old(&self) {
        let mut newer = 0;
        for (index, number) in files(&self.dir).unwrap_or_default().into_iter().rev().enumerate() {
            let path = self.dir.join(name(number));
            if newer >= (FILES - 1) * FILE_BYTES || index >= FILES_MAX {
                let _ = fs::remove_file(path);
            } else {
                newer += fs::metadata(path).map_or(0, |found| found.len());
            }
        }
    }

    fn open(&mut self) {
        self.file = File::options().create_new(true).append(true).open(self.dir.join(name(self.number))).ok();
        self.size = 0;
    }

    /// Writes a piece.
    pub fn write(&mut self, at: i64, stderr: bool, bytes: &[u8]) {
        if self.size >= FILE_BYTES || self.file.is_none() {
            self.number += 1;
            self.open();
            if self.file.is_none() {
                self.number -= 1;
                return;
            }
            self.forget_old();
        }
        let Some(file) = self.file.as_mut() else { return };
        let length = u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&length);
        head[4..12].copy_from_slice(&at.to_le_bytes());
        head[12] = u8::from(stderr);
        let total = HEAD + bytes.len() + FOOT;
        let slices = [io::IoSlice::new(&head), io::IoSlice::new(bytes), io::IoSlice::new(&length)];
        match file.write_vectored(&slices) {
            Ok(written) if written == total => self.size += total as u64,
            // A full disk: what is cut short is taken back, so that later pieces can be read.
            _ => {
                let _ = file.set_len(self.size);
            }
        }
    }
}

/// Reads a log from one of its places on.
pub struct Reader {
    dir: PathBuf,
    number: u64,
    at: u64,
    file: Option<File>,
}

impl Reader {
    /// From its beginning.
    #[must_use]
    pub fn from_start(dir: &Path) -> Self {
        let number = files(dir).ok().and_then(|numbers| numbers.first().copied()).unwrap_or(0);
        Self { dir: dir.to_owned(), number, at: 0, file: None }
    }

    /// From where its last `bytes` begin.
    ///
    /// # Errors
    /// What the file system says.
    pub fn from_end(dir: &Path, bytes: usize) -> io::Result<Self> {
        let numbers = files(dir)?;
        let mut wanted = bytes;
        for number in numbers.iter().rev() {
            let mut file = match File::open(dir.join(name(*number))) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let mut end = file.seek(SeekFrom::End(0))?;
            while wanted > 0 && end >= (HEAD + FOOT) as u64 {
                let mut foot = [0; FOOT];
                file.read_exact_at(&mut foot, end - FOOT as u64)?;
                let length = usize::try_from(u32::from_le_bytes(foot)).unwrap_or(usize::MAX);
                // Not the end of a piece: a writer was cut short. From the file's beginning, all that is whole is found.
                let Some(start) = end.checked_sub((HEAD + FOOT) as u64 + length.min(PIECE_MAX + 1) as u64)
                else {
                    end = 0;
                    break;
                };
                let mut head = [0; 4];
                file.read_exact_at(&mut head, start)?;
                if head != foot {
                    end = 0;
                    break;
                }
                wanted = wanted.saturating_sub(length);
                end = start;
            }
            if wanted == 0 || Some(number) == numbers.first() {
                return Ok(Self { dir: dir.to_owned(), number: *number, at: end, file: Some(file) });
            }
        }
        Ok(Self::from_start(dir))
    }

    /// What comes next, up to about so many bytes; empty if there is nothing more now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<LogChunk>> {
        loop {
            let chunks = self.read_file(most)?;
            if !chunks.is_empty() {
                return Ok(chunks);
            }
            // The end of this file; if there is a later one, nothing more comes into this one.
            let later = files(&self.dir)?.into_iter().find(|number| *number > self.number);
            let Some(later) = later else { return Ok(Vec::new()) };
            // Written between our look and the next file's making.
            let chunks = self.read_file(most)?;
            if !chunks.is_empty() {
                return Ok(chunks);
            }
            (self.number, self.at, self.file) = (later, 0, None);
        }
    }

    fn read_file(&mut self, most: usize) -> io::Result<Vec<LogChunk>> {
        if self.file.is_none() {
            self.file = match File::open(self.dir.join(name(self.number))) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
        }
        let Some(file) = self.file.as_mut() else { return Ok(Vec::new()) };
        file.seek(SeekFrom::Start(self.at))?;
        let mut buffer = Vec::with_capacity(most.min(64 * 1024));
        file.take((most + HEAD + FOOT + PIECE_MAX) as u64).read_to_end(&mut buffer)?;
        let mut rest = Bytes::from(buffer);
        let mut chunks = Vec::new();
        while let Some(chunk) = piece(&mut rest) {
            self.at += (HEAD + FOOT + chunk.bytes.len()) as u64;
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// The first piece, if it is whole.
fn piece(rest: &mut Bytes) -> Option<LogChunk> {
    let head = rest.get(..HEAD)?;
    let length = usize::try_from(u32::from_le_bytes(head.get(..4)?.try_into().ok()?)).ok()?;
    let at = i64::from_le_bytes(head.get(4..12)?.try_into().ok()?);
    let stderr = *head.get(12)? == 1;
    if rest.len() < HEAD + length + FOOT {
        return None;
    }
    let mut whole = rest.split_to(HEAD + length + FOOT);
    let bytes = whole.split_off(HEAD).slice(..length);
    Some(LogChunk { at: Some(Timestamp(at)), stderr, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        loop {
            let chunks = reader.read(100).unwrap();
            if chunks.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            chunks.iter().for_each(|chunk| all.extend_from_slice(&chunk.bytes));
        }
    }

    #[test]
    fn pieces_are_read_as_they_were_written_with_their_times_and_streams() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(5, false, b"one\n");
        writer.write(6, true, &[0, 255, 10]);
        let mut reader = Reader::from_start(dir.path());
        let chunks = reader.read(1000).unwrap();
        assert_eq!(chunks.len(), 2);
        assert_eq!(
            (chunks[0].at, chunks[0].stderr, &chunks[0].bytes[..]),
            (Some(Timestamp(5)), false, &b"one\n"[..])
        );
        assert_eq!(
            (chunks[1].at, chunks[1].stderr, &chunks[1].bytes[..]),
            (Some(Timestamp(6)), true, &[0, 255, 10][..])
        );
        assert_eq!(reader.read(1000).unwrap(), []);
        writer.write(7, false, b"later\n");
        assert_eq!(text(&mut reader), "later\n");
    }

    #[test]
    fn a_log_is_bounded_and_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        let line = [b'x'; 16 * 1024];
        for _ in 0..(5 * FILE_BYTES / line.len() as u64) {
            writer.write(1, false, &line);
        }
        writer.write(2, false, b"the end\n");
        assert_eq!(files(dir.path()).unwrap().len() as u64, FILES);
        let bytes: u64 =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes < (FILE_BYTES + 64 * 1024) * FILES, "{bytes}");
        assert!(text(&mut Reader::from_start(dir.path())).ends_with("xthe end\n"));
    }

    #[test]
    fn a_log_that_others_go_on_with_is_bounded_as_well() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..10_u8 {
            Writer::new(dir.path()).write(1, false, &[b'0' + number]);
        }
        assert_eq!(text(&mut Reader::from_start(dir.path())), "0123456789", "what is small is kept");
        for _ in 0..40 {
            Writer::new(dir.path()).write(1, false, b"x");
        }
        assert_eq!(text(&mut Reader::from_start(dir.path())), "x".repeat(FILES_MAX));
    }

    #[test]
    fn the_end_of_a_log_is_read_without_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        for number in 0..1000 {
            writer.write(1, false, format!("line {number}\n").as_bytes());
        }
        assert_eq!(text(&mut Reader::from_end(dir.path(), 1).unwrap()), "line 999\n");
        assert_eq!(text(&mut Reader::from_end(dir.path(), 12).unwrap()), "line 998\nline 999\n");
        let all = text(&mut Reader::from_start(dir.path()));
        assert_eq!(text(&mut Reader::from_end(dir.path(), 1_000_000).unwrap()), all);
        drop(writer);
        let mut again = Writer::new(dir.path());
        again.write(1, false, b"x");
        assert_eq!(text(&mut Reader::from_end(dir.path(), 2).unwrap()), "line 999\nx");
    }

    #[test]
    fn a_piece_that_was_cut_short_ends_its_file_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(1, false, b"whole\n");
        let mut file = File::options().append(true).open(dir.path().join("log.0")).unwrap();
        file.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
        let mut later = Writer::new(dir.path());
        later.write(1, false, b"later\n");
        assert_eq!(text(&mut Reader::from_start(dir.path())), "whole\nlater\n");
        assert_eq!(text(&mut Reader::from_end(dir.path(), 1000).unwrap()), "whole\nlater\n");
    }
}
