//! Whom the adapter trusts.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
};

use dlite::{
    core::input::CallError,
    upstreams::{harness::Options, tls::install_crypto_provider},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::support::{adapter, register};

fn certs(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/upstreams/certs")).join(file)
}

/// Registers whoever gets through the handshake. Its thread ends with the test's process.
fn server() -> String {
    install_crypto_provider();
    let chain = vec![CertificateDer::from_pem_file(certs("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certs("server.key")).unwrap();
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            // The body is JSON, and nothing follows it.
            while !request.ends_with(b"}") {
                match stream.read(&mut chunk) {
                    Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            if request.is_empty() {
                continue;
            }
            let body = r#"{"resource":{"delegateId":"dlg-tls"}}"#;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    endpoint
}

async fn registered(change: impl FnOnce(&mut Options)) -> Result<String, CallError> {
    let harness = adapter(&server(), change);
    register(&harness, None).await.map(|registered| registered.delegate_id.to_string())
}

#[tokio::test]
async fn a_server_of_an_own_authority_is_trusted_by_file() {
    let trusting = |options: &mut Options| options.network.tls.ca_files = vec![certs("authority.pem")];
    assert_eq!(registered(trusting).await, Ok("dlg-tls".to_owned()));
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    // An authority that signed nothing here, so that the machine's own certificates do not matter.
    let strict = |options: &mut Options| options.network.tls.ca_files = vec![certs("server.pem")];
    let Err(CallError::Failed(text)) = registered(strict).await else { panic!("registered") };
    assert!(text.contains("can't connect") && text.contains("certificate"), "{text}");
}

#[tokio::test]
async fn without_verification_any_server_will_do() {
    let careless = |options: &mut Options| options.network.tls.verify = false;
    assert_eq!(registered(careless).await, Ok("dlg-tls".to_owned()));
}

#[test]
fn a_manager_without_tls_needs_no_certificates_on_this_machine() {
    let inner = "identity::a_registration_says_who_can_do_what_from_where";
    let dir = tempfile::tempdir().unwrap();
    // A process of its own, since the environment is where the system's certificates are named.
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", inner])
        .env("SSL_CERT_FILE", dir.path().join("none.pem"))
        .env("SSL_CERT_DIR", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
}
