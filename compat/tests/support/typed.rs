//! The crate `edgegap` 0.1.0, a typed client that nobody here wrote, set to a server of ours. (Not in the library: what it depends
//! on is banned there.)

use edgegap::apis::Error;
use edgegap::apis::configuration::{ApiKey, Configuration};
use edgegap::apis::deployments_api::deployment_status_get;
use edgegap::models::Status;

use spawnpoint_compat::{PATIENCE, Server, eventually};

/// The client, set to our address.
#[must_use]
pub fn client(server: &Server) -> Configuration {
    Configuration {
        base_path: format!("http://{}", server.api.address),
        api_key: Some(ApiKey { prefix: Some("token".to_owned()), key: server.api.token.clone() }),
        ..Configuration::default()
    }
}

/// The status code of a refused call.
///
/// # Panics
/// It was not refused.
pub fn code<T: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<T, Error<E>>) -> u16 {
    match answer {
        Err(Error::ResponseError(content)) => content.status.as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Waits for a status (`READY`) as the client reads it.
///
/// # Panics
/// It does not come, or is not understood, or an error comes that was not waited for.
#[must_use]
pub fn wait_for(client: &Configuration, id: &str, wanted: &str) -> Status {
    eventually(&format!("{id} is {wanted}"), PATIENCE, || {
        let status = deployment_status_get(client, id).unwrap();
        assert!(!status.error || wanted == "ERROR", "{status:?}");
        (status.current_status == format!("Status.{wanted}")).then_some(status)
    })
}
