//! Which deployments take a session, and in which order.

use proptest::prelude::*;

use super::*;
use crate::filter::{FilterType, LocationField};

fn tag(name: &str) -> TagName {
    TagName::parse(name).unwrap()
}

fn id(number: u64) -> DeploymentId {
    DeploymentId::from_random(number)
}

fn lyon() -> Location {
    Location { city: "Lyon".into(), latitude: 45.75, longitude: 4.85, ..Location::default() }
}

fn tokyo() -> Location {
    Location { city: "Tokyo".into(), latitude: 35.68, longitude: 139.69, ..Location::default() }
}

fn candidate<'a>(number: u64, location: &'a Location, tags: &'a [TagName]) -> Candidate<'a> {
    Candidate {
        id: id(number),
        ready: true,
        free: Some(5),
        sessions: 0,
        tags,
        location,
        site_tags: &[],
        created_at: Timestamp(0),
    }
}

#[test]
fn a_seat_is_for_a_player_and_a_match_for_all_of_them() {
    assert_eq!(sockets_for(SessionKind::Seat, 4), 4);
    assert_eq!(sockets_for(SessionKind::Seat, 0), 0);
    assert_eq!(sockets_for(SessionKind::Match, 10), 1);
    assert_eq!(sockets_for(SessionKind::Default, 10), 0);
}

#[test]
fn the_nearest_comes_first_then_the_fullest_then_the_oldest() {
    let (lyon, tokyo) = (lyon(), tokyo());
    let far = candidate(1, &tokyo, &[]);
    let near = candidate(2, &lyon, &[]);
    let fuller = Candidate { free: Some(1), ..candidate(3, &lyon, &[]) };
    let older = Candidate { free: Some(1), created_at: Timestamp(-1), ..candidate(4, &lyon, &[]) };
    let points = [GeoPoint { latitude: 48.0, longitude: 2.0 }];
    let wanted = Wanted { sockets: 1, points: &points, ..Wanted::default() };
    assert_eq!(rank(&[far, near, fuller, older], &wanted), [id(4), id(3), id(2), id(1)]);
    let nowhere = Wanted { sockets: 1, ..Wanted::default() };
    assert_eq!(rank(&[far, near], &nowhere), [id(1), id(2)]);
}

#[test]
fn all_tags_are_needed_and_places_must_pass() {
    let (lyon, tokyo) = (lyon(), tokyo());
    let both = [tag("eu"), tag("ranked")];
    let tagged = candidate(1, &lyon, &both);
    let half = candidate(2, &lyon, &both[..1]);
    let wanted = Wanted { sockets: 1, tags: &both, ..Wanted::default() };
    assert_eq!(rank(&[half, tagged], &wanted), [id(1)]);
    let filters = [LocationFilter {
        field: LocationField::City,
        values: vec!["tokyo".into()],
        filter_type: FilterType::Any,
    }];
    let wanted = Wanted { filters: &filters, ..Wanted::default() };
    assert_eq!(rank(&[candidate(1, &lyon, &[]), candidate(2, &tokyo, &[])], &wanted), [id(2)]);
}

#[test]
fn who_is_not_ready_takes_only_those_who_wait_and_comes_last() {
    let lyon = lyon();
    let starting = Candidate { ready: false, ..candidate(1, &lyon, &[]) };
    let ready = candidate(2, &lyon, &[]);
    let wanted = Wanted { sockets: 1, ..Wanted::default() };
    assert_eq!(rank(&[starting, ready], &wanted), [id(2)]);
    assert_eq!(rank(&[starting, ready], &Wanted { may_wait: true, ..wanted }), [id(2), id(1)]);
}

proptest! {
    #[test]
    fn whoever_is_named_has_room_and_whoever_has_room_is_named(
        free in proptest::collection::vec(proptest::option::of(0_u32..6), 0..12),
        sockets in 0_u32..8,
    ) {
        let lyon = lyon();
        let all: Vec<_> = free
            .iter()
            .enumerate()
            .map(|(n, free)| Candidate { free: *free, ..candidate(n as u64, &lyon, &[]) })
            .collect();
        let ranked = rank(&all, &Wanted { sockets, ..Wanted::default() });
        for candidate in &all {
            let fits = candidate.free.is_none_or(|free| free >= sockets);
            prop_assert_eq!(ranked.contains(&candidate.id), fits);
        }
        let mut distinct = ranked.clone();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), ranked.len());
    }
}
