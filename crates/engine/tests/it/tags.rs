//! Tags and what else users change of a live deployment, while others change it too.

use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::callback::{Purpose, number, token};
use spawnpoint_engine::report::Report;
use spawnpoint_model::deployment::Status;
use spawnpoint_model::limits::{REPORTS_MAX, TAGS_MAX};
use spawnpoint_model::query::{Condition, ListQuery, Page};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, TagName};
use spawnpoint_store::Vault;

use crate::world::{World, app, on_both};

const ALL: Page = Page { number: 1, limit: 100 };

fn tag(name: &str) -> TagName {
    TagName::parse(name).unwrap()
}

async fn names(world: &World, id: DeploymentId) -> Vec<String> {
    let tags = world.engine.list_tags(&world.admin, id, ALL).await.unwrap();
    assert_eq!(tags.total, u64::try_from(tags.items.len()).unwrap());
    tags.items.iter().map(|tag| tag.name.as_str().to_owned()).collect()
}

async fn found_by(world: &World, name: &str) -> usize {
    let query =
        ListQuery { conditions: vec![Condition::Tags(vec![name.to_owned()], true)], ..ListQuery::default() };
    world.engine.list_deployments(&world.admin, query, ALL).await.unwrap().items.len()
}

on_both! {
    async fn tags_are_put_on_renamed_and_taken_off_and_lists_follow(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let (engine, admin) = (&world.engine, &world.admin);
        let made = engine.create_tag(admin, id, tag("eu")).await.unwrap();
        assert!(matches!(engine.create_tag(admin, id, tag("eu")).await, Err(Error::Conflict(_))));
        engine.create_tag(admin, id, tag("ranked")).await.unwrap();
        assert!(matches!(engine.rename_tag(admin, id, "eu", tag("ranked")).await, Err(Error::Conflict(_))));
        world.clock.advance(Duration::from_secs(1));
        let renamed = engine.rename_tag(admin, id, "eu", tag("us")).await.unwrap();
        assert_eq!((renamed.created_at, renamed.updated_at), (made.created_at, made.created_at.plus(Duration::from_secs(1))));
        assert_eq!(engine.get_tag(admin, id, "us").await.unwrap(), renamed);
        assert_eq!(names(world, id).await, ["us", "ranked"]);
        assert_eq!((found_by(world, "eu").await, found_by(world, "us").await), (0, 1));
        engine.delete_tag(admin, id, "us").await.unwrap();
        for missing in [
            engine.delete_tag(admin, id, "us").await.err(),
            engine.get_tag(admin, id, "us").await.err(),
            engine.rename_tag(admin, id, "us", tag("x")).await.err(),
        ] {
            assert!(matches!(missing, Some(Error::NotFound(_))), "{missing:?}");
        }
        assert_eq!(found_by(world, "us").await, 0);
        world.crash_and_restart().await;
        assert_eq!(names(world, id).await, ["ranked"]);
    }

    async fn many_at_once_lose_no_tag_and_put_none_on_twice(world: &mut World) {
        world.create_version("arena", "slow", "fake/game:listen-delay-200ms", |_| {}).await;
        // While it starts, the reconciler changes the row as well.
        let id = world.deploy("slow").await;
        let different = (0..20).map(|n| world.engine.create_tag(&world.admin, id, tag(&format!("t{n}"))));
        let same = (0..20).map(|_| world.engine.create_tag(&world.admin, id, tag("same")));
        let (different, same) =
            futures_util::join!(futures_util::future::join_all(different), futures_util::future::join_all(same));
        assert!(different.iter().all(Result::is_ok), "{different:?}");
        assert_eq!(same.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(same.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Conflict(_)))), "{same:?}");
        assert_eq!(names(world, id).await.len(), 21);
        world.until(id, Status::Ready).await;
        assert_eq!(names(world, id).await.len(), 21);
    }

    async fn a_deployment_has_a_bounded_number_of_tags_and_reports(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        for n in 0..TAGS_MAX {
            world.engine.create_tag(&world.admin, id, tag(&format!("t{n}"))).await.unwrap();
        }
        assert!(matches!(world.engine.create_tag(&world.admin, id, tag("more")).await, Err(Error::Invalid(_))));
        let report = || Report { reason: "lag".into(), metadata: serde_json::Map::new() };
        for _ in 0..REPORTS_MAX {
            world.engine.report(&world.admin, id, report()).await.unwrap();
        }
        assert!(matches!(world.engine.report(&world.admin, id, report()).await, Err(Error::Invalid(_))));
        let kinds = world.engine.events(&world.admin, id).await.unwrap();
        assert_eq!(kinds.iter().filter(|event| event.kind == "reported").count(), 64);
    }

    async fn the_container_and_the_user_share_the_tags(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let vault = Vault::from_master_key([7; 32]);
        let key = number(&vault, Purpose::Context, id).to_string();
        let secret = token(&vault, Purpose::Context, id);
        world.engine.context_add_tag(id, &key, Some(&secret), tag("full")).await.unwrap();
        assert!(matches!(world.engine.create_tag(&world.admin, id, tag("full")).await, Err(Error::Conflict(_))));
        world.engine.rename_tag(&world.admin, id, "full", tag("half")).await.unwrap();
        let gone = world.engine.context_remove_tag(id, &key, Some(&secret), "full").await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        world.engine.context_remove_tag(id, &key, Some(&secret), "half").await.unwrap();
        assert_eq!(names(world, id).await, Vec::<String>::new());
    }

    async fn what_has_ended_does_not_change_any_more(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.engine.create_tag(&world.admin, id, tag("kept")).await.unwrap();
        assert!(world.engine.set_joinable(&world.admin, id, Some(true)).await.unwrap());
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let before = world.view(id).await.deployment;
        for refused in [
            world.engine.create_tag(&world.admin, id, tag("new")).await.err(),
            world.engine.rename_tag(&world.admin, id, "kept", tag("new")).await.err(),
            world.engine.delete_tag(&world.admin, id, "kept").await.err(),
            world.engine.set_joinable(&world.admin, id, Some(false)).await.err(),
        ] {
            assert!(matches!(refused, Some(Error::NotFound(_))), "{refused:?}");
        }
        assert_eq!(names(world, id).await, ["kept"]);
        let report = Report { reason: "it was bad".into(), metadata: serde_json::Map::new() };
        world.engine.report(&world.admin, id, report).await.unwrap();
        assert_eq!(world.view(id).await.deployment, before);
    }

    async fn a_bound_token_changes_nothing_of_others(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.create_app("other").await;
        let stranger = Actor { apps: vec![app("other")], ..world.admin.clone() };
        let reader = Actor { scope: Scope::Read, ..world.admin.clone() };
        let report = || Report { reason: "lag".into(), metadata: serde_json::Map::new() };
        for refused in [
            world.engine.create_tag(&stranger, id, tag("x")).await.err(),
            world.engine.list_tags(&stranger, id, ALL).await.err(),
            world.engine.set_joinable(&stranger, id, Some(true)).await.err(),
        ] {
            assert!(matches!(refused, Some(Error::NotFound(_))), "{refused:?}");
        }
        for refused in [
            world.engine.report(&stranger, id, report()).await.err(),
            world.engine.create_tag(&reader, id, tag("x")).await.err(),
            world.engine.set_joinable(&reader, id, Some(true)).await.err(),
            world.engine.report(&reader, id, report()).await.err(),
        ] {
            assert!(matches!(refused, Some(Error::Forbidden(_))), "{refused:?}");
        }
        assert_eq!(world.view(id).await.deployment.state.tags, []);
    }

    async fn a_change_at_the_moment_of_a_timer_does_not_swallow_it(world: &mut World) {
        world.create_version("arena", "short", "fake/game:ok", |input| input.max_duration_minutes = Some(1)).await;
        let id = world.deploy_ready("short").await;
        world.clock.advance(Duration::from_secs(61));
        // May come before the timers have looked: then the change itself has to see to it.
        let _ = world.engine.create_tag(&world.admin, id, tag("late")).await;
        world.until(id, Status::Terminated).await;
    }
}
