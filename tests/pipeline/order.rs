//! What comes before what.

use dlite::pipeline::{
    condition::Build,
    plan::{Plan, Work, plan},
    yaml::{self, Value},
};

fn planned(text: &str) -> Plan {
    let text = format!("kind: pipeline\ntype: exec\n{text}");
    let manifest = yaml::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    plan(&manifest.pipelines[0], &Build { branch: "main".to_owned(), ..Build::default() })
}

/// Each step with the numbers of those before it.
fn told(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {} {:?}", step.number, step.name, step.after)).collect()
}

#[test]
fn steps_without_dependencies_run_in_order_after_the_clone_and_the_services() {
    let plan = planned("services: [{name: db}]\nsteps: [{name: a}, {name: b}, {name: c}]");
    assert_eq!(told(&plan), ["1 clone []", "2 db [1]", "3 a [2]", "4 b [3]", "5 c [4]"]);
    assert!(plan.steps[1].detach, "a service is a detached step");
    assert!(matches!(plan.steps[0].work, Work::Clone(_)));
}

#[test]
fn one_step_with_dependencies_makes_all_of_them_a_graph() {
    let plan = planned(
        "steps: [{name: a}, {name: b}, {name: c, depends_on: [a, b]}, {name: d, depends_on: [c]}, {name: e, depends_on: [clone]}]",
    );
    assert_eq!(told(&plan), ["1 clone []", "2 a [1]", "3 b [1]", "4 c [2, 3]", "5 d [4]", "6 e [1]"]);
}

#[test]
fn without_a_clone_the_graph_begins_anywhere() {
    let plan = planned(
        "clone: {disable: true}\nsteps: [{name: a, depends_on: [c]}, {name: b, depends_on: [clone]}, {name: c}]",
    );
    assert_eq!(told(&plan), ["1 a [3]", "2 b []", "3 c []"]);
}

#[test]
fn without_a_clone_the_first_step_waits_for_nothing() {
    let plan = planned("clone: {disable: true}\nsteps: [{name: a}, {name: b}]");
    assert_eq!(told(&plan), ["1 a []", "2 b [1]"]);
}

#[test]
fn a_clone_of_ones_own_takes_the_place_of_the_disabled_one() {
    let plan = planned("clone: {disable: true}\nsteps: [{name: clone}, {name: a, depends_on: [clone]}]");
    assert_eq!(told(&plan), ["1 clone []", "2 a [1]"]);
    assert!(matches!(plan.steps[0].work, Work::Script(_)));
}

#[test]
fn numbers_have_no_gap_where_a_step_is_left_out() {
    let plan = planned("steps: [{name: a}, {name: b, when: {branch: next}}, {name: c}]");
    assert_eq!(told(&plan), ["1 clone []", "2 a [1]", "3 c [2]"]);
    assert_eq!(plan.left_out.len(), 1);
}

#[test]
fn what_waits_for_a_step_that_is_left_out_waits_for_those_before_it() {
    let plan = planned(
        "steps: [{name: a}, {name: b}, {name: c, depends_on: [a, b], when: {branch: next}}, \
         {name: d, depends_on: [c], when: {branch: next}}, {name: e, depends_on: [d]}]",
    );
    assert_eq!(told(&plan), ["1 clone []", "2 a [1]", "3 b [1]", "4 e [2, 3]"]);
}

#[test]
fn a_steps_variables_go_before_the_pipelines() {
    let plan = planned(
        "environment: {A: all, B: all, S: {from_secret: one}}\nsteps: [{name: a, environment: {B: own, C: own}}]",
    );
    let Work::Script(script) = &plan.steps[1].work else { panic!("a script") };
    let mut variables: Vec<(&str, &Value)> = script.environment().collect();
    variables.sort_by_key(|(name, _)| *name);
    let text = |text: &str| Value::Text(text.to_owned());
    let secret = Value::FromSecret("one".to_owned());
    assert_eq!(variables, [("A", &text("all")), ("B", &text("own")), ("C", &text("own")), ("S", &secret)]);
}
