//! Rows, compare-and-swap, what is due, what has ended, tags, history.

use spawnpoint_model::port::Protocol;
use spawnpoint_model::{Deployment, Phase, PortBinding, Timestamp};
use spawnpoint_store::{Conflict, StoreError};

use crate::world::*;

fn ids(deployments: &[Deployment]) -> Vec<String> {
    deployments.iter().map(|d| d.id.to_string()).collect()
}

on_both! {
    async fn a_deployment_reads_back_as_it_was_written(world: &World) {
        let mut row = deployment(1);
        row.state.phase = Phase::Starting;
        row.state.host = Some(host("tokyo-1"));
        row.state.tags = vec![tag("ranked, eu"), tag("日本")];
        row.state.ports = vec![PortBinding {
            name: "game".into(), internal: 7777, external: 30001, protocol: Protocol::TcpUdp, to_check: true, tls_upgrade: false,
        }];
        world.insert(&row).await;
        assert_eq!(world.store.find_deployment(row.id).await, Ok(Some(row.clone())));
        assert_eq!(world.store.find_deployment(id(2)).await, Ok(None));

        let next = changed(&row, |d| { d.state.phase = Phase::Ready; d.state.ready_at = Some(after(9)); d.state.joinable = true; });
        world.commit(|tx| tx.save_deployment(&next, None)).await.unwrap();
        assert_eq!(world.store.find_deployment(row.id).await, Ok(Some(next)));
    }

    async fn a_step_writes_all_that_has_changed_and_is_refused_when_stale(world: &World) {
        let row = deployment(1);
        world.insert(&row).await;
        let mut before = row;
        let placed = |d: &mut Deployment| { d.state.phase = Phase::Placed; d.state.host = Some(host("a")); };
        let steps: [&dyn Fn(&mut Deployment); 4] = [
            &placed,
            &|d| { d.state.phase = Phase::Ready; d.state.joinable = true; },
            &|d| d.state.tags = vec![tag("ranked")],
            &|d| *d = terminated(d, after(9)),
        ];
        for (step, due) in steps.into_iter().zip([Some(after(1)), None, Some(after(3)), None]) {
            let next = Deployment { generation: before.generation + 1, ..changed(&before, step) };
            world.commit(|tx| tx.save_step(&before, &next, due)).await.unwrap();
            assert_eq!(world.store.find_deployment(next.id).await, Ok(Some(next.clone())));
            assert_eq!(world.store.next_due_at().await, Ok(due));
            let stale = world.commit(|tx| tx.save_step(&before, &next, due)).await;
            assert_eq!(stale, Err(StoreError::Conflict(Conflict::Stale(next.id))));
            before = next;
        }
        assert_eq!(world.store.deployments_on_host(&host("a")).await, Ok(vec![]));
        assert_eq!(ids(&world.store.live_deployments().await.unwrap()), Vec::<String>::new());
    }

    async fn a_stale_save_is_refused_with_everything_in_its_transaction(world: &World) {
        let row = deployment(1);
        world.insert(&row).await;
        let first = changed(&row, |d| d.state.phase = Phase::Placed);
        world.commit(|tx| tx.save_deployment(&first, None)).await.unwrap();
        let second = changed(&row, |d| d.state.phase = Phase::Ready);
        let result = world.commit(|tx| {
            tx.append_event(row.id, NOW, "ready", "{}");
            tx.reserve(&host("a"), &resources(1, 1), &resources(9, 9));
            tx.save_deployment(&second, None);
        }).await;
        assert_eq!(result, Err(StoreError::Conflict(Conflict::Stale(row.id))));
        assert_eq!(world.store.find_deployment(row.id).await, Ok(Some(first)));
        assert_eq!(world.store.events(row.id, 100).await, Ok(vec![]));
        assert_eq!(world.store.host_usage().await, Ok(vec![]));
    }

    async fn of_many_saves_at_once_exactly_one_wins(world: &World) {
        let row = deployment(1);
        world.insert(&row).await;
        let mut tasks = tokio::task::JoinSet::new();
        for attempt in 1..=32 {
            let store = world.store.clone();
            let next = changed(&row, |d| d.state.attempt = attempt);
            let mut tx = spawnpoint_store::Tx::new();
            tx.save_deployment(&next, None);
            tasks.spawn(async move { (attempt, store.commit(tx).await) });
        }
        let results = tasks.join_all().await;
        let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
        assert_eq!(winners.len(), 1);
        let stale = Err(StoreError::Conflict(Conflict::Stale(row.id)));
        assert!(results.iter().all(|(_, result)| result.is_ok() || *result == stale), "{results:?}");
        let stored = world.store.find_deployment(row.id).await.unwrap().unwrap();
        assert_eq!((stored.generation, stored.state.attempt), (1, winners[0].0));
    }

    async fn an_id_is_used_once_and_a_revision_must_exist(world: &World) {
        world.insert(&deployment(1)).await;
        let again = world.commit(|tx| tx.insert_deployment(&deployment(1), None)).await;
        assert_eq!(again, Err(Conflict::Exists { what: "deployment", key: id(1).to_string() }.into()));

        let mut row = deployment(2);
        std::sync::Arc::make_mut(&mut row.spec).revision = "gone".into();
        let result = world.commit(|tx| tx.insert_deployment(&row, None)).await;
        assert_eq!(result, Err(Conflict::Missing { what: "revision", key: "gone".into() }.into()));
        assert_eq!(world.store.find_deployment(row.id).await, Ok(None));
    }

    async fn live_rows_are_those_that_have_not_ended(world: &World) {
        for n in 1..=4 {
            world.insert(&deployment(n)).await;
        }
        world.commit(|tx| tx.save_deployment(&terminated(&deployment(2), after(5)), None)).await.unwrap();
        let live = world.store.live_deployments().await.unwrap();
        assert_eq!(ids(&live), ids(&[deployment(1), deployment(3), deployment(4)]));
        assert_eq!(world.store.count_by_phase().await, Ok(vec![("pending".into(), 3)]));
        assert_eq!(world.store.count_live(&app("arena"), None).await, Ok(3));
        assert_eq!(world.store.count_live(&app("arena"), Some(&version_name("v1"))).await, Ok(3));
        assert_eq!(world.store.count_live(&app("arena"), Some(&version_name("v2"))).await, Ok(0));
    }

    async fn due_rows_come_in_the_order_in_which_they_wait(world: &World) {
        for (n, due) in [(1, Some(30)), (2, Some(10)), (3, None), (4, Some(20)), (5, Some(99))] {
            world.commit(|tx| tx.insert_deployment(&deployment(n), due.map(after))).await.unwrap();
        }
        let due = world.store.due_deployments(after(30), 10).await.unwrap();
        assert_eq!(ids(&due), ids(&[deployment(2), deployment(4), deployment(1)]));
        assert_eq!(world.store.due_deployments(after(30), 1).await.unwrap().len(), 1);
        assert_eq!(world.store.next_due_at().await, Ok(Some(after(10))));
        let saved = changed(&deployment(2), |_| {});
        world.commit(|tx| tx.save_deployment(&saved, None)).await.unwrap();
        assert_eq!(world.store.next_due_at().await, Ok(Some(after(20))));
    }

    async fn a_claimed_row_is_left_to_its_owner_until_the_lease_ends_or_it_is_saved(world: &World) {
        for n in 1..=3 {
            world.insert(&deployment(n)).await;
        }
        let claim = async |owner: &str, now: Timestamp, limit: u32| {
            world.store.claim_due(owner, now, now.plus(std::time::Duration::from_secs(30)), limit).await.unwrap()
        };
        assert_eq!(claim("a", NOW, 2).await.len(), 2);
        let others = if world.store.dialect().is_shared() { 1 } else { 3 };
        let mine = claim("b", after(1), 10).await;
        assert_eq!(mine.len(), others);
        assert!(claim("a", after(2), 10).await.len() >= 2, "one's own rows come again");
        // A save gives the lease up.
        let saved = changed(&mine[0], |_| {});
        world.commit(|tx| tx.save_deployment(&saved, Some(NOW))).await.unwrap();
        assert_eq!(claim("a", after(3), 10).await.len(), 3);
        assert_eq!(claim("b", after(60), 10).await.len(), 3, "leases end");
    }

    async fn a_hosts_rows_are_the_live_ones_that_name_it(world: &World) {
        for (n, name) in [(1, "a"), (2, "b"), (3, "a")] {
            let mut row = deployment(n);
            row.state.host = Some(host(name));
            world.insert(&row).await;
        }
        let ended = changed(&deployment(3), |d| d.state.phase = Phase::Terminated(spawnpoint_model::deployment::StopCause::User));
        world.commit(|tx| tx.save_deployment(&ended, None)).await.unwrap();
        assert_eq!(ids(&world.store.deployments_on_host(&host("a")).await.unwrap()), ids(&[deployment(1)]));
    }

    async fn retention_forgets_ended_rows_and_only_those(world: &World) {
        for n in 1..=3 {
            let mut row = deployment(n);
            row.state.tags = vec![tag("x")];
            world.insert(&row).await;
            world.commit(|tx| tx.append_event(row.id, NOW, "created", "{}")).await.unwrap();
        }
        for (n, at) in [(1, 20), (2, 10)] {
            world.commit(|tx| tx.save_deployment(&terminated(&deployment(n), after(at)), None)).await.unwrap();
        }
        assert_eq!(world.store.terminated_before(after(20), 10).await, Ok(vec![id(2)]));
        assert_eq!(world.store.terminated_before(after(21), 10).await, Ok(vec![id(2), id(1)]));
        world.commit(|tx| { tx.delete_deployment(id(2)); tx.delete_deployment(id(3)); }).await.unwrap();
        assert_eq!(world.store.find_deployment(id(2)).await, Ok(None));
        assert_eq!(world.store.events(id(2), 100).await, Ok(vec![]));
        assert!(world.store.find_deployment(id(3)).await.unwrap().is_some(), "a live row is not deleted");
    }

    async fn history_is_kept_in_order_and_belongs_to_a_row(world: &World) {
        world.insert(&deployment(1)).await;
        world.commit(|tx| {
            tx.append_event(id(1), after(2), "placed", r#"{"host":"a"}"#);
            tx.append_event(id(1), after(1), "ready", "{}");
        }).await.unwrap();
        let events = world.store.events(id(1), 100).await.unwrap();
        let kinds: Vec<_> = events.iter().map(|e| (e.kind.as_str(), e.at)).collect();
        assert_eq!(kinds, [("placed", after(2)), ("ready", after(1))]);
        assert_eq!(events[0].detail, r#"{"host":"a"}"#);
        assert_eq!(world.store.count_events(id(1), &events[0].kind).await, Ok(1));
        assert_eq!(world.store.count_events(id(1), "nothing").await, Ok(0));
        let orphan = world.commit(|tx| tx.append_event(id(9), NOW, "x", "{}")).await;
        assert_eq!(orphan, Err(Conflict::Missing { what: "deployment", key: id(9).to_string() }.into()));
    }

    async fn ten_thousand_live_rows_load_quickly(world: &World) {
        let mut tasks = tokio::task::JoinSet::new();
        for chunk in 0..20 {
            let store = world.store.clone();
            let mut tx = spawnpoint_store::Tx::new();
            for n in 0..500 {
                tx.insert_deployment(&deployment(chunk * 500 + n), Some(NOW));
            }
            tasks.spawn(async move { store.commit(tx).await });
        }
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        let start = tokio::time::Instant::now();
        assert_eq!(world.store.live_deployments().await.unwrap().len(), 10_000);
        let took = start.elapsed();
        eprintln!("10,000 live rows loaded in {took:?}");
        assert!(took < std::time::Duration::from_secs(10), "even unoptimized: {took:?}");
    }
}
