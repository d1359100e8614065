//! The secrets of a task, made ready to be looked for.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    encode::encodings,
    masker::Masker,
    trie::Trie,
    window::{WINDOW_BYTES, Windows},
};

/// A shorter value is refused: three bytes occur by chance in every log, and each occurrence would be hidden. From four on, every
/// form is at least four bytes long as well, which is what the search needs.
pub const SECRET_BYTES_MIN: usize = WINDOW_BYTES;
/// A longer value is looked for in pieces of this size, each by itself.
pub const PIECE_BYTES_MAX: usize = 4096;
/// No form is longer than this, and so no more of a log is ever held back, beside the line in which it begins: seven bytes for one,
/// which is a control character as JSON within JSON.
pub const FORM_BYTES_MAX: usize = 7 * PIECE_BYTES_MAX;
/// Of all values that are looked for in every encoding, shortest first; some 450 bytes of memory for each. What is beyond is looked
/// for as it stands, and there is a [`Warning`] about it.
pub const ENCODED_BYTES_MAX: usize = 64 << 10;
/// Of all values together. Beyond it there is no masking, and so there must be no log.
pub const SECRETS_BYTES_MAX: usize = 1 << 20;

/// Secrets in all their forms. Shared by the maskers of a task's logs; does not print.
pub struct Patterns {
    pub(super) trie: Trie,
    pub(super) windows: Windows,
    forms: usize,
}

/// A secret that is masked less than others. `secret` is its place in what was given, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("secret {secret} is not masked: it has {bytes} bytes, and {SECRET_BYTES_MIN} are needed")]
    TooShort { secret: usize, bytes: usize },
    #[error(
        "secret {secret} is masked as it stands, but not in other encodings: the secrets have more than {ENCODED_BYTES_MAX} bytes"
    )]
    NotEncoded { secret: usize },
}

/// More than can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secrets have {bytes} bytes together, and at most {SECRETS_BYTES_MAX} can be masked")]
pub struct TooLarge {
    pub bytes: usize,
}

/// Every form in which one secret is looked for: as it stands and, if `encoded`, in each encoding; each line of it alike. White
/// space around it and line ends within a form are left out, since lines are compared without their ends. None if it is too short.
pub fn forms(secret: &[u8], encoded: bool) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let whole = secret.trim_ascii();
    if is_too_short(whole) {
        return forms;
    }
    let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for value in std::iter::once(whole).chain(lines).filter(|value| value.len() >= SECRET_BYTES_MIN) {
        for piece in pieces(value) {
            let mut add = |form: Vec<u8>| {
                let form = without_line_ends(&form);
                if form.len() >= WINDOW_BYTES {
                    forms.insert(form);
                }
            };
            add(piece.to_vec());
            if encoded {
                encodings(piece, add);
            }
        }
    }
    forms
}

/// Without the ends of its lines, since it is looked for without them.
fn is_too_short(value: &[u8]) -> bool {
    without_line_ends(value).len() < SECRET_BYTES_MIN
}

/// Pieces of at most [`PIECE_BYTES_MAX`] that cover `value`; the last two may overlap, so that none is too short.
fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..value.len()).step_by(PIECE_BYTES_MAX).map(|start| match value.get(start..start + PIECE_BYTES_MAX) {
        Some(piece) => piece,
        None => &value[value.len().saturating_sub(PIECE_BYTES_MAX)..],
    })
}

fn without_line_ends(form: &[u8]) -> Vec<u8> {
    form.split(|byte| *byte == b'\n').flat_map(|line| line.strip_suffix(b"\r").unwrap_or(line)).copied().collect()
}

// === impl Patterns ===

impl Patterns {
    /// Makes `secrets` ready, and tells which of them are not masked in full.
    ///
    /// # Errors
    /// [`TooLarge`]: what they would appear in must not be written.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Result<(Self, Vec<Warning>), TooLarge> {
        let mut secrets: Vec<(usize, &[u8])> = secrets.into_iter().map(<[u8]>::trim_ascii).enumerate().collect();
        let bytes = secrets.iter().map(|(_, secret)| secret.len()).sum();
        if bytes > SECRETS_BYTES_MAX {
            return Err(TooLarge { bytes });
        }
        secrets.sort_by_key(|(_, secret)| secret.len());
        let mut warnings = Vec::new();
        let mut all = BTreeSet::new();
        let mut encoded_bytes = 0;
        for (secret, value) in secrets {
            if is_too_short(value) {
                // An empty one is no secret; there is nothing to warn of.
                if !value.is_empty() {
                    warnings.push(Warning::TooShort { secret, bytes: value.len() });
                }
                continue;
            }
            encoded_bytes += value.len();
            let encoded = encoded_bytes <= ENCODED_BYTES_MAX;
            if !encoded {
                warnings.push(Warning::NotEncoded { secret });
            }
            all.append(&mut forms(value, encoded));
        }
        let all: Vec<Vec<u8>> = all.into_iter().collect();
        let windows = Windows::new(all.iter().map(Vec::as_slice));
        Ok((Self { trie: Trie::new(&all), windows, forms: all.len() }, warnings))
    }

    /// `text` with what it hides masked, all by itself: what begins at its end and may go on elsewhere is hidden.
    pub fn masked(self: &Arc<Self>, text: &[u8]) -> Vec<u8> {
        let mut masker = Masker::new(Arc::clone(self));
        let mut masked = Vec::new();
        let mut take = |(), line: &[u8]| masked = line.to_vec();
        masker.push((), text, &mut take);
        masker.settle(&mut take);
        masked
    }

    /// There is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.forms == 0
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patterns({} forms in {} nodes)", self.forms, self.trie.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_is_longer_than_its_bound() {
        for letter in ["\u{10000}", "'", "\u{1}", "\\", "\u{2028}", "\u{e9}"] {
            let secret = letter.repeat(PIECE_BYTES_MAX / letter.len());
            let longest = forms(secret.as_bytes(), true).iter().map(Vec::len).max();
            assert!(longest.is_some_and(|longest| longest <= FORM_BYTES_MAX), "{letter:?}: {longest:?}");
        }
    }

    #[test]
    fn a_long_secret_is_covered_by_pieces_none_of_which_is_short() {
        let secret: Vec<u8> = (0..PIECE_BYTES_MAX + 3).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
        let lengths: Vec<usize> = pieces(&secret).map(<[u8]>::len).collect();
        assert_eq!(lengths, [PIECE_BYTES_MAX; 2]);
        assert_eq!(pieces(&secret).last(), secret.get(3..));
    }

    #[test]
    fn what_is_masked_less_is_told_and_nothing_of_it_printed() {
        let long = vec![b'x'; ENCODED_BYTES_MAX];
        let (patterns, warnings) = Patterns::new([&b"abc"[..], &long, b"hunter22", b"  ", b" d\n"]).unwrap();
        let short = |secret, bytes| Warning::TooShort { secret, bytes };
        assert_eq!(warnings, [short(4, 1), short(0, 3), Warning::NotEncoded { secret: 1 }]);
        let printed = format!("{patterns:?} {warnings:?}");
        assert!(!printed.contains("hunter22"), "{printed}");
        let large = vec![b'x'; SECRETS_BYTES_MAX + 1];
        assert_eq!(Patterns::new([&large[..]]).unwrap_err(), TooLarge { bytes: SECRETS_BYTES_MAX + 1 });
    }
}
