//! Documents to the model. A document of another kind or type is not looked into.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    load::Document,
    mistake::{Mistakes, shown},
    model::{
        Checkout, DEFAULT_NAME, Manifest, Pipeline, Place, Platform, SecretDocument, SecretSource, Signature, Value,
        Workspace,
    },
    node::{Content, Node},
    section::{Field, Page, Section, Unknown},
    steps,
    when::conditions,
};

/// Characters of a name. From the server.
pub const NAME_CHARS_MAX: usize = 100;
/// Bytes of a name. From the protocol of runners.
pub const NAME_BYTES_MAX: usize = 128;
/// Commits of history that can be asked for.
const DEPTH_MAX: u32 = 1_000_000;
/// Further attempts at a clone.
const RETRIES_MAX: u32 = 10;
/// Stages of one name at a time that can be allowed.
const LIMIT_MAX: u32 = 1_000_000;

const PIPELINE: &[&str] = &[
    "version",
    "kind",
    "type",
    "name",
    "platform",
    "workspace",
    "clone",
    "environment",
    "services",
    "steps",
    "node",
    "depends_on",
    "concurrency",
    "trigger",
];
const PLATFORM: &[&str] = &["os", "arch", "variant", "version"];
const WORKSPACE: &[&str] = &["path", "base"];
const CLONE: &[&str] = &["disable", "depth", "retries", "skip_verify", "trace"];
const CONCURRENCY: &[&str] = &["limit"];
const SECRET: &[&str] = &["version", "kind", "type", "name", "data", "get"];
const GET: &[&str] = &["path", "name", "key"];
const SIGNATURE: &[&str] = &["version", "kind", "type", "name", "hmac"];
/// What steps of other types have, and what to write instead.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    ("image", "steps of type exec run on the host; leave it out"),
    ("settings", "they are for plugins in containers; write commands"),
    ("privileged", "it is for containers; leave it out"),
    ("pull", "it is for containers; leave it out"),
    ("volumes", "they are for containers; leave them out"),
];

/// The model; without mistakes it is whole.
pub(super) fn read(documents: &[Document]) -> Result<Manifest, Mistakes> {
    let mut page = Page::default();
    let mut manifest = Manifest::default();
    for document in documents {
        page.enter_document(document.number);
        let root = &document.root;
        match (word(root, "kind"), word(root, "type")) {
            (Some("pipeline"), Some("exec")) => manifest.pipelines.extend(pipeline(&mut page, root)),
            (Some("secret"), _) => manifest.secrets.extend(secret(&mut page, root)),
            (Some("signature"), _) => manifest.signatures.extend(signature(&mut page, root)),
            _ => {}
        }
    }
    same_names(&mut page, &manifest.pipelines);
    match Mistakes::new(page.mistakes, page.not_kept) {
        None => Ok(manifest),
        Some(mistakes) => Err(mistakes),
    }
}

/// The text of a mapping's key, without a word about what is wrong with the rest.
pub(super) fn word<'n>(root: &'n Node, key: &str) -> Option<&'n str> {
    let fields = Page::default().fields(root, None)?;
    match &fields.get(key)?.node.content {
        Content::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn pipeline(page: &mut Page, root: &Node) -> Option<Pipeline> {
    page.enter_pipeline(word(root, "name").filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAME));
    let top = Section::open(page, root, "", PIPELINE, Unknown::RefusedIfLike)?;
    let name = match top.text(page, "name").filter(|name| !name.is_empty()) {
        Some(name) => {
            let line = top.get("name").map_or(root.line, |field| field.line);
            check_name(page, line, &name);
            name
        }
        None => DEFAULT_NAME.to_owned(),
    };
    let checkout = checkout(page, &top);
    let (services, steps) = steps::read(page, &top, &checkout);
    Some(Pipeline {
        place: Place { document: page.document, line: root.line },
        name,
        platform: platform(page, &top),
        workspace: workspace(page, &top),
        environment: environment(page, &top),
        services,
        steps,
        node: labels(page, &top),
        depends_on: top.texts(page, "depends_on", "name-of-a-pipeline"),
        concurrency_limit: concurrency_limit(page, &top),
        trigger: conditions(page, &top, "trigger", "trigger."),
        clone: checkout,
    })
}

fn platform(page: &mut Page, top: &Section<'_>) -> Platform {
    let Some(section) = subsection(page, top, "platform", "platform.", PLATFORM) else { return Platform::default() };
    let mut text = |key| section.text(page, key).unwrap_or_default();
    Platform { os: text("os"), arch: text("arch"), variant: text("variant"), version: text("version") }
}

fn workspace(page: &mut Page, top: &Section<'_>) -> Workspace {
    let Some(section) = subsection(page, top, "workspace", "workspace.", WORKSPACE) else {
        return Workspace::default();
    };
    let path = section.text(page, "path").filter(|path| !path.is_empty());
    if let (Some(path), Some(field)) = (&path, section.get("path")) {
        let leaves = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if leaves || path.chars().any(char::is_control) {
            let reason = format!(
                "{} is no path within the stage's room; write one without / before it and without ..",
                shown(path)
            );
            page.complain(field.line, Some("workspace.path"), reason);
        }
    }
    Workspace { path }
}

fn checkout(page: &mut Page, top: &Section<'_>) -> Checkout {
    let Some(section) = subsection(page, top, "clone", "clone.", CLONE) else { return Checkout::default() };
    Checkout {
        disable: section.bool(page, "disable").unwrap_or_default(),
        // The server's own files say 0 for all of it.
        depth: section.number(page, "depth", DEPTH_MAX).filter(|depth| *depth > 0),
        retries: section.number(page, "retries", RETRIES_MAX).unwrap_or_default(),
        skip_verify: section.bool(page, "skip_verify").unwrap_or_default(),
        trace: section.bool(page, "trace").unwrap_or_default(),
    }
}

fn concurrency_limit(page: &mut Page, top: &Section<'_>) -> Option<u32> {
    subsection(page, top, "concurrency", "concurrency.", CONCURRENCY)?.number(page, "limit", LIMIT_MAX)
}

fn labels(page: &mut Page, top: &Section<'_>) -> BTreeMap<String, String> {
    let Some(field) = top.get("node") else { return BTreeMap::new() };
    let Some(fields) = page.fields(field.node, Some("node")) else { return BTreeMap::new() };
    let mut labels = BTreeMap::new();
    for (name, Field { line, node }) in fields {
        match &node.content {
            Content::Scalar(scalar) if scalar.is_null() => drop(labels.insert(name.to_owned(), String::new())),
            Content::Scalar(scalar) => drop(labels.insert(name.to_owned(), scalar.text.clone())),
            _ => page.complain(line, Some("node"), format!("the label {} is {}, not a text", shown(name), node.what())),
        }
    }
    labels
}

/// `environment` of a pipeline or a step.
pub(super) fn environment(page: &mut Page, section: &Section<'_>) -> BTreeMap<String, Value> {
    let Some(field) = section.get("environment") else { return BTreeMap::new() };
    let Some(fields) = page.fields(field.node, Some("environment")) else { return BTreeMap::new() };
    let mut environment = BTreeMap::new();
    for (name, Field { line, node }) in fields {
        if name.is_empty() || name.contains(['=', '\0']) {
            page.complain(line, Some("environment"), format!("{} is no name of a variable", shown(name)));
            continue;
        }
        if let Some(value) = variable(page, name, node) {
            environment.insert(name.to_owned(), value);
        }
    }
    environment
}

fn variable(page: &mut Page, name: &str, node: &Node) -> Option<Value> {
    const VARIABLE: &[&str] = &["from_secret", "value"];
    let key = format!("environment.{name}");
    let value = match &node.content {
        Content::Scalar(scalar) if scalar.is_null() => Value::Text(String::new()),
        Content::Scalar(scalar) => Value::Text(scalar.text.clone()),
        Content::List(_) => {
            page.complain(node.line, Some(&key), "is a list; write a text, or {from_secret: name}");
            return None;
        }
        Content::Map(_) => {
            let section = Section::open(page, node, "environment.", VARIABLE, Unknown::Refused)?;
            match (section.text(page, "from_secret"), section.text(page, "value")) {
                (Some(secret), _) if !secret.is_empty() => Value::FromSecret(secret),
                (None, Some(text)) => Value::Text(text),
                _ => {
                    page.complain(node.line, Some(&key), "names no secret; write a text, or {from_secret: name}");
                    return None;
                }
            }
        }
    };
    if matches!(&value, Value::Text(text) if text.contains('\0')) {
        page.complain(node.line, Some(&key), "holds the character NUL, which no process can be given");
        return None;
    }
    Some(value)
}

fn secret(page: &mut Page, root: &Node) -> Option<SecretDocument> {
    let top = Section::open(page, root, "", SECRET, Unknown::Refused)?;
    let name = top.text(page, "name").unwrap_or_default();
    let data = top.text(page, "data").filter(|data| !data.is_empty());
    let source = match data {
        Some(data) => SecretSource::Sealed(data.split_ascii_whitespace().collect()),
        None => {
            let Some(section) = subsection(page, &top, "get", "get.", GET) else {
                page.complain(root.line, None, "the secret has neither data nor get");
                return None;
            };
            let mut text = |key| section.text(page, key).unwrap_or_default();
            // `key` is what older files call the name.
            let (path, name, key) = (text("path"), text("name"), text("key"));
            SecretSource::Plugin { path, name: if name.is_empty() { key } else { name } }
        }
    };
    if name.is_empty() {
        page.complain(root.line, None, "the secret has no name");
        return None;
    }
    Some(SecretDocument { place: Place { document: page.document, line: root.line }, name, source })
}

fn signature(page: &mut Page, root: &Node) -> Option<Signature> {
    let top = Section::open(page, root, "", SIGNATURE, Unknown::RefusedIfLike)?;
    let hmac = top.text(page, "hmac").unwrap_or_default();
    Some(Signature { place: Place { document: page.document, line: root.line }, hmac })
}

pub(super) fn subsection<'n>(
    page: &mut Page,
    top: &Section<'n>,
    key: &'static str,
    prefix: &str,
    known: &'static [&'static str],
) -> Option<Section<'n>> {
    Section::open(page, top.get(key)?.node, prefix, known, Unknown::Refused)
}

/// Complains of a name that the server or a terminal would not stand.
pub(super) fn check_name(page: &mut Page, line: u32, name: &str) {
    if let Some((n, control)) = name.chars().enumerate().find(|(_, char)| char.is_control()) {
        let code = u32::from(control);
        page.complain(
            line,
            Some("name"),
            format!("character {} is the control character U+{code:04X}; leave it out", n + 1),
        );
    }
    let chars = name.chars().count();
    if chars > NAME_CHARS_MAX || name.len() > NAME_BYTES_MAX {
        let reason = format!(
            "has {chars} characters in {} bytes, at most {NAME_CHARS_MAX} in {NAME_BYTES_MAX} are allowed",
            name.len()
        );
        page.complain(line, Some("name"), reason);
    }
}

fn same_names(page: &mut Page, pipelines: &[Pipeline]) {
    let mut names = BTreeSet::new();
    for pipeline in pipelines {
        if !names.insert(&pipeline.name) {
            page.enter_document(pipeline.place.document);
            page.enter_pipeline(&pipeline.name);
            page.complain(pipeline.place.line, Some("name"), "another pipeline before it has the same name");
        }
    }
}
