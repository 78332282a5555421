//! Connects hosts that operators add while the server runs: `hosts.rs` for one host at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use spawnpoint_driver::Driver;
use spawnpoint_driver_docker::DockerEngine;
use spawnpoint_engine::{ConnectHost, HostSetup};
use spawnpoint_model::added::AddedHost;
use spawnpoint_model::{HostId, Invalid, Invalids};

use crate::config::{Config, DriverPlan, Endpoint, HostPlan, KernelPorts, Plan};
use crate::failure::Failure;
use crate::hosts::{self, Base, FAKE_CAPACITY, Reached};

/// Makes hosts of what operators say, as far as the configuration allows it.
pub struct Connector {
    config: Config,
    plan: Plan,
    kernel: KernelPorts,
    base: Base,
    /// The engines so far: of the configuration's hosts, and of added ones.
    engines: Mutex<BTreeMap<Endpoint, Arc<DockerEngine>>>,
    /// What runs workloads on the hosts that were added, those that were removed again too.
    drivers: Mutex<BTreeMap<HostId, Arc<dyn Driver>>>,
}

impl Connector {
    /// Beside the hosts of the plan, whose engines are these.
    pub fn new(
        config: &Config,
        plan: &Plan,
        base: Base,
        engines: BTreeMap<Endpoint, Arc<DockerEngine>>,
    ) -> Self {
        Self {
            config: config.clone(),
            plan: plan.clone(),
            kernel: KernelPorts::of_this_machine(),
            base,
            engines: Mutex::new(engines),
            drivers: Mutex::default(),
        }
    }

    /// What runs workloads on the added hosts.
    pub fn drivers(&self) -> Vec<Arc<dyn Driver>> {
        self.drivers.lock().values().cloned().collect()
    }

    async fn reach(&self, planned: &HostPlan, added: &AddedHost) -> Result<Reached, Failure> {
        let endpoint = match &planned.driver {
            DriverPlan::Fake => return Reached::fake(planned, added.capacity, &self.base).await,
            DriverPlan::Docker(endpoint) => endpoint,
            // The configuration allows no such host to be added.
            DriverPlan::Oci | DriverPlan::Auto => {
                return Err(Failure::new("hosts of the embedded runtime stand in the configuration"));
            }
        };
        let store = &self.base.store;
        let known = self.engines.lock().get(endpoint).cloned();
        let engine = match known {
            Some(engine) => engine,
            None => {
                let engine = hosts::connect_docker(&self.config, endpoint, &planned.id, store)?;
                self.engines.lock().entry(endpoint.clone()).or_insert(engine).clone()
            }
        };
        Ok(Reached::docker(&self.config, planned, endpoint, engine, store).await)
    }
}

#[async_trait]
impl ConnectHost for Connector {
    async fn connect(&self, added: &AddedHost, beside: &[AddedHost]) -> Result<HostSetup, Invalids> {
        let planned = self.config.plan_added(&self.plan, added, beside, &self.kernel)?;
        // The cause may name files of this machine, which are nobody's business outside.
        let unusable = |field: &'static str, problem: &'static str| {
            move |failure: Failure| {
                tracing::warn!(host.id = %added.id, error = %failure, "an added host could not be connected");
                Invalid::new(field, problem)
            }
        };
        let reached = self
            .reach(&planned, added)
            .await
            .map_err(unusable("endpoint", "cannot be connected to; the server's log says why"))?;
        let capacity = match (added.capacity, &planned.driver) {
            (Some(capacity), _) => capacity,
            (None, DriverPlan::Fake) => FAKE_CAPACITY,
            (None, _) => {
                let problem = "is needed: the host does not answer and cannot be measured";
                hosts::measure(reached.driver.as_ref())
                    .await
                    .map_err(Failure::new)
                    .map_err(unusable("capacity", problem))?
            }
        };
        self.drivers.lock().insert(planned.id.clone(), reached.driver.clone());
        Ok(self.base.setup(&planned, capacity, reached))
    }
}
