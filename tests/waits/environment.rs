//! What the environment must and must not change; each case in a process of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::run;

use crate::server;

use crate::watch;

const URL: &str = "DL_TEST_URL";

#[test]
#[ignore = "the other half of the tests below, which run it with an environment of its own"]
fn one_wait_in_a_process_of_its_own() {
    let url = std::env::var(URL).expect("set by the tests that run this one");
    let (_, told) = run(watch(&[&url], std::time::Duration::from_secs(2)));
    println!("told: {told:?}");
}

fn wait_with(url: &str, environment: &[(&str, &str)]) -> String {
    let arguments = ["--ignored", "--exact", "--nocapture", "environment::one_wait_in_a_process_of_its_own"];
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(arguments).env(URL, url).envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text.lines().find_map(|line| line.split_once("told: "));
    told.map(|(_, told)| told.to_owned()).unwrap_or_else(|| panic!("{text}"))
}

/// Answers one request with 200.
fn answer_once() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    port
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let nobody = format!("http://127.0.0.1:{}", server::free_port());
    let url = format!("http://127.0.0.1:{}/", answer_once());
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, nobody.as_str()));
    assert_eq!(wait_with(&url, &proxies), r#"["ready"]"#);
}

/// Answers one request with 200, showing this certificate.
fn answer_once_with(certificate: rustls::pki_types::CertificateDer<'static>, key: &rcgen::KeyPair) -> u16 {
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let connection = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    port
}

/// As `openssl req -x509` makes it.
#[test]
fn a_self_signed_certificate_in_ssl_cert_file_is_trusted_as_openssl_trusts_it() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let folder = server::Folder::new("ssl-cert-file");
    let file = folder.join("server.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let url = format!("https://127.0.0.1:{}/", answer_once_with(certificate.der().clone(), &key));
    let told = wait_with(&url, &[("SSL_CERT_FILE", file.to_str().unwrap()), ("SSL_CERT_DIR", "/nonexistent")]);
    assert_eq!(told, r#"["ready"]"#);
}

#[test]
fn an_image_without_certificates_is_told_and_still_asks_in_plain_http() {
    let rootless = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    assert_eq!(wait_with(&format!("http://127.0.0.1:{}/", answer_once()), &rootless), r#"["ready"]"#);
    let told = wait_with(&format!("https://127.0.0.1:{}/", answer_once()), &rootless);
    let no_roots = r#"["no certificate is trusted: the image has no CA bundle and no root certificate is configured\nconfigure a root certificate, or set SSL_CERT_FILE"]"#;
    assert_eq!(told, no_roots);
}
