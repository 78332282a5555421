//! Kept logs: one row an attempt, two attempts a deployment, the oldest first to go.

use spawnpoint_model::deployment::Exit;
use spawnpoint_store::{Conflict, KeptLog, LogSize, StoreError};

use crate::world::{World, after, deployment, id, on_both, terminated};

fn log(n: u64, attempt: u32, pieces: &[u8]) -> KeptLog {
    KeptLog {
        deployment: id(n),
        attempt,
        at: after(u64::from(attempt)),
        exit: None,
        crashed: false,
        bytes: 7,
        truncated: true,
        pieces: pieces.to_vec(),
    }
}

on_both! {
    async fn a_log_is_kept_as_it_was_given_and_once_an_attempt(world: &World) {
        world.insert(&deployment(1)).await;
        let exit = Some(Exit { code: 137, oom: true, disk: false });
        let first = KeptLog { exit, crashed: true, ..log(1, 1, &[0, 255, 10]) };
        world.commit(|tx| tx.keep_log(&first)).await.unwrap();
        assert_eq!(world.store.kept_logs(id(1)).await, Ok(vec![first.clone()]));
        // Somebody who came later saw more of the log and less of the end.
        let again = log(1, 1, b"more");
        world.commit(|tx| tx.keep_log(&again)).await.unwrap();
        assert_eq!(world.store.kept_logs(id(1)).await, Ok(vec![KeptLog { exit, crashed: true, ..again }]));
        assert_eq!(world.store.kept_log_bytes().await, Ok(4));
    }

    async fn two_attempts_are_kept_the_newest_first(world: &World) {
        world.insert(&deployment(1)).await;
        for attempt in [1, 2, 5, 7] {
            world.commit(|tx| tx.keep_log(&log(1, attempt, b"x"))).await.unwrap();
        }
        let kept: Vec<u32> = world.store.kept_logs(id(1)).await.unwrap().iter().map(|l| l.attempt).collect();
        assert_eq!(kept, [7, 5]);
        world.commit(|tx| tx.keep_log(&log(1, 5, b"late"))).await.unwrap();
        assert_eq!(world.store.kept_logs(id(1)).await.unwrap().len(), 2);
        world.commit(|tx| tx.drop_log(id(1), 5)).await.unwrap();
        assert_eq!(world.store.kept_logs(id(1)).await.unwrap()[0].attempt, 7);
    }

    async fn a_log_goes_with_its_deployment_and_cannot_be_without_one(world: &World) {
        let missing = Conflict::Missing { what: "deployment", key: id(1).to_string() };
        let refused = world.commit(|tx| tx.keep_log(&log(1, 1, b"x"))).await;
        assert_eq!(refused, Err(StoreError::Conflict(missing)));
        let row = deployment(1);
        world.insert(&row).await;
        world.commit(|tx| tx.keep_log(&log(1, 1, b"x"))).await.unwrap();
        world.commit(|tx| tx.save_deployment(&terminated(&row, after(9)), None)).await.unwrap();
        world.commit(|tx| tx.delete_deployment(id(1))).await.unwrap();
        assert_eq!(world.store.kept_logs(id(1)).await, Ok(vec![]));
        assert_eq!(world.store.kept_log_bytes().await, Ok(0));
    }

    async fn those_of_ended_deployments_go_first_and_the_oldest_of_them_before_the_others(world: &World) {
        for (n, attempt, ended) in [(1, 1, false), (2, 3, true), (3, 2, true)] {
            let row = deployment(n);
            world.insert(&row).await;
            world.commit(|tx| tx.keep_log(&log(n, attempt, b"1234"))).await.unwrap();
            if ended {
                world.commit(|tx| tx.save_deployment(&terminated(&row, after(9)), None)).await.unwrap();
            }
        }
        let size = |n, attempt| LogSize { deployment: id(n), attempt, stored_bytes: 4 };
        assert_eq!(world.store.oldest_kept_logs(10).await, Ok(vec![size(3, 2), size(2, 3), size(1, 1)]));
        assert_eq!(world.store.oldest_kept_logs(1).await, Ok(vec![size(3, 2)]));
        assert_eq!(world.store.kept_log_bytes().await, Ok(12));
    }

    async fn of_a_long_history_the_end_is_read_and_the_newest_event_of_a_kind_is_found(world: &World) {
        world.insert(&deployment(1)).await;
        for n in 0..5 {
            let kind = if n == 1 { "placed" } else { "tick" };
            world.commit(|tx| tx.append_event(id(1), after(n), kind, &n.to_string())).await.unwrap();
        }
        let details = |limit| async move {
            let events = world.store.events(id(1), limit).await.unwrap();
            events.into_iter().map(|event| event.detail).collect::<Vec<_>>()
        };
        assert_eq!(details(2).await, ["3", "4"]);
        assert_eq!(details(100).await, ["0", "1", "2", "3", "4"]);
        let found = world.store.last_event(id(1), ["placed", "refused"]).await.unwrap().unwrap();
        assert_eq!((found.detail.as_str(), found.at), ("1", after(1)));
        assert_eq!(world.store.last_event(id(1), ["refused", "none"]).await, Ok(None));
    }
}
