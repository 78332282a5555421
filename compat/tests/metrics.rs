//! What a deployment used, told over HTTP, against a container whose load is known.

#![expect(clippy::panic, reason = "helpers of a test may")]

use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::external;
use spawnpoint_compat::http::encode;
use spawnpoint_compat::player::Flow;
use spawnpoint_compat::{Runtime, eventually, say};

spawnpoint_compat::on_each_runtime!(a_known_load_is_told_within_a_tenth,);

/// Half a CPU, 100 MiB, 1 MiB to disk every second.
const LOAD: &str = "load:50:100:1024";
const MIB: f64 = 1024.0 * 1024.0;
/// Samples of the load that are waited for, one a second.
const SAMPLES: usize = 20;

fn series<'a>(body: &'a Value, pointer: &str) -> (Vec<f64>, Vec<&'a str>) {
    let series = body.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing in {body}"));
    let list = |name: &str| series[name].as_array().unwrap_or_else(|| panic!("{pointer}: {series}"));
    let values = list("datasets").iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>();
    let times = list("timestamps").iter().map(|time| time.as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!((values.len(), values.len()), (times.len(), list("labels").len()), "{pointer}");
    (values, times)
}

fn check(what: &str, found: f64, wanted: f64) {
    say(&format!("{what}: {found:.2}, wanted {wanted:.2} ({:+.1} %)", (found / wanted - 1.0) * 100.0));
    assert!(
        (found - wanted).abs() <= wanted * 0.1,
        "{what} is {found}, which is not within 10 % of {wanted}"
    );
}

/// Seconds between two times of one hour.
fn seconds_between(from: &str, to: &str) -> f64 {
    let of_day = |text: &str| {
        let numbers: Vec<f64> = text[11..].split(':').map(|part| part.parse().unwrap_or(f64::NAN)).collect();
        numbers[0] * 3600.0 + numbers[1] * 60.0 + numbers[2]
    };
    (of_day(to) - of_day(from)).rem_euclid(86_400.0)
}

fn a_known_load_is_told_within_a_tenth(runtime: &Runtime) {
    let (mut server, installation) =
        runtime.start_with(|ports| format!("{}[metrics]\nsample_seconds = 1\n", runtime.site(ports)));
    let fields = json!({
        "req_cpu": 1024, "req_memory": 512, "max_duration": 60,
        "envs": [{"key": "GAME_MODE", "value": LOAD, "is_hidden": false}],
    });
    server.api.describe("arena", "v1", runtime.image(), &fields);
    let id = server.api.deploy("arena", "v1", &json!({}));
    let port = external(&server.api.wait_for(&id, "READY"), "game");
    let flow = Flow::start(port, 1 << 20);
    let path = format!("/v1/metrics/deployment/{id}");

    // The first values in which the flow is seen may show only a part of it.
    let begun = eventually("the flow is seen", Duration::from_secs(30), || {
        let body = server.api.get(&format!("{path}?raw=true")).expect(200);
        let (rates, times) = series(&body, "/network/receive");
        let seen = rates.iter().position(|rate| *rate > 0.5 * MIB)?;
        times.get(seen + 1).map(|time| (*time).to_owned())
    });
    let ended = eventually("enough was sampled", Duration::from_secs(90), || {
        let body = server.api.get(&format!("{path}?raw=true&start_time={}", encode(&begun))).expect(200);
        let (values, times) = series(&body, "/cpu");
        (values.len() > SAMPLES).then(|| times[values.len() - 1].to_owned())
    });
    let range = format!("start_time={}&end_time={}", encode(&begun), encode(&ended));
    let told = || {
        let means = server.api.get(&format!("{path}?{range}&steps=1h")).expect(200);
        let raw = server.api.get(&format!("{path}?{range}&raw=true")).expect(200);
        (means, raw)
    };
    let (means, raw) = told();
    check_load(&means, &raw);
    assert!(flow.finish() > 0);

    server.api.stop(&id);
    check_load(&told().0, &told().1);
    // What was not stored yet is stored at a shutdown.
    let before = told();
    assert!(server.terminate().success());
    server.restart();
    let after = (
        server.api.get(&format!("{path}?{range}&steps=1h")).expect(200),
        server.api.get(&format!("{path}?{range}&raw=true")).expect(200),
    );
    assert!(after == before, "a restart has changed what was told: {}", after.0);
    assert_eq!(installation.containers(), []);
    server.audit();
}

/// Means over the whole time, and totals as they grew in it.
fn check_load(means: &Value, raw: &Value) {
    // The range may reach over a full hour: then it has two steps.
    let mean = |pointer: &str| {
        let (values, _) = series(means, pointer);
        values.iter().sum::<f64>() / values.len() as f64
    };
    check("cpu, percent of one CPU", mean("/cpu"), 50.0);
    check("memory, MiB", mean("/mem"), 100.0);
    check("received, MiB/s", mean("/network/receive") / MIB, 1.0);
    check("sent, MiB/s", mean("/network/transmit") / MIB, 1.0);
    for (what, pointer) in [
        ("received in all, MiB/s", "/total/receive_total"),
        ("sent in all, MiB/s", "/total/transmit_total"),
        ("written in all, MiB/s", "/total/disk_write_total"),
    ] {
        let (values, times) = series(raw, pointer);
        let (first, last) = (0, values.len() - 1);
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{pointer} falls: {values:?}");
        let seconds = seconds_between(times[first], times[last]);
        check(what, (values[last] - values[first]) / seconds / MIB, 1.0);
    }
    let (throttled, _) = series(raw, "/cpu_throttle_total");
    assert!(throttled.windows(2).all(|pair| pair[0] <= pair[1]), "{throttled:?}");
    let (read, _) = series(raw, "/total/disk_read_total");
    assert!(!read.is_empty() && !series(means, "/cpu_throttle_rate").0.is_empty(), "{raw}");
}
