//! How programs write a value into a log: the forms in which a secret is looked for beside its own bytes.
//!
//! | family | forms |
//! |---|---|
//! | base64 | the three alignments in which a value may stand within other bytes, in both alphabets; where it ends the text, with and without padding |
//! | percent | what common encoders leave as it is: RFC 3986, JavaScript's two, Go's path, Python's `quote`, forms; digits in both cases |
//! | JSON | plain, as Go, PHP, Python and Java escape more than they must, and a string within a string |
//! | shell | within single quotes (two ways), within double quotes, by backslashes, and `$'…'` |
//!
//! Of a base64 text only those characters are looked for that the value alone decides. Where it begins or ends in the midst of a
//! character, that one stays, which tells at most four bits of it.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Says each form of `value` but its own bytes; some more than once.
pub(super) fn encodings(value: &[u8], mut say: impl FnMut(Vec<u8>)) {
    base64(value, &mut say);
    for percent in PERCENT {
        say(percent.encode(value, b"0123456789ABCDEF"));
        say(percent.encode(value, b"0123456789abcdef"));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        for json in JSON {
            let once = json.escape(text);
            say(json.escape(&once).into_bytes());
            say(once.into_bytes());
        }
    }
    shell(value, say);
}

// === base64 ===

fn base64(value: &[u8], say: &mut impl FnMut(Vec<u8>)) {
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend(value);
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            // The first characters hold bits of what stands before.
            let text = &text.as_bytes()[(before * 8).div_ceil(6)..];
            let padding = match padded.len() % 3 {
                0 => &b""[..],
                1 => b"==",
                _ => b"=",
            };
            if !padding.is_empty() {
                // The last one holds bits of what follows, or zeros if nothing does.
                say(text[..text.len() - 1].to_vec());
                say([text, padding].concat());
            }
            say(text.to_vec());
        }
    }
}

// === percent ===

/// What an encoder leaves as it is, beside letters and digits.
struct Percent {
    kept: &'static [u8],
    /// A space becomes a plus.
    plus: bool,
}

const PERCENT: [Percent; 8] = [
    // RFC 3986, `encodeURIComponent` of strict libraries, Python's `quote` with nothing safe.
    Percent { kept: b"-._~", plus: false },
    // Go's `QueryEscape`, Python's `quote_plus`.
    Percent { kept: b"-._~", plus: true },
    // HTML forms, Java's `URLEncoder`.
    Percent { kept: b"-._*", plus: true },
    // Python's `quote`.
    Percent { kept: b"-._~/", plus: false },
    // JavaScript's `encodeURIComponent`.
    Percent { kept: b"-._~!*'()", plus: false },
    // JavaScript's `encodeURI`.
    Percent { kept: b"-._~!*'();,/?:@&=+$#", plus: false },
    // Go's `PathEscape`.
    Percent { kept: b"-._~$&+=:@", plus: false },
    // User and password in a URL, as Go's `url.UserPassword` writes them.
    Percent { kept: b"-._~$&+,;=", plus: false },
];

impl Percent {
    fn encode(&self, value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
        let mut text = Vec::with_capacity(value.len() * 3);
        for &byte in value {
            match byte {
                b' ' if self.plus => text.push(b'+'),
                _ if byte.is_ascii_alphanumeric() || self.kept.contains(&byte) => text.push(byte),
                _ => text.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]),
            }
        }
        text
    }
}

// === JSON ===

/// What an encoder escapes beside what it must.
struct Json {
    slash: bool,
    html: bool,
    /// Everything beyond ASCII.
    wide: bool,
    upper: bool,
}

const JSON: [Json; 5] = [
    Json { slash: false, html: false, wide: false, upper: false },
    // Go.
    Json { slash: false, html: true, wide: false, upper: false },
    // PHP.
    Json { slash: true, html: false, wide: true, upper: false },
    // Python.
    Json { slash: false, html: false, wide: true, upper: false },
    // Java, C#.
    Json { slash: false, html: true, wide: true, upper: true },
];

impl Json {
    fn escape(&self, value: &str) -> String {
        let mut text = String::with_capacity(value.len() * 2);
        for letter in value.chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                '/' if self.slash => text.push_str("\\/"),
                '\u{2028}' | '\u{2029}' if self.html => self.unicode(letter, &mut text),
                '<' | '>' | '&' | '\'' if self.html && (self.upper || letter != '\'') => {
                    self.unicode(letter, &mut text)
                }
                '\0'..='\u{1f}' => self.unicode(letter, &mut text),
                '\u{7f}'.. if self.wide => self.unicode(letter, &mut text),
                _ => text.push(letter),
            }
        }
        text
    }

    fn unicode(&self, letter: char, text: &mut String) {
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let escape = if self.upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
            text.push_str(&escape);
        }
    }
}

// === shell ===

fn shell(value: &[u8], mut say: impl FnMut(Vec<u8>)) {
    say(replace(value, |byte| if byte == b'\'' { Some(br"'\''".to_vec()) } else { None }));
    say(replace(value, |byte| if byte == b'\'' { Some(br#"'"'"'"#.to_vec()) } else { None }));
    say(replace(value, |byte| if b"\\\"$`".contains(&byte) { Some(vec![b'\\', byte]) } else { None }));
    // Bash's `printf %q`, and what else prefers backslashes.
    say(replace(value, |byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._/:=@%+\n".contains(&byte) || !byte.is_ascii();
        if is_plain { None } else { Some(vec![b'\\', byte]) }
    }));
    say(replace(value, |byte| match byte {
        b'\n' => Some(br"\n".to_vec()),
        b'\t' => Some(br"\t".to_vec()),
        b'\r' => Some(br"\r".to_vec()),
        0x1b => Some(br"\E".to_vec()),
        b'\'' | b'\\' => Some(vec![b'\\', byte]),
        0..0x20 | 0x7f => Some(format!("\\{byte:03o}").into_bytes()),
        _ => None,
    }));
}

fn replace(value: &[u8], escape: impl Fn(u8) -> Option<Vec<u8>>) -> Vec<u8> {
    value.iter().flat_map(|byte| escape(*byte).unwrap_or_else(|| vec![*byte])).collect()
}
