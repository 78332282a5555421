//! The cases that every driver can play, the fake included.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use spawnpoint_model::Cidr;

use super::lab::{Lab, error_of, new_id};
use super::{Failed, Outcome, Program, cases, check};
use crate::{AccessList, DriverError, Hint, HintStream, LogFrom, Running, Security, Stats, WorkloadFile};

cases!(
    false,
    [
        info_and_probe_tell_of_a_host_that_is_well,
        ensuring_twice_gives_one_workload,
        ensuring_at_once_gives_one_workload,
        another_spec_under_the_same_id_is_a_conflict,
        an_ended_workload_is_not_started_again,
        stopping_and_removing_the_unknown_is_fine,
        stop_ends_the_workload_and_leaves_it_to_be_seen,
        a_workload_that_ignores_the_stop_is_ended_by_its_removal,
        inspect_tells_what_runs_and_the_absent_is_none,
        exit_codes_are_told_as_they_are,
        an_end_for_memory_is_told,
        list_shows_running_and_ended_workloads,
        list_shows_only_the_own_host_and_installation,
        a_driver_does_not_touch_the_workload_of_another_host,
        listening_is_false_first_and_true_later,
        a_workload_that_never_listens_runs_all_the_same,
        hints_begin_with_resync_and_tell_of_start_end_and_removal,
        a_missing_image_is_told_and_can_be_prepared,
        an_unknown_image_is_unavailable,
        a_failed_start_is_told_and_leaves_nothing_after_removal,
        a_port_that_another_workload_has_is_busy,
        logs_come_from_the_start_and_end_with_the_workload,
        stats_are_plausible,
        figures_of_all_that_runs_come_at_once,
        files_in_protected_places_are_refused_and_other_files_are_another_spec,
        an_access_list_holds_from_the_start_can_be_changed_and_goes_with_its_workload,
    ]
);

async fn info_and_probe_tell_of_a_host_that_is_well(lab: &Lab) -> Outcome {
    let info = lab.driver.info().await?;
    check!(!info.kind.is_empty() && !info.version.is_empty(), "kind or version is missing: {info:?}");
    let spec = lab.spec(Program::Serve).await?;
    let probe = lab.driver.probe().await?;
    check!(probe.total.is_none_or(|total| total.cpu.0 >= 1024), "less than one CPU: {probe:?}");
    check!(
        probe.cached_images.contains(&spec.image),
        "{} is not among {:?}",
        spec.image,
        probe.cached_images
    );
    Ok(())
}

async fn ensuring_twice_gives_one_workload(lab: &Lab) -> Outcome {
    let spec = lab.started(Program::Serve).await?;
    let before = lab.driver.inspect(spec.id).await?;
    lab.driver.ensure(&spec).await?;
    let found = lab.driver.list().await?.into_iter().filter(|w| w.id == spec.id).count();
    check!(found == 1, "{found} workloads");
    check!(lab.driver.inspect(spec.id).await? == before, "the second call changed it");
    Ok(())
}

async fn ensuring_at_once_gives_one_workload(lab: &Lab) -> Outcome {
    let spec = lab.spec(Program::Serve).await?;
    for answer in join_all((0..6).map(|_| lab.driver.ensure(&spec))).await {
        answer?;
    }
    let found = lab.driver.list().await?.into_iter().filter(|w| w.id == spec.id).count();
    check!(found == 1, "{found} workloads");
    lab.until_listening(&spec).await
}

async fn another_spec_under_the_same_id_is_a_conflict(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let mut other = spec.clone();
    other.security = Security::Restricted;
    let error = error_of(lab.driver.ensure(&other).await)?;
    check!(error == DriverError::Conflict, "it says {error}");
    check!(lab.state(spec.id).await? == Running::Running, "the first one no longer runs");
    Ok(())
}

async fn an_ended_workload_is_not_started_again(lab: &Lab) -> Outcome {
    let spec = lab.started(Program::Exit(3)).await?;
    lab.exit(spec.id).await?;
    let ended = lab.driver.inspect(spec.id).await?;
    lab.driver.ensure(&spec).await?;
    check!(lab.driver.inspect(spec.id).await? == ended, "it was started again");
    Ok(())
}

async fn stopping_and_removing_the_unknown_is_fine(lab: &Lab) -> Outcome {
    let id = new_id();
    lab.driver.stop(id, Duration::from_secs(1)).await?;
    lab.driver.remove(id).await?;
    let spec = lab.started(Program::Exit(0)).await?;
    lab.exit(spec.id).await?;
    lab.driver.stop(spec.id, Duration::from_secs(1)).await?;
    lab.driver.remove(spec.id).await?;
    lab.driver.remove(spec.id).await?;
    Ok(())
}

async fn stop_ends_the_workload_and_leaves_it_to_be_seen(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::TermExit(5)).await?;
    lab.driver.stop(spec.id, Duration::from_secs(30)).await?;
    check!(lab.exit(spec.id).await? == (5, false), "it did not end as it does at SIGTERM");
    Ok(())
}

async fn a_workload_that_ignores_the_stop_is_ended_by_its_removal(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::IgnoreTerm).await?;
    let asked = tokio::time::Instant::now();
    lab.driver.stop(spec.id, Duration::from_secs(30)).await?;
    check!(asked.elapsed() < Duration::from_secs(5), "stop waited for the workload");
    check!(lab.state(spec.id).await? == Running::Running, "it ended all the same");
    lab.driver.remove(spec.id).await?;
    check!(lab.driver.inspect(spec.id).await?.is_none(), "it is still there");
    Ok(())
}

async fn inspect_tells_what_runs_and_the_absent_is_none(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let Some(observed) = lab.driver.inspect(spec.id).await? else {
        return Err(Failed("it is not there".to_owned()));
    };
    check!(observed.id == spec.id && observed.host == spec.host, "another workload: {observed:?}");
    check!(observed.state == Running::Running, "{:?}", observed.state);
    check!(observed.spec_hash == Some(spec.hash()), "the hash is {:?}", observed.spec_hash);
    check!(observed.ports == spec.ports, "the ports are {:?}", observed.ports);
    check!(lab.driver.inspect(new_id()).await?.is_none(), "there is something that never was");
    Ok(())
}

async fn exit_codes_are_told_as_they_are(lab: &Lab) -> Outcome {
    for (program, code) in [(Program::Exit(0), 0), (Program::ExitAfter(100, 3), 3)] {
        let spec = lab.started(program).await?;
        let exit = lab.exit(spec.id).await?;
        check!(exit == (code, false), "{program:?} ended as {exit:?}");
    }
    // Which signal ends a first process that aborts is the kernel's choice: its SIGABRT is ignored.
    let spec = lab.started(Program::Crash).await?;
    let (code, oom) = lab.exit(spec.id).await?;
    check!((128 + 1..128 + 64).contains(&code) && !oom, "a crash ended as {code}, for memory: {oom}");
    Ok(())
}

async fn an_end_for_memory_is_told(lab: &Lab) -> Outcome {
    let spec = lab.started(Program::OutOfMemory).await?;
    let exit = lab.exit(spec.id).await?;
    check!(exit == (137, true), "it ended as {exit:?}");
    Ok(())
}

async fn list_shows_running_and_ended_workloads(lab: &Lab) -> Outcome {
    let (running, ended) = (lab.serving(Program::Serve).await?, lab.started(Program::Exit(3)).await?);
    lab.exit(ended.id).await?;
    let list = lab.driver.list().await?;
    let find =
        |id| list.iter().find(|w| w.id == id).ok_or_else(|| Failed(format!("{id} is not in the list")));
    let (seen_running, seen_ended) = (find(running.id)?, find(ended.id)?);
    check!(seen_running.state == Running::Running, "{:?}", seen_running.state);
    check!(matches!(seen_ended.state, Running::Exited(e) if e.code == 3), "{:?}", seen_ended.state);
    check!(seen_running.spec_hash == Some(running.hash()), "the hash is {:?}", seen_running.spec_hash);
    check!(seen_running.ports == running.ports, "the ports are {:?}", seen_running.ports);
    Ok(())
}

async fn list_shows_only_the_own_host_and_installation(lab: &Lab) -> Outcome {
    let neighbour = lab.elsewhere(lab.installation(), "neighbour").await?;
    let stranger = lab.elsewhere(&format!("{}-stranger", new_id().deployment).into(), "conformance").await?;
    let mine = lab.started(Program::Serve).await?;
    let others = [neighbour.started(Program::Serve).await?, stranger.started(Program::Serve).await?];
    let list = lab.driver.list().await?;
    let outcome = async {
        check!(list.iter().any(|w| w.id == mine.id), "the own workload is not in the list");
        for other in &others {
            check!(!list.iter().any(|w| w.id == other.id), "the workload of {} is in the list", other.host);
        }
        check!(neighbour.driver.list().await?.len() == 1, "the neighbour sees more than its own");
        Ok(())
    };
    let outcome = outcome.await;
    neighbour.clear().await?;
    stranger.clear().await?;
    outcome
}

async fn a_driver_does_not_touch_the_workload_of_another_host(lab: &Lab) -> Outcome {
    let neighbour = lab.elsewhere(lab.installation(), "neighbour").await?;
    let theirs = neighbour.serving(Program::Serve).await?;
    lab.driver.stop(theirs.id, Duration::from_secs(1)).await?;
    lab.driver.remove(theirs.id).await?;
    let seen = lab.driver.inspect(theirs.id).await?;
    let state = neighbour.state(theirs.id).await;
    neighbour.clear().await?;
    check!(seen.is_none(), "it is seen from another host");
    check!(state? == Running::Running, "it was stopped from another host");
    Ok(())
}

async fn listening_is_false_first_and_true_later(lab: &Lab) -> Outcome {
    let spec = lab.spec(Program::SlowListen(1500)).await?;
    check!(!lab.driver.listening(spec.id, &spec.ports).await?, "it listens before it was made");
    lab.driver.ensure(&spec).await?;
    check!(!lab.driver.listening(spec.id, &spec.ports).await?, "it listens too early");
    lab.until_listening(&spec).await?;
    lab.driver.remove(spec.id).await?;
    check!(!lab.driver.listening(spec.id, &spec.ports).await?, "it listens after its end");
    Ok(())
}

async fn a_workload_that_never_listens_runs_all_the_same(lab: &Lab) -> Outcome {
    let spec = lab.started(Program::NeverListen).await?;
    lab.until("it runs", || async { Ok(lab.state(spec.id).await? == Running::Running) }).await?;
    check!(!lab.driver.listening(spec.id, &spec.ports).await?, "it listens");
    Ok(())
}

async fn hints_begin_with_resync_and_tell_of_start_end_and_removal(lab: &Lab) -> Outcome {
    let mut hints = lab.driver.watch().await?;
    check!(hints.next().await == Some(Hint::Resync), "the first hint is another");
    let spec = lab.started(Program::ExitAfter(300, 0)).await?;
    let changed = Hint::Changed(spec.id);
    let looks = Mutex::new(Vec::new());
    let mut wait_for = async |what: &str, want: fn(Option<&Running>) -> bool| {
        loop {
            until_hint(&mut hints, changed, what).await?;
            let state = lab.driver.inspect(spec.id).await?.map(|observed| observed.state);
            looks.lock().push(state.clone());
            if want(state.as_ref()) {
                return Ok::<(), Failed>(());
            }
        }
    };
    wait_for("it has ended", |state| matches!(state, Some(Running::Exited(_)))).await?;
    lab.driver.remove(spec.id).await?;
    wait_for("it is gone", |state| state.is_none()).await
}

async fn until_hint(hints: &mut HintStream, wanted: Hint, what: &str) -> Outcome {
    let find = async {
        while let Some(hint) = hints.next().await {
            if hint == wanted || hint == Hint::Resync {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(Duration::from_secs(20), find).await;
    check!(found == Ok(true), "no hint came when {what}");
    Ok(())
}

async fn a_missing_image_is_told_and_can_be_prepared(lab: &Lab) -> Outcome {
    let mut spec = lab.spec(Program::Serve).await?;
    spec.image = lab.subject().absent_image();
    let error = error_of(lab.driver.ensure(&spec).await)?;
    check!(error == DriverError::ImageMissing, "it says {error}");
    check!(lab.driver.inspect(spec.id).await?.is_none(), "something was made of no image");
    lab.subject().provide(&spec.image).await?;
    lab.driver.prepare(&spec.image, None, false, &|_, _| {}).await?;
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await
}

async fn an_unknown_image_is_unavailable(lab: &Lab) -> Outcome {
    let image = lab.subject().unknown_image();
    let error = error_of(lab.driver.prepare(&image, None, false, &|_, _| {}).await)?;
    check!(matches!(error, DriverError::ImageUnavailable { .. }), "it says {error}");
    Ok(())
}

async fn a_failed_start_is_told_and_leaves_nothing_after_removal(lab: &Lab) -> Outcome {
    let spec = lab.spec(Program::Missing).await?;
    let error = error_of(lab.driver.ensure(&spec).await)?;
    check!(matches!(&error, DriverError::StartFailed(why) if !why.is_empty()), "it says {error:?}");
    let again = error_of(lab.driver.ensure(&spec).await)?;
    check!(matches!(again, DriverError::StartFailed(_)), "the second time it says {again:?}");
    let left = lab.driver.list().await?.into_iter().find(|w| w.id == spec.id);
    check!(left.is_none_or(|w| w.state != Running::Running), "it seems to run");
    lab.driver.remove(spec.id).await?;
    check!(lab.driver.inspect(spec.id).await?.is_none(), "it is still there");
    Ok(())
}

async fn a_port_that_another_workload_has_is_busy(lab: &Lab) -> Outcome {
    let first = lab.serving(Program::Serve).await?;
    let mut second = lab.spec(Program::Serve).await?;
    second.ports.clone_from(&first.ports);
    let error = error_of(lab.driver.ensure(&second).await)?;
    let external = first.ports.first().map_or(0, |port| port.external);
    check!(matches!(error, DriverError::PortBusy { port, .. } if port == external), "it says {error:?}");
    lab.driver.remove(second.id).await?;
    lab.driver.remove(first.id).await?;
    lab.driver.ensure(&second).await?;
    lab.until_listening(&second).await
}

async fn logs_come_from_the_start_and_end_with_the_workload(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Log(3)).await?;
    let mut logs = lab.driver.logs(spec.id, LogFrom::Start, true).await?;
    let text = Arc::new(Mutex::new(String::new()));
    let read = async {
        while let Some(chunk) = logs.next().await {
            text.lock().push_str(&String::from_utf8_lossy(&chunk?.bytes));
        }
        Ok::<(), Failed>(())
    };
    let stop = async {
        lab.until("the log has its lines", || async { Ok(text.lock().contains("line 3")) }).await?;
        lab.driver.stop(spec.id, Duration::from_secs(30)).await?;
        Ok::<(), Failed>(())
    };
    let both = async { futures_util::future::try_join(read, stop).await };
    let ended = tokio::time::timeout(Duration::from_secs(30), both).await;
    check!(ended.is_ok(), "a followed log did not end with its workload: {:?}", text.lock());
    ended??;
    check!(text.lock().contains("line 1"), "the log lacks its beginning: {:?}", text.lock());
    let mut again = lab.driver.logs(spec.id, LogFrom::Start, false).await?;
    let first =
        again.next().await.ok_or_else(|| Failed("the log of an ended workload is empty".to_owned()))??;
    check!(!first.bytes.is_empty(), "an empty chunk");
    lab.driver.remove(spec.id).await?;
    let refused = lab.driver.logs(spec.id, LogFrom::Start, false).await.err();
    check!(refused == Some(DriverError::Missing), "of the log of a removed workload it says {refused:?}");
    Ok(())
}

async fn stats_are_plausible(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Serve).await?;
    let stats = lab.driver.stats(spec.id).await?;
    let limit = u64::from(spec.resources.memory.0) * 1024 * 1024;
    check!(stats.memory_bytes.is_none_or(|bytes| bytes > 0 && bytes <= limit), "memory {stats:?}");
    check!(stats.cpu_micros.is_none_or(|micros| micros < 60_000_000), "CPU {stats:?}");
    check!(stats.pids.is_none_or(|pids| (1..=64).contains(&pids)), "processes {stats:?}");
    let refused = error_of(lab.driver.stats(new_id()).await)?;
    check!(refused == DriverError::Missing, "of the figures of what never was it says {refused:?}");
    Ok(())
}

async fn figures_of_all_that_runs_come_at_once(lab: &Lab) -> Outcome {
    let first = lab.serving(Program::Serve).await?;
    let second = lab.serving(Program::Serve).await?;
    let ended = lab.started(Program::Exit(0)).await?;
    lab.exit(ended.id).await?;
    let figures_of = async |id| -> Result<Option<Stats>, Failed> {
        Ok(lab.driver.stats_all().await?.into_iter().find(|(of, _)| *of == id).map(|(_, stats)| stats))
    };
    let limit = u64::from(first.resources.memory.0) * 1024 * 1024;
    for spec in [&first, &second] {
        let stats = figures_of(spec.id).await?;
        let Some(stats) = stats else { return Err(Failed(format!("{} has no figures", spec.id))) };
        check!(stats.memory_bytes.is_some_and(|bytes| bytes > 0 && bytes <= limit), "memory {stats:?}");
        check!(stats.cpu_micros.is_some_and(|micros| micros < 60_000_000), "CPU {stats:?}");
        check!(stats.received_bytes.is_some() && stats.sent_bytes.is_some(), "network {stats:?}");
        check!(stats.age < Duration::from_secs(30), "age {stats:?}");
    }
    let elsewhere = lab.elsewhere(lab.installation(), "other").await?;
    check!(elsewhere.driver.stats_all().await?.is_empty(), "figures of another host's workloads");
    check!(figures_of(ended.id).await?.is_none(), "figures of what has ended");
    lab.driver.remove(first.id).await?;
    check!(figures_of(first.id).await?.is_none(), "figures of what was removed");
    check!(figures_of(second.id).await?.is_some(), "its neighbour has no figures any more");
    Ok(())
}

async fn files_in_protected_places_are_refused_and_other_files_are_another_spec(lab: &Lab) -> Outcome {
    let file = |path: &str, text: &'static str| WorkloadFile {
        path: path.to_owned(),
        mode: 0o644,
        content: Bytes::from_static(text.as_bytes()),
    };
    let plain = lab.spec(Program::Serve).await?;
    for path in ["/etc/passwd", "/proc/1/comm", "/sys/x", "/dev/null", "data/x", "/data/../etc/x"] {
        let mut spec = plain.clone();
        spec.files = vec![file("/data/good", "good"), file(path, "bad")];
        let error = error_of(lab.driver.ensure(&spec).await)?;
        check!(matches!(&error, DriverError::Invalid(text) if text.contains(path)), "{path}: {error:?}");
        check!(lab.driver.inspect(spec.id).await?.is_none(), "{path}: something was made");
    }
    let mut spec = plain;
    spec.files = vec![file("/data/good", "good")];
    lab.driver.ensure(&spec).await?;
    lab.driver.ensure(&spec).await?;
    let mut other = spec.clone();
    other.files = vec![file("/data/good", "other")];
    let error = error_of(lab.driver.ensure(&other).await)?;
    check!(error == DriverError::Conflict, "with other files it says {error:?}");
    lab.until_listening(&spec).await
}

async fn an_access_list_holds_from_the_start_can_be_changed_and_goes_with_its_workload(lab: &Lab) -> Outcome {
    check!(lab.driver.probe().await?.filters_clients, "access lists cannot be put in force here");
    let network = |text: &str| Cidr::parse(text).map_err(|invalid| Failed(invalid.problem));
    let (first, second) = (network("198.51.100.0/24")?, network("203.0.113.7")?);
    let of = async |id| {
        let all = lab.driver.access().await?;
        Ok::<_, Failed>(all.into_iter().find(|list| list.id == id).map(|list| list.networks))
    };
    let mut spec = lab.spec(Program::Serve).await?;
    spec.access = Some(vec![first]);
    lab.driver.ensure(&spec).await?;
    check!(of(spec.id).await? == Some(vec![first]), "it runs without its list");
    // No part of what it is made from.
    spec.access = Some(vec![first, second]);
    lab.driver.ensure(&spec).await?;
    let open = lab.serving(Program::Serve).await?;
    check!(of(open.id).await?.is_none(), "a workload without a list has one");
    for networks in [vec![first, second], vec![second], Vec::new()] {
        let list = AccessList { id: spec.id, ports: spec.ports.clone(), networks };
        for _ in 0..2 {
            lab.driver.set_access(std::slice::from_ref(&list)).await?;
            check!(of(spec.id).await?.as_ref() == Some(&list.networks), "not in force: {:?}", list.networks);
        }
    }
    lab.driver.set_access(&[]).await?;
    check!(of(spec.id).await? == Some(Vec::new()), "a list that was not named is gone");
    lab.driver.remove(spec.id).await?;
    check!(of(spec.id).await?.is_none(), "its list is still in force");
    let gone = AccessList { id: spec.id, ports: spec.ports.clone(), networks: vec![first] };
    lab.driver.set_access(&[gone]).await?;
    check!(of(spec.id).await?.is_none(), "a workload that is gone was given a list");
    Ok(())
}
