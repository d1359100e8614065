//! Steps as a graph of text. A step stands below the last of those that it waits for; a chain stays in its column.
//!
//! ```text
//! 1 clone
//! 2 build
//! ├─ 3 test
//! └─ 4 check (failure is ignored)
//!    5 publish (also after 3)
//! ```

use std::collections::BTreeMap;

use crate::pipeline::{
    condition::RunPolicy,
    plan::{Step, Work},
    yaml::Failure,
};

/// Further steps that one waits for, of which its line tells.
const OTHERS_NAMED_MAX: usize = 8;

/// The lines, in the steps' order as far as the tree allows.
pub(super) fn lines(steps: &[Step]) -> Vec<String> {
    let mut below: BTreeMap<Option<u32>, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        below.entry(parent(step)).or_default().push(step);
    }
    let mut lines = Vec::with_capacity(steps.len());
    // A value of its own, since chains are long: steps yet to be told, each with what stands before it and before those below it.
    let mut open: Vec<(&Step, String, String)> = Vec::new();
    push(&mut open, &below, None, "");
    while let Some((step, first, rest)) = open.pop() {
        lines.push(format!("{first}{}", told(step, parent(step))));
        push(&mut open, &below, Some(step.number), &rest);
    }
    lines
}

/// Puts the steps below one on the stack, the first on top.
fn push<'s>(
    open: &mut Vec<(&'s Step, String, String)>,
    below: &BTreeMap<Option<u32>, Vec<&'s Step>>,
    parent: Option<u32>,
    indent: &str,
) {
    let children = below.get(&parent).map_or(&[][..], Vec::as_slice);
    let is_root = parent.is_none();
    for (n, step) in children.iter().enumerate().rev() {
        let (branch, further) = match n + 1 == children.len() {
            _ if is_root || children.len() == 1 => ("", ""),
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        open.push((step, format!("{indent}{branch}"), format!("{indent}{further}")));
    }
}

/// The last of those that it waits for, in the pipeline's order.
fn parent(step: &Step) -> Option<u32> {
    step.after.last().copied()
}

fn told(step: &Step, parent: Option<u32>) -> String {
    let mut remarks = Vec::new();
    let others = step.after.iter().filter(|number| Some(**number) != parent);
    let named: Vec<String> = others.clone().take(OTHERS_NAMED_MAX).map(ToString::to_string).collect();
    if !named.is_empty() {
        let more = others.count() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        remarks.push(format!("also after {}{more}", named.join(", ")));
    }
    if step.detach {
        remarks.push("detached".to_owned());
    }
    match (step.run, &step.work) {
        (RunPolicy::Always, Work::Script(_)) => remarks.push("after failures, too".to_owned()),
        (RunPolicy::OnFailure, _) => remarks.push("only after a failure".to_owned()),
        _ => {}
    }
    match step.failure {
        Failure::Fail => {}
        Failure::Ignore => remarks.push("its failure is ignored".to_owned()),
        Failure::Fast => remarks.push("its failure stops the others".to_owned()),
    }
    let remarks = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) };
    format!("{} {}{remarks}", step.number, step.name.escape_debug())
}
