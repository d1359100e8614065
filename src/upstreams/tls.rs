//! Whom TLS trusts and what it shows: the process's one crypto provider, and the client's side made from PEM files.
//!
//! Transports and `dlite upstreams check` use the same [`Tls::client_config`], so that what the check sees is what calls meet. It
//! reads the files when it is asked to and watches nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

pub use crate::config::ClientCert;

/// Largest PEM file, in bytes; a whole system store has about 250 KiB.
const PEM_BYTES_MAX: u64 = 4 << 20;
/// What is offered: HTTP/2 first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How to trust the other side, and how to be trusted by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM files with certificates to trust beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// False: any certificate will do, and anyone on the way can read and answer.
    pub verify: bool,
    /// Shown to a server that asks for one.
    pub client: Option<ClientCert>,
}

/// Files that make no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("ca file {path:?} can't be read")]
    CaUnreadable { path: PathBuf, source: io::Error },
    #[error("ca file {path:?} holds no pem certificate")]
    CaEmpty { path: PathBuf },
    #[error("client certificate {path:?} can't be read")]
    CertUnreadable { path: PathBuf, source: io::Error },
    #[error("client certificate {path:?} holds no pem certificate")]
    CertEmpty { path: PathBuf },
    #[error("client key {path:?} can't be read")]
    KeyUnreadable { path: PathBuf, source: io::Error },
    #[error("client key {path:?} holds no pem private key of a known form")]
    KeyEmpty { path: PathBuf },
    #[error("client certificate {cert:?} and key {key:?} can't be used together")]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("the system's certificates can't be used; install them, or name the authority in a ca file")]
    System { source: rustls::Error },
}

/// Makes ring the crypto provider of every TLS client and server in this process.
///
/// reqwest is built without a provider of its own and panics when it finds none, so whoever builds a client calls this
/// first: `main`, the SDK, tests. Further calls do nothing; a provider that someone else installed earlier stays.
pub fn install_crypto_provider() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // An error here means that another provider is in place, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Accepts every certificate; signatures still have to be right.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

// === impl Tls ===

impl Tls {
    /// Every file it is made from.
    pub fn files(&self) -> Vec<PathBuf> {
        let client = self.client.iter().flat_map(|client| [&client.cert, &client.key]);
        self.ca_files.iter().chain(client).cloned().collect()
    }

    /// Reads the files. Without `system` only the certificates in `ca_files` are trusted: for a connection without TLS, since the
    /// system's cost a megabyte and some milliseconds, and a machine may have none.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn client_config(&self, system: bool) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut authorities = Vec::new();
        for path in &self.ca_files {
            authorities.extend(authorities_of(path)?);
        }
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|source| Error::System { source })?;
        let builder = if !self.verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified { provider }))
        } else if system {
            let verifier = Verifier::new_with_extra_roots(authorities, provider);
            let verifier = verifier.map_err(|source| Error::System { source })?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities);
            builder.with_root_certificates(roots)
        };
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = read_pem(&client.cert, |path, source| Error::CertUnreadable { path, source })?;
                let chain = certificates(&chain).ok_or_else(|| Error::CertEmpty { path: client.cert.clone() })?;
                let key = read_pem(&client.key, |path, source| Error::KeyUnreadable { path, source })?;
                let key = PrivateKeyDer::from_pem_slice(&key);
                let key = key.map_err(|_| Error::KeyEmpty { path: client.key.clone() })?;
                builder.with_client_auth_cert(chain, key).map_err(|source| Error::Pair {
                    cert: client.cert.clone(),
                    key: client.key.clone(),
                    source,
                })?
            }
        };
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl Default for Tls {
    /// The system's certificates, verified, and none of our own.
    fn default() -> Self {
        Self { ca_files: Vec::new(), verify: true, client: None }
    }
}

fn authorities_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read_pem(path, |path, source| Error::CaUnreadable { path, source })?;
    certificates(&pem).ok_or_else(|| Error::CaEmpty { path: path.to_owned() })
}

fn read_pem(path: &Path, unreadable: impl Fn(PathBuf, io::Error) -> Error) -> Result<Vec<u8>, Error> {
    use io::Read as _;
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|source| unreadable(path.to_owned(), source))?;
    Ok(pem)
}

/// All of them, or none if there is no certificate or a broken one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

// === impl Unverified ===

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
