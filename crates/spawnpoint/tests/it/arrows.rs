//! The rooms may know each other only along the arrows of the design. What is not in the table is forbidden.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::workspace::members;

/// Room -> the rooms that it may use. The design's table, and nothing besides.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("driver", &["model"]),
    ("driver-docker", &["driver", "model"]),
    ("images", &["model"]),
    ("network", &["model"]),
    ("driver-oci", &["driver", "images", "network", "model"]),
    ("store", &["model"]),
    ("engine", &["model", "driver", "store"]),
    ("api", &["model", "engine"]),
    // Sockets in front of the product; what they need to know they ask by a trait of their own.
    ("dns", &[]),
    ("tls", &[]),
    // The one place that names a concrete driver.
    (
        "spawnpoint",
        &["model", "driver", "driver-docker", "driver-oci", "images", "store", "engine", "api", "dns", "tls"],
    ),
    // The demo's game server is a program of its own.
    ("game", &[]),
    // Speaks HTTP only: what it could not do over HTTP, no client can.
    ("compat", &[]),
    // What the tests of several rooms stand on; only tests use it, of any room.
    ("testing", &["model", "driver", "store", "engine"]),
    // Measures any room.
    ("benches", &["model", "driver", "driver-docker", "network", "store", "engine", "api"]),
];

/// Room -> the foreign crates that it alone may use, since they are what the room is for.
const OWNERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["store", "benches"]),
    ("tokio-postgres", &["store", "benches", "testing"]),
    ("deadpool-postgres", &["store"]),
    ("chacha20poly1305", &["store"]),
    ("bollard", &["driver-docker", "benches"]),
    ("governor", &["api"]),
    ("axum", &["api", "spawnpoint", "benches"]),
    ("maxminddb", &["spawnpoint"]),
    ("hickory-proto", &["dns"]),
    ("rcgen", &["tls"]),
    ("instant-acme", &["tls"]),
    ("clap", &["spawnpoint"]),
    ("edgegap", &["compat"]),
];

/// What `model` may use from outside: it has no IO, no async, no clock and no randomness.
const MODEL_USES: &[&str] = &["serde", "thiserror"];

/// The room's name without the common prefix.
fn room(package: &str) -> &str {
    package.strip_prefix("spawnpoint-").unwrap_or(package)
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// What a package depends on: name, and whether only its tests do.
fn dependencies(package: &Value) -> impl Iterator<Item = (&str, bool)> {
    package["dependencies"].as_array().unwrap().iter().map(|dep| (name(dep), dep["kind"] == "dev"))
}

/// Everything that can be reached from a room along the arrows.
fn reachable(from: &str, arrows: &BTreeMap<&str, &[&'static str]>) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut next = arrows[from].to_vec();
    while let Some(room) = next.pop() {
        if found.insert(room) {
            next.extend(arrows[room]);
        }
    }
    found
}

#[test]
fn rooms_use_each_other_along_the_arrows_only() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let packages = members();
    let rooms: BTreeSet<_> = packages.iter().map(|package| room(name(package))).collect();
    assert_eq!(
        rooms,
        arrows.keys().copied().collect(),
        "a room was made or removed: change the table on purpose"
    );
    for package in packages {
        let from = room(name(package));
        let within =
            dependencies(package).filter(|(to, _)| rooms.contains(room(to)) && to.starts_with("spawnpoint"));
        for (to, only_tests) in within {
            let to = room(to);
            // A room's tests may build what lies below it, to put it together for real.
            let allowed =
                if only_tests { reachable(from, &arrows) } else { arrows[from].iter().copied().collect() };
            assert!(
                allowed.contains(to) || (only_tests && to == "testing"),
                "{from} -> {to} is no arrow of the design (tests only: {only_tests})"
            );
        }
    }
}

#[test]
fn a_foreign_crate_that_is_a_rooms_business_is_used_by_that_room_only() {
    for package in members() {
        let from = room(name(package));
        for (to, only_tests) in dependencies(package) {
            let owners = OWNERS.iter().find(|(crate_name, _)| *crate_name == to).map(|(_, owners)| *owners);
            if let Some(owners) = owners
                && !only_tests
            {
                assert!(owners.contains(&from), "{from} uses {to}, which is the business of {owners:?}");
            }
        }
    }
}

#[test]
fn the_model_has_no_io() {
    let model = members().into_iter().find(|package| room(name(package)) == "model").unwrap();
    for (to, only_tests) in dependencies(model) {
        assert!(only_tests || MODEL_USES.contains(&to), "model uses {to}");
    }
}
