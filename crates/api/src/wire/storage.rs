//! Endpoint storages on the wire. The secret goes one way only.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::storages::{NewStorage, StoragePatch};
use spawnpoint_model::limits::{ACCESS_KEY_CHARS_MAX, SECRET_KEY_CHARS_MAX};
use spawnpoint_model::query::Paged;
use spawnpoint_model::storage::{EndpointStorage, LogFormat, check_bucket, check_credential};
use spawnpoint_model::{Invalid, Invalids, Plaintext, StorageName};
use utoipa::ToSchema;

use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// An endpoint storage.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointStorage)]
pub struct StorageBody<'a> {
    #[schema(example = "my-storage")]
    name: &'a str,
    /// The public half of the credentials.
    #[schema(example = "AKIAEXAMPLE")]
    access_key_id: &'a str,
    #[schema(example = "https://us-east-1.your-s3-provider.com")]
    endpoint: &'a str,
    #[schema(example = "my-bucket")]
    bucket: &'a str,
    /// How logs are written: `TEXT` or `NDJSON`.
    #[schema(example = "TEXT")]
    output_format: &'static str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> StorageBody<'a> {
    /// Of a storage.
    #[must_use]
    pub fn of(storage: &'a EndpointStorage) -> Self {
        Self {
            name: storage.name.as_str(),
            access_key_id: &storage.access_key_id,
            endpoint: &storage.endpoint,
            bucket: &storage.bucket,
            output_format: format_name(storage.format),
            create_time: V1Date(storage.created_at),
            last_updated: V1Date(storage.updated_at),
        }
    }
}

/// A page of endpoint storages.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointStorages)]
pub struct StorageListBody<'a> {
    endpoints: Vec<StorageBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> StorageListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<EndpointStorage>) -> Self {
        let endpoints = paged.items.iter().map(StorageBody::of).collect();
        Self { endpoints, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A new endpoint storage, as [`read_new`] reads it.
#[derive(ToSchema)]
#[schema(as = EndpointStoragePost)]
pub struct NewStorageBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "my-storage")]
    pub name: String,
    /// The public half of the credentials.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "AKIAEXAMPLE")]
    pub access_key_id: String,
    /// The secret half. Encrypted, and never shown.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$", write_only, example = "example-secret")]
    pub secret_access_key: String,
    /// Address of the S3 service: scheme, host, port. The bucket need not stand in front of the host.
    #[schema(max_length = 2048, format = "web-address", example = "https://us-east-1.your-s3-provider.com")]
    pub endpoint: String,
    /// The bucket.
    #[schema(
        min_length = 3,
        max_length = 63,
        pattern = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$",
        example = "my-bucket"
    )]
    pub bucket: String,
    /// How logs are written: `TEXT` (default) or `NDJSON`.
    #[schema(pattern = "^([tT][eE][xX][tT]|[nN][dD][jJ][sS][oO][nN])$", example = "TEXT")]
    pub output_format: Option<String>,
}

/// A change of an endpoint storage, as [`read_patch`] reads it.
#[derive(ToSchema)]
#[schema(as = EndpointStoragePatch)]
pub struct StoragePatchBody {
    /// Its new name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "my-storage")]
    pub name: Option<String>,
    /// The public half of the credentials.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "AKIAEXAMPLE")]
    pub access_key_id: Option<String>,
    /// The secret half. Encrypted, and never shown.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$", write_only, example = "example-secret")]
    pub secret_access_key: Option<String>,
    /// Address of the S3 service: scheme, host, port.
    #[schema(max_length = 2048, format = "web-address", example = "https://us-east-1.your-s3-provider.com")]
    pub endpoint: Option<String>,
    /// The bucket.
    #[schema(
        min_length = 3,
        max_length = 63,
        pattern = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$",
        example = "my-bucket"
    )]
    pub bucket: Option<String>,
    /// How logs are written: `TEXT` or `NDJSON`.
    #[schema(pattern = "^([tT][eE][xX][tT]|[nN][dD][jJ][sS][oO][nN])$", example = "TEXT")]
    pub output_format: Option<String>,
}

const fn format_name(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "TEXT",
        LogFormat::Ndjson => "NDJSON",
    }
}

fn format(text: &str) -> Result<LogFormat, Invalid> {
    let found = LogFormat::ALL.into_iter().find(|format| format_name(*format).eq_ignore_ascii_case(text));
    found.ok_or_else(|| Invalid::new("", "must be TEXT or NDJSON"))
}

/// Every field that is there.
fn read(body: &Fields<'_>) -> StoragePatch {
    let owned = |text: &str| text.to_owned();
    StoragePatch {
        name: body.parsed("name", StorageName::parse),
        access_key_id: body.parsed("access_key_id", |text| {
            check_credential(text, ACCESS_KEY_CHARS_MAX).map(|()| owned(text))
        }),
        secret_access_key: body.parsed("secret_access_key", |text| {
            check_credential(text, SECRET_KEY_CHARS_MAX).map(|()| Plaintext::new(text))
        }),
        endpoint: body.parsed("endpoint", |text| super::deploy_v2::url(text).map(|_| owned(text))),
        bucket: body.parsed("bucket", |text| check_bucket(text).map(|()| owned(text))),
        format: body.parsed("output_format", format),
    }
}

/// Reads a new storage.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<NewStorage, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["name", "access_key_id", "secret_access_key", "endpoint", "bucket"] {
        body.require(key);
    }
    let StoragePatch { name, access_key_id, secret_access_key, endpoint, bucket, format } = read(&body);
    match (name, access_key_id, secret_access_key, endpoint, bucket) {
        (Some(name), Some(access_key_id), Some(secret_access_key), Some(endpoint), Some(bucket))
            if problems.is_empty() =>
        {
            let format = format.unwrap_or_default();
            Ok(NewStorage { name, access_key_id, secret_access_key, endpoint, bucket, format })
        }
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

/// Reads a change of a storage.
///
/// # Errors
/// Every bad field.
pub fn read_patch(object: &Map<String, Value>) -> Result<StoragePatch, Invalids> {
    let problems = Problems::new();
    let patch = read(&Fields::new(object, &problems));
    problems.into_result()?;
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "name": "my s3", "access_key_id": "AKIA123", "secret_access_key": "s3cr/et+=", "bucket": "my-logs",
            "endpoint": "https://us-east-1.s3.example.com", "output_format": "ndjson", "more": 1
        })
    }

    fn fields(body: Value) -> Vec<String> {
        let Value::Object(object) = body else { panic!("an object is needed") };
        read_new(&object).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
    }

    #[test]
    fn every_bad_field_of_a_new_storage_is_named() {
        assert_eq!(fields(good()), Vec::<String>::new());
        let all = ["name", "access_key_id", "secret_access_key", "endpoint", "bucket"];
        assert_eq!(fields(json!({})), all);
        for (field, values) in [
            ("name", vec![json!(""), json!("a/b"), json!("x".repeat(65)), json!(5)]),
            ("access_key_id", vec![json!(""), json!("a b"), json!("ü"), json!("x".repeat(129))]),
            ("secret_access_key", vec![json!(""), json!("a\nb"), json!("x".repeat(257)), json!([])]),
            ("endpoint", vec![json!(""), json!("a\u{0}"), json!("x".repeat(2049)), json!(true)]),
            ("bucket", vec![json!("ab"), json!("A_B"), json!("1.2.3.4"), json!({})]),
            ("output_format", vec![json!("XML"), json!(""), json!(1)]),
        ] {
            for value in values {
                let mut body = good();
                body[field] = value.clone();
                assert_eq!(fields(body), [field], "{value}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_does_not_repeat_it() {
        let Value::Object(object) = json!({"secret_access_key": "hunter 2"}) else {
            panic!("an object is needed")
        };
        let error = read_patch(&object).unwrap_err().to_string();
        assert!(error.starts_with("secret_access_key: ") && !error.contains("hunter"), "{error}");
    }
}
