//! A part of a whole, exact to the digits that were written.

use std::{fmt, str::FromStr};

/// One whole, in millionths.
const WHOLE: u32 = 1_000_000;
/// Digits behind the point that are told apart.
const DECIMALS: usize = 6;

/// From nothing to all, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

/// A text that is no number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRatio;

// === impl Ratio ===

impl Ratio {
    pub const ALL: Self = Self(WHOLE);

    pub fn millionths(self) -> u32 {
        self.0
    }

    pub(super) fn to_json(self) -> serde_json::Value {
        (f64::from(self.0) / f64::from(WHOLE)).into()
    }
}

impl FromStr for Ratio {
    type Err = BadRatio;

    fn from_str(text: &str) -> Result<Self, BadRatio> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 1 || part.len() > DECIMALS || !is_number(whole) || !is_number(part) {
            return Err(BadRatio);
        }
        let millionths: u32 = format!("{whole}{part:0<DECIMALS$}").parse().map_err(|_| BadRatio)?;
        if millionths > WHOLE { Err(BadRatio) } else { Ok(Self(millionths)) }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_exact_and_bounded() {
        for (text, millionths) in
            [("0", 0), ("1", WHOLE), ("1.0", WHOLE), ("0.25", 250_000), ("0.000001", 1), ("0.", 0)]
        {
            assert_eq!(text.parse(), Ok(Ratio(millionths)), "{text}");
        }
        for text in ["", ".5", "1.000001", "2", "-0.5", "+1", "0.0000001", "1e-1", "nan", "0,5"] {
            assert_eq!(text.parse::<Ratio>(), Err(BadRatio), "{text}");
        }
    }
}
