use super::*;

fn target_of(url: &str) -> (String, Target) {
    let wait = parse_target(url).unwrap();
    (wait.name, wait.target)
}

fn postgres_of(url: &str) -> (String, PostgresTarget) {
    match target_of(url) {
        (name, Target::Postgres(target)) => (name, target),
        other => panic!("{other:?}"),
    }
}

fn s3_of(url: &str) -> (String, S3Target) {
    match target_of(url) {
        (name, Target::S3(target)) => (name, target),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_targets_are_read_with_ipv6_addresses_right() {
    let cases = [
        ("tcp://db:5432", "tcp://db:5432", "Tcp { host: \"db\", port: 5432 }"),
        ("tcp://[::1]:80/", "tcp://[::1]:80", "Tcp { host: \"::1\", port: 80 }"),
        ("dns://db.lake.svc", "dns://db.lake.svc", "Dns { host: \"db.lake.svc\" }"),
        ("file:///run/a%20b", "file:///run/a%20b", "File { path: \"/run/a b\" }"),
        ("TCP://db:5432", "tcp://db:5432", "Tcp { host: \"db\", port: 5432 }"),
        ("File:///run/A+b", "file:///run/A+b", "File { path: \"/run/A+b\" }"),
        ("unix:///run/s.sock", "unix:///run/s.sock", "Unix { path: \"/run/s.sock\" }"),
        (
            "etcd://e1:2379,[fd00::2]:2379",
            "etcd://e1:2379,[fd00::2]:2379",
            "Etcd { endpoints: [\"http://e1:2379\", \"http://[fd00::2]:2379\"] }",
        ),
        ("etcd+https://e1:2379", "etcd+https://e1:2379", "Etcd { endpoints: [\"https://e1:2379\"] }"),
    ];
    for (url, name, target) in cases {
        let (told, read) = target_of(url);
        assert_eq!((told.as_str(), format!("{read:?}").as_str()), (name, target));
    }
}

#[test]
fn an_http_url_is_asked_whole_and_named_without_its_secrets() {
    let (name, target) = target_of("https://user:hunter2@host/health?token=hunter2");
    let Target::Http(probe) = target else { panic!("{target:?}") };
    assert_eq!(name, "https://host/health");
    assert_eq!(probe.url, "https://user:hunter2@host/health?token=hunter2");
    assert_eq!((probe.method.as_str(), probe.statuses.len(), probe.insecure_tls), ("GET", 0, false));
}

#[test]
fn a_postgres_url_is_decoded_and_defaulted() {
    let (name, target) = postgres_of(
        "postgres://ne%40ssie:p%23w%3A%2F%C3%BC@[::1]:6432/my%20db?sslmode=verify-full&sslrootcert=/ca.pem",
    );
    assert_eq!(name, "postgres://[::1]:6432/my db");
    assert_eq!((target.servers, target.user.as_str()), (vec![("::1".to_owned(), 6432)], "ne@ssie"));
    assert_eq!((target.password.as_deref(), target.database.as_str()), (Some("p#w:/ü"), "my db"));
    assert_eq!((target.sslmode.as_str(), target.root_certificate), ("verify-full", Some("/ca.pem".into())));

    let (_, target) = postgres_of("PostgreSQL://u@db/d?&sslrootcert=/run/a+b%2Bc%20d.pem&sslmode=require");
    assert_eq!((target.sslmode.as_str(), target.root_certificate), ("require", Some("/run/a+b+c d.pem".into())));
    let (name, target) = s3_of("S3+HTTP://key:secret@minio/lake");
    assert_eq!((name.as_str(), target.endpoint.as_str()), ("s3+http://minio/lake", "http://minio"));

    let (name, target) = postgres_of("postgresql://nessie@db");
    assert_eq!(name, "postgres://db:5432/nessie");
    assert_eq!((target.password, target.database.as_str(), target.sslmode.as_str()), (None, "nessie", "prefer"));
}

#[test]
fn several_hosts_are_read_as_libpq_reads_them() {
    let (name, target) = postgres_of("postgres://u:p,w@a,b:6432,[::1]/d?sslmode=disable");
    assert_eq!(name, "postgres://a:5432,b:6432,[::1]:5432/d");
    let servers = [("a", 5432), ("b", 6432), ("::1", 5432)].map(|(host, port)| (host.to_owned(), port));
    assert_eq!((target.servers.as_slice(), target.password.as_deref()), (&servers[..], Some("p,w")));
    assert_eq!((target.database.as_str(), target.sslmode.as_str()), ("d", "disable"));
    let (_, target) = postgres_of("postgres://u@%2Frun%2Fpg,b/d");
    assert_eq!(target.servers, [("/run/pg".to_owned(), 5432), ("b".to_owned(), 5432)]);
    assert!(parse_target("postgres://u@a,/d").is_err());
}

#[test]
fn a_password_file_loses_one_newline_only() {
    let path = std::env::temp_dir().join(format!("dl-entry-password-{}", std::process::id()));
    std::fs::write(&path, " pass word \n\n").unwrap();
    let (_, target) = postgres_of(&format!("postgres://u@h/d?password-file={}", path.display()));
    let (_, s3) = s3_of(&format!("s3+http://key@h/b?password-file={}", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(target.password.as_deref(), Some(" pass word \n"));
    assert_eq!(s3.secret_key, " pass word \n");
}

#[test]
fn an_s3_url_gives_endpoint_keys_and_bucket() {
    let (name, target) = s3_of("s3+http://key:se%2Fcret@[::1]:9000/lake?region=eu-1");
    assert_eq!(name, "s3+http://[::1]:9000/lake");
    assert_eq!((target.endpoint.as_str(), target.region.as_str()), ("http://[::1]:9000", "eu-1"));
    assert_eq!((target.access_key.as_str(), target.secret_key.as_str()), ("key", "se/cret"));
    assert_eq!((target.bucket.as_deref(), target.path_style), (Some("lake"), true));

    let (name, target) = s3_of("s3+https://key:secret@s3.example.com?path-style=false&root-certificate=/ca.pem");
    assert_eq!((name.as_str(), target.endpoint.as_str()), ("s3+https://s3.example.com/", "https://s3.example.com"));
    assert_eq!((target.bucket, target.path_style, target.root_certificate), (None, false, Some("/ca.pem".into())));
}

#[test]
fn what_is_wrong_is_said_with_what_is_accepted() {
    let listed = |line: &str| format!("{line}\n{ACCEPTED}");
    let special = "write special characters of a password as %XX, or use ?password-file=/PATH";
    let cases = [
        ("db:5432", listed("nothing to wait for: not a URL")),
        ("mysql://h:1", listed("cannot wait for `mysql://` URLs")),
        ("tcp://h", listed("the tcp:// URL needs a port from 1 to 65535")),
        ("tcp://:80", format!("the tcp:// URL cannot be read: empty host\n{special}")),
        ("tcp://h:80/x", listed("the tcp:// URL must not have a path or query")),
        ("tcp://u:p@h:80", listed("the tcp:// URL must not have a user or password")),
        ("tcp://h:99999", format!("the tcp:// URL cannot be read: invalid port number\n{special}")),
        ("dns://h:1", listed("the dns:// URL must not have a port")),
        ("file://relative", listed("the file:// URL needs an absolute path, so three slashes")),
        ("etcd://a:1,b", listed("the etcd:// URL needs a port from 1 to 65535")),
        ("postgres://h/d", listed("the postgres:// URL needs a user: USER@HOST")),
        ("postgres://u:hun#ter2@h/d", format!("the postgres:// URL cannot be read: invalid port number\n{special}")),
        ("postgres://u:1#2@h/d", format!("the postgres:// URL cannot be read: it has a `#`\n{special}")),
        (
            "postgres://u@h/d?sslmode=on",
            "the parameter `sslmode` must be one of disable, prefer, require, verify-ca, verify-full".to_owned(),
        ),
        (
            "postgres://u@h/d?user=x",
            "the postgres:// URL has no parameter `user`\naccepted are: sslmode, sslrootcert, password-file".to_owned(),
        ),
        (
            "postgres://u:p@h/d?password-file=/x",
            "the postgres:// URL has a password and a password-file\ngive one of them".to_owned(),
        ),
        (
            "postgres://u@h/d?password-file=/nonexistent",
            format!(
                "the password file /nonexistent cannot be read by uid {}: no such file or directory",
                nix::unistd::geteuid()
            ),
        ),
        ("s3+http://h/b", listed("the s3+http:// URL needs an access key: KEY:SECRET@HOST")),
        ("s3+http://k@h/b", listed("the s3+http:// URL needs a secret key: KEY:SECRET@HOST or ?password-file=")),
        ("s3+http://k:s@h/b/c", listed("the s3+http:// URL must not have more than a bucket in its path")),
        (
            "s3+http://k:s@127.0.0.1/b?path-style=false",
            "the parameter `path-style` must be true where the host is an IP address, which no bucket can come before"
                .to_owned(),
        ),
        ("s3+http://k:s@h/b?path-style=no", "the parameter `path-style` must be true or false".to_owned()),
    ];
    for (url, told) in cases {
        assert_eq!(parse_target(url).unwrap_err().to_string(), told, "{url}");
    }
}
