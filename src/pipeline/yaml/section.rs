//! Mappings read key by key: what is wrong is complained of at its place, and reading goes on.

use std::collections::BTreeMap;

use super::{
    Place,
    mistake::{MISTAKES_KEPT_MAX, Mistake, beginning, shown},
    node::{Content, Entry, Node},
};
use crate::config::nearest;

/// Bytes of an unknown word for which a known one like it is looked for.
const LIKENED_BYTES_MAX: usize = 64;

/// The mistakes so far, and where the reader is.
#[derive(Default)]
pub(super) struct Page {
    pub mistakes: Vec<Mistake>,
    /// Further ones.
    pub not_kept: usize,
    pub document: u32,
    /// Beginnings of the names, since each mistake repeats them.
    pipeline: Option<String>,
    step: Option<String>,
    /// Of all globs in this document.
    pub glob_bytes: usize,
}

/// The value of a key.
#[derive(Clone, Copy)]
pub(super) struct Field<'n> {
    /// Of the key.
    pub line: u32,
    pub node: &'n Node,
}

/// The keys of a mapping in alphabetical order, merged ones included.
pub(super) type Fields<'n> = BTreeMap<&'n str, Field<'n>>;

/// A mapping whose keys are known.
pub(super) struct Section<'n> {
    /// With a dot at its end, or empty.
    prefix: String,
    known: &'static [&'static str],
    fields: Fields<'n>,
}

/// What is done about keys that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Refused,
    /// Those that look like no known one are left alone, as holders of anchors.
    RefusedIfLike,
}

// === impl Page ===

impl Page {
    pub fn enter_document(&mut self, number: u32) {
        (self.document, self.pipeline, self.step, self.glob_bytes) = (number, None, None, 0);
    }

    pub fn enter_pipeline(&mut self, name: &str) {
        self.pipeline = Some(beginning(name));
    }

    /// `None`: what follows is about no step.
    pub fn enter_step(&mut self, name: Option<&str>) {
        self.step = name.map(beginning);
    }

    pub fn complain(&mut self, line: u32, key: Option<&str>, reason: impl Into<String>) {
        self.push(line, key, reason.into(), None);
    }

    /// Complains of a word that is none of `known`.
    pub fn complain_of_word(
        &mut self,
        line: u32,
        key: Option<&str>,
        reason: impl Into<String>,
        word: &str,
        known: &[&str],
    ) {
        self.push(line, key, reason.into(), self.like(word, known));
    }

    /// The known word that looks most like it; not looked for where the mistake is only counted.
    fn like(&self, word: &str, known: &[&str]) -> Option<String> {
        let is_kept = self.mistakes.len() < MISTAKES_KEPT_MAX;
        if is_kept && word.len() <= LIKENED_BYTES_MAX { nearest(word, known) } else { None }
    }

    fn push(&mut self, line: u32, key: Option<&str>, reason: String, nearest: Option<String>) {
        if self.mistakes.len() == MISTAKES_KEPT_MAX {
            self.not_kept += 1;
            return;
        }
        let place = Place { document: self.document, line };
        let (pipeline, step) = (self.pipeline.clone(), self.step.clone());
        self.mistakes.push(Mistake { place, pipeline, step, key: key.map(str::to_owned), reason, nearest });
    }

    /// The keys of a mapping; `None` with a complaint if it is none.
    pub fn fields<'n>(&mut self, node: &'n Node, key: Option<&str>) -> Option<Fields<'n>> {
        let mut fields = Fields::new();
        self.gather(node, key, &mut fields).then_some(fields)
    }

    fn gather<'n>(&mut self, node: &'n Node, path: Option<&str>, fields: &mut Fields<'n>) -> bool {
        let Content::Map(entries) = &node.content else {
            self.complain(node.line, path, format!("is {}, not a mapping of keys to values", node.what()));
            return false;
        };
        let mut own = BTreeMap::new();
        for Entry { line, key, value } in entries.iter().filter(|entry| !entry.key.is_merge()) {
            if let Some(first) = own.insert(key.text.as_str(), *line) {
                let reason = format!("the key {} is here twice; line {first} has it, too", shown(&key.text));
                self.complain(*line, path, reason);
            }
            // Keys that are here go before merged ones, and what was merged first before the rest.
            fields.entry(&key.text).or_insert(Field { line: *line, node: value });
        }
        for Entry { line, value, .. } in entries.iter().filter(|entry| entry.key.is_merge()) {
            let merged: &[_] = match &value.content {
                Content::List(items) => items,
                _ => std::slice::from_ref(value),
            };
            for mapping in merged {
                if matches!(mapping.content, Content::Map(_)) {
                    self.gather(mapping, path, fields);
                } else {
                    self.complain(*line, path, "<< merges mappings only, and lists of them");
                }
            }
        }
        true
    }
}

// === impl Section ===

impl<'n> Section<'n> {
    /// `None` with a complaint if the node is no mapping.
    pub fn open(
        page: &mut Page,
        node: &'n Node,
        prefix: &str,
        known: &'static [&'static str],
        unknown: Unknown,
    ) -> Option<Self> {
        let path = prefix.strip_suffix('.');
        let fields = page.fields(node, path)?;
        for (key, field) in fields.iter().filter(|(key, _)| !known.contains(key)) {
            let nearest = page.like(key, known);
            if unknown == Unknown::Refused || nearest.is_some() {
                page.push(field.line, path, format!("the key {} is not known", shown(key)), nearest);
            }
        }
        Some(Self { prefix: prefix.to_owned(), known, fields })
    }

    /// The value of `key`, if there is one that is not empty.
    pub fn get(&self, key: &'static str) -> Option<Field<'n>> {
        debug_assert!(self.known.contains(&key), "{key} is not in its section's list of known keys");
        self.fields.get(key).copied().filter(|field| !field.node.is_null())
    }

    pub fn text(&self, page: &mut Page, key: &'static str) -> Option<String> {
        let field = self.get(key)?;
        self.scalar(page, key, field).map(str::to_owned)
    }

    pub fn bool(&self, page: &mut Page, key: &'static str) -> Option<bool> {
        let field = self.get(key)?;
        match &field.node.content {
            Content::Scalar(scalar) if scalar.as_bool().is_some() => scalar.as_bool(),
            _ => {
                page.complain(
                    field.line,
                    Some(&self.path(key)),
                    format!("is {}, write true or false", field.node.what()),
                );
                None
            }
        }
    }

    /// A whole number from 0 to `max`.
    pub fn number(&self, page: &mut Page, key: &'static str, max: u32) -> Option<u32> {
        let field = self.get(key)?;
        let number = match &field.node.content {
            Content::Scalar(scalar) => scalar.text.parse().ok().filter(|number| *number <= max),
            _ => None,
        };
        if number.is_none() {
            page.complain(field.line, Some(&self.path(key)), format!("write a whole number from 0 to {max}"));
        }
        number
    }

    /// A list of texts; `example` is what one looks like.
    pub fn texts(&self, page: &mut Page, key: &'static str, example: &str) -> Vec<String> {
        let Some(field) = self.get(key) else { return Vec::new() };
        let path = self.path(key);
        let Content::List(items) = &field.node.content else {
            let reason = format!("is {}, not a list; write each on a line of its own: - {example}", field.node.what());
            page.complain(field.line, Some(&path), reason);
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            match &item.content {
                Content::Scalar(scalar) if scalar.is_null() => texts.push(String::new()),
                Content::Scalar(scalar) => texts.push(scalar.text.clone()),
                content => {
                    let why = match content {
                        Content::Map(_) => "; a colon and a space make a mapping: put the whole text in quotes",
                        _ => "",
                    };
                    let reason = format!("item {} is {}, not a text{why}", n + 1, item.what());
                    page.complain(item.line, Some(&path), reason);
                }
            }
        }
        texts
    }

    /// One of `words`.
    pub fn word<'w>(&self, page: &mut Page, key: &'static str, words: &[&'w str]) -> Option<&'w str> {
        let field = self.get(key)?;
        let text = self.scalar(page, key, field)?;
        let word = words.iter().copied().find(|word| text.eq_ignore_ascii_case(word));
        if word.is_none() {
            let reason = format!("{} is none of {}", shown(text), words.join(", "));
            page.complain_of_word(field.line, Some(&self.path(key)), reason, text, words);
        }
        word
    }

    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn scalar(&self, page: &mut Page, key: &'static str, field: Field<'n>) -> Option<&'n str> {
        match &field.node.content {
            Content::Scalar(scalar) => Some(&scalar.text),
            _ => {
                page.complain(field.line, Some(&self.path(key)), format!("is {}, not a text", field.node.what()));
                None
            }
        }
    }
}
