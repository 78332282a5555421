//! Whatever the hosts and the players: the search gives the exhaustive answer, and only facts decide.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// Anywhere, with poles, date line, antipodes and much-used places more often than chance would have it.
fn position() -> impl Strategy<Value = GeoPoint> {
    let point = |(latitude, longitude)| GeoPoint { latitude, longitude };
    let special = vec![
        (90.0, 0.0),
        (90.0, 120.0),
        (-90.0, -60.0),
        (0.0, 180.0),
        (0.0, -180.0),
        (0.0, 179.999),
        (0.0, -179.999),
        (0.0, 0.0),
        (-0.0, 0.0),
        (48.8566, 2.3522),
        (-48.8566, -177.6478),
        (48.8567, 2.3522),
    ];
    prop_oneof![
        2 => (-90.0..=90.0, -180.0..=180.0).prop_map(point),
        1 => (40.0..45.0, -5.0..5.0).prop_map(point),
        1 => select(special).prop_map(point),
    ]
}

fn any_host() -> impl Strategy<Value = HostView> {
    let chance = prop::bool::weighted;
    let state = (0..6_u32, 0..6_u32, 0..4_u32, chance(0.9), chance(0.5));
    let flags = (chance(0.1), chance(0.1), chance(0.8));
    (position(), state, flags, select(vec!["Spain", "Italy", "Peru"])).prop_map(
        |(at, (cpu, memory, ports, healthy, cached), (cordoned, private, ends_tls), country)| {
            let mut view = host_at("", country, country, at);
            change(&mut view, |host| {
                host.cordoned = cordoned;
                host.ends_tls = ends_tls;
                host.private_fleet = private.then(|| "fleet".to_owned());
            });
            view.state.free = room(512 * cpu, 512 * memory, ports);
            view.state.healthy = healthy;
            if cached {
                with_image(&mut view, "game:1");
            }
            view
        },
    )
}

fn any_hosts(most: usize) -> impl Strategy<Value = Vec<HostView>> {
    prop::collection::vec(any_host(), 0..most).prop_map(|mut views| {
        for (number, view) in views.iter_mut().enumerate() {
            change(view, |host| host.id = format!("host-{number:03}").into());
        }
        views
    })
}

/// An [`Ask`] that owns what it names.
#[derive(Clone, Debug)]
struct Owned {
    players: Vec<GeoPoint>,
    centroid: Option<GeoPoint>,
    filters: Vec<LocationFilter>,
    preferred: Vec<HostId>,
    avoid: Vec<HostId>,
    require_cached: bool,
    tls: bool,
}

impl Owned {
    fn ask(&self) -> Ask<'_> {
        Ask {
            players: &self.players,
            centroid: self.centroid,
            filters: &self.filters,
            preferred_hosts: &self.preferred,
            image: "game:1",
            require_cached: self.require_cached,
            filters_clients: false,
            tls: self.tls,
            room: SMALL,
            avoid: &self.avoid,
        }
    }
}

fn any_ask() -> impl Strategy<Value = Owned> {
    let ids = || prop::collection::vec((0..200_u32).prop_map(|n| HostId::from(format!("host-{n:03}"))), 0..4);
    let types = select(vec![FilterType::Any, FilterType::All, FilterType::Not]);
    let filters = (types, select(vec!["spain", "ITALY", "peru"]));
    (
        prop::collection::vec(position(), 0..30),
        prop::option::weighted(0.1, position()),
        prop::option::weighted(0.3, filters),
        ids(),
        ids(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(players, centroid, filters, preferred, avoid, require_cached, use_preferred, tls)| Owned {
                players,
                centroid,
                filters: filters
                    .map(|(how, country)| filter(LocationField::Country, how, &[country]))
                    .into_iter()
                    .collect(),
                preferred: if use_preferred { preferred } else { Vec::new() },
                avoid,
                require_cached,
                tls,
            },
        )
}

proptest! {
    #[test]
    fn the_search_gives_the_exhaustive_answer(views in any_hosts(200), ask in any_ask()) {
        chosen(&ask.ask(), &views);
    }

    #[test]
    fn neither_the_order_of_hosts_nor_that_of_players_matters(
        views in any_hosts(60),
        ask in any_ask(),
        (swaps, turn) in (prop::collection::vec((any::<Index>(), any::<Index>()), 60), any::<Index>()),
    ) {
        let (mut shuffled, mut turned) = (views.clone(), ask.clone());
        if !views.is_empty() {
            swaps.iter().for_each(|(a, b)| shuffled.swap(a.index(views.len()), b.index(views.len())));
        }
        if !ask.players.is_empty() {
            turned.players.rotate_left(turn.index(ask.players.len()));
        }
        prop_assert_eq!(chosen(&ask.ask(), &views), chosen(&turned.ask(), &shuffled));
    }

    #[test]
    fn no_usable_host_has_a_lower_score_by_plain_haversine(
        places in prop::collection::vec(position(), 1..150),
        players in prop::collection::vec(position(), 1..40),
    ) {
        let views: Vec<_> =
            places.iter().enumerate().map(|(n, at)| host_at(&format!("host-{n:03}"), "", "", *at)).collect();
        let plain = |at: &GeoPoint| {
            let rtts: Vec<f64> = players.iter().map(|player| plain_rtt_ms(*player, *at)).collect();
            rtts.iter().sum::<f64>() / rtts.len() as f64 + 0.5 * rtts.iter().copied().fold(0.0, f64::max)
        };
        let placement = place(&ask(&players), &Hosts::new(views)).unwrap();
        let least = places.iter().map(plain).fold(f64::INFINITY, f64::min);
        // Both round-trip times are rounded to a microsecond.
        prop_assert!((plain(&places[placement.number]) - least).abs() < 0.002);
        prop_assert!((placement.score.unwrap().ms() - least).abs() < 0.002);
    }

    #[test]
    fn the_bound_of_a_circle_is_never_above_a_score_in_it(
        places in prop::collection::vec(position(), 1..60),
        players in prop::collection::vec(position(), 1..40),
    ) {
        let hosts = Hosts::new(places.iter().map(|at| host_at("", "", "", *at)).collect());
        let crowd = Crowd::of(&players).unwrap();
        for number in 0..places.len() {
            let position = hosts.position(number);
            for circle in &hosts.tree.nodes {
                let [x, y, z] = circle.centre.map(f64::from);
                if position.angle(Vector { x, y, z }) <= f64::from(circle.radius) {
                    prop_assert!(crowd.bound(circle.centre, circle.radius) <= crowd.score(position).points());
                }
            }
        }
    }

    #[test]
    fn updated_hosts_answer_like_newly_built_ones(
        views in any_hosts(60),
        changes in prop::collection::vec((any::<Index>(), any_host()), 0..40),
        ask in any_ask(),
    ) {
        let mut hosts = Hosts::new(views.clone());
        for (number, other) in &changes {
            if !views.is_empty() {
                hosts.update(number.index(views.len()), |state| *state = other.state.clone());
            }
        }
        let rebuilt = Hosts::new(hosts.views().to_vec());
        prop_assert_eq!(place(&ask.ask(), &hosts), place(&ask.ask(), &rebuilt));
        for node in 0..hosts.tree.nodes.len() as u32 {
            prop_assert_eq!(hosts.most(node), rebuilt.most(node));
        }
    }
}

/// The formula once more, from the text at the top of `score.rs` and the textbook's haversine.
fn plain_rtt_ms(a: GeoPoint, b: GeoPoint) -> f64 {
    let half = |x: f64, y: f64| ((y - x).to_radians() / 2.0).sin().powi(2);
    let across = a.latitude.to_radians().cos() * b.latitude.to_radians().cos();
    let hav = half(a.latitude, b.latitude) + across * half(a.longitude, b.longitude);
    let km = 6371.0088 * 2.0 * hav.sqrt().min(1.0).asin();
    10.0 + 2.0 * km / (4.0 / 9.0 * 299.792_458)
}
