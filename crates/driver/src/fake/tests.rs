//! The fake keeps the contract, plays its faults, and stays cheap.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{
    CpuUnits, DeploymentId, HostId, InstallationId, MemoryMib, Plaintext, Transport, WorkloadId,
};

use super::{Behaviour, FakeConfig, FakeDriver, FakeEngine, Op};
use crate::testkit::{self, Program, RealWorld, Subject};
use crate::{Driver, DriverError, Hint, PortPublish, Running, Security, Stats, WorkloadSpec};

struct Fake(Arc<FakeEngine>);

#[async_trait]
impl Subject for Fake {
    async fn driver(
        &self,
        installation: &InstallationId,
        host: &HostId,
    ) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(FakeDriver::on(Arc::clone(&self.0), installation, host.clone())))
    }

    async fn arrange(&self, program: Program, spec: &mut WorkloadSpec) -> Result<(), DriverError> {
        spec.image = format!("fake/game:{}", program.of_the_fake());
        self.0.load_image(&spec.image);
        Ok(())
    }

    fn absent_image(&self) -> String {
        "fake/absent:ok".to_owned()
    }

    async fn provide(&self, _image: &str) -> Result<(), DriverError> {
        Ok(())
    }

    fn unknown_image(&self) -> String {
        "fake/game:image-missing".to_owned()
    }

    fn real_world(&self) -> Option<RealWorld> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_the_contract() {
    let report = testkit::run(Arc::new(Fake(FakeEngine::new(FakeConfig::default()))), "").await;
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.passed.len() >= 20, "{report}");
}

fn driver(config: FakeConfig) -> FakeDriver {
    FakeDriver::new(&"inst".into(), "host".into(), config)
}

fn spec(number: u64, image: &str, driver: &FakeDriver) -> WorkloadSpec {
    driver.engine().load_image(image);
    let external = 1000 + u16::try_from(number % 60_000).unwrap();
    WorkloadSpec {
        id: WorkloadId { deployment: DeploymentId::from_random(number), attempt: 1 },
        installation: "inst".into(),
        host: "host".into(),
        image: image.to_owned(),
        command: None,
        arguments: None,
        env: vec![("KEY".to_owned(), Plaintext::new("value"))],
        ports: vec![PortPublish { internal: 7777, external, transport: Transport::Udp }],
        resources: Resources { cpu: CpuUnits(128), memory: MemoryMib(128) },
        pids_max: 64,
        security: Security::Baseline,
        files: Vec::new(),
        access: None,
        lifetime: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_workload_runs_and_listens_before_ensure_returns() {
    let driver = driver(FakeConfig::default());
    let spec = spec(1, "fake/game:ok", &driver);
    driver.ensure(&spec).await.unwrap();
    assert_eq!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Running);
    assert!(driver.listening(spec.id, &spec.ports).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_has_its_effect_and_the_next_call_finds_it() {
    let driver = driver(FakeConfig::default());
    let by_image = spec(1, "fake/game:lost-reply", &driver);
    assert_eq!(driver.ensure(&by_image).await, Err(DriverError::Timeout));
    assert_eq!(driver.ensure(&by_image).await, Ok(()));
    let by_fault = spec(2, "fake/game:ok", &driver);
    driver.engine().lose_next_reply(Op::Ensure);
    assert_eq!(driver.ensure(&by_fault).await, Err(DriverError::Timeout));
    assert_eq!(driver.inspect(by_fault.id).await.unwrap().unwrap().state, Running::Running);
}

#[tokio::test(start_paused = true)]
async fn a_hang_ends_at_the_deadline_and_has_no_effect() {
    let driver = driver(FakeConfig::default());
    driver.engine().hang_next(Op::Ensure);
    let spec = spec(1, "fake/game:ok", &driver);
    let asked = tokio::time::Instant::now();
    assert_eq!(driver.ensure(&spec).await, Err(DriverError::Timeout));
    assert_eq!(asked.elapsed(), Duration::from_secs(60));
    assert!(driver.inspect(spec.id).await.unwrap().is_none());
    assert_eq!(driver.engine().calls(Op::Ensure), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_comes_after_its_answer() {
    let driver = driver(FakeConfig::default());
    let spec = spec(1, "fake/game:ok", &driver);
    driver.engine().delay_next(Op::Ensure, Duration::from_secs(3));
    assert_eq!(driver.ensure(&spec).await, Err(DriverError::Timeout));
    assert!(driver.inspect(spec.id).await.unwrap().is_none());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(driver.inspect(spec.id).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_engine_answers_nothing_and_ends_its_watchers() {
    let driver = driver(FakeConfig::default());
    let mut hints = driver.watch().await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Resync));
    driver.engine().set_unreachable(true);
    assert_eq!(hints.next().await, None);
    assert!(matches!(driver.list().await, Err(DriverError::Unavailable(_))));
    driver.engine().set_unreachable(false);
    assert_eq!(driver.list().await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn workloads_survive_the_driver_that_made_them() {
    let engine = FakeEngine::new(FakeConfig::default());
    let before = FakeDriver::on(Arc::clone(&engine), &"inst".into(), "host".into());
    let spec = spec(1, "fake/game:ok", &before);
    before.ensure(&spec).await.unwrap();
    drop(before);
    let after = FakeDriver::on(engine, &"inst".into(), "host".into());
    assert_eq!(after.list().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn remembered_workloads_run_and_take_the_spec_they_are_given() {
    let driver = driver(FakeConfig::default());
    let spec = spec(1, "fake/game:ok", &driver);
    let other = WorkloadId { attempt: 2, ..spec.id };
    driver.remember([(spec.id, "host".into()), (other, "elsewhere".into())]);
    let list = driver.list().await.unwrap();
    assert_eq!(list.iter().map(|w| w.id).collect::<Vec<_>>(), [spec.id]);
    assert!(driver.listening(spec.id, &spec.ports).await.unwrap());
    driver.ensure(&spec).await.unwrap();
    let mut changed = spec.clone();
    changed.pids_max = 1;
    assert_eq!(driver.ensure(&changed).await, Err(DriverError::Conflict));
}

#[tokio::test(start_paused = true)]
async fn a_full_host_takes_no_more_until_something_is_removed() {
    let total = Some(Resources { cpu: CpuUnits(256), memory: MemoryMib(1024) });
    let driver = driver(FakeConfig { total, ..FakeConfig::default() });
    let specs: Vec<_> = (1..=3).map(|n| spec(n, "fake/game:ok", &driver)).collect();
    driver.ensure(&specs[0]).await.unwrap();
    driver.ensure(&specs[1]).await.unwrap();
    assert!(matches!(driver.ensure(&specs[2]).await, Err(DriverError::NoCapacity(_))));
    driver.remove(specs[0].id).await.unwrap();
    driver.ensure(&specs[2]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_with_deadlines_ends_what_ignores_sigterm() {
    let driver = driver(FakeConfig { host_deadlines: true, ..FakeConfig::default() });
    let spec = spec(1, "fake/game:ignore-term", &driver);
    driver.ensure(&spec).await.unwrap();
    driver.stop(spec.id, Duration::from_secs(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Running);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(driver.inspect(spec.id).await.unwrap().unwrap().state, Running::Exited(super::SIGKILLED));
}

#[tokio::test(start_paused = true)]
async fn a_script_overrules_the_name_of_the_image() {
    let driver = driver(FakeConfig::default());
    driver.engine().script("fake/game:ok", Behaviour::of_image("x:never-listens"));
    let spec = spec(1, "fake/game:ok", &driver);
    driver.ensure(&spec).await.unwrap();
    assert!(!driver.listening(spec.id, &spec.ports).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_pull_is_cut_after_a_minute() {
    let driver = driver(FakeConfig::default());
    let asked = tokio::time::Instant::now();
    let pull = driver.prepare("fake/game:pull-stall", None, false, &|_, _| {}).await;
    assert_eq!(pull, Err(DriverError::PullTimeout));
    assert_eq!(asked.elapsed(), Duration::from_secs(60));
}

#[tokio::test]
async fn sixty_thousand_workloads_are_made_in_a_moment() {
    let driver = driver(FakeConfig::default());
    let asked = tokio::time::Instant::now();
    for number in 0..60_000 {
        driver.ensure(&spec(number, "fake/game:ok", &driver)).await.unwrap();
    }
    assert_eq!(driver.engine().workload_count(), 60_000);
    // Hundreds a second would already do; a debug build on a busy machine makes ten thousand.
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    println!("60000 workloads in {:?}; one takes {} bytes", asked.elapsed(), super::engine::WORKLOAD_BYTES);
    const { assert!(super::engine::WORKLOAD_BYTES <= 200) };
}

#[tokio::test(start_paused = true)]
async fn figures_asked_for_one_by_one_leave_out_whoever_does_not_answer() {
    let driver = driver(FakeConfig::default());
    for number in 1..=6 {
        driver.ensure(&spec(number, "fake/game:ok", &driver)).await.unwrap();
    }
    driver.engine().hang_next(Op::Stats);
    driver.engine().fail_next(Op::Stats, DriverError::Timeout);
    let all = driver.list().await.unwrap().into_iter().map(|observed| observed.id).collect::<Vec<_>>();
    let read = crate::figures::one_by_one(&driver, all.clone()).await;
    assert_eq!(read.len(), 4, "{read:?}");
    let oldest = read.iter().map(|(_, stats)| stats.age).max().unwrap();
    assert_eq!(oldest, Duration::from_secs(10), "the others were read while one hung");
    (0..all.len()).for_each(|_| driver.engine().hang_next(Op::Stats));
    let asked = tokio::time::Instant::now();
    assert_eq!(crate::figures::one_by_one(&driver, all).await, []);
    assert!(asked.elapsed() <= Duration::from_secs(45), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn figures_are_as_scripted_and_go_with_the_workload() {
    let driver = driver(FakeConfig::default());
    let made = spec(1, "fake/game:ok", &driver);
    driver.ensure(&made).await.unwrap();
    let scripted = Stats { cpu_micros: Some(7), ..Stats::default() };
    driver.engine().set_stats(made.id, scripted);
    assert_eq!(driver.stats_all().await.unwrap(), [(made.id, scripted)]);
    driver.remove(made.id).await.unwrap();
    driver.ensure(&made).await.unwrap();
    assert_ne!(driver.stats(made.id).await.unwrap(), scripted);
}
