//! Seals where a log goes, since a sink's token may be part of it: AES-256-GCM under a key file of the state directory.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

/// Of the key file.
pub const KEY_BYTES: usize = 32;

/// Seals and opens. Does not print.
pub struct Seal(LessSafeKey);

/// No random bytes can be had from the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes can be had from the system")]
pub struct NoRandom;

// === impl Seal ===

impl Seal {
    /// Under the first [`KEY_BYTES`] of `key`; none if there are fewer.
    pub fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key.get(..KEY_BYTES)?).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// A key for a new file.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn fresh_key() -> Result<[u8; KEY_BYTES], NoRandom> {
        random()
    }

    /// A random nonce, then the sealed bytes. One a log: 2^32 of them are safe under one key.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, NoRandom> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        // It refuses 64 GiB and more, which no destination has.
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| NoRandom)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// What was sealed; none if it was not sealed here, or was changed.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_shows_nothing_and_opens_only_unchanged() {
        let seal = Seal::new(&[7; KEY_BYTES]).unwrap();
        let sealed = seal.seal(b"token").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"token"));
        assert_eq!(seal.open(&sealed).as_deref(), Some(&b"token"[..]));
        assert_ne!(seal.seal(b"token").unwrap(), sealed);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(&changed), None);
            assert_eq!(seal.open(&sealed[..at]), None);
        }
        assert_eq!(Seal::new(&[8; KEY_BYTES]).unwrap().open(&sealed), None);
        assert!(Seal::new(&[8; 31]).is_none());
    }
}
