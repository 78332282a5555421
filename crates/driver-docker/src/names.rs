//! Names and labels: how a container is known again after everything else was forgotten.
//!
//! No text of a user goes into them: installation and host are named by the operator, the rest are our own ids.

use std::collections::HashMap;

use spawnpoint_driver::{SpecHash, WorkloadSpec};
use spawnpoint_model::{DeploymentId, InstallationId, WorkloadId};

/// Label: the installation that it belongs to.
pub const INSTALLATION: &str = "spawnpoint.installation";
/// Label: the host of the config that it belongs to.
pub const HOST: &str = "spawnpoint.host";
/// Label: the deployment's id.
pub const DEPLOYMENT: &str = "spawnpoint.deployment";
/// Label: the attempt's number.
pub const ATTEMPT: &str = "spawnpoint.attempt";
/// Label: the fingerprint of its spec.
pub const SPEC_HASH: &str = "spawnpoint.spec-hash";

/// The first eight letters and digits of an installation's id: short enough for names of network interfaces.
#[must_use]
pub fn short(installation: &InstallationId) -> String {
    let kept = installation.as_str().chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_lowercase()).take(8).collect()
}

/// The container's name. The engine refuses a second container of the same name: that is what makes `ensure`
/// idempotent, whatever happens in between.
#[must_use]
pub fn container(installation: &InstallationId, id: WorkloadId) -> String {
    format!("spawnpoint-{}-{id}", short(installation))
}

/// The name of the installation's network.
#[must_use]
pub fn network(installation: &InstallationId) -> String {
    format!("spawnpoint-{}", short(installation))
}

/// The name of the network's interface on the host; the kernel allows 15 characters.
#[must_use]
pub fn bridge(installation: &InstallationId) -> String {
    format!("sp-{}", short(installation))
}

/// The labels of a workload.
#[must_use]
pub fn labels(spec: &WorkloadSpec) -> HashMap<String, String> {
    HashMap::from([
        (INSTALLATION.to_owned(), spec.installation.to_string()),
        (HOST.to_owned(), spec.host.to_string()),
        (DEPLOYMENT.to_owned(), spec.id.deployment.to_string()),
        (ATTEMPT.to_owned(), spec.id.attempt.to_string()),
        (SPEC_HASH.to_owned(), spec.hash().to_string()),
    ])
}

/// The workload that labels speak of.
#[must_use]
pub fn workload(labels: &HashMap<String, String>) -> Option<WorkloadId> {
    let deployment: DeploymentId = labels.get(DEPLOYMENT)?.parse().ok()?;
    let attempt = labels.get(ATTEMPT)?.parse().ok()?;
    Some(WorkloadId { deployment, attempt })
}

/// The fingerprint that labels speak of.
#[must_use]
pub fn spec_hash(labels: &HashMap<String, String>) -> Option<SpecHash> {
    labels.get(SPEC_HASH)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_where_they_go() {
        let installation = InstallationId::from("A1b2-c3D4_e5f6g7");
        assert_eq!(short(&installation), "a1b2c3d4");
        assert!(bridge(&installation).len() <= 15);
        let id = "5d1e07a9c34b-2".parse().unwrap();
        assert_eq!(container(&installation, id), "spawnpoint-a1b2c3d4-5d1e07a9c34b-2");
    }
}
