//! Sessions on either database: sockets are never oversold, what is shown is the truth, and empty deployments end.

use std::net::IpAddr;
use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::sessions::{CustomSession, SessionField, SessionFilter, SessionRequest, UserInput};
use spawnpoint_engine::versions::SessionInput;
use spawnpoint_model::app::SessionKind;
use spawnpoint_model::deployment::{Status, StopCause};
use spawnpoint_model::filter::FilterType;
use spawnpoint_model::query::Page;
use spawnpoint_model::session::{Selector, Session, SessionPhase};
use spawnpoint_model::token::Actor;
use spawnpoint_model::{CustomId, DeploymentId, Phase, Plaintext, TagName, VersionName};

use crate::world::{World, app, on_both};

const ALL: Page = Page { number: 1, limit: 100 };

fn settings(kind: SessionKind, sockets: u32) -> SessionInput {
    SessionInput { kind: Some(kind), sockets: Some(sockets), ..SessionInput::default() }
}

async fn version(world: &World, name: &str, image: &str, session: SessionInput) {
    let change = |input: &mut spawnpoint_engine::versions::VersionInput| {
        input.session = Some(Some(session));
        (input.cpu, input.memory) = (Some(128), Some(128));
    };
    world.create_version("arena", name, image, change).await;
}

fn ip(number: usize) -> IpAddr {
    IpAddr::from([192, 0, u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap()])
}

fn request(version: &str, players: usize) -> SessionRequest {
    SessionRequest {
        app: app("arena"),
        version: Some(VersionName::parse(version).unwrap()),
        users: (0..players).map(|n| UserInput { ip: ip(n), at: None }).collect(),
        deployment: None,
        centroid: None,
        filters: Vec::new(),
        selectors: Vec::new(),
        webhook: None,
    }
}

fn custom(name: &str, players: usize) -> CustomSession {
    let ips = (0..players).map(ip).collect();
    CustomSession { custom_id: CustomId::parse(name).unwrap(), ips, webhook: None }
}

async fn join(world: &World, request: SessionRequest) -> Session {
    world.engine.create_session(&world.admin, request).await.unwrap()
}

async fn taken(world: &World, id: DeploymentId) -> (u32, usize) {
    let view = world.view(id).await;
    (view.sockets_taken(), view.sessions.len())
}

on_both! {
    async fn a_session_takes_sockets_of_a_ready_deployment_and_gives_them_back(world: &mut World) {
        version(world, "seats", "fake/game:ok", settings(SessionKind::Seat, 5)).await;
        version(world, "matches", "fake/game:ok", settings(SessionKind::Match, 2)).await;
        let nobody = join(world, request("seats", 1)).await;
        assert!(matches!(nobody.phase, SessionPhase::Unprocessable(_)), "{nobody:?}");
        assert_eq!(nobody.deployment, None);
        let id = world.deploy_ready("seats").await;
        assert!(world.view(id).await.deployment.state.joinable, "session deployments can be joined");
        let party = join(world, request("seats", 4)).await;
        assert_eq!((party.deployment, taken(world, id).await), (Some(id), (4, 1)));
        let big = join(world, request("seats", 2)).await;
        assert!(matches!(big.phase, SessionPhase::Unprocessable(_)), "there is one socket left");
        let solo = join(world, request("seats", 1)).await;
        assert_eq!((solo.deployment, taken(world, id).await), (Some(id), (5, 2)));
        let full = world.engine.add_session_users(&world.admin, solo.id, &[ip(1)]).await;
        assert!(matches!(full, Err(Error::Unprocessable(_))), "{full:?}");
        let rest = world.engine.remove_session_users(&world.admin, party.id, &[ip(0), ip(3), ip(99)]).await.unwrap();
        assert_eq!((rest.users.len(), taken(world, id).await), (2, (3, 2)));
        world.engine.add_session_users(&world.admin, solo.id, &[ip(1), ip(1)]).await.unwrap();
        assert_eq!(taken(world, id).await, (5, 2), "two players may share an address");
        world.engine.delete_session(&world.admin, party.id).await.unwrap();
        assert_eq!(taken(world, id).await, (3, 1));
        let again = world.engine.delete_session(&world.admin, party.id).await;
        assert!(matches!(again, Err(Error::Gone(_))), "{again:?}");
        let gone = world.engine.get_session(&world.admin, party.id).await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");

        let matches = world.deploy_ready("matches").await;
        for _ in 0..2 {
            assert_eq!(join(world, request("matches", 10)).await.deployment, Some(matches));
        }
        assert_eq!(join(world, request("matches", 1)).await.deployment, None);
        assert_eq!(taken(world, matches).await, (2, 2), "a match takes one socket whatever its size");
        assert_eq!(world.violations().await, Vec::<String>::new());
    }

    async fn sessions_of_the_kind_default_take_no_sockets(world: &mut World) {
        version(world, "plain", "fake/game:ok", settings(SessionKind::Default, 1)).await;
        let id = world.deploy_ready("plain").await;
        for _ in 0..3 {
            assert_eq!(join(world, request("plain", 2)).await.deployment, Some(id));
        }
        assert_eq!(taken(world, id).await, (0, 3));
        // A version without settings is of that kind, and its deployments are opened by hand.
        let bare = world.deploy_ready("v1").await;
        let closed = SessionRequest { deployment: Some(bare), ..request("v1", 1) };
        let refused = world.engine.create_session(&world.admin, closed.clone()).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        world.engine.set_joinable(&world.admin, bare, Some(true)).await.unwrap();
        let session = join(world, closed).await;
        world.engine.set_joinable(&world.admin, bare, Some(false)).await.unwrap();
        assert_eq!(taken(world, bare).await, (0, 1));
        world.stop(bare).await.unwrap();
        world.until(bare, Status::Terminated).await;
        let view = world.engine.get_session(&world.admin, session.id).await.unwrap();
        assert_eq!(view.session.phase, SessionPhase::Closed);
    }

    async fn two_hundred_players_who_come_and_go_at_once_never_get_a_socket_twice(world: &mut World) {
        let ttl = SessionInput { empty_ttl_minutes: Some(Some(10)), ..settings(SessionKind::Seat, 30) };
        version(world, "seats", "fake/game:ok", ttl).await;
        version(world, "matches", "fake/game:ok", settings(SessionKind::Match, 30)).await;
        for name in ["seats", "matches"] {
            let ids = [world.deploy_ready(name).await, world.deploy_ready(name).await];
            let round = async |number: usize| {
                let players = if name == "seats" { 1 + number % 2 } else { 3 };
                let session = join(world, request(name, players)).await;
                if session.deployment.is_some() && number.is_multiple_of(3) {
                    world.engine.delete_session(&world.admin, session.id).await.unwrap();
                    return (0, 0);
                }
                (u32::from(session.deployment.is_some()), session.sockets() * u32::from(session.deployment.is_some()))
            };
            let outcomes = futures_util::future::join_all((0..200).map(round)).await;
            let (linked, sockets) =
                outcomes.iter().fold((0, 0), |(links, sockets), (l, s)| (links + l, sockets + s));
            let mut shown = (0, 0);
            for id in ids {
                let (taken, sessions) = taken(world, id).await;
                assert!(taken <= 30, "{name}: oversold: {taken}");
                shown = (shown.0 + u32::try_from(sessions).unwrap(), shown.1 + taken);
            }
            assert_eq!(shown, (linked, sockets), "{name}: what is shown is the truth");
            // What is free can be had, to the last socket, and not more.
            let mut sum = sockets;
            while join(world, request(name, 1)).await.is_linked() {
                sum += 1;
            }
            assert_eq!(sum, 60, "{name}");
            assert_eq!(world.violations().await, Vec::<String>::new());
        }
    }

    async fn who_finds_no_room_has_one_deployed_and_those_who_come_meanwhile_join_it(world: &mut World) {
        let auto = SessionInput { autodeploy: Some(true), ..settings(SessionKind::Seat, 20) };
        version(world, "auto", "fake/game:ok", auto).await;
        let url = format!("http://{}/session", world.receiver_address);
        let joins = (0..100).map(|_| {
            let request = SessionRequest { webhook: Some(Plaintext::new(url.clone())), ..request("auto", 1) };
            async { join(world, request).await }
        });
        let sessions = futures_util::future::join_all(joins).await;
        assert!(sessions.iter().all(|session| session.is_linked()), "{sessions:?}");
        let mut ids: Vec<_> = sessions.iter().filter_map(|session| session.deployment).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!((5..=24).contains(&ids.len()), "{} deployments for 100 players on 20 sockets each", ids.len());
        let mut sum = 0;
        for id in &ids {
            world.until(*id, Status::Ready).await;
            let (taken, _) = taken(world, *id).await;
            assert!(taken <= 20);
            sum += taken;
        }
        assert_eq!(sum, 100);
        let told = || world.arrived().iter().filter(|path| *path == "/session").count();
        world.eventually("each session is told", async || told() >= 100).await;
        assert_eq!(told(), 100);
        assert_eq!(world.violations().await, Vec::<String>::new());
    }

    async fn selectors_choose_and_label_deployments(world: &mut World) {
        let auto = SessionInput { autodeploy: Some(true), ..settings(SessionKind::Match, 5) };
        version(world, "auto", "fake/game:ok", auto).await;
        let plain = world.deploy_ready("auto").await;
        let selector = |tag: &str, tag_only, env: Option<(&str, &str)>| Selector {
            tag: TagName::parse(tag).unwrap(),
            tag_only,
            env: env.map(|(key, value)| (key.to_owned(), value.to_owned())),
        };
        let note = SessionRequest { selectors: vec![selector("note", true, None)], ..request("auto", 1) };
        assert_eq!(join(world, note).await.deployment, Some(plain), "it only labels the session");
        let ranked = || SessionRequest {
            selectors: vec![selector("ranked", false, Some(("MODE", "duel"))), selector("x", true, None)],
            ..request("auto", 1)
        };
        let first = join(world, ranked()).await;
        let made = first.deployment.unwrap();
        assert_ne!(made, plain);
        let row = world.until(made, Status::Ready).await.deployment;
        let tags: Vec<_> = row.state.tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!((tags, row.spec.env.len()), (vec!["ranked"], 1));
        assert_eq!(join(world, ranked()).await.deployment, Some(made));
        let both = vec![selector("ranked", false, None), selector("eu", false, None)];
        let both = join(world, SessionRequest { selectors: both, ..request("auto", 1) }).await;
        assert!(![Some(made), Some(plain)].contains(&both.deployment), "all tags are needed");
    }

    async fn an_empty_deployment_ends_after_its_time_and_one_with_a_session_does_not(world: &mut World) {
        let ttl = SessionInput { empty_ttl_minutes: Some(Some(5)), ..settings(SessionKind::Seat, 5) };
        version(world, "seats", "fake/game:ok", ttl).await;
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let id = world.deploy_ready("seats").await;
        let session = join(world, request("seats", 1)).await;
        world.clock.advance(minutes(30));
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        world.engine.delete_session(&world.admin, session.id).await.unwrap();
        world.clock.advance(minutes(4));
        let second = join(world, request("seats", 1)).await;
        assert_eq!(second.deployment, Some(id), "it comes in time");
        world.clock.advance(minutes(4));
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        world.engine.delete_session(&world.admin, second.id).await.unwrap();
        let restarted = world.view(id).await.deployment.state.empty_since;
        world.crash_and_restart().await;
        assert_eq!(world.view(id).await.deployment.state.empty_since, restarted);
        world.clock.advance(minutes(5));
        let view = world.until(id, Status::Terminated).await;
        assert_eq!(view.deployment.state.phase, Phase::Terminated(StopCause::Empty));
        // One that nobody ever joined ends as well.
        let never = world.deploy_ready("seats").await;
        world.clock.advance(minutes(5));
        world.until(never, Status::Terminated).await;
    }

    async fn sessions_are_told_and_end_with_their_deployment(world: &mut World) {
        version(world, "seats", "fake/game:ok.never-listens", settings(SessionKind::Seat, 5)).await;
        let url = format!("http://{}/session?token=secret", world.receiver_address);
        let webhook = || Some(Plaintext::new(url.clone()));
        let nobody = join(world, SessionRequest { webhook: webhook(), ..request("seats", 1) }).await;
        let id = world.deploy("seats").await;
        let row = SessionRequest { deployment: Some(id), webhook: webhook(), ..request("seats", 2) };
        let session = join(world, row).await;
        assert!(session.is_linked(), "it waits on the deployment that was named");
        assert_eq!(session.webhook.as_ref().unwrap().shown, format!("http://{}/session", world.receiver_address));
        let starts = async || world.view(id).await.deployment.state.phase == Phase::Starting;
        world.eventually("its time to start has begun", starts).await;
        world.clock.advance(Duration::from_secs(121));
        world.until(id, Status::Error).await;
        let view = world.engine.get_session(&world.admin, session.id).await.unwrap();
        assert!(matches!(view.session.phase, SessionPhase::Failed(_)), "{view:?}");
        let told = |phase: &str, id: &Session| {
            let body = format!("{{\"session\":\"{}\",\"phase\":\"{phase}\"}}", id.id);
            world.receiver.received.lock().iter().filter(|received| received.body == body).count()
        };
        world.eventually("both are told", async || told("unprocessable", &nobody) == 1 && told("failed", &session) == 1).await;
        let list = world.engine.list_sessions(&world.admin, ALL).await.unwrap();
        assert_eq!(list.items.iter().map(|row| row.session.id).collect::<Vec<_>>(), [nobody.id]);
        // Records are kept for an hour.
        let gone = async || world.store.find_session(session.id).await.unwrap().is_none();
        world.clock.advance(Duration::from_secs(3500));
        assert!(!gone().await);
        assert_eq!(world.violations().await, Vec::<String>::new());
    }

    async fn custom_sessions_have_names_on_their_deployment(world: &mut World) {
        version(world, "seats", "fake/game:ok", settings(SessionKind::Seat, 5)).await;
        let id = world.deploy_ready("seats").await;
        let made = world.engine.create_custom_session(&world.admin, id, custom("a", 2)).await.unwrap();
        assert_eq!((made.spec.custom_id.as_ref().unwrap().as_str(), taken(world, id).await), ("a", (2, 1)));
        let twice = world.engine.create_custom_session(&world.admin, id, custom("a", 1)).await;
        assert!(matches!(twice, Err(Error::Conflict(_))), "{twice:?}");
        let several = vec![custom("b", 1), custom("a", 1), custom("c", 9), custom("d", 1)];
        let outcomes = world.engine.create_custom_sessions(&world.admin, id, several).await.unwrap();
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(taken(world, id).await, (4, 3));
        let grown = world.engine.update_custom_session(&world.admin, id, custom("a", 3)).await.unwrap();
        assert_eq!((grown.session.users.len(), taken(world, id).await), (3, (5, 3)));
        let full = world.engine.update_custom_session(&world.admin, id, custom("a", 4)).await;
        assert!(matches!(full, Err(Error::Unprocessable(_))), "{full:?}");
        let names = ["b", "nobody"].map(|name| CustomId::parse(name).unwrap());
        let deleted = world.engine.delete_custom_sessions(&world.admin, id, &names).await.unwrap();
        assert_eq!(deleted.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
        world.engine.create_custom_session(&world.admin, id, custom("b", 1)).await.unwrap();
        let list = world.engine.list_custom_sessions(&world.admin, id, ALL).await.unwrap();
        assert_eq!(list.total, 3);
        let stranger = Actor { apps: vec![app("other")], ..world.admin.clone() };
        let hidden = world.engine.get_custom_session(&stranger, id, &names[0]).await;
        assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
    }

    async fn filters_delete_those_who_match_all_of_them_and_nobody_else(world: &mut World) {
        version(world, "seats", "fake/game:ok", settings(SessionKind::Seat, 5)).await;
        let (one, other) = (world.deploy_ready("seats").await, world.deploy_ready("seats").await);
        world.engine.create_tag(&world.admin, one, TagName::parse("eu").unwrap()).await.unwrap();
        let on = async |id| join(world, SessionRequest { deployment: Some(id), ..request("seats", 1) }).await.id;
        let (a, b, c) = (on(one).await, on(one).await, on(other).await);
        let filter = |field, values: &[String], filter_type| SessionFilter { field, values: values.to_vec(), filter_type };
        let tagged = filter(SessionField::DeploymentTags, &["eu".into()], FilterType::Any);
        let not_b = filter(SessionField::Id, &[b.to_string()], FilterType::Not);
        let nothing = world.engine.bulk_delete_sessions(&world.admin, &[]).await;
        assert!(matches!(nothing, Err(Error::Invalid(_))), "{nothing:?}");
        let deleted = world.engine.bulk_delete_sessions(&world.admin, &[tagged, not_b]).await.unwrap();
        assert_eq!(deleted, [a]);
        let by_deployment = filter(SessionField::Deployment, &[one.to_string(), other.to_string()], FilterType::Any);
        let mut deleted = world.engine.bulk_delete_sessions(&world.admin, &[by_deployment]).await.unwrap();
        deleted.sort_unstable();
        let mut rest = vec![b, c];
        rest.sort_unstable();
        assert_eq!(deleted, rest);
        assert_eq!(taken(world, one).await, (0, 0));
    }
}
