//! Which certificates are believed: the system's and one more root, for a name or for any name.
//!
//! Owns every rustls client configuration in the program, always with the ring provider, so that HTTP probes, S3 and
//! PostgreSQL verify alike. Opens no connection. The system's roots come from rustls-native-certs, which honours
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`. They are read once, before the service starts where it is asked over TLS itself:
//! later there may be no thread to read them on. Bundles rotate, so a certificate that is not believed has them read
//! anew; and an idle supervisor keeps in memory only those it will need (`forget`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme};

use crate::net::connect;
use crate::read;
use crate::threads;

/// The required proof of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// A trusted issuer and the name asked for.
    Full,
    /// A trusted issuer; the name does not matter (libpq's `verify-ca`).
    IssuerOnly,
    /// Nothing: encryption without knowing with whom (libpq's `require`, or a loopback address).
    Nothing,
}

/// Why no certificate could be believed at all.
#[derive(Debug)]
pub enum TlsError {
    /// The extra root cannot be read, or holds no certificate.
    RootCertificate { path: PathBuf, reason: String },
    /// Neither the system nor the configuration offers a root.
    NoRoots,
    /// rustls refused the configuration.
    Configuration(rustls::Error),
    /// The files cannot be read without blocking.
    NoThread(io::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootCertificate { path, reason } => write!(
                f,
                "the root certificate {} cannot be used: {reason}\nit must be a readable PEM file with a certificate",
                path.display()
            ),
            Self::NoRoots => f.write_str(
                "no certificate is trusted: the image has no CA bundle and no root certificate is configured\n\
                 configure a root certificate, or set SSL_CERT_FILE",
            ),
            Self::Configuration(error) => write!(f, "TLS cannot be configured: {error}"),
            Self::NoThread(error) => {
                write!(f, "the trusted certificates cannot be read: {}", connect::no_thread(error))
            }
        }
    }
}

impl std::error::Error for TlsError {}

/// The trusted roots, and the configuration made of them.
type Known = Vec<((Verification, Option<PathBuf>), ClientConfig)>;

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client configuration that believes `verification`; files are read the first time, and off the thread.
pub async fn client_config(verification: Verification, root: Option<PathBuf>) -> Result<ClientConfig, TlsError> {
    if verification == Verification::Nothing {
        return build(verification, None);
    }
    let wanted = (verification, root);
    if let Some((_, config)) = known().iter().find(|(other, _)| *other == wanted) {
        return Ok(config.clone());
    }
    let (verification, root) = wanted.clone();
    let built = threads::call(move || build(verification, root.as_deref())).await;
    let config = built.unwrap_or_else(|error| Err(TlsError::NoThread(error)))?;
    known().push((wanted, config.clone()));
    Ok(config)
}

/// Has every file read anew when it is needed next.
pub fn forget() {
    known().clear();
}

/// A configuration that trusts nobody, for requests that never reach TLS.
pub fn unused_config() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Configuration)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn build(verification: Verification, root: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verification {
        Verification::Full => Arc::new(issuer_verifier(root, &provider, false)?),
        Verification::IssuerOnly => Arc::new(issuer_verifier(root, &provider, true)?),
        Verification::Nothing => Arc::new(AnyCertificate(Arc::clone(&provider))),
    };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Configuration)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // The configuration is used again, and a resumed session would not show its certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The proof of a client's identity: a chain in PEM, and its key in PEM or as pgjdbc wants it, PKCS #8 in DER.
///
/// # Errors
/// Why not, said of the two; nothing of the key.
pub async fn client_identity(chain: PathBuf, key: PathBuf) -> Result<Arc<dyn ResolvesClientCert>, String> {
    let loaded = threads::call(move || load_identity(&chain, &key)).await;
    loaded.map_err(|error| connect::no_thread(&error))?
}

fn load_identity(chain: &Path, key: &Path) -> Result<Arc<dyn ResolvesClientCert>, String> {
    let read = |path: &Path| {
        let bytes = read::bytes(path, read::CERTIFICATES);
        bytes.map_err(|error| format!("{} {}", path.display(), crate::text::reason(&error)))
    };
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    let certificates = certificates.ok_or_else(|| format!("{} has no certificate in PEM", chain.display()))?;
    let signing = private_key(read(key)?).and_then(|key| ring::sign::any_supported_type(&key).ok());
    let signing = signing
        .ok_or_else(|| format!("{} is not a private key without a password, in PKCS #8 (DER) or PEM", key.display()))?;
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, signing))))
}

fn private_key(bytes: Vec<u8>) -> Option<PrivateKeyDer<'static>> {
    match bytes.starts_with(b"-----BEGIN") {
        true => PrivateKeyDer::from_pem_slice(&bytes).ok(),
        false => Some(PrivatePkcs8KeyDer::from(bytes).into()),
    }
}

fn issuer_verifier(root: Option<&Path>, provider: &Arc<CryptoProvider>, any_name: bool) -> Result<Issuer, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut trusted = if is_usable("SSL_CERT_FILE") { rustls_native_certs::load_native_certs().certs } else { vec![] };
    roots.add_parsable_certificates(trusted.iter().cloned());
    if let Some(path) = root {
        let added = add_root(&mut roots, path);
        trusted.extend(added.map_err(|reason| TlsError::RootCertificate { path: path.to_owned(), reason })?);
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(Issuer { chain: chain.map_err(|_| TlsError::NoRoots)?, trusted, any_name })
}

/// Whether a variable that may name a file names one, and not a pipe whose open would never return.
fn is_usable(variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|path| std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()))
}

/// Trusts the certificates of a PEM file, which holds at least one, and returns them.
fn add_root(roots: &mut RootCertStore, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read::bytes(path, read::CERTIFICATES).map_err(|error| crate::text::reason(&error))?;
    let mut added = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        added.push(certificate);
    }
    if added.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(added) }
}

/// A failed handshake in words for an operator.
pub fn reason(error: &rustls::Error) -> String {
    use rustls::Error::{InvalidCertificate, InvalidMessage as Garbled};
    match error {
        InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented })
            if presented.is_empty() =>
        {
            format!(
                "the certificate has no subjectAltName, and a common name does not count; it must have {}",
                expected.to_str()
            )
        }
        InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let presented: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            let presented = connect::quoted(&presented.join(", "));
            format!("the certificate is for {presented} and not for {}", expected.to_str())
        }
        InvalidCertificate(CertificateError::UnknownIssuer) => "the certificate's issuer is not trusted".to_owned(),
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the certificate is not valid yet".to_owned()
        }
        InvalidCertificate(CertificateError::Other(other)) if is_about_authority(other) => {
            "the server shows the certificate of an authority (CA:TRUE), which must itself be a trusted one".to_owned()
        }
        InvalidCertificate(CertificateError::BadEncoding) => {
            "the certificate cannot be read: only one of X.509 version 3 can be verified".to_owned()
        }
        Garbled(InvalidMessage::InvalidContentType) => "the server does not speak TLS on this port".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}

/// webpki's error has no other way out of rustls than its name.
fn is_about_authority(error: &rustls::OtherError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

/// rustls lists a certificate's names as `DnsName("localhost")`.
fn bare_name(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// Verifies the chain, and the name unless any will do.
#[derive(Debug)]
struct Issuer {
    chain: Arc<WebPkiServerVerifier>,
    /// Every certificate that is trusted: the system's, which SSL_CERT_FILE may name, and the configured ones.
    trusted: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl Issuer {
    /// A server that shows a certificate that is trusted itself, its own authority, as self-signed ones are: webpki
    /// takes no authority for a server, while OpenSSL and Java do.
    fn shows_a_trusted_one(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(shown)?;
        if !self.any_name {
            verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Issuer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext, Other};
        use rustls::Error::InvalidCertificate;
        // webpki looks at the name last: where only that does not match, everything before it was right.
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) if self.any_name => {
                Ok(ServerCertVerified::assertion())
            }
            Err(InvalidCertificate(Other(_))) if self.trusted.iter().any(|one| one == end_entity) => {
                self.shows_a_trusted_one(end_entity, server_name)
            }
            verdict => verdict.inspect_err(|_| forget()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Believes any certificate, but still checks that the server holds its key.
///
/// Not where webpki cannot read the certificate, as X.509 version 1, which many a self-signed one is: OpenSSL takes it,
/// and the check proves little here. Who stands in between shows a certificate of his own, and holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    ParsedCertificate::try_from(certificate).is_ok()
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !is_readable(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !is_readable(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_certificate_that_is_a_pipe_or_a_folder_is_refused_and_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("dl-entry-roots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, &folder] {
            let why = add_root(&mut RootCertStore::empty(), path).unwrap_err();
            assert!(why.ends_with(", not a file"), "{why}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_server_may_show_the_very_authority_the_operator_trusts_under_its_own_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (ours, other) =
            (params.self_signed(&key).unwrap(), params.self_signed(&rcgen::KeyPair::generate().unwrap()));
        let file = std::env::temp_dir().join(format!("dl-entry-own-authority-{}.pem", std::process::id()));
        std::fs::write(&file, ours.pem()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verdict = |shown: &CertificateDer<'_>, name: &'static str, any_name: bool| {
            let verifier = issuer_verifier(Some(&file), &provider, any_name).unwrap();
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(drop)
        };
        assert_eq!(verdict(ours.der(), "db.example", false), Ok(()));
        assert!(verdict(ours.der(), "elsewhere.example", false).is_err());
        assert_eq!(verdict(ours.der(), "elsewhere.example", true), Ok(()));
        assert!(verdict(other.unwrap().der(), "db.example", true).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
