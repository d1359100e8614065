//! The account secret and the tokens made from it.
//!
//! Every call to a manager carries a JWE (RFC 7516, compact, `dir` with `A128GCM`) whose content key *is* the account secret. Whoever
//! can read the token can make tokens, so the secret leaves this module in two ways only: as a key inside ring, and through
//! [`AccountSecret::reveal`], whose callers have to say why.
//!
//! This module reads no clock: the caller tells the time.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Life of a token, from `iat` to `exp`. The Go clients use the same; managers check only that `exp` is ahead.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(20 * 60);

/// Age at which a token is made anew. Half the life, as in the Go clients, so that a clock up to ten minutes slow still works.
pub const TOKEN_AGE_MAX: Duration = Duration::from_secs(10 * 60);

const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Longest token that [`open`] looks at, in bytes. Real ones are near 450.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The protected header. Its bytes are authenticated with every token, so they are written once, here.
const HEADER: &str = r#"{"alg":"dir","enc":"A128GCM","typ":"JWT"}"#;

/// What a manager calls "delegate token" or "account key": 16 bytes, an AES-128 key.
///
/// It is parsed from 32 hexadecimal digits, or from the standard base64 of their text, as the Harness UI shows it. White space around
/// either is ignored. It does not print.
#[derive(Clone)]
pub struct AccountSecret {
    bytes: [u8; KEY_BYTES],
    key: LessSafeKey,
}

/// What a token says. Managers read `exp` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// The account.
    pub sub: String,
    /// Who made it.
    #[serde(default)]
    pub iss: String,
    /// Made at, Unix seconds.
    pub iat: u64,
    /// Good until, Unix seconds.
    pub exp: u64,
    /// Unique per token.
    #[serde(default)]
    pub jti: String,
}

/// The configured secret cannot be a secret. The text never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the account secret is empty: expected 32 hexadecimal digits, or the base64 of their text")]
    Empty,
    #[error(
        "the account secret has {chars} characters and is neither 32 hexadecimal digits nor the base64 of their text: \
         copy the delegate token as the manager shows it"
    )]
    Form { chars: usize },
}

/// Why a token could not be opened, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the token is not a compact jwe of five parts with an empty second part")]
    NotJwe,
    #[error("the token's header does not say alg dir and enc A128GCM")]
    Header,
    #[error("the token was not made with this account secret, or was altered")]
    Undecryptable,
    #[error("the token's claims are not a json object with sub, iat and exp")]
    Claims,
    #[error("the system's random source failed")]
    Random,
}

/// Makes tokens and reuses them while they are young.
pub struct TokenSource {
    secret: AccountSecret,
    account: String,
    random: SystemRandom,
    minted: Mutex<Option<Minted>>,
}

struct Minted {
    at: SystemTime,
    token: Arc<str>,
}

// The Go clients' order of claims, which is also the alphabet's.
#[derive(Serialize)]
struct SealedClaims<'a> {
    aud: [&'a str; 1],
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: String,
    sub: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
}

/// Makes the token that says `account` from `iat` to `exp` (Unix seconds).
///
/// `iv` and `jti` must be fresh random values: an `iv` used twice under one secret gives the key away.
pub fn seal(secret: &AccountSecret, account: &str, iat: u64, exp: u64, iv: [u8; NONCE_LEN], jti: Uuid) -> String {
    let claims = SealedClaims { aud: ["audience"], exp, iat, iss: "issuer", jti: jti.to_string(), sub: account };
    let mut text = serde_json::to_vec(&claims).expect("numbers and strings always serialize");
    let header = URL_SAFE_NO_PAD.encode(HEADER);
    let tag = secret
        .key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(header.as_bytes()), &mut text)
        .expect("claims are far below the 64 GiB that AES-GCM can seal");
    format!(
        "{header}..{}.{}.{}",
        URL_SAFE_NO_PAD.encode(iv),
        URL_SAFE_NO_PAD.encode(&text),
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    )
}

/// Opens a token. Does not look at `exp`: the caller knows the time.
///
/// # Errors
/// Any [`Error`] but [`Error::Random`].
pub fn open(secret: &AccountSecret, token: &str) -> Result<Claims, Error> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Error::NotJwe);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(""), Some(iv), Some(text), Some(tag), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::NotJwe);
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::NotJwe);

    let named: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Error::Header)?;
    if named.alg != "dir" || named.enc != "A128GCM" {
        return Err(Error::Header);
    }
    let nonce = Nonce::try_assume_unique_for_key(&decode(iv)?).map_err(|_| Error::NotJwe)?;
    let tag = decode(tag)?;
    if tag.len() != TAG_BYTES {
        return Err(Error::NotJwe);
    }
    let mut sealed = decode(text)?;
    sealed.extend_from_slice(&tag);
    let claims =
        secret.key.open_in_place(nonce, Aad::from(header.as_bytes()), &mut sealed).map_err(|_| Error::Undecryptable)?;
    serde_json::from_slice(claims).map_err(|_| Error::Claims)
}

// === impl AccountSecret ===

impl AccountSecret {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &bytes).expect("an AES-128 key has 16 bytes");
        Self { bytes, key: LessSafeKey::new(key) }
    }

    /// What tells a manager which secret a token was made with: SHA-256 over the *text* of the secret (not over its 16 bytes), as 64
    /// lower-case hexadecimal digits.
    pub fn hash(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.reveal().as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret in clear, as 32 lower-case hexadecimal digits. Never log it.
    pub fn reveal(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for AccountSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        // Hex first: 32 hexadecimal digits are valid base64 too, of 24 bytes that mean nothing.
        decode_hex(text.as_bytes())
            .or_else(|| decode_hex(STANDARD.decode(text).ok()?.trim_ascii()))
            .map(Self::new)
            .ok_or(SecretError::Form { chars: text.chars().count() })
    }
}

impl fmt::Debug for AccountSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountSecret(…)")
    }
}

fn decode_hex(digits: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

// === impl TokenSource ===

impl TokenSource {
    /// A source for one account; makes nothing yet.
    pub fn new(secret: AccountSecret, account: impl Into<String>) -> Self {
        Self { secret, account: account.into(), random: SystemRandom::new(), minted: Mutex::new(None) }
    }

    /// A token good for at least ten minutes after `now`: the last one while it is younger than [`TOKEN_AGE_MAX`], else a new one.
    /// A clock that was set back makes a new one, too.
    ///
    /// # Errors
    /// [`Error::Random`] only.
    pub fn token(&self, now: SystemTime) -> Result<Arc<str>, Error> {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minted) = &*minted
            && now.duration_since(minted.at).is_ok_and(|age| age < TOKEN_AGE_MAX)
        {
            return Ok(Arc::clone(&minted.token));
        }
        let token: Arc<str> = self.mint(now)?.into();
        *minted = Some(Minted { at: now, token: Arc::clone(&token) });
        Ok(token)
    }

    /// Forgets the last token, so that the next call makes a new one. For a token that a manager refused.
    pub fn forget(&self) {
        *self.minted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn mint(&self, now: SystemTime) -> Result<String, Error> {
        let mut iv = [0; NONCE_LEN];
        let mut jti = [0; 16];
        self.random.fill(&mut iv).map_err(|_| Error::Random)?;
        self.random.fill(&mut jti).map_err(|_| Error::Random)?;
        // A clock before 1970 makes an expired token, which the manager refuses by name.
        let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let exp = iat.saturating_add(TOKEN_LIFETIME.as_secs());
        Ok(seal(&self.secret, &self.account, iat, exp, iv, uuid::Builder::from_random_bytes(jti).into_uuid()))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const ACCOUNT: &str = "acctEXAMPLE0000000001";
    // Computed apart from this code; see the wire reference, 2.1.
    const TOKEN: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIiwidHlwIjoiSldUIn0..AAECAwQFBgcICQoL.mYGXtsyN62cOQAyCNLRaWMXkp1\
        huzLVNIcWsCrJ_H9yRHTpxbLC9Sjp4wyaBpeUjp5h8FxQ5jBkRYcvUhqz8iN8l4_npQo__QjvMUpyMLPrYBFPH4k5aJoG204R9vxS5xnwz-VbIpjEFv6t\
        fOzsOWgXtkXVsN852Pcmgk-WVZWkRZZp9ZODi8vDnNBPKjcVZ.IrBp06f9G8_VqiVfm3lRPw";

    fn secret() -> AccountSecret {
        SECRET.parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_sealed_token_is_the_reference_byte_for_byte() {
        let iv = std::array::from_fn(|i| i as u8);
        let jti = "7b0a1c52-9c1d-4f3e-8a66-0d2b5f4e1a90".parse().unwrap();
        assert_eq!(seal(&secret(), ACCOUNT, 1_790_000_000, 1_790_001_200, iv, jti), TOKEN);
    }

    #[test]
    fn the_reference_opens_to_its_claims() {
        let claims = open(&secret(), TOKEN).unwrap();
        assert_eq!(claims.sub, ACCOUNT);
        assert_eq!((claims.iat, claims.exp), (1_790_000_000, 1_790_001_200));
        assert_eq!((&*claims.iss, &*claims.jti), ("issuer", "7b0a1c52-9c1d-4f3e-8a66-0d2b5f4e1a90"));
    }

    #[test]
    fn an_altered_or_foreign_token_does_not_open() {
        let foreign: AccountSecret = "ffffffffffffffffffffffffffffffff".parse().unwrap();
        assert_eq!(open(&foreign, TOKEN), Err(Error::Undecryptable));
        for at in [TOKEN.len() - 3, TOKEN.len() - 40] {
            let mut altered = TOKEN.to_owned().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&secret(), &String::from_utf8(altered).unwrap()), Err(Error::Undecryptable));
        }
    }

    #[test]
    fn what_is_no_jwe_is_refused_by_name() {
        for text in ["", "a.b.c", "....", "x.y.z.u.v", &TOKEN[1..], &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            let error = open(&secret(), text).unwrap_err();
            assert!(matches!(error, Error::NotJwe | Error::Header), "{error}");
        }
        let other = TOKEN.replacen(
            &URL_SAFE_NO_PAD.encode(HEADER),
            &URL_SAFE_NO_PAD.encode(r#"{"alg":"none","enc":"A128GCM"}"#),
            1,
        );
        assert_eq!(open(&secret(), &other), Err(Error::Header));
    }

    #[test]
    fn the_hash_of_a_secret_is_the_references_with_its_leading_zeros() {
        assert_eq!(secret().hash(), "a1bf4dc2c0cea821798c38e16fcc1667d6f0504afa821b181672035fc5967890");
        let other: AccountSecret = STANDARD.encode("5eed000000000000000000000000000e").parse().unwrap();
        assert_eq!(other.hash(), "008c72be94aafd69f3e308293e808b61e50025cd9d37b8e0dc3ad490e4b833c7");
    }

    #[test]
    fn a_secret_is_hex_or_the_base64_of_hex_with_white_space_around() {
        let shown = STANDARD.encode(SECRET);
        let newline = STANDARD.encode(format!("{SECRET}\n"));
        for form in [SECRET, &SECRET.to_uppercase(), &format!(" {SECRET}\n"), &shown, &newline] {
            assert_eq!(form.parse::<AccountSecret>().unwrap().reveal(), SECRET);
        }
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_quoted() {
        assert_eq!("  ".parse::<AccountSecret>().unwrap_err(), SecretError::Empty);
        for form in ["hunter2", &SECRET[1..], "0f1e2d3c4b5a69788796a5b4c3d2e1fg", "€€€"] {
            let error = form.parse::<AccountSecret>().unwrap_err().to_string();
            assert!(error.contains("32 hexadecimal digits") && !error.contains(form), "{error}");
        }
    }

    #[test]
    fn nothing_that_holds_the_secret_prints_it() {
        let source = TokenSource::new(secret(), ACCOUNT);
        let printed = format!("{:?} {source:?}", secret());
        assert!(!printed.contains(SECRET) && !printed.contains("15, 30"), "{printed}");
    }

    #[test]
    fn a_token_is_reused_for_ten_minutes_and_then_made_anew() {
        let source = TokenSource::new(secret(), ACCOUNT);
        let first = source.token(at(1_000_000)).unwrap();
        assert_eq!(source.token(at(1_000_599)).unwrap(), first);
        let second = source.token(at(1_000_600)).unwrap();
        assert_ne!(second, first);
        let claims = open(&secret(), &second).unwrap();
        assert_eq!((claims.iat, claims.exp - claims.iat), (1_000_600, 1_200));
    }

    #[test]
    fn a_clock_set_back_or_a_refusal_makes_a_new_token() {
        let source = TokenSource::new(secret(), ACCOUNT);
        let first = source.token(at(2_000)).unwrap();
        let earlier = source.token(at(1_000)).unwrap();
        assert_eq!(open(&secret(), &earlier).unwrap().iat, 1_000);
        source.forget();
        let fresh = source.token(at(1_000)).unwrap();
        assert_ne!(fresh, earlier);
        assert_ne!(fresh, first);
    }
}
