//! Output in lines: a program writes one in several strokes, and who reads the log wants it in one.

use crate::log::PIECE_MAX;

/// What has no end yet is not held beyond this many bytes.
const LINE_MAX: usize = 16 * 1024;
/// Nor longer than this many milliseconds: it may be a question that waits for an answer.
const HOLD: u64 = 20;

/// When something was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970.
    pub time: i64,
    /// Milliseconds of a clock that nobody sets.
    pub uptime: u64,
}

/// One stream's output on its way to the log.
pub struct Lines {
    buffer: Box<[u8]>,
    held: usize,
    since: Moment,
}

impl Default for Lines {
    fn default() -> Self {
        Self { buffer: vec![0; PIECE_MAX].into_boxed_slice(), held: 0, since: Moment::default() }
    }
}

impl Lines {
    /// Where the next bytes are read to; at least half a piece.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.held..).unwrap_or_default()
    }

    /// So many bytes were read there: `write` gets what is whole, with the time of its first byte.
    pub fn take(&mut self, length: usize, now: Moment, write: impl FnOnce(i64, &[u8])) {
        if self.held == 0 {
            self.since = now;
        }
        let end = (self.held + length).min(self.buffer.len());
        let read = self.buffer.get(..end).unwrap_or_default();
        let lines = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if end - lines >= LINE_MAX { end } else { lines };
        if whole > 0 {
            write(self.since.time, read.get(..whole).unwrap_or_default());
            self.buffer.copy_within(whole..end, 0);
            self.since = now;
        }
        self.held = end - whole;
    }

    /// At which uptime what is held is written, line or not.
    pub fn due(&self) -> Option<u64> {
        (self.held > 0).then_some(self.since.uptime + HOLD)
    }

    /// Gives out what is held.
    pub fn flush(&mut self, write: impl FnOnce(i64, &[u8])) {
        if self.held > 0 {
            write(self.since.time, self.buffer.get(..self.held).unwrap_or_default());
            self.held = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uptime: u64) -> Moment {
        Moment { time: i64::try_from(uptime).unwrap() * 1000, uptime }
    }

    fn put(lines: &mut Lines, uptime: u64, text: &[u8], into: &mut Vec<(i64, Vec<u8>)>) {
        lines.room()[..text.len()].copy_from_slice(text);
        lines.take(text.len(), at(uptime), |time, bytes| into.push((time, bytes.to_vec())));
    }

    #[test]
    fn strokes_become_lines_with_the_time_of_their_first() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        put(&mut lines, 1, b"one", &mut out);
        assert_eq!((out.len(), lines.due()), (0, Some(21)));
        put(&mut lines, 2, b"\n", &mut out);
        put(&mut lines, 3, b"two\nthree\nfo", &mut out);
        put(&mut lines, 4, b"ur\n", &mut out);
        let expected: Vec<(i64, Vec<u8>)> =
            vec![(1000, b"one\n".to_vec()), (3000, b"two\nthree\n".to_vec()), (3000, b"four\n".to_vec())];
        assert_eq!((out, lines.due()), (expected, None));
    }

    #[test]
    fn what_has_no_end_is_neither_lost_nor_held_for_ever() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        put(&mut lines, 1, b"name? ", &mut out);
        lines.flush(|time, bytes| out.push((time, bytes.to_vec())));
        assert_eq!((out.pop(), lines.due()), (Some((1000, b"name? ".to_vec())), None));
        lines.flush(|_, _| panic!("nothing is held"));
        let mut sent = 0;
        for round in 0..100 {
            let length = lines.room().len().min(10_000);
            assert!(length > 0, "there is always room");
            put(&mut lines, round, &vec![b'x'; length], &mut out);
            sent += length;
        }
        lines.flush(|time, bytes| out.push((time, bytes.to_vec())));
        assert_eq!(out.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), sent);
        assert!(out.iter().all(|(_, bytes)| bytes.len() <= PIECE_MAX));
    }
}
