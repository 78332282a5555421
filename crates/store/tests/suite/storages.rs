//! Endpoint storages, pull profiles, their links, and uploads of logs.

use spawnpoint_model::query::Page;
use spawnpoint_model::{
    DeploymentId, EndpointStorage, LogFormat, ProfileName, PullLink, PullProfile, Sealed, SourceType,
    StorageName, VersionName,
};
use spawnpoint_store::{Conflict, LogKind, LogUpload, StoreError, UploadState};

use crate::world::*;

const ALL: Page = Page { number: 1, limit: 100 };

fn storage_name(name: &str) -> StorageName {
    StorageName::parse(name).unwrap()
}

fn profile_name(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

fn storage(name: &str) -> EndpointStorage {
    EndpointStorage {
        name: storage_name(name),
        access_key_id: "AKIA".into(),
        secret: Sealed("v1.sealed".into()),
        endpoint: "https://s3.example.com".into(),
        bucket: "logs".into(),
        format: LogFormat::Ndjson,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn profile(storage: &str, name: &str) -> PullProfile {
    PullProfile {
        storage: storage_name(storage),
        name: profile_name(name),
        source: "/logs/a.cfg".into(),
        source_type: SourceType::Folder,
        destination: "/data".into(),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn link(storage: &str, profile: &str) -> PullLink {
    PullLink {
        app: app("arena"),
        version: VersionName::parse("v1").unwrap(),
        storage: storage_name(storage),
        profile: profile_name(profile),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn upload(id: DeploymentId, storage: &str) -> LogUpload {
    LogUpload {
        deployment: id,
        kind: LogKind::Container,
        attempt: 1,
        storage: Some(storage_name(storage)),
        key: "arena/v1/x/container.log".into(),
        node: "node-a".into(),
        spool: "x-1".into(),
        bytes: 5,
        state: UploadState::Pending,
        attempts: 0,
        next_at: NOW,
        last_error: None,
        created_at: NOW,
        ended_at: None,
    }
}

fn missing(what: &'static str, key: &str) -> Result<(), StoreError> {
    Err(Conflict::Missing { what, key: key.into() }.into())
}

fn exists(what: &'static str, key: &str) -> Result<(), StoreError> {
    Err(Conflict::Exists { what, key: key.into() }.into())
}

on_both! {
    async fn storages_are_made_changed_listed_and_removed(world: &World) {
        for name in ["b", "a"] {
            world.commit(|tx| tx.insert_storage(&storage(name))).await.unwrap();
        }
        assert_eq!(world.commit(|tx| tx.insert_storage(&storage("a"))).await, exists("endpoint storage", "a"));
        let page = world.store.list_storages(ALL).await.unwrap();
        assert_eq!((page.total, page.items), (2, vec![storage("a"), storage("b")]));
        let mut changed = storage("a");
        changed.bucket = "other".into();
        changed.format = LogFormat::Text;
        changed.updated_at = after(1);
        world.commit(|tx| tx.update_storage(&storage_name("a"), &changed)).await.unwrap();
        assert_eq!(world.store.find_storage(&storage_name("a")).await, Ok(Some(changed)));
        let rename = async |from: &str, to: &str| {
            world.commit(|tx| tx.update_storage(&storage_name(from), &storage(to))).await
        };
        assert_eq!(rename("a", "b").await, exists("endpoint storage", "b"));
        assert_eq!(rename("none", "c").await, missing("endpoint storage", "none"));
        world.commit(|tx| tx.delete_storage(&storage_name("a"))).await.unwrap();
        assert_eq!(world.store.find_storage(&storage_name("a")).await, Ok(None));
        let again = world.commit(|tx| tx.delete_storage(&storage_name("a"))).await;
        assert_eq!(again, missing("endpoint storage", "a"));
    }

    async fn a_storage_is_found_by_the_names_it_had_until_another_takes_them(world: &World) {
        world.commit(|tx| tx.insert_storage(&storage("a"))).await.unwrap();
        for (from, to) in [("a", "b"), ("b", "c")] {
            world.commit(|tx| tx.update_storage(&storage_name(from), &storage(to))).await.unwrap();
        }
        let meant = async |name: &str| {
            world.store.find_storage_meant_by(name).await.unwrap().map(|found| found.name.to_string())
        };
        for name in ["a", "b", "c"] {
            assert_eq!(meant(name).await.as_deref(), Some("c"), "{name}");
        }
        assert_eq!(meant("d").await, None);
        world.commit(|tx| tx.insert_storage(&storage("a"))).await.unwrap();
        assert_eq!(meant("a").await.as_deref(), Some("a"));
        // Back to a name that it had.
        world.commit(|tx| tx.update_storage(&storage_name("c"), &storage("b"))).await.unwrap();
        assert_eq!((meant("b").await.as_deref(), meant("c").await.as_deref()), (Some("b"), Some("b")));
        world.commit(|tx| tx.delete_storage(&storage_name("b"))).await.unwrap();
        assert_eq!((meant("b").await, meant("c").await), (None, None));
    }

    async fn links_follow_every_rename_and_go_with_what_they_link(world: &World) {
        world.commit(|tx| tx.insert_storage(&storage("s"))).await.unwrap();
        let nowhere = world.commit(|tx| tx.insert_profile(&profile("none", "p"))).await;
        assert_eq!(nowhere, missing("endpoint storage", "none"));
        for name in ["p", "q"] {
            world.commit(|tx| tx.insert_profile(&profile("s", name))).await.unwrap();
            world.commit(|tx| tx.link_profile(&link("s", name))).await.unwrap();
        }
        assert_eq!(world.commit(|tx| tx.insert_profile(&profile("s", "p"))).await, exists("pull profile", "s/p"));
        assert!(world.commit(|tx| tx.link_profile(&link("s", "none"))).await.is_err());
        let again = PullLink { created_at: after(9), updated_at: after(9), ..link("s", "p") };
        world.commit(|tx| tx.link_profile(&again)).await.unwrap();

        let mut renamed_app = application("arena");
        renamed_app.name = app("coliseum");
        world.commit(|tx| tx.update_application(&app("arena"), &renamed_app)).await.unwrap();
        let renamed_version = version("coliseum", "v2", "r1");
        world.commit(|tx| tx.update_version(&VersionName::parse("v1").unwrap(), &renamed_version)).await.unwrap();
        world.commit(|tx| tx.update_storage(&storage_name("s"), &storage("t"))).await.unwrap();
        world.commit(|tx| tx.update_profile(&profile_name("p"), &profile("t", "r"))).await.unwrap();
        let (coliseum, v2) = (app("coliseum"), VersionName::parse("v2").unwrap());
        let linked = world.store.profiles_of(&coliseum, &v2).await.unwrap();
        assert_eq!(linked, [profile("t", "q"), profile("t", "r")]);
        let found = world.store.find_link(&coliseum, &v2, &storage_name("t"), &profile_name("r")).await.unwrap().unwrap();
        assert_eq!((found.created_at, found.updated_at), (NOW, after(9)));

        let unlink = async |name: &str| {
            world.commit(|tx| tx.unlink_profile(&coliseum, &v2, &storage_name("t"), &profile_name(name))).await
        };
        unlink("q").await.unwrap();
        assert!(unlink("q").await.is_err());
        assert_eq!(world.store.list_profiles(&storage_name("t"), ALL).await.unwrap().total, 2);
        world.commit(|tx| tx.delete_profile(&storage_name("t"), &profile_name("r"))).await.unwrap();
        assert_eq!(world.store.profiles_of(&coliseum, &v2).await.unwrap(), []);
        world.commit(|tx| tx.link_profile(&PullLink { app: coliseum.clone(), version: v2.clone(), ..link("t", "q") })).await.unwrap();
        world.commit(|tx| tx.delete_version(&coliseum, &v2)).await.unwrap();
        assert_eq!(world.store.profiles_of(&coliseum, &v2).await.unwrap(), []);
        world.commit(|tx| tx.delete_storage(&storage_name("t"))).await.unwrap();
        assert_eq!(world.store.list_profiles(&storage_name("t"), ALL).await.unwrap().total, 0);
    }

    async fn uploads_are_due_at_their_node_until_they_end(world: &World) {
        let id = DeploymentId::from_random(7);
        world.commit(|tx| tx.insert_storage(&storage("s"))).await.unwrap();
        world.commit(|tx| tx.put_upload(&upload(id, "s"))).await.unwrap();
        let due = async |node: &str, at| world.store.due_uploads(node, at, 10).await.unwrap();
        assert_eq!(due("node-a", NOW).await, [upload(id, "s")]);
        assert!(due("node-b", NOW).await.is_empty());
        assert_eq!(world.store.spools_of("node-a").await.unwrap(), ["x-1"]);

        world.commit(|tx| tx.upload_postponed(&upload(id, "s"), after(5), "403")).await.unwrap();
        assert!(due("node-a", NOW).await.is_empty());
        let later = due("node-a", after(5)).await.remove(0);
        assert_eq!((later.attempts, later.last_error.as_deref()), (1, Some("403")));
        world.commit(|tx| tx.hurry_uploads(&storage_name("s"), after(1))).await.unwrap();
        assert_eq!(due("node-a", after(1)).await.len(), 1);

        // Another file took its place meanwhile: what became of the first says nothing of it.
        let newer = LogUpload { attempt: 2, spool: "x-2".into(), ..upload(id, "s") };
        world.commit(|tx| tx.put_upload(&newer)).await.unwrap();
        world.commit(|tx| tx.upload_done(&upload(id, "s"), NOW)).await.unwrap();
        assert_eq!(due("node-a", NOW).await, std::slice::from_ref(&newer));
        assert_eq!(world.store.uploads_pending_since(after(1), 10).await.unwrap(), std::slice::from_ref(&newer));
        assert!(world.store.uploads_pending_since(NOW, 10).await.unwrap().is_empty());

        world.commit(|tx| tx.update_storage(&storage_name("s"), &storage("t"))).await.unwrap();
        assert_eq!(due("node-a", NOW).await[0].storage, Some(storage_name("t")));
        world.commit(|tx| tx.upload_done(&newer, after(2))).await.unwrap();
        assert_eq!(world.store.count_pending_uploads().await, Ok(0));
        let done = world.store.find_upload(id, LogKind::Container).await.unwrap().unwrap();
        assert_eq!((done.state, done.ended_at), (UploadState::Done, Some(after(2))));
        world.commit(|tx| tx.delete_storage(&storage_name("t"))).await.unwrap();
        assert_eq!(world.store.find_upload(id, LogKind::Container).await.unwrap().unwrap().storage, None);
        world.commit(|tx| tx.purge_uploads()).await.unwrap();
        assert_eq!(world.store.find_upload(id, LogKind::Container).await, Ok(None));
    }

    async fn an_upload_into_a_storage_that_is_gone_has_none(world: &World) {
        let id = DeploymentId::from_random(7);
        world.commit(|tx| tx.put_upload(&upload(id, "gone"))).await.unwrap();
        assert_eq!(world.store.find_upload(id, LogKind::Container).await.unwrap().unwrap().storage, None);
        world.commit(|tx| tx.upload_failed(&upload(id, "gone"), after(1), "no")).await.unwrap();
        let failed = world.store.find_upload(id, LogKind::Container).await.unwrap().unwrap();
        assert_eq!((failed.state, failed.last_error.as_deref()), (UploadState::Failed, Some("no")));
        assert_eq!(world.store.find_upload(id, LogKind::Crash).await, Ok(None));
    }
}
