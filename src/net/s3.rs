//! The five S3 calls the program needs, signed with Signature Version 4 in headers.
//!
//! `sigv4` signs, `http` sends, `error` says what a refusal means. Retries nothing: `wait` and `tasks` ask `S3Error`
//! whether another try can help. Bucket names only, never object keys, and static credentials only. Own code, because
//! the small clients on crates.io either bring time-zone data along or cannot sign these calls.

mod error;
mod sigv4;

use std::time::{Duration, Instant, SystemTime};

use url::{Host, Url};

pub use self::error::S3Error;

use self::error::refusal;
use self::sigv4::signed_headers;
use crate::net::http::{self, Answer, Request};
use crate::plan::S3Target;

/// The region that must not be named in CreateBucket.
const DEFAULT_REGION: &str = "us-east-1";

/// The query that makes a GET of a bucket GetBucketLocation.
const LOCATION: &str = "location=";

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Whether the bucket was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    Created,
    AlreadyThere,
}

/// ListBuckets: whether the credentials are accepted.
pub async fn list_buckets(server: &S3Target, timeout: Duration) -> Result<(), S3Error> {
    const CALL: &str = "ListBuckets";
    let answer = call(server, CALL, "GET", None, "", Vec::new(), timeout).await?;
    let is_s3 = has_s3_headers(&answer) || root_of(&answer).as_deref() == Some("ListAllMyBucketsResult");
    if is_s3 { Ok(()) } else { Err(S3Error::NotS3 { call: CALL, status: answer.status }) }
}

/// HeadBucket: whether the bucket is there and may be used. `false` is a clear "no such bucket".
pub async fn bucket_exists(server: &S3Target, bucket: &str, timeout: Duration) -> Result<bool, S3Error> {
    const CALL: &str = "HeadBucket";
    let started = Instant::now();
    let answer = ask(server, "HEAD", Some(bucket), "", Vec::new(), timeout).await?;
    let left = timeout.saturating_sub(started.elapsed());
    let exists = match answer.status {
        200..300 => true,
        404 => false,
        400 | 403 => return Err(explain(server, bucket, left).await.unwrap_or_else(|| refusal(CALL, &answer))),
        _ => return Err(refusal(CALL, &answer)),
    };
    if has_s3_headers(&answer) || knows_locations(server, bucket, left).await? {
        return Ok(exists);
    }
    Err(S3Error::NotS3 { call: CALL, status: answer.status })
}

/// Of AWS, MinIO, Ceph and most others. Any web server answers HEAD with 200 or 404.
fn has_s3_headers(answer: &Answer) -> bool {
    answer.headers.keys().any(|name| name.as_str().starts_with("x-amz-") || name.as_str().starts_with("x-minio-"))
}

/// For a server without such headers: whether the body of GetBucketLocation's answer is S3's, a refusal included.
async fn knows_locations(server: &S3Target, bucket: &str, timeout: Duration) -> Result<bool, S3Error> {
    let answer = ask(server, "GET", Some(bucket), LOCATION, Vec::new(), timeout).await?;
    Ok(matches!(root_of(&answer).as_deref(), Some("LocationConstraint" | "Error")))
}

/// The name of an XML body's outermost element.
fn root_of(answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let document = roxmltree::Document::parse(&text).ok()?;
    Some(document.root_element().tag_name().name().to_owned())
}

/// The answer to HEAD has no body and so no reason (RFC 9110 section 9.3.2); GetBucketLocation's has one.
async fn explain(server: &S3Target, bucket: &str, timeout: Duration) -> Option<S3Error> {
    let asked = call(server, "GetBucketLocation", "GET", Some(bucket), LOCATION, Vec::new(), timeout);
    asked.await.err().filter(|error| error.status().is_some())
}

/// CreateBucket. A bucket of our own that another node was quicker to create is a success.
pub async fn create_bucket(server: &S3Target, bucket: &str, timeout: Duration) -> Result<Creation, S3Error> {
    let body = creation_body(&server.region);
    match call(server, "CreateBucket", "PUT", Some(bucket), "", body.into_bytes(), timeout).await {
        Ok(_) => Ok(Creation::Created),
        Err(error) if error.is("BucketAlreadyOwnedByYou") => Ok(Creation::AlreadyThere),
        Err(error) => Err(error),
    }
}

fn creation_body(region: &str) -> String {
    if region.is_empty() || region == DEFAULT_REGION {
        return String::new();
    }
    let region = region.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<CreateBucketConfiguration xmlns=\"{NAMESPACE}\"><LocationConstraint>{region}</LocationConstraint>\
         </CreateBucketConfiguration>"
    )
}

/// PutBucketVersioning: from now on every version of an object is kept.
pub async fn enable_versioning(server: &S3Target, bucket: &str, timeout: Duration) -> Result<(), S3Error> {
    let body =
        format!("<VersioningConfiguration xmlns=\"{NAMESPACE}\"><Status>Enabled</Status></VersioningConfiguration>");
    let asked = call(server, "PutBucketVersioning", "PUT", Some(bucket), "versioning=", body.into_bytes(), timeout);
    asked.await.map(drop)
}

/// PutBucketPolicy, or DeleteBucketPolicy where there is none to put.
pub async fn set_policy(
    server: &S3Target,
    bucket: &str,
    policy: Option<String>,
    timeout: Duration,
) -> Result<(), S3Error> {
    let (name, method) = if policy.is_some() { ("PutBucketPolicy", "PUT") } else { ("DeleteBucketPolicy", "DELETE") };
    let body = policy.unwrap_or_default().into_bytes();
    match call(server, name, method, Some(bucket), "policy=", body, timeout).await {
        Err(error) if error.is("NoSuchBucketPolicy") => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn call(
    server: &S3Target,
    name: &'static str,
    method: &str,
    bucket: Option<&str>,
    query: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Answer, S3Error> {
    let answer = ask(server, method, bucket, query, body, timeout).await?;
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refusal(name, &answer)) }
}

/// Any answer, whatever its status.
async fn ask(
    server: &S3Target,
    method: &str,
    bucket: Option<&str>,
    query: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Answer, S3Error> {
    let url = address(server, bucket, query)?;
    let headers = signed_headers(server, method, &url, &body, SystemTime::now());
    let request = Request {
        method,
        url: url.as_str(),
        headers: &headers,
        body,
        insecure_tls: server.insecure_tls,
        root_certificate: server.root_certificate.clone(),
    };
    http::send(request, timeout).await.map_err(S3Error::Http)
}

fn address(server: &S3Target, bucket: Option<&str>, query: &str) -> Result<Url, S3Error> {
    let mut url = Url::parse(&server.endpoint).map_err(|error| S3Error::Endpoint(format!("is not a URL: {error}")))?;
    let host = url.host().ok_or_else(|| S3Error::Endpoint("has no host".to_owned()))?.to_owned();
    // A client would send them as another Authorization header. Both calls fail only without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    // A server behind another one may be at a path of its own, which is signed as everything else.
    let base = url.path().trim_end_matches('/').to_owned();
    match bucket {
        Some(bucket) if server.path_style => url.set_path(&format!("{base}/{bucket}")),
        Some(_) if !matches!(host, Host::Domain(_)) => return Err(S3Error::NoRoomForBucket),
        Some(bucket) => {
            url.set_path(&format!("{base}/"));
            let before = url.set_host(Some(&format!("{bucket}.{host}")));
            before.map_err(|error| S3Error::Endpoint(format!("cannot have a bucket put before it: {error}")))?;
        }
        None => url.set_path(&format!("{base}/")),
    }
    url.set_query(Some(query).filter(|query| !query.is_empty()));
    Ok(url)
}

#[cfg(test)]
mod tests;
