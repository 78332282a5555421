//! What only PostgreSQL can do to us.

use spawnpoint_store::{Store, Tx};

use crate::world::*;

/// Ends all connections of the world's store, as a restart of the server would, and waits until they have ended.
async fn cut(world: &World) {
    let (url, schema) = world.scratch.schema().unwrap();
    let sql = format!(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = '{schema}'"
    );
    execute(url, &sql).await;
}

#[tokio::test]
async fn lost_connections_are_replaced_without_an_error() {
    let Some(world) = World::postgres().await else { return };
    for n in 1..=3 {
        cut(&world).await;
        world.insert(&deployment(n)).await;
        cut(&world).await;
        assert_eq!(world.store.find_deployment(id(n)).await, Ok(Some(deployment(n))));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_are_tried_again() {
    let Some(world) = World::postgres().await else { return };
    for name in ["a", "b"] {
        world.commit(|tx| tx.reserve(&host(name), &resources(1, 1), &resources(9_000, 9_000))).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..12 {
        let store = world.store.clone();
        let mut tx = Tx::new();
        let names = if n % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
        for name in names {
            tx.reserve(&host(name), &resources(1, 1), &resources(9_000, 9_000));
        }
        tasks.spawn(async move { store.commit(tx).await });
    }
    let results = tasks.join_all().await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(world.store.host_usage().await.unwrap().iter().all(|u| u.deployments == 13));
    world.end().await;
}

#[tokio::test]
async fn two_control_planes_may_open_one_database_at_once() {
    let Some(world) = World::postgres().await else { return };
    let (url, schema) = world.scratch.schema().unwrap();
    execute(url, &format!("drop schema {schema} cascade; create schema {schema}")).await;
    let open = || Store::open(&world.scratch.database, NOW);
    let (a, b, c) = tokio::join!(open(), open(), open());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!(a.installation(), b.installation());
    assert_eq!(a.installation(), c.installation());
    for store in [a, b, c] {
        store.close().await;
    }
    world.end().await;
}
