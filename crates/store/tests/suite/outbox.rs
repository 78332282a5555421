//! The webhook outbox: order, tries, dead letters, claims.

use spawnpoint_model::query::Page;
use spawnpoint_model::webhook::WebhookEvent;
use spawnpoint_model::{Sealed, Timestamp};
use spawnpoint_store::{Conflict, Delivery, DeliveryState};

use crate::world::*;

fn delivery(message: &str, of: u64, seq: i64, next_at: Timestamp) -> Delivery {
    Delivery {
        id: message.into(),
        subject: id(of).into(),
        seq,
        event: WebhookEvent::Ready,
        url: Sealed("v1.k.sealed".into()),
        body: r#"{"a":1}"#.into(),
        state: DeliveryState::Pending,
        attempts: 0,
        next_at,
        last_error: None,
        created_at: NOW,
        delivered_at: None,
    }
}

async fn due(world: &World, now: Timestamp) -> Vec<String> {
    world.store.due_deliveries(now, 10).await.unwrap().into_iter().map(|d| d.id).collect()
}

on_both! {
    async fn a_delivery_reads_back_as_it_was_written(world: &World) {
        let mut written = delivery("m1", 1, 1, NOW);
        written.event = WebhookEvent::Terminated;
        world.commit(|tx| tx.enqueue_webhook(&written)).await.unwrap();
        assert_eq!(world.store.find_delivery("m1").await, Ok(Some(written.clone())));
        assert_eq!(world.store.deliveries_of(id(1)).await, Ok(vec![written.clone()]));
        let again = world.commit(|tx| tx.enqueue_webhook(&written)).await;
        assert_eq!(again, Err(Conflict::Exists { what: "delivery", key: "m1".into() }.into()));
    }

    async fn a_delivery_waits_for_the_earlier_one_of_its_deployment_only(world: &World) {
        world.commit(|tx| {
            tx.enqueue_webhook(&delivery("first", 1, 1, after(10)));
            tx.enqueue_webhook(&delivery("second", 1, 2, NOW));
            tx.enqueue_webhook(&delivery("other", 2, 1, after(1)));
        }).await.unwrap();
        assert_eq!(due(world, after(5)).await, ["other"], "second waits though it is due and first is not");
        assert_eq!(due(world, after(10)).await, ["other", "first"]);
        assert_eq!(world.store.count_pending_deliveries().await, Ok(3));
        world.commit(|tx| tx.delivery_done("first", after(11))).await.unwrap();
        assert_eq!(due(world, after(11)).await, ["second", "other"]);
        let done = world.store.find_delivery("first").await.unwrap().unwrap();
        assert_eq!((done.state, done.attempts, done.delivered_at), (DeliveryState::Delivered, 1, Some(after(11))));
    }

    async fn a_delivery_may_pass_earlier_ones_that_failed_three_times(world: &World) {
        world.commit(|tx| {
            tx.enqueue_webhook(&delivery("first", 1, 1, NOW));
            tx.enqueue_webhook(&delivery("second", 1, 2, NOW));
            tx.enqueue_webhook(&delivery("third", 1, 3, NOW));
        }).await.unwrap();
        for failures in 1..=2 {
            world.commit(|tx| tx.delivery_failed("first", failures, after(100), "refused")).await.unwrap();
            assert_eq!(due(world, after(50)).await, [""; 0]);
        }
        world.commit(|tx| tx.delivery_failed("first", 3, after(100), "refused\0")).await.unwrap();
        assert_eq!(due(world, after(50)).await, ["second"], "third still waits for second");
        assert_eq!(due(world, after(100)).await, ["second", "first"]);
        world.commit(|tx| tx.delivery_dead("second", "410 Gone", after(51))).await.unwrap();
        assert_eq!(due(world, after(52)).await, ["third"]);
        let first = world.store.find_delivery("first").await.unwrap().unwrap();
        assert_eq!((first.attempts, first.last_error.as_deref()), (3, Some("refused\u{fffd}")));
    }

    async fn dead_letters_are_listed_and_can_be_replayed_once(world: &World) {
        for n in 1..=3 {
            let message = format!("m{n}");
            world.commit(|tx| {
                tx.enqueue_webhook(&delivery(&message, n, 1, after(n)));
                tx.delivery_dead(&message, "timed out", after(20));
            }).await.unwrap();
        }
        assert_eq!(world.store.next_delivery_at().await, Ok(None));
        let page = world.store.dead_deliveries(Page { number: 1, limit: 2 }).await.unwrap();
        assert_eq!((page.total, page.items.len()), (3, 2));
        assert_eq!(page.items[0].last_error.as_deref(), Some("timed out"));
        world.commit(|tx| tx.replay_delivery("m2", after(30))).await.unwrap();
        assert_eq!(due(world, after(30)).await, ["m2"]);
        assert_eq!(world.store.next_delivery_at().await, Ok(Some(after(30))));
        let again = world.commit(|tx| tx.replay_delivery("m2", after(31))).await;
        assert_eq!(again, Err(Conflict::Missing { what: "dead delivery", key: "m2".into() }.into()));
        world.commit(|tx| tx.purge_deliveries(after(1))).await.unwrap();
        assert_eq!(world.store.dead_deliveries(Page { number: 1, limit: 2 }).await.unwrap().total, 0);
        assert_eq!(world.store.count_pending_deliveries().await, Ok(1), "what is pending is not purged");
    }

    async fn two_senders_do_not_claim_the_same_delivery(world: &World) {
        for n in 1..=20 {
            world.commit(|tx| tx.enqueue_webhook(&delivery(&format!("m{n}"), n, 1, NOW))).await.unwrap();
        }
        let claim = async |owner: &'static str, now: Timestamp| {
            world.store.claim_deliveries(owner, now, now.plus(std::time::Duration::from_secs(30)), 20).await.unwrap()
        };
        let (a, b) = tokio::join!(claim("a", NOW), claim("b", NOW));
        if world.store.dialect().is_shared() {
            assert_eq!(a.len() + b.len(), 20);
            assert!(a.iter().all(|x| b.iter().all(|y| x.id != y.id)));
            world.commit(|tx| a.iter().chain(&b).for_each(|d| tx.delivery_failed(&d.id, 1, after(5), "x"))).await.unwrap();
            assert_eq!(claim("c", after(5)).await.len(), 20, "a failed try gives the lease up");
            assert_eq!(claim("d", after(10)).await.len(), 0);
            assert_eq!(claim("d", after(35)).await.len(), 20, "leases end");
        } else {
            assert_eq!((a.len(), b.len()), (20, 20));
        }
    }
}
