//! Capacity and ports: never more than there is, never twice, and no harm to neighbours in a group.

use spawnpoint_model::Timestamp;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::port::Transport::{Tcp, Udp};
use spawnpoint_store::{Conflict, HostUsage, StoreError, Tx};

use crate::world::*;

on_both! {
    async fn a_host_is_never_overcommitted_however_many_ask_at_once(world: &World) {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = world.store.clone();
            let mut tx = Tx::new();
            tx.reserve(&host("a"), &resources(300, 100), &resources(3_000, 100_000));
            tasks.spawn(async move { store.commit(tx).await });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 10);
        let full = Err(StoreError::Conflict(Conflict::NoCapacity(host("a"))));
        assert_eq!(results.iter().filter(|r| **r == full).count(), 40);
        let usage = HostUsage { host: host("a"), reserved: resources(3_000, 1_000), deployments: 10 };
        assert_eq!(world.store.host_usage().await, Ok(vec![usage]));
    }

    async fn memory_counts_as_well_as_cpu_and_the_first_reservation_as_well_as_later_ones(world: &World) {
        let capacity = resources(1_000, 1_000);
        let full = Err(StoreError::Conflict(Conflict::NoCapacity(host("a"))));
        assert_eq!(world.commit(|tx| tx.reserve(&host("a"), &resources(1, 1_001), &capacity)).await, full);
        assert_eq!(world.commit(|tx| tx.reserve(&host("a"), &resources(1_001, 1), &capacity)).await, full);
        world.commit(|tx| tx.reserve(&host("a"), &resources(1, 999), &capacity)).await.unwrap();
        assert_eq!(world.commit(|tx| tx.reserve(&host("a"), &resources(1, 2), &capacity)).await, full);
        world.commit(|tx| tx.reserve(&host("a"), &resources(1, 1), &capacity)).await.unwrap();
    }

    async fn what_is_given_back_can_be_reserved_again_and_never_counts_below_nothing(world: &World) {
        let all = resources(500, 500);
        world.commit(|tx| tx.reserve(&host("a"), &all, &all)).await.unwrap();
        world.commit(|tx| { tx.unreserve(&host("a"), &all); tx.unreserve(&host("a"), &all); }).await.unwrap();
        let nothing = HostUsage { host: host("a"), reserved: resources(0, 0), deployments: 0 };
        assert_eq!(world.store.host_usage().await, Ok(vec![nothing]));
        world.commit(|tx| tx.reserve(&host("a"), &all, &all)).await.unwrap();
        let repaired = HostUsage { host: host("a"), reserved: resources(7, 8), deployments: 9 };
        world.commit(|tx| tx.set_host_usage(&repaired)).await.unwrap();
        assert_eq!(world.store.host_usage().await, Ok(vec![repaired]));
    }

    async fn a_port_conflict_leaves_nothing_and_does_not_hurt_its_neighbours(world: &World) {
        world.insert(&deployment(1000)).await;
        world.commit(|tx| tx.lease_ports(&host("a"), id(1000), &[(Udp, 30_000)], after(0))).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..128_u16 {
            let store = world.store.clone();
            let mut tx = Tx::new();
            tx.insert_deployment(&deployment(n.into()), None);
            tx.reserve(&host("a"), &resources(1, 1), &resources(1_000, 1_000));
            // Every fourth wants a port that is taken, after one that is free.
            let second = if n % 4 == 0 { 30_000 } else { 31_000 + n };
            tx.lease_ports(&host("a"), id(n.into()), &[(Tcp, 31_000 + n), (Udp, second)], after(0));
            tasks.spawn(async move { (n, store.commit(tx).await) });
        }
        for (n, result) in tasks.join_all().await {
            let stored = world.store.find_deployment(id(n.into())).await.unwrap().is_some();
            if n % 4 == 0 {
                let taken = Conflict::PortTaken { host: host("a"), transport: Udp, port: 30_000 };
                assert_eq!(result, Err(taken.into()));
                assert!(!stored, "a refused transaction leaves no row");
            } else {
                assert_eq!(result, Ok(()));
                assert!(stored);
            }
        }
        assert_eq!(world.store.host_usage().await.unwrap()[0].deployments, 96);
        assert_eq!(world.store.port_leases(Some(&host("a"))).await.unwrap().len(), 1 + 2 * 96);
    }

    async fn a_released_port_is_given_out_again_after_its_quarantine_only(world: &World) {
        let ports = [(Tcp, 30_000), (Udp, 30_000)];
        let lease = |tx: &mut Tx, n, now| tx.lease_ports(&host("a"), id(n), &ports, now);
        world.commit(|tx| lease(tx, 1, after(0))).await.unwrap();
        world.commit(|tx| tx.release_ports(id(1), after(60))).await.unwrap();
        let leases = world.store.port_leases(None).await.unwrap();
        assert!(leases.iter().all(|l| l.free_at == Some(after(60)) && l.deployment == Some(id(1))), "{leases:?}");
        let take = async |n, now: Timestamp| world.commit(|tx| { tx.free_expired_ports(now); lease(tx, n, now); }).await;
        assert!(matches!(take(2, after(59)).await, Err(StoreError::Conflict(Conflict::PortTaken { .. }))));
        take(3, after(60)).await.unwrap();
        let leases = world.store.port_leases(Some(&host("a"))).await.unwrap();
        assert!(leases.iter().all(|l| l.free_at.is_none() && l.deployment == Some(id(3))), "{leases:?}");
        assert_eq!(world.store.port_leases(Some(&host("b"))).await, Ok(vec![]));
        // Nobody need have forgotten it before.
        world.commit(|tx| tx.release_ports(id(3), after(120))).await.unwrap();
        let refused = world.commit(|tx| lease(tx, 4, after(119))).await;
        assert!(matches!(refused, Err(StoreError::Conflict(Conflict::PortTaken { .. }))), "{refused:?}");
        world.commit(|tx| lease(tx, 5, after(120))).await.unwrap();
        let leases = world.store.port_leases(None).await.unwrap();
        assert!(leases.iter().all(|l| l.free_at.is_none() && l.deployment == Some(id(5))), "{leases:?}");
        assert_eq!(leases.len(), 2);
    }

    async fn one_number_may_be_leased_on_two_hosts_and_two_transports(world: &World) {
        world.commit(|tx| {
            tx.lease_ports(&host("a"), id(1), &[(Tcp, 30_000), (Udp, 30_000)], after(0));
            tx.lease_ports(&host("b"), id(2), &[(Tcp, 30_000)], after(0));
        }).await.unwrap();
        assert_eq!(world.store.port_leases(None).await.unwrap().len(), 3);
    }

    async fn a_banned_port_waits_and_a_held_one_cannot_be_banned(world: &World) {
        world.commit(|tx| tx.lease_ports(&host("a"), id(1), &[(Udp, 30_000), (Udp, 30_001)], after(0))).await.unwrap();
        world.commit(|tx| tx.ban_port(&host("a"), Udp, 30_000, after(600))).await.unwrap();
        assert_eq!(world.store.port_leases(None).await.unwrap()[0].free_at, None, "held, so left alone");
        world.commit(|tx| {
            tx.release_ports(id(1), after(60));
            tx.ban_port(&host("a"), Udp, 30_000, after(600));
            tx.ban_port(&host("a"), Udp, 30_002, after(600));
            tx.free_expired_ports(after(100));
        }).await.unwrap();
        let banned: Vec<_> =
            world.store.port_leases(None).await.unwrap().iter().map(|l| (l.port, l.deployment, l.free_at)).collect();
        assert_eq!(banned, [(30_000, None, Some(after(600))), (30_002, None, Some(after(600)))]);
    }

    async fn an_idempotency_key_is_used_once_until_it_expires(world: &World) {
        let request = |n: u64, expires: u64| spawnpoint_store::RememberedRequest {
            key: "tok1/abc".into(), body_hash: vec![7, n.to_le_bytes()[0]], deployment: id(n), expires_at: after(expires),
        };
        world.commit(|tx| tx.remember_request(&request(1, 60), NOW)).await.unwrap();
        assert_eq!(world.store.find_request("tok1/abc", after(59)).await, Ok(Some(request(1, 60))));
        assert_eq!(world.store.find_request("tok2/abc", NOW).await, Ok(None));
        let used = Err(StoreError::Conflict(Conflict::KeyUsed("tok1/abc".into())));
        assert_eq!(world.commit(|tx| tx.remember_request(&request(2, 90), after(59))).await, used);
        assert_eq!(world.store.find_request("tok1/abc", after(60)).await, Ok(None));
        world.commit(|tx| tx.remember_request(&request(3, 120), after(60))).await.unwrap();
        assert_eq!(world.store.find_request("tok1/abc", after(61)).await, Ok(Some(request(3, 120))));
        world.commit(|tx| tx.purge_requests(after(120))).await.unwrap();
        assert_eq!(world.store.find_request("tok1/abc", NOW).await, Ok(None));
    }

    async fn a_telemetry_request_is_kept_until_it_expires_and_of_a_token_the_newest(world: &World) {
        let record = |n: u64, token: &str, made: u64| spawnpoint_store::TelemetryRecord {
            key: format!("key{n}"), token: token.into(), deployments: vec![id(n), id(n + 1)],
            players: vec![GeoPoint { latitude: 45.75, longitude: -4.85 }],
            created_at: after(made), expires_at: after(made + 60),
        };
        for n in 0..4 {
            world.commit(|tx| tx.insert_telemetry(&record(n, "one", n), 3)).await.unwrap();
        }
        world.commit(|tx| tx.insert_telemetry(&record(9, "two", 0), 3)).await.unwrap();
        assert_eq!(world.store.find_telemetry("key0", after(5)).await, Ok(None), "the oldest of four");
        for (n, token, made) in [(1, "one", 1), (2, "one", 2), (3, "one", 3), (9, "two", 0)] {
            let found = world.store.find_telemetry(&format!("key{n}"), after(5)).await;
            assert_eq!(found, Ok(Some(record(n, token, made))));
        }
        assert_eq!(world.store.find_telemetry("key1", after(61)).await, Ok(None), "expired, if not yet deleted");
        world.commit(|tx| tx.purge_telemetry(after(62))).await.unwrap();
        assert_eq!(world.store.find_telemetry("key2", NOW).await, Ok(None));
        assert!(world.store.find_telemetry("key3", NOW).await.unwrap().is_some());
    }

    async fn of_many_requests_with_one_key_exactly_one_makes_a_deployment(world: &World) {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let store = world.store.clone();
            let mut tx = Tx::new();
            tx.insert_deployment(&deployment(n), None);
            let request = spawnpoint_store::RememberedRequest {
                key: "k".into(), body_hash: vec![], deployment: id(n), expires_at: after(60),
            };
            tx.remember_request(&request, NOW);
            tasks.spawn(async move { store.commit(tx).await });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
        let live = world.store.live_deployments().await.unwrap();
        assert_eq!(live.len(), 1);
        assert_eq!(world.store.find_request("k", NOW).await.unwrap().unwrap().deployment, live[0].id);
    }
}
