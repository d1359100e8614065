//! Values sealed by AES-256-GCM, as the server seals secrets in a configuration and a plugin its answers. Pure.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no base64")]
    Base64,
    #[error("the key has {bytes} bytes where {KEY_BYTES} are needed")]
    Key { bytes: usize },
    #[error("it was not sealed with this key, or not whole")]
    Seal,
    #[error("what was sealed is no text")]
    Text,
}

/// Opens base64 of nonce and ciphertext.
///
/// # Errors
/// See [`Error`].
pub fn open(data: &str, key: &[u8]) -> Result<String, Error> {
    let sealed = BASE64_STANDARD.decode(data.trim()).map_err(|_| Error::Base64)?;
    String::from_utf8(open_bytes(sealed, key)?).map_err(|_| Error::Text)
}

/// Opens nonce and ciphertext.
///
/// # Errors
/// See [`Error`].
pub fn open_bytes(mut sealed: Vec<u8>, key: &[u8]) -> Result<Vec<u8>, Error> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Key { bytes: key.len() })?;
    let (nonce, ciphertext) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(Error::Seal)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Seal)?;
    let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), ciphertext).map_err(|_| Error::Seal)?;
    Ok(opened.to_vec())
}

/// A token as a key: its first 32 bytes.
///
/// # Errors
/// [`Error::Key`] if it has fewer.
pub fn key_of(token: &str) -> Result<&[u8], Error> {
    token.as_bytes().get(..KEY_BYTES).ok_or(Error::Key { bytes: token.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealed by the server's own program.
    const SEALED: &str = "6OEK5rMVitI+S7//bLJSuwbIGq7/rtlj/V30DhhUa1sYWQd+CsCb/YUUhJ1F6pRBTVlBmiFHxq4=";
    const KEY: &[u8] = b"O9AhOJ23FHtiiXejAl381QG4fg9Zv3LK";

    #[test]
    fn what_the_server_sealed_opens_with_its_key_alone() {
        assert_eq!(open(SEALED, KEY).as_deref(), Ok("correct-horse-battery-staple"));
        assert_eq!(open(SEALED, b"id0cvCE0F1tgWeR4WvAXwChyRdDi8gHL"), Err(Error::Seal));
        assert_eq!(open(SEALED, b"short"), Err(Error::Key { bytes: 5 }));
    }

    #[test]
    fn what_was_never_sealed_is_an_error() {
        assert_eq!(open("<no base64>", KEY), Err(Error::Base64));
        assert_eq!(open("AAAA", KEY), Err(Error::Seal));
        assert_eq!(open("", KEY), Err(Error::Seal));
    }
}
