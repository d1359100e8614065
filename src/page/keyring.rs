//! Who may give orders: whoever has shown the token. A browser gets a key for that, which is not the token and ends with the process.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header::COOKIE};
use ring::rand::{SecureRandom, SystemRandom};

use crate::runners::access::Token;

/// Browsers signed in at once; one more signs the oldest out.
pub const KEYS_MAX: usize = 32;
/// A key opens nothing after this time.
const KEY_AGE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// The cookie that carries a key.
const COOKIE_NAME: &str = "dlite_page";

/// The token, and the keys given out for it.
pub(super) struct Keyring {
    token: Token,
    /// The newest last.
    keys: Mutex<Vec<Key>>,
}

/// What a signed-in browser has.
#[derive(Clone)]
pub(super) struct Key {
    /// In the cookie.
    key: Token,
    /// In every form, so that nobody else's form is taken for one of ours.
    seal: Arc<str>,
    until: Instant,
}

/// The system gives no random bytes.
#[derive(Debug)]
pub(super) struct NoRandom;

// === impl Keyring ===

impl Keyring {
    pub fn new(token: Token) -> Self {
        Self { token, keys: Mutex::default() }
    }

    /// The cookie for who shows the token; none: it is another one.
    pub fn enter(&self, token: &[u8]) -> Result<Option<String>, NoRandom> {
        if !self.token.matches(token) {
            return Ok(None);
        }
        let key = random()?;
        let kept = Key { key: Token::new(key.as_bytes()), seal: random()?.into(), until: Instant::now() + KEY_AGE_MAX };
        let mut keys = self.keys();
        if keys.len() == KEYS_MAX {
            keys.remove(0);
        }
        keys.push(kept);
        Ok(Some(format!("{COOKIE_NAME}={key}; Path=/ui; HttpOnly; SameSite=Strict")))
    }

    /// The key that a request carries and that is good.
    pub fn find(&self, headers: &HeaderMap) -> Option<Key> {
        let shown = shown(headers)?;
        self.keys().iter().find(|key| key.key.matches(shown.as_bytes())).cloned()
    }

    /// Takes the key of a request back; the cookie to forget it by.
    pub fn leave(&self, headers: &HeaderMap) -> String {
        if let Some(shown) = shown(headers) {
            self.keys().retain(|key| !key.key.matches(shown.as_bytes()));
        }
        format!("{COOKIE_NAME}=; Path=/ui; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// Those that are good.
    fn keys(&self) -> MutexGuard<'_, Vec<Key>> {
        // Changes are single pushes and removes.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        keys.retain(|key| key.until > now);
        keys
    }
}

// === impl Key ===

impl Key {
    /// For a form of ours.
    pub fn seal(&self) -> &str {
        &self.seal
    }

    pub fn has_sealed(&self, seal: &str) -> bool {
        Token::new(self.seal.as_bytes()).matches(seal.as_bytes())
    }
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

fn random() -> Result<String, NoRandom> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("other=1; {pair}").parse().unwrap())])
    }

    #[test]
    fn a_key_is_given_for_the_token_only_and_opens_until_it_is_left() {
        let keyring = Keyring::new(Token::new(b"open sesame"));
        assert!(keyring.enter(b"open sesamy").unwrap().is_none());
        let cookie = keyring.enter(b"open sesame").unwrap().expect("a key");
        assert!(!cookie.contains("sesame") && cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        let key = keyring.find(&with(&cookie)).expect("it is good");
        assert!(key.has_sealed(&key.seal.clone()) && !key.has_sealed(""));
        assert!(keyring.find(&with("dlite_page=0000")).is_none() && keyring.find(&HeaderMap::new()).is_none());
        keyring.leave(&with(&cookie));
        assert!(keyring.find(&with(&cookie)).is_none());
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_goes_first() {
        let keyring = Keyring::new(Token::new(b"t"));
        let cookies: Vec<String> = (0..=KEYS_MAX).map(|_| keyring.enter(b"t").unwrap().expect("a key")).collect();
        assert!(keyring.find(&with(&cookies[0])).is_none());
        assert!(cookies[1..].iter().all(|cookie| keyring.find(&with(cookie)).is_some()));
    }
}
