//! Access lists: entries, renames, what is left of versions that are gone.

use spawnpoint_model::{AccessEntry, AccessEntryId, Cidr, VersionName};
use spawnpoint_store::Conflict;

use crate::world::*;

fn entry(id: u32, network: &str) -> AccessEntry {
    AccessEntry {
        id: AccessEntryId(id),
        network: Cidr::parse(network).unwrap(),
        label: "Matchmaker".into(),
        is_active: id.is_multiple_of(2),
        created_at: after(id.into()),
    }
}

fn name(version: &str) -> VersionName {
    version_name(version)
}

async fn networks(world: &World, app_name: &str, version: &str) -> Vec<String> {
    let entries = world.store.access_entries(&app(app_name), &name(version)).await.unwrap();
    entries.iter().map(|entry| entry.network.to_string()).collect()
}

on_both! {
    async fn entries_are_added_listed_in_order_and_removed(world: &World) {
        let arena = app("arena");
        for (id, network) in [(9, "10.0.0.0/8"), (4, "2001:db8::/32")] {
            world.commit(|tx| tx.insert_access_entry(&arena, &name("v1"), &entry(id, network))).await.unwrap();
        }
        let listed = world.store.access_entries(&arena, &name("v1")).await.unwrap();
        assert_eq!(listed, [entry(4, "2001:db8::/32"), entry(9, "10.0.0.0/8")]);
        let missing = |what, key: &str| Err(Conflict::Missing { what, key: key.into() }.into());
        let no_version = world.commit(|tx| tx.insert_access_entry(&arena, &name("v9"), &entry(1, "10.0.0.0/8"))).await;
        assert_eq!(no_version, missing("version", "arena/v9"));
        let taken = world.commit(|tx| tx.insert_access_entry(&arena, &name("v1"), &entry(4, "10.0.0.0/8"))).await;
        assert_eq!(taken, missing("version", "arena/v1"));
        let delete = async || world.commit(|tx| tx.delete_access_entry(&arena, &name("v1"), AccessEntryId(4))).await;
        delete().await.unwrap();
        assert_eq!(delete().await, missing("access list entry", "arena/v1/4"));
        assert_eq!(networks(world, "arena", "v1").await, ["10.0.0.0/8"]);
    }

    async fn a_rename_takes_the_list_along_and_leaves_it_to_deployments_of_the_old_name(world: &World) {
        let arena = app("arena");
        world.commit(|tx| tx.insert_access_entry(&arena, &name("v1"), &entry(2, "10.0.0.0/8"))).await.unwrap();
        world.insert(&deployment(1)).await;
        world.commit(|tx| tx.update_version(&name("v1"), &version("arena", "v2", "r1"))).await.unwrap();
        world.commit(|tx| tx.update_application(&arena, &application("dome"))).await.unwrap();
        world.commit(|tx| tx.purge_access_entries()).await.unwrap();
        assert_eq!(networks(world, "dome", "v2").await, ["10.0.0.0/8"]);
        assert_eq!(networks(world, "arena", "v1").await, ["10.0.0.0/8"], "a deployment still goes by this name");
        assert_eq!(networks(world, "arena", "v2").await, Vec::<String>::new());
        world.commit(|tx| tx.save_deployment(&terminated(&deployment(1), after(1)), None)).await.unwrap();
        world.commit(|tx| tx.purge_access_entries()).await.unwrap();
        assert_eq!(networks(world, "arena", "v1").await, Vec::<String>::new());
        assert_eq!(networks(world, "dome", "v2").await, ["10.0.0.0/8"]);
    }

    async fn a_version_that_is_made_again_begins_with_an_empty_list(world: &World) {
        let arena = app("arena");
        world.commit(|tx| tx.insert_access_entry(&arena, &name("v1"), &entry(2, "10.0.0.0/8"))).await.unwrap();
        world.commit(|tx| tx.delete_version(&arena, &name("v1"))).await.unwrap();
        assert_eq!(networks(world, "arena", "v1").await, ["10.0.0.0/8"], "its deployments go on");
        world.commit(|tx| tx.insert_version(&version("arena", "v1", "r1"))).await.unwrap();
        assert_eq!(networks(world, "arena", "v1").await, Vec::<String>::new());
    }

    async fn a_change_leaves_a_mark_for_others(world: &World) {
        assert_eq!(world.store.access_lists_mark().await, Ok(None));
        for mark in ["a", "b"] {
            world.commit(|tx| tx.mark_access_lists(mark)).await.unwrap();
            assert_eq!(world.store.access_lists_mark().await, Ok(Some(mark.to_owned())));
        }
    }
}
