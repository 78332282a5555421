//! What flows out of a container: hints, logs, figures.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerStatsResponse, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder, StatsOptionsBuilder};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use spawnpoint_driver::{DriverError, Hint, HintStream, LogChunk, LogFrom, LogStream, Stats};
use spawnpoint_model::{HostId, InstallationId, Timestamp};

use crate::endpoint::Endpoint;
use crate::error::from_bollard;
use crate::names;
use crate::observe::timestamp;

/// Bytes of one piece of a log, at most: the engine splits longer lines.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// Pieces that the end of a log may consist of. Only a log of lines of a few bytes has more.
const TAIL_PIECES_MAX: usize = 262_144;
/// For the end of a log, after which the engine is not asked for more of it. Whoever reads waits four seconds at least.
const TAIL_TIME: Duration = Duration::from_secs(2);
/// Bytes of the time in front of a piece: `2026-11-21T02:00:00.500000001Z`, or with an offset.
const TIME_BYTES_MAX: usize = 40;

/// Hints from the engine's events since `since` (its own clock), so that nothing falls between the moment at which
/// the caller looked at everything and the moment at which the stream was opened.
pub fn hints(
    client: &Docker,
    installation: &InstallationId,
    host: &HostId,
    since: Option<Timestamp>,
) -> HintStream {
    let labels = vec![format!("{}={installation}", names::INSTALLATION), format!("{}={host}", names::HOST)];
    let filters = HashMap::from([("type", vec!["container".to_owned()]), ("label", labels)]);
    let filters: HashMap<String, Vec<String>> = filters.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let mut options = EventsOptionsBuilder::default().filters(&filters);
    if let Some(since) = since {
        let (seconds, micros) = (since.micros() / 1_000_000, since.micros() % 1_000_000);
        options = options.since(&format!("{seconds}.{micros:06}000"));
    }
    let client = Endpoint::for_streams(client);
    let events = client.events(Some(options.build()));
    let hints = events
        // A broken stream ends, and is opened again by whoever watches.
        .take_while(|event| std::future::ready(event.is_ok()))
        .filter_map(|event| std::future::ready(event.ok().as_ref().and_then(hint)));
    stream::iter([Hint::Resync]).chain(hints).boxed()
}

fn hint(event: &EventMessage) -> Option<Hint> {
    // What happens inside of a running container (exec, top, a health check) changes nothing for us.
    let matters = ["create", "start", "die", "oom", "kill", "destroy", "pause", "unpause"];
    if !matters.contains(&event.action.as_deref()?) {
        return None;
    }
    names::workload(event.actor.as_ref()?.attributes.as_ref()?).map(Hint::Changed)
}

/// The output of a container. The engine knows whole seconds only; the rest of `since` is done here, by the time in
/// front of each piece.
///
/// # Errors
/// The engine does not answer, or has no such container. (A stream that is under way gives its errors itself.)
pub async fn logs(
    client: &Docker,
    container: &str,
    from: LogFrom,
    follow: bool,
) -> Result<LogStream, DriverError> {
    let client = Endpoint::for_streams(client);
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).follow(follow);
    let (since, options) = match from {
        LogFrom::Start => (None, options),
        LogFrom::Since(since) => {
            let seconds = i32::try_from(since.micros() / 1_000_000).unwrap_or(i32::MAX);
            (Some(since), options.since(seconds))
        }
        LogFrom::Tail(bytes) => {
            let (held, pieces) = tail(&client, container, bytes).await?;
            if !follow {
                return Ok(stream::iter(held.into_iter().map(Ok)).boxed());
            }
            (None, options.tail(&pieces.to_string()))
        }
    };
    let pieces = client.logs(container, Some(options.build()));
    Ok(pieces
        .filter_map(move |piece| std::future::ready(piece.map(|piece| chunk(piece, since)).transpose()))
        .map(|piece| piece.map_err(|error| from_bollard(&error)))
        .boxed())
}

/// The last `bytes` of a log, and in how many pieces they stand. The engine counts pieces (a line, or 16 KiB of a longer one),
/// so it is asked for more and more of them until they are enough: thirty megabytes of log are not read for the last one. Where
/// that takes longer than [`TAIL_TIME`], what was read so far is all: a short log is better than none.
async fn tail(
    client: &Docker,
    container: &str,
    bytes: usize,
) -> Result<(VecDeque<LogChunk>, usize), DriverError> {
    let end = tokio::time::Instant::now() + TAIL_TIME;
    // As many as it takes if all are as large as pieces get.
    let mut wanted = bytes.div_ceil(PIECE_BYTES_MAX).max(1);
    let mut last = last_pieces(client, container, wanted, bytes).await?;
    loop {
        let LastPieces { seen, seen_bytes, .. } = last;
        if seen < wanted || seen_bytes >= bytes || wanted >= TAIL_PIECES_MAX {
            break;
        }
        // With what these were like, and half as many again. At least four times as many: lines grow shorter, too.
        let like_these = bytes.saturating_mul(seen) / seen_bytes.max(1);
        wanted = (like_these + like_these / 2).max(wanted * 4).min(TAIL_PIECES_MAX);
        match tokio::time::timeout_at(end, last_pieces(client, container, wanted, bytes)).await {
            Ok(more) => last = more?,
            Err(_) => break,
        }
    }
    let pieces = last.held.len().max(1);
    Ok((last.held, pieces))
}

/// The end of a log, as far as it was asked for.
struct LastPieces {
    /// Pieces that hold the last bytes.
    held: VecDeque<LogChunk>,
    /// How many came, with those that are not held.
    seen: usize,
    /// What all that came had in them.
    seen_bytes: usize,
}

/// The last `wanted` pieces of a log; of them, those are held that the last `bytes` stand in.
async fn last_pieces(
    client: &Docker,
    container: &str,
    wanted: usize,
    bytes: usize,
) -> Result<LastPieces, DriverError> {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true);
    let mut pieces = client.logs(container, Some(options.tail(&wanted.to_string()).build()));
    let (mut held, mut held_bytes, mut seen, mut seen_bytes) = (VecDeque::<LogChunk>::new(), 0, 0, 0);
    while let Some(piece) = pieces.next().await {
        let Some(piece) = chunk(piece.map_err(|error| from_bollard(&error))?, None) else { continue };
        (seen, seen_bytes) = (seen + 1, seen_bytes + piece.bytes.len());
        held_bytes += piece.bytes.len();
        held.push_back(piece);
        while let Some(first) = held.front().filter(|first| held_bytes - first.bytes.len() >= bytes) {
            held_bytes -= first.bytes.len();
            held.pop_front();
        }
    }
    Ok(LastPieces { held, seen, seen_bytes })
}

/// `None` if the piece is older than `since`.
fn chunk(piece: LogOutput, since: Option<Timestamp>) -> Option<LogChunk> {
    let stderr = matches!(piece, LogOutput::StdErr { .. });
    let mut bytes: Bytes = piece.into_bytes();
    let length = bytes.iter().take(TIME_BYTES_MAX).position(|byte| *byte == b' ');
    let at = length.and_then(|length| std::str::from_utf8(&bytes[..length]).ok().and_then(timestamp));
    if let (Some(length), Some(_)) = (length, at) {
        bytes.advance(length + 1);
    }
    let is_old = since.is_some_and(|since| at.is_some_and(|at| at < since));
    (!is_old && !bytes.is_empty()).then_some(LogChunk { at, stderr, bytes })
}

/// One reading of a container's figures.
pub async fn stats(client: &Docker, container: &str) -> Result<Stats, DriverError> {
    let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
    let mut readings = client.stats(container, Some(options));
    match readings.next().await {
        Some(Ok(reading)) => Ok(figures(&reading)),
        Some(Err(error)) => Err(from_bollard(&error)),
        None => Err(DriverError::Internal("the engine gave no figures".to_owned())),
    }
}

fn figures(reading: &ContainerStatsResponse) -> Stats {
    let memory = reading.memory_stats.as_ref();
    let memory_bytes = memory.and_then(|memory| {
        // Pages that the kernel keeps only because nobody else wants them: named so in cgroup v1 and v2.
        let stats = memory.stats.as_ref();
        let cache = stats.and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file")));
        Some(memory.usage?.saturating_sub(cache.copied().unwrap_or(0)))
    });
    let networks = reading.networks.as_ref();
    let network_sum = |pick: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        networks.map(|all| all.values().filter_map(pick).sum())
    };
    let disk = reading.blkio_stats.as_ref().and_then(|disk| disk.io_service_bytes_recursive.as_ref());
    let disk_sum = |wanted: &str| {
        let is_wanted = |op: &Option<String>| op.as_ref().is_some_and(|op| op.eq_ignore_ascii_case(wanted));
        disk.map(|entries| entries.iter().filter(|e| is_wanted(&e.op)).filter_map(|e| e.value).sum())
    };
    let cpu =
        reading.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()).and_then(|usage| usage.total_usage);
    let throttled = reading
        .cpu_stats
        .as_ref()
        .and_then(|cpu| cpu.throttling_data.as_ref())
        .and_then(|t| t.throttled_time);
    Stats {
        cpu_micros: cpu.map(|nanos| nanos / 1000),
        memory_bytes,
        received_bytes: network_sum(|n| n.rx_bytes),
        sent_bytes: network_sum(|n| n.tx_bytes),
        disk_read_bytes: disk_sum("read"),
        disk_written_bytes: disk_sum("write"),
        pids: reading.pids_stats.as_ref().and_then(|pids| pids.current),
        throttled_micros: throttled.map(|nanos| nanos / 1000),
        age: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn pieces_before_since_are_left_out_to_the_microsecond() {
        let since = timestamp("2026-11-21T02:00:00.500000Z");
        let old = out("2026-11-21T02:00:00.499999999Z old\n");
        let new = out("2026-11-21T02:00:00.500000001Z new\n");
        assert_eq!(chunk(old, since), None);
        assert_eq!(chunk(new, since).unwrap().bytes, "new\n");
        assert_eq!(chunk(out("as it is"), None).unwrap().bytes, "as it is");
        let dated = chunk(out("2026-11-21T02:00:00.500000001Z a b\n"), None).unwrap();
        assert_eq!((&dated.bytes[..], dated.at), (&b"a b\n"[..], since));
    }

    #[test]
    fn memory_is_counted_without_the_page_cache() {
        use bollard::models::ContainerMemoryStats;
        for name in ["total_inactive_file", "inactive_file"] {
            let memory_stats = ContainerMemoryStats {
                usage: Some(100),
                stats: Some(HashMap::from([(name.to_owned(), 30)])),
                ..Default::default()
            };
            let reading = ContainerStatsResponse { memory_stats: Some(memory_stats), ..Default::default() };
            assert_eq!(figures(&reading).memory_bytes, Some(70));
        }
    }

    #[test]
    fn what_happens_inside_a_container_is_no_hint() {
        let event = |action: &str| EventMessage {
            action: Some(action.to_owned()),
            actor: Some(bollard::models::EventActor {
                id: None,
                attributes: Some(HashMap::from([
                    (names::DEPLOYMENT.to_owned(), "00000000002a".to_owned()),
                    (names::ATTEMPT.to_owned(), "1".to_owned()),
                ])),
            }),
            ..Default::default()
        };
        assert_eq!(hint(&event("die")), Some(Hint::Changed("00000000002a-1".parse().unwrap())));
        assert_eq!(hint(&event("exec_start: sh")), None);
    }
}
