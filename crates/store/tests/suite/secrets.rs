//! Secrets at rest and the master key.

use spawnpoint_model::Plaintext;
use spawnpoint_model::env::{EnvValue, EnvVar};
use spawnpoint_store::{Database, Store, StoreError, Vault};

use crate::world::*;

on_both! {
    async fn a_wrong_master_key_is_noticed_when_the_store_is_opened(world: &World) {
        let (right, wrong) = (Vault::from_master_key([1; 32]), Vault::from_master_key([2; 32]));
        world.store.check_master_key(&right).await.unwrap();
        world.store.check_master_key(&right).await.unwrap();
        assert_eq!(world.store.check_master_key(&wrong).await, Err(StoreError::WrongMasterKey));
        let looking = Store::open_read_only(&world.scratch.database).await.unwrap();
        assert_eq!(looking.check_master_key(&wrong).await, Err(StoreError::WrongMasterKey));
        looking.check_master_key(&right).await.unwrap();
    }
}

#[tokio::test]
async fn no_hidden_value_can_be_read_in_the_files_of_the_database() {
    const CANARY: &str = "canary-5f1c0e-hunter2";
    let world = World::sqlite().await;
    let vault = Vault::from_master_key([9; 32]);
    let mut row = deployment(1);
    let sealed = |purpose| vault.seal(&Plaintext::new(CANARY), purpose).unwrap();
    let spec = std::sync::Arc::make_mut(&mut row.spec);
    spec.env = vec![EnvVar { key: "SECRET".into(), value: EnvValue::Hidden(sealed("env")) }];
    spec.webhooks.on_ready = Some(sealed("webhook"));
    spec.arguments = Some("a-plain-text-that-must-be-found".into());
    world.insert(&row).await;
    let read = world.store.find_deployment(id(1)).await.unwrap().unwrap();
    let EnvValue::Hidden(sealed) = &read.spec.env[0].value else { panic!("hidden values stay hidden") };
    assert_eq!(vault.open(sealed, "env").unwrap().reveal(), CANARY);

    let Database::Sqlite(path) = &world.scratch.database else { panic!("this is SQLite") };
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a-plain-text-that-must-be-found"), "else this test would not notice a leak");
    assert!(!holds(CANARY));
    assert!(!holds("Y2FuYXJ5LTVmMWMwZS1odW50ZXIy"), "nor in base64");
    world.end().await;
}
