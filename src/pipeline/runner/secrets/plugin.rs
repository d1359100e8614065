//! The secret plugin: a service that is asked for a secret by path and name, and shown which build asks.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use reqwest::{Client, redirect::Policy};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    sealed,
    signature::{digest, sign},
};
use crate::{config::read_text, pipeline::runner::details::Facts};

/// What is asked for.
const ACCEPT: &str = "application/vnd.drone.secret.v1+json";
const CONTENT_TYPE: &str = "application/json";
const ENCODING: &str = "identity";
/// An answer that is sealed says so.
const ENCODING_SEALED: &str = "aesgcm";

/// For one whole call, as the server's own runners have it.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer; a secret fits into an environment.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TOKEN_BYTES_MAX: u64 = 4096;

/// Where the plugin is.
pub struct Plugin {
    endpoint: String,
    /// Holds what both sides share; read at each call.
    token_file: PathBuf,
    client: Client,
}

/// What the plugin gives. It does not print.
#[derive(Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub data: String,
    /// It may be given to pull requests.
    #[serde(default)]
    pub pull_request: bool,
}

/// Why it gave nothing. Answers are not quoted: a secret may be in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no client can be made")]
    Client(#[source] reqwest::Error),
    #[error("its token file {} {why}", path.display())]
    Token { path: PathBuf, why: String },
    #[error("the plugin can't be reached")]
    Unanswered(#[source] reqwest::Error),
    #[error("the plugin answered with status {0}")]
    Refused(u16),
    #[error("its answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer can't be opened: {0}")]
    Sealed(#[from] sealed::Error),
    #[error("its answer is not json as due, at line {line}, column {column}")]
    Malformed { line: usize, column: usize },
}

#[derive(Serialize)]
struct Question<'a> {
    path: &'a str,
    name: &'a str,
    repo: &'a Map<String, Value>,
    build: &'a Map<String, Value>,
}

// === impl Plugin ===

impl Plugin {
    /// `verify`: check its certificate.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn new(endpoint: &str, token_file: PathBuf, verify: bool) -> Result<Self, Error> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(!verify)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { endpoint: endpoint.to_owned(), token_file, client })
    }

    /// Asks once. `None`: it has no such secret.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find(&self, path: &str, name: &str, facts: &Facts) -> Result<Option<Answer>, Error> {
        let token = self.token()?;
        let question = Question { path, name, repo: &facts.repository, build: &facts.build };
        // Texts and numbers always serialize.
        let body = serde_json::to_vec(&question).unwrap_or_default();
        let (date, digest) = (httpdate::fmt_http_date(SystemTime::now()), digest(&body));
        let headers = [
            ("accept", ACCEPT),
            ("accept-encoding", ENCODING),
            ("content-type", CONTENT_TYPE),
            ("date", &date),
            ("digest", &digest),
        ];
        let request = headers
            .iter()
            .fold(self.client.post(&self.endpoint), |request, (name, value)| request.header(*name, *value));
        let request = request.header("signature", sign(&headers, &token)).body(body);
        let unanswered = |error: reqwest::Error| Error::Unanswered(error.without_url());
        let mut answer = request.send().await.map_err(unanswered)?;
        match answer.status().as_u16() {
            204 => return Ok(None),
            200..=299 => {}
            status => return Err(Error::Refused(status)),
        }
        let encoding = answer.headers().get("content-encoding");
        let is_sealed = encoding.is_some_and(|encoding| encoding.as_bytes() == ENCODING_SEALED.as_bytes());
        let mut read = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(unanswered)? {
            if read.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::TooLarge);
            }
            read.extend_from_slice(&chunk);
        }
        let text = if is_sealed { sealed::open_bytes(read.to_vec(), sealed::key_of(&token)?)? } else { read.to_vec() };
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|error| Error::Malformed { line: error.line(), column: error.column() })?;
        Ok(Some(answer).filter(|answer| !answer.data.is_empty()))
    }

    fn token(&self) -> Result<String, Error> {
        let wrong = |why: String| Error::Token { path: self.token_file.clone(), why };
        let token = read_text(&self.token_file, TOKEN_BYTES_MAX).map_err(wrong)?;
        match token.trim() {
            "" => Err(wrong("is empty".to_owned())),
            token => Ok(token.to_owned()),
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}
