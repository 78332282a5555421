//! Exact expectations of placement over a few cities; `properties` holds the search to the exhaustive answer.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::*;
use crate::filter::{FilterType, LocationField};
use crate::site::{Location, Site};
use crate::units::{CpuUnits, MemoryMib, Resources};

mod properties;

const PARIS: GeoPoint = GeoPoint { latitude: 48.8566, longitude: 2.3522 };
const LONDON: GeoPoint = GeoPoint { latitude: 51.5074, longitude: -0.1278 };
const NEW_YORK: GeoPoint = GeoPoint { latitude: 40.7128, longitude: -74.0060 };
const TOKYO: GeoPoint = GeoPoint { latitude: 35.6762, longitude: 139.6503 };

const WHOLE: Resources = Resources { cpu: CpuUnits(4096), memory: MemoryMib(8192) };
const SMALL: Room = room(1024, 1024, 2);

const fn room(cpu: u32, memory: u32, ports: u32) -> Room {
    Room { resources: Resources { cpu: CpuUnits(cpu), memory: MemoryMib(memory) }, ports }
}

fn on_equator(longitude: f64) -> GeoPoint {
    GeoPoint { latitude: 0.0, longitude }
}

/// An empty, healthy, shared host without images.
fn host_at(id: &str, city: &str, country: &str, at: GeoPoint) -> HostView {
    let location = Location {
        city: city.into(),
        country: country.into(),
        latitude: at.latitude,
        longitude: at.longitude,
        ..Location::default()
    };
    let site = Arc::new(Site { id: city.into(), location, tags: vec!["edge".into(), city.into()] });
    let host = Host {
        id: id.into(),
        site,
        public_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        capacity: WHOLE,
        port_range: 20_000..=20_099,
        private_fleet: None,
        ends_tls: true,
        cordoned: false,
        base_clock_mhz: 2000,
        beacon: None,
    };
    let free = Room { resources: WHOLE, ports: 100 };
    let state = HostState { free, healthy: true, filters_clients: true, ..HostState::default() };
    HostView { host: Arc::new(host), state }
}

fn three_cities() -> Vec<HostView> {
    vec![
        host_at("paris", "Paris", "France", PARIS),
        host_at("new-york", "New York", "United States", NEW_YORK),
        host_at("tokyo", "Tokyo", "Japan", TOKYO),
    ]
}

fn two_in_paris() -> Vec<HostView> {
    vec![host_at("a", "Paris", "France", PARIS), host_at("b", "Paris", "France", PARIS)]
}

fn change(view: &mut HostView, change: impl FnOnce(&mut Host)) {
    change(Arc::make_mut(&mut view.host));
}

fn with_image(view: &mut HostView, image: &str) {
    view.state.images = Arc::new(HashSet::from([image.to_owned()]));
}

fn ask(players: &[GeoPoint]) -> Ask<'_> {
    Ask { players, image: "game:1", room: SMALL, ..Ask::default() }
}

/// The chosen host's id, after checking that `explain` puts the same host first with the same score.
fn chosen(ask: &Ask<'_>, views: &[HostView]) -> Option<String> {
    let hosts = Hosts::new(views.to_vec());
    let placement = place(ask, &hosts);
    let explained = explain(ask, &hosts);
    assert_eq!(explained.len(), views.len(), "every host gets a reason");
    let first = explained.first().and_then(|considered| match considered.verdict {
        Verdict::Usable { rank: 1, preferred, score, .. } => {
            Some((considered.host.id.clone(), preferred, score))
        }
        _ => None,
    });
    assert_eq!(placement.as_ref().map(|p| (p.host.id.clone(), p.preferred, p.score)), first);
    placement.map(|p| {
        assert_eq!(hosts.views()[p.number].host.id, p.host.id);
        p.host.id.to_string()
    })
}

/// What is said of one host.
fn said(id: &str, ask: &Ask<'_>, views: &[HostView]) -> String {
    let hosts = Hosts::new(views.to_vec());
    let explained = explain(ask, &hosts);
    explained.iter().find(|considered| considered.host.id.as_str() == id).unwrap().verdict.to_string()
}

fn filter(field: LocationField, filter_type: FilterType, values: &[&str]) -> LocationFilter {
    LocationFilter { field, filter_type, values: values.iter().map(|value| (*value).to_owned()).collect() }
}

#[test]
fn players_in_one_city_get_that_city() {
    for (city, id) in [(PARIS, "paris"), (NEW_YORK, "new-york"), (TOKYO, "tokyo")] {
        assert_eq!(chosen(&ask(&[city, city]), &three_cities()).as_deref(), Some(id));
    }
}

#[test]
fn players_in_two_cities_get_the_city_of_the_majority_if_a_middle_one_is_missing() {
    assert_eq!(chosen(&ask(&[PARIS, PARIS, TOKYO]), &three_cities()).as_deref(), Some("paris"));
    assert_eq!(chosen(&ask(&[PARIS, TOKYO, TOKYO]), &three_cities()).as_deref(), Some("tokyo"));
}

#[test]
fn a_player_in_london_gets_paris_with_its_figures() {
    let hosts = Hosts::new(three_cities());
    let placement = place(&ask(&[LONDON]), &hosts).unwrap();
    assert_eq!(placement.host.id.as_str(), "paris");
    let score = placement.score.unwrap();
    // 344 km at 66.6 km per millisecond, there and back, and 10 ms.
    assert!((score.mean_ms() - 15.16).abs() < 0.01, "{score}");
    assert_eq!(score.mean_ms(), score.worst_ms());
    assert_eq!(score.to_string(), "score 22.7 (estimated round trip: mean 15.2 ms, worst 15.2 ms)");
}

#[test]
fn without_positions_the_freest_host_wins_even_over_one_with_the_image() {
    let mut views = three_cities();
    views[0].state.free = room(2048, 8192, 100);
    with_image(&mut views[0], "game:1");
    views[1].state.free = room(4096, 3000, 100);
    assert_eq!(chosen(&ask(&[]), &views).as_deref(), Some("tokyo"));
    views[2].state.healthy = false;
    assert_eq!(chosen(&ask(&[]), &views).as_deref(), Some("paris"));
    assert_eq!(said("paris", &ask(&[]), &views), "chosen, no player's position is known, 50% free");
}

#[test]
fn a_centroid_stands_in_for_the_players() {
    let ask = Ask { centroid: Some(TOKYO), ..ask(&[PARIS, PARIS]) };
    assert_eq!(chosen(&ask, &three_cities()).as_deref(), Some("tokyo"));
}

#[test]
fn the_worst_off_player_can_move_the_choice_away_from_the_best_mean() {
    let views =
        [host_at("at-the-many", "A", "", on_equator(0.0)), host_at("between", "B", "", on_equator(30.0))];
    let players = [on_equator(0.0), on_equator(0.0), on_equator(60.0)];
    let hosts = Hosts::new(views.to_vec());
    let crowd = Crowd::of(&players).unwrap();
    let [many, between] = [0, 1].map(|number| crowd.score(hosts.position(number)));
    assert!(many.mean_ms() < between.mean_ms(), "the mean alone would choose the other");
    assert!(many.ms() > between.ms());
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("between"));

    // One far player among ten does not outweigh the nine.
    let mut ten = vec![on_equator(0.0); 9];
    ten.push(on_equator(60.0));
    assert_eq!(chosen(&ask(&ten), &views).as_deref(), Some("at-the-many"));
}

#[test]
fn filters_any_all_and_not_keep_sites_out() {
    let views = three_cities();
    let players = [PARIS];
    let with = |filters: &[LocationFilter]| chosen(&Ask { filters, ..ask(&players) }, &views);
    let any = filter(LocationField::City, FilterType::Any, &["tokyo", "NEW YORK"]);
    assert_eq!(with(std::slice::from_ref(&any)).as_deref(), Some("new-york"));
    let all = filter(LocationField::LocationTags, FilterType::All, &["edge", "tokyo"]);
    assert_eq!(with(std::slice::from_ref(&all)).as_deref(), Some("tokyo"));
    let not = filter(LocationField::Country, FilterType::Not, &["france"]);
    assert_eq!(with(std::slice::from_ref(&not)).as_deref(), Some("new-york"));
    assert_eq!(with(&[any, all, not]).as_deref(), Some("tokyo"));
    let none = [filter(LocationField::City, FilterType::All, &["tokyo", "paris"])];
    assert_eq!(with(&none), None);
    let ask = Ask { filters: &none, ..ask(&players) };
    assert_eq!(said("paris", &ask, &views), "filtered out: city must be all of tokyo, paris");
}

#[test]
fn a_full_host_is_passed_over_and_says_what_is_missing() {
    let full = [
        (room(1023, 8192, 100), "full: 1024 CPU units asked for and 1023 free"),
        (room(4096, 100, 100), "full: 1024 MiB of memory asked for and 100 free"),
        (room(4096, 8192, 1), "full: 2 ports asked for and 1 free"),
        (room(0, 8192, 0), "full: 1024 CPU units asked for and 0 free, 2 ports asked for and 0 free"),
    ];
    for (free, text) in full {
        let mut views = three_cities();
        views[0].state.free = free;
        assert_eq!(chosen(&ask(&[PARIS]), &views).as_deref(), Some("new-york"));
        assert_eq!(said("paris", &ask(&[PARIS]), &views), text);
    }
    let mut views = three_cities();
    views[0].state.free = SMALL;
    assert_eq!(chosen(&ask(&[PARIS]), &views).as_deref(), Some("paris"), "what fits exactly fits");
}

#[test]
fn preferred_hosts_are_taken_in_their_order_then_the_shared_ones() {
    let mut views = three_cities();
    let (first, second) = (HostId::from("tokyo"), HostId::from("new-york"));
    let preferred = [HostId::from("no-such-host"), first.clone(), second, first];
    let ask = Ask { preferred_hosts: &preferred, ..ask(&[PARIS]) };
    assert_eq!(chosen(&ask, &views).as_deref(), Some("tokyo"));
    assert!(said("tokyo", &ask, &views).starts_with("chosen, preferred host 1, score"));
    assert!(said("new-york", &ask, &views).starts_with("ranked 2, preferred host 2, score"));
    assert!(said("paris", &ask, &views).starts_with("ranked 3, score"));
    views[2].state.free = Room::default();
    assert_eq!(chosen(&ask, &views).as_deref(), Some("new-york"));
    views[1].state.healthy = false;
    assert_eq!(chosen(&ask, &views).as_deref(), Some("paris"));
}

#[test]
fn a_host_of_a_private_fleet_is_used_only_when_named() {
    let mut views = three_cities();
    change(&mut views[0], |host| host.private_fleet = Some("esports".into()));
    assert_eq!(chosen(&ask(&[PARIS]), &views).as_deref(), Some("new-york"));
    assert_eq!(chosen(&ask(&[]), &views[..1]), None);
    let text = "belongs to the private fleet esports and was not asked for";
    assert_eq!(said("paris", &ask(&[PARIS]), &views), text);
    let preferred = [HostId::from("paris")];
    let ask = Ask { preferred_hosts: &preferred, ..ask(&[TOKYO]) };
    assert_eq!(chosen(&ask, &views).as_deref(), Some("paris"));
}

#[test]
fn only_hosts_with_the_image_are_used_when_that_is_asked_for() {
    let mut views = three_cities();
    with_image(&mut views[2], "game:1");
    with_image(&mut views[1], "game:2");
    let ask = Ask { require_cached: true, ..ask(&[PARIS]) };
    assert_eq!(chosen(&ask, &views).as_deref(), Some("tokyo"));
    assert_eq!(said("new-york", &ask, &views), "does not hold the image game:1");
    views.pop();
    assert_eq!(chosen(&ask, &views), None);
}

#[test]
fn cordoned_unhealthy_and_avoided_hosts_are_passed_over() {
    let players = [PARIS];
    let mut views = three_cities();
    change(&mut views[0], |host| host.cordoned = true);
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("new-york"));
    assert_eq!(said("paris", &ask(&players), &views), "cordoned: takes no new deployments");
    views[0].state.cordoned = Some(false);
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("paris"), "its operator wins over the config");

    let mut views = three_cities();
    views[0].state.healthy = false;
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("new-york"));
    let text = "unhealthy: its driver does not answer or reports a problem";
    assert_eq!(said("paris", &ask(&players), &views), text);

    let mut views = three_cities();
    change(&mut views[0], |host| host.ends_tls = false);
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("paris"));
    let tls = Ask { tls: true, ..ask(&players) };
    assert_eq!(chosen(&tls, &views).as_deref(), Some("new-york"));
    let text = "ends no TLS: a port asks for tls_upgrade, and this host's engine is on another machine";
    assert_eq!(said("paris", &tls, &views), text);

    let avoid = [HostId::from("paris"), HostId::from("gone")];
    let ask = Ask { avoid: &avoid, preferred_hosts: &avoid, ..ask(&players) };
    assert_eq!(chosen(&ask, &three_cities()).as_deref(), Some("new-york"));
    let text = "avoided: this deployment has failed there already";
    assert_eq!(said("paris", &ask, &three_cities()), text);
}

#[test]
fn in_one_place_the_image_then_the_free_share_then_the_id_decides() {
    let players = [TOKYO];
    let mut views = two_in_paris();
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("a"));
    views[0].state.free = room(4000, 8192, 100);
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("b"));
    with_image(&mut views[0], "game:1");
    assert_eq!(chosen(&ask(&players), &views).as_deref(), Some("a"));
}

#[test]
fn the_free_share_is_that_of_the_scarcer_resource() {
    let mut view = host_at("a", "Paris", "France", PARIS);
    assert_eq!(view.free_share(), 1_000_000);
    view.state.free = room(3072, 2048, 100);
    assert_eq!(view.free_share(), 250_000);
    change(&mut view, |host| host.capacity = Resources::default());
    assert_eq!(view.free_share(), 1_000_000, "no capacity to be scarce, and no division by zero");
}

#[test]
fn no_hosts_or_no_usable_ones_give_no_placement() {
    assert_eq!(chosen(&ask(&[PARIS]), &[]), None);
    assert_eq!(chosen(&ask(&[]), &[]), None);
    let mut views = three_cities();
    for view in &mut views {
        view.state.free = Room::default();
    }
    assert_eq!(chosen(&ask(&[PARIS]), &views), None);
}

#[test]
fn an_update_is_seen_by_the_next_placement() {
    let mut hosts = Hosts::new(three_cities());
    let id = |hosts: &Hosts| place(&ask(&[PARIS]), hosts).unwrap().host.id.to_string();
    let paris = hosts.find(&HostId::from("paris")).unwrap();
    hosts.update(paris, |state| state.free = Room::default());
    assert_eq!(id(&hosts), "new-york");
    hosts.update(paris, |state| state.free = SMALL);
    assert_eq!(id(&hosts), "paris");
    hosts.update(paris, |state| state.healthy = false);
    assert_eq!(id(&hosts), "new-york");
    hosts.update(99, |state| state.healthy = false);
    assert_eq!(id(&hosts), "new-york");
    assert_eq!(hosts.find(&HostId::from("nowhere")), None);
}

#[test]
fn a_considered_host_names_itself_its_site_and_its_reason() {
    let hosts = Hosts::new(three_cities());
    let players = [PARIS, NEW_YORK];
    let lines: Vec<String> = explain(&ask(&players), &hosts).iter().map(ToString::to_string).collect();
    let expected = "(estimated round trip: mean 53.8 ms, worst 97.6 ms), 100% free";
    // The two have the same score: the id decides.
    assert_eq!(lines[0], format!("new-york (New York): chosen, score 102.6 {expected}"));
    assert_eq!(lines[1], format!("paris (Paris): ranked 2, score 102.6 {expected}"));
    assert!(lines[2].starts_with("tokyo (Tokyo): ranked 3, score"), "{}", lines[2]);
}

#[test]
fn a_refusal_is_summed_up_without_naming_a_host() {
    let mut views = three_cities();
    change(&mut views[0], |host| host.cordoned = true);
    let only_france = [filter(LocationField::Country, FilterType::Any, &["France"])];
    let players = [PARIS];
    let summed = |ask: &Ask<'_>, views: &[HostView]| {
        let hosts = Hosts::new(views.to_vec());
        assert!(place(ask, &hosts).is_none());
        summary(&explain(ask, &hosts))
    };
    let filtered = Ask { filters: &only_france, ..ask(&players) };
    let sentence = summed(&filtered, &views);
    assert!(sentence.ends_with("of 3: 1 cordoned, 2 outside of the filters"), "{sentence}");
    assert!(!views.iter().any(|view| sentence.contains(view.host.id.as_str())), "{sentence}");
    assert!(summed(&filtered, &[]).ends_with("there is none"));
}
