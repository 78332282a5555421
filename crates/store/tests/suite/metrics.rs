//! What deployments used: kept once however often it is written, thinned, purged, gone with its deployment.

use spawnpoint_model::Timestamp;
use spawnpoint_store::MetricChunk;

use crate::world::*;

fn chunk(n: u64, tier: u32, start_at: Timestamp, points: &[u8]) -> MetricChunk {
    MetricChunk { deployment: id(n), tier, start_at, points: points.to_vec() }
}

on_both! {
    async fn a_span_that_is_written_twice_is_kept_once_and_the_longer_counts(world: &World) {
        world.insert(&deployment(1)).await;
        // What is not text, and what would end one.
        let bytes = [0, 255, 128, 0, 39];
        world.commit(|tx| {
            tx.put_metrics(&chunk(1, 0, after(60), &[1]));
            tx.put_metrics(&chunk(1, 0, NOW, &[]));
            tx.put_metrics(&chunk(1, 0, after(60), &bytes));
            tx.put_metrics(&chunk(1, 0, after(60), &[9; 4]));
        }).await.unwrap();
        world.commit(|tx| tx.put_metrics(&chunk(1, 1, NOW, &[2]))).await.unwrap();
        let expected =
            [chunk(1, 1, NOW, &[2]), chunk(1, 0, NOW, &[]), chunk(1, 0, after(60), &bytes)];
        assert_eq!(world.store.metrics(id(1)).await.unwrap(), expected);
        assert_eq!(world.store.metrics(id(2)).await.unwrap(), []);
    }

    async fn figures_of_a_deployment_that_is_gone_hurt_nobody(world: &World) {
        world.insert(&terminated(&deployment(1), NOW)).await;
        world.commit(|tx| {
            tx.put_metrics(&chunk(2, 0, NOW, &[1]));
            tx.put_metrics(&chunk(1, 0, NOW, &[1]));
        }).await.unwrap();
        assert_eq!(world.store.metrics(id(2)).await.unwrap(), []);
        assert_eq!(world.store.metrics(id(1)).await.unwrap().len(), 1);
        world.commit(|tx| tx.delete_deployment(id(1))).await.unwrap();
        assert_eq!(world.store.metrics(id(1)).await.unwrap(), []);
    }

    async fn old_spans_are_found_by_deployment_and_deleted_by_age(world: &World) {
        for n in 1..=3 {
            world.insert(&deployment(n)).await;
        }
        world.commit(|tx| {
            for (n, at) in [(1, 120), (1, 60), (2, 90), (3, 200)] {
                tx.put_metrics(&chunk(n, 0, after(at), &[1]));
            }
            tx.put_metrics(&chunk(3, 1, NOW, &[1]));
        }).await.unwrap();
        let aged = async |before, limit| world.store.aged_metrics(0, after(before), limit).await.unwrap();
        assert_eq!(aged(121, 10).await, [(id(1), after(60)), (id(2), after(90))]);
        assert_eq!(aged(1000, 1).await, [(id(1), after(60))]);
        assert_eq!(aged(60, 10).await, []);
        let between = world.store.metrics_between(id(1), 0, after(60), after(120)).await.unwrap();
        assert_eq!(between, [chunk(1, 0, after(60), &[1])]);
        world.commit(|tx| tx.delete_metrics(id(1), 0, after(60), after(120))).await.unwrap();
        assert_eq!(world.store.metrics(id(1)).await.unwrap(), [chunk(1, 0, after(120), &[1])]);
        world.commit(|tx| tx.purge_metrics(0, after(200))).await.unwrap();
        assert_eq!(aged(1000, 10).await, [(id(3), after(200))]);
        assert_eq!(world.store.metrics(id(3)).await.unwrap().len(), 2, "the other tier is left alone");
    }
}
