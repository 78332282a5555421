//! Sessions and the sockets that they take: the claim is one write, and refuses what is not there.

use std::sync::Arc;

use spawnpoint_model::app::{SessionConfig, SessionKind};
use spawnpoint_model::query::Page;
use spawnpoint_model::session::{Session, SessionPhase, SessionSpec, SessionUser};
use spawnpoint_model::{CustomId, Deployment, Phase, SessionId, Timestamp};
use spawnpoint_store::{Conflict, SessionClaim, StoreError};

use crate::world::{NOW, World, after, app, changed, deployment, id, on_both, version_name};

/// A ready, joinable deployment with five seats.
fn seats(n: u64) -> Deployment {
    let mut row = deployment(n);
    Arc::make_mut(&mut row.spec).session = Some(SessionConfig {
        kind: SessionKind::Seat,
        sockets: 5,
        autodeploy: false,
        empty_ttl_minutes: None,
        session_max_duration_minutes: 60,
    });
    row.state.joinable = true;
    row.state.phase = Phase::Ready;
    row.state.ready_at = Some(NOW);
    row
}

fn session(n: u64, on: u64, players: usize, name: Option<&str>) -> Session {
    let user = SessionUser { ip: "192.0.2.1".parse().unwrap(), at: None };
    let spec = SessionSpec {
        app: app("arena"),
        version: version_name("v1"),
        version_number: 1,
        kind: SessionKind::Seat,
        custom_id: name.map(|name| CustomId::parse(name).unwrap()),
        selectors: Vec::new(),
        created_at: after(n),
        kept_minutes: 60,
    };
    Session {
        id: SessionId::from_random(n),
        generation: 0,
        spec: Arc::new(spec),
        deployment: Some(id(on)),
        phase: SessionPhase::Linked,
        users: vec![user; players],
        webhook: None,
        ended_at: None,
    }
}

fn claim(sockets: u32) -> SessionClaim {
    SessionClaim { sockets, joins: true, ready: Some(true), sessions: 0..=u32::MAX }
}

async fn link(world: &World, session: &Session) -> Result<(), StoreError> {
    let on = session.deployment.unwrap();
    world
        .commit(|tx| {
            tx.claim_sockets(on, &claim(session.sockets()));
            tx.insert_session(session);
        })
        .await
}

async fn free(world: &World, n: u64) -> (u32, Option<u32>) {
    let usage = world.store.session_usage(&[id(n)]).await.unwrap()[0];
    (usage.sessions, usage.free)
}

fn stale(n: u64) -> Result<(), StoreError> {
    Err(StoreError::Conflict(Conflict::Stale(id(n))))
}

on_both! {
    async fn sockets_are_claimed_with_their_session_or_not_at_all(world: &World) {
        world.insert(&seats(1)).await;
        link(world, &session(1, 1, 3, Some("a"))).await.unwrap();
        assert_eq!(free(world, 1).await, (1, Some(2)));
        assert_eq!(link(world, &session(2, 1, 3, None)).await, stale(1));
        assert_eq!(world.store.find_session(SessionId::from_random(2)).await.unwrap(), None);
        let taken = link(world, &session(3, 1, 1, Some("a"))).await;
        assert!(matches!(taken, Err(StoreError::Conflict(Conflict::Exists { what: "session", .. }))), "{taken:?}");
        assert_eq!(free(world, 1).await, (1, Some(2)), "nothing of it was written");
        link(world, &session(4, 1, 2, Some("b"))).await.unwrap();
        assert_eq!(free(world, 1).await, (2, Some(0)));
        let figures = world.store.socket_figures().await.unwrap();
        assert_eq!((figures.len(), figures[0].sessions, figures[0].taken), (1, 2, 5));
        let found = world.store.find_custom_session(id(1), &CustomId::parse("b").unwrap()).await.unwrap().unwrap();
        assert_eq!((found.session.id, found.status), (SessionId::from_random(4), Some(spawnpoint_model::Status::Ready)));
    }

    async fn a_hundred_claims_at_once_sell_each_socket_once(world: &World) {
        world.insert(&seats(1)).await;
        let sessions: Vec<_> = (0..100).map(|n| session(n, 1, 1, None)).collect();
        let outcomes = futures_util::future::join_all(sessions.iter().map(|session| link(world, session))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
        assert_eq!(free(world, 1).await, (5, Some(0)));
        assert_eq!(world.store.sessions_on(&[id(1)]).await.unwrap().len(), 5);
    }

    async fn only_what_is_ready_and_joinable_is_joined(world: &World) {
        let ready = seats(1);
        world.insert(&ready).await;
        let closed = changed(&ready, |row| row.state.joinable = false);
        world.commit(|tx| tx.save_deployment(&closed, None)).await.unwrap();
        assert_eq!(link(world, &session(1, 1, 1, None)).await, stale(1));
        let mut starting = seats(2);
        (starting.state.phase, starting.state.ready_at) = (Phase::Starting, None);
        world.insert(&starting).await;
        assert_eq!(link(world, &session(2, 2, 1, None)).await, stale(2));
        let waits = SessionClaim { ready: Some(false), ..claim(1) };
        world.commit(|tx| tx.claim_sockets(id(2), &waits)).await.unwrap();
        let first = SessionClaim { ready: Some(false), sessions: 0..=0, ..claim(1) };
        let refused = world.commit(|tx| tx.claim_sockets(id(2), &first)).await;
        assert_eq!(refused, stale(2), "it is not the first one");
    }

    async fn sessions_end_are_listed_and_forgotten(world: &World) {
        world.insert(&seats(1)).await;
        let linked = session(1, 1, 2, None);
        link(world, &linked).await.unwrap();
        let seq = world.store.session_usage(&[id(1)]).await.unwrap()[0].seq;
        let page = Page { number: 1, limit: 10 };
        assert_eq!(world.store.list_sessions(&[app("arena")], page).await.unwrap().total, 1);
        assert_eq!(world.store.list_sessions(&[app("other")], page).await.unwrap().total, 0);
        let ended = linked.ended(SessionPhase::Deleted, after(10));
        let end = |tx: &mut spawnpoint_store::Tx| {
            tx.release_sockets(id(1), 2, true, &(0..=u32::MAX));
            tx.save_session(&ended, Conflict::Outdated { what: "session", key: "1".into() });
        };
        world.commit(end).await.unwrap();
        assert_eq!(free(world, 1).await, (0, Some(5)));
        let again = world.commit(end).await;
        assert!(matches!(again, Err(StoreError::Conflict(Conflict::Outdated { .. }))), "{again:?}");
        assert_eq!(free(world, 1).await, (0, Some(5)), "given back once");
        assert_eq!(world.commit(|tx| tx.guard_sessions(id(1), seq)).await, stale(1));
        assert_eq!(world.store.list_sessions(&[], page).await.unwrap().total, 0);
        let forgotten = async |at: Timestamp| {
            world.commit(|tx| tx.purge_sessions(at)).await.unwrap();
            world.store.find_session(linked.id).await.unwrap().is_none()
        };
        assert!(!forgotten(after(10 + 3599)).await);
        assert!(forgotten(after(10 + 3600)).await);
    }
}
