//! The first stages: one connection by hand, from a name to TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;
use rustls::{AlertDescription, CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{authority, stage::Trouble};
use crate::{
    config::ProxyUrl,
    upstreams::{certificate, transport::chain},
};

/// Longest head of a proxy's answer that is read, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

pub(super) const PROXY_CREDENTIALS_FIX: &str =
    "write them into proxy: http://user:password@host:port, with odd characters escaped as in any URL";

/// From here to the upstream.
pub(super) struct Way {
    pub endpoint: Url,
    pub proxy: Option<ProxyUrl>,
    pub tls: ClientConfig,
}

/// A connection, whatever it is made of.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

type Stream = Box<dyn Connection>;

// === impl Way ===

impl Way {
    /// Who is connected to: the proxy, if there is one.
    fn first_hop(&self) -> (&str, u16, &'static str) {
        match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port(), "proxy"),
            None => (self.host(), self.endpoint.port_or_known_default().unwrap_or(80), "endpoint"),
        }
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub async fn resolve(&self) -> Result<(Vec<SocketAddr>, String), Trouble> {
        let (host, port, key) = self.first_hop();
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok((vec![(address, port).into()], "the address is given".to_owned()));
        }
        let fix = || format!("check the host in {key}, and this machine's resolver (/etc/resolv.conf)");
        let found: Vec<_> = lookup_host((host, port))
            .await
            .map_err(|error| Trouble::new(format!("{host} can't be resolved: {error}"), fix()))?
            .collect();
        if found.is_empty() {
            return Err(Trouble::new(format!("{host} has no address"), fix()));
        }
        let shown: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
        Ok((found, shown.join(", ")))
    }

    /// To the first address that takes it.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<(Stream, String), Trouble> {
        let key = self.first_hop().2;
        let mut reasons = Vec::new();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok((Box::new(stream), address.to_string())),
                Err(error) => reasons.push(format!("{address}: {error}")),
            }
        }
        let fix = format!("check the port in {key}, that the server is up, and the firewalls between here and there");
        Err(Trouble::new(reasons.join("; "), fix))
    }

    /// Through the proxy, as far as it can be told: to an https endpoint it opens a tunnel, requests to an http one it passes on.
    pub async fn pass_proxy(&self, stream: Stream) -> Result<(Stream, String), Trouble> {
        let Some(proxy) = &self.proxy else { return Ok((stream, String::new())) };
        let mut stream = if proxy.is_tls() { Box::new(self.tls_to(proxy.host(), stream).await?) } else { stream };
        let target = authority(&self.endpoint);
        let is_tunnel = self.endpoint.scheme() == "https";
        let line = if is_tunnel { format!("CONNECT {target}") } else { format!("HEAD {}", self.endpoint) };
        let request = format!("{line} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", credentials(proxy));
        let fix = "is it a proxy for HTTP? check host and port in proxy";
        let hung_up = |error: io::Error| Trouble::new(format!("the proxy hung up: {error}"), fix);
        stream.write_all(request.as_bytes()).await.map_err(hung_up)?;
        let head = read_head(&mut stream).await.map_err(hung_up)?;
        let status = status(&head).ok_or_else(|| Trouble::new("what answers speaks no HTTP", fix))?;
        match status {
            407 => Err(Trouble::new("the proxy wants other credentials (407)", PROXY_CREDENTIALS_FIX)),
            403 => Err(Trouble::new(
                format!("the proxy refuses {target} (403)"),
                format!(
                    "ask its operator to allow {target}, or name the host in no_proxy if it can be reached directly"
                ),
            )),
            502..=504 => Err(Trouble::new(
                format!("the proxy does not reach {target} ({status})"),
                "check host and port in endpoint, or name the host in no_proxy if it can be reached directly",
            )),
            200..=299 => {
                Ok((stream, if is_tunnel { "tunnel open".to_owned() } else { "passes requests on".to_owned() }))
            }
            _ if is_tunnel => Err(Trouble::new(
                format!("the proxy opens no tunnel to {target} ({status})"),
                "does it allow CONNECT to that port? ask its operator",
            )),
            // The manager's own answer to a question that it does not know.
            _ => Ok((stream, "passes requests on".to_owned())),
        }
    }

    /// The end of the server's certificate, as far as it can be read.
    pub async fn shake_hands(&self, stream: Stream) -> Result<(Option<SystemTime>, String), Trouble> {
        let stream = self.tls_to(self.host(), stream).await?;
        let (_, session) = stream.get_ref();
        let end = session.peer_certificates().and_then(|chain| certificate::end(chain.first()?));
        let version = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok((end, format!("{version}, {}", protocol.unwrap_or_else(|| "http/1.1".to_owned()))))
    }

    async fn tls_to(&self, host: &str, stream: Stream) -> Result<TlsStream<Stream>, Trouble> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Trouble::new("the host is no name that a certificate can be for", "correct the host"))?;
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        connector.connect(name, stream).await.map_err(|error| explain_tls(&error))
    }
}

/// A refusal of our certificate, or of having none, as it looks when it comes after the handshake.
pub(super) fn refused_certificate(text: &str) -> Option<Trouble> {
    let alerts = [
        AlertDescription::CertificateRequired,
        AlertDescription::BadCertificate,
        AlertDescription::UnknownCA,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateExpired,
        AlertDescription::AccessDenied,
    ];
    let alert = alerts.iter().find(|alert| text.contains("fatal alert") && text.contains(&format!("{alert:?}")))?;
    Some(client_certificate(*alert))
}

fn client_certificate(alert: AlertDescription) -> Trouble {
    let fix = "set tls.client_cert and tls.client_key to a certificate that the manager's operator issued, and that is in date";
    Trouble::new(format!("the server wants a client certificate that it trusts ({alert:?})"), fix)
}

fn explain_tls(error: &io::Error) -> Trouble {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let reason = chain(error);
    match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => {
            let fix = match bad {
                CertificateError::UnknownIssuer => {
                    "its authority is not trusted here: name the authority's PEM file in tls.ca_files"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "use the host name that the certificate is for in endpoint"
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => {
                    "check this machine's clock; if it is right, the server needs a new certificate"
                }
                _ => "if an inspecting proxy stands between, name its authority's PEM file in tls.ca_files",
            };
            Trouble::new(reason, fix)
        }
        Some(rustls::Error::AlertReceived(alert)) => match refused_certificate(&reason) {
            Some(trouble) => trouble,
            None if *alert == AlertDescription::HandshakeFailure => client_certificate(*alert),
            None => Trouble::new(reason, "the server ends the handshake: ask its operator what it asks for"),
        },
        _ => Trouble::new(
            format!("the handshake breaks off: {reason}"),
            "does TLS listen at that port? check the port in endpoint, and whether it should be http",
        ),
    }
}

fn credentials(proxy: &ProxyUrl) -> String {
    let url = proxy.expose();
    if url.username().is_empty() && url.password().is_none() {
        return String::new();
    }
    let plain = |text: &str| percent_decoded(text);
    let pair = [plain(url.username()), b":".to_vec(), plain(url.password().unwrap_or_default())].concat();
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped =
            text.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

/// The status line and headers of an answer.
async fn read_head(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer does not end"));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "before its answer was whole"));
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sent_as_they_were_before_they_were_escaped() {
        let proxy: ProxyUrl = "http://joe:p%40ss%2Fw%zz@proxy.test".parse().unwrap();
        let header = credentials(&proxy);
        assert_eq!(header, format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode("joe:p@ss/w%zz")));
        assert_eq!(credentials(&"http://proxy.test".parse().unwrap()), "");
    }
}
