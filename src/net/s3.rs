//! The five S3 calls the program needs, signed with Signature Version 4 in headers.
//!
//! Owns the signature (AWS, "Authenticating Requests: Using the Authorization Header") and what an S3 error means;
//! `http` sends. Retries nothing: `wait` and `tasks` ask `S3Error` whether another try can help. Bucket names only,
//! never object keys, and static credentials only. Own code, because the small clients on crates.io either bring
//! time-zone data along or cannot sign these calls.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::{Host, Url};

use crate::net::connect;
use crate::net::http::{self, Answer, Reason, Request};
use crate::plan::S3Target;

/// Everything but the unreserved characters of RFC 3986, as AWS's `UriEncode` wants it.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `RESERVED`, for a path, where the slashes stay.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// The region that must not be named in CreateBucket.
const DEFAULT_REGION: &str = "us-east-1";

/// The query that makes a GET of a bucket GetBucketLocation.
const LOCATION: &str = "location=";

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Codes that say the credentials themselves are wrong: no other try can help.
const WRONG_CREDENTIALS: [(&str, &str); 2] = [
    ("SignatureDoesNotMatch", "the secret key is wrong"),
    ("InvalidAccessKeyId", "the access key is not known to the server"),
];

/// Codes that say the question is wrong, whoever asks: no other try can help either.
const WRONG_QUESTION: [&str; 2] = ["InvalidBucketName", MOVED];

/// The bucket is in another region, or at another endpoint.
const MOVED: &str = "PermanentRedirect";

/// Codes below 500 after which another try may succeed.
const PASSING: [&str; 4] = ["OperationAborted", "RequestTimeout", "RequestTimeTooSkewed", "NoSuchBucket"];

/// An S3 call that did not succeed.
#[derive(Debug)]
pub enum S3Error {
    /// No answer, or no question: what `http` says.
    Http(Reason),
    /// The endpoint is not a scheme, a host and a port.
    Endpoint(String),
    /// The bucket should come before an IP address.
    NoRoomForBucket,
    /// Something answered, but not in the way of S3.
    NotS3 { call: &'static str, status: u16 },
    /// The server said no.
    Refused { call: &'static str, status: u16, code: String, message: String },
}

impl S3Error {
    /// Whether the credentials are wrong, so that no other try can help.
    pub fn is_wrong_credentials(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if WRONG_CREDENTIALS.iter().any(|(known, _)| known == code))
    }

    /// Whether what is asked is wrong, the credentials included: no other try can help.
    pub fn is_final(&self) -> bool {
        self.is_wrong_credentials() || WRONG_QUESTION.iter().any(|code| self.is(code))
    }

    /// Whether the same call may succeed later: the server is starting, busy, or not there yet.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(reason) => reason.may_pass(),
            // As a proxy does until the server behind it is there.
            Self::NotS3 { .. } => true,
            Self::Endpoint(_) | Self::NoRoomForBucket => false,
            Self::Refused { status, code, .. } => *status >= 500 || *status == 429 || PASSING.contains(&code.as_str()),
        }
    }

    /// Whether the server understood the call and said no.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some()
    }

    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    fn status(&self) -> Option<u16> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, status, code, message) = match self {
            Self::Http(reason) => return reason.fmt(f),
            Self::Endpoint(why) => return write!(f, "the S3 endpoint {why}; it must be http(s)://HOST[:PORT][/PATH]"),
            Self::NotS3 { call, status } => {
                return write!(f, "{call} answered {status}, but not as S3 does: another server is at this endpoint");
            }
            Self::NoRoomForBucket => {
                return f.write_str("no bucket can be put before an IP address; it needs path-style access or a name");
            }
            Self::Refused { call, status, code, message } => (call, status, code, message),
        };
        write!(f, "{call} answered {status}")?;
        if !code.is_empty() {
            write!(f, " {code}")?;
        }
        let own_words = WRONG_CREDENTIALS.iter().find(|(known, _)| known == code).map(|(_, words)| *words);
        let explanation = own_words.unwrap_or(message);
        if explanation.is_empty() { Ok(()) } else { write!(f, ": {explanation}") }
    }
}

impl std::error::Error for S3Error {}

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
    // What a client would send for them is another Authorization. Both fail only where there is no host.
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

fn refusal(call: &'static str, answer: &Answer) -> S3Error {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(connect::quoted);
    let text = String::from_utf8_lossy(&answer.body);
    let document = roxmltree::Document::parse(&text).ok();
    let element = |name: &str| {
        let found = document.as_ref()?.descendants().find(|node| node.tag_name().name() == name)?;
        found.text().map(connect::quoted)
    };
    // HEAD's answer carries no more than this.
    let region = header("x-amz-bucket-region").filter(|_| answer.status == 301);
    let elsewhere = region.as_ref().map(|region| format!("the bucket is in the region {region}"));
    let moved = || region.is_some().then(|| MOVED.to_owned());
    let message = elsewhere.or_else(|| element("Message")).or_else(|| header("x-minio-error-desc"));
    S3Error::Refused {
        call,
        status: answer.status,
        code: element("Code").or_else(|| header("x-minio-error-code")).or_else(moved).unwrap_or_default(),
        message: message.unwrap_or_default(),
    }
}

/// The headers that make a request AWS's: date, hash of the body, signature. `Host` is signed too, and sent by `http`.
fn signed_headers(server: &S3Target, method: &str, url: &Url, body: &[u8], now: SystemTime) -> Vec<(String, String)> {
    let moment = timestamp(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let body_hash = hex(&Sha256::digest(body));
    let mut headers = vec![
        ("host".to_owned(), authority(url)),
        ("x-amz-content-sha256".to_owned(), body_hash.clone()),
        ("x-amz-date".to_owned(), moment.clone()),
    ];
    let authorization = authorization(server, method, url, &headers, &body_hash, &moment);
    headers.remove(0);
    headers.push(("authorization".to_owned(), authorization));
    headers
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `headers` must have lower-case names and be sorted by them.
fn authorization(
    server: &S3Target,
    method: &str,
    url: &Url,
    headers: &[(String, String)],
    body_hash: &str,
    moment: &str,
) -> String {
    let day = &moment[..8];
    let scope = format!("{day}/{}/s3/aws4_request", server.region);
    let signed = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let listed: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let (path, query) = (canonical_path(url), canonical_query(url));
    let canonical = format!("{method}\n{path}\n{query}\n{listed}\n{signed}\n{body_hash}");
    let to_sign = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", server.secret_key);
    let parts = [day, &server.region, "s3", "aws4_request", &to_sign];
    let signature = parts.iter().fold(secret.into_bytes(), |key, part| keyed_hash(&key, part));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={}",
        server.access_key,
        hex(&signature)
    )
}

fn canonical_path(url: &Url) -> String {
    let decoded: Vec<u8> = percent_decode_str(url.path()).collect();
    percent_encoding::percent_encode(&decoded, RESERVED_IN_PATH).to_string()
}

fn canonical_query(url: &Url) -> String {
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn keyed_hash(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of any length (RFC 2104 section 3): this cannot fail.
    let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("a key of any length is a key") };
    hash.update(text.as_bytes());
    hash.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20130524T000000Z`. The calendar is Howard Hinnant's `civil_from_days`, for days after 1970.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests;
