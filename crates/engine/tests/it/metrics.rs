//! What deployments used: sampled, stored, thinned, told; over restarts of everything.

use std::time::Duration;

use spawnpoint_driver::Stats;
use spawnpoint_driver::fake::Op;
use spawnpoint_engine::Error;
use spawnpoint_engine::metrics::{Detail, MetricsQuery, Report, Step};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{DeploymentId, Phase, Status, WorkloadId};

use crate::world::{NOW, World, on_both};

const MIB: u64 = 1 << 20;

impl World {
    /// Moves the clock by `by`, and waits until the deployment was sampled after that.
    async fn sample(&self, id: DeploymentId, by: Duration) {
        let seen = async || self.report(id, Detail::Raw).await.memory.len();
        let before = seen().await;
        self.clock.advance(by);
        self.eventually("a sample is taken", async || seen().await > before).await;
    }

    /// From now on a workload has used so much.
    fn uses(&self, workload: WorkloadId, cpu_micros: u64, bytes: u64, memory: u64) {
        let stats = Stats {
            cpu_micros: Some(cpu_micros),
            memory_bytes: Some(memory),
            received_bytes: Some(bytes),
            sent_bytes: Some(2 * bytes),
            ..Stats::default()
        };
        self.hosts.iter().for_each(|host| host.set_stats(workload, stats));
    }

    async fn workload(&self, id: DeploymentId) -> WorkloadId {
        self.view(id).await.deployment.workload()
    }

    async fn report(&self, id: DeploymentId, detail: Detail) -> Report {
        self.engine
            .metrics(&self.admin, id, MetricsQuery { detail, ..MetricsQuery::default() })
            .await
            .unwrap()
    }

    async fn rows(&self, id: DeploymentId) -> Vec<u32> {
        self.store.metrics(id).await.unwrap().iter().map(|chunk| chunk.tier).collect()
    }
}

/// The last value of a series.
fn last(series: &[(spawnpoint_model::Timestamp, f64)]) -> Option<f64> {
    series.last().map(|(_, value)| *value)
}

on_both! {
    async fn figures_are_told_while_a_deployment_runs_and_after_it_has_ended(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.workload(id).await;
        for n in 0..20 {
            world.uses(workload, n * 500_000 * 4, n * 4000, 100 * MIB);
            world.sample(id, Duration::from_secs(4)).await;
        }
        let live = world.report(id, Detail::Raw).await;
        // The first samples may show what was before the first scripted one.
        assert!(live.cpu.iter().skip(2).all(|(_, cpu)| (cpu - 50.0).abs() < 1.0), "{:?}", live.cpu);
        assert_eq!(last(&live.memory), Some(100.0));
        assert_eq!(last(&live.receive_total), Some(19.0 * 4000.0));
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let ended = world.report(id, Detail::Steps(Step::HalfMinute)).await;
        assert_eq!(last(&ended.transmit_total), Some(19.0 * 8000.0));
        assert!(ended.cpu.len() >= 2, "{:?}", ended.cpu);
    }

    async fn a_restart_of_the_process_makes_totals_go_on(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let first = world.workload(id).await;
        world.uses(first, 1_000_000, 5000, 10 * MIB);
        world.sample(id, Duration::from_secs(2)).await;
        world.hosts.iter().for_each(|host| host.kill(first, Exit { code: 1, oom: false, disk: false }));
        world.eventually("it runs again", async || {
            world.clock.advance(Duration::from_millis(200));
            let row = world.view(id).await.deployment;
            row.state.attempt == 2 && row.state.phase == Phase::Ready
        }).await;
        let second = world.workload(id).await;
        assert_ne!(first, second);
        world.uses(second, 10, 300, 20 * MIB);
        world.sample(id, Duration::from_secs(2)).await;
        world.sample(id, Duration::from_secs(2)).await;
        let report = world.report(id, Detail::Raw).await;
        assert_eq!(last(&report.receive_total), Some(5300.0));
        assert!(report.receive.iter().all(|(_, rate)| *rate >= 0.0), "{:?}", report.receive);
        assert_eq!(world.engine.peaks_of(id).await.unwrap().unwrap().memory_bytes, 20 * MIB);
    }

    async fn a_restart_of_the_control_plane_loses_no_figure(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.workload(id).await;
        world.uses(workload, 0, 100, 30 * MIB);
        world.sample(id, Duration::from_secs(2)).await;
        world.sample(id, Duration::from_secs(2)).await;
        let before = world.report(id, Detail::Raw).await;
        world.crash_and_restart().await;
        let after = world.report(id, Detail::Raw).await;
        assert_eq!(after.memory[..before.memory.len()], before.memory[..]);
        world.uses(workload, 0, 900, 30 * MIB);
        world.sample(id, Duration::from_secs(2)).await;
        assert_eq!(last(&world.report(id, Detail::Raw).await.receive_total), Some(900.0));
        assert!(world.report(id, Detail::Raw).await.memory.len() > before.memory.len());
    }

    async fn a_host_that_tells_nothing_leaves_a_gap_and_hinders_no_other(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.workload(id).await;
        world.uses(workload, 0, 100, 30 * MIB);
        world.sample(id, Duration::from_secs(2)).await;
        // The deployment's own host hangs; the others go on being asked.
        let host = world.view(id).await.deployment.state.host.clone().unwrap();
        let number = ["lyon-1", "montreal-1", "tokyo-1"].iter().position(|name| *name == host.as_str()).unwrap();
        for _ in 0..50 {
            world.hosts[number].fail_next(Op::StatsAll, spawnpoint_driver::DriverError::Timeout);
        }
        let before = world.report(id, Detail::Raw).await.memory.len();
        // On the last engine no host stands before one is added.
        let hosts = world.hosts.split_last().unwrap().1;
        let calls = || hosts.iter().map(|host| host.calls(Op::StatsAll)).min().unwrap();
        for _ in 0..3 {
            let asked = calls();
            world.clock.advance(Duration::from_secs(2));
            world.eventually("every host is asked", async || calls() > asked).await;
        }
        assert_eq!(world.report(id, Detail::Raw).await.memory.len(), before);
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
    }

    async fn points_become_fewer_with_age_totals_and_peaks_stay_and_at_last_they_are_gone(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.workload(id).await;
        for n in 0..30 {
            let memory = if n == 7 { 300 } else { 100 };
            world.uses(workload, n * 1_000_000, n * 1000, memory * MIB);
            world.sample(id, Duration::from_secs(10)).await;
        }
        let fresh = world.report(id, Detail::Raw).await;
        assert!(fresh.memory.len() >= 30);
        let peak = world.engine.peaks_of(id).await.unwrap().unwrap();
        assert_eq!(peak.memory_bytes, 300 * MIB);
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        for (hours, tier) in [(2, 1), (48, 2)] {
            world.clock.advance(Duration::from_secs(3600 * hours));
            world.eventually("everything is thinned", async || {
                let rows = world.rows(id).await;
                !rows.is_empty() && rows.iter().all(|row| *row == tier)
            }).await;
            let thinned = world.report(id, Detail::Raw).await;
            assert!(thinned.memory.len() < fresh.memory.len() / 4, "{:?}", thinned.memory);
            assert_eq!(last(&thinned.receive_total), last(&fresh.receive_total));
            let now = world.engine.peaks_of(id).await.unwrap().unwrap();
            assert_eq!(now.memory_bytes, peak.memory_bytes);
            assert!((now.cpu_percent - peak.cpu_percent).abs() < 0.2, "{now:?} {peak:?}");
        }
        world.clock.advance(Duration::from_secs(8 * 24 * 3600));
        world.eventually("nothing is left", async || world.rows(id).await.is_empty()).await;
    }

    async fn a_minute_that_is_stored_twice_counts_once(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.workload(id).await;
        for n in 0..70 {
            world.uses(workload, n * 100_000, n * 1000, 50 * MIB);
            world.sample(id, Duration::from_secs(1)).await;
        }
        // What another one stores for the same minute takes the place of what is there.
        let chunks = world.store.metrics(id).await.unwrap();
        assert!(!chunks.is_empty());
        let mut tx = spawnpoint_store::Tx::new();
        chunks.iter().for_each(|chunk| tx.put_metrics(chunk));
        world.store.commit(tx).await.unwrap();
        assert_eq!(world.store.metrics(id).await.unwrap().len(), chunks.len());
        let report = world.report(id, Detail::Steps(Step::HalfMinute)).await;
        assert_eq!(last(&report.receive_total), Some(69_000.0));
        assert!(report.receive.iter().skip(1).all(|(_, rate)| (rate - 1000.0).abs() < 60.0), "{:?}", report.receive);
    }

    async fn a_range_that_makes_no_sense_or_is_too_long_is_refused(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let ask = async |start, end, detail| {
            world.engine.metrics(&world.admin, id, MetricsQuery { start, end, detail }).await
        };
        let later = NOW.plus(Duration::from_secs(3 * 24 * 3600));
        let fitting = Detail::Fitting;
        for (start, end, detail) in [
            (Some(later), Some(later), fitting),
            (Some(later), Some(NOW), fitting),
            (Some(later), None, fitting),
            (Some(NOW), Some(later), Detail::Steps(Step::HalfMinute)),
        ] {
            assert!(matches!(ask(start, end, detail).await, Err(Error::Unprocessable(_))), "{start:?} {end:?}");
        }
        ask(None, None, fitting).await.unwrap();
        ask(Some(NOW), Some(later), Detail::Steps(Step::Minute)).await.unwrap();
        let unknown = DeploymentId::from_random(1);
        let answer = world.engine.metrics(&world.admin, unknown, MetricsQuery::default()).await;
        assert!(matches!(answer, Err(Error::NotFound(_))));
        assert_eq!(world.engine.peaks_of(unknown).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_on_the_same_hosts_double_nothing() {
    let Some(world) = World::postgres().await else { return };
    let second = world.second().await;
    let id = world.deploy_ready("v1").await;
    let workload = world.workload(id).await;
    let seen_by_second = async || {
        let query = MetricsQuery { detail: Detail::Raw, ..MetricsQuery::default() };
        second.metrics(&world.admin, id, query).await.unwrap().memory.len()
    };
    for n in 0..130 {
        world.uses(workload, n * 100_000, n * 1000, 50 * MIB);
        let before = seen_by_second().await;
        world.sample(id, Duration::from_secs(1)).await;
        // Its minutes begin with the same samples.
        world.eventually("the other takes it too", async || seen_by_second().await > before).await;
    }
    // Minutes that are over are stored by both.
    let told = async |engine: &spawnpoint_engine::Engine| {
        let query = MetricsQuery { detail: Detail::Steps(Step::HalfMinute), ..MetricsQuery::default() };
        engine.metrics(&world.admin, id, query).await.unwrap()
    };
    world
        .eventually("both know everything", async || {
            last(&told(&second).await.receive_total) == Some(129_000.0)
        })
        .await;
    for engine in [&world.engine, &second] {
        let report = told(engine).await;
        assert_eq!(last(&report.receive_total), Some(129_000.0));
        let steady = &report.receive[1..report.receive.len() - 1];
        assert!(steady.iter().all(|(_, rate)| (rate - 1000.0).abs() < 60.0), "{steady:?}");
        assert!(report.memory.iter().skip(1).all(|(_, memory)| *memory == 50.0), "{:?}", report.memory);
    }
    second.shut_down(Duration::from_secs(5)).await;
    let rows = world.rows(id).await.len();
    assert!((2..=4).contains(&rows), "{rows} rows for three minutes");
    world.end().await;
}
