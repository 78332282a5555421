//! Segments of a path, percent-decoded, with errors as JSON.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use spawnpoint_model::{
    AccessEntryId, AppName, CustomId, DeploymentId, FleetName, PolicyName, ProfileName, SessionId,
    StorageName, VersionName,
};

use crate::error::ApiError;

/// The segments of a path as texts.
pub struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => {
                Err(ApiError::bad_request("the path is not UTF-8 text once it is decoded"))
            }
            Err(_) => Err(ApiError::bad_request("the path cannot be read")),
        }
    }
}

/// How many steps an image's name may have in a path without being percent-encoded.
pub const IMAGE_STEPS_MAX: usize = 6;

/// The segments of a path to an image: its name, which may hold slashes, and perhaps a tag.
pub struct ImageSegments {
    /// The image's name.
    pub image: String,
    /// The tag; empty if the path has none.
    pub tag: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ImageSegments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segments(segments): Segments<Vec<(String, String)>> =
            Segments::from_request_parts(parts, state).await?;
        let (mut steps, mut tag) = (Vec::new(), String::new());
        for (name, segment) in segments {
            if name == "tag_name" { tag = segment } else { steps.push(segment) }
        }
        Ok(Self { image: steps.join("/"), tag })
    }
}

/// A route's path in all its spellings: those of images with a name of one step, of two, and so on.
pub fn spellings(path: &str) -> impl Iterator<Item = String> {
    const NAME: &str = "{image_name}";
    let most = if path.contains(NAME) { IMAGE_STEPS_MAX } else { 1 };
    (1..=most).map(move |steps| {
        let more: String = (2..=steps).map(|step| format!("/{{image_step_{step}}}")).collect();
        path.replace(NAME, &format!("{NAME}{more}"))
    })
}

/// The id of a deployment; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn deployment(text: &str) -> Result<DeploymentId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("there is no deployment with this id"))
}

/// The name of an application; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn app(text: &str) -> Result<AppName, ApiError> {
    AppName::parse(text).map_err(|_| ApiError::not_found("there is no application with this name"))
}

/// The name of a version; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn version(text: &str) -> Result<VersionName, ApiError> {
    VersionName::parse(text).map_err(|_| ApiError::not_found("there is no version with this name"))
}

/// The number of an entry of an access list; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn entry(text: &str) -> Result<AccessEntryId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("there is no access list entry with this id"))
}

/// The name of an endpoint storage; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn storage(text: &str) -> Result<StorageName, ApiError> {
    StorageName::parse(text).map_err(|_| ApiError::not_found("there is no endpoint storage with this name"))
}

/// The name of a pull profile; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn profile(text: &str) -> Result<ProfileName, ApiError> {
    ProfileName::parse(text).map_err(|_| ApiError::not_found("there is no pull profile with this name"))
}

/// Endpoint storage, pull profile, application, version: the segments of a link.
pub type LinkNames = (String, String, String, String);

/// The names of a link; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn link(names: &LinkNames) -> Result<(StorageName, ProfileName, AppName, VersionName), ApiError> {
    Ok((storage(&names.0)?, profile(&names.1)?, app(&names.2)?, version(&names.3)?))
}

/// The id of a session; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn session(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("there is no session with this id"))
}

/// The name that a user gave a session; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn custom_id(text: &str) -> Result<CustomId, ApiError> {
    CustomId::parse(text).map_err(|_| ApiError::not_found("there is no session with this custom id"))
}

/// The name of a fleet; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn fleet(text: &str) -> Result<FleetName, ApiError> {
    FleetName::parse(text).map_err(|_| ApiError::not_found("there is no fleet with this name"))
}

/// The name of a policy; what cannot be one is not found.
///
/// # Errors
/// 404.
pub fn policy(text: &str) -> Result<PolicyName, ApiError> {
    PolicyName::parse(text).map_err(|_| ApiError::not_found("there is no policy with this name"))
}

/// Takes `:verb` off the last segment: `dead/msg_1:replay`. The router itself cannot tell them apart.
///
/// # Errors
/// 404 if it does not end in the verb.
pub fn verb<'a>(segment: &'a str, verb: &str) -> Result<&'a str, ApiError> {
    let target = segment.strip_suffix(verb).and_then(|rest| rest.strip_suffix(':'));
    target.filter(|t| !t.is_empty()).ok_or_else(|| ApiError::not_found("there is nothing at this address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_stand_behind_a_colon() {
        assert_eq!(verb("msg_1:replay", "replay").unwrap(), "msg_1");
        for bad in ["msg_1", "msg_1:delete", ":replay", "replay"] {
            assert_eq!(verb(bad, "replay").unwrap_err().status(), 404, "{bad}");
        }
    }
}
