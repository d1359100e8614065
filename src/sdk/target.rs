//! Where the delegate listens, and what to show there.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

use super::error::RunError;

/// Bound on establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 frames of 256 KiB gave 16 to 29 % more throughput than the default of 16 KiB.
const HTTP2_FRAME_BYTES_MAX: u32 = 256 * 1024;

/// A token file longer than this is not one.
const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// A parsed gRPC target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Path of a Unix socket; the delegate knows the runner by its peer credentials.
    Unix(String),
    /// `http://host:port`, with a token.
    Http(String),
}

/// What a runner shows over TCP. Never printed.
#[derive(Clone)]
pub enum Token {
    /// The token itself.
    Value(String),
    /// A file with the token in it, read at each attach, so that a replaced file counts from the next one on.
    File(PathBuf),
}

// === impl Target ===

impl Target {
    pub fn parse(text: &str) -> Result<Self, RunError> {
        let invalid = |why| Err(RunError::Target { target: text.to_owned(), why });
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { invalid("no path follows `unix:`") } else { Ok(Self::Unix(path.to_owned())) };
        }
        if text.starts_with("http://") {
            return match Endpoint::from_shared(text.to_owned()) {
                Ok(_) => Ok(Self::Http(text.to_owned())),
                Err(_) => invalid("this is no URL"),
            };
        }
        invalid("give `unix:/path` or `http://host:port`")
    }

    /// Where to go when the delegate names another place: a runner on a Unix socket follows to another one, whose peer it
    /// can reach by file permissions alone; a token is never carried elsewhere.
    pub fn follow(&self, named: &str) -> Option<Self> {
        match (self, Self::parse(named)) {
            (Self::Unix(_), Ok(target @ Self::Unix(_))) => Some(target),
            _ => None,
        }
    }

    pub fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = match self {
            Self::Unix(path) => Endpoint::from_shared(format!("unix:{path}"))?,
            Self::Http(url) => Endpoint::from_shared(url.clone())?,
        };
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).max_frame_size(HTTP2_FRAME_BYTES_MAX))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Http(url) => f.write_str(url),
        }
    }
}

// === impl Token ===

impl Token {
    /// The `authorization` metadata.
    pub(crate) fn read(&self) -> Result<MetadataValue<Ascii>, RunError> {
        let token = match self {
            Self::Value(token) => token.clone(),
            Self::File(path) => {
                read_short(path).map_err(|source| RunError::TokenFile { path: path.clone(), source })?
            }
        };
        let token = token.trim();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(RunError::Token { bytes: token.len(), bytes_max: TOKEN_BYTES_MAX });
        }
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| RunError::Token { bytes: token.len(), bytes_max: TOKEN_BYTES_MAX })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// At most one byte more than a token has, so that a wrong path is found out without reading it whole.
fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Token::Value(…)"),
            Self::File(path) => write!(f, "Token::File({})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_unix_sockets_and_plain_http() {
        assert_eq!(Target::parse("unix:/run/a.sock").expect("valid"), Target::Unix("/run/a.sock".to_owned()));
        assert_eq!(Target::parse("unix:///run/a.sock").expect("valid"), Target::Unix("/run/a.sock".to_owned()));
        assert!(matches!(Target::parse("http://127.0.0.1:7070"), Ok(Target::Http(_))));
        for refused in ["unix:", "https://127.0.0.1", "/run/a.sock", "http://", ""] {
            let error = Target::parse(refused).expect_err(refused).to_string();
            assert!(error.contains(&format!("`{refused}`")), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_carried_to_another_host() {
        let http = Target::parse("http://127.0.0.1:7070").expect("valid");
        assert_eq!(http.follow("http://203.0.113.9:1"), None);
        assert_eq!(http.follow("unix:/tmp/b.sock"), None);
        let unix = Target::Unix("/run/a.sock".to_owned());
        assert_eq!(unix.follow("unix:/run/b.sock"), Some(Target::Unix("/run/b.sock".to_owned())));
        assert_eq!(unix.follow("http://203.0.113.9:1"), None);
        assert_eq!(unix.follow(""), None);
    }

    #[test]
    fn a_token_is_shown_to_the_delegate_and_to_nobody_else() {
        let token = Token::Value("s3cret\n".to_owned());
        let metadata = token.read().expect("a token");
        assert_eq!(metadata.to_str().expect("ascii"), "Bearer s3cret");
        assert!(!format!("{token:?} {metadata:?}").contains("s3cret"));
    }
}
