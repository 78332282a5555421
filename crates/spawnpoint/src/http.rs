//! A small client for our own API, for commands that talk to a running server and for the demo.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use spawnpoint_model::Plaintext;

use crate::failure::Failure;
use crate::running::Running;

/// For a whole exchange. An audit of many hosts takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API on this machine, and the token for it.
pub struct Api {
    client: Client,
    base: String,
    token: Plaintext,
}

impl Api {
    /// The API of a running server.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn at(running: &Running, token: Plaintext) -> Result<Self, Failure> {
        let Running { address, certificate, .. } = running;
        #[expect(
            clippy::disallowed_methods,
            reason = "it calls this machine's own API, never an address of a user's"
        )]
        let builder = Client::builder().timeout(PATIENCE).no_proxy();
        let (builder, scheme) = match certificate {
            // No authority is asked, and none has to be installed.
            None => (builder.tls_certs_only([]), "http"),
            // It is asked by its address, for which no certificate may be: what counts is that it is the configured one.
            Some(path) => {
                let tls = spawnpoint_tls::pinned(path).map_err(|err| Failure::new(err.to_string()))?;
                (builder.tls_backend_preconfigured(tls), "https")
            }
        };
        let client = builder.build().map_err(|err| Failure::new(format!("HTTP client: {err}")))?;
        Ok(Self { client, base: format!("{scheme}://{address}"), token })
    }

    /// Calls it; the answer's status and body (`null` if it is empty).
    ///
    /// # Errors
    /// There is no answer, or it is not JSON.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let failed = |err: reqwest::Error| Failure::new(format!("{path}: {err}"));
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("authorization", format!("token {}", self.token.reveal()));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(failed)?;
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let body = serde_json::from_slice(&bytes)
            .map_err(|_| Failure::new(format!("{path}: {status} with a body that is not JSON")))?;
        Ok((status, body))
    }

    /// Calls it and takes success only.
    ///
    /// # Errors
    /// There is no answer, or what the API says is wrong.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, body) = self.call(method, path, body).await?;
        if status.is_success() {
            return Ok(body);
        }
        let message = body["message"].as_str().unwrap_or("no message");
        Err(Failure::new(format!("{path}: {}: {message}", status.as_u16())))
    }
}
