//! Brings images to the engine.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use spawnpoint_driver::{Credentials, DriverError, Progress};
use tokio::time::Instant;

use crate::error::{answer, from_bollard};

/// A pull is cut after this long without progress.
const STALL: Duration = Duration::from_secs(60);
/// Docker Hub, as logins name it.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Pulls an image, telling how it goes on. The engine itself joins pulls of the same image.
pub async fn pull(
    client: &Docker,
    image: &str,
    credentials: Option<&Credentials>,
    progress: Progress<'_>,
) -> Result<(), DriverError> {
    let options = CreateImageOptionsBuilder::default().from_image(&with_tag(image)).build();
    let login = credentials.map(|c| DockerCredentials {
        username: Some(c.username.clone()),
        password: Some(c.token.reveal().to_owned()),
        serveraddress: Some(registry(image).to_owned()),
        ..Default::default()
    });
    // Dropping the stream makes the engine stop pulling.
    let mut messages = client.create_image(Some(options), None, login);
    let mut layers = Layers::default();
    let mut cut = Instant::now() + STALL;
    loop {
        let Ok(message) = tokio::time::timeout_at(cut, messages.next()).await else {
            return Err(DriverError::PullTimeout);
        };
        match message {
            None => return Ok(()),
            Some(Err(error)) => return Err(refused(image, &error)),
            Some(Ok(message)) => {
                if let Some(detail) = message.error_detail.as_ref().and_then(|detail| detail.message.clone())
                {
                    return Err(unavailable(image, &detail, None));
                }
                if layers.note(&message) {
                    cut = Instant::now() + STALL;
                    progress(layers.done(), layers.total());
                }
            }
        }
    }
}

/// Downloaded and total bytes of each layer.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    /// Takes in a message; tells whether it means progress.
    fn note(&mut self, message: &CreateImageInfo) -> bool {
        let status = message.status.as_deref().unwrap_or_default();
        if status.starts_with("Retrying") || status.starts_with("Waiting") {
            return false;
        }
        let detail = message.progress_detail.as_ref();
        let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
        let amount = detail.and_then(|d| Some((bytes(d.current)?, bytes(d.total)?)));
        match (&message.id, status, amount) {
            (Some(id), "Downloading", Some(amount)) => {
                self.0.insert(id.clone(), amount);
            }
            // The last piece of a layer is not counted by the engine, only told of.
            (Some(id), "Verifying Checksum" | "Download complete" | "Pull complete", _) => {
                self.0.entry(id.clone()).and_modify(|(done, total)| *done = *total);
            }
            _ => {}
        }
        true
    }

    fn done(&self) -> u64 {
        self.0.values().map(|(done, _)| done).sum()
    }

    fn total(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.values().map(|(_, total)| total).sum())
    }
}

/// The engine pulls every tag of a name that has none.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The ways to write a reference that the engine lists: it leaves out where Docker Hub is.
pub fn spellings(listed: String) -> Vec<String> {
    let mut all = Vec::with_capacity(1);
    if registry(&listed) == DOCKER_HUB {
        all.push(format!("docker.io/{listed}"));
        if !listed.contains('/') {
            all.extend([format!("library/{listed}"), format!("docker.io/library/{listed}")]);
        }
    }
    all.push(listed);
    all
}

/// The registry that a reference names; Docker Hub if none.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

fn refused(image: &str, error: &Error) -> DriverError {
    match (answer(error), error) {
        (Some((status, message)), _) => unavailable(image, message, Some(status)),
        (None, Error::DockerStreamError { error }) => unavailable(image, error, None),
        (None, other) => from_bollard(other),
    }
}

fn unavailable(image: &str, message: &str, status: Option<u16>) -> DriverError {
    let lower = message.to_ascii_lowercase();
    let says_no = [
        "manifest unknown",
        "not found",
        "does not exist",
        "unauthorized",
        "denied",
        "no basic auth",
        "authentication required",
        "forbidden",
        "invalid reference",
        "no matching manifest",
    ];
    let permanent = matches!(status, Some(400..=404)) || says_no.iter().any(|sign| lower.contains(sign));
    // "no such host" is a name server's word, and may pass.
    let permanent = permanent && !lower.contains("no such host") && !lower.contains("toomanyrequests");
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    DriverError::ImageUnavailable {
        detail: format!("The image {image} could not be pulled: {}", line.trim()),
        permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn a_name_without_a_tag_means_latest() {
        assert_eq!(with_tag("reg.test:5000/game"), "reg.test:5000/game:latest");
        assert_eq!(with_tag("game:1"), "game:1");
        assert_eq!(with_tag("game@sha256:00"), "game@sha256:00");
    }

    #[test]
    fn the_registry_is_the_first_part_if_it_looks_like_a_host() {
        assert_eq!(registry("reg.test/game:1"), "reg.test");
        assert_eq!(registry("localhost/game:1"), "localhost");
        assert_eq!(registry("127.0.0.1:5000/a/b"), "127.0.0.1:5000");
        assert_eq!(registry("library/game"), "https://index.docker.io/v1/");
        assert_eq!(registry("game"), "https://index.docker.io/v1/");
    }

    #[test]
    fn a_no_of_the_registry_is_final_and_a_broken_line_is_not() {
        let permanent = |message: &str, status| match unavailable("game", message, status) {
            DriverError::ImageUnavailable { permanent, .. } => permanent,
            other => panic!("{other}"),
        };
        assert!(permanent("manifest for game:1 not found: manifest unknown: manifest unknown", Some(404)));
        assert!(permanent("pull access denied for game, repository does not exist", Some(404)));
        assert!(permanent("unauthorized: incorrect username or password", Some(500)));
        assert!(!permanent(
            "Get \"https://reg.test/v2/\": dial tcp: lookup reg.test: no such host",
            Some(500)
        ));
        assert!(!permanent("Get \"https://reg.test/v2/\": net/http: TLS handshake timeout", Some(500)));
        assert!(!permanent("toomanyrequests: rate limit exceeded, access denied", None));
    }

    #[test]
    fn bytes_of_all_layers_are_added_up_and_waiting_is_no_progress() {
        let message = |id: &str, status: &str, current: i64| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(100) }),
            ..Default::default()
        };
        let mut layers = Layers::default();
        assert!(layers.note(&message("a", "Downloading", 10)));
        assert!(layers.note(&message("b", "Downloading", 5)));
        assert!(layers.note(&message("a", "Downloading", 20)));
        assert!(!layers.note(&message("c", "Retrying in 5 seconds", 0)));
        assert_eq!((layers.done(), layers.total()), (25, Some(200)));
        assert!(layers.note(&message("a", "Download complete", 0)));
        assert_eq!((layers.done(), layers.total()), (105, Some(200)));
    }
}
