//! A gateway before a manager's double: ends TLS, knows which secret is good at the moment, and has a clock of its own.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE},
    },
    response::Response,
    serve::Listener,
};
use dlite::{
    doubles::manager::Manager,
    upstreams::{
        harness::token::{self, AccountSecret},
        tls::install_crypto_provider,
    },
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Largest body passed on.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    manager: Manager,
    client: reqwest::Client,
    /// The one that the double knows.
    inner: AccountSecret,
    /// The one that delegates must know.
    accepted: RwLock<AccountSecret>,
    tls: RwLock<Option<Arc<ServerConfig>>>,
    clock_ahead: AtomicI64,
    refused: AtomicUsize,
    /// The subject of each client's certificate that was shown, as DER.
    shown: Mutex<Vec<Vec<u8>>>,
}

pub fn certs(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/certs")).join(file)
}

/// `server` is `a` or `b`; so is `clients`, the authority that clients need a certificate of.
pub fn server_config(server: &str, clients: Option<&str>) -> Arc<ServerConfig> {
    install_crypto_provider();
    let chain = vec![CertificateDer::from_pem_file(certs(&format!("server-{server}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certs(&format!("server-{server}.key"))).unwrap();
    let builder = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(certs(&format!("authority-{authority}.pem"))).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

impl Front {
    pub async fn start(manager: &Manager, inner: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        install_crypto_provider();
        let inner: AccountSecret = inner.parse().unwrap();
        let shared = Arc::new(Shared {
            manager: manager.clone(),
            client: reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap(),
            accepted: RwLock::new(inner.clone()),
            inner,
            tls: RwLock::new(tls),
            clock_ahead: AtomicI64::new(0),
            refused: AtomicUsize::new(0),
            shown: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::channel(64);
        let door = Door { accepted, address };
        let app = Router::new().fallback(pass).with_state(shared.clone());
        let tasks = vec![
            tokio::spawn(accept(listener, shared.clone(), sender)),
            tokio::spawn(async move { drop(axum::serve(door, app).await) }),
        ];
        Self { address, shared, tasks }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.shared.tls.read().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// For connections from now on; every request has its own.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        *self.shared.tls.write().unwrap() = Some(config);
    }

    /// The only secret that is good from now on.
    pub fn set_secret(&self, secret: &str) {
        *self.shared.accepted.write().unwrap() = secret.parse().unwrap();
    }

    /// Its `Date` is so far ahead of this machine's.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.shared.clock_ahead.store(seconds, Ordering::Relaxed);
    }

    /// Calls that were refused for their token.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Whether a client showed this certificate.
    pub fn was_shown(&self, cert: &str) -> bool {
        let cert = CertificateDer::from_pem_file(certs(cert)).unwrap();
        self.shared.shown.lock().unwrap().iter().any(|shown| shown == cert.as_ref())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let mut forward = shared.client.request(
        parts.method,
        format!("{}{}", shared.manager.endpoint(), parts.uri.path_and_query().map_or("/", |target| target.as_str())),
    );
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let token = header.to_str().unwrap_or_default().trim_start_matches("Delegate ");
        let Ok(claims) = token::open(&shared.accepted.read().unwrap(), token) else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return refuse();
        };
        let iv = uuid::Uuid::new_v4().as_bytes()[..12].try_into().unwrap();
        let token = token::seal(&shared.inner, &claims.sub, claims.iat, claims.exp, iv, uuid::Uuid::new_v4());
        forward = forward.header(AUTHORIZATION, format!("Delegate {token}"));
    }
    let answer = forward.header(CONTENT_TYPE, "application/json").body(body).send().await;
    let mut response = match answer {
        Ok(answer) => {
            let status = answer.status();
            match answer.bytes().await {
                Ok(body) => {
                    let mut response = Response::new(Body::from(body));
                    *response.status_mut() = status;
                    response
                }
                Err(_) => bad_gateway(),
            }
        }
        Err(_) => bad_gateway(),
    };
    let ahead = shared.clock_ahead.load(Ordering::Relaxed);
    let shift = Duration::from_secs(ahead.unsigned_abs());
    let time = if ahead < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift };
    let headers = response.headers_mut();
    headers.insert(DATE, HeaderValue::try_from(httpdate::fmt_http_date(time)).unwrap());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refuse() -> Response {
    let mut response =
        Response::new(Body::from(r#"{"responseMessages":[{"code":"INVALID_TOKEN","message":"Unauthorized"}]}"#));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn bad_gateway() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

// === connections ===

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

type Stream = Box<dyn Connection>;

struct Door {
    accepted: mpsc::Receiver<(Stream, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Handshakes one beside the other, so that a client that fails its own holds up nobody.
async fn accept(listener: TcpListener, shared: Arc<Shared>, door: mpsc::Sender<(Stream, SocketAddr)>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (shared, door) = (shared.clone(), door.clone());
        tokio::spawn(async move {
            if let Some(stream) = secured(stream, &shared).await {
                let _ = door.send((stream, peer)).await;
            }
        });
    }
}

async fn secured(stream: TcpStream, shared: &Shared) -> Option<Stream> {
    let config = shared.tls.read().unwrap().clone();
    let Some(config) = config else { return Some(Box::new(stream)) };
    let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
    if let Some(shown) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        shared.shown.lock().unwrap().push(shown.to_vec());
    }
    Some(Box::new(stream))
}
