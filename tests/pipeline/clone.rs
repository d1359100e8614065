//! The sources: fetched from a repository made here, for each kind of build, again where it fails, and with nothing left of it.

use std::{fs, path::Path, process::Command};

use crate::lab::{Ended, Lab, rows};

/// A repository with two commits on `main`, a tag on the first, and a pull request with one more.
struct Forge {
    directory: tempfile::TempDir,
    first: String,
    second: String,
    proposed: String,
}

// === impl Forge ===

impl Forge {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path();
        git(work, &["init", "-q", "-b", "main"]);
        let commit = |file: &str, text: &str| {
            fs::write(work.join(file), text).unwrap();
            git(work, &["add", "."]);
            git(work, &["commit", "-q", "-m", text]);
            git(work, &["rev-parse", "HEAD"])
        };
        let first = commit("kettle", "cold");
        git(work, &["tag", "v1.0.0"]);
        git(work, &["checkout", "-q", "-b", "faster"]);
        let proposed = commit("whistle", "loud");
        git(work, &["update-ref", "refs/pull/7/head", &proposed]);
        git(work, &["checkout", "-q", "main"]);
        git(work, &["branch", "-q", "-D", "faster"]);
        let second = commit("kettle", "hot");
        Self { directory, first, second, proposed }
    }

    fn url(&self) -> String {
        format!("file://{}", self.directory.path().display())
    }
}

fn git(work: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=rosa", "-c", "user.email=rosa@example.test"])
        .args(arguments)
        .current_dir(work)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const LOOK: &str = "steps:\n- name: look\n  commands:\n  - cat kettle; echo; ls\n  - git log --oneline | wc -l\n  - git rev-parse HEAD\n";

/// What the build of `commit` at `git_ref` finds.
async fn look(lab: &Lab, forge: &Forge, event: &str, git_ref: &str, commit: &str, clone: &str) -> Vec<String> {
    let submitted = lab.submit_with(&format!("{clone}{LOOK}"), |repo, mut build| {
        repo.git_http_url = Some(forge.url());
        (build.event, build.git_ref, build.commit) = (event.to_owned(), git_ref.to_owned(), commit.to_owned());
        build
    });
    let (status, steps) = lab.ended(&submitted).await;
    let shown = steps.iter().map(Ended::text).collect::<Vec<_>>().join("\n");
    assert_eq!(rows(&steps), [("clone", "success", 0), ("look", "success", 0)], "{shown}");
    assert_eq!(status, "success");
    steps[1].log.iter().filter(|line| !line.starts_with("+ ")).map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_build_gets_the_sources_that_it_is_about() {
    let (lab, forge) = (Lab::new().await, Forge::new());
    let pushed = look(&lab, &forge, "push", "refs/heads/main", &forge.second, "").await;
    assert_eq!(pushed, ["hot", "kettle", "2", &forge.second]);
    // The branch has gone on since.
    let earlier = look(&lab, &forge, "push", "refs/heads/main", &forge.first, "").await;
    assert_eq!(earlier, ["cold", "kettle", "1", &forge.first]);
    let tagged = look(&lab, &forge, "tag", "refs/tags/v1.0.0", &forge.first, "").await;
    assert_eq!(tagged, ["cold", "kettle", "1", &forge.first]);
    let promoted = look(&lab, &forge, "promote", "refs/heads/main", &forge.second, "").await;
    assert_eq!(promoted, ["hot", "kettle", "2", &forge.second]);
    // The proposal on top of the branch it is meant for.
    let merged = look(&lab, &forge, "pull_request", "refs/pull/7/head", &forge.proposed, "").await;
    assert_eq!(merged[..4], ["hot", "kettle", "whistle", "4"]);
    assert!(![&forge.first, &forge.second, &forge.proposed].contains(&&merged[4]), "a merge is a commit of its own");
    lab.nothing_is_left().await;
    lab.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_depth_bounds_the_history_and_still_finds_an_earlier_commit() {
    let (lab, forge) = (Lab::new().await, Forge::new());
    let depth = "clone:\n  depth: 1\n";
    let shallow = look(&lab, &forge, "push", "refs/heads/main", &forge.second, depth).await;
    assert_eq!(shallow, ["hot", "kettle", "1", &forge.second]);
    let earlier = look(&lab, &forge, "push", "refs/heads/main", &forge.first, depth).await;
    assert_eq!(earlier[0], "cold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_clone_tries_again_and_then_says_why() {
    let lab = Lab::new().await;
    let submitted = lab.submit_with(&format!("clone:\n  retries: 1\n{LOOK}"), |repo, build| {
        repo.git_http_url = Some(format!("file://{}", lab.path("nowhere").display()));
        build
    });
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!((status.as_str(), rows(&steps)), ("failure", vec![("clone", "failure", 128), ("look", "skipped", 0)]));
    let told = steps[0].text();
    assert_eq!(told.matches("does not appear to be a git repository").count(), 2, "{told}");
    assert!(told.contains("failed with exit code 128; attempt 2 of 2 follows in 1 s"), "{told}");
    assert!(lab.error(&submitted).contains("step clone ended with exit code 128"), "{}", lab.error(&submitted));
    lab.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_fails_at_first_succeeds_in_an_empty_directory() {
    let (lab, forge) = (Lab::new().await, Forge::new());
    // The repository is there once the first attempt has failed.
    let link = lab.path("repository");
    let submitted = lab.submit_with(&format!("clone:\n  retries: 5\n{LOOK}"), |repo, mut build| {
        repo.git_http_url = Some(format!("file://{}", link.display()));
        build.commit = forge.second.clone();
        build
    });
    lab.step_runs(&submitted, "clone").await;
    std::os::unix::fs::symlink(forge.directory.path(), &link).unwrap();
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!((status.as_str(), rows(&steps)[0]), ("success", ("clone", "success", 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_in_the_home_of_the_stage_alone() {
    let (lab, forge) = (Lab::new().await, Forge::new());
    let look = "steps:\n- name: look\n  commands:\n  - stat -c '%a %n' $HOME/.netrc | sed s,$HOME,HOME,\n  - cat $HOME/.netrc\n";
    let submitted = lab.submit_with(look, |repo, mut build| {
        repo.git_http_url = Some(forge.url());
        build.commit = forge.second.clone();
        build
    });
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!(status, "success");
    let told = steps[1].text();
    assert!(told.contains("600 HOME/.netrc"), "{told}");
    // The password is masked like any secret.
    assert!(told.contains("machine git.example.test login x-token password ***"), "{told}");
    lab.nothing_is_left().await;
}
