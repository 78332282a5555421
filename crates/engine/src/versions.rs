//! Versions of applications: make, show, change, remove, list.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use spawnpoint_model::app::{ImageSource, RestartPolicy, SessionConfig, SessionKind, Version, VersionSpec};
use spawnpoint_model::env::{EnvValue, EnvVar};
use spawnpoint_model::limits::SESSION_MAX_DURATION_MINUTES_DEFAULT;
use spawnpoint_model::names::{AppName, VersionName};
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Invalid, Invalids, RevisionId};
use spawnpoint_store::Tx;

use crate::deploy::EnvInput;
use crate::registry::RegistryError;
use crate::workload::REGISTRY_PURPOSE;
use crate::{Engine, Error, environment};

/// What a user says of a version, already checked field by field. `None` leaves a field as it is (or, for a new
/// version, at its default); the inner `None` of a doubled option clears it.
#[derive(Clone, Debug, Default)]
pub struct VersionInput {
    /// Its name; a new one on a change renames it.
    pub name: Option<VersionName>,
    /// Registry host without scheme.
    pub registry: Option<String>,
    /// Image path in the registry.
    pub image: Option<String>,
    /// Image tag or digest.
    pub tag: Option<String>,
    /// Registry login.
    pub username: Option<Option<String>>,
    /// Registry secret.
    pub token: Option<Option<Plaintext>>,
    /// CPU units (checked together with memory once both are known).
    pub cpu: Option<u32>,
    /// Memory in MiB.
    pub memory: Option<u32>,
    /// GPU units.
    pub gpu: Option<u32>,
    /// All ports.
    pub ports: Option<Vec<PortSpec>>,
    /// All variables. A hidden one without a value keeps the value it has.
    pub env: Option<Vec<EnvInput>>,
    /// Command.
    pub command: Option<Option<String>>,
    /// Arguments.
    pub arguments: Option<Option<String>>,
    /// Restart policy.
    pub restart_policy: Option<RestartPolicy>,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: Option<u32>,
    /// Seconds until READY.
    pub time_to_deploy_seconds: Option<u32>,
    /// Minutes after READY.
    pub max_duration_minutes: Option<i32>,
    /// Can be deployed.
    pub is_active: Option<bool>,
    /// Check the registry.
    pub verify_image: Option<bool>,
    /// Pull ahead of time.
    pub force_cache: Option<bool>,
    /// Access list on.
    pub access_list_active: Option<bool>,
    /// Log storage.
    pub endpoint_storage: Option<Option<String>>,
    /// Sessions.
    pub session: Option<Option<SessionInput>>,
    /// Fields that are only echoed: a JSON object; its keys are laid over the stored ones.
    pub extras: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Session settings as they are given; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionInput {
    /// How sessions are counted; needed where there are no settings yet.
    pub kind: Option<SessionKind>,
    /// How many fit; needed where there are no settings yet.
    pub sockets: Option<u32>,
    /// Deploy where no deployment has room.
    pub autodeploy: Option<bool>,
    /// Minutes without a session after which a deployment ends.
    pub empty_ttl_minutes: Option<Option<u32>>,
    /// Minutes that session records are kept.
    pub session_max_duration_minutes: Option<u32>,
}

impl SessionInput {
    /// Laid over the settings that there are.
    fn over(self, before: Option<&SessionConfig>) -> Result<SessionConfig, Invalids> {
        let mut invalids = Invalids::default();
        let kind = self.kind.or(before.map(|b| b.kind));
        let sockets = self.sockets.or(before.map(|b| b.sockets));
        for (field, absent) in [("kind", kind.is_none()), ("sockets", sockets.is_none())] {
            if absent {
                invalids.add(format!("session_config.{field}"), "is missing");
            }
        }
        let (Some(kind), Some(sockets)) = (kind, sockets) else { return Err(invalids) };
        Ok(SessionConfig {
            kind,
            sockets,
            autodeploy: self.autodeploy.or(before.map(|b| b.autodeploy)).unwrap_or(false),
            empty_ttl_minutes: self.empty_ttl_minutes.or(before.map(|b| b.empty_ttl_minutes)).flatten(),
            session_max_duration_minutes: self
                .session_max_duration_minutes
                .or(before.map(|b| b.session_max_duration_minutes))
                .unwrap_or(SESSION_MAX_DURATION_MINUTES_DEFAULT),
        })
    }
}

impl Engine {
    /// Makes a version. `name`, `registry`, `image`, `tag`, `cpu` and `memory` must be there.
    ///
    /// # Errors
    /// `NotFound` for the application; `Conflict` if the name is taken; `Invalid`; `FailedDependency` if the registry was to be
    /// asked and does not give the image.
    pub async fn create_version(
        &self,
        actor: &Actor,
        app: &AppName,
        input: VersionInput,
    ) -> Result<Version, Error> {
        self.need_app(actor, Scope::Admin, app)?;
        self.get_app(actor, app).await?;
        let Some(name) = input.name.clone() else { return Err(Invalid::new("name", "is needed").into()) };
        let image = ImageSource {
            registry: String::new(),
            name: String::new(),
            tag: String::new(),
            username: None,
            token: None,
        };
        let spec = self.apply(VersionSpec::new(image, Resources::default()), input)?;
        // Before the registry is asked: a name that is taken is said at once.
        if self.inner.store.find_version(app, &name).await?.is_some() {
            return Err(Error::Conflict(format!("version {app}/{name} exists already")));
        }
        self.verify_image(&spec).await?;
        let version = self.revision(app.clone(), name, spec, None)?;
        let mut tx = Tx::new();
        tx.insert_version(&version);
        self.commit_catalog(tx).await?;
        self.inner.rows.keep_revision(&version.revision, &version.spec);
        if version.spec.force_cache {
            self.inner.image_cache.bell.notify_one();
        }
        Ok(version)
    }

    /// Shows a version.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_version(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &VersionName,
    ) -> Result<Version, Error> {
        self.need_app(actor, Scope::Read, app)?;
        self.get_app(actor, app).await?;
        let found = self.inner.store.find_version(app, name).await?;
        found.ok_or_else(|| Error::NotFound(format!("version {name} of {app} does not exist")))
    }

    /// Changes a version: future deployments use the change, present ones stay as they are.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if a new name is taken; `Invalid`.
    pub async fn update_version(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &VersionName,
        input: VersionInput,
    ) -> Result<Version, Error> {
        self.need_app(actor, Scope::Admin, app)?;
        let before = self.get_version(actor, app, name).await?;
        let new_name = input.name.clone().unwrap_or_else(|| before.name.clone());
        let spec = self.apply(VersionSpec::clone(&before.spec), input)?;
        let asked = (&spec.image, spec.verify_image) != (&before.spec.image, before.spec.verify_image);
        if asked {
            self.verify_image(&spec).await?;
        }
        let version = self.revision(app.clone(), new_name, spec, Some(&before))?;
        let mut tx = Tx::new();
        tx.update_version(name, &version);
        tx.wake_version(app, &version.name, self.now());
        self.commit_catalog(tx).await?;
        self.inner.units.notify_one();
        self.inner.rows.keep_revision(&version.revision, &version.spec);
        if version.spec.force_cache {
            self.inner.image_cache.bell.notify_one();
        }
        Ok(version)
    }

    /// Removes a version. Its deployments go on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_version(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &VersionName,
    ) -> Result<(), Error> {
        self.need_app(actor, Scope::Admin, app)?;
        let mut tx = Tx::new();
        tx.delete_version(app, name);
        self.commit_catalog(tx).await
    }

    /// Lists the versions of an application, oldest first.
    ///
    /// # Errors
    /// `NotFound` for the application.
    pub async fn list_versions(
        &self,
        actor: &Actor,
        app: &AppName,
        page: Page,
    ) -> Result<Paged<Version>, Error> {
        self.need_app(actor, Scope::Read, app)?;
        self.get_app(actor, app).await?;
        Ok(self.inner.store.list_versions(app, page).await?)
    }

    /// Asks the registry for the image, if that is wanted.
    async fn verify_image(&self, spec: &VersionSpec) -> Result<(), Error> {
        if !spec.verify_image {
            return Ok(());
        }
        let credentials = self.credentials(spec).map_err(Error::Internal)?;
        // On the heap: HTTP futures are large.
        let checked = Box::pin(self.inner.registries.check(&spec.image, credentials.as_ref())).await;
        checked.map_err(|error| match error {
            RegistryError::Address(_) => Invalid::new("docker_repository", error.to_string()).into(),
            RegistryError::Login => Invalid::new("private_token", error.to_string()).into(),
            other => Error::FailedDependency(format!("Unable to pull image from registry: {other}")),
        })
    }

    /// The version with `spec`, under the id that its content has.
    fn revision(
        &self,
        app: AppName,
        name: VersionName,
        spec: VersionSpec,
        before: Option<&Version>,
    ) -> Result<Version, Error> {
        let content = serde_json::to_vec(&(&app, &spec)).map_err(|e| Error::Internal(e.to_string()))?;
        let hash = Sha256::digest(&content);
        let revision: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let now = self.now();
        let created_at = before.map_or(now, |before| before.created_at);
        Ok(Version {
            app,
            name,
            revision: RevisionId::from(revision),
            spec: Arc::new(spec),
            created_at,
            updated_at: now,
        })
    }

    /// Lays `input` over `spec`, and checks what can only be checked of the whole.
    fn apply(&self, mut spec: VersionSpec, input: VersionInput) -> Result<VersionSpec, Error> {
        let mut invalids = Invalids::default();
        self.apply_image(&mut spec.image, &input)?;
        for (field, text) in [("docker_image", &spec.image.name), ("docker_tag", &spec.image.tag)] {
            if text.is_empty() {
                invalids.add(field, "is needed");
            }
        }
        let cpu = input.cpu.unwrap_or(spec.resources.cpu.0);
        let memory = input.memory.unwrap_or(spec.resources.memory.0);
        if let Some(resources) = invalids.check("", Resources::checked(cpu, memory, "req_cpu", "req_memory"))
        {
            spec.resources = resources;
        }
        if let Some(env) = &input.env {
            spec.env = self.seal_env(env, &spec.env)?;
        }
        if let Some(extras) = input.extras {
            spec.extras = merge_extras(&spec.extras, extras);
        }
        if let Some(session) = input.session {
            match session.map(|session| session.over(spec.session.as_ref())).transpose() {
                Ok(session) => spec.session = session,
                Err(missing) => invalids.0.extend(missing.0),
            }
        }
        invalids.into_result()?;
        set(&mut spec.gpu_units, input.gpu);
        set(&mut spec.ports, input.ports);
        set(&mut spec.command, input.command);
        set(&mut spec.arguments, input.arguments);
        set(&mut spec.restart_policy, input.restart_policy);
        set(&mut spec.grace_seconds, input.grace_seconds);
        set(&mut spec.time_to_deploy_seconds, input.time_to_deploy_seconds);
        set(&mut spec.max_duration_minutes, input.max_duration_minutes);
        set(&mut spec.is_active, input.is_active);
        set(&mut spec.verify_image, input.verify_image);
        set(&mut spec.force_cache, input.force_cache);
        set(&mut spec.access_list_active, input.access_list_active);
        set(&mut spec.endpoint_storage, input.endpoint_storage);
        Ok(spec)
    }

    fn apply_image(&self, image: &mut ImageSource, input: &VersionInput) -> Result<(), Error> {
        set(&mut image.registry, input.registry.clone());
        set(&mut image.name, input.image.clone());
        set(&mut image.tag, input.tag.clone());
        set(&mut image.username, input.username.clone());
        match &input.token {
            None => {}
            Some(None) => image.token = None,
            Some(Some(token)) => image.token = Some(self.inner.vault.seal(token, REGISTRY_PURPOSE)?),
        }
        Ok(())
    }

    /// Variables as they are stored; a hidden one without a value keeps the value it had `before`.
    pub(crate) fn seal_env(&self, env: &[EnvInput], before: &[EnvVar]) -> Result<Vec<EnvVar>, Error> {
        let mut stored = Vec::with_capacity(env.len());
        for (i, EnvInput { key, value, hidden }) in env.iter().enumerate() {
            let value = match (value, hidden) {
                (Some(value), false) => EnvValue::Plain(value.reveal().to_owned()),
                (Some(value), true) => {
                    EnvValue::Hidden(self.inner.vault.seal(value, environment::SEAL_PURPOSE)?)
                }
                (None, hidden) => {
                    let kept = before.iter().find(|variable| variable.key == *key);
                    let kept = kept.ok_or_else(|| Invalid::new(format!("envs[{i}].value"), "is needed"))?;
                    match &kept.value {
                        // It was shown until now, and is not to be from now on.
                        EnvValue::Plain(text) if *hidden => {
                            let value = Plaintext::new(text.clone());
                            EnvValue::Hidden(self.inner.vault.seal(&value, environment::SEAL_PURPOSE)?)
                        }
                        value => value.clone(),
                    }
                }
            };
            stored.push(EnvVar { key: key.clone(), value });
        }
        Ok(stored)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// The stored extras with `new` laid over them.
fn merge_extras(stored: &str, new: Map<String, Value>) -> String {
    let mut all: Map<String, Value> = serde_json::from_str(stored).unwrap_or_default();
    all.extend(new);
    Value::Object(all).to_string()
}
