//! Each row's body is sealed with AES-256-GCM under its own place, so that the seal is also the row's checksum: a body that was
//! flipped, cut short or moved to another row does not open.
//!
//! A nonce must never serve twice under one key, also when an older copy of the database is put back. So each opening derives a
//! key of its own from the master key and a fresh random salt, and counts from zero under it. The salt is committed in the same
//! transaction as the first rows sealed under it.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};

use super::Error;
use super::schema::FORMAT;

pub(super) const MASTER_KEY_BYTES: usize = 32;
pub(super) const SALT_BYTES: usize = 16;

/// Separates the row keys from any other use of the master key.
const ROWS_INFO: &[u8] = b"dlite journal rows";
/// What a database stores to tell its key from others.
const CHECK_TEXT: &[u8] = b"dlite journal key check";

pub(super) type Salt = [u8; SALT_BYTES];

/// `N` bytes of the system's randomness.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::failed("get random bytes")("the system's source failed"))?;
    Ok(bytes)
}

/// The one secret of a journal; never used on rows itself. It does not print.
pub(super) struct MasterKey([u8; MASTER_KEY_BYTES]);

impl MasterKey {
    pub(super) fn new(bytes: [u8; MASTER_KEY_BYTES]) -> Self {
        MasterKey(bytes)
    }

    /// A value that tells this key from others and gives nothing of it away.
    pub(super) fn check(&self) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), CHECK_TEXT).as_ref().to_vec()
    }

    pub(super) fn row_key(&self, salt: &Salt) -> RowKey {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        let okm = prk.expand(&[ROWS_INFO], &AES_256_GCM).expect("HKDF-SHA256 gives 32 bytes, its bound is 8160");
        RowKey(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

/// The key of all rows sealed during one opening.
pub(super) struct RowKey(LessSafeKey);

impl RowKey {
    /// Opens a row's body in place; `None` if it is not what was sealed there.
    pub(super) fn open(&self, nonce: u64, scope: u64, number: u32, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let body_bytes = self.0.open_in_place(nonce_of(nonce), place(scope, number), &mut sealed).ok()?.len();
        sealed.truncate(body_bytes);
        Some(sealed)
    }
}

/// Seals rows, each under the next nonce.
pub(super) struct Sealer {
    key: RowKey,
    next: u64,
    /// Reused, so that sealing allocates nothing once it is warm.
    buffer: Vec<u8>,
}

impl Sealer {
    /// `key` must be of a salt that nothing was sealed under.
    pub(super) fn new(key: RowKey) -> Self {
        Sealer { key, next: 0, buffer: Vec::new() }
    }

    /// The nonce used and the sealed bytes. A nonce is spent even if the row is then not committed.
    pub(super) fn seal(&mut self, scope: u64, number: u32, body: &[u8]) -> Result<(u64, &[u8]), Error> {
        let nonce = self.next;
        self.next += 1;
        self.buffer.clear();
        self.buffer.extend_from_slice(body);
        let sealed = self.key.0.seal_in_place_append_tag(nonce_of(nonce), place(scope, number), &mut self.buffer);
        sealed.map_err(|_| Error::OutOfBounds { scope, number })?;
        Ok((nonce, &self.buffer))
    }
}

fn nonce_of(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// What a seal covers besides the body.
fn place(scope: u64, number: u32) -> Aad<[u8; 16]> {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&FORMAT.to_be_bytes());
    bytes[4..12].copy_from_slice(&scope.to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RowKey {
        MasterKey::new([7; MASTER_KEY_BYTES]).row_key(&[9; SALT_BYTES])
    }

    #[test]
    fn a_row_opens_only_where_it_was_sealed() {
        let mut sealer = Sealer::new(key());
        let (nonce, sealed) = sealer.seal(3, 1, b"body").unwrap();
        let sealed = sealed.to_vec();
        assert_eq!(key().open(nonce, 3, 1, sealed.clone()).as_deref(), Some(&b"body"[..]));
        assert_eq!(key().open(nonce, 3, 2, sealed.clone()), None);
        assert_eq!(key().open(nonce, 4, 1, sealed.clone()), None);
        assert_eq!(key().open(nonce + 1, 3, 1, sealed.clone()), None);
        assert_eq!(MasterKey::new([7; 32]).row_key(&[8; 16]).open(nonce, 3, 1, sealed), None);
    }

    #[test]
    fn no_flipped_bit_and_no_missing_byte_goes_unseen() {
        let mut sealer = Sealer::new(key());
        let (nonce, sealed) = sealer.seal(3, 1, b"body").unwrap();
        let sealed = sealed.to_vec();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key().open(nonce, 3, 1, flipped), None, "bit {bit}");
        }
        for kept in 0..sealed.len() {
            assert_eq!(key().open(nonce, 3, 1, sealed[..kept].to_vec()), None, "{kept} bytes kept");
        }
    }

    #[test]
    fn each_row_has_its_own_nonce() {
        let mut sealer = Sealer::new(key());
        let (first, one) = sealer.seal(3, 1, b"body").map(|(nonce, sealed)| (nonce, sealed.to_vec())).unwrap();
        let (second, two) = sealer.seal(3, 1, b"body").map(|(nonce, sealed)| (nonce, sealed.to_vec())).unwrap();
        assert_ne!(first, second);
        assert_ne!(one, two);
    }
}
