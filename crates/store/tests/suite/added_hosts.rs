//! Hosts and private fleets that operators add: names are taken once, nothing goes while something is left on it, and a
//! host that was removed takes nothing any more, whoever still believes in it.

use spawnpoint_model::added::{AddedCentroid, AddedDriver, AddedFleet, AddedHost, StoredHost};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_store::{Conflict, StoreError};

use crate::world::*;

fn added(id: &str, fleet: Option<&str>) -> AddedHost {
    AddedHost {
        id: host(id),
        site: "lyon".into(),
        public_address: "203.0.113.7".parse().ok(),
        driver: AddedDriver::Docker,
        endpoint: Some("tcp://203.0.113.7:2376".into()),
        capacity: Some(resources(8, 8)),
        measured: true,
        port_range: Some((31_000, 31_999)),
        private_fleet: fleet.map(str::to_owned),
        beacon: None,
        base_clock_mhz: Some(2400),
        restricted: true,
    }
}

fn fleet(name: &str) -> AddedFleet {
    AddedFleet { name: name.to_owned(), centroid: None }
}

fn exists(what: &'static str, key: &str) -> Result<(), StoreError> {
    Err(StoreError::Conflict(Conflict::Exists { what, key: key.to_owned() }))
}

fn missing(what: &'static str, key: &str) -> Result<(), StoreError> {
    Err(StoreError::Conflict(Conflict::Missing { what, key: key.to_owned() }))
}

async fn add(world: &World, new: &AddedHost, fleet: Option<&str>) -> Result<(), StoreError> {
    world.commit(|tx| tx.add_host(new, fleet, NOW)).await
}

async fn remove(world: &World, id: &str) -> Result<(), StoreError> {
    world.commit(|tx| tx.remove_host(&host(id), after(9))).await
}

async fn reserve(world: &World, id: &str) -> Result<(), StoreError> {
    world.commit(|tx| tx.reserve(&host(id), &resources(1, 1), &resources(9, 9))).await
}

/// The ids of the hosts that are there.
async fn hosts(world: &World) -> Vec<String> {
    let all = world.store.added_hosts().await.unwrap();
    all.iter().map(|stored| stored.host.id.to_string()).collect()
}

on_both! {
    async fn what_was_said_of_hosts_and_fleets_is_read_as_it_was_said(world: &World) {
        let at = GeoPoint { latitude: 45.75, longitude: 4.85 };
        let centroid = AddedCentroid { label: Some("Rhône".into()), at, radius_km: 0.5, desired_host_count: Some(3) };
        let placed = AddedFleet { centroid: Some(centroid), ..fleet("b") };
        world.commit(|tx| tx.add_private_fleet(&placed, NOW)).await.unwrap();
        world.commit(|tx| tx.add_private_fleet(&fleet("B"), NOW)).await.unwrap();
        assert_eq!(world.store.added_fleets().await, Ok(vec![fleet("B"), placed]), "in the order of their bytes");
        let spoken = added("h2", Some("b"));
        let bare = AddedHost { capacity: None, endpoint: None, port_range: None, public_address: None, ..added("h1", None) };
        add(world, &spoken, Some("b")).await.unwrap();
        add(world, &bare, None).await.unwrap();
        let stored = [bare, spoken].map(|host| StoredHost { host, created_at: NOW });
        assert_eq!(world.store.added_hosts().await, Ok(stored.to_vec()));
    }

    async fn a_name_is_taken_once_and_free_again_after_the_removal(world: &World) {
        add(world, &added("h", None), None).await.unwrap();
        assert_eq!(add(world, &added("h", None), None).await, exists("host", "h"));
        world.commit(|tx| tx.set_host_cordon(&host("h"), true, None, NOW)).await.unwrap();
        remove(world, "h").await.unwrap();
        assert_eq!(hosts(world).await, Vec::<String>::new());
        assert_eq!(remove(world, "h").await, exists("a deployment on host", "h"), "it is not there to be removed");
        let again = AddedHost { base_clock_mhz: None, ..added("h", None) };
        add(world, &again, None).await.unwrap();
        assert_eq!(world.store.added_hosts().await.unwrap()[0].host, again);
        // What was said of the former one is not said of this.
        assert_eq!(world.store.host_settings().await.unwrap()[0].cordoned, None);
        reserve(world, "h").await.unwrap();
        world.commit(|tx| tx.add_private_fleet(&fleet("f"), NOW)).await.unwrap();
        assert_eq!(world.commit(|tx| tx.add_private_fleet(&fleet("f"), NOW)).await, exists("private fleet", "f"));
    }

    async fn a_host_that_holds_something_is_not_removed_and_a_removed_one_holds_nothing_any_more(world: &World) {
        add(world, &added("h", None), None).await.unwrap();
        reserve(world, "h").await.unwrap();
        assert_eq!(remove(world, "h").await, exists("a deployment on host", "h"));
        assert_eq!(hosts(world).await, ["h"]);
        world.commit(|tx| tx.unreserve(&host("h"), &resources(1, 1))).await.unwrap();
        remove(world, "h").await.unwrap();
        assert_eq!(world.store.host_settings().await, Ok(vec![]));
        let refused = Err(StoreError::Conflict(Conflict::NoCapacity(host("h"))));
        assert_eq!(reserve(world, "h").await, refused, "for a control plane that has not heard of it");
        // The configuration has one of that name now.
        world.commit(|tx| tx.forget_removal(&host("h"))).await.unwrap();
        reserve(world, "h").await.unwrap();
        add(world, &added("g", None), None).await.unwrap();
        world.commit(|tx| tx.forget_removal(&host("g"))).await.unwrap();
        assert_eq!(hosts(world).await, ["g"], "one that was not removed is not forgotten");
    }

    async fn a_fleet_stays_while_a_host_belongs_to_it(world: &World) {
        let remove_fleet = async |name: &str| world.commit(|tx| tx.remove_private_fleet(name)).await;
        assert_eq!(add(world, &added("h", Some("f")), Some("f")).await, missing("private fleet", "f"));
        assert_eq!(hosts(world).await, Vec::<String>::new(), "nothing of it was stored");
        assert_eq!(world.store.host_settings().await, Ok(vec![]));
        world.commit(|tx| tx.add_private_fleet(&fleet("f"), NOW)).await.unwrap();
        add(world, &added("h", Some("f")), Some("f")).await.unwrap();
        assert_eq!(remove_fleet("f").await, exists("a host of private fleet", "f"));
        remove(world, "h").await.unwrap();
        remove_fleet("f").await.unwrap();
        assert_eq!(remove_fleet("f").await, missing("private fleet", "f"));
        assert_eq!(world.store.added_fleets().await, Ok(vec![]));
        // A fleet of the configuration is no row, and a host may belong to it all the same.
        add(world, &added("h", Some("declared")), None).await.unwrap();
        assert_eq!(world.store.added_hosts().await.unwrap()[0].host.private_fleet.as_deref(), Some("declared"));
    }
}
