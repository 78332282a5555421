//! Images that other people's tools made (docker, buildah, umoci), in a real registry, with a login and without: deployed by
//! tag and by digest they run as they were meant to; and what cannot be had is an error that says why.

use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::makers::{FILES, GONE, Maker, USER};
use spawnpoint_compat::player::{ask_tcp, ask_udp};
use spawnpoint_compat::registry::{PASSWORD, Registry, Setup, USERNAME};
use spawnpoint_compat::{Api, PATIENCE, Runtime, eventually, game, say};

spawnpoint_compat::on_each_runtime!(
    images_of_other_tools_run_from_a_registry_that_is_open,
    images_of_other_tools_run_from_a_registry_with_a_login_and_a_wrong_one_is_an_error_of_its_own,
);

/// Makes a version of an image in the registry; `token` is the secret of its login, if it has one.
fn describe(api: &Api, registry: &Registry, version: &str, image: (&str, &str), token: Option<&str>) {
    let body = json!({
        "name": version, "is_active": true, "docker_repository": registry.address, "docker_image": image.0,
        "docker_tag": image.1, "private_username": token.map(|_| USERNAME), "private_token": token,
        "req_cpu": 128, "req_memory": 128, "ports": [
            {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
            {"name": "tcp", "port": 7778, "protocol": "TCP", "to_check": true},
        ],
    });
    let _ = api.post("/v1/app/arena/version", &body).expect(200);
}

/// The game runs, as the user of its image, on the files that the layers make together.
fn runs_as_it_was_made(api: &Api, version: &str) {
    let id = api.deploy("arena", version, &json!({}));
    let status = api.wait_for(&id, "READY");
    assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"), "{version}");
    let ask = |question: &str| ask_tcp(external(&status, "tcp"), question);
    let about = ask("status");
    assert!(about.contains(&format!("Uid={}", USER.1)), "{version}: {about}");
    for (path, content) in FILES {
        assert_eq!(ask(&format!("read {path}")), content, "{version}: {path}");
    }
    for path in GONE {
        assert!(ask(&format!("read {path}")).contains("No such file"), "{version}: {path} is there");
    }
    api.stop(&id);
}

/// Every maker's image, by tag and by digest.
fn all_run(runtime: &Runtime, setup: Setup) {
    let Some(registry) = Registry::start_as(setup) else { return };
    let (server, installation) = runtime.start();
    let (api, game) = (&server.api, game::build());
    let _ = api.post("/v1/app", &json!({"name": "arena", "is_active": true, "image": ""})).expect(200);
    let token = setup.has_login.then_some(PASSWORD);
    for maker in Maker::ALL.into_iter().filter(|maker| maker.is_here()) {
        let image = format!("studio/{}", maker.name());
        maker.push(&game, &registry, &image, "v1");
        let digest = registry.digest(&image, "v1");
        for (kind, tag) in [("tag", "v1"), ("digest", digest.as_str())] {
            let version = format!("{}-by-{kind}", maker.name());
            describe(api, &registry, &version, (&image, tag), token);
            runs_as_it_was_made(api, &version);
        }
    }
    if setup.has_login {
        // An image that no host holds yet: what is there needs no login.
        registry.push(&game, "studio/denied", "v1");
        refusals_are_told_apart(api, &registry, "studio/denied");
    }
    assert_eq!(installation.containers(), []);
    assert!(!server.log().contains(PASSWORD));
    server.audit();
}

/// A wrong secret, none at all, a tag and a digest that are not there.
fn refusals_are_told_apart(api: &Api, registry: &Registry, image: &str) {
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let wrong = [("wrong", "v1", Some("not-the-secret")), ("none", "v1", None)];
    let missing = [("no-tag", "v9", Some(PASSWORD)), ("no-digest", nowhere.as_str(), Some(PASSWORD))];
    let detail = |(what, tag, token): (&str, &str, Option<&str>)| {
        let version = format!("{}-{what}", image.replace('/', "-"));
        describe(api, registry, &version, (image, tag), token);
        let id = api.deploy("arena", &version, &json!({}));
        let failed: Value = eventually(&format!("{version} is in error"), PATIENCE, || {
            Some(api.status(&id)).filter(|status| status["current_status"] == "Status.ERROR")
        });
        api.stop(&id);
        // Which image is meant is no difference.
        let detail = text(&failed, "error_detail");
        assert!(!detail.contains(PASSWORD) && detail.contains(image), "{version}: {detail}");
        say(&format!("{what}: {detail}"));
        detail.replace(tag, "TAG")
    };
    let (wrong, missing) = (wrong.map(detail), missing.map(detail));
    for denied in &wrong {
        let says = ["denies access", "unauthorized", "no basic auth", "denied"];
        assert!(says.iter().any(|words| denied.contains(words)), "{denied}");
        assert!(!missing.contains(denied), "{denied}");
    }
    for absent in &missing {
        let says = ["does not know", "not found", "unknown"];
        assert!(says.iter().any(|words| absent.contains(words)), "{absent}");
    }
}

fn images_of_other_tools_run_from_a_registry_that_is_open(runtime: &Runtime) {
    all_run(runtime, Setup { has_login: false, deletes: false });
}

fn images_of_other_tools_run_from_a_registry_with_a_login_and_a_wrong_one_is_an_error_of_its_own(
    runtime: &Runtime,
) {
    all_run(runtime, Setup { has_login: true, deletes: false });
}
