//! Hosts: capacity that comes back, health that is noticed.

use spawnpoint_model::deployment::Status;

use crate::world::{World, on_both};

on_both! {
    async fn capacity_comes_back_when_a_deployment_is_gone(world: &mut World) {
        let mut ids = Vec::new();
        for _ in 0..12 {
            ids.push(world.deploy_ready("v1").await);
        }
        assert!(world.engine.deploy(&world.admin, world.request("v1"), None).await.unwrap().refused.is_some());
        world.stop(ids[0]).await.unwrap();
        world.until(ids[0], Status::Terminated).await;
        assert!(world.engine.deploy(&world.admin, world.request("v1"), None).await.unwrap().refused.is_none());
    }

    async fn a_host_that_does_not_answer_takes_no_deployments(world: &mut World) {
        world.hosts[0].set_unreachable(true);
        world.hosts[1].set_unreachable(true);
        world
            .eventually("only the third is chosen", async || {
                let outcome = world.engine.deploy(&world.admin, world.request("v1"), None).await.unwrap();
                outcome.view.place.is_some_and(|place| place.host.as_str() == "tokyo-1")
            })
            .await;
    }
}
