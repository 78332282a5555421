//! Opening, closing, locking, migrating; what survives a kill.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use spawnpoint_store::{Database, Store, StoreError, Tx};

use crate::world::*;

on_both! {
    async fn what_was_committed_is_there_after_opening_again(world: &World) {
        world.insert(&deployment(1)).await;
        let installation = world.store.installation().clone();
        world.store.clone().close().await;
        assert!(matches!(world.store.find_deployment(id(1)).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(world.commit(|tx| tx.set_setting("a", "b")).await, Err(StoreError::Unavailable(_))));
        let again = Store::open(&world.scratch.database, NOW).await.unwrap();
        assert_eq!(again.find_deployment(id(1)).await, Ok(Some(deployment(1))));
        assert_eq!(*again.installation(), installation);
        assert_eq!(installation.as_str().len(), 16);
        again.close().await;
    }

    async fn a_newer_database_is_refused_politely(world: &World) {
        assert_eq!(Store::schema_version(&world.scratch.database).await, Ok(Store::latest_schema_version()));
        world.store.clone().close().await;
        let newer = "insert into schema_migrations (version, name, applied_at) values (9999, 'future', 0)";
        match (&world.scratch.database, world.scratch.schema()) {
            (Database::Sqlite(path), _) => rusqlite::Connection::open(path).unwrap().execute_batch(newer).unwrap(),
            (_, Some((url, schema))) => execute(url, &format!("set search_path = {schema}; {newer}")).await,
            _ => panic!("PostgreSQL has a schema"),
        }
        let refused = StoreError::NewerSchema { found: 9999, known: Store::latest_schema_version() };
        assert_eq!(Store::open(&world.scratch.database, NOW).await.unwrap_err(), refused);
        assert_eq!(Store::open_read_only(&world.scratch.database).await.unwrap_err(), refused);
        assert_eq!(Store::schema_version(&world.scratch.database).await, Ok(9999));
        assert!(refused.to_string().contains("please start the newer version"));
    }

    async fn looking_works_beside_a_writer_and_never_writes(world: &World) {
        world.insert(&deployment(1)).await;
        let looking = Store::open_read_only(&world.scratch.database).await.unwrap();
        assert_eq!(looking.installation(), world.store.installation());
        world.insert(&deployment(2)).await;
        assert_eq!(looking.live_deployments().await.unwrap().len(), 2);
        let mut tx = Tx::new();
        tx.set_setting("a", "b");
        assert!(matches!(looking.commit(tx).await, Err(StoreError::Internal(_))));
        world.store.clone().close().await;
        let alone = Store::open_read_only(&world.scratch.database).await.unwrap();
        assert_eq!(alone.live_deployments().await.unwrap().len(), 2);
    }

    async fn migrating_twice_changes_nothing(world: &World) {
        world.store.clone().close().await;
        let latest = Store::latest_schema_version();
        let migrated = Store::migrate(&world.scratch.database, NOW).await.unwrap();
        assert_eq!((migrated.from, migrated.to), (latest, latest));
    }
}

#[tokio::test]
async fn an_empty_database_is_migrated_from_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(directory.path().join("new.db"));
    assert_eq!(Store::schema_version(&database).await, Ok(0));
    assert!(Store::open_read_only(&database).await.is_err(), "looking does not make a database");
    let migrated = Store::migrate(&database, NOW).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (0, Store::latest_schema_version()));
}

#[tokio::test]
async fn a_second_process_on_one_file_is_refused() {
    let world = World::sqlite().await;
    let Database::Sqlite(path) = &world.scratch.database else { panic!("this is SQLite") };
    let error = Store::open(&world.scratch.database, NOW).await.unwrap_err();
    assert_eq!(error, StoreError::Locked(path.clone()));
    assert!(error.to_string().contains("in use by another Spawnpoint process"));
    let database = world.scratch.database.clone();
    // Dropping the last handle frees the file as well as closing does.
    let World { store, .. } = world;
    let kept = store.clone();
    drop(store);
    assert!(Store::open(&database, NOW).await.is_err());
    tokio::task::spawn_blocking(move || drop(kept)).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_called_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    std::fs::write(&path, "this is not a database, but long enough to have a header".repeat(200)).unwrap();
    let error = Store::open(&Database::Sqlite(path), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

const CHILD: &str = "SPAWNPOINT_STORE_TEST_CHILD";

/// Not a test of its own: what the next test starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_commits_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        eprintln!("skipped: runs only as the child of kill_nine_loses_no_acknowledged_commit");
        return;
    };
    let store = Store::open(&Database::Sqlite(path.into()), NOW).await.unwrap();
    let next = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, next) = (store.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let mut tx = Tx::new();
                tx.insert_deployment(&deployment(n), None);
                tx.append_event(id(n), NOW, "created", "{}");
                store.commit(tx).await.unwrap();
                eprintln!("acknowledged {n}");
            }
        });
    }
    tasks.join_next().await;
}

#[tokio::test]
async fn kill_nine_loses_no_acknowledged_commit() {
    let world = World::sqlite().await;
    let Database::Sqlite(path) = world.scratch.database.clone() else { panic!("this is SQLite") };
    world.store.clone().close().await;
    let name = "files::child_that_commits_until_it_is_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, &path)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let Some(n) = line.unwrap().strip_prefix("acknowledged ").and_then(|n| n.parse::<u64>().ok()) else {
            continue;
        };
        acknowledged.push(n);
        if acknowledged.len() == 500 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 500);
    let looking = Store::open_read_only(&world.scratch.database).await.unwrap();
    assert!(
        looking.live_deployments().await.unwrap().len() >= acknowledged.len(),
        "looking works after a kill"
    );
    let store = Store::open(&world.scratch.database, NOW).await.unwrap();
    for n in &acknowledged {
        assert!(store.find_deployment(id(*n)).await.unwrap().is_some(), "{n} was acknowledged");
    }
    for row in store.live_deployments().await.unwrap() {
        assert_eq!(store.events(row.id, 100).await.unwrap().len(), 1, "whole transactions only");
    }
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_unavailable_and_usable_again_afterwards() {
    let world = World::sqlite().await;
    let Database::Sqlite(path) = &world.scratch.database else { panic!("this is SQLite") };
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let refused = world.commit(|tx| tx.set_setting("a", "b")).await;
    assert!(matches!(&refused, Err(e) if e.is_retryable()), "{refused:?}");
    other.execute_batch("rollback").unwrap();
    world.commit(|tx| tx.set_setting("a", "c")).await.unwrap();
    assert_eq!(world.store.find_setting("a").await, Ok(Some("c".into())));
    world.end().await;
}
