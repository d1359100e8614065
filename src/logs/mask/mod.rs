//! Masking: a task's secrets never get to the disk, and so never to a sink.
//!
//! Every secret is looked for in many forms: as it stands, and as programs encode it; each line of it alike (see [`forms`]). The text
//! they are looked for in is the whole log, with the ends of its lines left out. So a secret that a program wraps, as `base64` does
//! after 76 characters, is found, and so is one of several lines. A form of bytes `a…b` hides every byte of each of its occurrences,
//! overlapping ones too. What is hidden within a line is shown as one [`MASK`] for each unbroken run of hidden bytes, however many
//! secrets it is made of and however long it is. Lines stay as many as they were.
//!
//! ```text
//!  lines in ─► text without line ends ─► Windows (may one begin here?) ─► Trie (does it?) ─► hidden bytes ─► lines out
//!                                                                          │
//!                                            begun, not ended: its lines are held back until it is sure
//! ```
//!
//! A line is held back while its last bytes may be the beginning of a form. [`Masker::settle`] ends the wait, when a log is silent or at
//! its end: what has begun is hidden if it is [`SECRET_BYTES_MIN`] bytes or longer, else shown. If the rest of the secret comes after
//! all, the rest is hidden. So of a secret that a program writes with a pause in its midst, less than [`SECRET_BYTES_MIN`] bytes show.
//!
//! Time is linear in the log, whatever the secrets. Bytes need not be UTF-8. It holds no clock, reads no file and prints no secret.
//!
//! The runner protocol carries whole lines, so a chunk never ends within one; a chunk's last line is held back like any other.

mod encode;
mod masker;
mod patterns;
mod trie;
mod window;

pub use self::{
    masker::{HELD_LINES_MAX, MASK, Masker},
    patterns::{
        ENCODED_BYTES_MAX, FORM_BYTES_MAX, PIECE_BYTES_MAX, Patterns, SECRET_BYTES_MIN, SECRETS_BYTES_MAX, TooLarge,
        Warning, forms,
    },
};
