//! Applications, versions, revisions, tokens, settings.

use spawnpoint_model::TokenId;
use spawnpoint_model::query::Page;
use spawnpoint_model::token::{Scope, Token};
use spawnpoint_store::{Conflict, Tx};

use crate::world::*;

const ALL: Page = Page { number: 1, limit: 100 };

fn missing(what: &'static str, key: &str) -> Result<(), spawnpoint_store::StoreError> {
    Err(Conflict::Missing { what, key: key.into() }.into())
}

fn exists(what: &'static str, key: &str) -> Result<(), spawnpoint_store::StoreError> {
    Err(Conflict::Exists { what, key: key.into() }.into())
}

on_both! {
    async fn applications_are_made_changed_listed_and_removed(world: &World) {
        assert_eq!(world.commit(|tx| tx.insert_application(&application("arena"))).await, exists("application", "arena"));
        for name in ["zelda", "Brawl", "日本"] {
            world.commit(|tx| tx.insert_application(&application(name))).await.unwrap();
        }
        let page = world.store.list_applications(Page { number: 1, limit: 3 }, &[]).await.unwrap();
        let names: Vec<_> = page.items.iter().map(|a| a.name.as_str()).collect();
        assert_eq!((page.total, names.as_slice()), (4, ["Brawl", "arena", "zelda"].as_slice()));
        let only = world.store.list_applications(ALL, &[app("zelda"), app("none")]).await.unwrap();
        assert_eq!((only.total, only.items[0].name.as_str()), (1, "zelda"));

        let mut changed = application("zelda");
        changed.is_active = false;
        changed.image = "aW1n".into();
        changed.updated_at = after(5);
        world.commit(|tx| tx.update_application(&app("zelda"), &changed)).await.unwrap();
        assert_eq!(world.store.find_application(&app("zelda")).await, Ok(Some(changed)));
        world.commit(|tx| tx.delete_application(&app("zelda"))).await.unwrap();
        assert_eq!(world.store.find_application(&app("zelda")).await, Ok(None));
        assert_eq!(world.commit(|tx| tx.delete_application(&app("zelda"))).await, missing("application", "zelda"));
    }

    async fn a_renamed_application_takes_its_versions_along(world: &World) {
        world.commit(|tx| tx.insert_application(&application("other"))).await.unwrap();
        let rename = async |from: &str, to: &str| {
            world.commit(|tx| tx.update_application(&app(from), &application(to))).await
        };
        assert_eq!(rename("arena", "other").await, exists("application", "other"));
        assert_eq!(rename("none", "new").await, missing("application", "none"));
        rename("arena", "coliseum").await.unwrap();
        assert_eq!(world.store.find_application(&app("arena")).await, Ok(None));
        let moved = world.store.find_version(&app("coliseum"), &version_name("v1")).await.unwrap().unwrap();
        assert_eq!(moved.app, app("coliseum"));
        assert_eq!(world.store.find_version(&app("arena"), &version_name("v1")).await, Ok(None));
    }

    async fn versions_are_made_changed_renamed_and_removed(world: &World) {
        let v2 = version("arena", "v2", "r2");
        assert_eq!(world.commit(|tx| tx.insert_version(&version("none", "v", "r3"))).await, missing("application", "none"));
        world.commit(|tx| tx.insert_version(&v2)).await.unwrap();
        assert_eq!(world.commit(|tx| tx.insert_version(&v2)).await, exists("version", "arena/v2"));
        assert_eq!(world.store.find_version(&app("arena"), &version_name("v2")).await, Ok(Some(v2)));

        let mut next = version("arena", "v1.1", "r9");
        next.updated_at = after(3);
        world.commit(|tx| tx.update_version(&version_name("v1"), &next)).await.unwrap();
        assert_eq!(world.store.find_version(&app("arena"), &version_name("v1.1")).await, Ok(Some(next.clone())));
        assert_eq!(world.store.find_version(&app("arena"), &version_name("v1")).await, Ok(None));
        next.name = version_name("v2");
        let taken = world.commit(|tx| tx.update_version(&version_name("v1.1"), &next)).await;
        assert_eq!(taken, exists("version", "arena/v2"));
        let nothing = world.commit(|tx| tx.update_version(&version_name("v7"), &next)).await;
        assert_eq!(nothing, missing("version", "arena/v7"));
        world.commit(|tx| tx.delete_version(&app("arena"), &version_name("v2"))).await.unwrap();
        let gone = world.commit(|tx| tx.delete_version(&app("arena"), &version_name("v2"))).await;
        assert_eq!(gone, missing("version", "arena/v2"));
    }

    async fn the_latest_version_is_the_one_made_last_whatever_the_clock_says(world: &World) {
        let mut early = version("arena", "a-later-one", "r2");
        early.created_at = spawnpoint_model::Timestamp(1);
        world.commit(|tx| tx.insert_version(&early)).await.unwrap();
        let latest = world.store.latest_version(&app("arena")).await.unwrap().unwrap();
        assert_eq!(latest.name.as_str(), "a-later-one");
        let list = world.store.list_versions(&app("arena"), ALL).await.unwrap();
        let names: Vec<_> = list.items.iter().map(|v| v.name.as_str()).collect();
        assert_eq!((list.total, names.as_slice()), (2, ["v1", "a-later-one"].as_slice()));
        assert_eq!(world.store.latest_version(&app("none")).await, Ok(None));
    }

    async fn a_revision_stays_as_long_as_somebody_refers_to_it(world: &World) {
        world.insert(&deployment(1)).await;
        world.commit(|tx| tx.update_version(&version_name("v1"), &version("arena", "v1", "r2"))).await.unwrap();
        world.commit(|tx| tx.update_version(&version_name("v1"), &version("arena", "v1", "r3"))).await.unwrap();
        let kept = async |revision: &str| world.store.find_revision(&revision.into()).await.unwrap().is_some();
        world.commit(Tx::purge_revisions).await.unwrap();
        assert!(kept("r1").await, "a deployment runs it");
        assert!(!kept("r2").await, "nobody refers to it");
        assert!(kept("r3").await, "the version is it");
        world.commit(|tx| tx.delete_application(&app("arena"))).await.unwrap();
        world.commit(|tx| { tx.save_deployment(&terminated(&deployment(1), after(1)), None); tx.delete_deployment(id(1)); tx.purge_revisions(); }).await.unwrap();
        assert!(!kept("r1").await && !kept("r3").await);
    }

    async fn tokens_are_found_by_their_hash_and_revoked_once(world: &World) {
        let token = Token {
            id: "tk_1".into(), name: "CI".into(), scope: Scope::Deploy, apps: vec![app("arena")], created_at: NOW,
            expires_at: Some(after(60)), revoked_at: None,
        };
        let open = Token { id: "tk_2".into(), name: String::new(), scope: Scope::Admin, apps: vec![], created_at: after(1), expires_at: None, revoked_at: None };
        world.commit(|tx| { tx.insert_token(&token, &[1; 32]); tx.insert_token(&open, &[2; 32]); }).await.unwrap();
        assert_eq!(world.store.find_token_by_hash(&[1; 32]).await, Ok(Some(token.clone())));
        assert_eq!(world.store.find_token_by_hash(&[3; 32]).await, Ok(None));
        let all = world.store.token_hashes().await.unwrap();
        assert_eq!(all, [([1; 32], token.clone()), ([2; 32], open.clone())]);
        let double = Token { id: "tk_3".into(), ..open.clone() };
        assert_eq!(world.commit(|tx| tx.insert_token(&double, &[2; 32])).await, exists("token", "tk_3"));
        let one: TokenId = "tk_1".into();
        world.commit(|tx| { tx.touch_token(&one, after(3)); tx.revoke_token(&one, after(4)); }).await.unwrap();
        assert_eq!(world.commit(|tx| tx.revoke_token(&one, after(5))).await, missing("token", "tk_1"));
        let all = world.store.list_tokens().await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].token.revoked_at, all[0].last_used_at), (Some(after(4)), Some(after(3))));
        assert_eq!(all[1].token, open);
    }

    async fn settings_are_set_and_set_once(world: &World) {
        assert_eq!(world.store.find_setting("x").await, Ok(None));
        world.commit(|tx| { tx.set_setting_once("x", "1"); tx.set_setting_once("x", "2"); }).await.unwrap();
        assert_eq!(world.store.find_setting("x").await, Ok(Some("1".into())));
        world.commit(|tx| tx.set_setting("x", "3")).await.unwrap();
        assert_eq!(world.store.find_setting("x").await, Ok(Some("3".into())));
    }
}
