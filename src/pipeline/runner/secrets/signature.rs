//! The signature of a request to a plugin: HMAC-SHA256 over some of its headers, as the server's plugins expect it. Pure.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{digest, hmac};

/// Who signs; plugins look for no other.
const KEY_ID: &str = "hmac-key";

/// The header `Digest` of a body.
pub fn digest(body: &[u8]) -> String {
    format!("SHA-256={}", BASE64_STANDARD.encode(digest::digest(&digest::SHA256, body)))
}

/// The header `Signature` over these headers, names in lower case, in this order.
pub fn sign(headers: &[(&str, &str)], token: &str) -> String {
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let tag = BASE64_STANDARD.encode(hmac::sign(&key, lines.join("\n").as_bytes()));
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    format!(r#"keyId="{KEY_ID}",algorithm="hmac-sha256",signature="{tag}",headers="{}""#, names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let body = br#"{"path":"team/db","name":"password","repo":{},"build":{}}"#;
        assert_eq!(digest(body), "SHA-256=TY5wpmtcBhbqUnMpCylVUSvh1K2ttYDIwZV3nbcVbCI=");
        let headers = [
            ("accept", "application/vnd.drone.secret.v1+json"),
            ("accept-encoding", "identity"),
            ("content-type", "application/json"),
            ("date", "Tue, 04 Feb 2025 10:00:00 GMT"),
            ("digest", &digest(body)),
        ];
        assert_eq!(
            sign(&headers, "plugin-shared-key-of-32-or-more-bytes"),
            "keyId=\"hmac-key\",algorithm=\"hmac-sha256\",signature=\"VJFAceNGUPypeVTiOWOZiVDbZve5dy0eZ9QEaJMJ4jg=\",\
             headers=\"accept accept-encoding content-type date digest\""
        );
    }
}
