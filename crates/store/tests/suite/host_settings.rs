//! What operators say of hosts: kept field by field, so that two who speak at once do not undo each other.

use spawnpoint_model::host_settings::{Deletion, Drain, HostSettings};
use spawnpoint_store::{Conflict, StoreError};

use crate::world::*;

on_both! {
    async fn a_host_is_seen_once_and_what_is_said_of_it_stays(world: &World) {
        world.commit(|tx| { tx.see_host(&host("b"), None, NOW); tx.see_host(&host("a"), None, NOW); }).await.unwrap();
        let fresh = |name: &str| HostSettings::new(host(name), NOW);
        assert_eq!(world.store.host_settings().await, Ok(vec![fresh("a"), fresh("b")]));
        world.commit(|tx| tx.set_host_cordon(&host("a"), true, Some(Drain::Stop), after(1))).await.unwrap();
        world.commit(|tx| tx.see_host(&host("a"), None, after(2))).await.unwrap();
        let drained = HostSettings { cordoned: Some(true), drain: Some(Drain::Stop), updated_at: after(1), ..fresh("a") };
        assert_eq!(world.store.host_settings().await, Ok(vec![drained, fresh("b")]));
    }

    async fn a_cordon_and_a_deletion_do_not_undo_each_other(world: &World) {
        world.commit(|tx| tx.see_host(&host("a"), None, NOW)).await.unwrap();
        let deletion = Deletion { id: "d1".into(), at: after(3600) };
        world.commit(|tx| tx.set_host_deletion(&host("a"), Some(&deletion), after(1))).await.unwrap();
        world.commit(|tx| tx.set_host_cordon(&host("a"), true, Some(Drain::Wait), after(2))).await.unwrap();
        let said = HostSettings {
            cordoned: Some(true),
            drain: Some(Drain::Wait),
            deletion: Some(deletion),
            updated_at: after(2),
            ..HostSettings::new(host("a"), NOW)
        };
        assert_eq!(world.store.host_settings().await, Ok(vec![said.clone()]));
        world.commit(|tx| tx.set_host_deletion(&host("a"), None, after(3))).await.unwrap();
        world.commit(|tx| tx.set_host_cordon(&host("a"), false, None, after(4))).await.unwrap();
        let open = HostSettings { cordoned: Some(false), drain: None, deletion: None, updated_at: after(4), ..said };
        assert_eq!(world.store.host_settings().await, Ok(vec![open]));
    }

    async fn nothing_is_reserved_on_a_host_that_is_cordoned_or_drained_until_it_is_not(world: &World) {
        let reserve = async || world.commit(|tx| tx.reserve(&host("a"), &resources(1, 1), &resources(9, 9))).await;
        let say = async |cordoned, drain| {
            world.commit(|tx| { tx.see_host(&host("a"), None, NOW); tx.set_host_cordon(&host("a"), cordoned, drain, NOW); }).await.unwrap();
        };
        let refused = Err(StoreError::Conflict(Conflict::NoCapacity(host("a"))));
        reserve().await.unwrap();
        say(true, None).await;
        assert_eq!(reserve().await, refused);
        say(true, Some(Drain::Wait)).await;
        assert_eq!(reserve().await, refused);
        world.commit(|tx| tx.unreserve(&host("a"), &resources(1, 1))).await.unwrap();
        say(false, None).await;
        reserve().await.unwrap();
        assert_eq!(world.store.host_usage().await.unwrap()[0].deployments, 1);
    }

    async fn of_a_host_that_was_never_seen_nothing_can_be_said(world: &World) {
        let missing = Err(StoreError::Conflict(Conflict::Missing { what: "host", key: "a".into() }));
        assert_eq!(world.commit(|tx| tx.set_host_cordon(&host("a"), true, None, NOW)).await, missing);
        assert_eq!(world.commit(|tx| tx.set_host_deletion(&host("a"), None, NOW)).await, missing);
        assert_eq!(world.store.host_settings().await, Ok(vec![]));
    }
}
