//! Webhooks: signed, retried, in order, given up, replayed, never sent where they must not go.

use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::webhooks::sign;
use spawnpoint_model::Plaintext;
use spawnpoint_model::deployment::Status;
use spawnpoint_model::query::Page;

use crate::world::{World, on_both};

const PAGE: Page = Page { number: 1, limit: 10 };

on_both! {
    async fn a_webhook_is_signed_as_standard_webhooks_says(world: &mut World) {
        world.deploy_ready("v1").await;
        world.eventually("it arrives", async || world.arrived() == ["/ready"]).await;
        let hook = world.receiver.received.lock()[0].clone();
        let header = |name: &str| hook.headers[name].to_str().unwrap().to_owned();
        let timestamp = header("webhook-timestamp").parse().unwrap();
        let expected = sign(b"spawnpoint-tests", &header("webhook-id"), timestamp, &hook.body);
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("content-type"), "application/json");
    }

    async fn a_failed_try_is_repeated_with_the_same_id(world: &mut World) {
        *world.receiver.answers.lock() = vec![(500, None), (302, None)];
        world.deploy_ready("v1").await;
        world
            .eventually("the third try arrives", async || {
                world.clock.advance(Duration::from_secs(1));
                world.arrived().len() == 3
            })
            .await;
        let ids: std::collections::HashSet<_> =
            world.receiver.received.lock().iter().map(|r| r.headers["webhook-id"].clone()).collect();
        assert_eq!(ids.len(), 1);
    }

    async fn the_next_event_waits_for_the_one_before_it(world: &mut World) {
        *world.receiver.answers.lock() = vec![(500, None)];
        let id = world.deploy_ready("v1").await;
        world.eventually("the first try failed", async || world.arrived().len() == 1).await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        world
            .eventually("both arrive", async || {
                world.clock.advance(Duration::from_secs(1));
                world.arrived().len() == 3
            })
            .await;
        assert_eq!(world.arrived(), ["/ready", "/ready", "/terminated"]);
    }

    async fn after_eight_tries_it_is_a_dead_letter_that_can_be_replayed(world: &mut World) {
        *world.receiver.answers.lock() = vec![(500, None); 8];
        world.create_version("arena", "forever", "fake/game:ok", |input| input.max_duration_minutes = Some(-1)).await;
        world.deploy_ready("forever").await;
        world
            .eventually("it is given up", async || {
                world.clock.advance(Duration::from_secs(3600));
                !world.engine.dead_deliveries(&world.admin, PAGE).await.unwrap().items.is_empty()
            })
            .await;
        assert_eq!(world.arrived().len(), 8);
        let dead = world.engine.dead_deliveries(&world.admin, PAGE).await.unwrap().items.remove(0);
        assert_eq!((dead.attempts, dead.last_error.as_str()), (8, "answered 500"));
        world.engine.replay_delivery(&world.admin, &dead.id).await.unwrap();
        world.eventually("it arrives", async || world.arrived().len() == 9).await;
        assert!(matches!(world.engine.replay_delivery(&world.admin, &dead.id).await, Err(Error::NotFound(_))));
    }

    async fn a_receiver_that_is_gone_is_not_asked_again(world: &mut World) {
        *world.receiver.answers.lock() = vec![(410, None)];
        world.deploy_ready("v1").await;
        world
            .eventually("it is given up", async || {
                !world.engine.dead_deliveries(&world.admin, PAGE).await.unwrap().items.is_empty()
            })
            .await;
        assert_eq!(world.arrived().len(), 1);
    }

    async fn retry_after_is_honoured(world: &mut World) {
        *world.receiver.answers.lock() = vec![(503, Some("100"))];
        let id = world.deploy_ready("v1").await;
        world.eventually("the first try failed", async || {
            let all = world.store.deliveries_of(id).await.unwrap();
            all.first().is_some_and(|d| d.attempts == 1)
        })
        .await;
        let next_at = world.store.deliveries_of(id).await.unwrap()[0].next_at;
        assert!(next_at >= crate::world::NOW.plus(Duration::from_secs(100)));
    }

    async fn addresses_that_must_not_be_called_are_refused_when_they_are_given(world: &mut World) {
        for url in ["http://169.254.169.254/", "http://10.0.0.1/", "http://[::ffff:169.254.169.254]/", "ftp://example.com/", "no"] {
            let mut request = world.request("v1");
            request.webhooks.on_ready = Some(Plaintext::new(url));
            match world.engine.deploy(&world.admin, request, None).await {
                Err(Error::Invalid(invalids)) => assert_eq!(invalids.0[0].field, "webhook_on_ready.url", "{url}"),
                other => panic!("{url}: {other:?}"),
            }
        }
        assert!(world.store.live_deployments().await.unwrap().is_empty());
    }
}
