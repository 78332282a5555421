//! Smart fleets: what is linked, what is due, and who may start what.

use spawnpoint_model::fleet::{EVERY, Fleet, Link, Policy, PolicyKind, PolicySpec};
use spawnpoint_model::names::{FleetName, PolicyName};
use spawnpoint_model::query::Page;
use spawnpoint_model::{RevisionId, Timestamp};
use spawnpoint_store::{Conflict, FleetUnit, StoreError};

use crate::world::{NOW, World, after, app, on_both, version, version_name};

const ALL: Page = Page { number: 1, limit: 100 };

fn name(name: &str) -> FleetName {
    FleetName::parse(name).unwrap()
}

fn fleet(of: &str) -> Fleet {
    Fleet { name: name(of), enabled: true, created_at: NOW, updated_at: NOW }
}

fn policy(id: &str) -> Policy {
    let spec = PolicySpec {
        enabled: true,
        kind: PolicyKind::Location,
        minimum: 1,
        maximum: None,
        threshold: 0.5,
        filters: Vec::new(),
        points: Vec::new(),
        data: "{}".into(),
    };
    let name = PolicyName::parse(id).unwrap();
    Policy { id: id.into(), fleet: fleet("all").name, name, spec, created_at: NOW, updated_at: NOW }
}

fn link() -> Link {
    Link { fleet: name("all"), app: app("arena"), version: version_name("v1"), created_at: NOW }
}

async fn due(world: &World, now: Timestamp) -> Vec<FleetUnit> {
    let mut units = world.store.claim_units("me", now, now, 10).await.unwrap();
    units.sort_by(|a, b| a.policy.cmp(&b.policy));
    units
}

on_both! {
    async fn a_unit_is_there_for_each_policy_and_link_and_goes_with_either(world: &World) {
        world.commit(|tx| {
            tx.insert_fleet(&fleet("all"));
            tx.insert_policy(&policy("a"));
            tx.insert_fleet_link(&link());
            tx.insert_fleet_link(&link());
            tx.insert_policy(&policy("b"));
        }).await.unwrap();
        assert_eq!(due(world, NOW).await.iter().map(|unit| unit.policy.to_string()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(world.store.count_fleets(&name("all")).await.unwrap(), [1, 2, 1]);
        world.commit(|tx| tx.update_fleet(&name("all"), &fleet("every"))).await.unwrap();
        assert_eq!(due(world, NOW).await[0].fleet, name("every"));
        assert_eq!(world.store.list_policies(&name("every"), ALL).await.unwrap().total, 2);
        world.commit(|tx| tx.delete_policy(&policy("a"))).await.unwrap();
        assert_eq!(due(world, NOW).await.len(), 1);
        // A version that is renamed stays linked; one that is deleted is not any more.
        let renamed = version("arena", "v2", "r1");
        world.commit(|tx| tx.update_version(&version_name("v1"), &renamed)).await.unwrap();
        assert_eq!(due(world, NOW).await[0].version, version_name("v2"));
        world.commit(|tx| tx.delete_version(&app("arena"), &version_name("v2"))).await.unwrap();
        assert_eq!((due(world, NOW).await.len(), world.store.list_fleet_links(&name("every"), ALL).await.unwrap().total), (0, 0));
        world.commit(|tx| tx.delete_fleet(&name("every"))).await.unwrap();
        assert_eq!(world.store.list_fleets(ALL).await.unwrap().total, 0);
        let missing = world.commit(|tx| tx.insert_fleet_link(&link())).await;
        assert!(matches!(missing, Err(StoreError::Conflict(Conflict::Missing { .. }))), "{missing:?}");
    }

    async fn who_decided_by_an_older_state_is_refused_and_no_wake_is_lost(world: &World) {
        world.commit(|tx| {
            tx.insert_fleet(&fleet("all"));
            tx.insert_policy(&policy("a"));
            tx.insert_fleet_link(&link());
        }).await.unwrap();
        let unit = due(world, NOW).await.remove(0);
        world.commit(|tx| tx.count_creation(&unit)).await.unwrap();
        let again = world.commit(|tx| tx.count_creation(&unit)).await;
        assert!(matches!(again, Err(StoreError::Conflict(Conflict::Outdated { .. }))), "{again:?}");
        let seen = world.store.find_unit(&unit.policy, &unit.app, &unit.version).await.unwrap().unwrap();
        world.commit(|tx| tx.wake_unit(&unit.policy, &unit.app, &unit.version, after(1))).await.unwrap();
        world.commit(|tx| tx.rest_unit(&seen, None)).await.unwrap();
        assert_eq!(world.store.next_unit_at().await.unwrap(), Some(after(1)), "it was woken meanwhile");
        let seen = world.store.find_unit(&unit.policy, &unit.app, &unit.version).await.unwrap().unwrap();
        world.commit(|tx| tx.rest_unit(&seen, None)).await.unwrap();
        assert_eq!(world.store.next_unit_at().await.unwrap(), None);
    }

    async fn a_budget_is_spent_given_back_and_fills_again(world: &World) {
        let revision = RevisionId::from("r1");
        let spend = async |now| world.commit(|tx| tx.spend_budget(&revision, now)).await;
        for _ in 0..10 {
            spend(NOW).await.unwrap();
        }
        assert_eq!(spend(NOW).await, Err(StoreError::Conflict(Conflict::BudgetSpent(revision.clone()))));
        world.commit(|tx| tx.refund_budget(&revision)).await.unwrap();
        spend(NOW).await.unwrap();
        assert!(spend(Timestamp(NOW.plus(EVERY).0 - 1)).await.is_err());
        spend(NOW.plus(EVERY)).await.unwrap();
        assert!(spend(NOW.plus(EVERY)).await.is_err());
        assert_eq!(world.store.budget_full_at(&revision).await.unwrap(), Some(NOW.plus(EVERY * 11)));
        world.commit(|tx| tx.purge_budgets(NOW.plus(EVERY * 11))).await.unwrap();
        assert_eq!(world.store.budget_full_at(&revision).await.unwrap(), None);
    }
}
