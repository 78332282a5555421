//! Logs on their way into users' buckets, and files out of them, with a real S3 server.

use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::pull_profiles::NewProfile;
use spawnpoint_engine::stop::LogChoice;
use spawnpoint_engine::storages::{NewStorage, StoragePatch};
use spawnpoint_model::deployment::{LogStorage, Status};
use spawnpoint_model::{
    DeploymentId, LogFormat, Plaintext, ProfileName, SourceType, StorageName, VersionName, WorkloadId,
};
use spawnpoint_store::{LogKind, UploadState};

use crate::bucket::{KEY, Mood, S3, SECRET};
use crate::world::{World, app, on_both};

fn storage_name(name: &str) -> StorageName {
    StorageName::parse(name).unwrap()
}

fn profile_name(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

fn new_storage(name: &str, endpoint: String, format: LogFormat) -> NewStorage {
    NewStorage {
        name: storage_name(name),
        access_key_id: KEY.into(),
        secret_access_key: Plaintext::new(SECRET),
        endpoint,
        bucket: "bucket".into(),
        format,
    }
}

/// A server, a storage called `store` on it, and a version `logged` whose three lines go there.
async fn logged(world: &World, format: LogFormat) -> S3 {
    let s3 = S3::start();
    // The server looks at the dates of signatures.
    let real = jiff::Timestamp::now().as_microsecond() - world.engine.now().micros();
    world.clock.advance(Duration::from_micros(real.try_into().unwrap_or_default()));
    world.engine.create_storage(&world.admin, new_storage("store", s3.endpoint(), format)).await.unwrap();
    world
        .create_version("arena", "logged", "fake/game:log-3", |input| {
            input.endpoint_storage = Some(Some("store".into()))
        })
        .await;
    s3
}

async fn end(world: &World, id: DeploymentId, logs: Option<LogChoice>) {
    world.engine.stop(&world.admin, id, logs).await.unwrap();
    world.until(id, Status::Terminated).await;
}

async fn state_of(world: &World, id: DeploymentId) -> Option<(UploadState, Option<String>)> {
    let found = world.store.find_upload(id, LogKind::Container).await.unwrap()?;
    Some((found.state, found.last_error))
}

async fn until_state(world: &World, id: DeploymentId, wanted: UploadState) -> Option<String> {
    world
        .eventually(&format!("the upload is {wanted:?}"), async || {
            state_of(world, id).await.is_some_and(|(state, _)| state == wanted)
        })
        .await;
    state_of(world, id).await.unwrap().1
}

async fn events(world: &World, id: DeploymentId, kind: &str) -> Vec<serde_json::Value> {
    let all = world.store.events(id, 100).await.unwrap();
    all.iter().filter(|e| e.kind == kind).map(|e| serde_json::from_str(&e.detail).unwrap()).collect()
}

fn spooled(world: &World) -> Vec<String> {
    let files = std::fs::read_dir(world.spool_dir()).into_iter().flatten();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).filter(|name| name != "node").collect()
}

async fn profile(world: &World, name: &str, source: &str, source_type: SourceType, destination: &str) {
    let new = NewProfile {
        name: profile_name(name),
        source: source.into(),
        source_type,
        destination: destination.into(),
    };
    world.engine.create_profile(&world.admin, &storage_name("store"), new).await.unwrap();
    let version = VersionName::parse("logged").unwrap();
    let (store, profile) = (storage_name("store"), profile_name(name));
    world.engine.link_profile(&world.admin, &store, &profile, &app("arena"), &version).await.unwrap();
}

fn files(world: &World, id: DeploymentId) -> Vec<(String, String)> {
    let workload = WorkloadId { deployment: id, attempt: 1 };
    let all = world.hosts.iter().flat_map(|host| host.files_of(workload));
    all.map(|file| (file.path, String::from_utf8(file.content.to_vec()).unwrap())).collect()
}

on_both! {
    async fn a_log_is_uploaded_as_text_and_its_link_is_read_over_plain_http(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        let id = world.deploy_ready("logged").await;
        assert_eq!(world.engine.logs_link(id).await.unwrap(), None);
        end(world, id, None).await;
        until_state(world, id, UploadState::Done).await;
        let key = format!("arena/logged/{id}/container.log");
        let text = String::from_utf8(s3.object(&key).unwrap()).unwrap();
        assert!(text.contains("line 1\n") && text.contains("line 3\n"), "{text}");
        assert_eq!(events(world, id, "logs_uploaded").await[0]["key"], key.as_str());
        let link = world.engine.logs_link(id).await.unwrap().unwrap();
        assert!(!link.contains(SECRET));
        let answer = world.http().get(&link).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, text));
        let forged = link.replace("container.log", "other.log");
        assert_eq!(world.http().get(&forged).send().await.unwrap().status().as_u16(), 403);
        world.eventually("the spool is empty", async || spooled(world).is_empty()).await;
    }

    async fn a_log_is_uploaded_as_one_json_object_a_line(world: &mut World) {
        let s3 = logged(world, LogFormat::Ndjson).await;
        let id = world.deploy_ready("logged").await;
        end(world, id, None).await;
        until_state(world, id, UploadState::Done).await;
        let text = s3.object(&format!("arena/logged/{id}/container.ndjson")).unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() >= 3);
        for line in &lines {
            assert!(line["log"].is_string() && line["stream"] == "stdout" && line.get("time").is_some(), "{line}");
        }
    }

    async fn the_stop_the_deployment_and_the_version_decide_in_this_order(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        for (n, (stop, deployment, stored)) in [
            (Some(LogChoice::Skip), None, false),
            (Some(LogChoice::Storage("store".into())), Some((false, None)), true),
            (Some(LogChoice::Configured), Some((false, None)), true),
            (None, Some((false, Some("store"))), false),
            (None, Some((true, None)), true),
            (None, None, true),
        ].into_iter().enumerate() {
            let mut request = world.request("logged");
            request.log_storage = deployment.map(|(enabled, name)| LogStorage {
                enabled,
                endpoint_storage: name.map(str::to_owned),
            });
            let outcome = world.engine.deploy(&world.admin, request, None).await.unwrap();
            let id = outcome.view.deployment.id;
            world.until(id, Status::Ready).await;
            end(world, id, stop).await;
            if stored {
                until_state(world, id, UploadState::Done).await;
            } else {
                assert_eq!(state_of(world, id).await, None, "case {n}");
            }
            assert_eq!(s3.object(&format!("arena/logged/{id}/container.log")).is_some(), stored, "case {n}");
        }
    }

    async fn an_unknown_storage_fails_no_stop_and_is_noted(world: &mut World) {
        let _s3 = logged(world, LogFormat::Text).await;
        let id = world.deploy_ready("logged").await;
        end(world, id, Some(LogChoice::Storage("nobody".into()))).await;
        let why = until_state(world, id, UploadState::Failed).await.unwrap();
        assert!(why.contains("\"nobody\""), "{why}");
        assert_eq!(events(world, id, "logs_upload_failed").await.len(), 1);
        assert!(spooled(world).is_empty());
    }

    async fn a_storage_that_does_not_answer_delays_no_stop_and_is_tried_again(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.set(Mood::Refuses(503, "SlowDown"));
        let id = world.deploy_ready("logged").await;
        let asked = tokio::time::Instant::now();
        end(world, id, None).await;
        assert!(asked.elapsed() < Duration::from_secs(5));
        world.eventually("it was tried", async || s3.calls() == 1).await;
        world.eventually("the failure is noted", async || {
            events(world, id, "logs_upload_delayed").await.len() == 1
        }).await;
        let (state, why) = state_of(world, id).await.unwrap();
        assert_eq!((state, why.as_deref()), (UploadState::Pending, Some("the storage answered 503 (SlowDown)")));
        s3.set(Mood::Well);
        world.clock.advance(Duration::from_secs(10));
        until_state(world, id, UploadState::Done).await;
        assert!(s3.object(&format!("arena/logged/{id}/container.log")).is_some());
        assert_eq!(events(world, id, "logs_upload_delayed").await.len(), 1);
    }

    async fn what_is_refused_for_a_day_is_given_up_and_the_reason_is_noted(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.set(Mood::Refuses(403, "AccessDenied"));
        let id = world.deploy_ready("logged").await;
        end(world, id, None).await;
        world.eventually("it is given up", async || {
            world.clock.advance(Duration::from_secs(1800));
            state_of(world, id).await.is_some_and(|(state, _)| state == UploadState::Failed)
        }).await;
        let failed = events(world, id, "logs_upload_failed").await;
        assert_eq!(failed[0]["reason"], "the storage answered 403 (AccessDenied)");
        assert!(s3.calls() >= 2, "{} tries", s3.calls());
        world.eventually("nothing waits any more", async || spooled(world).is_empty()).await;
        assert_eq!(world.engine.logs_link(id).await.unwrap(), None);
    }

    async fn a_bucket_that_does_not_exist_is_named_and_better_settings_are_tried_at_once(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        // This server makes buckets as they are named; others do not.
        s3.set(Mood::Refuses(404, "NoSuchBucket"));
        let id = world.deploy_ready("logged").await;
        end(world, id, None).await;
        world.eventually("it was refused", async || {
            state_of(world, id).await.is_some_and(|(_, why)| why.is_some())
        }).await;
        assert_eq!(state_of(world, id).await.unwrap().1.unwrap(), "the storage answered 404 (NoSuchBucket)");
        s3.set(Mood::Well);
        let patch = StoragePatch { bucket: Some("bucket".into()), name: Some(storage_name("moved")), ..StoragePatch::default() };
        world.engine.update_storage(&world.admin, &storage_name("store"), patch).await.unwrap();
        until_state(world, id, UploadState::Done).await;
        assert!(s3.object(&format!("arena/logged/{id}/container.log")).is_some());
        // The version still says the old name.
        let next = world.deploy_ready("logged").await;
        end(world, next, None).await;
        until_state(world, next, UploadState::Done).await;
    }

    async fn a_storage_that_hangs_holds_up_its_own_logs_only(world: &mut World) {
        let slow = logged(world, LogFormat::Text).await;
        let fast = S3::start();
        world.engine.create_storage(&world.admin, new_storage("fast", fast.endpoint(), LogFormat::Text)).await.unwrap();
        slow.set(Mood::Hangs);
        for _ in 0..3 {
            let id = world.deploy_ready("logged").await;
            end(world, id, None).await;
        }
        let id = world.deploy_ready("logged").await;
        end(world, id, Some(LogChoice::Storage("fast".into()))).await;
        until_state(world, id, UploadState::Done).await;
        assert_eq!(slow.calls(), 2, "more than its share was sent to a storage that does not answer");
        world.engine.delete_storage(&world.admin, &storage_name("store")).await.unwrap();
    }

    async fn spooled_logs_survive_a_crash_and_orphans_do_not(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.set(Mood::Refuses(500, "InternalError"));
        let id = world.deploy_ready("logged").await;
        end(world, id, None).await;
        world.eventually("it was tried", async || s3.calls() > 0).await;
        std::fs::write(world.spool_dir().join("000000000000-1"), "half a log").unwrap();
        world.crash_and_restart().await;
        s3.set(Mood::Well);
        world.clock.advance(Duration::from_secs(10));
        until_state(world, id, UploadState::Done).await;
        assert!(s3.object(&format!("arena/logged/{id}/container.log")).is_some());
        world.eventually("the spool is empty", async || spooled(world).is_empty()).await;
    }

    async fn the_log_of_a_crash_is_kept_beside_that_of_the_end(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        world.create_version("arena", "crashes", "fake/game:log-2.exit-7-after-200ms", |input| {
            input.endpoint_storage = Some(Some("store".into()));
        }).await;
        let id = world.deploy("crashes").await;
        let crash = format!("arena/crashes/{id}/crash.log");
        world.eventually("the crash is uploaded", async || {
            world.clock.advance(Duration::from_secs(1));
            s3.object(&crash).is_some()
        }).await;
        let text = String::from_utf8(s3.object(&crash).unwrap()).unwrap();
        assert!(text.contains("line 2\n") && text.contains("exited with 7"), "{text}");
    }

    async fn files_of_a_bucket_are_there_before_the_start(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.put("config.cfg", b"speed=1");
        s3.put("maps/a.map", b"A");
        s3.put("maps/deep/b.map", b"B");
        profile(world, "config", "/bucket/config.cfg", SourceType::File, "/usr/share/configs").await;
        profile(world, "maps", "maps/", SourceType::Folder, "/data/").await;
        let id = world.deploy_ready("logged").await;
        let mut found = files(world, id);
        found.sort();
        let expected = [("/data/a.map", "A"), ("/data/deep/b.map", "B"), ("/usr/share/configs/config.cfg", "speed=1")];
        assert_eq!(found, expected.map(|(path, content)| (path.to_owned(), content.to_owned())));
        // Other versions are given nothing.
        let other = world.deploy_ready("v1").await;
        assert_eq!(files(world, other), []);
        // And a profile that is gone is not missed by deployments to come.
        for name in ["config", "maps"] {
            world.engine.delete_profile(&world.admin, &storage_name("store"), &profile_name(name)).await.unwrap();
        }
        let later = world.deploy_ready("logged").await;
        assert_eq!(files(world, later), []);
    }

    async fn a_file_that_cannot_be_had_fails_the_deployment_and_says_why(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.put("ok.cfg", b"x");
        profile(world, "absent", "absent.cfg", SourceType::File, "/data").await;
        let detail = async |world: &World| {
            let id = world.deploy("logged").await;
            let view = world.until(id, Status::Error).await;
            view.deployment.failure().unwrap().detail.clone()
        };
        let text = detail(world).await;
        assert!(text.contains("pull profile absent of store") && text.contains("404 (NoSuchKey)"), "{text}");
        world.engine.delete_profile(&world.admin, &storage_name("store"), &profile_name("absent")).await.unwrap();
        profile(world, "nothing", "nothing/", SourceType::Folder, "/data").await;
        assert!(detail(world).await.contains("there is nothing in the folder"));
        world.engine.delete_profile(&world.admin, &storage_name("store"), &profile_name("nothing")).await.unwrap();
        profile(world, "protected", "ok.cfg", SourceType::File, "/etc/game").await;
        let text = detail(world).await;
        assert!(text.contains("/etc/game/ok.cfg") && text.contains("protected"), "{text}");
        world.engine.delete_profile(&world.admin, &storage_name("store"), &profile_name("protected")).await.unwrap();
        s3.put("large.bin", &vec![0; 33 * 1024 * 1024]);
        profile(world, "large", "large.bin", SourceType::File, "/data").await;
        assert!(detail(world).await.contains("more than 33554432 bytes"), "{text}");
    }

    async fn a_bucket_that_answers_again_soon_fails_no_start(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.put("config.cfg", b"x");
        profile(world, "config", "config.cfg", SourceType::File, "/data").await;
        s3.set(Mood::Refuses(503, "SlowDown"));
        let id = world.deploy("logged").await;
        world.eventually("it was asked", async || s3.calls() >= 2).await;
        s3.set(Mood::Well);
        world.until(id, Status::Ready).await;
        assert_eq!(files(world, id).len(), 1);
    }

    async fn endpoints_that_must_not_be_called_are_refused(world: &mut World) {
        for endpoint in ["http://169.254.169.254", "http://10.0.0.1:9000", "http://[::ffff:10.0.0.1]", "https://h:22", "ftp://h", "no"] {
            match world.engine.create_storage(&world.admin, new_storage("s", endpoint.into(), LogFormat::Text)).await {
                Err(Error::Invalid(invalids)) => assert_eq!(invalids.0[0].field, "endpoint", "{endpoint}"),
                other => panic!("{endpoint}: {other:?}"),
            }
        }
    }

    async fn the_secret_is_nowhere(world: &mut World) {
        let s3 = logged(world, LogFormat::Text).await;
        s3.set(Mood::Refuses(403, "SignatureDoesNotMatch"));
        let id = world.deploy_ready("logged").await;
        end(world, id, None).await;
        world.eventually("it was refused", async || {
            state_of(world, id).await.is_some_and(|(_, why)| why.is_some())
        }).await;
        let storage = world.engine.get_storage(&world.admin, &storage_name("store")).await.unwrap();
        let events = world.store.events(id, 100).await.unwrap();
        let said = format!("{storage:?} {events:?} {:?}", state_of(world, id).await);
        for secret in [SECRET, "X-Amz-Signature"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_log_goes_in_parts_and_one_that_is_too_large_says_so() {
    let world = World::sqlite().await;
    let s3 = logged(&world, LogFormat::Text).await;
    // 300,000 lines of about 40 bytes: more than one part.
    world
        .create_version("arena", "chatty", "fake/game:log-300000", |input| {
            input.endpoint_storage = Some(Some("store".into()))
        })
        .await;
    let id = world.deploy_ready("chatty").await;
    end(&world, id, None).await;
    until_state(&world, id, UploadState::Done).await;
    let text = String::from_utf8(s3.object(&format!("arena/chatty/{id}/container.log")).unwrap()).unwrap();
    assert!(text.len() > 8 * 1024 * 1024 && text.contains("line 300000\n"), "{} bytes", text.len());
    assert!(s3.calls_of(&axum::http::Method::POST) == 2 && s3.calls_of(&axum::http::Method::PUT) >= 2);
    world.end().await;
}
