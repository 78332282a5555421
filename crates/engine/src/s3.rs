//! What Spawnpoint does with users' S3 buckets: put, get, list, sign a link. Path-style addresses, version 4 signatures in
//! the query string, so the secret itself never leaves this process.
//!
//! What it must not know: deployments, rows, retries (whoever asks decides what is worth another try).
//!
//! Every exchange goes through [`Outbound`]; answers are read up to a bound; an error names S3's own code and nothing else
//! of an answer's body. Signed URLs are as good as the secret for a while: none may get into an error or the log.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::storage::EndpointStorage;
use spawnpoint_model::{Timestamp, storage};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::outbound::{Network, Outbound, describe};

/// One exchange: a part is sent, or an object is read.
const EXCHANGE: Duration = Duration::from_secs(120);
/// How long the signature of our own calls is good.
const SIGNED_FOR: Duration = Duration::from_secs(2 * 3600);
/// How long a link may be good. S3's own bound.
pub(crate) const LINK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Files up to this size are sent at once, larger ones in parts of it. S3: parts of at least 5 MiB.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of an answer that is not an object: errors, lists of 1000 keys.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an answer that are looked at for S3's error code.
const ERROR_BYTES_MAX: usize = 8 * 1024;
/// Pages of a list that are asked for.
const PAGES_MAX: usize = 20;

/// Why an exchange with a bucket did not succeed. The sentences are fit for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum S3Error {
    /// The address is not one that may be called, or is none.
    #[error("the endpoint cannot be called: {0}")]
    Address(String),
    /// The service answered so.
    #[error("the storage answered {status}{}", Code(code))]
    Refused {
        /// HTTP status.
        status: u16,
        /// S3's own word, if there was one.
        code: String,
    },
    /// No answer.
    #[error("the storage did not answer: {0}")]
    Silent(String),
    /// The answer was not what S3 answers.
    #[error("the storage gave an answer that cannot be understood")]
    Strange,
    /// More than may be taken.
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// The file to be sent.
    #[error("the spooled log cannot be read: {0}")]
    File(String),
}

/// S3's own word, in brackets.
struct Code<'a>(&'a str);

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

impl S3Error {
    /// Whether a moment later it may be otherwise.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Address(_) | Self::Strange | Self::TooLarge(_) | Self::File(_) => false,
        }
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) bytes: usize,
}

/// A bucket with what opens it.
pub(crate) struct Target {
    bucket: Bucket,
    credentials: Credentials,
}

impl Target {
    /// The bucket of a storage.
    pub(crate) fn new(storage: &EndpointStorage, secret: &Plaintext) -> Result<Self, S3Error> {
        let address = |problem: String| S3Error::Address(problem);
        let url = endpoint_url(&storage.endpoint).map_err(address)?;
        let url = without_bucket(url, &storage.bucket);
        let region = region_of(url.host_str().unwrap_or_default());
        let bucket = Bucket::new(url, UrlStyle::Path, storage.bucket.clone(), region);
        let bucket = bucket.map_err(|error| address(error.to_string()))?;
        Ok(Self { bucket, credentials: Credentials::new(&storage.access_key_id, secret.reveal()) })
    }

    /// A link under which anybody can read an object until it expires.
    pub(crate) fn link(&self, key: &str, good_for: Duration, now: Timestamp) -> Url {
        let get = self.bucket.get_object(Some(&self.credentials), key);
        get.sign_with_time(good_for.min(LINK_MAX), &time(now))
    }
}

/// Reads an endpoint's address: scheme, host, port, nothing else.
///
/// # Errors
/// A sentence fit for users.
pub(crate) fn endpoint_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("must be a URL ({e})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
        return Err("must end after the host and port; the bucket is a field of its own".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must name a host".to_owned());
    }
    Ok(url)
}

/// A bucket that stands in front of the host is taken off: addresses are path-style.
fn without_bucket(mut url: Url, bucket: &str) -> Url {
    let host = url.host_str().unwrap_or_default();
    let rest = host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.'));
    if let Some(rest) = rest.filter(|rest| rest.contains('.')).map(str::to_owned) {
        // Of a host that was one, a suffix is one.
        let _ = url.set_host(Some(&rest));
    }
    url
}

/// The region that a host's name tells (`s3.eu-west-1.amazonaws.com`, `us-east-1.example.com`); most services other than
/// AWS take any, and then this one.
fn region_of(host: &str) -> String {
    let is_region = |label: &&str| {
        let mut parts = label.split('-');
        let area = parts.next().is_some_and(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_lowercase()));
        let rest: Vec<&str> = parts.collect();
        let number = rest.last().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        area && rest.len() >= 2 && number
    };
    let labels = host.split('.').map(|label| label.strip_prefix("s3-").unwrap_or(label));
    labels.into_iter().find(is_region).unwrap_or("us-east-1").to_owned()
}

fn time(now: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(now.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The S3 client. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    outbound: Outbound,
}

impl S3 {
    /// A client that may call public addresses and those in `allowed`.
    pub(crate) fn new(allowed: &[Network]) -> Result<Self, String> {
        Ok(Self { outbound: Outbound::new(allowed, EXCHANGE)? })
    }

    /// Checks an endpoint's address as far as it can be known before it is called.
    pub(crate) fn check_endpoint(&self, text: &str) -> Result<(), String> {
        self.outbound.check_url(&endpoint_url(text)?)
    }

    /// Sends a file, in parts if it is large.
    pub(crate) async fn put_file(
        &self,
        target: &Target,
        key: &str,
        path: &Path,
        now: Timestamp,
    ) -> Result<(), S3Error> {
        let lost = |error: std::io::Error| S3Error::File(error.to_string());
        let mut file = tokio::fs::File::open(path).await.map_err(lost)?;
        let length = file.metadata().await.map_err(lost)?.len();
        let first = read_part(&mut file).await?;
        if u64::try_from(first.len()).is_ok_and(|read| read == length) {
            return self.put(target, key, first, now).await;
        }
        let create = target.bucket.create_multipart_upload(Some(&target.credentials), key);
        let answer =
            self.exchange(reqwest::Method::POST, create.sign_with_time(SIGNED_FOR, &time(now)), None).await?;
        let answer = text(answer).await?;
        let created = CreateMultipartUpload::parse_response(&answer).map_err(|_| S3Error::Strange)?;
        let id = created.upload_id();
        let sent = self.put_parts(target, key, id, first, &mut file, now).await;
        if sent.is_err() {
            let abort = target.bucket.abort_multipart_upload(Some(&target.credentials), key, id);
            let abort =
                self.exchange(reqwest::Method::DELETE, abort.sign_with_time(SIGNED_FOR, &time(now)), None);
            if let Err(error) = abort.await {
                tracing::debug!(error = %error, "an upload in parts could not be taken back");
            }
        }
        sent
    }

    async fn put_parts(
        &self,
        target: &Target,
        key: &str,
        id: &str,
        first: Bytes,
        file: &mut tokio::fs::File,
        now: Timestamp,
    ) -> Result<(), S3Error> {
        let (mut part, mut number, mut etags) = (first, 0_u16, Vec::new());
        while !part.is_empty() {
            number += 1;
            let put = target.bucket.upload_part(Some(&target.credentials), key, number, id);
            let url = put.sign_with_time(SIGNED_FOR, &time(now));
            let answer = self.exchange(reqwest::Method::PUT, url, Some(part)).await?;
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok());
            etags.push(etag.ok_or(S3Error::Strange)?.to_owned());
            part = read_part(file).await?;
        }
        let etags = etags.iter().map(String::as_str);
        let complete = target.bucket.complete_multipart_upload(Some(&target.credentials), key, id, etags);
        let url = complete.sign_with_time(SIGNED_FOR, &time(now));
        let answer = self.exchange(reqwest::Method::POST, url, Some(Bytes::from(complete.body()))).await?;
        // Completing takes time: S3 says 200 first and what came of it afterwards.
        let answer = text(answer).await?;
        if answer.contains("<Error>") {
            return Err(S3Error::Refused { status: 500, code: error_code(&answer) });
        }
        Ok(())
    }

    async fn put(&self, target: &Target, key: &str, body: Bytes, now: Timestamp) -> Result<(), S3Error> {
        let put = target.bucket.put_object(Some(&target.credentials), key);
        self.exchange(reqwest::Method::PUT, put.sign_with_time(SIGNED_FOR, &time(now)), Some(body)).await?;
        Ok(())
    }

    /// Reads an object of at most `max` bytes.
    pub(crate) async fn get(
        &self,
        target: &Target,
        key: &str,
        max: usize,
        now: Timestamp,
    ) -> Result<Bytes, S3Error> {
        let get = target.bucket.get_object(Some(&target.credentials), key);
        let answer =
            self.exchange(reqwest::Method::GET, get.sign_with_time(SIGNED_FOR, &time(now)), None).await?;
        let promised = answer.content_length().and_then(|length| usize::try_from(length).ok());
        if promised.is_some_and(|length| length > max) {
            return Err(S3Error::TooLarge(max));
        }
        body(answer, max).await
    }

    /// Lists the objects below `prefix`, at most `max`; [`S3Error::TooLarge`] (with `max`) if there are more.
    pub(crate) async fn list(
        &self,
        target: &Target,
        prefix: &str,
        max: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, S3Error> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut list = target.bucket.list_objects_v2(Some(&target.credentials));
            list.with_prefix(prefix);
            if let Some(token) = &next {
                list.with_continuation_token(token);
            }
            let url = list.sign_with_time(SIGNED_FOR, &time(now));
            let answer = text(self.exchange(reqwest::Method::GET, url, None).await?).await?;
            let page = ListObjectsV2::parse_response(&answer).map_err(|_| S3Error::Strange)?;
            found.extend(page.contents.into_iter().map(|object| Listed {
                key: object.key,
                bytes: usize::try_from(object.size.unwrap_or_default()).unwrap_or(usize::MAX),
            }));
            next = page.next_continuation_token;
            if found.len() > max {
                return Err(S3Error::TooLarge(max));
            }
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(S3Error::TooLarge(max))
    }

    /// One exchange; anything but a success is an error.
    async fn exchange(
        &self,
        method: reqwest::Method,
        url: Url,
        sent: Option<Bytes>,
    ) -> Result<reqwest::Response, S3Error> {
        self.outbound.check_url(&url).map_err(S3Error::Address)?;
        let mut request = self.outbound.client().request(method, url);
        if let Some(sent) = sent {
            request = request.body(sent);
        }
        let answer = request.send().await.map_err(|error| S3Error::Silent(describe(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let said = body(answer, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(S3Error::Refused { status: status.as_u16(), code: error_code(&String::from_utf8_lossy(&said)) })
    }
}

/// The next part of a file; empty at its end.
async fn read_part(file: &mut tokio::fs::File) -> Result<Bytes, S3Error> {
    let mut part = Vec::new();
    let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut part).await;
    read.map_err(|error| S3Error::File(error.to_string()))?;
    Ok(part.into())
}

/// The body of an answer, up to `max` bytes.
async fn body(answer: reqwest::Response, max: usize) -> Result<Bytes, S3Error> {
    let mut pieces = answer.bytes_stream();
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| S3Error::Silent(describe(&error)))?;
        if all.len() + piece.len() > max {
            return Err(S3Error::TooLarge(max));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

async fn text(answer: reqwest::Response) -> Result<String, S3Error> {
    let bytes = body(answer, ANSWER_BYTES_MAX).await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| S3Error::Strange)
}

/// S3's word for an error (`NoSuchBucket`); nothing else of a stranger's answer is let through.
fn error_code(answer: &str) -> String {
    const LENGTH: usize = 64;
    let code =
        answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    code.filter(|code| code.len() <= LENGTH && code.bytes().all(|b| b.is_ascii_alphanumeric()))
        .unwrap_or_default()
        .to_owned()
}

/// Whether a key can be expressed in a URL and joined to a path.
pub(crate) fn is_plain_key(key: &str) -> bool {
    storage::check_key(key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spawnpoint_model::{LogFormat, Sealed, StorageName};

    fn storage(endpoint: &str, bucket: &str) -> EndpointStorage {
        EndpointStorage {
            name: StorageName::parse("s").unwrap(),
            access_key_id: "AKIA".into(),
            secret: Sealed(String::new()),
            endpoint: endpoint.into(),
            bucket: bucket.into(),
            format: LogFormat::Text,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn the_region_is_read_off_the_host() {
        for (host, region) in [
            ("s3.eu-west-1.amazonaws.com", "eu-west-1"),
            ("s3-ap-southeast-2.amazonaws.com", "ap-southeast-2"),
            ("s3.dualstack.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("us-east-1.your-s3-provider.com", "us-east-1"),
            ("s3.amazonaws.com", "us-east-1"),
            ("minio.example.com", "us-east-1"),
            ("127.0.0.1", "us-east-1"),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn links_are_path_style_whether_or_not_the_bucket_stands_in_front() {
        let link = |endpoint: &str| {
            let target = Target::new(&storage(endpoint, "logs"), &Plaintext::new("secret")).unwrap();
            let url = target.link("arena/v 1/x.log", LINK_MAX * 2, Timestamp(1_790_000_000_000_000));
            (format!("{}{}", url.origin().ascii_serialization(), url.path()), url.query().unwrap().to_owned())
        };
        let expected = "https://s3.eu-west-1.amazonaws.com/logs/arena/v%201/x.log";
        assert_eq!(link("https://s3.eu-west-1.amazonaws.com").0, expected);
        assert_eq!(link("https://logs.s3.eu-west-1.amazonaws.com/").0, expected);
        assert_eq!(link("http://localhost:9000").0, "http://localhost:9000/logs/arena/v%201/x.log");
        let (_, query) = link("http://localhost:9000");
        assert!(query.contains("X-Amz-Expires=604800") && query.contains("X-Amz-Date=20260921T"), "{query}");
        assert!(!query.contains("secret"));
    }

    #[test]
    fn endpoints_are_a_scheme_a_host_and_a_port() {
        for good in ["https://s3.example.com", "http://10.0.0.1:9000/", "http://[::1]:9000"] {
            assert!(endpoint_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "s3.example.com",
            "ftp://h",
            "https://u:p@h",
            "https://h/bucket",
            "https://h/?x",
            "https://h/#x",
        ] {
            assert!(endpoint_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_an_error_only_its_code_is_let_through() {
        assert_eq!(
            error_code("<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>"),
            "NoSuchBucket"
        );
        for bad in [
            "",
            "<Code>",
            "<Code>a b</Code>",
            "<Code>\u{1b}[31m</Code>",
            &format!("<Code>{}</Code>", "x".repeat(65)),
        ] {
            assert_eq!(error_code(bad), "", "{bad}");
        }
        let refused = S3Error::Refused { status: 404, code: "NoSuchKey".into() };
        assert_eq!(refused.to_string(), "the storage answered 404 (NoSuchKey)");
        assert!(
            !refused.is_transient() && S3Error::Refused { status: 503, code: String::new() }.is_transient()
        );
    }
}
