//! The faults no real server produces on demand come from small servers of our own.

use super::*;
use crate::testing::{self, Script};
use serde_json::json;

const ATTEMPT: Duration = Duration::from_secs(3);

fn probe(url: &str) -> HttpProbe {
    HttpProbe {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: None,
        statuses: Vec::new(),
        json: Vec::new(),
        insecure_tls: false,
        root_certificate: None,
    }
}

fn expecting(url: &str, pointer: &str, expectation: JsonExpectation) -> HttpProbe {
    HttpProbe { json: vec![(pointer.to_owned(), expectation)], ..probe(url) }
}

async fn unmet(probe: &HttpProbe, timeout: Duration) -> String {
    ask(probe, timeout).await.unwrap_err().to_string()
}

#[tokio::test]
async fn any_success_is_enough_where_nothing_is_expected() {
    let server = testing::http(vec![Script::answer(204, "")]).await;
    ask(&probe(&server.url("/")), ATTEMPT).await.unwrap();
}

/// Behaviours: 95.
#[tokio::test]
async fn another_status_is_named_with_the_expected_ones_and_a_redirect_is_not_followed() {
    let moved = b"HTTP/1.1 301 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let moved = Script::Answer(moved);
    let server = testing::http(vec![Script::answer(503, ""), Script::answer(200, ""), moved]).await;
    let url = server.url("/v1/info");
    assert_eq!(unmet(&probe(&url), ATTEMPT).await, format!("{url} answered 503, expected 200 to 299"));
    let created = HttpProbe { statuses: vec![201, 202], ..probe(&url) };
    assert_eq!(unmet(&created, ATTEMPT).await, format!("{url} answered 200, expected 201 or 202"));
    let moved = unmet(&probe(&url), ATTEMPT).await;
    assert_eq!(moved, format!("{url} answered 301, expected 200 to 299 (redirects are not followed)"));
}

#[tokio::test]
async fn what_is_found_at_a_json_pointer_is_told_with_what_was_expected() {
    let body = "{\"starting\": true, \"nodes\": [1], \"uptime\": 2.5, \"a/b\": \"x\", \"odd\": \"\u{9b}2J\"}";
    let server = testing::http(vec![Script::answer(200, body)]).await;
    let url = server.url("/v1/info");
    let cases = [
        ("/starting", JsonExpectation::Equals(json!(false)), "/starting is true, expected false"),
        ("/nodes", JsonExpectation::AtLeast(2), "/nodes is an array of 1, expected at least 2"),
        ("/uptime", JsonExpectation::AtLeast(3), "/uptime is 2.5, expected at least 3"),
        ("/a~1b", JsonExpectation::Equals(json!("y")), r#"/a~1b is "x", expected "y""#),
        ("/a~1b", JsonExpectation::AtLeast(0), r#"/a~1b is "x", expected at least 0"#),
        ("/odd", JsonExpectation::Equals(json!("y")), r#"/odd is "\u{9b}2J", expected "y""#),
        ("/absent", JsonExpectation::AtLeast(0), "/absent is not in the answer"),
    ];
    for (pointer, expectation, told) in cases {
        assert_eq!(unmet(&expecting(&url, pointer, expectation), ATTEMPT).await, format!("{url} {told}"));
    }
    ask(&expecting(&url, "/nodes", JsonExpectation::AtLeast(1)), ATTEMPT).await.unwrap();
    ask(&expecting(&url, "/starting", JsonExpectation::Equals(json!(true))), ATTEMPT).await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_not_json_or_has_no_end_is_refused() {
    let server = testing::http(vec![Script::answer(200, "<html>"), Script::answer(200, &"x".repeat(2 << 20))]).await;
    let url = server.url("/");
    let expectation = || JsonExpectation::Equals(json!(true));
    let told = unmet(&expecting(&url, "/x", expectation()), ATTEMPT).await;
    assert_eq!(told, format!("{url} answered with something that is not JSON: expected value at line 1 column 1"));
    assert_eq!(
        unmet(&expecting(&url, "/x", expectation()), ATTEMPT).await,
        format!("{url} answered more than 1024 KiB")
    );
}

/// Behaviours: 95.
#[tokio::test]
async fn silence_a_slow_body_and_a_reset_end_in_time() {
    let short = Duration::from_millis(300);
    let silent = testing::http(vec![Script::Silence]).await;
    assert_eq!(unmet(&probe(&silent.url("/")), short).await, format!("{}: no answer within 300 ms", silent.url("/")));

    let slow = testing::http(vec![Script::SlowBody]).await;
    let asked = expecting(&slow.url("/"), "/x", JsonExpectation::AtLeast(1));
    assert_eq!(unmet(&asked, short).await, format!("{}: no answer within 300 ms", slow.url("/")));

    let broken = testing::http(vec![Script::Reset]).await;
    let told = unmet(&probe(&broken.url("/")), ATTEMPT).await;
    assert_eq!(told, format!("{}: connection reset by the other side", broken.url("/")));

    let closed = testing::http(vec![Script::Close]).await;
    let told = unmet(&probe(&closed.url("/")), ATTEMPT).await;
    assert_eq!(told, format!("{}: connection closed before message completed", closed.url("/")));
}

#[tokio::test]
async fn a_refused_connection_says_so_and_shows_no_credentials() {
    let port = testing::unused_port().await;
    let told = unmet(&probe(&format!("http://user:hunter2@127.0.0.1:{port}/x?token=hunter2")), ATTEMPT).await;
    assert_eq!(told, format!("http://127.0.0.1:{port}/x: connection refused"));
}

/// Behaviours: 95.
#[tokio::test]
async fn an_address_that_swallows_everything_leaves_time_for_the_next() {
    let server = testing::http(vec![Script::answer(200, "")]).await;
    let swallowing = testing::swallowing(server.port);
    let url = Url::parse(&format!("http://two.example:{}/", server.port)).unwrap();
    let asked = probe(url.as_str());
    let within = Duration::from_secs(2);
    let client = client_for(&url, &Request::from(&asked), within).await.unwrap();
    let addresses = [swallowing.address, ([127, 0, 0, 1], server.port).into()];
    let client = client.resolve_to_addrs("two.example", &addresses).build().unwrap();
    let answer = tokio::time::timeout(within, client.get(url).send()).await.expect("the second address is tried");
    assert_eq!(answer.unwrap().status(), 200);

    let alone = format!("http://127.0.0.2:{}/", server.port);
    assert_eq!(unmet(&probe(&alone), within).await, format!("{alone}: the connection timed out"));
}

#[tokio::test]
async fn what_cannot_be_asked_is_final() {
    let bad_method = HttpProbe { method: "G ET".to_owned(), ..probe("http://127.0.0.1:1/") };
    let bad_header = HttpProbe { headers: vec![("a".to_owned(), "b\n".to_owned())], ..probe("http://127.0.0.1:1/") };
    let cases = [
        (probe("no url"), "the URL: not a URL: relative URL without a base"),
        (probe("ftp://h/"), "ftp://h/: `ftp` is not http or https"),
        (bad_method, "http://127.0.0.1:1/: `G ET` is not an HTTP method"),
        (bad_header, "http://127.0.0.1:1/: failed to parse header value"),
    ];
    for (probe, told) in cases {
        let unmet = ask(&probe, ATTEMPT).await.unwrap_err();
        assert_eq!(unmet.to_string(), told);
        assert!(!unmet.reason.may_pass());
    }
}

#[tokio::test]
async fn method_headers_and_body_arrive_as_they_are() {
    let server = testing::http(vec![Script::answer(200, "")]).await;
    let asked = HttpProbe {
        method: "PUT".to_owned(),
        headers: vec![("X-Trino-User".to_owned(), "hüben".to_owned())],
        body: Some("\"SHUTTING_DOWN\"".to_owned()),
        ..probe(&server.url("/v1/info/state"))
    };
    ask(&asked, ATTEMPT).await.unwrap();
    let seen = server.requests();
    assert!(seen[0].starts_with("PUT /v1/info/state HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[0].contains("x-trino-user: hüben\r\n"), "{}", seen[0]);
    assert!(seen[0].ends_with("\r\n\r\n\"SHUTTING_DOWN\""), "{}", seen[0]);
}

#[tokio::test]
async fn an_unverified_certificate_is_accepted_at_ones_own_address_only() {
    let server = testing::https("another.example").await;
    let url = format!("https://localhost:{}/", server.port);
    let insecure = HttpProbe { insecure_tls: true, ..probe(&url) };
    ask(&insecure, ATTEMPT).await.unwrap();
    let elsewhere = HttpProbe { insecure_tls: true, ..probe("https://203.0.113.1/") };
    assert_eq!(
        unmet(&elsewhere, ATTEMPT).await,
        "https://203.0.113.1/: an unverified certificate is accepted only from this container's own address"
    );
}

#[tokio::test]
async fn an_unverified_certificate_may_be_one_of_version_1() {
    let key = rcgen::KeyPair::generate().unwrap();
    let server = testing::https_with(testing::version_1_certificate(&key), "", &key).await;
    let url = format!("https://localhost:{}/", server.port);
    ask(&HttpProbe { insecure_tls: true, ..probe(&url) }, ATTEMPT).await.unwrap();
    let told = unmet(&probe(&url), ATTEMPT).await;
    assert_eq!(told, format!("{url}: the certificate cannot be read: only one of X.509 version 3 can be verified"));
}

/// Behaviours: 95.
#[tokio::test]
async fn a_certificate_for_another_name_or_from_a_stranger_is_told_apart() {
    let server = testing::https("another.example").await;
    let url = format!("https://localhost:{}/", server.port);
    let trusting = HttpProbe { root_certificate: Some(server.root.clone()), ..probe(&url) };
    let told = unmet(&trusting, ATTEMPT).await;
    assert_eq!(told, format!("{url}: the certificate is for another.example and not for localhost"));

    let server = testing::https("localhost").await;
    let url = format!("https://localhost:{}/", server.port);
    let trusting = HttpProbe { root_certificate: Some(server.root.clone()), ..probe(&url) };
    ask(&trusting, ATTEMPT).await.unwrap();
    assert_eq!(unmet(&probe(&url), ATTEMPT).await, format!("{url}: the certificate's issuer is not trusted"));
}

#[tokio::test]
async fn an_authority_as_a_server_and_a_common_name_alone_are_told() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    let server = testing::https_with(certificate.der().clone(), &certificate.pem(), &key).await;
    let url = format!("https://localhost:{}/", server.port);
    let told = unmet(&probe(&url), ATTEMPT).await;
    let authority = "the server shows the certificate of an authority (CA:TRUE), which must itself be a trusted one";
    assert_eq!(told, format!("{url}: {authority}"));
    ask(&HttpProbe { root_certificate: Some(server.root.clone()), ..probe(&url) }, ATTEMPT).await.unwrap();

    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let certificate = params.self_signed(&key).unwrap();
    let server = testing::https_with(certificate.der().clone(), &certificate.pem(), &key).await;
    let url = format!("https://localhost:{}/", server.port);
    let trusting = HttpProbe { root_certificate: Some(server.root.clone()), ..probe(&url) };
    let told = unmet(&trusting, ATTEMPT).await;
    let nameless = "the certificate has no subjectAltName, and a common name does not count; it must have localhost";
    assert_eq!(told, format!("{url}: {nameless}"));
}

#[tokio::test]
async fn a_plain_server_and_a_missing_root_are_named() {
    let server = testing::http(vec![Script::answer(200, "")]).await;
    let url = format!("https://localhost:{}/", server.port);
    let told = unmet(&probe(&url), ATTEMPT).await;
    assert_eq!(told, format!("{url}: the server does not speak TLS on this port"));

    let rootless = HttpProbe { root_certificate: Some("/nonexistent/ca.pem".into()), ..probe(&url) };
    assert_eq!(
        unmet(&rootless, ATTEMPT).await,
        format!(
            "{url}: the root certificate /nonexistent/ca.pem cannot be used: no such file or directory\n\
             it must be a readable PEM file with a certificate"
        )
    );
}
