//! Conditions: which steps a build has.

use dlite::pipeline::{
    condition::{Build, RunPolicy},
    plan::{Plan, plan},
    yaml::{self, Pipeline},
};

fn build() -> Build {
    Build {
        action: "opened".to_owned(),
        branch: "main".to_owned(),
        cron: "nightly".to_owned(),
        event: "push".to_owned(),
        instance: "ci.example.test".to_owned(),
        reference: "refs/heads/main".to_owned(),
        repo: "acme/kettle".to_owned(),
        target: "production".to_owned(),
    }
}

/// A pipeline whose step has `when`, written as a flow mapping.
fn pipeline(when: &str) -> Pipeline {
    let text = format!(
        "kind: pipeline\ntype: exec\nclone: {{disable: true}}\nsteps:\n- name: step\n  commands: [make]\n  when: {when}\n"
    );
    yaml::parse(&text).unwrap_or_else(|error| panic!("{when}: {error}")).pipelines.remove(0)
}

fn planned(when: &str) -> Plan {
    plan(&pipeline(when), &build())
}

#[test]
fn a_step_runs_if_all_its_conditions_match() {
    let cases = [
        // in all three forms
        ("{}", true),
        ("{branch: main}", true),
        ("{branch: [main, next]}", true),
        ("{branch: [next]}", false),
        ("{branch: {include: [main]}}", true),
        ("{branch: {include: main}}", true),
        ("{branch: {exclude: [main]}}", false),
        ("{branch: {exclude: [next]}}", true),
        ("{branch: {include: [m*], exclude: [main]}}", false),
        ("{branch: []}", true),
        ("{branch: }", true),
        // every key
        ("{event: push}", true),
        ("{event: [pull_request, tag]}", false),
        ("{event: {exclude: [pull_request]}}", true),
        ("{action: [opened, synchronized]}", true),
        ("{action: closed}", false),
        ("{ref: refs/heads/main}", true),
        ("{ref: refs/heads/*}", true),
        ("{ref: refs/tags/**}", false),
        ("{ref: {include: ['refs/heads/**'], exclude: [refs/heads/next]}}", true),
        ("{repo: acme/*}", true),
        ("{repo: other/*}", false),
        ("{repo: '**'}", true),
        ("{instance: ci.example.test}", true),
        ("{instance: '*.other.test'}", false),
        ("{target: production}", true),
        ("{target: staging}", false),
        ("{cron: nightly}", true),
        ("{cron: weekly}", false),
        ("{paths: [docs/*]}", true),
        // globs
        ("{branch: 'm*n'}", true),
        ("{branch: 'ma?n'}", true),
        ("{branch: '[a-m]ain'}", true),
        ("{branch: '[^a-m]ain'}", false),
        ("{branch: '{main,next}'}", true),
        // all of them
        ("{branch: main, event: push}", true),
        ("{branch: main, event: tag}", false),
        ("{branch: main, event: push, repo: acme/kettle, target: production}", true),
    ];
    for (when, expected) in cases {
        assert_eq!(planned(when).steps.len(), usize::from(expected), "{when}");
    }
}

#[test]
fn a_step_that_is_left_out_says_which_condition_it_was() {
    let plan = planned("{event: push, branch: [next, release-*]}");
    let unmet = &plan.left_out[0].unmet;
    assert_eq!((unmet.condition, unmet.value.as_str()), ("branch", "main"));
}

#[test]
fn status_says_how_the_stage_must_be_going() {
    let cases = [
        ("{}", RunPolicy::OnSuccess),
        ("{status: success}", RunPolicy::OnSuccess),
        ("{status: [success]}", RunPolicy::OnSuccess),
        ("{status: failure}", RunPolicy::OnFailure),
        ("{status: [failure]}", RunPolicy::OnFailure),
        ("{status: [success, failure]}", RunPolicy::Always),
        ("{status: [failure, success]}", RunPolicy::Always),
        ("{status: '*'}", RunPolicy::Always),
        ("{status: {exclude: [success]}}", RunPolicy::OnFailure),
        ("{status: {exclude: [failure]}}", RunPolicy::OnSuccess),
        ("{status: {include: [failure], exclude: [success]}}", RunPolicy::OnFailure),
    ];
    for (when, expected) in cases {
        assert_eq!(planned(when).steps[0].run, expected, "{when}");
    }
}

#[test]
fn a_value_that_the_build_does_not_have_matches_no_name() {
    let pipeline = pipeline("{target: production}");
    assert!(plan(&pipeline, &Build::default()).steps.is_empty());
}
