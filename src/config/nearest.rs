//! The hint at the known name that an unknown one was probably meant to be.

/// Below this likeness (1 is equal) a hint would mislead more than help.
const LIKENESS_MIN: f64 = 0.7;
/// A right last part in the wrong section is a better guess than a vaguely similar whole.
const LAST_PART_WEIGHT: f64 = 0.95;

/// The candidate most like `unknown`, both dotted; `None` if none is like it.
pub(crate) fn nearest<S: AsRef<str>>(unknown: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(unknown, candidate.as_ref()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.as_ref().to_owned())
}

fn likeness(unknown: &str, candidate: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(unknown, candidate);
    let last = strsim::normalized_damerau_levenshtein(last_part(unknown), last_part(candidate));
    whole.max(last * LAST_PART_WEIGHT)
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["name", "runners.lease_ttl", "log.format"];

    #[test]
    fn a_misspelt_key_finds_the_right_one() {
        assert_eq!(nearest("runners.lease_tll", KEYS).as_deref(), Some("runners.lease_ttl"));
    }

    #[test]
    fn a_key_in_the_wrong_section_finds_the_right_one() {
        assert_eq!(nearest("lease_ttl", KEYS).as_deref(), Some("runners.lease_ttl"));
    }

    #[test]
    fn a_key_like_no_other_finds_none() {
        assert_eq!(nearest("zzzzzzzz", KEYS), None);
    }
}
