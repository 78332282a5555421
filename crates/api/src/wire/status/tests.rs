//! The status body in every state, byte by byte where clients are strict.

use std::sync::Arc;

use serde_json::{Value, json};
use spawnpoint_engine::{DeploymentView, HostPlace};
use spawnpoint_model::app::{ImageSource, SessionConfig, SessionKind};
use spawnpoint_model::deployment::{After, Failure, FailureKind, StopCause, Tag};
use spawnpoint_model::site::Location;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{
    AppName, CpuUnits, Deployment, DeploymentId, DeploymentSpec, MemoryMib, Phase, PortBinding, Protocol,
    RestartPolicy, Status, TagName, Timestamp, VersionName, VersionSpec,
};

use super::render_status;

const ASKED: Timestamp = Timestamp(1_775_896_200_000_000);
const READY: Timestamp = Timestamp(1_775_896_212_004_211);
const NOW: Timestamp = Timestamp(1_775_896_254_904_211);

fn spec() -> DeploymentSpec {
    DeploymentSpec {
        app: AppName::parse("arena").unwrap(),
        version: VersionName::parse("v7").unwrap(),
        revision: "r1".into(),
        created_at: ASKED,
        user_count: 1,
        players: Vec::new(),
        centroid: None,
        filters: Vec::new(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env: Vec::new(),
        command: None,
        arguments: None,
        webhooks: spawnpoint_model::webhook::Webhooks::default(),
        log_storage: None,
        pull_profiles: Vec::new(),
        resources: Resources { cpu: CpuUnits(256), memory: MemoryMib(256) },
        restart_policy: RestartPolicy::Always,
        grace_seconds: 5,
        time_to_deploy_seconds: 120,
        max_duration_minutes: 1440,
        session: None,
        origin: None,
    }
}

fn port(name: &str, internal: u16, external: u16, protocol: Protocol, tls_upgrade: bool) -> PortBinding {
    PortBinding { name: name.into(), internal, external, protocol, to_check: true, tls_upgrade }
}

/// A deployment that has been asked for, and nothing more.
fn view() -> DeploymentView {
    let image = ImageSource {
        registry: String::new(),
        name: "a".into(),
        tag: "1".into(),
        username: None,
        token: None,
    };
    let tag = |name| Tag { name: TagName::parse(name).unwrap(), created_at: ASKED, updated_at: ASKED };
    let id: DeploymentId = "5d1e07a9c34b".parse().unwrap();
    DeploymentView {
        deployment: Arc::new(Deployment::new(id, spec(), vec![tag("ranked"), tag("eu")])),
        version: Arc::new(VersionSpec::new(image, spec().resources)),
        place: None,
        sessions: Vec::new(),
        domain: "pr.example.test".into(),
    }
}

/// The same on a host, in `phase`.
fn placed(phase: Phase, ready: bool) -> DeploymentView {
    let mut view = view();
    let location = Location {
        city: "Lyon".into(),
        country: "France".into(),
        continent: "Europe".into(),
        administrative_division: "Rhone".into(),
        timezone: "Central European Time".into(),
        latitude: 45.75,
        longitude: 4.85,
    };
    view.place = Some(Arc::new(HostPlace {
        host: "h1".into(),
        public_address: "203.0.113.40".parse().unwrap(),
        location,
        private_fleet: None,
        base_clock_mhz: 2000,
        beacon: None,
    }));
    let row = Arc::make_mut(&mut view.deployment);
    row.state.phase = phase;
    row.state.attempt = 1;
    row.state.last_status = Some(Status::Deploying);
    row.state.ready_at = ready.then_some(READY);
    row.state.ports = vec![
        port("gameport", 7777, 31504, Protocol::Udp, false),
        port("web", 8080, 31587, Protocol::Ws, true),
    ];
    view
}

fn body(view: &DeploymentView) -> Value {
    serde_json::from_str(&render_status(view, NOW)).unwrap()
}

#[test]
fn a_ready_deployment_is_written_as_clients_expect_it() {
    let expected = json!({
        "request_id": "5d1e07a9c34b",
        "fqdn": "5d1e07a9c34b.pr.example.test",
        "app_name": "arena",
        "app_version": "v7",
        "current_status": "Status.READY",
        "last_status": "Status.DEPLOYING",
        "running": true,
        "whitelisting_active": false,
        "start_time": "2026-04-11 08:30:12.004211",
        "removal_time": null,
        "elapsed_time": 42,
        "error": false,
        "error_detail": null,
        "public_ip": "203.0.113.40",
        "ports": {
            "gameport": {
                "external": 31504, "internal": 7777, "protocol": "UDP", "name": "gameport",
                "tls_upgrade": false, "link": "5d1e07a9c34b.pr.example.test:31504", "proxy": null
            },
            "web": {
                "external": 31587, "internal": 8080, "protocol": "WS", "name": "web",
                "tls_upgrade": true, "link": "wss://5d1e07a9c34b.pr.example.test:31587", "proxy": null
            }
        },
        "location": {
            "city": "Lyon", "country": "France", "continent": "Europe",
            "administrative_division": "Rhone", "timezone": "Central European Time",
            "latitude": 45.75, "longitude": 4.85
        },
        "tags": ["ranked", "eu"],
        "sockets": null,
        "sockets_usage": null,
        "sessions": [],
        "command": null,
        "arguments": null,
        "max_duration": 1440
    });
    assert_eq!(body(&placed(Phase::Ready, true)), expected);
}

#[test]
fn before_placement_nothing_is_null_that_clients_need() {
    let body = body(&view());
    assert_eq!(body["current_status"], "Status.INITIALIZING");
    assert_eq!(body["last_status"], Value::Null);
    assert_eq!(
        (&body["public_ip"], &body["ports"], &body["location"]),
        (&json!(""), &json!({}), &Value::Null)
    );
    assert_eq!(
        (&body["elapsed_time"], &body["start_time"]),
        (&json!(0), &json!("2026-04-11 08:30:00.000000"))
    );
    assert_eq!((&body["running"], &body["error"]), (&json!(false), &json!(false)));
}

#[test]
fn a_failed_deployment_says_why_and_keeps_its_place() {
    let failure = Failure::new(FailureKind::PullTimeout, "Pull image timeout exceeded");
    for phase in [Phase::Failed(failure.clone()), Phase::Stopping(After::Fail(failure))] {
        let body = body(&placed(phase, false));
        assert_eq!(body["current_status"], "Status.ERROR");
        assert_eq!((&body["running"], &body["error"]), (&json!(false), &json!(true)));
        assert_eq!(body["error_detail"], "Pull image timeout exceeded");
        assert_eq!(body["removal_time"], Value::Null);
        assert_eq!(body["location"]["city"], "Lyon");
    }
}

#[test]
fn an_ended_deployment_has_a_removal_time_and_its_clock_stands_still() {
    let mut view = placed(Phase::Terminated(StopCause::User), true);
    Arc::make_mut(&mut view.deployment).state.ended_at = Some(Timestamp(READY.0 + 10_999_999));
    let body = body(&view);
    assert_eq!(body["current_status"], "Status.TERMINATED");
    assert_eq!(body["removal_time"], "2026-04-11 08:30:23.004210");
    assert_eq!(body["elapsed_time"], 10);
    assert_eq!(body["running"], false);
}

#[test]
fn every_phase_has_its_name_and_no_message() {
    for (phase, ready, name) in [
        (Phase::Placed, false, "Status.SEEKED"),
        (Phase::Starting, false, "Status.DEPLOYING"),
        (Phase::Starting, true, "Status.READY"),
        (Phase::Stopping(After::Terminate(StopCause::User)), true, "Status.TERMINATING"),
    ] {
        let body = body(&placed(phase, ready));
        assert_eq!(body["current_status"], name);
        assert!(body.get("message").is_none());
    }
}

#[test]
fn sockets_are_whole_numbers_for_versions_with_sessions_alone() {
    let mut view = placed(Phase::Ready, true);
    let session = |kind| SessionConfig {
        kind,
        sockets: 5,
        autodeploy: false,
        empty_ttl_minutes: None,
        session_max_duration_minutes: 60,
    };
    let set = |view: &mut DeploymentView, kind| {
        let row = Arc::make_mut(&mut view.deployment);
        Arc::make_mut(&mut row.spec).session = Some(session(kind));
    };
    set(&mut view, SessionKind::Seat);
    assert_eq!((&body(&view)["sockets"], &body(&view)["sockets_usage"]), (&json!(5), &json!(0)));
    set(&mut view, SessionKind::Default);
    assert_eq!(body(&view)["sockets"], Value::Null);
}
