use std::path::PathBuf;
use std::time::Duration;

use dl_entry::plan::buckets::parse_buckets;
use dl_entry::plan::{HttpProbe, S3Buckets, S3Target, Target};
use dl_entry::tasks::s3_buckets::{Outcome, create_buckets};
use dl_entry::wait::parse_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{self, Folder, Server};
use crate::{HOSTILE, encoded, expect_pending, expect_ready, expect_refused, run, watch};

const REGION: &str = "eu-central-1";

/// MinIO refuses only `=` and `,` in an access key.
const ACCESS_KEY: &str = "lake+user/%&:!";

struct Minio {
    _server: Server,
    _folder: Folder,
    port: u16,
}

impl Minio {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let (port, console) = (server::free_port(), server::free_port());
        let (address, console) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{console}"));
        let data = folder.join("data").display().to_string();
        let arguments = ["server", "--address", &address, "--console-address", &console, &data];
        let home = folder.path().display().to_string();
        let environment = [
            ("MINIO_ROOT_USER", ACCESS_KEY),
            ("MINIO_ROOT_PASSWORD", HOSTILE),
            ("MINIO_REGION", REGION),
            ("MINIO_CI_CD", "1"),
            ("HOME", &home),
        ];
        Minio { _server: Server::start(&program(), &arguments, &environment, None), _folder: folder, port }
    }

    fn url(&self, key: &str, secret: &str, rest: &str) -> String {
        format!("s3+http://{}:{}@127.0.0.1:{}/{rest}", encoded(key), encoded(secret), self.port)
    }

    fn target(&self) -> S3Target {
        let url = self.url(ACCESS_KEY, HOSTILE, &format!("?region={REGION}"));
        match parse_target(&url).unwrap().target {
            Target::S3(target) => target,
            other => panic!("{other:?}"),
        }
    }

    fn task(&self, buckets: &str) -> S3Buckets {
        let quorum = HttpProbe {
            method: "GET".to_owned(),
            url: format!("http://127.0.0.1:{}/minio/health/cluster", self.port),
            headers: Vec::new(),
            body: None,
            statuses: vec![200],
            json: Vec::new(),
            insecure_tls: false,
            root_certificate: None,
        };
        let buckets = parse_buckets(buckets).unwrap();
        S3Buckets { server: self.target(), quorum, buckets, timeout: Duration::from_secs(30) }
    }

    /// Status and head of the answer to an anonymous request.
    async fn anonymous(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.anonymous(method, path).await.0
    }
}

/// In PATH, or anywhere in the first two levels of the cache folder.
fn program() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/datalyptica");
    let cache = std::env::var_os("DL_CACHE").map_or_else(home, PathBuf::from);
    let mut folders = vec![cache.clone()];
    for _ in 0..2 {
        let below = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let below: Vec<_> = below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        folders.extend(below);
    }
    server::find(
        "minio",
        &folders,
        &format!("CGO_ENABLED=0 GOBIN={} go install github.com/minio/minio@latest", cache.display()),
    )
}

fn outcomes(names: &[&str], created: bool) -> Vec<Outcome> {
    names.iter().map(|name| Outcome { bucket: (*name).to_owned(), created }).collect()
}

#[test]
fn buckets_have_their_policies_and_versions_and_a_second_run_changes_nothing() {
    let minio = Minio::start("buckets");
    let wanted = "lake:public:versioning,raw:download;logs:upload plain";
    let names = ["lake", "raw", "logs", "plain"];
    run(async {
        // Asked while the server starts.
        assert_eq!(create_buckets(&minio.task(wanted), None).await.unwrap(), outcomes(&names, true));
        assert_eq!(create_buckets(&minio.task(wanted), None).await.unwrap(), outcomes(&names, false));

        let (status, head) = minio.anonymous("PUT", "/lake/object").await;
        assert!(status == 200 && head.to_lowercase().contains("x-amz-version-id: "), "{head}");
        let (status, head) = minio.anonymous("PUT", "/logs/object").await;
        assert!(status == 200 && !head.to_lowercase().contains("x-amz-version-id: "), "{head}");
        let seen = [
            minio.status("GET", "/lake/object").await,
            minio.status("GET", "/logs/object").await,
            minio.status("GET", "/raw").await,
            minio.status("PUT", "/raw/object").await,
            minio.status("GET", "/plain").await,
            minio.status("PUT", "/plain/object").await,
        ];
        assert_eq!(seen, [200, 403, 200, 403, 403, 403]);

        // Nothing asked for keeps the policy; `none` takes it away.
        create_buckets(&minio.task("lake"), None).await.unwrap();
        assert_eq!(minio.status("GET", "/lake/object").await, 200);
        create_buckets(&minio.task("lake:none"), None).await.unwrap();
        create_buckets(&minio.task("lake:none"), None).await.unwrap();
        assert_eq!(minio.status("GET", "/lake/object").await, 403);
    });
}

#[test]
fn many_nodes_may_create_the_same_buckets_at_once() {
    let minio = Minio::start("nodes");
    run(async {
        let task = minio.task("one:public,two,three:download:versioned");
        let all = futures_util::future::join_all((0..6).map(|_| create_buckets(&task, None))).await;
        let mut created = 0;
        for outcome in all {
            created += outcome.unwrap().iter().filter(|one| one.created).count();
        }
        assert_eq!(created, 3);
    });
}

#[test]
fn a_signed_wait_sees_buckets_come_and_wrong_keys_end_at_once() {
    let minio = Minio::start("wait");
    let bucket = minio.url(ACCESS_KEY, HOSTILE, &format!("lake?region={REGION}"));
    let any = format!("?region={REGION}");
    run(async {
        expect_ready(&minio.url(ACCESS_KEY, HOSTILE, &any)).await;
        assert_eq!(expect_pending(&bucket).await, "the bucket lake does not exist");
        let task = minio.task("lake");
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            create_buckets(&task, None).await.unwrap();
        };
        let urls = [bucket.as_str()];
        let ((outcome, told), ()) = tokio::join!(watch(&urls, Duration::from_secs(20)), later);
        outcome.unwrap_or_else(|pending| panic!("{pending}"));
        assert_eq!(told, ["the bucket lake does not exist", "ready"]);

        let wrong_secret = "ListBuckets answered 403 SignatureDoesNotMatch: the secret key is wrong";
        assert_eq!(expect_refused(&minio.url(ACCESS_KEY, "wrong-secret", &any)).await, wrong_secret);
        let told = expect_refused(&minio.url("nobody", HOSTILE, &format!("lake{any}"))).await;
        assert!(told.ends_with("403 InvalidAccessKeyId: the access key is not known to the server"), "{told}");
        let told = expect_pending(&minio.url(ACCESS_KEY, HOSTILE, "lake?region=us-west-2")).await;
        assert!(told.contains("AuthorizationHeaderMalformed"), "{told}");
    });
}
