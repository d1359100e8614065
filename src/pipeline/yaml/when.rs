//! `when` and `trigger`.

use super::{
    mistake::shown,
    node::Content,
    read::subsection,
    section::{Field, Page, Section, Unknown},
};
use crate::pipeline::{
    condition::{Condition, Conditions},
    glob::Glob,
};

/// `paths` is evaluated by servers that know of changed files; runners leave it alone.
const CONDITIONS: &[&str] =
    &["action", "branch", "cron", "event", "instance", "paths", "ref", "repo", "status", "target"];
const CONDITION: &[&str] = &["include", "exclude"];
/// Of all globs of a document, aliases written out: each byte of it is compared with each character of a branch or the like.
pub const GLOB_BYTES_MAX: usize = 64 << 10;

pub(super) fn conditions(page: &mut Page, section: &Section<'_>, key: &'static str, prefix: &str) -> Conditions {
    let Some(section) = subsection(page, section, key, prefix, CONDITIONS) else { return Conditions::default() };
    let mut condition = |key| condition(page, &section, key);
    Conditions {
        action: condition("action"),
        branch: condition("branch"),
        cron: condition("cron"),
        event: condition("event"),
        instance: condition("instance"),
        reference: condition("ref"),
        repo: condition("repo"),
        status: condition("status"),
        target: condition("target"),
    }
}

fn condition(page: &mut Page, section: &Section<'_>, key: &'static str) -> Condition {
    let Some(field) = section.get(key) else { return Condition::default() };
    let path = section.path(key);
    let Content::Map(_) = &field.node.content else {
        return Condition { include: globs(page, field, &path), exclude: Vec::new() };
    };
    let Some(section) = Section::open(page, field.node, &format!("{path}."), CONDITION, Unknown::Refused) else {
        return Condition::default();
    };
    let mut list = |key| match section.get(key) {
        Some(field) => globs(page, field, &format!("{path}.{key}")),
        None => Vec::new(),
    };
    Condition { include: list("include"), exclude: list("exclude") }
}

/// A glob, or a list of them.
fn globs(page: &mut Page, field: Field<'_>, path: &str) -> Vec<String> {
    let items: &[_] = match &field.node.content {
        Content::List(items) => items,
        _ => &[],
    };
    let alone = items.is_empty().then_some(field.node).filter(|node| !matches!(node.content, Content::List(_)));
    let mut globs = Vec::new();
    for node in items.iter().map(|item| &**item).chain(alone) {
        match &node.content {
            Content::Scalar(scalar) => match Glob::new(&scalar.text) {
                Ok(_) if page.glob_bytes + scalar.text.len() > GLOB_BYTES_MAX => {
                    let reason = format!("with it the document's globs have more than {GLOB_BYTES_MAX} bytes");
                    page.complain(node.line, Some(path), reason);
                }
                Ok(_) => {
                    page.glob_bytes += scalar.text.len();
                    globs.push(scalar.text.clone());
                }
                Err(bad) => page.complain(node.line, Some(path), format!("the glob {} {bad}", shown(&scalar.text))),
            },
            _ => {
                let reason = format!("is {}; write a text, a list of texts, or include and exclude", node.what());
                page.complain(node.line, Some(path), reason);
            }
        }
    }
    globs
}
