//! When a certificate ends: the one thing that has to be known of it before it is too late, and that no part of TLS here tells.
//!
//! It reads just so much of X.509 (RFC 5280, 4.1) as leads to `notAfter`, trusts nothing it says, and checks no signature.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// DER's tags that are met on the way.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// When this certificate ends; none if it is no certificate of version 1 to 3, or ended before 1970.
pub fn end(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let mut outer = certificate.as_ref();
    let mut certificate = field(&mut outer, SEQUENCE)?;
    let mut signed = field(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        field(&mut signed, VERSION)?;
    }
    field(&mut signed, INTEGER)?; // serial number
    field(&mut signed, SEQUENCE)?; // algorithm
    field(&mut signed, SEQUENCE)?; // issuer
    let mut validity = field(&mut signed, SEQUENCE)?;
    let not_before = *validity.first()?;
    field(&mut validity, not_before)?;
    match *validity.first()? {
        UTC_TIME => {
            let text = field(&mut validity, UTC_TIME)?;
            let year = number(text.get(..2)?)?;
            // RFC 5280, 4.1.2.5.1: two digits mean 1950 to 2049.
            time(if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => {
            let text = field(&mut validity, GENERALIZED_TIME)?;
            time(number(text.get(..4)?)?, text.get(4..)?)
        }
        _ => None,
    }
}

/// The earliest end of the certificates in a PEM file; none if there is nothing to read it from.
pub fn end_of_file(path: &Path) -> Option<SystemTime> {
    let certificates = CertificateDer::pem_file_iter(path).ok()?;
    certificates.filter_map(|certificate| end(&certificate.ok()?)).min()
}

/// The content of the next field, which must have this tag; `from` goes on behind it.
fn field<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, rest) = from.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(*short), rest),
        // Nothing in a certificate is 4 GiB long.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    (*found == tag).then_some(content)
}

/// `MMDDHHMMSSZ`, which is the only form allowed.
fn time(year: u64, text: &[u8]) -> Option<SystemTime> {
    let part = |at: usize| number(text.get(at..at + 2)?);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !fits || text.get(10..) != Some(b"Z") {
        return None;
    }
    let seconds = days_until(year, month, day)? * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days from 1970-01-01. Counted in years that begin in March, so that the leap day is the last of one.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // So many lie between March of the year 0 and 1970.
    days.checked_sub(719_468)
}

fn number(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(at: Option<SystemTime>) -> Option<u64> {
        at?.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(seconds(time(1970, b"0101000000Z")), Some(0));
        assert_eq!(seconds(time(2000, b"0229120000Z")), Some(951_825_600));
        assert_eq!(seconds(time(2026, b"1125033315Z")), Some(1_795_577_595));
        for bad in [&b"1301000000Z"[..], b"0101000000", b"0101000000+0100", b"01010000a0Z", b"", b"0100000000Z"] {
            assert_eq!(time(2026, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_found_and_a_broken_one_has_none() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/certs/server-a.pem"));
        // 2126-11-01 03:33:15: beyond 2049, so in the long form.
        assert_eq!(seconds(end_of_file(path)), Some(4_949_177_595));
        let whole = CertificateDer::from_pem_file(path).unwrap();
        for length in 0..whole.len().min(300) {
            // Nothing panics, whatever is cut off.
            let _ = end(&CertificateDer::from(whole[..length].to_vec()));
        }
        assert_eq!(end(&CertificateDer::from(b"no certificate".to_vec())), None);
        assert_eq!(end_of_file(Path::new("/nowhere/at/all.pem")), None);
    }
}
