//! Documents: what is read of them, and what is said of mistakes.

use dlite::pipeline::yaml::{self, Failure, Manifest, Pipeline, SecretSource, Step, Value};

fn parsed(text: &str) -> Manifest {
    yaml::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn pipeline(text: &str) -> Pipeline {
    parsed(text).pipelines.remove(0)
}

fn steps(text: &str) -> Vec<Step> {
    pipeline(&format!("kind: pipeline\ntype: exec\n{text}")).steps
}

/// Each mistake of the text as its line.
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = yaml::parse(text).expect_err("the text has mistakes");
    mistakes.to_string().lines().map(str::to_owned).collect()
}

const WHOLE: &str = r#"
kind: pipeline
type: exec
name: unit

platform:
  os: linux
  arch: amd64
  variant: v8
  version: 6

workspace:
  path: src/kettle

clone:
  depth: 50
  retries: 3
  skip_verify: yes
  trace: on

concurrency:
  limit: 2

node:
  zone: north
  gpu: 1

depends_on: [lint]

trigger:
  branch: [main, release-*]
  event:
    exclude: [pull_request]

environment:
  CC: clang
  JOBS: 4
  PASSWORD: {from_secret: db_password}

services:
- name: database
  commands: [postgres]

steps:
- name: build
  shell: /bin/bash
  commands:
  - make
  - |
    make check
    make docs
  environment:
    DEBUG: true
  failure: ignore
- name: serve
  commands: [./serve]
  detach: true
  depends_on: [build]
- name: publish
  commands: [make publish]
  depends_on: [build, serve]
  failure: fast
  when:
    branch: main
    ref:
      include: [refs/heads/*]
    status: [success, failure]
"#;

#[test]
fn every_key_is_read() {
    let pipeline = pipeline(WHOLE);
    assert_eq!(pipeline.name, "unit");
    let platform = &pipeline.platform;
    let platform = [&platform.os, &platform.arch, &platform.variant, &platform.version];
    assert_eq!(platform, ["linux", "amd64", "v8", "6"]);
    assert_eq!(pipeline.workspace.path.as_deref(), Some("src/kettle"));
    let clone = pipeline.clone;
    assert_eq!((clone.disable, clone.depth, clone.retries), (false, Some(50), 3));
    assert!(clone.skip_verify && clone.trace);
    assert_eq!(pipeline.concurrency_limit, Some(2));
    assert_eq!(pipeline.node["gpu"], "1");
    assert_eq!(pipeline.depends_on, ["lint"]);
    assert_eq!(pipeline.trigger.branch.include, ["main", "release-*"]);
    assert_eq!(pipeline.trigger.event.exclude, ["pull_request"]);
    assert_eq!(pipeline.environment["JOBS"], Value::Text("4".to_owned()));
    assert_eq!(pipeline.environment["PASSWORD"], Value::FromSecret("db_password".to_owned()));
    assert_eq!((pipeline.services[0].name.as_str(), pipeline.services[0].detach), ("database", true));

    let [build, serve, publish] = pipeline.steps.as_slice() else { panic!("three steps") };
    assert_eq!(build.shell.as_deref(), Some("/bin/bash"));
    assert_eq!(build.commands, ["make", "make check\nmake docs\n"]);
    assert_eq!(build.environment["DEBUG"], Value::Text("true".to_owned()));
    assert_eq!((build.failure, serve.failure, publish.failure), (Failure::Ignore, Failure::Fail, Failure::Fast));
    assert!(serve.detach && !publish.detach);
    assert_eq!(publish.depends_on, ["build", "serve"]);
    assert_eq!(publish.when.branch.include, ["main"]);
    assert_eq!(publish.when.reference.include, ["refs/heads/*"]);
    assert_eq!(publish.when.status.include, ["success", "failure"]);
    assert_eq!((build.place.document, build.place.line), (1, 45));
}

#[test]
fn a_stage_finds_its_document_among_those_of_other_kinds_and_types() {
    let manifest = parsed(concat!(
        "---\nkind: pipeline\ntype: docker\nname: image\nsteps: [{name: x, image: alpine, unheard_of: 1}]\n",
        "---\nkind: template\nload: x.star\n",
        "---\nkind: pipeline\ntype: exec\nsteps: [{name: first}]\n",
        "---\njust: something\n---\n- a list\n---\n",
        "---\nkind: pipeline\ntype: exec\nname: second\nsteps: [{name: other}]\n",
        "...\nkind: pipeline\ntype: exec\nname: after-the-end\nsteps: 7\n",
    ));
    assert_eq!(manifest.pipelines.len(), 2);
    assert_eq!(manifest.select("default").unwrap().steps[0].name, "first");
    assert_eq!(manifest.select("").unwrap().steps[0].name, "first");
    let second = manifest.select("second").unwrap();
    assert_eq!((second.place.document, second.steps[0].name.as_str()), (7, "other"));
    let error = manifest.select("third").unwrap_err();
    assert_eq!(error.to_string(), r#"no pipeline of type exec is named "third"; there is "default", "second""#);
}

#[test]
fn secrets_and_signatures_are_documents_too() {
    let manifest = parsed(concat!(
        "kind: secret\nname: sealed\ndata: |\n  bm9uY2U\n  Y2lwaGVy\n",
        "---\nkind: secret\nname: Kept\nget: {path: team/db, name: password}\n",
        "---\nkind: secret\nname: old\nget: {path: team/db, key: password}\n",
        "---\nkind: signature\nhmac: 0123abcd\n",
    ));
    assert_eq!(manifest.secret("sealed").unwrap().source, SecretSource::Sealed("bm9uY2UY2lwaGVy".to_owned()));
    let plugin = SecretSource::Plugin { path: "team/db".to_owned(), name: "password".to_owned() };
    assert_eq!(manifest.secret("kept").unwrap().source, plugin);
    assert_eq!(manifest.secret("old").unwrap().source, plugin);
    assert_eq!(manifest.signatures[0].hmac, "0123abcd");
}

#[test]
fn anchors_aliases_and_merges_say_what_they_stand_for() {
    let steps = steps(concat!(
        "x-base: &base\n  environment: &env {A: base, B: base}\n  when: {branch: main}\n",
        "steps:\n",
        "- name: one\n  <<: *base\n",
        "- name: two\n  <<: *base\n  environment: {<<: *env, B: own}\n",
        "- {name: three, <<: [{failure: ignore}, {failure: fast, detach: true}]}\n",
    ));
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!((&steps[0].environment["B"], steps[0].when.branch.include[0].as_str()), (&text("base"), "main"));
    assert_eq!((&steps[1].environment["A"], &steps[1].environment["B"]), (&text("base"), &text("own")));
    assert_eq!((steps[2].failure, steps[2].detach), (Failure::Ignore, true));
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one_its_step_and_its_line() {
    let text = "kind: pipeline\ntype: exec\nname: unit\nsteps:\n- name: build\n  comands: [make]\n- name: test\n  when:\n    brnach: main\n";
    assert_eq!(
        mistakes(text),
        [
            r#"line 6, document 1 (pipeline "unit"), step "build": the key "comands" is not known; did you mean commands?"#,
            r#"line 9, document 1 (pipeline "unit"), step "test": when: the key "brnach" is not known; did you mean branch?"#,
        ]
    );
}

#[test]
fn a_key_at_the_top_that_looks_like_no_known_one_holds_anchors_and_is_left_alone() {
    assert_eq!(steps("x-common: {a: 1}\nsteps: [{name: a}]").len(), 1);
    let mistakes = mistakes("kind: pipeline\ntype: exec\nstep: [{name: a}]");
    assert!(mistakes[0].ends_with(r#"the key "step" is not known; did you mean steps?"#), "{mistakes:?}");
}

#[test]
fn each_mistake_says_what_and_where_it_is() {
    let cases = [
        // shapes
        ("steps: make", "line 3", "steps: is a text, not a list"),
        ("steps: [make]", "line 3", "steps: item 1 is a text, not a step with a name"),
        (
            "steps: [{name: a, commands: make}]",
            "step \"a\"",
            "commands: is a text, not a list; write each on a line of its own",
        ),
        (
            "steps:\n- name: a\n  commands:\n  - make\n  - echo x: y",
            "line 7",
            "commands: item 2 is a mapping, not a text; a colon and a space",
        ),
        ("steps: [{name: a, detach: maybe}]", "line 3", "detach: is a text, write true or false"),
        ("steps: [{name: [a]}]", "line 3", "name: is a list, not a text"),
        ("clone: {depth: deep}", "line 3", "clone.depth: write a whole number from 0 to"),
        ("clone: {retries: 11}", "line 3", "clone.retries: write a whole number from 0 to 10"),
        ("clone: false", "line 3", "clone: is a text, not a mapping"),
        ("environment: [A=1]", "line 3", "environment: is a list, not a mapping"),
        ("environment: {A: [1]}", "line 3", "environment.A: is a list; write a text, or {from_secret: name}"),
        ("environment: {A: {secret: x}}", "line 3", "the key \"secret\" is not known"),
        ("environment: {A=B: x}", "line 3", "\"A=B\" is no name of a variable"),
        ("environment: {A: \"x\\0y\"}", "line 3", "environment.A: holds the character NUL"),
        ("steps: [{name: a, when: main}]", "step \"a\"", "when: is a text, not a mapping"),
        ("steps: [{name: a, when: {branch: {includ: x}}}]", "step \"a\"", "did you mean include?"),
        ("steps: [{name: a, when: {branch: [{}]}}]", "step \"a\"", "when.branch: is a mapping; write a text"),
        (
            "steps: [{name: a, when: {branch: '[x'}}]",
            "step \"a\"",
            "when.branch: the glob \"[x\" has a [ without its ]",
        ),
        ("steps: [{name: a, failure: ignored}]", "step \"a\"", "failure: \"ignored\" is none of fail, ignore, fast"),
        ("workspace: {path: ../x}", "line 3", "workspace.path: \"../x\" is no path within the stage's room"),
        ("workspace: {path: /x}", "line 3", "workspace.path: \"/x\" is no path within"),
        // names
        ("steps: [{commands: [x]}]", "line 3", "steps: item 1 has no name"),
        ("steps:\n- name: a\n- name: a", "line 5", "name: another step before it has the same name"),
        ("services: [{name: a}]\nsteps: [{name: a}]", "line 4", "another step before it has the same name"),
        ("steps: [{name: clone}]", "line 3", "write clone: {disable: true}"),
        // dependencies
        (
            "steps: [{name: build}, {name: a, depends_on: [biuld]}]",
            "step \"a\"",
            "there is no step \"biuld\"; did you mean build?",
        ),
        ("steps: [{name: a, depends_on: [a]}]", "step \"a\"", "depends_on: \"a\" waits for itself"),
        // what is for containers
        ("steps: [{name: a, image: alpine}]", "step \"a\"", "image: steps of type exec run on the host"),
        ("steps: [{name: a, settings: {x: 1}}]", "step \"a\"", "settings: they are for plugins in containers"),
        // YAML itself
        ("steps: [a: b: c", "line 3", "no YAML at column"),
        ("steps: *nowhere", "line 3", "no YAML at column"),
        ("steps: &a [*a]", "line 3", "the alias names no anchor above it"),
        ("steps: !include x.yml", "line 3", "the tag \"!include\" is not known; leave it out"),
        ("? [a, b]\n: x", "line 3", "only texts can be keys"),
        ("<<: 7", "line 3", "<< merges mappings only"),
        ("name: a\nname: b", "line 4", "the key \"name\" is here twice; line 3 has it, too"),
    ];
    for (text, place, reason) in cases {
        let mistakes = mistakes(&format!("kind: pipeline\ntype: exec\n{text}"));
        let found = mistakes.iter().any(|mistake| mistake.contains(place) && mistake.contains(reason));
        assert!(found, "{text}: {mistakes:#?} instead of {place}: {reason}");
    }
}

#[test]
fn the_document_of_a_mistake_is_counted_from_the_first() {
    let text = "kind: secret\nname: x\ndata: y\n---\nkind: pipeline\ntype: exec\nsteps: [{name: a, detach: 2}]";
    assert!(mistakes(text)[0].starts_with("line 7, document 2 (pipeline \"default\"), step \"a\": detach: "));
}

#[test]
fn an_anchor_of_another_document_is_none() {
    let text = "x: &a 1\n---\nkind: pipeline\ntype: exec\nname: *a";
    assert!(mistakes(text)[0].contains("the alias names no anchor above it in this document"));
}

#[test]
fn two_pipelines_of_one_name_are_a_mistake() {
    let text = "kind: pipeline\ntype: exec\n---\nkind: pipeline\ntype: exec\nname: default";
    assert!(mistakes(text)[0].contains("document 2") && mistakes(text)[0].contains("another pipeline before it"));
}

#[test]
fn values_do_not_show_in_what_is_printed_for_debugging() {
    let printed = format!("{:?}", pipeline("kind: pipeline\ntype: exec\nenvironment: {A: hunter2}"));
    assert!(!printed.contains("hunter2"), "{printed}");
}
