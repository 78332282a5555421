//! The end of a log, held, packed and cut into lines.

use super::*;

fn piece(stderr: bool, text: &[u8]) -> LogChunk {
    LogChunk { at: Some(Timestamp(7)), stderr, bytes: Bytes::copy_from_slice(text) }
}

fn log(pieces: &[(bool, &[u8])]) -> Log {
    Log { pieces: pieces.iter().map(|(stderr, text)| piece(*stderr, text)).collect(), truncated: false }
}

fn texts(log: &Log) -> Vec<(bool, String)> {
    log.lines().into_iter().map(|line| (line.stderr, line.text)).collect()
}

#[test]
fn of_a_long_log_the_end_is_held_to_the_byte() {
    let mut tail = LogTail::default();
    for n in 0..3_000_000_u32 / 16 {
        tail.push(piece(false, format!("{n:015}\n").as_bytes()));
    }
    let log = tail.into_log();
    assert_eq!(log.len(), LOG_BYTES_MAX);
    assert!(log.truncated && log.text().ends_with("000000000187499\n"));
    let mut tail = LogTail::default();
    tail.push(piece(false, &vec![b'x'; 3 * LOG_BYTES_MAX]));
    tail.push(piece(false, b"end"));
    let log = tail.into_log();
    assert_eq!((log.len(), log.truncated), (LOG_BYTES_MAX, true));
    assert!(log.text().ends_with("xxend"), "a line without an end is shown as far as it is there");
}

#[test]
fn many_tiny_pieces_are_bounded_as_well() {
    let mut tail = LogTail::default();
    (0..2 * LOG_PIECES_MAX).for_each(|_| tail.push(piece(false, b"\n")));
    assert_eq!(tail.into_log().pieces.len(), LOG_PIECES_MAX);
}

#[test]
fn a_line_whose_beginning_is_missing_is_left_out_of_the_text() {
    let whole = log(&[(false, b"one\ntwo\n")]);
    assert_eq!(whole.text(), "one\ntwo\n");
    assert_eq!(Log { truncated: true, ..whole }.text(), "two\n");
    assert_eq!(Log { truncated: true, ..log(&[(false, b"only\n")]) }.text(), "only\n");
}

#[test]
fn what_is_not_utf8_is_replaced_and_characters_over_two_pieces_are_not() {
    assert_eq!(log(&[(false, b"a\xff\xc3"), (false, b"\xa9b")]).text(), "a\u{fffd}\u{e9}b");
}

#[test]
fn lines_are_put_together_for_each_stream() {
    let log = log(&[(false, b"one "), (true, b"oops\nmo"), (false, b"line\r\n\n"), (true, b"re")]);
    let expected = [(true, "oops"), (false, "one line"), (false, ""), (true, "more")];
    assert_eq!(texts(&log), expected.map(|(stderr, text)| (stderr, text.to_owned())));
}

#[test]
fn a_line_that_is_too_long_comes_in_parts_between_characters() {
    let text = "\u{20ac}".repeat(LOG_LINE_BYTES_MAX);
    let parts = texts(&log(&[(false, text.as_bytes()), (false, b"\nnext\n")]));
    assert!(parts.iter().all(|(_, part)| part.len() <= LOG_LINE_BYTES_MAX && !part.contains('\u{fffd}')));
    assert_eq!(parts.iter().map(|(_, part)| part.as_str()).collect::<String>(), text + "next");
    let binary = vec![0xf0; 5 * LOG_LINE_BYTES_MAX];
    assert!(texts(&log(&[(false, &binary)])).len() >= 5, "what is no text at all is cut as well");
}

#[test]
fn what_is_packed_comes_out_as_it_was() {
    for (log, truncated) in [
        (log(&[]), false),
        (log(&[(false, b"a"), (true, b"\x00\xff\n")]), true),
        (log(&[(true, &[b'x'; 70_000])]), false),
    ] {
        let log = Log { truncated, ..log };
        assert_eq!(Log::unpack(&log.pack()), Some(log));
    }
    let undated = Log { pieces: [LogChunk { at: None, ..piece(false, b"x") }].into(), truncated: false };
    assert_eq!(Log::unpack(&undated.pack()), Some(undated));
}

#[test]
fn what_is_no_packed_log_is_refused() {
    let good = log(&[(false, b"hello hello hello hello")]).pack();
    for bad in [
        &good[..0],
        &good[..1],
        &good[..5],
        &good[..good.len() - 1],
        &[9; 40],
        &[FORM, 0, 255, 255, 255, 255, 1],
    ] {
        assert_eq!(Log::unpack(bad), None, "{bad:?}");
    }
}
