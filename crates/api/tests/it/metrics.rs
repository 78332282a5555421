//! What a deployment used: shapes in every state, parameters, and figures that were scripted.

use std::time::Duration;

use serde_json::Value;
use spawnpoint_driver::Stats;

use crate::schemas::check_v1;
use crate::world::World;

const SERIES: [&str; 10] = [
    "/total/receive_total",
    "/total/transmit_total",
    "/total/disk_read_total",
    "/total/disk_write_total",
    "/cpu",
    "/mem",
    "/network/receive",
    "/network/transmit",
    "/cpu_throttle_rate",
    "/cpu_throttle_total",
];

fn numbers(body: &Value, series: &str) -> Vec<f64> {
    body.pointer(series).unwrap()["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_f64().unwrap())
        .collect()
}

/// The three lists of every series are equally long, and their entries have the published forms.
fn check_shape(body: &Value) {
    check_v1("MetricsResponse", body);
    for series in SERIES {
        let list = |name: &str| body.pointer(series).unwrap()[name].as_array().unwrap();
        let (labels, times) = (list("labels"), list("timestamps"));
        assert_eq!((labels.len(), labels.len()), (times.len(), list("datasets").len()), "{series}");
        for (label, time) in labels.iter().zip(times) {
            let (label, time) = (label.as_str().unwrap(), time.as_str().unwrap());
            assert_eq!((label.len(), time.len()), (8, 23), "{series}: {time}");
            assert_eq!((label, &time[10..11], &time[19..20]), (&time[11..19], " ", "."));
        }
    }
}

impl World {
    /// Moves the clock and waits until the deployment was sampled once more.
    async fn sample(&self, id: &str) {
        let seen = async || {
            let body = self.get(&format!("/v1/metrics/deployment/{id}?raw=true")).await.expect(200);
            numbers(&body, "/mem").len()
        };
        let before = seen().await;
        self.clock.advance(Duration::from_secs(1));
        for _ in 0..1000 {
            if seen().await > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no sample was taken");
    }

    /// Sets what every workload has used after so many seconds, and samples it.
    async fn use_and_sample(&self, id: &str, seconds: u64) {
        let stats = Stats {
            cpu_micros: Some(seconds * 500_000),
            memory_bytes: Some(100 << 20),
            received_bytes: Some(seconds * 1000),
            sent_bytes: Some(seconds * 2000),
            disk_read_bytes: Some(4096),
            disk_written_bytes: Some(0),
            throttled_micros: Some(seconds * 10_000),
            ..Stats::default()
        };
        for host in &self.hosts {
            host.workload_ids().into_iter().for_each(|id| host.set_stats(id, stats));
        }
        self.sample(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_shown_in_the_published_form_while_it_runs_and_after_its_end() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let path = format!("/v1/metrics/deployment/{id}");
    for second in 0..=65 {
        world.use_and_sample(&id, second).await;
    }
    let raw = world.get(&format!("{path}?raw=true")).await.expect(200);
    check_shape(&raw);
    assert!(numbers(&raw, "/mem").len() >= 60, "{raw}");
    assert!(numbers(&raw, "/mem").iter().skip(2).all(|mem| *mem == 100.0));
    let steps = world.get(&format!("{path}?steps=30s")).await.expect(200);
    check_shape(&steps);
    let near = |series: &str, wanted: f64| {
        let found = numbers(&steps, series);
        assert!(
            !found.is_empty() && found.iter().skip(1).all(|n| (n - wanted).abs() < wanted * 0.05),
            "{series}: {found:?}"
        );
    };
    near("/cpu", 50.0);
    near("/mem", 100.0);
    near("/network/receive", 1000.0);
    near("/network/transmit", 2000.0);
    near("/cpu_throttle_rate", 1.0);
    assert_eq!(numbers(&steps, "/total/receive_total").last(), Some(&65_000.0));
    assert_eq!(numbers(&steps, "/total/disk_read_total").last(), Some(&4096.0));
    assert!(numbers(&steps, "/cpu").len() >= 2 && numbers(&steps, "/cpu").len() <= 4);

    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    world.until(&id, "TERMINATED").await;
    let ended = world.get(&format!("{path}?raw=1")).await.expect(200);
    check_shape(&ended);
    assert!(numbers(&ended, "/mem").len() >= numbers(&raw, "/mem").len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ran_has_empty_series_and_what_is_not_there_is_404() {
    let world = World::with_arena().await;
    world.create_version("arena", "bad", "fake/game", "image-missing").await;
    let id = world.deploy("bad").await;
    let path = format!("/v1/metrics/deployment/{id}");
    check_shape(&world.get(&path).await.expect(200));
    world.until(&id, "ERROR").await;
    for query in
        ["", "?raw=true", "?steps=1h", "?start_time=2021-07-10%2000:00:00.00&steps=1h&end_time=2021-07-11"]
    {
        let body = world.get(&format!("{path}{query}")).await.expect(200);
        check_shape(&body);
        assert!(SERIES.iter().all(|series| numbers(&body, series).is_empty()), "{body}");
    }
    for unknown in ["000000000000", "nonsense", "%00"] {
        let answer = world.get(&format!("/v1/metrics/deployment/{unknown}")).await;
        check_v1("Error", &answer.expect(404));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_parameters_are_named_and_too_long_an_answer_is_refused() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    for (query, code, part) in [
        ("start_time=yesterday", 400, "start_time"),
        ("end_time=2021-13-01", 400, "end_time"),
        ("end_time=%00", 400, "end_time"),
        ("steps=2m", 400, "30s, 1m, 5m, 10m, 1h"),
        ("raw=maybe", 400, "raw"),
        ("start_time=2021-07-10%2000:00:00.00&end_time=2021-07-10%2000:00:00.00", 422, "end_time"),
        ("start_time=2021-07-11&end_time=2021-07-10", 422, "end_time"),
        ("start_time=9999-01-01", 422, "end_time"),
        ("start_time=2021-07-10&end_time=2021-07-20&steps=30s", 422, "at most 5760"),
        ("start_time=0000-01-01&end_time=9999-01-01", 422, "at most 5760"),
    ] {
        let answer = world.get(&format!("/v1/metrics/deployment/{id}?{query}")).await;
        check_v1("Error", &answer.expect(code));
        assert!(answer.message().contains(part), "{query}: {answer:?}");
    }
    let long = format!("/v1/metrics/deployment/{id}?start_time=2021-07-10&end_time=2021-07-11&steps=30s");
    check_shape(&world.get(&long).await.expect(200));
    world.end().await;
}
