//! The show that people see first.

use std::process::Command;

#[test]
fn the_dev_run_plays_a_stage_of_four_steps_and_checks_what_the_server_has_of_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlite"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DLITE_") || name.starts_with("DRONE_") {
            command.env_remove(name);
        }
    }
    let output = command.args(["dev", "--upstream", "drone"]).output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}");
    for line in [
        "step 1 clone      success  exit 0",
        "step 2 database   success  exit 0, detached",
        "step 3 lint       failure  exit 3, may fail",
        "step 4 test       success  exit 0, with a card",
        "17 passed",
        "success",
        "a pipeline of type exec, from a git repository made for it",
        "step 1 clone      success  exit 0",
        "step 2 kettle     success  exit 0, detached",
        "step 3 lint       failure  exit 1, may fail",
        "acme/teapot: hot water on ***",
        "step 5 complain   skipped  exit 0",
    ] {
        assert!(shown.contains(line), "{line:?} is missing\n{shown}");
    }
    assert!(!said.contains("dev-shared-secret") && !shown.contains("dev-shared-secret"), "the secret is shown");
}
