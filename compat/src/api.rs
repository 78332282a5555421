//! A client of the API.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Answer, encode, request, send_raw};
use crate::{PATIENCE, eventually};

/// Where the API is, and as whom.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it answers.
    pub address: SocketAddr,
    /// The caller's token.
    pub token: String,
}

impl Api {
    /// Calls it; there may be no answer.
    ///
    /// # Errors
    /// There is none.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> io::Result<Answer> {
        let authorization = format!("token {}", self.token);
        let mut all = vec![("authorization", authorization.as_str())];
        let text = body.map(Value::to_string);
        if text.is_some() {
            all.push(("content-type", "application/json"));
        }
        all.extend_from_slice(headers);
        send_raw(self.address, &request(method, path, &all, text.as_deref().map(str::as_bytes)))
    }

    /// Calls it.
    ///
    /// # Panics
    /// There is no answer.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, path, &[], body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    /// POST.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    /// PATCH.
    #[must_use]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(body))
    }

    /// DELETE.
    #[must_use]
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    /// Makes an application with one version. `fields` are laid over a small version of the image `localhost/NAME:TAG`.
    pub fn describe(&self, app: &str, version: &str, image: (&str, &str), fields: &Value) {
        let made = self.post("/v1/app", &json!({"name": app, "is_active": true, "image": ""}));
        assert!(matches!(made.status, 200 | 409), "{}", made.text());
        let mut body = json!({
            "name": version, "is_active": true, "docker_repository": "localhost", "docker_image": image.0,
            "docker_tag": image.1, "req_cpu": 128, "req_memory": 128,
            "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}],
        });
        lay_over(&mut body, fields);
        let _ = self.post(&format!("/v1/app/{}/version", encode(app)), &body).expect(200);
    }

    /// Deploys over v2, for a player without a position; `fields` are laid over the request. The id.
    #[must_use]
    pub fn deploy(&self, app: &str, version: &str, fields: &Value) -> String {
        let answer = self.post("/v2/deployments", &deployment(app, version, fields)).expect(202);
        text(&answer, "request_id")
    }

    /// The status of a deployment.
    #[must_use]
    pub fn status(&self, id: &str) -> Value {
        self.get(&format!("/v1/status/{id}")).expect(200)
    }

    /// Waits for a status (`READY`).
    ///
    /// # Panics
    /// It does not come, or ERROR comes where the end was not waited for.
    #[must_use]
    pub fn wait_for(&self, id: &str, wanted: &str) -> Value {
        self.wait_for_within(id, wanted, PATIENCE)
    }

    /// Waits for a status, for so long.
    ///
    /// # Panics
    /// See [`Self::wait_for`].
    #[must_use]
    pub fn wait_for_within(&self, id: &str, wanted: &str, patience: Duration) -> Value {
        eventually(&format!("{id} is {wanted}"), patience, || {
            let status = self.status(id);
            let now = status["current_status"].as_str().unwrap_or_default();
            if now == format!("Status.{wanted}") {
                return Some(status);
            }
            // One in error is ended by a stop, and not at once.
            let failed = now == "Status.ERROR" && wanted != "TERMINATED";
            assert!(!failed, "{id} is in error instead of {wanted}: {}", status["error_detail"]);
            None
        })
    }

    /// Stops a deployment and waits until it has ended.
    pub fn stop(&self, id: &str) {
        let answer = self.delete(&format!("/v1/stop/{id}"));
        assert!(matches!(answer.status, 200 | 202 | 410), "{}: {}", answer.status, answer.text());
        let _ = self.wait_for(id, "TERMINATED");
    }

    /// Everything that lives, over all pages.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 1.. {
            let answer = self.get(&format!("/v1/deployments?page={page}&limit=100")).expect(200);
            all.extend(answer["data"].as_array().cloned().unwrap_or_default());
            if answer["pagination"]["has_next"] != json!(true) {
                break;
            }
        }
        all
    }
}

/// The body of a v2 deployment for one player without a position.
#[must_use]
pub fn deployment(app: &str, version: &str, fields: &Value) -> Value {
    let mut body = json!({
        "application": app, "version": version,
        "users": [{"user_type": "ip_address", "user_data": {"ip_address": "192.0.2.7"}}],
    });
    lay_over(&mut body, fields);
    body
}

/// Puts the fields of one object over those of another.
pub fn lay_over(body: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
}

/// A text field of an answer.
///
/// # Panics
/// There is none.
#[must_use]
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

/// The host port of a named port of a status.
///
/// # Panics
/// There is none.
#[must_use]
pub fn external(status: &Value, name: &str) -> u16 {
    let port = status["ports"][name]["external"].as_u64().and_then(|port| u16::try_from(port).ok());
    port.unwrap_or_else(|| panic!("no port {name} in {status}"))
}
