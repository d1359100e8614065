//! `steps` and `services`, and what is asked of them together.

use std::collections::BTreeSet;

use super::{
    mistake::shown,
    model::{Checkout, Failure, Place, Step},
    node::{Content, Node},
    read::{FOREIGN, check_name, environment, word},
    section::{Page, Section, Unknown},
    when::conditions,
};
use crate::{
    core::step::STEPS_MAX,
    pipeline::{graph, plan::CLONE},
};

const STEP: &[&str] = &[
    "name",
    "shell",
    "commands",
    "environment",
    "depends_on",
    "when",
    "failure",
    "detach",
    "image",
    "settings",
    "privileged",
    "pull",
    "volumes",
];

/// Services and steps.
pub(super) fn read(page: &mut Page, top: &Section<'_>, checkout: &Checkout) -> (Vec<Step>, Vec<Step>) {
    let (services, steps) = (items(top, page, "services"), items(top, page, "steps"));
    let count = services.len() + steps.len() + usize::from(!checkout.disable);
    if count > STEPS_MAX {
        let line = top.get("steps").map_or(1, |field| field.line);
        page.complain(line, Some("steps"), format!("the stage has {count} steps, at most {STEPS_MAX} are allowed"));
        return (Vec::new(), Vec::new());
    }
    let services: Vec<Step> = services
        .into_iter()
        .enumerate()
        .filter_map(|(n, node)| Some(Step { detach: true, ..step(page, "services", n, node)? }))
        .collect();
    let steps: Vec<Step> = steps.into_iter().enumerate().filter_map(|(n, node)| step(page, "steps", n, node)).collect();
    check(page, services.iter().chain(&steps), checkout);
    page.enter_step(None);
    (services, steps)
}

fn items<'n>(top: &Section<'n>, page: &mut Page, key: &'static str) -> Vec<&'n Node> {
    let Some(field) = top.get(key) else { return Vec::new() };
    match &field.node.content {
        Content::List(items) => items.iter().map(|item| &**item).collect(),
        _ => {
            let reason = format!("is {}, not a list; write each on lines of its own: - name: build", field.node.what());
            page.complain(field.line, Some(key), reason);
            Vec::new()
        }
    }
}

fn step(page: &mut Page, list: &str, n: usize, node: &Node) -> Option<Step> {
    page.enter_step(None);
    let Content::Map(_) = &node.content else {
        page.complain(node.line, Some(list), format!("item {} is {}, not a step with a name", n + 1, node.what()));
        return None;
    };
    // Its mistakes are to be under its name, so that is looked for first.
    page.enter_step(name_of(node));
    let section = Section::open(page, node, "", STEP, Unknown::Refused)?;
    for (key, why) in FOREIGN {
        if let Some(field) = section.get(key) {
            page.complain(field.line, Some(key), *why);
        }
    }
    let name = section.text(page, "name").unwrap_or_default();
    if name.is_empty() {
        page.complain(node.line, Some(list), format!("item {} has no name", n + 1));
    } else {
        check_name(page, section.get("name").map_or(node.line, |field| field.line), &name);
    }
    // Other runners call "always" what is said by leaving it out.
    let failure = match section.word(page, "failure", &["fail", "ignore", "fast", "always"]) {
        Some("ignore") => Failure::Ignore,
        Some("fast") => Failure::Fast,
        _ => Failure::Fail,
    };
    let commands = section.texts(page, "commands", "make test");
    if let (true, Some(field)) = (commands.iter().any(|command| command.contains('\0')), section.get("commands")) {
        page.complain(field.line, Some("commands"), "hold the character NUL, which no shell can be given");
    }
    Some(Step {
        place: Place { document: page.document, line: node.line },
        shell: section.text(page, "shell").filter(|shell| !shell.is_empty()),
        commands,
        environment: environment(page, &section),
        depends_on: section.texts(page, "depends_on", "name-of-a-step"),
        when: conditions(page, &section, "when", "when."),
        failure,
        detach: section.bool(page, "detach").unwrap_or_default(),
        name,
    })
}

fn name_of(node: &Node) -> Option<&str> {
    word(node, "name").filter(|name| !name.is_empty())
}

/// Names are unique, and what comes before a step is there and does not come after it.
fn check<'s>(page: &mut Page, steps: impl Iterator<Item = &'s Step> + Clone, checkout: &Checkout) {
    let mut names = BTreeSet::new();
    for step in steps.clone() {
        page.enter_step(Some(&step.name));
        if !step.name.is_empty() && !names.insert(step.name.as_str()) {
            page.complain(step.place.line, Some("name"), "another step before it has the same name");
        }
        if step.name == CLONE && !checkout.disable {
            let reason = "the stage's first step has this name; write clone: {disable: true} to do it yourself, or choose another";
            page.complain(step.place.line, Some("name"), reason);
        }
    }
    // A disabled clone may still be named: there is nothing to wait for.
    names.insert(CLONE);
    let known: Vec<&str> = names.iter().copied().collect();
    for step in steps.clone() {
        page.enter_step(Some(&step.name));
        for before in step.depends_on.iter().filter(|before| !names.contains(before.as_str())) {
            let reason = format!("there is no step {}", shown(before));
            page.complain_of_word(step.place.line, Some("depends_on"), reason, before, &known);
        }
    }
    page.enter_step(None);
    if let Some(cycle) = graph::cycle(steps.clone().map(|step| (step.name.as_str(), step.depends_on.as_slice()))) {
        let line =
            steps.clone().find(|step| Some(&step.name.as_str()) == cycle.first()).map_or(1, |step| step.place.line);
        page.enter_step(cycle.first().copied());
        page.complain(line, Some("depends_on"), graph::told(&cycle));
    }
}
