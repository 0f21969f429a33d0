use super::*;
use crate::testing::{self, Script};

const ATTEMPT: Duration = Duration::from_secs(3);

pub(super) fn server(endpoint: &str) -> S3Target {
    S3Target {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        bucket: None,
        path_style: true,
        insecure_tls: false,
        root_certificate: None,
    }
}

#[test]
fn a_bucket_is_in_the_path_or_before_the_host() {
    let mut target = server("http://minio:9000");
    assert_eq!(address(&target, Some("lake"), "policy=").unwrap().as_str(), "http://minio:9000/lake?policy=");
    target.path_style = false;
    assert_eq!(address(&target, Some("lake"), "").unwrap().as_str(), "http://lake.minio:9000/");
    assert_eq!(address(&target, None, "").unwrap().as_str(), "http://minio:9000/");
    target.endpoint = "http://user:hunter2@minio:9000".to_owned();
    assert_eq!(address(&target, None, "").unwrap().as_str(), "http://minio:9000/");
    for (path_style, bucket, wanted) in [
        (true, Some("lake"), "http://proxy/minio/lake"),
        (true, None, "http://proxy/minio/"),
        (false, Some("lake"), "http://lake.proxy/minio/"),
    ] {
        target = S3Target { path_style, ..server("http://proxy/minio/") };
        assert_eq!(address(&target, bucket, "").unwrap().as_str(), wanted);
    }
    for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000"] {
        target = S3Target { path_style: false, ..server(endpoint) };
        let error = address(&target, Some("lake"), "").unwrap_err();
        let told = "no bucket can be put before an IP address; it needs path-style access or a name";
        assert_eq!((error.to_string().as_str(), error.may_pass()), (told, false));
        assert_eq!(address(&target, None, "").unwrap().as_str(), format!("{endpoint}/"));
    }
    let error = address(&server("minio:9000"), None, "").unwrap_err();
    assert_eq!(error.to_string(), "the S3 endpoint has no host; it must be http(s)://HOST[:PORT][/PATH]");
}

#[test]
fn only_other_regions_are_named_when_a_bucket_is_created() {
    assert_eq!(creation_body("us-east-1"), "");
    assert!(creation_body("eu-central-1").contains("<LocationConstraint>eu-central-1</LocationConstraint>"));
}

fn refusal_body(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

#[tokio::test]
async fn wrong_credentials_busy_servers_and_refusals_are_told_apart() {
    let answers = [
        (
            403,
            "SignatureDoesNotMatch",
            "long text",
            "ListBuckets answered 403 SignatureDoesNotMatch: the secret key is wrong",
        ),
        (503, "SlowDown", "Please reduce", "ListBuckets answered 503 SlowDown: Please reduce"),
        (403, "AccessDenied", "Access Denied.", "ListBuckets answered 403 AccessDenied: Access Denied."),
        (403, "AccessDenied", "a\nb\u{9b}2J", r"ListBuckets answered 403 AccessDenied: a b\u{9b}2J"),
    ];
    let scripts = answers.iter().map(|(status, code, text, _)| Script::answer(*status, &refusal_body(code, text)));
    let served = testing::http(scripts.collect()).await;
    let mut verdicts = Vec::new();
    for (_, _, _, told) in answers {
        let error = list_buckets(&server(&served.url("")), ATTEMPT).await.unwrap_err();
        assert_eq!(error.to_string(), told);
        verdicts.push((error.is_wrong_credentials(), error.may_pass()));
    }
    assert_eq!(verdicts, [(true, false), (false, true), (false, false), (false, false)]);
}

#[tokio::test]
async fn the_reason_a_head_request_cannot_carry_is_asked_for() {
    let scripts = vec![Script::answer(403, ""), Script::answer(403, &refusal_body("InvalidAccessKeyId", "x"))];
    let served = testing::http(scripts).await;
    let error = bucket_exists(&server(&served.url("")), "lake", ATTEMPT).await.unwrap_err();
    let told = "GetBucketLocation answered 403 InvalidAccessKeyId: the access key is not known to the server";
    assert_eq!(error.to_string(), told);
}

#[tokio::test]
async fn a_bucket_in_another_region_is_said_to_be_there() {
    let moved = b"HTTP/1.1 301 X\r\nx-amz-bucket-region: eu-west-1\r\ncontent-length: 0\r\n\r\n".to_vec();
    let served = testing::http(vec![Script::Answer(moved)]).await;
    let error = bucket_exists(&server(&served.url("")), "lake", ATTEMPT).await.unwrap_err();
    assert_eq!(error.to_string(), "HeadBucket answered 301 PermanentRedirect: the bucket is in the region eu-west-1");
    assert!(error.is_final() && !error.may_pass());
}

#[tokio::test]
async fn a_name_that_no_bucket_can_have_is_final() {
    let scripts = vec![Script::answer(400, ""), Script::answer(400, &refusal_body("InvalidBucketName", "Not valid."))];
    let served = testing::http(scripts).await;
    let error = bucket_exists(&server(&served.url("")), "Lake", ATTEMPT).await.unwrap_err();
    assert_eq!(error.to_string(), "GetBucketLocation answered 400 InvalidBucketName: Not valid.");
    assert!(error.is_final() && !error.may_pass());
}

#[tokio::test]
async fn a_web_server_is_no_s3_and_a_plain_s3_is() {
    let page = "<html><body>Welcome</body></html>";
    let location = format!("<LocationConstraint xmlns=\"{NAMESPACE}\"/>");
    let cases = [
        (200, page.to_owned(), Err(200)),
        (404, page.to_owned(), Err(404)),
        (200, location, Ok(true)),
        (404, refusal_body("NoSuchBucket", "x"), Ok(false)),
    ];
    for (status, body, wanted) in cases {
        let scripts = vec![Script::answer(status, ""), Script::answer(status, &body)];
        let served = testing::http(scripts).await;
        let found = bucket_exists(&server(&served.url("")), "lake", ATTEMPT).await;
        let told = found.map_err(|error| (error.may_pass(), error.to_string()));
        let words = "but not as S3 does: another server is at this endpoint";
        let wanted = wanted.map_err(|status| (true, format!("HeadBucket answered {status}, {words}")));
        assert_eq!(told, wanted);
    }
    let buckets = format!("<ListAllMyBucketsResult xmlns=\"{NAMESPACE}\"/>");
    let served = testing::http(vec![Script::answer(200, page), Script::answer(200, &buckets)]).await;
    let target = server(&served.url(""));
    let error = list_buckets(&target, ATTEMPT).await.unwrap_err();
    assert!(matches!(error, S3Error::NotS3 { status: 200, .. }), "{error}");
    list_buckets(&target, ATTEMPT).await.unwrap();
}

#[tokio::test]
async fn a_bucket_another_node_was_quicker_to_create_is_no_error() {
    let served = testing::http(vec![Script::answer(409, &refusal_body("BucketAlreadyOwnedByYou", "x"))]).await;
    let created = create_bucket(&server(&served.url("")), "lake", ATTEMPT).await.unwrap();
    assert_eq!(created, Creation::AlreadyThere);
}
