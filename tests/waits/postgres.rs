use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::server::{self, Folder, Server};
use crate::{HOSTILE, encoded, expect_pending, expect_ready, expect_refused, run, watch};

const USER: &str = "postgres";

/// A character newer than Unicode 3.2, which SASLprep (RFC 4013) does not know: both sides must use it as it is.
const ELEPHANT: &str = "🐘 p%w";

pub struct Cluster {
    pub folder: Folder,
    programs: PathBuf,
    pub port: u16,
}

impl Cluster {
    pub fn new(name: &str, password: &str) -> Self {
        let folder = Folder::new(name);
        server::give(folder.path(), USER);
        let cluster = Cluster { programs: programs(), port: server::free_port(), folder };
        let password_file = cluster.folder.join("password");
        std::fs::write(&password_file, password).unwrap();
        server::give(&password_file, USER);
        let data = cluster.data();
        let arguments = ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER];
        let made = Command::new("setpriv")
            .args(server::identity(Some(USER)))
            .arg(cluster.programs.join("initdb"))
            .args(arguments)
            .arg("--pwfile")
            .arg(&password_file)
            .arg("-D")
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn start(&self, settings: &[&str]) -> Server {
        let (data, port) = (self.data().display().to_string(), self.port.to_string());
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let mut arguments =
            vec!["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", &sockets, "-c", "fsync=off"];
        arguments.extend(settings.iter().flat_map(|setting| ["-c", setting]));
        Server::start(&self.programs.join("postgres"), &arguments, &[], Some(USER))
    }

    pub fn url(&self, password: &str, rest: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{rest}", encoded(password), self.port)
    }

    /// Each statement in a transaction of its own, once the server answers.
    pub fn execute(&self, password: &str, database: &str, statements: &[&str]) {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", &self.url(password, database)]);
        command.args(statements.iter().flat_map(|statement| ["-c", statement]));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A certificate authority, a server certificate for `localhost` from it, and beside the root one for the user, with
    /// its key as pgjdbc wants it. Returns the root's path.
    pub fn make_certificates(&self) -> PathBuf {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        self.write_secret("server.crt", &certificate.pem());
        self.write_secret("server.key", &key.serialize_pem());
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, USER);
        let client = rcgen::KeyPair::generate().unwrap();
        std::fs::write(self.folder.join("client.crt"), params.signed_by(&client, &issuer).unwrap().pem()).unwrap();
        std::fs::write(self.folder.join("client.pk8"), client.serialize_der()).unwrap();
        let path = self.folder.join("root.pem");
        std::fs::write(&path, root.pem()).unwrap();
        path
    }

    pub fn write_secret(&self, name: &str, contents: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.data().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        server::give(&path, USER);
    }
}

/// Debian keeps one folder for each major version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let server = server::find("postgres", &folders, "apt-get install postgresql");
    server.parent().map(Path::to_owned).unwrap()
}

/// Behaviours: 97.
#[test]
fn a_login_with_a_hostile_password_waits_for_the_server_and_wrong_ones_end_at_once() {
    let cluster = Cluster::new("login", HOSTILE);
    let url = cluster.url(HOSTILE, "postgres");
    run(async {
        let late_start = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.start(&[])
        };
        let urls = [url.as_str()];
        let ((outcome, told), _server) = tokio::join!(watch(&urls, Duration::from_secs(30)), late_start);
        outcome.unwrap_or_else(|pending| panic!("{pending}"));
        assert_eq!(told.first().map(String::as_str), Some("connection refused"));
        assert_eq!(told.last().map(String::as_str), Some("ready"));

        let told = expect_refused(&cluster.url("wrong", "postgres")).await;
        assert_eq!(told, "password authentication failed for user \"postgres\" (28P01)");
        let told = expect_refused(&cluster.url(HOSTILE, "nowhere")).await;
        assert_eq!(told, "database \"nowhere\" does not exist (3D000)");
        let told = expect_refused(&format!("postgres://{USER}@127.0.0.1:{}/postgres", cluster.port)).await;
        assert_eq!(told, "the server asks for a password and none is configured");
        let told = expect_pending(&cluster.url(HOSTILE, "postgres?sslmode=require")).await;
        assert_eq!(told, "server does not support TLS");
    });
}

#[test]
fn a_password_outside_saslprep_and_the_unix_socket_work() {
    let cluster = Cluster::new("socket", ELEPHANT);
    let _server = cluster.start(&[]);
    let folder = encoded(&cluster.folder.path().display().to_string());
    let over_socket = format!("postgres://{USER}:{}@{folder}:{}/postgres", encoded(ELEPHANT), cluster.port);
    run(async {
        expect_ready(&cluster.url(ELEPHANT, "postgres")).await;
        expect_ready(&over_socket).await;
    });
}

#[test]
fn sslmode_means_what_it_means_for_libpq() {
    let cluster = Cluster::new("tls", HOSTILE);
    let root = cluster.make_certificates();
    cluster.write_secret("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n");
    let _server = cluster.start(&["ssl=on"]);
    let trusting = |mode: &str| format!("postgres?sslmode={mode}&sslrootcert={}", root.display());
    let by_name = |rest: &str| cluster.url(HOSTILE, rest).replace("127.0.0.1", "localhost");
    run(async {
        expect_ready(&by_name(&trusting("verify-full"))).await;
        for rest in ["postgres?sslmode=prefer", "postgres?sslmode=require", &trusting("verify-ca")] {
            expect_ready(&cluster.url(HOSTILE, rest)).await;
        }
        let told = expect_pending(&cluster.url(HOSTILE, &trusting("verify-full"))).await;
        assert_eq!(told, "the certificate is for localhost and not for 127.0.0.1");
        let told = expect_pending(&by_name("postgres?sslmode=verify-full")).await;
        assert_eq!(told, "the certificate's issuer is not trusted");
        let told = expect_refused(&cluster.url(HOSTILE, "postgres?sslmode=disable")).await;
        let no_entry = "no pg_hba.conf entry for host \"127.0.0.1\", user \"postgres\", database \"postgres\", no \
                        encryption (28000)";
        assert_eq!(told, no_entry);
    });
}

#[test]
fn prefer_goes_on_without_encryption_where_the_server_does_not_want_it() {
    let cluster = Cluster::new("prefer", HOSTILE);
    cluster.make_certificates();
    cluster.write_secret("pg_hba.conf", "hostnossl all all 127.0.0.1/32 scram-sha-256\n");
    let _server = cluster.start(&["ssl=on"]);
    run(async {
        expect_ready(&cluster.url(HOSTILE, "postgres?sslmode=prefer")).await;
        let told = expect_refused(&cluster.url(HOSTILE, "postgres?sslmode=require")).await;
        assert!(told.ends_with("SSL encryption (28000)"), "{told}");
        let told = expect_refused(&cluster.url("wrong", "postgres?sslmode=prefer")).await;
        let refused = "no pg_hba.conf entry for host \"127.0.0.1\", user \"postgres\", database \"postgres\", SSL \
                       encryption (28000); without encryption: password authentication failed for user \"postgres\" \
                       (28P01)";
        assert_eq!(told, refused);
    });
}
