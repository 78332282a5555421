//! Bulk stops: whom they end, and that what was acknowledged is durable.

use std::collections::BTreeSet;

use spawnpoint_engine::Error;
use spawnpoint_engine::bulk_stop::{StopField, StopFilter};
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_model::app::RestartPolicy;
use spawnpoint_model::deployment::{Desired, Exit, Phase, Status, StopCause};
use spawnpoint_model::filter::FilterType;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, TagName};

use crate::world::{World, app, on_both};

fn filter(field: StopField, filter_type: FilterType, values: &[&str]) -> StopFilter {
    StopFilter { field, values: values.iter().map(|value| (*value).to_owned()).collect(), filter_type }
}

fn tags(filter_type: FilterType, values: &[&str]) -> StopFilter {
    filter(StopField::Tags, filter_type, values)
}

async fn tagged(world: &World, version: &str, names: &[&str]) -> DeploymentId {
    let mut request = world.request(version);
    request.tags = names.iter().map(|name| TagName::parse(name).unwrap()).collect();
    world.engine.deploy(&world.admin, request, None).await.unwrap().view.deployment.id
}

/// Thirty of them have room.
fn small(input: &mut VersionInput) {
    (input.cpu, input.memory) = (Some(100), Some(100));
}

async fn stop(world: &World, filters: &[StopFilter]) -> BTreeSet<DeploymentId> {
    world.engine.bulk_stop(&world.admin, filters).await.unwrap().into_iter().collect()
}

on_both! {
    async fn filters_choose_and_all_of_them_must_hold(world: &mut World) {
        world.create_version("arena", "small", "fake/game:ok", small).await;
        let (a, b) = (tagged(world, "small", &["eu", "ranked"]).await, tagged(world, "small", &["eu"]).await);
        let (c, d) = (tagged(world, "small", &["us"]).await, tagged(world, "small", &[]).await);
        for id in [a, b, c, d] {
            world.until(id, Status::Ready).await;
        }
        let ids = |how, ids: &[DeploymentId]| {
            let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
            filter(StopField::Id, how, &texts.iter().map(String::as_str).collect::<Vec<_>>())
        };
        use FilterType::{All, Any, Not};
        for (filters, expected) in [
            (vec![tags(All, &["eu", "us"])], vec![]),
            (vec![ids(All, &[a, b])], vec![]),
            (vec![filter(StopField::Id, Any, &["nonsense"])], vec![]),
            (vec![tags(Any, &["eu"]), tags(Not, &["ranked", "x"]), ids(Not, &[b])], vec![]),
            (vec![tags(All, &["ranked", "eu", "eu"])], vec![a]),
            (vec![tags(Not, &["us", "ranked"]), ids(Any, &[b, c])], vec![b]),
            (vec![tags(Not, &["zzz"])], vec![c, d]),
        ] {
            assert_eq!(stop(world, &filters).await, expected.iter().copied().collect(), "{filters:?}");
            for id in expected {
                world.until(id, Status::Terminated).await;
            }
        }
    }

    async fn no_filter_or_no_value_never_means_everything(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        for filters in [vec![], vec![tags(FilterType::Not, &[])], vec![tags(FilterType::Not, &["x"]), tags(FilterType::Any, &[])]] {
            let refused = world.engine.bulk_stop(&world.admin, &filters).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        let reader = Actor { scope: Scope::Read, ..world.admin.clone() };
        let refused = world.engine.bulk_stop(&reader, &[tags(FilterType::Not, &["x"])]).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        world.create_app("other").await;
        let stranger = Actor { apps: vec![app("other")], ..world.admin.clone() };
        assert_eq!(world.engine.bulk_stop(&stranger, &[tags(FilterType::Not, &["x"])]).await.unwrap(), []);
        assert_eq!(world.view(id).await.deployment.state.desired, Desired::Run);
    }

    async fn what_was_acknowledged_is_stopped_by_whoever_comes_after_a_crash(world: &mut World) {
        world.create_version("arena", "small", "fake/game:ignore-term", small).await;
        let mut all = BTreeSet::new();
        for _ in 0..30 {
            all.insert(tagged(world, "small", &["old"]).await);
        }
        for id in &all {
            world.until(*id, Status::Ready).await;
        }
        assert_eq!(stop(world, &[tags(FilterType::Any, &["old"])]).await, all);
        world.crash_and_restart().await;
        for id in &all {
            assert_eq!(world.view(*id).await.deployment.state.desired, Desired::Stop(StopCause::User));
        }
        // The grace of all of them ends.
        world.clock.advance(std::time::Duration::from_secs(5));
        for id in &all {
            world.until(*id, Status::Terminated).await;
        }
        world.eventually("each is announced once", async || {
            world.arrived().iter().filter(|path| *path == "/terminated").count() == 30
        }).await;
    }

    async fn stops_from_all_sides_end_each_deployment_once(world: &mut World) {
        world.create_version("arena", "small", "fake/game:ok", |input| {
            small(input);
            input.restart_policy = Some(RestartPolicy::Never);
        }).await;
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(tagged(world, "small", &["old"]).await);
        }
        for id in &all {
            world.until(*id, Status::Ready).await;
        }
        let filters = [tags(FilterType::Any, &["old"])];
        for id in &all[..4] {
            let workload = world.view(*id).await.deployment.workload();
            world.hosts.iter().for_each(|host| host.kill(workload, Exit { code: 0, oom: false, disk: false }));
        }
        let singles = futures_util::future::join_all(all[4..8].iter().map(|id| world.stop(*id)));
        let bulk = || world.engine.bulk_stop(&world.admin, &filters);
        let (_, first, second) = futures_util::join!(singles, bulk(), bulk());
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
        for id in &all {
            let view = world.until(*id, Status::Terminated).await;
            assert!(matches!(view.deployment.state.phase, Phase::Terminated(StopCause::User | StopCause::Exited)));
        }
        world.eventually("each is announced", async || {
            world.arrived().iter().filter(|path| *path == "/terminated").count() >= 12
        }).await;
        assert_eq!(world.arrived().iter().filter(|path| *path == "/terminated").count(), 12);
    }
}
