//! How stages end before their time: whatever happens, nothing of them is left.

use std::fs;

use dlite::doubles::drone::{Record, Submitted};

use crate::lab::{self, Lab, SOON, rows};

/// A step with a grandchild in a session of its own; both ignore SIGTERM. They tell their pids.
fn stubborn(lab: &Lab) -> String {
    let directory = lab.directory.path().display();
    format!(
        "steps:\n- name: long\n  commands:\n  - trap '' TERM\n  - |\n    setsid sh -c \"trap '' TERM; echo \\$$\\$$ > {directory}/child; while :; do sleep 1; done\" &\n  \
         - while [ ! -s {directory}/child ]; do sleep 0.01; done\n  - pwd > {directory}/workspace\n  - echo $$$$ > {directory}/leader\n  \
         - while :; do sleep 1; done\n- name: after\n  commands:\n  - echo never\n"
    )
}

/// Once it runs: pids of the step and of the grandchild.
async fn running(lab: &Lab) -> [u32; 2] {
    let pids = [lab.wrote("leader").await.parse().unwrap(), lab.wrote("child").await.parse().unwrap()];
    assert!(pids.iter().all(|pid| !lab::is_gone(*pid)));
    assert!(fs::exists(lab.wrote("workspace").await).unwrap());
    pids
}

async fn begin(lab: &Lab) -> (Submitted, [u32; 2]) {
    let submitted = lab.submit(&format!("clone:\n  disable: true\n{}", stubborn(lab)));
    let pids = running(lab).await;
    (submitted, pids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_kills_a_step_and_what_it_started_whatever_they_ignore() {
    let lab = Lab::new().await;
    let (submitted, pids) = begin(&lab).await;
    let stage = submitted.stages[0];
    lab.server.wait_until(|record| record.totals.watches_open > 0, SOON).await.unwrap();
    assert!(lab.server.cancel(submitted.build));
    lab::until(|| pids.iter().all(|pid| lab::is_gone(*pid))).await;
    lab.nothing_is_left().await;
    assert_eq!(lab.server.status(stage).as_deref(), Some("killed"));
    // Its slot is free again.
    let (status, _) = lab.run("steps:\n- name: next\n  commands:\n  - echo next\n").await;
    assert_eq!(status, "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_time_is_over_is_killed_and_says_so() {
    let lab = Lab::with("stage_timeout = \"3s\"").await;
    let (submitted, pids) = begin(&lab).await;
    let stage = submitted.stages[0];
    lab.server.wait_until(|record: &Record| record.effective(stage).is_some(), SOON).await.unwrap();
    assert!(pids.iter().all(|pid| lab::is_gone(*pid)));
    let steps = lab.steps(&submitted);
    assert_eq!(rows(&steps), [("long", "killed", 137), ("after", "skipped", 0)]);
    assert_eq!(lab.server.status(stage).as_deref(), Some("killed"));
    assert!(lab.error(&submitted).contains("time"), "{}", lab.error(&submitted));
    lab.nothing_is_left().await;
    lab.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_takes_its_steps_along_and_the_next_one_clears_up() {
    let mut lab = Lab::new().await;
    let (_, pids) = begin(&lab).await;
    let workspace = lab.wrote("workspace").await;
    lab.kill_runner();
    lab::until(|| pids.iter().all(|pid| lab::is_gone(*pid)) && lab.left_behind().is_empty()).await;
    assert!(fs::exists(&workspace).unwrap(), "nobody was there to remove it");
    lab.start_runner();
    lab.nothing_is_left().await;
    // It tells of it once it is done.
    lab::until(|| lab.log().contains("a stage of an earlier runner had left its directory")).await;
    let (status, _) = lab.run("steps:\n- name: next\n  commands:\n  - echo next\n").await;
    assert_eq!(status, "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_outlives_the_steps_ends_with_the_stage() {
    let lab = Lab::new().await;
    let steps = format!(
        "services:\n- name: database\n  commands:\n  - trap '' TERM\n  - echo $$$$ > {0}/leader\n  - while :; do sleep 1; done\n\
         steps:\n- name: test\n  commands:\n  - while [ ! -s {0}/leader ]; do sleep 0.01; done\n  - echo tested\n",
        lab.directory.path().display()
    );
    let (status, steps) = lab.run(&steps).await;
    assert_eq!((status.as_str(), rows(&steps)), ("success", vec![("database", "success", 0), ("test", "success", 0)]));
    let pid = lab.wrote("leader").await.parse().unwrap();
    assert!(lab::is_gone(pid));
    lab.nothing_is_left().await;
    lab.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_pipeline_ends_the_stage_as_an_error_that_names_the_line() {
    let lab = Lab::new().await;
    let submitted = lab.submit("steps:\n- name: a\n  comands:\n  - echo a\n");
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!((status.as_str(), steps.len()), ("error", 0));
    let error = lab.error(&submitted);
    assert!(error.contains("comands") && error.contains("line 7"), "{error}");
    lab.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_its_shell_is_an_error_and_fails_the_stage_as_one() {
    let lab = Lab::new().await;
    let (status, steps) = lab.run("steps:\n- name: a\n  shell: /no/such/shell\n  commands:\n  - echo a\n").await;
    assert_eq!((status.as_str(), rows(&steps)), ("error", vec![("a", "error", 255)]));
    lab.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_beyond_its_memory_is_killed_and_says_so() {
    let lab = Lab::with("[limits]\nmemory = \"64MiB\"").await;
    let (status, steps) =
        lab.run("steps:\n- name: hungry\n  commands:\n  - head -c 300000000 /dev/zero | tail | sleep 30\n").await;
    assert_eq!((status.as_str(), rows(&steps)), ("failure", vec![("hungry", "failure", 137)]), "{steps:?}");
    assert!(steps[0].text().contains("killed: it used more than its 67108864 bytes of memory"), "{steps:?}");
    lab.nothing_is_left().await;
}

#[test]
fn the_packaged_file_is_valid() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/pipeline.toml");
    dlite::pipeline::runner::Config::load(&file).unwrap_or_else(|complaints| panic!("{complaints}"));
}
