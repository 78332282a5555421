//! Every condition of the list query, order, pages.

use spawnpoint_model::query::{Condition, ListQuery, Ordering, Page, SortField, TextMatch};
use spawnpoint_model::{Phase, Status};

use crate::world::*;

const ALL: Page = Page { number: 1, limit: 100 };

/// Six rows: 1 to 3 on host `paris-1`, 4 and 5 of another application, 6 ended.
async fn seed(world: &World) {
    world
        .commit(|tx| {
            tx.insert_application(&application("Brawl"));
            tx.insert_version(&version("Brawl", "1.0_rc", "r2"));
        })
        .await
        .unwrap();
    for n in 1..=6 {
        let mut row = deployment(n);
        if n <= 3 {
            row.state.host = Some(host("paris-1"));
            row.state.phase = Phase::Ready;
            row.state.joinable = n == 1;
        } else {
            let spec = std::sync::Arc::make_mut(&mut row.spec);
            spec.app = app("Brawl");
            spec.version = version_name("1.0_rc");
            spec.revision = "r2".into();
        }
        row.state.tags = match n {
            1 => vec![tag("ranked"), tag("eu")],
            2 => vec![tag("eu")],
            4 => vec![tag("100%")],
            _ => vec![],
        };
        world.insert(&row).await;
    }
    let last = world.store.find_deployment(id(6)).await.unwrap().unwrap();
    world.commit(|tx| tx.save_deployment(&terminated(&last, after(9)), None)).await.unwrap();
}

/// The numbers of the rows that satisfy the conditions, in order.
async fn found(world: &World, conditions: Vec<Condition>) -> Vec<u64> {
    let query = ListQuery { conditions, ..ListQuery::default() };
    let page = world.store.list_deployments(&query, ALL).await.unwrap();
    assert_eq!(page.total, u64::try_from(page.items.len()).unwrap());
    assert_eq!(
        world.store.all_deployments(&query).await.as_ref(),
        Ok(&page.items),
        "one page holds them all"
    );
    page.items.iter().map(|d| u64::from_str_radix(&d.id.to_string(), 16).unwrap()).collect()
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

on_both! {
    async fn a_list_without_conditions_is_everything_live_newest_first(world: &World) {
        seed(world).await;
        assert_eq!(found(world, vec![]).await, [5, 4, 3, 2, 1]);
    }

    async fn statuses_and_ids_are_compared(world: &World) {
        seed(world).await;
        assert_eq!(found(world, vec![Condition::Status(Status::Ready, true)]).await, [3, 2, 1]);
        assert_eq!(found(world, vec![Condition::Status(Status::Ready, false)]).await, [5, 4]);
        assert_eq!(found(world, vec![Condition::Status(Status::Terminated, true)]).await, [0; 0]);
        assert_eq!(found(world, vec![Condition::Id(vec![id(2), id(5), id(6), id(77)], true)]).await, [5, 2]);
        assert_eq!(found(world, vec![Condition::Id(vec![id(2)], false)]).await, [5, 4, 3, 1]);
        assert_eq!(found(world, vec![Condition::Id(vec![], true)]).await, [0; 0]);
        assert_eq!(found(world, vec![Condition::Id(vec![], false)]).await, [5, 4, 3, 2, 1]);
    }

    async fn tags_are_compared_and_kept_in_step_with_the_row(world: &World) {
        seed(world).await;
        let with = |names: &[&str]| vec![Condition::Tags(texts(names), true)];
        assert_eq!(found(world, with(&["eu"])).await, [2, 1]);
        assert_eq!(found(world, with(&["eu", "ranked", "100%"])).await, [4, 2, 1]);
        assert_eq!(found(world, with(&["e%"])).await, [0; 0], "no wildcards in tags");
        assert_eq!(found(world, vec![Condition::Tags(texts(&["eu"]), false)]).await, [5, 4, 3]);
        let row = world.store.find_deployment(id(1)).await.unwrap().unwrap();
        let renamed = changed(&row, |d| d.state.tags = vec![tag("casual"), tag("eu")]);
        world.commit(|tx| tx.save_deployment(&renamed, None)).await.unwrap();
        assert_eq!(found(world, with(&["ranked"])).await, [0; 0]);
        assert_eq!(found(world, with(&["casual"])).await, [1]);
        let bare = changed(&renamed, |d| d.state.tags.clear());
        world.commit(|tx| tx.save_deployment(&bare, None)).await.unwrap();
        assert_eq!(found(world, with(&["casual", "eu"])).await, [2]);
    }

    async fn texts_are_compared_exactly_or_by_pattern_without_case(world: &World) {
        seed(world).await;
        let apps = |how| vec![Condition::Application(how)];
        assert_eq!(found(world, apps(TextMatch::In(texts(&["Brawl"])))).await, [5, 4]);
        assert_eq!(found(world, apps(TextMatch::In(texts(&["brawl"])))).await, [0; 0]);
        assert_eq!(found(world, apps(TextMatch::NotIn(texts(&["Brawl"])))).await, [3, 2, 1]);
        assert_eq!(found(world, apps(TextMatch::Like("bR%".into()))).await, [5, 4]);
        let versions = |how| vec![Condition::Version(how)];
        assert_eq!(found(world, versions(TextMatch::In(texts(&["v1", "none"])))).await, [3, 2, 1]);
        assert_eq!(found(world, versions(TextMatch::Like("1.0_RC".into()))).await, [5, 4]);
        assert_eq!(found(world, versions(TextMatch::Like("1.0-rc".into()))).await, [0; 0]);
        assert_eq!(found(world, versions(TextMatch::Like("_1".into()))).await, [0; 0], "_ is no wildcard");
        assert_eq!(found(world, versions(TextMatch::Like("%1%".into()))).await, [5, 4, 3, 2, 1]);
        assert_eq!(found(world, versions(TextMatch::Like("!%".into()))).await, [0; 0], "nor is the escape special");
    }

    async fn hostile_values_match_nothing_and_break_nothing(world: &World) {
        seed(world).await;
        for text in ["\0", "a\0b", "' or 1=1 --", "$1", "\\", "!", &"x".repeat(100_000), &"%".repeat(60_000)] {
            let exact = TextMatch::In(texts(&[text]));
            assert_eq!(found(world, vec![Condition::Application(exact.clone())]).await, [0; 0], "{text:.20}");
            assert_eq!(found(world, vec![Condition::Tags(texts(&[text]), true)]).await, [0; 0], "{text:.20}");
            assert_eq!(found(world, vec![Condition::Host(TextMatch::Like(text.into()))]).await, [0; 0], "{text:.20}");
        }
        let many: Vec<_> = (100..20_100).map(id).collect();
        assert_eq!(found(world, vec![Condition::Id(many, true)]).await, [0; 0]);
    }

    async fn hosts_and_fleets_may_be_absent(world: &World) {
        seed(world).await;
        let hosts = |how| vec![Condition::Host(how)];
        assert_eq!(found(world, hosts(TextMatch::In(texts(&["paris-1"])))).await, [3, 2, 1]);
        assert_eq!(found(world, hosts(TextMatch::NotIn(texts(&["paris-1"])))).await, [5, 4]);
        assert_eq!(found(world, hosts(TextMatch::Like("PARIS%".into()))).await, [3, 2, 1]);
        assert_eq!(found(world, vec![Condition::Fleet(TextMatch::In(texts(&["f"])))]).await, [0; 0]);
        assert_eq!(found(world, vec![Condition::Fleet(TextMatch::NotIn(texts(&["f"])))]).await, [5, 4, 3, 2, 1]);
    }

    async fn times_flags_and_sockets_are_compared(world: &World) {
        seed(world).await;
        let created = |how| vec![Condition::CreatedAt(how, after(3))];
        assert_eq!(found(world, created(Ordering::Eq)).await, [3]);
        assert_eq!(found(world, created(Ordering::Neq)).await, [5, 4, 2, 1]);
        assert_eq!(found(world, created(Ordering::Lt)).await, [2, 1]);
        assert_eq!(found(world, created(Ordering::Lte)).await, [3, 2, 1]);
        assert_eq!(found(world, created(Ordering::Gt)).await, [5, 4]);
        assert_eq!(found(world, created(Ordering::Gte)).await, [5, 4, 3]);
        assert_eq!(found(world, vec![Condition::Joinable(true)]).await, [1]);
        assert_eq!(found(world, vec![Condition::Joinable(false)]).await, [5, 4, 3, 2]);
        for how in [Ordering::Gte, Ordering::Lt, Ordering::Neq] {
            assert_eq!(found(world, vec![Condition::AvailableSockets(how, 0)]).await, [0; 0]);
        }
    }

    async fn all_conditions_hold_together_within_the_tokens_applications(world: &World) {
        seed(world).await;
        let both = vec![Condition::Tags(texts(&["eu"]), true), Condition::CreatedAt(Ordering::Gt, after(1))];
        assert_eq!(found(world, both).await, [2]);
        let query = ListQuery {
            conditions: vec![Condition::Tags(texts(&["eu", "100%"]), true)],
            apps: vec![app("Brawl")],
            ..ListQuery::default()
        };
        let page = world.store.list_deployments(&query, ALL).await.unwrap();
        assert_eq!((page.total, page.items[0].id), (1, id(4)));
    }

    async fn pages_are_cut_from_one_order_and_know_the_total(world: &World) {
        seed(world).await;
        let ascending = ListQuery { order_by: vec![(SortField::CreatedAt, false)], ..ListQuery::default() };
        let mut seen = Vec::new();
        for number in 1..=4 {
            let page = world.store.list_deployments(&ascending, Page { number, limit: 2 }).await.unwrap();
            assert_eq!((page.total, page.page.number), (5, number));
            seen.extend(page.items.iter().map(|d| d.id));
        }
        assert_eq!(seen, [id(1), id(2), id(3), id(4), id(5)]);
        let sockets = ListQuery {
            order_by: vec![(SortField::AvailableSockets, true), (SortField::CreatedAt, false)],
            ..ListQuery::default()
        };
        assert_eq!(world.store.list_deployments(&sockets, ALL).await.unwrap().items[0].id, id(1));
    }

    async fn rows_of_one_moment_are_ordered_by_id(world: &World) {
        for n in [3, 1, 2] {
            let mut row = deployment(n);
            std::sync::Arc::make_mut(&mut row.spec).created_at = NOW;
            world.insert(&row).await;
        }
        assert_eq!(found(world, vec![]).await, [3, 2, 1]);
    }
}
