//! Where a pattern may begin at all: a bitmap of the first four bytes of each, so that most of a log is passed at the speed of a
//! table in the first cache.

/// Bytes looked at. No pattern is shorter.
pub(super) const WINDOW_BYTES: usize = 4;

const BITS: u32 = 16;

/// 8 KiB. A thousand different beginnings leave one place in sixty-five that is looked at for nothing.
pub(super) struct Windows(Box<[u64; 1 << (BITS - 6)]>);

// === impl Windows ===

impl Windows {
    /// Of patterns of at least [`WINDOW_BYTES`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut windows = Self(Box::new([0; 1 << (BITS - 6)]));
        for pattern in patterns {
            let beginning = pattern.first_chunk().expect("no form is shorter than a window");
            let place = place(*beginning);
            windows.0[place >> 6] |= 1 << (place & 63);
        }
        windows
    }

    /// The first place in `text` where a pattern may begin; none if there is none that shows its whole window.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        text.windows(WINDOW_BYTES).position(|window| {
            let place = place([window[0], window[1], window[2], window[3]]);
            self.0[place >> 6] >> (place & 63) & 1 == 1
        })
    }
}

fn place(window: [u8; WINDOW_BYTES]) -> usize {
    // Knuth's multiplicative hash: the upper bits depend on all bytes.
    (u32::from_le_bytes(window).wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}
