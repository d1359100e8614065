//! A tag read as a version, semantic or by the calendar.

use super::Variables;

/// What the tag says; a tag that is no version says so.
pub fn of_tag(tag: &str) -> Variables {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let mut variables = Variables::new();
    let mut set = |name: &str, value: &str| drop(variables.insert(name.to_owned(), value.to_owned()));
    match semantic(text) {
        Some(version) => {
            let short = format!("{}.{}.{}", version.numbers[0], version.numbers[1], version.numbers[2]);
            let mut whole = short.clone();
            if !version.prerelease.is_empty() {
                whole = format!("{whole}-{}", version.prerelease);
                set("DRONE_SEMVER_PRERELEASE", version.prerelease);
            }
            if !version.build.is_empty() {
                whole = format!("{whole}+{}", version.build);
                set("DRONE_SEMVER_BUILD", version.build);
            }
            set("DRONE_SEMVER", &whole);
            set("DRONE_SEMVER_SHORT", &short);
            for (name, number) in ["MAJOR", "MINOR", "PATCH"].into_iter().zip(version.numbers) {
                set(&format!("DRONE_SEMVER_{name}"), &number.to_string());
            }
        }
        None => set("DRONE_SEMVER_ERROR", &format!("{text} is not in dotted-tri format")),
    }
    if let Some((major, minor, micro, modifier)) = calendar(text) {
        let dotted =
            |parts: &[&str]| parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
        let short = dotted(&[major, minor, micro]);
        set("DRONE_CALVER_SHORT", &short);
        set("DRONE_CALVER_MAJOR_MINOR", &dotted(&[major, minor]));
        set("DRONE_CALVER_MAJOR", major);
        set("DRONE_CALVER_MINOR", minor);
        set("DRONE_CALVER_MICRO", micro);
        match modifier {
            "" => set("DRONE_CALVER", &short),
            modifier => {
                set("DRONE_CALVER", &format!("{short}-{modifier}"));
                set("DRONE_CALVER_MODIFIER", modifier);
            }
        }
    }
    variables
}

struct Semantic<'a> {
    numbers: [u64; 3],
    prerelease: &'a str,
    build: &'a str,
}

fn semantic(text: &str) -> Option<Semantic<'_>> {
    let (rest, build) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, prerelease) = rest.split_once('-').unwrap_or((rest, ""));
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(Semantic { numbers, prerelease, build })
}

/// Major, minor, micro and modifier, if the first is a year.
fn calendar(text: &str) -> Option<(&str, &str, &str, &str)> {
    let mut parts = text.splitn(3, '.');
    let (major, minor) = (parts.next()?, parts.next()?);
    let (micro, modifier) = parts.next().map_or(("", ""), |rest| rest.split_once('-').unwrap_or((rest, "")));
    let year = major.parse::<u32>().ok()?;
    minor.parse::<u32>().ok()?;
    let is_year = (19..=99).contains(&year) || (2019..=9998).contains(&year);
    is_year.then_some((major, minor, micro, modifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tag: &str) -> Vec<String> {
        of_tag(tag).into_iter().map(|(name, value)| format!("{}={value}", name.trim_start_matches("DRONE_"))).collect()
    }

    #[test]
    fn a_semantic_version_is_taken_apart() {
        assert_eq!(
            told("v1.2.3-rc.1+b7"),
            [
                "SEMVER=1.2.3-rc.1+b7",
                "SEMVER_BUILD=b7",
                "SEMVER_MAJOR=1",
                "SEMVER_MINOR=2",
                "SEMVER_PATCH=3",
                "SEMVER_PRERELEASE=rc.1",
                "SEMVER_SHORT=1.2.3"
            ]
        );
        assert_eq!(told("latest"), ["SEMVER_ERROR=latest is not in dotted-tri format"]);
    }

    #[test]
    fn a_version_that_begins_with_a_year_is_one_of_the_calendar() {
        let told = told("2025.2.1-hot");
        for expected in
            ["CALVER=2025.2.1-hot", "CALVER_MAJOR_MINOR=2025.2", "CALVER_MODIFIER=hot", "CALVER_SHORT=2025.2.1"]
        {
            assert!(told.iter().any(|line| line == expected), "{expected} in {told:?}");
        }
    }
}
