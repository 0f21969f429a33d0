//! Small servers for faults that real ones do not produce on demand. Compiled into the unit tests only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The server's behaviour on one connection.
#[derive(Clone)]
pub enum Script {
    Answer(Vec<u8>),
    /// Reads, and never says anything.
    Silence,
    /// Answers after this time.
    Slow(Duration, Box<Script>),
    /// Announces a body that never comes.
    SlowBody,
    /// Ends the connection with RST.
    Reset,
    /// Ends the connection politely, without a word.
    Close,
}

impl Script {
    pub fn answer(status: u16, body: &str) -> Script {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        Script::Answer((head + body).into_bytes())
    }

    /// With a header that S3 servers send.
    pub fn s3(status: u16, body: &str) -> Script {
        let head = format!("HTTP/1.1 {status} X\r\nx-amz-request-id: 17\r\nconnection: close\r\n");
        Script::Answer(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

pub struct Server {
    pub port: u16,
    /// PEM file with the root of the server's certificate; empty for plain servers.
    pub root: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Every request seen so far, head and body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.root);
    }
}

/// A port that was free a moment ago.
pub async fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// An address that neither accepts nor refuses: the kernel drops what comes for a full queue.
pub struct Swallowing {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<std::net::TcpStream>,
}

/// 127.0.0.2 at this port. `listen(2)` with a backlog of nothing has room for one.
pub fn swallowing(port: u16) -> Swallowing {
    let address = SocketAddr::from(([127, 0, 0, 2], port));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let _listener = socket.listen(0).unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let _queued = std::iter::from_fn(connect).collect();
    Swallowing { address, _listener, _queued }
}

/// Plays the scripts one connection after the other, and the last one for ever.
pub async fn http(scripts: Vec<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let task = tokio::spawn(async move {
        for turn in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let script = scripts[turn.min(scripts.len() - 1)].clone();
            tokio::spawn(play(stream, script, Arc::clone(&seen)));
        }
    });
    Server { port, root: PathBuf::new(), requests, task }
}

/// Answers 200 to everything, with a certificate for `name` made for this server alone.
pub async fn https(name: &str) -> Server {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    https_with(made.cert.der().clone(), &made.cert.pem(), &made.signing_key).await
}

/// The same with any certificate, even one that rustls would not show.
pub async fn https_with(certificate: CertificateDer<'static>, pem: &str, key: &rcgen::KeyPair) -> Server {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let shown = CertifiedKey::new(vec![certificate], provider.key_provider.load_private_key(key).unwrap());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = std::env::temp_dir().join(format!("dl-entry-test-root-{}-{port}.pem", std::process::id()));
    std::fs::write(&root, pem).unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(converse(stream, Script::answer(200, ""), Arc::clone(&seen)));
            }
        }
    });
    Server { port, root, requests, task }
}

/// An X.509 certificate of version 1 (RFC 5280 section 4.1), which rcgen does not make. Its signature is nobody's.
pub fn version_1_certificate(key: &rcgen::KeyPair) -> CertificateDer<'static> {
    const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let sequence = |parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], &length[..], &content].concat()
    };
    let name = sequence(&[]);
    let validity = sequence(&[b"\x17\x0d200101000000Z", b"\x17\x0d491231235959Z"]);
    let key = rcgen::PublicKeyData::subject_public_key_info(key);
    let to_sign = sequence(&[b"\x02\x01\x01", ECDSA_WITH_SHA256, &name, &validity, &name, &key]);
    sequence(&[&to_sign, ECDSA_WITH_SHA256, b"\x03\x02\0\0"]).into()
}

async fn play(stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    match script {
        Script::Reset => {
            stream.readable().await.unwrap();
            socket_that_resets(&stream);
        }
        script => converse(stream, script, seen).await,
    }
}

/// Unread data makes close(2) send RST (RFC 2525 section 2.17), and zero linger makes it certain.
fn socket_that_resets(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let mut buffer = vec![0; 16 * 1024];
    let length = stream.read(&mut buffer).await.unwrap_or(0);
    let mut request = buffer[..length].to_vec();
    while !is_whole(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(more) => request.extend_from_slice(&buffer[..more]),
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    let script = match script {
        Script::Slow(pause, script) => {
            tokio::time::sleep(pause).await;
            *script
        }
        at_once => at_once,
    };
    match script {
        Script::Answer(bytes) => drop(stream.write_all(&bytes).await),
        Script::SlowBody => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Script::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
        Script::Reset | Script::Close | Script::Slow(..) => {}
    }
    let _ = stream.shutdown().await;
}

/// A TLS hello (RFC 8446 section 5.1, content type 22) is never going to be a whole request.
fn is_whole(request: &[u8]) -> bool {
    if request.first() == Some(&22) {
        return true;
    }
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A folder of one test, gone when this is dropped.
pub struct Folder(std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dl-entry-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// Makes a file, and the folders above it.
    pub fn write(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
