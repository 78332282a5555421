//! What the log says of a request, and what it must not say.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::http::Method;
use serde_json::json;

use crate::world::{ADMIN, World, deployment};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// For the whole process: where the tests share one, the lines of the others must not hold a canary either, and a subscriber
// for one thread alone would depend on what the others have made `tracing` remember of each place that logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_names_the_route_and_no_token_no_query_and_no_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let world = World::with_arena().await;
    let mut body = deployment("v1");
    body["environment_variables"] = json!([{"key": "SECRET", "value": "canary-env", "is_hidden": true}]);
    let id =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    world.until(&id, "READY").await;
    world.get("/v1/deployments?query=canary-query").await.expect(400);
    world.get("/v1/app/canary-path").await.expect(404);
    world.call(Method::GET, "/v1/apps", "canary-token", None).await.expect(401);
    let secret = world.token("read", &[]).await;
    world.call(Method::GET, "/v1/apps", &secret, None).await.expect(200);
    world.end().await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for word in [
        "http.route=\"/v2/deployments\"",
        "http.method=\"POST\"",
        "http.status=202",
        "duration_us=",
        "/v1/status/{request_id}",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    for canary in [ADMIN, &secret, "canary"] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(canary)).collect();
        assert!(lines.is_empty(), "{canary} is in: {lines:#?}");
    }
}
