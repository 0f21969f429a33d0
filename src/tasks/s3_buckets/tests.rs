use super::*;
use crate::plan::HttpProbe;
use crate::plan::buckets::parse_buckets;
use crate::testing::{self, Script, Server};

fn task(server: &Server, buckets: &str, timeout: Duration) -> S3Buckets {
    S3Buckets {
        server: S3Target {
            endpoint: server.url(""),
            region: "us-east-1".to_owned(),
            access_key: "key".to_owned(),
            secret_key: "secret".to_owned(),
            bucket: None,
            path_style: true,
            insecure_tls: false,
            root_certificate: None,
        },
        quorum: HttpProbe {
            method: "GET".to_owned(),
            url: server.url("/minio/health/cluster"),
            headers: Vec::new(),
            body: None,
            statuses: vec![200],
            json: Vec::new(),
            insecure_tls: false,
            root_certificate: None,
        },
        buckets: parse_buckets(buckets).unwrap(),
        timeout,
    }
}

fn error_body(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>told by the server</Message></Error>")
}

#[test]
fn policies_are_those_of_mc() {
    let document = policy_document("lake", BucketPolicy::Download).unwrap();
    let wanted = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetBucketLocation","s3:ListBucket"],"Resource":["arn:aws:s3:::lake"]},{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::lake/*"]}]}"#;
    assert_eq!(document, wanted);
    assert_eq!(policy_document("lake", BucketPolicy::Private), None);
}

#[tokio::test]
async fn a_server_that_is_starting_and_busy_is_asked_until_it_obeys() {
    let server = testing::http(vec![
        Script::s3(503, ""),
        Script::Reset,
        Script::s3(200, ""),
        Script::s3(503, &error_body("XMinioServerNotInitialized")),
        Script::s3(404, ""),
        Script::s3(503, &error_body("SlowDown")),
        Script::s3(404, ""),
        Script::s3(200, ""),
    ])
    .await;
    let outcomes = create_buckets(&task(&server, "lake", Duration::from_secs(10)), None).await.unwrap();
    assert_eq!(outcomes, [Outcome { bucket: "lake".to_owned(), created: true }]);
    assert_eq!(outcomes[0].to_string(), "bucket lake created");
}

#[tokio::test]
async fn at_the_deadline_every_missing_bucket_is_named() {
    let server = testing::http(vec![Script::s3(200, ""), Script::s3(200, ""), Script::s3(503, "")]).await;
    let error = create_buckets(&task(&server, "lake,raw,logs", Duration::from_secs(1)), None).await.unwrap_err();
    let told = "not all buckets are ready within 1 s: bucket raw: HeadBucket answered 503\nnot ready: raw, logs";
    assert_eq!(error.to_string(), told);
}

#[tokio::test]
async fn several_slow_answers_do_not_outlast_the_deadline() {
    let slow = |status| Script::Slow(Duration::from_millis(350), Box::new(Script::s3(status, "")));
    let server = testing::http(vec![Script::s3(200, ""), slow(404), slow(200), slow(200)]).await;
    let started = Instant::now();
    let task = task(&server, "lake:public:versioning", Duration::from_millis(500));
    let error = create_buckets(&task, None).await.unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_millis(650), "{:?}", started.elapsed());
    assert!(error.ends_with("\nnot ready: lake"), "{error}");
}

#[tokio::test]
async fn without_quorum_nothing_is_tried() {
    let server = testing::http(vec![Script::s3(503, "")]).await;
    let error = create_buckets(&task(&server, "lake,raw", Duration::from_millis(300)), None).await.unwrap_err();
    let told = format!(
        "the server had no quorum within 300 ms: {} answered 503, expected 200\nnot created: lake, raw",
        server.url("/minio/health/cluster")
    );
    assert_eq!(error.to_string(), told);
    assert!(server.requests().iter().all(|request| request.starts_with("GET /minio/health/cluster ")));
}

#[tokio::test]
async fn a_refusal_is_final_and_named() {
    let denied = error_body("AccessDenied");
    let server = testing::http(vec![Script::s3(200, ""), Script::s3(404, ""), Script::s3(403, &denied)]).await;
    let error = create_buckets(&task(&server, "lake", Duration::from_secs(10)), None).await.unwrap_err();
    assert_eq!(error.to_string(), "bucket lake: CreateBucket answered 403 AccessDenied: told by the server");
}
