//! The variables that a pipeline is expanded with and its steps find: facts of system, repository, build and stage, under the names that
//! Drone's runners give them. Pure.

mod versions;

use std::collections::BTreeMap;

use super::{
    board::Standing,
    details::{Build, Details, Repository, Stage, System},
};

pub type Variables = BTreeMap<String, String>;

/// Statuses of a stage or build that is failing.
const FAILING: [&str; 3] = ["error", "failure", "killed"];

/// What a pipeline's text is expanded with. `now`: seconds since the Unix epoch, for times that are not known yet.
pub fn for_expansion(details: &Details, now: i64) -> Variables {
    let mut variables = of_server(details);
    variables.extend(of_stage_now(details, &Standing::default(), now));
    variables.extend(details.build.params.clone());
    variables
}

/// System and repository, which a step may call otherwise.
pub fn of_server(details: &Details) -> Variables {
    let Details { build, repository, system, .. } = details;
    let mut variables = of_system(system);
    variables.extend(of_repository(repository));
    let link = format!("{}://{}/{}/{}", system.proto, system.host, repository.slug, build.number);
    variables.insert("DRONE_BUILD_LINK".to_owned(), link);
    variables
}

/// Build and stage as the next step sees them.
pub fn of_stage_now(details: &Details, standing: &Standing, now: i64) -> Variables {
    let mut variables = of_build(&details.build, now);
    variables.extend(of_stage(&details.stage, now));
    if !standing.failed.is_empty() {
        variables.extend(named([
            ("DRONE_STAGE_STATUS", "failure".to_owned()),
            ("DRONE_FAILED_STEPS", standing.failed.join(",")),
            ("DRONE_BUILD_STATUS", "failure".to_owned()),
            ("DRONE_FAILED_STAGES", failed_stages(&details.build).join(",")),
        ]));
    }
    variables
}

/// Which step it is.
pub fn of_step(name: &str, number: u32) -> Variables {
    named([("DRONE_STEP_NAME", name.to_owned()), ("DRONE_STEP_NUMBER", number.to_string())])
}

/// The proxies that this runner is to use, in both spellings.
pub fn of_proxies(get: impl Fn(&str) -> Option<String>) -> Variables {
    let mut variables = Variables::new();
    for name in ["no_proxy", "http_proxy", "https_proxy", "all_proxy"] {
        let upper = name.to_uppercase();
        let value = get(&upper).filter(|value| !value.is_empty()).or_else(|| get(name));
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            variables.insert(name.to_owned(), value.clone());
            variables.insert(upper, value);
        }
    }
    variables
}

fn of_system(system: &System) -> Variables {
    named([
        ("CI", "true".to_owned()),
        ("DRONE", "true".to_owned()),
        ("DRONE_SYSTEM_PROTO", system.proto.clone()),
        ("DRONE_SYSTEM_HOST", system.host.clone()),
        ("DRONE_SYSTEM_HOSTNAME", system.host.clone()),
        ("DRONE_SYSTEM_VERSION", system.version.clone()),
    ])
}

fn of_repository(repository: &Repository) -> Variables {
    let Repository { namespace, name, slug, scm, git_http_url, git_ssh_url, link, .. } = repository;
    named([
        ("DRONE_REPO", slug.clone()),
        ("DRONE_REPO_SCM", scm.clone()),
        ("DRONE_REPO_OWNER", namespace.clone()),
        ("DRONE_REPO_NAMESPACE", namespace.clone()),
        ("DRONE_REPO_NAME", name.clone()),
        ("DRONE_REPO_LINK", link.clone()),
        ("DRONE_REPO_BRANCH", repository.default_branch.clone()),
        ("DRONE_REMOTE_URL", git_http_url.clone()),
        ("DRONE_GIT_HTTP_URL", git_http_url.clone()),
        ("DRONE_GIT_SSH_URL", git_ssh_url.clone()),
        ("DRONE_REPO_VISIBILITY", repository.visibility.clone()),
        ("DRONE_REPO_PRIVATE", repository.private.to_string()),
        // Names of earlier servers, which old pipelines know.
        ("CI_REPO", slug.clone()),
        ("CI_REPO_NAME", slug.clone()),
        ("CI_REPO_LINK", link.clone()),
        ("CI_REPO_REMOTE", git_http_url.clone()),
        ("CI_REMOTE_URL", git_http_url.clone()),
        ("CI_REPO_PRIVATE", repository.private.to_string()),
    ])
}

fn of_build(build: &Build, now: i64) -> Variables {
    let or_now = |time: i64| if time == 0 { now } else { time }.to_string();
    let mut variables = named([
        ("DRONE_BRANCH", build.target.clone()),
        ("DRONE_SOURCE_BRANCH", build.source.clone()),
        ("DRONE_TARGET_BRANCH", build.target.clone()),
        ("DRONE_COMMIT", build.after.clone()),
        ("DRONE_COMMIT_SHA", build.after.clone()),
        ("DRONE_COMMIT_BEFORE", build.before.clone()),
        ("DRONE_COMMIT_AFTER", build.after.clone()),
        ("DRONE_COMMIT_REF", build.git_ref.clone()),
        ("DRONE_COMMIT_BRANCH", build.target.clone()),
        ("DRONE_COMMIT_LINK", build.link.clone()),
        ("DRONE_COMMIT_MESSAGE", build.message.clone()),
        ("DRONE_COMMIT_AUTHOR", build.author_login.clone()),
        ("DRONE_COMMIT_AUTHOR_EMAIL", build.author_email.clone()),
        ("DRONE_COMMIT_AUTHOR_AVATAR", build.author_avatar.clone()),
        ("DRONE_COMMIT_AUTHOR_NAME", build.author_name.clone()),
        ("DRONE_BUILD_NUMBER", build.number.to_string()),
        ("DRONE_BUILD_PARENT", build.parent.to_string()),
        ("DRONE_BUILD_EVENT", build.event.clone()),
        ("DRONE_BUILD_ACTION", build.action.clone()),
        ("DRONE_BUILD_STATUS", "success".to_owned()),
        ("DRONE_BUILD_DEBUG", build.debug.to_string()),
        ("DRONE_BUILD_CREATED", build.created.to_string()),
        ("DRONE_BUILD_STARTED", or_now(build.started)),
        ("DRONE_BUILD_FINISHED", or_now(build.finished)),
        ("DRONE_BUILD_TRIGGER", build.trigger.clone()),
        ("DRONE_DEPLOY_TO", build.deploy_to.clone()),
        ("DRONE_DEPLOY_ID", build.deploy_id.to_string()),
        // Names of earlier servers, which old pipelines know.
        ("CI_BUILD_NUMBER", build.number.to_string()),
        ("CI_PARENT_BUILD_NUMBER", build.parent.to_string()),
        ("CI_BUILD_CREATED", build.created.to_string()),
        ("CI_BUILD_STARTED", build.started.to_string()),
        ("CI_BUILD_FINISHED", build.finished.to_string()),
        ("CI_BUILD_STATUS", build.status.clone()),
        ("CI_BUILD_EVENT", build.event.clone()),
        ("CI_BUILD_LINK", build.link.clone()),
        ("CI_BUILD_TARGET", build.deploy_to.clone()),
        ("CI_COMMIT_SHA", build.after.clone()),
        ("CI_COMMIT_REF", build.git_ref.clone()),
        ("CI_COMMIT_BRANCH", build.target.clone()),
        ("CI_COMMIT_MESSAGE", build.message.clone()),
        ("CI_COMMIT_AUTHOR", build.author_login.clone()),
        ("CI_COMMIT_AUTHOR_NAME", build.author_name.clone()),
        ("CI_COMMIT_AUTHOR_EMAIL", build.author_email.clone()),
        ("CI_COMMIT_AUTHOR_AVATAR", build.author_avatar.clone()),
    ]);
    let mut set = |name: &str, value: String| drop(variables.insert(name.to_owned(), value));
    let failed = failed_stages(build);
    if FAILING.contains(&build.status.as_str()) || !failed.is_empty() {
        set("DRONE_BUILD_STATUS", "failure".to_owned());
        set("DRONE_FAILED_STAGES", failed.join(","));
    }
    if build.is_pull_request() {
        set("DRONE_PULL_REQUEST", first_number(&build.git_ref).to_owned());
        set("DRONE_PULL_REQUEST_TITLE", build.title.clone());
    }
    if let Some(tag) = build.git_ref.strip_prefix("refs/tags/") {
        set("DRONE_TAG", tag.to_owned());
        variables.extend(versions::of_tag(tag));
    }
    variables
}

fn of_stage(stage: &Stage, now: i64) -> Variables {
    let or_now = |time: i64| if time == 0 { now } else { time }.to_string();
    named([
        ("DRONE_STAGE_KIND", stage.kind.clone()),
        ("DRONE_STAGE_TYPE", stage.stage_type.clone()),
        ("DRONE_STAGE_NAME", stage.name.clone()),
        ("DRONE_STAGE_NUMBER", stage.number.to_string()),
        ("DRONE_STAGE_MACHINE", stage.machine.clone()),
        ("DRONE_STAGE_OS", stage.os.clone()),
        ("DRONE_STAGE_ARCH", stage.arch.clone()),
        ("DRONE_STAGE_VARIANT", stage.variant.clone()),
        ("DRONE_STAGE_VERSION", stage.version.to_string()),
        ("DRONE_STAGE_STATUS", "success".to_owned()),
        ("DRONE_STAGE_STARTED", or_now(stage.started)),
        ("DRONE_STAGE_FINISHED", or_now(stage.stopped)),
        ("DRONE_STAGE_DEPENDS_ON", stage.depends_on.join(",")),
        // Where a step prints its card.
        ("DRONE_CARD_PATH", "/dev/stdout".to_owned()),
    ])
}

fn failed_stages(build: &Build) -> Vec<String> {
    let failing = build.stages.iter().filter(|stage| FAILING.contains(&stage.status.as_str()));
    failing.map(|stage| stage.name.clone()).collect()
}

fn first_number(text: &str) -> &str {
    let start = text.find(|letter: char| letter.is_ascii_digit()).unwrap_or(text.len());
    let rest = &text[start..];
    &rest[..rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len())]
}

fn named<const N: usize>(pairs: [(&str, String); N]) -> Variables {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::Payload;

    const NOW: i64 = 1_738_660_009;

    fn details(build: &str) -> Details {
        let text = format!(
            r#"{{"build":{{"number":41,{build}}},"repository":{{"slug":"acme/kettle","namespace":"acme","name":"kettle",
                "git_http_url":"https://git.example.test/acme/kettle.git","secret":"0123456789abcdefghijklmnopqrstuv"}},
                "stage":{{"name":"unit","number":1,"machine":"m1"}},
                "system":{{"proto":"https","host":"ci.example.test","version":"2.24.0"}},
                "netrc":{{"password":"tok-git"}},"secrets":[{{"name":"pw","data":"hunter2"}}]}}"#
        );
        Details::read(&Payload::text(text)).expect("details")
    }

    #[test]
    fn facts_have_the_names_that_pipelines_know_and_hold_no_secret() {
        let facts =
            for_expansion(&details(r#""event":"push","after":"2e2e","target":"main","author_login":"rosa""#), NOW);
        for (name, value) in [
            ("CI", "true"),
            ("DRONE_BUILD_LINK", "https://ci.example.test/acme/kettle/41"),
            ("DRONE_BUILD_STARTED", "1738660009"),
            ("DRONE_BRANCH", "main"),
            ("DRONE_COMMIT_SHA", "2e2e"),
            ("DRONE_COMMIT_AUTHOR", "rosa"),
            ("CI_REPO_NAME", "acme/kettle"),
            ("DRONE_REPO_NAME", "kettle"),
            ("DRONE_STAGE_MACHINE", "m1"),
            ("DRONE_BUILD_STATUS", "success"),
        ] {
            assert_eq!(facts.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!facts.contains_key("DRONE_TAG") && !facts.contains_key("DRONE_PULL_REQUEST"));
        let text = format!("{facts:?}");
        assert!(!["hunter2", "tok-git", "ghijklm"].iter().any(|secret| text.contains(secret)));
    }

    #[test]
    fn a_pull_request_has_its_number_and_a_tag_its_version() {
        let pull = for_expansion(&details(r#""event":"pull_request","ref":"refs/pull/73/head","title":"boil""#), NOW);
        assert_eq!((pull["DRONE_PULL_REQUEST"].as_str(), pull["DRONE_PULL_REQUEST_TITLE"].as_str()), ("73", "boil"));
        let tag = for_expansion(&details(r#""event":"tag","ref":"refs/tags/v1.2.3-rc.1+b7""#), NOW);
        assert_eq!((tag["DRONE_TAG"].as_str(), tag["DRONE_SEMVER_SHORT"].as_str()), ("v1.2.3-rc.1+b7", "1.2.3"));
    }

    #[test]
    fn a_step_after_a_failure_is_told_of_it() {
        let details = details(r#""stages":[{"name":"lint","status":"failure"},{"name":"unit","status":"running"}]"#);
        let first = of_stage_now(&details, &Standing::default(), NOW);
        assert_eq!((first["DRONE_BUILD_STATUS"].as_str(), first["DRONE_FAILED_STAGES"].as_str()), ("failure", "lint"));
        assert_eq!(first["DRONE_STAGE_STATUS"], "success");
        let now = of_stage_now(&details, &Standing { failed: vec!["a".to_owned(), "b".to_owned()] }, NOW);
        assert_eq!((now["DRONE_STAGE_STATUS"].as_str(), now["DRONE_FAILED_STEPS"].as_str()), ("failure", "a,b"));
    }

    #[test]
    fn proxies_come_in_both_spellings() {
        let host = |name: &str| (name == "https_proxy").then(|| "http://p:1".to_owned());
        let proxies = of_proxies(host);
        assert_eq!(proxies.keys().collect::<Vec<_>>(), ["HTTPS_PROXY", "https_proxy"]);
    }
}
