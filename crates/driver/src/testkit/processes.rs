//! The cases that ask a real process, from outside or from inside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures_util::StreamExt;
use spawnpoint_model::{Plaintext, Timestamp, Transport, WorkloadId};

use super::lab::{Lab, ask_tcp, ask_udp, error_of};
use super::{Failed, Outcome, Program, cases, check};
use crate::{DriverError, LogFrom, WorkloadFile};

cases!(
    true,
    [
        players_reach_udp_and_tcp_from_this_machine_and_by_its_address,
        datagrams_come_through_as_they_are,
        variables_and_arguments_reach_the_process,
        sigterm_reaches_the_first_process,
        a_port_that_a_stranger_has_is_busy_and_named,
        ports_are_free_again_after_removal,
        logs_keep_bytes_tell_the_streams_apart_and_begin_at_since,
        the_end_of_a_long_log_is_had_without_the_rest,
        cpu_time_and_traffic_are_counted,
        the_start_is_dated,
        files_are_there_when_the_process_starts_and_are_its_own_afterwards,
    ]
);

async fn players_reach_udp_and_tcp_from_this_machine_and_by_its_address(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let port = spec.ports.first().map_or(0, |port| port.external);
    let pong = format!("pong {}", spec.id.deployment);
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), lab.world()?.host_address] {
        let address = SocketAddr::new(address, port);
        let (tcp, udp) = (ask_tcp(address, "ping").await?, ask_udp(address, b"ping").await?);
        check!(tcp == pong, "{address} says {tcp:?} over TCP");
        check!(udp == pong.as_bytes(), "{address} says {udp:?} over UDP");
    }
    Ok(())
}

async fn datagrams_come_through_as_they_are(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let address = (Ipv4Addr::LOCALHOST, spec.ports.first().map_or(0, |port| port.external)).into();
    let datagram: Vec<u8> = (0..1200_u16).map(|n| n.to_le_bytes()[0]).collect();
    check!(ask_udp(address, &datagram).await? == datagram, "another datagram came back");
    Ok(())
}

async fn variables_and_arguments_reach_the_process(lab: &Lab) -> Outcome {
    let mut spec = lab.spec(Program::Serve).await?;
    let value = "a b=c 'd' $HOME ünï {\"json\": [1]}";
    spec.env.push(("GREETING".to_owned(), Plaintext::new(value)));
    spec.arguments = Some(vec!["log:2".to_owned(), "term-exit:9".to_owned()]);
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    let seen = lab.ask(&spec, "env GREETING").await?;
    check!(seen == value, "the variable is {seen:?}");
    lab.driver.stop(spec.id, Duration::from_secs(5)).await?;
    check!(lab.exit(spec.id).await?.0 == 9, "the arguments did not arrive");
    Ok(())
}

async fn sigterm_reaches_the_first_process(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let status = lab.ask(&spec, "status").await?;
    check!(status.starts_with("pid=1 "), "it is not the first process: {status}");
    lab.driver.stop(spec.id, Duration::from_secs(5)).await?;
    check!(lab.exit(spec.id).await? == (0, false), "it did not end by itself");
    let log = read_log(lab, spec.id, None).await?;
    check!(log.contains("signal 15"), "it saw no SIGTERM: {log}");
    Ok(())
}

async fn a_port_that_a_stranger_has_is_busy_and_named(lab: &Lab) -> Outcome {
    let spec = lab.spec(Program::Serve).await?;
    let port = spec.ports.first().map_or(0, |port| port.external);
    let stranger = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let error = error_of(lab.driver.ensure(&spec).await)?;
    let busy = DriverError::PortBusy { port, transport: Transport::Udp };
    check!(error == busy, "it says {error:?}");
    drop(stranger);
    lab.driver.remove(spec.id).await?;
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await
}

async fn ports_are_free_again_after_removal(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let port = spec.ports.first().map_or(0, |port| port.external);
    lab.driver.remove(spec.id).await?;
    // Free as soon as the call answers: nobody waits here.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Ok(())
}

async fn logs_keep_bytes_tell_the_streams_apart_and_begin_at_since(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Log(1)).await?;
    lab.ask(&spec, "log-bytes").await?;
    lab.ask(&spec, "log-error on the other stream").await?;
    let all: Vec<u8> = (0..=255).collect();
    let written = || async {
        let (out, err) = read_streams(lab, spec.id, None).await?;
        let whole = out.windows(all.len()).any(|window| window == all);
        Ok(whole && String::from_utf8_lossy(&err).contains("on the other stream"))
    };
    lab.until("all bytes stand in the log, each stream by itself", written).await?;
    let started = lab.driver.inspect(spec.id).await?.and_then(|observed| observed.started_at);
    let Some(started) = started else { return Err(Failed("there is no start time".to_owned())) };
    // Engines date the start when they come to know of it; the first lines may be older.
    let just_before = Timestamp(started.micros() - 1_000_000);
    let whole = read_log(lab, spec.id, Some(just_before)).await?;
    check!(whole.contains("line 1"), "since its start there is no line: {whole}");
    let later = read_log(lab, spec.id, Some(started.plus(Duration::from_secs(3600)))).await?;
    check!(later.is_empty(), "an hour later there is {later:?}");
    Ok(())
}

async fn the_end_of_a_long_log_is_had_without_the_rest(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Log(20_000)).await?;
    let whole = read_from(lab, spec.id, LogFrom::Start).await?;
    check!(whole.contains("line 1\n") && whole.contains("line 20000\n"), "the log has {} bytes", whole.len());
    for wanted in [1, 1000, 100_000] {
        let tail = read_from(lab, spec.id, LogFrom::Tail(wanted)).await?;
        check!(whole.ends_with(&tail) && tail.len() >= wanted, "of {wanted} bytes came {}", tail.len());
        check!(tail.len() < wanted + 200_000, "of {wanted} bytes came {}", tail.len());
    }
    let all = read_from(lab, spec.id, LogFrom::Tail(10_000_000)).await?;
    check!(all == whole, "{} of {} bytes", all.len(), whole.len());
    Ok(())
}

/// The log as one text.
async fn read_from(lab: &Lab, id: WorkloadId, from: LogFrom) -> Result<String, Failed> {
    let mut text = Vec::new();
    let mut logs = lab.driver.logs(id, from, false).await?;
    while let Some(chunk) = logs.next().await {
        text.extend_from_slice(&chunk?.bytes);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn cpu_time_and_traffic_are_counted(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let before = lab.driver.stats(spec.id).await?;
    // It tells how much it got: on a busy machine that may be little.
    let mut burnt_millis: u64 = 0;
    for _ in 0..10 {
        burnt_millis += lab.ask(&spec, "burn 300").await?.parse::<u64>()?;
        if burnt_millis >= 50 {
            break;
        }
    }
    let after = lab.driver.stats(spec.id).await?;
    let grown = |a: Option<u64>, b: Option<u64>| b.unwrap_or(0).saturating_sub(a.unwrap_or(0));
    let counted_millis = grown(before.cpu_micros, after.cpu_micros) / 1000;
    check!(
        burnt_millis >= 50 && counted_millis >= burnt_millis / 2,
        "{counted_millis} of {burnt_millis} ms counted"
    );
    check!(grown(before.received_bytes, after.received_bytes) > 0, "traffic {before:?} {after:?}");
    Ok(())
}

async fn the_start_is_dated(lab: &Lab) -> Outcome {
    let first = lab.serving(Program::Serve).await?;
    let second = lab.serving(Program::Serve).await?;
    let started =
        async |id| Ok::<_, Failed>(lab.driver.inspect(id).await?.and_then(|observed| observed.started_at));
    let (Some(first), Some(second)) = (started(first.id).await?, started(second.id).await?) else {
        return Err(Failed("there is no start time".to_owned()));
    };
    check!(first < second, "the second start is not later than the first");
    check!(second.since(first) < Duration::from_secs(60), "the starts are too far apart");
    Ok(())
}

async fn files_are_there_when_the_process_starts_and_are_its_own_afterwards(lab: &Lab) -> Outcome {
    let mut spec = lab.spec(Program::Serve).await?;
    let large: String = "0123456789".repeat(50_000);
    let file = |path: &str, content: &str| WorkloadFile {
        path: path.to_owned(),
        mode: 0o644,
        content: content.to_owned().into(),
    };
    spec.files = vec![file("/usr/share/deep/a b.cfg", "speed=1"), file("/large", &large)];
    spec.arguments = Some(vec!["show:/usr/share/deep/a b.cfg".to_owned()]);
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    let log = read_log(lab, spec.id, None).await?;
    check!(log.contains("a b.cfg holds speed=1"), "it was not there at the start: {log}");
    let wrote = lab.ask(&spec, "write /usr/share/deep/a b.cfg").await?;
    check!(wrote == "written", "its own file cannot be written: {wrote}");
    // A call that is repeated while it runs changes nothing.
    lab.driver.ensure(&spec).await?;
    let now = lab.ask(&spec, "read /usr/share/deep/a b.cfg").await?;
    check!(now == "written by the game", "the file is {now:?}");
    let first: String = lab.ask(&spec, "read /large").await?.chars().take(20).collect();
    check!(first == "01234567890123456789", "the large file begins with {first:?}");
    Ok(())
}

async fn read_log(lab: &Lab, id: WorkloadId, since: Option<Timestamp>) -> Result<String, Failed> {
    let (out, err) = read_streams(lab, id, since).await?;
    Ok(String::from_utf8_lossy(&[out, err].concat()).into_owned())
}

async fn read_streams(
    lab: &Lab,
    id: WorkloadId,
    since: Option<Timestamp>,
) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut logs = lab.driver.logs(id, since.map_or(LogFrom::Start, LogFrom::Since), false).await?;
    while let Some(chunk) = logs.next().await {
        let chunk = chunk?;
        let stream = if chunk.stderr { &mut err } else { &mut out };
        stream.extend_from_slice(&chunk.bytes);
    }
    Ok((out, err))
}
