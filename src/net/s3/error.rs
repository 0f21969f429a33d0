//! The meaning of an S3 server's refusal: another try may help, or none can.

use std::fmt;

use crate::net::connect;
use crate::net::http::{Answer, Reason};

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

    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    pub(super) fn status(&self) -> Option<u16> {
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

pub(super) fn refusal(call: &'static str, answer: &Answer) -> S3Error {
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
