//! A log in memory: its end, never more than that; as text, as lines, and packed for the store.
//!
//! What it must not know: where a log comes from or goes to.
//!
//! A piece is what a driver gives: some bytes of one of the two streams, with a time if the engine knows it. Pieces need not
//! be whole lines or valid UTF-8; both are made good here, and nowhere else.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use spawnpoint_driver::LogChunk;
use spawnpoint_model::Timestamp;
use spawnpoint_model::limits::{LOG_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_PIECES_MAX};

/// First byte of what is packed: the form of the rest.
const FORM: u8 = 1;
/// What stands before the bytes of a packed piece: stream, time, length.
const PIECE_HEAD: usize = 1 + 8 + 4;
/// Bytes that unpacking may give, at most; more is no log of ours.
const UNPACKED_MAX: usize = LOG_BYTES_MAX + LOG_PIECES_MAX * PIECE_HEAD;

/// A log, or the end of one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// Its pieces, oldest first.
    pub pieces: VecDeque<LogChunk>,
    /// There was more before.
    pub truncated: bool,
}

/// A line of log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// When its first piece was written, if the engine knows.
    pub at: Option<Timestamp>,
    /// True for standard error.
    pub stderr: bool,
    /// The text, without the end of the line. What is not UTF-8 is replaced.
    pub text: String,
}

/// Takes pieces as they come and holds the end of them.
#[derive(Debug, Default)]
pub struct LogTail {
    log: Log,
    bytes: usize,
}

impl LogTail {
    /// Adds a piece; what is too much is dropped at the front.
    pub fn push(&mut self, piece: LogChunk) {
        self.bytes += piece.bytes.len();
        self.log.pieces.push_back(piece);
        while self.bytes > LOG_BYTES_MAX || self.log.pieces.len() > LOG_PIECES_MAX {
            let over = self.bytes.saturating_sub(LOG_BYTES_MAX);
            let Some(first) = self.log.pieces.front_mut() else { break };
            self.log.truncated = true;
            if over > 0 && over < first.bytes.len() {
                first.bytes.advance(over);
                self.bytes -= over;
            } else {
                self.bytes -= first.bytes.len();
                self.log.pieces.pop_front();
            }
        }
    }

    /// What it holds.
    #[must_use]
    pub fn into_log(self) -> Log {
        self.log
    }
}

impl Log {
    /// Bytes of its pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|piece| piece.bytes.is_empty())
    }

    /// Both streams as one text, in the order in which they were written. What is not UTF-8 is replaced. A first line whose
    /// beginning is missing is left out, if it is not all there is.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(self.len());
        self.pieces.iter().for_each(|piece| bytes.extend_from_slice(&piece.bytes));
        let first_line = bytes.iter().take(LOG_LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let begin = first_line.filter(|end| self.truncated && end + 1 < bytes.len()).map_or(0, |end| end + 1);
        String::from_utf8_lossy(&bytes[begin..]).into_owned()
    }

    /// Its lines, each stream's by themselves, in the order in which they ended.
    #[must_use]
    pub fn lines(&self) -> VecDeque<LogLine> {
        let mut lines = Lines::default();
        let mut out = VecDeque::new();
        self.pieces.iter().for_each(|piece| lines.push(piece, &mut out));
        lines.finish(&mut out);
        out
    }

    /// In the form in which the store keeps it.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.len() + self.pieces.len() * PIECE_HEAD);
        for piece in &self.pieces {
            plain.push(u8::from(piece.stderr));
            plain.extend_from_slice(&piece.at.map_or(0, |at| at.micros()).to_le_bytes());
            plain.extend_from_slice(&u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            plain.extend_from_slice(&piece.bytes);
        }
        let mut packed = vec![FORM, u8::from(self.truncated)];
        packed.extend_from_slice(&lz4_flex::block::compress_prepend_size(&plain));
        packed
    }

    /// Out of the form in which the store keeps it; `None` if it is not that.
    #[must_use]
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        let (head, packed) = packed.split_at_checked(2)?;
        let size = u32::from_le_bytes(packed.get(..4)?.try_into().ok()?);
        if head[0] != FORM || usize::try_from(size).ok()? > UNPACKED_MAX {
            return None;
        }
        let mut plain = Bytes::from(lz4_flex::block::decompress_size_prepended(packed).ok()?);
        let mut pieces = VecDeque::new();
        while !plain.is_empty() {
            if plain.len() < PIECE_HEAD {
                return None;
            }
            let (stderr, at, length) = (plain.get_u8() == 1, plain.get_i64_le(), plain.get_u32_le());
            let length = usize::try_from(length).ok().filter(|length| *length <= plain.len())?;
            let at = (at != 0).then_some(Timestamp(at));
            pieces.push_back(LogChunk { at, stderr, bytes: plain.split_to(length) });
        }
        Some(Self { pieces, truncated: head[1] == 1 })
    }
}

/// Makes lines of pieces.
#[derive(Debug, Default)]
pub struct Lines {
    out: Open,
    err: Open,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Open {
    at: Option<Timestamp>,
    bytes: Vec<u8>,
}

impl Lines {
    /// Adds a piece; gives the lines that end in it.
    pub fn push(&mut self, piece: &LogChunk, into: &mut VecDeque<LogLine>) {
        let open = if piece.stderr { &mut self.err } else { &mut self.out };
        let mut rest = &piece.bytes[..];
        while !rest.is_empty() {
            if open.bytes.is_empty() {
                open.at = piece.at;
            }
            let room = LOG_LINE_BYTES_MAX.saturating_sub(open.bytes.len()).max(1).min(rest.len());
            match rest[..room].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    open.bytes.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                    into.push_back(open.take(piece.stderr));
                }
                None => {
                    open.bytes.extend_from_slice(&rest[..room]);
                    rest = &rest[room..];
                    if open.bytes.len() >= LOG_LINE_BYTES_MAX {
                        into.push_back(open.take_part(piece.stderr));
                    }
                }
            }
        }
    }

    /// Gives what has no end of a line yet.
    pub fn finish(&mut self, into: &mut VecDeque<LogLine>) {
        for (open, stderr) in [(&mut self.out, false), (&mut self.err, true)] {
            if !open.bytes.is_empty() {
                into.push_back(open.take(stderr));
            }
        }
    }
}

impl Open {
    fn take(&mut self, stderr: bool) -> LogLine {
        if self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        let bytes = std::mem::take(&mut self.bytes);
        LogLine { at: self.at.take(), stderr, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// A part of a line that is too long, cut between two characters.
    fn take_part(&mut self, stderr: bool) -> LogLine {
        let whole = match std::str::from_utf8(&self.bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(whole.max(1));
        let (at, part) = (self.at, self.take(stderr));
        (self.at, self.bytes) = (at, rest);
        part
    }
}

#[cfg(test)]
mod tests;
