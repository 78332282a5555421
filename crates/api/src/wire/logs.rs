//! Logs on the wire, never larger than [`LOG_ANSWER_BYTES_MAX`].
//!
//! How that holds: the size of a text is counted as it stands in JSON (a control character takes six bytes there), from its
//! end towards its beginning, until the room is used up; the rest, and the line that was cut, are left out. The log of a
//! crash gets at most a quarter of the room, the log itself all that is left then.

use serde::Serialize;
use spawnpoint_engine::log_text::{Log, LogLine};
use spawnpoint_engine::logs::ContainerLogs;
use spawnpoint_engine::recorder::exit_message;
use spawnpoint_model::limits::LOG_LINE_BYTES_MAX;
use utoipa::ToSchema;

use crate::dates::V2Date;
use crate::limits::LOG_ANSWER_BYTES_MAX;
use crate::wire::to_json;

/// What everything but the two logs and the link may take.
const FRAME_BYTES: usize = 512;

/// How lines are written into the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// As they were written.
    Text,
    /// One JSON object a line: `{"time", "stream", "log"}`.
    Ndjson,
}

/// `GET /v1/deployment/{request_id}/container-logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContainerLogs)]
pub struct ContainerLogsBody {
    /// The end of the log of the container that runs, or ran last.
    #[schema(example = "listening on 7777\n")]
    logs: String,
    #[schema(example = "utf-8")]
    encoding: &'static str,
    /// The end of the log of the container that ended last without having been asked to.
    #[schema(required, example = json!(null))]
    crash_logs: Option<String>,
    #[schema(required)]
    crash_data: Option<CrashData>,
    /// Where the whole log can be downloaded, if it was stored.
    #[schema(required, example = json!(null))]
    logs_link: Option<String>,
}

/// How the container ended without having been asked to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContainerCrashData)]
struct CrashData {
    #[schema(example = 137)]
    exit_code: i32,
    /// In words; `OOM killed` if it took more memory than it was given.
    #[schema(example = "OOM killed")]
    message: String,
    /// How often the container was started anew.
    #[schema(example = 1)]
    restart_count: u32,
}

impl ContainerLogsBody {
    /// The answer.
    #[must_use]
    pub fn of(logs: ContainerLogs, format: LogFormat) -> Self {
        let link = logs.link.as_deref().map_or(0, |link| link.chars().map(escaped).sum());
        let room = LOG_ANSWER_BYTES_MAX.saturating_sub(FRAME_BYTES + link);
        let crash_logs = logs.crash.as_ref().map(|crash| written(&crash.log, format, room / 4));
        let used: usize = crash_logs.as_deref().map_or(0, |text| text.chars().map(escaped).sum());
        let crash_data = logs.crash.map(|crash| CrashData {
            exit_code: crash.exit.code,
            message: exit_message(crash.exit),
            restart_count: crash.restarts,
        });
        Self {
            logs: written(&logs.log, format, room - used),
            encoding: "utf-8",
            crash_logs,
            crash_data,
            logs_link: logs.link,
        }
    }
}

/// The end of a log as plain text, in at most so many bytes.
#[must_use]
pub fn plain(log: &Log, room: usize) -> String {
    fitting(log.text(), room, LOG_LINE_BYTES_MAX, char::len_utf8)
}

fn written(log: &Log, format: LogFormat, room: usize) -> String {
    match format {
        LogFormat::Text => fitting(log.text(), room, LOG_LINE_BYTES_MAX, escaped),
        LogFormat::Ndjson => {
            let text = log.lines().iter().map(|line| to_json(&LineBody::of(line)) + "\n").collect();
            // Half an object is worth nothing.
            fitting(text, room, usize::MAX, escaped)
        }
    }
}

/// An event of a log that is followed, as `text/event-stream` carries it; for the description.
#[derive(Debug, ToSchema)]
#[schema(as = LogEvent)]
#[expect(dead_code, reason = "events are written piece by piece; this says what they come to")]
pub struct StreamedEvent {
    /// `stdout` and `stderr`: a line. `restart`: the container was started anew. `end`: nothing follows.
    #[schema(pattern = "^(stdout|stderr|restart|end)$", example = "stdout")]
    event: String,
    /// JSON: `{"time", "stream", "log"}`, `{"attempt"}` or `{"status"}`.
    #[schema(example = "{\"time\":null,\"stream\":\"stdout\",\"log\":\"listening on 7777\"}")]
    data: String,
    /// When the line was written, in microseconds since 1970; what `Last-Event-ID` repeats.
    #[schema(example = "1790000000000000")]
    id: Option<String>,
}

/// A line of log by itself.
#[derive(Debug, Serialize)]
pub struct LineBody<'a> {
    time: Option<V2Date>,
    stream: &'static str,
    log: &'a str,
}

impl<'a> LineBody<'a> {
    /// The line.
    #[must_use]
    pub fn of(line: &'a LogLine) -> Self {
        Self { time: line.at.map(V2Date), stream: stream(line), log: &line.text }
    }
}

/// The name of a line's stream.
#[must_use]
pub const fn stream(line: &LogLine) -> &'static str {
    if line.stderr { "stderr" } else { "stdout" }
}

/// As much of the end as fits, from the beginning of a line on; but of a line of more than `line` bytes its end is better than
/// nothing.
fn fitting(mut text: String, room: usize, line: usize, size: impl Fn(char) -> usize) -> String {
    let mut left = room;
    let mut begin = text.len();
    for (at, character) in text.char_indices().rev() {
        let Some(rest) = left.checked_sub(size(character)) else { break };
        (left, begin) = (rest, at);
    }
    if begin > 0 && !text[..begin].ends_with('\n') {
        let end = text.as_bytes()[begin..].iter().take(line).position(|byte| *byte == b'\n');
        begin += end.map_or(0, |end| end + 1);
    }
    text.drain(..begin);
    text
}

/// Bytes of a character in a JSON text, as `serde_json` writes it.
const fn escaped(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use spawnpoint_engine::logs::Crash;
    use spawnpoint_model::Timestamp;
    use spawnpoint_model::deployment::Exit;

    use super::*;

    fn log(bytes: &[u8]) -> Log {
        // As the store keeps it: piece by piece, packed.
        let mut packed = vec![1, 0];
        let mut plain = vec![0];
        plain.extend_from_slice(&Timestamp(1_790_000_000_000_000).micros().to_le_bytes());
        plain.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        plain.extend_from_slice(bytes);
        packed.extend_from_slice(&lz4_flex::block::compress_prepend_size(&plain));
        Log::unpack(&packed).unwrap()
    }

    fn body(bytes: &[u8], crash: Option<&[u8]>, format: LogFormat) -> (usize, Value) {
        let crash = crash.map(|bytes| Crash {
            exit: Exit { code: 139, oom: false, disk: false },
            log: log(bytes),
            restarts: 3,
        });
        let logs = ContainerLogs { log: log(bytes), crash, link: Some("https://s3.test/?a=\"".repeat(50)) };
        let text = to_json(&ContainerLogsBody::of(logs, format));
        (text.len(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn sizes_are_counted_as_they_are_written() {
        for code in (0..0x300).chain([0x2028, 0xfeff, 0x1f600]) {
            let character = char::from_u32(code).unwrap();
            assert_eq!(escaped(character), to_json(&character).len() - 2, "U+{code:04X}");
        }
    }

    #[test]
    fn whatever_a_log_holds_the_answer_is_json_of_at_most_a_mebibyte() {
        let mib = 1024 * 1024;
        let binary: Vec<u8> = (0..mib).map(|n| u8::try_from(n * 31 % 256).unwrap()).collect();
        let check = |bytes: &[u8], crash: Option<&[u8]>, format: LogFormat| {
            let (size, body) = body(bytes, crash, format);
            assert!(size <= LOG_ANSWER_BYTES_MAX, "{size}");
            let shown = body["logs"].as_str().unwrap().len();
            assert!(bytes.is_empty() || shown > 60_000, "{shown} bytes are shown");
        };
        for bytes in [&vec![0x1b; mib][..], &vec![0xff; mib], &b"a\n".repeat(mib / 2), &binary, &[]] {
            check(bytes, Some(bytes), LogFormat::Text);
        }
        check(&vec![b'x'; mib], None, LogFormat::Text);
        check(&binary, Some(&binary), LogFormat::Ndjson);
    }

    #[test]
    fn the_end_is_shown_from_the_beginning_of_a_line_on() {
        let cut = |text: &str, room| fitting(text.into(), room, 20, char::len_utf8);
        assert_eq!(cut("one\ntwo\nthree\n", 8), "three\n");
        assert_eq!(cut("one\ntwo\nthree\n", 10), "two\nthree\n");
        assert_eq!(cut("one", 100), "one");
        assert_eq!(cut("no end", 3), "end");
        assert_eq!(cut("x\u{20ac}", 2), "");
        let long = format!("{}\nend\n", "x".repeat(100));
        assert_eq!(cut(&long, 50), long[long.len() - 50..], "a very long line is shown as far as it goes");
    }

    #[test]
    fn a_crash_is_told_with_its_exit_and_its_log() {
        let (_, body) = body(b"now\n", Some(b"before\n"), LogFormat::Text);
        assert_eq!(body["logs"], "now\n");
        assert_eq!((&body["encoding"], &body["crash_logs"]), (&"utf-8".into(), &"before\n".into()));
        let data = &body["crash_data"];
        assert_eq!((&data["exit_code"], &data["restart_count"]), (&139.into(), &3.into()));
        assert_eq!(data["message"], "killed by signal 11");
    }

    #[test]
    fn ndjson_has_one_object_a_line() {
        let (_, body) = body(b"one\ntwo \"2\"\n", None, LogFormat::Ndjson);
        let lines: Vec<Value> =
            body["logs"].as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["log"], &lines[1]["stream"]), (&"two \"2\"".into(), &"stdout".into()));
        assert_eq!(lines[0]["time"], "2026-09-21T14:13:20.000000Z");
    }
}
