//! Certificates by ACME: one orders, all show.

use spawnpoint_model::Sealed;
use spawnpoint_store::{AcmeCertificate, AcmeChain, AcmeOrder, Conflict, StoreError};

use crate::world::*;

const CA: &str = "https://ca.test/directory";
const NAMES: &str = "*.play.test";

async fn read(world: &World) -> AcmeCertificate {
    world.store.find_acme_certificate(CA, NAMES).await.unwrap().unwrap()
}

on_both! {
    async fn a_certificate_is_seen_once_and_reads_as_it_was_written(world: &World) {
        assert_eq!(world.store.find_acme_certificate(CA, NAMES).await, Ok(None));
        world.commit(|tx| tx.see_acme_certificate(CA, NAMES, NOW)).await.unwrap();
        let fresh = read(world).await;
        assert_eq!((fresh.generation, fresh.next_at, fresh.chain.as_ref(), fresh.order.as_ref()), (0, NOW, None, None));
        let full = AcmeCertificate {
            chain: Some(AcmeChain { pem: "PEM".into(), key: Sealed("k1".into()), not_before: NOW, not_after: after(90) }),
            order: Some(AcmeOrder { url: "https://ca.test/1".into(), key: Sealed("k2".into()) }),
            texts: vec!["one".into(), "two".into()],
            lease_until: Some(after(300)),
            next_at: after(60),
            attempts: 3,
            last_error: Some("no route".into()),
            ..fresh
        };
        world.commit(|tx| tx.save_acme_certificate(&full, after(1))).await.unwrap();
        world.commit(|tx| tx.see_acme_certificate(CA, NAMES, after(2))).await.unwrap();
        assert_eq!(read(world).await, AcmeCertificate { generation: 1, updated_at: after(1), ..full });
        assert_eq!(world.store.acme_texts().await.unwrap(), ["one", "two"]);
    }

    async fn of_two_that_find_an_order_due_one_gets_it(world: &World) {
        world.commit(|tx| tx.see_acme_certificate(CA, NAMES, NOW)).await.unwrap();
        let row = read(world).await;
        let claim = |until| AcmeCertificate { lease_until: Some(after(until)), ..row.clone() };
        world.commit(|tx| tx.save_acme_certificate(&claim(300), NOW)).await.unwrap();
        let late = world.commit(|tx| tx.save_acme_certificate(&claim(400), NOW)).await;
        assert_eq!(late, Err(StoreError::Conflict(Conflict::Outdated { what: "certificate", key: NAMES.into() })));
        assert_eq!(read(world).await.lease_until, Some(after(300)));
    }

    async fn texts_of_all_orders_are_shown_up_to_a_bound(world: &World) {
        assert_eq!(world.store.acme_texts().await.unwrap(), Vec::<String>::new());
        for number in 0..6 {
            let names = format!("*.{number}.test");
            world.commit(|tx| tx.see_acme_certificate(CA, &names, NOW)).await.unwrap();
            let row = world.store.find_acme_certificate(CA, &names).await.unwrap().unwrap();
            let row = AcmeCertificate { texts: (0..3).map(|text| format!("{number}-{text}")).collect(), ..row };
            world.commit(|tx| tx.save_acme_certificate(&row, after(number))).await.unwrap();
        }
        let texts = world.store.acme_texts().await.unwrap();
        assert_eq!(texts.len(), spawnpoint_store::acme::TEXTS_MAX);
        assert_eq!(&texts[..3], ["5-0", "5-1", "5-2"], "the newest first");
        world.commit(|tx| tx.purge_acme_certificates(after(5))).await.unwrap();
        assert_eq!(world.store.acme_texts().await.unwrap().len(), 3);
    }

    async fn an_account_is_replaced_and_forgotten_only_while_it_is_that_one(world: &World) {
        let (one, two) = (Sealed("one".into()), Sealed("two".into()));
        assert_eq!(world.store.find_acme_account(CA).await, Ok(None));
        world.commit(|tx| tx.put_acme_account(CA, &one, NOW)).await.unwrap();
        world.commit(|tx| tx.put_acme_account(CA, &two, NOW)).await.unwrap();
        world.commit(|tx| tx.forget_acme_account(CA, &one)).await.unwrap();
        assert_eq!(world.store.find_acme_account(CA).await, Ok(Some(two.clone())));
        world.commit(|tx| tx.forget_acme_account(CA, &two)).await.unwrap();
        assert_eq!(world.store.find_acme_account(CA).await, Ok(None));
    }
}
