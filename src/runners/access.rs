//! Who may attach: over TCP whoever holds the token, over the Unix socket whoever its owner or group lets in.

use std::sync::Arc;

use ring::hmac;
use tonic::{Request, Status, transport::server::UdsConnectInfo};

use super::convert::stream_end;
use crate::reason::Reason;

/// A token that a peer shows, such as that of the TCP listener; compared in constant time, never printed.
#[derive(Clone)]
pub struct Token(Arc<hmac::Key>, Arc<hmac::Tag>);

/// How one listener knows its peers.
#[derive(Clone)]
pub enum Access {
    /// Peer credentials: this process's user, root, or a primary group that is the socket's.
    Unix { uid: u32, gid: u32 },
    /// `authorization: Bearer …`, on loopback too.
    Token(Token),
}

// === impl Token ===

impl Token {
    pub fn new(text: &[u8]) -> Self {
        // Under a key of its own, so that comparing tags tells nothing about the token.
        let key = hmac::Key::new(hmac::HMAC_SHA256, text);
        let tag = hmac::sign(&key, text);
        Self(Arc::new(key), Arc::new(tag))
    }

    /// Whether it is this token, in a time that tells nothing about it.
    pub fn matches(&self, text: &[u8]) -> bool {
        hmac::verify(&self.0, text, self.1.as_ref().as_ref()).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

// === impl Access ===

impl Access {
    /// Lets a request in and says who it is, for logs.
    ///
    /// # Errors
    /// The status that refuses it: `TOKEN_INVALID`, or `PEER_FORBIDDEN` for a Unix peer.
    pub fn check<T>(&self, request: &Request<T>) -> Result<Arc<str>, Status> {
        match self {
            Access::Unix { uid, gid } => {
                let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
                let Some(peer) = peer else {
                    return Err(forbidden("the peer's credentials can't be read"));
                };
                if peer.uid() != 0 && peer.uid() != *uid && peer.gid() != *gid {
                    return Err(forbidden(&format!(
                        "uid {} gid {} is neither the delegate's user nor in the socket's group as its primary group",
                        peer.uid(),
                        peer.gid()
                    )));
                }
                Ok(format!("uid {} pid {}", peer.uid(), peer.pid().unwrap_or(0)).into())
            }
            Access::Token(token) => {
                let given = request.metadata().get("authorization").map(|value| value.as_bytes()).unwrap_or_default();
                if !given.strip_prefix(b"Bearer ").is_some_and(|text| token.matches(text)) {
                    let text = "the metadata `authorization` needs `Bearer` and the token of the delegate's token file";
                    return Err(stream_end(Reason::TokenInvalid, text, None));
                }
                Ok(request.remote_addr().map_or_else(|| "tcp".into(), |address| address.to_string().into()))
            }
        }
    }
}

fn forbidden(text: &str) -> Status {
    stream_end(Reason::PeerForbidden, text, None)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn only_the_token_opens_the_tcp_listener() {
        let access = Access::Token(Token::new(b"open sesame"));
        let mut request = Request::new(());
        assert_eq!(access.check(&request).unwrap_err().code(), Code::Unauthenticated);
        for wrong in ["Bearer open sesamy", "Bearer ", "open sesame", "Bearer open sesame "] {
            request.metadata_mut().insert("authorization", wrong.parse().unwrap());
            let status = access.check(&request).unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{wrong}");
            assert!(!format!("{status:?}").contains("sesame"));
        }
        request.metadata_mut().insert("authorization", "Bearer open sesame".parse().unwrap());
        assert!(access.check(&request).is_ok());
    }
}
