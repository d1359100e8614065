//! `dlite runner pipeline lint`.

use std::process::{Command, Output};

const FILE: &str = r#"
kind: pipeline
type: exec
name: unit
platform: {os: linux, arch: amd64}
services:
- {name: database, commands: [postgres]}
steps:
- {name: build, commands: [make]}
- {name: test, commands: [make test], depends_on: [build]}
- {name: check, commands: [make check], depends_on: [build], failure: ignore}
- {name: publish, commands: [make publish], depends_on: [test, check], when: {branch: main}}
- {name: tell, commands: [mail], depends_on: [publish], when: {status: [failure, success]}}
---
kind: pipeline
type: exec
name: release
depends_on: [unit]
trigger: {event: tag}
clone: {disable: true}
steps:
- {name: "tag-${DRONE_COMMIT_REF##*/}", commands: [make release]}
- {name: undo, commands: [make undo], when: {status: failure}}
- {name: leave, commands: [make leave], failure: fast}
"#;

fn lint(text: &str, flags: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("drone.yml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlite"));
    command.args(["runner", "pipeline", "lint"]).arg(&file).args(flags).output().unwrap()
}

fn told(text: &str, flags: &[&str]) -> String {
    let output = lint(text, flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_push_to_main_is_told_as_a_graph() {
    let expected = r#"pipeline "unit", document 1, line 2, os linux, arch amd64
  1 clone
  ├─ 2 database (detached)
  └─ 3 build
     ├─ 4 test
     └─ 5 check (its failure is ignored)
        6 publish (also after 4)
        7 tell (after failures, too)

pipeline "release", document 2, line 15, after "unit"
  the server would not start it: trigger.event does not match "push"
  1 tag-main
  2 undo (only after a failure)
  3 leave (its failure stops the others)
"#;
    assert_eq!(told(FILE, &[]), expected);
}

#[test]
fn flags_say_what_the_build_is() {
    let expected = r#"pipeline "unit", document 1, line 2, os linux, arch amd64
  1 clone
  ├─ 2 database (detached)
  └─ 3 build
     ├─ 4 test
     └─ 5 check (its failure is ignored)
        6 tell (also after 4; after failures, too)
  - publish is left out: when.branch does not match "next"
"#;
    assert_eq!(told(FILE, &["--stage", "unit", "--branch", "next"]), expected);

    let release = told(FILE, &["--stage", "release", "--event", "tag", "--ref", "refs/tags/v3"]);
    assert!(release.contains("1 tag-v3\n") && !release.contains("would not start"), "{release}");
}

#[test]
fn every_flag_reaches_its_condition() {
    let flags = [
        ("event", "--event", "promote"),
        ("branch", "--branch", "next"),
        ("ref", "--ref", "refs/tags/v1"),
        ("action", "--action", "opened"),
        ("repo", "--repo", "acme/kettle"),
        ("target", "--target", "production"),
        ("cron", "--cron", "nightly"),
        ("instance", "--instance", "ci.example.test"),
    ];
    for (condition, flag, value) in flags {
        let text = format!("kind: pipeline\ntype: exec\nsteps: [{{name: a, when: {{{condition}: {value}}}}}]");
        assert!(told(&text, &[]).contains(&format!("a is left out: when.{condition}")), "{flag}");
        assert!(told(&text, &[flag, value]).contains("2 a\n"), "{flag}");
    }
}

#[test]
fn variables_of_the_command_line_are_expanded() {
    let text = "kind: pipeline\ntype: exec\nsteps: [{name: 'build-${FLAVOUR:-plain}'}]";
    assert!(told(text, &[]).contains("2 build-plain\n"));
    assert!(told(text, &["--var", "FLAVOUR=green=tea"]).contains("2 build-green=tea\n"));
}

#[test]
fn mistakes_are_told_one_a_line_with_the_file_and_a_code_of_their_own() {
    let output = lint("kind: pipeline\ntype: exec\nsteps:\n- name: a\n  comands: []\n- name: a\n", &[]);
    assert_eq!(output.status.code(), Some(4));
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = told.lines().map(|line| line.split_once("drone.yml: ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            r#"line 5, document 1 (pipeline "default"), step "a": the key "comands" is not known; did you mean commands?"#,
            r#"line 6, document 1 (pipeline "default"), step "a": name: another step before it has the same name"#,
        ]
    );
}

#[test]
fn a_stage_that_is_not_there_and_a_file_without_pipelines_say_so() {
    let code_and_text = |text: &str, flags: &[&str]| {
        let output = lint(text, flags);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = code_and_text(FILE, &["--stage", "units"]);
    assert!(
        code == Some(4) && told.contains(r#"no pipeline of type exec is named "units"; there is "unit", "release""#),
        "{told}"
    );
    let (code, told) = code_and_text("kind: pipeline\ntype: docker\n", &[]);
    assert!(code == Some(4) && told.contains("the configuration has no pipeline of type exec"), "{told}");
    let (code, told) = code_and_text(&"# large\n".repeat(200_000), &[]);
    assert!(code == Some(4) && told.contains("more than 1048576 bytes"), "{told}");
}
