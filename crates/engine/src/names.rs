//! Where the name of a deployment leads.

use std::net::IpAddr;

use spawnpoint_model::DeploymentId;
use spawnpoint_model::deployment::Status;

use crate::{Engine, Error};

impl Engine {
    /// The address under which players reach a deployment, from READY until its end.
    ///
    /// Asked by whoever resolves names, that is by anybody: where memory is exact, no question reaches the database.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn address_of(&self, id: DeploymentId) -> Result<Option<IpAddr>, Error> {
        let rows = &self.inner.rows;
        let row = if rows.is_exact() { rows.find_live(id) } else { rows.find(id).await? };
        let ready = row.filter(|row| row.status() == Status::Ready);
        let host = ready.as_ref().and_then(|row| row.state.host.as_ref());
        Ok(host.and_then(|host| self.inner.fleet.find(host)).map(|runtime| runtime.place.public_address))
    }
}
