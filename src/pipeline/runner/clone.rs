//! The step that fetches the sources, as commands of git: what they are depends on the ref.
//!
//! | ref | what is checked out |
//! |---|---|
//! | `refs/tags/…` | the tag |
//! | `refs/pull/…`, `refs/pull-requests/…`, `refs/merge-requests/…` | the target branch with the commit merged into it |
//! | `refs/heads/…`, or a build with a target branch: pushes, promotions, crons | the commit, on that branch |
//! | any other | the ref, as the server of the sources has it |
//!
//! Names of refs and branches come from whoever opens a pull request: each is one word for the shell, and none can be an option of git.

use std::{collections::BTreeMap, time::Duration};

use super::{details::Details, script::word};
use crate::pipeline::yaml::Checkout;

/// Before the second attempt; doubled before each further one.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Author of a merge, if the build names none.
const NAME: &str = "drone";
const EMAIL: &str = "noreply@drone";

const HEADS: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";
const PULL_REQUESTS: [&str; 3] = ["refs/pull/", "refs/pull-requests/", "refs/merge-requests/"];

/// Sources that can't be fetched, whatever git says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the repository has no url to clone from; disable the clone step, or mend the repository at the server")]
    NoRemote,
    #[error("the build names neither a ref nor a branch to clone")]
    NoRef,
    #[error("{what} {text:?} begins with \"-\", which git would take for an option")]
    Option { what: &'static str, text: String },
}

/// The commands, in an empty directory.
///
/// # Errors
/// See [`Error`].
pub fn commands(checkout: &Checkout, details: &Details) -> Result<Vec<String>, Error> {
    let build = &details.build;
    let (remote, reference, commit) = (details.remote(), build.git_ref.as_str(), build.after.as_str());
    if remote.is_empty() {
        return Err(Error::NoRemote);
    }
    let branch = match reference.strip_prefix(HEADS) {
        Some(named) if build.target.is_empty() => named,
        _ => build.target.as_str(),
    };
    for (what, text) in [("the url", &*remote), ("the ref", reference), ("the branch", branch), ("the commit", commit)]
    {
        if text.starts_with('-') {
            return Err(Error::Option { what, text: text.to_owned() });
        }
    }
    let fetch = match checkout.depth {
        Some(depth) => format!("git fetch --depth={depth} origin"),
        None => "git fetch origin".to_owned(),
    };
    let mut commands = vec!["git init -q".to_owned(), format!("git remote add origin {}", word(&remote))];
    if reference.starts_with(TAGS) {
        commands.push(format!("{fetch} {}", word(&format!("+{reference}:"))));
        commands.push("git checkout -qf FETCH_HEAD".to_owned());
    } else if PULL_REQUESTS.iter().any(|prefix| reference.starts_with(prefix)) {
        if branch.is_empty() {
            return Err(Error::NoRef);
        }
        // All commits, whatever depth is wanted: a merge needs the one where both part.
        commands.push(format!("git fetch origin {}", word(&format!("+{HEADS}{branch}:"))));
        commands.push(format!("git checkout -q -B {} FETCH_HEAD", word(branch)));
        commands.push(format!("git fetch origin {}", word(&format!("{reference}:"))));
        commands.push(format!("git merge {}", if commit.is_empty() { "FETCH_HEAD".to_owned() } else { word(commit) }));
    } else if !branch.is_empty() {
        commands.push(format!("{fetch} {}", word(&format!("+{HEADS}{branch}:"))));
        if commit.is_empty() {
            commands.push(format!("git checkout -q -B {} FETCH_HEAD", word(branch)));
        } else {
            if checkout.depth.is_some() {
                // The branch may have gone on beyond the depth meanwhile.
                let is_there = format!("git cat-file -e {}", word(&format!("{commit}^{{commit}}")));
                commands.push(format!("{is_there} 2>/dev/null || {fetch} {}", word(commit)));
            }
            commands.push(format!("git checkout -q -B {} {}", word(branch), word(commit)));
        }
    } else if !reference.is_empty() {
        commands.push(format!("{fetch} {}", word(&format!("+{reference}:"))));
        commands.push("git checkout -qf FETCH_HEAD".to_owned());
    } else {
        return Err(Error::NoRef);
    }
    Ok(commands)
}

/// What git reads from its environment, for the steps as well.
pub fn environment(checkout: &Checkout, details: &Details) -> BTreeMap<String, String> {
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let (name, email) = (or(&details.build.author_name, NAME), or(&details.build.author_email, EMAIL));
    let mut environment = BTreeMap::from(
        [
            ("GIT_AUTHOR_NAME", name.clone()),
            ("GIT_AUTHOR_EMAIL", email.clone()),
            ("GIT_COMMITTER_NAME", name),
            ("GIT_COMMITTER_EMAIL", email),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if checkout.trace {
        environment.insert("GIT_TRACE".to_owned(), "true".to_owned());
    }
    if checkout.skip_verify {
        environment.insert("GIT_SSL_NO_VERIFY".to_owned(), "true".to_owned());
    }
    environment
}

/// Before the attempt that follows on the `failed`th failure.
pub fn pause(failed: u32) -> Duration {
    RETRY_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(RETRY_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::Payload;

    fn details(build: &str) -> Details {
        let text =
            format!(r#"{{"build":{{{build}}},"repository":{{"git_http_url":"https://git.example.test/a.git"}}}}"#);
        Details::read(&Payload::text(text)).expect("details")
    }

    fn of(build: &str, depth: Option<u32>) -> Result<Vec<String>, Error> {
        let commands = commands(&Checkout { depth, ..Checkout::default() }, &details(build))?;
        assert_eq!(commands[..2], ["git init -q", "git remote add origin https://git.example.test/a.git"]);
        Ok(commands[2..].to_vec())
    }

    #[test]
    fn a_push_is_its_commit_on_its_branch() {
        let push = r#""ref":"refs/heads/main","target":"main","after":"2e2e""#;
        assert_eq!(of(push, None).unwrap(), ["git fetch origin +refs/heads/main:", "git checkout -q -B main 2e2e"]);
        let shallow = of(push, Some(1)).unwrap();
        assert_eq!(shallow[0], "git fetch --depth=1 origin +refs/heads/main:");
        assert_eq!(shallow[1], "git cat-file -e '2e2e^{commit}' 2>/dev/null || git fetch --depth=1 origin 2e2e");
    }

    #[test]
    fn a_tag_is_its_ref_and_a_pull_request_is_merged() {
        let tag = of(r#""ref":"refs/tags/v1","target":"main","after":"2e2e""#, None).unwrap();
        assert_eq!(tag, ["git fetch origin +refs/tags/v1:", "git checkout -qf FETCH_HEAD"]);
        let pull = of(r#""ref":"refs/pull/7/head","target":"main","after":"2e2e""#, None).unwrap();
        assert_eq!(
            pull,
            [
                "git fetch origin +refs/heads/main:",
                "git checkout -q -B main FETCH_HEAD",
                "git fetch origin refs/pull/7/head:",
                "git merge 2e2e"
            ]
        );
    }

    #[test]
    fn names_from_strangers_are_words_and_never_options() {
        let hostile = of(r#""ref":"refs/heads/a","target":"a;touch x","after":"2e2e""#, None).unwrap();
        assert_eq!(hostile, ["git fetch origin '+refs/heads/a;touch x:'", "git checkout -q -B 'a;touch x' 2e2e"]);
        let option = of(r#""ref":"refs/heads/a","target":"--upload-pack=x","after":"2e2e""#, None);
        assert_eq!(option, Err(Error::Option { what: "the branch", text: "--upload-pack=x".to_owned() }));
        assert_eq!(of("", None), Err(Error::NoRef));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        assert_eq!([1, 2, 3, 4, 5, 99].map(|failed| pause(failed).as_secs()), [1, 2, 4, 8, 10, 10]);
    }
}
